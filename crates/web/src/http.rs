//! The little of HTTP that is needed: the head of a request, and answers without a body's length.

use std::io::{self, Read, Write};

/// Larger heads are refused.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 32;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path without its query.
    pub(crate) path: String,
    /// The query's names and values.
    pub(crate) query: Vec<(String, String)>,
}

impl Request {
    /// A value of the query.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a request's head; what is not one is an error of the kind `InvalidData`.
pub(crate) fn read(stream: &mut impl Read) -> io::Result<Request> {
    let head = head(stream)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(&head).map_err(|e| invalid(e.to_string()))?;
    let (Some(method), Some(target), true) = (request.method, request.path, parsed.is_complete()) else {
        return Err(invalid("the request is cut off"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    });
    let query = pairs.collect::<Option<Vec<_>>>().ok_or_else(|| invalid("the query is not UTF-8"))?;
    Ok(Request { method: method.to_string(), path: path.to_string(), query })
}

/// Everything up to the empty line.
pub(crate) fn head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
        if head.len() > HEAD_BYTES_MAX {
            return Err(invalid("the head is too long"));
        }
    }
    Ok(head)
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Begins an answer.
pub(crate) fn answer(stream: &mut impl Write, status: &str, kind: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
}

/// Percent-encodes a word of a query.
pub(crate) fn encoded(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    word.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

fn decoded(word: &str) -> Option<String> {
    let bytes = word.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            let hex = word.get(at + 1..at + 3)?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> io::Result<Request> {
        read(&mut text.as_bytes())
    }

    #[test]
    fn requests_are_read_or_refused() {
        let good =
            request("GET /v1/events?duty=run&subject=a%20%C3%A4%26b HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!((good.path.as_str(), good.value("subject")), ("/v1/events", Some("a ä&b")));
        for bad in
            ["", "GET", "\r\n\r\n", "GET /?a=%zz HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n"]
        {
            assert!(request(bad).is_err(), "{bad:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert!(request(&long).is_err());
        assert_eq!(decoded(&encoded("a ä&b/%")).unwrap(), "a ä&b/%");
    }
}

//! The side of who asks the daemon.

use crate::http::{encoded, head};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longer lines are no answer of ours.
const LINE_BYTES_MAX: u64 = 2 << 20;
/// An answer without a sign of life for so long is none.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that answers.
pub struct Client(UnixStream);

/// What it said.
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    body: BufReader<UnixStream>,
}

impl Client {
    /// The daemon at this socket; `None` when none is there.
    ///
    /// # Errors
    /// What the system says, where there is one that may not be asked.
    pub fn connect(path: &Path) -> io::Result<Option<Client>> {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Some(Client(stream)))
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// What the system says, or `InvalidData` for what is no answer.
    pub fn ask(mut self, method: &str, path: &str, query: &[(&str, &str)]) -> io::Result<Answer> {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let target = if pairs.is_empty() { path.to_string() } else { format!("{path}?{}", pairs.join("&")) };
        write!(self.0, "{method} {target} HTTP/1.0\r\nHost: lifeboat\r\n\r\n")?;
        let mut body = BufReader::new(self.0);
        let head = head(&mut body)?;
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&head).ok().and(response.code);
        let status = parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is no answer"))?;
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The answer as an object.
    ///
    /// # Errors
    /// What the system says, or `InvalidData`.
    pub fn object(mut self) -> io::Result<Value> {
        let mut text = String::new();
        (&mut self.body).take(LINE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The next line of a stream; `None` at its end.
    ///
    /// # Errors
    /// What the system says.
    pub fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            let mut line = String::new();
            if (&mut self.body).take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                return Ok(None);
            }
            // An empty one is a sign of life.
            if !line.trim().is_empty() {
                return Ok(Some(line.trim_end().to_string()));
            }
        }
    }
}

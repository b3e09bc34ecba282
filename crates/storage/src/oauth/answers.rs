//! What authorisation servers answer: bounded, and never quoted in an error.
//!
//! Pure: bytes in, meaning out. Public for the fuzz targets; nothing else needs it.

use super::is_safe_url;
use serde::Deserialize;

/// An answer is never longer (bytes).
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A code or token is never longer (bytes).
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// A text that is shown to a person is never longer (bytes).
const SHOWN_BYTES_MAX: usize = 512;
/// Times outside of these are taken for mistakes (seconds).
const EXPIRES_MAX_S: u64 = 24 * 3600;
const INTERVAL_MAX_S: u64 = 300;
/// Without a word about it, a device asks every five seconds (RFC 8628, 3.2).
const INTERVAL_DEFAULT_S: u64 = 5;
/// Without a word about it, a token is good for this long (seconds).
const LIFETIME_DEFAULT_S: u64 = 600;

/// What a token server said.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenAnswer {
    /// The right was given.
    Granted {
        /// What opens the drive for a while.
        access_token: String,
        /// For how long (seconds).
        expires_in_s: u64,
        /// What lasts; absent when the old one stays good.
        refresh_token: Option<String>,
    },
    /// The user has not answered yet.
    Pending,
    /// The same, and we ask too often.
    SlowDown,
    /// The user said no.
    Denied,
    /// The code has run out.
    Expired,
    /// The refresh token or code is not good (any more).
    InvalidGrant,
    /// The client id or its secret are not known.
    InvalidClient,
    /// The server has troubles of its own.
    Busy,
    /// Something else; its code is fit to be shown.
    Other(String),
}

#[derive(Deserialize)]
struct Raw {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Number>,
    refresh_token: Option<String>,
    error: Option<serde_json::Value>,
}

/// Understands the answer of a token server.
pub fn token(status: u16, bytes: &[u8]) -> TokenAnswer {
    let raw = match bytes.len() <= ANSWER_BYTES_MAX {
        true => serde_json::from_slice::<Raw>(bytes).ok(),
        false => None,
    };
    match raw {
        Some(Raw { access_token: Some(access), token_type, expires_in, refresh_token, .. })
            if (200..300).contains(&status) =>
        {
            granted(access, token_type.as_deref(), expires_in, refresh_token)
        }
        Some(Raw { error: Some(error), .. }) => refused(status, error.as_str().unwrap_or("")),
        _ => without_words(status),
    }
}

fn granted(
    access_token: String,
    token_type: Option<&str>,
    expires_in: Option<serde_json::Number>,
    refresh_token: Option<String>,
) -> TokenAnswer {
    let refresh_token = refresh_token.filter(|token| !token.is_empty());
    let is_bearer = token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !is_bearer || !is_token(&access_token) || !refresh_token.as_deref().is_none_or(is_token) {
        return TokenAnswer::Other("a token of a kind that is not known".to_owned());
    }
    let expires_in_s = expires_in.and_then(|n| n.as_u64()).unwrap_or(LIFETIME_DEFAULT_S).min(EXPIRES_MAX_S);
    TokenAnswer::Granted { access_token, expires_in_s, refresh_token }
}

/// Tokens go into a header, so nothing may be in them that ends one.
fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn refused(status: u16, code: &str) -> TokenAnswer {
    match code {
        "authorization_pending" => TokenAnswer::Pending,
        "slow_down" => TokenAnswer::SlowDown,
        "access_denied" | "authorization_declined" => TokenAnswer::Denied,
        "expired_token" | "code_expired" => TokenAnswer::Expired,
        "invalid_grant" | "bad_verification_code" => TokenAnswer::InvalidGrant,
        "invalid_client" | "unauthorized_client" | "deleted_client" => TokenAnswer::InvalidClient,
        "temporarily_unavailable" | "server_error" => TokenAnswer::Busy,
        _ if status >= 500 || status == 429 => TokenAnswer::Busy,
        _ => TokenAnswer::Other(shown(code)),
    }
}

fn without_words(status: u16) -> TokenAnswer {
    match status {
        408 | 429 | 500.. => TokenAnswer::Busy,
        _ => TokenAnswer::Other(format!("HTTP status {status} without a reason")),
    }
}

/// A short word of printable letters, whatever the server sent.
fn shown(code: &str) -> String {
    let fit: String =
        code.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(60).collect();
    if fit.is_empty() { "an error without a name".to_owned() } else { fit }
}

/// What the user must type elsewhere, and how to ask whether it was done.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceAnswer {
    /// Sent along with each question.
    pub device_code: String,
    /// What the user types.
    pub user_code: String,
    /// Where.
    pub verification_url: String,
    /// How long the code is good (seconds).
    pub expires_in_s: u64,
    /// Time between two questions (seconds).
    pub interval_s: u64,
}

#[derive(Deserialize)]
struct RawDevice {
    device_code: String,
    user_code: String,
    // Google says url, everybody else uri.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    expires_in: u64,
    interval: Option<u64>,
}

/// Understands the answer to the question for a device code.
///
/// # Errors
/// What is wrong with it, or the code by which the server refused.
pub fn device(status: u16, bytes: &[u8]) -> Result<DeviceAnswer, TokenAnswer> {
    if !(200..300).contains(&status) || bytes.len() > ANSWER_BYTES_MAX {
        return Err(token(status.max(300), bytes));
    }
    let other = |why: &str| TokenAnswer::Other(why.to_owned());
    let raw: RawDevice =
        serde_json::from_slice(bytes).map_err(|_| other("an answer that is not understood"))?;
    let shows =
        |text: &str| (1..=SHOWN_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if !is_token(&raw.device_code) || !shows(&raw.user_code) || !shows(&raw.verification_uri) {
        return Err(other("a device code that cannot be one"));
    }
    if !is_safe_url(&raw.verification_uri) {
        return Err(other("an address for the code that is not https"));
    }
    Ok(DeviceAnswer {
        device_code: raw.device_code,
        user_code: raw.user_code,
        verification_url: raw.verification_uri,
        expires_in_s: raw.expires_in.min(EXPIRES_MAX_S),
        interval_s: raw.interval.unwrap_or(INTERVAL_DEFAULT_S).clamp(1, INTERVAL_MAX_S),
    })
}

/// What the browser brought back to our port.
#[derive(Clone, PartialEq, Eq)]
pub enum Redirected {
    /// A code for us.
    Code(String),
    /// The user, or the server, said no; the reason is fit to be shown.
    Refused(String),
    /// The state is not the one we sent: not an answer to us.
    Foreign,
    /// Something else, such as the question for an icon.
    Elsewhere,
}

/// Understands the first line of the browser's request (`GET /?code=...&state=... HTTP/1.1`).
pub fn redirected(line: &str, state: &str) -> Redirected {
    let mut words = line.split(' ');
    let (Some("GET"), Some(target), Some(_)) = (words.next(), words.next(), words.next()) else {
        return Redirected::Elsewhere;
    };
    let Some(("/", query)) = target.split_once('?') else { return Redirected::Elsewhere };
    let value = |key: &str| {
        let found =
            query.split('&').find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))?;
        decode(found.1)
    };
    let (code, error) = (value("code"), value("error"));
    if code.is_none() && error.is_none() {
        return Redirected::Elsewhere;
    }
    if value("state").as_deref() != Some(state) {
        return Redirected::Foreign;
    }
    match (error, code) {
        (Some(error), _) => Redirected::Refused(shown(&error)),
        (None, Some(code)) if is_token(&code) => Redirected::Code(code),
        _ => Redirected::Elsewhere,
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Escapes a value of a form or query.
pub(super) fn encode(text: &str) -> String {
    let escape = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> TokenAnswer {
        token(status, format!(r#"{{"error":"{code}","error_description":"x"}}"#).as_bytes())
    }

    fn is(answer: &TokenAnswer, wanted: &TokenAnswer) -> bool {
        answer == wanted
    }

    #[test]
    fn every_refusal_has_its_meaning() {
        let cases = [
            ("authorization_pending", 428, TokenAnswer::Pending),
            ("slow_down", 403, TokenAnswer::SlowDown),
            ("access_denied", 403, TokenAnswer::Denied),
            ("authorization_declined", 400, TokenAnswer::Denied),
            ("expired_token", 400, TokenAnswer::Expired),
            ("invalid_grant", 400, TokenAnswer::InvalidGrant),
            ("invalid_client", 401, TokenAnswer::InvalidClient),
            ("server_error", 500, TokenAnswer::Busy),
            ("what?\\n\\u001b[0m", 400, TokenAnswer::Other("what0m".into())),
        ];
        for (code, status, wanted) in cases {
            assert!(is(&refusal(status, code), &wanted), "{code}");
        }
        assert!(is(&token(503, b"<html>"), &TokenAnswer::Busy));
        assert!(is(&token(404, b"<html>"), &TokenAnswer::Other("HTTP status 404 without a reason".into())));
    }

    #[test]
    fn tokens_that_would_break_a_header_are_no_tokens() {
        let good = token(200, br#"{"access_token":"a","token_type":"bearer","expires_in":3599}"#);
        let wanted =
            TokenAnswer::Granted { access_token: "a".into(), expires_in_s: 3599, refresh_token: None };
        assert!(is(&good, &wanted));
        let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(TOKEN_BYTES_MAX + 1));
        let bad: [&[u8]; 5] = [
            br#"{"access_token":"a\r\nx: y"}"#,
            br#"{"access_token":""}"#,
            br#"{"access_token":"a","token_type":"mac"}"#,
            br#"{"access_token":"a","refresh_token":"b c"}"#,
            long.as_bytes(),
        ];
        for bytes in bad {
            assert!(matches!(token(200, bytes), TokenAnswer::Other(_)));
        }
        // A status that refuses is not overruled by a token in the answer.
        assert!(matches!(token(400, br#"{"access_token":"a"}"#), TokenAnswer::Other(_)));
    }

    #[test]
    fn device_codes_of_all_dialects_are_read_and_strange_ones_refused() {
        let google = br#"{"device_code":"d","user_code":"AB-CD","verification_url":"https://g.co/d","expires_in":1800,"interval":5}"#;
        let read = device(200, google).ok().unwrap();
        assert_eq!((read.user_code.as_str(), read.interval_s, read.expires_in_s), ("AB-CD", 5, 1800));
        let microsoft = br#"{"device_code":"d","user_code":"AB","verification_uri":"https://m/d","expires_in":999999999,"message":"x"}"#;
        let read = device(200, microsoft).ok().unwrap();
        assert_eq!((read.interval_s, read.expires_in_s), (5, EXPIRES_MAX_S));
        for bad in [
            br#"{"device_code":"d","user_code":"A","verification_uri":"http://evil/d","expires_in":9}"#.as_slice(),
            br#"{"device_code":"","user_code":"A","verification_uri":"https://m/d","expires_in":9}"#,
            br#"{"device_code":"d","user_code":"A\u001b[2J","verification_uri":"https://m/d","expires_in":9}"#,
            b"{}",
            b"",
        ] {
            assert!(device(200, bad).is_err());
        }
        assert!(matches!(device(400, br#"{"error":"invalid_client"}"#), Err(TokenAnswer::InvalidClient)));
    }

    #[test]
    fn only_an_answer_with_our_state_counts() {
        let read = |line: &str| redirected(line, "s1");
        assert!(
            matches!(read("GET /?code=a%2Fb&state=s1 HTTP/1.1"), Redirected::Code(code) if code == "a/b")
        );
        assert!(
            matches!(read("GET /?state=s1&error=access_denied HTTP/1.1"), Redirected::Refused(why) if why == "access_denied")
        );
        for foreign in
            ["GET /?code=a&state=s2 HTTP/1.1", "GET /?code=a HTTP/1.1", "GET /?error=x&state= HTTP/1.1"]
        {
            assert!(matches!(read(foreign), Redirected::Foreign), "{foreign}");
        }
        for elsewhere in [
            "GET /favicon.ico HTTP/1.1",
            "POST /?code=a&state=s1 HTTP/1.1",
            "",
            "GET",
            "GET /?code=%zz&state=s1 HTTP/1.1",
        ] {
            assert!(matches!(read(elsewhere), Redirected::Elsewhere), "{elsewhere}");
        }
    }

    /// Every beginning of the text, and the text with each byte changed in several ways.
    fn mangled(text: &[u8]) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = (0..text.len()).map(|len| text[..len].to_vec()).collect();
        for at in 0..text.len() {
            for byte in [0, b'"', b'\\', b'\n', b'9', 0x80, 0xff] {
                let mut changed = text.to_vec();
                changed[at] = byte;
                all.push(changed);
            }
        }
        all
    }

    #[test]
    fn mangled_answers_never_bring_a_token_that_ends_a_header() {
        let granted =
            br#"{"access_token":"a1","token_type":"bearer","expires_in":3599,"refresh_token":"r1"}"#;
        for bytes in mangled(granted) {
            if let TokenAnswer::Granted { access_token, expires_in_s, refresh_token } = token(200, &bytes) {
                assert!(is_token(&access_token) && expires_in_s <= EXPIRES_MAX_S);
                assert!(refresh_token.as_deref().is_none_or(is_token));
            }
        }
        let code = br#"{"device_code":"d","user_code":"A","verification_uri":"https://m/d","expires_in":9,"interval":5}"#;
        for bytes in mangled(code) {
            if let Ok(read) = device(200, &bytes) {
                assert!(
                    is_safe_url(&read.verification_url) && (1..=INTERVAL_MAX_S).contains(&read.interval_s)
                );
                assert!(!read.user_code.chars().any(char::is_control));
            }
        }
        for bytes in mangled(b"GET /?code=a%2Fb&state=s1 HTTP/1.1") {
            if let Redirected::Code(code) = redirected(&String::from_utf8_lossy(&bytes), "s1") {
                assert!(is_token(&code));
            }
        }
    }
}

//! Pings of healthchecks.io and what speaks like it: it raises the alarm when nothing comes.
//!
//! The address of a check is a secret of sorts (who knows it can say all is well); errors name only the host.

use super::http::{Request, post, tail};
use super::{NotifyError, Post, retrying};
use crate::catalog::RunId;

/// The service keeps so many bytes of a body, the first ones; so the last ones are sent.
const BODY_BYTES: usize = 10_000;

/// What a ping says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run begins.
    Start,
    /// It went well.
    Success,
    /// It failed.
    Fail,
    /// Something to keep, without saying how it went.
    Log,
}

/// Pings a check. `rid` ties the end of a run to its start; of the text the last 10 kB are sent.
pub fn ping(url: &str, event: Event, rid: Option<&RunId>, text: &str, how: &Post) -> Result<(), NotifyError> {
    retrying(how, || ping_once(url, event, rid, text, how))
}

pub(super) fn ping_once(
    url: &str,
    event: Event,
    rid: Option<&RunId>,
    text: &str,
    how: &Post,
) -> Result<(), NotifyError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let end = match event {
        Event::Start => "/start",
        Event::Success => "",
        Event::Fail => "/fail",
        Event::Log => "/log",
    };
    let rid = rid.map(|rid| format!("rid={}", uuid_of(rid)));
    let query: Vec<&str> =
        [query].into_iter().chain(rid.as_deref()).filter(|part| !part.is_empty()).collect();
    let mut url = format!("{}{end}", address.trim_end_matches('/'));
    if !query.is_empty() {
        url = format!("{url}?{}", query.join("&"));
    }
    let body = tail(text, BODY_BYTES).to_string();
    post(&Request { url, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body }, how)
}

/// The service wants a UUID; ours are half as long, so they are hashed to that length.
fn uuid_of(run: &RunId) -> String {
    let hash = blake3::hash(run.0.as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    // Version 8: made by a rule of one's own (RFC 9562).
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_uuid() {
        let uuid = uuid_of(&RunId("0123456789abcdef".into()));
        assert_eq!(uuid, uuid_of(&RunId("0123456789abcdef".into())));
        assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'8'));
        assert_ne!(uuid, uuid_of(&RunId("0123456789abcdee".into())));
    }
}

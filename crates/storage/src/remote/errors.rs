//! What an error of a remote service means for a caller, and how it is told without secrets.
//!
//! OpenDAL tells a kind and whether a retry may help; who must act (wrong login, full place, foreign
//! certificate) is told apart here by the status line and the service's own error code. Addresses of
//! requests are never shown: signed ones carry credentials.

use crate::{ErrorKind, StoreError};
use opendal::ErrorKind as Kind;
use std::error::Error;

/// Longest part of a server's answer that is shown (bytes).
const ANSWER_MAX_BYTES: usize = 300;

/// What is said, here and to the user, when a drive's login is no longer good.
pub(super) const LOGIN_REFUSED: &str =
    "the login is not accepted any more; get a new one with: lifeboat repo connect";

/// Codes by which services say that they do not know the login, or do not believe it.
const LOGIN_CODES: &[&str] = &[
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "InvalidSecurity",
    "NotSignedUp",
    "AuthenticationFailed",
    "failed to authenticate the request",
    "InvalidAuthenticationInfo",
    "bad_auth_token",
    "expired_auth_token",
    "failed to load signing credential",
    "loading credential",
    "InvalidAuthenticationToken",
    "expired_access_token",
    "invalid_access_token",
    LOGIN_REFUSED,
];
/// Codes by which services say that nothing more fits.
const SPACE_CODES: &[&str] = &[
    "QuotaExceeded",
    "StorageFull",
    "cap_exceeded",
    "InsufficientStorage",
    "No space left",
    "EntityTooLarge",
    "insufficient_space",
    "quotaLimitReached",
];
/// Codes by which services say that an object is in an archive (Amazon, Azure).
const ARCHIVE_CODES: &[&str] = &["InvalidObjectState", "BlobArchived"];
/// Codes by which services say that the bucket itself is not there.
const PLACE_CODES: &[&str] = &["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"];

/// Makes a store error of `error`, met while doing `what`.
pub(super) fn failed(what: String, error: &opendal::Error) -> StoreError {
    StoreError::new(kind_of(error), what).because(explain(error))
}

/// The same for a WebDAV server. Those made with Go's library answer 405 to whatever their disk refuses, be it
/// full or out of reach: worth another try, since the method itself is one they know.
pub(super) fn failed_at_webdav(what: String, error: &opendal::Error) -> StoreError {
    match status_of(&error.to_string()) {
        Some(405) => {
            let why = format!("{}; the server cannot use its disk, which may be full", explain(error));
            StoreError::new(ErrorKind::Transient, what).because(why)
        }
        _ => failed(what, error),
    }
}

fn kind_of(error: &opendal::Error) -> ErrorKind {
    let answer = error.to_string();
    let says = |codes: &[&str]| codes.iter().any(|code| answer.contains(code));
    let status = status_of(&answer);
    if causes(error).iter().any(|cause| cause.contains("invalid peer certificate")) {
        return ErrorKind::UntrustedServer;
    }
    if status == Some(507) || says(SPACE_CODES) {
        return ErrorKind::NoSpace;
    }
    if says(ARCHIVE_CODES) {
        return ErrorKind::Archived;
    }
    if says(PLACE_CODES) {
        return ErrorKind::NoSuchPlace;
    }
    if status == Some(401) || says(LOGIN_CODES) {
        return ErrorKind::Unauthenticated;
    }
    match error.kind() {
        Kind::NotFound => ErrorKind::NotFound,
        Kind::AlreadyExists | Kind::ConditionNotMatch => ErrorKind::AlreadyExists,
        Kind::RangeNotSatisfied => ErrorKind::Truncated,
        Kind::PermissionDenied => ErrorKind::Denied,
        Kind::ConfigInvalid => ErrorKind::Config,
        Kind::RateLimited => ErrorKind::Transient,
        _ if error.is_temporary() || is_server_trouble(status) => ErrorKind::Transient,
        _ => ErrorKind::Other,
    }
}

/// 408 and 429 ask for another try; 5xx are the server's, except 501 and 505, which never change.
fn is_server_trouble(status: Option<u16>) -> bool {
    status.is_some_and(|status| matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 506 | 508..600))
}

/// The HTTP status, which OpenDAL tells only as a part of its text.
pub(super) fn status_of(answer: &str) -> Option<u16> {
    let after = answer.split_once("Parts { status: ")?.1;
    after.get(..3)?.parse().ok()
}

fn causes(error: &opendal::Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(found) = cause {
        texts.push(found.to_string());
        cause = found.source();
    }
    texts
}

/// The server's words and the causes below, shortened.
fn explain(error: &opendal::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Some(status) = status_of(&error.to_string()) {
        parts.push(format!("HTTP status {status}"));
    }
    parts.push(shortened(error.message()));
    parts.extend(causes(error).iter().map(|cause| shortened(cause)));
    parts.retain(|part| !part.is_empty());
    parts.dedup();
    parts.join(": ")
}

/// One line of printable text.
fn shortened(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().find(|(at, _)| *at >= ANSWER_MAX_BYTES) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

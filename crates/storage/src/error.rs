//! What can go wrong at a store: a kind, the object it concerned, and the cause.

use std::fmt;

/// What went wrong, as far as a caller must act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such object.
    NotFound,
    /// The name is taken (`PutMode::CreateNew`).
    AlreadyExists,
    /// The object is shorter than the range asked for.
    Truncated,
    /// The object is longer than the caller allows.
    TooLarge,
    /// The place refuses: permissions, read-only, append-only, object lock. Never retried.
    Denied,
    /// User name, key or password were not accepted. Never retried.
    Unauthenticated,
    /// The server is not the one remembered (host key, certificate). Never retried.
    UntrustedServer,
    /// No space or quota left. Never retried.
    NoSpace,
    /// The place itself (folder, bucket) is not there.
    NoSuchPlace,
    /// The name of the server leads nowhere: mistyped, or known on another network only. Never retried.
    UnknownHost,
    /// The drive that holds the place is not plugged in (or not mounted): no fault, it may come back.
    Away,
    /// The object is there, in a class from which it must be thawed before it can be read.
    Archived,
    /// Cut connection, time-out, throttling, 5xx: worth another try.
    Transient,
    /// The address or the options are wrong.
    Config,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Whether the same request may succeed later.
    pub fn is_transient(self) -> bool {
        self == ErrorKind::Transient
    }
}

/// An error of a store.
#[derive(Debug)]
pub struct StoreError {
    kind: ErrorKind,
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;

impl StoreError {
    /// Makes an error: `what` says what was being done to which object, e.g. `write packs/4/4f…`.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None }
    }

    /// Adds the cause.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.kind {
            ErrorKind::NotFound => "no such object",
            ErrorKind::AlreadyExists => "already exists",
            ErrorKind::Truncated => "object is shorter than it must be",
            ErrorKind::TooLarge => "object is larger than allowed",
            ErrorKind::Denied => "refused",
            ErrorKind::Unauthenticated => "login was not accepted",
            ErrorKind::UntrustedServer => "the server is not trusted",
            ErrorKind::NoSpace => "no space left",
            ErrorKind::NoSuchPlace => "the place is not there",
            ErrorKind::UnknownHost => "no server of this name is known here",
            ErrorKind::Away => "waiting for its drive",
            ErrorKind::Archived => "archived, and must be thawed before it can be read",
            ErrorKind::Transient => "temporarily failed",
            ErrorKind::Config => "bad address or option",
            ErrorKind::Other => "failed",
        };
        write!(f, "{}: {}", self.what, why)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}

//! What can go wrong in an SFTP session, and what that means to the caller of a store.

use super::wire::{Malformed, status};
use crate::{ErrorKind, StoreError};

/// A failed exchange with the server.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server said no.
    #[error("the server answered: {message} (status {code})")]
    Status { code: u32, message: String },
    /// The connection is gone; the text says what is known about the reason.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Nothing came for so long that the connection is taken for dead.
    #[error("no answer for {0} s")]
    Silent(u64),
    /// The server does not follow the protocol.
    #[error("the server broke the SFTP protocol: {0}")]
    Protocol(&'static str),
}

impl Fault {
    /// Whether the server answered with this status.
    pub(super) fn is_status(&self, wanted: u32) -> bool {
        matches!(self, Fault::Status { code, .. } if *code == wanted)
    }

    /// Whether the session is of no further use.
    pub(super) fn is_fatal(&self) -> bool {
        !matches!(self, Fault::Status { .. })
    }

    /// What the fault means, as far as the answer alone tells. SFTP 3 has one code, `FAILURE`, for a full
    /// disk, a read-only one and an existing target; the store finds out more where it matters.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Fault::Status { code: status::NO_SUCH_FILE, .. } => ErrorKind::NotFound,
            Fault::Status { code: status::PERMISSION_DENIED, .. } => ErrorKind::Denied,
            Fault::Status { code: status::NO_CONNECTION | status::CONNECTION_LOST, .. } => {
                ErrorKind::Transient
            }
            // The texts of servers other than OpenSSH are more talkative.
            Fault::Status { message, .. } => kind_of_message(message),
            Fault::Lost(_) | Fault::Silent(_) => ErrorKind::Transient,
            Fault::Protocol(_) => ErrorKind::Other,
        }
    }

    /// Makes the error of the store: `what` says what was being done to which object.
    pub(super) fn at(self, what: impl Into<String>) -> StoreError {
        StoreError::new(self.kind(), what).because(self)
    }
}

fn kind_of_message(message: &str) -> ErrorKind {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["no space", "quota", "disk full", "not enough space"]) {
        ErrorKind::NoSpace
    } else if says(&["read-only", "permission denied", "access denied"]) {
        ErrorKind::Denied
    } else {
        ErrorKind::Other
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Fault::Protocol(malformed.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_texts_have_kinds() {
        let kind = |code, message: &str| Fault::Status { code, message: message.to_owned() }.kind();
        assert_eq!(kind(status::NO_SUCH_FILE, ""), ErrorKind::NotFound);
        assert_eq!(kind(status::PERMISSION_DENIED, ""), ErrorKind::Denied);
        assert_eq!(kind(status::FAILURE, "Failure"), ErrorKind::Other);
        assert_eq!(kind(status::FAILURE, "write: no space left on device"), ErrorKind::NoSpace);
        assert_eq!(kind(status::FAILURE, "Disk quota exceeded"), ErrorKind::NoSpace);
        assert_eq!(kind(status::FAILURE, "Read-only file system"), ErrorKind::Denied);
        assert_eq!(kind(status::CONNECTION_LOST, ""), ErrorKind::Transient);
        assert_eq!(Fault::Silent(1).kind(), ErrorKind::Transient);
    }
}

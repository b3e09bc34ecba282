//! Why bytes could not be understood: damaged, too new, or not ours to open.

use thiserror::Error;

/// The result of decoding.
pub type FormatResult<T> = Result<T, FormatError>;

/// Why bytes could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The bytes are not what a correct writer could have written.
    #[error("{what} is damaged: {why}")]
    Corrupt {
        /// The thing that was being decoded.
        what: &'static str,
        /// The rule that was broken.
        why: &'static str,
    },
    /// Authentic or at least well-formed, but written by a newer version. Never to be "repaired".
    #[error("{what} was written by a newer version of lifeboat: {why}")]
    TooNew {
        /// The thing that was being decoded.
        what: &'static str,
        /// What is unknown here.
        why: &'static str,
    },
    /// Decryption failed: the key is another one, or the bytes were changed.
    #[error("{what} does not open with this key, or was changed")]
    NotAuthentic {
        /// The thing that was being opened.
        what: &'static str,
    },
    /// This key opens the repository, but was never allowed to do that.
    #[error("this key may not {what}")]
    NotAllowed {
        /// What was asked of it.
        what: &'static str,
    },
}

impl FormatError {
    /// Shorthand for damage.
    pub(crate) fn corrupt(what: &'static str, why: &'static str) -> Self {
        FormatError::Corrupt { what, why }
    }
}

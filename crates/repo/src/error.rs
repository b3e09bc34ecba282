//! What can go wrong in a repository, in terms a user can act on.

use format::FormatError;
use storage::{ErrorKind, StoreError};
use thiserror::Error;

/// The result of a repository operation.
pub type RepoResult<T> = Result<T, RepoError>;

/// What went wrong.
#[derive(Debug, Error)]
pub enum RepoError {
    /// The place exists (or not), but holds no repository.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// The place.
        location: String,
    },
    /// Things of a repository are there, and neither copy of its configuration.
    #[error("{location} holds a repository whose configuration is lost")]
    ConfigurationLost {
        /// The place.
        location: String,
    },
    /// The configuration is there, but both copies of every key slot are lost.
    #[error("{location} holds a repository whose key slots are all lost")]
    SlotsLost {
        /// The place.
        location: String,
    },
    /// `init` found one already.
    #[error("there is already a repository at {location}")]
    AlreadyExists {
        /// The place.
        location: String,
    },
    /// No key slot opened.
    #[error("none of the {slots} key slots of {location} opens with this {tried}")]
    WrongSecret {
        /// The place.
        location: String,
        /// How many slots could have been opened by this kind of secret.
        slots: usize,
        /// "password" or "key".
        tried: &'static str,
    },
    /// The store failed.
    #[error("store {location}")]
    Store {
        /// The place.
        location: String,
        /// Why.
        source: StoreError,
    },
    /// An object could not be understood.
    #[error("object {name}")]
    Object {
        /// Which object.
        name: String,
        /// Why.
        source: FormatError,
    },
    /// A blob is in no pack that can be read.
    #[error("{kind} {id} is missing: {why}")]
    MissingBlob {
        /// "file content" or "tree node".
        kind: &'static str,
        /// The blob's id in hex.
        id: String,
        /// What was tried.
        why: String,
    },
    /// A selection that selects nothing.
    #[error("nothing is selected: {0}")]
    NothingSelected(&'static str),
    /// There is no room on this machine.
    #[error("{0}")]
    LocalFull(String),
    /// No snapshot fits what the user wrote.
    #[error("no snapshot matches {0:?}")]
    NoSnapshot(String),
    /// More than one snapshot fits.
    #[error("{0:?} is the beginning of {1} snapshot ids")]
    AmbiguousSnapshot(String, usize),
    /// A path is not in the snapshot.
    #[error("the snapshot has no path {0:?}")]
    NoPath(String),
    /// What a run relied on was deleted by another machine while it ran, again and again.
    #[error("packs this run relied on were removed while it ran; run it again")]
    Overtaken,
    /// A forgotten snapshot cannot be promised to stay: its removal was announced.
    #[error("snapshot {0} comes too late: a prune has begun to remove it")]
    TooLate(String),
    /// A block did not survive its own verification before upload.
    #[error("a block could not be read back right after it was made ({0}): memory or processor are faulty")]
    SelfTest(String),
    /// Anything about local files of this machine.
    #[error("{0}")]
    Local(String),
    /// A source does not let this program in, or is not what it is said to be: another try finds the same.
    #[error("{0}")]
    SourceRefused(String),
}

impl RepoError {
    /// The kind of store error at the bottom, if there is one.
    pub fn store_kind(&self) -> Option<ErrorKind> {
        match self {
            RepoError::Store { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// Whether this is damage: something stored is missing or changed, or the medium cannot read it
    /// (`Other` is what a bad sector gives). Another key, a newer version or a broken line are not.
    pub fn is_damage(&self) -> bool {
        match self {
            RepoError::MissingBlob { .. }
            | RepoError::ConfigurationLost { .. }
            | RepoError::SlotsLost { .. } => true,
            RepoError::Object { source, .. } => {
                matches!(source, FormatError::Corrupt { .. } | FormatError::NotAuthentic { .. })
            }
            RepoError::Store { source, .. } => matches!(
                source.kind(),
                ErrorKind::NotFound | ErrorKind::Truncated | ErrorKind::TooLarge | ErrorKind::Other
            ),
            _ => false,
        }
    }

    /// Whether something was written by a newer version.
    pub fn is_too_new(&self) -> bool {
        matches!(self, RepoError::Object { source: FormatError::TooNew { .. }, .. })
    }

    /// Wraps a decoding error with the object's name.
    pub(crate) fn object(name: &impl ToString, source: FormatError) -> Self {
        RepoError::Object { name: name.to_string(), source }
    }
}

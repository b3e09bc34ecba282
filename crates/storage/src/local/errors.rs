//! What an error number of this machine's file system means for a caller.
//!
//! Space and permission are told apart because they are final and end with their own exit codes. An
//! I/O error stays `Other`: a disk that cannot read is no reason to try again in a loop.

use crate::{ErrorKind, StoreError};
use rustix::io::Errno;
use std::fmt::Display;

/// Makes a store error of `error`, met while doing `verb` to `thing`.
pub(super) fn failed(verb: &str, thing: impl Display, error: Errno) -> StoreError {
    StoreError::new(kind_of(error), format!("{verb} {thing}")).because(std::io::Error::from(error))
}

/// What a caller can do about it.
pub(super) fn kind_of(error: Errno) -> ErrorKind {
    match error {
        Errno::NOENT | Errno::NOTDIR => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::NOSPC | Errno::DQUOT => ErrorKind::NoSpace,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Denied,
        // This machine is short of something: that says nothing about the object, and is no damage.
        Errno::INTR | Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM => ErrorKind::Transient,
        // O_NOFOLLOW met a symbolic link: that is no object of ours.
        Errno::LOOP => ErrorKind::NotFound,
        _ => ErrorKind::Other,
    }
}

/// Whether an error number says "this file system has no such call" instead of "it went wrong".
/// FAT answers `PERM` to a hard link, FUSE and SMB mounts answer any of the others.
pub(super) fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::NOTTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_this_machine_is_no_fault_of_the_object() {
        assert_eq!(failed("read", "a", Errno::MFILE).kind(), ErrorKind::Transient);
        assert_eq!(failed("read", "a", Errno::NOMEM).kind(), ErrorKind::Transient);
        assert_eq!(failed("read", "a", Errno::IO).kind(), ErrorKind::Other);
    }
}

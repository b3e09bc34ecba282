//! The folder a store lives in: paths, folders made as needed, what is not durable yet, and what a server
//! means that answers no more than "Failure".

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::Fault;
use super::pool::{Lease, Pool};
use super::session::Session;
use super::unsynced::{SyncFault, Unsynced};
use super::wire::{EntryKind, Reply, Request, Space, status};
use crate::{ErrorKind, StoreError, StoreResult};

/// A disk with less than this left is taken for full when a write fails without a reason.
const FREE_BYTES_MIN: u64 = 1 << 20;

/// What a store and its uploads share.
pub(super) struct Place {
    pool: Arc<Pool>,
    /// For messages.
    pub(super) location: String,
    /// The folder of the store: empty for the login folder, else with a slash at the end.
    root: String,
    /// Folders that are known to exist, by their names below the root.
    folders: Mutex<HashSet<String>>,
    unsynced: Mutex<Unsynced>,
    /// Set when a sync found that the server had lost something.
    broken: AtomicBool,
    /// Whether a folder was ever synced.
    folders_sync: AtomicBool,
    /// Whether new objects get their names by hard link; corrected when a file system refuses.
    hard_links: AtomicBool,
    /// Whether leftovers of uploads have been looked for.
    swept: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// Connects once, so that wrong addresses, logins and folders show at once.
    pub(super) fn open(
        pool: Arc<Pool>,
        location: String,
        path: &str,
        create_root: bool,
    ) -> StoreResult<Self> {
        let root = match path.trim_end_matches('/') {
            "" if path.is_empty() => String::new(),
            trimmed => format!("{trimmed}/"),
        };
        let lease = pool.lease()?;
        let place = Self {
            location,
            root,
            folders: Mutex::default(),
            unsynced: Mutex::default(),
            broken: AtomicBool::new(false),
            folders_sync: AtomicBool::new(false),
            hard_links: AtomicBool::new(lease.abilities.hard_link),
            swept: AtomicBool::new(false),
            pool,
        };
        place.need_root(&lease, create_root)?;
        Ok(place)
    }

    /// Takes part in a session.
    pub(super) fn lease(&self) -> StoreResult<Lease> {
        self.pool.lease()
    }

    /// As [`Place::lease`], for changes: refused after a failed sync.
    pub(super) fn lease_for_writing(&self) -> StoreResult<Lease> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(StoreError::new(ErrorKind::Other, format!("write to {}", self.location))
                .because("an earlier sync failed, so what was written since the last success may be lost")),
            false => self.pool.lease(),
        }
    }

    /// Where a name lies at the server.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// The folder of the store as a path.
    pub(super) fn root_path(&self) -> &str {
        match self.root.trim_end_matches('/') {
            "" if self.root.is_empty() => ".",
            "" => "/",
            root => root,
        }
    }

    /// What stands before every name: empty, or with a slash at the end.
    pub(super) fn root_prefix(&self) -> &str {
        &self.root
    }

    /// How many connections there may be.
    pub(super) fn connections(&self) -> usize {
        self.pool.sessions_max()
    }

    /// Whether new names are given by hard link, which never replaces anything.
    pub(super) fn has_hard_links(&self) -> bool {
        self.hard_links.load(Ordering::Relaxed)
    }

    /// Notes that the file system behind the server knows no hard links.
    pub(super) fn give_up_hard_links(&self) {
        self.hard_links.store(false, Ordering::Relaxed);
    }

    /// True for the first caller: leftovers are looked for once.
    pub(super) fn may_sweep(&self) -> bool {
        !self.swept.swap(true, Ordering::Relaxed)
    }

    fn need_root(&self, session: &Session, create: bool) -> StoreResult<()> {
        let path = self.root_path();
        let what = || format!("open {}", self.location);
        match session.call(Request::Stat { path }) {
            Ok(Reply::Attributes(attributes)) if attributes.kind(b"d") == EntryKind::Folder => Ok(()),
            Ok(_) => Err(StoreError::new(ErrorKind::NoSuchPlace, what()).because("it is not a folder")),
            Err(fault) if fault.is_status(status::NO_SUCH_FILE) && create => self.make_root(session),
            Err(fault) if fault.is_status(status::NO_SUCH_FILE) => {
                Err(StoreError::new(ErrorKind::NoSuchPlace, what()).because(fault))
            }
            Err(fault) => Err(fault.at(what())),
        }
    }

    fn make_root(&self, session: &Session) -> StoreResult<()> {
        let path = self.root_path();
        let mut ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([path.len()]);
        ends.try_for_each(|end| self.make_folder(session, &path[..end]))
    }

    /// Makes sure of a folder below the root.
    pub(super) fn need_folder(&self, session: &Session, folder: &str) -> StoreResult<()> {
        if folder.is_empty() || locked(&self.folders).contains(folder) {
            return Ok(());
        }
        for end in folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]) {
            let part = &folder[..end];
            if !locked(&self.folders).contains(part) {
                self.make_folder(session, &self.path(part))?;
                locked(&self.folders).insert(part.to_owned());
            }
        }
        Ok(())
    }

    /// Forgets which folders exist, because the server says that one does not.
    pub(super) fn forget_folders(&self) {
        locked(&self.folders).clear();
    }

    fn make_folder(&self, session: &Session, path: &str) -> StoreResult<()> {
        let what = || format!("make folder {path}");
        match session.call(Request::MakeFolder { path }) {
            Ok(_) => {
                locked(&self.unsynced).note_entry(path);
                Ok(())
            }
            Err(fault) if fault.is_fatal() => Err(fault.at(what())),
            // The folder above is made before, so what is missing is the store itself.
            Err(fault) if fault.is_status(status::NO_SUCH_FILE) => {
                Err(StoreError::new(ErrorKind::NoSuchPlace, what()).because(fault))
            }
            // "Failure" is also the answer when it is already there.
            Err(fault) => match session.call(Request::Stat { path }) {
                Ok(Reply::Attributes(attributes)) if attributes.kind(b"d") == EntryKind::Folder => Ok(()),
                _ => Err(self.failure(session, fault, what())),
            },
        }
    }

    /// Notes an object that got its name in this session, or lost it when `len_bytes` is `None`.
    pub(super) fn note(&self, session: &Session, path: &str, len_bytes: Option<u64>) {
        locked(&self.unsynced).note(path, len_bytes, session.number);
    }

    /// See [`Store::sync`](crate::Store::sync). A cut connection leaves everything to be synced by the next
    /// call; a loss is final.
    pub(super) fn sync(&self) -> StoreResult<()> {
        let lease = self.lease_for_writing()?;
        let what = || format!("sync {}", self.location);
        let changes = std::mem::take(&mut *locked(&self.unsynced));
        let synced = changes.sync_folders(&lease, &self.folders_sync);
        match synced.and_then(|()| changes.check(&lease, &self.pool.settle())) {
            Ok(()) => Ok(()),
            Err(SyncFault::Failed(fault)) if fault.kind() == ErrorKind::Transient => {
                locked(&self.unsynced).put_back(changes);
                Err(fault.at(what()))
            }
            Err(SyncFault::Failed(fault)) => {
                self.broken.store(true, Ordering::Relaxed);
                Err(fault.at(what()))
            }
            Err(SyncFault::Lost(path)) => {
                self.broken.store(true, Ordering::Relaxed);
                let why = format!("{path} is not as it was left; the server may have crashed meanwhile");
                Err(StoreError::new(ErrorKind::Other, what()).because(why))
            }
        }
    }

    /// Turns a fault of a request for one object into an error. That the object is missing is only said
    /// while the store is there: a disk that went away must not look like a store that lost its objects.
    pub(super) fn object_error(&self, session: &Session, fault: Fault, what: String) -> StoreError {
        if fault.is_status(status::NO_SUCH_FILE)
            && matches!(self.exists(session, self.root_path()), Ok(false))
        {
            return StoreError::new(ErrorKind::NoSuchPlace, what).because(fault);
        }
        fault.at(what)
    }

    /// Turns a fault of a changing request into an error, asking the server about its disk when it said no
    /// more than "Failure".
    pub(super) fn failure(&self, session: &Session, fault: Fault, what: impl Into<String>) -> StoreError {
        let plain = fault.is_status(status::FAILURE) && fault.kind() == ErrorKind::Other;
        let trouble = match plain && session.abilities.stat_vfs {
            true => self.disk_trouble(session),
            false => None,
        };
        StoreError::new(trouble.unwrap_or(fault.kind()), what).because(fault)
    }

    fn disk_trouble(&self, session: &Session) -> Option<ErrorKind> {
        let path = self.root_path();
        let Ok(Reply::Extended(body)) = session.call(Request::StatVfs { path }) else { return None };
        trouble(&Space::decode(body).ok()?)
    }

    /// Whether a path exists.
    pub(super) fn exists(&self, session: &Session, path: &str) -> Result<bool, Fault> {
        match session.call(Request::LinkStat { path }) {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_status(status::NO_SUCH_FILE) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

/// Why a write to such a file system fails, if it shows.
fn trouble(space: &Space) -> Option<ErrorKind> {
    // File systems without a fixed number of files report none at all.
    let no_files = space.files > 0 && space.free_files == 0;
    if space.read_only {
        Some(ErrorKind::Denied)
    } else if space.free_bytes < FREE_BYTES_MIN || no_files {
        Some(ErrorKind::NoSpace)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_read_only_disks_are_told_apart() {
        let roomy = Space { free_bytes: 1 << 30, free_files: 9, files: 10, read_only: false };
        assert_eq!(trouble(&roomy), None);
        assert_eq!(trouble(&Space { files: 0, free_files: 0, ..roomy }), None);
        assert_eq!(trouble(&Space { free_files: 0, ..roomy }), Some(ErrorKind::NoSpace));
        assert_eq!(trouble(&Space { free_bytes: 4096, ..roomy }), Some(ErrorKind::NoSpace));
        assert_eq!(trouble(&Space { read_only: true, free_bytes: 0, ..roomy }), Some(ErrorKind::Denied));
    }
}

//! What was named or deleted since the last sync, and the sync.
//!
//! A server may crash and be back between a `put` and the `sync` after it, and all the client sees is a cut
//! connection. So a sync looks, in one session, whether everything is still as it was left, and then syncs
//! the folders: had the server crashed in between, the session would have ended.

use std::collections::{BTreeSet, HashMap};

use super::fault::Fault;
use super::session::{Exchange, Session};
use super::wire::{OPEN_READ, Reply, Request, status};

/// Questions in flight.
const FLIGHT: usize = 64;

/// Changes that a power cut at the server may still undo.
#[derive(Default)]
pub(super) struct Unsynced {
    /// Paths and the lengths they were given in bytes; `None` for deleted ones.
    objects: HashMap<String, Option<u64>>,
    /// Folders with changed entries.
    folders: BTreeSet<String>,
}

/// Why a sync did not succeed.
pub(super) enum SyncFault {
    /// Something is not as it was left.
    Lost(String),
    Failed(Fault),
}

impl From<Fault> for SyncFault {
    fn from(fault: Fault) -> Self {
        SyncFault::Failed(fault)
    }
}

impl Unsynced {
    /// Notes an object of `len_bytes`, or its removal.
    pub(super) fn note(&mut self, path: &str, len_bytes: Option<u64>) {
        self.objects.insert(path.to_owned(), len_bytes);
        self.note_entry(path);
    }

    /// Notes that an entry was made in the folder that holds `path`.
    pub(super) fn note_entry(&mut self, path: &str) {
        let folder = match path.rsplit_once('/') {
            Some(("", _)) => "/",
            Some((folder, _)) => folder,
            None => ".",
        };
        self.folders.insert(folder.to_owned());
    }

    /// Takes back what could not be synced; what was noted meanwhile is newer.
    pub(super) fn put_back(&mut self, older: Unsynced) {
        for (path, len_bytes) in older.objects {
            self.objects.entry(path).or_insert(len_bytes);
        }
        self.folders.extend(older.folders);
    }

    /// Checks everything noted, then syncs its folders. Tells whether the server could sync folders at all.
    pub(super) fn sync(&self, session: &Session) -> Result<bool, SyncFault> {
        self.check(session)?;
        match session.abilities.fsync {
            true => Ok(self.sync_folders(session)?),
            false => Ok(false),
        }
    }

    fn check(&self, session: &Session) -> Result<(), SyncFault> {
        let mut exchange = Exchange::new();
        let mut asked = HashMap::new();
        let mut objects = self.objects.iter();
        loop {
            while exchange.in_flight() < FLIGHT {
                let Some((path, len_bytes)) = objects.next() else { break };
                asked.insert(exchange.send(session, Request::LinkStat { path })?, (path, *len_bytes));
            }
            if exchange.in_flight() == 0 {
                return Ok(());
            }
            let (id, reply) = exchange.receive_any(session)?;
            let (path, wanted) = asked.remove(&id).ok_or(Fault::Protocol("an answer nobody asked for"))?;
            let found = match reply? {
                Reply::Attributes(attributes) => attributes.len_bytes,
                Reply::Status { code: status::NO_SUCH_FILE, .. } => None,
                Reply::Status { code, message } => return Err(Fault::Status { code, message }.into()),
                _ => return Err(Fault::Protocol("a stat without attributes").into()),
            };
            if found != wanted {
                return Err(SyncFault::Lost(path.clone()));
            }
        }
    }

    /// Opens folders as files, which OpenSSH allows, in order to sync them: SFTP has no other way.
    fn sync_folders(&self, session: &Session) -> Result<bool, Fault> {
        let mut all_synced = true;
        let folders: Vec<&String> = self.folders.iter().collect();
        for some in folders.chunks(FLIGHT) {
            let mut opening = Exchange::new();
            for path in some {
                opening.send(session, Request::Open { path, flags: OPEN_READ })?;
            }
            let mut syncing = Exchange::new();
            while opening.in_flight() > 0 {
                match opening.receive_any(session)?.1? {
                    Reply::Handle(handle) => {
                        syncing.send(session, Request::Fsync { handle: &handle })?;
                        session.tell(Request::Close { handle: &handle });
                    }
                    // Taken away since, or a server that does not open folders.
                    Reply::Status { .. } => all_synced = false,
                    _ => return Err(Fault::Protocol("an open without a handle")),
                }
            }
            // An fsync that fails has lost what it should have kept: that is an error, not an inability.
            syncing.settle(session)?;
        }
        Ok(all_synced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_from_a_failed_sync_does_not_hide_newer_changes() {
        let mut older = Unsynced::default();
        older.note("r/packs/4/a", Some(1));
        older.note("r/config", Some(2));
        let mut newer = Unsynced::default();
        newer.note("r/packs/4/a", None);
        newer.put_back(older);
        assert_eq!(newer.objects["r/packs/4/a"], None);
        assert_eq!(newer.objects["r/config"], Some(2));
        assert!(newer.folders.iter().eq(["r", "r/packs/4"]));
    }

    #[test]
    fn the_folders_at_the_ends_of_the_tree_have_names() {
        let mut changes = Unsynced::default();
        changes.note("config", Some(1));
        changes.note_entry("/config");
        assert!(changes.folders.iter().eq([".", "/"]));
    }
}

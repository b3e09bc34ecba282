//! What was named or deleted since the last sync, and the sync.
//!
//! A server may crash and be back between a `put` and the `sync` after it, and all the client sees is a cut
//! connection. So a sync looks whether everything is still as it was left that was done in a session which
//! has ended since; a session that still answers proves that the server did not crash meanwhile. Only in
//! that case can a change by another writer be mistaken for a loss, which ends the run and no more.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use super::fault::Fault;
use super::session::{Exchange, Session};
use super::wire::{OPEN_READ, Reply, Request, status};

/// Questions in flight.
const FLIGHT: usize = 64;

/// Changes that a power cut at the server may still undo.
#[derive(Default)]
pub(super) struct Unsynced {
    /// By path.
    objects: HashMap<String, Change>,
    /// Folders with changed entries.
    folders: BTreeSet<String>,
}

#[derive(Clone, Copy)]
struct Change {
    /// `None` for a removal.
    len_bytes: Option<u64>,
    /// The number of the session that made it.
    session: u64,
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
    /// Notes an object of `len_bytes`, or its removal, made in a session of that number.
    pub(super) fn note(&mut self, path: &str, len_bytes: Option<u64>, session: u64) {
        self.objects.insert(path.to_owned(), Change { len_bytes, session });
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
        for (path, change) in older.objects {
            self.objects.entry(path).or_insert(change);
        }
        self.folders.extend(older.folders);
    }

    /// Checks what was done in sessions other than `alive`, the numbers of those that still answer.
    ///
    /// To be called after [`Unsynced::sync_folders`] in the same session, so that no crash fits in between.
    pub(super) fn check(&self, session: &Session, alive: &[u64]) -> Result<(), SyncFault> {
        let mut exchange = Exchange::new();
        let mut asked = HashMap::new();
        let mut doubtful = self.objects.iter().filter(|(_, change)| !alive.contains(&change.session));
        loop {
            while exchange.in_flight() < FLIGHT {
                let Some((path, change)) = doubtful.next() else { break };
                asked.insert(exchange.send(session, Request::LinkStat { path })?, (path, change.len_bytes));
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

    /// Syncs the folders, as far as the server can. They are opened as files, which OpenSSH allows: SFTP has
    /// no other way.
    ///
    /// `able` is whether a folder was ever synced: until then a refusal is taken for a file system that
    /// cannot, from then on for a disk that lost what it should have kept. It is set here.
    pub(super) fn sync_folders(&self, session: &Session, able: &AtomicBool) -> Result<(), SyncFault> {
        if !session.abilities.fsync {
            return Ok(());
        }
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
                    Reply::Status { .. } => {}
                    _ => return Err(Fault::Protocol("an open without a handle").into()),
                }
            }
            while syncing.in_flight() > 0 {
                match syncing.receive(session) {
                    Ok(_) => able.store(true, Ordering::Relaxed),
                    Err(fault) if fault.is_fatal() || able.load(Ordering::Relaxed) => {
                        return Err(fault.into());
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::{Abilities, fake};
    use super::*;

    /// A server on which every object has 1 byte, folders open, and syncs answer with `sync_status`.
    fn session(sync_status: u32) -> Session {
        let abilities = Abilities { fsync: true, ..Abilities::default() };
        fake::session(abilities, move |packet| {
            let (kind, id) = (packet[4], &packet[5..9]);
            let answer = |kind: u8, fields: &[u32]| {
                let fields = fields.iter().flat_map(|field| field.to_be_bytes());
                [kind].into_iter().chain(id.iter().copied()).chain(fields).collect()
            };
            match kind {
                3 => vec![answer(102, &[0])],
                7 => vec![answer(105, &[1, 0, 1])],
                200 => vec![answer(101, &[sync_status])],
                _ => vec![],
            }
        })
    }

    #[test]
    fn a_folder_that_cannot_be_synced_is_an_error_only_where_one_could() {
        let mut changes = Unsynced::default();
        changes.note("config", Some(1), 1);
        let able = AtomicBool::new(false);
        assert!(changes.sync_folders(&session(status::FAILURE), &able).is_ok());
        assert!(!able.load(Ordering::Relaxed));
        assert!(changes.sync_folders(&session(status::OK), &able).is_ok());
        assert!(able.load(Ordering::Relaxed));
        let failed = changes.sync_folders(&session(status::FAILURE), &able);
        assert!(matches!(failed, Err(SyncFault::Failed(_))));
    }

    #[test]
    fn only_what_a_dead_session_did_can_be_lost() {
        let session = session(status::OK);
        for (len_bytes, is_kept) in [(Some(1), true), (Some(2), false), (None, false)] {
            let mut changes = Unsynced::default();
            changes.note("packs/4/a", len_bytes, 7);
            assert!(changes.check(&session, &[6, 7]).is_ok());
            match changes.check(&session, &[6]) {
                Ok(()) => assert!(is_kept),
                Err(SyncFault::Lost(path)) => assert!(!is_kept && path == "packs/4/a"),
                Err(SyncFault::Failed(fault)) => panic!("{fault}"),
            }
        }
    }

    #[test]
    fn what_comes_back_from_a_failed_sync_does_not_hide_newer_changes() {
        let mut older = Unsynced::default();
        older.note("r/packs/4/a", Some(1), 1);
        older.note("r/config", Some(2), 1);
        let mut newer = Unsynced::default();
        newer.note("r/packs/4/a", None, 2);
        newer.put_back(older);
        assert_eq!(newer.objects["r/packs/4/a"].len_bytes, None);
        assert_eq!(newer.objects["r/config"].len_bytes, Some(2));
        assert!(newer.folders.iter().eq(["r", "r/packs/4"]));
    }

    #[test]
    fn the_folders_at_the_ends_of_the_tree_have_names() {
        let mut changes = Unsynced::default();
        changes.note("config", Some(1), 1);
        changes.note_entry("/config");
        assert!(changes.folders.iter().eq([".", "/"]));
    }
}

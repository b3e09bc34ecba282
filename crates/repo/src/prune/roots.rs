//! What must be kept: the roots of everything that is committed or about to be.
//!
//! Roots are the authentic objects under `pending/` and `snapshots/` (and its mirror), and nothing else.
//! `pending/` is read first: a writer that commits meanwhile moves from there to `snapshots/`, and so is
//! met in one of the two; in the other order it could be missed in both.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::Repo;
use crate::reader::chain;
use crate::removals::Announced;
use crate::snapshots::{Record, read_records};
use format::FormatError;
use format::id::{PackId, SnapshotId};
use format::limits::RECORD_BYTES_MAX;
use format::snapshot::{Pending, Snapshot};
use format::tree::Root;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::time::SystemTime;
use storage::{ErrorKind, ObjectInfo, ObjectName, planted};

/// How often the pending records are listed again because one went away before it was read.
const LISTINGS_MAX: usize = 64;

/// A session that has not ended, as its newest pending record says.
pub(super) struct PendingSession {
    pub(super) session: SnapshotId,
    /// Names of all its pending records.
    pub(super) names: Vec<ObjectName>,
    /// When the store received the newest one.
    pub(super) received: Option<SystemTime>,
}

/// A tree to keep.
pub(super) struct Tree {
    /// The words that name it.
    pub(super) name: String,
    pub(super) root: Root,
    /// The snapshot; `None` for a session that has not committed: it may find that something is gone, and
    /// store it again.
    pub(super) snapshot: Option<SnapshotId>,
}

/// All roots at one moment.
#[derive(Default)]
pub(super) struct Roots {
    /// Trees to keep.
    pub(super) trees: Vec<Tree>,
    /// Packs that running sessions wrote.
    pub(super) protected: HashSet<PackId>,
    pub(super) sessions: Vec<PendingSession>,
    pub(super) snapshots: BTreeMap<SnapshotId, Snapshot>,
    /// Sessions that were ended by an abort record.
    pub(super) ended: BTreeSet<SnapshotId>,
    /// What stands under the names of snapshots whose removal was confirmed. No roots.
    pub(super) leftovers: BTreeSet<SnapshotId>,
    /// Records that may be roots but cannot be read: while there are any, nothing may be deleted.
    pub(super) doubts: Vec<String>,
    /// Records that no key of this family made. They are no roots.
    pub(super) foreign: Vec<String>,
}

impl Roots {
    /// Reads them, pending records first. `known` are records read before: what stands under the name of a
    /// snapshot never changes, so only whether it is there is asked again.
    pub(super) fn read(repo: &Repo, known: BTreeMap<SnapshotId, Snapshot>) -> RepoResult<Self> {
        let mut roots = Roots::default();
        if planted::is("snapshots-before-pending") {
            roots.read_snapshots(repo, &known)?;
        }
        if !planted::is("pending-unseen") {
            roots.read_pending(repo)?;
        }
        if !planted::is("snapshots-before-pending") {
            roots.read_snapshots(repo, &known)?;
        }
        Ok(roots)
    }

    /// Leaves these snapshots out, for a dry run.
    pub(super) fn leave_out(&mut self, removed: &BTreeSet<SnapshotId>) {
        for id in removed {
            if let Some(snapshot) = self.snapshots.remove(id) {
                let name = snapshot_name(&snapshot);
                self.trees.retain(|tree| tree.name != name);
            }
        }
    }

    /// A record that is gone before it could be read was replaced by a later one, which the listing may have
    /// been too early for: then all is listed again.
    fn read_pending(&mut self, repo: &Repo) -> RepoResult<()> {
        for _ in 0..LISTINGS_MAX {
            let mut found = Vec::new();
            let mut is_whole = true;
            for info in list(repo, names::PENDING)? {
                let Some((session, number)) = names::parse_pending(&info.name) else { continue };
                match read_pending(repo, &info.name, &session, number) {
                    Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => is_whole = false,
                    other => found.push((info, session, other)),
                }
            }
            if is_whole {
                return found
                    .into_iter()
                    .try_for_each(|(info, session, read)| self.take_pending(info, session, read));
            }
            repo.store().end_look();
        }
        Err(RepoError::Overtaken)
    }

    fn take_pending(
        &mut self,
        info: ObjectInfo,
        session: SnapshotId,
        read: RepoResult<Pending>,
    ) -> RepoResult<()> {
        match read {
            Ok(pending) => {
                self.protected.extend(&pending.packs);
                if let Some(root) = pending.root {
                    let name = format!("running session {}", &session.hex()[..8]);
                    self.trees.push(Tree { name, root, snapshot: None });
                }
                self.add_session(info, session);
                Ok(())
            }
            // The beginning of one that was cut off while it was written: its writer never went on.
            Err(RepoError::Object { source: FormatError::Corrupt { .. }, .. }) => {
                self.add_session(info, session);
                Ok(())
            }
            Err(e) => self.take_unreadable(&info.name, e),
        }
    }

    fn add_session(&mut self, info: ObjectInfo, session: SnapshotId) {
        match self.sessions.iter_mut().find(|s| s.session == session) {
            Some(known) => {
                known.names.push(info.name);
                known.received = info.received;
            }
            None => {
                let (names, received) = (vec![info.name], info.received);
                self.sessions.push(PendingSession { session, names, received });
            }
        }
    }

    fn read_snapshots(&mut self, repo: &Repo, known: &BTreeMap<SnapshotId, Snapshot>) -> RepoResult<()> {
        let list = |folder: &str| -> RepoResult<BTreeSet<SnapshotId>> {
            Ok(list(repo, folder)?.iter().filter_map(|info| names::parse_snapshot(&info.name)).collect())
        };
        let firsts = list(names::SNAPSHOTS)?;
        let mirrors = list(&format!("{}{}", names::MIRROR, names::SNAPSHOTS))?;
        let confirmed = Announced::read(repo)?.confirmed;
        let (gone, there): (BTreeSet<SnapshotId>, BTreeSet<SnapshotId>) =
            firsts.union(&mirrors).copied().partition(|id| confirmed.contains(id));
        self.leftovers = gone;
        let (old, new): (Vec<SnapshotId>, Vec<SnapshotId>) =
            there.into_iter().partition(|id| known.contains_key(id));
        old.iter().for_each(|id| self.add_snapshot(known[id].clone()));
        read_records(repo, &new, &mut |id, record| {
            match record {
                Ok(Record::Snapshot(snapshot, _)) => self.add_snapshot(*snapshot),
                Ok(Record::Ended) => _ = self.ended.insert(id),
                // Removed since it was listed: by a pruner whose undo window is over.
                Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => {}
                // The second copy is written when the first is durable. Without it, a record that cannot be
                // read was cut off while it was written, and the session's pending record still stands.
                Err(RepoError::Object { source: FormatError::Corrupt { .. }, .. })
                    if !mirrors.contains(&id) => {}
                Err(e) => self.take_unreadable(&names::snapshot(&id), e)?,
            }
            Ok(())
        })
    }

    fn add_snapshot(&mut self, snapshot: Snapshot) {
        let (name, root, id) = (snapshot_name(&snapshot), snapshot.root, snapshot.id);
        self.trees.push(Tree { name, root, snapshot: Some(id) });
        self.snapshots.insert(id, snapshot);
    }

    /// What nobody of this family sealed is no root. What is damaged or too new may be one.
    fn take_unreadable(&mut self, name: &ObjectName, e: RepoError) -> RepoResult<()> {
        match &e {
            RepoError::Object { source: FormatError::NotAuthentic { .. }, .. } => {
                self.foreign.push(name.to_string());
            }
            _ if e.is_damage() || e.is_too_new() => self.doubts.push(format!("{name}: {}", chain(&e))),
            _ => return Err(e),
        }
        Ok(())
    }
}

fn snapshot_name(snapshot: &Snapshot) -> String {
    format!("snapshot {}", snapshot.id.hex())
}

fn read_pending(repo: &Repo, name: &ObjectName, session: &SnapshotId, number: u64) -> RepoResult<Pending> {
    repo.get_surely(name, RECORD_BYTES_MAX as u64, |bytes| {
        let pending = Pending::decode(bytes, &repo.identity().repo, repo.keys())?;
        match (pending.session, pending.number) == (*session, number) {
            true => Ok(pending),
            false => {
                let why = "it stands under another's name";
                Err(FormatError::Corrupt { what: "pending record", why })
            }
        }
    })
}

pub(super) fn list(repo: &Repo, folder: &str) -> RepoResult<Vec<ObjectInfo>> {
    let mut found = Vec::new();
    repo.list(folder, |info| {
        found.push(info);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

//! Listing, finding and forgetting snapshots.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::{Repo, mend_and_decode};
use crate::seed::Seed;
use format::codec::{Compressor, Level};
use format::gc::Tomb;
use format::id::SnapshotId;
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::snapshot::Snapshot;
use format::{FormatError, FormatResult};
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::SystemTime;
use storage::{ErrorKind, ObjectName, PutMode};

/// A snapshot and what the store says about it.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// The record.
    pub snapshot: Snapshot,
    /// When the store received it, by its own clock.
    pub received: Option<SystemTime>,
    /// Whether it was forgotten (and can still be brought back).
    pub forgotten: bool,
}

/// All snapshots of a repository.
#[derive(Debug, Default)]
pub struct SnapshotList {
    /// Those that can be read, oldest first.
    pub snapshots: Vec<StoredSnapshot>,
    /// Those that cannot, with the reason.
    pub unreadable: Vec<(SnapshotId, RepoError)>,
    /// Tombs that could not be read, with the reason. They bury nothing.
    pub unreadable_tombs: Vec<(SnapshotId, RepoError)>,
}

impl SnapshotList {
    /// Lists and reads all records.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let mut received: BTreeMap<SnapshotId, Option<SystemTime>> = BTreeMap::new();
        for folder in [names::SNAPSHOTS.to_string(), format!("{}{}", names::MIRROR, names::SNAPSHOTS)] {
            repo.list(&folder, |info| {
                if let Some(id) = names::parse_snapshot(&info.name) {
                    received.entry(id).or_insert(info.received);
                }
                ControlFlow::Continue(())
            })?;
        }
        let mut list = SnapshotList::default();
        let tombs = read_tombs(repo, &mut list.unreadable_tombs)?;
        let names: Vec<ObjectName> = received.keys().map(names::snapshot).collect();
        let mut ids = received.into_iter();
        repo.get_many(&names, RECORD_BYTES_MAX as u64, &mut |name, bytes| {
            let (id, received) = ids.next().expect("there are as many ids as names");
            let first = bytes.and_then(|mut bytes| {
                mend_and_decode(&mut bytes, |bytes| decode(repo, &id, bytes))
                    .map_err(|e| RepoError::object(name, e))
            });
            match first.or_else(|_| read_one(repo, &id)) {
                Ok(snapshot) => {
                    let forgotten = tombs.contains(&id);
                    list.snapshots.push(StoredSnapshot { snapshot, received, forgotten });
                }
                Err(e) if e.is_damage() || e.is_too_new() => list.unreadable.push((id, e)),
                Err(e) => return Err(e),
            }
            Ok(())
        })?;
        list.snapshots.sort_by_key(|s| (s.snapshot.time, s.snapshot.sequence, s.snapshot.id));
        Ok(list)
    }

    /// Snapshots that were not forgotten, oldest first.
    pub fn visible(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.snapshots.iter().filter(|s| !s.forgotten).map(|s| &s.snapshot)
    }

    /// The snapshot a user means by `latest`, `latest~2` or the beginning of an id, among those `accept`ed.
    pub fn find(&self, spec: &str, accept: impl Fn(&Snapshot) -> bool) -> RepoResult<&Snapshot> {
        let unknown = || RepoError::NoSnapshot(spec.to_string());
        if let Some(rest) = spec.strip_prefix("latest") {
            let back = match rest.strip_prefix('~') {
                Some(n) => n.parse::<usize>().map_err(|_| unknown())?,
                None if rest.is_empty() => 0,
                None => return Err(unknown()),
            };
            return self.visible().rev().filter(|s| accept(s)).nth(back).ok_or_else(unknown);
        }
        let wanted = spec.to_ascii_lowercase();
        let fits = |s: &&Snapshot| !wanted.is_empty() && s.id.hex().starts_with(&wanted);
        let found: Vec<&Snapshot> = self.snapshots.iter().map(|s| &s.snapshot).filter(fits).collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(unknown()),
            _ => Err(RepoError::AmbiguousSnapshot(spec.to_string(), found.len())),
        }
    }
}

/// Reads one record, from either copy.
pub fn read_one(repo: &Repo, id: &SnapshotId) -> RepoResult<Snapshot> {
    repo.get_mirrored(&names::snapshot(id), |bytes| decode(repo, id, bytes))
}

fn decode(repo: &Repo, id: &SnapshotId, bytes: &[u8]) -> FormatResult<Snapshot> {
    let snapshot = Snapshot::decode(bytes, repo.keys())?;
    match snapshot.id == *id {
        true => Ok(snapshot),
        false => Err(FormatError::Corrupt { what: "snapshot record", why: "it stands under another's name" }),
    }
}

/// Forgotten snapshots. Only an authentic tomb counts: anybody may add an object of that name.
fn read_tombs(repo: &Repo, unreadable: &mut Vec<(SnapshotId, RepoError)>) -> RepoResult<HashSet<SnapshotId>> {
    let mut claimed = Vec::new();
    repo.list(names::GC, |info| {
        claimed.extend(names::parse_tomb(&info.name));
        ControlFlow::Continue(())
    })?;
    let mut buried = HashSet::new();
    for id in claimed {
        match read_tomb(repo, &id) {
            Ok(_) => _ = buried.insert(id),
            Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => {} // taken away meanwhile
            Err(e) if e.is_damage() || e.is_too_new() => unreadable.push((id, e)),
            Err(e) => return Err(e),
        }
    }
    Ok(buried)
}

/// Reads the tomb of a snapshot.
pub(crate) fn read_tomb(repo: &Repo, id: &SnapshotId) -> RepoResult<Tomb> {
    repo.get_mended(&names::tomb(id), RECORD_BYTES_MAX as u64, |bytes| {
        let tomb = Tomb::decode(bytes, &repo.identity().repo, repo.keys())?;
        match tomb.snapshot == *id {
            true => Ok(tomb),
            false => Err(FormatError::Corrupt { what: "tomb", why: "it stands under another's name" }),
        }
    })
}

/// Takes a snapshot out of sight. Its data stays until prune removes it.
pub fn forget(
    repo: &Repo,
    id: &SnapshotId,
    time: Timestamp,
    reason: &str,
    seed: &mut Seed,
) -> RepoResult<()> {
    let tomb = Tomb { snapshot: *id, time, reason: reason.to_string() };
    let mut compressor = Compressor::new(Level(3));
    let bytes = tomb.encode(&repo.identity().repo, repo.keys(), seed.draw(), &mut compressor);
    match repo.put(&names::tomb(id), &bytes, PutMode::CreateNew) {
        // Whatever stands there, afterwards it is a tomb that counts.
        Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => match read_tomb(repo, id) {
            Err(e) if e.is_damage() => repo.put(&names::tomb(id), &bytes, PutMode::Replace)?,
            other => _ = other?,
        },
        other => other?,
    }
    repo.sync()
}

/// Brings a forgotten snapshot back.
pub fn remember(repo: &Repo, id: &SnapshotId) -> RepoResult<()> {
    match repo.store().delete(&names::tomb(id)) {
        Err(e) if e.kind() == ErrorKind::NotFound => {} // a repeated request, or it was never forgotten
        other => other.map_err(|e| repo.store_error(e))?,
    }
    repo.sync()
}

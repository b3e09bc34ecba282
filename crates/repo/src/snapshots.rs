//! Listing, finding and forgetting snapshots.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::{Repo, mend_and_decode};
use crate::removals::{Announced, is_announced};
use crate::reserve;
use crate::seed::Seed;
use crate::unfinished::put_second_copy;
use format::codec::{Compressor, Level};
use format::envelope;
use format::gc::{Abort, GcRecord, Tomb};
use format::id::SnapshotId;
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::snapshot::Snapshot;
use format::{FormatError, FormatResult};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::SystemTime;
use storage::{ErrorKind, ObjectName, PutMode, planted};

/// A snapshot and what the store says about it.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// The record.
    pub snapshot: Snapshot,
    /// When the store received it, by its own clock: the earlier of its two copies.
    pub received: Option<SystemTime>,
    /// BLAKE3 of the record as stored: what the writer's next record and a confirmation name it by.
    pub record_hash: [u8; 32],
    /// Whether it was forgotten (and can still be brought back).
    pub forgotten: bool,
    /// What its tomb says, if it was forgotten.
    pub tomb: Option<StoredTomb>,
}

/// A tomb and what the store says about it.
#[derive(Clone, Debug)]
pub struct StoredTomb {
    /// The record.
    pub tomb: Tomb,
    /// When the store received it, by its own clock.
    pub received: Option<SystemTime>,
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
    /// Everything a tomb speaks of.
    pub buried: BTreeSet<SnapshotId>,
}

impl SnapshotList {
    /// Lists and reads all records.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let mut received: BTreeMap<SnapshotId, Option<SystemTime>> = BTreeMap::new();
        let mut firsts = BTreeSet::new();
        let folders_read = if planted::is("mirror-unlisted") { 1 } else { 2 };
        let folders = [names::SNAPSHOTS.to_string(), format!("{}{}", names::MIRROR, names::SNAPSHOTS)];
        for folder in folders.into_iter().take(folders_read) {
            repo.list(&folder, |info| {
                if let Some(id) = names::parse_snapshot(&info.name) {
                    if folder == names::SNAPSHOTS {
                        firsts.insert(id);
                    }
                    let known = received.entry(id).or_insert(info.received);
                    // A repair may have put one of them again; that makes no snapshot younger.
                    *known = known.iter().chain(&info.received).min().copied();
                }
                ControlFlow::Continue(())
            })?;
        }
        drop_leftovers(repo, &mut received, &firsts)?;
        let mut list = SnapshotList::default();
        let mut tombs = read_tombs(repo, &mut list.unreadable_tombs)?;
        list.buried = tombs.keys().copied().collect();
        let ids: Vec<SnapshotId> = received.keys().copied().collect();
        read_records(repo, &ids, &mut |id, record| {
            match record {
                Ok(Record::Snapshot(snapshot, record_hash)) => {
                    let received = received[&id];
                    let tomb = tombs.remove(&id);
                    let forgotten = tomb.is_some();
                    let snapshot = *snapshot;
                    list.snapshots.push(StoredSnapshot { snapshot, received, record_hash, forgotten, tomb });
                }
                Err(e) if planted::is("bad-record-fatal") => return Err(e),
                Ok(Record::Ended) => {}
                // Neither copy is there any more: it was forgotten and removed meanwhile.
                Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => {}
                Err(e) if e.is_damage() || e.is_too_new() => list.unreadable.push((id, e)),
                Err(e) => return Err(e),
            }
            Ok(())
        })?;
        list.snapshots.sort_by_key(|s| (s.snapshot.time, s.snapshot.sequence, s.snapshot.id));
        Ok(list)
    }

    /// Leaves out what a prune removed since the list was read, or is removing: what is confirmed, and what has
    /// no record any more. Says whether that was anything.
    pub(crate) fn drop_removed(&mut self, repo: &Repo) -> RepoResult<bool> {
        repo.store().end_look();
        let mut there = BTreeSet::new();
        for folder in [names::SNAPSHOTS.to_string(), format!("{}{}", names::MIRROR, names::SNAPSHOTS)] {
            repo.list(&folder, |info| {
                there.extend(names::parse_snapshot(&info.name));
                ControlFlow::Continue(())
            })?;
        }
        let confirmed = Announced::read(repo)?.confirmed;
        let stays = |id: &SnapshotId| there.contains(id) && !confirmed.contains(id);
        let before = self.snapshots.len() + self.unreadable.len();
        self.snapshots.retain(|stored| stays(&stored.snapshot.id));
        self.unreadable.retain(|(id, _)| stays(id));
        Ok(self.snapshots.len() + self.unreadable.len() < before)
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

/// A second copy that a slow writer put after its snapshot was removed is no snapshot.
fn drop_leftovers(
    repo: &Repo,
    received: &mut BTreeMap<SnapshotId, Option<SystemTime>>,
    firsts: &BTreeSet<SnapshotId>,
) -> RepoResult<()> {
    if received.len() > firsts.len() {
        let confirmed = Announced::read(repo)?.confirmed;
        received.retain(|id, _| !confirmed.contains(id));
    }
    Ok(())
}

/// Reads one record, from either copy.
pub fn read_one(repo: &Repo, id: &SnapshotId) -> RepoResult<Snapshot> {
    match read_record(repo, id)? {
        Record::Snapshot(snapshot, _) => Ok(*snapshot),
        Record::Ended => Err(RepoError::NoSnapshot(id.hex())),
    }
}

/// Reads a record with the very bytes it was stored with, which are the same in every repository of the family.
pub fn read_bytes(repo: &Repo, id: &SnapshotId) -> RepoResult<(Snapshot, Vec<u8>)> {
    repo.get_mirrored(&names::snapshot(id), |bytes| match decode(repo, id, bytes)? {
        Record::Snapshot(snapshot, hash) => {
            let mut whole = bytes.to_vec();
            envelope::repair(&mut whole).ok();
            match *blake3::hash(&whole).as_bytes() == hash {
                true => Ok((*snapshot, whole)),
                false => {
                    Err(FormatError::Corrupt { what: "snapshot record", why: "its parity cannot mend it" })
                }
            }
        }
        Record::Ended => Err(FormatError::Corrupt { what: "snapshot record", why: "its session was ended" }),
    })
}

/// What stands under the name of a snapshot.
pub(crate) enum Record {
    /// A snapshot, and BLAKE3 of the whole record.
    Snapshot(Box<Snapshot>, [u8; 32]),
    /// The word that its session is over: there is no snapshot and never will be.
    Ended,
}

/// Takes what stands under the name of a snapshot.
type RecordTaker<'t> = dyn FnMut(SnapshotId, RepoResult<Record>) -> RepoResult<()> + 't;

/// Reads what stands under the names of these snapshots, many at a time where the place is distant.
pub(crate) fn read_records(repo: &Repo, ids: &[SnapshotId], take: &mut RecordTaker<'_>) -> RepoResult<()> {
    let names: Vec<ObjectName> = ids.iter().map(names::snapshot).collect();
    let mut ids = ids.iter();
    repo.get_many(&names, RECORD_BYTES_MAX as u64, &mut |name, bytes| {
        let id = *ids.next().expect("there are as many ids as names");
        let first = bytes.and_then(|mut bytes| {
            mend_and_decode(&mut bytes, |bytes| decode(repo, &id, bytes))
                .map_err(|e| RepoError::object(name, e))
        });
        take(id, first.or_else(|_| read_record(repo, &id)))
    })
}

/// Reads what stands under the name of a snapshot, from either copy.
pub(crate) fn read_record(repo: &Repo, id: &SnapshotId) -> RepoResult<Record> {
    repo.get_mirrored(&names::snapshot(id), |bytes| decode(repo, id, bytes))
}

/// What the second copy alone says of a session, and its bytes. What cannot be understood says nothing.
pub(crate) fn read_second_copy(repo: &Repo, id: &SnapshotId) -> RepoResult<Option<(Record, Vec<u8>)>> {
    let name = names::mirror(&names::snapshot(id));
    let both = |bytes: &[u8]| Ok((decode(repo, id, bytes)?, bytes.to_vec()));
    match repo.get_mended(&name, RECORD_BYTES_MAX as u64, both) {
        Err(e) if e.store_kind() == Some(ErrorKind::NotFound) || e.is_damage() => Ok(None),
        other => other.map(Some),
    }
}

fn decode(repo: &Repo, id: &SnapshotId, bytes: &[u8]) -> FormatResult<Record> {
    let (found, record) = match Snapshot::decode(bytes, repo.keys()) {
        Ok(snapshot) => (snapshot.id, Record::Snapshot(Box::new(snapshot), whole_hash(bytes))),
        Err(e) => match Abort::decode(bytes, &repo.identity().repo, repo.keys()) {
            Ok(abort) => (abort.session, Record::Ended),
            Err(_) => return Err(e),
        },
    };
    match found == *id || planted::is("any-record") {
        true => Ok(record),
        false => Err(FormatError::Corrupt { what: "snapshot record", why: "it stands under another's name" }),
    }
}

/// When the store received a record: the earlier of its two copies.
pub fn received_record(repo: &Repo, id: &SnapshotId) -> RepoResult<Option<SystemTime>> {
    let name = names::snapshot(id);
    let mut received = Vec::new();
    for name in [names::mirror(&name), name] {
        match repo.store().stat(&name) {
            Ok(info) => received.extend(info.received),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(repo.store_error(e)),
        }
    }
    Ok(received.into_iter().min())
}

/// The hash an object was stored with, also where its parity or a footer is damaged.
fn whole_hash(bytes: &[u8]) -> [u8; 32] {
    let mut whole = bytes.to_vec();
    envelope::repair(&mut whole).ok();
    *blake3::hash(&whole).as_bytes()
}

/// Forgotten snapshots. Only an authentic tomb counts: anybody may add an object of that name.
fn read_tombs(
    repo: &Repo,
    unreadable: &mut Vec<(SnapshotId, RepoError)>,
) -> RepoResult<BTreeMap<SnapshotId, StoredTomb>> {
    let mut claimed = Vec::new();
    repo.list(names::GC, |info| {
        claimed.extend(names::parse_tomb(&info.name).map(|id| (id, info.received)));
        ControlFlow::Continue(())
    })?;
    let mut buried = BTreeMap::new();
    for (id, received) in claimed {
        match read_tomb(repo, &id) {
            Ok(tomb) => _ = buried.insert(id, StoredTomb { tomb, received }),
            Err(_) if planted::is("any-tomb") => {
                let tomb = Tomb { snapshot: id, time: Timestamp::default(), reason: String::new() };
                buried.insert(id, StoredTomb { tomb, received });
            }
            Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => {} // taken away meanwhile
            Err(e) if e.is_damage() || e.is_too_new() => unreadable.push((id, e)),
            Err(e) => return Err(e),
        }
    }
    Ok(buried)
}

/// Snapshots that have a tomb, readable or not.
pub(crate) fn tombs(repo: &Repo) -> RepoResult<BTreeSet<SnapshotId>> {
    let mut unreadable = Vec::new();
    let buried = read_tombs(repo, &mut unreadable)?;
    Ok(buried.into_keys().chain(unreadable.into_iter().map(|(id, _)| id)).collect())
}

/// Reads the tomb of a snapshot.
pub(crate) fn read_tomb(repo: &Repo, id: &SnapshotId) -> RepoResult<Tomb> {
    repo.get_mended(&names::tomb(id), RECORD_BYTES_MAX as u64, |bytes| {
        let tomb = Tomb::decode(bytes, &repo.identity().repo, repo.keys())?;
        match tomb.snapshot == *id || planted::is("tomb-of-another") {
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
    match reserve::put(repo, &names::tomb(id), &bytes, PutMode::CreateNew) {
        // Whatever stands there, afterwards it is a tomb that counts.
        Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => match read_tomb(repo, id) {
            Err(_) if planted::is("taken-tomb-accepted") => {}
            Err(e) if e.is_damage() => reserve::put(repo, &names::tomb(id), &bytes, PutMode::Replace)?,
            other => _ = other?,
        },
        other => other?,
    }
    if planted::is("forget-unsynced") { Ok(()) } else { repo.sync() }
}

/// Brings a forgotten snapshot back. [`RepoError::TooLate`] when a prune may be removing it at this moment.
pub fn remember(repo: &Repo, id: &SnapshotId) -> RepoResult<()> {
    // Somebody may have begun to remove it.
    put_second_copy(repo, id)?;
    match repo.store().delete(&names::tomb(id)) {
        Err(e) if e.kind() == ErrorKind::NotFound => {} // a repeated request, or it was never forgotten
        other => other.map_err(|e| repo.store_error(e))?,
    }
    if !planted::is("remember-unsynced") {
        repo.sync()?;
    }
    // Only now: see `removals`.
    match is_announced(repo, id)? {
        true => Err(RepoError::TooLate(id.hex()[..8].to_string())),
        false => Ok(()),
    }
}

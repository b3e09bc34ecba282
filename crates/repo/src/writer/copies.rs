//! Publishing the records of snapshots whose blobs were brought from another repository of the family.
//!
//! The order is that of [`publish`](super::publish), for several records at once: packs and segments, a pending
//! record for each root, one look at index and packs, then each record as the bytes it has in every copy. Three
//! things differ, because the id of the snapshot is not that of the session:
//! - the pending record carries the *snapshot's* id, so that whoever takes the copy for dead and ends it puts the
//!   abort record where the copy commits. Its number is drawn, so that two copies of one snapshot, or the
//!   session that made it and sleeps, never have one name, and each removes its own alone;
//! - an id whose removal was announced here counts as not published, whatever was put: the announcements are
//!   read *after* the record is durable, as the remover confirms before it takes anything away;
//! - nothing inherited is taken for granted: every blob is looked up.

use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::names;
use crate::open::Repo;
use crate::reader::Reader;
use crate::removals::Announced;
use crate::trust;
use crate::unfinished::{found_or_put, put_committed_copy};
use crate::writer::Writer;
use crate::writer::destination::Destination;
use crate::writer::publish::{Memory, all_stored_below};
use format::codec::{Compressor, Level};
use format::gc::{Abort, GcRecord};
use format::id::{BlobId, SnapshotId};
use format::keep::Trust;
use format::snapshot::{Pending, Snapshot};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use storage::{ErrorKind, ObjectName, PutMode};

/// A record to be published, and what is said of it here.
pub struct RecordCopy {
    /// The record.
    pub snapshot: Snapshot,
    /// Its bytes, the same in every copy.
    pub bytes: Vec<u8>,
    /// A confirmation that goes before it.
    pub trust: Option<Trust>,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable and complete here.
    Published,
    /// Something it needs is not stored here (any more): bring it, and try again.
    Incomplete,
    /// Its session was ended here: this id is never published here.
    Ended,
    /// It was removed here, or is being removed.
    Removed,
    /// Another record stands under its name.
    Taken,
}

/// How often another number is drawn for a pending record.
const DRAWS_MAX: usize = 8;

impl Writer {
    /// Publishes what is complete here; says of each what became of it.
    pub fn publish_copies(&mut self, copies: &[RecordCopy]) -> RepoResult<Vec<Outcome>> {
        self.flush()?;
        self.fan.sole().publish_copies(copies)
    }
}

impl Destination {
    fn publish_copies(&mut self, copies: &[RecordCopy]) -> RepoResult<Vec<Outcome>> {
        let mut pending = Vec::with_capacity(copies.len());
        for copy in copies {
            pending.push(self.put_pending_of(copy)?);
        }
        self.repo().sync()?;
        let published = self.recheck_and_commit(copies);
        for name in &pending {
            self.drop_pending_of(name)?;
        }
        published
    }

    fn recheck_and_commit(&mut self, copies: &[RecordCopy]) -> RepoResult<Vec<Outcome>> {
        let reader = self.reader.clone();
        reader.repo().look()?;
        reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
        let listing = PackListing::read_to_rely_on(reader.repo())?;
        reader.with_index_write(|index| index.see_packs(&listing));
        let memory = Memory::now(&reader, &listing);
        drop(listing);
        let mut seen = HashSet::new();
        let mut outcomes = Vec::with_capacity(copies.len());
        for copy in copies {
            outcomes.push(match is_complete(&reader, copy, &mut seen)? {
                true => self.commit_copy(copy)?,
                false => Outcome::Incomplete,
            });
        }
        self.settle_removed(copies, &mut outcomes)?;
        for id in newest_of_each_source(copies, &outcomes) {
            memory.store(reader.cache(), &id);
        }
        Ok(outcomes)
    }

    fn put_pending_of(&mut self, copy: &RecordCopy) -> RepoResult<ObjectName> {
        let repo = self.repo().clone();
        let (session, root) = (copy.snapshot.id, Some(copy.snapshot.root));
        for _ in 0..DRAWS_MAX {
            // The sessions themselves count from 1.
            let number = u32::from_le_bytes(self.record_seed.draw()) as u64 | 1 << 31;
            let packs = self.own_packs.clone();
            let record = Pending { session, number, root, packs, start: self.start };
            let (entropy, mut compressor) = (self.record_seed.draw(), Compressor::new(Level(1)));
            let bytes =
                record.encode(&repo.identity().repo, repo.keys(), repo.suite(), entropy, &mut compressor);
            let name = names::pending(&session, number);
            match repo.put(&name, &bytes, PutMode::CreateNew) {
                Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {}
                other => return other.map(|()| name),
            }
        }
        Err(RepoError::Local(format!("no name is free for a pending record of {}", session.hex())))
    }

    fn drop_pending_of(&self, name: &ObjectName) -> RepoResult<()> {
        match self.repo().store().delete(name) {
            // An append-only place keeps it; maintenance removes it once the snapshot exists.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => Ok(()),
            other => other.map_err(|e| self.repo().store_error(e)),
        }
    }

    fn commit_copy(&mut self, copy: &RecordCopy) -> RepoResult<Outcome> {
        let repo = self.repo().clone();
        let name = names::snapshot(&copy.snapshot.id);
        // Before the record: a run that is cut off in between would never come back to it.
        if let Some(word) = &copy.trust {
            match trust::confirm(&repo, word, &mut self.record_seed) {
                Err(e) if e.store_kind() == Some(ErrorKind::Denied) => {}
                other => other?,
            }
        }
        match repo.put(&name, &copy.bytes, PutMode::CreateNew) {
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => match settle(&repo, copy, &name)? {
                Outcome::Published => {}
                other => return Ok(other),
            },
            other => other?,
        }
        repo.sync()?;
        if !put_committed_copy(&repo, &copy.snapshot.id, &copy.bytes)? {
            return Ok(Outcome::Ended);
        }
        self.small_bytes += 2 * copy.bytes.len() as u64;
        Ok(Outcome::Published)
    }

    /// Only now are the announcements looked at: see the head. What was put under an announced name is left to
    /// the remover, who removes what stands there; after it confirmed, it is nothing to anybody.
    fn settle_removed(&self, copies: &[RecordCopy], outcomes: &mut [Outcome]) -> RepoResult<()> {
        if !outcomes.contains(&Outcome::Published) {
            return Ok(());
        }
        let announced: BTreeSet<SnapshotId> = Announced::read(self.repo())?.ids;
        for (copy, outcome) in copies.iter().zip(outcomes) {
            if *outcome == Outcome::Published && announced.contains(&copy.snapshot.id) {
                *outcome = Outcome::Removed;
            }
        }
        Ok(())
    }
}

/// Whether everything the snapshot needs is stored here, as the newest look shows.
fn is_complete(reader: &Reader, copy: &RecordCopy, seen: &mut HashSet<BlobId>) -> RepoResult<bool> {
    let complete = all_stored_below(reader, copy.snapshot.root, seen)?;
    if !complete {
        // Nodes seen on the way were not walked to their ends.
        seen.clear();
    }
    Ok(complete)
}

/// Something has the name already: the same record, which a session or another copy put; the torn beginning
/// of one; or the word that its session is over.
fn settle(repo: &Repo, copy: &RecordCopy, name: &ObjectName) -> RepoResult<Outcome> {
    let Some(found) = found_or_put(repo, &copy.snapshot.id, name, &copy.bytes)? else {
        return Ok(Outcome::Ended);
    };
    if found == copy.bytes {
        return Ok(Outcome::Published);
    }
    if copy.bytes.starts_with(&found) {
        repo.put(name, &copy.bytes, PutMode::Replace)?;
        return Ok(Outcome::Published);
    }
    match Snapshot::decode(&found, repo.keys()) {
        // The same in other bytes: an id that was published again is sealed by each who does so.
        Ok(record) if record == copy.snapshot => Ok(Outcome::Published),
        Ok(_) => Ok(Outcome::Taken),
        Err(_) => Ok(match Abort::decode(&found, &repo.identity().repo, repo.keys()) {
            Ok(abort) if abort.session == copy.snapshot.id => Outcome::Ended,
            _ => Outcome::Taken,
        }),
    }
}

/// Of each source the newest that was published: the next backup of it will have it for a parent.
fn newest_of_each_source(copies: &[RecordCopy], outcomes: &[Outcome]) -> Vec<SnapshotId> {
    let mut newest: BTreeMap<(&String, &Vec<Vec<u8>>), &Snapshot> = BTreeMap::new();
    for (copy, _) in copies.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Published) {
        let s = &copy.snapshot;
        let known = newest.entry((&s.host, &s.sources)).or_insert(s);
        if s.time >= known.time {
            *known = s;
        }
    }
    newest.into_values().map(|s| s.id).collect()
}

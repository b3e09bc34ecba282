//! Which snapshots are brought, and under which id.
//!
//! Under their own, as the same bytes. Two things end an id in one place for ever: its session was taken for
//! dead there (an abort record stands at its name), or it was removed there. In the first case the snapshot is
//! published again under an id computed from its own and that place's, so that every later copy computes the same
//! and finds it; what was removed stays removed unless somebody asks for it by name.

use super::SyncOptions;
use crate::erasures::Erasures;
use crate::error::RepoResult;
use crate::open::Repo;
use crate::removals::Announced;
use crate::seed::Seed;
use crate::snapshots::{SnapshotList, StoredSnapshot, read_bytes};
use crate::trust::{self, is_in_time};
use crate::writer::copies::RecordCopy;
use format::codec::{Compressor, Level};
use format::id::{RepoId, SnapshotId};
use format::keep::Trust;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use std::collections::BTreeSet;

/// Why a snapshot was not brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// It is there.
    Present,
    /// It is there, forgotten: it can be brought back there without a copy.
    ForgottenThere,
    /// It was removed there, or is being removed.
    RemovedThere,
    /// Something stands there that cannot be read, or another record under its name.
    UnreadableThere,
    /// Paths were erased from it: another snapshot stands for it.
    Erased,
}

/// A snapshot to be brought.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) stored: StoredSnapshot,
    /// What the source says of it.
    trust: Option<Trust>,
    /// How often its id was ended at the target.
    generation: u32,
    id_there: SnapshotId,
}

/// The snapshots to be brought, and what is known of the target's.
pub(super) struct Selection {
    pub(super) chosen: Vec<Chosen>,
    pub(super) skipped: Vec<(SnapshotId, Skipped)>,
    target: RepoId,
    there: There,
}

/// Ids at the target.
struct There {
    list: SnapshotList,
    /// Written by a newer version.
    unreadable: BTreeSet<SnapshotId>,
    announced: BTreeSet<SnapshotId>,
}

/// Ids that were ended or removed one after the other: nobody goes on for ever.
const GENERATIONS_MAX: u32 = 64;

impl Selection {
    pub(super) fn read(
        source: &Repo,
        target: &Repo,
        options: &SyncOptions<'_>,
        erasures: &Erasures,
    ) -> RepoResult<Self> {
        let here = SnapshotList::read(source)?;
        let list = SnapshotList::read(target)?;
        // A damaged one may be the torn beginning that an earlier copy left: publishing finishes that.
        let unreadable = list.unreadable.iter().filter(|(_, e)| e.is_too_new()).map(|(id, _)| *id).collect();
        let there = There { list, unreadable, announced: Announced::read(target)?.ids };
        let mut words = trust::read_all(source)?;
        let mut selection =
            Selection { chosen: Vec::new(), skipped: Vec::new(), target: target.identity().repo, there };
        for stored in here.snapshots {
            let id = stored.snapshot.id;
            let is_wanted = match &options.snapshots {
                Some(ids) => ids.contains(&id),
                None => !stored.forgotten,
            };
            if is_wanted && erasures.replacement(&id).is_some() {
                selection.skipped.push((id, Skipped::Erased));
            } else if is_wanted {
                let trust = words.remove(&id).filter(|word| word.record == stored.record_hash);
                selection.choose(stored, trust, options.again);
            }
        }
        Ok(selection)
    }

    fn choose(&mut self, stored: StoredSnapshot, trust: Option<Trust>, again: bool) {
        let id = stored.snapshot.id;
        let chosen = Chosen { stored, trust, generation: 0, id_there: id };
        match self.judge(chosen, again) {
            Ok(chosen) => self.chosen.push(chosen),
            Err(why) => self.skipped.push((id, why)),
        }
    }

    /// The first id that may be used.
    fn judge(&self, mut chosen: Chosen, again: bool) -> Result<Chosen, Skipped> {
        if let Some(same) = self.there.same_as(&chosen.stored.snapshot) {
            return Err(if same.forgotten { Skipped::ForgottenThere } else { Skipped::Present });
        }
        loop {
            match self.there.state(&chosen.id_there) {
                None => return Ok(chosen),
                Some(Skipped::RemovedThere) if again && chosen.generation < GENERATIONS_MAX => {
                    chosen = chosen.next(&self.target);
                }
                Some(why) => return Err(why),
            }
        }
    }

    /// The same snapshot under the id after one that was ended at the target.
    pub(super) fn under_next_id(&self, chosen: &Chosen, again: bool) -> Result<Chosen, Skipped> {
        match chosen.generation < GENERATIONS_MAX {
            true => self.judge(chosen.clone().next(&self.target), again),
            false => Err(Skipped::UnreadableThere),
        }
    }
}

impl There {
    /// A snapshot that differs in nothing but the id it was published under.
    fn same_as(&self, snapshot: &Snapshot) -> Option<&StoredSnapshot> {
        let is_same = |other: &&StoredSnapshot| {
            let other = &other.snapshot;
            other.root == snapshot.root && Snapshot { id: snapshot.id, ..other.clone() } == *snapshot
        };
        self.list.snapshots.iter().find(is_same)
    }

    fn state(&self, id: &SnapshotId) -> Option<Skipped> {
        if self.unreadable.contains(id) || self.list.snapshots.iter().any(|s| s.snapshot.id == *id) {
            return Some(Skipped::UnreadableThere); // what stands there is not this one
        }
        self.announced.contains(id).then_some(Skipped::RemovedThere)
    }
}

impl Chosen {
    /// Its id at the source.
    pub(super) fn id(&self) -> SnapshotId {
        self.stored.snapshot.id
    }

    /// Its id at the target.
    pub(super) fn id_there(&self) -> SnapshotId {
        self.id_there
    }

    fn next(mut self, target: &RepoId) -> Self {
        self.generation += 1;
        self.id_there = id_of_generation(target, &self.id(), self.generation);
        self
    }

    /// The record for the target, with the word that its claimed time is right if the source received it in
    /// time, or somebody confirmed it there: a late copy must move no place of a policy.
    pub(super) fn record(
        &self,
        source: &Repo,
        target: &Repo,
        now: Timestamp,
        seed: &mut Seed,
    ) -> RepoResult<RecordCopy> {
        let (mut snapshot, mut bytes) = read_bytes(source, &self.id())?;
        if self.id_there != self.id() {
            snapshot.id = self.id_there;
            bytes =
                snapshot.encode(target.keys(), target.suite(), seed.draw(), &mut Compressor::new(Level(3)));
        }
        let record = *blake3::hash(&bytes).as_bytes();
        let word = self.trust.as_ref();
        let time = word.is_some_and(|word| word.time) || is_in_time(&snapshot, self.stored.received);
        // Published again, it is no copy of a number, but the record itself.
        let contents = word.is_some_and(|word| word.contents) || self.generation > 0;
        let trust = Trust { snapshot: self.id_there, record, time, contents, made: now };
        Ok(RecordCopy { snapshot, bytes, trust: (time || contents).then_some(trust) })
    }
}

/// The id under which a snapshot is published again in a place where its own is over.
pub fn id_of_generation(target: &RepoId, id: &SnapshotId, generation: u32) -> SnapshotId {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 snapshot published again");
    hasher.update(&target.0).update(&id.0).update(&generation.to_le_bytes());
    SnapshotId(hasher.finalize().as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_generation_has_an_id_of_its_own() {
        let mut all = BTreeSet::new();
        for (target, id) in [(1, 9), (2, 9), (1, 8)] {
            for generation in 1..=4 {
                all.insert(id_of_generation(&RepoId([target; 16]), &SnapshotId([id; 16]), generation));
            }
        }
        assert_eq!(all.len(), 12);
        let again = id_of_generation(&RepoId([1; 16]), &SnapshotId([9; 16]), 1);
        assert!(all.contains(&again), "whoever computes it later finds the earlier one");
    }
}

//! The plain model beside the run: which snapshot must hold which files, and who may see it.
//!
//! Knows nothing of how anything is stored. What a run was told to save is noted before it begins, so that
//! whatever becomes visible can be compared; what it acknowledged is noted when it returned success.

use crate::files::Files;
use format::id::SnapshotId;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::ObjectName;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, by its name in docs/reliability.md.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// Whether a snapshot is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nobody ever tried to forget it, or it was brought back.
    Shown,
    /// Somebody tried, and does not know whether it was done.
    Doubtful,
    /// It was forgotten, and that was acknowledged.
    Hidden,
}

/// A snapshot that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its name.
    pub id: SnapshotId,
    /// What it must hold.
    pub files: Arc<Files>,
    /// Whether it is to be seen.
    pub sight: Sight,
    /// The step at which its run last looked which packs there are.
    pub listed_at: u64,
}

#[derive(Default)]
struct State {
    contents: BTreeMap<SnapshotId, Arc<Files>>,
    acknowledged: BTreeMap<SnapshotId, u64>,
    sights: BTreeMap<SnapshotId, (Sight, usize)>,
    last_loss: Option<u64>,
    /// Hashes of everything that was meant to stand under a name.
    written: BTreeMap<String, BTreeSet<u64>>,
    violations: Vec<Violation>,
}

/// The model of one run.
#[derive(Default)]
pub struct Oracle(Mutex<State>);

impl Oracle {
    /// A run is about to save these files under this name.
    pub fn attempts(&self, id: SnapshotId, files: &Arc<Files>) {
        self.lock().contents.insert(id, files.clone());
    }

    /// The run returned success. `listed_at` is when it last saw which packs there are.
    pub fn acknowledges(&self, id: SnapshotId, listed_at: u64) {
        self.lock().acknowledged.insert(id, listed_at);
    }

    /// A client changes who sees a snapshot; `sight` is what holds from now on.
    pub fn shows(&self, client: usize, id: SnapshotId, sight: Sight) {
        let mut state = self.lock();
        let before = state.sights.get(&id).copied();
        // What two clients do to one snapshot at a time has no order that either of them knows.
        let contested = before.is_some_and(|(_, by)| by != client);
        let (sight, by) = if contested { (Sight::Doubtful, usize::MAX) } else { (sight, client) };
        state.sights.insert(id, (sight, by));
    }

    /// Somebody who may makes an object of this name. A second copy counts as the first.
    pub fn writes(&self, name: &ObjectName, bytes: &[u8]) {
        let first = repo::names::first_copy(name).to_string();
        self.lock().written.entry(first).or_default().insert(hash(bytes));
    }

    /// Whether an object of this name was once made of these bytes; `None` if nobody ever made one.
    pub fn wrote(&self, name: &ObjectName, bytes: &[u8]) -> Option<bool> {
        let state = self.lock();
        let hashes = state.written.get(repo::names::first_copy(name))?;
        Some(hashes.contains(&hash(bytes)))
    }

    /// Stored contents were lost at this step, beyond what parity and second copies promise to bear.
    pub fn loses_contents(&self, step: u64) {
        let mut state = self.lock();
        state.last_loss = state.last_loss.max(Some(step));
    }

    /// When contents were last lost.
    pub fn last_loss(&self) -> Option<u64> {
        self.lock().last_loss
    }

    /// What a snapshot must hold, if anybody made it.
    pub fn contents(&self, id: &SnapshotId) -> Option<Arc<Files>> {
        self.lock().contents.get(id).cloned()
    }

    /// All acknowledged snapshots.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        let state = self.lock();
        let one = |(id, listed_at): (&SnapshotId, &u64)| Acknowledged {
            id: *id,
            files: state.contents[id].clone(),
            sight: state.sights.get(id).map_or(Sight::Shown, |(sight, _)| *sight),
            listed_at: *listed_at,
        };
        state.acknowledged.iter().map(one).collect()
    }

    /// A promise was broken.
    pub fn violated(&self, invariant: &'static str, what: impl Into<String>) {
        self.lock().violations.push(Violation { invariant, what: what.into() });
    }

    /// The first promise that was broken.
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violations.first().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

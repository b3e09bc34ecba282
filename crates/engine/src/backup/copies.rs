//! The repositories of a run: which can be reached, which were left behind, and how those are completed.

use crate::monitor::Monitor;
use format::id::SnapshotId;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::index::PackListing;
use repo::reader::{Reader, chain};
use repo::removals::Announced;
use repo::seed::Seed;
use repo::snapshots::SnapshotList;
use repo::sync::{SyncOptions, sync};
use repo::workers::Workers;
use repo::writer::{Behind, WriterOptions};
use repo::{RepoError, RepoResult};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What became of a snapshot in one repository.
#[derive(Clone, Debug)]
pub enum CopyState {
    /// It has it.
    Committed,
    /// It was left behind and got it from another one. Older snapshots it lacked came with it.
    Completed {
        /// Snapshots that came.
        snapshots: usize,
    },
    /// It has not got it; the next run or a sync completes it.
    Behind(Arc<RepoError>),
}

impl CopyState {
    /// Whether the snapshot is there.
    pub fn is_there(&self) -> bool {
        !matches!(self, CopyState::Behind(_))
    }
}

/// The repositories of a run.
pub(super) struct Copies {
    readers: Vec<Arc<Reader>>,
    /// Why one takes part no longer.
    lost: Vec<Option<Arc<RepoError>>>,
    /// Left behind, but it may be completed.
    behind: Vec<Option<Behind>>,
    /// Which of them the newest session writes to.
    taking_part: Vec<usize>,
}

impl Copies {
    pub(super) fn new(readers: &[Arc<Reader>]) -> RepoResult<Self> {
        let families: BTreeSet<_> = readers.iter().map(|r| r.repo().identity().family).collect();
        if families.len() != 1 {
            return Err(RepoError::Local(
                "the repositories are not copies of one another: their keys differ".into(),
            ));
        }
        let repos: BTreeSet<_> = readers.iter().map(|r| r.repo().identity().repo).collect();
        if repos.len() != readers.len() {
            return Err(RepoError::Local("one repository is named twice, or one is the other copied file by file; init --copy-of makes a copy of its own".into()));
        }
        let n = readers.len();
        Ok(Copies {
            readers: readers.to_vec(),
            lost: vec![None; n],
            behind: (0..n).map(|_| None).collect(),
            taking_part: Vec::new(),
        })
    }

    /// Lists the packs of all that can be reached, at the same time. Fails if none can.
    pub(super) fn list(&mut self) -> RepoResult<Vec<(Arc<Reader>, PackListing)>> {
        let listed: Vec<Option<RepoResult<PackListing>>> = std::thread::scope(|scope| {
            let list = |i: usize| {
                let repo = self.readers[i].repo();
                self.lost[i].is_none().then(|| scope.spawn(move || PackListing::read(repo)))
            };
            let threads: Vec<_> = match self.readers.len() {
                // One has no need of threads, and where all is inline none is wanted.
                1 => return vec![Some(PackListing::read(self.readers[0].repo()))],
                n => (0..n).map(list).collect(),
            };
            let join =
                |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("it does not panic");
            threads.into_iter().map(|thread| thread.map(join)).collect()
        });
        let mut found = Vec::new();
        let mut failure = None;
        self.taking_part.clear();
        for (i, listed) in listed.into_iter().enumerate() {
            match listed {
                Some(Ok(listing)) => {
                    self.taking_part.push(i);
                    found.push((self.readers[i].clone(), listing));
                }
                Some(Err(e)) if self.readers.len() == 1 => return Err(e),
                Some(Err(e)) => {
                    self.lost[i] = Some(Arc::new(e));
                    failure = self.lost[i].clone();
                }
                None => {}
            }
        }
        // What the one that leads cannot give during the run, such as a node of the parent, the others have.
        if let [(lead, _), others @ ..] = &found[..]
            && !others.is_empty()
        {
            lead.set_siblings(others.iter().map(|(reader, _)| reader.clone()).collect());
        }
        match (found.is_empty(), failure) {
            (false, _) => Ok(found),
            (true, Some(e)) => {
                Err(RepoError::Local(format!("none of the repositories can be reached: {}", chain(&*e))))
            }
            (true, None) => Err(RepoError::Overtaken),
        }
    }

    /// Notes what the session says of each.
    pub(super) fn take(&mut self, behind: Vec<Option<Behind>>) {
        for (i, behind) in self.taking_part.clone().into_iter().zip(behind) {
            match behind {
                Some(Behind::Failed(e)) => self.lost[i] = Some(Arc::new(e)),
                other => self.behind[i] = other,
            }
        }
    }

    /// Brings to each repository what it lacks, from those that have it.
    pub(super) fn complete(
        &mut self,
        snapshot: Option<&Snapshot>,
        now: Timestamp,
        writer: &WriterOptions,
        mut seed: Seed,
        monitor: &dyn Monitor,
    ) -> Vec<CopyState> {
        let n = self.readers.len();
        let mut states: Vec<CopyState> = (0..n).map(|i| self.state(i)).collect();
        if n == 1 {
            return states;
        }
        let lists: Vec<Option<SnapshotList>> = (0..n).map(|i| self.snapshots(i)).collect();
        for i in 0..n {
            let Some(list) = &lists[i] else { continue };
            let has_it = |j: &usize| *j != i && self.lost[*j].is_none() && self.behind[*j].is_none();
            let sources: Vec<usize> = (0..n).filter(has_it).collect();
            let mut brought = 0;
            for j in sources {
                let Some(theirs) = &lists[j] else { continue };
                let mut wanted = lacking(theirs, list, snapshot.map(|s| s.id));
                // What was removed here on purpose is lacking in every run.
                if !wanted.is_empty()
                    && let Ok(removed) = Announced::read(self.readers[i].repo())
                {
                    wanted.retain(|id| !removed.ids.contains(id));
                }
                if wanted.is_empty() || monitor.cancelled() {
                    continue;
                }
                let fetch_workers = Workers(writer.upload_workers.0.min(1));
                let mut options = SyncOptions {
                    snapshots: Some(wanted),
                    again: false,
                    dry_run: false,
                    read_back: false,
                    now,
                    fetch_workers,
                    writer: *writer,
                    progress: &mut |_, _| {},
                    cancelled: &|| monitor.cancelled(),
                };
                match sync(&self.readers[j], &self.readers[i], &mut options, Seed::new(seed.draw())) {
                    Ok(report) => {
                        brought += report.copied.len();
                        let has = |id: SnapshotId| report.copied.iter().any(|(from, _)| *from == id);
                        if snapshot.is_some_and(|s| has(s.id)) {
                            self.behind[i] = None;
                        }
                    }
                    Err(e) => states[i] = CopyState::Behind(Arc::new(e)),
                }
                if brought > 0 && self.behind[i].is_none() {
                    states[i] = CopyState::Completed { snapshots: brought };
                    break;
                }
            }
        }
        states
    }

    fn state(&self, i: usize) -> CopyState {
        let local = |why: &str| CopyState::Behind(Arc::new(RepoError::Local(why.into())));
        match (&self.lost[i], &self.behind[i]) {
            (Some(e), _) => CopyState::Behind(e.clone()),
            (None, Some(Behind::Slow)) => local("it is too slow: the others stood idle for it"),
            (None, Some(_)) => local("it lacks something that the snapshot takes over from older ones"),
            (None, None) => CopyState::Committed,
        }
    }

    /// The snapshots of one that can be reached.
    fn snapshots(&mut self, i: usize) -> Option<SnapshotList> {
        self.lost[i].is_none().then(|| SnapshotList::read(self.readers[i].repo()).ok()).flatten()
    }
}

/// The new snapshot, and what else was made since this place got its first one. Older ones are not brought
/// unasked: a copy that is new gets what is made from then on.
fn lacking(theirs: &SnapshotList, ours: &SnapshotList, new: Option<SnapshotId>) -> BTreeSet<SnapshotId> {
    let here: BTreeSet<SnapshotId> = ours.snapshots.iter().map(|s| s.snapshot.id).collect();
    let before = ours.snapshots.iter().map(|s| &s.snapshot).filter(|s| Some(s.id) != new);
    let oldest = before.map(|s| s.time).min();
    let wanted = theirs.visible().filter(|s| !here.contains(&s.id));
    let wanted = wanted.filter(|s| Some(s.id) == new || oldest.is_some_and(|time| s.time > time));
    wanted.map(|s| s.id).collect()
}

//! Removals of snapshots, announced and confirmed.
//!
//! Who removes and who brings back must not miss each other: each first makes its own intention visible,
//! and only then looks for the other's. The remover announces, then reads tombs and holds; who takes a tomb
//! away or puts a hold does that first, then reads the announcements ([`is_announced`]). At least one of
//! them finds out. A remover that goes on confirms before anything goes.
//!
//! Both are for ever: an announced name is never written again, and what stands under a confirmed one after
//! all - a second copy of a writer that slept, a first one of a repair that did - is no snapshot.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::Repo;
use crate::reserve;
use crate::seed::Seed;
use format::FormatError;
use format::codec::{Compressor, Level};
use format::gc::{GcRecord, Removed};
use format::id::SnapshotId;
use format::limits::RECORD_BYTES_MAX;
use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode};

/// How often the lists are listed again because one was merged away before it was read.
const LISTINGS_MAX: usize = 16;

/// All announcements.
#[derive(Debug, Default)]
pub struct Announced {
    /// The snapshots that were announced.
    pub ids: BTreeSet<SnapshotId>,
    /// Those of which the removal was confirmed.
    pub confirmed: BTreeSet<SnapshotId>,
    /// The lists that say so.
    pub(crate) lists: Vec<ObjectName>,
    highest: u64,
}

impl Announced {
    /// Reads them. What is damaged announces nothing; the remover it belonged to announces again.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let mut announced = Announced::default();
        let mut seen = HashSet::new();
        for _ in 0..LISTINGS_MAX {
            let mut is_whole = true;
            for name in list(repo)? {
                announced.highest = announced.highest.max(names::parse_removed(&name).unwrap_or(0));
                if !seen.contains(&name) {
                    is_whole &= announced.take(repo, &name)?;
                    seen.insert(name);
                }
            }
            if is_whole {
                break;
            }
            repo.store().end_look();
        }
        Ok(announced)
    }

    /// Reads one list. `false` if it is not there any more: what replaced it must be looked for.
    fn take(&mut self, repo: &Repo, name: &ObjectName) -> RepoResult<bool> {
        let read = repo.get_surely(name, RECORD_BYTES_MAX as u64, |bytes| {
            Removed::decode(bytes, &repo.identity().repo, repo.keys())
        });
        match read {
            Ok(removed) => {
                self.ids.extend(removed.snapshots);
                self.confirmed.extend(removed.confirmed);
                self.lists.push(name.clone());
            }
            Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => return Ok(false),
            Err(RepoError::Object { source: FormatError::Corrupt { .. }, .. }) => {}
            Err(RepoError::Object { source: FormatError::NotAuthentic { .. }, .. }) => {}
            Err(e) => return Err(e),
        }
        Ok(true)
    }

    /// Announces the removal of these; durable when it returns.
    pub(crate) fn announce(
        &mut self,
        repo: &Repo,
        ids: &BTreeSet<SnapshotId>,
        seed: &mut Seed,
    ) -> RepoResult<()> {
        self.put(repo, ids, &BTreeSet::new(), seed)?;
        self.ids.extend(ids);
        Ok(())
    }

    /// Confirms the removal of these; durable when it returns.
    pub(crate) fn confirm(
        &mut self,
        repo: &Repo,
        ids: &BTreeSet<SnapshotId>,
        seed: &mut Seed,
    ) -> RepoResult<()> {
        self.put(repo, ids, ids, seed)?;
        self.confirmed.extend(ids);
        Ok(())
    }

    /// Stores one list of everything known; durable when it returns. The lists it replaces stay.
    pub(crate) fn merge(&mut self, repo: &Repo, seed: &mut Seed) -> RepoResult<()> {
        let (ids, confirmed) = (self.ids.clone(), self.confirmed.clone());
        self.put(repo, &ids, &confirmed, seed)
    }

    fn put(
        &mut self,
        repo: &Repo,
        ids: &BTreeSet<SnapshotId>,
        confirmed: &BTreeSet<SnapshotId>,
        seed: &mut Seed,
    ) -> RepoResult<()> {
        let list = |ids: &BTreeSet<SnapshotId>| ids.iter().copied().collect();
        let removed = Removed { snapshots: list(ids), confirmed: list(confirmed) };
        let mut compressor = Compressor::new(Level(3));
        let bytes = removed.encode(&repo.identity().repo, repo.keys(), seed.draw(), &mut compressor);
        self.highest = self.highest.saturating_add(1);
        reserve::put(repo, &names::removed(self.highest, &bytes), &bytes, PutMode::CreateNew)?;
        repo.sync()
    }
}

/// Whether the removal of a snapshot was announced.
pub fn is_announced(repo: &Repo, id: &SnapshotId) -> RepoResult<bool> {
    Ok(Announced::read(repo)?.ids.contains(id))
}

fn list(repo: &Repo) -> RepoResult<Vec<ObjectName>> {
    let mut names = Vec::new();
    repo.list(names::GC, |info| {
        if names::parse_removed(&info.name).is_some() {
            names.push(info.name);
        }
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

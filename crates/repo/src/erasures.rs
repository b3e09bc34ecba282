//! The list of what was erased from history. Whoever restores or copies snapshots asks here.
//!
//! An erasure is stored twice, because one that cannot be read in either copy is an error for who would bring
//! files back: what it covers is not known.

use crate::error::RepoResult;
use crate::holds::Holds;
use crate::names;
use crate::open::Repo;
use crate::reserve;
use crate::seed::Seed;
use format::codec::{Compressor, Level};
use format::erase::Erasure;
use format::gc::GcRecord;
use format::id::{ErasureId, SnapshotId};
use format::snapshot::Snapshot;
use format::tree::KeyPath;
use format::{FormatError, FormatResult};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use storage::{ErrorKind, PutMode};

/// All erasures of a repository.
#[derive(Clone, Debug, Default)]
pub struct Erasures {
    /// Those that can be read, oldest first.
    pub all: Vec<Erasure>,
}

impl Erasures {
    /// Those that count: what is stored here, and what whoever opened the repository knows from another copy. A
    /// stored one that cannot be read ends it with an error that names it.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let mut erasures = Self::stored(repo)?;
        for known in repo.known_erasures() {
            match erasures.all.iter_mut().find(|erasure| erasure.id == known.id) {
                Some(erasure) => _ = erasure.take_in(known),
                None => erasures.all.push(known.clone()),
            }
        }
        erasures.all.sort_by_key(|erasure: &Erasure| (erasure.time, erasure.id));
        Ok(erasures)
    }

    /// Those that are stored in this repository; fails as [`Erasures::read`] does.
    pub fn stored(repo: &Repo) -> RepoResult<Self> {
        let mut ids = BTreeSet::new();
        for folder in [names::GC.to_string(), format!("{}{}", names::MIRROR, names::ERASED)] {
            repo.list(&folder, |info| {
                ids.extend(names::parse_erasure(&info.name));
                ControlFlow::Continue(())
            })?;
        }
        let mut all = Vec::new();
        for id in ids {
            match read_one(repo, &id) {
                Ok(erasure) => all.push(erasure),
                Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        all.sort_by_key(|erasure: &Erasure| (erasure.time, erasure.id));
        Ok(Erasures { all })
    }

    /// Those that cover a snapshot.
    pub fn of<'e>(&'e self, snapshot: &'e Snapshot) -> impl Iterator<Item = &'e Erasure> {
        self.all.iter().filter(|erasure| erasure.covers(snapshot))
    }

    /// The snapshot that stands for one that was replaced.
    pub fn replacement(&self, old: &SnapshotId) -> Option<SnapshotId> {
        let pairs = self.all.iter().flat_map(|erasure| &erasure.replaced);
        pairs.into_iter().find(|(replaced, _)| replaced == old).map(|(_, new)| *new)
    }
}

/// All that was erased from history, with what wins over it: read once for many snapshots.
#[derive(Debug, Default)]
pub struct ErasedHistory {
    erasures: Erasures,
    holds: Holds,
}

impl ErasedHistory {
    /// Reads it. Fails as [`Erasures::read`] does.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let erasures = Erasures::read(repo)?;
        let holds = if erasures.all.is_empty() { Holds::default() } else { Holds::read(repo)? };
        Ok(ErasedHistory { erasures, holds })
    }

    /// What was erased from a snapshot since it was made. A hold wins: then all of it comes back.
    pub fn of(&self, snapshot: &Snapshot) -> Erased {
        // A hold that cannot be read may cover anything; that one is over is for who forgets to find out.
        let is_held =
            || !self.holds.unreadable.is_empty() || self.holds.holds.iter().any(|hold| hold.covers(snapshot));
        let of_it: Vec<Erasure> = self.erasures.of(snapshot).cloned().collect();
        Erased(if of_it.is_empty() || is_held() { Vec::new() } else { of_it })
    }
}

/// What does not come back of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Erased(Vec<Erasure>);

impl Erased {
    /// As [`ErasedHistory::of`], for one snapshot.
    pub fn of(repo: &Repo, snapshot: &Snapshot) -> RepoResult<Self> {
        Ok(ErasedHistory::read(repo)?.of(snapshot))
    }

    /// The erasures.
    pub fn erasures(&self) -> &[Erasure] {
        &self.0
    }

    /// Whether all of the snapshot comes back.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path was erased: its components with the volume first, or as they count from `/`.
    pub fn covers<C: AsRef<[u8]>>(&self, path: &[C]) -> bool {
        let from_root =
            || -> Vec<&[u8]> { [&b"/"[..]].into_iter().chain(path.iter().map(AsRef::as_ref)).collect() };
        self.0.iter().any(|e| e.erases_path(path) || e.erases_path(&from_root()))
    }

    /// Whether the path of a tree's key was erased.
    pub fn covers_key(&self, key: &[u8]) -> bool {
        let parts = |path: KeyPath<'_>| path.components().map(<[u8]>::to_vec).collect::<Vec<_>>();
        !self.is_empty() && KeyPath::parse(key).is_ok_and(|path| self.covers(&parts(path)))
    }
}

fn read_one(repo: &Repo, id: &ErasureId) -> RepoResult<Erasure> {
    repo.get_mirrored(&names::erasure(id), |bytes| decode(repo, id, bytes))
}

fn decode(repo: &Repo, id: &ErasureId, bytes: &[u8]) -> FormatResult<Erasure> {
    let erasure = Erasure::decode(bytes, &repo.identity().repo, repo.keys())?;
    match erasure.id == *id {
        true => Ok(erasure),
        false => Err(FormatError::Corrupt { what: "erasure", why: "it stands under another's name" }),
    }
}

/// How many replaced snapshots this copy of an erasure knows: of two that differ, one was put by a run that
/// ended in between, and the one that knows more is right.
pub(crate) fn replaced_in(repo: &Repo, id: &ErasureId, bytes: &[u8]) -> usize {
    decode(repo, id, bytes).map_or(0, |erasure| erasure.replaced.len())
}

/// Whoever can open a repository may read what is remembered of its erasures elsewhere: sealed as in `repo`.
pub fn sealed(repo: &Repo, erasure: &Erasure, seed: &mut Seed) -> Vec<u8> {
    erasure.encode(&repo.identity().repo, repo.keys(), seed.draw(), &mut Compressor::new(Level(3)))
}

/// Stores an erasure; with a full place the reserve is given up for it. One that grew (more snapshots were
/// replaced) takes the place of itself.
pub fn put(repo: &Repo, erasure: &Erasure, seed: &mut Seed) -> RepoResult<()> {
    let bytes = sealed(repo, erasure, seed);
    let name = names::erasure(&erasure.id);
    for name in [names::mirror(&name), name] {
        reserve::put(repo, &name, &bytes, PutMode::Replace)?;
    }
    repo.sync()
}

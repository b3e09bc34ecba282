//! Holds: snapshots that must stay, whatever a policy says.
//!
//! A hold is stored twice. One that cannot be read in either copy covers everything until it is repaired or
//! released: who may put objects under `holds/` is who may put them under `gc/`, so nobody with the right to
//! add snapshots alone can stop deletion this way.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::Repo;
use crate::reserve;
use crate::seed::Seed;
use format::FormatError;
use format::codec::{Compressor, Level};
use format::gc::GcRecord;
use format::id::HoldId;
use format::keep::Hold;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use storage::{ErrorKind, PutMode};

/// All holds of a repository.
#[derive(Debug, Default)]
pub struct Holds {
    /// Those that can be read, in order of their ids; some may be over.
    pub holds: Vec<Hold>,
    /// Those that cannot, with the reason.
    pub unreadable: Vec<(HoldId, RepoError)>,
}

impl Holds {
    /// Lists and reads all.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let mut ids = BTreeSet::new();
        for folder in [names::HOLDS.to_string(), format!("{}{}", names::MIRROR, names::HOLDS)] {
            repo.list(&folder, |info| {
                ids.extend(names::parse_hold(&info.name));
                ControlFlow::Continue(())
            })?;
        }
        let mut all = Holds::default();
        for id in ids {
            match read_one(repo, &id) {
                Ok(hold) => all.holds.push(hold),
                Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => {} // released meanwhile
                Err(e) if e.is_damage() || e.is_too_new() => all.unreadable.push((id, e)),
                Err(e) => return Err(e),
            }
        }
        Ok(all)
    }

    /// The hold a user means by its name or the beginning of its id.
    pub fn find(&self, spec: &str) -> Vec<HoldId> {
        let named = |hold: &&Hold| hold.name == spec;
        let by_name: Vec<HoldId> = self.holds.iter().filter(named).map(|hold| hold.id).collect();
        if !by_name.is_empty() {
            return by_name;
        }
        let ids = self.holds.iter().map(|hold| hold.id).chain(self.unreadable.iter().map(|(id, _)| *id));
        ids.filter(|id| !spec.is_empty() && id.hex().starts_with(spec)).collect()
    }
}

fn read_one(repo: &Repo, id: &HoldId) -> RepoResult<Hold> {
    repo.get_mirrored(&names::hold(id), |bytes| {
        let hold = Hold::decode(bytes, &repo.identity().repo, repo.keys())?;
        match hold.id == *id {
            true => Ok(hold),
            false => Err(FormatError::Corrupt { what: "hold", why: "it stands under another's name" }),
        }
    })
}

/// Stores a hold; with a full place the reserve is given up for it.
pub fn add(repo: &Repo, hold: &Hold, seed: &mut Seed) -> RepoResult<()> {
    let mut compressor = Compressor::new(Level(3));
    let bytes = hold.encode(&repo.identity().repo, repo.keys(), seed.draw(), &mut compressor);
    let name = names::hold(&hold.id);
    for name in [names::mirror(&name), name] {
        reserve::put(repo, &name, &bytes, PutMode::CreateNew)?;
    }
    repo.sync()
}

/// Takes a hold away. While one copy is left it counts.
pub fn release(repo: &Repo, id: &HoldId) -> RepoResult<()> {
    let name = names::hold(id);
    for name in [names::mirror(&name), name] {
        match repo.store().delete(&name) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => other.map_err(|e| repo.store_error(e))?,
        }
    }
    repo.sync()
}

//! What the store itself says about packs: which are there, how long, and which are condemned.
//!
//! The one source of "this pack exists": index segments only claim it. A pack counts under the name that
//! belongs to its kind and nowhere else, so an object of a pack's name in another folder hides nothing.

use crate::error::{RepoError, RepoResult};
use crate::index::LISTINGS_MAX;
use crate::names;
use crate::open::Repo;
use format::gc::Condemned;
use format::id::{BlobKind, PackId};
use format::limits::RECORD_BYTES_MAX;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{ErrorKind, ObjectName};

static LISTINGS: AtomicU64 = AtomicU64::new(0);

/// What a listing of packs found.
#[derive(Clone, Debug, Default)]
pub struct PackListing {
    /// Grows with every listing this process makes: an older one must not bring back what a newer one did
    /// not see.
    number: u64,
    packs: HashMap<(BlobKind, PackId), u64>,
    /// The packs nobody may rely on any more.
    condemned: HashSet<PackId>,
    /// Lists of condemned packs that could not be read, with the reason. They are left out of account, as
    /// one that was lost would be: a pruner that condemned by them rescues what is still needed.
    pub unreadable: Vec<(String, Arc<RepoError>)>,
}

impl PackListing {
    /// Lists all packs and everything that is condemned. Index segments must have been listed before.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let number = LISTINGS.fetch_add(1, Ordering::Relaxed) + 1;
        let mut listing = PackListing { number, ..PackListing::default() };
        for folder in [names::PACKS, names::TREES] {
            repo.list(folder, |info| {
                if let Some(pack) = names::parse_pack(&info.name) {
                    listing.packs.insert(pack, info.len_bytes);
                }
                ControlFlow::Continue(())
            })?;
        }
        listing.read_condemned(repo)?;
        Ok(listing)
    }

    fn read_condemned(&mut self, repo: &Repo) -> RepoResult<()> {
        let mut read: HashSet<ObjectName> = HashSet::new();
        for _ in 0..LISTINGS_MAX {
            self.unreadable.retain(|(_, e)| e.store_kind() != Some(ErrorKind::NotFound));
            let mut gone = false;
            for name in list_condemned(repo)? {
                if read.contains(&name) {
                    continue;
                }
                match self.take_condemned(repo, &name)? {
                    true => _ = read.insert(name),
                    false => gone = true,
                }
            }
            if !gone {
                break;
            }
        }
        Ok(())
    }

    /// Reads one list. `false` if it is not there any more.
    fn take_condemned(&mut self, repo: &Repo, name: &ObjectName) -> RepoResult<bool> {
        let read = repo.get_mended(name, RECORD_BYTES_MAX as u64, |bytes| {
            Condemned::decode(bytes, &repo.identity().repo, repo.keys())
        });
        match read {
            Ok(condemned) => self.condemned.extend(condemned.packs),
            Err(e) if e.is_damage() || e.is_too_new() => {
                let is_there = e.store_kind() != Some(ErrorKind::NotFound);
                self.unreadable.push((name.to_string(), Arc::new(e)));
                return Ok(is_there);
            }
            Err(e) => return Err(e),
        }
        Ok(true)
    }

    /// Which of this process's listings it is, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The length of a pack, if it is there.
    pub fn len_bytes(&self, kind: BlobKind, id: &PackId) -> Option<u64> {
        self.packs.get(&(kind, *id)).copied()
    }

    /// Whether a pack is condemned.
    pub fn is_condemned(&self, id: &PackId) -> bool {
        self.condemned.contains(id)
    }

    /// Whether a pack of this length counts as stored.
    pub fn is_live(&self, kind: BlobKind, id: &PackId, pack_bytes: u64) -> bool {
        self.len_bytes(kind, id) == Some(pack_bytes) && !self.is_condemned(id)
    }

    /// All packs with their lengths, condemned ones included, in no order.
    pub fn packs(&self) -> impl Iterator<Item = (BlobKind, PackId, u64)> {
        self.packs.iter().map(|((kind, id), len)| (*kind, *id, *len))
    }

    /// Packs that count as stored, with their lengths, in no order.
    pub fn live(&self) -> impl Iterator<Item = (BlobKind, PackId, u64)> {
        self.packs().filter(|(_, id, _)| !self.is_condemned(id))
    }

    /// A list of condemned packs that only a newer version can read: then nothing may be published here.
    pub fn too_new(&self) -> Option<String> {
        self.unreadable.iter().find(|(_, e)| e.is_too_new()).map(|(name, _)| name.clone())
    }
}

fn list_condemned(repo: &Repo) -> RepoResult<Vec<ObjectName>> {
    let mut lists = Vec::new();
    repo.list(names::GC, |info| {
        if names::is_condemned(&info.name) {
            lists.push(info.name);
        }
        ControlFlow::Continue(())
    })?;
    Ok(lists)
}

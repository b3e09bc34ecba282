//! What the store itself says about packs: which are there, how long, and which are condemned.
//!
//! The one source of "this pack exists": index segments only claim it. A pack counts under the name that
//! belongs to its kind and nowhere else, so an object of a pack's name in another folder hides nothing.

use crate::damage;
use crate::error::{RepoError, RepoResult};
use crate::index::LISTINGS_MAX;
use crate::names;
use crate::open::Repo;
use crate::reader::chain;
use format::FormatError;
use format::damage::Subject;
use format::gc::{Condemned, GcRecord};
use format::id::{BlobKind, PackId};
use format::limits::RECORD_BYTES_MAX;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::{ErrorKind, ObjectInfo, ObjectName, planted};

static LISTINGS: AtomicU64 = AtomicU64::new(0);

/// What a listing of packs found.
#[derive(Clone, Debug, Default)]
pub struct PackListing {
    /// Grows with every listing this process makes: an older one must not bring back what a newer one did
    /// not see.
    number: u64,
    /// In order of kind and name.
    packs: Vec<Listed>,
    /// The packs nobody may rely on any more.
    condemned: HashSet<PackId>,
    /// The packs that a repair marked as damaged beyond mending.
    damaged: HashSet<PackId>,
    /// The lists that say so, as far as they could be read.
    pub(crate) condemned_lists: Vec<CondemnedList>,
    /// The greatest number in the name of such a list.
    pub(crate) highest_condemned: u64,
    /// Lists of condemned packs that could not be read, with the reason. They are left out of account, as
    /// one that was lost would be: a pruner that condemned by them rescues what is still needed.
    pub unreadable: Vec<(String, Arc<RepoError>)>,
}

/// What the store says of one pack: 56 bytes, of which a repository of ten terabytes has 650,000.
#[derive(Clone, Copy, Debug)]
struct Listed {
    kind: BlobKind,
    id: PackId,
    len_bytes: u64,
    /// Nanoseconds since 1970, [`UNKNOWN_TIME`] where the store does not say.
    received: i64,
}

const UNKNOWN_TIME: i64 = i64::MIN;

impl Listed {
    fn new(kind: BlobKind, id: PackId, info: &ObjectInfo) -> Self {
        let nanos = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(UNKNOWN_TIME + 1, |n| -n),
        };
        Listed { kind, id, len_bytes: info.len_bytes, received: info.received.map_or(UNKNOWN_TIME, nanos) }
    }

    fn received(&self) -> Option<SystemTime> {
        match self.received {
            UNKNOWN_TIME => None,
            nanos if nanos < 0 => UNIX_EPOCH.checked_sub(Duration::from_nanos(nanos.unsigned_abs())),
            nanos => UNIX_EPOCH.checked_add(Duration::from_nanos(nanos as u64)),
        }
    }
}

/// One list of condemned packs.
#[derive(Clone, Debug)]
pub(crate) struct CondemnedList {
    pub(crate) name: ObjectName,
    /// When the store received it.
    pub(crate) received: Option<SystemTime>,
    pub(crate) record: Arc<Condemned>,
}

impl PackListing {
    /// Lists all packs and everything that is condemned. Index segments must have been listed before.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let number = LISTINGS.fetch_add(1, Ordering::Relaxed) + 1;
        let mut listing = PackListing { number, ..PackListing::default() };
        for folder in [names::PACKS, names::TREES] {
            repo.list(folder, |info| {
                if let Some((kind, id)) = names::parse_pack(&info.name) {
                    listing.packs.push(Listed::new(kind, id, &info));
                }
                ControlFlow::Continue(())
            })?;
        }
        // Most stores list in order; one that does not, or names an object twice, is put right here.
        listing.packs.sort_by_key(|pack| (pack.kind, pack.id));
        listing.packs.dedup_by_key(|pack| (pack.kind, pack.id));
        listing.read_condemned(repo)?;
        Ok(listing)
    }

    fn read_condemned(&mut self, repo: &Repo) -> RepoResult<()> {
        let mut read: HashSet<ObjectName> = HashSet::new();
        let mut marks: Vec<ObjectName> = Vec::new();
        let mut is_whole = false;
        for _ in 0..LISTINGS_MAX {
            self.unreadable.retain(|(_, e)| e.store_kind() != Some(ErrorKind::NotFound));
            let mut gone = false;
            for info in list_condemned(repo, &mut marks)? {
                let number = names::parse_condemned(&info.name).unwrap_or(0);
                self.highest_condemned = self.highest_condemned.max(number);
                if read.contains(&info.name) {
                    continue;
                }
                match self.take_condemned(repo, &info)? {
                    true => _ = read.insert(info.name),
                    false => gone = true,
                }
            }
            is_whole = !gone;
            if is_whole {
                break;
            }
            repo.store().end_look();
        }
        if !is_whole {
            return Err(RepoError::Overtaken); // lists went away again and again: what they said is not known
        }
        for name in marks {
            self.take_mark(repo, &name)?;
        }
        Ok(())
    }

    /// Only an authentic mark counts. One that cannot be read only costs what it would have told.
    fn take_mark(&mut self, repo: &Repo, name: &ObjectName) -> RepoResult<()> {
        match damage::read(repo, name) {
            Ok(mark) => {
                if let Subject::Pack { id, .. } = mark.subject {
                    self.damaged.insert(id);
                }
                Ok(())
            }
            Err(e) if e.is_damage() || e.is_too_new() => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Reads one list. `false` if it is not there any more.
    fn take_condemned(&mut self, repo: &Repo, info: &ObjectInfo) -> RepoResult<bool> {
        let name = &info.name;
        let read = repo.get_surely(name, RECORD_BYTES_MAX as u64, |bytes| {
            let list = Condemned::decode(bytes, &repo.identity().repo, repo.keys())?;
            match names::is_condemned_of(name, bytes) {
                true => Ok(list),
                false => {
                    let why = "its bytes do not match its name";
                    Err(FormatError::Corrupt { what: "list of condemned packs", why })
                }
            }
        });
        match read {
            Ok(condemned) => {
                self.condemned.extend(&condemned.packs);
                let record = Arc::new(condemned);
                let (name, received) = (name.clone(), info.received);
                self.condemned_lists.push(CondemnedList { name, received, record });
            }
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
        self.find(kind, id).map(|pack| pack.len_bytes)
    }

    /// When the store received a pack, by its own clock.
    pub(crate) fn received(&self, kind: BlobKind, id: &PackId) -> Option<SystemTime> {
        self.find(kind, id)?.received()
    }

    fn find(&self, kind: BlobKind, id: &PackId) -> Option<&Listed> {
        let at = self.packs.binary_search_by(|pack| (pack.kind, &pack.id).cmp(&(kind, id))).ok()?;
        self.packs.get(at)
    }

    /// Whether a pack is condemned.
    pub fn is_condemned(&self, id: &PackId) -> bool {
        self.condemned.contains(id) && !planted::is("condemned-relied-on")
    }

    /// Whether a pack is marked as damaged.
    pub fn is_damaged(&self, id: &PackId) -> bool {
        self.damaged.contains(id)
    }

    /// The packs that are marked as damaged.
    pub(crate) fn damaged(&self) -> &HashSet<PackId> {
        &self.damaged
    }

    /// Whether a pack of this length counts as stored.
    pub fn is_live(&self, kind: BlobKind, id: &PackId, pack_bytes: u64) -> bool {
        let expected =
            if planted::is("length-unchecked") { self.len_bytes(kind, id) } else { Some(pack_bytes) };
        self.len_bytes(kind, id).is_some_and(|len| Some(len) == expected) && !self.is_condemned(id)
    }

    /// All packs with their lengths, condemned ones included, in order of kind and name.
    pub fn packs(&self) -> impl Iterator<Item = (BlobKind, PackId, u64)> {
        self.packs.iter().map(|pack| (pack.kind, pack.id, pack.len_bytes))
    }

    /// Packs that count as stored, with their lengths, in order of kind and name.
    pub fn live(&self) -> impl Iterator<Item = (BlobKind, PackId, u64)> {
        self.packs().filter(|(_, id, _)| !self.is_condemned(id))
    }

    /// Like [`PackListing::read`], for who stakes something on packs it shows: what is condemned must be known.
    pub(crate) fn read_to_rely_on(repo: &Repo) -> RepoResult<Self> {
        let listing = Self::read(repo)?;
        if let Some(name) = listing.too_new() {
            let why = "packs may be condemned that this version does not know of";
            return Err(RepoError::object(
                &name,
                FormatError::TooNew { what: "list of condemned packs", why },
            ));
        }
        listing.must_have_arrived()?;
        Ok(listing)
    }

    /// Fails if a list of condemned packs may well be whole but did not arrive: whoever publishes or deletes
    /// must know what it says. One that arrived damaged again and again is left out: its writer was cut off
    /// and never went on.
    pub(crate) fn must_have_arrived(&self) -> RepoResult<()> {
        match self.unreadable.iter().find(|(_, e)| e.store_kind().is_some()) {
            Some((name, e)) => Err(RepoError::Local(format!(
                "{name}, which says what must not be relied on, could not be read: {}",
                chain(&**e)
            ))),
            None => Ok(()),
        }
    }

    /// A list of condemned packs that only a newer version can read: then nothing may be published here.
    pub fn too_new(&self) -> Option<String> {
        self.unreadable.iter().find(|(_, e)| e.is_too_new()).map(|(name, _)| name.clone())
    }
}

/// The lists of condemned packs; the marks of damaged ones are noted by the way.
fn list_condemned(repo: &Repo, marks: &mut Vec<ObjectName>) -> RepoResult<Vec<ObjectInfo>> {
    let mut lists = Vec::new();
    marks.clear();
    repo.list(names::GC, |info| {
        if names::is_condemned(&info.name) {
            lists.push(info);
        } else if names::parse_pack_damage_mark(&info.name).is_some() {
            marks.push(info.name);
        }
        ControlFlow::Continue(())
    })?;
    Ok(lists)
}

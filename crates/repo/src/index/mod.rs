//! Where blobs are: the segments of a repository, mapped from local files, and a filter in front of each.
//!
//! Memory: the filter takes 10 bits a blob and is mapped like the rest; nothing else grows with the number
//! of blobs but one bit a pack. Blobs of the running session are in a set until their segment is written.
//!
//! Two questions are asked. *Is it stored?* counts only mappings made by owners or maintainers, in packs
//! that the session itself saw in a listing and that nobody condemned: dedup stakes a snapshot on it.
//! *Where may it be read?* counts every mapping: reading proves what it finds.

mod listing;
mod mapped;
mod orphans;

pub use listing::PackListing;
pub use mapped::SegmentFile;
pub(crate) use mapped::with_check;
pub(crate) use orphans::{OpenedPack, open_pack, open_whole, read_directory};
pub use orphans::{OrphanPack, Orphans};

use crate::cache::Cache;
use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::{Repo, mend_and_decode};
use format::FormatError;
use format::id::{BlobId, BlobKind, PackId};
use format::index::{BlockPlace, IndexKey, Segment};
use format::limits::INDEX_BYTES_MAX;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::{ErrorKind, ObjectName, planted};

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// Its kind.
    pub kind: BlobKind,
    /// The block in it.
    pub block: BlockPlace,
    /// Which blob of the block.
    pub rank: u16,
}

/// A segment and which of its packs count as stored.
struct Loaded {
    name: ObjectName,
    file: Arc<SegmentFile>,
    /// One bit a pack: seen in the listing and not condemned.
    stored: Vec<bool>,
    /// Whether the last listing showed it. Nothing is staked on a segment that others cannot see.
    listed: bool,
}

impl Loaded {
    fn counts(&self) -> bool {
        self.listed && self.file.trusted()
    }
}

/// The index of a repository as one session sees it.
#[derive(Default)]
pub struct Index {
    segments: Vec<Loaded>,
    highest_number: u64,
    /// Segments that could not be read, with the reason.
    pub unreadable: Vec<(String, RepoError)>,
    orphans: Vec<Orphans>,
    /// Packs that are known to be damaged: nothing new may rely on them.
    damaged: HashSet<PackId>,
    /// Number of the newest listing that was taken over.
    seen_listing: u64,
}

/// How often a listing is repeated when an object of it was gone before it could be read: it was replaced.
pub(crate) const LISTINGS_MAX: usize = 4;

/// Begins the names of laid-out segments in the cache.
const CACHE_PREFIX: &str = "seg-";

impl Index {
    /// Lists and loads all segments. What is in the cache is not fetched again.
    pub fn load(repo: &Repo, cache: &Cache) -> RepoResult<Self> {
        let mut index = Index::default();
        index.refresh(repo, cache)?;
        let used: HashSet<String> = index.segments.iter().map(|s| cache_name(&s.name)).collect();
        cache.retain(CACHE_PREFIX, |name| used.contains(name));
        Ok(index)
    }

    /// Loads segments that appeared since. Returns how many did.
    ///
    /// Damaged segments are noted as unreadable; a store that does not answer is an error.
    pub fn refresh(&mut self, repo: &Repo, cache: &Cache) -> RepoResult<usize> {
        let mut appeared = 0;
        for _ in 0..LISTINGS_MAX {
            let fresh = self.list(repo)?;
            self.unreadable.clear();
            let (cached, absent): (Vec<_>, Vec<_>) = fresh
                .into_iter()
                .map(|name| (cached_segment(cache, &name), name))
                .partition(|(f, _)| f.is_some());
            appeared += cached.len();
            cached.into_iter().for_each(|(file, name)| self.push(name, file.expect("it is cached")));
            let names: Vec<ObjectName> = absent.into_iter().map(|(_, name)| name).collect();
            let mut gone = false;
            repo.get_many(&names, INDEX_BYTES_MAX as u64, &mut |name, bytes| {
                match bytes.and_then(|mut bytes| take_segment(repo, cache, name, &mut bytes)) {
                    Ok(file) => {
                        self.push(name.clone(), file);
                        appeared += 1;
                    }
                    Err(e) if planted::is("bad-segment-fatal") => return Err(e),
                    Err(e) if e.is_damage() || e.is_too_new() => {
                        gone |= e.store_kind() == Some(ErrorKind::NotFound);
                        self.unreadable.push((name.to_string(), e));
                    }
                    Err(e) => return Err(e),
                }
                Ok(())
            })?;
            if !gone {
                break;
            }
            repo.store().end_look();
        }
        Ok(appeared)
    }

    /// Lists the segments and returns the names of those not loaded.
    fn list(&mut self, repo: &Repo) -> RepoResult<Vec<ObjectName>> {
        let mut names = Vec::new();
        repo.list(names::INDEX, |info| {
            names.extend(names::parse_segment(&info.name).map(|_| info.name));
            ControlFlow::Continue(())
        })?;
        let listed: HashSet<&ObjectName> = names.iter().collect();
        for segment in &mut self.segments {
            segment.listed = listed.contains(&segment.name);
        }
        let known: HashSet<&ObjectName> = self.segments.iter().map(|s| &s.name).collect();
        Ok(names.iter().filter(|name| !known.contains(name)).cloned().collect())
    }

    fn push(&mut self, name: ObjectName, file: Arc<SegmentFile>) {
        // Only what owners and maintainers made counts: anybody may add a name with the greatest number, and
        // then nothing could sort after what it replaces.
        if file.trusted() {
            let number = names::parse_segment(&name).unwrap_or(0);
            self.highest_number = self.highest_number.max(number);
        }
        let stored = vec![false; file.packs()];
        self.segments.push(Loaded { name, file, stored, listed: true });
    }

    /// Adds a segment this session wrote itself; its packs count as stored.
    pub fn add_own(&mut self, name: ObjectName, file: Arc<SegmentFile>) {
        let stored = vec![true; file.packs()];
        self.segments.push(Loaded { name, file, stored, listed: true });
    }

    /// A number greater than that of every segment that was loaded and can be trusted.
    pub fn next_number(&mut self) -> u64 {
        self.highest_number = self.highest_number.saturating_add(1);
        self.highest_number
    }

    /// Takes over what a listing saw: from now on mappings into these packs count as stored. A listing older
    /// than one that was taken over before changes nothing.
    pub fn see_packs(&mut self, listing: &PackListing) {
        if listing.number() < self.seen_listing {
            return;
        }
        self.seen_listing = listing.number();
        self.damaged.clone_from(listing.damaged());
        for segment in &mut self.segments {
            for (i, stored) in segment.stored.iter_mut().enumerate() {
                let file = &segment.file;
                *stored = listing.is_live(file.pack_kind(i), &file.pack_id(i), file.pack_bytes(i))
                    || planted::is("dedup-unlisted");
            }
        }
    }

    /// Packs that the index knows but the listing did not see, or saw with another length.
    pub fn missing_packs(&self, listing: &PackListing) -> Vec<(PackId, BlobKind)> {
        let mut missing = Vec::new();
        for segment in &self.segments {
            for i in 0..segment.file.packs() {
                let (kind, id) = (segment.file.pack_kind(i), segment.file.pack_id(i));
                if listing.len_bytes(kind, &id) != Some(segment.file.pack_bytes(i))
                    && !listing.is_condemned(&id)
                {
                    missing.push((id, kind));
                }
            }
        }
        missing.sort();
        missing.dedup();
        missing
    }

    /// The pack by which dedup may rely on this blob.
    pub fn stored_in(&self, kind: BlobKind, id: &BlobId) -> Option<PackId> {
        let key = IndexKey::from(id);
        self.segments.iter().filter(|s| s.counts()).find_map(|s| {
            let packs = s.file.find(&key).filter_map(|row| s.file.pack_of(row));
            let counting = packs.filter(|p| s.stored[*p] && s.file.pack_kind(*p) == kind);
            let mut ids = counting.map(|p| s.file.pack_id(p));
            ids.find(|id| !self.damaged.contains(id))
        })
    }

    /// Every place by which dedup may rely on this blob.
    pub(crate) fn stored_places(&self, kind: BlobKind, id: &BlobId) -> Vec<Location> {
        let key = IndexKey::from(id);
        let counting = self.segments.iter().filter(|s| s.counts());
        let places = counting.flat_map(|s| {
            let found = s.file.find(&key).filter_map(|row| s.file.location(row));
            let sound = |place: &Location| place.kind == kind && !self.damaged.contains(&place.pack);
            found.filter(move |(pack, place)| s.stored[*pack] && sound(place)).map(|(_, place)| place)
        });
        places.collect()
    }

    /// Every place the blob may be read from; places that count as stored come first.
    pub fn locate(&self, kind: BlobKind, id: &BlobId) -> Vec<Location> {
        let key = IndexKey::from(id);
        let mut found: Vec<(bool, Location)> = Vec::new();
        for s in &self.segments {
            for row in s.file.find(&key) {
                if let Some((pack, location)) = s.file.location(row)
                    && location.kind == kind
                {
                    let is_damaged = self.damaged.contains(&location.pack);
                    found.push((is_damaged || !s.stored[pack] || !s.counts(), location));
                }
            }
        }
        found.sort_by_key(|(doubtful, _)| *doubtful);
        let mut places: Vec<Location> = found.into_iter().map(|(_, l)| l).collect();
        places.extend(self.orphans.iter().flat_map(|o| o.locate(kind, id)));
        places
    }

    /// Whether every one of these packs has a mapping that counts.
    pub fn all_stored(&self, packs: impl Iterator<Item = PackId>) -> bool {
        let mut wanted: HashSet<PackId> = packs.collect();
        for s in self.segments.iter().filter(|s| s.counts()) {
            for i in (0..s.file.packs()).filter(|i| s.stored[*i]) {
                let id = s.file.pack_id(i);
                if !self.damaged.contains(&id) {
                    wanted.remove(&id);
                }
            }
        }
        wanted.is_empty()
    }

    /// The length of a pack, if the index or an adopted directory knows it.
    pub fn pack_bytes(&self, kind: BlobKind, id: &PackId) -> Option<u64> {
        let files = self.segments.iter().map(|s| &*s.file).chain(self.orphans.iter().map(|o| o.file()));
        let length = |file: &SegmentFile| {
            let mut packs = 0..file.packs();
            packs.find(|i| file.pack_id(*i) == *id && file.pack_kind(*i) == kind).map(|i| file.pack_bytes(i))
        };
        files.into_iter().find_map(length)
    }

    /// Bytes of all packs that segments name and that are not known to be damaged, each counted once.
    pub fn stored_bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        let mut bytes = 0u64;
        for s in self.segments.iter().filter(|s| s.counts()) {
            for i in 0..s.file.packs() {
                let id = s.file.pack_id(i);
                if !self.damaged.contains(&id) && seen.insert(id) {
                    bytes = bytes.saturating_add(s.file.pack_bytes(i));
                }
            }
        }
        bytes
    }

    /// Names of the segments that the last listing showed.
    pub fn listed(&self) -> impl Iterator<Item = &ObjectName> {
        self.segments.iter().filter(|s| s.listed).map(|s| &s.name)
    }

    /// Packs of a listing that neither a segment nor an adopted directory knows.
    pub fn unknown_packs(&self, listing: &PackListing) -> Vec<OrphanPack> {
        let adopted: HashSet<(BlobKind, PackId)> = self.orphans.iter().flat_map(|o| o.packs()).collect();
        let mut unknown = self.packs_without_segment(listing);
        unknown.retain(|(kind, id, _)| !adopted.contains(&(*kind, *id)));
        unknown
    }

    /// Packs of a listing that no segment knows.
    pub(crate) fn packs_without_segment(&self, listing: &PackListing) -> Vec<OrphanPack> {
        let of_file =
            |f: &SegmentFile| (0..f.packs()).map(|i| (f.pack_kind(i), f.pack_id(i))).collect::<Vec<_>>();
        let known: HashSet<(BlobKind, PackId)> =
            self.segments.iter().flat_map(|s| of_file(&s.file)).collect();
        let mut unknown: Vec<OrphanPack> =
            listing.packs().filter(|(kind, id, _)| !known.contains(&(*kind, *id))).collect();
        unknown.sort();
        unknown
    }

    /// Takes in what was read from directories of packs outside the index, so that a lost segment hides
    /// nothing.
    pub fn adopt(&mut self, orphans: Orphans) {
        self.orphans.push(orphans);
    }

    /// Whether a blob is known from an adopted directory only, and from which pack's.
    pub fn only_adopted(&self, kind: BlobKind, id: &BlobId) -> Option<PackId> {
        let key = IndexKey::from(id);
        let in_segment = |s: &Loaded| {
            let mut rows = s.file.find(&key);
            rows.any(|row| s.file.location(row).is_some_and(|(_, l)| l.kind == kind))
        };
        if self.orphans.is_empty() || self.segments.iter().any(in_segment) {
            return None;
        }
        self.orphans.iter().flat_map(|o| o.locate(kind, id)).next().map(|l| l.pack)
    }

    /// Number of blobs, segments and packs known.
    pub fn totals(&self) -> IndexTotals {
        let mut totals = IndexTotals { segments: self.segments.len(), ..IndexTotals::default() };
        for s in &self.segments {
            totals.blobs += s.file.blobs() as u64;
            totals.packs += s.file.packs();
        }
        totals
    }

    /// Whether the last listing showed a mark of damage on a pack.
    pub(crate) fn is_marked_damaged(&self, id: &PackId) -> bool {
        self.damaged.contains(id)
    }

    /// The segments one by one, for maintenance.
    pub(crate) fn segments(&self) -> impl Iterator<Item = SegmentView<'_>> {
        self.segments.iter().map(|s| SegmentView {
            name: &s.name,
            file: &s.file,
            stored: &s.stored,
            listed: s.listed,
        })
    }

    /// Every pack of every segment with its blocks; the visitor sees duplicates.
    pub fn visit_packs(&self, visit: &mut PackVisitor<'_>) {
        for s in &self.segments {
            for i in 0..s.file.packs() {
                visit(s.file.pack_id(i), s.file.pack_kind(i), s.file.pack_bytes(i), &s.file.pack_blocks(i));
            }
        }
    }
}

/// A segment as maintenance sees it.
pub(crate) struct SegmentView<'a> {
    pub(crate) name: &'a ObjectName,
    pub(crate) file: &'a Arc<SegmentFile>,
    /// Of each pack: seen in the listing and not condemned.
    pub(crate) stored: &'a [bool],
    /// Whether the last listing showed the segment.
    pub(crate) listed: bool,
}

/// Takes a pack: its name, kind, length and blocks.
pub type PackVisitor<'v> = dyn FnMut(PackId, BlobKind, u64, &[BlockPlace]) + 'v;

/// Sums over an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexTotals {
    /// Index segments.
    pub segments: usize,
    /// Packs.
    pub packs: usize,
    /// Blobs, duplicates included.
    pub blobs: u64,
}

fn cached_segment(cache: &Cache, name: &ObjectName) -> Option<Arc<SegmentFile>> {
    SegmentFile::open(cache.map(&cache_name(name))?).map(Arc::new)
}

/// A segment from its bytes into the cache.
fn take_segment(
    repo: &Repo,
    cache: &Cache,
    name: &ObjectName,
    bytes: &mut [u8],
) -> RepoResult<Arc<SegmentFile>> {
    let segment = mend_and_decode(bytes, |bytes| decode_segment(repo, name, bytes));
    segment.map(|segment| store_segment(cache, name, &segment)).map_err(|e| RepoError::object(name, e))
}

/// Reads a segment that must have been written under this name: the cache goes by names.
pub(crate) fn decode_segment(repo: &Repo, name: &ObjectName, bytes: &[u8]) -> Result<Segment, FormatError> {
    let segment = Segment::decode(bytes, &repo.identity().repo, repo.keys())?;
    if !names::is_segment_of(name, bytes) {
        return Err(FormatError::Corrupt { what: "index segment", why: "its bytes do not match its name" });
    }
    Ok(segment)
}

fn cache_name(segment: &ObjectName) -> String {
    format!("{CACHE_PREFIX}{}", segment.file_name())
}

/// Lays a segment out for lookups, in the cache where there is one.
pub(crate) fn store_segment(cache: &Cache, name: &ObjectName, segment: &Segment) -> Arc<SegmentFile> {
    let mapping = cache.store(&cache_name(name), mapped::lay_out(segment));
    Arc::new(SegmentFile::open(mapping).expect("a segment laid out just now can be opened"))
}

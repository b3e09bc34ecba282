//! Where blobs are: the segments of a repository, mapped from local files, and a filter in front of each.
//!
//! Memory: the filter takes 10 bits a blob and is mapped like the rest; nothing else grows with the number
//! of blobs but one bit a pack. Blobs of the running session are in a set until their segment is written.
//!
//! Two questions are asked. *Is it stored?* counts only mappings made by owners or maintainers, in packs
//! that the session itself saw in a listing and that nobody condemned: dedup stakes a snapshot on it.
//! *Where may it be read?* counts every mapping: reading proves what it finds.

mod mapped;
mod orphans;

pub use mapped::SegmentFile;
pub use orphans::Orphans;

use crate::cache::Cache;
use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::Repo;
use format::gc::Condemned;
use format::id::{BlobId, BlobKind, PackId};
use format::index::{BlockPlace, IndexKey, Segment};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::ObjectName;

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
}

/// What a listing of packs found.
#[derive(Clone, Debug, Default)]
pub struct PackListing {
    /// The packs and their lengths.
    pub packs: HashMap<PackId, u64>,
    /// The packs nobody may rely on any more.
    pub condemned: HashSet<PackId>,
}

/// The index of a repository as one session sees it.
pub struct Index {
    segments: Vec<Loaded>,
    highest_number: u64,
    /// Segments that could not be read, with the reason.
    pub unreadable: Vec<(String, RepoError)>,
    orphans: Option<Orphans>,
}

impl Index {
    /// Lists and loads all segments. What is in the cache is not fetched again.
    pub fn load(repo: &Repo, cache: &Cache) -> RepoResult<Self> {
        let mut index =
            Index { segments: Vec::new(), highest_number: 0, unreadable: Vec::new(), orphans: None };
        index.refresh(repo, cache)?;
        Ok(index)
    }

    /// Loads segments that appeared since. Returns how many did.
    pub fn refresh(&mut self, repo: &Repo, cache: &Cache) -> RepoResult<usize> {
        let known: HashSet<ObjectName> = self.segments.iter().map(|s| s.name.clone()).collect();
        let mut fresh = Vec::new();
        repo.list(names::INDEX, |info| {
            if let Some(number) = names::parse_segment(&info.name) {
                self.highest_number = self.highest_number.max(number);
                if !known.contains(&info.name) {
                    fresh.push(info.name);
                }
            }
            ControlFlow::Continue(())
        })?;
        self.unreadable.clear();
        let appeared = fresh.len();
        for name in fresh {
            match load_segment(repo, cache, &name) {
                Ok(file) => self.push(name, file),
                Err(e) => self.unreadable.push((name.to_string(), e)),
            }
        }
        Ok(appeared)
    }

    fn push(&mut self, name: ObjectName, file: Arc<SegmentFile>) {
        let stored = vec![false; file.packs()];
        self.segments.push(Loaded { name, file, stored });
    }

    /// Adds a segment this session wrote itself; its packs count as stored.
    pub fn add_own(&mut self, name: ObjectName, file: Arc<SegmentFile>) {
        let stored = vec![true; file.packs()];
        self.segments.push(Loaded { name, file, stored });
    }

    /// A number greater than that of every segment seen.
    pub fn next_number(&mut self) -> u64 {
        self.highest_number += 1;
        self.highest_number
    }

    /// Takes over what a listing saw: from now on mappings into these packs count as stored.
    pub fn see_packs(&mut self, listing: &PackListing) {
        for segment in &mut self.segments {
            for (i, stored) in segment.stored.iter_mut().enumerate() {
                let (id, pack_bytes) = (segment.file.pack_id(i), segment.file.pack_bytes(i));
                *stored = listing.packs.get(&id) == Some(&pack_bytes) && !listing.condemned.contains(&id);
            }
        }
    }

    /// Packs that the index knows but the listing did not see, or saw with another length.
    pub fn missing_packs(&self, listing: &PackListing) -> Vec<(PackId, BlobKind)> {
        let mut missing = Vec::new();
        for segment in &self.segments {
            for i in 0..segment.file.packs() {
                let id = segment.file.pack_id(i);
                if listing.packs.get(&id) != Some(&segment.file.pack_bytes(i))
                    && !listing.condemned.contains(&id)
                {
                    missing.push((id, segment.file.pack_kind(i)));
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
        self.segments.iter().filter(|s| s.file.trusted()).find_map(|s| {
            let packs = s.file.find(&key).filter_map(|row| s.file.pack_of(row));
            let mut counting = packs.filter(|p| s.stored[*p] && s.file.pack_kind(*p) == kind);
            counting.next().map(|p| s.file.pack_id(p))
        })
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
                    found.push((!s.stored[pack] || !s.file.trusted(), location));
                }
            }
        }
        found.sort_by_key(|(doubtful, _)| *doubtful);
        let mut places: Vec<Location> = found.into_iter().map(|(_, l)| l).collect();
        if places.is_empty()
            && let Some(orphans) = &self.orphans
        {
            places = orphans.locate(kind, id);
        }
        places
    }

    /// Reads the directories of packs that no segment knows, so that a lost segment hides nothing.
    /// Returns whether anything was found. Does its work once.
    pub fn adopt_orphans(&mut self, repo: &Repo, listing: &PackListing) -> bool {
        if self.orphans.is_none() {
            let packs_of = |s: &Loaded| (0..s.file.packs()).map(|i| s.file.pack_id(i)).collect::<Vec<_>>();
            let known: HashSet<PackId> = self.segments.iter().flat_map(packs_of).collect();
            let unknown =
                listing.packs.iter().filter(|(id, _)| !known.contains(id)).map(|(id, len)| (*id, *len));
            self.orphans = Some(Orphans::read(repo, unknown.collect()));
        }
        self.orphans.as_ref().is_some_and(|o| !o.is_empty())
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

    /// Every pack of every segment with its blocks; the visitor sees duplicates.
    pub fn visit_packs(&self, visit: &mut PackVisitor<'_>) {
        for s in &self.segments {
            for i in 0..s.file.packs() {
                visit(s.file.pack_id(i), s.file.pack_kind(i), s.file.pack_bytes(i), &s.file.pack_blocks(i));
            }
        }
    }
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

/// A segment from the cache, or from the repository into the cache.
fn load_segment(repo: &Repo, cache: &Cache, name: &ObjectName) -> RepoResult<Arc<SegmentFile>> {
    let file_name = format!("seg-{}", name.file_name());
    if let Some(mapping) = cache.map(&file_name)
        && let Some(file) = SegmentFile::open(mapping)
    {
        return Ok(Arc::new(file));
    }
    let bytes = repo.get_mended(name, format::limits::INDEX_BYTES_MAX as u64, |bytes| {
        Segment::decode(bytes, &repo.identity().repo, repo.keys())
    })?;
    Ok(store_segment(cache, name, &bytes))
}

/// Lays a segment out for lookups, in the cache where there is one.
pub(crate) fn store_segment(cache: &Cache, name: &ObjectName, segment: &Segment) -> Arc<SegmentFile> {
    let laid_out = mapped::lay_out(segment);
    let mapping = cache.store(&format!("seg-{}", name.file_name()), laid_out);
    Arc::new(SegmentFile::open(mapping).expect("a segment laid out just now can be opened"))
}

impl PackListing {
    /// Lists all packs and everything that is condemned. Index segments must have been listed before.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        let mut listing = PackListing::default();
        for folder in [names::PACKS, names::TREES] {
            repo.list(folder, |info| {
                if let Some(id) = names::parse_pack(&info.name) {
                    listing.packs.insert(id, info.len_bytes);
                }
                ControlFlow::Continue(())
            })?;
        }
        let mut lists = Vec::new();
        repo.list(names::GC, |info| {
            if names::is_condemned(&info.name) {
                lists.push(info.name);
            }
            ControlFlow::Continue(())
        })?;
        for name in lists {
            let condemned = repo.get_mended(&name, format::limits::RECORD_BYTES_MAX as u64, |bytes| {
                Condemned::decode(bytes, &repo.identity().repo, repo.keys())
            })?;
            listing.condemned.extend(condemned.packs);
        }
        Ok(listing)
    }

    /// Packs that count as stored.
    pub fn live(&self) -> impl Iterator<Item = &PackId> {
        self.packs.keys().filter(|id| !self.condemned.contains(*id))
    }
}

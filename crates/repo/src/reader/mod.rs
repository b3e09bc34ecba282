//! Reading blobs: find, fetch, open, and compare with the id.
//!
//! A blob that turns out damaged or gone is tried at every place the index knows, then in those packs as
//! their parity mends them, in memory; then the index is read again (another machine may have moved it)
//! and packs outside the index are looked into. Only then is it missing. A store that does not answer is
//! never taken for a missing blob. Nothing is ever returned whose id was not recomputed.
//!
//! A reader may have siblings ([`Reader::set_siblings`]): what its own place cannot give, or when it does not
//! answer, comes from them, and is noted ([`Reader::healed`]).

mod healing;
mod mend;

use crate::cache::Cache;
use crate::error::{RepoError, RepoResult};
use crate::index::{Index, Location, Orphans, PackListing};
use crate::names;
use crate::open::Repo;
use format::block::{BlockCoder, OpenBlock};
use format::codec::{Compressor, Level};
use format::id::{BlobId, BlobKind, PackId};
pub use healing::Healed;
use healing::Siblings;
use mend::Mender;
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use storage::planted;

/// Decoded blocks kept for the next blob in them.
const BLOCK_CACHE_BYTES: usize = 16 << 20;
/// Blocks kept at most, however small: they are searched one after the other.
const BLOCK_CACHE_BLOCKS: usize = 128;

/// A blob inside its decoded block.
#[derive(Clone)]
pub struct Blob {
    block: Arc<OpenBlock>,
    rank: usize,
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.block.blob(self.rank).expect("the rank was checked when the blob was read")
    }
}

/// A decoded block under its pack and offset.
type KeptBlock = ((PackId, u32), Arc<OpenBlock>);

/// Reads blobs of one repository; shared by threads.
pub struct Reader {
    repo: Arc<Repo>,
    index: RwLock<Index>,
    cache: Cache,
    blocks: Mutex<VecDeque<KeptBlock>>,
    coders: Mutex<Vec<BlockCoder>>,
    mender: Mender,
    search: Mutex<Search>,
    /// Searches that ended, so that whoever waited for one tries again instead of searching, too.
    searches: AtomicU64,
    siblings: Siblings,
}

/// When to look further than the index. Each fruitless search doubles the number of misses until the next,
/// so that a lost pack of many blobs costs a few listings and a long-lived reader still sees changes.
#[derive(Default)]
struct Search {
    misses: u64,
    next_at: u64,
}

/// Why a blob was at none of its places.
enum Miss {
    /// All of them are damaged or gone.
    Damage(String),
    /// Something else went wrong: the blob may well be there.
    Error(RepoError),
}

fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// Loads the index and is ready to read.
    pub fn open(repo: Arc<Repo>, cache: Cache) -> RepoResult<Self> {
        let index = Index::load(&repo, &cache)?;
        Ok(Self::with_index(repo, cache, index))
    }

    /// A reader over an index that was loaded already.
    pub fn with_index(repo: Arc<Repo>, cache: Cache, index: Index) -> Self {
        Reader {
            repo,
            index: RwLock::new(index),
            cache,
            blocks: Mutex::default(),
            coders: Mutex::default(),
            mender: Mender::default(),
            search: Mutex::default(),
            searches: AtomicU64::new(0),
            siblings: Siblings::default(),
        }
    }

    /// The repository.
    pub fn repo(&self) -> &Arc<Repo> {
        &self.repo
    }

    /// The cache folder.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Looks at the index.
    pub fn with_index_read<R>(&self, look: impl FnOnce(&Index) -> R) -> R {
        let index = unpoisoned(self.index.read());
        look(&index)
    }

    /// Changes the index (refresh, own segments).
    pub fn with_index_write<R>(&self, change: impl FnOnce(&mut Index) -> R) -> R {
        let mut index = unpoisoned(self.index.write());
        change(&mut index)
    }

    /// Every place a blob may be read from.
    pub fn locate(&self, kind: BlobKind, id: &BlobId) -> Vec<Location> {
        self.with_index_read(|index| index.locate(kind, id))
    }

    /// Reads a blob at this place alone.
    fn read_here(&self, kind: BlobKind, id: &BlobId) -> RepoResult<Blob> {
        let searches = self.searches.load(Ordering::Acquire);
        let mut miss = match self.try_places(kind, id) {
            Ok(blob) => return Ok(blob),
            Err(miss) => miss,
        };
        if matches!(miss, Miss::Damage(_)) && self.search_further(searches)? {
            miss = match self.try_places(kind, id) {
                Ok(blob) => return Ok(blob),
                Err(miss) => miss,
            };
        }
        Err(match miss {
            Miss::Damage(why) => missing(kind, id, why),
            Miss::Error(e) => e,
        })
    }

    /// Tries all places, first as they are, then mended by parity.
    fn try_places(&self, kind: BlobKind, id: &BlobId) -> Result<Blob, Miss> {
        let mut miss = Miss::Damage("it is in no pack the index knows".to_string());
        let mut damaged = Vec::new();
        let places_read = if planted::is("first-place-only") { 1 } else { usize::MAX };
        for place in self.locate(kind, id).into_iter().take(places_read) {
            match self.read_at(kind, id, &place) {
                Ok(blob) => return Ok(blob),
                Err(e) if e.is_damage() => {
                    if let Miss::Damage(why) = &mut miss {
                        *why = format!("pack {}: {}", place.pack.hex(), chain(&e));
                    }
                    damaged.push(place);
                }
                Err(e) => miss = Miss::Error(e),
            }
        }
        let mended = damaged.iter().find_map(|place| self.read_mended(kind, id, place));
        mended.ok_or(miss)
    }

    fn read_mended(&self, kind: BlobKind, id: &BlobId, place: &Location) -> Option<Blob> {
        if planted::is("pack-parity-unread") {
            return None;
        }
        let bytes = self.mender.mended(self, place)?;
        let from = place.block.offset as usize;
        let stored = bytes.get(from..from + place.block.stored_bytes as usize)?;
        let block = Arc::new(self.open_block(place, stored).ok()?);
        self.confirm(kind, id, &block, place.rank as usize).ok()?;
        self.keep_block((place.pack, place.block.offset), &block);
        Some(Blob { block, rank: place.rank as usize })
    }

    /// Packs that were read only after their parity had mended them.
    pub fn mended_packs(&self) -> Vec<(BlobKind, PackId)> {
        self.mender.packs()
    }

    fn read_at(&self, kind: BlobKind, id: &BlobId, place: &Location) -> RepoResult<Blob> {
        let block = self.block(place)?;
        self.confirm(kind, id, &block, place.rank as usize)?;
        Ok(Blob { block, rank: place.rank as usize })
    }

    /// Proves that the blob of this rank has this id.
    pub fn confirm(&self, kind: BlobKind, id: &BlobId, block: &OpenBlock, rank: usize) -> RepoResult<()> {
        let corrupt = |why| RepoError::object(&"block", format::FormatError::Corrupt { what: "block", why });
        let bytes = block.blob(rank).ok_or_else(|| corrupt("it has no blob of this rank"))?;
        let found = self.repo.keys().blob_id(kind, bytes).map_err(|e| RepoError::object(&"block", e))?;
        if found == *id { Ok(()) } else { Err(corrupt("its contents do not match their id")) }
    }

    /// Reads the index again, then the directories of packs outside it; says whether trying again makes
    /// sense. `searches` is the number of searches before the caller's vain attempt.
    fn search_further(&self, searches: u64) -> RepoResult<bool> {
        let mut search = unpoisoned(self.search.lock());
        if self.searches.load(Ordering::Acquire) != searches {
            return Ok(true);
        }
        search.misses += 1;
        if search.misses < search.next_at {
            return Ok(false);
        }
        let helped = self.search_now()?;
        *search = match helped {
            true => Search::default(),
            false => Search { misses: search.misses, next_at: search.misses * 2 },
        };
        self.searches.fetch_add(1, Ordering::Release);
        Ok(helped)
    }

    fn search_now(&self) -> RepoResult<bool> {
        self.repo.store().end_look();
        let appeared = self.with_index_write(|index| index.refresh(&self.repo, &self.cache))?;
        let listing = PackListing::read(&self.repo)?;
        Ok(self.adopt_unknown(&listing) || appeared > 0)
    }

    /// Reads the directories of packs that no segment knows; says whether there was anything in them.
    pub fn adopt_unknown(&self, listing: &PackListing) -> bool {
        let unknown = self.with_index_read(|index| index.unknown_packs(listing));
        if unknown.is_empty() || planted::is("orphans-unread") {
            return false;
        }
        let orphans = Orphans::read(&self.repo, &self.cache, &unknown);
        let found = orphans.packs().next().is_some();
        if found {
            self.with_index_write(|index| index.adopt(orphans));
        }
        found
    }

    /// A decoded block, from memory if it was just used.
    pub fn block(&self, place: &Location) -> RepoResult<Arc<OpenBlock>> {
        let key = (place.pack, place.block.offset);
        if let Some(block) = self.cached_block(&key) {
            return Ok(block);
        }
        let block = Arc::new(self.fetch_block(place)?);
        self.keep_block(key, &block);
        Ok(block)
    }

    fn keep_block(&self, key: (PackId, u32), block: &Arc<OpenBlock>) {
        let mut blocks = unpoisoned(self.blocks.lock());
        blocks.retain(|(k, _)| *k != key);
        blocks.push_front((key, block.clone()));
        let mut kept = 0;
        let over = blocks.iter().position(|(_, b)| {
            kept += b.memory_bytes();
            kept > BLOCK_CACHE_BYTES
        });
        let most = over.unwrap_or(blocks.len()).clamp(1, BLOCK_CACHE_BLOCKS);
        blocks.truncate(most);
    }

    fn cached_block(&self, key: &(PackId, u32)) -> Option<Arc<OpenBlock>> {
        let mut blocks = unpoisoned(self.blocks.lock());
        let at = blocks.iter().position(|(k, _)| k == key)?;
        let entry = blocks.remove(at)?;
        let block = entry.1.clone();
        blocks.push_front(entry);
        Some(block)
    }

    /// Lets go of the decoded blocks that are kept because they might be read again.
    pub(crate) fn let_go_of_blocks(&self) {
        unpoisoned(self.blocks.lock()).clear();
    }

    /// Fetches and decodes a block without keeping it.
    pub fn fetch_block(&self, place: &Location) -> RepoResult<OpenBlock> {
        self.must_answer()?;
        let name = names::pack(place.kind, &place.pack);
        let from = place.block.offset as u64;
        let range = from..from + place.block.stored_bytes as u64;
        let stored = self.repo.store().get_range(&name, range).map_err(|e| self.repo.store_error(e))?;
        self.open_block(place, &stored)
    }

    /// Decodes the stored bytes of a block.
    pub fn open_block(&self, place: &Location, stored: &[u8]) -> RepoResult<OpenBlock> {
        let name = names::pack(place.kind, &place.pack);
        if place.block.key_ref != 0 {
            let why = "its blocks are sealed with a key of a newer version";
            return Err(RepoError::object(&name, format::FormatError::TooNew { what: "pack", why }));
        }
        let spare = unpoisoned(self.coders.lock()).pop();
        let mut coder = spare.unwrap_or_else(|| BlockCoder::new(Compressor::new(Level(1))));
        let opened = coder.open(self.repo.keys(), place.kind, place.block.suite, stored);
        unpoisoned(self.coders.lock()).push(coder);
        opened.map_err(|e| RepoError::object(&name, e))
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}

fn missing(kind: BlobKind, id: &BlobId, why: String) -> RepoError {
    let kind = match kind {
        BlobKind::Data => "file content",
        BlobKind::Tree => "tree node",
    };
    RepoError::MissingBlob { kind, id: id.hex(), why }
}

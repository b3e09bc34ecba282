//! Packs that no readable segment knows: found in the listing, read through their own directories.
//!
//! Data ids are cut to 8 bytes in a directory, so what is found here is a candidate: reading proves it,
//! and nothing is deduplicated against it. The places are laid out like a segment whose keys end after
//! 8 bytes, in the cache folder where there is one: losing the whole index must not cost the memory of it.

use crate::cache::Cache;
use crate::error::RepoResult;
use crate::index::{Location, SegmentFile, mapped};
use crate::names;
use crate::open::Repo;
use format::envelope::Footer;
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::index::{BlobRow, INDEX_KEY_BYTES, IndexKey, PackRow, Segment};
use format::pack::{self, Directory, PackHeader};

/// Blobs of packs outside the index.
pub struct Orphans {
    file: SegmentFile,
}

/// A pack that no segment knows.
pub type OrphanPack = (BlobKind, PackId, u64);

impl Orphans {
    /// Reads the directories of these packs. One that cannot be read holds nothing that can be.
    pub fn read(repo: &Repo, cache: &Cache, packs: &[OrphanPack]) -> Self {
        let mut segment =
            Segment { session: SnapshotId([0; 16]), trusted: false, packs: Vec::new(), blobs: Vec::new() };
        let mut blocks = 0;
        for (kind, id, len) in packs {
            if let Some((row, ids)) = read_directory(repo, *kind, id, *len) {
                add_blobs(&mut segment.blobs, &row, &ids, blocks);
                blocks += row.blocks.len() as u32;
                segment.packs.push(row);
            }
        }
        segment.blobs.sort_unstable_by_key(|b| (b.key, b.block, b.rank));
        let mapping = cache.store("orphans", mapped::lay_out(&segment));
        Orphans { file: SegmentFile::open(mapping).expect("what was laid out just now can be opened") }
    }

    /// The packs whose directories could be read.
    pub fn packs(&self) -> impl Iterator<Item = (BlobKind, PackId)> {
        (0..self.file.packs()).map(|i| (self.file.pack_kind(i), self.file.pack_id(i)))
    }

    pub(super) fn file(&self) -> &SegmentFile {
        &self.file
    }

    pub(super) fn locate(&self, kind: BlobKind, id: &BlobId) -> impl Iterator<Item = Location> {
        let key = cut_key(&id.0);
        let places = self.file.find(&key).filter_map(|row| self.file.location(row));
        places.map(|(_, location)| location).filter(move |l| l.kind == kind)
    }
}

/// The part of an id that every directory keeps.
fn cut_key(id: &[u8]) -> IndexKey {
    let mut key = [0; INDEX_KEY_BYTES];
    key[..8].copy_from_slice(&id[..8]);
    IndexKey(key)
}

fn add_blobs(blobs: &mut Vec<BlobRow>, row: &PackRow, ids: &[u8], first_block: u32) {
    let mut ids = ids.chunks_exact(pack::directory_id_bytes(row.kind));
    for (block, place) in row.blocks.iter().enumerate() {
        for (rank, id) in ids.by_ref().take(place.blobs as usize).enumerate() {
            let block = first_block + block as u32;
            blobs.push(BlobRow { key: cut_key(id), block, rank: rank as u16 });
        }
    }
}

/// The row and the ids of a pack, from its own directory; a damaged pack is mended in memory first.
pub(crate) fn read_directory(
    repo: &Repo,
    kind: BlobKind,
    id: &PackId,
    pack_bytes: u64,
) -> Option<(PackRow, Vec<u8>)> {
    let (header, directory) = open_pack(repo, kind, id, pack_bytes).ok()??;
    let row = PackRow::new(*id, &header, pack_bytes, &directory);
    Some((row, directory.ids))
}

/// The header and the directory of a pack; a damaged pack is mended in memory first. `None` when it is
/// beyond mending or gone; an error when the store does not answer.
pub(crate) fn open_pack(
    repo: &Repo,
    kind: BlobKind,
    id: &PackId,
    pack_bytes: u64,
) -> RepoResult<Option<OpenedPack>> {
    match read_ranges(repo, kind, id, pack_bytes) {
        Ok(Some(opened)) => return Ok(Some(opened)),
        Err(e) if !e.is_damage() => return Err(e),
        _ if pack_bytes > repo.pack_bytes_max() => return Ok(None), // nobody here makes so large packs
        _ => {}
    }
    let read = repo.store().get(&names::pack(kind, id), pack_bytes).map_err(|e| repo.store_error(e));
    match read {
        Ok(bytes) => Ok(open_mended(repo, kind, id, bytes)),
        Err(e) if e.is_damage() => Ok(None),
        Err(e) => Err(e),
    }
}

/// What a pack says of itself.
pub(crate) type OpenedPack = (PackHeader, Directory);

/// The header and the directory of a pack whose bytes are all here and right.
pub(crate) fn open_whole(repo: &Repo, kind: BlobKind, bytes: &[u8]) -> Option<OpenedPack> {
    let footer = Footer::from_tail(bytes, bytes.len() as u64).ok()?;
    let range = pack::directory_range(&footer).ok()?;
    let sealed = bytes.get(range.start as usize..range.end as usize)?;
    open_directory(repo, kind, bytes, sealed, &footer)
}

fn open_mended(repo: &Repo, kind: BlobKind, id: &PackId, mut bytes: Vec<u8>) -> Option<OpenedPack> {
    pack::repair(&mut bytes, id).ok()?;
    open_whole(repo, kind, &bytes)
}

fn read_ranges(repo: &Repo, kind: BlobKind, id: &PackId, pack_bytes: u64) -> RepoResult<Option<OpenedPack>> {
    let name = names::pack(kind, id);
    let get = |range| repo.store().get_range(&name, range).map_err(|e| repo.store_error(e));
    let Some(tail_from) = pack_bytes.checked_sub(Footer::TAIL_BYTES as u64) else { return Ok(None) };
    let tail = get(tail_from..pack_bytes)?;
    let Ok(footer) = Footer::from_tail(&tail, pack_bytes) else { return Ok(None) };
    let Ok(range) = pack::directory_range(&footer) else { return Ok(None) };
    let head = get(0..pack::HEADER_BYTES as u64)?;
    Ok(open_directory(repo, kind, &head, &get(range)?, &footer))
}

fn open_directory(
    repo: &Repo,
    kind: BlobKind,
    head: &[u8],
    sealed: &[u8],
    footer: &Footer,
) -> Option<OpenedPack> {
    let (header, directory) = pack::open_directory(head, sealed, footer, repo.keys()).ok()?;
    (header.kind == kind).then_some((header, directory))
}

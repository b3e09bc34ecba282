//! A pack whose blocks are taken over: fetched once, each block compared with its check before it moves.

use crate::error::{RepoError, RepoResult};
use crate::index::{Location, SegmentFile, open_pack};
use crate::names;
use crate::reader::Reader;
use crate::writer::Writer;
use format::FormatError;
use format::block::SealedBlock;
use format::id::{BlobId, BlobKind, PackId};
use format::index::IndexKey;
use format::pack::{Directory, block_check};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What is wanted of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    /// The block as it is.
    Whole,
    /// Some of its blobs, by rank.
    Blobs(Vec<u16>),
}

/// A pack to take blocks from.
pub(crate) struct Source {
    pub(crate) kind: BlobKind,
    pub(crate) id: PackId,
    pub(crate) pack_bytes: u64,
    pub(crate) file: Arc<SegmentFile>,
    /// Its number in that segment.
    pub(crate) number: usize,
}

/// The keys of the blobs of a pack, by block and rank.
pub(crate) type KeysOfPack = Vec<Vec<Option<IndexKey>>>;

/// The rows of these packs of one segment, in one pass over it.
pub(crate) fn keys_of(file: &SegmentFile, numbers: &[usize]) -> BTreeMap<usize, KeysOfPack> {
    let mut found: BTreeMap<usize, KeysOfPack> = BTreeMap::new();
    for number in numbers {
        let blobs = |block: usize| file.block(block).map_or(0, |place| place.blobs as usize);
        let keys = file.blocks_of(*number).map(|block| vec![None; blobs(block)]).collect();
        found.insert(*number, keys);
    }
    for row in 0..file.blobs() {
        let Some(number) = file.pack_of(row) else { continue };
        let Some(keys) = found.get_mut(&number) else { continue };
        let (block, rank) = file.place(row);
        let block = block - file.blocks_of(number).start;
        if let Some(key) = keys.get_mut(block).and_then(|keys| keys.get_mut(rank as usize)) {
            *key = Some(file.key(row));
        }
    }
    found
}

/// So much is read at once from a disk of ours.
const LOCAL_PIECE_BYTES: u64 = 4 << 20;

/// What was moved.
#[derive(Default)]
pub(crate) struct Moved {
    pub(crate) read_bytes: u64,
}

impl Source {
    /// Moves what is wanted. An error that is damage means that the pack must stay as it is: what was moved
    /// already is a double, no harm.
    pub(crate) fn move_to(
        &self,
        reader: &Reader,
        writer: &mut Writer,
        keys: &KeysOfPack,
        wanted: &[Wanted],
    ) -> RepoResult<Moved> {
        let directory = self.directory(reader)?;
        if directory.blocks.len() != wanted.len() || keys.len() != wanted.len() {
            return Err(self.damage("its directory and the index differ"));
        }
        let ids = BlockIds::new(self.kind, &directory);
        let mut moved = Moved::default();
        for run in self.pieces(reader, self.runs(reader, wanted)) {
            let bytes = self.fetch(reader, &run)?;
            moved.read_bytes += bytes.len() as u64;
            let first = self.place(run.start)?.offset;
            for block in run.filter(|block| wanted[*block] != Wanted::Nothing) {
                let place = self.place(block)?;
                let from = (place.offset - first) as usize;
                let stored = bytes.get(from..from + place.stored_bytes as usize);
                let stored = stored.ok_or_else(|| self.damage("it is too short"))?;
                if block_check(stored) != directory.blocks[block].check {
                    return Err(self.damage("a block does not match its check"));
                }
                let ids =
                    ids.of(block, &keys[block]).ok_or_else(|| self.damage("its ids and the index differ"))?;
                match &wanted[block] {
                    Wanted::Blobs(ranks) => self.store_blobs(reader, writer, block, stored, &ids, ranks)?,
                    _ => {
                        let sealed = SealedBlock { bytes: stored.to_vec(), suite: place.suite };
                        writer.move_block(self.kind, sealed, place.raw_bytes, &ids)?;
                    }
                }
            }
        }
        Ok(moved)
    }

    fn directory(&self, reader: &Reader) -> RepoResult<Directory> {
        let opened = open_pack(reader.repo(), self.kind, &self.id, self.pack_bytes)?;
        opened.map(|(_, directory)| directory).ok_or_else(|| self.damage("its directory cannot be read"))
    }

    /// Blocks that are fetched together: all that is wanted and near, or the whole pack where half of it is
    /// wanted.
    fn runs(&self, reader: &Reader, wanted: &[Wanted]) -> Vec<Range<usize>> {
        let is_wanted = |block: &usize| wanted[*block] != Wanted::Nothing;
        let count = (0..wanted.len()).filter(is_wanted).count();
        if 2 * count >= wanted.len() && self.pack_bytes <= reader.repo().pack_bytes_max() {
            let (first, last) = ((0..wanted.len()).find(is_wanted), (0..wanted.len()).rfind(is_wanted));
            return first.zip(last).map(|(first, last)| first..last + 1).into_iter().collect();
        }
        let mut runs: Vec<Range<usize>> = Vec::new();
        for block in (0..wanted.len()).filter(is_wanted) {
            match runs.last_mut() {
                Some(run) if run.end == block => run.end += 1,
                _ => runs.push(block..block + 1),
            }
        }
        runs
    }

    /// On a disk of ours many short reads cost no more than one long one, and hold less.
    fn pieces(&self, reader: &Reader, runs: Vec<Range<usize>>) -> Vec<Range<usize>> {
        if !reader.repo().store().capabilities().local {
            return runs;
        }
        let stored = |block: usize| self.place(block).map_or(0, |place| u64::from(place.stored_bytes));
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for run in runs {
            let mut bytes = LOCAL_PIECE_BYTES;
            for block in run {
                bytes += stored(block);
                match pieces.last_mut().filter(|_| bytes <= LOCAL_PIECE_BYTES) {
                    Some(piece) => piece.end = block + 1,
                    None => {
                        pieces.push(block..block + 1);
                        bytes = stored(block);
                    }
                }
            }
        }
        pieces
    }

    fn fetch(&self, reader: &Reader, run: &Range<usize>) -> RepoResult<Vec<u8>> {
        let (first, last) = (self.place(run.start)?, self.place(run.end - 1)?);
        let range = first.offset as u64..last.offset as u64 + last.stored_bytes as u64;
        let repo = reader.repo();
        repo.store().get_range(&names::pack(self.kind, &self.id), range).map_err(|e| repo.store_error(e))
    }

    fn store_blobs(
        &self,
        reader: &Reader,
        writer: &mut Writer,
        block: usize,
        stored: &[u8],
        ids: &[BlobId],
        ranks: &[u16],
    ) -> RepoResult<()> {
        let place = Location { pack: self.id, kind: self.kind, block: self.place(block)?, rank: 0 };
        let opened = reader.open_block(&place, stored)?;
        for rank in ranks {
            let bytes = opened.blob(*rank as usize).ok_or_else(|| self.damage("a blob is missing"))?;
            let keys = reader.repo().keys();
            let id = keys.blob_id(self.kind, bytes).map_err(|e| RepoError::object(&"block", e))?;
            if IndexKey::from(&id) != IndexKey::from(&ids[*rank as usize]) {
                return Err(self.damage("a blob has other contents than its id says"));
            }
            writer.store_again(self.kind, &id, bytes)?;
        }
        Ok(())
    }

    pub(crate) fn place(&self, block: usize) -> RepoResult<format::index::BlockPlace> {
        let number = self.file.blocks_of(self.number).start + block;
        self.file.block(number).ok_or_else(|| self.damage("the index has no such block"))
    }

    fn damage(&self, why: &'static str) -> RepoError {
        RepoError::object(&names::pack(self.kind, &self.id), FormatError::Corrupt { what: "pack", why })
    }
}

/// The ids of the blobs of a pack: whole ones from the directories of tree packs; of data packs the first
/// 16 bytes, which are all that directories and segments keep of them, from the index.
pub(crate) struct BlockIds<'d> {
    kind: BlobKind,
    directory: &'d Directory,
    firsts: Vec<usize>,
}

impl<'d> BlockIds<'d> {
    pub(crate) fn new(kind: BlobKind, directory: &'d Directory) -> Self {
        let mut first = 0;
        let firsts = directory.blocks.iter().map(|block| {
            let at = first;
            first += block.blobs as usize;
            at
        });
        BlockIds { kind, firsts: firsts.collect(), directory }
    }

    /// `None` when directory and index speak of other blobs.
    pub(crate) fn of(&self, block: usize, keys: &[Option<IndexKey>]) -> Option<Vec<BlobId>> {
        let width = format::pack::directory_id_bytes(self.kind);
        let mut ids = Vec::with_capacity(keys.len());
        if self.directory.blocks[block].blobs as usize != keys.len() {
            return None;
        }
        for (rank, key) in keys.iter().enumerate() {
            let key = (*key)?;
            let at = (self.firsts[block] + rank) * width;
            let listed = self.directory.ids.get(at..at + width)?;
            let mut id = [0; BlobId::LEN];
            id[..key.0.len()].copy_from_slice(&key.0);
            if self.kind == BlobKind::Tree {
                id.copy_from_slice(listed);
            }
            let shared = width.min(key.0.len());
            if listed[..shared] != key.0[..shared] {
                return None;
            }
            ids.push(BlobId(id));
        }
        Some(ids)
    }
}

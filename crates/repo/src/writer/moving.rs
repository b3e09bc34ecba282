//! Moving what is stored into new packs: blocks as they are, or their blobs one by one.
//!
//! Used by maintenance, and by copies from a sibling. A moved block keeps its salt and its cipher text, so it needs no key of the
//! contents; whoever moves it has compared its bytes with the check in its pack's directory before, so that
//! damage never gets a new, valid name.

use crate::error::RepoResult;
use crate::writer::Writer;
use crate::writer::packing::Body;
use format::block::SealedBlock;
use format::id::{BlobId, BlobKind, PackId};
use format::index::{IndexKey, PackRow};
use std::sync::Arc;

impl Writer {
    /// Puts a sealed block into this session's packs. `ids` are those of its blobs in order of rank; of data
    /// ids only the first 16 bytes are looked at.
    pub fn move_block(
        &mut self,
        kind: BlobKind,
        block: SealedBlock,
        raw_bytes: u32,
        ids: &[BlobId],
    ) -> RepoResult<()> {
        self.append_block(0, kind, &block, raw_bytes, ids)
    }

    /// Stores a blob although it is stored already: its place there is about to go.
    pub fn store_again(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<()> {
        if self.own[kind as usize].contains(&IndexKey::from(id)) {
            return Ok(());
        }
        self.count_new(kind, id, bytes);
        self.place(0, kind, id, bytes)
    }

    /// Stores a whole pack of another repository of the family under its own name. Whoever calls this has compared
    /// `bytes` with that name, and knows that this place never condemned it.
    pub fn take_pack(&mut self, row: PackRow, ids: Vec<BlobId>, bytes: Arc<Vec<u8>>) -> RepoResult<()> {
        self.written.blobs += ids.len() as u64;
        self.give_pack(1, Body::Whole(bytes), row, ids)
    }

    /// Takes into this session's index a pack that stands here already, whose bytes were compared with its
    /// name: what a copy left that was cut off before its segment.
    pub fn adopt_pack(&mut self, row: PackRow, ids: Vec<BlobId>) -> RepoResult<()> {
        self.fan.sole().index_pack(row, &ids)
    }

    /// Packs this session wrote, as far as they are finished.
    pub fn own_packs(&self) -> &[PackId] {
        self.fan.sole_ref().map_or(&[], |destination| &destination.own_packs)
    }
}

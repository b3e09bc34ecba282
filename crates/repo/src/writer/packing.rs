//! From blobs to finished packs.

use crate::error::RepoResult;
use crate::names;
use crate::writer::destination::Destination;
use crate::writer::fan::Mask;
use crate::writer::{SEGMENT_BLOBS, SealDone, Unindexed, Writer};
use format::block::{RawBlock, SealedBlock};
use format::config::Parameters;
use format::id::{BlobId, BlobKind};
use format::index::PackRow;
use format::limits::{BLOCK_BLOBS_MAX, BLOCK_RAW_BYTES_MAX, PACK_BLOCKS_MAX};
use format::pack::{PackBuilder, PackHeader};
use format::parity::Protection;
use std::sync::Arc;
use storage::{ErrorKind, ObjectName, PutMode, Store, StoreError, Upload, planted};

/// Blobs of one kind on their way into blocks and packs.
pub(super) struct Stream {
    block_bytes: usize,
    pack_bytes: u64,
    protection: Protection,
    raw: RawBlock,
    ids: Vec<BlobId>,
    pack: Option<OpenPack>,
}

/// Where a growing pack goes.
enum Sink {
    /// Streams to the one place.
    Upload(Box<dyn Upload>),
    /// Gathered, for several.
    Memory(Vec<u8>),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Sink::Upload(upload) => upload.write(bytes),
            Sink::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// A pack that still takes blocks.
struct OpenPack {
    builder: PackBuilder,
    sink: Sink,
    header: PackHeader,
    ids: Vec<BlobId>,
    /// Drawn between 90 and 100 % of the target, so that the length tells less about the last block.
    close_at_bytes: u64,
}

/// Open packs for one set of destinations.
pub(super) struct Lane {
    pub(super) mask: Mask,
    pub(super) data: Stream,
    pub(super) tree: Stream,
}

impl Lane {
    pub(super) fn new(mask: Mask, p: &Parameters) -> Self {
        let data = Stream::new(p.block_bytes, p.pack_bytes, Protection::of_data(p.data_parity_percent));
        Lane { mask, data, tree: Stream::new(512 << 10, p.tree_pack_bytes, Protection::Small) }
    }
}

/// The bytes of a finished pack.
pub(super) enum Body {
    /// All but the tail were written.
    Upload(Box<dyn Upload>, Vec<u8>),
    /// All of them, shared by several places.
    Whole(Arc<Vec<u8>>),
}

/// What an uploading worker gets.
pub(super) struct FinishJob {
    pub(super) body: Body,
    /// Which of the session's packs it is.
    pub(super) number: u64,
    pub(super) row: PackRow,
    pub(super) ids: Arc<Vec<BlobId>>,
}

/// What it gives back.
pub(super) struct FinishDone {
    pub(super) number: u64,
    pub(super) row: PackRow,
    pub(super) ids: Arc<Vec<BlobId>>,
    pub(super) outcome: Result<(), StoreError>,
}

impl Stream {
    pub(super) fn new(block_bytes: u64, pack_bytes: u64, protection: Protection) -> Self {
        Stream {
            block_bytes: block_bytes as usize,
            pack_bytes,
            protection,
            raw: RawBlock::default(),
            ids: Vec::new(),
            pack: None,
        }
    }

    /// Whether a blob of this length fits into the open block.
    pub(super) fn has_room(&self, blob_bytes: usize) -> bool {
        self.raw.body_bytes() + blob_bytes <= BLOCK_RAW_BYTES_MAX
    }

    /// Appends a blob; says whether the block is full.
    pub(super) fn push(&mut self, id: &BlobId, bytes: &[u8]) -> bool {
        self.raw.push(bytes);
        self.ids.push(*id);
        self.raw.body_bytes() >= self.block_bytes || self.raw.len() >= BLOCK_BLOBS_MAX
    }

    /// The open block, if it holds anything; `spare` takes its place.
    pub(super) fn take_block(&mut self, spare: RawBlock) -> Option<(RawBlock, Vec<BlobId>)> {
        if self.raw.is_empty() {
            return None;
        }
        Some((std::mem::replace(&mut self.raw, spare), std::mem::take(&mut self.ids)))
    }
}

impl Writer {
    /// Appends a sealed block to the open pack of its kind.
    pub(super) fn sealed(&mut self, done: SealDone) -> RepoResult<()> {
        let block = done.sealed?;
        let mut raw = done.raw;
        let raw_bytes = raw.body_bytes() as u32;
        raw.clear();
        self.spare.push(raw);
        self.append_block(done.lane, done.kind, &block, raw_bytes, &done.ids)
    }

    pub(super) fn append_block(
        &mut self,
        lane: usize,
        kind: BlobKind,
        block: &SealedBlock,
        raw_bytes: u32,
        ids: &[BlobId],
    ) -> RepoResult<()> {
        self.written.packed_bytes += block.bytes.len() as u64;
        self.open_pack(lane, kind)?;
        let pack = self.stream(lane, kind).pack.as_mut().expect("a pack was opened");
        let outcome = pack.sink.write(&block.bytes);
        pack.builder.push(&block.bytes, block.suite, raw_bytes, ids);
        pack.ids.extend_from_slice(ids);
        let full = pack.builder.len_bytes() >= pack.close_at_bytes
            || pack.ids.len() >= SEGMENT_BLOBS
            || pack.builder.blocks() >= PACK_BLOCKS_MAX;
        outcome.map_err(|e| self.repo().store_error(e))?;
        if full { self.close_pack(lane, kind) } else { Ok(()) }
    }

    fn open_pack(&mut self, lane: usize, kind: BlobKind) -> RepoResult<()> {
        if self.stream(lane, kind).pack.is_some() {
            return Ok(());
        }
        let repo = self.repo().clone();
        let header = PackHeader {
            suite: repo.suite(),
            kind,
            class: 0,
            family: repo.keys().family(),
            session: self.session,
        };
        let below = u32::from_le_bytes(self.pack_seed.draw()) as u64;
        let is_single = self.fan.is_single();
        let stream = self.stream(lane, kind);
        let close_at_bytes = stream.pack_bytes - ((stream.pack_bytes / 10 * below) >> 32);
        let (builder, head) = PackBuilder::start(header, stream.protection);
        let mut sink = match is_single {
            true => Sink::Upload(repo.store().upload(stream.pack_bytes).map_err(|e| repo.store_error(e))?),
            false => Sink::Memory(Vec::new()),
        };
        sink.write(&head).map_err(|e| repo.store_error(e))?;
        stream.pack = Some(OpenPack { builder, sink, header, ids: Vec::new(), close_at_bytes });
        Ok(())
    }

    /// Ends the open pack of a kind and hands it to the destinations of its lane.
    pub(super) fn close_pack(&mut self, lane: usize, kind: BlobKind) -> RepoResult<()> {
        let Some(pack) = self.stream(lane, kind).pack.take() else { return Ok(()) };
        let entropy = self.pack_seed.draw();
        let end = pack.builder.finish(self.repo().keys(), &entropy);
        let row = PackRow::new(end.id, &pack.header, end.pack_bytes, &end.directory);
        let body = match pack.sink {
            Sink::Upload(upload) => Body::Upload(upload, end.tail),
            Sink::Memory(mut bytes) => {
                bytes.extend_from_slice(&end.tail);
                Body::Whole(Arc::new(bytes))
            }
        };
        self.give_pack(self.lanes[lane].mask, body, row, pack.ids)
    }

    /// Gives a pack to those it is for.
    pub(super) fn give_pack(
        &mut self,
        mask: Mask,
        body: Body,
        row: PackRow,
        ids: Vec<BlobId>,
    ) -> RepoResult<()> {
        self.written.packs += 1;
        self.written.stored_bytes += row.pack_bytes;
        self.packs += 1;
        let (number, kind, ids) = (self.packs, row.kind, Arc::new(ids));
        self.unindexed.push_back(Unindexed { number, mask, kind, ids: ids.clone() });
        match body {
            Body::Upload(..) => self.fan.sole().finish_pack(FinishJob { body, number, row, ids })?,
            Body::Whole(bytes) => self.fan.each(mask, true, &mut |_| {
                let (body, row, ids) = (Body::Whole(bytes.clone()), row.clone(), ids.clone());
                Box::new(move |destination| destination.finish_pack(FinishJob { body, number, row, ids }))
            })?,
        }
        if self.is_time_to_keep() {
            self.fan.each(Mask::MAX, false, &mut |_| Box::new(Destination::keep_finished))?;
        }
        self.forget_indexed();
        Ok(())
    }
}

/// Finishes uploads. A pack of that name that is there already has these very bytes (names are hashes of
/// fresh randomness): it can only be the answer to a request of ours that was repeated.
pub(super) fn finisher(store: Arc<dyn Store>) -> Box<dyn FnMut(FinishJob) -> FinishDone + Send> {
    Box::new(move |job| {
        let name = names::pack(job.row.kind, &job.row.id);
        let stored = match job.body {
            Body::Upload(mut upload, tail) => {
                upload.write(&tail).and_then(|()| upload.finish(&name, PutMode::CreateNew))
            }
            Body::Whole(bytes) => store.put_shared(&name, &bytes, PutMode::CreateNew),
        };
        let outcome = match stored {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => confirm_stored(&*store, &name, &job.row),
            other => other,
        };
        FinishDone { number: job.number, row: job.row, ids: job.ids, outcome }
    })
}

/// "Exists" is success only after the bytes were compared with the name.
fn confirm_stored(store: &dyn Store, name: &ObjectName, row: &PackRow) -> Result<(), StoreError> {
    if planted::is("taken-pack-accepted") {
        return Ok(());
    }
    let bytes = store.get(name, row.pack_bytes)?;
    match *blake3::hash(&bytes).as_bytes() == row.id.0 {
        true => Ok(()),
        false => {
            Err(StoreError::new(ErrorKind::AlreadyExists, format!("write {name} (other bytes stand there)")))
        }
    }
}

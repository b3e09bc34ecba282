//! From blobs to finished packs.

use crate::error::RepoResult;
use crate::names;
use crate::writer::{SEGMENT_BLOBS, SealDone, Writer};
use format::block::RawBlock;
use format::id::{BlobId, BlobKind};
use format::index::PackRow;
use format::limits::{BLOCK_BLOBS_MAX, BLOCK_RAW_BYTES_MAX, PACK_BLOCKS_MAX};
use format::pack::{PackBuilder, PackHeader};
use std::sync::Arc;
use storage::{ErrorKind, ObjectName, PutMode, Store, StoreError, Upload};

/// Blobs of one kind on their way into blocks and packs.
pub(super) struct Stream {
    block_bytes: usize,
    pack_bytes: u64,
    parity: bool,
    raw: RawBlock,
    ids: Vec<BlobId>,
    pack: Option<OpenPack>,
}

/// A pack that still takes blocks.
struct OpenPack {
    builder: PackBuilder,
    upload: Box<dyn Upload>,
    header: PackHeader,
    ids: Vec<BlobId>,
    /// Drawn between 90 and 100 % of the target, so that the length tells less about the last block.
    close_at_bytes: u64,
}

/// What an uploading worker gets.
pub(super) struct FinishJob {
    upload: Box<dyn Upload>,
    tail: Vec<u8>,
    name: ObjectName,
    row: PackRow,
    ids: Vec<BlobId>,
}

/// What it gives back.
pub(super) struct FinishDone {
    row: PackRow,
    ids: Vec<BlobId>,
    outcome: Result<(), StoreError>,
}

impl Stream {
    pub(super) fn new(block_bytes: u64, pack_bytes: u64, parity: bool) -> Self {
        Stream {
            block_bytes: block_bytes as usize,
            pack_bytes,
            parity,
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
        self.written.packed_bytes += block.bytes.len() as u64;
        let mut raw = done.raw;
        let raw_bytes = raw.body_bytes() as u32;
        raw.clear();
        self.spare.push(raw);
        self.open_pack(done.kind)?;
        let pack = self.stream(done.kind).pack.as_mut().expect("a pack was opened");
        let outcome = pack.upload.write(&block.bytes);
        pack.builder.push(&block.bytes, block.suite, raw_bytes, &done.ids);
        pack.ids.extend_from_slice(&done.ids);
        let full = pack.builder.len_bytes() >= pack.close_at_bytes
            || pack.ids.len() >= SEGMENT_BLOBS
            || pack.builder.blocks() >= PACK_BLOCKS_MAX;
        outcome.map_err(|e| self.repo().store_error(e))?;
        if full { self.close_pack(done.kind) } else { Ok(()) }
    }

    fn open_pack(&mut self, kind: BlobKind) -> RepoResult<()> {
        if self.stream(kind).pack.is_some() {
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
        let stream = self.stream(kind);
        let close_at_bytes = stream.pack_bytes - ((stream.pack_bytes / 10 * below) >> 32);
        let (builder, head) = PackBuilder::start(header, stream.parity);
        let mut upload = repo.store().upload(stream.pack_bytes).map_err(|e| repo.store_error(e))?;
        upload.write(&head).map_err(|e| repo.store_error(e))?;
        stream.pack = Some(OpenPack { builder, upload, header, ids: Vec::new(), close_at_bytes });
        Ok(())
    }

    /// Ends the open pack of a kind and hands it to the uploading workers.
    pub(super) fn close_pack(&mut self, kind: BlobKind) -> RepoResult<()> {
        let Some(pack) = self.stream(kind).pack.take() else { return Ok(()) };
        let entropy = self.pack_seed.draw();
        let end = pack.builder.finish(self.repo().keys(), &entropy);
        self.written.packs += 1;
        self.written.stored_bytes += end.pack_bytes;
        let row = PackRow::new(end.id, &pack.header, end.pack_bytes, &end.directory);
        let name = names::pack(kind, &end.id);
        self.finishing.give(FinishJob { upload: pack.upload, tail: end.tail, name, row, ids: pack.ids });
        while let Some(done) = self.finishing.try_take() {
            self.finished(done)?;
        }
        while self.finishing.outstanding() > self.options.upload_workers.0 {
            let done = self.finishing.take().expect("something is under way");
            self.finished(done)?;
        }
        Ok(())
    }

    /// Takes a stored pack into the session's segment.
    pub(super) fn finished(&mut self, done: FinishDone) -> RepoResult<()> {
        done.outcome.map_err(|e| self.repo().store_error(e))?;
        self.own_packs.push(done.row.id);
        self.segment.add(done.row, &done.ids);
        if self.segment.packs() >= self.options.segment_packs || self.segment.blobs() >= SEGMENT_BLOBS {
            self.write_segment()?;
            self.put_pending(None)?;
        }
        Ok(())
    }
}

/// Finishes uploads. A pack of that name that is there already has these very bytes (names are hashes of
/// fresh randomness): it can only be the answer to a request of ours that was repeated.
pub(super) fn finisher(store: Arc<dyn Store>) -> Box<dyn FnMut(FinishJob) -> FinishDone + Send> {
    Box::new(move |mut job| {
        let outcome = job.upload.write(&job.tail).and_then(|()| {
            match job.upload.finish(&job.name, PutMode::CreateNew) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    confirm_stored(&*store, &job.name, &job.row)
                }
                other => other,
            }
        });
        FinishDone { row: job.row, ids: job.ids, outcome }
    })
}

/// "Exists" is success only after the bytes were compared with the name.
fn confirm_stored(store: &dyn Store, name: &ObjectName, row: &PackRow) -> Result<(), StoreError> {
    let bytes = store.get(name, row.pack_bytes)?;
    match *blake3::hash(&bytes).as_bytes() == row.id.0 {
        true => Ok(()),
        false => {
            Err(StoreError::new(ErrorKind::AlreadyExists, format!("write {name} (other bytes stand there)")))
        }
    }
}

//! What one repository gets of a session: its packs, its index segments, its pending records.
//!
//! The order of publishing is in [`publish`](super::publish). A destination knows nothing of the others: each
//! looks at its own place, and commits or not by what it finds there.

use super::packing::{FinishDone, FinishJob, finisher};
use super::{SEGMENT_BLOBS, WriterOptions};
use crate::error::{RepoError, RepoResult};
use crate::index::store_segment;
use crate::names;
use crate::open::Repo;
use crate::reader::Reader;
use crate::seed::Seed;
use crate::workers::Ordered;
use format::codec::{Compressor, Level};
use format::id::{BlobId, PackId, SnapshotId};
use format::index::{PackRow, Segment, SegmentBuilder};
use format::kind::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{PutMode, planted};

/// One repository of a session.
pub(super) struct Destination {
    pub(super) reader: Arc<Reader>,
    pub(super) session: SnapshotId,
    pub(super) start: Timestamp,
    pub(super) options: WriterOptions,
    pub(super) record_seed: Seed,
    finishing: Ordered<FinishJob, FinishDone>,
    segment: SegmentBuilder,
    /// Packs this session wrote here.
    pub(super) own_packs: Vec<PackId>,
    pub(super) pending: u64,
    /// Bytes of everything but packs.
    pub(super) small_bytes: u64,
    /// Bytes of packs.
    pub(super) sent_bytes: u64,
    /// Number of the newest pack taken into the segment, and of the newest whose segment is stored.
    newest: u64,
    indexed: Arc<AtomicU64>,
}

impl Destination {
    pub(super) fn new(
        reader: Arc<Reader>,
        session: SnapshotId,
        start: Timestamp,
        options: WriterOptions,
        record_seed: Seed,
    ) -> Self {
        let store = reader.repo().store().clone();
        Destination {
            session,
            start,
            options,
            record_seed,
            finishing: Ordered::new("upload", options.upload_workers, || finisher(store.clone())),
            segment: SegmentBuilder::new(session),
            own_packs: Vec::new(),
            pending: 0,
            small_bytes: 0,
            sent_bytes: 0,
            newest: 0,
            indexed: Arc::new(AtomicU64::new(0)),
            reader,
        }
    }

    pub(super) fn repo(&self) -> &Arc<Repo> {
        self.reader.repo()
    }

    /// The number of the newest pack whose blobs the index of this place knows.
    pub(super) fn indexed(&self) -> Arc<AtomicU64> {
        self.indexed.clone()
    }

    /// Hands a pack to the uploading workers.
    pub(super) fn finish_pack(&mut self, job: FinishJob) -> RepoResult<()> {
        self.finishing.give(job);
        while let Some(done) = self.finishing.try_take() {
            self.finished(done)?;
        }
        while self.finishing.outstanding() > self.options.upload_workers.0 {
            let done = self.finishing.take().expect("something is under way");
            self.finished(done)?;
        }
        Ok(())
    }

    /// Waits for all packs.
    pub(super) fn take_packs(&mut self) -> RepoResult<()> {
        while let Some(done) = self.finishing.take() {
            self.finished(done)?;
        }
        Ok(())
    }

    /// Takes a stored pack into the session's segment.
    fn finished(&mut self, done: FinishDone) -> RepoResult<()> {
        match done.outcome {
            Err(_) if planted::is("pack-error-ignored") => {}
            outcome => outcome.map_err(|e| self.repo().store_error(e))?,
        }
        self.newest = self.newest.max(done.number);
        self.sent_bytes += done.row.pack_bytes;
        self.index_pack(done.row, &done.ids)
    }

    pub(super) fn index_pack(&mut self, row: PackRow, ids: &[BlobId]) -> RepoResult<()> {
        self.own_packs.push(row.id);
        self.segment.add(row, ids);
        if self.segment.packs() >= self.options.segment_packs || self.segment.blobs() >= SEGMENT_BLOBS {
            self.write_segment()?;
            self.put_pending(None)?;
        }
        Ok(())
    }

    /// A segment and a pending record that keeps its packs, if there are any.
    pub(super) fn checkpoint(&mut self) -> RepoResult<()> {
        self.take_packs()?;
        if self.segment.packs() > 0 {
            self.write_segment()?;
            self.put_pending(None)?;
        }
        Ok(())
    }

    /// A checkpoint of the packs that are stored by now; nothing is waited for.
    pub(super) fn keep_finished(&mut self) -> RepoResult<()> {
        while let Some(done) = self.finishing.try_take() {
            self.finished(done)?;
        }
        if self.segment.packs() > 0 {
            self.write_segment()?;
            self.put_pending(None)?;
        }
        Ok(())
    }

    /// After it every pack given so far is indexed and durable.
    pub(super) fn flush(&mut self) -> RepoResult<()> {
        self.take_packs()?;
        self.write_segment()?;
        self.repo().sync()
    }

    /// Writes the packs finished since the last segment into one. Packs are durable before it is.
    pub(super) fn write_segment(&mut self) -> RepoResult<()> {
        if self.segment.packs() == 0 {
            return Ok(());
        }
        let repo = self.repo().clone();
        if !planted::is("segment-before-packs") {
            repo.sync()?;
        }
        let entropy = self.record_seed.draw();
        let mut compressor = Compressor::new(Level(1));
        let bytes =
            self.segment.finish(&repo.identity().repo, repo.keys(), repo.suite(), entropy, &mut compressor);
        let number = self.reader.with_index_write(|index| index.next_number());
        let name = names::segment(number, &bytes);
        if !planted::is("segment-unstored") {
            repo.put(&name, &bytes, PutMode::CreateNew)?;
        }
        self.small_bytes += bytes.len() as u64;
        let segment = Segment::decode(&bytes, &repo.identity().repo, repo.keys())
            .map_err(|e| RepoError::SelfTest(e.to_string()))?;
        let file = store_segment(self.reader.cache(), &name, &segment);
        self.reader.with_index_write(|index| index.add_own(name, file));
        self.indexed.store(self.newest, Ordering::Release);
        Ok(())
    }
}

//! Writing: blobs into blocks, blocks into packs, packs into the index, and at last a snapshot.
//!
//! One thread (the conductor) calls a [`Writer`]; sealing and uploading run on [`Workers`]. What is
//! written depends only on the calls and the seed, never on how threads are scheduled.
//!
//! The order of publishing is in [`publish`]; nothing else in the program knows it.

mod packing;
pub mod publish;

use crate::error::{RepoError, RepoResult};
use crate::index::{PackListing, store_segment};
use crate::names;
use crate::open::Repo;
use crate::reader::Reader;
use crate::seed::Seed;
use crate::workers::{Ordered, Workers};
use format::block::{BlockCoder, RawBlock, SealedBlock};
use format::codec::{Compressor, Level};
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::index::{IndexKey, PackRow, Segment, SegmentBuilder};
use format::kind::Timestamp;
use packing::{FinishDone, FinishJob, Stream};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use storage::PutMode;

/// How a session writes.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Threads that compress, seal and verify blocks.
    pub seal_workers: Workers,
    /// Threads that finish uploads.
    pub upload_workers: Workers,
    /// Compression level.
    pub level: Level,
    /// A segment is written after this many packs.
    pub segment_packs: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            seal_workers: Workers(2),
            upload_workers: Workers(2),
            level: Level(3),
            segment_packs: 64,
        }
    }
}

/// A segment is written after this many blobs as well, which bounds the set of the session's own blobs.
const SEGMENT_BLOBS: usize = 256 << 10;

/// What a session has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of new blobs before compression.
    pub added_bytes: u64,
    /// Bytes of blocks after compression and sealing.
    pub packed_bytes: u64,
    /// Bytes of packs.
    pub stored_bytes: u64,
    /// New blobs.
    pub blobs: u64,
    /// Packs.
    pub packs: u64,
}

/// What a sealing worker gets.
struct SealJob {
    kind: BlobKind,
    raw: RawBlock,
    ids: Vec<BlobId>,
    entropy: [u8; 32],
}

/// What it gives back.
struct SealDone {
    kind: BlobKind,
    raw: RawBlock,
    ids: Vec<BlobId>,
    sealed: RepoResult<SealedBlock>,
}

/// A writing session.
pub struct Writer {
    reader: Arc<Reader>,
    session: SnapshotId,
    start: Timestamp,
    options: WriterOptions,
    /// Randomness by purpose, so that threads cannot change which value a block or a pack gets.
    block_seed: Seed,
    pack_seed: Seed,
    record_seed: Seed,
    data: Stream,
    tree: Stream,
    sealing: Ordered<SealJob, SealDone>,
    finishing: Ordered<FinishJob, FinishDone>,
    spare: Vec<RawBlock>,
    segment: SegmentBuilder,
    /// Blobs of this session that are in no segment yet, by kind.
    own: [HashSet<IndexKey, BuildHasherDefault<KeyHasher>>; 2],
    /// Packs this session wrote.
    own_packs: Vec<PackId>,
    /// Packs this session's dedup relies on.
    relied_on: HashSet<PackId>,
    /// The one added last: neighbours mostly lie in one pack.
    relied_on_last: Option<PackId>,
    pending: u64,
    written: Written,
}

impl Writer {
    /// Starts a session. `listing` is what the session itself saw of the packs.
    pub fn start(
        reader: Arc<Reader>,
        listing: &PackListing,
        mut seed: Seed,
        start: Timestamp,
        options: WriterOptions,
    ) -> Self {
        reader.with_index_write(|index| index.see_packs(listing));
        let repo = reader.repo().clone();
        let session = SnapshotId(seed.draw());
        let mut fork = || Seed::new(seed.draw());
        let (block_seed, pack_seed, record_seed) = (fork(), fork(), fork());
        let p = repo.parameters();
        let store = repo.store().clone();
        Writer {
            session,
            start,
            options,
            block_seed,
            pack_seed,
            record_seed,
            data: Stream::new(p.block_bytes, p.pack_bytes, p.data_parity),
            tree: Stream::new(512 << 10, p.tree_pack_bytes, true),
            sealing: Ordered::new("seal", options.seal_workers, || sealer(repo.clone(), options.level)),
            finishing: Ordered::new("upload", options.upload_workers, || packing::finisher(store.clone())),
            spare: Vec::new(),
            segment: SegmentBuilder::new(session),
            own: Default::default(),
            own_packs: Vec::new(),
            relied_on: HashSet::new(),
            relied_on_last: None,
            pending: 0,
            written: Written::default(),
            reader,
        }
    }

    /// The session's id, which will be the snapshot's.
    pub fn session(&self) -> SnapshotId {
        self.session
    }

    /// What was written so far.
    pub fn written(&self) -> Written {
        self.written
    }

    /// The reader this session looks blobs up with.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// Whether a blob is stored already; the snapshot then relies on it.
    pub fn has(&mut self, kind: BlobKind, id: &BlobId) -> bool {
        self.own[kind as usize].contains(&IndexKey::from(id)) || self.has_stored(kind, id)
    }

    fn has_stored(&mut self, kind: BlobKind, id: &BlobId) -> bool {
        let found = self.reader.with_index_read(|index| index.stored_in(kind, id));
        if found.is_some() && found != self.relied_on_last {
            self.relied_on.extend(found);
            self.relied_on_last = found;
        }
        found.is_some()
    }

    /// Counts a blob that is to be stored; `false` if it is stored already.
    fn is_new(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> bool {
        if self.has(kind, id) {
            return false;
        }
        self.own[kind as usize].insert(IndexKey::from(id));
        self.written.blobs += 1;
        self.written.added_bytes += bytes.len() as u64;
        true
    }

    /// Stores a blob whose id is known, unless it is stored already. Returns whether it was new.
    pub fn put(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<bool> {
        if !self.is_new(kind, id, bytes) {
            return Ok(false);
        }
        if !self.stream(kind).has_room(bytes.len()) {
            self.close_block(kind)?;
        }
        if self.stream(kind).push(id, bytes) {
            self.close_block(kind)?;
        }
        Ok(true)
    }

    /// Like [`Writer::put`], but in a block of its own: a long chunk is then read without its neighbours.
    pub fn put_alone(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<bool> {
        if !self.is_new(kind, id, bytes) {
            return Ok(false);
        }
        let mut raw = self.spare.pop().unwrap_or_default();
        raw.push(bytes);
        let entropy = self.block_seed.draw();
        self.sealing.give(SealJob { kind, raw, ids: vec![*id], entropy });
        self.take_sealed(self.options.seal_workers.0 + 1)?;
        Ok(true)
    }

    /// Stores a tree node.
    pub fn put_node(&mut self, bytes: &[u8]) -> RepoResult<BlobId> {
        let id = self.blob_id(BlobKind::Tree, bytes)?;
        self.put(BlobKind::Tree, &id, bytes)?;
        Ok(id)
    }

    fn blob_id(&self, kind: BlobKind, bytes: &[u8]) -> RepoResult<BlobId> {
        self.repo().keys().blob_id(kind, bytes).map_err(|e| RepoError::object(&"blob", e))
    }

    fn repo(&self) -> &Arc<Repo> {
        self.reader.repo()
    }

    fn stream(&mut self, kind: BlobKind) -> &mut Stream {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.tree,
        }
    }

    /// Hands the open block of a stream to the sealing workers.
    fn close_block(&mut self, kind: BlobKind) -> RepoResult<()> {
        let spare = self.spare.pop().unwrap_or_default();
        let entropy = self.block_seed.draw();
        if let Some((raw, ids)) = self.stream(kind).take_block(spare) {
            self.sealing.give(SealJob { kind, raw, ids, entropy });
        }
        self.take_sealed(self.options.seal_workers.0 + 1)
    }

    /// Takes finished blocks, waiting until no more than `limit` are under way.
    fn take_sealed(&mut self, limit: usize) -> RepoResult<()> {
        while let Some(done) = self.sealing.try_take() {
            self.sealed(done)?;
        }
        while self.sealing.outstanding() > limit {
            let done = self.sealing.take().expect("something is under way");
            self.sealed(done)?;
        }
        Ok(())
    }

    /// Waits for all blocks and closes the packs.
    fn close_packs(&mut self) -> RepoResult<()> {
        self.close_block(BlobKind::Data)?;
        self.close_block(BlobKind::Tree)?;
        while let Some(done) = self.sealing.take() {
            self.sealed(done)?;
        }
        self.close_pack(BlobKind::Data)?;
        self.close_pack(BlobKind::Tree)?;
        while let Some(done) = self.finishing.take() {
            self.finished(done)?;
        }
        Ok(())
    }

    /// Stores what is finished so that a killed run can be resumed: a segment, and a pending record that
    /// keeps the packs alive. Open blocks and packs are not cut short. All that is under way is waited for,
    /// so that what a checkpoint holds depends on where in the input it stands, not on threads.
    pub fn checkpoint(&mut self) -> RepoResult<()> {
        while let Some(done) = self.sealing.take() {
            self.sealed(done)?;
        }
        while let Some(done) = self.finishing.take() {
            self.finished(done)?;
        }
        if self.segment.packs() > 0 {
            self.write_segment()?;
            self.put_pending(None)?;
        }
        Ok(())
    }

    /// Writes the packs finished since the last segment into one. Packs are durable before it is.
    fn write_segment(&mut self) -> RepoResult<()> {
        if self.segment.packs() == 0 {
            return Ok(());
        }
        let repo = self.repo().clone();
        repo.sync()?;
        let entropy = self.record_seed.draw();
        let mut compressor = Compressor::new(Level(1));
        let bytes =
            self.segment.finish(&repo.identity().repo, repo.keys(), repo.suite(), entropy, &mut compressor);
        let number = self.reader.with_index_write(|index| index.next_number());
        let name = names::segment(number, &bytes);
        repo.put(&name, &bytes, PutMode::CreateNew)?;
        self.written.stored_bytes += bytes.len() as u64;
        let segment = Segment::decode(&bytes, &repo.identity().repo, repo.keys())
            .map_err(|e| RepoError::SelfTest(e.to_string()))?;
        let file = store_segment(self.reader.cache(), &name, &segment);
        self.reader.with_index_write(|index| index.add_own(name, file));
        let kinds_of = |pack: &PackRow| vec![pack.kind; pack.blocks.len()];
        let kinds: Vec<BlobKind> = segment.packs.iter().flat_map(kinds_of).collect();
        for blob in &segment.blobs {
            self.own[kinds[blob.block as usize] as usize].remove(&blob.key);
        }
        Ok(())
    }
}

/// Index keys are hashes already, and keyed, so that nobody can choose them.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*head);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Compresses, seals, then proves that the sealed bytes decode to the blobs of these ids: bad memory and
/// encoder bugs are noticed before anything is stored.
fn sealer(repo: Arc<Repo>, level: Level) -> Box<dyn FnMut(SealJob) -> SealDone + Send> {
    let mut coder = BlockCoder::new(Compressor::new(level));
    Box::new(move |job| {
        let sealed = seal_and_verify(&repo, &mut coder, &job);
        SealDone { kind: job.kind, raw: job.raw, ids: job.ids, sealed }
    })
}

fn seal_and_verify(repo: &Repo, coder: &mut BlockCoder, job: &SealJob) -> RepoResult<SealedBlock> {
    let keys = repo.keys();
    let failed = |e: format::FormatError| RepoError::SelfTest(e.to_string());
    let sealed = coder.seal(keys, job.kind, repo.suite(), &job.entropy, &job.raw).map_err(failed)?;
    let opened = coder.open(keys, job.kind, sealed.suite, &sealed.bytes).map_err(failed)?;
    if opened.len() != job.ids.len() {
        return Err(RepoError::SelfTest("a blob is missing".into()));
    }
    for (id, blob) in job.ids.iter().zip(opened.blobs()) {
        if keys.blob_id(job.kind, blob).map_err(failed)? != *id {
            return Err(RepoError::SelfTest("a blob has other contents".into()));
        }
    }
    Ok(sealed)
}

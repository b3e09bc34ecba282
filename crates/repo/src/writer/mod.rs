//! Writing: blobs into blocks, blocks into packs, packs into the index, and at last a snapshot.
//!
//! One thread (the conductor) calls a [`Writer`]; sealing and uploading run on [`Workers`]. What is
//! written depends only on the calls and the seed, never on how threads are scheduled.
//!
//! The order of publishing is in [`publish`]; nothing else in the program knows it. A session may write to
//! several repositories of a family at once ([`Writer::start_many`]): everything is sealed once, and each gets
//! what it lacks and commits by itself.

pub mod copies;
mod courier;
mod destination;
mod fan;
mod moving;
mod packing;
pub mod publish;

pub use fan::{Behind, DESTINATIONS_MAX};

use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::open::Repo;
use crate::reader::Reader;
use crate::seed::Seed;
use crate::workers::{Ordered, Workers};
use destination::Destination;
use fan::{Fan, Mask};
use format::block::{BlockCoder, RawBlock, SealedBlock};
use format::codec::{Compressor, Level};
use format::id::{BlobId, BlobKind, SnapshotId};
use format::index::IndexKey;
use format::kind::Timestamp;
use packing::{Lane, Stream};
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

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
    /// How long the other repositories of a session may stand idle for one before it is left behind.
    pub patience: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            seal_workers: Workers(2),
            upload_workers: Workers(2),
            level: Level(3),
            segment_packs: 64,
            patience: Duration::from_secs(30),
        }
    }
}

/// A segment is written after this many blobs as well, which bounds the set of the session's own blobs.
const SEGMENT_BLOBS: usize = 128 << 10;

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
    lane: usize,
    raw: RawBlock,
    ids: Vec<BlobId>,
    entropy: [u8; 32],
}

/// What it gives back.
struct SealDone {
    kind: BlobKind,
    lane: usize,
    raw: RawBlock,
    ids: Vec<BlobId>,
    sealed: RepoResult<SealedBlock>,
}

/// A writing session.
pub struct Writer {
    session: SnapshotId,
    options: WriterOptions,
    /// Randomness by purpose, so that threads cannot change which value a block or a pack gets.
    block_seed: Seed,
    pack_seed: Seed,
    /// The first is for everybody who lacks a blob.
    lanes: Vec<Lane>,
    sealing: Ordered<SealJob, SealDone>,
    spare: Vec<RawBlock>,
    /// Blobs of this session that are in no segment yet, by kind.
    own: [HashSet<IndexKey, BuildHasherDefault<KeyHasher>>; 2],
    /// Finished packs whose blobs some destination does not know in its index yet, in the order of their numbers.
    unindexed: VecDeque<Unindexed>,
    /// Number of the newest pack.
    packs: u64,
    written: Written,
    fan: Fan,
    pace: Option<Box<dyn FnMut() -> bool>>,
}

/// Blobs of a finished pack.
struct Unindexed {
    number: u64,
    mask: Mask,
    kind: BlobKind,
    ids: Arc<Vec<BlobId>>,
}

/// How many sets of destinations have packs of their own at a time.
const LANES_MAX: usize = 3;

impl Writer {
    /// Starts a session. `listing` is what the session itself saw of the packs.
    pub fn start(
        reader: Arc<Reader>,
        listing: &PackListing,
        seed: Seed,
        start: Timestamp,
        options: WriterOptions,
    ) -> Self {
        reader.with_index_write(|index| index.see_packs(listing));
        Self::begin(&[reader], seed, start, options)
    }

    /// Starts a session that writes to several repositories of one family, at most [`DESTINATIONS_MAX`]. The first
    /// one's parameters count.
    pub fn start_many(
        readers: &[(Arc<Reader>, PackListing)],
        seed: Seed,
        start: Timestamp,
        options: WriterOptions,
    ) -> Self {
        for (reader, listing) in readers {
            reader.with_index_write(|index| index.see_packs(listing));
        }
        let readers: Vec<Arc<Reader>> = readers.iter().map(|(reader, _)| reader.clone()).collect();
        Self::begin(&readers, seed, start, options)
    }

    fn begin(readers: &[Arc<Reader>], mut seed: Seed, start: Timestamp, options: WriterOptions) -> Self {
        assert!((1..=DESTINATIONS_MAX).contains(&readers.len()), "a session has a place to write to");
        let repo = readers[0].repo().clone();
        let session = SnapshotId(seed.draw());
        let mut fork = || Seed::new(seed.draw());
        let (block_seed, pack_seed) = (fork(), fork());
        let destinations = readers
            .iter()
            .map(|reader| Destination::new(reader.clone(), session, start, options, fork()))
            .collect();
        let fan = Fan::new(destinations, options.seal_workers.0 > 0, options.patience);
        Writer {
            session,
            options,
            block_seed,
            pack_seed,
            lanes: vec![Lane::new(fan.attached(), repo.parameters())],
            sealing: Ordered::new("seal", options.seal_workers, || sealer(repo.clone(), options.level)),
            spare: Vec::new(),
            own: Default::default(),
            unindexed: VecDeque::new(),
            packs: 0,
            written: Written::default(),
            fan,
            pace: None,
        }
    }

    /// The session's id, which will be the snapshot's.
    pub fn session(&self) -> SnapshotId {
        self.session
    }

    /// What was written so far; of several repositories, what each of them would get that had nothing.
    pub fn written(&self) -> Written {
        let small_bytes = self.fan.sole_ref().map_or(0, |destination| destination.small_bytes);
        Written { stored_bytes: self.written.stored_bytes + small_bytes, ..self.written }
    }

    /// The reader this session looks blobs up with; of several repositories the first.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.fan.slots[0].reader
    }

    /// Whether a blob is stored already, wherever this session writes to; the snapshot then relies on it.
    pub fn has(&mut self, kind: BlobKind, id: &BlobId) -> bool {
        self.lacking(kind, id) == 0
    }

    fn lacking(&mut self, kind: BlobKind, id: &BlobId) -> Mask {
        match self.own[kind as usize].contains(&IndexKey::from(id)) {
            true => 0,
            false => self.fan.lacking(kind, id),
        }
    }

    /// Counts a blob that is to be stored, and says in which lane; `None` if it is stored already.
    fn lane_of_new(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<Option<usize>> {
        let lacking = self.lacking(kind, id);
        if lacking == 0 {
            self.fan.must_have_one()?;
            return Ok(None);
        }
        let lane = self.lane_for(lacking);
        self.count_new(kind, id, bytes);
        Ok(Some(lane))
    }

    fn count_new(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) {
        self.own[kind as usize].insert(IndexKey::from(id));
        self.written.blobs += 1;
        self.written.added_bytes += bytes.len() as u64;
    }

    /// The lane of exactly those that lack a blob. Where there are too many lanes, the largest that brings none of
    /// them a double and does not pass over the one that leads; who is passed over is not complete, and gets the
    /// snapshot from a sibling. Else the lane for everybody.
    fn lane_for(&mut self, lacking: Mask) -> usize {
        let attached = self.fan.attached();
        let reached = |lane: &Lane| lane.mask & attached;
        if let Some(lane) = self.lanes.iter().position(|lane| reached(lane) == lacking) {
            return lane;
        }
        if self.lanes.len() < LANES_MAX {
            self.lanes.push(Lane::new(lacking, self.repo().parameters()));
            return self.lanes.len() - 1;
        }
        // One at least must get everything: the first that is left.
        let leads = attached & attached.wrapping_neg();
        let fits =
            |mask: Mask| mask != 0 && mask & !lacking == 0 && (lacking & leads == 0 || mask & leads != 0);
        let masks = self.lanes.iter().map(reached).enumerate();
        let best = masks.filter(|(_, mask)| fits(*mask)).max_by_key(|(_, mask)| mask.count_ones());
        let (lane, mask) = best.unwrap_or((0, lacking));
        self.fan.pass_over(lacking & !mask);
        lane
    }

    /// Stores a blob whose id is known, unless it is stored already. Returns whether it was new.
    pub fn put(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<bool> {
        match self.lane_of_new(kind, id, bytes)? {
            Some(lane) => self.place(lane, kind, id, bytes).map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts a blob into the open block of its kind.
    fn place(&mut self, lane: usize, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<()> {
        if !self.stream(lane, kind).has_room(bytes.len()) {
            self.close_block(lane, kind)?;
        }
        if self.stream(lane, kind).push(id, bytes) {
            self.close_block(lane, kind)?;
        }
        Ok(())
    }

    /// Like [`Writer::put`], but in a block of its own: a long chunk is then read without its neighbours.
    pub fn put_alone(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<bool> {
        let Some(lane) = self.lane_of_new(kind, id, bytes)? else { return Ok(false) };
        let mut raw = self.spare.pop().unwrap_or_default();
        raw.push(bytes);
        let entropy = self.block_seed.draw();
        self.sealing.give(SealJob { kind, lane, raw, ids: vec![*id], entropy });
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
        self.reader().repo()
    }

    fn stream(&mut self, lane: usize, kind: BlobKind) -> &mut Stream {
        let lane = &mut self.lanes[lane];
        match kind {
            BlobKind::Data => &mut lane.data,
            BlobKind::Tree => &mut lane.tree,
        }
    }

    /// Hands the open block of a stream to the sealing workers.
    fn close_block(&mut self, lane: usize, kind: BlobKind) -> RepoResult<()> {
        let spare = self.spare.pop().unwrap_or_default();
        let entropy = self.block_seed.draw();
        if let Some((raw, ids)) = self.stream(lane, kind).take_block(spare) {
            self.sealing.give(SealJob { kind, lane, raw, ids, entropy });
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
        for lane in 0..self.lanes.len() {
            self.close_block(lane, BlobKind::Data)?;
            self.close_block(lane, BlobKind::Tree)?;
        }
        while let Some(done) = self.sealing.take() {
            self.sealed(done)?;
        }
        for lane in 0..self.lanes.len() {
            self.close_pack(lane, BlobKind::Data)?;
            self.close_pack(lane, BlobKind::Tree)?;
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
        self.fan.each(Mask::MAX, false, &mut |_| Box::new(Destination::checkpoint))?;
        self.forget_indexed();
        Ok(())
    }

    /// From now on a checkpoint of what is finished is made whenever `pace` says so; it is asked after each pack.
    pub fn pace_checkpoints(&mut self, pace: Box<dyn FnMut() -> bool>) {
        self.pace = Some(pace);
    }

    fn is_time_to_keep(&mut self) -> bool {
        self.pace.as_mut().is_some_and(|pace| pace())
    }

    /// Ends a session that somebody stopped: what is finished by now is found by the next one. Its pending record stays
    /// until it is too old to count.
    pub fn leave(&mut self) -> RepoResult<()> {
        self.fan.ask(&mut |_| Box::new(Destination::keep_finished)).map(|_| ())
    }

    /// Blobs that every destination knows in its index need not be remembered here.
    fn forget_indexed(&mut self) {
        while let Some(pack) = self.unindexed.front() {
            if self.fan.indexed(pack.mask) < pack.number {
                break;
            }
            let pack = self.unindexed.pop_front().expect("there is a first");
            for id in pack.ids.iter() {
                self.own[pack.kind as usize].remove(&IndexKey::from(id));
            }
        }
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
        SealDone { kind: job.kind, lane: job.lane, raw: job.raw, ids: job.ids, sealed }
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
    coder.recycle(opened);
    Ok(sealed)
}

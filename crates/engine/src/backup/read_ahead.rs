//! The reading threads as the conductor sees them: batches go in, results come out in the same order.
//!
//! Bounds what is read and not stored yet, in bytes and in batches, and changes the number of threads while
//! reading is what the run waits for.

use super::BackupRequest;
use super::pace::Pace;
use super::reading::{ReadBatch, ReadDone};
use format::kind::Timestamp;
use repo::workers::Ordered;
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches each reader may be ahead, so that none waits for the conductor.
const BATCHES_PER_READER: usize = 2;

pub(super) struct ReadAhead {
    stage: Ordered<ReadBatch, ReadDone>,
    /// `None` where the number of readers is fixed.
    pace: Option<Pace>,
    readers: usize,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Contents and entries of the batches under way, oldest first.
    under_way: VecDeque<(u64, u64)>,
    bytes: u64,
    bytes_max: u64,
}

impl ReadAhead {
    pub(super) fn new(
        request: &BackupRequest,
        make: impl FnMut() -> Box<dyn FnMut(ReadBatch) -> ReadDone + Send> + Send + 'static,
    ) -> Self {
        let (readers, readers_max) = (request.read_workers.0, request.read_workers_max);
        let clock = request.clock.clone();
        let adapts = readers > 0 && readers_max > readers;
        ReadAhead {
            stage: Ordered::growing("read", request.read_workers, make),
            pace: adapts.then(|| Pace::new(readers, readers_max, nanos(clock()))),
            readers,
            clock,
            under_way: VecDeque::new(),
            bytes: 0,
            bytes_max: request.memory.read_ahead_bytes(),
        }
    }

    /// Whether enough is under way for now.
    pub(super) fn is_far(&self) -> bool {
        self.under_way.len() > BATCHES_PER_READER * (self.readers + 1) || self.bytes > self.bytes_max
    }

    pub(super) fn give(&mut self, batch: ReadBatch) {
        self.under_way.push_back((batch.bytes, batch.entries.len() as u64));
        self.bytes += batch.bytes;
        self.stage.give(batch);
    }

    /// The next batch if it is there.
    pub(super) fn try_take(&mut self) -> Option<ReadDone> {
        let done = self.stage.try_take()?;
        self.took(0);
        Some(done)
    }

    /// The next batch, waiting for it; `None` when nothing is under way.
    pub(super) fn take(&mut self) -> Option<ReadDone> {
        if let Some(done) = self.try_take() {
            return Some(done);
        }
        let began = self.pace.is_some().then(|| nanos((self.clock)()));
        let done = self.stage.take()?;
        let waited = began.map_or(0, |began| nanos((self.clock)()).saturating_sub(began));
        self.took(waited);
        Some(done)
    }

    fn took(&mut self, waited_nanos: u64) {
        let (bytes, entries) =
            self.under_way.pop_front().expect("a batch comes back for each that was given");
        self.bytes -= bytes;
        let Some(pace) = &mut self.pace else { return };
        let readers = pace.took(entries, waited_nanos, nanos((self.clock)()));
        if readers != self.readers {
            self.readers = readers;
            self.stage.set_workers(readers);
        }
    }
}

/// Only differences count, and one that is wrong because somebody set the clock costs one bad guess.
fn nanos(time: Timestamp) -> u64 {
    (time.secs as u64).wrapping_mul(1_000_000_000).wrapping_add(time.nanos.into())
}

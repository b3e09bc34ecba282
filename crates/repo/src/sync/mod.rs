//! Bringing snapshots from one repository of a family to another, as ciphertext.
//!
//! Works with a maintain key: trees are walked, contents never opened. What the target has already is not
//! sent. Whole packs are taken under their own names where most of what they hold is needed and this place
//! has never known the name; of others the needed blocks go into new packs. Every byte is compared with a hash
//! before it is stored: a pack with its name, a block with its check in the pack's directory.
//!
//! Index segments, pending records and everything under `gc/` speak of one repository and are never copied,
//! but made anew. A snapshot's record is the same bytes in every copy. The order of publishing, with its look at
//! the target after the pending record, is in [`crate::writer::copies`].
//!
//! Can be cut off at any time and started again: what is indexed is not missing any more, and packs that no
//! segment lists yet are compared with their names and taken in.

mod carry;
mod erasures;
mod plan;
mod select;

use crate::erasures::Erasures;
use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::reader::Reader;
use crate::rewrite;
use crate::seed::Seed;
use crate::snapshots::SnapshotList;
use crate::workers::Workers;
use crate::writer::copies::{Outcome, RecordCopy};
use crate::writer::{Writer, WriterOptions};
use format::id::SnapshotId;
use format::kind::Timestamp;
use plan::Plan;
use select::{Chosen, Selection};
pub use select::{Skipped, id_of_generation};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How to bring snapshots over.
pub struct SyncOptions<'a> {
    /// These only; all that are not forgotten otherwise.
    pub snapshots: Option<BTreeSet<SnapshotId>>,
    /// Bring also what the target removed: under a new id, as the old one is never written there again.
    pub again: bool,
    /// Change nothing; say what would be done.
    pub dry_run: bool,
    /// Read back every pack that was stored, and compare it with its name.
    pub read_back: bool,
    /// Now; shown in trust records.
    pub now: Timestamp,
    /// Threads that fetch packs ahead.
    pub fetch_workers: Workers,
    /// How new packs are written.
    pub writer: WriterOptions,
    /// Called with bytes brought and bytes to bring.
    pub progress: &'a mut dyn FnMut(u64, u64),
    /// Whether the user wants to stop. What was brought so far is kept.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What was, or would be, brought.
#[derive(Clone, Debug, Default)]
pub struct SyncReport {
    /// Snapshots that are now in the target, with the id they have there.
    pub copied: Vec<(SnapshotId, SnapshotId)>,
    /// Snapshots that were left out, with why.
    pub skipped: Vec<(SnapshotId, Skipped)>,
    /// Erasures that the target did not know.
    pub erasures: usize,
    /// Snapshots that were brought and hold paths that were erased: another machine made them and did not know.
    pub hold_erased: Vec<SnapshotId>,
    /// Snapshots the source itself cannot give completely.
    pub damaged: Vec<(SnapshotId, String)>,
    /// Objects of the source that turned out damaged; what they hold came from elsewhere, where it could.
    pub source_damage: BTreeSet<String>,
    /// Packs taken as they are.
    pub whole_packs: u64,
    /// Packs that an earlier run had brought and not indexed.
    pub adopted_packs: u64,
    /// Blocks moved into new packs.
    pub blocks: u64,
    /// Blobs read and stored again one by one.
    pub blobs: u64,
    /// Bytes read of the source's packs.
    pub read_bytes: u64,
    /// Bytes stored in the target.
    pub stored_bytes: u64,
    /// Packs that were read back and compared.
    pub read_back_packs: u64,
    /// Requests the source gets, and the target, roughly; of a dry run.
    pub source_requests: u64,
    /// See above.
    pub target_requests: u64,
}

/// Another machine's prune may take away what was just stored; so often it is stored again.
const TRIES: usize = 4;
/// Records published with one look at the target.
const BATCH: usize = 64;
/// What a run that the user stopped says.
pub const CANCELLED: &str = "cancelled";

/// Brings what is missing from `source` to `target`.
pub fn sync(
    source: &Arc<Reader>,
    target: &Arc<Reader>,
    options: &mut SyncOptions<'_>,
    seed: Seed,
) -> RepoResult<SyncReport> {
    let (from, to) = (source.repo().identity(), target.repo().identity());
    if from.family != to.family {
        return Err(RepoError::Local(
            "the two repositories have other keys: they are of two families".into(),
        ));
    }
    // A folder that was copied file by file is another place, and has what this one may have lost.
    if from.repo == to.repo && source.repo().location() == target.repo().location() {
        return Err(RepoError::Local("it is one repository twice".into()));
    }
    let mut run = Run { source, target, options, seed, report: SyncReport::default() };
    // First of all: from then on no restore from the target brings back what was erased at the source.
    let dry_run = run.options.dry_run;
    let (erasures, new) = erasures::carry(source.repo(), target.repo(), dry_run, &mut run.seed)?;
    run.report.erasures = new;
    let selection = Selection::read(source.repo(), target.repo(), run.options, &erasures)?;
    run.report.skipped.extend(selection.skipped.iter().cloned());
    run.go(selection)?;
    run.look_for_erased(&erasures)?;
    Ok(run.report)
}

struct Run<'r, 'o> {
    source: &'r Arc<Reader>,
    target: &'r Arc<Reader>,
    options: &'r mut SyncOptions<'o>,
    seed: Seed,
    report: SyncReport,
}

impl Run<'_, '_> {
    fn go(&mut self, mut selection: Selection) -> RepoResult<()> {
        for attempt in 0..TRIES {
            if selection.chosen.is_empty() {
                return Ok(());
            }
            let source_listing = PackListing::read(self.source.repo())?;
            let target_listing = PackListing::read_to_rely_on(self.target.repo())?;
            self.source.with_index_write(|index| index.see_packs(&source_listing));
            self.source.adopt_unknown(&source_listing);
            let writer_seed = Seed::new(self.seed.draw());
            let (now, writer_options) = (self.options.now, self.options.writer);
            let mut writer =
                Writer::start(self.target.clone(), &target_listing, writer_seed, now, writer_options);
            // What the target seems to have is not looked into the first time; what was wrong with that shows
            // when it is looked at again before publishing.
            let plan = Plan::make(self.source, self.target, &target_listing, &selection.chosen, attempt > 0)?;
            self.note_damaged(&plan, &mut selection);
            if self.options.dry_run {
                self.tell_plan(&plan, &selection);
                return Ok(());
            }
            let carried = self.carry(&plan, &mut writer);
            if carried.is_err() {
                // What was brought is worth keeping: the next run finds it.
                writer.flush().ok();
                writer.abandon().ok();
            }
            carried?;
            if self.options.read_back {
                writer.flush()?;
                self.read_back(&writer)?;
            }
            let published = self.publish(&mut writer, &mut selection);
            self.report.stored_bytes += writer.written().stored_bytes;
            writer.abandon()?;
            published?;
            // The second time everything was looked at.
            if attempt > 0 && !self.report.source_damage.is_empty() {
                break;
            }
        }
        let rest = selection.chosen.iter().map(Chosen::id);
        match (selection.chosen.is_empty(), self.report.source_damage.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => Err(RepoError::Overtaken),
            (false, false) => {
                let why = "something it needs is damaged in the source";
                self.report.damaged.extend(rest.map(|id| (id, why.to_string())));
                Ok(())
            }
        }
    }

    /// Snapshots that were brought may hold what was erased elsewhere before anybody knew of them.
    fn look_for_erased(&mut self, erasures: &Erasures) -> RepoResult<()> {
        if erasures.all.is_empty() || self.options.dry_run || self.report.copied.is_empty() {
            return Ok(());
        }
        let brought: BTreeSet<SnapshotId> = self.report.copied.iter().map(|(_, there)| *there).collect();
        let list = SnapshotList::read(self.target.repo())?;
        for snapshot in list.visible().filter(|s| brought.contains(&s.id)) {
            for erasure in erasures.of(snapshot) {
                if rewrite::holds(self.target, snapshot.root, erasure)? {
                    self.report.hold_erased.push(snapshot.id);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Snapshots that the source cannot give are named and left out; all others are brought.
    fn note_damaged(&mut self, plan: &Plan, selection: &mut Selection) {
        selection.chosen.retain(|chosen| !plan.damaged.contains_key(&chosen.id()));
        self.report.damaged.extend(plan.damaged.iter().map(|(id, why)| (*id, why.clone())));
    }

    fn publish(&mut self, writer: &mut Writer, selection: &mut Selection) -> RepoResult<()> {
        let mut rest: Vec<Chosen> = Vec::new();
        for batch in std::mem::take(&mut selection.chosen).chunks(BATCH) {
            let mut records: Vec<RecordCopy> = Vec::with_capacity(batch.len());
            for chosen in batch {
                records.push(chosen.record(
                    self.source.repo(),
                    self.target.repo(),
                    self.options.now,
                    &mut self.seed,
                )?);
            }
            let outcomes = writer.publish_copies(&records)?;
            for ((chosen, record), outcome) in batch.iter().zip(&records).zip(outcomes) {
                match outcome {
                    Outcome::Published => self.report.copied.push((chosen.id(), record.snapshot.id)),
                    Outcome::Incomplete => rest.push(chosen.clone()),
                    Outcome::Ended => match selection.under_next_id(chosen, self.options.again) {
                        Ok(next) => rest.push(next),
                        Err(why) => self.report.skipped.push((chosen.id(), why)),
                    },
                    Outcome::Removed => self.report.skipped.push((chosen.id(), Skipped::RemovedThere)),
                    Outcome::Taken => self.report.skipped.push((chosen.id(), Skipped::UnreadableThere)),
                }
            }
        }
        selection.chosen = rest;
        Ok(())
    }

    fn tell_plan(&mut self, plan: &Plan, selection: &Selection) {
        let snapshots = selection.chosen.len() as u64;
        self.report.copied = selection.chosen.iter().map(|c| (c.id(), c.id_there())).collect();
        let sums = plan.sums();
        self.report.whole_packs = sums.whole_packs;
        self.report.adopted_packs = sums.adopted_packs;
        self.report.blocks = sums.blocks;
        self.report.blobs = plan.loose.len() as u64;
        self.report.read_bytes = sums.bytes;
        self.report.stored_bytes = sums.bytes;
        let new_packs = sums.block_bytes.div_ceil(self.target.repo().parameters().pack_bytes.max(1));
        // A directory is three ranges, a run of blocks one.
        self.report.source_requests =
            sums.whole_packs + 4 * sums.opened_packs + plan.loose.len() as u64 + snapshots;
        let packs = sums.whole_packs + new_packs;
        let segments = packs.div_ceil(self.options.writer.segment_packs.max(1) as u64);
        // A segment comes with a pending record that replaces another; a snapshot with pending record, trust
        // record, two copies and the removal of the first.
        self.report.target_requests = packs + sums.adopted_packs + 3 * segments + 5 * snapshots + 4;
    }
}

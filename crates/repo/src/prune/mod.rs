//! Freeing space: the only module that deletes packs.
//!
//! Nothing is locked. Any number of prunes and backups run at once, on machines that know nothing of one
//! another, and each may stop or sleep at any point. Safe is what the order of steps makes safe:
//!
//! | step | what | cut short here |
//! |---|---|---|
//! | P0 | records of snapshots forgotten longer ago than the undo window go, announced before, then their tombs | they stay forgotten |
//! | P1 | look: pending records, snapshots, index, listing, in this order; walk all trees | nothing happened |
//! | P2 | needed blobs of packs that are to go are moved, and durable in the index | they are stored twice |
//! | P3 | the packs are condemned: a list of them is durable | the next prune goes on |
//! | P4 | look again; what a root reaches by now is rescued | the same |
//! | P5 | condemned packs are deleted | the same |
//!
//! Between P3 and P5 lies the grace period, for the comfort of readers; it may be zero. Wholly dead packs
//! go first, because that needs no room; then packs are rewritten. A root that cannot be walked stops
//! deletion, because nobody knows what it needs.

mod condemn;
mod doubles;
mod marks;
mod merge;
mod plan;
mod rewrite;
mod roots;
mod run;
mod sessions;
mod usage;

pub use plan::UnusedLimit;

use crate::error::RepoResult;
use crate::index::PackListing;
use crate::prune::condemn::Packs;
use crate::prune::plan::{Plan, Rules, UnindexedPack, plan};
use crate::prune::run::Run;
use crate::prune::usage::Usage;
use crate::reader::Reader;
use crate::reserve;
use crate::seed::Seed;
use crate::single_writer;
use crate::writer::WriterOptions;
use format::id::{BlobKind, PackId, SnapshotId};
use format::kind::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::planted;

/// How to prune.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// Change nothing; say what would be done.
    pub dry_run: bool,
    /// A dry run takes these for forgotten just now.
    pub assume_forgotten: BTreeSet<SnapshotId>,
    /// Forgotten snapshots can be brought back for so long.
    pub undo_window: Duration,
    /// Condemned packs are deleted after so long, and unneeded packs are condemned when they are so old.
    pub grace: Duration,
    /// Sessions without a sign of life for so long are ended.
    pub dead_after: Duration,
    /// How much garbage may stay.
    pub unused: UnusedLimit,
    /// Most bytes that are moved; a tenth of what is stored when absent.
    pub repack_bytes_max: Option<u64>,
    /// Now, by this machine's clock.
    pub time: Timestamp,
    /// How what is moved is written.
    pub writer: WriterOptions,
}

impl PruneOptions {
    /// What a user gets who asks for nothing special.
    pub fn new(time: Timestamp) -> Self {
        const DAY: u64 = 24 * 3600;
        PruneOptions {
            dry_run: false,
            assume_forgotten: BTreeSet::new(),
            undo_window: Duration::from_secs(7 * DAY),
            grace: Duration::from_secs(DAY),
            dead_after: Duration::from_secs(7 * DAY),
            unused: UnusedLimit::Worthwhile,
            repack_bytes_max: None,
            time,
            writer: WriterOptions::default(),
        }
    }

    /// Frees everything that can be freed, now.
    pub fn urgent(time: Timestamp) -> Self {
        PruneOptions {
            undo_window: Duration::ZERO,
            grace: Duration::ZERO,
            unused: UnusedLimit::Urgent,
            ..PruneOptions::new(time)
        }
    }
}

/// What a prune is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding out what is needed.
    Look,
    /// Moving what is needed; bytes.
    Move,
    /// Deleting; packs.
    Delete,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PruneReport {
    /// Forgotten snapshots whose records were removed.
    pub removed_snapshots: usize,
    /// Forgotten snapshots that can still be brought back.
    pub forgotten_waiting: usize,
    /// Forgotten snapshots that are held, or too young to go.
    pub protected: usize,
    /// Sessions that were ended.
    pub ended_sessions: usize,
    /// Roots: snapshots and running sessions.
    pub roots: usize,
    /// Packs before, and their bytes.
    pub packs: u64,
    /// Bytes of all packs before.
    pub stored_bytes: u64,
    /// Bytes of blocks that something needs.
    pub needed_bytes: u64,
    /// Packs condemned in this run, rewritten ones included.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Packs condemned by now and not deleted yet.
    pub waiting_packs: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Packs deleted.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Packs that the store would not delete.
    pub refused_packs: u64,
    /// Packs that are or would be rewritten.
    pub rewritten_packs: u64,
    /// Packs from which blobs had to be rescued: a snapshot came to need them after they were condemned.
    pub rescued_packs: u64,
    /// Bytes read of packs.
    pub read_bytes: u64,
    /// Bytes written, index included.
    pub written_bytes: u64,
    /// Requests to the store that moving and deleting take, as far as planned.
    pub requests: u64,
    /// Garbage that is too young to go.
    pub young_bytes: u64,
    /// Garbage that stays because it is not worth its cost, or above the limit.
    pub unused_bytes: u64,
    /// Index segments that were merged.
    pub merged_segments: usize,
    /// The place was too full to rewrite all packs that were to be.
    pub ran_out_of_space: bool,
    /// Packs that could not be taken over because they are damaged. They were left as they are.
    pub damaged: Vec<String>,
    /// Why nothing may be deleted: roots that cannot be read or walked completely.
    pub doubts: Vec<String>,
    /// Why nothing may be deleted now: sessions that are about to store again what was removed under them.
    pub busy: Vec<String>,
    /// Objects where roots belong that no key of this family made.
    pub foreign: Vec<String>,
}

impl PruneReport {
    /// Whether everything that is needed is known.
    fn may_delete(&self) -> bool {
        self.doubts.is_empty() && self.busy.is_empty()
    }

    fn condemn(&mut self, lengths: impl Iterator<Item = u64>) {
        for bytes in lengths {
            self.condemned_packs += 1;
            self.condemned_bytes += bytes;
        }
    }
}

/// Prunes. `progress` gets the stage, what is done and what is to be done.
pub fn prune(
    reader: &Arc<Reader>,
    options: &PruneOptions,
    seed: Seed,
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> RepoResult<PruneReport> {
    // Whoever deletes looks for itself, each time.
    reader.repo().store().end_look();
    let grace = single_writer::grace_at_least(reader.repo().parameters(), options.grace);
    let options = &PruneOptions { grace, ..options.clone() };
    let mut run = Run::new(reader, options, seed, progress);
    run.tell(Stage::Look, 0, 0);
    let ripe = run.begin()?;
    run.look()?;
    run.look_for_garbage(&ripe)?;
    if !options.dry_run {
        run.finish()?;
    }
    Ok(run.report)
}

impl Run<'_> {
    /// Removes the roots that are to go. Returns the packs that were condemned long enough ago: they are
    /// taken from a listing that is older than the look that follows, because a root that is met only by
    /// who looks after the condemnation may need them.
    fn begin(&mut self) -> RepoResult<Packs> {
        self.roots = roots::Roots::read(self.repo(), BTreeMap::new())?;
        self.listing = PackListing::read(self.repo())?;
        self.listing.must_have_arrived()?;
        self.read_clock(!self.options.dry_run)?;
        self.remove_forgotten()?;
        self.end_dead_sessions()?;
        Ok(self.ripe())
    }

    fn look_for_garbage(&mut self, ripe: &Packs) -> RepoResult<()> {
        self.report.roots = self.roots.trees.len();
        for (_, _, bytes) in self.listing.packs() {
            self.report.packs += 1;
            self.report.stored_bytes += bytes;
        }
        if !self.report.may_delete() {
            return Ok(());
        }
        if !self.options.dry_run {
            self.delete_condemned(ripe)?;
        }
        self.is_tight = self.options.unused == UnusedLimit::Urgent && !reserve::is_there(self.repo())?;
        let reader = self.reader;
        let usage = reader.with_index_read(|index| {
            let whole = self.whole_shares();
            Usage::count(index, &self.listing, &self.marks, self.may_drop_doubles(), whole)
        });
        self.report.needed_bytes = usage.packs.iter().map(|pack| pack.needed_bytes + pack.double_bytes).sum();
        let plan = self.plan(&usage);
        self.report.young_bytes = plan.young_bytes;
        self.report.unused_bytes = plan.unused_after_bytes;
        self.report.rewritten_packs = (plan.rewrite.len() + plan.doubles.len()) as u64;
        match self.options.dry_run {
            true => self.foretell(&plan, ripe),
            false => self.carry_out(&usage, &plan)?,
        }
        Ok(())
    }

    fn plan(&self, usage: &Usage) -> Plan {
        let stored: u64 = usage.packs.iter().map(|pack| pack.pack_bytes).sum();
        let parameters = self.repo().parameters();
        let rules = Rules {
            unused: self.options.unused,
            repack_bytes_max: self.options.repack_bytes_max.unwrap_or(stored / 10),
            grace: self.options.grace,
            now: self.now,
            is_local: self.repo().store().capabilities().local,
            protected: &self.roots.protected,
            pack_bytes: parameters.pack_bytes,
            tree_pack_bytes: parameters.tree_pack_bytes,
        };
        let unknown = self.reader.with_index_read(|index| index.unknown_packs(&self.listing));
        let unindexed: Vec<UnindexedPack> = unknown
            .into_iter()
            .filter(|(kind, id, _)| {
                !self.listing.is_condemned(id) && !self.unexplained.contains(&(*kind, *id))
            })
            .map(|(kind, id, bytes)| (kind, id, bytes, self.listing.received(kind, &id)))
            .collect();
        plan(&usage.packs, &unindexed, &rules)
    }

    /// Dead packs first: that needs no room. Then what has to be read.
    fn carry_out(&mut self, usage: &Usage, plan: &Plan) -> RepoResult<()> {
        let dead = plan.dead.iter().map(|pack| (pack.kind, pack.id, pack.pack_bytes));
        let dead: Vec<(BlobKind, PackId, u64)> = dead.chain(plan.unindexed.iter().copied()).collect();
        if !dead.is_empty() {
            let ids: Vec<PackId> = dead.iter().map(|(_, id, _)| *id).collect();
            self.condemn(&ids, &[])?;
            self.report.condemn(dead.iter().map(|(_, _, bytes)| *bytes));
            if self.options.grace.is_zero() {
                if !planted::is("no-second-look") {
                    self.look()?;
                }
                let packs: Packs = dead.iter().map(|(kind, id, _)| (*kind, *id)).collect();
                self.delete_condemned(&packs)?;
            }
        }
        // The trees were walked; what is under way now is what is moved.
        self.reader.let_go_of_blocks();
        self.rewrite(usage, &plan.doubles)?;
        self.rewrite(usage, &plan.rewrite)
    }

    fn foretell(&mut self, plan: &Plan, ripe: &Packs) {
        let lengths = |packs: &[usage::PackUse]| packs.iter().map(|p| p.pack_bytes).collect::<Vec<u64>>();
        let unindexed = plan.unindexed.iter().map(|(_, _, bytes)| *bytes);
        let moved = plan.rewrite.iter().chain(&plan.doubles);
        let report = &mut self.report;
        report.condemn(lengths(&plan.dead).into_iter());
        report.condemn(unindexed);
        report.condemn(lengths(&plan.rewrite).into_iter().chain(lengths(&plan.doubles)));
        report.read_bytes = moved.clone().map(|pack| pack.needed_bytes + pack.double_bytes).sum();
        report.written_bytes = plan.rewrite.iter().map(|pack| pack.needed_bytes).sum();
        let urgent = if self.options.grace.is_zero() { report.condemned_packs } else { 0 };
        report.deleted_packs = ripe.len() as u64 + urgent;
        let ripe_bytes = ripe.iter().filter_map(|(kind, id)| self.listing.len_bytes(*kind, id));
        report.deleted_bytes = ripe_bytes.sum();
        if self.options.grace.is_zero() {
            report.deleted_bytes += report.condemned_bytes;
        }
        // Directory in three ranges and the blocks of each pack; the new packs; a segment and a list.
        let pack_bytes = self.reader.repo().parameters().pack_bytes;
        report.requests =
            4 * moved.count() as u64 + report.written_bytes / pack_bytes + report.deleted_packs + 3;
    }

    /// Packs condemned at least the grace period ago, by the store's clock. A store that does not tell when
    /// it received a list has shown it to an earlier run: that must do.
    fn ripe(&self) -> Packs {
        let mut ripe = Packs::new();
        for list in &self.listing.condemned_lists {
            let is_ripe = self.options.grace.is_zero()
                || match list.received {
                    Some(_) => self.age(list.received).is_some_and(|age| age >= self.options.grace),
                    None => true,
                };
            for id in list.record.packs.iter().filter(|_| is_ripe) {
                ripe.extend([BlobKind::Data, BlobKind::Tree].map(|kind| (kind, *id)));
            }
        }
        ripe.retain(|(kind, id)| self.listing.len_bytes(*kind, id).is_some());
        ripe
    }

    /// Tidies up, puts the reserve back, and counts what waits.
    fn finish(&mut self) -> RepoResult<()> {
        self.listing = PackListing::read(self.repo())?;
        for (_, id, bytes) in self.listing.packs() {
            if self.listing.is_condemned(&id) {
                self.report.waiting_packs += 1;
                self.report.waiting_bytes += bytes;
            }
        }
        if self.report.may_delete() {
            self.tidy()?;
        }
        let packs = self.listing.packs().count() as u64;
        let repo = self.repo().clone();
        reserve::refill(&repo, packs, &mut self.seed)?;
        repo.sync()
    }

    /// A place that is full or lets nothing be deleted keeps its many lists.
    fn tidy(&mut self) -> RepoResult<()> {
        for step in [Run::merge_index, Run::merge_condemned, Run::merge_removed, Run::clear_cut_off] {
            match step(self) {
                Err(e) if condemn::is_refusal(&e) || e.store_kind() == Some(storage::ErrorKind::NoSpace) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

//! What all steps of one prune share: the repository as it was last looked at.

use crate::clock;
use crate::error::RepoResult;
use crate::index::PackListing;
use crate::open::Repo;
use crate::prune::condemn::Packs;
use crate::prune::marks::Marks;
use crate::prune::roots::Roots;
use crate::prune::{PruneOptions, PruneReport, Stage};
use crate::reader::Reader;
use crate::reserve;
use crate::seed::Seed;
use crate::writer::Writer;
use format::id::{PackId, SnapshotId};
use format::index::IndexKey;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::{ErrorKind, PutMode};

/// One prune.
pub(super) struct Run<'a> {
    pub(super) reader: &'a Arc<Reader>,
    pub(super) options: &'a PruneOptions,
    pub(super) seed: Seed,
    pub(super) report: PruneReport,
    pub(super) marks: Marks,
    /// The newest look at the roots and packs; the index is in the reader.
    pub(super) roots: Roots,
    pub(super) listing: PackListing,
    /// Packs into which blobs of condemned packs were moved, compared on the way.
    pub(super) ledger: HashSet<PackId>,
    /// Blobs that were read and compared in this run, with the pack they were read from.
    pub(super) confirmed: HashSet<(PackId, IndexKey)>,
    /// Now, by the store's clock.
    pub(super) now: Option<SystemTime>,
    /// Packs in no segment that stay all the same, because something that is needed is in no other.
    pub(super) unexplained: Packs,
    /// Snapshots that a dry run would have removed.
    pub(super) would_remove: BTreeSet<SnapshotId>,
    /// Whether the place may be full: then every byte counts, whatever it costs.
    pub(super) is_tight: bool,
    progress: &'a mut dyn FnMut(Stage, u64, u64),
}

impl<'a> Run<'a> {
    pub(super) fn new(
        reader: &'a Arc<Reader>,
        options: &'a PruneOptions,
        seed: Seed,
        progress: &'a mut dyn FnMut(Stage, u64, u64),
    ) -> Self {
        Run {
            reader,
            options,
            seed,
            report: PruneReport::default(),
            marks: Marks::default(),
            roots: Roots::default(),
            listing: PackListing::default(),
            ledger: HashSet::new(),
            confirmed: HashSet::new(),
            now: None,
            unexplained: Packs::new(),
            would_remove: BTreeSet::new(),
            is_tight: false,
            progress,
        }
    }

    pub(super) fn repo(&self) -> &Arc<Repo> {
        self.reader.repo()
    }

    pub(super) fn tell(&mut self, stage: Stage, done: u64, total: u64) {
        (self.progress)(stage, done, total);
    }

    /// Looks at everything anew: the roots first, pending ones before snapshots, then the index, then the
    /// packs and what is condemned; then walks what was not walked before. What is in doubt stops deletion.
    pub(super) fn look(&mut self) -> RepoResult<()> {
        let reader = self.reader;
        let known = std::mem::take(&mut self.roots.snapshots);
        self.roots = Roots::read(reader.repo(), known)?;
        self.roots.leave_out(&self.would_remove);
        reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
        self.listing = PackListing::read(reader.repo())?;
        self.listing.must_have_arrived()?;
        let listing = &self.listing;
        reader.with_index_write(|index| index.see_packs(listing));
        self.ledger.extend(listing.condemned_lists.iter().flat_map(|list| &list.record.moved_into));
        let mut doubts = self.roots.doubts.clone();
        doubts.extend(listing.too_new().map(|name| format!("{name} was written by a newer version")));
        reader.with_index_read(|index| {
            self.marks.extend(index);
            doubts.extend(index.unreadable.iter().filter_map(|(name, e)| match e.store_kind() {
                _ if e.is_too_new() => Some(format!("{name} was written by a newer version")),
                Some(ErrorKind::NotFound) => {
                    Some(format!("{name} vanished again and again while it was read"))
                }
                _ => None, // damaged: if something needs what it lists, the walk shows it
            }));
        });
        let mut busy = Vec::new();
        self.marks.walk(reader, &self.roots, &mut doubts, &mut busy)?;
        self.report.busy = busy;
        self.unexplained = self.find_unexplained();
        self.report.foreign = self.roots.foreign.clone();
        self.report.doubts = doubts;
        Ok(())
    }

    /// Where something needed is in no pack that is there, a segment may be lost, and with it the word of
    /// what packs outside the index hold: they stay.
    fn find_unexplained(&self) -> Packs {
        if !self.marks.has_lost_any(&self.listing) {
            return Packs::new();
        }
        let mut packs: Packs = self.listing.packs().map(|(kind, id, _)| (kind, id)).collect();
        self.reader.with_index_read(|index| {
            for view in index.segments() {
                for pack in 0..view.file.packs() {
                    packs.remove(&(view.file.pack_kind(pack), view.file.pack_id(pack)));
                }
            }
        });
        packs
    }

    /// Asks the store what time it is, where it takes an object for that. The time it received its newest
    /// pack or record is never later than now, so it will do where it does not.
    pub(super) fn read_clock(&mut self, may_write: bool) -> RepoResult<()> {
        let repo = self.repo().clone();
        if may_write {
            self.now = match clock::store_now(&repo, &mut self.seed) {
                Err(e) if matches!(e.store_kind(), Some(ErrorKind::NoSpace | ErrorKind::Denied)) => None,
                other => other?.and_then(clock::system_time),
            };
        }
        if self.now.is_none() {
            let packs = self.listing.packs().filter_map(|(kind, id, _)| self.listing.received(kind, &id));
            let lists = self.listing.condemned_lists.iter().filter_map(|list| list.received);
            let sessions = self.roots.sessions.iter().filter_map(|session| session.received);
            self.now = packs.chain(lists).chain(sessions).max();
        }
        Ok(())
    }

    /// How long ago the store received something, by its own clock. `None` where it does not say.
    pub(super) fn age(&self, received: Option<SystemTime>) -> Option<Duration> {
        Some(self.now?.duration_since(received?).unwrap_or_default())
    }

    /// Stores a record that takes something away, on a full place as well.
    pub(super) fn put_record(&mut self, name: &storage::ObjectName, bytes: &[u8]) -> RepoResult<()> {
        reserve::put(self.reader.repo(), name, bytes, PutMode::CreateNew)
    }

    /// A session that moves what is needed.
    pub(super) fn writer(&mut self) -> Writer {
        let seed = Seed::new(self.seed.draw());
        let mut options = self.options.writer;
        // A disk of ours takes one pack at a time as fast as two, and each that waits is held in memory.
        if self.repo().store().capabilities().local {
            options.upload_workers.0 = options.upload_workers.0.min(1);
        }
        Writer::start(self.reader.clone(), &self.listing, seed, self.options.time, options)
    }
}

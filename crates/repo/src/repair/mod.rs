//! Making whole again what can be made whole, and marking what cannot.
//!
//! In this order, because each step needs what the one before made readable: small objects from their parity
//! or their second copy; packs in place, from their parity or from the same pack of another repository of the
//! family, where a segment was lost also those that none lists; blobs that only broken packs hold, into packs with new names; lost blobs from the other repository
//! or from an unchanged source file; segments for packs that none lists; marks.
//!
//! It runs beside backups and prunes, because it only adds objects and puts the very bytes again that an
//! object was written with. It never condemns, never deletes what it cannot parse (a torn segment is moved out of
//! the way once everything is in others, a torn list or tomb at once), and leaves alone what is too new. Nothing counts
//! as damaged before the same wrong bytes arrived several times, and nothing that can still be mended is overwritten before
//! its right bytes stand under another name. A step that the place refuses is left undone, and said.

mod blobs;
mod marks;
mod packs;
mod segments;
mod small;
mod spare;

use crate::check::walk::{Walked, WouldBe, walk};
use crate::check::{BrokenPacks, Finding, ReadShare, lost_blobs};
use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::names;
use crate::open::Repo;
use crate::reader::Reader;
use crate::seed::Seed;
use crate::snapshots::SnapshotList;
use crate::workers::Workers;
use crate::writer::WriterOptions;
use format::id::{BlobId, BlobKind, PackId};
use format::kind::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::{ErrorKind, ObjectName};

/// How to repair.
pub struct RepairOptions<'a> {
    /// Change nothing; say what would be done.
    pub dry_run: bool,
    /// Which packs to read. Missing packs and packs marked before are looked after in any case.
    pub read: ReadShare,
    /// Threads that read and decode packs.
    pub workers: Workers,
    /// Decides which of equally old packs come first.
    pub sample_seed: u64,
    /// Now; shown in marks.
    pub now: Timestamp,
    /// Another repository of the family.
    pub sibling: Option<&'a Reader>,
    /// Files that may hold what is lost.
    pub source: Option<&'a mut dyn SourceFiles>,
    /// How new packs are written.
    pub writer: WriterOptions,
    /// Called with bytes read and bytes to read.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

/// Where lost contents are looked for outside of repositories.
pub trait SourceFiles {
    /// Gives out every piece of a file whose id is wanted. Ids decide: what has the right id is right.
    fn find(
        &mut self,
        repo: &Repo,
        wanted: &Wanted,
        give: &mut dyn FnMut(&BlobId, &[u8]) -> RepoResult<()>,
    ) -> RepoResult<()>;
}

/// Lost contents of files.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Their ids.
    pub ids: BTreeSet<BlobId>,
    /// Whether some are of files that are cut into fixed chunks.
    pub has_fixed_chunks: bool,
    /// Where they were when they were saved.
    pub files: Vec<WantedFile>,
}

/// A file that held lost contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedFile {
    /// Its path.
    pub path: Vec<u8>,
    /// Offset, length and id of each lost piece.
    pub pieces: Vec<(u64, u32, BlobId)>,
}

/// What was done about an object or a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Its own parity gave it back the bytes it was written with.
    Parity,
    /// Its second copy was put in its place.
    OtherCopy,
    /// The same object of another repository was put in its place.
    Sibling,
    /// It got an index segment.
    Indexed,
    /// It was moved out of the way: it cannot be read, and nothing needs it.
    SetAside,
    /// It was marked as damaged.
    Marked,
    /// Its mark was taken away.
    Unmarked,
    /// Both copies were lost, and it was made anew ([`crate::rebuild`]).
    Rebuilt,
}

/// Something that was repaired, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The object.
    pub what: String,
    /// What was done.
    pub how: How,
}

/// What a repair did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// Snapshots looked at.
    pub snapshots: usize,
    /// Packs read.
    pub packs_read: usize,
    /// Bytes read of packs.
    pub bytes_read: u64,
    /// Objects that were repaired.
    pub actions: Vec<Action>,
    /// Blobs taken out of broken packs into new ones.
    pub moved_blobs: u64,
    /// Lost blobs that came from the other repository.
    pub blobs_from_sibling: u64,
    /// Lost blobs that came from source files.
    pub blobs_from_source: u64,
    /// What could not be repaired, with what it hurts.
    pub left: Vec<Finding>,
    /// Objects of a newer version, which were not touched.
    pub too_new: Vec<String>,
}

/// One repair.
struct Run<'r, 'o> {
    reader: &'r Arc<Reader>,
    options: &'r mut RepairOptions<'o>,
    seed: Seed,
    report: RepairReport,
    listing: PackListing,
    /// Packs that cannot be relied on.
    broken: BrokenPacks,
    /// Their kinds.
    broken_kinds: BTreeMap<PackId, BlobKind>,
    /// Packs that were read in this run and are whole now.
    whole: BTreeSet<PackId>,
    /// Packs that no segment lists, that cannot be mended, and of which no readable blob is needed.
    unlisted_broken: BTreeMap<ObjectName, String>,
    /// What a dry run would have put where it can be read.
    would_be: WouldBe,
    /// Segments that cannot be read, with why.
    bad_segments: Vec<(ObjectName, String)>,
}

/// Repairs a repository.
pub fn repair(reader: &Arc<Reader>, options: &mut RepairOptions<'_>, seed: Seed) -> RepoResult<RepairReport> {
    let mut run = Run {
        reader,
        options,
        seed,
        report: RepairReport::default(),
        listing: PackListing::default(),
        broken: BrokenPacks::new(),
        broken_kinds: BTreeMap::new(),
        whole: BTreeSet::new(),
        unlisted_broken: BTreeMap::new(),
        would_be: WouldBe::default(),
        bad_segments: Vec::new(),
    };
    run.repair_small()?;
    let mut list = run.look()?;
    run.repair_packs()?;
    let mut walked = run.walk(&mut list)?;
    if run.repair_unlisted(&walked)? {
        walked = run.walk(&mut list)?;
    }
    if run.heal(&list, &walked)? {
        run.see_again()?;
        walked = run.walk(&mut list)?;
    }
    run.repair_met()?;
    run.repair_index(&walked)?;
    run.report.snapshots = list.snapshots.len();
    run.leave_lost(&list, &walked);
    run.put_marks(&list, &walked)?;
    if !run.options.dry_run {
        run.drop_spares()?;
        reader.repo().sync()?;
    }
    Ok(run.report)
}

impl Run<'_, '_> {
    fn repo(&self) -> &Arc<Repo> {
        self.reader.repo()
    }

    /// Snapshots first, then segments, then packs: what a snapshot needs was stored before it.
    fn look(&mut self) -> RepoResult<SnapshotList> {
        let list = SnapshotList::read(self.repo())?;
        self.see_again()?;
        Ok(list)
    }

    fn see_again(&mut self) -> RepoResult<()> {
        let reader = self.reader;
        reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
        self.listing = PackListing::read(reader.repo())?;
        let listing = &self.listing;
        reader.with_index_write(|index| index.see_packs(listing));
        reader.adopt_unknown(listing);
        Ok(())
    }

    fn walk(&self, list: &mut SnapshotList) -> RepoResult<Walked> {
        walk(self.reader, self.options.sibling, &self.listing, &self.broken, &self.would_be, list)
    }

    /// Names broken packs as long as something is lost with them, and what is lost.
    fn leave_lost(&mut self, list: &SnapshotList, walked: &Walked) {
        if !(walked.lost.is_empty() && walked.shaky.is_empty()) {
            let packs = self.broken.iter().map(|(id, why)| (names::pack(self.broken_kinds[id], id), why));
            let packs: Vec<Finding> = packs.map(|(name, why)| Finding::of(name, why)).collect();
            self.report.left.extend(packs);
            let unlisted = self.unlisted_broken.iter().map(|(name, why)| Finding::of(name, why));
            self.report.left.extend(unlisted);
        }
        self.report.left.extend(lost_blobs(self.reader, list, walked));
    }

    fn did(&mut self, what: impl ToString, how: How) {
        self.report.actions.push(Action { what: what.to_string(), how });
    }

    fn leave(&mut self, what: impl ToString, why: impl ToString) {
        self.report.left.push(Finding::of(what, why));
    }

    /// Notes what came of a write: what a place refuses is left as it is.
    fn settle(&mut self, what: &ObjectName, how: How, written: RepoResult<()>) -> RepoResult<bool> {
        match written {
            Ok(()) => {
                self.did(what, how);
                Ok(true)
            }
            Err(e) if is_refusal(&e) => {
                self.leave(what, "is damaged, and the place refuses to let it be replaced");
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

fn is_refusal(e: &RepoError) -> bool {
    e.store_kind() == Some(ErrorKind::Denied)
}

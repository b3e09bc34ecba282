//! Bringing a snapshot, or part of it, back onto a machine.
//!
//! Promises: nothing outside the target is touched, whatever the snapshot says; memory does not grow with
//! the number of files; a file is either restored, or named. Running it again continues where it ended,
//! because what is right already is not written. Knows no terminal and no clock.

mod attributes;
mod blocks;
mod compare;
mod delete;
mod execute;
mod fetch;
mod files;
mod large;
mod links;
mod plan;
mod ranges;
mod tell;
mod thaw;
mod window;

use crate::memory::MemoryBudget;
use crate::monitor::{Monitor, Phase};
use attributes::{LateFlags, LinkMade};
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::{Class, Owner, Xattrs};
use host::{Existing, Rules, Target, TargetOptions};
use repo::erasures::Erased;
use repo::reader::Reader;
use repo::workers::Workers;
use repo::{RepoError, RepoResult};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use tell::Teller;
pub use thaw::packs_needed;

pub use delete::LeftOut;
pub use ranges::KeyRanges;

/// When an existing file may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Always; only what differs is written.
    Always,
    /// Only when length or modification time differ.
    IfChanged,
    /// Only when the snapshot's is newer.
    IfNewer,
    /// Never.
    Never,
}

/// What to restore, and how.
#[derive(Clone)]
pub struct RestoreRequest<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The path inside the snapshot (components, volume first) whose *contents* go into the target; empty
    /// for everything, with absolute paths recreated below the target.
    pub path: Vec<Vec<u8>>,
    /// The folder to restore into.
    pub target: PathBuf,
    /// Only paths these rules do not exclude.
    pub rules: Arc<Rules>,
    /// When an existing file may be replaced.
    pub overwrite: Overwrite,
    /// Remove what is in restored folders but not in the snapshot.
    pub delete: bool,
    /// What of it stays, because the backup left it out.
    pub kept: Option<Arc<LeftOut>>,
    /// Tell what would be done; write nothing.
    pub dry_run: bool,
    /// Read every restored file back and compare it with the snapshot.
    pub verify: bool,
    /// Make everything durable before saying done.
    pub sync: bool,
    /// Restore owners by number instead of by name.
    pub numeric_ids: bool,
    /// Threads that decode and write.
    pub workers: Workers,
    /// What the run may hold.
    pub memory: MemoryBudget,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Files written, wholly or in part.
    pub files_restored: u64,
    /// Files that were right already.
    pub files_unchanged: u64,
    /// Files left alone because of the overwrite rule.
    pub files_skipped: u64,
    /// Folders, links, devices, pipes and sockets made or given their attributes.
    pub others_restored: u64,
    /// Paths removed from the target.
    pub deleted: u64,
    /// Paths that stay although the snapshot does not have them: see [`RestoreRequest::kept`].
    pub kept: u64,
    /// Bytes of the selected files.
    pub bytes_selected: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes fetched from the repository.
    pub bytes_fetched: u64,
    /// Files read back and found equal.
    pub files_verified: u64,
    /// Paths that could not be restored completely; each was told to the monitor.
    pub problems: u64,
    /// Of these, paths whose contents are damaged or missing in the repository.
    pub damaged: u64,
}

/// Requests in flight to a place that is not local; each holds some 4 MiB.
const REQUESTS_MAX: usize = 8;

/// What the threads of a restore share.
struct Context<'a> {
    reader: &'a Reader,
    request: &'a RestoreRequest<'a>,
    /// Parts of the tree that are looked at; all of it when absent.
    ranges: Option<&'a KeyRanges>,
    /// Paths that were erased from history and do not come back.
    erased: Erased,
    /// `None` in a dry run whose target does not exist.
    target: Option<Target>,
    tell: Teller<'a>,
    /// The first names of inodes with several.
    links: Mutex<HashMap<[u8; 8], Arc<LinkMade>>>,
    late_flags: Mutex<Vec<LateFlags>>,
    open_large: AtomicUsize,
    /// Blocks are read from files of this machine.
    local: bool,
    parallel_requests: usize,
}

impl<'a> Context<'a> {
    /// Opens the target, and reads what must not come back.
    fn open(
        reader: &'a Reader,
        request: &'a RestoreRequest<'a>,
        ranges: Option<&'a KeyRanges>,
        tell: Teller<'a>,
    ) -> RepoResult<Self> {
        let capabilities = reader.repo().store().capabilities();
        Ok(Context {
            reader,
            request,
            ranges,
            erased: Erased::of(reader.repo(), request.snapshot)?,
            target: open_target(request)?,
            tell,
            links: Mutex::default(),
            late_flags: Mutex::default(),
            open_large: AtomicUsize::new(0),
            local: capabilities.local,
            parallel_requests: request.memory.requests(capabilities.parallel_requests.min(REQUESTS_MAX)),
        })
    }
}

impl Context<'_> {
    fn target(&self) -> &Target {
        self.target.as_ref().expect("only a dry run has no target, and it asks for none")
    }

    /// Number of components from `/` to the selected folder.
    fn selected_depth(&self) -> usize {
        self.request.path.iter().filter(|name| ***name != *b"/").count()
    }

    /// Whether rules leave out a path, given from `/`; `None` if none speaks about it. Patterns with a slash
    /// count from the selected folder, too.
    fn judge(&self, path: &[&[u8]], is_directory: bool) -> Option<bool> {
        if self.erased.covers(path) {
            return Some(true);
        }
        let rules = &self.request.rules;
        let from_root = rules.judge_saved(path, is_directory);
        match self.selected_depth() {
            skip if skip > 0 && skip < path.len() => {
                rules.judge_saved(&path[skip..], is_directory).or(from_root)
            }
            _ => from_root,
        }
    }

    /// Whether any path at all may be left out.
    fn judges_anything(&self) -> bool {
        !self.erased.is_empty() || self.request.rules.judge_anything_saved()
    }

    /// What a folder gets about which the snapshot says nothing.
    fn private_folder(&self) -> Arc<Class> {
        Arc::new(Class {
            kind: Kind::Directory,
            mode: 0o700,
            owner: Owner::default(),
            flags: 0,
            project: 0,
            mount: 0,
            xattrs: Xattrs::None,
        })
    }
}

/// Restores. Selecting nothing is an error.
///
/// Files that cannot be restored are told to the monitor and counted; an error means that the restore ended
/// early: the place of the repository is gone, the target is full, or the monitor wanted to stop.
pub fn restore(
    reader: &Arc<Reader>,
    request: &RestoreRequest<'_>,
    monitor: &dyn Monitor,
) -> RepoResult<RestoreOutcome> {
    restore_parts(reader, request, None, monitor)
}

/// Like [`restore`], but looks only at these parts of the tree. Folders that lie in none of them are made
/// where something below them is restored.
pub fn restore_ranges(
    reader: &Arc<Reader>,
    request: &RestoreRequest<'_>,
    ranges: &KeyRanges,
    monitor: &dyn Monitor,
) -> RepoResult<RestoreOutcome> {
    restore_parts(reader, request, Some(ranges), monitor)
}

fn restore_parts(
    reader: &Arc<Reader>,
    request: &RestoreRequest<'_>,
    ranges: Option<&KeyRanges>,
    monitor: &dyn Monitor,
) -> RepoResult<RestoreOutcome> {
    let empty = delete::is_empty_folder(&request.target);
    let made_target = !request.target.exists();
    let (files, bytes) = if ranges.is_some() { (0, 0) } else { expected(request) };
    let ctx = Context::open(reader, request, ranges, Teller::new(monitor, files, bytes))?;
    ctx.tell.progress(Phase::Prepare, Vec::new);
    let selected = run(&ctx, empty);
    if matches!(selected, Ok(0) | Err(RepoError::NoPath(_))) && made_target && !request.dry_run {
        // Nothing was selected: nothing is left behind either.
        std::fs::remove_dir(&request.target).ok();
    }
    if selected? == 0 {
        let outcome = ctx.tell.sums.outcome();
        if outcome.damaged > 0 {
            // The part of the tree that cannot be read may hold all that was asked for; it was told.
            return Ok(outcome);
        }
        if !ctx.erased.is_empty() {
            return Err(RepoError::NothingSelected("what was asked for was erased from history"));
        }
        return Err(RepoError::NothingSelected("the rules leave out everything"));
    }
    Ok(ctx.tell.sums.outcome())
}

/// Executes the plan and what comes last of all. Returns how many entries were selected.
fn run(ctx: &Context<'_>, empty: bool) -> RepoResult<u64> {
    let top = ctx.target.as_ref().map(|target| target.top().clone());
    let mut planner = plan::Planner::start(ctx, top, empty)?;
    let executed = execute::execute(ctx, &mut planner);
    if ctx.target.is_some() && !ctx.request.dry_run {
        attributes::set_late_flags(ctx);
        attributes::tell_owners_skipped(ctx);
    }
    ctx.tell.tell_rest();
    ctx.tell.take_fatal()?;
    executed?;
    if ctx.request.sync && !ctx.request.dry_run {
        ctx.tell.progress(Phase::Publish, Vec::new);
        ctx.target().sync().map_err(|e| local("make durable", ctx.request, &e))?;
    }
    ctx.tell.progress(Phase::Work, Vec::new);
    Ok(planner.selected)
}

fn local(during: &str, request: &RestoreRequest<'_>, error: &io::Error) -> RepoError {
    RepoError::Local(format!("cannot {during} \"{}\": {error}", request.target.display()))
}

fn open_target(request: &RestoreRequest<'_>) -> RepoResult<Option<Target>> {
    let existing = match (request.overwrite, request.delete) {
        (Overwrite::Never, _) => Existing::Keep,
        (_, true) => Existing::ReplaceAll,
        (_, false) => Existing::ReplaceFiles,
    };
    let options = TargetOptions { existing, numeric_ids: request.numeric_ids, ..TargetOptions::default() };
    match Target::open(&request.target, !request.dry_run, options) {
        Ok(target) => Ok(Some(target)),
        Err(e) if request.dry_run && e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(local("open", request, &e)),
    }
}

/// Files and bytes of a whole snapshot; of a part, nobody knows before.
fn expected(request: &RestoreRequest<'_>) -> (u64, u64) {
    if !request.path.is_empty() || request.rules.judge_anything_saved() {
        return (0, 0);
    }
    let stats = &request.snapshot.stats;
    (stats.files_new + stats.files_changed + stats.files_unmodified, stats.source_bytes)
}

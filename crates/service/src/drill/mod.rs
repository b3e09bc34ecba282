//! Drills: test restores whose evidence is kept.
//!
//! A drill restores a part of a snapshot into a scratch folder by the same code that brings everything back,
//! then reads back what was written: every byte is hashed again here and compared with the ids of the snapshot,
//! every attribute with what was recorded, and with the live file where that has not changed since. Which part
//! is the turn of the drill: [`choose`] cuts a snapshot into parts such that a cycle of drills covers all of it.
//! What was found is [`Evidence`]: signed, chained and stored in the repository.
//!
//! A sample is made of whole leaves of the tree, whose files lie together in a few blocks; so a hundredth of the
//! files costs about a hundredth of the reading.

pub mod choose;
mod compare;
pub mod database;
pub mod evidence;
mod judge;
pub mod proof;
pub mod report;

pub use choose::{Age, Part, Source, SourceKey, of_name, sources};
pub use evidence::{Asserted, Drilled, Evidence, LiveCounts, ResultWord, evidence_of};

pub use judge::command;

use crate::failure::{Failure, Outcome, local};
use compare::Compare;
use engine::{KeyRanges, MemoryBudget, Monitor, Note, Overwrite, RestoreRequest, Severity, restore_ranges};
use format::snapshot::Snapshot;
use format::tree::KeyPath;
use host::Rules;
use proof::Leaves;
use repo::browse::lookup;
use repo::leaf_ranges::leaf_ranges;
use repo::reader::Reader;
use repo::workers::Workers;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Problems that are named one by one.
pub const PROBLEMS_NAMED_MAX: usize = 50;

/// What is to be restored, and with what it is compared.
pub struct DrillRequest<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// Which part of it.
    pub part: Part,
    /// Paths (as tree keys) that come back in every drill.
    pub critical: Vec<Vec<u8>>,
    /// A folder of its own, not there yet; removed again unless it is kept.
    pub scratch: PathBuf,
    /// Whether contents are hashed and compared with live files; else only names, sizes, times and the like.
    pub contents: bool,
    /// Whether the snapshot was made on this machine, so that live files can be compared.
    pub is_of_this_machine: bool,
    /// Leave the scratch folder.
    pub keep: bool,
    /// Threads that restore.
    pub workers: Workers,
    /// Memory for speed.
    pub memory: MemoryBudget,
    /// Asks more of what was restored, in this folder.
    pub judge: &'a dyn Fn(&Path) -> Vec<Asserted>,
    /// Time since some moment; measures the restore.
    pub clock: &'a dyn Fn() -> Duration,
}

/// What was found wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The path, as text.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
    /// Stored data is missing or changed.
    pub damage: bool,
}

/// What a drill found.
#[derive(Clone, Debug, Default)]
pub struct DrillOutcome {
    /// Files that came back.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths of any kind that were looked at.
    pub entries: u64,
    /// Bytes whose hashes were computed again.
    pub bytes_hashed: u64,
    /// Attributes compared.
    pub attributes: u64,
    /// What became of live files.
    pub live: LiveCounts,
    /// Entries and bytes of the whole snapshot.
    pub whole: (u64, u64),
    /// The leaves of the tree whose files came back; none where contents were not compared.
    pub leaves: Leaves,
    /// What else was asked of it.
    pub asserts: Vec<Asserted>,
    /// What is wrong: the first ones.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problems_count: u64,
    /// Of these, damage.
    pub damage_count: u64,
    /// How long the restore took.
    pub restore: Duration,
    /// How long comparing took.
    pub comparing: Duration,
    /// Where it was restored to, if that was kept.
    pub kept: Option<PathBuf>,
}

impl DrillOutcome {
    fn tell(&mut self, path: &[u8], what: impl Into<String>, damage: bool) {
        self.problems_count += 1;
        self.damage_count += u64::from(damage);
        if self.problems.len() < PROBLEMS_NAMED_MAX {
            self.problems.push(Problem {
                path: String::from_utf8_lossy(path).into_owned(),
                what: what.into(),
                damage,
            });
        }
    }

    /// How long a restore of everything would take, by what this one took: each file counts like 64 KiB more.
    pub fn extrapolated(&self) -> Duration {
        let weight = |files: u64, bytes: u64| files as f64 * choose::FILE_WEIGHT as f64 + bytes as f64;
        let done = weight(self.entries, self.bytes);
        let all = weight(self.whole.0, self.whole.1);
        if done == 0.0 { Duration::ZERO } else { self.restore.mul_f64((all / done).max(1.0)) }
    }
}

/// Takes what the restore tells; passes progress on.
struct Listener<'m> {
    outer: &'m dyn Monitor,
    damaged: Mutex<Vec<(Vec<u8>, String)>>,
}

impl Monitor for Listener<'_> {
    fn progress(&self, progress: &engine::Progress) {
        self.outer.progress(progress);
    }

    fn note(&self, note: &Note) {
        if note.severity == Severity::Damage {
            let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
            damaged.push((note.item.clone(), format!("cannot {}: {}", note.during, note.text)));
        }
    }

    fn cancelled(&self) -> bool {
        self.outer.cancelled()
    }
}

/// Restores and compares. An error means that the drill could not be held, not that it failed.
pub fn run(reader: &Arc<Reader>, request: &DrillRequest<'_>, monitor: &dyn Monitor) -> Outcome<DrillOutcome> {
    let mut outcome = DrillOutcome::default();
    let leaves = match leaf_ranges(reader, request.snapshot.root) {
        Ok(leaves) => leaves,
        Err(e) if e.is_damage() => {
            outcome.tell(b"/", format!("the tree cannot be read: {}", repo::reader::chain(&e)), true);
            return Ok(outcome);
        }
        Err(e) => return Err(e.into()),
    };
    outcome.whole = (leaves.iter().map(|l| l.entries).sum(), leaves.iter().map(|l| l.file_bytes).sum());
    for key in &request.critical {
        match lookup(reader, request.snapshot.root, key) {
            Ok(Some(_)) => {}
            Ok(None) => {
                let path = KeyPath::parse(key).map(|path| path.display_bytes()).unwrap_or_default();
                outcome.tell(&path, "it is critical, and not in this snapshot", false);
            }
            Err(e) if e.is_damage() => {} // told by what does not come back
            Err(e) => return Err(e.into()),
        }
    }
    let ranges = choose::ranges(&leaves, request.part, &request.critical);
    if request.contents {
        outcome.leaves = choose::leaves_of(&leaves, request.part).collect();
    }
    make_scratch(&request.scratch)?;
    let done = restore_and_compare(reader, request, &ranges, monitor, &mut outcome);
    if request.keep {
        outcome.kept = Some(request.scratch.clone());
    } else {
        remove_scratch(&request.scratch)?;
    }
    done.map(|()| outcome)
}

fn restore_and_compare(
    reader: &Arc<Reader>,
    request: &DrillRequest<'_>,
    ranges: &KeyRanges,
    monitor: &dyn Monitor,
    outcome: &mut DrillOutcome,
) -> Outcome<()> {
    let target = request.scratch.join("restored");
    let restoring = RestoreRequest {
        snapshot: request.snapshot,
        path: Vec::new(),
        target: target.clone(),
        rules: Arc::new(Rules::default()),
        overwrite: Overwrite::Always,
        delete: false,
        kept: None,
        dry_run: false,
        verify: false,
        sync: false,
        numeric_ids: true,
        workers: request.workers,
        memory: request.memory,
    };
    let listener = Listener { outer: monitor, damaged: Mutex::default() };
    let start = (request.clock)();
    let restored = restore_ranges(reader, &restoring, ranges, &listener);
    outcome.restore = (request.clock)().saturating_sub(start);
    for (path, what) in listener.damaged.into_inner().unwrap_or_else(PoisonError::into_inner) {
        outcome.tell(&path, what, true);
    }
    match restored {
        Ok(_) => {}
        Err(e) if e.is_damage() => outcome.tell(b"/", repo::reader::chain(&e), true),
        // A part of the tree that holds nothing: there is nothing to prove.
        Err(repo::RepoError::NoPath(_)) => return Ok(()),
        Err(e) => return Err(Failure::from(e).during("cannot restore for the drill")),
    }
    if monitor.cancelled() {
        return Ok(());
    }
    let start = (request.clock)();
    Compare::new(reader, request, &target)?.all(ranges, outcome)?;
    outcome.comparing = (request.clock)().saturating_sub(start);
    outcome.asserts = (request.judge)(&target);
    Ok(())
}

const SCRATCH: &str = "drill-";

/// The name of a scratch folder; it tells which process works there.
pub fn scratch_name(process: u32, random: [u8; 4]) -> String {
    format!("{SCRATCH}{process}-{}", format::id::hex(&random))
}

/// Removes what drills left behind that were killed: it is what was restored, in the clear.
pub fn remove_leftovers(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.split_once('-'));
        let Some((process, _)) = process.filter(|(id, _)| id.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            // What cannot be removed stays, and is tried again by the next drill.
            remove_scratch(&entry.path()).ok();
        }
    }
}

fn make_scratch(folder: &Path) -> Outcome<()> {
    let failed = |e| local(format!("cannot make {}", folder.display()), e);
    if folder.exists() {
        return Err(Failure::usage(format!("{} is there already", folder.display())));
    }
    crate::durable::create_private(folder).map_err(failed)
}

/// Removes the scratch folder, also folders nobody may write to. What has flags against removal needs root.
pub fn remove_scratch(folder: &Path) -> Outcome<()> {
    let failed = |e| local(format!("cannot remove {}", folder.display()), e);
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            host::remove_all(folder).map_err(failed)?;
            Ok(())
        }
    }
}

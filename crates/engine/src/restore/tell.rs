//! What a restore tells while it runs, from all its threads: counters, notes, and whether to stop.
//!
//! The monitor hears from one thread at a time. Like problems are told a limited number of times, then
//! counted; none is lost from the sums.

use super::RestoreOutcome;
use crate::monitor::{Action, Monitor, Note, Phase, Progress, Severity};
use repo::reader::chain;
use repo::{RepoError, RepoResult};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Notes of one kind that are told singly.
const LIKE_NOTES_MAX: u64 = 200;

/// Locks, whatever became of the thread that held it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sums of [`RestoreOutcome`] while threads add to them.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) files_restored: AtomicU64,
    pub(super) files_unchanged: AtomicU64,
    pub(super) files_skipped: AtomicU64,
    pub(super) others_restored: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) kept: AtomicU64,
    pub(super) bytes_selected: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) bytes_fetched: AtomicU64,
    pub(super) files_verified: AtomicU64,
    pub(super) problems: AtomicU64,
    pub(super) damaged: AtomicU64,
    /// Bytes of files that were dealt with.
    pub(super) bytes_done: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

impl Counters {
    pub(super) fn outcome(&self) -> RestoreOutcome {
        RestoreOutcome {
            files_restored: self.files_restored.load(Relaxed),
            files_unchanged: self.files_unchanged.load(Relaxed),
            files_skipped: self.files_skipped.load(Relaxed),
            others_restored: self.others_restored.load(Relaxed),
            deleted: self.deleted.load(Relaxed),
            kept: self.kept.load(Relaxed),
            bytes_selected: self.bytes_selected.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
            bytes_fetched: self.bytes_fetched.load(Relaxed),
            files_verified: self.files_verified.load(Relaxed),
            problems: self.problems.load(Relaxed),
            damaged: self.damaged.load(Relaxed),
        }
    }
}

/// What only one thread at a time may touch.
struct Spoken {
    like: HashMap<(&'static str, i32), u64>,
}

/// Counts, names and reports.
pub(super) struct Teller<'a> {
    monitor: &'a dyn Monitor,
    pub(super) sums: Counters,
    totals: (u64, u64),
    wants_items: bool,
    spoken: Mutex<Spoken>,
    stopped: AtomicBool,
    fatal: Mutex<Option<RepoError>>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(monitor: &'a dyn Monitor, files_total: u64, bytes_total: u64) -> Self {
        Teller {
            monitor,
            sums: Counters::default(),
            totals: (files_total, bytes_total),
            wants_items: monitor.wants_items(),
            spoken: Mutex::new(Spoken { like: HashMap::new() }),
            stopped: AtomicBool::new(false),
            fatal: Mutex::new(None),
        }
    }

    /// Tells the counters, and finds out whether the user wants to stop. Returns whether to go on.
    pub(super) fn progress(&self, phase: Phase, current: impl FnOnce() -> Vec<u8>) -> bool {
        if self.stopped() {
            return false;
        }
        let one_at_a_time = lock(&self.spoken);
        let sums = &self.sums;
        let done = [&sums.files_restored, &sums.files_unchanged, &sums.files_skipped];
        self.monitor.progress(&Progress {
            phase,
            files_done: done.iter().map(|n| n.load(Relaxed)).sum(),
            bytes_done: sums.bytes_done.load(Relaxed),
            files_total: self.totals.0,
            bytes_total: self.totals.1,
            bytes_stored: sums.bytes_fetched.load(Relaxed),
            problems: sums.problems.load(Relaxed),
            current: current(),
        });
        let cancelled = self.monitor.cancelled();
        drop(one_at_a_time);
        if cancelled {
            self.stop(RepoError::Local(crate::backup::CANCELLED.into()));
        }
        !cancelled
    }

    /// Finds out whether to go on, where there is nothing new to tell.
    pub(super) fn goes_on(&self) -> bool {
        if !self.stopped() {
            let _one_at_a_time = lock(&self.spoken);
            if self.monitor.cancelled() {
                self.stop(RepoError::Local(crate::backup::CANCELLED.into()));
            }
        }
        !self.stopped()
    }

    /// Whether everything is to end.
    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Ends everything with this error; the first one counts.
    pub(super) fn stop(&self, error: RepoError) {
        lock(&self.fatal).get_or_insert(error);
        self.stopped.store(true, Relaxed);
    }

    /// The error that ended everything.
    pub(super) fn take_fatal(&self) -> RepoResult<()> {
        lock(&self.fatal).take().map_or(Ok(()), Err)
    }

    /// Names what became of a path.
    pub(super) fn item(&self, action: Action, path: impl FnOnce() -> Vec<u8>, bytes: u64) {
        if self.wants_items {
            let _one_at_a_time = lock(&self.spoken);
            self.monitor.item(action, &path(), bytes);
        }
    }

    /// Worth knowing, changes nothing.
    pub(super) fn info(&self, item: Vec<u8>, during: &'static str, text: String) {
        self.note(Note { severity: Severity::Info, item, during, text, errno: 0 });
    }

    /// A path could not be restored completely.
    pub(super) fn problem(&self, item: Vec<u8>, during: &'static str, text: String, errno: i32) {
        add(&self.sums.problems, 1);
        self.note(Note { severity: Severity::Problem, item, during, text, errno });
    }

    /// More about a path whose problem was counted.
    pub(super) fn also(&self, item: Vec<u8>, during: &'static str, text: String, errno: i32) {
        self.note(Note { severity: Severity::Problem, item, during, text, errno });
    }

    /// The same for an error of the system. A full or read-only disk ends everything: every other path would
    /// meet it, too.
    pub(super) fn io_problem(&self, item: Vec<u8>, during: &'static str, error: &io::Error) {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) {
            let path = item.escape_ascii();
            let text = format!("cannot {during} \"{path}\": {error}");
            self.stop(match error.kind() {
                ReadOnlyFilesystem => RepoError::Local(text),
                _ => RepoError::LocalFull(text),
            });
        }
        self.problem(item, during, error.to_string(), error.raw_os_error().unwrap_or(0));
    }

    /// Contents of a path are damaged or missing in the repository.
    pub(super) fn damage(&self, item: Vec<u8>, during: &'static str, error: &RepoError) {
        add(&self.sums.problems, 1);
        add(&self.sums.damaged, 1);
        self.note(Note { severity: Severity::Damage, item, during, text: chain(error), errno: 0 });
    }

    fn note(&self, note: Note) {
        let mut spoken = lock(&self.spoken);
        // Damage is always named: which files are lost is what a user must know.
        if note.severity != Severity::Damage {
            let told = spoken.like.entry((note.during, note.errno)).or_insert(0);
            *told += 1;
            if *told > LIKE_NOTES_MAX {
                return;
            }
        }
        self.monitor.note(&note);
    }

    /// Tells how many notes were not told singly.
    pub(super) fn tell_rest(&self) {
        let spoken = lock(&self.spoken);
        let mut rest: Vec<_> = spoken.like.iter().filter(|(_, n)| **n > LIKE_NOTES_MAX).collect();
        rest.sort();
        for ((during, errno), told) in rest {
            let text = format!("the same of {} more paths", told - LIKE_NOTES_MAX);
            let severity = Severity::Problem;
            self.monitor.note(&Note { severity, item: Vec::new(), during, text, errno: *errno });
        }
    }
}

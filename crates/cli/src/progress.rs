//! What a running operation tells, brought to the user: a line that moves on a terminal, JSON lines for
//! programs, nothing in pipes. Problems are collected and told grouped by cause, with what helps.

use crate::counts::count;
use crate::display::{DisplayName, insert_path};
use crate::output::Output;
use crate::signals::Cancel;
use crate::sizes;
use crate::time::clock;
use engine::{Action, Monitor, Note, Phase, Progress, Severity};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Paths named for one cause, unless every one is wanted.
const NAMED_MAX: usize = 10;
/// How often a status line goes to a program.
const STATUS_EVERY: Duration = Duration::from_secs(1);
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Tells a user what an operation does.
pub(crate) struct Reporter {
    out: Output,
    cancel: Cancel,
    bar: Option<ProgressBar>,
    started: Instant,
    /// From how many `-v` on every path is named.
    names_from: u8,
    state: Mutex<State>,
}

struct State {
    told: Instant,
    problems: BTreeMap<(u8, &'static str, i32, String), Group>,
    worst: Option<Severity>,
}

/// Paths that failed for the same cause.
struct Group {
    count: u64,
    items: Vec<Vec<u8>>,
}

impl Reporter {
    pub(crate) fn new(out: &Output, cancel: &Cancel) -> Self {
        let bar = out.draws_progress.then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is well-formed");
            out.bars().add(ProgressBar::new_spinner().with_style(style))
        });
        let started = Instant::now();
        let state = State { told: started, problems: BTreeMap::new(), worst: None };
        Reporter {
            out: out.clone(),
            cancel: cancel.clone(),
            bar,
            started,
            names_from: 1,
            state: Mutex::new(state),
        }
    }

    /// Names every path from the first `-v`, or always for a dry run.
    pub(crate) fn naming_always(mut self, always: bool) -> Self {
        if always {
            self.names_from = 0;
        }
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it took so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes the moving line away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Ends the progress and names the problems. Returns the worst that was told.
    pub(crate) fn conclude(&self) -> Option<Severity> {
        self.finish();
        let mut state = self.state();
        let problems = std::mem::take(&mut state.problems);
        if !self.out.json {
            for ((_, during, errno, text), group) in &problems {
                self.tell_group(during, *errno, text, group);
            }
        }
        state.worst
    }

    fn tell_group(&self, during: &str, errno: i32, text: &str, group: &Group) {
        let paths = count(group.count, "path");
        let text = DisplayName(text.as_bytes());
        self.out.warn(format!("{paths}: cannot {during}: {text}"));
        for item in &group.items {
            self.out.message(format!("  {}", DisplayName(item)));
        }
        let unnamed = group.count - group.items.len() as u64;
        if unnamed > 0 {
            self.out.message(format!("  ... and {unnamed} more (all are named with -v)"));
        }
        if let Some(help) = help_for(errno) {
            self.out.message(format!("hint: {help}"));
        }
    }

    fn tell_status(&self, progress: &Progress) {
        let elapsed = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.set_message(status_line(progress, elapsed));
            bar.tick();
        } else {
            self.out.object(&status_object(progress, elapsed)).ok();
        }
    }
}

/// What helps against an error of the system.
fn help_for(errno: i32) -> Option<&'static str> {
    use rustix::io::Errno;
    // Other numbers are none that Linux gives.
    if !(1..4096).contains(&errno) {
        return None;
    }
    match Errno::from_raw_os_error(errno) {
        Errno::ACCESS | Errno::PERM => Some(
            "run it as root (sudo lifeboat ...), or give the program the capability: \
             sudo setcap cap_dac_read_search+ep /path/to/lifeboat",
        ),
        Errno::IO => Some("the disk could not be read there; look for its errors with: dmesg"),
        Errno::NOSPC | Errno::DQUOT => Some("free some space, then run the same command again"),
        Errno::MFILE | Errno::NFILE => Some("allow more open files: ulimit -n 4096"),
        _ => None,
    }
}

fn remaining(progress: &Progress, elapsed: Duration) -> Option<Duration> {
    let (done, total) = (progress.bytes_done, progress.bytes_total);
    if done == 0 || total <= done || elapsed < Duration::from_secs(2) {
        return None;
    }
    Some(Duration::from_secs_f64(elapsed.as_secs_f64() * (total - done) as f64 / done as f64))
}

fn percent(progress: &Progress) -> Option<f64> {
    let (done, total) = (progress.bytes_done, progress.bytes_total);
    (total > 0).then(|| (done as f64 / total as f64).min(1.0))
}

fn status_line(progress: &Progress, elapsed: Duration) -> String {
    let phase = match progress.phase {
        Phase::Prepare => "preparing",
        Phase::Work => "",
        Phase::Publish => "publishing",
        Phase::Verify => "verifying",
    };
    let mut parts = vec![format!("[{}]", clock(elapsed))];
    parts.extend(percent(progress).map(|p| format!("{:.0}%", p * 100.0)));
    parts.push(format!("{} {}", count(progress.files_done, "file"), sizes::shown(progress.bytes_done)));
    let rate = progress.bytes_done as f64 / elapsed.as_secs_f64().max(0.1);
    parts.push(format!("{}/s", sizes::shown(rate as u64)));
    parts.extend(remaining(progress, elapsed).map(|left| format!("ETA {}", clock(left))));
    if progress.problems > 0 {
        parts.push(count(progress.problems, "problem"));
    }
    if !phase.is_empty() {
        parts.push(phase.to_string());
    } else if !progress.current.is_empty() {
        parts.push(DisplayName(&progress.current).to_string());
    }
    parts.join("  ")
}

fn status_object(progress: &Progress, elapsed: Duration) -> Value {
    let mut object = json!({
        "message_type": "status",
        "seconds_elapsed": elapsed.as_secs(),
        "percent_done": percent(progress).unwrap_or(0.0),
        "total_files": progress.files_total,
        "files_done": progress.files_done,
        "total_bytes": progress.bytes_total,
        "bytes_done": progress.bytes_done,
        "bytes_stored": progress.bytes_stored,
        "error_count": progress.problems,
    });
    if let Some(left) = remaining(progress, elapsed) {
        object["seconds_remaining"] = left.as_secs().into();
    }
    if !progress.current.is_empty() {
        object["current_files"] = json!([String::from_utf8_lossy(&progress.current)]);
    }
    object
}

fn note_object(note: &Note) -> Value {
    let message_type = if note.severity == Severity::Info { "warning" } else { "error" };
    let mut object = Map::new();
    object.insert("message_type".into(), message_type.into());
    object.insert("error".into(), json!({"message": note.text}));
    object.insert("during".into(), note.during.into());
    insert_path(&mut object, "item", &note.item);
    if note.errno != 0 {
        object.insert("os_error".into(), note.errno.into());
    }
    if let Some(help) = help_for(note.errno) {
        object.insert("hint".into(), help.into());
    }
    if note.severity == Severity::Damage {
        object.insert("damage".into(), true.into());
    }
    object.into()
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::New => "new",
        Action::Modified => "modified",
        Action::Unchanged => "unchanged",
        Action::Deleted => "deleted",
        Action::Excluded => "excluded",
    }
}

impl Monitor for Reporter {
    fn progress(&self, progress: &Progress) {
        if self.bar.is_none() && (!self.out.json || self.out.quiet) {
            return;
        }
        let every = if self.bar.is_some() { DRAW_EVERY } else { STATUS_EVERY };
        let mut state = self.state();
        if state.told.elapsed() >= every {
            state.told = Instant::now();
            drop(state);
            self.tell_status(progress);
        }
    }

    fn note(&self, note: &Note) {
        if note.severity == Severity::Info && note.during == "walk" && self.out.verbose == 0 {
            return;
        }
        if self.out.json {
            self.out.event(&note_object(note));
        }
        let rank = |severity| match severity {
            Severity::Info => 0u8,
            Severity::Problem => 1,
            Severity::Damage => 2,
        };
        let mut state = self.state();
        if state.worst.is_none_or(|worst| rank(worst) < rank(note.severity)) {
            state.worst = Some(note.severity);
        }
        let key = (rank(note.severity), note.during, note.errno, note.text.clone());
        let group = state.problems.entry(key).or_insert(Group { count: 0, items: Vec::new() });
        group.count += 1;
        if group.items.len() < NAMED_MAX || self.out.verbose > 0 {
            group.items.push(note.item.clone());
        }
    }

    fn wants_items(&self) -> bool {
        self.out.verbose >= self.names_from && !self.out.quiet
    }

    fn item(&self, action: Action, path: &[u8], bytes: u64) {
        let is_quiet = matches!(action, Action::Unchanged | Action::Excluded);
        if is_quiet && self.out.verbose < 2 {
            return;
        }
        let told = if self.out.json {
            let mut object = Map::new();
            object.insert("message_type".into(), "verbose_status".into());
            object.insert("action".into(), action_word(action).into());
            insert_path(&mut object, "item", path);
            object.insert("data_size".into(), bytes.into());
            self.out.object(&object.into())
        } else {
            self.out.line(format!("{:<9}  {}", action_word(action), DisplayName(path)))
        };
        // A reader that went away is noticed when the result is printed.
        told.ok();
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_set()
    }
}

//! Everything a backup tells its monitor.

use super::pass::not_entered_text;
use crate::monitor::{Action, Monitor, Note, Phase, Progress, Severity};
use format::tree::KeyPath;
use host::{Directory, Extras, Fault, FaultKind, Kind, Listing};
use repo::RepoError;
use repo::reader::chain;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Counts, names and reports.
pub(super) struct Teller<'a> {
    monitor: &'a dyn Monitor,
    progress: Progress,
    /// Calls since the monitor last heard of the counters.
    quiet: u32,
    wants_items: bool,
}

/// Entries between two reports of the counters.
const QUIET_MAX: u32 = 64;

impl<'a> Teller<'a> {
    pub(super) fn new(monitor: &'a dyn Monitor, files_total: u64, bytes_total: u64) -> Self {
        let progress = Progress {
            phase: Phase::Prepare,
            files_done: 0,
            bytes_done: 0,
            files_total,
            bytes_total,
            bytes_stored: 0,
            problems: 0,
            current: Vec::new(),
        };
        Teller { wants_items: monitor.wants_items(), monitor, progress, quiet: 0 }
    }

    pub(super) fn wants_items(&self) -> bool {
        self.wants_items
    }

    pub(super) fn cancelled(&self) -> bool {
        self.monitor.cancelled()
    }

    pub(super) fn problems(&self) -> u64 {
        self.progress.problems
    }

    pub(super) fn phase(&self) -> Phase {
        self.progress.phase
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.progress.phase = phase;
        self.monitor.progress(&self.progress);
    }

    pub(super) fn stored(&mut self, bytes: u64) {
        self.progress.bytes_stored = bytes;
    }

    /// An entry was dealt with.
    pub(super) fn done(&mut self, action: Action, key: &[u8], bytes: u64) {
        self.progress.files_done += 1;
        self.progress.bytes_done += bytes;
        if self.wants_items {
            self.monitor.item(action, &path_of(key), bytes);
        }
        self.quiet += 1;
        if self.quiet >= QUIET_MAX {
            self.quiet = 0;
            self.progress.current = path_of(key);
            self.monitor.progress(&self.progress);
        }
    }

    /// A long file is being read. Returns whether to stop.
    pub(super) fn reading(&mut self, key: &[u8], _bytes: u64) -> bool {
        self.progress.current = path_of(key);
        self.monitor.progress(&self.progress);
        self.cancelled()
    }

    fn note(&mut self, severity: Severity, item: Vec<u8>, during: &'static str, text: String, errno: i32) {
        if severity != Severity::Info {
            self.progress.problems += 1;
        }
        self.monitor.note(&Note { severity, item, during, text, errno });
    }

    pub(super) fn unreadable(&mut self, key: &[u8], e: &io::Error) {
        self.note(Severity::Problem, path_of(key), "read", e.to_string(), e.raw_os_error().unwrap_or(0));
    }

    pub(super) fn changed_while_read(&mut self, key: &[u8]) {
        let text = "it changed while it was read; what was saved may mix two states".into();
        self.note(Severity::Problem, path_of(key), "read", text, 0);
    }

    pub(super) fn unread_extras(&mut self, key: &[u8], extras: &Extras, kind: Kind) {
        let is_told_later =
            |e: &io::Error| kind == Kind::Directory && e.kind() == io::ErrorKind::PermissionDenied;
        for part in &extras.unread {
            if is_told_later(&io::Error::from_raw_os_error(part.errno)) {
                continue;
            }
            let why = io::Error::from_raw_os_error(part.errno);
            self.note(
                Severity::Problem,
                path_of(key),
                "read attributes",
                format!("{}: {why}", part.part),
                part.errno,
            );
        }
    }

    pub(super) fn path_too_long(&mut self, dir: &Arc<Directory>, name: &[u8]) {
        let item = [&dir.path()[..], b"/", name].concat();
        self.note(Severity::Problem, item, "list", "its path is longer than a snapshot can hold".into(), 0);
    }

    pub(super) fn missing_source(&mut self, path: &Path, why: &str) {
        let item = path.as_os_str().as_encoded_bytes().to_vec();
        self.note(Severity::Problem, item, "open", why.to_string(), 2);
    }

    pub(super) fn told_by_source(&mut self, volume: &str, item: &str, text: &str) {
        let item = format!("{volume}/{item}").into_bytes();
        self.note(Severity::Info, item, "produce", text.to_string(), 0);
    }

    pub(super) fn damaged_parent(&mut self, e: &RepoError) {
        let text = format!("the parent snapshot cannot be read, everything is read again: {}", chain(e));
        self.note(Severity::Damage, b"parent".to_vec(), "compare", text, 0);
    }

    /// What a listing says beside its entries; of faults those that matter.
    pub(super) fn listing(&mut self, listing: &Listing, matters: &dyn Fn(&Fault) -> bool) {
        for fault in listing.faults.iter().filter(|fault| matters(fault)) {
            let mut item = listing.dir.path();
            if let Some(name) = &fault.name {
                item.push(b'/');
                item.extend_from_slice(name);
            }
            let during = if fault.kind == FaultKind::Vanished { "look at" } else { "list" };
            self.note(Severity::Problem, item, during, fault.text.clone(), fault.errno);
        }
        if let Some(why) = &listing.not_entered {
            self.note(Severity::Info, listing.dir.path(), "walk", not_entered_text(why), 0);
        }
        if self.wants_items {
            for excluded in &listing.excluded {
                let path = [&listing.dir.path()[..], b"/", listing.excluded_name(excluded)].concat();
                self.monitor.item(Action::Excluded, &path, 0);
            }
        }
    }
}

fn path_of(key: &[u8]) -> Vec<u8> {
    KeyPath::parse(key).map(|p| p.display_bytes()).unwrap_or_default()
}

//! One source into one repository: what the engine is asked, and how its answer is judged.

use super::sources::{self, Captured};
use super::{Runner, SOURCE_TAG, presence};
use crate::config::Job;
use crate::config::jobs::{CalendarPeriod, RunMode};
use crate::failure::{Exit, Failure, Outcome};
use crate::open::{Opened, Place};
use crate::writer_state::WriterState;
use engine::backup::{CANCELLED, FixedChunkPolicy, backup_to};
use engine::{BackupOutcome, BackupRequest, Monitor, Note, Progress};
use format::codec::Level;
use format::id::WriterId;
use format::keys::Capability;
use format::kind::Timestamp;
use format::snapshot::{Mode, Snapshot};
use repo::RepoError;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files read at the same time, at most.
const READERS_MAX: usize = 32;
/// Uploads finished at the same time where each costs a round trip.
const UPLOADS: usize = 4;

/// A repository of a job that is open.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) opened: Opened,
}

/// A snapshot that was made, and what speaks against it.
pub(super) struct Made {
    pub(super) outcome: BackupOutcome,
    /// Why it is a failure although it was stored.
    pub(super) suspicion: Option<String>,
}

impl Runner {
    /// Reads a source once and publishes a snapshot of it in all repositories of a family.
    /// `list` is what the first of them has.
    pub(super) fn back_up(
        &self,
        job: &Job,
        source: &str,
        targets: &[&Target],
        list: &SnapshotList,
    ) -> Outcome<Made> {
        let lead = targets[0];
        if targets.iter().any(|target| target.opened.repo.capability() != Capability::Owner) {
            return Err(Failure::new(Exit::Refused, "this key may not back up: it is not an owner's"));
        }
        let before = self.newest_of(list, source).cloned();
        let common = self.loaded.config.sources[source].common();
        let monitor = Timed::new(self.observer.monitor(), job.timeout.map(|timeout| timeout.0));
        let mut captured = sources::capture(&self.loaded.config, source, &self.opener, monitor.until)?;
        captured.look(common, before.as_ref())?;
        let frozen = captured.frozen.take();
        let mut request = self.request(job, source, lead, captured)?;
        self.choose_mode(job, source, list, &mut request);
        let state = self.state(&mut request, lead);
        let readers: Outcome<Vec<_>> = targets.iter().map(|target| target.opened.reader()).collect();
        let outcome = backup_to(&readers?, request, &monitor);
        sources::release(frozen, &self.opener);
        let outcome = outcome.map_err(|e| self.failure(e, &monitor))?;
        if let (Some(state), Some(snapshot)) = (&state, &outcome.snapshot) {
            let family = lead.opened.repo.identity().family;
            if let Err(e) = state.remember(&family, snapshot.sequence, &outcome.record_hash) {
                self.opener.person.warn(&format!("cannot remember the snapshot's number: {e}"));
            }
            for (target, _) in targets.iter().zip(&outcome.copies).filter(|(_, copy)| copy.is_there()) {
                self.opener.remember_head(&target.opened.repo, snapshot);
            }
        }
        let there = targets.iter().zip(&outcome.copies).filter(|(_, copy)| copy.is_there());
        let there: Vec<&Target> = there.map(|(target, _)| *target).collect();
        self.suspect(source, &there, list, before.as_ref(), &outcome);
        let suspicion = outcome.snapshot.as_ref().and_then(|snapshot| {
            let before = list.visible().filter(|s| self.is_of(s, source));
            presence::shrunk(snapshot, before, common)
        });
        Ok(Made { outcome, suspicion })
    }

    fn failure(&self, error: RepoError, monitor: &Timed) -> Failure {
        match error {
            _ if self.is_cancelled() => self.cancelled(),
            _ if monitor.is_over() => Failure::new(Exit::Failed, "it took longer than its timeout allows")
                .hint("what was stored so far stays and is used again by the next run"),
            RepoError::Local(why) if why == CANCELLED => self.cancelled(),
            other => other.into(),
        }
    }

    /// Whether a snapshot is one of this machine's of a source.
    pub(super) fn is_of(&self, snapshot: &Snapshot, source: &str) -> bool {
        let names = |tag: &String| tag.strip_prefix(SOURCE_TAG) == Some(source);
        snapshot.host == self.host && snapshot.tags.iter().any(names)
    }

    fn newest_of<'l>(&self, list: &'l SnapshotList, source: &str) -> Option<&'l Snapshot> {
        list.visible().rev().find(|snapshot| self.is_of(snapshot, source))
    }

    fn request(
        &self,
        job: &Job,
        source: &str,
        target: &Target,
        captured: Captured,
    ) -> Outcome<BackupRequest> {
        let common = self.loaded.config.sources[source].common();
        let mut tags = vec![format!("{SOURCE_TAG}{source}")];
        tags.extend(common.tags.iter().chain(&job.tags).cloned());
        let mut seed = (self.seeds)()?;
        let level = self.loaded.config.repositories[&target.name].compression.unwrap_or(3);
        Ok(BackupRequest {
            source: captured.source,
            rules: captured.rules,
            excludes: captured.excludes,
            walk: captured.walk,
            mode: Mode::Incremental,
            parent: None,
            base: None,
            host: self.host.clone(),
            user: self.opener.user.clone(),
            tags,
            description: common.description.clone().unwrap_or_default(),
            time: self.now(),
            clock: self.clock.clone(),
            writer: WriterId(seed.draw()),
            previous: None,
            seed,
            level: Level(level),
            read_workers: Workers((2 * self.processors.0).min(16)),
            read_workers_max: READERS_MAX,
            seal_workers: self.processors,
            upload_workers: Workers(UPLOADS),
            memory: self.memory,
            fixed_chunks: FixedChunkPolicy::default(),
            ignore_inode: captured.ignore_inode,
            dry_run: false,
            skip_if_unchanged: job.skip_if_unchanged,
            program: self.program.clone(),
        })
    }

    /// Who writes, and what it wrote last. Without it a new writer is born, which costs nothing but the chain.
    fn state(&self, request: &mut BackupRequest, target: &Target) -> Option<WriterState> {
        match WriterState::open(self.opener.folders.state.clone(), request.writer.0) {
            Ok(state) => {
                request.writer = state.writer;
                request.previous = state.previous(&target.opened.repo.identity().family);
                Some(state)
            }
            Err(e) => {
                self.opener.person.warn(&format!("cannot keep the state of this installation: {e}"));
                None
            }
        }
    }

    fn choose_mode(&self, job: &Job, source: &str, list: &SnapshotList, request: &mut BackupRequest) {
        let now = request.time;
        let made = |mode: RunMode, period: CalendarPeriod| {
            list.visible().any(|s| {
                let fits =
                    s.mode == Mode::Full || (mode == RunMode::Differential && s.mode == Mode::Differential);
                fits && self.is_of(s, source) && self.is_in_same(period, s.time, now)
            })
        };
        request.mode = match job.mode.mode(made) {
            RunMode::Full => Mode::Full,
            RunMode::Incremental => Mode::Incremental,
            RunMode::Differential => Mode::Differential,
        };
        let own = || list.visible().rev().filter(|s| self.is_of(s, source));
        // Before it had a name the source may have been backed up by its paths.
        let names = request.source.names();
        let by_paths = || list.visible().rev().filter(|s| s.host == self.host && s.sources == names);
        let fits = |s: &&Snapshot| request.mode != Mode::Differential || s.mode == Mode::Full;
        request.parent = own().find(fits).or_else(|| by_paths().find(fits)).cloned();
        if request.parent.is_none() {
            request.mode = Mode::Full;
        }
    }

    /// Whether two times are in the same period of the calendar.
    fn is_in_same(&self, period: CalendarPeriod, a: Timestamp, b: Timestamp) -> bool {
        let number = |time: Timestamp| {
            let date = crate::time::to_jiff(time)?.to_zoned(self.zone.clone()).date();
            let (year, month) = (i32::from(date.year()), i32::from(date.month()));
            Some(match period {
                CalendarPeriod::Daily => (year, i32::from(date.day_of_year())),
                CalendarPeriod::Weekly => {
                    let week = date.iso_week_date();
                    (i32::from(week.year()), i32::from(week.week()))
                }
                CalendarPeriod::Monthly => (year, month),
                CalendarPeriod::Quarterly => (year, (month - 1) / 3),
                CalendarPeriod::Yearly => (year, 0),
            })
        };
        number(a).is_some() && number(a) == number(b)
    }
}

/// A monitor that wants the run to end when its time is over.
struct Timed {
    inner: Arc<dyn Monitor>,
    until: Option<Instant>,
}

impl Timed {
    fn new(inner: Arc<dyn Monitor>, timeout: Option<Duration>) -> Self {
        Timed { inner, until: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

impl Monitor for Timed {
    fn progress(&self, progress: &Progress) {
        self.inner.progress(progress);
    }

    fn note(&self, note: &Note) {
        self.inner.note(note);
    }

    fn wants_items(&self) -> bool {
        self.inner.wants_items()
    }

    fn item(&self, action: engine::Action, path: &[u8], bytes: u64) {
        self.inner.item(action, path, bytes);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled() || self.is_over()
    }
}

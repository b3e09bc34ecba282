//! A job from its first hook to its last.

use super::request::{Made, Target};
use super::{Runner, Step, worse};
use crate::catalog::{NewRun, RunId, RunResult, SourceResult};
use crate::config::{Hook, HookEvent, Job, OnFailure};
use crate::counts::count;
use crate::display::shell_word;
use crate::failure::{Exit, Failure, Outcome};
use crate::hooks::{self, Ended};
use engine::backup::CopyState;
use repo::snapshots::SnapshotList;
use serde_json::{Value, json};
use std::time::Instant;

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Its time came.
    Schedule,
    /// Its time had passed.
    CatchUp,
    /// Somebody asked for it.
    Manual,
    /// A disk was plugged in.
    PluggedIn,
}

impl Trigger {
    /// As it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Schedule => "schedule",
            Trigger::CatchUp => "catch-up",
            Trigger::Manual => "manual",
            Trigger::PluggedIn => "plugged-in",
        }
    }
}

/// What became of a job.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// The run.
    pub run: RunId,
    /// The job.
    pub job: String,
    /// What became of each source in each repository.
    pub results: Vec<SourceResult>,
    /// How it ended as a whole.
    pub exit: Exit,
    /// What went wrong besides: hooks.
    pub errors: Vec<String>,
}

impl JobReport {
    /// How it ended, in a word.
    pub fn result(&self) -> RunResult {
        result_of(self.exit)
    }

    /// Everything that went wrong, in words. A disk that is away is nothing wrong where the run is done all the same.
    pub fn all_errors(&self) -> Vec<String> {
        let of_result = |r: &SourceResult| {
            let error = r.error.as_ref().filter(|_| counts_as_error(r, self.exit))?;
            Some(format!("{} into {}: {error}", r.source, r.repository))
        };
        self.errors.iter().cloned().chain(self.results.iter().filter_map(of_result)).collect()
    }
}

fn counts_as_error(result: &SourceResult, exit: Exit) -> bool {
    exit != Exit::Ok || result.result != RunResult::Skipped
}

/// How something ended, by its exit code.
pub(super) fn result_of(exit: Exit) -> RunResult {
    match exit {
        Exit::Ok => RunResult::Success,
        Exit::Partial => RunResult::Partial,
        Exit::Skipped => RunResult::Skipped,
        Exit::Interrupted | Exit::Terminated => RunResult::Cancelled,
        _ => RunResult::Failed,
    }
}

impl Runner {
    /// Runs a job.
    ///
    /// # Errors
    /// Only for what keeps a run from beginning at all: a job that does not exist. Everything else is in the
    /// report.
    pub fn run_job(&self, name: &str, trigger: Trigger) -> Outcome<JobReport> {
        let Some(job) = self.loaded.config.jobs.get(name) else {
            let known: Vec<&str> = self.loaded.config.jobs.keys().map(String::as_str).collect();
            return Err(Failure::usage(format!("there is no job {name:?}"))
                .hint(format!("the configuration has: {}", known.join(", "))));
        };
        let new = self.new_run(name, "backup", trigger)?;
        self.observer.began(&new);
        self.record_begin(&new);
        self.ping_start(name, &new.id);
        let mut run =
            JobRun { runner: self, job, new: &new, results: Vec::new(), errors: Vec::new(), exit: Exit::Ok };
        run.whole();
        let JobRun { results, errors, exit, .. } = run;
        let report = JobReport { run: new.id.clone(), job: name.to_string(), results, exit, errors };
        self.record_job(&report);
        self.ping_end(&report);
        self.observer.ended(&report);
        Ok(report)
    }
}

struct JobRun<'r> {
    runner: &'r Runner,
    job: &'r Job,
    new: &'r NewRun,
    results: Vec<SourceResult>,
    errors: Vec<String>,
    exit: Exit,
}

/// What a step says about going on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    NotNow,
    Stop,
}

impl JobRun<'_> {
    fn whole(&mut self) {
        match self.hooks(HookEvent::Before) {
            Go::On => self.sources(),
            Go::NotNow => self.exit = worse(self.exit, Exit::Skipped),
            Go::Stop => self.exit = worse(self.exit, Exit::Failed),
        }
        if self.runner.is_cancelled() {
            self.exit = worse(self.exit, Exit::Interrupted);
        }
        if self.exit != Exit::Skipped {
            let went = match self.exit {
                Exit::Ok => HookEvent::Success,
                _ => HookEvent::Failure,
            };
            for event in [HookEvent::After, went] {
                if self.hooks(event) == Go::Stop {
                    self.exit = worse(self.exit, Exit::Failed);
                }
            }
        }
        // What was stopped must start again, whatever happened.
        if self.hooks(HookEvent::Finally) == Go::Stop {
            self.exit = worse(self.exit, Exit::Failed);
        }
    }

    fn hooks(&mut self, event: HookEvent) -> Go {
        let of_job = |hook: &&Hook| {
            hook.on == event && hook.jobs.as_ref().is_none_or(|jobs| jobs.contains(&self.new.job))
        };
        let hooks: Vec<&Hook> = self.runner.loaded.config.hooks.iter().filter(of_job).collect();
        let mut go = Go::On;
        for hook in hooks {
            match self.hook(hook) {
                Go::On => {}
                // What runs at the end runs in any case.
                other if event == HookEvent::Before => return other,
                other => go = other,
            }
        }
        go
    }

    fn hook(&mut self, hook: &Hook) -> Go {
        let runner = self.runner;
        runner.observer.step(&self.new.id, &Step::Hook { command: &hook.run });
        let variables = self.variables(hook.on);
        let about = self.about(hook.on);
        // A hook at the end is heard out although the run was cancelled: it starts again what was stopped.
        let person: &dyn crate::person::Person = match hook.on {
            HookEvent::Before => &*runner.opener.person,
            _ => &Patient(runner),
        };
        let why = match hooks::run(hook, &variables, &about, person) {
            Ended::Well => return Go::On,
            Ended::NotNow if hook.on == HookEvent::Before => {
                self.errors.push(format!("the hook {:?} said: not now", hook.run.join(" ")));
                return Go::NotNow;
            }
            Ended::NotNow => return Go::On,
            Ended::Badly(why) => why,
        };
        let text = format!("the hook {:?} failed: {why}", hook.run.join(" "));
        match hook.on_failure {
            OnFailure::Ignore => Go::On,
            OnFailure::Warn => {
                runner.opener.person.warn(&text);
                Go::On
            }
            OnFailure::Abort => {
                self.errors.push(text);
                Go::Stop
            }
        }
    }

    fn variables(&self, event: HookEvent) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("LIFEBOAT_EVENT", word(event)),
            ("LIFEBOAT_JOB", self.new.job.clone()),
            ("LIFEBOAT_RUN", self.new.id.to_string()),
            ("LIFEBOAT_TRIGGER", self.new.trigger.clone()),
        ];
        // Before the job there is no result, and whoever looks for one must not find "success".
        if event != HookEvent::Before {
            variables.extend([
                ("LIFEBOAT_RESULT", result_of(self.exit).as_str().to_string()),
                ("LIFEBOAT_EXIT", (self.exit as i32).to_string()),
                ("LIFEBOAT_ERROR", self.all_errors().first().cloned().unwrap_or_default()),
            ]);
        }
        variables
    }

    fn about(&self, event: HookEvent) -> Value {
        let (result, exit) = match event {
            HookEvent::Before => (None, None),
            _ => (Some(result_of(self.exit).as_str()), Some(self.exit as i32)),
        };
        json!({
            "v": 1, "event": word(event), "job": self.new.job, "run_id": self.new.id,
            "trigger": self.new.trigger, "machine": self.runner.host, "sources": self.job.sources, "to": self.job.to,
            "result": result, "exit": exit, "errors": self.all_errors(),
            "results": self.results,
        })
    }

    fn all_errors(&self) -> Vec<String> {
        let of_results = self.results.iter().filter(|r| counts_as_error(r, self.exit));
        let of_results = of_results.filter_map(|r| r.error.clone());
        self.errors.iter().cloned().chain(of_results).collect()
    }

    fn sources(&mut self) {
        self.each_source();
        // What is gone or shrunken is a part of a run that went well otherwise; where nothing went well it is the run.
        let all_failed = self.results.iter().all(|result| result.result == RunResult::Failed);
        if self.exit == Exit::Partial && all_failed {
            self.exit = Exit::Failed;
        }
    }

    fn each_source(&mut self) {
        let families = self.open_all();
        for source in &self.job.sources {
            for family in &families {
                if self.runner.is_cancelled() {
                    return;
                }
                self.source(source, family);
            }
        }
        if self.exit == Exit::Skipped && self.is_done_but_for_disks_away() {
            self.exit = Exit::Ok;
        }
        for family in &families {
            self.runner.keep_configuration(family);
            self.runner.look_back(family);
        }
    }

    /// Whether every source has its copy somewhere, and only disks that come and go lack theirs: they get it when
    /// they are back, and their age is watched by itself.
    fn is_done_but_for_disks_away(&self) -> bool {
        let is_kept = |source: &String| {
            let mut of_source = self.results.iter().filter(|result| result.source == *source);
            of_source.any(|result| result.result == RunResult::Success)
        };
        self.job.sources.iter().all(is_kept)
    }

    /// Opens the repositories, those of one family together, in the order of the job. What cannot be opened
    /// has a result for each source.
    fn open_all(&mut self) -> Vec<Vec<Target>> {
        let mut families: Vec<Vec<Target>> = Vec::new();
        let names = self.job.to.iter();
        let opened: Vec<_> =
            names.map(|name| (name, Instant::now(), self.runner.open_target(name))).collect();
        let first_there = opened.iter().find(|(.., target)| target.is_ok()).map(|(name, ..)| *name);
        // Two that are made without a word of each other would have nothing in common.
        let original = first_there.or(self.job.to.first());
        for (name, start, target) in opened {
            match target {
                Ok(target) => {
                    let family = target.opened.repo.identity().family;
                    let known = families.iter_mut().find(|f| f[0].opened.repo.identity().family == family);
                    match known {
                        Some(known) => known.push(target),
                        None => families.push(vec![target]),
                    }
                }
                Err(failure) => {
                    let failure = match original.filter(|original| *original != name) {
                        Some(original) if failure.exit == Exit::NoRepository => {
                            let (new, original) = (shell_word(name), shell_word(original));
                            failure.hint(format!("lifeboat init -r {new} --copy-of {original}"))
                        }
                        _ => failure,
                    };
                    for source in &self.job.sources {
                        self.failed(source, name, &failure, start);
                    }
                }
            }
        }
        families
    }

    /// One source into the repositories of one family: read once, stored in all of them. One that cannot be
    /// looked at leaves the lead to the next.
    fn source(&mut self, source: &str, targets: &[Target]) {
        let start = Instant::now();
        let mut able: Vec<&Target> = Vec::new();
        let mut list = None;
        for target in targets {
            match self.runner.opener.snapshots(&target.place, &target.opened.repo) {
                Ok(found) => {
                    able.push(target);
                    list.get_or_insert(found);
                }
                Err(failure) => self.failed(source, &target.name, &failure, start),
            }
        }
        let (targets, Some(list)) = (able, list) else { return };
        let made = match self.back_up_with_retries(source, &targets, &list) {
            Ok(made) => made,
            Err(failure) => {
                return targets.iter().for_each(|target| self.failed(source, &target.name, &failure, start));
            }
        };
        let there = |n: usize| made.outcome.copies.get(n).is_none_or(CopyState::is_there);
        let lead = (0..targets.len()).find(|n| there(*n)).map(|n| targets[n]);
        for (n, target) in targets.iter().enumerate() {
            let caught_up = match (made.outcome.copies.get(n), lead) {
                (Some(CopyState::Behind(why)), _) => Err(Failure::of_repo(why)),
                (_, Some(lead)) if lead.name != target.name => {
                    self.runner.catch_up(&self.new.id, source, lead, target)
                }
                _ => Ok(()),
            };
            match caught_up {
                Ok(()) => self.made(source, target, &made, start),
                Err(failure) => self.failed(source, &target.name, &failure, start),
            }
        }
    }

    fn back_up_with_retries(&self, source: &str, targets: &[&Target], list: &SnapshotList) -> Outcome<Made> {
        let runner = self.runner;
        let attempts = self.job.retry.attempts.max(1);
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        for attempt in 1.. {
            runner.observer.step(&self.new.id, &Step::Backup { source, repositories: &names });
            match runner.back_up(self.job, source, targets, list) {
                Err(failure) if attempt < attempts && failure.is_passing() && !runner.is_cancelled() => {
                    let wait = self.job.retry.wait.0;
                    let why = failure.message();
                    runner.observer.step(&self.new.id, &Step::Wait { why: &why, secs: wait.as_secs() });
                    if !runner.wait(wait) {
                        return Err(runner.cancelled());
                    }
                }
                other => return other,
            }
        }
        unreachable!("the last attempt returns")
    }

    fn made(&mut self, source: &str, target: &Target, made: &Made, start: Instant) {
        let outcome = &made.outcome;
        let stats = &outcome.stats;
        let errors = stats.faults + outcome.missing_sources.len() as u64;
        let (exit, error) = match (&made.suspicion, errors) {
            (Some(why), _) => (
                Exit::Partial,
                Some(format!(
                    "{why}; the snapshot is kept and displaces nothing until `lifeboat trust` says it is right"
                )),
            ),
            (None, 0) => (Exit::Ok, None),
            (None, n) => (Exit::Partial, Some(format!("{} could not be read", count(n, "path")))),
        };
        let result = match (&made.suspicion, exit) {
            (Some(_), _) => RunResult::Failed,
            (None, exit) => result_of(exit),
        };
        let written = &outcome.written;
        let result = SourceResult {
            result,
            snapshot: outcome.snapshot.as_ref().map(|snapshot| snapshot.id.hex()),
            files: stats.files_new + stats.files_changed + stats.files_unmodified,
            bytes: stats.source_bytes,
            added_bytes: written.added_bytes,
            uploaded_bytes: written.stored_bytes,
            errors,
            error,
            ..self.blank(source, &target.name, exit, start)
        };
        self.exit = worse(self.exit, exit);
        self.runner.record_result(&result, outcome.snapshot.as_ref());
        self.runner.observer.copied(&result, outcome.snapshot.as_ref());
        self.results.push(result);
    }

    fn failed(&mut self, source: &str, repository: &str, failure: &Failure, start: Instant) {
        let exit = failure.exit;
        // "Partial" of a source that was not read at all is a failure in the run's record.
        let result = match exit {
            Exit::Partial => RunResult::Failed,
            other => result_of(other),
        };
        let error = Some(failure.in_one_line());
        let result = SourceResult { result, error, ..self.blank(source, repository, exit, start) };
        self.exit = worse(self.exit, exit);
        self.runner.record_result(&result, None);
        self.runner.observer.copied(&result, None);
        self.results.push(result);
    }

    fn blank(&self, source: &str, repository: &str, exit: Exit, start: Instant) -> SourceResult {
        SourceResult {
            run: self.new.id.clone(),
            source: source.to_string(),
            repository: repository.to_string(),
            at: self.runner.now().secs,
            result: result_of(exit),
            snapshot: None,
            files: 0,
            bytes: 0,
            added_bytes: 0,
            uploaded_bytes: 0,
            errors: 0,
            seconds: start.elapsed().as_secs_f64(),
            code: exit as i64,
            error: None,
        }
    }
}

fn word(event: HookEvent) -> String {
    let word = match event {
        HookEvent::Before => "before",
        HookEvent::After => "after",
        HookEvent::Success => "success",
        HookEvent::Failure => "failure",
        HookEvent::Finally => "finally",
    };
    word.to_string()
}

/// The person of the run, who does not end what must still be done.
struct Patient<'r>(&'r Runner);

impl crate::person::Person for Patient<'_> {
    fn info(&self, text: &str) {
        self.0.opener.person.info(text);
    }

    fn warn(&self, text: &str) {
        self.0.opener.person.warn(text);
    }

    fn message(&self, text: &str) {
        self.0.opener.person.message(text);
    }
}

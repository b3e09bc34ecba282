//! What runs do, as structured events for a log: each with the run, the job, the source and the repository it is
//! about, so that a log can be searched by them.
//!
//! Emitted through `tracing` under the target [`TARGET`]; who listens, and in which form it is written, is up to
//! the program. Everything a run is told to an observer goes on to the one inside.

use crate::catalog::{NewRun, RunId, SourceResult};
use crate::runner::{DutyReport, JobReport, Observer, Step};
use engine::Monitor;
use format::snapshot::Snapshot;
use std::sync::Arc;
use tracing::{error, info, warn};

/// The target of all events of this program.
pub const TARGET: &str = "lifeboat";

/// Logs what a run does, and passes it on.
pub struct Logged(pub Arc<dyn Observer>);

/// The step in a word; what it is about follows as fields.
fn word(step: &Step<'_>) -> &'static str {
    match step {
        Step::Backup { .. } => "backup",
        Step::Copy { .. } => "copy",
        Step::Hook { .. } => "hook",
        Step::Forget { .. } => "forget",
        Step::Prune { .. } => "prune",
        Step::Verify { .. } => "verify",
        Step::Wait { .. } => "wait",
    }
}

impl Observer for Logged {
    fn began(&self, run: &NewRun) {
        let NewRun { id, job, what, trigger, .. } = run;
        info!(target: TARGET, event = "run_started", run_id = %id, job, what, trigger, "run begins");
        self.0.began(run);
    }

    fn step(&self, run: &RunId, step: &Step<'_>) {
        info!(target: TARGET, event = "step", run_id = %run, step = word(step), about = ?step, "step");
        self.0.step(run, step);
    }

    fn monitor(&self) -> Arc<dyn Monitor> {
        self.0.monitor()
    }

    fn progress(&self, done: u64, total: u64) {
        self.0.progress(done, total);
    }

    fn copied(&self, result: &SourceResult, snapshot: Option<&Snapshot>) {
        let SourceResult { run, source, repository, files, bytes, seconds, .. } = result;
        let (uploaded, snapshot_id) = (result.uploaded_bytes, result.snapshot.as_deref().unwrap_or_default());
        let (outcome, why) = (result.result.as_str(), result.error.as_deref().unwrap_or_default());
        match why.is_empty() {
            true => {
                info!(target: TARGET, event = "copied", run_id = %run, source, repository, result = outcome,
                    snapshot_id, files, bytes, bytes_uploaded = uploaded, seconds, "copied");
            }
            false => {
                warn!(target: TARGET, event = "copied", run_id = %run, source, repository, result = outcome,
                    snapshot_id, code = result.code, error = why, seconds, "not as it should be");
            }
        }
        self.0.copied(result, snapshot);
    }

    fn duty(&self, report: &DutyReport) {
        let (run, repository, code) = (&report.run, &report.repository, report.exit as i32);
        let duty = report.kind.duty().as_str();
        match &report.error {
            None => info!(target: TARGET, event = "duty", run_id = %run, duty, repository, "duty done"),
            Some(why) => {
                error!(target: TARGET, event = "duty", run_id = %run, duty, repository, code, error = %why, "duty failed");
            }
        }
        self.0.duty(report);
    }

    fn ended(&self, report: &JobReport) {
        let (run, job, result) = (&report.run, &report.job, report.result().as_str());
        let errors = report.all_errors();
        match errors.is_empty() {
            true => info!(target: TARGET, event = "summary", run_id = %run, job, result, "run ends"),
            false => {
                let (code, errors) = (report.exit as i32, errors.join("; "));
                error!(target: TARGET, event = "summary", run_id = %run, job, result, code, errors, "run ends");
            }
        }
        self.0.ended(report);
    }
}

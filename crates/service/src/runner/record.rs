//! Keeping in the catalog what a run did. What cannot be kept is told, and changes nothing.

use super::job::{JobReport, result_of};
use super::{DutyReport, Runner};
use crate::catalog::{CatalogResult, Copy, Duty, NewRun, RunResult, SourceResult, Suspicion, Verification};
use format::snapshot::{Completeness, Snapshot};

impl Runner {
    fn keep<T>(&self, what: impl FnOnce(&crate::catalog::Catalog) -> CatalogResult<T>) {
        if let Some(catalog) = &self.catalog
            && let Err(e) = what(catalog)
        {
            self.opener.person.warn(&format!("the catalog did not take what this run did: {e}"));
        }
    }

    pub(super) fn record_begin(&self, run: &NewRun) {
        self.keep(|catalog| catalog.begin_run(run));
    }

    pub(super) fn record_result(&self, result: &SourceResult, snapshot: Option<&Snapshot>) {
        self.keep(|catalog| catalog.record_result(result));
        if let Some(snapshot) = snapshot {
            let is_whole = snapshot.completeness == Completeness::Complete;
            let copy = Copy {
                source: result.source.clone(),
                repository: result.repository.clone(),
                snapshot: snapshot.id.hex(),
                time: snapshot.time.secs,
                made: result.at,
                good: is_whole && result.result == RunResult::Success,
                files: result.files,
                bytes: result.bytes,
                verified: None,
                drilled: None,
            };
            self.keep(|catalog| catalog.record_copy(&copy));
        }
    }

    pub(super) fn record_suspicion(&self, suspicion: &Suspicion) {
        self.keep(|catalog| catalog.record_suspicion(suspicion));
    }

    pub(super) fn record_notifier(&self, name: &str, error: Option<&str>) {
        let at = self.now().secs;
        self.keep(|catalog| catalog.record_notifier(name, at, error));
    }

    pub(super) fn record_job(&self, report: &JobReport) {
        let (at, errors) = (self.now().secs, report.all_errors());
        let error = errors.first().map(String::as_str);
        let code = report.exit as i64;
        self.keep(|catalog| catalog.end_run(&report.run, at, report.result(), code, error));
        // What was cancelled is still due.
        if !matches!(report.result(), RunResult::Skipped | RunResult::Cancelled) {
            let failed = (report.result() != RunResult::Success).then(|| error.unwrap_or("it failed"));
            self.keep(|catalog| catalog.record_duty(Duty::Run, &report.job, at, failed));
        }
    }

    pub(super) fn record_duty(&self, report: &DutyReport) {
        let at = self.now().secs;
        let error = report.error.as_deref();
        let code = report.exit as i64;
        self.keep(|catalog| catalog.end_run(&report.run, at, result_of(report.exit), code, error));
        if let Some(verified) = &report.verified {
            let verification = Verification { at, ..verified.clone() };
            let snapshots = &report.verified_snapshots;
            self.keep(|catalog| catalog.record_verification(&verification, snapshots));
        }
        if !matches!(result_of(report.exit), RunResult::Skipped | RunResult::Cancelled) {
            self.keep(|catalog| catalog.record_duty(report.kind.duty(), &report.repository, at, error));
        }
    }
}

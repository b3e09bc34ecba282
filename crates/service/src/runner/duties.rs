//! What a repository needs again and again: forgetting and freeing space, and reading what is stored.

use super::request::Target;
use super::{Runner, Step, Trigger, worse};
use crate::audit::{self, Author};
use crate::catalog::{Duty, RunId, Verification};
use crate::config::values::Share;
use crate::counts::{count, counted};
use crate::failure::{Exit, Failure, Outcome};
use format::log::LogKind;
use repo::attest;
use repo::check::{CheckOptions, CheckReport, ReadShare, check};
use repo::prune::{PruneOptions, PruneReport, UnusedLimit, prune};
use repo::writer::WriterOptions;
use serde_json::Value;

/// A duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DutyKind {
    /// Forgetting and freeing space.
    Maintenance,
    /// Reading again.
    Verify,
}

impl DutyKind {
    /// As it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            DutyKind::Maintenance => "maintenance",
            DutyKind::Verify => "verify",
        }
    }

    /// The duty that it is.
    pub fn duty(self) -> Duty {
        match self {
            DutyKind::Maintenance => Duty::Maintenance,
            DutyKind::Verify => Duty::Verify,
        }
    }
}

/// What became of a duty.
#[derive(Clone, Debug)]
pub struct DutyReport {
    /// The run.
    pub run: RunId,
    /// Which.
    pub kind: DutyKind,
    /// Of which repository.
    pub repository: String,
    /// How it ended.
    pub exit: Exit,
    /// What went wrong.
    pub error: Option<String>,
    /// Snapshots forgotten, with why: id and policy.
    pub forgotten: Vec<(String, String)>,
    /// Snapshots that stay.
    pub kept: usize,
    /// Bytes that came back.
    pub freed_bytes: u64,
    /// What reading showed.
    pub verified: Option<Verification>,
    /// The snapshots that were all read.
    pub verified_snapshots: Vec<String>,
    /// What is damaged, in words.
    pub findings: Vec<String>,
}

impl Runner {
    /// Forgets by the policies and frees space in a repository.
    pub fn maintain(&self, repository: &str, trigger: Trigger) -> Outcome<DutyReport> {
        self.duty(DutyKind::Maintenance, repository, trigger, |target, report| {
            self.forget_by_policies(target, report)?;
            self.observer.step(&report.run, &Step::Prune { repository });
            let pruned = self.prune(target)?;
            if let Some(body) = audit::pruned(&pruned) {
                self.write_down(target, "prune", &body);
            }
            report.freed_bytes = pruned.deleted_bytes;
            self.count_stored(target);
            report.exit = worse(report.exit, judge_prune(&pruned, &mut report.error));
            Ok(())
        })
    }

    /// Reads a share of what is stored, what was read longest ago first, and compares it.
    pub fn verify(&self, repository: &str, trigger: Trigger) -> Outcome<DutyReport> {
        self.duty(DutyKind::Verify, repository, trigger, |target, report| {
            self.observer.step(&report.run, &Step::Verify { repository });
            let share = self.loaded.config.verify.read;
            let seen = self.read_again(target, share)?;
            self.judge_check(target, &seen, report)
        })
    }

    fn duty(
        &self,
        kind: DutyKind,
        repository: &str,
        trigger: Trigger,
        act: impl FnOnce(&Target, &mut DutyReport) -> Outcome<()>,
    ) -> Outcome<DutyReport> {
        // A name that is not in the configuration is a mistake of whoever asks.
        self.place(repository)?;
        let run = self.new_run(repository, kind.as_str(), trigger)?;
        self.observer.began(&run);
        self.record_begin(&run);
        let mut report = DutyReport {
            run: run.id,
            kind,
            repository: repository.to_string(),
            exit: Exit::Ok,
            error: None,
            forgotten: Vec::new(),
            kept: 0,
            freed_bytes: 0,
            verified: None,
            verified_snapshots: Vec::new(),
            findings: Vec::new(),
        };
        let acted = self.open_target(repository).and_then(|target| act(&target, &mut report));
        if let Err(failure) = acted {
            report.exit = worse(report.exit, failure.exit);
            report.error = Some(failure.in_one_line());
        }
        if self.is_cancelled() {
            report.exit = worse(report.exit, Exit::Interrupted);
        }
        self.record_duty(&report);
        self.observer.duty(&report);
        Ok(report)
    }

    /// Writes down what a duty did. What was done is not undone when that fails; the person is told.
    pub(super) fn write_down(&self, target: &Target, action: &str, body: &Value) {
        let user = audit::user(&self.opener.environment);
        let author = Author { folders: &self.opener.folders, machine: &self.host, user: &user };
        let repo = &target.opened.repo;
        let written = (self.seeds)()
            .and_then(|mut seed| author.record(repo, LogKind::Action, action, body, self.now(), &mut seed));
        if let Err(e) = written {
            let told = format!("cannot write this down in the repository's log: {}", e.message());
            self.opener.person.warn(&told);
        }
    }

    fn prune(&self, target: &Target) -> Outcome<PruneReport> {
        let maintenance = &self.loaded.config.maintenance;
        let usual = PruneOptions::new(self.now());
        let unused = match maintenance.max_unused {
            None => UnusedLimit::Worthwhile,
            Some(Share::Percent(percent)) => UnusedLimit::Share(percent / 100.0),
            Some(Share::OneOf(parts)) => UnusedLimit::Share(1.0 / f64::from(parts)),
            Some(Share::Bytes(bytes)) => UnusedLimit::Bytes(bytes),
        };
        let options = PruneOptions {
            undo_window: maintenance.undo_window.0,
            grace: maintenance.grace.0,
            unused,
            writer: WriterOptions { seal_workers: self.processors, ..WriterOptions::default() },
            ..usual
        };
        let mut progress = |_, done, total| self.observer.progress(done, total);
        Ok(prune(&target.opened.reader()?, &options, (self.seeds)()?, &mut progress)?)
    }

    fn read_again(&self, target: &Target, share: Share) -> Outcome<CheckReport> {
        let mut seed = (self.seeds)()?;
        let mut progress = |done, total| self.observer.progress(done, total);
        let mut options = CheckOptions {
            read: read_share(share),
            workers: self.processors,
            sample_seed: u64::from_le_bytes(seed.draw()),
            now: self.now(),
            progress: &mut progress,
        };
        let reader = target.opened.reader()?;
        // What others have read need not be read first here. Where that cannot be learnt, it is read.
        attest::learn(&reader).ok();
        let seen = check(&reader, &mut options)?;
        if let Some(verified) = &seen.verified {
            let author =
                Author { folders: &self.opener.folders, machine: &self.host, user: &self.opener.user };
            // A place may take nothing more: then others read it once more.
            author.attest(&target.opened.repo, verified, self.now(), &mut seed).ok();
        }
        Ok(seen)
    }

    fn judge_check(&self, target: &Target, seen: &CheckReport, report: &mut DutyReport) -> Outcome<()> {
        let read = if seen.packs == 0 { 1.0 } else { seen.packs_read as f64 / seen.packs as f64 };
        let damaged = seen.findings.len() as u64;
        report.findings = seen.findings.iter().map(|f| format!("{}: {}", f.what, f.why)).collect();
        if damaged > 0 {
            report.exit = worse(report.exit, Exit::Damage);
            report.error = Some(format!(
                "{} damaged or missing: {}",
                counted(damaged, "object is", "objects are"),
                report.findings[0]
            ));
        } else if seen.packs_read == seen.packs {
            let list = self.opener.snapshots(&target.place, &target.opened.repo)?;
            report.verified_snapshots = list.visible().map(|snapshot| snapshot.id.hex()).collect();
        }
        report.verified = Some(Verification {
            repository: target.name.clone(),
            at: self.now().secs,
            kind: "read-data".into(),
            ratio: read,
            bytes: seen.bytes_read,
            damaged,
            error: None,
        });
        Ok(())
    }
}

fn read_share(share: Share) -> ReadShare {
    match share {
        Share::Percent(percent) if percent >= 100.0 => ReadShare::Everything,
        Share::Percent(percent) => ReadShare::Percent(percent),
        Share::OneOf(1) => ReadShare::Everything,
        Share::OneOf(of) => ReadShare::Part { part: 1, of: of.into() },
        Share::Bytes(bytes) => ReadShare::Bytes(bytes),
    }
}

fn judge_prune(report: &PruneReport, error: &mut Option<String>) -> Exit {
    let (exit, why) = match report {
        r if !r.doubts.is_empty() => (Exit::Damage, format!("nothing was deleted: {}", r.doubts[0])),
        r if !r.damaged.is_empty() => {
            (Exit::Damage, counted(r.damaged.len(), "pack is", "packs are") + " damaged")
        }
        r if r.refused_packs > 0 => {
            (Exit::Refused, format!("the storage would not delete {}", count(r.refused_packs, "pack")))
        }
        r if r.ran_out_of_space => (Exit::NoSpace, "the place is too full to rewrite all packs".to_string()),
        _ => return Exit::Ok,
    };
    *error = Some(why);
    exit
}

/// Why a duty could not be done.
pub(super) fn unjudged(unreadable: &[String]) -> Failure {
    Failure::new(Exit::Damage, unreadable.join("; ")).hint("lifeboat check")
}

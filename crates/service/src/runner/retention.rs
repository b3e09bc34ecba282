//! Forgetting by the policies of the configuration: each source in a repository by its own.

use super::duties::{DutyReport, unjudged};
use super::request::Target;
use super::{Runner, SOURCE_TAG, Step};
use crate::audit;
use crate::config::RetentionPolicy;
use crate::failure::Outcome;
use crate::known::Known;
use engine::retention::{Candidate, GroupBy, Reason, Request, Verdict, decide};
use format::id::SnapshotId;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use jiff::tz::TimeZone;
use repo::snapshots::forget;
use std::collections::BTreeMap;

impl Runner {
    /// Forgets what no policy keeps of this machine's sources. Snapshots of other machines and of no source
    /// are left alone.
    pub(super) fn forget_by_policies(&self, target: &Target, report: &mut DutyReport) -> Outcome<()> {
        self.observer.step(&report.run, &Step::Forget { repository: &target.name });
        let mut seed = (self.seeds)()?;
        let repo = &target.opened.repo;
        let known = Known::read_to_act(&self.opener, &target.place, repo, self.now(), &mut seed)?;
        for source in sources_in(&known, &self.host) {
            // While something looks like an attack, nothing of its source goes.
            if !self.suspected(&source).is_empty() {
                let fix = format!("lifeboat status --acknowledge {source}");
                let text =
                    format!("nothing of {source} is forgotten: it looks as if it were attacked ({fix})");
                self.opener.person.warn(&text);
                continue;
            }
            let (name, policy) = self.loaded.config.retention_of(&source, &target.name);
            let in_scope = |snapshot: &Snapshot| self.is_of(snapshot, &source);
            let candidates = known.candidates(in_scope);
            let why = format!("policy: {name} ({})", policy.policy());
            let mut gone = Vec::new();
            let ended = self.to_forget(&candidates, &policy, report).into_iter().try_for_each(|id| {
                if !self.is_cancelled() {
                    forget(repo, &id, self.now(), &why, &mut seed)?;
                    gone.extend(candidates.iter().map(|c| c.snapshot).find(|snapshot| snapshot.id == id));
                    report.forgotten.push((id.hex(), name.clone()));
                }
                Outcome::Ok(())
            });
            // What was done is written down also where the rest failed.
            if !gone.is_empty() {
                self.write_down(target, "forget", &audit::forgotten(gone.into_iter(), &why));
            }
            ended?;
            if self.is_cancelled() {
                return Ok(()); // the end of the run says so
            }
        }
        match known.unreadable() {
            unreadable if unreadable.is_empty() => Ok(()),
            unreadable => Err(unjudged(&unreadable)),
        }
    }

    /// What a policy gives up, the oldest first.
    fn to_forget(
        &self,
        candidates: &[Candidate<'_>],
        policy: &RetentionPolicy,
        report: &mut DutyReport,
    ) -> Vec<SnapshotId> {
        let judged = judge(candidates, policy, self.now(), &self.zone);
        let goes: Vec<SnapshotId> = judged.iter().filter(|j| j.goes).map(|j| j.verdict.id).collect();
        report.kept += judged.len() - goes.len();
        goes
    }
}

/// What a policy of the configuration comes to for one snapshot.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What its rules say.
    pub verdict: Verdict,
    /// Whether the next maintenance forgets it: the least and the greatest age of the policy count as well.
    pub goes: bool,
    /// Whether it stays only because it has not reached the least age of the policy.
    pub is_young: bool,
}

/// Judges what is in scope by a policy of the configuration, the oldest first. A policy without any rule forgets nothing.
pub fn judge(
    candidates: &[Candidate<'_>],
    policy: &RetentionPolicy,
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<Judged> {
    let rules = policy.policy();
    let group_by = GroupBy { host: false, sources: false, tags: false };
    let request = Request { policy: &rules, group_by, now, zone };
    let Ok(decision) = decide(candidates, &request) else { return Vec::new() };
    let when: BTreeMap<SnapshotId, Timestamp> =
        candidates.iter().map(|c| (c.snapshot.id, c.when())).collect();
    let verdicts: Vec<Verdict> = decision.groups.into_iter().flat_map(|group| group.verdicts).collect();
    let newest = verdicts.iter().max_by_key(|verdict| when[&verdict.id]).map(|verdict| verdict.id);
    let judge = |verdict: Verdict| {
        let age = now.secs.saturating_sub(when[&verdict.id].secs).max(0) as u64;
        let is_young = policy.min_age.is_some_and(|least| age < least.0.as_secs());
        let is_old = policy.max_age.is_some_and(|most| age > most.0.as_secs());
        let only_by_rules = verdict.reasons.iter().all(is_rule) && Some(verdict.id) != newest;
        let ends = !verdict.is_kept() || (is_old && only_by_rules);
        Judged { goes: !is_young && ends, is_young: is_young && ends, verdict }
    };
    verdicts.into_iter().map(judge).collect()
}

/// Whether a reason is a count or a span of the policy: those end with the greatest age. What is protected,
/// doubtful, tagged or the last good one stays.
fn is_rule(reason: &Reason) -> bool {
    matches!(reason, Reason::Last | Reason::Period { .. } | Reason::Within(_))
}

/// The sources of this machine that have snapshots.
fn sources_in(known: &Known, host: &str) -> Vec<String> {
    let of_host = known.list.visible().filter(|snapshot| snapshot.host == host);
    let tags = of_host.flat_map(|snapshot| &snapshot.tags);
    let mut names: Vec<String> =
        tags.filter_map(|tag| tag.strip_prefix(SOURCE_TAG)).map(str::to_string).collect();
    names.sort();
    names.dedup();
    names
}

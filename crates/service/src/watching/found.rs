//! Everything that is known right now, judged in one go: for `status`, for the daemon, and for its metrics.

use super::{Watched, duties, expect, wanted, zone};
use crate::alarms::{DutyWanted, Findings, Kind, Problem, problems};
use crate::catalog::{Catalog, CatalogResult, Duty, NotifierState, Suspicion};
use crate::config::Config;
use crate::metrics::{self, Extra};
use crate::posture::{self, Besides, Posture, headline};
use crate::schedule::{Schedule, next_of};
use std::collections::BTreeMap;

/// A place is looked at again after this time, if no run opened it meanwhile. A look costs some 13 requests, and an
/// idle daemon is to make fewer than ten a day.
pub const LOOK_AGAIN_SECS: i64 = 36 * 3600;
/// Suspicions that are looked at.
const SUSPICIONS: usize = 1000;

/// Everything, judged.
#[derive(Clone, Debug)]
pub struct Found {
    /// How things are.
    pub posture: Posture,
    /// The duties and when they were done.
    pub duties: Vec<Watched>,
    /// What is wrong right now.
    pub problems: Vec<Problem>,
    /// What looked like an attack.
    pub suspicions: Vec<Suspicion>,
    /// Whether the notifiers work.
    pub notifiers: Vec<NotifierState>,
}

impl Found {
    /// Adds that the configuration cannot be used: what is wrong with it, and that the last good one holds.
    pub fn add_broken_configuration(&mut self, why: &str) {
        let first = why.lines().next().unwrap_or_default();
        self.problems.push(Problem {
            kind: Kind::Stale,
            subject: "configuration".into(),
            text: format!("{first}; the last one that could be used still holds"),
            fix: "lifeboat config check".into(),
            count: 1,
        });
    }

    /// What is wrong and is told by no goal of a source; attempts that failed are, also where every goal is met.
    pub fn further(&self) -> impl Iterator<Item = &Problem> {
        let told_by_goals = |problem: &Problem| {
            let subject = &problem.subject;
            let of_pair = subject.contains('@') && problem.kind != Kind::Failed;
            of_pair || subject.starts_with("verified:") || subject.starts_with("drilled:")
        };
        self.problems.iter().filter(move |problem| !told_by_goals(problem))
    }

    /// The same for a page or a report.
    pub fn besides(&self) -> Vec<Besides<'_>> {
        self.further()
            .map(|problem| Besides {
                text: &problem.text,
                fix: &problem.fix,
                needs_you: problem.kind != Kind::Failed,
            })
            .collect()
    }

    /// Everything in one sentence.
    pub fn headline(&self) -> String {
        headline(&self.posture, &self.besides())
    }
}

/// Judges everything in the configuration by what the catalog knows. Makes the duties known, so that they are
/// missed from now on when they are not done.
pub fn found(config: &Config, catalog: &Catalog, machine: &str, now: i64) -> CatalogResult<Found> {
    let wanted = wanted(config, machine);
    let posture = posture::judge(&wanted, &posture::seen_in(catalog, &wanted)?, now);
    let mut all = duties(config, now);
    all.extend(looks(config));
    let duties = expect(catalog, all, now)?;
    let notifiers = catalog.notifiers()?;
    let notifiers: Vec<_> = notifiers.into_iter().filter(|n| config.notify.contains_key(&n.name)).collect();
    let mut suspicions = catalog.suspicions(None, SUSPICIONS)?;
    suspicions.retain(|s| s.acknowledged.is_none() && config.sources.contains_key(&s.source));
    let findings =
        Findings { posture: &posture, duties: &duties, suspicions: &suspicions, notifiers: &notifiers };
    let problems = problems(&findings);
    Ok(Found { duties, problems, suspicions, notifiers, posture })
}

/// Looking at a place is a duty, too; a disk that comes and goes is looked at when it is there.
fn looks(config: &Config) -> impl Iterator<Item = DutyWanted> {
    let places = config.repositories.iter().filter(|(_, repository)| repository.removable.is_none());
    places.map(|(name, _)| DutyWanted {
        duty: Duty::Watch,
        subject: name.clone(),
        within: 2 * LOOK_AGAIN_SECS,
        fix: "lifeboat status --look always".into(),
    })
}

/// Everything as Prometheus text.
pub fn metrics_text(
    found: &Found,
    config: &Config,
    catalog: &Catalog,
    version: &str,
) -> CatalogResult<String> {
    let zone = zone(config);
    let after = jiff::Timestamp::from_second(found.posture.now).unwrap_or_default();
    let next = config.jobs.iter().map(|(name, job)| {
        let schedules = config.schedule_of(job);
        let schedules: Vec<Schedule> = schedules.iter().filter_map(|when| when.0.parse().ok()).collect();
        (name.clone(), next_of(&schedules, after, &zone).map(|time| time.as_second()))
    });
    let mut problems: BTreeMap<String, u64> =
        Kind::ALL.iter().map(|kind| (kind.as_str().to_string(), 0)).collect();
    for problem in &found.problems {
        *problems.entry(problem.kind.as_str().to_string()).or_default() += 1;
    }
    let duties = found.duties.iter();
    let extra = Extra {
        version: version.to_string(),
        next_runs: next.collect(),
        duties: duties.map(|(w, r)| (w.duty.as_str().to_string(), w.subject.clone(), r.clone())).collect(),
        problems: problems.into_iter().collect(),
    };
    metrics::render(&found.posture, catalog, &extra)
}

//! What is to be done next: the decisions of the daemon, without a clock, a process or a repository.
//!
//! The board knows every duty, when it was last done, and what runs. Asked at a time, it says what begins, what
//! waits for what, and when to ask again. Its rules:
//! - one writing run per repository at a time, and what has waited longest goes first: it keeps its places
//!   free, so that a job for three repositories is not overtaken for ever by jobs for one;
//! - of what only reads a repository (verification, drills), one at a time;
//! - what failed is tried again after a wait that doubles, so often as it may; then at its next time;
//! - a drive that is plugged in makes the jobs due that write to it, as long as it is there;
//! - a pause lets nothing begin by itself; what somebody asks for begins all the same.

use super::plan::{DutyPlan, Key};
use crate::catalog::Duty;
use crate::conditions::{Found, Verdict, Wanted, judge};
use crate::schedule::{Due, Planned, due};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The longest wait between two tries.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(3600);
/// How soon what waits for a condition is looked at again.
const CONDITION_WAIT: Duration = Duration::from_secs(60);

/// What is known about a duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When it was last tried.
    pub attempted: Option<Timestamp>,
    /// When it last went well.
    pub succeeded: Option<Timestamp>,
    /// Tries since then that failed.
    pub failures: u64,
    /// Whether trying again soon may help: the last failure was not a matter of passwords or configuration.
    pub may_retry: bool,
    /// Since when it is there to be done.
    pub since: Timestamp,
}

/// Why something begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It is its time.
    Schedule,
    /// Its time passed while nobody could run it.
    CatchUp,
    /// It failed before.
    Retry,
    /// A drive that it writes to was plugged in.
    PluggedIn,
    /// Somebody asked for it.
    Manual,
}

impl Trigger {
    /// The word of the event stream.
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Schedule => "schedule",
            Trigger::CatchUp => "catch-up",
            Trigger::Retry => "retry",
            Trigger::PluggedIn => "plugged-in",
            Trigger::Manual => "manual",
        }
    }
}

/// Why something that is due does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Another run has the repository.
    Busy(String),
    /// The conditions of the moment.
    Conditions(Verdict),
    /// Somebody paused everything.
    Paused,
}

/// What happens now, and when to ask again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// These begin.
    pub begin: Vec<(Key, Trigger)>,
    /// These are due and wait.
    pub waiting: Vec<(Key, Waiting)>,
    /// Nothing changes before, unless something ends or somebody asks.
    pub wake: Option<Timestamp>,
}

/// All duties and how they stand.
#[derive(Debug, Default)]
pub struct Board {
    plans: BTreeMap<Key, DutyPlan>,
    standings: BTreeMap<Key, Standing>,
    running: BTreeSet<Key>,
    asked: BTreeMap<Key, Trigger>,
}

impl Board {
    /// Replaces the duties by those of a new configuration. What runs goes on.
    pub fn set_plans(&mut self, plans: Vec<DutyPlan>) {
        self.plans = plans.into_iter().map(|plan| (plan.key(), plan)).collect();
        self.asked.retain(|key, _| self.plans.contains_key(key));
    }

    /// All duties in their order.
    pub fn plans(&self) -> impl Iterator<Item = &DutyPlan> {
        self.plans.values()
    }

    /// A duty.
    pub fn plan(&self, key: &Key) -> Option<&DutyPlan> {
        self.plans.get(key)
    }

    /// Notes how a duty stands.
    pub fn set_standing(&mut self, key: Key, standing: Standing) {
        self.standings.insert(key, standing);
    }

    /// How a duty stands.
    pub fn standing(&self, key: &Key) -> Option<&Standing> {
        self.standings.get(key)
    }

    /// Notes that somebody wants it done now. False if there is no such duty.
    pub fn ask(&mut self, key: &Key) -> bool {
        let known = self.plans.contains_key(key);
        if known && !self.running.contains(key) {
            self.asked.insert(key.clone(), Trigger::Manual);
        }
        known
    }

    /// Notes that a drive that it writes to was plugged in.
    pub fn plugged_in(&mut self, key: &Key) {
        if self.plans.contains_key(key) && !self.running.contains(key) {
            self.asked.entry(key.clone()).or_insert(Trigger::PluggedIn);
        }
    }

    /// Notes that the drive is gone again. What somebody asked for stays asked for.
    pub fn unplugged(&mut self, key: &Key) {
        if self.asked.get(key) == Some(&Trigger::PluggedIn) {
            self.asked.remove(key);
        }
    }

    /// Notes that it runs.
    pub fn begun(&mut self, key: &Key) {
        self.asked.remove(key);
        self.running.insert(key.clone());
    }

    /// Notes that it ended.
    pub fn ended(&mut self, key: &Key) {
        self.running.remove(key);
    }

    /// Whether it runs.
    pub fn is_running(&self, key: &Key) -> bool {
        self.running.contains(key)
    }

    /// Decides. `find` looks at battery and connection, and is called only where that matters.
    pub fn decide(&self, now: &Now<'_>, find: &mut dyn FnMut(&Wanted) -> Found) -> Decision {
        let mut decision = Decision::default();
        let mut due: Vec<(Timestamp, &Key, Trigger)> = Vec::new();
        for (key, plan) in self.plans.iter().filter(|(key, _)| !self.running.contains(key)) {
            match self.due(key, plan, now) {
                (Some((since, trigger)), _) => due.push((since, key, trigger)),
                (None, at) => decision.wake = earlier(decision.wake, at),
            }
        }
        due.sort_by(|a, b| (a.2 != Trigger::Manual, a.0, a.1).cmp(&(b.2 != Trigger::Manual, b.0, b.1)));
        let mut taken = Taken::by(self);
        for (_, key, trigger) in due {
            let plan = &self.plans[key];
            match self.hindrance(plan, trigger, now, &taken, find) {
                None => decision.begin.push((key.clone(), trigger)),
                Some(waiting) => {
                    if let Waiting::Conditions(_) = waiting {
                        decision.wake = earlier(decision.wake, now.time.checked_add(CONDITION_WAIT).ok());
                    }
                    let reserves = matches!(waiting, Waiting::Busy(_));
                    decision.waiting.push((key.clone(), waiting));
                    if !reserves {
                        continue;
                    }
                }
            }
            taken.add(plan);
        }
        decision
    }

    /// When it is due and why, or when to look again.
    fn due(
        &self,
        key: &Key,
        plan: &DutyPlan,
        now: &Now<'_>,
    ) -> (Option<(Timestamp, Trigger)>, Option<Timestamp>) {
        if let Some(trigger) = self.asked.get(key) {
            return (Some((now.time, *trigger)), None);
        }
        let standing = self.standings.get(key);
        let retry = standing.and_then(|standing| retry_at(plan, standing));
        let scheduled = due(&planned(plan, standing, now), now.time);
        match (scheduled, retry) {
            (Due::Now(missed), _) => {
                let late = missed.times > 1 || missed.scheduled < now.awake_since;
                let trigger = if late { Trigger::CatchUp } else { Trigger::Schedule };
                (Some((missed.scheduled, trigger)), None)
            }
            (_, Some(at)) if at <= now.time => (Some((at, Trigger::Retry)), None),
            (Due::At(at), retry) => (None, earlier(Some(at), retry)),
            (Due::Never, retry) => (None, retry),
        }
    }

    fn hindrance(
        &self,
        plan: &DutyPlan,
        trigger: Trigger,
        now: &Now<'_>,
        taken: &Taken<'_>,
        find: &mut dyn FnMut(&Wanted) -> Found,
    ) -> Option<Waiting> {
        let by_itself = trigger != Trigger::Manual;
        if by_itself && now.paused {
            return Some(Waiting::Paused);
        }
        if by_itself && plan.heeds_conditions {
            let standing = self.standings.get(&plan.key());
            let last = standing.and_then(|s| s.succeeded).or(standing.map(|s| s.since));
            let age =
                last.map(|last| Duration::from_secs(now.time.duration_since(last).as_secs().max(0) as u64));
            if let wait @ Verdict::Wait(_) = judge(&plan.wanted, &find(&plan.wanted), age) {
                return Some(Waiting::Conditions(wait));
            }
        }
        taken.in_the_way_of(plan).map(Waiting::Busy)
    }

    /// When each duty is next to be done, whatever hinders it then.
    pub fn next_times(&self, now: &Now<'_>) -> Vec<(&DutyPlan, Option<Timestamp>)> {
        let next = |(key, plan): (&'_ Key, &'_ DutyPlan)| match self.due(key, plan, now) {
            (Some(_), _) => Some(now.time),
            (None, at) => at,
        };
        self.plans.iter().map(|(key, plan)| (plan, next((key, plan)))).collect()
    }
}

/// The moment of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The time.
    pub time: Timestamp,
    /// The zone of all local times.
    pub zone: &'a TimeZone,
    /// Since when this machine has been awake and the daemon running.
    pub awake_since: Timestamp,
    /// Whether somebody paused everything.
    pub paused: bool,
}

fn planned<'a>(plan: &'a DutyPlan, standing: Option<&Standing>, now: &Now<'a>) -> Planned<'a> {
    Planned {
        schedules: &plan.schedules,
        zone: now.zone,
        delay: plan.delay,
        catch_up: plan.catch_up,
        last: standing.and_then(|standing| standing.attempted),
        since: standing.map_or(now.time, |standing| standing.since),
        awake_since: now.awake_since,
    }
}

/// When it is tried again after failures: 1, 2, 4 ... times the wait after the last try.
fn retry_at(plan: &DutyPlan, standing: &Standing) -> Option<Timestamp> {
    let failures = u32::try_from(standing.failures).unwrap_or(u32::MAX);
    if failures == 0 || failures >= plan.attempts || !standing.may_retry {
        return None;
    }
    let wait = plan.wait.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_WAIT_MAX.max(plan.wait));
    standing.attempted?.checked_add(wait).ok()
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

/// Repositories that are written, and whether something reads at leisure.
struct Taken<'a> {
    written: BTreeSet<&'a str>,
    reads: bool,
}

impl<'a> Taken<'a> {
    fn by(board: &'a Board) -> Self {
        let mut taken = Taken { written: BTreeSet::new(), reads: false };
        board.running.iter().filter_map(|key| board.plans.get(key)).for_each(|plan| taken.add(plan));
        taken
    }

    fn add(&mut self, plan: &'a DutyPlan) {
        self.written.extend(plan.writes.iter().map(String::as_str));
        self.reads |= reads_at_leisure(plan);
    }

    fn in_the_way_of(&self, plan: &DutyPlan) -> Option<String> {
        let written = plan.writes.iter().find(|name| self.written.contains(name.as_str()));
        let reading =
            || (self.reads && reads_at_leisure(plan)).then(|| "another verification or drill".to_string());
        written.cloned().or_else(reading)
    }
}

fn reads_at_leisure(plan: &DutyPlan) -> bool {
    matches!(plan.duty, Duty::Verify | Duty::Drill)
}

//! Whether something scheduled is due, and what is to happen with runs that were missed.
//!
//! However many times went by while a machine slept or was off, the work is done once. A clock that was put
//! back never makes it wait longer than one period: a last run in the future counts as one of now.

use super::{Schedule, next_of};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Missed times are counted up to here.
const MISSED_MAX: u32 = 1000;

/// Something scheduled, and what happened to it so far.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// Any of them.
    pub schedules: &'a [Schedule],
    /// The zone of their local times.
    pub zone: &'a TimeZone,
    /// How much later than the schedule says; see [`jitter`]. Not for `every ...`, which is counted from the
    /// last run.
    pub delay: Duration,
    /// Whether times that went by unseen are made up for.
    pub catch_up: bool,
    /// When it last began.
    pub last: Option<Timestamp>,
    /// Since when it is there to be run.
    pub since: Timestamp,
    /// Since when this machine has been awake and the scheduler running.
    pub awake_since: Timestamp,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is to run.
    Now(Missed),
    /// It is to run then.
    At(Timestamp),
    /// The schedule has no more times.
    Never,
}

/// Why it is to run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The last time at which it should have run.
    pub scheduled: Timestamp,
    /// How many times went by; at most 1000. One is the ordinary case.
    pub times: u32,
}

/// Judges it at this time.
pub fn due(planned: &Planned<'_>, now: Timestamp) -> Due {
    let timed: Vec<Schedule> = planned.schedules.iter().filter(|s| s.interval().is_none()).cloned().collect();
    let intervals = planned.schedules.iter().filter_map(Schedule::interval).min();
    let timed = due_by_calendar(planned, &timed, now);
    intervals.map_or(timed, |interval| sooner(timed, due_by_interval(planned, interval, now)))
}

fn sooner(a: Due, b: Due) -> Due {
    match (a, b) {
        (Due::Now(_), _) => a,
        (_, Due::Now(_)) => b,
        (Due::At(x), Due::At(y)) => Due::At(x.min(y)),
        (Due::Never, other) | (other, Due::Never) => other,
    }
}

fn due_by_interval(planned: &Planned<'_>, interval: Duration, now: Timestamp) -> Due {
    let Some(last) = planned.last.map(|last| last.min(now)) else {
        return Due::Now(Missed { scheduled: planned.since.min(now), times: 1 });
    };
    match last.checked_add(interval) {
        Ok(at) if at > now => Due::At(at),
        Ok(at) => {
            let passed = now.as_second() - last.as_second();
            let times = (passed / (interval.as_secs().max(1) as i64)).clamp(1, MISSED_MAX.into());
            Due::Now(Missed { scheduled: at, times: times as u32 })
        }
        Err(_) => Due::Never,
    }
}

fn due_by_calendar(planned: &Planned<'_>, schedules: &[Schedule], now: Timestamp) -> Due {
    let next = |after: Timestamp| {
        let undelayed = after.checked_sub(planned.delay).ok()?;
        next_of(schedules, undelayed, planned.zone)?.checked_add(planned.delay).ok()
    };
    let base = planned.last.unwrap_or(planned.since).min(now);
    let Some(first) = next(base) else { return Due::Never };
    if first > now {
        return Due::At(first);
    }
    let mut missed = Missed { scheduled: first, times: 1 };
    let mut later = next(first);
    while let Some(time) = later.filter(|time| *time <= now && missed.times < MISSED_MAX) {
        missed = Missed { scheduled: time, times: missed.times + 1 };
        later = next(time);
    }
    let unseen = missed.times < MISSED_MAX && missed.scheduled < planned.awake_since;
    match (planned.catch_up, unseen) {
        (false, true) => later.map_or(Due::Never, Due::At),
        _ => Due::Now(missed),
    }
}

/// A delay between nothing and `max`, always the same for this work on this machine, so that many machines
/// with one configuration do not meet at the same second.
pub fn jitter(machine: &str, work: &str, max: Duration) -> Duration {
    let mut hasher = blake3::Hasher::new();
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    hasher.update(&(machine.len() as u64).to_le_bytes()).update(machine.as_bytes()).update(work.as_bytes());
    let hash = hasher.finalize();
    let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
    Duration::from_secs(number % (max.as_secs() + 1))
}

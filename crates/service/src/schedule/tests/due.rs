//! What is due after a gap, and how far it is moved.

use super::*;
use crate::schedule::{Due, Missed, Planned, due, jitter};
use std::time::Duration;

struct Case {
    schedules: Vec<Schedule>,
    zone: TimeZone,
    delay: Duration,
    catch_up: bool,
    last: Option<Timestamp>,
    awake_since: Timestamp,
}

impl Case {
    fn new(text: &str) -> Case {
        Case {
            schedules: vec![schedule(text)],
            zone: paris(),
            delay: Duration::ZERO,
            catch_up: true,
            last: Some(at("2026-11-20T01:30:07Z")),
            awake_since: at("2026-11-01T00:00:00Z"),
        }
    }

    fn at(&self, now: &str) -> Due {
        let planned = Planned {
            schedules: &self.schedules,
            zone: &self.zone,
            delay: self.delay,
            catch_up: self.catch_up,
            last: self.last,
            since: at("2026-11-01T00:00:00Z"),
            awake_since: self.awake_since,
        };
        due(&planned, at(now))
    }
}

fn now(scheduled: &str, times: u32) -> Due {
    Due::Now(Missed { scheduled: at(scheduled), times })
}

#[test]
fn it_is_due_from_its_time_on() {
    let case = Case::new("02:30");
    assert_eq!(case.at("2026-11-20T12:00:00Z"), Due::At(at("2026-11-21T01:30:00Z")));
    assert_eq!(case.at("2026-11-21T01:29:59Z"), Due::At(at("2026-11-21T01:30:00Z")));
    assert_eq!(case.at("2026-11-21T01:30:00Z"), now("2026-11-21T01:30:00Z", 1));
}

#[test]
fn many_missed_times_are_one_run() {
    let slept = Case { awake_since: at("2026-11-25T10:00:00Z"), ..Case::new("02:30") };
    assert_eq!(slept.at("2026-11-25T10:00:01Z"), now("2026-11-25T01:30:00Z", 5));
    let ran = Case { last: Some(at("2026-11-25T10:00:01Z")), ..slept };
    assert_eq!(ran.at("2026-11-25T10:00:02Z"), Due::At(at("2026-11-26T01:30:00Z")));
    let secondly = Case::new("*:*:*");
    assert!(matches!(secondly.at("2026-11-25T10:00:00Z"), Due::Now(Missed { times: 1000, .. })));
}

#[test]
fn without_catch_up_only_times_that_passed_unseen_are_left_out() {
    let slept = Case { catch_up: false, awake_since: at("2026-11-25T10:00:00Z"), ..Case::new("02:30") };
    assert_eq!(slept.at("2026-11-25T10:00:01Z"), Due::At(at("2026-11-26T01:30:00Z")));
    // It was awake at that time, and something else kept it from running.
    assert_eq!(slept.at("2026-11-26T09:00:00Z"), now("2026-11-26T01:30:00Z", 6));
}

#[test]
fn the_clock_going_back_stops_nothing() {
    let future = Case { last: Some(at("2031-01-01T00:00:00Z")), ..Case::new("02:30") };
    assert_eq!(future.at("2026-11-20T12:00:00Z"), Due::At(at("2026-11-21T01:30:00Z")));
    let every = Case { schedules: vec![schedule("every 6h")], ..future };
    assert_eq!(every.at("2026-11-20T12:00:00Z"), Due::At(at("2026-11-20T18:00:00Z")));
}

#[test]
fn every_six_hours_counts_from_the_last_run() {
    let case = Case::new("every 6h");
    assert_eq!(case.at("2026-11-20T03:00:00Z"), Due::At(at("2026-11-20T07:30:07Z")));
    assert_eq!(case.at("2026-11-20T20:00:00Z"), now("2026-11-20T07:30:07Z", 3));
    let never = Case { last: None, ..case };
    assert!(matches!(never.at("2026-11-20T03:00:00Z"), Due::Now(_)));
}

#[test]
fn of_several_schedules_the_first_counts() {
    let mut case = Case::new("02:30");
    case.schedules.push(schedule("every 1w"));
    assert_eq!(case.at("2026-11-20T12:00:00Z"), Due::At(at("2026-11-21T01:30:00Z")));
    assert_eq!(case.at("2026-11-21T01:30:00Z"), now("2026-11-21T01:30:00Z", 1));
}

#[test]
fn a_delay_moves_every_time_and_loses_none() {
    let case = Case { delay: Duration::from_secs(240), ..Case::new("02:30") };
    // It ran within its delay; that run was for the time before.
    let before = Case { last: Some(at("2026-11-20T01:31:00Z")), ..case };
    assert_eq!(before.at("2026-11-20T01:32:00Z"), Due::At(at("2026-11-20T01:34:00Z")));
    assert_eq!(before.at("2026-11-20T01:34:00Z"), now("2026-11-20T01:34:00Z", 1));
}

#[test]
fn jitter_is_the_same_each_time_and_spreads_machines() {
    let max = Duration::from_secs(300);
    assert_eq!(jitter("atlas", "daily", max), jitter("atlas", "daily", max));
    assert_eq!(jitter("atlas", "daily", Duration::ZERO), Duration::ZERO);
    let mut delays: Vec<_> = (0..200).map(|n| jitter(&format!("host{n}"), "daily", max)).collect();
    delays.sort_unstable();
    assert!(*delays.last().unwrap() <= max);
    delays.dedup();
    assert!(delays.len() > 100, "{} of 200 machines have a time of their own", delays.len());
}

#[test]
fn what_has_no_more_times_is_never_due() {
    let case = Case { last: Some(at("2027-01-01T00:00:00Z")), ..Case::new("2026-12-24 18:00") };
    assert_eq!(case.at("2027-01-02T00:00:00Z"), Due::Never);
}

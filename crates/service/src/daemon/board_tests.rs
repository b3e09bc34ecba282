//! A board and a clock that is moved by hand.

use super::board::{Board, Decision, Now, Standing, Trigger, Waiting};
use super::plan::{DutyPlan, Key};
use crate::catalog::Duty;
use crate::conditions::{Found, Metered, Power, Wanted};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn plan(duty: Duty, subject: &str, schedule: &str, writes: &[&str]) -> DutyPlan {
    DutyPlan {
        duty,
        subject: subject.to_string(),
        schedules: vec![schedule.parse().unwrap()],
        delay: Duration::ZERO,
        catch_up: true,
        heeds_conditions: duty == Duty::Run,
        wanted: Wanted::default(),
        writes: writes.iter().map(ToString::to_string).collect(),
        attempts: 3,
        wait: Duration::from_secs(120),
        timeout: None,
        goal: None,
    }
}

fn job(subject: &str, schedule: &str, writes: &[&str]) -> DutyPlan {
    plan(Duty::Run, subject, schedule, writes)
}

fn key(duty: Duty, subject: &str) -> Key {
    Key { duty, subject: subject.to_string() }
}

fn run(subject: &str) -> Key {
    key(Duty::Run, subject)
}

/// A board in its world.
struct World {
    board: Board,
    now: Timestamp,
    awake_since: Timestamp,
    paused: bool,
    found: Found,
    looked: usize,
}

impl World {
    fn new(plans: Vec<DutyPlan>) -> World {
        let now = at("2026-11-25T10:00:00Z");
        let mut board = Board::default();
        for plan in &plans {
            board.set_standing(plan.key(), done(now));
        }
        board.set_plans(plans);
        let found = Found { power: Power::default(), metered: Metered::Unknown, quiet: false };
        World { board, now, awake_since: now, paused: false, found, looked: 0 }
    }

    fn decide(&mut self) -> Decision {
        let now =
            Now { time: self.now, zone: &TimeZone::UTC, awake_since: self.awake_since, paused: self.paused };
        let (found, looked) = (self.found, &mut self.looked);
        self.board.decide(&now, &mut |_| {
            *looked += 1;
            found
        })
    }

    fn at(&mut self, time: &str) -> Decision {
        self.now = at(time);
        self.decide()
    }

    fn begun(&mut self, decision: &Decision) {
        decision.begin.iter().for_each(|(key, _)| self.board.begun(key));
    }

    fn ends(&mut self, key: &Key, failures: u64) {
        self.board.ended(key);
        let before = self.board.standing(key).unwrap().clone();
        let succeeded = if failures == 0 { Some(self.now) } else { before.succeeded };
        let standing = Standing { attempted: Some(self.now), succeeded, failures, may_retry: true, ..before };
        self.board.set_standing(key.clone(), standing);
    }
}

fn done(now: Timestamp) -> Standing {
    Standing { attempted: Some(now), succeeded: Some(now), failures: 0, may_retry: true, since: now }
}

fn names(decision: &Decision) -> Vec<String> {
    decision.begin.iter().map(|(key, trigger)| format!("{} ({})", key.subject, trigger.word())).collect()
}

#[test]
fn nothing_begins_before_its_time_and_the_wait_is_known() {
    let mut world = World::new(vec![job("daily", "11:00", &["nas"]), job("hourly", "*:30", &["usb"])]);
    let decision = world.decide();
    assert_eq!(decision.begin, []);
    assert_eq!(decision.wake, Some(at("2026-11-25T10:30:00Z")));
    assert_eq!(world.looked, 0, "nothing is looked at when nothing is due");
    assert_eq!(names(&world.at("2026-11-25T10:30:00Z")), ["hourly (schedule)"]);
}

#[test]
fn what_passed_during_sleep_is_done_once_and_called_so() {
    let mut world = World::new(vec![job("hourly", "*:30", &["usb"])]);
    world.awake_since = at("2026-11-26T09:00:00Z");
    let decision = world.at("2026-11-26T09:00:01Z");
    assert_eq!(names(&decision), ["hourly (catch-up)"]);
    world.begun(&decision);
    assert_eq!(world.decide().begin, []);
    world.ends(&run("hourly"), 0);
    assert_eq!(world.decide().wake, Some(at("2026-11-26T09:30:00Z")));
}

#[test]
fn one_writing_run_per_repository() {
    let mut world = World::new(vec![
        job("a", "11:00", &["nas"]),
        job("b", "11:00", &["nas", "usb"]),
        job("c", "11:00", &["cloud"]),
    ]);
    let decision = world.at("2026-11-25T11:00:00Z");
    assert_eq!(names(&decision), ["a (schedule)", "c (schedule)"]);
    assert_eq!(decision.waiting, [(run("b"), Waiting::Busy("nas".into()))]);
    world.begun(&decision);
    world.ends(&run("a"), 0);
    assert_eq!(names(&world.decide()), ["b (schedule)"]);
}

#[test]
fn a_job_for_many_repositories_is_not_overtaken_for_ever() {
    let mut world = World::new(vec![
        job("a-narrow", "*:0/5", &["nas"]),
        job("b-narrow", "*:0/5", &["usb"]),
        job("wide", "11:00", &["nas", "usb"]),
    ]);
    let first = world.at("2026-11-25T10:55:00Z");
    world.begun(&first);
    // Both are running when the wide one becomes due; each ends, and is due again, before the other.
    world.now = at("2026-11-25T11:01:00Z");
    world.ends(&run("a-narrow"), 0);
    let decision = world.at("2026-11-25T11:05:00Z");
    assert_eq!(decision.begin, [], "nas is kept for what has waited longer");
    world.ends(&run("b-narrow"), 0);
    assert_eq!(names(&world.at("2026-11-25T11:05:01Z")), ["wide (schedule)"]);
}

#[test]
fn one_verification_or_drill_at_a_time_and_beside_backups() {
    let mut world = World::new(vec![
        plan(Duty::Verify, "nas", "11:00", &[]),
        plan(Duty::Drill, "sample", "11:00", &[]),
        job("daily", "11:00", &["nas"]),
    ]);
    let decision = world.at("2026-11-25T11:00:00Z");
    assert_eq!(names(&decision), ["daily (schedule)", "nas (schedule)"]);
    assert_eq!(decision.waiting.len(), 1);
}

#[test]
fn failures_are_tried_again_with_doubled_waits_and_then_wait_for_their_time() {
    let mut world = World::new(vec![job("daily", "11:00", &["nas"])]);
    world.now = at("2026-11-25T11:00:05Z");
    world.ends(&run("daily"), 1);
    assert_eq!(world.decide().wake, Some(at("2026-11-25T11:02:05Z")));
    assert_eq!(names(&world.at("2026-11-25T11:02:05Z")), ["daily (retry)"]);
    world.ends(&run("daily"), 2);
    assert_eq!(world.decide().wake, Some(at("2026-11-25T11:06:05Z")));
    world.now = at("2026-11-25T11:06:10Z");
    world.ends(&run("daily"), 3);
    assert_eq!(world.decide().wake, Some(at("2026-11-26T11:00:00Z")));
}

#[test]
fn what_trying_again_cannot_help_is_not_tried_again() {
    let mut world = World::new(vec![job("daily", "11:00", &["nas"])]);
    world.now = at("2026-11-25T11:00:05Z");
    world.ends(&run("daily"), 1);
    let standing = Standing { may_retry: false, ..world.board.standing(&run("daily")).unwrap().clone() };
    world.board.set_standing(run("daily"), standing);
    assert_eq!(world.decide().wake, Some(at("2026-11-26T11:00:00Z")));
}

#[test]
fn conditions_put_off_but_not_for_ever_and_not_what_somebody_asks_for() {
    let mut laptop = job("daily", "11:00", &["nas"]);
    laptop.wanted = Wanted {
        battery_above: Some(30),
        unmetered: false,
        unless_older_than: Some(Duration::from_secs(3 * 24 * 3600)),
    };
    let mut world = World::new(vec![laptop]);
    world.found.power = Power { on_battery: true, battery: Some(20) };
    let decision = world.at("2026-11-25T11:00:00Z");
    assert_eq!(decision.begin, []);
    assert!(matches!(decision.waiting[..], [(_, Waiting::Conditions(_))]));
    assert_eq!(decision.wake, Some(at("2026-11-25T11:01:00Z")));
    assert_eq!(names(&world.at("2026-11-28T10:00:01Z")), ["daily (catch-up)"]);
    world.now = at("2026-11-25T11:00:00Z");
    assert!(world.board.ask(&run("daily")));
    assert_eq!(names(&world.decide()), ["daily (manual)"]);
}

#[test]
fn a_pause_holds_what_is_scheduled_only() {
    let mut world = World::new(vec![job("daily", "11:00", &["nas"]), job("other", "11:00", &["nas"])]);
    world.paused = true;
    let decision = world.at("2026-11-25T11:00:00Z");
    assert_eq!(decision.waiting, [(run("daily"), Waiting::Paused), (run("other"), Waiting::Paused)]);
    world.board.ask(&run("other"));
    assert_eq!(names(&world.decide()), ["other (manual)"]);
    assert!(!world.board.ask(&run("unknown")));
}

#[test]
fn a_new_configuration_takes_effect_and_leaves_what_runs() {
    let mut world = World::new(vec![job("daily", "11:00", &["nas"])]);
    let decision = world.at("2026-11-25T11:00:00Z");
    world.begun(&decision);
    world.board.set_plans(vec![job("weekly", "Mon 11:00", &["nas"]), job("daily", "12:00", &["nas"])]);
    assert!(world.board.is_running(&run("daily")));
    assert_eq!(world.decide().begin, []);
    world.ends(&run("daily"), 0);
    assert_eq!(world.decide().wake, Some(at("2026-11-25T12:00:00Z")));
}

#[test]
fn a_year_of_one_machine_misses_no_day_and_never_runs_twice_at_once() {
    let mut world = World::new(vec![
        job("hourly", "hourly", &["nas", "usb"]),
        plan(Duty::Maintenance, "nas", "Sat 04:00", &["nas"]),
        plan(Duty::Verify, "nas", "05:00", &[]),
    ]);
    let mut runs = std::collections::BTreeMap::new();
    let end = at("2027-11-25T10:00:00Z");
    let mut night = false;
    while world.now < end {
        let decision = world.decide();
        world.begun(&decision);
        for (key, _) in &decision.begin {
            *runs.entry(key.clone()).or_insert(0u32) += 1;
        }
        world.now = world.now.checked_add(7.minutes()).unwrap();
        for (key, _) in &decision.begin {
            world.ends(key, 0);
        }
        // It sleeps from ten in the evening to six in the morning.
        let hour = world.now.to_zoned(TimeZone::UTC).hour();
        if !(6..22).contains(&hour) {
            world.now = world.now.checked_add(30.minutes()).unwrap();
            night = true;
            continue;
        }
        if std::mem::take(&mut night) {
            world.awake_since = world.now;
        }
        let wake = decision.wake.unwrap_or(world.now).max(world.now);
        world.now = wake.min(world.now.checked_add(1.hour()).unwrap());
    }
    assert!(runs[&run("hourly")] > 365 * 15, "{runs:?}");
    assert!((52..=54).contains(&runs[&key(Duty::Maintenance, "nas")]), "{runs:?}");
    assert!((364..=367).contains(&runs[&key(Duty::Verify, "nas")]), "{runs:?}");
    assert_eq!(Trigger::CatchUp.word(), "catch-up");
}

#[test]
fn a_drive_that_is_plugged_in_makes_its_jobs_due_as_long_as_it_is_there() {
    let mut world = World::new(vec![job("weekly", "Mon 02:00", &["usb"])]);
    assert_eq!(names(&world.decide()), [] as [&str; 0]);
    world.board.plugged_in(&run("weekly"));
    world.paused = true;
    assert_eq!(names(&world.decide()), [] as [&str; 0], "it begins by itself, so a pause holds it");
    world.board.unplugged(&run("weekly"));
    world.paused = false;
    assert_eq!(names(&world.decide()), [] as [&str; 0], "the drive is gone");
    world.board.plugged_in(&run("weekly"));
    let decision = world.decide();
    assert_eq!(names(&decision), ["weekly (plugged-in)"]);
    world.begun(&decision);
    world.ends(&run("weekly"), 0);
    assert_eq!(names(&world.decide()), [] as [&str; 0], "once for each time it comes");
    world.board.ask(&run("weekly"));
    world.board.unplugged(&run("weekly"));
    assert_eq!(names(&world.decide()), ["weekly (manual)"]);
}

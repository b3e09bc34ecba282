//! `systemd-analyze calendar` and the crate `croner` as judges of what expressions mean.

use super::*;
use crate::schedule::upcoming;
use jiff::ToSpan;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::process::Command;

const COUNT: usize = 6;

/// What systemd says: refused, or the next times.
fn systemd(text: &str, after: Timestamp, zone: &str) -> Option<Vec<Timestamp>> {
    let base = format!("{} UTC", after.strftime("%Y-%m-%d %H:%M:%S"));
    let ran = Command::new("systemd-analyze")
        .env("TZ", zone)
        .env("LC_ALL", "C")
        .args(["calendar", "--base-time", &base, "--iterations", &COUNT.to_string(), "--", text])
        .output()
        .unwrap();
    if !ran.status.success() {
        return None;
    }
    let text = String::from_utf8(ran.stdout).unwrap();
    let mark = if zone == "UTC" { ["Next elapse: ", "Iter. #"] } else { ["(in UTC): "; 2] };
    let lines = text.lines().map(str::trim).filter(|line| mark.iter().any(|m| line.starts_with(m)));
    let times = lines.filter_map(|line| {
        // Next elapse: Thu 2026-11-26 02:30:00 UTC
        let words: Vec<&str> = line.split(' ').collect();
        let [.., date, time, "UTC"] = words[..] else { return None };
        Some(format!("{date}T{time}Z").parse().unwrap())
    });
    Some(times.collect())
}

#[allow(clippy::print_stderr)]
fn has_systemd() -> bool {
    let found = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !found {
        let required = std::env::var("LIFEBOAT_TEST_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "systemd-analyze is not installed");
        eprintln!("not run: systemd-analyze is not installed");
    }
    found
}

/// Whether the local day of this time has 24 hours; systemd and lifeboat differ on the others on purpose.
fn on_even_day(time: Timestamp, zone: &TimeZone) -> bool {
    let day = time.to_zoned(zone.clone()).start_of_day().unwrap();
    day.checked_add(1.day()).unwrap().timestamp().duration_since(day.timestamp()).as_hours() == 24
}

fn compare_with_systemd(text: &str, after: &str, zone: &str) -> Result<(), String> {
    let tz = TimeZone::get(zone).unwrap();
    let theirs = systemd(text, at(after), zone);
    let ours = text.parse::<Schedule>().ok().map(|s| upcoming(&[s], at(after), &tz, COUNT));
    let (Some(theirs), Some(ours)) = (&theirs, &ours) else {
        return match theirs.is_some() == ours.is_some() {
            true => Ok(()),
            false => Err(format!("{text:?} in {zone}: theirs {theirs:?}, ours {ours:?}")),
        };
    };
    let even = |times: &[Timestamp]| -> Vec<Timestamp> {
        times.iter().copied().filter(|time| zone == "UTC" || on_even_day(*time, &tz)).collect()
    };
    let (theirs, ours) = (even(theirs), even(ours));
    // systemd gives up after some thousand days that do not fit.
    let both = if zone == "UTC" { theirs.len() } else { theirs.len().min(ours.len()) };
    let shown = |times: &[Timestamp]| times.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (theirs, ours) = (shown(&theirs[..both]), shown(&ours[..both.min(ours.len())]));
    match theirs == ours {
        true => Ok(()),
        false => Err(format!("{text:?} in {zone}: theirs {theirs:?}, ours {ours:?}")),
    }
}

#[test]
fn expressions_mean_what_they_mean_to_systemd() {
    if !has_systemd() {
        return;
    }
    let mut differing = Vec::new();
    for text in [
        "minutely",
        "hourly",
        "daily",
        "weekly",
        "monthly",
        "quarterly",
        "semiannually",
        "yearly",
        "Daily",
        "*-*-* 02:30",
        "Mon..Fri *-*-* 13:00",
        "Sun 03:00",
        "Sat 04:00",
        "*-*-01 06:00",
        "*:0/15",
        "Mon,Wed..Fri 8..17/2:00",
        "2026-02-29",
        "*-02-29",
        "*-*~1",
        "*-*~7/1",
        "*-*~1..6/2 3:00",
        "*-*~3..7",
        "*-*~29",
        "*-02~28",
        "Mon *-*~7..3",
        "*-*-31..1",
        "2000..2030/4-1-1",
        "26-12-24",
        "70-1-1",
        "*-*~01/2 3:00",
        "Sat..Mon",
        "Mon..Mon",
        "Mon-Fri 5:00",
        "Mon, 5:00",
        "Monday,fri 5:00",
        "Mon",
        "Mon,",
        "5:",
        ":5",
        "5",
        "*",
        "*-*",
        "*:*",
        "*:*:*",
        "*-*-*",
        "12-11",
        "12-11 5:00",
        "*-5..9-* 1:00",
        "0/5:0",
        "*-*-5/10",
        "00..23/3:00",
        "*:59,0/30",
        "5..5:00",
        "5..6:00",
        "24:00",
        "5:60",
        "5:00:60",
        "*-13-1",
        "*-0-1",
        "*-*-32",
        "2200-1-1",
        "1969-1-1",
        "*:0/60",
        "*:0/59",
        "*:30/30",
        "0/23:0",
        "2026-11-25 18:00 UTC",
        "02:30 Europe/Paris",
        "daily UTC",
        "*-*-* *:*:0/7",
        "Mon *-*-1..7 02:00",
        "Sat,Sun 10:00",
        "2026-*-1,15 11:12:13",
        "1,2,3-4,5 6,7:8,9:10,11",
        "*-*-*  5:00",
        "Tue..Wed,Sun 23:59:59",
        "mon..sun",
        "Mon..Fri",
        "*-*-*T5:00",
        "1-1",
        "*-2-30",
        "*-*-1~1",
        "*~1-1",
        "~1",
        "-1",
        "1-",
        "*-*-* 5",
        "*:*:",
        "1/1-1",
        "0..12/6:0",
        "5,:0",
        ",5:0",
    ] {
        for zone in ["UTC", "Europe/Paris"] {
            differing.extend(compare_with_systemd(text, "2026-10-20T22:17:31Z", zone).err());
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn piece(from: u32, to: u32) -> impl Strategy<Value = String> {
    let n = from..=to;
    prop_oneof![
        4 => n.clone().prop_map(|n| n.to_string()),
        2 => (n.clone(), n.clone()).prop_map(|(a, b)| format!("{a}..{b}")),
        1 => (n.clone(), n.clone(), 1..=to).prop_map(|(a, b, s)| format!("{a}..{b}/{s}")),
        2 => (n, 0..=to).prop_map(|(a, s)| format!("{a}/{s}")),
    ]
}

fn chain(from: u32, to: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("*".to_string()),
        3 => prop::collection::vec(piece(from, to), 1..3).prop_map(|pieces| pieces.join(",")),
    ]
}

fn weekdays() -> impl Strategy<Value = String> {
    let day = || prop::sample::select(vec!["Mon", "Tue", "Wednesday", "thu", "Fri", "Sat", "Sun"]);
    prop_oneof![
        3 => Just(String::new()),
        1 => day().prop_map(|day| format!("{day} ")),
        1 => (day(), day()).prop_map(|(a, b)| format!("{a}..{b} ")),
        1 => (day(), day(), day()).prop_map(|(a, b, c)| format!("{a},{b}..{c} ")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let date = prop_oneof![
        2 => Just(String::new()),
        2 => (chain(1, 12), chain(1, 31)).prop_map(|(m, d)| format!("*-{m}-{d} ")),
        // systemd 252 takes three days off the bound again for each further part of a list.
        1 => (chain(1, 12), piece(1, 31)).prop_map(|(m, d)| format!("*-{m}~{d} ")),
        1 => (chain(2025, 2035), chain(1, 12), chain(1, 28)).prop_map(|(y, m, d)| format!("{y}-{m}-{d} ")),
    ];
    // A range of one second is refused by systemd, unlike one of one minute.
    let seconds = chain(0, 59).prop_filter("a range of one second", |text| {
        let one = |part: &str| part.split_once("..").is_some_and(|(a, b)| a == b);
        !text.split(',').any(one)
    });
    let time = prop_oneof![
        (chain(0, 23), chain(0, 59)).prop_map(|(h, m)| format!("{h}:{m}")),
        (chain(0, 23), chain(0, 59), seconds).prop_map(|(h, m, s)| format!("{h}:{m}:{s}")),
    ];
    (weekdays(), date, time).prop_map(|(week, date, time)| format!("{week}{date}{time}"))
}

#[test]
fn random_expressions_mean_what_they_mean_to_systemd() {
    if !has_systemd() {
        return;
    }
    let mut runner = runner(300);
    let zone = prop::sample::select(vec!["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata"]);
    runner
        .run(&(expression(), zone, 0i64..300_000_000), |(text, zone, secs)| {
            let after = Timestamp::from_second(1_700_000_000 + secs).unwrap();
            compare_with_systemd(&text, &after.to_string(), zone).map_err(TestCaseError::fail)
        })
        .unwrap();
}

#[test]
fn what_is_written_for_systemd_means_the_same_to_it() {
    if !has_systemd() {
        return;
    }
    for text in
        ["Mon,Wed..Fri 8..17/2:00", "*-*~7/1", "26-12-24", "30 2 * * 1-5", "*/7 * * * *", "0 0 1,15 * *"]
    {
        let ours = upcoming(&[schedule(text)], at("2026-10-20T22:17:31Z"), &TimeZone::UTC, COUNT);
        let written = schedule(text).as_calendars();
        let theirs: Vec<_> =
            written.iter().flat_map(|w| systemd(w, at("2026-10-20T22:17:31Z"), "UTC").unwrap()).collect();
        assert_eq!(theirs, ours, "{text} as {written:?}");
    }
}

/// The same cases every time: what systemd cannot do in rare cases must not stop anybody's change.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn cron_field(from: u32, to: u32) -> impl Strategy<Value = String> {
    let n = from..=to;
    let range = (n.clone(), n.clone()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let part = prop_oneof![
        3 => n.prop_map(|n| n.to_string()),
        1 => range.clone().prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (range, 1..=to).prop_map(|((a, b), s)| format!("{a}-{b}/{s}")),
    ];
    prop_oneof![
        3 => Just("*".to_string()),
        1 => (1..=to).prop_map(|s| format!("*/{s}")),
        3 => prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(",")),
    ]
}

#[test]
fn random_cron_lines_mean_what_they_mean_to_another_cron() {
    let fields =
        (cron_field(0, 59), cron_field(0, 23), cron_field(1, 28), cron_field(1, 12), cron_field(0, 7));
    let mut runner = runner(400);
    runner
        .run(&(fields, 0i64..300_000_000), |((minute, hour, day, month, week), secs)| {
            // What a step of `*` means for the rule of days differs from cron to cron; `*` itself does not.
            prop_assume!(!day.starts_with("*/") && !week.starts_with("*/"));
            let text = format!("{minute} {hour} {day} {month} {week}");
            let after = Timestamp::from_second(1_700_000_000 + secs).unwrap();
            let ours = upcoming(&[schedule(&text)], after, &TimeZone::UTC, COUNT);
            let other: croner::Cron = text.parse().unwrap();
            let mut theirs = Vec::new();
            let mut last = after.to_zoned(TimeZone::UTC);
            for _ in 0..COUNT {
                last = other.find_next_occurrence(&last, false).unwrap();
                theirs.push(last.timestamp());
            }
            prop_assert_eq!(&ours, &theirs, "{}", text);
            Ok(())
        })
        .unwrap();
}

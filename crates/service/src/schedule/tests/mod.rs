//! Schedules against what judges them: systemd, another cron, and the days on which clocks change.

mod clocks;
mod due;
mod oracles;
mod texts;

use super::Schedule;
use jiff::Timestamp;
use jiff::tz::TimeZone;

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").unwrap()
}

/// The next times as UTC.
fn next(text: &str, after: &str, zone: &TimeZone, count: usize) -> Vec<String> {
    super::upcoming(&[schedule(text)], at(after), zone, count).iter().map(ToString::to_string).collect()
}

//! When something is due: systemd calendar expressions, cron lines and `every 6h`.
//!
//! Pure: a [`Schedule`] is read from text, and says which instants of a time zone it means. It knows no clock;
//! callers hand in the time and the zone.
//!
//! Where clocks are put forward or back, a backup must neither be left out nor run twice. A time that a day
//! does not have comes at the first instant after the gap. A time that a day has twice comes at its first
//! pass; only what recurs every hour comes in both, so that no two runs are further apart than they should be.
//! (systemd's own timers leave out the first and the last of these, and cron differs from one to the other.)

mod calendar;
mod civil;
mod cron;
mod due;
mod length;
mod words;

#[cfg(test)]
mod tests;

pub use due::{Due, Missed, Planned, due, jitter};
pub use length::{parse_length, shown_length};
pub use words::{ago, in_words, relative};

use civil::{Calendar, following};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longer texts are no schedules.
const TEXT_BYTES_MAX: usize = 256;

/// What repeats: one line of a configuration's `schedule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// At these local times. The zone is set where the expression names its own.
    Calendar(Box<Calendar>, Option<Zone>),
    /// So long after the last time.
    Every(Duration),
}

/// A time zone by its name, so that schedules can be compared.
#[derive(Clone, Debug)]
struct Zone(TimeZone);

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.0 == other.0
    }
}

impl Eq for Zone {}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no schedule: {why}")]
pub struct ScheduleError {
    text: String,
    why: String,
}

impl ScheduleError {
    /// What to write instead.
    pub const HINT: &str = "write it like \"daily\", \"*-*-* 02:30\", \"Mon..Fri 13:00\", \"every 6h\" or as five cron fields \"30 2 * * *\"";
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let wrong = |why: String| ScheduleError { text: text.chars().take(TEXT_BYTES_MAX).collect(), why };
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong(format!("it is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let kind = parse_kind(text.trim()).map_err(wrong)?;
        Ok(Schedule { text: text.trim().to_string(), kind })
    }
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    if text.is_empty() {
        return Err("it is empty".to_string());
    }
    if let Some(length) = text.strip_prefix("every") {
        let length =
            parse_length(length).ok_or_else(|| format!("{:?} is no length of time", length.trim()))?;
        return match length.as_secs() {
            0 => Err("its length is less than a second".to_string()),
            _ => Ok(Kind::Every(length)),
        };
    }
    if cron::looks_like(text) {
        return Ok(Kind::Calendar(Box::new(cron::parse(text)?), None));
    }
    let (text, zone) = calendar::split_zone(text);
    Ok(Kind::Calendar(Box::new(calendar::parse(text)?), zone.map(Zone)))
}

impl fmt::Display for Schedule {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Schedule {
    /// The first time later than `after`; `None` when there is none any more. For `every 6h` that is six
    /// hours after `after`, which should be the time of the last run.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.kind {
            Kind::Calendar(calendar, own) => following(calendar, after, own.as_ref().map_or(zone, |z| &z.0)),
            Kind::Every(length) => after.checked_add(*length).ok(),
        }
    }

    /// The length of an `every ...` schedule.
    pub fn interval(&self) -> Option<Duration> {
        match self.kind {
            Kind::Every(length) => Some(length),
            Kind::Calendar(..) => None,
        }
    }

    /// The schedule as systemd calendar expressions, any of which; none if it is counted from the last run.
    pub fn as_calendars(&self) -> Vec<String> {
        match &self.kind {
            Kind::Calendar(calendar, zone) => {
                let zone = zone.as_ref().and_then(|z| z.0.iana_name());
                let zone = zone.map(|name| format!(" {name}")).unwrap_or_default();
                calendar.expressions().into_iter().map(|text| text + &zone).collect()
            }
            Kind::Every(_) => Vec::new(),
        }
    }

    /// The schedule as the five fields of a cron line, where cron can say it.
    pub fn as_cron(&self) -> Option<String> {
        match &self.kind {
            Kind::Calendar(calendar, None) => cron::fields(calendar),
            Kind::Calendar(_, Some(_)) => None,
            Kind::Every(length) => cron::every(*length),
        }
    }

    /// The same times, with the zone they are meant in: that of the expression, else this one.
    pub fn in_zone(&self, zone: &TimeZone) -> Schedule {
        let kind = match &self.kind {
            Kind::Calendar(calendar, None) => Kind::Calendar(calendar.clone(), Some(Zone(zone.clone()))),
            other => other.clone(),
        };
        Schedule { text: self.text.clone(), kind }
    }

    /// The same times by a clock that shows another zone: without a zone where both mean the same for all times to
    /// come, else with the zone they are meant in.
    pub fn by_clock(&self, zone: &TimeZone, clock: &TimeZone, now: Timestamp) -> Schedule {
        let Kind::Calendar(calendar, own) = &self.kind else { return self.clone() };
        let zone = own.as_ref().map_or(zone, |own| &own.0);
        let plain = Schedule { text: self.text.clone(), kind: Kind::Calendar(calendar.clone(), None) };
        let apart = apart(zone, clock, now);
        let every_hour = plain.as_cron().is_some_and(|fields| fields.ends_with(" * * * *"));
        let quarters = plain.as_cron().is_some_and(|fields| {
            ["0,15,30,45 * * * *", "*/15 * * * *", "* * * * *"].contains(&fields.as_str())
        });
        let is_same = |secs: &i32| match (quarters, every_hour) {
            (true, _) => secs % 900 == 0,
            (_, true) => secs % 3600 == 0,
            _ => *secs == 0,
        };
        if apart.iter().all(is_same) { plain } else { self.in_zone(zone) }
    }

    /// What it means, for people: `every day at 02:30`.
    pub fn meaning(&self) -> String {
        match &self.kind {
            Kind::Calendar(calendar, zone) => {
                let zone = zone.as_ref().and_then(|z| z.0.iana_name());
                words::meaning(calendar) + &zone.map(|name| format!(" ({name})")).unwrap_or_default()
            }
            Kind::Every(length) => format!("every {}", shown_length(*length)),
        }
    }
}

/// Changes of the clock that are looked at, so that zones which will differ are told apart: some ten years.
const CHANGES: usize = 20;

/// How many seconds two zones are apart, now and after the next changes of either clock.
fn apart(a: &TimeZone, b: &TimeZone, now: Timestamp) -> Vec<i32> {
    let changes = |zone: &TimeZone| -> Vec<Timestamp> {
        zone.following(now).take(CHANGES).map(|change| change.timestamp()).collect()
    };
    let moments = [vec![now], changes(a), changes(b)].concat();
    let offset = |zone: &TimeZone, at: Timestamp| zone.to_offset(at).seconds();
    moments.into_iter().map(|at| offset(a, at) - offset(b, at)).collect()
}

/// The first time later than `after` that any of the schedules means.
pub fn next_of(schedules: &[Schedule], after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    schedules.iter().filter_map(|schedule| schedule.next(after, zone)).min()
}

/// The next `count` times that any of the schedules means.
pub fn upcoming(schedules: &[Schedule], after: Timestamp, zone: &TimeZone, count: usize) -> Vec<Timestamp> {
    let next = |last: &Timestamp| next_of(schedules, *last, zone);
    std::iter::successors(next(&after), next).take(count).collect()
}

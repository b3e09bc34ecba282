//! Times as people read and write them. Knows calendars; what time it is now is told by whoever calls.

use crate::failure::{Failure, Outcome};
use format::kind::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::time::Duration;

/// A time of the calendar as the repository holds it.
pub fn from_jiff(time: jiff::Timestamp) -> Timestamp {
    let nanos = time.as_nanosecond();
    Timestamp { secs: nanos.div_euclid(1_000_000_000) as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
}

/// `None` for times beyond the calendar (years -9999 to 9999), which file systems can hold.
pub fn to_jiff(time: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(time.secs, 0).ok()?.checked_add(Duration::from_nanos(time.nanos.into())).ok()
}

/// Local date and time to the second: `2026-11-22 13:45:00`.
pub fn shown(time: Timestamp) -> String {
    match to_jiff(time) {
        Some(t) => t.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", time.secs),
    }
}

/// RFC 3339 with nanoseconds and the local offset, as JSON holds it.
pub fn rfc3339(time: Timestamp) -> String {
    match to_jiff(time) {
        Some(t) => t.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.9f%:z").to_string(),
        None => format!("@{}.{:09}", time.secs, time.nanos),
    }
}

/// RFC 3339 to the second with the local offset, as reports show it.
pub fn to_the_second(time: Timestamp) -> String {
    match to_jiff(time) {
        Some(t) => t.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        None => format!("@{}", time.secs),
    }
}

/// Local year, month, day, hour, minute and second, within the years 1980 to 2107 that zip archives hold.
pub fn calendar(time: Timestamp) -> (u16, u8, u8, u8, u8, u8) {
    let local = to_jiff(time).unwrap_or_default().to_zoned(TimeZone::system()).datetime();
    match local.year() {
        year @ 1980..=2107 => (
            year as u16,
            local.month() as u8,
            local.day() as u8,
            local.hour() as u8,
            local.minute() as u8,
            local.second() as u8,
        ),
        ..1980 => (1980, 1, 1, 0, 0, 0),
        _ => (2107, 12, 31, 23, 59, 58),
    }
}

/// Seconds and nanoseconds as a system time; `None` beyond what the system holds.
pub fn from_system(time: std::time::SystemTime) -> Timestamp {
    jiff::Timestamp::try_from(time).map(from_jiff).unwrap_or_default()
}

/// Reads `2026-11-22`, `2026-11-22 13:45[:00]` (local time) or RFC 3339, or `@SECONDS`.
pub fn parse(text: &str) -> Outcome<Timestamp> {
    let text = text.trim();
    if let Some(secs) = text.strip_prefix('@').and_then(|n| n.parse().ok()) {
        return Ok(Timestamp { secs, nanos: 0 });
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(from_jiff(time));
    }
    let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from));
    let zoned = civil.ok().and_then(|c| c.to_zoned(TimeZone::system()).ok());
    zoned.map(|z| from_jiff(z.timestamp())).ok_or_else(|| {
        Failure::usage(format!("{text:?} is not a time"))
            .hint("write it like 2026-11-22 or \"2026-11-22 13:45:00\"")
    })
}

/// A duration as `1:02:03` or `4:05`.
pub fn clock(duration: Duration) -> String {
    let s = duration.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_usual_forms() {
        assert_eq!(parse("2026-11-22T13:45:00Z").unwrap(), Timestamp { secs: 1_795_355_100, nanos: 0 });
        assert_eq!(parse("@-5").unwrap(), Timestamp { secs: -5, nanos: 0 });
        let day = parse("2026-11-22").unwrap();
        assert_eq!(parse("2026-11-22 00:00:00").unwrap(), day);
        assert!(shown(day).starts_with("2026-11-22 00:00"));
        assert!(parse("yesterday-ish").is_err());
    }

    #[test]
    fn times_no_calendar_holds_are_still_shown() {
        assert_eq!(shown(Timestamp { secs: i64::MAX, nanos: 1 }), format!("@{}", i64::MAX));
        assert!(rfc3339(Timestamp { secs: -1, nanos: 5 }).contains(".000000005"));
    }
}

//! Lengths of time as people write them.

use crate::failure::{Failure, Outcome};
use std::time::Duration;

/// Reads `0`, `90s`, `45m` or `45min`, `24h`, `7d`, `2w`, `6mo` or `10y`. A month counts as 31 days and a year
/// as 366: never less than the calendar says.
pub fn parse(text: &str) -> Outcome<Duration> {
    let wrong = || {
        Failure::usage(format!("{text:?} is no length of time")).hint("write it like 0, 45m, 24h, 7d or 2w")
    };
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let secs = match (&text[number.len()..], number) {
        ("", "0") | ("s" | "sec", _) => 1,
        ("m" | "min", _) => 60,
        ("h", _) => 3600,
        ("d", _) => 24 * 3600,
        ("w", _) => 7 * 24 * 3600,
        ("mo", _) => 31 * 24 * 3600,
        ("y", _) => 366 * 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(secs).map(Duration::from_secs).ok_or_else(wrong)
}

/// The length of time as [`parse`] reads it.
pub fn written(duration: Duration) -> String {
    let secs = duration.as_secs();
    let units = [(24 * 3600, "d"), (3600, "h"), (60, "min"), (1, "s")];
    // Up to two days people count hours.
    let fits = |unit: u64| secs.is_multiple_of(unit) && (unit < 24 * 3600 || secs > 48 * 3600);
    match units.iter().find(|(unit, _)| secs > 0 && fits(*unit)) {
        Some((unit, name)) => format!("{}{name}", secs / unit),
        None => "0".to_string(),
    }
}

/// `7 days`, `24 hours`, `now`.
pub fn shown(duration: Duration) -> String {
    let secs = duration.as_secs();
    let units = [(24 * 3600, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    match units.iter().find(|(unit, _)| secs >= 2 * unit && secs.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}s", secs / unit),
        None => format!("{secs} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_shown() {
        assert_eq!(parse("0").unwrap(), Duration::ZERO);
        assert_eq!(parse("36h").unwrap(), Duration::from_secs(36 * 3600));
        for wrong in ["", "7", "d", "-1d", "1y2", "3 years", "99999999999999999999w", "1.5h"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(shown(parse("7d").unwrap()), "7 days");
        assert_eq!(shown(parse("24h").unwrap()), "24 hours");
        assert_eq!(shown(parse("90s").unwrap()), "90 seconds");
    }
}

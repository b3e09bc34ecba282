//! Lengths of time as people write them in schedules: `6h`, `90 min`, `1h30m`, `2 days`.

use crate::counts::count;
use std::time::Duration;

pub(super) const MINUTE: u64 = 60;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
/// Longer is a mistake.
const LENGTH_MAX: u64 = 100 * 366 * DAY;

/// Reads a length of time; `None` if it is none, or longer than a hundred years.
pub fn parse_length(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let secs = number.parse::<u64>().ok()?.checked_mul(unit_secs(unit)?)?;
        total = total.checked_add(secs).filter(|total| *total <= LENGTH_MAX)?;
        rest = after.trim_start();
    }
    Some(Duration::from_secs(total))
}

fn unit_secs(unit: &str) -> Option<u64> {
    Some(match unit {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => MINUTE,
        "h" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        _ => return None,
    })
}

/// `6 hours`, `1 day`, `1 hour 30 minutes`: the two largest units, the rest cut off.
pub fn shown_length(length: Duration) -> String {
    let secs = length.as_secs();
    let units = [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")];
    let Some(first) = units.iter().position(|(unit, _)| secs >= *unit) else {
        return "0 seconds".to_string();
    };
    let (unit, name) = units[first];
    let large = count(secs / unit, name);
    match units.get(first + 1).map(|(small, name)| (secs % unit / small, name)) {
        None | Some((0, _)) => large,
        Some((n, name)) => format!("{large} {}", count(n, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_shown() {
        let secs = |text: &str| parse_length(text).map(|length| length.as_secs());
        assert_eq!(secs("6h"), Some(6 * HOUR));
        assert_eq!(secs("1h30m"), Some(90 * MINUTE));
        assert_eq!(secs("2 days 3 min"), Some(2 * DAY + 180));
        for wrong in
            ["", "6", "h", "-1h", "6 fortnights", "1.5h", "99999999999999999999h", "99999999 w", "6h x"]
        {
            assert_eq!(secs(wrong), None, "{wrong}");
        }
        let shown = |text: &str| shown_length(parse_length(text).unwrap());
        assert_eq!(shown("90min"), "1 hour 30 minutes");
        assert_eq!(shown("1d"), "1 day");
        assert_eq!(shown("0s"), "0 seconds");
        assert_eq!(shown("26h5m"), "1 day 2 hours");
    }
}

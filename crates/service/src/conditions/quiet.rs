//! Times of the week: `Mon..Fri 09:00-18:00`, `22:00-06:00`, `Sat,Sun`.

use jiff::civil::{DateTime, Time};
use std::str::FromStr;

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Longer texts are no windows.
const TEXT_BYTES_MAX: usize = 128;

/// A part of the week that recurs. One over midnight belongs to the day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Monday first.
    days: [bool; 7],
    from: Time,
    /// Not included; the same as `from` for the whole day.
    to: Time,
}

/// Why a text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time of the week: write it like \"Mon..Fri 09:00-18:00\" or \"22:00-06:00\"")]
pub struct WindowError(String);

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Window, WindowError> {
        let short: String = text.chars().take(TEXT_BYTES_MAX).collect();
        if text.len() > TEXT_BYTES_MAX {
            return Err(WindowError(short));
        }
        parse(text.trim()).ok_or(WindowError(short))
    }
}

fn parse(text: &str) -> Option<Window> {
    let has_days = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let (days, times) = match (has_days, text.split_once(' ')) {
        (true, Some((days, times))) => (days_of(days)?, times.trim()),
        (true, None) => (days_of(text)?, "00:00-24:00"),
        (false, _) => ([true; 7], text),
    };
    let (from, to) = times.split_once('-')?;
    let (from, to) = (time_of(from.trim())?, time_of(to.trim())?);
    // An empty window would be taken for a whole day.
    let whole = times.replace(' ', "") == "00:00-24:00";
    (from != to || whole).then_some(Window { days, from, to })
}

fn days_of(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        let full = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
        WEEKDAYS.iter().position(|day| *day == name).or_else(|| full.iter().position(|day| *day == name))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (from, to) = part.split_once("..").unwrap_or((part, part));
        let (from, to) = (day(from)?, day(to)?);
        // `Fri..Mon` goes over the weekend.
        let count = (to + 7 - from) % 7;
        (0..=count).for_each(|n| days[(from + n) % 7] = true);
    }
    Some(days)
}

fn time_of(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i8>().ok().filter(|_| digits)
    };
    match (number(hour)?, number(minute)?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

impl Window {
    /// Whether this local time is in it.
    pub fn contains(&self, local: DateTime) -> bool {
        let day = local.weekday().to_monday_zero_offset() as usize;
        let (today, yesterday) = (self.days[day], self.days[(day + 6) % 7]);
        let time = local.time();
        if self.from < self.to {
            return today && self.from <= time && time < self.to;
        }
        (today && time >= self.from) || (yesterday && time < self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(window: &str, local: &str) -> bool {
        window.parse::<Window>().unwrap().contains(local.parse().unwrap())
    }

    #[test]
    fn a_window_begins_and_ends_on_the_minute() {
        // 2026-11-25 is a Wednesday.
        let office = "Mon..Fri 09:00-18:00";
        assert!(holds(office, "2026-11-25T09:00") && holds(office, "2026-11-25T17:59:59"));
        assert!(!holds(office, "2026-11-25T08:59:59") && !holds(office, "2026-11-25T18:00"));
        assert!(!holds(office, "2026-11-28T12:00"));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins() {
        let night = "Fri 22:00-06:00";
        assert!(holds(night, "2026-11-27T23:00") && holds(night, "2026-11-28T05:59"));
        assert!(!holds(night, "2026-11-27T05:00") && !holds(night, "2026-11-28T06:00"));
        assert!(holds("22:00-06:00", "2026-11-25T03:00"));
        assert!(holds("22:00-24:00", "2026-11-25T23:59") && !holds("22:00-24:00", "2026-11-26T00:00"));
    }

    #[test]
    fn whole_days_and_weekends_are_windows() {
        assert!(holds("Sat,Sun", "2026-11-28T00:00") && !holds("Sat,Sun", "2026-11-30T00:00"));
        assert!(holds("Fri..Mon", "2026-11-29T12:00") && !holds("Fri..Mon", "2026-11-25T12:00"));
        assert!(holds("00:00-24:00", "2026-11-25T12:00"));
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in [
            "",
            "Mun",
            "Mon 9-18",
            "9:00",
            "09:00-09:00",
            "25:00-26:00",
            "09:60-10:00",
            "+9:00-10:00",
            "Mon 09:00-18:00 x",
            "Mon,",
            "24:01-25:00",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }
}

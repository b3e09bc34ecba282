//! Schedules and times in words.

use super::civil::{Bits, Calendar, DayRule, Days, Years};
use super::length::shown_length;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// More times of one day are not spelt out.
const TIMES_MAX: u32 = 4;

/// `every day at 02:30`; for what has no short words, the expression itself.
pub(super) fn meaning(calendar: &Calendar) -> String {
    let words = || {
        let times = times(calendar)?;
        let days = days(calendar)?;
        Some(match (days.as_str(), times.as_str()) {
            ("every day", times) if times.starts_with("every") => times.to_string(),
            (days, times) if times.starts_with("every") => format!("{times}, {days}"),
            (days, times) => format!("{days} {times}"),
        })
    };
    words().unwrap_or_else(|| format!("at {}", calendar.expressions().join(" or ")))
}

fn times(calendar: &Calendar) -> Option<String> {
    let Calendar { hours, minutes, seconds, .. } = calendar;
    if *seconds != Bits::range(0, 0) {
        return None;
    }
    let minute = minutes.all().next()?;
    let one_minute = minutes.count() == 1;
    if calendar.every_hour() {
        return match (one_minute, even_step(*minutes, 60)) {
            (true, _) if minute == 0 => Some("every hour".to_string()),
            (true, _) => Some(format!("every hour at {minute} past")),
            (_, Some(1)) => Some("every minute".to_string()),
            (_, Some(step)) => Some(format!("every {step} minutes")),
            _ => None,
        };
    }
    if !one_minute {
        return None;
    }
    if let (Some(step), true) = (even_step(*hours, 24), hours.count() > 2) {
        let past = if minute == 0 { String::new() } else { format!(" at {minute} past") };
        return Some(format!("every {step} hours{past}"));
    }
    (hours.count() <= TIMES_MAX).then(|| {
        let times: Vec<String> = hours.all().map(|hour| format!("{hour:02}:{minute:02}")).collect();
        format!("at {}", and(&times))
    })
}

/// The step of numbers that begin with 0 and fill the whole evenly.
fn even_step(bits: Bits, whole: u32) -> Option<u32> {
    let step = whole / bits.count().max(1);
    let even = bits.count() > 1 && whole.is_multiple_of(bits.count());
    (even && bits.all().eq((0..whole).step_by(step as usize))).then_some(step)
}

fn days(calendar: &Calendar) -> Option<String> {
    let all_week = calendar.weekdays == Bits::range(0, 6);
    let of_month = match &calendar.days {
        Days::FromStart(days) if *days == Bits::range(1, 31) => None,
        Days::FromStart(days) if days.count() <= TIMES_MAX => {
            Some(format!("the {}", and(&days.all().map(ordinal).collect::<Vec<_>>())))
        }
        Days::FromEnd(pieces) => match pieces[..] {
            [piece] if piece.step == 0 && piece.start == 1 => Some("the last day".to_string()),
            [piece] if piece.step == 0 => Some(format!("the {} day from the end", ordinal(piece.start))),
            _ => return None,
        },
        Days::FromStart(_) => return None,
    };
    let months = match calendar.months {
        all if all == Bits::range(1, 12) => None,
        some => Some(and(&some.all().map(|m| MONTHS[m as usize - 1].to_string()).collect::<Vec<_>>())),
    };
    let words = match (of_month, all_week, months) {
        (None, true, None) => "every day".to_string(),
        (None, true, Some(months)) => format!("every day in {months}"),
        (None, false, None) => format!("on {}", week(calendar.weekdays)),
        (None, false, Some(months)) => format!("on {} in {months}", week(calendar.weekdays)),
        (Some(days), true, None) => format!("on {days} of every month"),
        (Some(days), true, Some(months)) => format!("on {days} of {months}"),
        (Some(days), false, None) if calendar.day_rule == DayRule::Either => {
            format!("on {days} of every month and on {}", week(calendar.weekdays))
        }
        _ => return None,
    };
    match &calendar.years {
        Years::All => Some(words),
        Years::Some(years) if years.len() == 1 => Some(format!("{words} in {}", years[0])),
        Years::Some(_) => None,
    }
}

fn week(days: Bits) -> String {
    let names: Vec<String> = days.all().map(|day| WEEKDAYS[day as usize].to_string()).collect();
    let numbers: Vec<u32> = days.all().collect();
    match numbers[..] {
        [first, .., last] if numbers.len() > 2 && last - first + 1 == days.count() => {
            format!("{} to {}", names[0], names[names.len() - 1])
        }
        _ => and(&names),
    }
}

fn and(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn ordinal(n: u32) -> String {
    let ending = match (n % 10, n % 100) {
        (1, x) if x != 11 => "st",
        (2, x) if x != 12 => "nd",
        (3, x) if x != 13 => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// A time as people say it: `today at 02:30`, `tomorrow at 06:00`, `on Sunday at 03:00`,
/// `on Tuesday, 1 December at 06:00`.
pub fn in_words(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    let today = now.to_zoned(zone.clone()).date();
    let clock = match local.second() {
        0 => local.strftime("%H:%M").to_string(),
        _ => local.strftime("%H:%M:%S").to_string(),
    };
    format!("{} at {clock}", day_in_words(local.date(), today))
}

fn day_in_words(date: Date, today: Date) -> String {
    let weekday = WEEKDAYS[date.weekday().to_monday_zero_offset() as usize];
    let month = MONTHS[date.month() as usize - 1];
    let within_week = today.checked_add(6.days()).is_ok_and(|end| date > today && date <= end);
    if date == today {
        "today".to_string()
    } else if today.tomorrow().is_ok_and(|tomorrow| date == tomorrow) {
        "tomorrow".to_string()
    } else if today.yesterday().is_ok_and(|yesterday| date == yesterday) {
        "yesterday".to_string()
    } else if within_week {
        format!("on {weekday}")
    } else if date.year() == today.year() {
        format!("on {weekday}, {} {month}", date.day())
    } else {
        format!("on {weekday}, {} {month} {}", date.day(), date.year())
    }
}

/// How far it is: `in 2 hours`, `now`, `3 days ago`.
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let secs = time.as_second() - now.as_second();
    let length = shown_length(Duration::from_secs(secs.unsigned_abs()));
    match secs {
        0 => "now".to_string(),
        1.. => format!("in {length}"),
        _ => format!("{length} ago"),
    }
}

/// How long ago it was: `3 days ago`; the future is `now`.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    relative(time.min(now), now)
}

//! Cron lines of five fields, as crontab(5) has them.
//!
//! Minute, hour, day of the month, month, day of the week; `*`, numbers, names, ranges, steps and lists, and
//! `@daily` and its like. Where both kinds of days are restricted, either of them is enough, as cron does it.
//! The extensions that differ from one cron to the next (`L`, `W`, `#`, `?`, seconds) are refused.

use super::civil::{Bits, Calendar, DayRule, Days, Years};
use super::length::{DAY, HOUR, MINUTE};
use std::time::Duration;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Whether it is meant for cron: five fields, or a word after `@`.
pub(super) fn looks_like(text: &str) -> bool {
    let word = text.strip_prefix('@').is_some_and(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    word || text.split_ascii_whitespace().count() == 5
}

fn word(text: &str) -> Option<&'static str> {
    Some(match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => return None,
    })
}

pub(super) fn parse(text: &str) -> Result<Calendar, String> {
    if text.starts_with('@') {
        return parse(word(text).ok_or("that word is not cron's")?);
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err("cron lines have five fields".to_string());
    };
    let weekdays = set(weekday, "day of the week", 0, 7, &WEEKDAYS)?;
    let restricted = !day.starts_with('*') && !weekday.starts_with('*');
    Ok(Calendar {
        years: Years::All,
        months: set(month, "month", 1, 12, &MONTHS)?,
        days: Days::FromStart(set(day, "day of the month", 1, 31, &[])?),
        weekdays: from_monday(weekdays),
        day_rule: if restricted { DayRule::Either } else { DayRule::Both },
        hours: set(hour, "hour", 0, 23, &[])?,
        minutes: set(minute, "minute", 0, 59, &[])?,
        seconds: Bits::range(0, 0),
    })
}

/// Cron's week begins with Sunday, which is 0 and 7.
fn from_monday(days: Bits) -> Bits {
    Bits(days.all().fold(0, |bits, day| bits | 1 << ((day + 6) % 7)))
}

fn set(field: &str, what: &str, from: u32, to: u32, names: &[&str]) -> Result<Bits, String> {
    let number = |text: &str| {
        let name = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        // Months are counted from 1, days of the week from 0.
        let named = name.map(|n| n as u32 + from);
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let n = named.or_else(|| text.parse().ok().filter(|_| digits));
        n.filter(|n| (from..=to).contains(n)).ok_or_else(|| format!("{text:?} is no {what} ({from} to {to})"))
    };
    let mut bits = 0;
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step: u32 = step.unwrap_or("1").parse().map_err(|_| format!("{part:?} has a wrong step"))?;
        if step == 0 || step > to {
            return Err(format!("the step of {part:?} is not between 1 and {to}"));
        }
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (from, to),
            (_, Some((first, last))) => (number(first)?, number(last)?),
            (one, None) if part.contains('/') => (number(one)?, to),
            (one, None) => (number(one)?, number(one)?),
        };
        if first > last {
            return Err(format!("the range {range:?} does not go up"));
        }
        bits |= (first..=last).step_by(step as usize).fold(0, |bits, n| bits | 1u64 << n);
    }
    Ok(Bits(bits))
}

/// The five fields, where five fields can say it.
pub(super) fn fields(calendar: &Calendar) -> Option<String> {
    let Days::FromStart(days) = &calendar.days else { return None };
    let (all_days, all_week) = (*days == Bits::range(1, 31), calendar.weekdays == Bits::range(0, 6));
    let both = calendar.day_rule == DayRule::Both && !all_days && !all_week;
    if calendar.years != Years::All || calendar.seconds != Bits::range(0, 0) || both {
        return None;
    }
    let list = |bits: Bits, all: bool| match all {
        true => "*".to_string(),
        false => bits.all().map(|n| n.to_string()).collect::<Vec<_>>().join(","),
    };
    // Monday is 1.
    let week = Bits(calendar.weekdays.all().fold(0, |bits, day| bits | 1 << ((day + 1) % 7)));
    let either = calendar.day_rule == DayRule::Either;
    Some(format!(
        "{} {} {} {} {}",
        list(calendar.minutes, calendar.minutes == Bits::range(0, 59)),
        list(calendar.hours, calendar.every_hour()),
        list(*days, all_days && !either),
        list(calendar.months, calendar.months == Bits::range(1, 12)),
        list(week, all_week && !either),
    ))
}

/// The fields for what recurs evenly within an hour or a day.
pub(super) fn every(length: Duration) -> Option<String> {
    let secs = length.as_secs();
    if secs.is_multiple_of(MINUTE) && HOUR.is_multiple_of(secs) {
        return Some(match secs / MINUTE {
            1 => "* * * * *".to_string(),
            60 => "0 * * * *".to_string(),
            n => format!("*/{n} * * * *"),
        });
    }
    (secs.is_multiple_of(HOUR) && DAY.is_multiple_of(secs)).then(|| match secs / HOUR {
        24 => "0 0 * * *".to_string(),
        n => format!("0 */{n} * * *"),
    })
}

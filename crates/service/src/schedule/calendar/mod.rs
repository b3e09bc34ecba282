//! systemd's calendar expressions (systemd.time(7), "CALENDAR EVENTS"), in whole seconds.
//!
//! What systemd refuses is refused here, and what is accepted means the same; a test compares both with
//! `systemd-analyze`. Two things it accepts are not: parts of seconds, as nothing here happens that often, and
//! `@SECONDS`, which never recurs.

mod write;

use super::civil::{Bits, Calendar, DayRule, Days, Piece, YEARS, Years};
use jiff::tz::TimeZone;

/// systemd's bound for the parts of a list.
const PIECES_MAX: usize = 240;
const WEEKDAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

/// Separates a time zone from the end of an expression.
pub(super) fn split_zone(text: &str) -> (&str, Option<TimeZone>) {
    let Some((rest, last)) = text.rsplit_once(' ') else { return (text, None) };
    if last == "UTC" {
        return (rest.trim_end(), Some(TimeZone::UTC));
    }
    // `Mon` is a weekday, whatever zones there are; and a date is no zone.
    let named = last.starts_with(|c: char| c.is_ascii_alphabetic()) && weekday(last).is_none();
    match named.then(|| TimeZone::get(last).ok()).flatten() {
        Some(zone) => (rest.trim_end(), Some(zone)),
        None => (text, None),
    }
}

/// Reads an expression without its time zone.
pub(super) fn parse(text: &str) -> Result<Calendar, String> {
    if let Some(full) = word(text) {
        return parse(full);
    }
    let (weekdays, rest) = weekdays(text)?;
    let (date, rest) = date(rest)?;
    let time = time(rest)?;
    calendar(weekdays, date, time)
}

fn word(text: &str) -> Option<&'static str> {
    Some(match text.to_ascii_lowercase().as_str() {
        "minutely" => "*-*-* *:*:00",
        "hourly" => "*-*-* *:00:00",
        "daily" => "*-*-* 00:00:00",
        "weekly" => "Mon *-*-* 00:00:00",
        "monthly" => "*-*-01 00:00:00",
        "quarterly" => "*-01,04,07,10-01 00:00:00",
        "biannually" | "bi-annually" | "semiannually" | "semi-annually" => "*-01,07-01 00:00:00",
        "yearly" | "annually" | "anually" => "*-01-01 00:00:00",
        _ => return None,
    })
}

/// A list of pieces; `None` is `*`.
type Chain = Option<Vec<Piece>>;

#[derive(Default)]
struct DatePart {
    /// Year, month and day.
    parts: [Chain; 3],
    from_end: bool,
}

fn calendar(
    weekdays: Bits,
    date: DatePart,
    [hours, minutes, seconds]: [Chain; 3],
) -> Result<Calendar, String> {
    let [years, months, days] = date.parts;
    Ok(Calendar {
        years: match years {
            None => Years::All,
            Some(pieces) => Years::Some(years_of(pieces)?),
        },
        months: bits(months, "month", 1, 12)?,
        days: match days {
            Some(pieces) if date.from_end => Days::FromEnd(from_end_pieces(pieces)?),
            days => Days::FromStart(bits(days, "day", 1, 31)?),
        },
        weekdays,
        day_rule: DayRule::Both,
        hours: bits(hours, "hour", 0, 23)?,
        minutes: bits(minutes, "minute", 0, 59)?,
        seconds: bits(seconds, "second", 0, 59)?,
    })
}

fn bits(chain: Chain, what: &str, from: u32, to: u32) -> Result<Bits, String> {
    let Some(pieces) = chain else { return Ok(Bits::range(from, to)) };
    let mut bits = 0;
    for piece in pieces {
        check(piece, what, from, to)?;
        bits |= piece.numbers(to).fold(0, |bits, n| bits | 1u64 << n);
    }
    Ok(Bits(bits))
}

fn check(piece: Piece, what: &str, from: u32, to: u32) -> Result<(), String> {
    let within = |n: u32| (from..=to).contains(&n);
    let Piece { start, stop, step } = piece;
    if !within(start) || stop.is_some_and(|stop| !within(stop)) {
        return Err(format!("{what}s are numbers from {from} to {to}"));
    }
    match stop {
        Some(stop) if start > stop => Err(format!("a range of {what}s goes up")),
        None if step > 0 && start.saturating_add(step) > to => {
            Err(format!("a step of {what}s stays below {}", to + 1))
        }
        _ => Ok(()),
    }
}

fn years_of(pieces: Vec<Piece>) -> Result<Vec<u32>, String> {
    let century = |year: u32| match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    let mut years = Vec::new();
    for piece in pieces {
        let piece = Piece { start: century(piece.start), stop: piece.stop.map(century), ..piece };
        check(piece, "year", *YEARS.start(), *YEARS.end())?;
        years.extend(piece.numbers(*YEARS.end()));
    }
    years.sort_unstable();
    years.dedup();
    Ok(years)
}

fn from_end_pieces(pieces: Vec<Piece>) -> Result<Vec<Piece>, String> {
    for piece in &pieces {
        // Counted from the end, a day must be in every month.
        let high = check(*piece, "day", 1, 28);
        let low = piece.stop.is_none() && piece.step > 0 && piece.start < piece.step + 1;
        if piece.stop.is_some() || piece.step == 0 {
            high?;
        } else if low || piece.start > 28 {
            return Err("a step of days stays within the month".to_string());
        }
    }
    // The last number of a range is one that its steps reach.
    let even = |piece: Piece| Piece {
        stop: piece.stop.map(|stop| stop - (stop - piece.start) % piece.step.max(1)),
        ..piece
    };
    Ok(pieces.into_iter().map(even).collect())
}

fn weekday(name: &str) -> Option<u32> {
    let name = name.to_ascii_lowercase();
    WEEKDAYS.iter().position(|(short, long)| name == *short || name == *long).map(|n| n as u32)
}

/// `Mon,Wed..Fri `, and what comes after it.
fn weekdays(text: &str) -> Result<(Bits, &str), String> {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok((Bits::range(0, 6), text));
    }
    let (list, rest) = text.split_once(' ').unwrap_or((text, ""));
    let day = |name: &str| weekday(name).ok_or_else(|| format!("{name:?} is no day of the week"));
    let mut bits = 0;
    for part in list.strip_suffix(',').unwrap_or(list).split(',') {
        let (from, to) = part.split_once("..").or_else(|| part.split_once('-')).unwrap_or((part, part));
        let (from, to) = (day(from)?, day(to)?);
        if from > to {
            return Err(format!("the days {part:?} do not go up; a week begins with Monday"));
        }
        bits |= Bits::range(from, to).0;
    }
    Ok((Bits(bits), rest.trim_start()))
}

/// `2026-*-1,15 `, and what comes after it.
fn date(text: &str) -> Result<(DatePart, &str), String> {
    if text.is_empty() {
        return Ok((DatePart::default(), text));
    }
    let (first, rest) = chain(text)?;
    if rest.starts_with(':') {
        return Ok((DatePart::default(), text));
    }
    let (second, rest, mut from_end) = after_separator(rest)?;
    if let Some(rest) = at_end(rest) {
        return Ok((DatePart { parts: [None, first, second], from_end }, rest));
    }
    if from_end {
        return Err("\"~\" stands before the day only".to_string());
    }
    let (third, rest, end) = after_separator(rest)?;
    from_end |= end;
    let rest = at_end(rest).ok_or_else(|| format!("{rest:?} is not understood after the date"))?;
    Ok((DatePart { parts: [first, second, third], from_end }, rest))
}

fn at_end(rest: &str) -> Option<&str> {
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start_matches(' '))
}

fn after_separator(rest: &str) -> Result<(Chain, &str, bool), String> {
    let from_end = rest.starts_with('~');
    let part = rest.strip_prefix(['-', '~']).ok_or_else(|| match rest {
        "" => "there is a number without a date or a time".to_string(),
        rest => format!("{rest:?} is neither a date nor a time"),
    })?;
    let (chain, rest) = chain(part)?;
    Ok((chain, rest, from_end))
}

/// Hours, minutes and seconds; midnight if there are none.
fn time(text: &str) -> Result<[Chain; 3], String> {
    let zero = || Some(vec![Piece { start: 0, stop: None, step: 0 }]);
    if text.is_empty() {
        return Ok([zero(), zero(), zero()]);
    }
    let colon = |rest: &str| format!("{rest:?} is not understood in the time");
    let (hours, rest) = chain(text)?;
    let (minutes, rest) = chain(rest.strip_prefix(':').ok_or_else(|| colon(rest))?)?;
    if rest.is_empty() {
        return Ok([hours, minutes, zero()]);
    }
    let (seconds, rest) = chain(rest.strip_prefix(':').ok_or_else(|| colon(rest))?)?;
    match rest {
        "" => Ok([hours, minutes, seconds]),
        rest if rest.starts_with('.') => Err("parts of seconds are not possible".to_string()),
        rest => Err(colon(rest)),
    }
}

/// `*`, or pieces between commas, and what comes after them.
fn chain(text: &str) -> Result<(Chain, &str), String> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((None, rest));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let (piece, after) = piece(rest)?;
        pieces.push(piece);
        match after.strip_prefix(',') {
            None => return Ok((Some(pieces), after)),
            Some(_) if pieces.len() >= PIECES_MAX => return Err("the list is too long".to_string()),
            Some(more) => rest = more,
        }
    }
}

fn piece(text: &str) -> Result<(Piece, &str), String> {
    let (start, mut rest) = number(text)?;
    let (mut stop, mut step) = (None, 0);
    if let Some(after) = rest.strip_prefix("..") {
        let (n, after) = number(after)?;
        (stop, step, rest) = (Some(n), 1, after);
    }
    if let Some(after) = rest.strip_prefix('/') {
        let (n, after) = number(after)?;
        if n == 0 {
            return Err("a step is at least 1".to_string());
        }
        (step, rest) = (n, after);
    }
    Ok((Piece { start, stop, step }, rest))
}

fn number(text: &str) -> Result<(u32, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(digits);
    match digits.parse() {
        Ok(n) if n <= 9999 => Ok((n, rest)),
        Ok(_) | Err(_) if !digits.is_empty() => Err(format!("{digits} is too large")),
        _ => Err(match text {
            "" => "a number is missing at its end".to_string(),
            text => format!("{text:?} does not begin with a number"),
        }),
    }
}

//! Local times as sets of years, months, days, weekdays, hours, minutes and seconds, and the instants that
//! they are in a time zone.
//!
//! Calendar expressions and cron lines both become a [`Calendar`]; so both treat the hours that a change of
//! clocks takes away or doubles in the same way (see `schedule`).

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// systemd's bounds for years.
pub(super) const YEARS: std::ops::RangeInclusive<u32> = 1970..=2199;
const ALL_HOURS: u64 = (1 << 24) - 1;

/// Numbers below 64 as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits(pub(super) u64);

impl Bits {
    pub(super) fn range(from: u32, to: u32) -> Bits {
        Bits((from..=to).fold(0, |bits, n| bits | 1 << n))
    }

    pub(super) fn has(self, n: u32) -> bool {
        n < 64 && self.0 >> n & 1 == 1
    }

    pub(super) fn all(self) -> impl Iterator<Item = u32> + Clone {
        (0..64).filter(move |n| self.has(*n))
    }

    fn first_from(self, n: u32) -> Option<u32> {
        (n..64).find(|n| self.has(*n))
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// Some years, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Years {
    All,
    /// Sorted, without doubles.
    Some(Vec<u32>),
}

/// Which days of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Days {
    /// Counted from the first one, which is 1.
    FromStart(Bits),
    /// Counted from the last one, which is 1.
    FromEnd(Vec<Piece>),
}

/// `start`, `start..stop`, `start/step` or `start..stop/step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u32,
    pub(super) stop: Option<u32>,
    pub(super) step: u32,
}

impl Piece {
    /// Its numbers up to `max`.
    pub(super) fn numbers(self, max: u32) -> impl Iterator<Item = u32> {
        let stop = match (self.stop, self.step) {
            (Some(stop), _) => stop,
            (None, 0) => self.start,
            (None, _) => max,
        };
        (self.start..=stop).step_by(self.step.max(1) as usize)
    }
}

/// How days of the month and days of the week go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DayRule {
    Both,
    /// Cron, where both are given.
    Either,
}

/// Sets of local times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    pub(super) years: Years,
    pub(super) months: Bits,
    pub(super) days: Days,
    /// Monday is 0.
    pub(super) weekdays: Bits,
    pub(super) day_rule: DayRule,
    pub(super) hours: Bits,
    pub(super) minutes: Bits,
    pub(super) seconds: Bits,
}

impl Calendar {
    fn year_from(&self, year: u32) -> Option<u32> {
        match &self.years {
            Years::All => (year <= *YEARS.end()).then_some(year.max(*YEARS.start())),
            Years::Some(years) => years.iter().copied().find(|y| *y >= year),
        }
    }

    fn has_day(&self, date: Date) -> bool {
        let (day, last) = (date.day() as u32, date.days_in_month() as u32);
        let of_month = match &self.days {
            Days::FromStart(days) => days.has(day),
            Days::FromEnd(pieces) => pieces.iter().any(|piece| has_from_end(*piece, day, last)),
        };
        let of_week = self.weekdays.has(date.weekday().to_monday_zero_offset() as u32);
        match self.day_rule {
            DayRule::Both => of_month && of_week,
            DayRule::Either => of_month || of_week,
        }
    }

    /// The first date from this one on.
    fn date_from(&self, mut date: Date) -> Option<Date> {
        loop {
            let year = self.year_from(date.year().max(0) as u32)?;
            if year as i16 != date.year() {
                date = Date::new(year as i16, 1, 1).ok()?;
            }
            if !self.months.has(date.month() as u32) {
                date = date.first_of_month().checked_add(1.month()).ok()?;
            } else if !self.has_day(date) {
                date = date.tomorrow().ok()?;
            } else {
                return Some(date);
            }
        }
    }

    /// The first time of a day from this one on.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour() as u32, from.minute() as u32, from.second() as u32);
        let first = |bits: Bits| bits.first_from(0);
        let at = |h: u32, m: u32, s: u32| Time::new(h as i8, m as i8, s as i8, 0).ok();
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.first_from(second)
            {
                return at(hour, minute, second);
            }
            if let Some(minute) = self.minutes.first_from(minute + 1) {
                return at(hour, minute, first(self.seconds)?);
            }
        }
        at(self.hours.first_from(hour + 1)?, first(self.minutes)?, first(self.seconds)?)
    }

    /// Whether it recurs in every hour of the day.
    pub(super) fn every_hour(&self) -> bool {
        self.hours.0 == ALL_HOURS
    }
}

fn has_from_end(piece: Piece, day: u32, last: u32) -> bool {
    let from_end = |n: u32| (last + 1).checked_sub(n);
    let (start, stop) = match piece.stop {
        None => (from_end(piece.start), Some(if piece.step == 0 { last + 1 - piece.start } else { last })),
        Some(stop) => (from_end(stop), from_end(piece.start)),
    };
    let (Some(start), Some(stop)) = (start, stop) else { return false };
    (start..=stop).contains(&day) && (day - start).is_multiple_of(piece.step.max(1))
}

/// The first instant later than `after` that the calendar means in this zone.
pub(super) fn following(calendar: &Calendar, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    // A day before, for what a gap over midnight moves into the next day.
    let mut date = after.to_zoned(zone.clone()).date().yesterday().ok()?;
    loop {
        date = calendar.date_from(date)?;
        if let Some(found) = first_of_day(calendar, date, after, zone) {
            return Some(found);
        }
        date = date.tomorrow().ok()?;
    }
}

fn first_of_day(calendar: &Calendar, date: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let begin = zone.to_timestamp(date.to_datetime(Time::midnight())).ok()?;
    let end = zone.to_timestamp(date.tomorrow().ok()?.to_datetime(Time::midnight())).ok()?;
    if end < after {
        return None;
    }
    let before = begin.checked_sub(1.second()).ok()?;
    let changes = zone.following(before).next().is_some_and(|change| change.timestamp() <= end);
    match changes {
        false => on_even_day(calendar, date, after, zone.to_offset(begin)),
        true => on_day_of_change(calendar, date, after, zone),
    }
}

/// The day has every local time once.
fn on_even_day(calendar: &Calendar, date: Date, after: Timestamp, offset: Offset) -> Option<Timestamp> {
    let local = offset.to_datetime(after);
    let from = match local.date().cmp(&date) {
        std::cmp::Ordering::Less => Time::midnight(),
        std::cmp::Ordering::Greater => return None,
        // The next whole second, as times have no smaller parts.
        std::cmp::Ordering::Equal => {
            local.time().with().subsec_nanosecond(0).build().ok()?.checked_add(1.second()).ok()?
        }
    };
    offset.to_timestamp(date.to_datetime(calendar.time_from(from)?)).ok()
}

/// Looks at every minute the calendar means on a day on which clocks change.
fn on_day_of_change(calendar: &Calendar, date: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let minutes = calendar.hours.all().flat_map(|hour| calendar.minutes.all().map(move |m| (hour, m)));
    minutes.filter_map(|(hour, minute)| first_of_minute(calendar, date, hour, minute, after, zone)).min()
}

fn first_of_minute(
    calendar: &Calendar,
    date: Date,
    hour: u32,
    minute: u32,
    after: Timestamp,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let local = date.at(hour as i8, minute as i8, 0, 0);
    let seconds = |offset: Offset| {
        let begin = offset.to_timestamp(local).ok()?;
        let times =
            calendar.seconds.all().filter_map(move |s| begin.checked_add(i64::from(s).seconds()).ok());
        times.clone().find(|time| *time > after)
    };
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => seconds(offset),
        AmbiguousOffset::Fold { before, .. } if !calendar.every_hour() => seconds(before),
        AmbiguousOffset::Fold { before, after: second } => seconds(before).or_else(|| seconds(second)),
        AmbiguousOffset::Gap { .. } if calendar.every_hour() => None,
        // Read with the offset of before, the time lies after the change; the change is what came last.
        AmbiguousOffset::Gap { before, .. } => {
            let late = before.to_timestamp(local).ok()?.checked_add(1.second()).ok()?;
            let change = zone.preceding(late).next()?.timestamp();
            (change > after).then_some(change)
        }
    }
}

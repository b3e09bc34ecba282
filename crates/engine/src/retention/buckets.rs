//! The rules of a policy over snapshots in one line, the newest first.
//!
//! Each rule goes from the newest to the oldest. The first snapshot it meets in a period stands for that
//! period. A rule whose count is not used up keeps the very oldest as well: a young history has no snapshot
//! that is a year old yet, and would lose the only one that will be.

use super::policy::{Period, Policy, Span};
use super::reason::Reason;
use format::kind::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A snapshot as the rules see it.
pub(super) struct Point<'s> {
    local: DateTime,
    at: jiff::Timestamp,
    tags: &'s [String],
}

impl<'s> Point<'s> {
    pub(super) fn new(time: Timestamp, zone: &TimeZone, tags: &'s [String]) -> Self {
        let at = calendar_time(time);
        Point { local: zone.to_datetime(at), at, tags }
    }
}

/// A time within the years that calendars have.
fn calendar_time(time: Timestamp) -> jiff::Timestamp {
    let (min, max) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
    let secs = time.secs.clamp(min.as_second(), max.as_second());
    jiff::Timestamp::new(secs, time.nanos.min(999_999_999) as i32).unwrap_or(max)
}

/// Two times in the same period have the same number.
fn number(period: Period, t: &DateTime) -> i64 {
    let day = i64::from(t.year()) * 10_000 + i64::from(t.month()) * 100 + i64::from(t.day());
    match period {
        Period::Hour => day * 100 + i64::from(t.hour()),
        Period::Day => day,
        Period::Week => {
            let week = t.date().iso_week_date();
            i64::from(week.year()) * 100 + i64::from(week.week())
        }
        Period::Month => day / 100,
        Period::Year => i64::from(t.year()),
    }
}

/// The period as people write it.
pub(super) fn label(period: Period, t: &DateTime) -> String {
    match period {
        Period::Hour => t.strftime("%Y-%m-%d %H:00").to_string(),
        Period::Day => t.strftime("%Y-%m-%d").to_string(),
        Period::Week => t.strftime("%G-W%V").to_string(),
        Period::Month => t.strftime("%Y-%m").to_string(),
        Period::Year => t.strftime("%Y").to_string(),
    }
}

/// The moment a span before another; everything is later where the calendar does not reach so far.
fn before(newest: jiff::Timestamp, span: &Span, zone: &TimeZone) -> jiff::Timestamp {
    let span = jiff::Span::new()
        .try_years(span.years)
        .and_then(|s| s.try_months(span.months))
        .and_then(|s| s.try_days(span.days))
        .and_then(|s| s.try_hours(span.hours));
    let moment = span.and_then(|span| newest.to_zoned(zone.clone()).checked_sub(span));
    moment.map_or(jiff::Timestamp::MIN, |zoned| zoned.timestamp())
}

/// For each snapshot the rules that keep it. `points` stand from the newest to the oldest.
pub(super) fn apply(policy: &Policy, points: &[Point<'_>], zone: &TimeZone) -> Vec<Vec<Reason>> {
    let mut reasons: Vec<Vec<Reason>> = points.iter().map(|point| tags(policy, point)).collect();
    let Some(newest) = points.first().map(|point| point.at) else { return reasons };
    if let Some(span) = &policy.within {
        let from = before(newest, span, zone);
        let within = points.iter().zip(&mut reasons).filter(|(point, _)| point.at > from);
        within.for_each(|(_, reasons)| reasons.push(Reason::Within(*span)));
    }
    last(policy, &mut reasons);
    for (i, period) in Period::ALL.into_iter().enumerate() {
        newest_of(policy, i, period, points, &mut reasons);
        if let Some(span) = policy.newest_within[i] {
            let from = before(newest, &span, zone);
            newest_within(span, from, period, points, &mut reasons);
        }
    }
    reasons
}

fn tags(policy: &Policy, point: &Point<'_>) -> Vec<Reason> {
    let has_all = |tags: &&Vec<String>| tags.iter().all(|tag| point.tags.contains(tag));
    policy.tags.iter().filter(has_all).map(|tags| Reason::Tags(tags.clone())).collect()
}

fn last(policy: &Policy, reasons: &mut [Vec<Reason>]) {
    let mut left = policy.last;
    for reasons in reasons {
        if !left.is_left() {
            return;
        }
        reasons.push(Reason::Last);
        left = left.less_one();
    }
}

fn newest_of(policy: &Policy, i: usize, period: Period, points: &[Point<'_>], reasons: &mut [Vec<Reason>]) {
    let mut left = policy.newest_of[i];
    let mut seen = None;
    for (n, point) in points.iter().enumerate() {
        if !left.is_left() {
            return;
        }
        let number = number(period, &point.local);
        let is_newest = seen != Some(number);
        if is_newest || n + 1 == points.len() {
            reasons[n].push(Reason::Period { period, at: point.local, is_oldest: !is_newest, within: None });
            seen = Some(number);
            left = left.less_one();
        }
    }
}

fn newest_within(
    span: Span,
    from: jiff::Timestamp,
    period: Period,
    points: &[Point<'_>],
    reasons: &mut [Vec<Reason>],
) {
    let mut seen = None;
    for (n, point) in points.iter().enumerate().take_while(|(_, point)| point.at > from) {
        let number = number(period, &point.local);
        let is_newest = seen != Some(number);
        if is_newest || n + 1 == points.len() {
            reasons[n].push(Reason::Period {
                period,
                at: point.local,
                is_oldest: !is_newest,
                within: Some(span),
            });
            seen = Some(number);
        }
    }
}

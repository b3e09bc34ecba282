//! What a user wants to keep: counts of hours, days, weeks, months and years, spans of time, tags.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Why a text is not a policy, a count or a span.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Not a count.
    #[error("{0:?} is not a number of snapshots: write a number, or \"unlimited\"")]
    Count(String),
    /// Not a span.
    #[error("{0:?} is not a span of time: write it like 2y5m7d3h or 2w")]
    Span(String),
    /// Not a rule of a compact policy.
    #[error("{0:?} is not a rule: write a policy like \"3 48h 14d 8w 12m 5y\"")]
    Rule(String),
    /// Two rules for the same period.
    #[error("{0:?} says again what another rule says")]
    Twice(String),
}

/// How many to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// The rule is not used.
    #[default]
    None,
    /// So many.
    Some(u64),
    /// One for each period, for ever.
    Unlimited,
}

impl Count {
    /// Whether another one may be kept.
    pub(super) fn is_left(self) -> bool {
        self != Count::None
    }

    /// The count after one more was kept.
    pub(super) fn less_one(self) -> Self {
        match self {
            Count::Some(n) if n > 1 => Count::Some(n - 1),
            Count::Unlimited => Count::Unlimited,
            _ => Count::None,
        }
    }
}

impl FromStr for Count {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match (text, text.parse::<u64>()) {
            ("unlimited" | "all" | "-1" | "*", _) => Ok(Count::Unlimited),
            (_, Ok(0)) => Ok(Count::None),
            (_, Ok(n)) => Ok(Count::Some(n)),
            _ => Err(PolicyError::Count(text.to_string())),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count::None => f.write_str("0"),
            Count::Some(n) => n.fmt(f),
            Count::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// A span of calendar time: a month before 31 March is the end of February.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Years.
    pub years: u16,
    /// Months.
    pub months: u16,
    /// Days; weeks are seven of them.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

/// No span reaches farther: the calendar ends soon after.
const YEARS_MAX: u64 = 9_999;

impl Span {
    /// The shortest time that is certainly as long, in seconds.
    pub fn secs_at_most(&self) -> u64 {
        let days = u64::from(self.years) * 366 + u64::from(self.months) * 31 + u64::from(self.days);
        days * 86_400 + u64::from(self.hours) * 3_600
    }
}

impl FromStr for Span {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let wrong = || PolicyError::Span(text.to_string());
        let [mut years, mut months, mut days, mut hours] = [0u64; 4];
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let n: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
            let (sum, each, most) = match unit {
                'y' => (&mut years, 1, YEARS_MAX),
                'm' => (&mut months, 1, YEARS_MAX * 6),
                'w' => (&mut days, 7, YEARS_MAX * 366),
                'd' => (&mut days, 1, YEARS_MAX * 366),
                'h' => (&mut hours, 1, YEARS_MAX * 366 * 24),
                _ => return Err(wrong()),
            };
            *sum = n.checked_mul(each).and_then(|n| sum.checked_add(n)).ok_or_else(wrong)?;
            if *sum > most {
                return Err(wrong());
            }
            rest = &rest[digits + unit.len_utf8()..];
        }
        if [years, months, days, hours] == [0; 4] {
            return Err(wrong());
        }
        Ok(Span { years: years as u16, months: months as u16, days: days as u32, hours: hours as u32 })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (u32::from(self.years), 'y'),
            (u32::from(self.months), 'm'),
            (self.days, 'd'),
            (self.hours, 'h'),
        ];
        parts.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

/// A period of the calendar of which the newest snapshot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// An hour of a day.
    Hour,
    /// A day.
    Day,
    /// A week from Monday to Sunday (ISO 8601).
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// All, the shortest first.
    pub const ALL: [Period; 5] = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];

    /// "hourly", "daily" and so on.
    pub fn adjective(self) -> &'static str {
        match self {
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Year => "yearly",
        }
    }
}

/// What to keep. Whatever any rule keeps is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest ones.
    pub last: Count,
    /// The newest one of each of so many periods, in the order of [`Period::ALL`].
    pub newest_of: [Count; 5],
    /// All within this span before the newest.
    pub within: Option<Span>,
    /// The newest one of each period within this span before the newest.
    pub newest_within: [Option<Span>; 5],
    /// Those that have all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// Whether no rule would keep anything.
    pub fn is_empty(&self) -> bool {
        let counts = self.newest_of.iter().chain([&self.last]);
        counts.copied().all(|count| count == Count::None)
            && self.within.is_none()
            && self.newest_within.iter().all(Option::is_none)
            && self.tags.is_empty()
    }
}

/// Reads a compact policy: `3 48h 14d 8w 12m 5y` keeps the newest 3 and one for each of 48 hours, 14 days,
/// 8 weeks, 12 months and 5 years. A `*` instead of a number has no limit.
impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Policy::default();
        for rule in text.split([' ', ',', '\t']).filter(|rule| !rule.is_empty()) {
            let wrong = || PolicyError::Rule(rule.to_string());
            let number = rule.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let slot = match &rule[number.len()..] {
                "" => &mut policy.last,
                "h" => &mut policy.newest_of[0],
                "d" => &mut policy.newest_of[1],
                "w" => &mut policy.newest_of[2],
                "m" => &mut policy.newest_of[3],
                "y" => &mut policy.newest_of[4],
                _ => return Err(wrong()),
            };
            if *slot != Count::None {
                return Err(PolicyError::Twice(rule.to_string()));
            }
            *slot = number.parse().map_err(|_| wrong())?;
        }
        Ok(policy)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rules = Vec::new();
        let mut count = |name: &str, count: Count| match count {
            Count::None => {}
            count => rules.push(format!("{count} {name}")),
        };
        count("last", self.last);
        Period::ALL.iter().zip(self.newest_of).for_each(|(period, n)| count(period.adjective(), n));
        rules.extend(self.within.map(|span| format!("all within {span}")));
        for (period, span) in Period::ALL.iter().zip(self.newest_within) {
            rules.extend(span.map(|span| format!("{} within {span}", period.adjective())));
        }
        rules.extend(self.tags.iter().map(|tags| format!("tagged {}", tags.join(","))));
        write!(f, "keep {}", rules.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_policies_are_read_and_told() {
        let policy: Policy = "3 48h 14d 8w *m 5y".parse().unwrap();
        assert_eq!(
            policy.to_string(),
            "keep 3 last, 48 hourly, 14 daily, 8 weekly, unlimited monthly, 5 yearly"
        );
        assert_eq!("7d,4w".parse::<Policy>().unwrap(), "7d 4w".parse().unwrap());
        assert!("".parse::<Policy>().unwrap().is_empty());
        assert!("0d 0".parse::<Policy>().unwrap().is_empty());
        for bad in ["7", "7d 5d", "d", "7x", "-3d", "7.5d", "7dd", "99999999999999999999d", "1e3"] {
            let read = bad.parse::<Policy>();
            assert!(read.is_err() || bad == "7", "{bad}: {read:?}");
        }
    }

    #[test]
    fn spans_are_read_and_told() {
        for (text, shown) in [("1y5m7d2h", "1y5m7d2h"), ("2w", "14d"), ("1w1d", "8d"), ("36h", "36h")] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown);
        }
        for bad in
            ["", "7", "d", "0d", "1x", "1d ", "-1d", "99999999999y", "10000y", "1é", "18446744073709551615w"]
        {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert_eq!("30d".parse::<Span>().unwrap().secs_at_most(), 30 * 86_400);
        assert_eq!("1y1m1h".parse::<Span>().unwrap().secs_at_most(), 397 * 86_400 + 3_600);
    }

    #[test]
    fn counts_are_read() {
        let read = |text: &str| text.parse::<Count>();
        assert_eq!(read("unlimited"), Ok(Count::Unlimited));
        assert_eq!(read("-1"), Ok(Count::Unlimited));
        assert_eq!(read("0"), Ok(Count::None));
        assert_eq!(read("7"), Ok(Count::Some(7)));
        assert!(read("-2").is_err() && read("").is_err() && read("x").is_err());
    }
}

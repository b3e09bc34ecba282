//! The small values of the configuration: lengths of time, numbers of bytes, rates, shares, lists.
//!
//! Each is written as text and read by the one parser that the command line uses, too. The schema names the
//! kind of text by `format`, so that a wrong one is found at its place before anything else is read.

use crate::conditions::Window;
use crate::schedule::{Schedule, ScheduleError};
use crate::{durations, sizes};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Makes a value that is written as text: its place in the schema, and how it is read and written.
macro_rules! textual {
    ($name:ident, $format:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

/// A length of time: `90s`, `5min`, `26h`, `35d`, `2w`, `6mo`, `10y`. A month counts as 31 days and a year
/// as 366: never less than the calendar says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);
textual!(Interval, "duration");

impl Interval {
    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Interval(Duration::from_secs(hours * 3600))
    }

    /// So many days.
    pub const fn days(days: u64) -> Self {
        Interval::hours(days * 24)
    }

    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Interval(Duration::from_secs(minutes * 60))
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        durations::parse(text).map(Interval).map_err(|e| e.in_one_line())
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&durations::written(self.0))
    }
}

/// A number of bytes: `500`, `10K`, `1.5 MiB`, `50 GB`; powers of 1024, whatever the letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);
textual!(Bytes, "size");

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        sizes::parse(text).map(Bytes).map_err(|e| e.in_one_line())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sizes::written(self.0))
    }
}

/// Bytes per second: `512K`, `20 MB/s`. More than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);
textual!(Rate, "rate");

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.trim().strip_suffix("/s").unwrap_or(text);
        match sizes::parse(bytes) {
            Ok(0) => Err("a limit of 0 bytes per second would never end".to_string()),
            Ok(bytes) => Ok(Rate(bytes)),
            Err(_) => Err(format!("{text:?} is no speed: write it like 512K/s or \"20 MB/s\"")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", sizes::written(self.0))
    }
}

/// A part of a whole: `5%`, `1/30`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// So many of a hundred.
    Percent(f64),
    /// One of so many.
    OneOf(u32),
    /// So many bytes.
    Bytes(u64),
}
textual!(Share, "share");

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no share: write it like 5%, 1/30 or 10G");
        let text = text.trim();
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return if (0.0..=100.0).contains(&percent) { Ok(Share::Percent(percent)) } else { Err(wrong()) };
        }
        if let Some(parts) = text.strip_prefix("1/") {
            let parts = parts.parse().ok().filter(|parts| *parts > 0);
            return parts.map(Share::OneOf).ok_or_else(wrong);
        }
        sizes::parse(text).map(Share::Bytes).map_err(|_| wrong())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Percent(percent) => write!(f, "{percent}%"),
            Share::OneOf(parts) => write!(f, "1/{parts}"),
            Share::Bytes(bytes) => f.write_str(&sizes::written(*bytes)),
        }
    }
}

/// How much of a pack may be damaged and still be mended: `off`, `6%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parity(pub u8);
textual!(Parity, "parity");

impl FromStr for Parity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        sizes::parse_parity(text).map(Parity)
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sizes::shown_parity(self.0))
    }
}

/// When something happens: a calendar expression of systemd (`hourly`, `Sun 03:00`, `*-*-01 06:00`), five
/// fields of cron, or `every 6h`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct When(pub String);
textual!(When, "schedule");

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a schedule says when: write it like hourly, \"Sun 03:00\" or \"every 6h\"".into());
        }
        let read: Result<Schedule, _> = text.parse();
        let schedule = read.map_err(|e| format!("{e}; {}", ScheduleError::HINT))?;
        if schedule.interval().is_some_and(|every| every < Duration::from_secs(60)) {
            return Err("more often than every minute is no schedule".into());
        }
        Ok(When(text.to_string()))
    }
}

impl When {
    /// The schedule, to compute with.
    pub fn schedule(&self) -> Schedule {
        self.0.parse().expect("it was read before")
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Many(Vec<T>),
            One(T),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Many(many) => OneOrMany::Many(many),
            Either::One(one) => OneOrMany::One(one),
        })
    }
}

/// Reads a text of the schema's `format` and says what is wrong with it.
pub(super) fn check_format(format: &str, text: &str) -> Result<(), String> {
    match format {
        "duration" => text.parse::<Interval>().map(drop),
        "size" => text.parse::<Bytes>().map(drop),
        "rate" => text.parse::<Rate>().map(drop),
        "share" => text.parse::<Share>().map(drop),
        "parity" => text.parse::<Parity>().map(drop),
        "schedule" => text.parse::<When>().map(drop),
        "window" => text.parse::<Window>().map(drop).map_err(|e| e.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_so_that_it_is_read_again() {
        for text in ["26h", "35d", "5min", "90s", "2w", "10y", "0"] {
            let read: Interval = text.parse().unwrap();
            assert_eq!(read.to_string().parse::<Interval>().unwrap(), read, "{text}");
        }
        for text in ["20 MB/s", "512K", "1.5 GiB/s"] {
            let read: Rate = text.parse().unwrap();
            assert_eq!(read.to_string().parse::<Rate>().unwrap(), read, "{text}");
        }
        for text in ["1/30", "5%", "10G", "0.5%"] {
            let read: Share = text.parse().unwrap();
            assert_eq!(read.to_string().parse::<Share>().unwrap(), read, "{text}");
        }
        assert_eq!("26h".parse::<Interval>().unwrap().to_string(), "26h");
        assert_eq!("20 MB/s".parse::<Rate>().unwrap().to_string(), "20M/s");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!("0".parse::<Rate>().is_err() && "101%".parse::<Share>().is_err());
        assert!("1/0".parse::<Share>().is_err() && "2/3".parse::<Share>().is_err());
        assert!("every 1s".parse::<When>().is_err() && " ".parse::<When>().is_err());
    }
}

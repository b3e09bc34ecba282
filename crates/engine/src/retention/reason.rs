//! Why a snapshot is kept, in data and in words.

use super::buckets::label;
use super::doubt::Doubt;
use super::policy::{Period, Span};
use jiff::civil::DateTime;
use repo::protection::Protection;

/// Why a snapshot is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is one of the newest.
    Last,
    /// It stands for a period.
    Period {
        /// Of which kind.
        period: Period,
        /// A moment of it, as clocks there show it.
        at: DateTime,
        /// It is not the newest of its period, but the oldest of all, and the count is not used up.
        is_oldest: bool,
        /// The rule reaches so far.
        within: Option<Span>,
    },
    /// It is so young, compared with the newest.
    Within(Span),
    /// It has these tags.
    Tags(Vec<String>),
    /// Nothing better is left of its source.
    LastGood,
    /// Something protects it.
    Protected(Protection),
    /// It must not displace others, and others do not displace it, until somebody says what it is.
    InDoubt(Doubt),
}

impl Reason {
    /// In the words restic uses, where it has the same reason.
    pub fn match_words(&self) -> String {
        match self {
            Reason::Last => "last snapshot".into(),
            Reason::Period { period, is_oldest, within, .. } => {
                let oldest = if *is_oldest { "oldest " } else { "" };
                match within {
                    None => format!("{oldest}{} snapshot", period.adjective()),
                    Some(span) => format!("{oldest}{} within {span}", period.adjective()),
                }
            }
            Reason::Within(span) => format!("within {span}"),
            Reason::Tags(tags) => format!("has tags [{}]", tags.join(", ")),
            Reason::LastGood => "last good snapshot of its source".into(),
            Reason::Protected(Protection::Held { name, .. }) => format!("held by {name:?}"),
            Reason::Protected(Protection::UnreadableHold(id)) => format!("hold {id} cannot be read"),
            Reason::Protected(Protection::TooYoung { .. }) => "below the minimum age".into(),
            Reason::InDoubt(doubt) => doubt.to_string(),
        }
    }

    /// In words for people: which day it stands for.
    pub fn words(&self) -> String {
        match self {
            Reason::Last => "last".into(),
            Reason::Period { period, at, is_oldest, .. } => {
                let oldest = if *is_oldest { " (oldest)" } else { "" };
                format!("{} {}{oldest}", period.adjective(), label(*period, at))
            }
            Reason::LastGood => "last good one of its source".into(),
            Reason::Tags(tags) => format!("tagged {}", tags.join(",")),
            other => other.match_words(),
        }
    }
}

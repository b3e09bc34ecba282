//! What shall be otherwise than follows from how bad a loss would be: for all sources, or for one by its name.

use crate::display::safe;
use crate::error::{Failure, Outcome};
use service::config::places::Goals;
use service::config::values::{Interval, When};
use service::config::{Criticality, RetentionPolicy};
use service::setup::{NewSource, Trial, policy_of};
use std::str::FromStr;

#[derive(clap::Args)]
#[command(
    next_help_heading = "How well (for all sources, or NAME=... for one of them: home, files, system, postgres ...)"
)]
pub(super) struct Wishes {
    /// Losing the newest work of a day would be bad, or only that of a week, or of a month: day, week, month [default: week]
    #[arg(long, value_name = "[NAME=]SPAN", value_parser = For::<Loss>::parse)]
    loss: Vec<For<Loss>>,
    /// When, instead of what follows from --loss: daily, "Sun 03:00", "every 6h"
    #[arg(long, value_name = "[NAME=]SCHEDULE", value_parser = For::<When>::parse)]
    schedule: Vec<For<When>>,
    /// What is kept: "3 48h 14d 8w 12m 5y"
    #[arg(long, value_name = "[NAME=]POLICY", value_parser = For::<Keep>::parse)]
    keep: Vec<For<Keep>>,
    /// How old the newest snapshot may be: 26h, 3d
    #[arg(long, value_name = "[NAME=]TIME", value_parser = For::<Interval>::parse)]
    max_age: Vec<For<Interval>>,
    /// When it is restored on trial: monthly, "Sun 06:00", never
    #[arg(long, value_name = "[NAME=]SCHEDULE", value_parser = For::<Drill>::parse)]
    drill: Vec<For<Drill>>,
    /// Copies wanted, the live data counted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=20))]
    copies: Option<u32>,
    /// Kinds of media they are on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    media: Option<u32>,
    /// Copies in another building
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=20))]
    offsite: Option<u32>,
    /// Every byte is read again within this time
    #[arg(long, value_name = "TIME")]
    verified_within: Option<Interval>,
    /// Every source is restored on trial within this time
    #[arg(long, value_name = "TIME")]
    drilled_within: Option<Interval>,
}

/// A wish for one source, or for all.
#[derive(Clone, Debug, PartialEq)]
struct For<T> {
    name: Option<String>,
    value: T,
}

impl<T: FromStr<Err = String>> For<T> {
    fn parse(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        match text.split_once('=').filter(|(name, _)| is_name(name)) {
            Some((name, rest)) => Ok(For { name: Some(name.into()), value: rest.parse()? }),
            None => Ok(For { name: None, value: text.parse()? }),
        }
    }
}

/// The last wish for a source by its name, else the last for all.
fn wish<'w, T>(wishes: &'w [For<T>], source: &str) -> Option<&'w T> {
    let named = |name: Option<&str>| wishes.iter().rev().find(|wish| wish.name.as_deref() == name);
    named(Some(source)).or_else(|| named(None)).map(|wish| &wish.value)
}

/// How much of the newest work may be lost at most.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Loss(Criticality);

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "day" => Ok(Loss(Criticality::High)),
            "week" => Ok(Loss(Criticality::Normal)),
            "month" => Ok(Loss(Criticality::Low)),
            _ => Err("it is day, week or month".into()),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Keep(RetentionPolicy);

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        policy_of(text).map(Keep)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Drill(Trial);

impl FromStr for Drill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Drill(Trial::Never)),
            when => when.parse().map(|when| Drill(Trial::At(when))),
        }
    }
}

impl Wishes {
    /// Gives each source what was wished for it.
    pub(super) fn apply(&self, sources: &mut [NewSource]) -> Outcome<()> {
        self.know_all(sources)?;
        for source in sources {
            let name = source.name.clone();
            if let Some(Loss(criticality)) = wish(&self.loss, &name) {
                source.criticality = *criticality;
            }
            source.schedule = wish(&self.schedule, &name).cloned();
            source.keep = wish(&self.keep, &name).map(|keep| keep.0.clone());
            source.max_age = wish(&self.max_age, &name).copied();
            source.trial = wish(&self.drill, &name).map(|drill| drill.0.clone()).unwrap_or_default();
        }
        Ok(())
    }

    /// A wish for a source that is not there is a mistake.
    fn know_all(&self, sources: &[NewSource]) -> Outcome<()> {
        fn names<T>(wishes: &[For<T>]) -> impl Iterator<Item = &String> {
            wishes.iter().filter_map(|wish| wish.name.as_ref())
        }
        let all = names(&self.loss)
            .chain(names(&self.schedule))
            .chain(names(&self.keep))
            .chain(names(&self.max_age))
            .chain(names(&self.drill));
        let known: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        match all.into_iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Failure::usage(format!("no source has the name {}", safe(name)))
                .hint(format!("there are: {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    /// What is wanted of all.
    pub(super) fn goals(&self) -> Goals {
        Goals {
            copies: self.copies,
            media: self.media,
            offsite: self.offsite,
            verified_within: self.verified_within,
            drilled_within: self.drilled_within,
            ..Goals::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_one_counts_more_than_one_for_all() {
        let wishes = ["every 6h", "db=daily", "weekly"].map(|text| For::<When>::parse(text).unwrap());
        assert_eq!(wish(&wishes, "db"), Some(&When("daily".into())));
        assert_eq!(wish(&wishes, "home"), Some(&When("weekly".into())));
        assert!(For::<Loss>::parse("db=year").is_err() && For::<Drill>::parse("db=never").is_ok());
        assert!(For::<Keep>::parse("").is_err());
    }
}

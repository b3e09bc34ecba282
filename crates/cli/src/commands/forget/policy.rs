//! The options that say which snapshots are kept.

use crate::error::{Failure, Outcome};
use engine::retention::{Count, GroupBy, Policy, Span};

/// Which snapshots are kept.
#[derive(clap::Args, Default)]
pub(crate) struct PolicyArgs {
    /// Keep by a policy in one word: "3 48h 14d 8w 12m 5y" is --keep-last 3, --keep-hourly 48 and so on
    #[arg(long, value_name = "POLICY")]
    policy: Option<Policy>,
    /// Keep the newest N; a number or unlimited
    #[arg(short = 'l', long, value_name = "N", allow_hyphen_values = true)]
    keep_last: Option<Count>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_hourly: Option<Count>,
    /// Keep the newest of each of the last N days that have one
    #[arg(short = 'd', long, value_name = "N", allow_hyphen_values = true)]
    keep_daily: Option<Count>,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(short = 'w', long, value_name = "N", allow_hyphen_values = true)]
    keep_weekly: Option<Count>,
    /// Keep the newest of each of the last N months that have one
    #[arg(short = 'm', long, value_name = "N", allow_hyphen_values = true)]
    keep_monthly: Option<Count>,
    /// Keep the newest of each of the last N years that have one
    #[arg(short = 'y', long, value_name = "N", allow_hyphen_values = true)]
    keep_yearly: Option<Count>,
    /// Keep all that are not older, compared with the newest, than this (2y5m7d3h)
    #[arg(long, value_name = "SPAN")]
    keep_within: Option<Span>,
    /// Keep the newest of each hour within this span
    #[arg(long, value_name = "SPAN")]
    keep_within_hourly: Option<Span>,
    /// Keep the newest of each day within this span
    #[arg(long, value_name = "SPAN")]
    keep_within_daily: Option<Span>,
    /// Keep the newest of each week within this span
    #[arg(long, value_name = "SPAN")]
    keep_within_weekly: Option<Span>,
    /// Keep the newest of each month within this span
    #[arg(long, value_name = "SPAN")]
    keep_within_monthly: Option<Span>,
    /// Keep the newest of each year within this span
    #[arg(long, value_name = "SPAN")]
    keep_within_yearly: Option<Span>,
    /// Keep those with all of these tags
    #[arg(long, value_name = "TAG[,TAG]")]
    keep_tag: Vec<String>,
}

impl PolicyArgs {
    /// The policy they add up to; `None` without any of them.
    pub(crate) fn policy(&self) -> Option<Policy> {
        let counts =
            [self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly];
        let spans = [
            self.keep_within_hourly,
            self.keep_within_daily,
            self.keep_within_weekly,
            self.keep_within_monthly,
            self.keep_within_yearly,
        ];
        let given = self.policy.is_some()
            || counts.iter().chain([&self.keep_last]).any(Option::is_some)
            || spans.iter().chain([&self.keep_within]).any(Option::is_some)
            || !self.keep_tag.is_empty();
        if !given {
            return None;
        }
        let mut policy = self.policy.clone().unwrap_or_default();
        policy.last = self.keep_last.unwrap_or(policy.last);
        for (rule, count) in policy.newest_of.iter_mut().zip(counts) {
            *rule = count.unwrap_or(*rule);
        }
        policy.within = self.keep_within;
        policy.newest_within = spans;
        let tags = |list: &String| list.split(',').map(str::to_string).collect();
        policy.tags = self.keep_tag.iter().filter(|list| !list.is_empty()).map(tags).collect();
        Some(policy)
    }
}

/// Reads `host,paths,tags` or any part of it; nothing for one group of all.
pub(crate) fn group_by(text: &str) -> Outcome<GroupBy> {
    let mut by = GroupBy { host: false, sources: false, tags: false };
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "host" => by.host = true,
            "paths" | "path" => by.sources = true,
            "tags" | "tag" => by.tags = true,
            _ => {
                return Err(Failure::usage(format!("snapshots cannot be grouped by {word:?}"))
                    .hint("group by host, paths, tags, several of them separated by commas, or by ''"));
            }
        }
    }
    Ok(by)
}

/// A policy that would forget everything is a mistake.
pub(crate) fn refuse_empty(policy: &Policy) -> Outcome<()> {
    match policy.is_empty() {
        false => Ok(()),
        true => Err(Failure::usage("this policy keeps nothing")
            .hint("say what to keep, such as --keep-daily 7 --keep-weekly 4; single snapshots are forgotten by their ids")),
    }
}

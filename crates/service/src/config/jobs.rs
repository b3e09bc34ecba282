//! `[jobs.NAME]`, `[retention]`, `[maintenance]`, `[verify]` and `[[hooks]]`: what happens when.

use super::values::{Interval, OneOrMany, Share, When};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sources that are read together and where their copies go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Job {
    /// What: names of sources.
    #[schemars(length(min = 1))]
    pub sources: Vec<String>,
    /// Where to: names of repositories. The first that can be reached leads, the others get the same.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// When. Follows from the criticality of its sources where this is absent; an empty list is never.
    #[serde(default)]
    pub schedule: Option<OneOrMany<When>>,
    /// Begins up to so much later, so that not all machines begin at once.
    #[serde(default)]
    pub jitter: Option<Interval>,
    /// Runs at once when its time passed while the machine slept or was off.
    #[serde(default = "yes")]
    pub catch_up: bool,
    /// Runs only then.
    #[serde(default)]
    pub only_if: OnlyIf,
    /// What is read again: the same each time, or by the calendar.
    #[serde(default)]
    pub mode: ModeChoice,
    /// Tries again.
    #[serde(default)]
    pub retry: Retry,
    /// Ends each source's run after this time.
    #[serde(default)]
    pub timeout: Option<Interval>,
    /// The newest snapshot of its sources may be so old; overrides the goals.
    #[serde(default)]
    pub max_age: Option<Interval>,
    /// Makes no snapshot when nothing changed.
    #[serde(default)]
    pub skip_if_unchanged: bool,
    /// Tags of its snapshots.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Priority for the processor while it runs: 19 gives way to everything.
    #[serde(default)]
    #[schemars(range(min = 0, max = 19))]
    pub nice: Option<i32>,
}

fn yes() -> bool {
    true
}

/// When a job may run.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct OnlyIf {
    /// On battery only above so many per cent; plugged in it runs always.
    #[schemars(range(min = 0, max = 100))]
    pub battery_above: Option<u8>,
    /// Also on connections that cost by the byte.
    pub on_metered: bool,
    /// Runs all the same when the newest snapshot is so old.
    pub unless_older_than: Option<Interval>,
}

impl Default for OnlyIf {
    fn default() -> Self {
        OnlyIf { battery_above: None, on_metered: true, unless_older_than: None }
    }
}

/// Trying again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// How often it is tried, the first time counted.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// How long to wait before.
    pub wait: Interval,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 3, wait: Interval::minutes(2) }
    }
}

/// What is read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunMode {
    /// Every byte, and proves that everything is stored.
    Full,
    /// What changed since the newest snapshot of the same source.
    #[default]
    Incremental,
    /// What changed since the newest full one.
    Differential,
}

/// Which mode a run has.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum ModeChoice {
    /// The same each time.
    Always(RunMode),
    /// By the calendar.
    Calendar(ModeCalendar),
}

impl Default for ModeChoice {
    fn default() -> Self {
        ModeChoice::Always(RunMode::Incremental)
    }
}

/// Modes by the calendar: a run is full when no full snapshot of the source was made in this period yet, so
/// a machine that was off on the first of the month makes it on the next day it runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ModeCalendar {
    /// One full run in each of these periods.
    pub full: Option<CalendarPeriod>,
    /// One differential (or full) run in each of these.
    pub differential: Option<CalendarPeriod>,
    /// All other runs.
    #[serde(rename = "else")]
    pub otherwise: RunMode,
}

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CalendarPeriod {
    /// From midnight to midnight.
    Daily,
    /// From Monday to Sunday.
    Weekly,
    /// A month of the calendar.
    Monthly,
    /// Three months, from January.
    Quarterly,
    /// A year of the calendar.
    Yearly,
}

/// What is kept of what.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Retention {
    /// Which policy holds where: "source@repository", "source", "@repository" or "*"; the most specific one
    /// that fits. Sources without one get the policy of their criticality.
    pub rules: BTreeMap<String, String>,
    /// The policies, by name.
    #[serde(flatten)]
    pub policies: BTreeMap<String, RetentionPolicy>,
}

/// What is kept: whatever any rule keeps stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct RetentionPolicy {
    /// The newest ones.
    pub keep_last: Option<u32>,
    /// The newest of so many hours.
    pub keep_hourly: Option<u32>,
    /// The newest of so many days.
    pub keep_daily: Option<u32>,
    /// The newest of so many weeks.
    pub keep_weekly: Option<u32>,
    /// The newest of so many months.
    pub keep_monthly: Option<u32>,
    /// The newest of so many years.
    pub keep_yearly: Option<u32>,
    /// All within this time before the newest.
    pub keep_within: Option<Interval>,
    /// Those with one of these tags.
    pub keep_tags: Vec<String>,
    /// Nothing goes before this age.
    pub min_age: Option<Interval>,
    /// Everything goes after this age, but the newest.
    pub max_age: Option<Interval>,
}

/// Forgetting and freeing space.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Maintenance {
    /// When; an empty list is never.
    pub schedule: OneOrMany<When>,
    /// Rewrites packs until no more than this is unused.
    pub max_unused: Option<Share>,
    /// Forgotten snapshots can be brought back for so long.
    pub undo_window: Interval,
    /// Deletes so long after setting apart.
    pub grace: Interval,
}

impl Default for Maintenance {
    fn default() -> Self {
        Maintenance {
            schedule: OneOrMany::One(When("Sat 04:00".into())),
            max_unused: None,
            undo_window: Interval::days(7),
            grace: Interval::hours(24),
        }
    }
}

/// Reading again what is stored.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Verify {
    /// When; an empty list is never.
    pub schedule: OneOrMany<When>,
    /// How much each time: `1/30` reads every byte within 30 runs. What was never read comes first.
    pub read: Share,
}

impl Default for Verify {
    fn default() -> Self {
        Verify { schedule: OneOrMany::One(When("*-*-* 05:00".into())), read: Share::OneOf(30) }
    }
}

/// A command around runs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Hook {
    /// When it runs.
    pub on: HookEvent,
    /// Around which jobs; all where this is absent.
    #[serde(default)]
    pub jobs: Option<Vec<String>>,
    /// The program and its arguments; no shell.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// Ends it after this time, which counts as failure.
    #[serde(default = "one_minute")]
    pub timeout: Interval,
    /// What its failure means. Exit status 75 is no failure: before a job it says "not now".
    #[serde(default)]
    pub on_failure: OnFailure,
}

fn one_minute() -> Interval {
    Interval::minutes(1)
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HookEvent {
    /// Before the job.
    Before,
    /// After the job, when it was not skipped.
    After,
    /// After a job that went well.
    Success,
    /// After a job that failed.
    Failure,
    /// At the end, whatever happened, also when the job was cancelled.
    Finally,
}

/// What the failure of a hook means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The job fails, and does not begin if it did not yet.
    #[default]
    Abort,
    /// It is told.
    Warn,
    /// It does not matter.
    Ignore,
}

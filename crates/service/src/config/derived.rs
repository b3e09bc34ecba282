//! What follows from the configuration where it is not written: from how bad a loss would be come schedule,
//! retention, copies and the cycle of drills. Everything here can be written out, and then is as written.

use super::jobs::{CalendarPeriod, ModeCalendar, ModeChoice, RetentionPolicy, RunMode};
use super::places::{Goals, Repository};
use super::sources::Criticality;
use super::values::{Interval, OneOrMany, When};
use super::watch::Drill;
use super::{Config, Job};
use engine::retention::{Count, Policy, Span};
use storage::Location;

/// Policies that exist without being written: one for each criticality.
pub const BUILT_IN: [&str; 3] = ["low", "normal", "high"];

/// What follows from a criticality.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// When it is backed up.
    pub schedule: When,
    /// The newest snapshot may be so old: the schedule and a half, with room for a machine that is off.
    pub max_age: Interval,
    /// What is kept.
    pub keep: RetentionPolicy,
    /// Copies, the live data counted.
    pub copies: u32,
    /// Copies in another building.
    pub offsite: u32,
    /// Kinds of media.
    pub media: u32,
    /// Every byte is read again within this time.
    pub verified_within: Interval,
    /// Restored on trial within this time.
    pub drilled_within: Interval,
    /// When it is restored on trial.
    pub drill: When,
    /// Its place in the order of recovery.
    pub priority: u32,
}

impl Criticality {
    /// What follows from it.
    pub fn derived(self) -> Derived {
        let keep = |last, hourly, daily, weekly, monthly, yearly| RetentionPolicy {
            keep_last: Some(last),
            keep_hourly: hourly,
            keep_daily: Some(daily),
            keep_weekly: Some(weekly),
            keep_monthly: Some(monthly),
            keep_yearly: yearly,
            ..RetentionPolicy::default()
        };
        let when = |text: &str| When(text.to_string());
        match self {
            Criticality::High => Derived {
                schedule: when("hourly"),
                max_age: Interval::hours(26),
                keep: keep(3, Some(48), 30, 12, 24, Some(10)),
                copies: 3,
                offsite: 1,
                media: 2,
                verified_within: Interval::days(35),
                drilled_within: Interval::days(35),
                drill: when("*-*-01 06:00"),
                priority: 1,
            },
            Criticality::Normal => Derived {
                schedule: when("daily"),
                max_age: Interval::days(3),
                keep: keep(3, None, 14, 8, 12, Some(3)),
                copies: 3,
                offsite: 1,
                media: 2,
                verified_within: Interval::days(65),
                drilled_within: Interval::days(100),
                drill: when("*-01,04,07,10-01 06:00"),
                priority: 2,
            },
            Criticality::Low => Derived {
                schedule: when("weekly"),
                max_age: Interval::days(15),
                keep: keep(2, None, 7, 4, 6, None),
                copies: 2,
                offsite: 0,
                media: 1,
                verified_within: Interval::days(190),
                drilled_within: Interval::days(375),
                drill: when("*-01-01 06:00"),
                priority: 3,
            },
        }
    }

    /// The name of its policy.
    pub fn name(self) -> &'static str {
        match self {
            Criticality::Low => "low",
            Criticality::Normal => "normal",
            Criticality::High => "high",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Criticality::Low, Criticality::Normal, Criticality::High].into_iter().find(|c| c.name() == name)
    }
}

/// Source and repository of a rule: `shop@cloud`, `shop`, `@cloud`, `*`; `*` and nothing mean all.
pub fn rule_parts(rule: &str) -> (Option<&str>, Option<&str>) {
    let (source, repository) = rule.split_once('@').unwrap_or((rule, ""));
    let some = |name: &'_ str| !name.is_empty() && name != "*";
    (Some(source).filter(|name| some(name)), Some(repository).filter(|name| some(name)))
}

impl RetentionPolicy {
    /// The policy as retention applies it. One without any `keep_` keeps all within its greatest age, or
    /// within its least where it has no greatest.
    pub fn policy(&self) -> Policy {
        let count = |n: Option<u32>| match n {
            Some(n) if n > 0 => Count::Some(n.into()),
            _ => Count::None,
        };
        let hours = |interval: Interval| Span {
            hours: (interval.0.as_secs().div_ceil(3600)).try_into().unwrap_or(u32::MAX),
            ..Span::default()
        };
        let mut policy = Policy {
            last: count(self.keep_last),
            newest_of: [
                self.keep_hourly,
                self.keep_daily,
                self.keep_weekly,
                self.keep_monthly,
                self.keep_yearly,
            ]
            .map(count),
            within: self.keep_within.map(hours),
            tags: self.keep_tags.iter().map(|tag| vec![tag.clone()]).collect(),
            ..Policy::default()
        };
        let counts = policy.newest_of.iter().chain([&policy.last]);
        if counts.copied().all(|count| count == Count::None) && policy.within.is_none() {
            policy.within = self.max_age.or(self.min_age).map(hours);
        }
        policy
    }
}

impl Config {
    /// How bad it would be to lose a source.
    pub fn criticality(&self, source: &str) -> Criticality {
        self.sources.get(source).and_then(|source| source.common().criticality).unwrap_or_default()
    }

    /// The retention of a source in a repository: the name of its policy, and the policy.
    pub fn retention_of(&self, source: &str, repository: &str) -> (String, RetentionPolicy) {
        // The more of it is named the more it counts; the source before the repository.
        let fits = |rule: &&String| {
            let (s, r) = rule_parts(rule);
            s.is_none_or(|name| name == source) && r.is_none_or(|name| name == repository)
        };
        let rank = |rule: &&String| {
            let (s, r) = rule_parts(rule);
            (s.is_some(), r.is_some())
        };
        let rule = self.retention.rules.keys().filter(fits).max_by_key(rank);
        let name = match rule {
            Some(rule) => self.retention.rules[rule].clone(),
            None if self.retention.policies.contains_key("default") => "default".to_string(),
            None => self.criticality(source).name().to_string(),
        };
        let written = self.retention.policies.get(&name).cloned();
        let built_in = || Criticality::named(&name).unwrap_or_default().derived().keep;
        let policy = written.unwrap_or_else(built_in);
        (name, policy)
    }

    /// The most critical source of a job.
    pub fn criticality_of_job(&self, job: &Job) -> Criticality {
        job.sources.iter().map(|source| self.criticality(source)).max().unwrap_or_default()
    }

    /// When a job runs; none for never.
    pub fn schedule_of(&self, job: &Job) -> Vec<When> {
        match &job.schedule {
            Some(written) => written.as_slice().to_vec(),
            None => vec![self.criticality_of_job(job).derived().schedule],
        }
    }

    /// The jobs that back up a source.
    pub fn jobs_of<'c>(&'c self, source: &'c str) -> impl Iterator<Item = (&'c String, &'c Job)> {
        self.jobs.iter().filter(move |(_, job)| job.sources.iter().any(|name| name == source))
    }

    /// The repositories that hold a source, each once.
    pub fn repositories_of(&self, source: &str) -> Vec<&str> {
        let jobs = self.jobs.values().filter(|job| job.sources.iter().any(|name| name == source));
        let mut names: Vec<&str> = jobs.flat_map(|job| &job.to).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How old the newest snapshot of a source in a repository may be: as the source says, its repository,
    /// its jobs, the goals, or its criticality.
    pub fn max_age_of(&self, source: &str, repository: &str) -> Interval {
        let own = self.sources.get(source).and_then(|s| s.common().max_age.or(s.common().rpo));
        own.or_else(|| self.repositories.get(repository).and_then(|r| r.max_age))
            .or_else(|| self.jobs_of(source).filter_map(|(_, job)| job.max_age).min())
            .or(self.goals.max_age)
            .unwrap_or_else(|| self.criticality(source).derived().max_age)
    }

    /// The goals for a source, all of them said.
    pub fn goals_of(&self, source: &str) -> Goals {
        let derived = self.criticality(source).derived();
        let goals = &self.goals;
        Goals {
            copies: goals.copies.or(Some(derived.copies)),
            media: goals.media.or(Some(derived.media)),
            offsite: goals.offsite.or(Some(derived.offsite)),
            immutable: goals.immutable.or(Some(0)),
            max_age: goals.max_age.or(Some(derived.max_age)),
            verified_within: goals.verified_within.or(Some(derived.verified_within)),
            drilled_within: goals.drilled_within.or(Some(derived.drilled_within)),
        }
    }

    /// When a drill runs; none for never.
    pub fn schedule_of_drill(&self, drill: &Drill) -> Vec<When> {
        match (drill.schedule(), drill.source()) {
            (Some(written), _) => written.as_slice().to_vec(),
            (None, Some(source)) => vec![self.criticality(source).derived().drill],
            (None, None) => vec![Criticality::Normal.derived().drill],
        }
    }
}

impl Drill {
    /// Of which source; a drill of the kit has none.
    pub fn source(&self) -> Option<&str> {
        match self {
            Drill::Files(drill) => Some(&drill.source),
            Drill::Postgres(d) | Drill::Mysql(d) | Drill::Mariadb(d) | Drill::Sqlite(d) => Some(&d.source),
            Drill::Kit(_) => None,
        }
    }

    /// From which repository, or `rotate`.
    pub fn from(&self) -> &str {
        match self {
            Drill::Files(drill) => &drill.from,
            Drill::Postgres(d) | Drill::Mysql(d) | Drill::Mariadb(d) | Drill::Sqlite(d) => &d.from,
            Drill::Kit(drill) => &drill.from,
        }
    }

    /// The schedule, if one is written.
    pub fn schedule(&self) -> Option<&OneOrMany<When>> {
        match self {
            Drill::Files(drill) => drill.schedule.as_ref(),
            Drill::Postgres(d) | Drill::Mysql(d) | Drill::Mariadb(d) | Drill::Sqlite(d) => {
                d.schedule.as_ref()
            }
            Drill::Kit(drill) => drill.schedule.as_ref(),
        }
    }
}

impl Repository {
    /// Whether it stands in another building: as written, or as its address suggests.
    pub fn is_offsite(&self) -> bool {
        self.offsite.unwrap_or_else(|| match Location::parse(&self.url) {
            Ok(Location::Local(_)) | Err(_) => false,
            Ok(Location::Bucket(bucket)) => {
                bucket.options.get("endpoint").is_none_or(|endpoint| !is_near(host_of(endpoint)))
            }
            Ok(other) => !is_near(host_of(&other.to_string())),
        })
    }

    /// The kind of medium: as written, or as its address suggests.
    pub fn kind_of_medium(&self) -> String {
        self.medium.clone().unwrap_or_else(|| {
            let kind = match Location::parse(&self.url) {
                Ok(Location::Local(_)) | Err(_) if self.removable.is_some() => "external-disk",
                Ok(Location::Local(_)) | Err(_) => "disk",
                Ok(Location::Removable(_)) => "external-disk",
                Ok(Location::Bucket(_)) => "object-store",
                Ok(_) => "server",
            };
            kind.to_string()
        })
    }
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// A name without a domain, one of a home network, or an address that is not routed.
fn is_near(host: &str) -> bool {
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return match address {
            std::net::IpAddr::V4(a) => a.is_private() || a.is_loopback() || a.is_link_local(),
            std::net::IpAddr::V6(a) => a.is_loopback() || (a.segments()[0] & 0xfe00) == 0xfc00,
        };
    }
    let near = [".lan", ".local", ".home", ".internal", ".home.arpa", ".localdomain"];
    !host.contains('.') || near.iter().any(|ending| host.ends_with(ending))
}

impl ModeChoice {
    /// The mode of a run, by what was made in the current periods.
    ///
    /// `made` answers whether a snapshot of this mode (a full one counts as differential) was made in the
    /// current one of the periods.
    pub fn mode(&self, made: impl Fn(RunMode, CalendarPeriod) -> bool) -> RunMode {
        match self {
            ModeChoice::Always(mode) => *mode,
            ModeChoice::Calendar(ModeCalendar { full: Some(period), .. })
                if !made(RunMode::Full, *period) =>
            {
                RunMode::Full
            }
            ModeChoice::Calendar(ModeCalendar { differential: Some(period), .. })
                if !made(RunMode::Differential, *period) =>
            {
                RunMode::Differential
            }
            ModeChoice::Calendar(calendar) => calendar.otherwise,
        }
    }
}

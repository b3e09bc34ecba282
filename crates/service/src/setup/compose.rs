//! From answers to `lifeboat.toml`.

use crate::config::places::Goals;
use crate::config::values::{Interval, When};
use crate::config::watch::Drill;
use crate::config::{Criticality, RetentionPolicy};
use engine::retention::{Count, Policy};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use storage::Location;

/// A repository to be written.
#[derive(Clone, Debug, Default)]
pub struct NewPlace {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The key file that opens it.
    pub key_file: Option<PathBuf>,
    /// The file with the password that opens it.
    pub password_file: Option<PathBuf>,
    /// Whether it is in another building, where its address does not tell.
    pub offsite: Option<bool>,
}

/// What a source is.
#[derive(Clone, Debug)]
pub enum What {
    /// Files and folders.
    Files(Vec<String>),
    /// A database server: the type of its source, and how it is reached.
    Database(String, String),
    /// What the machine needs to be built again.
    System,
}

impl What {
    fn kind(&self) -> &str {
        match self {
            What::Files(_) => "files",
            What::Database(kind, _) => kind,
            What::System => "system",
        }
    }
}

/// When a source is restored on trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trial {
    /// As follows from the criticality.
    #[default]
    Derived,
    /// Then.
    At(When),
    /// Only when somebody does it.
    Never,
}

/// A source to be written.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// Its name.
    pub name: String,
    /// What it is.
    pub what: What,
    /// How bad it would be to lose it.
    pub criticality: Criticality,
    /// What is left out.
    pub exclude: Vec<String>,
    /// When, where it shall not follow from the criticality.
    pub schedule: Option<When>,
    /// What is kept, where it shall not follow from the criticality.
    pub keep: Option<RetentionPolicy>,
    /// When it is restored on trial.
    pub trial: Trial,
    /// How old the newest snapshot may be, where it shall not follow from the criticality.
    pub max_age: Option<Interval>,
}

/// Something that holds for a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What it is about.
    pub what: &'static str,
    /// The value, in words.
    pub value: String,
    /// The option of `setup` by which it can be another.
    pub option: &'static str,
    /// Whether it was chosen; otherwise it follows from the criticality.
    pub is_chosen: bool,
}

impl NewSource {
    /// A source about which nothing but what it is was said.
    pub fn new(name: &str, what: What) -> Self {
        NewSource {
            name: name.into(),
            what,
            criticality: Criticality::Normal,
            exclude: Vec::new(),
            schedule: None,
            keep: None,
            trial: Trial::Derived,
            max_age: None,
        }
    }

    /// When it is backed up.
    pub fn schedule(&self) -> When {
        self.schedule.clone().unwrap_or_else(|| self.criticality.derived().schedule)
    }

    /// All that holds for it: what was chosen, and what follows from how bad a loss would be.
    pub fn meaning(&self, goals: &Goals) -> Vec<Meaning> {
        let derived = self.criticality.derived();
        let keep = self.keep.as_ref().unwrap_or(&derived.keep);
        let one = |what, value, option, is_chosen| Meaning { what, value, option, is_chosen };
        let trial = match &self.trial {
            Trial::Derived => derived.drill.schedule().meaning(),
            Trial::At(when) => when.schedule().meaning(),
            Trial::Never => "by hand".into(),
        };
        let time = |chosen: Option<Interval>, derived: Interval| chosen.unwrap_or(derived).to_string();
        let number = |chosen: Option<u32>, derived: u32| chosen.unwrap_or(derived).to_string();
        vec![
            one("backed up", self.schedule().schedule().meaning(), "--schedule", self.schedule.is_some()),
            one("may be old", time(self.max_age, derived.max_age), "--max-age", self.max_age.is_some()),
            one(
                "kept",
                keep.policy().to_string().trim_start_matches("keep ").into(),
                "--keep",
                self.keep.is_some(),
            ),
            one(
                "copies, the live data counted",
                number(goals.copies, derived.copies),
                "--copies",
                goals.copies.is_some(),
            ),
            one("on kinds of media", number(goals.media, derived.media), "--media", goals.media.is_some()),
            one(
                "in another building",
                number(goals.offsite, derived.offsite),
                "--offsite",
                goals.offsite.is_some(),
            ),
            one(
                "read again within",
                time(goals.verified_within, derived.verified_within),
                "--verified-within",
                goals.verified_within.is_some(),
            ),
            one("restored on trial", trial, "--drill", self.trial != Trial::Derived),
            one(
                "and that at least every",
                time(goals.drilled_within, derived.drilled_within),
                "--drilled-within",
                goals.drilled_within.is_some(),
            ),
        ]
    }

    /// The kind of drill for it: its own where there is one, else one of its files.
    fn kind_of_drill(&self) -> &str {
        let text = format!("kind = {}\nsource = {}", text(self.what.kind()), text(&self.name));
        let own = toml::from_str::<Drill>(&text).is_ok();
        if own { self.what.kind() } else { "files" }
    }
}

/// All answers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Where copies go.
    pub places: Vec<NewPlace>,
    /// What is protected.
    pub sources: Vec<NewSource>,
    /// What is wanted, where it shall not follow from the criticality.
    pub goals: Goals,
}

/// The configuration that says what was answered.
pub fn compose(answers: &Answers) -> String {
    let mut out = String::from(
        "# Made by `lifeboat setup`. What is not written follows from `criticality`; see it with\n\
         # `lifeboat config show`. Every key is told by `lifeboat config reference`.\nversion = 1\n",
    );
    write_goals(&mut out, &answers.goals);
    answers.places.iter().for_each(|place| write_place(&mut out, place));
    answers.sources.iter().for_each(|source| write_source(&mut out, source, &answers.goals));
    write_jobs(&mut out, answers);
    write_retention(&mut out, answers);
    answers.sources.iter().for_each(|source| write_trial(&mut out, source));
    out
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a text takes everything");
}

/// A text as TOML writes it.
fn text(value: &str) -> String {
    toml::Value::String(value.to_string()).to_string()
}

fn list<'t>(values: impl IntoIterator<Item = &'t str>) -> String {
    format!("[{}]", values.into_iter().map(text).collect::<Vec<_>>().join(", "))
}

fn write_goals(out: &mut String, goals: &Goals) {
    let lines = toml::to_string(goals).expect("goals are numbers and times");
    if !lines.is_empty() {
        push(out, format_args!("\n[goals]\n{lines}"));
    }
}

fn write_trial(out: &mut String, source: &NewSource) {
    if source.trial == Trial::Never {
        return;
    }
    push(out, format_args!("\n[drills.{}]\nsource = {}\n", source.name, text(&source.name)));
    let kind = source.kind_of_drill();
    if kind != "files" {
        push(out, format_args!("kind = {}\n", text(kind)));
    }
    if let Trial::At(when) = &source.trial {
        push(out, format_args!("schedule = {}\n", text(&when.0)));
    }
}

fn write_place(out: &mut String, place: &NewPlace) {
    push(out, format_args!("\n[repositories.{}]\nurl = {}\n", place.name, text(&place.url)));
    if let Some(path) = &place.key_file {
        push(out, format_args!("key_file = {}\n", text(&path.to_string_lossy())));
    }
    if let Some(path) = &place.password_file {
        push(out, format_args!("password = {{ file = {} }}\n", text(&path.to_string_lossy())));
    }
    if let Some(offsite) = place.offsite {
        push(out, format_args!("offsite = {offsite}\n"));
    }
    if place.url.starts_with("removable:") {
        out.push_str("removable = { remind_after = \"7d\" }      # being away is waiting, not failure\n");
    }
}

fn write_source(out: &mut String, source: &NewSource, goals: &Goals) {
    push(out, format_args!("\n[sources.{}]\n", source.name));
    match &source.what {
        What::Files(paths) => push(out, format_args!("paths = {}\n", list(paths.iter().map(String::as_str)))),
        What::Database(kind, url) => push(out, format_args!("type = {}\nurl = {}\n", text(kind), text(url))),
        What::System => out.push_str("type = \"system\"\n"),
    }
    push(out, format_args!("criticality = {}\n", text(source.criticality.name())));
    let follows = source.meaning(goals);
    let follows = follows.iter().filter(|meaning| !meaning.is_chosen);
    let follows: Vec<String> = follows.map(|meaning| format!("{} {}", meaning.what, meaning.value)).collect();
    push(out, format_args!("# from which follows: {}\n", follows.join("; ")));
    if let Some(age) = source.max_age {
        push(out, format_args!("max_age = {}\n", text(&age.to_string())));
    }
    if let What::Files(_) = source.what {
        out.push_str("exclude_caches = true\n");
        if !source.exclude.is_empty() {
            push(out, format_args!("exclude = {}\n", list(source.exclude.iter().map(String::as_str))));
        }
    }
}

/// One job for all sources that run at the same times.
fn write_jobs(out: &mut String, answers: &Answers) {
    let to = list(answers.places.iter().map(|place| place.name.as_str()));
    let mut done: BTreeSet<String> = BTreeSet::new();
    for source in &answers.sources {
        let schedule = source.schedule();
        if !done.insert(schedule.0.clone()) {
            continue;
        }
        let same = answers.sources.iter().filter(|other| other.schedule() == schedule);
        let words = schedule.0.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let name = match words.collect::<Vec<_>>().join("-") {
            words if words.is_empty() => format!("job{}", done.len()),
            words => words,
        };
        let sources = list(same.map(|source| source.name.as_str()));
        push(
            out,
            format_args!(
                "\n[jobs.{name}]\nsources = {sources}\nto = {to}\nschedule = {}\n",
                text(&schedule.0)
            ),
        );
    }
}

fn write_retention(out: &mut String, answers: &Answers) {
    let mut rules = String::new();
    for source in &answers.sources {
        let Some(keep) = &source.keep else { continue };
        push(out, format_args!("\n[retention.{}]\n", source.name));
        let counts = [
            ("keep_last", keep.keep_last),
            ("keep_hourly", keep.keep_hourly),
            ("keep_daily", keep.keep_daily),
            ("keep_weekly", keep.keep_weekly),
            ("keep_monthly", keep.keep_monthly),
            ("keep_yearly", keep.keep_yearly),
        ];
        for (key, count) in counts {
            if let Some(count) = count {
                push(out, format_args!("{key} = {count}\n"));
            }
        }
        push(&mut rules, format_args!("{} = {}\n", text(&source.name), text(&source.name)));
    }
    if !rules.is_empty() {
        push(out, format_args!("\n[retention.rules]\n{rules}"));
    }
}

/// A compact policy (`3 48h 14d 8w 12m 5y`) as the configuration writes it.
pub fn policy_of(compact: &str) -> Result<RetentionPolicy, String> {
    let policy: Policy = compact.parse().map_err(|e: engine::retention::PolicyError| e.to_string())?;
    if policy.is_empty() {
        return Err("it would keep nothing".into());
    }
    let count = |count: Count| match count {
        Count::None => None,
        Count::Some(n) => Some(u32::try_from(n).unwrap_or(u32::MAX)),
        Count::Unlimited => Some(u32::MAX),
    };
    let [hourly, daily, weekly, monthly, yearly] = policy.newest_of.map(count);
    Ok(RetentionPolicy {
        keep_last: count(policy.last),
        keep_hourly: hourly,
        keep_daily: daily,
        keep_weekly: weekly,
        keep_monthly: monthly,
        keep_yearly: yearly,
        ..RetentionPolicy::default()
    })
}

/// A name for a repository, told from its address, that none of `taken` has.
pub fn name_of(url: &str, taken: &BTreeSet<String>) -> String {
    let host = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', ':', '?']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        host.split('.').next().unwrap_or_default().to_string()
    };
    let plain = match Location::parse(url) {
        _ if url.starts_with("removable:") => "usb".to_string(),
        Ok(Location::Local(_)) => "disk".to_string(),
        Ok(Location::Bucket(bucket)) => bucket.bucket,
        _ => host(url),
    };
    let plain: String = plain.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    let plain = plain.trim_start_matches('-');
    let plain = if plain.is_empty() { "place" } else { plain };
    let numbered = (2..).map(|n| format!("{plain}{n}"));
    let mut names = std::iter::once(plain.to_string()).chain(numbered);
    names.find(|name| !taken.contains(name)).expect("there are more numbers than names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::understand;
    use crate::config::problem::SourceFile;
    use std::path::Path;

    #[test]
    fn what_was_answered_is_a_configuration_that_says_so() {
        let source = |name: &str, criticality| NewSource {
            criticality,
            exclude: vec!["**/.cache/".into()],
            ..NewSource::new(name, What::Files(vec![format!("/data \"of\" {name}")]))
        };
        let answers = Answers {
            places: vec![
                NewPlace {
                    name: "disk".into(),
                    url: "/mnt/b".into(),
                    key_file: Some("/k".into()),
                    ..NewPlace::default()
                },
                NewPlace {
                    name: "usb".into(),
                    url: "removable:3f1c77aa-0000-4000-8000-5a5a5a5a5a5a/x".into(),
                    offsite: Some(true),
                    ..NewPlace::default()
                },
            ],
            sources: vec![
                source("a", Criticality::High),
                NewSource { keep: Some(policy_of("3 7d").unwrap()), ..source("b", Criticality::High) },
                NewSource {
                    schedule: Some(When("Sun 03:00".into())),
                    trial: Trial::At(When("monthly".into())),
                    max_age: Some(Interval::days(9)),
                    ..source("c", Criticality::Low)
                },
                NewSource { trial: Trial::Never, ..NewSource::new("system", What::System) },
                NewSource {
                    what: What::Database("postgres".into(), "postgresql:///".into()),
                    ..source("db", Criticality::Normal)
                },
            ],
            goals: Goals { copies: Some(2), drilled_within: Some(Interval::days(50)), ..Goals::default() },
        };
        let text = compose(&answers);
        let file = SourceFile { path: "lifeboat.toml".into(), text: text.clone() };
        let loaded =
            understand(vec![file], Path::new("/")).unwrap_or_else(|b| panic!("{text}{:?}", b.problems));
        let config = loaded.config;
        assert_eq!(config.jobs["hourly"].sources, ["a", "b"]);
        assert_eq!(config.jobs["Sun-03-00"].sources, ["c"]);
        assert_eq!(config.jobs["daily"].sources, ["system", "db"]);
        assert_eq!(config.max_age_of("c", "disk"), Interval::days(9));
        assert_eq!(config.retention_of("b", "usb").1.keep_daily, Some(7));
        assert_eq!(config.retention_of("a", "usb").0, "high");
        assert_eq!(
            (config.goals.copies, config.goals_of("a").drilled_within),
            (Some(2), Some(Interval::days(50)))
        );
        for (drill, when) in [("a", "*-*-01 06:00"), ("c", "monthly")] {
            assert_eq!(config.schedule_of_drill(&config.drills[drill]), [When(when.into())]);
        }
        assert!(!config.drills.contains_key("system"));
        assert!(
            text.contains("# from which follows: backed up") && text.contains("may be old 26h"),
            "{text}"
        );
        assert!(config.repositories["usb"].is_offsite() && config.repositories["usb"].removable.is_some());
    }

    #[test]
    fn repositories_get_names_of_their_own() {
        let mut taken = BTreeSet::new();
        let urls = [
            "/mnt/a",
            "/mnt/b",
            "sftp://me@nas.lan/x",
            "s3://photos/x",
            "removable:3f1c77aa-0000-4000-8000-5a5a5a5a5a5a/x",
            "sftp:me@box:/x",
        ];
        let names = urls.map(|url| {
            let name = name_of(url, &taken);
            taken.insert(name.clone());
            name
        });
        assert_eq!(names[..5], ["disk", "disk2", "nas", "photos", "usb"]);
    }
}

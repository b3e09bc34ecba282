//! From the configuration to what is watched: what is wanted of each source, which duties there are, who is
//! told of what; and the look at a repository that refreshes what is known.

mod found;
mod telling;

pub use found::{Found, LOOK_AGAIN_SECS, found, metrics_text};
pub use telling::{Voice, tell};

use crate::alarms::{DutyWanted, REPEAT_DEFAULT, Route, Routes, Teller};
use crate::catalog::{Catalog, CatalogResult, Copy, Duty, PlaceFacts, Verification};
use crate::config::{self, Config, Notify, Source};
use crate::environment::Environment;
use crate::failure::{Failure, Outcome};
use crate::known::Known;
use crate::notify::{Channel, Smtp, Template};
use crate::open::{Opener, Place};
use crate::posture::{PairWanted, PlaceWanted, SourceWanted, Wanted};
use crate::runner::SOURCE_TAG;
use crate::schedule::{Schedule, upcoming};
use crate::secrets;
use engine::retention::Doubt;
use format::kind::Timestamp;
use format::snapshot::{Completeness, Snapshot};
use jiff::tz::TimeZone;
use repo::snapshots::StoredSnapshot;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use storage::Location;
use storage::removable::{MediaOptions, Medium, look as look_for_drive};
use zeroize::Zeroizing;

/// Whether a snapshot is of a source: it has its tag, or holds the same paths of this machine.
pub fn belongs(config: &Config, machine: &str, home: &Path, source: &str, snapshot: &Snapshot) -> bool {
    let mut names = snapshot.tags.iter().filter_map(|tag| tag.strip_prefix(SOURCE_TAG)).peekable();
    if names.peek().is_some() {
        return snapshot.host == machine && names.any(|name| name == source);
    }
    let Some(Source::Files(files)) = config.sources.get(source) else { return false };
    let mut paths: Vec<Vec<u8>> = files
        .paths
        .iter()
        .map(|path| config::load::full_path(home, path).into_os_string().into_encoded_bytes())
        .collect();
    paths.sort();
    let mut saved = snapshot.sources.clone();
    saved.sort();
    snapshot.host == machine && paths == saved
}

/// What the configuration wants.
pub fn wanted(config: &Config, machine: &str) -> Wanted {
    let sources = config.sources.keys().map(|name| source_wanted(config, name)).collect();
    let places = config.repositories.iter().map(|(name, repository)| PlaceWanted {
        name: name.clone(),
        medium: repository.kind_of_medium(),
        location: repository.location.clone().unwrap_or_default(),
        offsite: repository.is_offsite(),
        claims_immutable: repository.immutable.is_some(),
        removable: repository.removable.is_some(),
        away: is_away(repository),
        remind_after: repository.removable.as_ref().map(|r| r.remind_after.map_or(WEEK, |i| seconds(i.0))),
    });
    Wanted { machine: machine.to_string(), sources, places: places.collect() }
}

/// Whether a drive that comes and goes is not here right now.
fn is_away(repository: &config::Repository) -> bool {
    match Location::parse(&repository.url) {
        Ok(Location::Removable(drive)) => {
            matches!(look_for_drive(&drive.uuid, &MediaOptions::default()), Ok(Medium::Away))
        }
        Ok(Location::Local(folder)) => {
            repository.removable.is_some() && folder.is_absolute() && !folder.exists()
        }
        _ => false,
    }
}

const HOUR: i64 = 3600;
/// A removable disk is missed after this time where nothing else is said.
const WEEK: i64 = 7 * 24 * HOUR;

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn source_wanted(config: &Config, name: &str) -> SourceWanted {
    let goals = config.goals_of(name);
    let count = |n: Option<u32>| n.unwrap_or(0);
    let pairs = config.repositories_of(name).into_iter().map(|repository| PairWanted {
        repository: repository.to_string(),
        max_age: seconds(config.max_age_of(name, repository).0),
    });
    let run = config.jobs_of(name).next().map(|(job, _)| format!("lifeboat run {job}"));
    let drill = config.drills.iter().find(|(_, drill)| drill.source() == Some(name));
    SourceWanted {
        name: name.to_string(),
        copies: count(goals.copies),
        media: count(goals.media),
        offsite: count(goals.offsite),
        immutable: count(goals.immutable),
        verified_within: goals.verified_within.map(|i| seconds(i.0)),
        drilled_within: goals.drilled_within.map(|i| seconds(i.0)),
        pairs: pairs.collect(),
        run: run.unwrap_or_else(|| "lifeboat config edit (add a job with this source)".into()),
        drill: match drill {
            Some((drill, _)) => format!("lifeboat drill run {drill}"),
            None => format!("lifeboat config edit (add a drill of {name})"),
        },
    }
}

/// The zone of all schedules.
pub fn zone(config: &Config) -> TimeZone {
    let named = config.machine.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
    named.unwrap_or_else(TimeZone::system)
}

/// The duties that follow from the schedules, each with the time within which it must go well: the longest
/// gap between its next times and half as much again, but six hours at least.
pub fn duties(config: &Config, now: i64) -> Vec<DutyWanted> {
    let zone = zone(config);
    let within = |schedules: &[config::values::When]| within(schedules, now, &zone);
    let used: Vec<&String> = config
        .repositories
        .keys()
        .filter(|name| config.jobs.values().any(|job| job.to.contains(name)))
        .collect();
    let mut duties = Vec::new();
    let mut add = |duty, subject: &str, seconds: Option<i64>, fix: String| {
        let subject = subject.to_string();
        duties.extend(seconds.map(|within| DutyWanted { duty, subject, within, fix }));
    };
    for (name, job) in &config.jobs {
        add(Duty::Run, name, within(&config.schedule_of(job)), format!("lifeboat run {name}"));
    }
    for name in used {
        let fix = format!("lifeboat forget --prune -r {name}");
        add(Duty::Maintenance, name, within(config.maintenance.schedule.as_slice()), fix);
        let fix = format!("lifeboat check --read-data -r {name}");
        add(Duty::Verify, name, within(config.verify.schedule.as_slice()), fix);
    }
    for (name, drill) in &config.drills {
        let fix = format!("lifeboat drill run {name}");
        add(Duty::Drill, name, within(&config.schedule_of_drill(drill)), fix);
    }
    if let Some(report) = &config.alerts.report {
        add(Duty::Report, "", within(report.schedule.as_slice()), "lifeboat status --report".into());
    }
    duties
}

fn within(schedules: &[config::values::When], now: i64, zone: &TimeZone) -> Option<i64> {
    let schedules: Vec<Schedule> = schedules.iter().filter_map(|when| when.0.parse().ok()).collect();
    let now = jiff::Timestamp::from_second(now).ok()?;
    let times = upcoming(&schedules, now, zone, 8);
    let gaps = times.windows(2).map(|two| two[1].as_second() - two[0].as_second());
    let gap = gaps.max().or_else(|| times.first().map(|first| first.as_second() - now.as_second()))?;
    Some(gap + (gap / 2).max(6 * HOUR))
}

/// Whether the regular report is due: its time came since it was last sent, or since it was first expected.
pub fn report_due(config: &Config, last: i64, now: i64) -> bool {
    let Some(report) = &config.alerts.report else { return false };
    let zone = zone(config);
    let schedules: Vec<Schedule> =
        report.schedule.as_slice().iter().filter_map(|w| w.0.parse().ok()).collect();
    let Ok(last) = jiff::Timestamp::from_second(last) else { return false };
    crate::schedule::next_of(&schedules, last, &zone).is_some_and(|next| next.as_second() <= now)
}

/// Makes all duties known, so that they are missed when they are not done; and their records.
pub fn expect(catalog: &Catalog, duties: Vec<DutyWanted>, now: i64) -> CatalogResult<Vec<Watched>> {
    let mut watched = Vec::new();
    for wanted in duties {
        catalog.expect_duty(wanted.duty, &wanted.subject, now)?;
        let record = catalog.duty(wanted.duty, &wanted.subject)?;
        watched.push((wanted, record));
    }
    Ok(watched)
}

/// A duty and what is known of it.
pub type Watched = (DutyWanted, Option<crate::catalog::DutyRecord>);

/// Who is told of what. Where nothing is said of alerts, everybody who can be told is told of everything.
pub fn routes(config: &Config) -> Routes {
    use crate::alarms::Kind;
    let route = |route: &config::watch::Route| match route {
        config::watch::Route::To(to) => Route { to: to.clone(), after: 1, repeat: REPEAT_DEFAULT },
        config::watch::Route::With(options) => Route {
            to: options.to.clone(),
            after: options.after,
            repeat: options.repeat.map_or(REPEAT_DEFAULT, |i| seconds(i.0)),
        },
    };
    let alerts = &config.alerts;
    let kinds = [
        (Kind::Stale, &alerts.stale),
        (Kind::Failed, &alerts.failed),
        (Kind::Damaged, &alerts.damaged),
        (Kind::DrillFailed, &alerts.drill_failed),
        (Kind::Suspicious, &alerts.suspicious),
    ];
    let mut kinds: BTreeMap<Kind, Route> =
        kinds.into_iter().filter_map(|(kind, r)| Some((kind, route(r.as_ref()?)))).collect();
    let mut all = alerts.all.as_ref().map(route);
    let able = config.notify.iter().filter(|(_, notify)| !matches!(notify, Notify::Healthchecks(_)));
    let to: Vec<String> = able.map(|(name, _)| name.clone()).collect();
    if kinds.is_empty() && all.is_none() && !to.is_empty() {
        // A single failure may be the network for a minute; age tells when it matters.
        kinds.insert(Kind::Failed, Route { to: to.clone(), after: 2, repeat: REPEAT_DEFAULT });
        all = Some(Route { to, after: 1, repeat: REPEAT_DEFAULT });
    }
    Routes { kinds, all, recovered: alerts.recovered.as_ref().map(route) }
}

/// Everybody who can be told, the secrets that no message may hold, and whose secrets were not found.
pub struct Tellers {
    /// Those who can.
    pub tellers: Vec<Teller>,
    /// What no message may hold.
    pub secrets: Vec<Zeroizing<String>>,
    /// Those who cannot, and why.
    pub broken: Vec<(String, String)>,
}

/// Makes the configuration's notifiers ready.
pub fn tellers(config: &Config, machine: &str, environment: &Environment, home: &Path) -> Tellers {
    let mut all = Tellers { tellers: Vec::new(), secrets: Vec::new(), broken: Vec::new() };
    for (name, notify) in &config.notify {
        let mut found = Vec::new();
        let mut find = |secret: &config::Secret, key: &str| {
            let what = format!("notify.{name}.{key}");
            secrets::find(secret, &what, environment, home).inspect(|secret| found.push(secret.clone()))
        };
        match channel(notify, machine, home, &mut find) {
            Ok(channel) => all.tellers.push(Teller { name: name.clone(), channel }),
            Err(failure) => all.broken.push((name.clone(), failure.message())),
        }
        all.secrets.extend(found);
    }
    all
}

type Find<'f> = dyn FnMut(&config::Secret, &str) -> Outcome<Zeroizing<String>> + 'f;

fn channel(notify: &Notify, machine: &str, home: &Path, find: &mut Find<'_>) -> Outcome<Channel> {
    if notify.url().is_some_and(config::redact::lacks_its_path) {
        return Err(Failure::usage("its address was stored without what is secret in it; write it again"));
    }
    Ok(match notify {
        Notify::Smtp(smtp) => Channel::Smtp(Smtp {
            url: smtp.url.clone(),
            password: smtp.password.as_ref().map(|secret| find(secret, "password")).transpose()?,
            from: smtp.from.clone().unwrap_or_else(|| format!("lifeboat@{machine}")),
            to: smtp.to.clone(),
        }),
        Notify::Ntfy(ntfy) => Channel::Ntfy {
            url: ntfy.url.clone(),
            token: ntfy.token.as_ref().map(|secret| find(secret, "token")).transpose()?,
        },
        Notify::Healthchecks(check) => Channel::Healthchecks { url: check.url.clone() },
        Notify::Webhook(hook) => {
            let headers = hook.headers.iter().map(|(name, secret)| {
                find(secret, &format!("headers.{name}")).map(|value| (name.clone(), value))
            });
            let headers = headers.collect::<Outcome<_>>()?;
            Channel::Webhook { url: hook.url.clone(), template: template(&hook.template, home)?, headers }
        }
        Notify::Apprise(apprise) => Channel::Apprise { url: apprise.url.clone(), tags: apprise.tags.clone() },
        Notify::Command(command) => Channel::Command { run: command.run.clone(), timeout: command.timeout.0 },
    })
}

fn template(name: &str, home: &Path) -> Outcome<Template> {
    Ok(match name {
        "generic" => Template::Generic,
        "slack" => Template::Slack,
        "discord" => Template::Discord,
        path => {
            let path = config::load::full_path(home, path);
            let text = std::fs::read_to_string(&path);
            let failed = |e| crate::failure::local(format!("cannot read the template {}", path.display()), e);
            Template::Custom(text.map_err(failed)?)
        }
    })
}

/// The healthchecks that want to hear of a job.
pub fn healthchecks_of<'c>(config: &'c Config, job: &'c str) -> impl Iterator<Item = (&'c String, &'c str)> {
    config.notify.iter().filter_map(move |(name, notify)| match notify {
        Notify::Healthchecks(check) => {
            let wanted = check.jobs.as_ref().is_none_or(|jobs| jobs.iter().any(|name| name == job));
            wanted.then_some((name, check.url.as_str()))
        }
        _ => None,
    })
}

/// The name of a source, and whether a snapshot is of it.
pub type NamedSource<'l> = (String, Box<dyn Fn(&Snapshot) -> bool + 'l>);

/// A place that can be looked at, and how its snapshots are sorted into sources.
pub struct Look<'l> {
    /// Name of the repository.
    pub repository: &'l str,
    /// Where it is.
    pub place: &'l Place,
    /// The files of a source, to see whether the place is on the same disk.
    pub paths: &'l dyn Fn(&str) -> Vec<std::path::PathBuf>,
    /// The sources, and whether a snapshot is of one.
    pub sources: &'l [NamedSource<'l>],
}

/// Looks at a repository, and takes over into the catalog what it holds.
pub fn look(opener: &Opener, look: &Look<'_>, catalog: &Catalog, now: Timestamp) -> Outcome<()> {
    let opened = opener.open(look.place)?;
    let known = Known::read(opener, look.place, &opened.repo, now)?;
    if !known.lost.is_empty() {
        let found = Verification {
            repository: look.repository.to_string(),
            at: now.secs,
            kind: "check".into(),
            ratio: 0.0,
            bytes: 0,
            damaged: known.lost.len() as u64,
            error: None,
        };
        catalog.record_verification(&found, &[])?;
    }
    let doubts = known.doubts();
    let mut stored = 0;
    for (source, belongs) in look.sources {
        let of_source = known.list.snapshots.iter().filter(|s| !s.forgotten && belongs(&s.snapshot));
        let copies: Vec<Copy> =
            of_source.map(|s| copy_of(source, look.repository, s, &doubts[&s.snapshot.id], &known)).collect();
        stored += copies.len() as u64;
        catalog.see_copies(source, look.repository, &copies)?;
    }
    let probed = |word: &str| opened.repo.parameters().probed.iter().any(|w| w == word);
    let refuses = probed("delete=no");
    // What `repo test` tried and found is remembered; a look tries nothing.
    let before = catalog.place(look.repository)?.map(|(_, facts)| facts).unwrap_or_default();
    let tried = before.immutable_proven;
    let local = match &look.place.location {
        Location::Local(path) => Some(path),
        _ => None,
    };
    let facts = PlaceFacts {
        // A run counts them, with the index it has loaded anyway.
        stored_bytes: before.stored_bytes,
        free_bytes: local.and_then(|path| free_bytes(path)),
        snapshots: stored,
        immutable_proven: tried.or(refuses.then_some(true)),
        deletable: if refuses {
            Some(false)
        } else {
            (local.is_some() || probed("delete=yes")).then_some(true)
        },
        repository_id: opened.repo.identity().repo.hex(),
        family: opened.repo.identity().family.hex(),
        location: look.place.shown(),
        same_disk: local.map_or_else(Vec::new, |path| on_the_disk_of(path, look)),
        // So is what is left of what was erased.
        erased: before.erased,
    };
    catalog.record_place(look.repository, now.secs, &facts)?;
    Ok(())
}

/// The sources that have files on the file system of a folder.
fn on_the_disk_of(folder: &Path, look: &Look<'_>) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.dev());
    let Some(here) = device(folder) else { return Vec::new() };
    let names = look.sources.iter().map(|(name, _)| name);
    names.filter(|name| (look.paths)(name).iter().any(|path| device(path) == Some(here))).cloned().collect()
}

/// The files of a source of the configuration; none for what is no file.
pub fn paths_of(config: &Config, home: &Path, source: &str) -> Vec<std::path::PathBuf> {
    match config.sources.get(source) {
        Some(Source::Files(files)) => {
            files.paths.iter().map(|path| config::load::full_path(home, path)).collect()
        }
        _ => Vec::new(),
    }
}

fn copy_of(source: &str, repository: &str, s: &StoredSnapshot, doubts: &[Doubt], known: &Known) -> Copy {
    let snapshot = &s.snapshot;
    // One that arrived late is as good as it was; how old it is, is told by its own time.
    let doubtful = doubts.iter().any(|doubt| !matches!(doubt, Doubt::Late { .. }));
    let stats = &snapshot.stats;
    Copy {
        source: source.to_string(),
        repository: repository.to_string(),
        snapshot: snapshot.id.hex(),
        time: snapshot.time.secs,
        made: s.received.map_or(snapshot.end.secs, |at| crate::time::from_system(at).secs),
        good: snapshot.completeness == Completeness::Complete && !doubtful && !known.is_damaged(&snapshot.id),
        files: stats.files_new + stats.files_changed + stats.files_unmodified,
        bytes: stats.source_bytes,
        verified: None,
        drilled: None,
    }
}

/// Bytes that are free on the file system of a folder.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

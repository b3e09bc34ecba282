//! `lifeboat status`: whether what should be protected is, and telling people when it is not.
//!
//! With a configuration everything in it is judged, from the catalog and from a look at the repositories that
//! were not looked at lately. With `-r` alone the repositories' own snapshots say what the sources are.

mod tell;
mod words;

use super::verified;
use crate::counts::count;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::{Session, host_name, machine_of};
use crate::time;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::snapshots::SnapshotList;
use service::alarms::{Findings, Kind, problems};
use service::catalog::{CATALOG_FILE, Catalog, Duty, Verification};
use service::config::{self, Config, LastGood, Loaded};
use service::open::{Opener, Place};
use service::posture::{self, PairWanted, PlaceWanted, Posture, SourceWanted, State, Wanted};
use service::watching::{self, Found, LOOK_AGAIN_SECS, Look, NamedSource};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Show how well everything is protected
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat status                          every source in every place, and what needs you
  lifeboat status --check                  exit code 4 when a goal is not met
  lifeboat status --check --notify         and tell people: the line for a timer, which watches the watcher
  lifeboat status --html status.html       one page for any browser, phone or paper
  lifeboat status -r /mnt/a -r /mnt/b      without a configuration")]
pub(crate) struct Args {
    /// Exit with 4 when a goal is not met
    #[arg(long)]
    check: bool,
    /// Write it as a page into this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Tell people what changed, as the configuration says
    #[arg(long)]
    notify: bool,
    /// Send the regular report now
    #[arg(long)]
    report: bool,
    /// Send a test message through this notifier
    #[arg(long, value_name = "NOTIFIER")]
    test_notify: Option<String>,
    /// Look at the repositories: those not seen lately or in trouble, all, or none
    #[arg(long, value_name = "WHICH", default_value = "auto", value_parser = ["auto", "always", "never"])]
    look: String,
    /// Write metrics for node_exporter into this file
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Say that what looked suspicious in this source is in order
    #[arg(long, value_name = "SOURCE")]
    acknowledge: Option<String>,
}

/// A place that does not answer is not waited for longer.
const LOOK_RETRY: Duration = Duration::from_secs(20);

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let (session, broken) = &or_last_good(session, &args);
    let loaded = configuration(session)?;
    let now = time::now();
    let found = match &loaded {
        Some(loaded) => {
            let catalog = open_catalog(session)?;
            if let Some(source) = &args.acknowledge {
                return acknowledge(session, &catalog, &loaded.config, source, now);
            }
            if let Some(name) = &args.test_notify {
                return tell::test(session, &catalog, loaded, name, now);
            }
            let mut found = judge_configured(session, &catalog, loaded, &args.look, now)?;
            if let Some(why) = broken {
                session.out.warn(safe(why.lines().next().unwrap_or_default()));
                found.add_broken_configuration(why);
            }
            if args.notify || args.report {
                tell::tell(session, &catalog, loaded, &found, args.report)?;
                found.notifiers = catalog.notifiers()?;
            }
            let metrics = args.metrics.as_ref().or(loaded.config.daemon.metrics_file.as_ref());
            if let Some(path) = metrics.filter(|_| args.metrics.is_some() || args.notify) {
                words::metrics(path, &found, &catalog, &loaded.config)?;
            }
            found
        }
        None => {
            if args.notify || args.report || args.test_notify.is_some() || args.acknowledge.is_some() {
                return Err(no_configuration());
            }
            judge_places(session, now)?
        }
    };
    if let Some(path) = &args.html {
        let shown = |secs| time::shown(Timestamp { secs, nanos: 0 });
        let page = posture::page(&found.posture, &found.besides(), &shown, env!("CARGO_PKG_VERSION"));
        let written = service::durable::replace(path, page.as_bytes());
        written.map_err(|e| local(format!("cannot write {}", path.display()), e))?;
    }
    let kit = super::kit::standing(session, loaded.as_deref());
    words::print(session, &found, &kit)?;
    Ok(exit(&found, args.check))
}

/// Who tells people goes on with the last configuration that could be used where the file cannot be, and says why;
/// and keeps one that can. No mistake in the file may silence it.
fn or_last_good(session: &Session, args: &Args) -> (Session, Option<String>) {
    let good = LastGood::of(&folders::folders().state);
    let as_it_is = (session.clone(), None);
    match session.loaded() {
        _ if !args.notify => as_it_is,
        Ok(loaded) => {
            if let Some(Err(e)) = loaded.map(|loaded| good.keep(&loaded)) {
                session.out.warn(format!("cannot keep the configuration that holds: {e}"));
            }
            as_it_is
        }
        Err(failure) => match session.configuration_path().and_then(|path| good.of_file(&path)) {
            Some(kept) => {
                let global = crate::arguments::Global { config: Some(kept), ..session.global.clone() };
                let session = Session { global, loaded: Arc::default(), ..session.clone() };
                (session, Some(failure.message()))
            }
            None => as_it_is,
        },
    }
}

/// The metrics as of now, from what is known on this machine; nothing is looked at.
pub(super) fn metrics_text(session: &Session) -> Outcome<String> {
    let Some(loaded) = session.loaded()? else { return Err(no_configuration()) };
    let (catalog, now) = (open_catalog(session)?, time::now());
    let found = judge_configured(session, &catalog, &loaded, "never", now)?;
    Ok(watching::metrics_text(&found, &loaded.config, &catalog, env!("CARGO_PKG_VERSION"))?)
}

/// What was tried and failed once is no goal; everything else is.
fn exit(found: &Found, check: bool) -> Exit {
    let bad = found.problems.iter().any(|problem| problem.kind != Kind::Failed);
    match check && (bad || !found.posture.met) {
        true => Exit::GoalNotMet,
        false => Exit::Ok,
    }
}

fn no_configuration() -> Failure {
    Failure::usage("there is no configuration that says who is told of what")
        .hint("write one with: lifeboat setup")
}

/// The configuration, unless repositories are named instead of it.
fn configuration(session: &Session) -> Outcome<Option<Arc<Loaded>>> {
    if !session.global.repo.is_empty() && session.global.config.is_none() {
        return Ok(None);
    }
    match session.loaded()? {
        Some(loaded) => Ok(Some(loaded)),
        None => Err(Failure::usage(
            "there is nothing to judge: no configuration was found, and no repository is named",
        )
        .hint("name one with -r PLACE, or write a configuration with: lifeboat setup")),
    }
}

/// The catalog of this installation.
pub(super) fn open_catalog(session: &Session) -> Outcome<Catalog> {
    let path = session.opener().folders.state.join(CATALOG_FILE);
    let catalog = Catalog::open(&path)?;
    if let Some(why) = catalog.replaced() {
        session.out.warn(format!(
            "the catalog was damaged ({why}) and is filled in again; nothing that is needed is lost"
        ));
    }
    Ok(catalog)
}

fn acknowledge(
    session: &Session,
    catalog: &Catalog,
    config: &Config,
    source: &str,
    now: Timestamp,
) -> Outcome<Exit> {
    if !config.sources.contains_key(source) {
        return Err(Failure::usage(format!("there is no source {}", safe(source))));
    }
    let n = catalog.acknowledge(source, now.secs)?;
    session.out.info(match n {
        0 => format!("nothing in {} looked suspicious", safe(source)),
        n => {
            format!("{} of {} taken for right; holds stay until released", count(n, "snapshot"), safe(source))
        }
    });
    Ok(Exit::Ok)
}

fn judge_configured(
    session: &Session,
    catalog: &Catalog,
    loaded: &Loaded,
    look: &str,
    now: Timestamp,
) -> Outcome<Found> {
    let (config, machine) = (&loaded.config, machine_of(&loaded.config));
    let wanted = watching::wanted(config, &machine);
    let before = posture::judge(&wanted, &posture::seen_in(catalog, &wanted)?, now.secs);
    let opener = Opener { retry_for: session.opener().retry_for.min(LOOK_RETRY), ..session.opener() };
    for (name, repository) in &config.repositories {
        if !wants_look(look, &before, name, now.secs) {
            continue;
        }
        let looked = session.place_named(OsStr::new(name)).and_then(|mut place| {
            place.retry_for = Some(place.retry_for.unwrap_or(LOOK_RETRY).min(opener.retry_for));
            look_at(&opener, name, &place, loaded, &machine, catalog, now)
        });
        let why = looked.as_ref().err().map(|failure| failure.message());
        catalog.record_duty(Duty::Watch, name, now.secs, why.as_deref())?;
        if let Err(failure) = looked {
            let text = format!("cannot look at {}: {}", safe(name), failure.message());
            // A disk that comes and goes is expected to be away.
            match repository.removable {
                Some(_) => session.out.detail(text),
                None => session.out.warn(text),
            }
        }
    }
    Ok(watching::found(config, catalog, &machine, now.secs)?)
}

fn wants_look(look: &str, before: &Posture, name: &str, now: i64) -> bool {
    let old = before
        .places
        .iter()
        .any(|p| p.repository == name && p.seen.is_none_or(|at| now - at > LOOK_AGAIN_SECS));
    let pairs = before.sources.iter().flat_map(|s| &s.pairs);
    let bad = pairs.filter(|p| p.repository == name).any(|p| p.state != State::Good);
    match look {
        "always" => true,
        "never" => false,
        _ => old || bad,
    }
}

fn look_at(
    opener: &Opener,
    name: &str,
    place: &Place,
    loaded: &Loaded,
    machine: &str,
    catalog: &Catalog,
    now: Timestamp,
) -> Outcome<()> {
    let config = &loaded.config;
    let of_here = config.sources.keys().filter(|source| config.repositories_of(source).contains(&name));
    let sources: Vec<NamedSource<'_>> = of_here
        .map(|source| -> NamedSource<'_> {
            (source.clone(), Box::new(|s| watching::belongs(config, machine, &loaded.home, source, s)))
        })
        .collect();
    let paths = |source: &str| watching::paths_of(config, &loaded.home, source);
    watching::look(opener, &Look { repository: name, place, paths: &paths, sources: &sources }, catalog, now)
}

/// A source as snapshots tell it: its name, and host and paths.
type Grouped = (String, (String, Vec<Vec<u8>>));

/// Judges repositories without a configuration, by the goals that hold where nothing is said.
fn judge_places(session: &Session, now: Timestamp) -> Outcome<Found> {
    let catalog = Catalog::in_memory()?;
    let opener = session.opener();
    let mut sources: BTreeSet<(String, Vec<Vec<u8>>)> = BTreeSet::new();
    let mut places = Vec::new();
    for location in &session.global.repo {
        let place = session.place_named(location)?;
        let opened = opener.open(&place)?;
        let list = SnapshotList::read(&opened.repo)?;
        sources.extend(list.visible().map(|s| (s.host.clone(), s.sources.clone())));
        places.push((place.shown(), place));
    }
    let named: Vec<Grouped> = sources.into_iter().map(|source| (source_name(&source), source)).collect();
    for (name, place) in &places {
        let fits: Vec<NamedSource<'_>> = named
            .iter()
            .map(|(name, (host, paths))| -> NamedSource<'_> {
                (name.clone(), Box::new(move |s: &Snapshot| s.host == *host && s.sources == *paths))
            })
            .collect();
        let paths = |source: &str| {
            let grouped = named.iter().find(|(name, (host, _))| name == source && *host == host_name());
            let paths = grouped.into_iter().flat_map(|(_, (_, paths))| paths);
            paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
        };
        watching::look(
            &opener,
            &Look { repository: name, place, paths: &paths, sources: &fits },
            &catalog,
            now,
        )?;
    }
    for (word, (name, _)) in session.global.repo.iter().zip(&places) {
        for read in verified::noted(session, word).into_iter().rev() {
            catalog.record_verification(&Verification { repository: name.clone(), ..read }, &[])?;
        }
    }
    let wanted = wanted_of(&named, &places);
    let posture = posture::judge(&wanted, &posture::seen_in(&catalog, &wanted)?, now.secs);
    let findings = Findings { posture: &posture, duties: &[], suspicions: &[], notifiers: &[] };
    let problems = problems(&findings);
    Ok(Found { problems, posture, duties: Vec::new(), suspicions: Vec::new(), notifiers: Vec::new() })
}

fn source_name((host, paths): &(String, Vec<Vec<u8>>)) -> String {
    let paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
    format!("{host}:{}", paths.join(","))
}

fn wanted_of(named: &[Grouped], places: &[(String, Place)]) -> Wanted {
    let usual = config::Criticality::Normal.derived();
    let max_age = usual.max_age.0.as_secs() as i64;
    let pairs: Vec<PairWanted> =
        places.iter().map(|(name, _)| PairWanted { repository: name.clone(), max_age }).collect();
    let sources = named.iter().map(|(name, (_, paths))| SourceWanted {
        name: name.clone(),
        copies: usual.copies,
        media: usual.media,
        offsite: usual.offsite,
        immutable: 0,
        verified_within: None,
        drilled_within: None,
        pairs: pairs.clone(),
        run: {
            let words: Vec<String> =
                paths.iter().map(|p| service::display::shell_word(&String::from_utf8_lossy(p))).collect();
            format!("lifeboat backup {}", words.join(" "))
        },
        drill: "lifeboat setup".into(),
    });
    let places = places.iter().map(|(name, _)| {
        let as_written: config::Repository = serde_json::from_value(serde_json::json!({ "url": name }))
            .expect("a repository needs nothing but its address");
        PlaceWanted {
            name: name.clone(),
            medium: as_written.kind_of_medium(),
            offsite: as_written.is_offsite(),
            location: String::new(),
            claims_immutable: false,
            removable: false,
            away: false,
            remind_after: None,
        }
    });
    Wanted { machine: host_name(), sources: sources.collect(), places: places.collect() }
}

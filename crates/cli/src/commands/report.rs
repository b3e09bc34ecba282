//! `lifeboat report`: evidence for whoever has to be shown it.

use super::drill::holds_last;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::known::Known;
use crate::session::Session;
use crate::{folders, time};
use ::repo::erasures::Erasures;
use ::repo::log::Log;
use ::repo::rewrite;
use clap::Subcommand;
use format::kind::Timestamp;
use service::catalog::{CATALOG_FILE, Catalog};
use service::compliance::{Compliance, Given, RepositoryPart, repository};
use service::config::Loaded;
use service::drill::{evidence_of, proof};
use service::open::Place;
use std::path::PathBuf;

/// Show how retention was kept: rules, reasons, proofs, and who did what
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  lifeboat report compliance --html compliance.html")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Compliance(ComplianceArgs),
}

/// What was kept, held or removed and why, and every administrative action
#[derive(clap::Args)]
#[command(after_help = "\
Looks at every repository of the configuration, or where -r says. What is there comes from the repository, what was
removed and by whom from its log, which is signed, chained and never changed.

Examples:
  lifeboat report compliance
  lifeboat report compliance -r /mnt/disk/backup --days 365 --html compliance.html
  lifeboat report compliance --json

Exit code 5: a log was tampered with, or a snapshot cannot be read. 13: a repository was not reached.")]
struct ComplianceArgs {
    /// Count verifications and drills of so many days
    #[arg(long, value_name = "N", default_value_t = 90)]
    days: u32,
    /// Write it as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let Action::Compliance(args) = args.action;
    compliance(session, &args)
}

fn compliance(session: &Session, args: &ComplianceArgs) -> Outcome<Exit> {
    let (now, places) = (time::now(), session.all_places()?);
    let since = now.secs - i64::from(args.days) * 86_400;
    let loaded = session.loaded()?;
    let machine = session.machine()?;
    let mut report = Compliance {
        machine: machine.clone(),
        made: time::to_the_second(now),
        since: time::to_the_second(Timestamp { secs: since, nanos: 0 }),
        repositories: Vec::new(),
        not_reached: Vec::new(),
    };
    let catalog = Catalog::open(&folders::folders().state.join(CATALOG_FILE)).ok();
    let mut failure: Option<Failure> = None;
    for (name, place) in &places {
        let with =
            With { loaded: loaded.as_deref(), machine: &machine, catalog: catalog.as_ref(), since, now };
        match one(session, name.as_deref(), place, &with) {
            Ok(part) => report.repositories.push(part),
            Err(e) if places.len() == 1 || session.cancel.is_set() => return Err(e),
            Err(e) => {
                report.not_reached.push((name.clone().unwrap_or_else(|| place.shown()), e.message()));
                failure = failure.or(Some(e));
            }
        }
    }
    tell(session, args, &report)?;
    Ok(match (report.is_whole(), failure) {
        (false, _) => Exit::Damage,
        (true, Some(failure)) => failure.exit,
        (true, None) => Exit::Ok,
    })
}

fn tell(session: &Session, args: &ComplianceArgs, report: &Compliance) -> Outcome<()> {
    if let Some(path) = &args.html {
        service::durable::replace(path, report.html().as_bytes())
            .map_err(|e| local(format!("cannot write {}", path.display()), e))?;
    }
    match (session.out.json, &args.html) {
        (true, _) => session.out.object(&report.json()),
        (false, Some(path)) => session.out.line(format!("wrote {}", safe(&path.display().to_string()))),
        (false, None) => report.text().into_iter().try_for_each(|line| session.out.line(line)),
    }
}

/// What is the same for all repositories.
struct With<'w> {
    loaded: Option<&'w Loaded>,
    machine: &'w str,
    catalog: Option<&'w Catalog>,
    since: i64,
    now: Timestamp,
}

fn one(session: &Session, name: Option<&str>, place: &Place, with: &With<'_>) -> Outcome<RepositoryPart> {
    let opener = session.opener();
    let opened = opener.open(place)?;
    let repo = &opened.repo;
    let known = Known::read(&opener, place, repo, with.now)?;
    let log = Log::read(repo)?;
    let (drills, unread) = evidence_of(&log);
    let reader = opened.reader()?;
    let mut erasures = Vec::new();
    for erasure in Erasures::read(repo)?.all {
        let holding = rewrite::holding(&reader, known.list.visible(), &erasure)?;
        erasures.push((erasure, holding));
    }
    let shown = proof::shares(&reader, known.list.visible(), &drills, with.since)?;
    Ok(repository(&Given {
        name,
        location: place.shown(),
        known: &known,
        log: &log,
        drills: (&drills, unread),
        shown: &shown,
        holds_last: holds_last(repo, &log),
        erasures: &erasures,
        minimum_age_seconds: repo.parameters().minimum_ages.last().map_or(0, |age| age.secs),
        loaded: with.loaded,
        machine: with.machine,
        catalog: with.catalog,
        since: with.since,
        now: with.now,
    }))
}

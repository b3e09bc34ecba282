//! `lifeboat drill`: test restores, and the evidence they leave.

mod hold;
mod wanted;

use crate::counts::count;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::reached::called;
use crate::session::{Opened, Session, host_name, user_name};
use crate::{sizes, time};
use ::repo::log::Log;
use ::repo::snapshots::SnapshotList;
use clap::Subcommand;
use format::kind::Timestamp;
use serde_json::Value;
use service::audit::Author;
use service::drill::report::{DrillReport, duration, problems_of_log, summary};
use service::drill::{Drilled, Evidence, evidence_of, proof};
use service::open::Place;
use std::path::PathBuf;
use wanted::Run;

/// Prove that what is stored comes back: restore, compare, measure, keep the evidence
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat drill run photos                               a drill of the configuration
  lifeboat drill run -r /mnt/disk/backup                  the next sample in turn: source, age and part
  lifeboat drill run --sample 1% --rto 30min --rpo 26h    a hundredth each time; a hundred drills prove all
  lifeboat drill run --whole --age newest                 a rehearsal: everything comes back
  lifeboat drill report --days 90 --html report.html      for whoever wants to see it proven

Exit code 5: damage was found. 6: something came back wrong, or a goal is not met.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Run(Box<Run>),
    List(List),
    Show(Show),
    Report(Report),
}

/// List the drills
#[derive(clap::Args)]
#[command(after_help = "\
Of every repository of the configuration, or where -r says.

Examples:
  lifeboat drill list
  lifeboat drill list -r /mnt/disk/backup")]
struct List {}

/// Show the evidence of one drill
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  lifeboat drill show latest\n  lifeboat drill show 4026d389 -r /mnt/disk/backup"
)]
struct Show {
    /// latest, or the beginning of the record's hash as `drill list` shows it
    #[arg(value_name = "DRILL", default_value = "latest")]
    drill: String,
}

/// Report what drills have proven
#[derive(clap::Args)]
#[command(after_help = "\
Of every repository of the configuration, or where -r says.

Examples:
  lifeboat drill report
  lifeboat drill report -r /mnt/disk/backup --days 365 --html report.html

Exit code 5: a record is missing, changed or wrongly signed. 13: a repository was not reached.")]
struct Report {
    /// Drills of so many days
    #[arg(long, value_name = "N", default_value_t = 90)]
    days: u32,
    /// Write it as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    match args.action {
        Action::Run(args) => hold::run(session, &args),
        Action::List(_) => list(session),
        Action::Show(args) => show(session, &args),
        Action::Report(args) => report(session, &args),
    }
}

/// A repository with what is known of its drills.
struct Repository {
    /// Its name in the configuration, if it has one.
    name: Option<String>,
    place: Place,
    opened: Opened,
    list: SnapshotList,
    log: Log,
    drills: Vec<Drilled>,
    unread: u64,
}

fn open(session: &Session, name: Option<String>, place: Place) -> Outcome<Repository> {
    let opened = session.opener().open(&place)?;
    let list = session.opener().snapshots(&place, &opened.repo)?;
    let log = Log::read(&opened.repo)?;
    let (drills, unread) = evidence_of(&log);
    Ok(Repository { name, place, opened, list, log, drills, unread })
}

/// Every repository that is named, else every one of the configuration; those that cannot be reached are told. The
/// second is whether that is all of them.
fn open_all(session: &Session) -> Outcome<(Vec<Repository>, Exit)> {
    let (mut opened, mut failure, mut exit) = (Vec::new(), None, Exit::Ok);
    let places = session.all_places()?;
    let is_one = places.len() == 1;
    for (name, place) in places {
        let shown = name.clone().unwrap_or_else(|| place.shown());
        match open(session, name, place) {
            Ok(repository) => opened.push(repository),
            Err(e) if is_one => return Err(e),
            Err(e) => {
                session.out.warn(format!("{} is left out: {}", safe(&shown), e.in_one_line()));
                (failure, exit) = (failure.or(Some(e)), Exit::Unreachable);
            }
        }
    }
    match failure {
        Some(failure) if opened.is_empty() => Err(failure),
        _ => Ok((opened, exit)),
    }
}

impl Repository {
    fn shown(&self) -> String {
        called(self.name.as_deref(), &self.place)
    }
}

fn list(session: &Session) -> Outcome<Exit> {
    let (repositories, exit) = open_all(session)?;
    for repository in &repositories {
        if session.out.json {
            repository.drills.iter().try_for_each(|d| session.out.object(&drilled_object(repository, d)))?;
            continue;
        }
        if repositories.len() > 1 {
            session.out.line(repository.shown())?;
        }
        for d in &repository.drills {
            let e = &d.evidence;
            let at = time::shown(Timestamp { secs: e.started, nanos: 0 });
            session.out.line(format!("{}  {at}  {}  {}", &d.record[..8], safe(&e.name), summary(e)))?;
        }
        session.out.line(count(repository.drills.len(), "drill"))?;
    }
    Ok(exit)
}

fn drilled_object(repository: &Repository, d: &Drilled) -> Value {
    let mut object = serde_json::to_value(&d.evidence).expect("evidence can be written");
    object["message_type"] = "drill".into();
    object["repository"] = repository.name.clone().unwrap_or_else(|| repository.place.shown()).into();
    object["record"] = d.record.clone().into();
    object["machine"] = d.machine.clone().into();
    object["user"] = d.user.clone().into();
    object["signer"] = d.signer.clone().into();
    object["signed"] = d.signed.into();
    object
}

fn show(session: &Session, args: &Show) -> Outcome<Exit> {
    let (repositories, _) = open_all(session)?;
    let wanted = args.drill.to_ascii_lowercase();
    let all = repositories.iter().flat_map(|r| r.drills.iter().map(move |d| (r, d)));
    let found = match wanted.as_str() {
        "latest" => all.max_by_key(|(_, d)| d.evidence.started),
        start => all.rev().find(|(_, d)| !start.is_empty() && d.record.starts_with(start)),
    };
    let Some((repository, d)) = found else {
        return Err(Failure::new(Exit::Failed, format!("there is no drill {:?}", safe(&args.drill)))
            .hint("list them with: lifeboat drill list"));
    };
    if session.out.json {
        session.out.object(&drilled_object(repository, d))?;
        return Ok(Exit::Ok);
    }
    let e = &d.evidence;
    session.out.line(format!("record {}", d.record))?;
    let day = |secs: i64| time::shown(Timestamp { secs, nanos: 0 });
    session.out.line(format!(
        "held {} of {}, by {}@{} with lifeboat {}",
        day(e.started),
        safe(&e.location),
        safe(&d.user),
        safe(&d.machine),
        safe(&e.program)
    ))?;
    session.out.line(format!("signed with {}: {}", d.signer, if d.signed { "right" } else { "WRONG" }))?;
    session.out.line(format!(
        "source {}, {} snapshot {} of {}",
        safe(&e.source.shown()),
        e.age.as_str(),
        e.snapshot,
        day(e.snapshot_time)
    ))?;
    tell(session, e, None)?;
    Ok(Exit::Ok)
}

/// Whether the newest record that this machine wrote or saw is in the log.
pub(super) fn holds_last(repo: &::repo::Repo, log: &Log) -> bool {
    let (machine, user, folders) = (host_name(), user_name(), folders::folders());
    let author = Author { folders: &folders, machine: &machine, user: &user };
    author.finds_its_last_record(&repo.identity().repo, log)
}

fn report(session: &Session, args: &Report) -> Outcome<Exit> {
    let (repositories, exit) = open_all(session)?;
    let now = time::now().secs;
    let since = now - i64::from(args.days) * 86_400;
    let mut reports: Vec<DrillReport<'_>> = Vec::new();
    for place in &repositories {
        let problems = problems_of_log(&place.log, holds_last(&place.opened.repo, &place.log));
        let reader = place.opened.reader()?;
        let shown = proof::shares(&reader, place.list.visible(), &place.drills, since)?;
        let (location, span) = (place.place.shown(), (since, now));
        reports.push(DrillReport::new(location, span, &place.drills, place.unread, &shown, problems));
    }
    if let Some(path) = &args.html {
        service::durable::replace(path, DrillReport::html(&reports).as_bytes())
            .map_err(|e| local(format!("cannot write {}", path.display()), e))?;
    }
    match (session.out.json, &args.html) {
        (true, _) => reports.iter().try_for_each(|report| session.out.object(&report.json()))?,
        (false, Some(path)) => session.out.line(format!("wrote {}", safe(&path.display().to_string())))?,
        (false, None) => {
            for (n, report) in reports.iter().enumerate() {
                let gap = if n > 0 { vec![String::new()] } else { Vec::new() };
                gap.into_iter().chain(report.text()).try_for_each(|line| session.out.line(line))?;
            }
        }
    }
    Ok(if reports.iter().all(|report| report.log_is_whole) { exit } else { Exit::Damage })
}

fn tell(session: &Session, e: &Evidence, kept: Option<&std::path::Path>) -> Outcome<()> {
    if session.out.json {
        let mut object = serde_json::to_value(e).expect("evidence can be written");
        object["message_type"] = "drill_result".into();
        object["kept"] = kept.map(|path| path.display().to_string()).into();
        return session.out.object(&object);
    }
    for problem in &e.problems {
        session.out.line(format!("{}: {}", safe(&problem.path), safe(&problem.what)))?;
    }
    if e.problems_count as usize > e.problems.len() {
        session.out.line(format!("... and {} more", e.problems_count as usize - e.problems.len()))?;
    }
    session.out.line(summary(e))?;
    session.out.line(format!(
        "{} hashed again, {} attributes compared, {} live files equal",
        sizes::shown(e.bytes_hashed),
        e.attributes,
        e.live.equal
    ))?;
    if let Some(goal) = e.data_age.goal {
        let age = duration(e.data_age.seconds);
        let word = if e.data_age.met { "" } else { ": too old" };
        session.out.line(format!("the newest snapshot is {age} old (goal {}){word}", duration(goal)))?;
    }
    for a in &e.asserts {
        let word = if a.ok { "yes" } else { "NO" };
        session.out.line(format!("{word}: {} ({})", safe(&a.question), safe(&a.answer)))?;
    }
    if let Some(path) = kept {
        session.out.line(format!("what was restored is in {}", safe(&path.display().to_string())))?;
    }
    Ok(())
}

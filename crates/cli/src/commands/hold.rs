//! `lifeboat hold`: snapshots that must stay, whatever a policy says.

use super::snapshots::columns;
use crate::audit;
use crate::counts::count;
use crate::credentials;
use crate::display::{DisplayName, safe};
use crate::error::{Exit, Failure, Outcome};
use crate::reached::{Copy, Missed, Reached};
use crate::session::{Opened, Session, seed};
use crate::snapspec::{Filter, SnapSpec, full_path};
use crate::time;
use ::repo::holds::{self, Holds};
use ::repo::removals::Announced;
use ::repo::snapshots::SnapshotList;
use clap::Subcommand;
use format::id::HoldId;
use format::keep::{Covers, Hold, Matching};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Keep snapshots from being forgotten
#[derive(clap::Args)]
#[command(after_help = "\
Held snapshots are not forgotten, by no policy and not by their ids, and no prune removes them, not
even those that were forgotten before.

Examples:
  lifeboat hold add case-7 4f21c09a latest --reason 'court order'
  lifeboat hold add taxes --path /home/me/taxes --until 2037-01-01
  lifeboat hold list
  lifeboat hold release case-7")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Add(Add),
    /// List holds
    #[command(after_help = "\
Example:
  lifeboat hold list")]
    List,
    Release(Release),
}

/// Hold snapshots
#[derive(clap::Args)]
#[command(after_help = "\
With SNAPSHOTs these are held. Without, everything that fits --host, --tag and --path is held, now and
later; with --all, everything.

Examples:
  lifeboat hold add case-7 4f21c09a latest --reason 'court order'
  lifeboat hold add audit --host nas --tag ledger --until 2030-01-01
  lifeboat hold add move --all --reason 'until the new server is checked'")]
struct Add {
    /// What to call it
    #[arg(value_name = "NAME")]
    name: String,
    /// latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT", conflicts_with = "all")]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Hold every snapshot
    #[arg(long)]
    all: bool,
    /// Why; it is told to whoever wants to forget what is held
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// When it ends by itself [default: never]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Say what would be held; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// End holds
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lifeboat hold release case-7")]
struct Release {
    /// Name of a hold, or the beginning of its id
    #[arg(value_name = "HOLD", required = true)]
    holds: Vec<String>,
    /// Say what would be released; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    match args.action {
        Action::Add(args) => add(session, &args),
        Action::List => list(session),
        Action::Release(args) => release(session, &args),
    }
}

fn add(session: &Session, args: &Add) -> Outcome<Exit> {
    let has_filter =
        !(args.filter.host.is_empty() && args.filter.tag.is_empty() && args.filter.path.is_empty());
    if args.snapshots.is_empty() && !has_filter && !args.all {
        return Err(Failure::usage("nothing is named to hold")
            .hint("name snapshots, or choose by --host, --tag or --path, or hold everything with --all"));
    }
    if args.all && has_filter {
        return Err(Failure::usage(
            "--all holds everything; leave it out to hold what fits --host, --tag and --path",
        ));
    }
    let now = time::now();
    let end = args.until.as_deref().map(time::parse).transpose()?;
    if end.is_some_and(|end| end <= now) {
        return Err(Failure::usage("the hold would be over at once: its end is in the past"));
    }
    let Reached { copies, missed } = session.reach_all()?;
    let mut lists = Vec::new();
    for copy in &copies {
        let has_it = Holds::read(&copy.opened.repo)?.holds.iter().any(|hold| hold.name == args.name);
        if has_it && copies.len() > 1 {
            session.out.warn(format!("{}: there is a hold {:?} already", copy.shown(), safe(&args.name)));
        }
        if !has_it {
            lists.push((copy, session.opener().snapshots(&copy.place, &copy.opened.repo)?));
        }
    }
    if lists.is_empty() {
        return Err(Failure::usage(format!("there is a hold {:?} already", safe(&args.name)))
            .hint("list them with: lifeboat hold list"));
    }
    let covers = covers(args, &lists)?;
    let id = HoldId(credentials::random()?);
    let hold = Hold { id, name: args.name.clone(), reason: args.reason.clone(), made: now, end, covers };
    let mut exit = Exit::Ok;
    for (copy, list) in &lists {
        let put = if args.dry_run { Ok(()) } else { put(session, copy, &hold, list) };
        match put {
            Ok(()) => tell_added(session, copy, &hold, list, (args.dry_run, copies.len() > 1))?,
            Err(e) if copies.len() == 1 => return Err(e),
            Err(e) => {
                session.out.failure(&e);
                exit = e.exit;
            }
        }
    }
    tell_missed(session, &missed, "does not have the hold: give it there, too, with -r");
    Ok(if missed.is_empty() { exit } else { Exit::Unreachable })
}

/// Copies that were not reached.
fn tell_missed(session: &Session, missed: &[Missed], so: &str) {
    for Missed { place, failure, .. } in missed {
        session.out.warn(format!("{} was not reached ({}), and {so}", safe(place), failure.message()));
    }
}

/// Stores a hold in a copy.
fn put(session: &Session, copy: &Copy, hold: &Hold, list: &SnapshotList) -> Outcome<()> {
    let repo = &copy.opened.repo;
    holds::add(repo, hold, &mut seed()?)?;
    let body = json!({
        "added": hold.name, "id": hold.id.hex(), "reason": hold.reason, "covers": covered(hold, list),
    });
    audit::record(session, repo, "hold", &body);
    tell_those_too_late(session, &copy.opened, hold, list)
}

fn covered(hold: &Hold, list: &SnapshotList) -> usize {
    list.snapshots.iter().filter(|stored| hold.covers(&stored.snapshot)).count()
}

fn tell_added(
    session: &Session,
    copy: &Copy,
    hold: &Hold,
    list: &SnapshotList,
    (dry_run, is_one_of_several): (bool, bool),
) -> Outcome<()> {
    if session.out.json {
        let mut object = object(copy, hold, list);
        object["message_type"] = "hold".into();
        object["dry_run"] = dry_run.into();
        return session.out.object(&object);
    }
    if session.out.quiet {
        return Ok(());
    }
    let would = if dry_run { "would hold" } else { "holds" };
    let place = if is_one_of_several { format!("{}: ", copy.shown()) } else { String::new() };
    let (name, what) = (safe(&hold.name), count(covered(hold, list), "snapshot"));
    session.out.line(format!("{place}{name:?} {would} {what}{}", later(hold)))
}

/// Forgotten snapshots that a prune may be removing at this very moment: the hold may not have come in time.
fn tell_those_too_late(session: &Session, opened: &Opened, hold: &Hold, list: &SnapshotList) -> Outcome<()> {
    let forgotten: Vec<_> =
        list.snapshots.iter().filter(|stored| stored.forgotten && hold.covers(&stored.snapshot)).collect();
    if forgotten.is_empty() {
        return Ok(());
    }
    let announced = Announced::read(&opened.repo)?.ids;
    for stored in forgotten.iter().filter(|stored| announced.contains(&stored.snapshot.id)) {
        let id = stored.snapshot.short_id();
        session.out.warn(format!(
            "snapshot {id} was forgotten, and a prune has begun to remove it: it may not stay"
        ));
    }
    Ok(())
}

fn later(hold: &Hold) -> &'static str {
    match hold.covers {
        Covers::Snapshots(_) => "",
        Covers::Matching(_) => ", and those to come that fit",
    }
}

/// What is named is looked for in every copy, since `latest` need not be the same everywhere.
fn covers(args: &Add, lists: &[(&Copy, SnapshotList)]) -> Outcome<Covers> {
    if args.snapshots.is_empty() {
        let source = |path: &std::path::PathBuf| full_path(path).as_os_str().as_bytes().to_vec();
        return Ok(Covers::Matching(Matching {
            hosts: args.filter.host.clone(),
            sources: args.filter.path.iter().map(source).collect(),
            tags: args.filter.tag.clone(),
        }));
    }
    let mut ids = Vec::new();
    for spec in &args.snapshots {
        let (spec, before, mut missing) = (SnapSpec::parse(spec)?, ids.len(), None);
        let mut is_found = false;
        for (_, list) in lists {
            match spec.find(list, &args.filter) {
                Ok(snapshot) if ids[..].contains(&snapshot.id) => is_found = true,
                Ok(snapshot) => ids.push(snapshot.id),
                Err(e) => missing = Some(e),
            }
        }
        if let Some(e) = missing.filter(|_| !is_found && ids.len() == before) {
            return Err(e);
        }
    }
    Ok(Covers::Snapshots(ids))
}

fn object(copy: &Copy, hold: &Hold, list: &SnapshotList) -> Value {
    let covered = list.snapshots.iter().filter(|stored| hold.covers(&stored.snapshot));
    let covered: Vec<String> = covered.map(|stored| stored.snapshot.id.hex()).collect();
    let (snapshots, matching) = match &hold.covers {
        Covers::Snapshots(ids) => (Some(ids.iter().map(|id| id.hex()).collect::<Vec<_>>()), None),
        Covers::Matching(m) => {
            let paths: Vec<_> = m.sources.iter().map(|p| String::from_utf8_lossy(p)).collect();
            (None, Some(json!({"hosts": m.hosts, "paths": paths, "tags": m.tags})))
        }
    };
    json!({
        "repository": copy.place.shown(), "id": hold.id.hex(), "name": hold.name, "reason": hold.reason, "made": time::rfc3339(hold.made),
        "until": hold.end.map(time::rfc3339), "over": hold.is_over(time::now()), "snapshots": snapshots,
        "matching": matching, "covered": covered,
    })
}

fn list(session: &Session) -> Outcome<Exit> {
    let Reached { copies, missed } = session.reach_all()?;
    let (mut exit, mut objects) = (Exit::Ok, Vec::new());
    for copy in &copies {
        let all = Holds::read(&copy.opened.repo)?;
        let list = session.opener().snapshots(&copy.place, &copy.opened.repo)?;
        objects.extend(all.holds.iter().map(|hold| object(copy, hold, &list)));
        if !session.out.json {
            if copies.len() > 1 {
                session.out.line(format!("{}:", copy.shown()))?;
            }
            table(session, &all, &list)?;
        }
        for (id, e) in &all.unreadable {
            let why = ::repo::reader::chain(e);
            session.out.warn(format!("hold {id} cannot be read, so it covers everything: {}", safe(&why)));
            exit = Exit::Damage;
        }
    }
    if session.out.json {
        session.out.object(&objects.into())?;
    }
    tell_missed(session, &missed, "its holds are not listed");
    Ok(if missed.is_empty() { exit } else { Exit::Unreachable })
}

fn table(session: &Session, all: &Holds, list: &SnapshotList) -> Outcome<()> {
    if all.holds.is_empty() {
        return session.out.line("no holds");
    }
    let mut rows = vec![["name", "id", "until", "snapshots", "covers", "reason"].map(String::from)];
    rows.extend(all.holds.iter().map(|hold| {
        let covered = list.snapshots.iter().filter(|stored| hold.covers(&stored.snapshot)).count();
        let until = match hold.end {
            None => "until released".to_string(),
            Some(end) if hold.is_over(time::now()) => format!("{} (over)", time::shown(end)),
            Some(end) => time::shown(end),
        };
        let id = hold.id.hex()[..8].to_string();
        [safe(&hold.name), id, until, covered.to_string(), words(&hold.covers), safe(&hold.reason)]
    }));
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))
}

fn words(covers: &Covers) -> String {
    let Covers::Matching(matching) = covers else { return "what was named".into() };
    let mut parts = Vec::new();
    if !matching.hosts.is_empty() {
        parts.push(format!("host {}", safe(&matching.hosts.join(" or "))));
    }
    parts.extend(matching.sources.iter().map(|source| format!("source {}", DisplayName(source))));
    if !matching.tags.is_empty() {
        parts.push(format!("tags {}", safe(&matching.tags.join(" or "))));
    }
    if parts.is_empty() { "everything".into() } else { parts.join(", ") }
}

fn release(session: &Session, args: &Release) -> Outcome<Exit> {
    let Reached { copies, missed } = session.reach_all()?;
    let mut chosen = Vec::new();
    for spec in &args.holds {
        let before = chosen.len();
        for copy in &copies {
            match Holds::read(&copy.opened.repo)?.find(spec)[..] {
                [id] => chosen.push((copy, id, spec)),
                [] => {}
                _ => return Err(Failure::usage(format!("{:?} names several holds", safe(spec)))),
            }
        }
        if chosen.len() == before {
            return Err(Failure::new(Exit::Failed, format!("there is no hold {:?}", safe(spec)))
                .hint("list them with: lifeboat hold list"));
        }
    }
    for (copy, id, spec) in chosen {
        let repo = &copy.opened.repo;
        if !args.dry_run {
            holds::release(repo, &id)?;
            audit::record(session, repo, "hold", &json!({"released": spec, "id": id.hex()}));
        }
        if session.out.json {
            session.out.object(&json!({
                "message_type": "hold_released", "repository": copy.place.shown(), "id": id.hex(), "name": spec,
                "dry_run": args.dry_run,
            }))?;
        } else if !session.out.quiet {
            let what = if args.dry_run { "would be released" } else { "is released" };
            let place = if copies.len() > 1 { format!("{}: ", copy.shown()) } else { String::new() };
            session.out.line(format!("{place}hold {:?} {what}", safe(spec)))?;
        }
    }
    tell_missed(session, &missed, "a hold that it has stays there");
    Ok(if missed.is_empty() { Exit::Ok } else { Exit::Unreachable })
}

//! `lifeboat forget`: takes snapshots out of sight, by their ids or by a policy, and brings them back.

mod policy;
mod undo;

use super::prune::{How, prune_and_tell};
use super::snapshots::{columns, record_object};
use crate::audit;
use crate::counts::{count, counted};
use crate::display::{DisplayName, safe};
use crate::error::{Exit, Failure, Outcome};
use crate::known::{self, Known, refusal};
use crate::session::{Opened, Session, seed};
use crate::snapspec::{Filter, SnapSpec};
use crate::time;
use ::repo::RepoError;
use ::repo::seed::Seed;
use ::repo::snapshots::{StoredSnapshot, forget, received_record};
use engine::retention::{Decision, Group, Policy, Reason, Request, Verdict, decide};
use format::id::SnapshotId;
use jiff::tz::TimeZone;
use policy::{PolicyArgs, group_by, refuse_empty};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Forget snapshots
#[derive(clap::Args)]
#[command(after_help = "\
By a policy, the newest snapshot of each hour, day, week, month or year is kept, for as many of them
as are asked for; what no rule keeps is forgotten. The snapshots of each machine and source are judged
together. Days are those of the local time zone, and a snapshot belongs to the day on which the
storage received it, whatever it claims.

Always kept are: the last good snapshot of a source, what a hold covers (lifeboat hold), what has not
reached the minimum age of the repository, and what claims another time than that at which it was
received, until it is confirmed (lifeboat trust). A snapshot with unreadable files, with damage or
with much less in it than is usual takes no good one's place.

A forgotten snapshot is out of sight; what it holds stays stored, and comes back with --undo, for 7
days or until `lifeboat prune --undo-window` says otherwise. Space is freed by `lifeboat prune`, or --prune.

Examples:
  lifeboat forget --keep-last 3 --keep-daily 14 --keep-weekly 8 --keep-monthly 12 -n
  lifeboat forget --policy '3 14d 8w 12m 5y' --prune
  lifeboat forget --keep-within 30d --keep-tag keep --host nas
  lifeboat forget 4f21c09a latest~3
  lifeboat forget --undo                        what can be brought back, and until when
  lifeboat forget --undo 4f21c09a")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Judge those together that have the same host, paths, tags, or several of these
    #[arg(short = 'g', long, value_name = "GROUP", default_value = "host,paths")]
    group_by: String,
    #[command(flatten)]
    filter: Filter,
    /// Bring them back; without any, list what can be brought back
    #[arg(long)]
    undo: bool,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Free the space of what nothing needs any more, afterwards
    #[arg(long, conflicts_with = "undo")]
    prune: bool,
    #[command(flatten)]
    how: How,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let group_by = group_by(&args.group_by)?;
    if args.how.is_given() && !args.prune {
        return Err(Failure::usage("how to prune is said, but not that it be done").hint("add --prune"));
    }
    match (args.policy.policy(), args.snapshots.is_empty(), args.undo) {
        (Some(_), _, true) => {
            Err(Failure::usage("--undo brings back single snapshots, not those of a policy")
                .hint("list them with: lifeboat forget --undo"))
        }
        (Some(_), false, _) => {
            Err(Failure::usage("snapshots are forgotten by their ids or by a policy, not by both"))
        }
        (Some(policy), true, false) => {
            refuse_empty(&policy)?;
            by_policy(session, &args, &policy, group_by)
        }
        (None, true, false) => {
            Err(Failure::usage("nothing is named to forget, and no policy says what to keep")
                .hint("lifeboat forget --keep-daily 7 --keep-weekly 4 -n, or lifeboat forget SNAPSHOT"))
        }
        (None, true, true) => undo::list(session, &args),
        (None, false, true) => undo::run(session, &args),
        (None, false, false) => by_id(session, &args),
    }
}

/// A snapshot somebody named: its record, if that can be read.
struct Target<'k> {
    id: SnapshotId,
    stored: Option<&'k StoredSnapshot>,
}

impl Target<'_> {
    fn short_id(&self) -> String {
        self.id.hex()[..8].to_string()
    }

    /// As it is spoken of.
    fn words(&self) -> String {
        match self.stored {
            Some(stored) => format!("snapshot {} of {}", self.short_id(), time::shown(stored.snapshot.time)),
            None => format!("snapshot {}, which cannot be read,", self.short_id()),
        }
    }
}

/// All that are named, each once. Also one whose record cannot be read may be forgotten, by its id.
fn targets<'k>(known: &'k Known, args: &Args) -> Outcome<Vec<Target<'k>>> {
    let mut targets: Vec<Target<'k>> = Vec::new();
    for spec in &args.snapshots {
        let spec = SnapSpec::parse(spec)?;
        let unreadable = |spec: &str| {
            let mut fits = known.list.unreadable.iter().filter(|(id, _)| id.hex().starts_with(spec));
            fits.next().filter(|_| !spec.is_empty()).map(|(id, _)| *id)
        };
        let id = match known.list.find(&spec.snapshot, |s| args.filter.accepts(s)) {
            Ok(snapshot) => snapshot.id,
            Err(e @ RepoError::NoSnapshot(_)) => unreadable(&spec.snapshot).ok_or(e)?,
            Err(e) => return Err(e.into()),
        };
        if !targets.iter().any(|target| target.id == id) {
            let stored = known.list.snapshots.iter().find(|stored| stored.snapshot.id == id);
            targets.push(Target { id, stored });
        }
    }
    Ok(targets)
}

fn by_id(session: &Session, args: &Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let known = known::read_to_act(session, &opened.repo, args.dry_run)?;
    // All names are understood, and nothing is protected, before anything is changed.
    let targets = targets(&known, args)?;
    for target in &targets {
        let protections = match target.stored {
            Some(stored) => known.protections_of(stored),
            None => known.protections.of_unreadable(&target.id, received_record(&opened.repo, &target.id)?),
        };
        if let Some(protection) = protections.first() {
            return Err(refusal(&target.short_id(), protection));
        }
    }
    let mut seed = seed()?;
    let mut forgotten = Vec::new();
    for target in &targets {
        let changes = target.stored.is_none_or(|stored| !stored.forgotten);
        if changes && !args.dry_run {
            forget(&opened.repo, &target.id, time::now(), "by id", &mut seed)?;
            forgotten.push(target.id.hex());
        }
        let what = match (changes, args.dry_run) {
            (false, _) => "is forgotten already",
            (true, true) => "would be forgotten",
            (true, false) => "forgotten",
        };
        tell(session, args, target, "forget", changes, what)?;
    }
    if !forgotten.is_empty() {
        let stored = targets.iter().filter_map(|target| target.stored);
        let known = stored.map(|s| &s.snapshot).filter(|s| forgotten.contains(&s.id.hex()));
        let mut body = service::audit::forgotten(known, "by id");
        body["snapshots"] = forgotten.into();
        audit::record(session, &opened.repo, "forget", &body);
    }
    if !args.dry_run {
        session.out.info("bring them back with: lifeboat forget --undo SNAPSHOT");
    }
    prune_after(session, &opened, args, targets.iter().map(|target| target.id), Exit::Ok)
}

/// Frees the space if that was asked for; `exit` is how forgetting ended.
fn prune_after(
    session: &Session,
    opened: &Opened,
    args: &Args,
    forgotten: impl Iterator<Item = SnapshotId>,
    exit: Exit,
) -> Outcome<Exit> {
    if !args.prune || session.cancel.is_set() {
        return Ok(exit);
    }
    match prune_and_tell(session, opened, &args.how, args.dry_run, forgotten.collect())? {
        Exit::Ok => Ok(exit),
        other => Ok(other),
    }
}

fn tell(
    session: &Session,
    args: &Args,
    target: &Target<'_>,
    decision: &str,
    changes: bool,
    what: &str,
) -> Outcome<()> {
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "retention", "snapshot_id": target.id.hex(), "decision": decision,
            "changed": changes && !args.dry_run, "dry_run": args.dry_run, "reasons": ["by id"],
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    session.out.line(format!("{} {what}", target.words()))
}

fn by_policy(
    session: &Session,
    args: &Args,
    policy: &Policy,
    group_by: engine::retention::GroupBy,
) -> Outcome<Exit> {
    let opened = session.open()?;
    let known = known::read_to_act(session, &opened.repo, args.dry_run)?;
    known::warn_unreadable(session, &known);
    let candidates = known.candidates(|snapshot| args.filter.accepts(snapshot));
    let zone = TimeZone::system();
    let request = Request { policy, group_by, now: time::now(), zone: &zone };
    let decision = decide(&candidates, &request).expect("an empty policy was refused");
    if decision.believes_claims {
        session.out.warn(
            "this place does not tell when it received what: the times snapshots claim had to be believed",
        );
    }
    let snapshots = known.list.snapshots.iter().map(|stored| (stored.snapshot.id, stored));
    let snapshots: BTreeMap<SnapshotId, &StoredSnapshot> = snapshots.collect();
    if !args.dry_run {
        carry_out(session, &opened, &decision, policy, &snapshots, &mut seed()?)?;
    }
    match session.out.json {
        true => session.out.object(&decision.groups.iter().map(|g| group_object(g, &snapshots)).collect())?,
        false => tell_decision(session, args, policy, &decision, &snapshots)?,
    }
    let exit = if known.list.unreadable.is_empty() { Exit::Ok } else { Exit::Damage };
    let verdicts = decision.groups.iter().flat_map(|group| &group.verdicts);
    let forgotten = verdicts.filter(|verdict| !verdict.is_kept()).map(|verdict| verdict.id);
    prune_after(session, &opened, args, forgotten, exit)
}

/// Forgets what nothing keeps, the oldest first. Cut off, it has forgotten some of them, and the next run
/// comes to the same decision about the rest.
fn carry_out(
    session: &Session,
    opened: &Opened,
    decision: &Decision,
    policy: &Policy,
    snapshots: &BTreeMap<SnapshotId, &StoredSnapshot>,
    seed: &mut Seed,
) -> Outcome<()> {
    let reason = format!("policy: {policy}");
    let verdicts = decision.groups.iter().flat_map(|group| &group.verdicts);
    let mut forgotten = Vec::new();
    for verdict in verdicts.filter(|verdict| !verdict.is_kept()) {
        if session.cancel.is_set() {
            break; // the end of the run says so
        }
        forget(&opened.repo, &verdict.id, time::now(), &reason, seed)?;
        forgotten.push(&snapshots[&verdict.id].snapshot);
    }
    if !forgotten.is_empty() {
        let body = service::audit::forgotten(forgotten.into_iter(), &reason);
        audit::record(session, &opened.repo, "forget", &body);
    }
    Ok(())
}

fn tell_decision(
    session: &Session,
    args: &Args,
    policy: &Policy,
    decision: &Decision,
    snapshots: &BTreeMap<SnapshotId, &StoredSnapshot>,
) -> Outcome<()> {
    if session.out.quiet {
        return Ok(());
    }
    session.out.line(safe(&policy.to_string()))?;
    for group in &decision.groups {
        session.out.line("")?;
        session.out.line(title(group))?;
        let rows: Vec<_> = group.verdicts.iter().map(|verdict| row(verdict, args, snapshots)).collect();
        columns(&rows).into_iter().try_for_each(|line| session.out.line(format!("  {line}")))?;
    }
    let verdicts = || decision.groups.iter().flat_map(|group| &group.verdicts);
    let kept = verdicts().filter(|verdict| verdict.is_kept()).count();
    let forgotten = verdicts().count() - kept;
    session.out.line("")?;
    session.out.line(match (forgotten, args.dry_run) {
        (0, _) => format!("nothing to forget: {}", counted(kept, "snapshot stays", "snapshots stay")),
        (n, true) => format!("{} would stay, {n} would be forgotten", count(kept, "snapshot")),
        (n, false) => format!("{}, {n} forgotten", counted(kept, "snapshot stays", "snapshots stay")),
    })?;
    if forgotten > 0 && !args.dry_run {
        session.out.info("see what can be brought back with: lifeboat forget --undo");
        if !args.prune {
            session.out.info("free the space with: lifeboat prune");
        }
    }
    if verdicts().any(|verdict| verdict.reasons.iter().any(|reason| matches!(reason, Reason::InDoubt(_)))) {
        session.out.info("say which of the doubtful ones are right with: lifeboat trust SNAPSHOT");
    }
    Ok(())
}

/// What the snapshots of a group have in common, in one line.
fn title(group: &Group) -> String {
    let mut parts = Vec::new();
    parts.extend(group.host.as_deref().map(|host| format!("host {}", safe(host))));
    parts.extend(group.sources.as_ref().map(|sources| {
        let names: Vec<_> = sources.iter().map(|source| DisplayName(source).to_string()).collect();
        format!("source {}", names.join(", "))
    }));
    parts.extend(group.tags.as_ref().map(|tags| match tags.is_empty() {
        true => "no tags".to_string(),
        false => format!("tags {}", safe(&tags.join(", "))),
    }));
    if parts.is_empty() { "all snapshots".into() } else { parts.join(", ") }
}

fn row(verdict: &Verdict, args: &Args, snapshots: &BTreeMap<SnapshotId, &StoredSnapshot>) -> [String; 4] {
    let snapshot = &snapshots[&verdict.id].snapshot;
    let what = match (verdict.is_kept(), args.dry_run) {
        (true, _) => "keep",
        (false, true) => "would forget",
        (false, false) => "forget",
    };
    let mut why: Vec<String> = verdict.reasons.iter().map(|reason| safe(&reason.words())).collect();
    if why.is_empty() {
        why.push("no rule keeps it".into());
        why.extend(verdict.doubts.iter().map(ToString::to_string));
    }
    [what.into(), snapshot.short_id(), time::shown(snapshot.time), why.join("; ")]
}

/// restic's field names, and more.
fn group_object(group: &Group, snapshots: &BTreeMap<SnapshotId, &StoredSnapshot>) -> Value {
    let object = |verdict: &Verdict| {
        let mut object = record_object(&snapshots[&verdict.id].snapshot);
        let received = snapshots[&verdict.id].received;
        object["received"] = received.map(|t| time::rfc3339(time::from_system(t))).into();
        object
    };
    let part = |kept: bool| -> Vec<Value> {
        group.verdicts.iter().filter(|verdict| verdict.is_kept() == kept).map(object).collect()
    };
    let reasons = group.verdicts.iter().filter(|verdict| verdict.is_kept()).map(|verdict| {
        let matches: Vec<_> = verdict.reasons.iter().map(Reason::match_words).collect();
        let words: Vec<_> = verdict.reasons.iter().map(Reason::words).collect();
        let doubts: Vec<_> = verdict.doubts.iter().map(ToString::to_string).collect();
        json!({ "snapshot": object(verdict), "matches": matches, "words": words, "doubts": doubts })
    });
    let sources = group.sources.as_ref();
    let paths =
        sources.map(|s| s.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect::<Vec<_>>());
    json!({
        "tags": group.tags, "host": group.host, "paths": paths,
        "keep": part(true), "remove": part(false), "reasons": reasons.collect::<Vec<_>>(),
    })
}

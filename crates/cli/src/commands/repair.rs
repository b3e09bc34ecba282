//! `lifeboat repair`: makes whole what can be made whole, and marks what cannot.

use super::check::{share, tell_finding, tell_findings};
use super::sync::bring;
use super::verified::{self, Saw};
use crate::counts::{count, counted};
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::session::{OtherSecrets, Session, processors, seed};
use crate::{credentials, sizes, time};
use ::repo::check::{Finding, ReadShare};
use ::repo::reader::Reader;
use ::repo::repair::{Action, How, RepairOptions, RepairReport, repair};
use ::repo::snapshots::SnapshotList;
use ::repo::writer::WriterOptions;
use engine::HealFrom;
use format::id::SnapshotId;
use format::snapshot::Snapshot;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use service::{damage_queue, seen_heads};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Repair damage, and mark what cannot be repaired
#[derive(clap::Args)]
#[command(after_help = "\
Every object gets the bytes back it was written with where its parity or its second copy tells them.
What else is lost comes from another repository of the family (--from), or from files that have not
changed: those where the snapshots found them, if they are on this machine, and those below --source.
What remains is named, and marked so that the next backups store it again if they still have it.
Nothing is deleted. A configuration of which both copies are lost is made anew.

Examples:
  lifeboat repair
  lifeboat repair --dry-run
  lifeboat repair --from /mnt/other/backup
  lifeboat repair -r /mnt/disk/backup -r /mnt/usb/backup -r sftp://nas/backup     each from the others
  lifeboat repair --source /mnt/old-disk/home
  lifeboat repair --read-data=10%      of the packs, those not read for the longest time

Exit code 5: something could not be repaired; snapshots and paths are named.")]
pub(crate) struct Args {
    /// Another repository of the family, opened with the same keys
    #[arg(long, value_name = "REPO")]
    from: Option<OsString>,
    #[command(flatten)]
    other: OtherSecrets,

    /// Look through this folder or file for lost contents, too
    #[arg(long, value_name = "PATH")]
    source: Vec<PathBuf>,

    /// Do not look at the files on this machine that the snapshots name
    #[arg(long)]
    no_source: bool,

    /// How much of the packs to read: a share, a part, or so many bytes [default: 100%]
    #[arg(long, value_name = "SHARE", require_equals = true)]
    read_data: Option<String>,

    /// Change nothing; show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// So many things that were put right are named in the log one by one.
const ACTIONS_NAMED_MAX: usize = 100;

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let read = share(args.read_data.as_deref().unwrap_or("100%"))?;
    if let Some(missing) = args.source.iter().find(|path| !path.exists()) {
        return Err(Failure::usage(format!("there is no {}", safe(&missing.display().to_string()))));
    }
    let several = session.global.repo.clone();
    if several.len() < 2 {
        let from: Vec<OsString> = args.from.clone().into_iter().collect();
        return repair_one(session, &args, read, &from);
    }
    let mut worst = Exit::Ok;
    for (i, place) in several.iter().enumerate() {
        let mut one = session.clone();
        one.global.repo = vec![place.clone()];
        one.out = session.out.about(&place.to_string_lossy());
        let others = several.iter().enumerate().filter(|(n, _)| *n != i).map(|(_, other)| other.clone());
        let from: Vec<OsString> = args.from.clone().into_iter().chain(others).collect();
        session.out.human(format!("{}:", safe(&place.to_string_lossy())))?;
        let exit = repair_one(&one, &args, read, &from).unwrap_or_else(|failure| {
            session.out.failure(&failure);
            failure.exit
        });
        if worst == Exit::Ok || exit == Exit::Damage {
            worst = exit;
        }
    }
    Ok(worst)
}

fn repair_one(session: &Session, args: &Args, read: ReadShare, from: &[OsString]) -> Outcome<Exit> {
    if !rebuild_configuration(session, args, from)? {
        return Ok(Exit::Ok);
    }
    let opened = session.open()?;
    let reader = opened.reader()?;
    let sibling = siblings(session, from, &args.other, &reader, args.from.is_some())?;
    let folders = session.opener().folders;
    let queued = damage_queue::waiting(&folders, &opened.repo.identity().repo).len();
    if queued > 0 {
        session
            .out
            .info(counted(queued, "damaged piece was", "damaged pieces were") + " noted by earlier reads");
    }
    let is_owner = opened.repo.keys().chunking().is_ok();
    let mut source = HealFrom { recorded_paths: !args.no_source, folders: absolute(&args.source)? };
    let start = Instant::now();
    let bar = session.out.draws_progress.then(|| {
        let style = ProgressStyle::with_template("[{elapsed}] {percent}%  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}")
            .expect("the template is well-formed");
        session.out.bars().add(ProgressBar::new(0).with_style(style))
    });
    let mut progress = |done: u64, total: u64| {
        if let Some(bar) = &bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    };
    let mut options = RepairOptions {
        dry_run: args.dry_run,
        read,
        workers: processors(),
        sample_seed: u64::from_le_bytes(credentials::random()?),
        now: time::now(),
        sibling: sibling.as_deref(),
        // Only who may read contents can tell what the right ones are.
        source: if is_owner { Some(&mut source) } else { None },
        writer: WriterOptions::default(),
        progress: &mut progress,
    };
    let report = repair(&reader, &mut options, seed()?);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let report = report?;
    // What was mended is right now, what is left is not.
    if !args.dry_run && matches!(read, ReadShare::Everything) {
        let whole = report.left.is_empty();
        verified::note(
            session,
            Saw {
                kind: "repair",
                packs: report.packs_read,
                packs_read: report.packs_read,
                bytes: report.bytes_read,
                damaged: report.left.len(),
                snapshots: if whole { verified::all(&opened.repo) } else { Vec::new() },
            },
        );
    }
    report.actions.iter().try_for_each(|action| tell_action(session, action, args.dry_run))?;
    tell_findings(session, &report.left)?;
    for name in &report.too_new {
        session
            .out
            .warn(format!("{} was written by a newer version of lifeboat and was left alone", safe(name)));
    }
    summary(session, &report, args.dry_run, start)?;
    if !args.dry_run && !report.actions.is_empty() {
        let done: Vec<String> = report
            .actions
            .iter()
            .take(ACTIONS_NAMED_MAX)
            .map(|a| format!("{}: {}", a.what, word(a.how)))
            .collect();
        let body = json!({"repaired": report.actions.len(), "left": report.left.len(), "of": done});
        crate::audit::record(session, &opened.repo, "repair", &body);
    }
    if report.left.is_empty() && !args.dry_run && matches!(read, ReadShare::Everything) {
        damage_queue::clear(&folders, &opened.repo.identity().repo);
    }
    let others = sibling.iter().flat_map(|first| std::iter::once(first).chain(first.siblings()));
    let brought: usize =
        others.map(|other| bring_lost(session, args.dry_run, other, &reader)).sum::<Outcome<usize>>()?;
    if brought > 0 && !session.out.json {
        let would = if args.dry_run { "would be " } else { "" };
        session
            .out
            .human(format!("{} {would}brought from another repository", count(brought, "snapshot")))?;
    }
    let (_, mut gone) = session.opener().snapshots_and_gone(&opened.repo)?;
    if args.dry_run && brought > 0 {
        gone.clear();
    }
    for gone in &gone {
        let what = ::repo::names::snapshot(&gone.seen.snapshot).to_string();
        tell_finding(session, &Finding { what, why: seen_heads::why(gone), hurts: Vec::new() })?;
    }
    Ok(if report.left.is_empty() && gone.is_empty() { Exit::Ok } else { Exit::Damage })
}

/// Where both copies of the configuration or all key slots are lost, nothing can be opened: they are made anew first,
/// from the first of the other repositories that opens, else from what is left. Returns whether it can be opened now.
fn rebuild_configuration(session: &Session, args: &Args, from: &[OsString]) -> Outcome<bool> {
    let (opener, place) = (session.opener(), session.place()?);
    let Some(remains) = opener.remains(&place)? else { return Ok(true) };
    let opened: Vec<_> = from.iter().map(|other| session.open_other(other, &args.other)).collect();
    let sibling = opened.iter().flatten().next();
    let keeps_configuration = remains.has_configuration();
    let lost = if keeps_configuration { ::repo::names::KEYS } else { ::repo::names::CONFIG };
    let what = [lost.to_string(), format!("mirror/{lost}")];
    if keeps_configuration && sibling.is_none() {
        // Why another one does not help is the news; that its own slots are lost comes with the attempt.
        for failure in opened.iter().filter_map(|other| other.as_ref().err()) {
            session.out.warn(failure.message());
        }
    }
    let action = |what: String| tell_action(session, &Action { what, how: How::Rebuilt }, args.dry_run);
    if args.dry_run {
        what.into_iter().try_for_each(action)?;
        session.out.warn("what else is damaged can be told when it can be opened again");
        return Ok(false);
    }
    let rebuilt = opener.rebuild(&place, remains, sibling.map(|o| &*o.repo), time::now(), seed()?)?;
    what.into_iter().try_for_each(action)?;
    if sibling.is_none() {
        session.out.warn(
            "no other copy told how this repository cuts and packs, and how old snapshots must become: the defaults \
             are in force",
        );
    }
    if rebuilt.is_new_member {
        session.out.warn("nothing told the id of this repository: it has a new one");
    }
    if rebuilt.made_slot {
        session.out.warn("no key slot was left: the secret in use opens it again; others: lifeboat key add");
    }
    if keeps_configuration {
        return Ok(true);
    }
    let (mut repo, words) =
        (rebuilt.repo, super::init::probe(session, &session.store(&place.location, false)?)?);
    repo.update_parameters(&mut seed()?, |p| p.probed = words)?;
    session.out.info(format!(
        "see which keys open it: lifeboat key list -r {}",
        crate::display::shell_word(&place.location.to_string())
    ));
    Ok(true)
}

/// Snapshots of which nothing is left here, not even a broken record, although older ones of the same source are
/// here, or this machine has seen newer ones, or no snapshot at all is left: they were lost, or never came. Returns
/// how many there are.
fn bring_lost(
    session: &Session,
    dry_run: bool,
    sibling: &Arc<Reader>,
    reader: &Arc<Reader>,
) -> Outcome<usize> {
    let (theirs, ours) = (SnapshotList::read(sibling.repo())?, SnapshotList::read(reader.repo())?);
    let here: BTreeSet<SnapshotId> = ours.snapshots.iter().map(|s| s.snapshot.id).collect();
    let folders = session.opener().folders;
    let seen = seen_heads::of(&folders, &reader.repo().identity().repo).heads;
    let gone = seen.gone_from(reader.repo(), &ours)?;
    // What was never seen here lay between what was, and what is shown now.
    let was_seen = |s: &Snapshot| {
        gone.iter().any(|gone| {
            let range = gone.shown.unwrap_or(0) + 1..=gone.seen.sequence;
            gone.seen.snapshot == s.id || (gone.writer == s.writer && range.contains(&s.sequence))
        })
    };
    let follows = |s: &Snapshot| {
        ours.snapshots
            .iter()
            .map(|o| &o.snapshot)
            .any(|o| o.host == s.host && o.sources == s.sources && o.time < s.time)
    };
    let is_lost = |s: &&Snapshot| !here.contains(&s.id) && (here.is_empty() || follows(s) || was_seen(s));
    let lost: BTreeSet<SnapshotId> = theirs.visible().filter(is_lost).map(|s| s.id).collect();
    if lost.is_empty() {
        return Ok(0);
    }
    let timed = bring(session, dry_run, false, sibling, reader, Some(lost), false)?;
    for (id, _) in &timed.report.copied {
        let would = if dry_run { "would be " } else { "" };
        match session.out.json {
            true => session.out.object(&json!({
                "message_type": "repaired", "object": ::repo::names::snapshot(id).to_string(), "how": "sibling",
                "dry_run": dry_run,
            }))?,
            false => session.out.human(format!(
                "snapshots/{}: {would}brought from the other repository",
                id.hex()
            ))?,
        }
    }
    Ok(timed.report.copied.len())
}

/// The other repositories, which must share their keys with this one. Of several, the first that opens helps, and
/// the rest help that. One that was named to help, and nothing else (`is_named`), must open.
fn siblings(
    session: &Session,
    from: &[OsString],
    secrets: &OtherSecrets,
    reader: &Reader,
    is_named: bool,
) -> Outcome<Option<Arc<Reader>>> {
    let mut readers = Vec::new();
    for place in from {
        match sibling(session, place, secrets, reader) {
            Ok(reader) => readers.push(reader),
            Err(failure) if from.len() == 1 && is_named => return Err(failure),
            Err(failure) => session.out.warn(failure.message()),
        }
    }
    let Some(first) = readers.first().cloned() else { return Ok(None) };
    first.set_siblings(readers.split_off(1));
    Ok(Some(first))
}

/// One of them.
fn sibling(
    session: &Session,
    from: &OsString,
    secrets: &OtherSecrets,
    reader: &Reader,
) -> Outcome<Arc<Reader>> {
    let opened = session.open_other(from, secrets)?;
    let place = safe(&opened.repo.location());
    // A folder that was copied as it is (cp -a, rsync) has the same id, and what it holds is worth as much: every
    // byte is compared with its hash.
    if opened.repo.identity().repo == reader.repo().identity().repo {
        if is_same_place(&opened.repo.location(), &reader.repo().location()) {
            return Err(Failure::usage(format!("{place} is the repository to be repaired")));
        }
        session.out.detail(format!("{place} was copied from this repository as it is"));
    }
    if opened.repo.identity().family != reader.repo().identity().family {
        return Err(Failure::new(Exit::Failed, format!("{place} is of another family: it has other keys")));
    }
    opened.reader()
}

/// Whether two locations are one place by another name, as far as that shows.
pub(super) fn is_same_place(one: &str, other: &str) -> bool {
    let found = |location: &str| std::fs::canonicalize(location).ok();
    one == other || found(one).is_some_and(|path| found(other) == Some(path))
}

fn absolute(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let absolute = |path: &PathBuf| {
        path.canonicalize().map_err(|e| crate::error::local(format!("cannot find {}", path.display()), e))
    };
    paths.iter().map(absolute).collect()
}

fn word(how: How) -> &'static str {
    match how {
        How::Parity => "mended by its parity",
        How::OtherCopy => "put back from its other copy",
        How::Sibling => "put back from the other repository",
        How::Indexed => "indexed again",
        How::SetAside => "moved to maint/: it cannot be read, and nothing needs it",
        How::Marked => "marked as damaged",
        How::Unmarked => "no longer marked as damaged",
        How::Rebuilt => "made anew: both copies were lost",
    }
}

fn tell_action(session: &Session, action: &Action, dry_run: bool) -> Outcome<()> {
    let Action { what, how } = action;
    if session.out.json {
        let how = match how {
            How::Parity => "parity",
            How::OtherCopy => "other_copy",
            How::Sibling => "sibling",
            How::Indexed => "indexed",
            How::SetAside => "set_aside",
            How::Marked => "marked",
            How::Unmarked => "unmarked",
            How::Rebuilt => "rebuilt",
        };
        return session.out.object(&json!({
            "message_type": "repaired", "object": what, "how": how, "dry_run": dry_run,
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let would = if dry_run { "would be " } else { "" };
    session.out.line(format!("{}: {would}{}", safe(what), word(*how)))
}

fn summary(session: &Session, report: &RepairReport, dry_run: bool, start: Instant) -> Outcome<()> {
    let RepairReport { snapshots, packs_read, bytes_read, moved_blobs, .. } = report;
    let RepairReport { blobs_from_sibling, blobs_from_source, .. } = report;
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "summary", "dry_run": dry_run, "snapshots": snapshots, "packs_read": packs_read,
            "bytes_read": bytes_read, "repaired": report.actions.len(), "moved_blobs": moved_blobs,
            "blobs_from_sibling": blobs_from_sibling, "blobs_from_source": blobs_from_source,
            "too_new": report.too_new.len(), "num_errors": report.left.len(),
            "total_duration": start.elapsed().as_secs_f64(),
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let would = if dry_run { "would be " } else { "" };
    for (n, what) in [
        (moved_blobs, "taken out of broken packs into new ones"),
        (blobs_from_sibling, "taken from the other repository"),
        (blobs_from_source, "found in files that have not changed"),
    ] {
        if *n > 0 {
            session.out.line(format!(
                "{} {would}{what}",
                counted(*n, "piece of files and folders", "pieces of files and folders")
            ))?;
        }
    }
    let took = time::clock(start.elapsed());
    session.out.line(format!(
        "looked at {} and read {}, {}, in {took}",
        count(*snapshots, "snapshot"),
        count(*packs_read, "pack"),
        sizes::shown(*bytes_read)
    ))?;
    let n = report.actions.len();
    session.out.line(match (report.left.len(), n) {
        (0, 0) => "nothing was damaged".to_string(),
        (0, _) if dry_run => "everything can be repaired".to_string(),
        (0, _) => "everything is whole again".to_string(),
        (left, _) => format!("{} could not be repaired; all else can be restored", count(left, "thing")),
    })
}

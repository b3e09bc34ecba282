//! `lifeboat sync`: brings to one or more repositories the snapshots that they lack and a sibling has.

use crate::counts::{count, counted};
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome};
use crate::session::{OtherSecrets, Session, processors, seed};
use crate::snapspec::{Filter, SnapSpec};
use crate::{sizes, time};
use ::repo::reader::Reader;
use ::repo::snapshots::SnapshotList;
use ::repo::sync::{CANCELLED, Skipped, SyncOptions, SyncReport, sync};
use ::repo::workers::Workers;
use ::repo::writer::WriterOptions;
use format::id::SnapshotId;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

/// Bring what another repository of the family lacks
#[derive(clap::Args)]
#[command(after_help = "\
What is sent stays encrypted: a key that may only maintain is enough, and nothing is compressed or encrypted
again. Whole packs are taken as they are where that is worthwhile. A run that was cut off goes on where it was.
What was forgotten in the target stays forgotten there.

Examples:
  lifeboat sync --from /mnt/disk/backup --to /mnt/usb/backup
  lifeboat sync --from /mnt/disk/backup --to sftp://nas/backup --to s3:bucket/backup
  lifeboat sync --from /mnt/disk/backup --to /mnt/usb/backup --dry-run
  lifeboat sync --from sftp://server/backup -r /backup --tag weekly     pulled by the machine that keeps it
  lifeboat sync --from /mnt/disk/backup --to /mnt/usb/backup latest

Exit code 5: some snapshots could not be brought because the source is damaged; they are named.")]
pub(crate) struct Args {
    /// Only these: latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,

    /// The repository that has them
    #[arg(long, value_name = "PLACE", required = true)]
    from: OsString,
    #[command(flatten)]
    other: OtherSecrets,

    /// A repository that gets them; may be given several times [default: those of -r]
    #[arg(long, value_name = "PLACE")]
    to: Vec<OsString>,

    /// Read every pack back after it was stored, and compare it with its name
    #[arg(long)]
    read_back: bool,

    /// Change nothing; show what would be sent
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Packs fetched at the same time from a distant place.
const REMOTE_FETCHES: usize = 2;
/// So little is sent again by a run that was cut off.
const SEGMENT_PACKS: usize = 16;

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let targets = if args.to.is_empty() { session.global.repo.clone() } else { args.to.clone() };
    if targets.is_empty() {
        return Err(Failure::usage("no target is named").hint("lifeboat sync --from PLACE --to PLACE"));
    }
    let from = session.open_other(&args.from, &args.other)?;
    let source_place = session.other_place(&args.from, &args.other)?;
    let list = session.opener().snapshots(&source_place, &from.repo)?;
    let chosen = choose(&args, &list)?;
    let source = from.reader()?;
    let (mut exit, mut failure) = (Exit::Ok, None);
    for target in &targets {
        match to_one(session, &args, &source, chosen.clone(), target) {
            Ok(Exit::Ok) => {}
            Ok(other) => exit = other,
            Err(e) if targets.len() == 1 || session.cancel.is_set() => return Err(e),
            // The others get theirs.
            Err(e) => {
                session.out.failure(&e);
                failure = failure.or(Some(e.exit));
            }
        }
    }
    Ok(failure.unwrap_or(exit))
}

/// `None` for everything that is not forgotten.
fn choose(args: &Args, list: &SnapshotList) -> Outcome<Option<BTreeSet<SnapshotId>>> {
    if args.snapshots.is_empty() && args.filter.is_empty() {
        return Ok(None);
    }
    let mut chosen = BTreeSet::new();
    for spec in &args.snapshots {
        chosen.insert(SnapSpec::parse(spec)?.find(list, &args.filter)?.id);
    }
    if args.snapshots.is_empty() {
        chosen.extend(list.visible().filter(|s| args.filter.accepts(s)).map(|s| s.id));
    }
    match chosen.is_empty() {
        true => Err(Failure::new(Exit::Failed, "no snapshot of the source fits")),
        false => Ok(Some(chosen)),
    }
}

fn to_one(
    session: &Session,
    args: &Args,
    source: &Arc<Reader>,
    snapshots: Option<BTreeSet<SnapshotId>>,
    target: &OsString,
) -> Outcome<Exit> {
    let place = session.place_named(target)?;
    let shown = place.shown();
    let opened = session.opener().open(&place).map_err(|failure| match failure.exit {
        Exit::NoRepository => {
            let (from, to) = (source.repo().location(), shell_word(&shown).to_string());
            failure.hint(format!("lifeboat init -r {to} --copy-of {}", shell_word(&from)))
        }
        _ => failure,
    })?;
    let reader = opened.reader()?;
    if reader.repo().identity().family != source.repo().identity().family {
        let what = format!("{} is of another family: it has other keys", safe(&shown));
        return Err(Failure::new(Exit::Failed, what).hint(format!(
            "lifeboat copy --from {} --to {} SNAPSHOT...",
            shell_word(&source.repo().location()),
            shell_word(&shown)
        )));
    }
    if super::repair::is_same_place(&source.repo().location(), &reader.repo().location()) {
        return Err(Failure::usage(format!("{} is the repository to bring from", safe(&shown))));
    }
    let timed = bring(session, args.dry_run, args.read_back, source, &reader, snapshots, false)?;
    write_down(
        session,
        "sync",
        source,
        &reader,
        timed.report.copied.iter().map(|(_, there)| *there),
        args.dry_run,
    );
    tell(session, &timed, &shown, args.dry_run)
}

/// Writes down in the target what was brought there, and from where. Nothing was done where nothing was brought.
pub(super) fn write_down(
    session: &Session,
    action: &str,
    source: &Reader,
    target: &Reader,
    brought: impl Iterator<Item = SnapshotId>,
    dry_run: bool,
) {
    let ids: Vec<String> = brought.map(|id| id.hex()).collect();
    if !dry_run && !ids.is_empty() {
        let body = json!({"from": source.repo().location(), "snapshots": ids});
        crate::audit::record(session, target.repo(), action, &body);
        session.opener().remember_place(target.repo());
    }
}

/// Brings snapshots with a bar that moves.
pub(super) fn bring(
    session: &Session,
    dry_run: bool,
    read_back: bool,
    source: &Arc<Reader>,
    target: &Arc<Reader>,
    snapshots: Option<BTreeSet<SnapshotId>>,
    again: bool,
) -> Outcome<Timed> {
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
    let fetches = if source.repo().store().capabilities().local { 1 } else { REMOTE_FETCHES };
    let mut options = SyncOptions {
        snapshots,
        again,
        dry_run,
        read_back,
        now: time::now(),
        fetch_workers: Workers(fetches),
        writer: WriterOptions {
            seal_workers: processors(),
            segment_packs: SEGMENT_PACKS,
            ..WriterOptions::default()
        },
        progress: &mut progress,
        cancelled: &|| session.cancel.is_set(),
    };
    let done = sync(source, target, &mut options, seed()?);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    match done {
        Err(::repo::RepoError::Local(why)) if why == CANCELLED => {
            Err(Failure::new(Exit::Failed, "cancelled"))
        }
        other => Ok(Timed { report: other?, took: start.elapsed() }),
    }
}

/// What was brought, and how long it took.
pub(super) struct Timed {
    pub(super) report: SyncReport,
    took: std::time::Duration,
}

/// Says what was brought to one place.
pub(super) fn tell(session: &Session, timed: &Timed, place: &str, dry_run: bool) -> Outcome<Exit> {
    let r = &timed.report;
    let count = |why: Skipped| r.skipped.iter().filter(|(_, w)| *w == why).count();
    if session.out.json {
        for (id, why) in &r.damaged {
            session.out.object(&json!({
                "message_type": "error", "repository": place, "item": id.hex(), "during": "sync",
                "error": {"message": why},
            }))?;
        }
        session.out.object(&json!({
            "message_type": "summary", "repository": place, "dry_run": dry_run,
            "snapshots_copied": r.copied.iter().map(|(from, to)| json!({"id": from.hex(), "id_there": to.hex()})).collect::<Vec<_>>(),
            "snapshots_present": count(Skipped::Present), "snapshots_forgotten_there": count(Skipped::ForgottenThere),
            "snapshots_erased": count(Skipped::Erased), "erasures_copied": r.erasures,
            "snapshots_with_erased_paths": r.hold_erased.iter().map(SnapshotId::hex).collect::<Vec<_>>(),
            "snapshots_removed_there": count(Skipped::RemovedThere), "snapshots_damaged": r.damaged.len(),
            "source_damage": r.source_damage, "packs_copied": r.whole_packs, "packs_adopted": r.adopted_packs,
            "blocks_copied": r.blocks, "blobs_copied": r.blobs, "bytes_read": r.read_bytes,
            "bytes_stored": r.stored_bytes, "packs_read_back": r.read_back_packs,
            "requests_source": r.source_requests, "requests_target": r.target_requests,
            "total_duration": timed.took.as_secs_f64(),
        }))?;
    } else {
        tell_person(session, r, place, dry_run, timed.took)?;
    }
    Ok(if r.damaged.is_empty() { Exit::Ok } else { Exit::Damage })
}

fn tell_person(
    session: &Session,
    r: &SyncReport,
    place: &str,
    dry_run: bool,
    took: std::time::Duration,
) -> Outcome<()> {
    let out = &session.out;
    for (id, why) in &r.damaged {
        out.warn(format!("snapshot {} could not be brought: {}", &id.hex()[..8], safe(why)));
    }
    for what in &r.source_damage {
        out.warn(format!("damaged in the source: {}", safe(what)));
    }
    if !r.source_damage.is_empty() {
        out.info("repair the source with: lifeboat repair -r SOURCE --from OTHER");
    }
    if out.quiet {
        return Ok(());
    }
    let would = if dry_run { "would be " } else { "" };
    if r.erasures > 0 {
        out.line(format!(
            "{} {would}brought: no restore from there brings back what they name",
            count(r.erasures, "erasure")
        ))?;
    }
    if !r.hold_erased.is_empty() {
        out.warn(format!(
            "{} erased paths",
            counted(
                r.hold_erased.len(),
                "snapshot that was brought holds",
                "snapshots that were brought hold"
            )
        ));
        out.info(format!("erase them there, too: lifeboat rewrite --reapply -r {}", shell_word(place)));
    }
    for (from, to) in r.copied.iter().filter(|(from, to)| from != to) {
        let (from, to) = (from.hex(), to.hex());
        out.line(format!(
            "snapshot {} {would}brought as {}: its own id is over there",
            &from[..8],
            &to[..8]
        ))?;
    }
    for (why, text) in [
        (Skipped::ForgottenThere, "forgotten there, and stay so"),
        (Skipped::RemovedThere, "removed there, and stay so"),
        (Skipped::UnreadableThere, "hidden there by a record that cannot be read"),
        (Skipped::Erased, "left out: paths were erased there, and others stand in their place"),
    ] {
        let n = r.skipped.iter().filter(|(_, w)| *w == why).count();
        if n > 0 {
            out.line(format!("{} {text}", counted(n, "snapshot is", "snapshots are")))?;
        }
    }
    let place = safe(place).to_string();
    if r.copied.is_empty() {
        return out.line(format!("{place} has everything already"));
    }
    out.line(format!(
        "{place}: {} {would}brought, {} {would}read, {} {would}stored{}",
        count(r.copied.len(), "snapshot"),
        sizes::shown(r.read_bytes),
        sizes::shown(r.stored_bytes),
        if dry_run { String::new() } else { format!(" in {}", time::clock(took)) }
    ))?;
    out.line(format!(
        "{} as they are, {} into new packs",
        count(r.whole_packs + r.adopted_packs, "pack"),
        count(r.blocks, "block")
    ))?;
    if dry_run {
        out.line(format!(
            "about {} to the source, {} to the target",
            count(r.source_requests, "request"),
            r.target_requests
        ))?;
    }
    Ok(())
}

//! `lifeboat copy`: brings chosen snapshots to another repository, of this family or of another one.

use super::sync::{bring, tell, write_down};
use crate::counts::count;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome};
use crate::progress::Reporter;
use crate::session::{OtherSecrets, Session, processors, seed};
use crate::snapspec::{Filter, SnapSpec};
use crate::{sizes, time};
use ::repo::reader::Reader;
use ::repo::snapshots::SnapshotList;
use ::repo::writer::WriterOptions;
use engine::copy::{Copied, Forecast, copy_anew};
use format::id::SnapshotId;
use format::keys::Capability;
use format::snapshot::Snapshot;
use serde_json::json;
use std::ffi::OsString;
use std::sync::Arc;

/// Copy chosen snapshots to another repository
#[derive(clap::Args)]
#[command(after_help = "\
Into a repository of the same family (init --copy-of) a snapshot goes as it is stored, under the same id; one
that was removed there comes back under a new one. Into any other repository it is read, encrypted with the
keys of that one, and deduplicated against what is there; that needs a key that may read and write.

Examples:
  lifeboat copy --from /mnt/disk/backup --to /mnt/usb/backup latest
  lifeboat copy --from /mnt/disk/backup --to sftp://friend/backup --from-password-file old.txt 4f21 8be0
  lifeboat copy --from /mnt/old/backup -r /mnt/new/backup --tag keep

Exit code 5: something could not be copied because the source is damaged.")]
pub(crate) struct Args {
    /// Which: latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,

    /// The repository that has them
    #[arg(long, value_name = "PLACE", required = true)]
    from: OsString,
    #[command(flatten)]
    other: OtherSecrets,

    /// The repository that gets them [default: that of -r]
    #[arg(long, value_name = "PLACE")]
    to: Option<OsString>,

    /// Change nothing; show what would be copied, with bytes and requests
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    if args.snapshots.is_empty() && args.filter.is_empty() {
        return Err(Failure::usage("no snapshot is named")
            .hint("lifeboat sync --from PLACE --to PLACE brings all that are missing"));
    }
    let mut target_session = session.clone();
    target_session.global.repo = args.to.iter().cloned().chain(session.global.repo.clone()).take(1).collect();
    let source_place = session.other_place(&args.from, &args.other)?;
    let from = session.opener().open(&source_place)?;
    let list = session.opener().snapshots(&source_place, &from.repo)?;
    let chosen = choose(&args, &list)?;
    let place = target_session.place()?.shown();
    let to = target_session.open()?;
    let (source, target) = (from.reader()?, to.reader()?);
    if source.repo().identity().family == target.repo().identity().family {
        let ids = chosen.iter().map(|s| s.id).collect();
        let timed = bring(session, args.dry_run, false, &source, &target, Some(ids), true)?;
        let brought = timed.report.copied.iter().map(|(_, there)| *there);
        write_down(session, "copy", &source, &target, brought, args.dry_run);
        return tell(session, &timed, &place, args.dry_run);
    }
    if [&source, &target].iter().any(|reader| reader.repo().capability() != Capability::Owner) {
        let what =
            "copying into another family needs keys that may read and write: an owner's, on both sides";
        return Err(Failure::new(Exit::Refused, what));
    }
    if args.dry_run {
        return foretell(session, &source, &target, &chosen, &place);
    }
    let (mut made, mut done) = (Vec::new(), Ok(Exit::Ok));
    for snapshot in &chosen {
        match one(session, &source, &target, snapshot, &place) {
            Ok(there) => made.extend(there),
            Err(failure) if failure.exit == Exit::Damage => {
                session.out.failure(&failure.during(format!("cannot copy snapshot {}", snapshot.short_id())));
                done = Ok(Exit::Damage);
            }
            Err(failure) => {
                done = Err(failure);
                break;
            }
        }
    }
    write_down(session, "copy", &source, &target, made.into_iter(), args.dry_run);
    done
}

fn choose(args: &Args, list: &SnapshotList) -> Outcome<Vec<Snapshot>> {
    let mut chosen: Vec<Snapshot> = Vec::new();
    for spec in &args.snapshots {
        chosen.push(SnapSpec::parse(spec)?.find(list, &args.filter)?.clone());
    }
    if args.snapshots.is_empty() {
        chosen.extend(list.visible().filter(|s| args.filter.accepts(s)).cloned());
    }
    // Oldest first: what a later one shares with it is then there.
    chosen.sort_by_key(|s| (s.time, s.id));
    chosen.dedup_by_key(|s| s.id);
    match chosen.is_empty() {
        true => Err(Failure::new(Exit::Failed, "no snapshot of the source fits")),
        false => Ok(chosen),
    }
}

/// What would be done, and what it would take.
fn foretell(
    session: &Session,
    source: &Reader,
    target: &Reader,
    chosen: &[Snapshot],
    place: &str,
) -> Outcome<Exit> {
    let mut forecast = Forecast::begin(source, target)?;
    for snapshot in chosen {
        let is_new = forecast.add(snapshot)?;
        let (short, bytes) = (snapshot.short_id(), sizes::shown(snapshot.stats.source_bytes));
        match (session.out.json, is_new) {
            (true, _) => session.out.object(&json!({
                "message_type": "copied", "dry_run": true, "id": snapshot.id.hex(), "repository": place,
                "is_new": is_new, "total_bytes_processed": snapshot.stats.source_bytes,
            }))?,
            (false, true) => {
                session.out.human(format!("snapshot {short} would be copied: {bytes} of files"))?
            }
            (false, false) => session.out.human(format!("snapshot {short} is there already"))?,
        }
    }
    let (from, to) = (forecast.source_requests(), forecast.target_requests());
    match session.out.json {
        true => session.out.object(&json!({
            "message_type": "summary", "dry_run": true, "repository": place, "snapshots": forecast.snapshots,
            "bytes_read": forecast.read_bytes, "bytes_stored_at_most": forecast.read_bytes,
            "source_requests": from, "target_requests": to,
        }))?,
        false => session.out.human(format!(
            "{} would be copied: {} to read in about {}, at most as much to store in about {}",
            count(forecast.snapshots, "snapshot"),
            sizes::shown(forecast.read_bytes),
            count(from, "request"),
            count(to, "request")
        ))?,
    }
    Ok(Exit::Ok)
}

/// Returns the id of the snapshot that was made over there, if one was.
fn one(
    session: &Session,
    source: &Arc<Reader>,
    target: &Arc<Reader>,
    snapshot: &Snapshot,
    place: &str,
) -> Outcome<Option<SnapshotId>> {
    let short = snapshot.short_id();
    let reporter = Reporter::new(&session.out, &session.cancel);
    let options = WriterOptions { seal_workers: processors(), ..WriterOptions::default() };
    let copied = copy_anew(source, target, snapshot, options, seed()?, time::now(), &reporter);
    reporter.finish();
    let (there, stored, is_new) = match copied? {
        Copied::Made(there, written) => (there, written.stored_bytes, true),
        Copied::Present(there) => (there, 0, false),
    };
    let made = is_new.then_some(there.id);
    if session.out.json {
        return session
            .out
            .object(&json!({
                "message_type": "copied", "dry_run": false, "id": snapshot.id.hex(), "id_there": there.id.hex(),
                "repository": place, "is_new": is_new, "bytes_stored": stored,
            }))
            .map(|()| made);
    }
    let to = shell_word(place).to_string();
    match is_new {
        true => session.out.human(format!(
            "snapshot {short} copied to {} as {}: {} stored",
            safe(&to),
            there.short_id(),
            sizes::shown(stored)
        )),
        false => session.out.human(format!("snapshot {short} is there already, as {}", there.short_id())),
    }
    .map(|()| made)
}

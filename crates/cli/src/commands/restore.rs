//! `lifeboat restore`: brings a snapshot, or a part of it, back onto this machine.

use super::rules::recorded::Recorded;
use crate::counts::{count, counted};
use crate::display::{DisplayName, safe, shell_word};
use crate::error::{Exit, Failure, Outcome};
use crate::progress::Reporter;
use crate::session::{Session, processors};
use crate::snapspec::{self, Filter};
use crate::thaw::{ThawArgs, Thawing};
use crate::{sizes, time};
use engine::{LeftOut, Overwrite, RestoreOutcome, RestoreRequest};
use format::kind::Kind;
use format::snapshot::Snapshot;
use host::Rules;
use host::rules::{IGNORE_FILE, RuleError};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Restore files from a snapshot
#[derive(clap::Args)]
#[command(after_help = "\
SNAPSHOT alone recreates absolute paths below the target; SNAPSHOT:/PATH puts what is in PATH
into it. What is right already is left alone: run it again to continue an interrupted restore.

Examples:
  lifeboat restore latest --target /mnt/new
  lifeboat restore latest:/home/me/docs --target ~/docs --overwrite if-newer
  lifeboat restore 4f21c09a --target / --include /etc -n
  lifeboat restore latest --in-place --delete --verify

Exit code 3: some paths could not be restored completely; they are named. 5: because of damage.")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id; :PATH for a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// The folder to restore into
    #[arg(short, long, value_name = "FOLDER", required_unless_present = "in_place")]
    target: Option<PathBuf>,
    /// Restore to where it was
    #[arg(long, conflicts_with = "target")]
    in_place: bool,
    #[command(flatten)]
    filter: Filter,

    /// Only what matches this pattern (gitignore syntax)
    #[arg(short, long, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// Like --include, whatever the letters' case
    #[arg(long, value_name = "PATTERN")]
    iinclude: Vec<OsString>,
    /// All but what matches this pattern
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Like --exclude, whatever the letters' case
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<OsString>,

    /// When a file that is there may be replaced
    #[arg(long, value_enum, default_value_t = When::Always, value_name = "WHEN")]
    overwrite: When,
    /// Remove what is in restored folders but not in the snapshot; what the backup left out stays
    #[arg(long)]
    delete: bool,
    /// With --delete, also remove what the backup left out by its rules
    #[arg(long, requires = "delete")]
    delete_excluded: bool,
    /// Say what would be done; write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Read every restored file back and compare it
    #[arg(long)]
    verify: bool,
    /// Do not wait until everything is safe from power loss
    #[arg(long)]
    no_sync: bool,
    /// Restore owners by number, not by name
    #[arg(long)]
    numeric_ids: bool,
    #[command(flatten)]
    thaw: ThawArgs,
}

/// When a file that is there may be replaced.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum When {
    Always,
    IfChanged,
    IfNewer,
    Never,
}

impl From<When> for Overwrite {
    fn from(when: When) -> Overwrite {
        match when {
            When::Always => Overwrite::Always,
            When::IfChanged => Overwrite::IfChanged,
            When::IfNewer => Overwrite::IfNewer,
            When::Never => Overwrite::Never,
        }
    }
}

/// How a backup left paths out, so that these stay where others are removed. Refused where it used a file with
/// patterns that is not there any more.
fn left_out(snapshot: &Snapshot) -> Outcome<LeftOut> {
    let mut left_out = LeftOut { markers: vec![IGNORE_FILE.into()], ..LeftOut::default() };
    let unknown = Recorded::each(&snapshot.excludes, |rule| {
        match rule {
            Recorded::OneFileSystem | Recorded::NoIgnoreFiles => {}
            Recorded::IgnoreFilesNamed(name) | Recorded::IfPresent(name) => {
                left_out.markers.push(name.as_bytes().to_vec());
            }
            Recorded::Caches => left_out.markers.push(b"CACHEDIR.TAG".to_vec()),
            Recorded::LargerThanBytes(bytes) => left_out.longer_than_bytes = Some(bytes),
            pattern => return pattern.add_pattern(&mut left_out.rules),
        }
        true
    });
    let unknown: Vec<String> = unknown.into_iter().map(|word| safe(word).to_string()).collect();
    if unknown.is_empty() || snapshot.stats.excluded == 0 {
        return Ok(left_out);
    }
    let what = format!(
        "the backup left out {} paths, some by rules that are not known any more ({}); --delete would remove them",
        snapshot.stats.excluded,
        unknown.join(", ")
    );
    Err(Failure::new(Exit::Refused, what).hint(
        "restore into an empty folder, or without --delete; or remove them, too: --delete --delete-excluded",
    ))
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let rules = rules(&args)?;
    let (nearest, spec) = session.open_nearest(&args.snapshot, &args.filter)?;
    let (snapshot, reader) = (&nearest.snapshot, nearest.reader.clone());
    let kept = if args.delete && !args.delete_excluded { Some(Arc::new(left_out(snapshot)?)) } else { None };
    let path = spec.components(snapshot);
    if !path.is_empty() {
        snapspec::entry(&reader, snapshot, &path)?;
    }
    let target = match &args.target {
        Some(target) => target.clone(),
        None => in_place(&reader, snapshot, &path)?,
    };
    let request = RestoreRequest {
        snapshot,
        path,
        target,
        rules: Arc::new(rules),
        overwrite: args.overwrite.into(),
        delete: args.delete,
        kept,
        dry_run: args.dry_run,
        verify: args.verify,
        sync: !args.no_sync,
        numeric_ids: args.numeric_ids,
        workers: processors(),
        memory: session.global.memory,
    };
    let place = &nearest.place;
    let configured = place.thaw.as_ref();
    Thawing { session, location: &place.location, configured, args: &args.thaw }
        .prepare(&reader, &request)?;
    let reporter = Reporter::new(&session.out, &session.cancel).naming_always(args.dry_run);
    let outcome = engine::restore(&reader, &request, &reporter).inspect_err(|_| {
        reporter.finish();
        session.tell_healed(&nearest).ok(); // what ended the restore is the news
    })?;
    let worst = reporter.conclude();
    let healed = session.tell_healed(&nearest)?;
    if outcome.damaged > 0 {
        session.note_damage_in(&nearest, outcome.damaged as usize);
    }
    let exit = exit(&outcome, worst.map_or(Exit::Ok, Exit::from));
    if session.out.json {
        session.out.object(&summary(&args, snapshot, (&outcome, healed), reporter.elapsed()))?;
    } else if !session.out.quiet {
        tell(session, &args, snapshot, &request, &outcome, reporter.elapsed())?;
    }
    Ok(exit)
}

/// How a restore ends that told of this much.
pub(super) fn exit(outcome: &RestoreOutcome, told: Exit) -> Exit {
    match (outcome.damaged, outcome.problems) {
        (1.., _) => Exit::Damage,
        (0, 1..) if told == Exit::Ok => Exit::Partial,
        _ => told,
    }
}

/// What `--include` does not name is left out; `--exclude` comes after it. What is below a path has that
/// path's verdict unless a pattern speaks of it, so leaving out the topmost names leaves out everything.
fn rules(args: &Args) -> Outcome<Rules> {
    let mut rules = Rules::default();
    let wrong = |e: RuleError| Failure::usage("cannot use a pattern").because(e);
    if !(args.include.is_empty() && args.iinclude.is_empty()) {
        rules.exclude(b"/*", "--include", false).map_err(wrong)?;
    }
    for (patterns, any_case) in [(&args.include, false), (&args.iinclude, true)] {
        for pattern in patterns {
            rules.include(pattern.as_bytes(), "--include", any_case).map_err(wrong)?;
        }
    }
    for (patterns, any_case) in [(&args.exclude, false), (&args.iexclude, true)] {
        for pattern in patterns {
            rules.exclude(pattern.as_bytes(), "--exclude", any_case).map_err(wrong)?;
        }
    }
    Ok(rules)
}

/// The target that puts things back where they were: the folder itself for a part, else `/`.
fn in_place(reader: &::repo::reader::Reader, snapshot: &Snapshot, path: &[Vec<u8>]) -> Outcome<PathBuf> {
    let is_stream = path.first().or(snapshot.sources.first()).is_some_and(|first| !first.starts_with(b"/"));
    if is_stream {
        return Err(
            Failure::usage("a stream has no place of its own").hint("name a folder with --target FOLDER")
        );
    }
    if path.is_empty() {
        return Ok(PathBuf::from("/"));
    }
    let mut bytes = snapspec::written(path);
    if snapspec::entry(reader, snapshot, path)?.kind() != Kind::Directory {
        let end = bytes.iter().rposition(|b| *b == b'/').unwrap_or(0);
        bytes.truncate(end.max(1));
    }
    Ok(snapspec::to_path(bytes))
}

fn summary(args: &Args, snapshot: &Snapshot, (o, healed): (&RestoreOutcome, usize), took: Duration) -> Value {
    json!({
        "message_type": "summary", "snapshot_id": snapshot.id.hex(), "dry_run": args.dry_run,
        "seconds_elapsed": took.as_secs(), "total_duration": took.as_secs_f64(),
        "total_files": o.files_restored + o.files_unchanged + o.files_skipped,
        "files_restored": o.files_restored, "files_unchanged": o.files_unchanged, "files_skipped": o.files_skipped,
        "files_deleted": o.deleted, "paths_kept": o.kept, "others_restored": o.others_restored, "files_verified": o.files_verified,
        "total_bytes": o.bytes_selected, "bytes_restored": o.bytes_written, "bytes_fetched": o.bytes_fetched,
        "errors": o.problems, "damaged": o.damaged, "healed": healed,
    })
}

fn tell(
    session: &Session,
    args: &Args,
    snapshot: &Snapshot,
    request: &RestoreRequest<'_>,
    outcome: &RestoreOutcome,
    took: Duration,
) -> Outcome<()> {
    let (out, o) = (&session.out, outcome);
    let (did, written) = match args.dry_run {
        true => ("would restore", "to write"),
        false => ("restored", "written"),
    };
    let target = DisplayName(request.target.as_os_str().as_bytes());
    let (files, others) = (count(o.files_restored, "file"), count(o.others_restored, "other"));
    let bytes = sizes::shown(o.bytes_written);
    let took = time::clock(took);
    out.line(format!("{did} {files} and {others} to {target}: {bytes} {written} in {took}"))?;
    if o.files_unchanged > 0 {
        out.line(counted(o.files_unchanged, "file was", "files were") + " right already")?;
    }
    if o.files_skipped > 0 {
        out.line(counted(o.files_skipped, "file was", "files were") + " left alone (--overwrite)")?;
    }
    if o.deleted > 0 {
        out.line(format!(
            "{} {}",
            count(o.deleted, "path"),
            if args.dry_run { "to delete" } else { "deleted" }
        ))?;
    }
    if o.kept > 0 {
        out.line(format!(
            "{} that the backup left out by its rules (--delete-excluded removes that, too)",
            counted(o.kept, "path stays", "paths stay")
        ))?;
    }
    if o.files_verified > 0 {
        out.line(
            counted(o.files_verified, "file was read back and is", "files were read back and are") + " equal",
        )?;
    }
    if o.problems > 0 {
        out.line(format!("{} could not be restored completely", count(o.problems, "path")))?;
    }
    shorter_form(session, args, snapshot, request);
    Ok(())
}

/// After absolute paths were recreated below a target: how to get what is in them without.
fn shorter_form(session: &Session, args: &Args, snapshot: &Snapshot, request: &RestoreRequest<'_>) {
    let (true, Some(target), [source]) = (request.path.is_empty(), &args.target, &snapshot.sources[..])
    else {
        return;
    };
    if !source.starts_with(b"/") || source.len() < 2 || target == std::path::Path::new("/") {
        return;
    }
    let spec = format!("{}:{}", safe(&args.snapshot.to_string_lossy()), DisplayName(source));
    let target = shell_word(&target.to_string_lossy());
    session.out.info(format!(
        "hint: to put what is in the folder right into the target: lifeboat restore {} --target {target}",
        shell_word(&spec)
    ));
}

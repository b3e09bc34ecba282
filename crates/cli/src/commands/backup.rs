//! `lifeboat backup`: reads sources once and publishes a snapshot of them.

mod copies;
mod described;

use super::init::NewOptions;
use super::rules::{RuleArgs, recorded};
use super::version::PROGRAM;
use crate::counts::count;
use crate::credentials;
use crate::display::{DisplayName, safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::progress::Reporter;
use crate::session::{Session, host_name, processors, seed, user_name};
use crate::snapspec::{Filter, SnapSpec};
use crate::{folders, sizes, time};
use copies::{Target, Targets};
use described::Described;
use engine::backup::{FixedChunkPolicy, choose_parent};
use engine::{BackupOutcome, BackupRequest, Severity, Source};
use format::codec::Level;
use format::keep::Trust;
use format::keys::Capability;
use format::kind::Timestamp;
use format::snapshot::{Mode, Snapshot};
use host::stream::CommandStream;
use host::{WalkOptions, files_from, sources};
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use serde_json::{Value, json};
use service::config::{self, sources::Ransomware};
use service::signals;
use service::writer_state::WriterState;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Back up files and folders
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat backup --init -r /mnt/disk/backup ~          make the repository if there is none
  lifeboat backup ~ --exclude '*.iso' --exclude-caches  leave things out
  lifeboat backup / -x --exclude-file /etc/excludes     one file system
  lifeboat backup -r /mnt/disk/backup -r sftp://nas/backup ~
                                                        two copies, read once; one that is away gets it later
  lifeboat backup --full ~                              read and prove every byte again
  lifeboat backup -s shop                               a source of the configuration, such as a database
  lifeboat backup --stdin-filename db.sql --stdin-from-command -- pg_dump mydb

Exit code 3: the snapshot was made, but some files could not be read; they are named.")]
pub(crate) struct Args {
    /// Files and folders
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<OsString>,

    /// Back up this source of the configuration, to the repositories of its jobs or those of -r
    #[arg(short, long, value_name = "NAME", conflicts_with_all = [
        "sources", "files_from", "files_from_verbatim", "files_from_raw", "stdin", "stdin_from_command",
        "one_file_system", "ignore_inode",
    ])]
    pub(crate) source: Option<String>,

    /// Make the repository if there is none
    #[arg(long)]
    pub(crate) init: bool,
    #[command(flatten)]
    pub(crate) new: NewOptions,

    /// Back up what the patterns in this file stand for, one a line (- for standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Vec<PathBuf>,
    /// Back up the paths in this file, one a line, exactly as written
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from_verbatim: Vec<PathBuf>,
    /// Back up the paths in this file, each followed by a NUL (find -print0)
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from_raw: Vec<PathBuf>,
    /// Back up standard input
    #[arg(long, conflicts_with = "stdin_from_command")]
    pub(crate) stdin: bool,
    /// Back up the output of the command that stands behind `--`; if it fails there is no snapshot
    #[arg(long)]
    pub(crate) stdin_from_command: bool,
    /// Name of the stream in the snapshot
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(crate) stdin_filename: String,

    /// Stay on the file systems of the sources
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,

    /// Read every byte again and prove that everything is stored
    #[arg(long, visible_alias = "force", group = "mode")]
    pub(crate) full: bool,
    /// Trust the metadata of the newest snapshot of the same source [default]
    #[arg(long, group = "mode")]
    pub(crate) incremental: bool,
    /// Trust the metadata of the newest full snapshot of the same source
    #[arg(long, group = "mode")]
    pub(crate) differential: bool,
    /// Compare with this snapshot [default: the newest of the same machine and source]
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) parent: Option<OsString>,
    /// Compare neither inode numbers nor change times (some network file systems make them up)
    #[arg(long)]
    pub(crate) ignore_inode: bool,
    /// Make no snapshot if nothing changed
    #[arg(long)]
    pub(crate) skip_if_unchanged: bool,
    /// Read and report, but store nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Add a tag; separate several by commas
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',')]
    pub(crate) tag: Vec<String>,
    /// Name of the machine in the snapshot [default: its host name]
    #[arg(short = 'H', long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Time of the snapshot [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<String>,
    /// A text to remember with the snapshot
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) description: String,
    /// Compression level of zstd
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) compression: i32,
    /// Files read at the same time [default: found out while it runs, from 1 to 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) read_concurrency: Option<u16>,
    /// Packs on their way at the same time to a distant place, as far as --memory allows
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) upload_concurrency: u16,

    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}

/// Files read at the same time where each costs a round trip and nothing else is slower.
const READERS_MAX: usize = 32;

/// What is read, and how.
struct What {
    source: Source,
    rules: Arc<host::Rules>,
    excludes: Vec<String>,
    walk: WalkOptions,
    ignore_inode: bool,
    frozen: Option<host::freeze::Frozen>,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let described = args.source.as_ref().map(|name| Described::find(session, name, &args)).transpose()?;
    let session = described.as_ref().map_or(session, |described| &described.session);
    let start = time::now();
    let named = match described {
        Some(_) => None,
        None => Some(what(session, &args)?),
    };
    let mut targets = open(session, &args)?;
    let ended = run_on(session, &args, &mut targets, described.as_ref(), named, start);
    // However it ended: a repository that was made has a recovery key, and this is the only time to see it.
    targets.tell_keys(session);
    ended
}

fn run_on(
    session: &Session,
    args: &Args,
    targets: &mut Targets,
    described: Option<&Described>,
    named: Option<What>,
    start: Timestamp,
) -> Outcome<Exit> {
    if targets.open.iter().any(|target| target.opened.repo.capability() != Capability::Owner) {
        return Err(Failure::new(Exit::Refused, "this key may not back up: it is not an owner's"));
    }
    let list = list(session, targets.lead())?;
    let mut what = match (named, described) {
        (Some(named), _) => named,
        (None, Some(described)) => described.capture(&list)?,
        (None, None) => unreachable!("one of them is there"),
    };
    let frozen = what.frozen.take();
    let readers = targets.readers()?;
    let mut request = request(session, args, what, described, start)?;
    choose_mode(session, args, &list, described, &mut request)?;
    let state = open_state(session, args.dry_run)?;
    let family = targets.lead().opened.repo.identity().family;
    if let Some(state) = &state {
        request.writer = state.writer;
        request.previous = state.previous(&family);
    }
    let (mode, before) = (request.mode, request.parent.clone());
    let reporter = Reporter::new(&session.out, &session.cancel);
    let outcome = engine::backup_to(&readers, request, &reporter).inspect_err(|_| reporter.finish());
    service::runner::release(frozen, &session.opener());
    let outcome = outcome?;
    if let (Some(state), Some(snapshot)) = (&state, &outcome.snapshot) {
        let kept = state.remember(&family, snapshot.sequence, &outcome.record_hash);
        kept.unwrap_or_else(|e| session.out.warn(format!("cannot remember the snapshot's number: {e}")));
    }
    for (target, _) in targets.open.iter().zip(&outcome.copies).filter(|(_, copy)| copy.is_there()) {
        remember(session, args, target, &outcome);
    }
    let worst = reporter.conclude();
    tell_missing(session, &outcome);
    tell_empty(session, &outcome);
    tell_signs(session, before.as_ref(), &outcome);
    let shrunk = described.is_some_and(|described| described.tell_shrunk(&list, &outcome));
    let exit = match exit(&outcome, worst) {
        Exit::Ok if shrunk => Exit::Partial,
        Exit::Ok => targets.exit(&outcome.copies).unwrap_or(Exit::Ok),
        exit => exit,
    };
    if session.out.json {
        let mut object = summary(args, &outcome, mode, start, reporter.elapsed(), exit);
        object["copies"] = targets.objects(&outcome.copies).into();
        session.out.object(&object)?;
    } else if !session.out.quiet {
        tell(session, args, targets, &outcome, mode, reporter.elapsed())?;
    }
    let there = targets.open.iter().zip(&outcome.copies).find(|(_, copy)| copy.is_there());
    if let (Some((target, _)), Some(snapshot)) = (there, &outcome.snapshot) {
        super::names::follow(session, &target.opened, snapshot);
    }
    Ok(exit)
}

/// The snapshots that are there.
fn list(session: &Session, lead: &Target) -> Outcome<SnapshotList> {
    let list = session.opener().snapshots(&lead.place, &lead.opened.repo)?;
    for (id, e) in &list.unreadable {
        session.out.warn(format!("snapshot {} cannot be read: {e}", &id.hex()[..8]));
    }
    Ok(list)
}

/// What this machine, and the repository, should know of a snapshot that was made.
fn remember(session: &Session, args: &Args, target: &Target, outcome: &BackupOutcome) {
    let Some(snapshot) = &outcome.snapshot else { return };
    if args.time.is_some() {
        // An owner chose this time on purpose; without a word for it, retention would go by the receipt.
        let (id, record) = (snapshot.id, outcome.record_hash);
        let word = Trust { snapshot: id, record, time: true, contents: false, made: time::now() };
        super::trust::confirm_own(session, &target.opened.repo, &word);
    }
    session.remember_head(&target.opened.repo, snapshot);
}

fn open(session: &Session, args: &Args) -> Outcome<Targets> {
    Targets::open(session, args).map_err(|failure| match (failure.exit, session.location()) {
        (Exit::NoRepository, Ok(place)) => {
            let place = place.to_string();
            failure.hint(format!("lifeboat backup --init -r {} SOURCE...", shell_word(&place)))
        }
        _ => failure,
    })
}

fn exit(outcome: &BackupOutcome, worst: Option<Severity>) -> Exit {
    match worst.map_or(Exit::Ok, Exit::from) {
        Exit::Ok if !outcome.missing_sources.is_empty() || outcome.stats.faults > 0 => Exit::Partial,
        exit => exit,
    }
}

/// What this installation is as a writer. A dry run leaves nothing behind, not even that.
pub(super) fn open_state(session: &Session, dry_run: bool) -> Outcome<Option<WriterState>> {
    if dry_run {
        return Ok(None);
    }
    match WriterState::open(folders::folders().state, credentials::random()?) {
        Ok(state) => Ok(Some(state)),
        Err(e) => {
            session.out.warn(format!("cannot keep the state of this installation: {e}"));
            Ok(None)
        }
    }
}

fn request(
    session: &Session,
    args: &Args,
    what: What,
    described: Option<&Described>,
    now: Timestamp,
) -> Outcome<BackupRequest> {
    let readers = args.read_concurrency.map_or_else(|| (2 * processors().0).min(16), usize::from);
    let host = described.map_or_else(host_name, Described::host);
    let tags = described.map(Described::tags).into_iter().flatten().chain(args.tag.iter().cloned());
    let description = match (&*args.description, described) {
        ("", Some(described)) => described.description(),
        (written, _) => written.to_string(),
    };
    Ok(BackupRequest {
        source: what.source,
        rules: what.rules,
        excludes: what.excludes,
        walk: WalkOptions { report_excluded: session.out.verbose > 1, ..what.walk },
        mode: Mode::Incremental,
        parent: None,
        base: None,
        host: args.host.clone().unwrap_or(host),
        user: user_name(),
        tags: tags.collect(),
        description,
        time: args.time.as_deref().map(time::parse).transpose()?.unwrap_or(now),
        clock: Arc::new(time::now),
        writer: format::id::WriterId(credentials::random()?),
        previous: None,
        seed: seed()?,
        level: Level(args.compression),
        read_workers: Workers(readers),
        read_workers_max: args.read_concurrency.map_or(READERS_MAX, |_| readers),
        seal_workers: processors(),
        upload_workers: Workers(args.upload_concurrency.into()),
        memory: session.global.memory,
        fixed_chunks: FixedChunkPolicy::default(),
        ignore_inode: what.ignore_inode,
        dry_run: args.dry_run,
        skip_if_unchanged: args.skip_if_unchanged,
        program: PROGRAM.to_string(),
    })
}

/// Mode, parent and base. The first snapshot of a source reads everything, so it is a full one.
fn choose_mode(
    session: &Session,
    args: &Args,
    list: &SnapshotList,
    described: Option<&Described>,
    request: &mut BackupRequest,
) -> Outcome<()> {
    request.mode = match (args.full, args.differential) {
        (true, _) => Mode::Full,
        (_, true) => Mode::Differential,
        _ => Mode::Incremental,
    };
    let names = request.source.names();
    let by_name = described.and_then(|described| described.parent(list, &request.host, request.mode));
    request.parent = match &args.parent {
        Some(spec) => Some(SnapSpec::parse(spec)?.find(list, &Filter::default())?.clone()),
        None => {
            by_name.or_else(|| choose_parent(list.visible(), &request.host, &names, request.mode)).cloned()
        }
    };
    if request.parent.is_none() && request.mode != Mode::Full {
        if request.mode == Mode::Differential {
            session.out.info("there is no full snapshot of this source yet: this becomes one");
        }
        request.mode = Mode::Full;
    }
    Ok(())
}

/// What the command line names.
fn what(session: &Session, args: &Args) -> Outcome<What> {
    let mut excludes = args.rules.written();
    excludes.extend(args.one_file_system.then(|| recorded::ONE_FILE_SYSTEM.to_string()));
    let walk = WalkOptions { one_file_system: args.one_file_system, ..WalkOptions::default() };
    let source = source(session, args)?;
    if let Source::Paths(paths) = &source {
        args.rules.doubts(paths).into_iter().for_each(|doubt| session.out.warn(doubt));
    }
    Ok(What {
        source,
        rules: Arc::new(args.rules.rules()?),
        excludes,
        walk,
        ignore_inode: args.ignore_inode,
        frozen: None,
    })
}

fn source(session: &Session, args: &Args) -> Outcome<Source> {
    if args.stdin || args.stdin_from_command {
        return stream(session, args);
    }
    let folder = std::env::current_dir().map_err(|e| local("cannot find the current folder", e))?;
    let mut given: Vec<PathBuf> = args.sources.iter().map(PathBuf::from).collect();
    for (files, read) in [
        (&args.files_from, None),
        (&args.files_from_verbatim, Some(files_from::verbatim as fn(&[u8]) -> _)),
        (&args.files_from_raw, Some(files_from::raw as fn(&[u8]) -> _)),
    ] {
        for file in files {
            let contents = read_list(file)?;
            let paths = read.map_or_else(|| files_from::patterns(&contents, &folder), |read| read(&contents));
            given.extend(
                paths.map_err(|e| Failure::usage(format!("cannot use {}", file.display())).because(e))?,
            );
        }
    }
    if given.is_empty() {
        return Err(Failure::usage("nothing is named to back up").hint("lifeboat backup -r PLACE SOURCE..."));
    }
    // A path that does not exist stays as it is: the walk names it.
    let full = |path: &PathBuf| sources::absolute(&folder, path).unwrap_or_else(|_| folder.join(path));
    let mut paths: Vec<PathBuf> = given.iter().map(full).collect();
    paths.sort();
    paths.dedup();
    Ok(Source::Paths(paths))
}

fn read_list(file: &Path) -> Outcome<Vec<u8>> {
    let read = if file == Path::new("-") {
        let mut contents = Vec::new();
        std::io::stdin().lock().read_to_end(&mut contents).map(|_| contents)
    } else {
        std::fs::read(file)
    };
    read.map_err(|e| local(format!("cannot read {}", file.display()), e))
}

fn stream(session: &Session, args: &Args) -> Outcome<Source> {
    let name = args.stdin_filename.trim_start_matches('/').to_string();
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(Failure::usage(format!("{:?} is not the name of a stream: it is one name", safe(&name))));
    }
    let lists = [&args.files_from, &args.files_from_verbatim, &args.files_from_raw];
    if lists.iter().any(|list| !list.is_empty()) || (args.stdin && !args.sources.is_empty()) {
        return Err(Failure::usage("a stream is backed up alone, without paths"));
    }
    if args.stdin {
        return Ok(Source::Stream { name, reader: Box::new(std::io::stdin()) });
    }
    if args.sources.is_empty() {
        return Err(Failure::usage("the command is missing")
            .hint("lifeboat backup --stdin-from-command -- COMMAND ARGUMENT..."));
    }
    let out = session.out.clone();
    let on_message = move |line: &[u8]| out.message(DisplayName(line));
    let started = CommandStream::start(&args.sources, &[], on_message);
    let command = started.map_err(|e| local(format!("cannot start {}", args.sources[0].display()), e))?;
    Ok(Source::Stream { name, reader: Box::new(command) })
}

/// What looks like the work of an encryptor, by the usual limits.
fn tell_signs(session: &Session, before: Option<&Snapshot>, outcome: &BackupOutcome) {
    let Some(before) = before else { return };
    let observed = signals::observe(before, &outcome.stats, outcome.signs);
    for why in signals::judge(&observed, &Ransomware::default()) {
        session.out.warn(format!(
            "this looks as if the files were attacked: {why}; older snapshots are as they were"
        ));
    }
}

/// Nothing at all to save is more often a mistake than meant: a drive that is not mounted, rules that leave out all.
fn tell_empty(session: &Session, outcome: &BackupOutcome) {
    let s = &outcome.stats;
    if s.files_new + s.files_changed + s.files_unmodified + s.others == 0
        && outcome.missing_sources.is_empty()
    {
        let why = if s.excluded > 0 {
            "rules leave out everything in it"
        } else {
            "is it the right folder, and mounted?"
        };
        session.out.warn(format!("not one file was found: {why}"));
    }
}

/// For people; programs have heard of it as of any path that cannot be opened.
fn tell_missing(session: &Session, outcome: &BackupOutcome) {
    for (path, why) in outcome.missing_sources.iter().filter(|_| !session.out.json) {
        let name = DisplayName(path.as_os_str().as_encoded_bytes());
        session.out.warn(format!("the source {name} is not there: {}", safe(why)));
    }
}

/// restic's field names, and more.
fn summary(
    args: &Args,
    outcome: &BackupOutcome,
    mode: Mode,
    start: Timestamp,
    took: Duration,
    exit: Exit,
) -> Value {
    let s = &outcome.stats;
    let files = s.files_new + s.files_changed + s.files_unmodified;
    let result = match (exit, &outcome.snapshot) {
        (Exit::Ok, None) if !args.dry_run => "skipped",
        (Exit::Ok, _) => "success",
        _ => "partial",
    };
    let mut object = json!({
        "message_type": "summary", "result": result, "dry_run": args.dry_run,
        "files_new": s.files_new, "files_changed": s.files_changed, "files_unmodified": s.files_unmodified,
        "dirs_new": s.dirs_new, "dirs_changed": s.dirs_changed, "dirs_unmodified": s.dirs_unmodified,
        "others": s.others, "excluded": s.excluded, "errors": s.faults.max(outcome.missing_sources.len() as u64),
        "data_blobs": outcome.written.blobs, "data_added": s.added_bytes,
        "data_added_packed": outcome.written.packed_bytes, "bytes_stored": s.stored_bytes,
        "bytes_new": s.new_bytes,
        "total_files_processed": files, "total_bytes_processed": s.source_bytes,
        "backup_start": time::rfc3339(start), "backup_end": time::rfc3339(time::now()),
        "total_duration": took.as_secs_f64(), "mode": mode.as_str(),
    });
    if let Some(snapshot) = &outcome.snapshot {
        object["snapshot_id"] = snapshot.id.hex().into();
        object["base"] = snapshot.base.map(|id| id.hex()).into();
        object["parent"] = snapshot.parent.map(|id| id.hex()).into();
    }
    object
}

fn tell(
    session: &Session,
    args: &Args,
    targets: &Targets,
    outcome: &BackupOutcome,
    mode: Mode,
    took: Duration,
) -> Outcome<()> {
    let (out, s) = (&session.out, &outcome.stats);
    let files = s.files_new + s.files_changed + s.files_unmodified;
    let would = if args.dry_run { "would be " } else { "" };
    out.line(format!(
        "files    {} new, {} changed, {} unmodified",
        s.files_new, s.files_changed, s.files_unmodified
    ))?;
    out.line(format!(
        "folders  {} new, {} changed, {} unmodified",
        s.dirs_new, s.dirs_changed, s.dirs_unmodified
    ))?;
    let (added, stored) = (sizes::shown(s.added_bytes), sizes::shown(s.stored_bytes));
    out.line(format!("added    {added} ({stored} {would}stored)"))?;
    let (bytes, took) = (sizes::shown(s.source_bytes), time::clock(took));
    out.line(format!("read     {}, {bytes} in {took} ({})", count(files, "file"), mode.as_str()))?;
    match &outcome.snapshot {
        Some(snapshot) => {
            targets.tell(session, &outcome.copies)?;
            let is_output = s.dirs_new + s.dirs_changed + s.dirs_unmodified == 0;
            saved(session, targets, snapshot, is_output, is_of_files(session, args))
        }
        None if args.dry_run => {
            targets.tell_absent(session);
            out.line("nothing was stored: this was a dry run")
        }
        None => out.line("nothing changed: no snapshot was made"),
    }
}

/// Whether the source of the configuration that was backed up comes back as files although it has no path.
fn is_of_files(session: &Session, args: &Args) -> bool {
    let loaded = session.loaded().ok().flatten();
    let described = args.source.as_ref().zip(loaded.as_ref());
    described.is_some_and(|(name, loaded)| {
        matches!(loaded.config.sources.get(name), Some(config::Source::Block(_) | config::Source::System(_)))
    })
}

fn saved(
    session: &Session,
    targets: &Targets,
    snapshot: &Snapshot,
    is_output: bool,
    is_of_files: bool,
) -> Outcome<()> {
    session.out.line(format!("snapshot {} saved", snapshot.short_id()))?;
    let place = targets.lead().place.shown();
    let place = shell_word(&place);
    let id = snapshot.short_id();
    match snapshot.sources.first() {
        Some(source) if source.starts_with(b"/") || is_of_files => {
            session.out.info(format!("bring it back with: lifeboat -r {place} restore {id} --target FOLDER"));
        }
        _ if is_output => session.out.info(format!("bring it back with: lifeboat -r {place} dump {id}")),
        _ => session.out.info(format!("bring it back with: lifeboat -r {place} restore-db {id}")),
    }
    Ok(())
}

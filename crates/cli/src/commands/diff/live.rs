//! The live side of a comparison: the files of this machine below the sources of a snapshot, under the rules that it
//! recorded, told as changes from the snapshot to them or back.

use super::{Args, Sums, one, path_in, summary};
use crate::commands::rules::recorded::Chosen;
use crate::commands::version::PROGRAM;
use crate::counts::count;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::progress::Reporter;
use crate::session::{Session, host_name, processors, seed, user_name};
use crate::snapspec::{SnapSpec, to_path};
use crate::{credentials, time};
use ::repo::browse::Change;
use ::repo::erasures::ErasedHistory;
use engine::backup::FixedChunkPolicy;
use engine::{BackupRequest, Monitor, Note, Progress, Source};
use format::codec::Level;
use format::id::WriterId;
use format::snapshot::{Mode, Snapshot};
use format::tree::KeyPath;
use host::WalkOptions;
use repo::workers::Workers;
use std::path::PathBuf;
use std::sync::Arc;

/// What stands for the files as they are now in the place of a snapshot.
pub(super) const LIVE: &str = "live";

/// Which way is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    FromSnapshot,
    ToSnapshot,
}

/// The reporter without a line for every path: the changes are told here.
struct Quiet<'r>(&'r Reporter);

impl Monitor for Quiet<'_> {
    fn progress(&self, progress: &Progress) {
        self.0.progress(progress);
    }
    fn note(&self, note: &Note) {
        self.0.note(note);
    }
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

pub(super) fn run(session: &Session, args: &Args, spec: &SnapSpec, direction: Direction) -> Outcome<Exit> {
    let opened = session.open()?;
    let list = session.snapshots(&opened.repo)?;
    let snapshot = spec.find(&list, &args.filter)?;
    let request = request(session, snapshot)?;
    if !session.is_this_machine(&snapshot.host)? {
        let (theirs, ours) = (safe(&snapshot.host).to_string(), safe(&session.machine()?).to_string());
        session.out.warn(format!("the snapshot is of the machine {theirs}, and this one is {ours}"));
    }
    let reader = opened.reader()?;
    let part = path_in(args, snapshot);
    let history = ErasedHistory::read(&opened.repo)?;
    let erased = history.of(snapshot);
    let is_file = |key: &[u8]| KeyPath::parse(key).is_ok_and(|path| path.display_bytes().starts_with(b"/"));
    let wanted = |key: &[u8]| is_file(key) && !erased.covers_key(key);
    let reporter = Reporter::new(&session.out, &session.cancel);
    let (mut sums, mut told) = (Sums::default(), Ok(()));
    let mut visit = |key: &[u8], change: Change<'_>| {
        if told.is_ok() {
            told = one(session, args, &mut sums, key, directed(change, direction));
        }
        Ok(())
    };
    let quiet = Quiet(&reporter);
    let compared = engine::compare_live(&reader, request, &quiet, part.as_deref(), &wanted, &mut visit);
    compared.inspect_err(|_| reporter.finish())?;
    let worst = reporter.conclude();
    told?;
    let names = match direction {
        Direction::FromSnapshot => (snapshot.id.hex(), LIVE.into()),
        Direction::ToSnapshot => (LIVE.into(), snapshot.id.hex()),
    };
    summary(session, &sums, &names)?;
    Ok(worst.map_or(Exit::Ok, Exit::from))
}

fn directed(change: Change<'_>, direction: Direction) -> Change<'_> {
    match (direction, change) {
        (Direction::FromSnapshot, change) => change,
        (Direction::ToSnapshot, Change::Added(entry)) => Change::Removed(entry),
        (Direction::ToSnapshot, Change::Removed(entry)) => Change::Added(entry),
        (Direction::ToSnapshot, Change::Changed(old, new)) => Change::Changed(new, old),
    }
}

/// A backup of the same sources under the same rules, with the snapshot as its parent.
fn request(session: &Session, snapshot: &Snapshot) -> Outcome<BackupRequest> {
    let Chosen { rules, one_file_system, unknown } = Chosen::read(&snapshot.excludes);
    if !unknown.is_empty() && snapshot.stats.excluded > 0 {
        let known = unknown.iter().map(|word| safe(word).to_string()).collect::<Vec<_>>().join(", ");
        session.out.warn(format!(
            "{} cannot be applied any more; what the backup left out by it looks new: {known}",
            count(unknown.len() as u64, "rule")
        ));
    }
    let now = time::now();
    Ok(BackupRequest {
        source: Source::Paths(sources(snapshot)?),
        rules: Arc::new(rules),
        excludes: Vec::new(),
        walk: WalkOptions { one_file_system, ..WalkOptions::default() },
        mode: Mode::Incremental,
        parent: Some(snapshot.clone()),
        base: None,
        host: host_name(),
        user: user_name(),
        tags: Vec::new(),
        description: String::new(),
        time: now,
        clock: Arc::new(time::now),
        writer: WriterId(credentials::random()?),
        previous: None,
        seed: seed()?,
        level: Level(1), // what is read is compared and thrown away
        read_workers: Workers((2 * processors().0).min(16)),
        read_workers_max: 16,
        seal_workers: processors(),
        upload_workers: Workers(1),
        memory: session.global.memory,
        fixed_chunks: FixedChunkPolicy::default(),
        ignore_inode: false,
        dry_run: true,
        skip_if_unchanged: false,
        program: PROGRAM.to_string(),
    })
}

/// The sources that are files of a machine.
fn sources(snapshot: &Snapshot) -> Outcome<Vec<PathBuf>> {
    let paths = snapshot.sources.iter().filter(|source| source.starts_with(b"/"));
    let paths: Vec<PathBuf> = paths.map(|source| to_path(source.clone())).collect();
    if paths.is_empty() {
        let id = snapshot.short_id();
        let what = format!("snapshot {id} has no live side: it is of no files and folders");
        let hint = format!("compare it with another snapshot of the same source: lifeboat diff OLDER {id}");
        return Err(Failure::usage(what).hint(hint));
    }
    Ok(paths)
}

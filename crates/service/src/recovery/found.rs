//! What can come back: for each source the newest good snapshot, how much it is, and how long it takes.

use super::order::order;
use crate::config::sources::PostgresMode;
use crate::config::{Config, Source};
use crate::known::Known;
use crate::stored_config;
use crate::watching;
use engine::retention::Doubt;
use format::id::{BlobKind, SnapshotId};
use format::kind::{Kind, Timestamp};
use format::snapshot::Snapshot;
use format::tree::Extent;
use repo::RepoResult;
use repo::browse;
use repo::reader::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// Something that can come back.
#[derive(Clone, Debug)]
pub struct Back {
    /// The source's name in the configuration, else its machine and paths.
    pub name: String,
    /// Its kind: `files`, `postgres` ...
    pub kind: String,
    /// The snapshot it comes from; none where there is no copy of it here.
    pub snapshot: Option<Snapshot>,
    /// A newer snapshot that is passed over, and what speaks against it.
    pub passed_over: Option<String>,
    /// Why it has this place in the order.
    pub why: String,
    /// It must be back within so many seconds.
    pub rto: Option<f64>,
}

impl Back {
    /// Bytes that come back.
    pub fn bytes(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |s| s.stats.source_bytes)
    }

    /// Files that come back.
    pub fn files(&self) -> u64 {
        self.snapshot
            .as_ref()
            .map_or(0, |s| s.stats.files_new + s.stats.files_changed + s.stats.files_unmodified)
    }
}

/// Which snapshots are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until(pub Option<Timestamp>);

impl Until {
    fn accepts(self, snapshot: &Snapshot) -> bool {
        self.0.is_none_or(|until| snapshot.time <= until)
    }
}

/// Everything a configuration names, in the order of recovery.
pub fn of_configuration(
    config: &Config,
    machine: &str,
    home: &Path,
    known: &Known,
    until: Until,
) -> Vec<Back> {
    let doubts = known.doubts();
    let placed = order(config).into_iter().map(|placed| {
        let source = &config.sources[placed.name];
        let of_it =
            |s: &Snapshot| until.accepts(s) && watching::belongs(config, machine, home, placed.name, s);
        let (snapshot, passed_over) = newest(known, &doubts, of_it);
        Back {
            name: placed.name.to_string(),
            kind: source.kind().to_string(),
            snapshot,
            passed_over,
            why: placed.why,
            rto: source.common().rto.map(|rto| rto.0.as_secs_f64()),
        }
    });
    placed.collect()
}

/// Everything there is, where no configuration says what it is: by machine and paths, the newest first.
pub fn without_configuration(known: &Known, until: Until) -> Vec<Back> {
    let doubts = known.doubts();
    let visible = || known.list.visible().filter(|s| until.accepts(s) && !stored_config::is_one(s));
    let sources: BTreeSet<(&String, &Vec<Vec<u8>>)> = visible().map(|s| (&s.host, &s.sources)).collect();
    let mut found: Vec<Back> = sources
        .into_iter()
        .map(|(host, paths)| {
            let of_it = |s: &Snapshot| until.accepts(s) && s.host == *host && s.sources == *paths;
            let (snapshot, passed_over) = newest(known, &doubts, of_it);
            let shown: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
            let is_files = paths.iter().all(|path| path.starts_with(b"/"));
            Back {
                name: format!("{host}:{}", shown.join(",")),
                kind: if is_files { "files".into() } else { "command".into() },
                snapshot,
                passed_over,
                why: String::new(),
                rto: None,
            }
        })
        .collect();
    found.sort_by_key(|back| std::cmp::Reverse(back.snapshot.as_ref().map(|s| s.time)));
    found
}

/// The newest good snapshot, else the newest; and what speaks against a newer one that is passed over.
fn newest(
    known: &Known,
    doubts: &BTreeMap<SnapshotId, Vec<Doubt>>,
    of_it: impl Fn(&Snapshot) -> bool,
) -> (Option<Snapshot>, Option<String>) {
    let mine: Vec<&Snapshot> = known.list.visible().filter(|s| of_it(s)).collect();
    let against = |s: &Snapshot| -> Option<String> {
        if known.is_damaged(&s.id) {
            return Some("it is damaged".into());
        }
        // One that lacks a few unreadable files is still the newest work.
        doubts.get(&s.id).and_then(|all| all.first()).map(|doubt| doubt.to_string())
    };
    let by_time = |s: &&&Snapshot| s.time;
    let good = mine.iter().filter(|s| against(s).is_none()).max_by_key(by_time);
    let newest = mine.iter().max_by_key(by_time);
    let passed = newest.filter(|n| good.is_some_and(|g| g.id != n.id));
    let said = passed.and_then(|n| Some(format!("{}: {}", n.short_id(), against(n)?)));
    (good.or(newest).map(|s| (*s).clone()), said)
}

/// Bytes read to measure how fast a place gives.
const MEASURE_BYTES: u64 = 32 << 20;
/// Measuring takes no longer.
const MEASURE_TIME: Duration = Duration::from_secs(3);

/// Bytes per second that a place gives, measured by reading files of a snapshot; `None` where it holds none worth
/// reading. One reader at a time: a restore uses several and is seldom slower.
pub fn measure(
    reader: &Reader,
    snapshot: &Snapshot,
    clock: &dyn Fn() -> Duration,
) -> RepoResult<Option<f64>> {
    let begin = clock();
    let mut read = 0u64;
    let result = browse::visit_range(reader, snapshot.root, &[], &mut |_, entry| {
        if entry.kind() != Kind::File || entry.size_bytes == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        for extent in browse::extents(reader, entry)? {
            let Extent::Data { id, .. } = extent else { continue };
            read += reader.read(BlobKind::Data, &id)?.len() as u64;
            if read >= MEASURE_BYTES || clock() - begin >= MEASURE_TIME {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    });
    match result {
        Err(e) if !e.is_damage() => return Err(e),
        _ => {}
    }
    let seconds = (clock() - begin).as_secs_f64();
    Ok((read > 0 && seconds > 0.0).then(|| read as f64 / seconds))
}

/// How something comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// As files, to where they were or into a folder.
    Files,
    /// Into the server, or by the command, that the configuration names.
    Database,
    /// By this command, which somebody must complete.
    ByHand(String),
}

/// How a source comes back, from the repository that is called `place` in commands.
pub fn how(config: Option<&Config>, back: &Back, place: &str) -> How {
    let id = back.snapshot.as_ref().map(Snapshot::short_id).unwrap_or_default();
    let files = || How::ByHand(format!("lifeboat restore {id} -r {place} --target FOLDER"));
    match config.map(|c| &c.sources[&back.name]) {
        Some(Source::Files(_)) => How::Files,
        Some(Source::Command(command)) if command.restore_command.is_empty() => {
            How::ByHand(format!("lifeboat dump {id} -r {place} | COMMAND"))
        }
        Some(Source::Postgres(postgres)) if postgres.mode == PostgresMode::Physical => {
            How::ByHand(format!("lifeboat restore-db {id} -r {place} --into FOLDER"))
        }
        Some(Source::System(_) | Source::Block(_)) => files(),
        Some(_) => How::Database,
        None if back.kind == "files" => How::Files,
        None => files(),
    }
}

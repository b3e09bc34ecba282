//! Saves a folder into a fresh local repository and restores it, and says how long both took.
//!
//! `cargo run --release -p engine --example restore_speed -- SOURCE SCRATCH [WORKERS]`; the scratch folder
//! must not exist and is left with `repo` and `target` in it.

use engine::{BackupRequest, RestoreRequest, Silent, Source, backup, restore};
use format::codec::Level;
use format::config::Parameters;
use format::kind::Timestamp;
use repo::RepoResult;
use repo::cache::Cache;
use repo::reader::Reader;
use repo::workers::Workers;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use storage::{LocalOptions, LocalStore};
use testkit::disk::{backup_request, components, restore_request};
use testkit::world::create_in;

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

/// Processor time of this process so far: its own and the kernel's, in hundredths of a second.
fn processor_time() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |n: usize| fields.get(n).and_then(|text| text.parse().ok()).unwrap_or(0);
    (field(11), field(12))
}

/// Good enough for a repository that nobody keeps.
fn seed() -> [u8; 32] {
    let now = now();
    *blake3::hash(&[now.secs.to_le_bytes(), (now.nanos as i64).to_le_bytes()].concat()).as_bytes()
}

fn memory_peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_string()
}

#[allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]
fn main() -> RepoResult<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (source, scratch) = (PathBuf::from(&arguments[0]), PathBuf::from(&arguments[1]));
    let workers = Workers(arguments.get(2).map_or(2, |n| n.parse().expect("a number of workers")));
    let options = LocalOptions { create_root: true, ..Default::default() };
    let store =
        Arc::new(LocalStore::open(&scratch.join("repo"), &options).expect("the scratch folder opens"));
    let repo = Arc::new(create_in(store, now().secs as u64, Parameters::default())?);
    let reader = Arc::new(Reader::open(repo, Cache::at(scratch.join("cache")))?);
    let request = BackupRequest {
        clock: Arc::new(now),
        level: Level(3),
        read_workers: Workers(2),
        seal_workers: Workers(2),
        upload_workers: Workers(1),
        ..backup_request(Source::Paths(vec![source.clone()]), now(), seed())
    };
    let begun = Instant::now();
    let snapshot = backup(&reader, request, &Silent)?.snapshot.expect("a snapshot was made");
    println!("backup {:.2} s, {}", begun.elapsed().as_secs_f64(), memory_peak());
    // The peak of the restore alone.
    std::fs::write("/proc/self/clear_refs", "5").ok();
    let request = RestoreRequest {
        numeric_ids: false,
        ..restore_request(&snapshot, components(&source), &scratch.join("target"), workers)
    };
    for run in ["restore", "again"] {
        let (begun, before) = (Instant::now(), processor_time());
        let outcome = restore(&reader, &request, &Silent)?;
        let (wall, after) = (begun.elapsed().as_secs_f64(), processor_time());
        let (own, kernel) = ((after.0 - before.0) as f64 / 100.0, (after.1 - before.1) as f64 / 100.0);
        println!("{run} {wall:.2} s (processor {own:.2} + {kernel:.2}), {}, {outcome:?}", memory_peak());
    }
    Ok(())
}

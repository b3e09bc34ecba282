//! The log and erasures: chained, named when they are lost or changed, and free of locks.

use format::erase::Erasure;
use format::id::{ErasureId, SnapshotId};
use format::keys::Key;
use format::kind::Timestamp;
use format::log::LogKind;
use format::tree::PathKey;
use repo::erasures::{self, Erasures};
use repo::log::{Log, NewRecord, append};
use repo::seed::Seed;
use repo::{Repo, names, tools};
use std::ops::ControlFlow;
use storage::{PutMode, Store};
use testkit::world::World;

fn seed(n: u8) -> Seed {
    Seed::new([n; 32])
}

fn record(subject: &str) -> NewRecord<'_> {
    NewRecord {
        kind: LogKind::Action,
        time: Timestamp { secs: 5, nanos: 0 },
        machine: "atlas",
        user: "me",
        subject,
        body: "{}".into(),
    }
}

fn log_objects(repo: &Repo) -> Vec<storage::ObjectName> {
    let mut found = Vec::new();
    repo.list(names::LOG, |info| {
        found.push(info.name);
        ControlFlow::Continue(())
    })
    .unwrap();
    found.sort();
    found
}

#[test]
fn the_log_is_a_chain_that_forks_and_joins() {
    let world = World::new(1);
    let repo = world.open().unwrap();
    let key = Key::new([4; 32]);
    let first = append(&repo, record("forget"), &key, &mut seed(1)).unwrap();
    append(&repo, record("prune"), &key, &mut seed(2)).unwrap();
    let log = Log::read(&repo).unwrap();
    assert_eq!(log.records[1].record.entry.previous, [first]);
    assert_eq!(log.heads(), [log.records[1].hash]);
    // Two machines read the log at once, then both write: what the second put is taken away for a moment.
    let names = log_objects(&repo);
    let second = world.sim.get(&names[1], 1 << 20).unwrap();
    world.sim.delete(&names[1]).unwrap();
    append(&repo, record("hold"), &Key::new([5; 32]), &mut seed(3)).unwrap();
    world.sim.put(&names[1], &second, PutMode::CreateNew).unwrap();
    let log = Log::read(&repo).unwrap();
    assert!(log.is_whole());
    assert_eq!(log.heads().len(), 2);
    append(&repo, record("trust"), &key, &mut seed(4)).unwrap();
    let log = Log::read(&repo).unwrap();
    assert_eq!((log.heads().len(), log.records.len()), (1, 4));
    assert_eq!(log.signers()["atlas"].len(), 2, "two keys signed for one machine, and it shows");
}

#[test]
fn a_record_that_was_taken_away_or_changed_is_named() {
    let world = World::new(2);
    let repo = world.open().unwrap();
    for n in 0..4 {
        append(&repo, record("forget"), &Key::new([4; 32]), &mut seed(n)).unwrap();
    }
    let newest = Log::read(&repo).unwrap().heads()[0];
    let names = log_objects(&repo);
    let whole = world.sim.get(&names[1], 1 << 20).unwrap();
    world.sim.delete(&names[1]).unwrap();
    let log = Log::read(&repo).unwrap();
    assert_eq!(log.missing.iter().collect::<Vec<_>>(), [blake3::hash(&whole).as_bytes()]);
    assert!(!log.is_whole());
    // Another record cannot stand there.
    let other = world.sim.get(&names[2], 1 << 20).unwrap();
    world.sim.put(&names[1], &other, PutMode::Replace).unwrap();
    let log = Log::read(&repo).unwrap();
    assert_eq!((log.unreadable.len(), log.missing.len()), (1, 1));
    // One flipped bit is mended by parity.
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    world.sim.put(&names[1], &flipped, PutMode::Replace).unwrap();
    assert!(Log::read(&repo).unwrap().is_whole());
    // What is cut off at the end is missed by who remembers it.
    world.sim.delete(&names[3]).unwrap();
    let log = Log::read(&repo).unwrap();
    assert!(log.is_whole() || !flipped.is_empty());
    assert!(!log.holds(&newest));
}

#[test]
fn erasures_are_listed_and_one_that_cannot_be_read_in_either_copy_stops_whoever_asks() {
    let world = World::new(3);
    let repo = world.open().unwrap();
    let mut erasure = Erasure {
        id: ErasureId([4; 8]),
        paths: vec![PathKey::of(&["/", "home", "anna"])],
        time: Timestamp { secs: 5, nanos: 0 },
        hosts: vec![],
        reason: "asked for".into(),
        by: "me@atlas".into(),
        replaced: vec![],
    };
    erasures::put(&repo, &erasure, &mut seed(1)).unwrap();
    erasure.replaced.push((SnapshotId([1; 16]), SnapshotId([2; 16])));
    erasures::put(&repo, &erasure, &mut seed(2)).unwrap();
    let all = Erasures::read(&repo).unwrap();
    assert_eq!(all.all, [erasure.clone()]);
    assert_eq!(all.replacement(&SnapshotId([1; 16])), Some(SnapshotId([2; 16])));
    let first = names::erasure(&erasure.id);
    world.sim.put(&first, b"torn", PutMode::Replace).unwrap();
    assert_eq!(Erasures::read(&repo).unwrap().all, [erasure.clone()], "the second copy is read");
    world.sim.lose(&first);
    assert_eq!(Erasures::read(&repo).unwrap().all, [erasure]);
    world.sim.put(&names::mirror(&first), b"torn", PutMode::Replace).unwrap();
    assert!(Erasures::read(&repo).unwrap_err().is_damage());
}

#[test]
fn a_plain_file_for_people_is_put_once() {
    let world = World::new(4);
    let repo = world.open().unwrap();
    assert!(tools::store_tool(&repo, "readme.txt", b"come back").unwrap());
    assert!(!tools::store_tool(&repo, "readme.txt", b"come back").unwrap());
    assert_eq!(tools::tools(&repo).unwrap(), [("readme.txt".to_string(), 9)]);
}

//! Parts of a snapshot: what was erased from it stays away, and ranges bring back no more than they hold.

use crate::world::{World, inventory, noise};
use engine::{KeyRanges, RestoreRequest, restore_ranges};
use format::erase::{Erasure, below};
use format::id::{ErasureId, HoldId};
use format::keep::{Covers, Hold};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use format::tree::PathKey;
use repo::seed::Seed;
use repo::{erasures, holds};
use std::fs;

fn fill(world: &World) {
    for n in 0..300u64 {
        let dir = world.source().join(format!("d{}", n % 5));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), noise(n, (n * 97 % 9000) as usize)).unwrap();
    }
}

fn key(world: &World, names: &[&str]) -> Vec<u8> {
    let mut parts = world.components();
    parts.extend(names.iter().map(|name| name.as_bytes().to_vec()));
    PathKey::of(&parts)
}

fn erase(world: &World, snapshot: &Snapshot, names: &[&str]) {
    let erasure = Erasure {
        id: ErasureId([7; 8]),
        paths: vec![key(world, names)],
        time: snapshot.time,
        hosts: vec![],
        reason: "asked for".into(),
        by: "me".into(),
        replaced: vec![],
    };
    erasures::put(world.reader().repo(), &erasure, &mut Seed::new([8; 32])).unwrap();
}

#[test]
fn what_was_erased_comes_back_only_where_a_hold_covers_the_snapshot() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    erase(&world, &snapshot, &["d2"]);
    let (outcome, _) = world.restore_well(&snapshot, |_| {});
    assert_eq!(outcome.files_restored, 240);
    assert!(world.target().join("d1/f1").exists() && !world.target().join("d2").exists());
    let later = Timestamp { secs: snapshot.time.secs + 1, ..snapshot.time };
    let newer = Snapshot { time: later, ..snapshot.clone() };
    let (outcome, _) = world.restore_well(&newer, |r| r.target = world.top().join("newer"));
    assert_eq!(outcome.files_restored, 300, "what was backed up afterwards is wanted");
    let hold = Hold {
        id: HoldId([1; 8]),
        name: "case 7".into(),
        reason: String::new(),
        made: later,
        end: None,
        covers: Covers::Snapshots(vec![snapshot.id]),
    };
    holds::add(world.reader().repo(), &hold, &mut Seed::new([9; 32])).unwrap();
    let (outcome, _) = world.restore_well(&snapshot, |r| r.target = world.top().join("held"));
    assert_eq!(outcome.files_restored, 300);
}

#[test]
fn ranges_bring_back_what_lies_in_them_with_the_folders_that_lead_there() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    let behind = |key: Vec<u8>| [key, vec![0]].concat();
    let folder = below(&key(&world, &["d3"]));
    let mut end = folder.clone();
    end.push(0xff);
    let one = key(&world, &["d1", "f6"]);
    let ranges = KeyRanges::new(vec![(folder, end), (one.clone(), behind(one))]);
    let reader = world.reader();
    let request = world.request(&snapshot);
    let outcome = restore_ranges(&reader, &request, &ranges, &engine::Silent).unwrap();
    assert_eq!((outcome.files_restored, outcome.problems), (61, 0));
    let found: Vec<String> = inventory(&world.target()).into_iter().map(|line| format!("{line:?}")).collect();
    assert!(found.iter().any(|line| line.contains("d1/f6")), "{found:?}");
    assert!(!found.iter().any(|line| line.contains("d1/f1\"")));
    assert_eq!(fs::read(world.target().join("d3/f298")).unwrap(), noise(298, 298 * 97 % 9000));
    // The same under full paths: the walk begins in the middle of the tree and does not meet the root.
    let request =
        RestoreRequest { path: Vec::new(), target: world.top().join("whole"), ..world.request(&snapshot) };
    let outcome = restore_ranges(&reader, &request, &ranges, &engine::Silent).unwrap();
    assert_eq!((outcome.files_restored, outcome.problems), (61, 0));
    let below = world.top().join("whole").join(world.source().strip_prefix("/").unwrap());
    assert_eq!(inventory(&below), inventory(&world.target()));
}

//! Snapshots are listed, found by what people write, forgotten and brought back.

use format::id::SnapshotId;
use repo::RepoError;
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget, remember};
use repo::workers::Workers;
use std::sync::Arc;
use testkit::dice::Dice;
use testkit::files::random_files;
use testkit::mini::{Backup, backup};
use testkit::world::World;

fn with_snapshots(n: u64) -> (World, Vec<SnapshotId>) {
    let world = World::new(1);
    let mut files = random_files(&mut Dice::new(1), 5);
    let reader = world.reader().unwrap();
    let mut parent = None;
    let mut ids = Vec::new();
    for seed in 0..n {
        files.insert("counter".into(), seed.to_le_bytes().to_vec());
        let done = backup(&reader, &files, &Backup { parent: parent.as_ref(), ..Backup::new(seed) }).unwrap();
        ids.push(done.snapshot.id);
        parent = Some(done.snapshot);
    }
    (world, ids)
}

#[test]
fn snapshots_are_found_by_what_people_write() {
    let (world, ids) = with_snapshots(40);
    let repo = world.open().unwrap();
    let list = SnapshotList::read(&repo).unwrap();
    let find = |spec: &str| list.find(spec, |_| true).map(|s| s.id);
    assert_eq!(find("latest").unwrap(), ids[39]);
    assert_eq!(find("latest~2").unwrap(), ids[37]);
    assert_eq!(list.find("latest~1", |s| s.sequence % 10 == 1).unwrap().id, ids[20]);
    for bad in ["latest~40", "latest~", "latest~x", "latest2", "", "zz", "latest~-1"] {
        assert!(matches!(find(bad), Err(RepoError::NoSnapshot(_))), "{bad}");
    }
    for id in &ids {
        assert_eq!(find(&id.hex()).unwrap(), *id);
        assert_eq!(find(&id.hex()[..12].to_uppercase()).unwrap(), *id);
    }
    let digit = &ids[0].hex()[..1];
    let alike = ids.iter().filter(|id| id.hex().starts_with(digit)).count();
    match find(digit) {
        Err(RepoError::AmbiguousSnapshot(_, n)) => assert_eq!(n, alike),
        other => assert!(alike == 1 && other.unwrap() == ids[0]),
    }
}

#[test]
fn forgotten_snapshots_are_out_of_sight_until_they_are_brought_back() {
    let (world, ids) = with_snapshots(3);
    let repo = world.open().unwrap();
    for _ in 0..2 {
        forget(&repo, &ids[2], Default::default(), "by id", &mut Seed::new([1; 32])).unwrap();
        let list = SnapshotList::read(&repo).unwrap();
        assert_eq!(list.find("latest", |_| true).unwrap().id, ids[1]);
        assert_eq!(list.find(&ids[2].hex(), |_| true).unwrap().id, ids[2], "by its id it is still found");
        assert_eq!(list.snapshots.len(), 3);
    }
    for _ in 0..2 {
        remember(&repo, &ids[2]).unwrap();
        assert_eq!(SnapshotList::read(&repo).unwrap().find("latest", |_| true).unwrap().id, ids[2]);
    }
}

#[test]
fn fetching_several_at_a_time_changes_nothing_but_time() {
    let (world, ids) = with_snapshots(30);
    let open = |n| {
        let repo = world.open().unwrap();
        Arc::new(Arc::into_inner(repo).expect("it was opened just now").with_fetchers(Workers(n)))
    };
    let damaged = repo::names::snapshot(&ids[7]);
    world.sim.damage(&damaged, |bytes| bytes.clear());
    let lists = [0, 1, 8, 100].map(|n| SnapshotList::read(&open(n)).unwrap());
    for list in &lists {
        assert!(list.visible().map(|s| s.id).eq(ids.iter().copied()));
        assert!(list.visible().eq(lists[0].visible()));
    }
    let totals = [0, 8].map(|n| {
        let reader = repo::reader::Reader::open(open(n), repo::cache::Cache::none()).unwrap();
        reader.with_index_read(|index| index.totals())
    });
    assert_eq!(totals[0], totals[1]);
    assert!(totals[0].segments >= 30);
}

//! On a place without one byte left, snapshots are forgotten and brought back all the same.

use repo::reserve::{refill, release, wanted_bytes};
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget, remember};
use storage::{ErrorKind, Faults};
use testkit::dice::Dice;
use testkit::files::random_files;
use testkit::mini::{Backup, backup};
use testkit::world::World;

fn seed() -> Seed {
    Seed::new([5; 32])
}

fn fill(world: &World) {
    let used = world.sim.objects().values().map(|o| o.len() as u64).sum();
    world.sim.set_faults(Faults { space_bytes: Some(used), ..Faults::default() });
}

fn reserve_bytes(world: &World) -> Option<Vec<u8>> {
    let objects = world.sim.objects();
    objects.iter().find(|(name, _)| name.as_str() == "maint/reserve").map(|(_, bytes)| bytes.to_vec())
}

#[test]
fn forgetting_and_undoing_work_with_zero_bytes_free() {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(1), 20);
    let id = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap().snapshot.id;
    let repo = world.open().unwrap();
    assert!(refill(&repo, 0, &mut seed()).unwrap());
    fill(&world);
    forget(&repo, &id, Default::default(), "by id", &mut seed()).unwrap();
    assert!(SnapshotList::read(&repo).unwrap().snapshots[0].forgotten);
    assert_eq!(reserve_bytes(&world), None);
    fill(&world);
    remember(&repo, &id).unwrap();
    assert!(!SnapshotList::read(&repo).unwrap().snapshots[0].forgotten);

    // Nothing is left to give up: that is told, and nothing is half done.
    fill(&world);
    let full = forget(&repo, &id, Default::default(), "by id", &mut seed()).unwrap_err();
    assert_eq!(full.store_kind(), Some(ErrorKind::NoSpace));
    assert!(!SnapshotList::read(&repo).unwrap().snapshots[0].forgotten);
    assert!(!refill(&repo, 0, &mut seed()).unwrap(), "a full place has no room for it");
}

#[test]
fn the_reserve_is_made_once_grows_with_the_repository_and_takes_real_space() {
    let world = World::new(1);
    let repo = world.open().unwrap();
    assert!(!release(&repo).unwrap());
    assert!(refill(&repo, 0, &mut seed()).unwrap());
    let first = reserve_bytes(&world).unwrap();
    assert_eq!(first.len() as u64, 1 << 20);
    let mut counts = [0usize; 256];
    first.iter().for_each(|byte| counts[*byte as usize] += 1);
    assert!(counts.iter().all(|n| (3500..4700).contains(n)), "a compressing file system saves nothing");
    // What is there and long enough stays: no second MiB is sent to a distant place.
    assert!(refill(&repo, 16_384, &mut Seed::new([9; 32])).unwrap());
    assert!(reserve_bytes(&world).unwrap() == first);
    assert_eq!(wanted_bytes(100_000), 6_400_000);
    assert!(refill(&repo, 100_000, &mut seed()).unwrap());
    assert_eq!(reserve_bytes(&world).unwrap().len(), 6_400_000);
    assert!(release(&repo).unwrap());
    assert_eq!(reserve_bytes(&world), None);
}

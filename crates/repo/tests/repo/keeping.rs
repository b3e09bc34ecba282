//! Holds, the minimum age and confirmations, as the store's own clock sees them.

use format::id::{HoldId, SnapshotId};
use format::keep::{Covers, Hold, Matching, Trust};
use format::kind::Timestamp;
use repo::holds::{self, Holds};
use repo::protection::{Protection, Protections, set_minimum_age};
use repo::prune::{self, PruneOptions};
use repo::reserve;
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget, remember};
use repo::{Repo, RepoError, trust};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use storage::{Crash, CrashPoint, Faults, Store};
use testkit::dice::Dice;
use testkit::files::random_files;
use testkit::mini::{Backup, backup, restore};
use testkit::world::World;

const DAY: u64 = 86_400;

fn seed(n: u8) -> Seed {
    Seed::new([n; 32])
}

fn at(day: u64) -> Timestamp {
    Timestamp { secs: (day * DAY) as i64, nanos: 0 }
}

fn set_day(world: &World, day: u64) {
    world.sim.set_time(UNIX_EPOCH + Duration::from_secs(day * DAY));
}

/// A snapshot on each of these days.
fn world(days: &[u64]) -> (World, Vec<SnapshotId>) {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(1), 3);
    let mut ids = Vec::new();
    for day in days {
        set_day(&world, *day);
        ids.push(backup(&world.reader().unwrap(), &files, &Backup::new(*day)).unwrap().snapshot.id);
    }
    (world, ids)
}

fn hold(covers: Covers, end: Option<Timestamp>) -> Hold {
    let (name, reason) = ("case 7".into(), "court order".into());
    Hold { id: HoldId([4; 8]), name, reason, made: at(0), end, covers }
}

/// What protects each snapshot, by this machine's clock.
fn protected(repo: &Repo, here: Timestamp) -> Vec<Vec<Protection>> {
    let protections = Protections::read(repo, here, &mut seed(9)).unwrap();
    let mut list = SnapshotList::read(repo).unwrap().snapshots;
    list.sort_by_key(|stored| stored.received);
    list.iter().map(|stored| protections.of(&stored.snapshot, stored.received)).collect()
}

fn until(day: u64) -> Vec<Protection> {
    vec![Protection::TooYoung { until: at(day) }]
}

fn unlocked(world: &World) -> Repo {
    let store: Arc<dyn Store> = Arc::new(world.sim.connect());
    Repo::open(store, &world.credential(), &Default::default()).unwrap()
}

#[test]
fn a_hold_covers_what_it_says_until_it_is_over_or_released() {
    let (world, ids) = world(&[1, 2, 3]);
    let repo = world.open().unwrap();
    holds::add(&repo, &hold(Covers::Snapshots(vec![ids[1]]), Some(at(10))), &mut seed(1)).unwrap();
    let covered = |here| protected(&repo, here).iter().map(|p| !p.is_empty()).collect::<Vec<_>>();
    assert_eq!(covered(at(5)), [false, true, false]);
    assert_eq!(covered(at(99)), [false, true, false], "a fast clock here does not end it");
    set_day(&world, 10);
    assert_eq!(covered(at(9)), [false, true, false], "nor does a slow one");
    assert_eq!(covered(at(10)), [false, false, false]);
    holds::release(&repo, &HoldId([4; 8])).unwrap();
    let everything = hold(Covers::Matching(Matching::default()), None);
    holds::add(&repo, &everything, &mut seed(2)).unwrap();
    assert_eq!(covered(at(99)), [true, true, true]);
    // A forgotten snapshot is covered as well: it must not be removed.
    forget(&repo, &ids[0], at(10), "by id", &mut seed(3)).unwrap();
    assert_eq!(covered(at(99)), [true, true, true]);
    holds::release(&repo, &HoldId([4; 8])).unwrap();
    holds::release(&repo, &HoldId([4; 8])).unwrap();
    assert_eq!(covered(at(99)), [false, false, false]);
}

#[test]
fn a_hold_survives_the_loss_of_a_copy_and_one_that_is_broken_twice_covers_everything() {
    let (world, ids) = world(&[1, 2]);
    let repo = world.open().unwrap();
    let one = hold(Covers::Snapshots(vec![ids[0]]), None);
    holds::add(&repo, &one, &mut seed(1)).unwrap();
    let name = repo::names::hold(&one.id);
    world.sim.connect().delete(&name).unwrap();
    assert_eq!(Holds::read(&repo).unwrap().holds, std::slice::from_ref(&one));
    let broken = vec![7; 300];
    world.sim.damage(&name, |bytes| *bytes = broken.clone());
    assert_eq!(Holds::read(&repo).unwrap().holds, std::slice::from_ref(&one));
    world.sim.damage(&repo::names::mirror(&name), |bytes| *bytes = broken.clone());
    let all = protected(&repo, at(5));
    assert_eq!(all, vec![vec![Protection::UnreadableHold(one.id)]; 2]);
    assert_eq!(Holds::read(&repo).unwrap().find(&one.id.hex()[..6]), [one.id]);
    holds::release(&repo, &one.id).unwrap();
    assert!(protected(&repo, at(5)).concat().is_empty());
}

#[test]
fn only_time_at_the_store_ends_a_minimum_age() {
    let (world, _) = world(&[1, 5]);
    let mut repo = unlocked(&world);
    set_minimum_age(&mut repo, 30 * DAY, at(5), &mut seed(1)).unwrap();
    assert_eq!(protected(&repo, at(6)), [until(31), until(35)]);
    assert_eq!(protected(&repo, at(5000)), [until(31), until(35)], "the clock here may be wrong");
    set_day(&world, 31);
    assert_eq!(protected(&repo, at(31)), [vec![], until(35)]);
    // Raised for all; lowered for none that exists.
    set_minimum_age(&mut repo, 40 * DAY, at(31), &mut seed(2)).unwrap();
    assert_eq!(protected(&repo, at(31)), [until(41), until(45)]);
    set_minimum_age(&mut repo, 0, at(31), &mut seed(3)).unwrap();
    assert_eq!(protected(&unlocked(&world), at(31)), [until(41), until(45)]);
    set_day(&world, 32);
    let files = random_files(&mut Dice::new(2), 3);
    backup(&world.reader().unwrap(), &files, &Backup::new(77)).unwrap();
    assert_eq!(protected(&repo, at(32)), [until(41), until(45), vec![]]);
    // What protects nothing any more is not kept for ever.
    set_day(&world, 200);
    set_minimum_age(&mut repo, 0, at(200), &mut seed(4)).unwrap();
    assert_eq!(repo.parameters().minimum_ages, []);
    // A slow clock here does not make the setting begin before what exists.
    set_minimum_age(&mut repo, DAY, at(3), &mut seed(5)).unwrap();
    assert_eq!(repo.parameters().minimum_ages[0].since, at(200));
}

#[test]
fn holds_and_confirmations_are_made_with_zero_bytes_free() {
    let (world, ids) = world(&[1]);
    let repo = world.open().unwrap();
    for n in 0..2 {
        reserve::refill(&repo, 0, &mut seed(1)).unwrap();
        let used = world.sim.objects().values().map(|o| o.len() as u64).sum();
        world.sim.set_faults(Faults { space_bytes: Some(used), ..Faults::default() });
        match n {
            0 => holds::add(&repo, &hold(Covers::Snapshots(ids.clone()), None), &mut seed(1)).unwrap(),
            _ => {
                let trust =
                    Trust { snapshot: ids[0], record: [1; 32], time: true, contents: true, made: at(1) };
                trust::confirm(&repo, &trust, &mut seed(2)).unwrap();
            }
        }
        world.sim.set_faults(Faults::default());
    }
    assert_eq!(Holds::read(&repo).unwrap().holds.len(), 1);
    assert_eq!(trust::read_all(&repo).unwrap().len(), 1);
}

#[test]
fn a_confirmation_names_the_record_and_can_be_taken_back() {
    let (world, ids) = world(&[1, 2]);
    let repo = world.open().unwrap();
    let list = SnapshotList::read(&repo).unwrap();
    let hash_of = |id: &SnapshotId| list.snapshots.iter().find(|s| s.snapshot.id == *id).unwrap().record_hash;
    let stored = world.sim.connect().get(&repo::names::snapshot(&ids[0]), 1 << 20).unwrap();
    assert_eq!(hash_of(&ids[0]), *blake3::hash(&stored).as_bytes());
    let record = hash_of(&ids[0]);
    let trust = Trust { snapshot: ids[0], record, time: true, contents: false, made: at(3) };
    trust::confirm(&repo, &trust, &mut seed(1)).unwrap();
    let better = Trust { contents: true, ..trust };
    trust::confirm(&repo, &better, &mut seed(2)).unwrap();
    assert_eq!(trust::read_all(&repo).unwrap().into_values().collect::<Vec<_>>(), [better]);
    // Copied to another name it confirms nothing.
    let bytes = world.sim.connect().get(&repo::names::trust(&ids[0]), 1 << 20).unwrap();
    world.sim.connect().put(&repo::names::trust(&ids[1]), &bytes, storage::PutMode::Replace).unwrap();
    assert_eq!(trust::read_all(&repo).unwrap().len(), 1);
    trust::withdraw(&repo, &ids[0]).unwrap();
    trust::withdraw(&repo, &ids[0]).unwrap();
    assert!(trust::read_all(&repo).unwrap().is_empty());
}

#[test]
fn damage_of_the_parity_alone_does_not_break_the_writers_chain() {
    let (world, ids) = world(&[1]);
    let repo = world.open().unwrap();
    let whole = SnapshotList::read(&repo).unwrap().snapshots[0].record_hash;
    world.sim.damage(&repo::names::snapshot(&ids[0]), |bytes| {
        let parity = bytes.len() - 170;
        bytes[parity] ^= 1;
    });
    assert_eq!(SnapshotList::read(&repo).unwrap().snapshots[0].record_hash, whole);
}

#[test]
fn putting_a_copy_again_makes_no_snapshot_younger() {
    let (world, ids) = world(&[1]);
    let repo = world.open().unwrap();
    let name = repo::names::snapshot(&ids[0]);
    let bytes = world.sim.connect().get(&name, 1 << 20).unwrap();
    set_day(&world, 9);
    world.sim.connect().put(&name, &bytes, storage::PutMode::Replace).unwrap();
    let received = SnapshotList::read(&repo).unwrap().snapshots[0].received;
    assert_eq!(received, Some(UNIX_EPOCH + Duration::from_secs(DAY)));
}

#[test]
fn prune_removes_no_forgotten_snapshot_that_is_held_or_too_young() {
    let (world, ids) = world(&[1, 2, 20]);
    let mut repo = unlocked(&world);
    holds::add(&repo, &hold(Covers::Snapshots(vec![ids[0]]), None), &mut seed(1)).unwrap();
    ids.iter().for_each(|id| forget(&repo, id, at(20), "by id", &mut seed(2)).unwrap());
    set_minimum_age(&mut repo, 10 * DAY, at(20), &mut seed(3)).unwrap();
    let prune = |here: Timestamp| {
        let options = repo::prune::PruneOptions::urgent(here);
        repo::prune::prune(&world.reader().unwrap(), &options, seed(4), &mut |_, _, _| {}).unwrap()
    };
    let left = || SnapshotList::read(&repo).unwrap().snapshots.len();
    let report = prune(at(5000)); // a fast clock here
    assert_eq!((report.removed_snapshots, report.protected, left()), (1, 2, 2));
    set_day(&world, 31);
    let report = prune(at(31));
    assert_eq!((report.removed_snapshots, report.protected, left()), (1, 1, 1));
    holds::release(&repo, &HoldId([4; 8])).unwrap();
    let report = prune(at(31));
    assert_eq!((report.removed_snapshots, report.protected, left()), (1, 0, 0));
}

/// Cuts a prune off at each of its requests and brings the snapshot back: whoever was told that it stays has it.
#[test]
fn a_snapshot_that_was_brought_back_in_time_stays_and_else_it_is_said() {
    let (mut in_time, mut too_late) = (0, 0);
    for at_request in 0.. {
        let (world, ids) = world(&[1, 2]);
        let repo = world.open().unwrap();
        forget(&repo, &ids[0], at(2), "by id", &mut seed(2)).unwrap();
        let store = world.sim.connect();
        let reader = world.reader_over(Arc::new(store.clone())).unwrap();
        let at_request = store.requests_made() + at_request;
        store.set_crash(Crash { at_request, point: CrashPoint::After, power_loss: false });
        let options = PruneOptions::urgent(at(3));
        let cut_off = prune::prune(&reader, &options, seed(4), &mut |_, _, _| {}).is_err();
        let was_told = match remember(&repo, &ids[0]) {
            Ok(()) => {
                assert!(cut_off, "a whole prune leaves nothing to bring back");
                in_time += 1;
                true
            }
            Err(RepoError::TooLate(_)) => {
                too_late += 1;
                false
            }
            Err(e) => panic!("{e:?}"),
        };
        let stays = |ids: &[SnapshotId]| {
            let list = SnapshotList::read(&repo).unwrap();
            list.visible().any(|s| s.id == ids[0]) && list.unreadable.is_empty()
        };
        assert!(stays(&ids) || !was_told, "cut off at request {at_request}");
        let again = world.reader().unwrap();
        prune::prune(&again, &options, seed(5), &mut |_, _, _| {}).unwrap();
        // Too late, it may stay all the same; the list and what can be restored never differ.
        assert!(stays(&ids) || !was_told, "cut off at request {at_request}");
        let list = SnapshotList::read(&repo).unwrap();
        let reader = world.reader().unwrap();
        for snapshot in list.visible() {
            restore(&reader, snapshot.root).unwrap();
        }
        if !cut_off {
            break;
        }
    }
    assert!(in_time > 5 && too_late > 5, "{in_time} in time, {too_late} too late");
}

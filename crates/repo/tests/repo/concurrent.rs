//! Two machines write into one repository, request by request in turns that a seed decides.

use repo::snapshots::SnapshotList;
use std::sync::Arc;
use testkit::dice::Dice;
use testkit::files::{edit, random_files};
use testkit::mini::{Backup, backup, restore};
use testkit::turns::Turns;
use testkit::world::World;

#[test]
fn two_writers_interleaved_at_every_request_publish_both_snapshots() {
    for seed in 0..40 {
        let world = Arc::new(World::new(1));
        let mut dice = Dice::new(seed);
        let mut first = random_files(&mut dice, 40);
        if seed.is_multiple_of(2) {
            // Something to share from the start.
            backup(&world.reader().unwrap(), &first, &Backup::new(100)).unwrap();
        }
        let mut second = first.clone();
        edit(&mut dice, &mut first, 8);
        edit(&mut dice, &mut second, 8);
        let turns = Turns::new(seed, 2);
        let run = |number: usize, files: testkit::files::Files| {
            let (world, store) = (world.clone(), turns.client(number, Arc::new(world.sim.connect())));
            std::thread::spawn(move || {
                let reader = world.reader_over(store).unwrap();
                let options = Backup { checkpoint_files: 9, segment_packs: 2, ..Backup::new(number as u64) };
                backup(&reader, &files, &options).unwrap().snapshot
            })
        };
        let runs = [run(0, first.clone()), run(1, second.clone())];
        let snapshots = runs.map(|run| run.join().unwrap());
        let reader = world.reader().unwrap();
        let list = SnapshotList::read(reader.repo()).unwrap();
        for (snapshot, files) in snapshots.iter().zip([&first, &second]) {
            assert!(list.visible().any(|s| s == snapshot), "seed {seed}");
            assert!(restore(&reader, snapshot.root).unwrap() == *files, "seed {seed}");
        }
        let third = backup(&reader, &second, &Backup::new(7)).unwrap();
        assert_eq!(third.written.added_bytes, 0, "seed {seed}: what both stored is known to everybody");
    }
}

#[test]
fn a_check_beside_running_backups_finds_nothing() {
    use repo::check::{CheckOptions, ReadShare, check};
    use repo::workers::Workers;
    for seed in 0..40 {
        let world = Arc::new(World::new(1));
        let turns = Turns::new(seed, 3);
        let backups = |number: usize| {
            let (world, store) = (world.clone(), turns.client(number, Arc::new(world.sim.connect())));
            std::thread::spawn(move || {
                let files = random_files(&mut Dice::new(seed + number as u64), 5);
                for round in 0..2 {
                    let reader = world.reader_over(store.clone()).unwrap();
                    backup(&reader, &files, &Backup::new(round << 8 | number as u64)).unwrap();
                }
            })
        };
        let runs = [backups(0), backups(1)];
        let store = turns.client(2, Arc::new(world.sim.connect()));
        for _ in 0..3 {
            let reader = world.reader_over(store.clone()).unwrap();
            let mut options = CheckOptions {
                read: ReadShare::Everything,
                workers: Workers(0),
                sample_seed: 0,
                now: format::kind::Timestamp::default(),
                progress: &mut |_, _| {},
            };
            assert_eq!(check(&reader, &mut options).unwrap().findings, [], "seed {seed}");
        }
        drop(store);
        runs.into_iter().for_each(|run| run.join().unwrap());
    }
}

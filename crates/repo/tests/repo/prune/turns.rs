//! Pruners and writers at once, request by request in turns that a seed decides.

use super::{assert_whole, bury, run_over, urgent};
use repo::prune::PruneOptions;
use std::sync::Arc;
use std::time::Duration;
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{Backup, backup};
use testkit::turns::Turns;
use testkit::world::World;

/// Two pruners and two writers; one writer builds on a snapshot that is forgotten and goes meanwhile.
fn history(seed: u64) {
    let world = Arc::new(World::new(1));
    let mut dice = Dice::new(seed);
    let mut files = random_files(&mut dice, 30);
    let first = backup(&world.reader().unwrap(), &files, &Backup::new(50)).unwrap().snapshot;
    edit(&mut dice, &mut files, 10);
    let second_files = files.clone();
    let options = Backup { parent: Some(&first), ..Backup::new(51) };
    let second = backup(&world.reader().unwrap(), &files, &options).unwrap().snapshot;
    bury(&world, &first);
    let turns = Turns::new(seed, 4);
    let write = |number: usize, files: Files, parent: Option<format::snapshot::Snapshot>| {
        let (world, store) = (world.clone(), turns.client(number, Arc::new(world.sim.connect())));
        std::thread::spawn(move || {
            let reader = world.reader_over(store).ok()?;
            let options = Backup {
                parent: parent.as_ref(),
                checkpoint_files: 9,
                segment_packs: 2,
                ..Backup::new(number as u64)
            };
            Some((backup(&reader, &files, &options).ok()?.snapshot, files))
        })
    };
    let prune = |number: usize| {
        let (world, store) = (world.clone(), turns.client(number, Arc::new(world.sim.connect())));
        std::thread::spawn(move || {
            let options = PruneOptions { dead_after: Duration::from_secs(1 << 30), ..urgent() };
            for _ in 0..2 {
                run_over(&world, store.clone(), &options).ok();
            }
        })
    };
    let mut of_first = second_files.clone();
    edit(&mut dice, &mut of_first, 6);
    edit(&mut dice, &mut files, 6);
    let writers = [write(0, of_first, Some(first.clone())), write(1, files, Some(second.clone()))];
    let pruners = [prune(2), prune(3)];
    let made: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    pruners.into_iter().for_each(|pruner| pruner.join().unwrap());
    let mut expected = vec![(second, second_files)];
    expected.extend(made.into_iter().flatten());
    assert_whole(&world, &expected.iter().collect::<Vec<_>>(), &format!("seed {seed}"));
    // Once more with nobody about, and once more everything is there.
    run_over(&world, Arc::new(world.sim.connect()), &urgent()).unwrap();
    assert_whole(&world, &expected.iter().collect::<Vec<_>>(), &format!("seed {seed}, at rest"));
    assert!(expected.len() > 1, "seed {seed}: at least one writer got through");
}

#[test]
fn pruners_and_writers_interleaved_at_every_request_lose_nothing() {
    (0..100).for_each(history);
}

//! A store that fails now and then: before or after it did what was asked, or with a torn object.
//!
//! Every run ends well and can be read, or it ends with an error and nothing older is hurt.

use repo::snapshots::SnapshotList;
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::{ErrorKind, Faults, RetryOptions, RetryStore, Store};
use testkit::dice::Dice;
use testkit::files::{edit, random_files};
use testkit::mini::{Backup, backup, restore};
use testkit::world::World;

fn faults(seed: u64) -> Faults {
    let mut dice = Dice::new(seed);
    let mut permille = || [0, 10, 60][dice.below(3) as usize];
    Faults {
        error_before_permille: permille(),
        error_after_permille: permille(),
        torn_put_permille: permille(),
        error_kind: if seed.is_multiple_of(2) { ErrorKind::Transient } else { ErrorKind::Other },
        ..Faults::default()
    }
}

#[test]
fn a_run_over_a_failing_store_ends_well_or_leaves_everything_as_it_was() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let mut files = random_files(&mut dice, 40);
        let world = World::new(seed);
        let mut kept = Vec::new();
        for round in 0..4 {
            world.sim.set_faults(if round == 0 { Faults::default() } else { faults(seed + round) });
            let run = world.reader().and_then(|reader| backup(&reader, &files, &Backup::new(round)));
            world.sim.set_faults(Faults::default());
            match run {
                Ok(done) => {
                    kept.push((done.snapshot, files.clone()));
                    good += 1;
                }
                Err(_) => bad += 1,
            }
            let reader = world.reader().unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            let list = SnapshotList::read(reader.repo()).unwrap();
            for (snapshot, files) in &kept {
                assert!(list.visible().any(|s| s == snapshot), "seed {seed}, round {round}: gone");
                assert!(restore(&reader, snapshot.root).unwrap() == *files, "seed {seed}, round {round}");
            }
            for snapshot in list.visible() {
                restore(&reader, snapshot.root).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            }
            edit(&mut dice, &mut files, 5);
        }
        backup(&world.reader().unwrap(), &files, &Backup::new(9)).unwrap();
    }
    assert!(good > 80 && bad > 40, "{good} good and {bad} bad runs");
}

#[test]
fn a_store_that_repeats_requests_hides_torn_and_doubtful_ones() {
    for seed in 0..40 {
        let files = random_files(&mut Dice::new(seed), 30);
        let world = World::new(seed);
        let patient = |store: Arc<dyn Store>| -> Arc<dyn Store> {
            Arc::new(RetryStore::new(
                store,
                RetryOptions { wait: Arc::new(|_| ControlFlow::Continue(())), ..RetryOptions::default() },
            ))
        };
        let client = world.sim.connect();
        let reader = world.reader_over(patient(Arc::new(client))).unwrap();
        world.sim.set_faults(Faults {
            error_before_permille: 30,
            error_after_permille: 80,
            ..Faults::default()
        });
        let done = backup(&reader, &files, &Backup::new(1)).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        world.sim.set_faults(Faults::default());
        assert!(restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == files);
    }
}

#[test]
fn a_dead_line_is_not_a_missing_blob() {
    let files = random_files(&mut Dice::new(1), 30);
    let world = World::new(1);
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    let reader = world.reader().unwrap();
    world.sim.set_faults(Faults { error_before_permille: 1000, ..Faults::default() });
    let error = restore(&reader, done.snapshot.root).unwrap_err();
    assert!(!error.is_damage(), "{error:?}");
    assert_eq!(error.store_kind(), Some(ErrorKind::Transient));
    world.sim.set_faults(Faults::default());
    assert!(restore(&reader, done.snapshot.root).unwrap() == files, "the same reader goes on afterwards");
}

#[test]
fn an_append_only_place_takes_snapshots() {
    let mut dice = Dice::new(1);
    let mut files = random_files(&mut dice, 40);
    let world = World::new(1);
    world.sim.set_faults(Faults { append_only: true, ..Faults::default() });
    let mut parent = None;
    for round in 1..4 {
        let reader = world.reader().unwrap();
        let options =
            Backup { parent: parent.as_ref(), checkpoint_files: 5, segment_packs: 1, ..Backup::new(round) };
        let done = backup(&reader, &files, &options).unwrap();
        assert!(restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == files);
        parent = Some(done.snapshot);
        edit(&mut dice, &mut files, 5);
    }
}

#[test]
fn a_full_place_says_so_and_stays_readable() {
    let mut dice = Dice::new(1);
    let files = random_files(&mut dice, 60);
    let world = World::new(1);
    let first = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    let used: u64 = world.sim.objects().values().map(|o| o.len() as u64).sum();
    let others = random_files(&mut dice, 60);
    for room in (0..60_000).step_by(3000) {
        world.sim.set_faults(Faults { space_bytes: Some(used + room), ..Faults::default() });
        if let Err(e) = backup(&world.reader().unwrap(), &others, &Backup::new(2 + room)) {
            assert_eq!(e.store_kind(), Some(ErrorKind::NoSpace), "{e:?}");
        }
        assert!(restore(&world.reader().unwrap(), first.snapshot.root).unwrap() == files);
    }
}

#[test]
fn single_flips_on_the_way_are_noticed_and_the_next_reading_is_right() {
    let files = random_files(&mut Dice::new(1), 60);
    let world = World::new(1);
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    let mut right = 0;
    for _ in 0..40 {
        world.sim.set_faults(Faults { flip_read_permille: 50, ..Faults::default() });
        let read = world.reader().and_then(|reader| restore(&reader, done.snapshot.root));
        if let Ok(read) = read {
            assert!(read == files, "never wrong data");
            right += 1;
        }
    }
    assert!(right >= 10, "{right} of 40 readings get through");
    world.sim.set_faults(Faults::default());
    assert!(restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == files);
}

#[test]
fn a_repository_whose_bytes_do_not_arrive_is_not_made_anew() {
    use testkit::world::{create_in, tiny_parameters};
    for seed in 0..20 {
        let world = World::new(seed);
        let before = world.sim.objects();
        world.sim.set_faults(Faults { short_read_permille: 1000, ..Faults::default() });
        create_in(Arc::new(world.sim.connect()), 2, tiny_parameters()).err().expect("there is one");
        assert!(world.sim.objects() == before, "seed {seed}");
    }
}

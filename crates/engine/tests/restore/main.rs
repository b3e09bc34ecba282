//! Restores from real (local) repositories into real folders.

mod world;

use engine::Action;
use repo::workers::Workers;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use world::{World, inventory, noise};

/// Files of every size class, links, empty folders, odd modes.
fn fill(world: &World) {
    let top = world.source();
    for n in 0..200u64 {
        let dir = top.join(format!("d{}/e{}", n % 7, n % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), noise(n, (n * 97 % 9000) as usize)).unwrap();
    }
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("large"), noise(1000, 5_000_000)).unwrap();
    fs::write(top.join("zeros"), vec![0; 3_000_000]).unwrap();
    fs::write(top.join("d1/no bytes"), b"").unwrap();
    symlink("d1/e1", top.join("link")).unwrap();
    symlink("nowhere", top.join("d2/broken link")).unwrap();
    fs::hard_link(top.join("large"), top.join("d3/second name")).unwrap();
    fs::hard_link(top.join("large"), top.join("third name")).unwrap();
    fs::set_permissions(top.join("d4"), fs::Permissions::from_mode(0o550)).unwrap();
    fs::set_permissions(top.join("zeros"), fs::Permissions::from_mode(0o4711)).unwrap();
}

#[test]
fn a_folder_comes_back_as_it_was_with_and_without_threads() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    for workers in [0, 1, 2, 5] {
        let target = world.top().join(format!("target{workers}"));
        let (outcome, ear) = world.restore_well(&snapshot, |r| {
            r.target = target.clone();
            r.workers = Workers(workers);
            r.verify = workers % 2 == 1;
            r.sync = workers == 2;
        });
        assert_eq!(inventory(&target), inventory(&world.source()));
        assert_eq!(outcome.files_restored, 205);
        assert_eq!(outcome.problems + outcome.files_unchanged + outcome.deleted, 0);
        assert_eq!(
            outcome.bytes_selected,
            4 * 5_000_000 - 2_000_000 + (0..200).map(|n| n * 97 % 9000).sum::<u64>()
        );
        assert_eq!(ear.actions(Action::New).len() as u64, outcome.files_restored + outcome.others_restored);
    }
}

//! Restores into folders that hold something already.

use crate::world::{Ear, World, inventory, inventory_below, noise};
use engine::{Action, Overwrite};
use host::Rules;
use repo::RepoError;
use repo::workers::Workers;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn set_time(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Three small files and a large one, all of them old.
fn fill(world: &World) {
    fs::create_dir(world.source().join("d")).unwrap();
    for (name, bytes) in [("a", noise(1, 3000)), ("b", noise(2, 3000)), ("d/c", noise(3, 70_000))] {
        fs::write(world.source().join(name), bytes).unwrap();
        set_time(&world.source().join(name), UNIX_EPOCH + Duration::from_secs(1_000_000));
    }
    fs::write(world.source().join("large"), noise(4, 20_000_000)).unwrap();
    set_time(&world.source().join("large"), UNIX_EPOCH + Duration::from_secs(1_000_000));
}

#[test]
fn a_second_restore_writes_nothing_and_touches_nothing() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    world.restore_well(&snapshot, |_| {});
    let change_times = |world: &World| -> Vec<_> {
        let files = crate::world::files_below(&world.target());
        files.iter().map(|p| fs::metadata(p).map(|m| (m.ctime(), m.ctime_nsec(), m.ino())).unwrap()).collect()
    };
    let before = change_times(&world);
    let (outcome, ear) = world.restore_well(&snapshot, |_| {});
    assert_eq!((outcome.files_unchanged, outcome.files_restored), (4, 0));
    assert_eq!((outcome.bytes_written, outcome.bytes_fetched), (0, 0));
    assert_eq!(change_times(&world), before);
    assert_eq!(ear.actions(Action::Modified), [""; 0]);
}

#[test]
fn only_what_differs_is_written() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    world.restore_well(&snapshot, |_| {});
    let large = world.target().join("large");
    let inode = fs::metadata(&large).unwrap().ino();
    type Change<'c> = (&'c str, &'c dyn Fn(&File));
    let cases: [Change<'_>; 5] = [
        ("a changed byte", &|f| f.write_all_at(b"?", 9_000_000).unwrap()),
        ("bytes at the end", &|f| f.write_all_at(&[1; 5000], 20_000_000).unwrap()),
        ("cut in the middle", &|f| f.set_len(10_000_000).unwrap()),
        ("a changed beginning", &|f| f.write_all_at(&[0; 10], 0).unwrap()),
        ("empty", &|f| f.set_len(0).unwrap()),
    ];
    for (what, change) in cases {
        change(&File::options().write(true).open(&large).unwrap());
        fs::write(world.target().join("a"), what).unwrap();
        let (outcome, ear) = world.restore_well(&snapshot, |r| r.verify = true);
        assert_eq!(outcome.files_restored, 2, "{what}");
        assert_eq!(inventory(&world.target()), inventory(&world.source()), "{what}");
        assert_eq!(fs::metadata(&large).unwrap().ino(), inode, "{what}: it is the same file");
        assert_eq!(ear.actions(Action::Modified).len(), 2, "{what}");
        let share = match what {
            "empty" => 20_010_000,
            "cut in the middle" => 15_010_000,
            _ => 5_000_000,
        };
        assert!(outcome.bytes_written <= share, "{what}: {} bytes", outcome.bytes_written);
    }
}

#[test]
fn equal_length_and_time_are_believed_by_if_changed_alone() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    world.restore_well(&snapshot, |_| {});
    for name in ["a", "large"] {
        let path = world.target().join(name);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(b"flip", 100).unwrap();
        set_time(&path, time);
    }
    let (outcome, _) = world.restore_well(&snapshot, |r| r.overwrite = Overwrite::IfChanged);
    assert_eq!(outcome.files_unchanged, 4);
    let (outcome, _) = world.restore_well(&snapshot, |r| r.dry_run = true);
    assert_eq!((outcome.files_restored, outcome.files_unchanged), (2, 2));
    let (outcome, ear) = world.restore(&snapshot, |r| {
        r.verify = true;
        r.overwrite = Overwrite::IfChanged;
    });
    assert_eq!((outcome.unwrap().problems, ear.problems().len()), (2, 2));
    let (outcome, _) = world.restore_well(&snapshot, |r| r.verify = true);
    assert_eq!((outcome.files_restored, outcome.files_unchanged, outcome.files_verified), (2, 2, 4));
    assert_eq!(inventory(&world.target()), inventory(&world.source()));
}

#[test]
fn overwrite_rules_decide_what_is_replaced() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    let prepare = || {
        fs::create_dir_all(world.target()).unwrap();
        fs::write(world.target().join("a"), b"newer").unwrap();
        fs::write(world.target().join("b"), b"older").unwrap();
        set_time(&world.target().join("b"), UNIX_EPOCH);
    };
    let texts = |overwrite| {
        prepare();
        let (outcome, _) = world.restore_well(&snapshot, |r| r.overwrite = overwrite);
        let is = |name: &str, text: &[u8]| fs::read(world.target().join(name)).unwrap() == text;
        let kept = (is("a", b"newer"), is("b", b"older"));
        assert!(kept.0 || is("a", &noise(1, 3000)));
        assert!(kept.1 || is("b", &noise(2, 3000)));
        fs::remove_dir_all(world.target()).unwrap();
        (kept, outcome.files_skipped)
    };
    assert_eq!(texts(Overwrite::Always), ((false, false), 0));
    assert_eq!(texts(Overwrite::IfChanged), ((false, false), 0));
    assert_eq!(texts(Overwrite::IfNewer), ((true, false), 1));
    assert_eq!(texts(Overwrite::Never), ((true, true), 2));
}

#[test]
fn other_kinds_are_replaced_and_attributes_made_right() {
    let world = World::new();
    fill(&world);
    symlink("a", world.source().join("link")).unwrap();
    let snapshot = world.backup();
    fs::create_dir_all(world.target().join("a")).unwrap();
    fs::write(world.target().join("link"), b"no link").unwrap();
    symlink("nowhere", world.target().join("b")).unwrap();
    fs::write(world.target().join("d"), b"no folder").unwrap();
    world.restore_well(&snapshot, |_| {});
    assert_eq!(inventory_below(&world.target()), inventory_below(&world.source()));
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(world.target().join("a"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(world.target().join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    let (outcome, _) = world.restore_well(&snapshot, |_| {});
    assert_eq!(outcome.files_restored, 0);
    assert_eq!(inventory_below(&world.target()), inventory_below(&world.source()));
}

#[test]
fn a_full_folder_in_the_place_of_a_file_goes_only_with_delete() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    fs::create_dir_all(world.target().join("a/full")).unwrap();
    let (outcome, ear) = world.restore(&snapshot, |_| {});
    assert_eq!(outcome.unwrap().problems, 1);
    assert!(ear.problems()[0].item.ends_with(b"/source/a"));
    assert!(world.target().join("a/full").is_dir());
    world.restore_well(&snapshot, |r| r.delete = true);
    assert_eq!(inventory_below(&world.target()), inventory_below(&world.source()));
}

#[test]
fn delete_removes_what_the_snapshot_does_not_have_and_nothing_else() {
    let world = World::new();
    fill(&world);
    fs::create_dir(world.source().join("empty")).unwrap();
    let snapshot = world.backup();
    let outside = world.top().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), b"kept").unwrap();
    world.restore_well(&snapshot, |_| {});
    let litter = || {
        fs::create_dir_all(world.target().join("d/extra/deep")).unwrap();
        fs::write(world.target().join("d/extra/deep/file"), b"x").unwrap();
        fs::write(world.target().join("empty/extra"), b"x").unwrap();
        fs::write(world.target().join("extra"), b"x").unwrap();
        fs::write(world.target().join("extra.keep"), b"x").unwrap();
        fs::write(world.target().join("kept here"), b"x").unwrap();
        symlink(&outside, world.target().join("d/out")).unwrap();
    };
    litter();
    let mut rules = Rules::default();
    rules.exclude(b"*.keep", "test", false).unwrap();
    // From the selected folder on.
    rules.exclude(b"/kept here", "test", false).unwrap();
    let rules = Arc::new(rules);
    let before = inventory(&world.target());
    let (plan, ear) = world.restore_well(&snapshot, |r| {
        (r.delete, r.dry_run, r.rules) = (true, true, rules.clone());
    });
    // Of a folder everything in it counts, too.
    assert_eq!(plan.deleted, 6);
    assert_eq!(inventory(&world.target()), before);
    let planned = ear.actions(Action::Deleted);
    let (outcome, ear) = world.restore_well(&snapshot, |r| (r.delete, r.rules) = (true, rules.clone()));
    assert_eq!((outcome.deleted, ear.actions(Action::Deleted)), (6, planned));
    for name in ["extra.keep", "kept here"] {
        fs::remove_file(world.target().join(name)).unwrap();
    }
    world.restore_well(&snapshot, |_| {});
    assert_eq!(inventory_below(&world.target()), inventory_below(&world.source()));
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"kept");
}

#[test]
fn delete_spares_folders_that_only_lead_to_the_source() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    fs::create_dir(world.target()).unwrap();
    fs::write(world.target().join("beside"), b"kept").unwrap();
    let copy = world.target().join(world.source().strip_prefix("/").unwrap());
    fs::create_dir_all(&copy).unwrap();
    fs::write(copy.parent().unwrap().join("beside"), b"kept").unwrap();
    fs::write(copy.join("extra"), b"gone").unwrap();
    let (outcome, _) = world.restore_well(&snapshot, |r| (r.path, r.delete) = (Vec::new(), true));
    assert_eq!(outcome.deleted, 1);
    assert!(world.target().join("beside").exists() && copy.parent().unwrap().join("beside").exists());
    assert_eq!(inventory(&copy), inventory(&world.source()));
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_would_be_done() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    let (plan, ear) = world.restore_well(&snapshot, |r| r.dry_run = true);
    assert!(!world.target().exists());
    let (outcome, done) = world.restore_well(&snapshot, |_| {});
    assert_eq!(plan.files_restored, outcome.files_restored);
    assert_eq!(plan.bytes_selected, outcome.bytes_selected);
    assert_eq!(ear.actions(Action::New), done.actions(Action::New));
    fs::write(world.target().join("a"), b"changed").unwrap();
    let before = inventory(&world.target());
    let (plan, ear) = world.restore_well(&snapshot, |r| r.dry_run = true);
    assert_eq!((plan.files_restored, plan.files_unchanged), (1, 3));
    assert_eq!(ear.actions(Action::Modified).len(), 1);
    assert_eq!(inventory(&world.target()), before);
}

#[test]
fn a_cancelled_restore_is_completed_by_the_next() {
    let world = World::new();
    for n in 0..3000u64 {
        let dir = world.source().join(format!("d{}", n % 30));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), noise(n, 3000)).unwrap();
    }
    fs::write(world.source().join("large"), noise(9, 9_000_000)).unwrap();
    let snapshot = world.backup();
    let (_, ear) = world.restore_well(&snapshot, |r| r.workers = Workers(1));
    let reports = ear.heard.into_inner();
    let mut begun = 0;
    for stop_after in [1, reports - 9, reports - 3] {
        fs::remove_dir_all(world.target()).unwrap();
        let ear = Ear { stop_after: Some(stop_after), ..Ear::default() };
        let outcome = world.restore_to(&snapshot, &ear, |r| r.workers = Workers(1));
        assert!(matches!(outcome, Err(RepoError::Local(why)) if why == engine::backup::CANCELLED));
        begun += u64::from(!ear.actions(Action::New).is_empty());
    }
    assert!(begun > 0, "some runs ended half-way");
    let (outcome, _) = world.restore_well(&snapshot, |_| {});
    assert!(outcome.files_unchanged > 0);
    assert_eq!(outcome.files_unchanged + outcome.files_restored, 3001);
    assert_eq!(inventory_below(&world.target()), inventory_below(&world.source()));
}

#[test]
fn hundreds_of_large_files_are_changed_in_place_with_few_of_them_open() {
    let world = World::new();
    // Two chunks each, most of them shared: small enough to be many.
    let (shared, files) = (noise(1, 600_000), 250u64);
    for n in 0..files {
        let path = world.source().join(format!("f{n}"));
        fs::write(&path, &shared).unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(&n.to_le_bytes(), 599_000).unwrap();
        set_time(&path, UNIX_EPOCH);
    }
    let snapshot = world.backup();
    world.restore_well(&snapshot, |_| {});
    for n in 0..files {
        let file = File::options().write(true).open(world.target().join(format!("f{n}"))).unwrap();
        file.write_all_at(b"changed", 0).unwrap();
    }
    let (outcome, _) = world.restore_well(&snapshot, |_| {});
    assert_eq!(outcome.files_restored, files);
    assert_eq!(inventory_below(&world.target()), inventory_below(&world.source()));
}

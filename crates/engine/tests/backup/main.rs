//! Backups of real folders into real (local) repositories.

mod copies;
mod produced;
mod world;

use engine::Source;
use format::id::BlobKind;
use format::kind::Kind;
use format::snapshot::Mode;
use format::tree::{Content, PathKey};
use repo::browse;
use std::fs;
use std::os::unix::fs::symlink;
use world::World;

#[test]
fn a_folder_is_saved_and_every_blob_reads_back() {
    let world = World::new();
    fs::create_dir_all(world.source().join("a/b")).unwrap();
    fs::write(world.source().join("a/small"), b"hello").unwrap();
    fs::write(world.source().join("a/b/empty"), b"").unwrap();
    let long: Vec<u8> = world::noise(7, 3_000_000);
    fs::write(world.source().join("long"), &long).unwrap();
    symlink("a/small", world.source().join("link")).unwrap();
    fs::hard_link(world.source().join("a/small"), world.source().join("a/twin")).unwrap();
    let outcome = world.backup(Mode::Incremental, |_| {});
    let snapshot = outcome.snapshot.expect("a snapshot was made");
    assert_eq!((outcome.stats.files_new, outcome.stats.faults), (4, 0));
    let reader = world.reader();
    let entry = |path: &str| {
        let key = PathKey::of(&world.components(path));
        browse::lookup(&reader, snapshot.root, &key).unwrap().unwrap_or_else(|| panic!("{path} is saved"))
    };
    let small = entry("a/small");
    let Content::Whole(id) = &small.content else { panic!("a small file is one blob") };
    assert_eq!(&reader.read(BlobKind::Data, id).unwrap()[..], b"hello");
    assert_eq!(entry("a/twin").link_group, small.link_group);
    assert!(small.link_group.is_some());
    assert_eq!(entry("link").kind(), Kind::Symlink);
    assert_eq!(&*entry("link").target, b"a/small");
    let mut back = Vec::new();
    for extent in browse::extents(&reader, &entry("long")).unwrap() {
        let format::tree::Extent::Data { id, repeat, .. } = extent else { panic!("no holes") };
        for _ in 0..repeat {
            back.extend_from_slice(&reader.read(BlobKind::Data, &id).unwrap());
        }
    }
    assert!(back == long);
}

#[test]
fn an_unchanged_second_run_stores_no_data_and_has_the_same_root() {
    let world = World::new();
    world.fill(300);
    let first = world.backup(Mode::Incremental, |_| {}).snapshot.unwrap();
    let second = world.backup(Mode::Incremental, |_| {});
    assert_eq!(second.stats.files_unmodified, 300);
    // The folder of temporary folders above the source may have changed, and so the nodes with its entry.
    assert!(second.written.blobs <= 2, "{} blobs", second.written.blobs);
    let full = world.backup(Mode::Full, |_| {});
    assert!(full.written.blobs <= 2, "re-reading everything finds the same");
    assert_eq!((full.stats.files_unmodified, first.stats.files_new), (300, 300));
    let skipped = world.backup(Mode::Incremental, |r| r.skip_if_unchanged = true);
    assert!(skipped.snapshot.is_none());
}

#[test]
fn files_that_are_read_again_because_they_are_young_did_not_change() {
    let world = World::new();
    world.fill(50);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let time = format::kind::Timestamp { secs: now.as_secs() as i64, nanos: 0 };
    world.backup(Mode::Incremental, |r| r.time = time);
    let second = world.backup(Mode::Incremental, |_| {});
    assert_eq!((second.stats.files_unmodified, second.stats.files_changed), (50, 0));
    assert!(second.written.blobs <= 2, "{} blobs", second.written.blobs);
    let full = world.backup(Mode::Full, |_| {});
    assert_eq!(full.stats.files_unmodified, 50);
}

#[test]
fn a_changed_file_is_noticed_and_a_removed_one_is_gone() {
    let world = World::new();
    world.fill(50);
    world.backup(Mode::Incremental, |_| {});
    fs::write(world.source().join("d3/f3"), b"changed").unwrap();
    fs::remove_file(world.source().join("d4/f4")).unwrap();
    let outcome = world.backup(Mode::Incremental, |_| {});
    assert_eq!((outcome.stats.files_changed, outcome.stats.files_new), (1, 0));
    assert_eq!(outcome.stats.files_unmodified, 48);
}

#[test]
fn a_dry_run_changes_nothing_and_knows_what_it_would_store() {
    let world = World::new();
    world.fill(20);
    let before = world.objects();
    let outcome = world.backup(Mode::Incremental, |r| r.dry_run = true);
    assert!(
        outcome.snapshot.is_none() && outcome.written.added_bytes > 0 && outcome.written.stored_bytes > 0
    );
    assert!(world.objects() == before);
}

#[test]
fn threads_do_not_change_what_is_written() {
    // Somebody else may make something in the folders above meanwhile: then again.
    let settled = (0..50).any(|_| threads_wrote_the_same());
    std::fs::remove_dir_all(World::shared_source()).unwrap();
    assert!(settled, "the folders above the source never stood still");
}

/// Whether nothing came between; fails if something else made a difference.
fn threads_wrote_the_same() -> bool {
    World::new().fill_in(&World::shared_source(), 200);
    let above = World::above_shared_source();
    let objects = [0, 1, 3].map(|n| {
        let world = World::new();
        world.backup(Mode::Incremental, |r| {
            r.source = Source::Paths(vec![World::shared_source()]);
            r.read_workers = repo::workers::Workers(n);
            r.seal_workers = repo::workers::Workers(n);
            r.upload_workers = repo::workers::Workers(n);
            r.walk.inline = n == 0;
        });
        world.objects()
    });
    if World::above_shared_source() != above {
        return false;
    }
    let names = |o: &Vec<(String, Vec<u8>)>| o.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&objects[0]), names(&objects[1]));
    assert!(objects[0] == objects[1] && objects[0] == objects[2]);
    true
}

#[test]
fn a_failing_stream_commits_nothing() {
    let world = World::new();
    let failing = world.try_backup(|r| {
        r.source = Source::Stream { name: "db.sql".into(), reader: Box::new(world::FailsAfter(100_000)) };
    });
    assert!(failing.is_err());
    assert_eq!(world.snapshots().len(), 0);
    let good = world.backup(Mode::Full, |r| {
        r.source = Source::Stream { name: "db.sql".into(), reader: Box::new(&b"select 1;"[..]) };
    });
    assert_eq!(good.snapshot.unwrap().sources, [b"stream:db.sql".to_vec()]);
}

#[test]
fn a_page_sized_edit_of_an_image_adds_little() {
    let world = World::new();
    let image = world.source().join("disk.img");
    let mut bytes = world::noise(3, 32 << 20);
    fs::write(&image, &bytes).unwrap();
    world.backup(Mode::Incremental, |_| {});
    bytes[10_000_000..10_004_096].fill(7);
    fs::write(&image, &bytes).unwrap();
    let outcome = world.backup(Mode::Incremental, |_| {});
    assert!(outcome.written.stored_bytes < 200_000, "{} bytes", outcome.written.stored_bytes);
}

#[test]
fn holes_are_kept_as_holes() {
    let world = World::new();
    let path = world.source().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"data", 32 << 20).unwrap();
    drop(file);
    let snapshot = world.backup(Mode::Incremental, |_| {}).snapshot.unwrap();
    let reader = world.reader();
    let key = PathKey::of(&world.components("sparse"));
    let entry = browse::lookup(&reader, snapshot.root, &key).unwrap().unwrap();
    let extents = browse::extents(&reader, &entry).unwrap();
    assert_eq!(extents.iter().map(|e| e.file_bytes()).sum::<u64>(), 64 << 20);
    assert!(matches!(extents.first(), Some(format::tree::Extent::Hole { .. })));
    assert!(matches!(extents.last(), Some(format::tree::Extent::Hole { .. })));
}

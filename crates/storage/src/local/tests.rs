//! What only a look at the folder itself can show; the rest is in the conformance suite.

use super::write::{BY_LINK, BY_RESERVATION};
use super::*;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("names in tests are well formed")
}

fn open(folder: &Path) -> LocalStore {
    LocalStore::open(folder, &LocalOptions::default()).expect("the folder is there")
}

fn names(store: &LocalStore, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut visit = |info: ObjectInfo| {
        names.push(info.name.to_string());
        ControlFlow::Continue(())
    };
    store.list(prefix, &mut visit).expect("list");
    names
}

fn temp_files(folder: &Path) -> usize {
    fs::read_dir(folder.join("tmp")).map_or(0, |entries| entries.count())
}

#[test]
fn a_missing_folder_is_no_such_place_unless_it_may_be_created() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b");
    let refused = LocalStore::open(&root, &LocalOptions::default()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::NoSuchPlace);
    assert!(!root.exists());
    let options = LocalOptions { create_root: true, ..LocalOptions::default() };
    LocalStore::open(&root, &options).unwrap().put(&name("config"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(fs::read(root.join("config")).unwrap(), b"x");
}

#[test]
fn opening_and_reading_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config"), b"x").unwrap();
    let store = open(folder.path());
    assert_eq!(store.get(&name("config"), 10).unwrap(), b"x");
    assert_eq!(names(&store, ""), ["config"]);
    store.sync().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn every_way_of_naming_refuses_a_taken_name_and_leaves_no_temporary_file() {
    for way in [0, BY_LINK, BY_RESERVATION] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.writer.naming.store(way, Ordering::Relaxed);
        let object = name("packs/4/4f");
        store.put(&object, b"first", PutMode::CreateNew).unwrap();
        let refused = store.put(&object, b"second", PutMode::CreateNew).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "way {way}");
        assert_eq!(store.get(&object, 100).unwrap(), b"first");
        store.put(&object, b"third", PutMode::Replace).unwrap();
        assert_eq!(store.get(&object, 100).unwrap(), b"third");
        assert_eq!(temp_files(folder.path()), 0, "way {way}");
        assert_eq!(store.writer.naming.load(Ordering::Relaxed), way, "this file system knows every way");
    }
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut upload = store.upload(10).unwrap();
    upload.write(&[7; 10_000_000]).unwrap();
    assert_eq!(temp_files(folder.path()), 1);
    drop(upload);
    assert_eq!(temp_files(folder.path()), 0);
    assert!(names(&store, "").is_empty());
}

#[test]
fn leftovers_older_than_a_day_go_at_the_first_write_and_younger_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tmp")).unwrap();
    for (file, age_s) in [("old", 25 * 3600), ("young", 23 * 3600)] {
        let path = folder.path().join("tmp").join(file);
        fs::write(&path, b"left").unwrap();
        let when = SystemTime::now() - Duration::from_secs(age_s);
        fs::File::options().write(true).open(&path).unwrap().set_modified(when).unwrap();
    }
    let store = open(folder.path());
    assert_eq!(temp_files(folder.path()), 2);
    store.put(&name("config"), b"x", PutMode::CreateNew).unwrap();
    assert!(!folder.path().join("tmp/old").exists());
    assert!(folder.path().join("tmp/young").exists());
}

#[test]
fn foreign_files_are_not_objects() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.put(&name("packs/4/4f"), b"x", PutMode::CreateNew).unwrap();
    fs::write(folder.path().join("packs/Thumbs.db"), b"x").unwrap();
    fs::write(folder.path().join("packs/a b"), b"x").unwrap();
    fs::create_dir(folder.path().join("packs/5")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("packs/aa")).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("packs/endless")).unwrap();
    rustix::fs::mknodat(CWD, folder.path().join("packs/pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(names(&store, "packs/"), ["packs/4/4f"]);
    assert_eq!(names(&store, ""), ["packs/4/4f"]);
    for foreign in ["packs/aa", "packs/pipe", "packs/5", "packs"] {
        assert_eq!(store.get(&name(foreign), 100).unwrap_err().kind(), ErrorKind::NotFound, "{foreign}");
        assert_eq!(store.stat(&name(foreign)).unwrap_err().kind(), ErrorKind::NotFound, "{foreign}");
    }
    for folder in ["packs/5", "packs"] {
        assert_eq!(store.delete(&name(folder)).unwrap_err().kind(), ErrorKind::NotFound, "{folder}");
    }
    assert_eq!(store.put(&name("tmp/x"), b"", PutMode::Replace).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_folder_moved_to_another_disk_by_a_link_still_counts() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(other.path(), folder.path().join("packs")).unwrap();
    fs::create_dir(other.path().join("4")).unwrap();
    fs::write(other.path().join("4/4f"), b"x").unwrap();
    let store = open(folder.path());
    assert_eq!(names(&store, ""), ["packs/4/4f"]);
    assert_eq!(names(&store, "packs/4"), ["packs/4/4f"]);
}

#[test]
fn a_folder_that_went_away_is_no_such_place() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("r");
    fs::create_dir(&root).unwrap();
    let store = open(&root);
    fs::remove_dir(&root).unwrap();
    let put = store.put(&name("packs/4/4f"), b"x", PutMode::CreateNew).unwrap_err();
    assert_eq!(put.kind(), ErrorKind::NoSuchPlace);
    assert_eq!(store.get(&name("config"), 1).unwrap_err().kind(), ErrorKind::NoSuchPlace);
    let list = |prefix| store.list(prefix, &mut |_| ControlFlow::Continue(())).unwrap_err().kind();
    assert_eq!(list("packs/"), ErrorKind::NoSuchPlace);
    assert_eq!(list(""), ErrorKind::NoSuchPlace);
}

#[test]
fn open_files_are_bounded_and_forgotten_when_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions { open_files_max: 2, ..LocalOptions::default() };
    let store = LocalStore::open(folder.path(), &options).unwrap();
    for object in ["a", "b", "c"] {
        store.put(&name(object), object.as_bytes(), PutMode::CreateNew).unwrap();
        assert_eq!(store.get_range(&name(object), 0..1).unwrap(), object.as_bytes());
    }
    store.put(&name("c"), b"C", PutMode::Replace).unwrap();
    assert_eq!(store.get_range(&name("c"), 0..1).unwrap(), b"C");
    store.delete(&name("c")).unwrap();
    assert_eq!(store.get_range(&name("c"), 0..1).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_huge_range_of_a_short_object_is_refused_without_making_room_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.put(&name("a"), b"abc", PutMode::CreateNew).unwrap();
    assert_eq!(store.get_range(&name("a"), 1..u64::MAX).unwrap_err().kind(), ErrorKind::Truncated);
    assert_eq!(store.get_range(&name("a"), 1..3).unwrap(), b"bc");
}

#[test]
fn unsynced_folders_are_remembered_until_sync() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.put(&name("packs/4/4f"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(store.writer.unsynced(), ["", "packs", "packs/4"]);
    store.sync().unwrap();
    assert!(store.writer.unsynced().is_empty());
    let options = LocalOptions { batch_folder_sync: false, ..LocalOptions::default() };
    let store = LocalStore::open(folder.path(), &options).unwrap();
    store.put(&name("packs/5/5f"), b"x", PutMode::CreateNew).unwrap();
    assert!(store.writer.unsynced().is_empty());
}

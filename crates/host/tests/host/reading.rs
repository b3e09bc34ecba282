//! Reading files: quietly, only regular ones, with the true map of their holes.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

use host::attributes::read_extras;
use host::read::{data_ranges, open_for_read};
use host::restore_file::{clone_range, punch_hole, reserve, set_length};
use host::stat::same_version;
use host::{Directory, Kind, Stat, Timestamp, Walk, WalkOptions};

use crate::support::{Mounted, present, scratch};

/// Walks to a folder and returns its handle with the metadata of its entries.
fn listed(folder: &Path) -> (Arc<Directory>, Vec<(Vec<u8>, Stat)>) {
    let options = WalkOptions { inline: true, ..WalkOptions::default() };
    let mut walk = Walk::start(&[folder.to_path_buf()], Arc::default(), options).unwrap();
    while let Some(listing) = walk.next() {
        if listing.dir.path() == folder.as_os_str().as_bytes() {
            let entries = listing.iter().map(|(name, stat)| (name.to_vec(), *stat)).collect();
            return (listing.dir, entries);
        }
    }
    panic!("the folder was not listed");
}

#[test]
fn what_took_the_place_of_a_file_is_not_read() {
    let (_guard, top) = scratch();
    for name in ["link", "pipe", "folder", "gone", "other", "same"] {
        fs::write(top.join(name), name).unwrap();
    }
    let (dir, entries) = listed(&top);
    for name in ["link", "pipe", "folder", "gone"] {
        fs::remove_file(top.join(name)).unwrap();
    }
    symlink("/etc/passwd", top.join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("pipe"), 0o600.into()).unwrap();
    fs::create_dir(top.join("folder")).unwrap();
    fs::write(top.join("new"), "replacement").unwrap();
    fs::rename(top.join("new"), top.join("other")).unwrap();
    for (name, stat) in &entries {
        let opened = open_for_read(&dir, name, stat);
        match name.as_slice() {
            b"same" => assert!(same_version(stat, &opened.unwrap().stat)),
            b"other" => {
                let mut opened = opened.unwrap();
                assert!(!same_version(stat, &opened.stat));
                let mut contents = String::new();
                opened.file.read_to_string(&mut contents).unwrap();
                assert_eq!((contents.as_str(), opened.stat.size_bytes), ("replacement", 11));
            }
            b"gone" => assert_eq!(opened.unwrap_err().kind(), ErrorKind::NotFound),
            _ => {
                opened.unwrap_err();
            }
        }
    }
}

#[test]
fn a_change_during_reading_is_noticed_and_reading_itself_is_none() {
    let (_guard, top) = scratch();
    fs::write(top.join("file"), "contents").unwrap();
    let old = fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH).set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(top.join("file")).unwrap().set_times(old).unwrap();
    let (dir, entries) = listed(&top);
    let (name, stat) = &entries[0];
    let mut open = open_for_read(&dir, name, stat).unwrap();
    open.file.read_to_end(&mut Vec::new()).unwrap();
    assert!(same_version(stat, &open.stat_again().unwrap()));
    assert_eq!(fs::metadata(top.join("file")).unwrap().atime(), 0, "reading leaves the access time");
    fs::File::options().append(true).open(top.join("file")).unwrap().write_all(b"!").unwrap();
    assert!(!same_version(stat, &open.stat_again().unwrap()));
    let after = open.stat_again().unwrap();
    // Same length, same mtime: only the change time tells.
    let file = fs::File::options().write(true).open(top.join("file")).unwrap();
    file.write_all_at(b"C", 0).unwrap();
    file.set_times(old).unwrap();
    let again = Stat { mtime: after.mtime, ..open.stat_again().unwrap() };
    assert!(!same_version(&after, &again));
    assert!(same_version(&after, &Stat { nlink: 9, ..after }));
    assert!(!same_version(&after, &Stat { mtime: Timestamp { secs: after.mtime.secs, nanos: 1 }, ..after }));
}

#[test]
fn the_map_of_holes_is_the_true_one() {
    let (_guard, top) = scratch();
    let file = fs::File::options().read(true).write(true).create_new(true).open(top.join("sparse")).unwrap();
    let block = 1 << 16;
    let size = 1 << 40;
    set_length(&file, size).unwrap();
    let pieces = [0, 5 * block, 6 * block, 1 << 33, size - block];
    for at in pieces {
        file.write_all_at(&vec![7; block as usize], at).unwrap();
    }
    file.sync_all().unwrap();
    let ranges = data_ranges(&file, size).unwrap();
    if !present("a file system with holes", ranges.len() > 1) {
        return;
    }
    let expected = [0..block, 5 * block..7 * block, 1 << 33..(1 << 33) + block, size - block..size];
    assert_eq!(ranges, expected);
    assert_eq!(data_ranges(&file, 6 * block).unwrap(), [0..block, 5 * block..6 * block]);
    punch_hole(&file, 5 * block, block).unwrap();
    assert_eq!(data_ranges(&file, 1 << 20).unwrap(), [0..block, 6 * block..7 * block]);
    set_length(&file, 1 << 20).unwrap();
    punch_hole(&file, 0, 1 << 20).unwrap();
    assert!(data_ranges(&file, 1 << 20).unwrap().is_empty());
    assert_eq!(fs::metadata(top.join("sparse")).unwrap().len(), 1 << 20);
    reserve(&file, 1 << 20).unwrap();
    assert!(fs::metadata(top.join("sparse")).unwrap().blocks() * 512 >= 1 << 20);
    assert!(data_ranges(&file, 0).unwrap().is_empty());
}

fn clone_in(folder: &Path) -> bool {
    fs::write(folder.join("from"), vec![3; 1 << 16]).unwrap();
    fs::write(folder.join("to"), b"").unwrap();
    let from = fs::File::open(folder.join("from")).unwrap();
    let to = fs::File::options().write(true).open(folder.join("to")).unwrap();
    let cloned = clone_range(&from, 0, 1 << 16, &to, 0).is_ok();
    let expected = if cloned { vec![3; 1 << 16] } else { Vec::new() };
    assert_eq!(fs::read(folder.join("to")).unwrap(), expected);
    cloned
}

#[test]
fn ranges_are_shared_where_the_file_system_can_and_nothing_changes_elsewhere() {
    let (_guard, top) = scratch();
    clone_in(&top);
    for kind in ["xfs", "btrfs"] {
        if let Some(_mounted) = Mounted::fresh(kind, &top.join(kind)) {
            assert!(clone_in(&top.join(kind)), "{kind}");
        }
    }
}

#[test]
fn extended_attributes_come_in_the_order_of_their_names() {
    let (_guard, top) = scratch();
    let file = fs::File::create(top.join("file")).unwrap();
    let none = rustix::fs::XattrFlags::empty();
    // Some file systems list shorter names first, some the newest.
    for name in ["user.b", "user.aa", "user.c", "user.aaa", "user.a"] {
        let set = rustix::fs::fsetxattr(&file, name, name.as_bytes(), none);
        if !present("a file system with extended attributes", set.is_ok()) {
            return;
        }
    }
    let (dir, entries) = listed(&top);
    let extras = read_extras(&dir, &entries[0].0, &entries[0].1).unwrap();
    let names: Vec<_> = extras.xattrs.iter().map(|xattr| String::from_utf8_lossy(&xattr.name)).collect();
    assert_eq!(names, ["user.a", "user.aa", "user.aaa", "user.b", "user.c"]);
    assert!(extras.xattrs.iter().all(|xattr| xattr.name == xattr.value));
}

#[test]
fn link_targets_are_read_whole_and_missing_entries_are_named() {
    let (_guard, top) = scratch();
    let target = "t".repeat(4000);
    symlink(&target, top.join("link")).unwrap();
    let (dir, entries) = listed(&top);
    let (name, stat) = &entries[0];
    let extras = read_extras(&dir, name, stat).unwrap();
    assert_eq!(extras.link_target.as_deref(), Some(target.as_bytes()));
    fs::remove_file(top.join("link")).unwrap();
    let extras = read_extras(&dir, name, stat).unwrap();
    let parts: Vec<_> = extras.unread.iter().map(|unread| &*unread.part).collect();
    assert_eq!(parts, ["extended attributes", "link target"]);
    assert_eq!(stat.kind, Kind::Symlink);
}

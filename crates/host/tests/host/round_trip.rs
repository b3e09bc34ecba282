//! Everything a Linux file system holds survives being read and put back; judged by a program that shares
//! no code with this crate.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use host::{Attributes, InPlace, Owners, Target, TargetOptions};

use crate::support::{Mounted, copy_tree, has_program, is_root, python, scratch};

const TORTURE: &str = include_str!("torture.py");
const COMPARE: &str = include_str!("compare.py");

/// Takes away what forbids the removal of the scratch folder.
struct Removable<'a>(&'a Path);

impl Drop for Removable<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(self.0).status();
    }
}

fn round_trip(source_top: &Path, target_top: &Path) {
    let (_source, _target) = (Removable(source_top), Removable(target_top));
    std::fs::create_dir(source_top).unwrap();
    let left_out = python(TORTURE, &[source_top]);
    let target = Target::open(target_top, true, TargetOptions::default()).unwrap();
    let left = copy_tree(source_top, &target);
    assert_eq!(left, []);
    assert_eq!(target.owners_skipped(), 0);
    let (before, after) = (python(COMPARE, &[source_top]), python(COMPARE, &[target_top]));
    assert!(before.lines().count() > 350);
    for (a, b) in before.lines().zip(after.lines()) {
        assert_eq!(a, b);
    }
    assert_eq!(before, after);
    // Each of them lacks something, but none lacks most of it.
    assert!(left_out.trim().parse::<usize>().unwrap() < 12, "{left_out} things could not be made");
}

fn everything_needed() -> bool {
    is_root() && has_program("python3") && has_program("chattr")
}

#[test]
fn every_attribute_comes_back() {
    if everything_needed() {
        let (_guard, top) = scratch();
        round_trip(&top.join("source"), &top.join("deep/target"));
    }
}

fn round_trip_on(kind: &str) {
    let (_guard, top) = scratch();
    if everything_needed()
        && let Some(_mounted) = Mounted::fresh(kind, &top.join("mounted"))
    {
        round_trip(&top.join("mounted/source"), &top.join("mounted/target"));
    }
}

#[test]
fn every_attribute_comes_back_on_tmpfs() {
    round_trip_on("tmpfs");
}

#[test]
fn every_attribute_comes_back_on_xfs() {
    round_trip_on("xfs");
}

#[test]
fn every_attribute_comes_back_on_btrfs() {
    round_trip_on("btrfs");
}

#[test]
fn owners_come_back_by_name_unless_numbers_are_asked_for() {
    if !is_root() {
        return;
    }
    let (_guard, top) = scratch();
    let foreign = Attributes {
        uid: 77_777,
        gid: 88_888,
        user: Some(b"daemon"),
        group: Some(b"no such group here"),
        mode: 0o640,
        ..Attributes::default()
    };
    let restored = |name: &str, options: TargetOptions| {
        let target = Target::open(&top, false, options).unwrap();
        let file = target.create_file(target.top(), name.as_bytes(), &foreign).unwrap();
        assert_eq!(target.finish_file(&file, &foreign), []);
        let stat = std::fs::metadata(top.join(name)).unwrap();
        (stat.uid(), stat.gid(), stat.mode() & 0o7777)
    };
    let daemon = Owners::of_this_machine().user_id(b"daemon").unwrap_or(77_777);
    assert_eq!(restored("by-name", TargetOptions::default()), (daemon, 88_888, 0o640));
    let numbers = TargetOptions { numeric_ids: true, ..TargetOptions::default() };
    assert_eq!(restored("by-number", numbers), (77_777, 88_888, 0o640));
    let nobody = TargetOptions { owners: false, ..TargetOptions::default() };
    assert_eq!(restored("not-at-all", nobody), (0, 0, 0o640));
}

#[test]
fn a_program_keeps_its_privilege_when_only_its_owner_changes() {
    if !is_root() {
        return;
    }
    let (_guard, top) = scratch();
    std::fs::write(top.join("program"), b"x").unwrap();
    std::os::unix::fs::chown(top.join("program"), Some(1000), Some(1000)).unwrap();
    std::fs::set_permissions(top.join("program"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let wanted = Attributes { mode: 0o4755, ..Attributes::default() };
    let target = Target::open(&top, false, TargetOptions::default()).unwrap();
    let InPlace::Open(file, _) = target.open_in_place(target.top(), b"program", &wanted).unwrap() else {
        panic!()
    };
    assert_eq!(target.finish_file(&file, &wanted), []);
    let stat = std::fs::metadata(top.join("program")).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (0, 0, 0o4755));
}

#[test]
fn a_file_is_private_until_it_belongs_to_its_owner() {
    if !is_root() {
        return;
    }
    let (_guard, top) = scratch();
    let target = Target::open(&top, false, TargetOptions::default()).unwrap();
    for (uid, gid) in [(1000, 0), (0, 1000)] {
        let wanted = Attributes { mode: 0o666, uid, gid, ..Attributes::default() };
        let name = format!("{uid}-{gid}");
        let file = target.create_file(target.top(), name.as_bytes(), &wanted).unwrap();
        let mode = || std::fs::metadata(top.join(&name)).unwrap().mode() & 0o777;
        assert_eq!(mode() & 0o077, 0);
        assert_eq!(target.finish_file(&file, &wanted), []);
        assert_eq!(mode(), 0o666);
    }
}

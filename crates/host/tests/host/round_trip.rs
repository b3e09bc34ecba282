//! Everything a Linux file system holds survives being read and put back; judged by a program that shares
//! no code with this crate.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use host::{Attributes, Owners, Target, TargetOptions};

use crate::support::{copy_tree, has_program, is_root, present, python, scratch};

const TORTURE: &str = include_str!("torture.py");
const COMPARE: &str = include_str!("compare.py");

/// Takes away what forbids the removal of the scratch folder.
struct Removable<'a>(&'a Path);

impl Drop for Removable<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(self.0).status();
    }
}

/// Returns how many things the file system of the source could not hold.
fn round_trip(source_top: &Path, target_top: &Path) -> usize {
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
    left_out.trim().parse().unwrap()
}

fn everything_needed() -> bool {
    is_root() && has_program("python3") && has_program("chattr")
}

#[test]
fn every_attribute_comes_back() {
    if everything_needed() {
        let (_guard, top) = scratch();
        let left_out = round_trip(&top.join("source"), &top.join("deep/target"));
        present("a file system with all attributes", left_out == 0);
    }
}

#[test]
fn every_attribute_comes_back_on_tmpfs() {
    if !everything_needed() {
        return;
    }
    let (_guard, top) = scratch();
    let none = rustix::mount::MountFlags::empty();
    if present("the right to mount", rustix::mount::mount("none", &top, "tmpfs", none, None).is_ok()) {
        round_trip(&top.join("source"), &top.join("target"));
        rustix::mount::unmount(&top, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
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

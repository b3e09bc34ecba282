//! Everything a Linux file system holds survives being read and put back; judged by a program that shares
//! no code with this crate.

use std::path::Path;

use crate::support::{copy_tree, has_program, is_root, python, scratch};
use host::{Target, TargetOptions};

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
    python(TORTURE, &[source_top]);
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
}

#[test]
fn every_attribute_comes_back() {
    if !is_root() || !has_program("python3") || !has_program("chattr") {
        return;
    }
    let (_guard, top) = scratch();
    std::fs::create_dir(top.join("source")).unwrap();
    round_trip(&top.join("source"), &top.join("deep/target"));
}

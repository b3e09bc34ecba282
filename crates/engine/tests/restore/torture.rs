//! Everything a Linux file system holds survives a backup and a restore; judged by a program that shares no
//! code with this one.

use crate::world::World;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const TORTURE: &str = include_str!("../../../host/tests/host/torture.py");
const COMPARE: &str = include_str!("../../../host/tests/host/compare.py");

/// Takes away what forbids the removal of a folder.
struct Removable<'a>(&'a Path);

impl Drop for Removable<'_> {
    fn drop(&mut self) {
        Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(self.0).status().ok();
    }
}

fn python(program: &str, argument: &Path) -> String {
    let mut child = Command::new("python3")
        .arg("-")
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the python program failed");
    String::from_utf8(output.stdout).unwrap()
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn the_torture_tree_comes_back_with_every_attribute() {
    // Devices, owners and forbidding flags are the administrator's to give.
    if !rustix::process::geteuid().is_root() || !is_there("python3") || !is_there("chattr") {
        return;
    }
    let world = World::new();
    let (source, target) = (world.source(), world.target());
    let _removable = (Removable(&source), Removable(&target));
    python(TORTURE, &source);
    let before = python(COMPARE, &source);
    assert!(before.lines().count() > 350);
    let snapshot = world.backup();
    let (outcome, _) = world.restore_well(&snapshot, |r| r.verify = true);
    assert!(outcome.files_verified > 100, "{} files", outcome.files_verified);
    let after = python(COMPARE, &target);
    for (a, b) in before.lines().zip(after.lines()) {
        assert_eq!(a, b);
    }
    assert_eq!(before, after);
    // Again, over itself: nothing is written, nothing is lost.
    let (again, _) = world.restore_well(&snapshot, |_| {});
    assert_eq!(again.bytes_written, 0);
    assert_eq!(python(COMPARE, &target), before);
}

//! Runs that end at any moment, and runs at the same time: no snapshot is lost, none is wrong.

use crate::support::Machine;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Bytes that neither compress nor repeat.
fn noise(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len_bytes).map(|_| next()).collect()
}

fn snapshots(machine: &Machine) -> usize {
    let ran = machine.run(&["snapshots", "--json", "-r", "repo"]);
    let list: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
    list.as_array().unwrap().len()
}

#[test]
fn a_run_killed_at_any_moment_costs_only_itself() {
    let machine = Machine::with_snapshot();
    for name in 0..40u64 {
        machine.write(&format!("big/{name}"), &noise(name + 1, 1 << 20));
    }
    let (mut finished, mut runs) = (false, 0);
    let mut wait_ms = 5;
    while !finished {
        runs += 1;
        let mut command = machine.command();
        command.args(["backup", "-q", "-r", "repo", "big"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait_ms));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Whenever it was killed: the older snapshot is whole, and nothing has to be unlocked or mended.
        machine.ok(&["check", "-r", "repo"]);
        finished = ended.is_some_and(|status| status.success());
        // A run that is killed after its commit has made its snapshot, too.
        let made = snapshots(&machine) - 1;
        assert!(finished as usize <= made && made <= runs, "{made} of {runs}");
        wait_ms = wait_ms * 3 / 2 + 5;
    }
    let spec = format!("latest:{}/big", machine.root.display());
    machine.ok(&["restore", "-r", "repo", &spec, "--target", "back", "--no-sync"]);
    for name in 0..40 {
        let (saved, back) = (machine.path(&format!("big/{name}")), machine.path(&format!("back/{name}")));
        assert!(fs::read(saved).unwrap() == fs::read(back).unwrap(), "{name}");
    }
    machine.ok(&["check", "--read-data", "-r", "repo"]);
}

/// Ctrl-C in the middle of a first backup: what had been stored by then is not stored again.
#[test]
fn a_first_backup_that_is_stopped_goes_on_from_there() {
    let machine = Machine::with_repository();
    for name in 0..64u64 {
        machine.write(&format!("big/{name}"), &noise(name + 1, 1 << 20));
    }
    let names =
        |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let packs = || names(machine.path("repo/packs")).flat_map(names).count();
    let mut command = machine.command();
    command.args(["backup", "-q", "-r", "repo", "big", "--limit-upload", "16M"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while packs() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it was to be stopped before its end");
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("what was stored so far stays and is used again"), "{said}");
    let ran = machine.run(&["backup", "-r", "repo", "big", "--json"]);
    let last = ran.out.lines().last().unwrap();
    let summary: serde_json::Value = serde_json::from_str(last).unwrap();
    let added = summary["data_added"].as_u64().unwrap();
    assert!(added < 40 << 20, "of 64 MiB two packs were there: {summary}");
    machine.ok(&["check", "--read-data", "-r", "repo"]);
}

#[test]
fn a_restore_killed_at_any_moment_is_continued() {
    let machine = Machine::with_repository();
    for name in 0..30u64 {
        machine.write(&format!("big/{name}"), &noise(name + 1, 1 << 20));
    }
    machine.ok(&["backup", "-r", "repo", "big"]);
    let spec = format!("latest:{}/big", machine.root.display());
    let args = ["restore", "-q", "-r", "repo", &spec, "--target", "back", "--no-sync"];
    for wait_ms in [20, 60, 120, 200] {
        let mut child =
            machine.command().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    machine.ok(&args);
    let mut names: Vec<_> =
        fs::read_dir(machine.path("back")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 30, "nothing half written is left: {names:?}");
    for name in 0..30 {
        let (saved, back) = (machine.path(&format!("big/{name}")), machine.path(&format!("back/{name}")));
        assert!(fs::read(saved).unwrap() == fs::read(back).unwrap(), "{name}");
    }
}

#[test]
fn two_backups_at_once_are_both_whole() {
    let machine = Machine::with_repository();
    for name in 0..8u64 {
        machine.write(&format!("one/{name}"), &noise(name + 1, 1 << 20));
        // Half of it is in both sources.
        machine.write(&format!("two/{name}"), &noise(name + 5, 1 << 20));
    }
    let start = |source: &str| {
        let mut command = machine.command();
        command.args(["backup", "-q", "-r", "repo", source]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for child in [start("one"), start("two"), start("one")] {
        let ran = machine.ran(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    assert_eq!(snapshots(&machine), 3);
    machine.ok(&["check", "--read-data", "-r", "repo"]);
    for source in ["one", "two"] {
        let spec = format!("latest:{}/{source}", machine.root.display());
        let path = machine.path(source);
        machine.ok(&[
            "restore",
            "-r",
            "repo",
            &spec,
            "--path",
            path.to_str().unwrap(),
            "--target",
            &format!("back-{source}"),
        ]);
        for name in 0..8 {
            let back = fs::read(machine.path(&format!("back-{source}/{name}"))).unwrap();
            assert!(back == fs::read(path.join(name.to_string())).unwrap(), "{source}/{name}");
        }
    }
}

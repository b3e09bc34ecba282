//! A repository that shows an older state than this machine has seen.

use crate::support::Machine;
use std::fs;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(item.file_name());
        match item.file_type().unwrap().is_dir() {
            true => copy(&item.path(), &target),
            false => _ = fs::copy(item.path(), target).unwrap(),
        }
    }
}

/// Puts the first state of the repository back.
fn roll_back(machine: &Machine) {
    fs::remove_dir_all(machine.path("repo")).unwrap();
    copy(&machine.path("older"), &machine.path("repo"));
}

/// A machine with one snapshot, a copy of the repository of that time, and a second snapshot.
fn two_states() -> Machine {
    let machine = Machine::with_snapshot();
    copy(&machine.path("repo"), &machine.path("older"));
    machine.write("src/new", b"newer");
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine
}

#[test]
fn an_older_state_is_refused_until_it_is_accepted() {
    let machine = two_states();
    roll_back(&machine);
    for command in [
        &["snapshots", "-r", "repo"][..],
        &["backup", "-r", "repo", "src"],
        &["ls", "-r", "repo", "latest"],
        &["restore", "-r", "repo", "latest", "--target", "back"],
    ] {
        let ran = machine.run(command);
        assert_eq!(ran.code, 1, "{command:?}: {}", ran.err);
        assert!(
            ran.err.contains("error: repo shows an older state than this machine has seen")
                && ran.err.contains("(number 2 of its machine) is gone, and was not forgotten")
                && ran.err.contains("add --accept-rollback once"),
            "{command:?}: {}",
            ran.err
        );
    }
    assert!(!machine.path("back").exists());
    machine.ok(&["snapshots", "-r", "repo", "--accept-rollback"]);
    machine.ok(&["snapshots", "-r", "repo"]);
    machine.ok(&["backup", "-r", "repo", "src"]);
}

#[test]
fn a_machine_that_forgot_what_it_saw_notices_nothing_and_works() {
    let machine = two_states();
    roll_back(&machine);
    fs::remove_dir_all(machine.path("home/.local/state")).unwrap();
    machine.ok(&["snapshots", "-r", "repo"]);
    machine.ok(&["backup", "-r", "repo", "src"]);
}

#[test]
fn what_was_forgotten_and_pruned_is_no_rollback_for_anybody() {
    let machine = two_states();
    // Another machine saw the newest snapshot as well.
    copy(&machine.path("home"), &machine.path("elsewhere"));
    machine.ok(&["forget", "-r", "repo", "latest"]);
    machine.ok(&["snapshots", "-r", "repo"]);
    machine.ok(&["prune", "-r", "repo", "--undo-window", "0", "--grace", "0"]);
    machine.ok(&["snapshots", "-r", "repo"]);
    fs::remove_dir_all(machine.path("home")).unwrap();
    fs::rename(machine.path("elsewhere"), machine.path("home")).unwrap();
    machine.ok(&["snapshots", "-r", "repo"]);
    machine.ok(&["backup", "-r", "repo", "src"]);
}

/// Takes both copies of a snapshot's record away.
fn lose_record(folder: &Path, id: &str) -> usize {
    let mut lost = 0;
    for item in fs::read_dir(folder).unwrap().flatten() {
        if item.file_type().unwrap().is_dir() {
            lost += lose_record(&item.path(), id);
        } else if item.file_name().to_string_lossy() == id {
            fs::remove_file(item.path()).unwrap();
            lost += 1;
        }
    }
    lost
}

#[test]
fn a_record_that_is_lost_between_others_is_told_and_stops_nothing() {
    let machine = two_states();
    machine.write("src/third", b"third");
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine.ok(&["init", "-r", "sibling", "--copy-of", "repo"]);
    machine.ok(&["sync", "--from", "repo", "--to", "sibling"]);
    let list = machine.run(&["snapshots", "-r", "repo", "--json"]);
    let list: Vec<serde_json::Value> = serde_json::from_slice(&list.raw_out).unwrap();
    let middle = list[1]["id"].as_str().unwrap().to_string();
    assert_eq!(lose_record(&machine.path("repo"), &middle), 2);
    let told =
        "(number 2 of its machine) is gone, and was not forgotten; newer ones of its machine are there";
    for command in [&["snapshots", "-r", "repo"][..], &["backup", "-r", "repo", "src"]] {
        let ran = machine.run(command);
        assert!(ran.code == 0 && ran.err.contains(told), "{command:?}: {}{}", ran.out, ran.err);
    }
    let status = machine.run(&["status", "-r", "repo", "--check"]);
    assert!(status.code == 4 && status.out.contains("DAMAGED"), "{}{}", status.out, status.err);
    let check = machine.run(&["check", "-r", "repo"]);
    assert!(check.code == 5 && check.out.contains(told), "{}{}", check.out, check.err);
    machine.ok(&["repair", "-r", "repo", "--from", "sibling"]);
    let check = machine.run(&["check", "-r", "repo"]);
    assert_eq!((check.code, check.err.contains("gone")), (0, false), "{}{}", check.out, check.err);
    // Where no other copy has it, the loss is accepted once.
    assert!(lose_record(&machine.path("repo"), &middle) >= 2);
    assert_eq!(machine.run(&["check", "-r", "repo"]).code, 5);
    assert_eq!(machine.run(&["check", "-r", "repo", "--accept-rollback"]).code, 0);
    assert_eq!(machine.run(&["check", "-r", "repo"]).code, 0);
}

//! What `lifeboat prune` prints, and what it refuses.

use crate::support::{Machine, Ran};

/// A machine with two snapshots, the older one forgotten and with contents of its own.
fn with_garbage() -> Machine {
    let machine = Machine::with_repository();
    machine.write("src/old", &[7; 100_000]);
    machine.ok(&["backup", "-r", "repo", "src"]);
    std::fs::remove_file(machine.path("src/old")).unwrap();
    machine.write("src/new", &[8; 100_000]);
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine.ok(&["forget", "-r", "repo", "latest~1"]);
    machine
}

fn prune(machine: &Machine, args: &[&str]) -> Ran {
    machine.run(&[&["prune", "-r", "repo"], args].concat())
}

fn summary(ran: &Ran) -> serde_json::Value {
    serde_json::from_slice(&ran.raw_out).unwrap()
}

fn snapshots(machine: &Machine) -> usize {
    let ran = machine.run(&["snapshots", "--forgotten", "--json", "-r", "repo"]);
    summary(&ran).as_array().unwrap().len()
}

#[test]
fn a_dry_run_foretells_and_changes_nothing() {
    let machine = with_garbage();
    let urgent = ["--undo-window", "0", "--grace", "0"];
    let foretold = prune(&machine, &[&urgent[..], &["-n"]].concat());
    assert_eq!(foretold.code, 0, "{}", foretold.err);
    assert!(foretold.out.starts_with("would remove 1 forgotten snapshot\n"), "{}", foretold.out);
    assert!(foretold.out.contains("\nwould free "), "{}", foretold.out);
    assert_eq!(snapshots(&machine), 2);
    let told = summary(&prune(&machine, &[&urgent[..], &["-n", "--json"]].concat()));
    let done = summary(&prune(&machine, &[&urgent[..], &["--json"]].concat()));
    assert_eq!((told["dry_run"].as_bool(), done["dry_run"].as_bool()), (Some(true), Some(false)));
    for key in ["message_type", "snapshots_removed", "packs", "packs_deleted", "bytes_freed", "bytes_stored"]
    {
        assert_eq!(told[key], done[key], "{key}");
    }
    assert_eq!(done["message_type"], "summary");
    assert!(done["bytes_freed"].as_u64().unwrap() > 0);
    assert_eq!(snapshots(&machine), 1);
}

#[test]
fn within_the_undo_window_nothing_goes() {
    let machine = with_garbage();
    let ran = prune(&machine, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let first = "1 forgotten snapshot can still be brought back (forget --undo)\n";
    assert!(ran.out.starts_with(first), "{}", ran.out);
    assert!(ran.out.ends_with("freed 0 B (0 packs)\n"), "{}", ran.out);
    assert_eq!(snapshots(&machine), 2);
    assert_eq!(prune(&machine, &["-q"]).out, "");
}

#[test]
fn what_is_too_new_to_go_is_said_and_goes_when_it_is_asked_for() {
    let machine = Machine::with_repository();
    machine.ok(&["backup", "-r", "repo", "src"]);
    // A run of its own, so that nothing else is in the pack: how the rest is cut depends on the keys.
    machine.write("src/old", &[7; 100_000]);
    machine.ok(&["backup", "-r", "repo", "src"]);
    std::fs::remove_file(machine.path("src/old")).unwrap();
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine.ok(&["forget", "-r", "repo", "latest~1"]);
    let ran = prune(&machine, &["--undo-window", "0"]);
    assert!(ran.out.starts_with("removed 1 forgotten snapshot\n"), "{}", ran.out);
    assert!(ran.out.contains(" are unused but too new: a backup may be about to use them\n"), "{}", ran.out);
    let ran = prune(&machine, &["--undo-window", "0", "--grace", "0"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    machine.ok(&["check", "--read-data", "-r", "repo"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let machine = with_garbage();
    for (args, words) in [
        (["--grace", "soon"], "\"soon\" is no length of time"),
        (["--undo-window", "-1"], "unexpected argument '-1'"),
        (["--max-unused", "120%"], "\"120%\" is no share"),
        (["--max-repack", "lots"], "lots"),
        (["--dead-after", "1y2"], "\"1y2\" is no length of time"),
    ] {
        let ran = prune(&machine, &args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    }
    assert_eq!(snapshots(&machine), 2);
    assert_eq!(machine.run(&["prune", "-r", "nowhere"]).code, 10);
}

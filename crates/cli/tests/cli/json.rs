//! With `--json` programs read along: every line is an object or a list, and nothing else is printed.

use crate::support::{Machine, Ran};
use serde_json::Value;

/// All lines of both streams.
fn lines(ran: &Ran) -> Vec<Value> {
    let out = String::from_utf8(ran.raw_out.clone()).unwrap();
    let all = out.lines().chain(ran.raw_err.lines());
    all.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
}

#[test]
fn every_command_speaks_json_only() {
    let machine = Machine::with_snapshot();
    machine.write("src/a", b"changed");
    let file = format!("{}/src/a", machine.root.display());
    let commands: [&[&str]; 25] = [
        &["init", "-r", "other"],
        &["backup", "src", "-r", "repo"],
        &["backup", "src", "-r", "repo", "-v", "--skip-if-unchanged"],
        &["backup", "src", "gone", "-r", "repo", "-n"],
        &["snapshots", "-r", "repo"],
        &["ls", "latest", "-r", "repo"],
        &["find", "a", "-r", "repo"],
        &["versions", &file, "-r", "repo"],
        &["diff", "latest~1", "latest", "-r", "repo"],
        &["restore", "latest", "--target", "back", "-r", "repo", "-vv"],
        &["check", "--read-data", "-r", "repo"],
        &["stats", "-r", "repo"],
        &["key", "list", "-r", "repo"],
        &["forget", "latest", "-n", "-r", "repo"],
        &["forget", "--keep-last", "1", "-n", "-r", "repo"],
        &["forget", "--undo", "-r", "repo"],
        &["hold", "add", "x", "--all", "-n", "-r", "repo"],
        &["hold", "list", "-r", "repo"],
        &["trust", "-r", "repo"],
        &["tag", "--add", "x", "latest", "-r", "repo"],
        &["repo", "info", "-r", "repo"],
        &["repo", "test", "-r", "repo"],
        &["excludes", "explain", "src/a"],
        &["version"],
        &["snapshots", "-r", "nowhere"],
    ];
    for command in commands {
        let args: Vec<&str> = command.iter().copied().chain(["--json"]).collect();
        let ran = machine.run(&args);
        assert!(!lines(&ran).is_empty(), "{command:?} says nothing");
    }
}

#[test]
fn the_summary_has_the_field_names_scripts_know() {
    let machine = Machine::with_repository();
    let ran = machine.run(&["backup", "--json", "-r", "repo", "src"]);
    let all = lines(&ran);
    let summary = all.last().unwrap();
    assert_eq!(summary["message_type"], "summary");
    assert_eq!(summary["files_new"], 2);
    assert_eq!(summary["total_bytes_processed"], 12);
    assert_eq!(summary["result"], "success");
    assert_eq!(summary["snapshot_id"].as_str().unwrap().len(), 32);
}

#[test]
fn a_failure_is_an_object_with_its_code() {
    let ran = Machine::new().run(&["ls", "latest", "--json", "-r", "nowhere"]);
    let all = lines(&ran);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["message_type"], "exit_error");
    assert_eq!((all[0]["code"].as_i64(), ran.code), (Some(10), 10));
    assert_eq!(all[0]["hint"], "lifeboat init -r nowhere");
}

#[test]
fn the_recovery_key_is_in_no_output() {
    let machine = Machine::new();
    let ran = machine.run(&["init", "--json", "-r", "repo", "--recovery-key-file", "recovery"]);
    let text = std::fs::read_to_string(machine.path("recovery")).unwrap();
    let key = text.lines().find(|line| !line.starts_with('#')).unwrap();
    assert_eq!((key.len(), key.split('-').count()), (69, 14));
    let all = format!("{}{}", String::from_utf8_lossy(&ran.raw_out), ran.raw_err);
    assert!(!all.contains(&key[..9]), "{all}");
}

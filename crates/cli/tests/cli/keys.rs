//! Ways in: key files, passwords, the recovery key, and what each may do.

use crate::support::Machine;
use std::fs;

fn slots(machine: &Machine) -> Vec<serde_json::Value> {
    let ran = machine.run(&["key", "list", "--json", "-r", "repo"]);
    serde_json::from_slice::<serde_json::Value>(&ran.raw_out).unwrap().as_array().unwrap().clone()
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let machine = Machine::new();
    machine.ok(&["init", "-r", "repo", "--key-file", "my.key", "--recovery-key-file", "recovery"]);
    assert_eq!((machine.mode("my.key"), machine.mode("recovery")), (0o600, 0o600));
    let text = fs::read_to_string(machine.path("my.key")).unwrap();
    let digits = text.strip_prefix("lifeboat-key-1 ").unwrap().trim_end();
    assert_eq!(digits.len(), 56);
    assert!(!machine.path("home/.config/lifeboat/keys").exists(), "no other key was made");
    machine.ok(&["snapshots", "-r", "repo", "--key-file", "my.key"]);
    let ran = machine.run(&["snapshots", "-r", "repo"]);
    assert_eq!(ran.code, 12);
}

#[test]
fn the_first_backup_makes_the_key_file_it_is_told() {
    let machine = Machine::new();
    fs::create_dir(machine.path("repo")).unwrap();
    let args = ["backup", "--init", "-r", "repo", "src", "--key-file", "my.key"];
    machine.ok(&args);
    assert_eq!(machine.mode("my.key"), 0o600);
    machine.ok(&args);
    assert!(machine.ok(&["snapshots", "-r", "repo", "--key-file", "my.key"]).ends_with("2 snapshots\n"));
    let ran = machine.run(&["snapshots", "-r", "repo", "--key-file", "other.key"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.starts_with("error: cannot read other.key\n"), "{}", ran.err);
}

#[test]
fn a_failed_init_leaves_no_keys() {
    let machine = Machine::new();
    machine.write("taken", b"a file, not a folder");
    let ran = machine.run(&["init", "-r", "taken/repo", "--key-file", "my.key"]);
    assert_ne!(ran.code, 0);
    assert!(!machine.path("my.key").exists());
}

#[test]
fn an_existing_file_is_never_replaced_by_a_key() {
    let machine = Machine::new();
    machine.write("precious", b"mine");
    let ran = machine.run(&["init", "-r", "repo", "--recovery-key-file", "precious"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert_eq!(fs::read(machine.path("precious")).unwrap(), b"mine");
}

#[test]
fn keys_are_added_and_removed_but_never_the_last_owner() {
    let machine = Machine::with_snapshot();
    machine.ok(&["key", "add", "-r", "repo", "--file", "second.key", "--label", "second"]);
    assert_eq!(slots(&machine).len(), 3);
    machine.ok(&["snapshots", "-r", "repo", "--key-file", "second.key"]);
    let id = |kind: &str, label: &str| {
        let all = slots(&machine);
        let fits =
            all.iter().find(|slot| slot["kind"] == kind && (label.is_empty() || slot["label"] == label));
        fits.unwrap()["id"].as_str().unwrap().to_string()
    };
    machine.ok(&["key", "remove", "-r", "repo", &id("key file", "second")]);
    machine.ok(&["key", "remove", "-r", "repo", "-n", &id("recovery key", "")]);
    assert_eq!(slots(&machine).len(), 2);
    machine.ok(&["key", "remove", "-r", "repo", &id("recovery key", "")]);
    let ran = machine.run(&["key", "remove", "-r", "repo", &id("key file", "")]);
    assert_eq!(ran.code, 14);
    assert!(ran.err.contains("last key that may do everything"), "{}", ran.err);
    assert_eq!(machine.run(&["snapshots", "-r", "repo", "--key-file", "second.key"]).code, 12);
}

#[test]
fn a_maintainer_sees_names_and_never_contents() {
    let machine = Machine::with_snapshot();
    machine.ok(&["key", "add", "-r", "repo", "--file", "prune.key", "--role", "maintain"]);
    let slots = machine.ok(&["key", "list", "-r", "repo", "--json"]);
    let own = slots.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_string();
    let refused = machine.run(&["key", "remove", "-r", "repo", "--key-file", "prune.key", &own]);
    assert_eq!(refused.code, 14, "nobody is locked out by whoever may only maintain: {}", refused.err);
    let with_key = |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["-r", "repo", "--key-file", "prune.key"]).collect();
        machine.run(&args)
    };
    assert!(with_key(&["ls", "latest"]).out.contains("ROOT/src/a\n"));
    assert_eq!(with_key(&["check", "--read-data"]).code, 0);
    assert_eq!(with_key(&["forget", "latest"]).code, 0);
    for refused in [&["backup", "src"][..], &["cat", &format!("latest:{}/src/a", machine.root.display())]] {
        let ran = with_key(refused);
        assert_ne!(ran.code, 0, "{refused:?}");
        assert!(!ran.out.contains("hello"));
    }
}

#[test]
fn a_password_is_changed() {
    let machine = Machine::new();
    machine.write("old", b"first password\n");
    machine.write("new", b"second password\n");
    machine.ok(&["init", "-r", "repo", "--password-file", "old"]);
    machine.ok(&["key", "passwd", "-r", "repo", "--password-file", "old", "--new-password-file", "new"]);
    assert_eq!(machine.run(&["snapshots", "-r", "repo", "--password-file", "old"]).code, 12);
    machine.ok(&["snapshots", "-r", "repo", "--password-file", "new"]);
    let recovery =
        fs::read_dir(machine.path("home/.config/lifeboat/keys")).unwrap().next().unwrap().unwrap().path();
    machine.ok(&["snapshots", "-r", "repo", &format!("--recovery-key={}", recovery.display())]);
}

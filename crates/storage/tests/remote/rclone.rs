//! Places behind rclone: its child keeps the promises, tells nobody its password, and ends with us.

use crate::servers::program;
use crate::servers::{judge, name, with_causes};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{
    CreateNewKept, ErrorKind, Location, OpenOptions, PutMode, RcloneStore, RemoteOptions, RetryOptions,
    RetryStore, Store, StoreResult, open, probe,
};

const HINT: &str = "Debian: apt install rclone";

/// A folder with rclone's configuration, whose remote `disk` is this machine.
fn configured() -> Option<tempfile::TempDir> {
    program::find("rclone", HINT)?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rclone.conf"), "[disk]\ntype = local\n").unwrap();
    Some(folder)
}

fn start(folder: &Path, place: &str, create: bool) -> StoreResult<RcloneStore> {
    let Location::Rclone(place) = Location::parse(place).unwrap() else { panic!("{place}") };
    let config = folder.join("rclone.conf").display().to_string();
    let lookup = move |name: &str| (name == "RCLONE_CONFIG").then(|| config.clone());
    RcloneStore::open(&place, create, &RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() })
}

fn on_disk(folder: &Path) -> String {
    format!("rclone:disk:{}/some/where", folder.display())
}

fn is_alive(id: u32) -> bool {
    // A zombie that nobody has waited for is as dead as can be.
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn dies(id: u32) -> bool {
    let start = Instant::now();
    while is_alive(id) && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    !is_alive(id)
}

#[test]
fn rclone_keeps_its_promises() {
    let Some(folder) = configured() else { return };
    let store = Arc::new(start(folder.path(), &on_disk(folder.path()), true).unwrap());
    judge(&RetryStore::new(store, RetryOptions::default()));
}

#[test]
fn what_one_child_stores_another_sees_at_once() {
    let Some(folder) = configured() else { return };
    let first = start(folder.path(), &on_disk(folder.path()), true).unwrap();
    let second = start(folder.path(), &on_disk(folder.path()), false).unwrap();
    let found = probe(&first, "maint/probe-1").unwrap();
    assert_eq!(found.create_new, CreateNewKept::BestEffort);
    assert!(found.suits_many_writers() && found.can_replace && found.can_delete && found.received_time);
    for number in 0..5 {
        let object = name(&format!("packs/4/{number}"));
        assert_eq!(second.stat(&object).unwrap_err().kind(), ErrorKind::NotFound);
        first.put(&object, b"x", PutMode::CreateNew).unwrap();
        assert_eq!(second.get(&object, 1).unwrap(), b"x");
    }
}

#[test]
fn the_password_is_in_no_argument_and_the_child_ends_with_the_store() {
    let Some(folder) = configured() else { return };
    let store = start(folder.path(), &on_disk(folder.path()), true).unwrap();
    let id = store.child_id();
    let arguments = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap();
    let environment = std::fs::read_to_string(format!("/proc/{id}/environ")).unwrap();
    let password = environment.split('\0').find_map(|pair| pair.strip_prefix("RCLONE_PASS=")).unwrap();
    assert!(password.len() >= 20 && !arguments.contains(password), "{arguments}");
    assert!(arguments.contains("127.0.0.1:0"));
    drop(store);
    assert!(dies(id));
}

/// Runs in a process of its own that is killed: see below.
#[test]
fn helper_that_is_killed() {
    let Some(folder) = std::env::var_os("LIFEBOAT_TEST_RCLONE_FOLDER") else { return };
    let folder = Path::new(&folder);
    // Started on a thread that ends: the child must stay nevertheless.
    let store = std::thread::scope(|scope| {
        scope.spawn(|| start(folder, &on_disk(folder), true).unwrap()).join().unwrap()
    });
    std::thread::sleep(Duration::from_millis(300));
    store.put(&name("a"), b"x", PutMode::Replace).unwrap();
    std::fs::write(folder.join("child"), store.child_id().to_string()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn the_child_ends_when_we_are_killed() {
    let Some(folder) = configured() else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "rclone::helper_that_is_killed", "--nocapture"]);
    command.env("LIFEBOAT_TEST_RCLONE_FOLDER", folder.path()).stdout(Stdio::piped());
    let mut helper = command.spawn().unwrap();
    let start = Instant::now();
    let child = loop {
        match std::fs::read_to_string(folder.path().join("child")) {
            Ok(text) if !text.is_empty() => break text.parse().unwrap(),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the helper has not started rclone");
    };
    assert!(is_alive(child));
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert!(dies(child));
    drop(BufReader::new(helper.stdout.take().unwrap()).lines());
}

#[test]
fn a_child_that_dies_is_replaced_and_nothing_is_lost() {
    let Some(folder) = configured() else { return };
    let store = start(folder.path(), &on_disk(folder.path()), true).unwrap();
    let patient = RetryStore::new(Arc::new(store.clone()), RetryOptions::default());
    let mut killed = Vec::new();
    for number in 0..6 {
        patient.put(&name(&format!("packs/4/{number}")), b"contents", PutMode::CreateNew).unwrap();
        if number % 2 == 0 {
            killed.push(store.child_id());
            assert!(
                Command::new("kill")
                    .arg("-KILL")
                    .arg(store.child_id().to_string())
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
    for number in 0..6 {
        assert_eq!(patient.get(&name(&format!("packs/4/{number}")), 10).unwrap(), b"contents");
    }
    killed.dedup();
    assert_eq!(killed.len(), 3);
    assert!(!killed.contains(&store.child_id()));
}

#[test]
fn a_missing_program_an_unknown_remote_and_a_bad_folder_are_told() {
    let Some(folder) = configured() else { return };
    let unknown = start(folder.path(), "rclone:nowhere:x", false).err().unwrap();
    assert_eq!(unknown.kind(), ErrorKind::Config, "{}", with_causes(&unknown));
    assert!(with_causes(&unknown).contains("rclone listremotes"), "{}", with_causes(&unknown));
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let below_a_file = format!("rclone:disk:{}/file/x", folder.path().display());
    let refused = start(folder.path(), &below_a_file, true).err().unwrap();
    assert!(with_causes(&refused).contains("not a directory"), "{}", with_causes(&refused));
    let lookup = |name: &str| (name == "LIFEBOAT_RCLONE").then(|| "/nonexistent/rclone".to_owned());
    let remote = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
    let location = Location::parse("rclone:disk:x").unwrap();
    let missing = open(&location, &OpenOptions { remote, ..OpenOptions::default() }).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::Config);
    assert!(with_causes(&missing).contains("apt install rclone"), "{}", with_causes(&missing));
}

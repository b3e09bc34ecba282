//! WebDAV against a real server: `rclone serve webdav`.

use crate::servers::program::{self, Program};
use crate::servers::{judge, name, with_causes};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::{
    CreateNewKept, ErrorKind, Location, PutMode, RemoteOptions, RemoteStore, RetryOptions, RetryStore, Store,
    StoreResult, probe,
};

const HINT: &str = "Debian: apt install rclone";

fn serve(rclone: &Path, folder: &Path) -> Program {
    Program::start(|address| {
        let mut command = Command::new(rclone);
        command.args(["serve", "webdav", "--user", "me", "--pass", "not-a-secret", "--addr"]);
        command.arg(address.to_string()).arg(folder).env("RCLONE_CONFIG", "/nonexistent/rclone.conf");
        command
    })
}

fn open(server: &Program, password: &str) -> StoreResult<RemoteStore> {
    let lookup = |name: &str| (name == "LIFEBOAT_WEBDAV_PASSWORD").then(|| password.to_owned());
    let location = Location::parse(&format!("webdav://me@{}/some/where", server.address)).unwrap();
    RemoteStore::open(&location, RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() })
}

#[test]
fn webdav_keeps_its_promises() {
    let Some(rclone) = program::find("rclone", HINT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&rclone, folder.path());
    // This server locks a folder while it moves a file in it, and sends others away with "locked".
    let store = Arc::new(open(&server, "not-a-secret").unwrap());
    judge(&RetryStore::new(store, RetryOptions::default()));
}

#[test]
fn webdav_is_probed_and_tells_a_wrong_password() {
    let Some(rclone) = program::find("rclone", HINT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&rclone, folder.path());
    let store = open(&server, "not-a-secret").unwrap();
    let found = probe(&store, "maint/probe-1").unwrap();
    assert_eq!(found.create_new, CreateNewKept::BestEffort);
    assert!(found.suits_many_writers() && found.can_replace && found.can_delete && found.received_time);

    store.put(&name("packs/4/4f"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(std::fs::read(folder.path().join("some/where/packs/4/4f")).unwrap(), b"x");
    assert_eq!(std::fs::read_dir(folder.path().join("some/where/tmp")).unwrap().count(), 0);

    let wrong = open(&server, "wrong-password").unwrap().get(&name("packs/4/4f"), 10).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated, "{}", with_causes(&wrong));
    assert!(!with_causes(&wrong).contains("wrong-password"));
}

#[test]
fn uploads_that_a_crash_left_go_a_day_later() {
    let Some(rclone) = program::find("rclone", HINT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let temp = folder.path().join("some/where/tmp");
    std::fs::create_dir_all(&temp).unwrap();
    for (file, age_h) in [("old", 25), ("young", 23)] {
        std::fs::write(temp.join(file), b"left").unwrap();
        let when = SystemTime::now() - Duration::from_secs(age_h * 3600);
        std::fs::File::options().write(true).open(temp.join(file)).unwrap().set_modified(when).unwrap();
    }
    let server = serve(&rclone, folder.path());
    let store = open(&server, "not-a-secret").unwrap();
    assert_eq!(store.get(&name("config"), 10).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(temp.join("old").exists(), "reading never writes");
    store.put(&name("config"), b"x", PutMode::CreateNew).unwrap();
    let left: Vec<_> = std::fs::read_dir(&temp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["young"]);
}

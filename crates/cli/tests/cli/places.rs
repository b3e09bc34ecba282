//! Logins to drives, and places where one machine writes.

use crate::support::Machine;
use format::id::WriterId;
use repo::seed::Seed;
use repo::single_writer::OnlyWriter;
use repo::{Credential, OpenOptions, Repo};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

/// An authorisation server that gives these answers, one after the other.
fn authorisation_server(answers: &'static [(u16, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for ((status, text), line) in answers.iter().zip(listener.incoming()) {
            let line = line.unwrap();
            let mut lines = BufReader::new(&line);
            let mut len = 0;
            loop {
                let mut header = String::new();
                lines.read_line(&mut header).unwrap();
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    len = value.trim().parse().unwrap();
                }
                if header.trim().is_empty() {
                    break;
                }
            }
            lines.read_exact(&mut vec![0; len]).unwrap();
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
            (&line).write_all(format!("{head}{text}").as_bytes()).unwrap();
        }
    });
    base
}

const CODE: (u16, &str) = (
    200,
    r#"{"device_code":"dev-1","user_code":"ABCD-EFGH","verification_uri":"https://login.test/device","expires_in":600,"interval":1}"#,
);
const GRANTED: (u16, &str) = (
    200,
    r#"{"access_token":"access-1","token_type":"Bearer","expires_in":3599,"refresh_token":"refresh-1"}"#,
);

#[test]
fn a_login_by_device_code_is_kept_for_its_owner_alone() {
    let mut machine = Machine::new();
    machine.set("LIFEBOAT_CLIENT_SECRET", "client-not-a-secret");
    let server = authorisation_server(&[CODE, (428, r#"{"error":"authorization_pending"}"#), GRANTED]);
    let ran =
        machine.run(&["repo", "connect", "gdrive", "--client-id", "id-1", "--authorization-server", &server]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("https://login.test/device") && ran.err.contains("ABCD-EFGH"), "{}", ran.err);
    assert_eq!(machine.mode("home/.config/lifeboat/logins/gdrive.json"), 0o600);
    let kept = std::fs::read_to_string(machine.path("home/.config/lifeboat/logins/gdrive.json")).unwrap();
    assert!(kept.contains("refresh-1") && kept.contains("client-not-a-secret"));
    for secret in ["refresh-1", "access-1", "client-not-a-secret", "dev-1"] {
        assert!(!ran.err.contains(secret) && !ran.out.contains(secret));
    }
    // A login that others can read is not used.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(machine.path("home/.config/lifeboat/logins/gdrive.json"), open).unwrap();
    let ran = machine.run(&["snapshots", "-r", "gdrive://backup"]);
    assert_eq!((ran.code, ran.err.contains("chmod 600")), (2, true), "{}", ran.err);
}

#[test]
fn a_no_is_refused_and_leaves_nothing() {
    let machine = Machine::new();
    let server = authorisation_server(&[CODE, (400, r#"{"error":"authorization_declined"}"#)]);
    let ran = machine.run(&[
        "repo",
        "connect",
        "onedrive",
        "--client-id",
        "id-1",
        "--authorization-server",
        &server,
    ]);
    assert_eq!((ran.code, ran.err.contains("the user said no")), (14, true), "{}", ran.err);
    assert!(!machine.path("home/.config/lifeboat/logins").exists());
}

#[test]
fn a_copied_code_and_a_command_that_keeps_the_login() {
    let mut machine = Machine::new();
    let server = authorisation_server(&[GRANTED]);
    let args =
        ["--json", "repo", "connect", "dropbox", "--client-id", "app-key", "--authorization-server", &server];
    let ran = machine.run_with_input(&[&args[..], &["--keep-command", "cat > kept"]].concat(), b"code-1\n");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("\"open_address\"") && ran.out.contains("\"connected\""), "{}", ran.out);
    assert!(std::fs::read_to_string(machine.path("kept")).unwrap().contains("refresh-1"));
    machine.set("LIFEBOAT_DROPBOX_LOGIN_COMMAND", "exit 7");
    let ran = machine.run(&["snapshots", "-r", "dropbox://backup"]);
    assert_eq!((ran.code, ran.err.contains("exit status: 7")), (2, true), "{}", ran.err);
}

#[test]
fn a_drive_without_a_login_names_the_command() {
    let machine = Machine::new();
    let ran = machine.run(&["snapshots", "-r", "onedrive://backup?login=work"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("lifeboat repo connect onedrive --login work"), "{}", ran.err);
}

/// Notes in the repository that its place shows new objects late, and that another machine writes there.
fn make_late(machine: &Machine) {
    let key = std::fs::read_dir(machine.path("home/.config/lifeboat/keys")).unwrap();
    let key =
        key.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "key"));
    let key = service::credentials::read_key(&key.unwrap()).unwrap();
    let store = storage::LocalStore::open(&machine.path("repo"), &storage::LocalOptions::default()).unwrap();
    let credential = Credential::Random(key);
    let mut repo = Repo::open(Arc::new(store), &credential, &OpenOptions::default()).unwrap();
    let other = OnlyWriter { writer: WriterId([9; 16]), name: "attic".into() };
    let mut seed = Seed::new([1; 32]);
    repo.update_parameters(&mut seed, |p| p.probed.push("list_after_write=no".into())).unwrap();
    other.take_over(&mut repo, &mut seed).unwrap();
}

#[test]
fn where_one_machine_writes_others_read_until_they_take_over() {
    let machine = Machine::with_snapshot();
    assert_eq!(machine.run(&["repo", "info", "-r", "repo", "--take-over"]).code, 2, "any machine may write");
    make_late(&machine);
    for change in [
        &["backup", "-r", "repo", "src"][..],
        &["tag", "-r", "repo", "--add", "x", "latest"],
        &["forget", "-r", "repo", "latest"],
    ] {
        let ran = machine.run(change);
        assert_eq!(ran.code, 14, "{change:?}: {}", ran.err);
        assert!(ran.err.contains("only one machine may write to it, and that is \"attic\""), "{}", ran.err);
        assert!(ran.err.contains("lifeboat repo info --take-over"), "{}", ran.err);
    }
    machine.ok(&["snapshots", "-r", "repo"]);
    machine.ok(&["restore", "-r", "repo", "latest", "--target", "back"]);
    let ran = machine.run(&["repo", "info", "-r", "repo", "--take-over"]);
    assert_eq!((ran.code, ran.out.contains("instead of attic")), (0, true), "{} {}", ran.out, ran.err);
    machine.ok(&["backup", "-r", "repo", "src"]);
}

#[test]
fn a_test_of_a_place_says_what_this_machine_can_take_away() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("place")).unwrap();
    let out = machine.run(&["repo", "test", "-r", "place"]).out;
    assert!(
        out.contains("this machine may replace objects here\nthis machine may delete objects here\n"),
        "{out}"
    );
    assert!(out.contains("immutable: no; whoever holds this machine can delete this copy\n"), "{out}");
    let json = machine.run(&["--json", "repo", "test", "-r", "place"]).out;
    assert!(
        json.contains("\"immutable_proven\":false") && json.contains("\"message_type\":\"powers\""),
        "{json}"
    );
}

#[test]
fn a_drive_that_is_away_is_waited_for_and_a_missing_remote_named() {
    let machine = Machine::new();
    let ran = machine.run(&["backup", "-r", "removable:0f1e2d3c-4b5a/b", "src"]);
    assert_eq!((ran.code, ran.err.contains("is not plugged in")), (75, true), "{}", ran.err);
    let mut machine = Machine::new();
    machine.set("LIFEBOAT_RCLONE", "/nonexistent/rclone");
    let ran = machine.run(&["snapshots", "-r", "rclone:disk:x"]);
    assert_eq!((ran.code, ran.err.contains("apt install rclone")), (2, true), "{}", ran.err);
}

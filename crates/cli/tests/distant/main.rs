//! The whole program with places that are not a folder on a Linux disk. Here: an S3 server inside of the test process, a
//! round trip and packs in a cold class. The server knows no class but STANDARD, and its door archives whatever comes with any.

#[path = "../../../storage/tests/remote/servers/program.rs"]
mod program;
#[path = "../../../storage/tests/remote/servers/proxy.rs"]
#[expect(dead_code, reason = "the line has weathers that only the tests of the store need")]
mod proxy;
#[path = "../../../storage/tests/remote/servers/s3.rs"]
#[expect(dead_code, reason = "the server has doors that only the tests of the store open")]
mod s3;
#[path = "../../../storage/tests/sftp/sshd.rs"]
#[expect(dead_code, reason = "the server has settings that only the tests of the store need")]
mod sshd;
#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "the machine has more than these tests need")]
mod support;

mod alarms;
mod killed;
mod life;

use s3::{Door, KEY_ID, S3Server, SECRET};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use support::Machine;

fn machine(server: &S3Server, class: &str) -> Machine {
    let mut machine = Machine::new();
    machine.set("AWS_ACCESS_KEY_ID", KEY_ID);
    machine.set("AWS_SECRET_ACCESS_KEY", SECRET);
    machine.set("LIFEBOAT_PASSWORD", "correct horse");
    let place = format!("s3:{}/bucket/boat?region=us-east-1{class}", server.endpoint);
    machine.set("LIFEBOAT_REPOSITORY", &place);
    machine.write("src/big", &noise(3 << 20));
    machine
}

/// Bytes that do not compress, always the same.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn assert_equal(one: &Path, other: &Path) {
    for name in ["a", "sub/b", "big"] {
        assert_eq!(fs::read(one.join(name)).unwrap(), fs::read(other.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn a_bucket_is_backed_up_to_changed_checked_and_restored_from() {
    let server = S3Server::start(Door::default());
    let machine = machine(&server, "");
    machine.ok(&["backup", "--init", "--recovery-key-file", "recovery", "src"]);
    machine.write("src/a", b"hello again, and longer\n");
    machine.ok(&["backup", "src"]);
    machine.ok(&["check", "--read-data"]);
    machine.ok(&["restore", &format!("latest:{}", machine.path("src").display()), "--target", "out"]);
    assert_equal(&machine.path("src"), &machine.path("out"));
    machine.ok(&["forget", "--keep-last", "1", "--prune"]);
    machine.ok(&["check", "--read-data", "--no-cache"]);
}

#[test]
fn archived_packs_are_named_thawed_and_waited_for() {
    let server = S3Server::start(Door::default());
    let machine = machine(&server, "&storage_class=STANDARD");
    machine.ok(&["backup", "--init", "--recovery-key-file", "recovery", "src"]);
    // Everything but contents is at hand.
    machine.ok(&["ls", "latest", "--no-cache"]);
    machine.ok(&["backup", "src"]);
    machine.ok(&["check"]);
    let archived = server.door.archived.lock().unwrap().clone();
    assert!(!archived.is_empty() && archived.iter().all(|path| path.contains("/packs/")), "{archived:?}");

    let ran = machine.run(&["restore", "latest", "--target", "out", "-n", "-v"]);
    let named = ran.raw_out.split(|b| *b == b'\n').filter(|line| line.starts_with(b"archived")).count();
    assert_eq!((ran.code, named), (0, archived.len()), "{}", ran.err);

    let ran = machine.run(&["restore", "latest", "--target", "out"]);
    assert_eq!(ran.code, 13, "{}", ran.err);
    assert!(ran.err.contains("must be thawed") && ran.err.contains("--thaw-command"), "{}", ran.err);
    let ran = machine.run(&["restore", "latest", "--target", "out", "--thaw-command", "exit 3"]);
    assert!(ran.code == 1 && ran.err.contains("the command that thaws failed"), "{}", ran.err);

    let (list, door) = (machine.path("asked"), server.door.clone());
    let thawer = std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(60);
        while !list.exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let asked = fs::read_to_string(&list).unwrap();
        door.archived.lock().unwrap().retain(|path| !asked.lines().any(|name| path.ends_with(name)));
    });
    let thaw = "cat > asked.new && mv asked.new asked";
    let source = format!("latest:{}", machine.path("src").display());
    machine.ok(&["restore", &source, "--target", "out", "--thaw-command", thaw, "--thaw-look", "1s"]);
    thawer.join().unwrap();
    assert_equal(&machine.path("src"), &machine.path("out"));
}

#[test]
fn what_is_archived_is_neither_damaged_nor_missing() {
    let server = S3Server::start(Door::default());
    let machine = machine(&server, "&storage_class=STANDARD");
    machine.ok(&["backup", "--init", "--recovery-key-file", "recovery", "src"]);
    for command in [&["check", "--read-data"][..], &["cat", "latest:/nothing"], &["dump", "latest"]] {
        let ran = machine.run(command);
        assert_ne!(ran.code, 5, "{command:?}: {}", ran.err);
        assert!(!ran.err.contains("damaged"), "{command:?}: {}", ran.err);
    }
}

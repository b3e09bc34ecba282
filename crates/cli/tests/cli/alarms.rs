//! Something is taken away from a machine that ran well, and the message arrives: the daemon, room on the disk, the
//! password of a database. (The disk, the key, the network and a notifier: `watch.rs`; servers: `tests/s3`.)

use crate::daemon::{Running, until};
use crate::support::{Machine, missing};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use testkit::servers::postgres;

/// A machine that tells a file; `source` is the table of its source `docs`, in which `ROOT` is the machine's folder.
fn machine(repository: &str, source: &str, more: &str) -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let source = source.replace("ROOT", &root);
    let text = format!(
        "[repositories.disk]\nurl = \"{root}/{repository}\"\n[sources.docs]\n{source}\n\
         [jobs.daily]\nsources = [\"docs\"]\nto = [\"disk\"]\nretry = {{ attempts = 1 }}\n{more}\n\
         [goals]\ncopies = 1\nmedia = 1\noffsite = 0\nmax_age = \"15s\"\n[maintenance]\nschedule = []\n[verify]\nschedule = []\n\
         [notify.me]\ntype = \"command\"\nrun = [\"sh\", \"-c\", \"cat >> {root}/told\"]\n[alerts]\nall = [\"me\"]\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine
}

/// Kind and subject of everything that was told.
fn told(machine: &Machine) -> Vec<String> {
    let text = fs::read_to_string(machine.path("told")).unwrap_or_default();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |event: &Value, key: &str| event[key].as_str().unwrap().to_string();
    events.map(|event| format!("{} {}", word(&event, "kind"), word(&event, "subject"))).collect()
}

fn was_told(machine: &Machine, what: &str) -> bool {
    told(machine).iter().any(|one| one == what)
}

/// A `crontab` that keeps the table in a file, as the real one does.
fn give_crontab(machine: &mut Machine) {
    let table = machine.path("crontab").display().to_string();
    machine.write(
        "bin/crontab",
        format!(
            "#!/bin/sh\nif [ \"$1\" = -l ]; then [ -e {table} ] || {{ echo 'no crontab for me' >&2; exit 1; }}; cat {table}; else cat > {table}; fi\n"
        )
        .as_bytes(),
    );
    fs::set_permissions(machine.path("bin/crontab"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", machine.path("bin").display());
    machine.set("PATH", &path);
}

/// The command of the line in the crontab that watches.
fn watching_line(machine: &Machine) -> String {
    let table = fs::read_to_string(machine.path("crontab")).unwrap();
    let line = table.lines().find(|line| line.contains("status --check --notify")).expect(&table);
    line.splitn(6, ' ').nth(5).unwrap().to_string()
}

#[test]
fn the_daemon_is_killed_and_the_line_of_cron_brings_the_message() {
    let mut machine = machine("main", "paths = [\"ROOT/src\"]", "schedule = \"*:*:0/2\"");
    give_crontab(&mut machine);
    machine.write("crontab", b"5 4 * * * /usr/bin/true\n");
    machine.ok(&["init", "-r", "disk"]);
    machine.ok(&["schedule", "install", "--cron"]);
    assert!(fs::read_to_string(machine.path("crontab")).unwrap().starts_with("5 4 * * * /usr/bin/true\n"));
    let line = watching_line(&machine);
    let watch = || {
        let mut cron = machine.command_of("sh");
        cron.args(["-c", &line]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
    };
    let mut daemon = Running::start(&machine);
    until("all is well while the daemon runs", || watch() == Some(0));
    fs::remove_file(machine.path("told")).ok();
    daemon.signal("-KILL");
    daemon.ends();
    until("the message arrives", || watch() == Some(4) && was_told(&machine, "stale docs@disk"));
    drop(daemon);
    let _again = Running::start(&machine);
    until("and when it is over, too", || watch() == Some(0) && was_told(&machine, "recovered docs@disk"));
}

/// A table of cron that cannot be read is not replaced by an empty one.
#[test]
fn a_crontab_that_cannot_be_read_is_left_alone() {
    let mut machine = machine("main", "paths = [\"~\"]", "schedule = \"daily\"");
    give_crontab(&mut machine);
    machine.write("crontab", b"5 4 * * * /usr/bin/true\n");
    let script = fs::read_to_string(machine.path("bin/crontab")).unwrap();
    machine
        .write("bin/crontab", script.replacen("[ -e", "echo 'not allowed' >&2; exit 1; [ -e", 1).as_bytes());
    let ran = machine.run(&["schedule", "install", "--cron"]);
    assert!(ran.code == 1 && ran.err.contains("not allowed"), "{}", ran.err);
    assert_eq!(fs::read_to_string(machine.path("crontab")).unwrap(), "5 4 * * * /usr/bin/true\n");
}

/// A file system of a few megabytes, for as long as this lives.
struct Small<'m>(&'m Machine);

impl<'m> Small<'m> {
    fn mount(machine: &'m Machine) -> Option<Self> {
        let at = machine.path("small");
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted =
            mount.args(["-t", "tmpfs", "-o", "size=6m", "small"]).arg(&at).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Small(machine))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path("small")).status().ok();
    }
}

#[test]
fn the_disk_is_full_and_the_message_arrives() {
    let machine = machine("small/main", "paths = [\"ROOT/src\"]", "schedule = \"daily\"");
    let Some(_small) = Small::mount(&machine) else { return missing("the right to mount") };
    machine.ok(&["init", "-r", "disk"]);
    machine.ok(&["run", "daily"]);
    let mut long = vec![0; 12 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut long);
    machine.write("src/long", &long);
    let ran = machine.run(&["run", "daily", "--retry-for", "1"]);
    assert_ne!(ran.code, 0, "{}", ran.err);
    machine.run(&["status", "--check", "--notify", "--retry-for", "1"]);
    assert!(was_told(&machine, "failed docs@disk"), "{:?}\n{}", told(&machine), ran.err);
    // What was there can still be read, and with room again it is over.
    machine.ok(&["check", "-r", "disk", "--read-data"]);
    fs::remove_file(machine.path("src/long")).unwrap();
    machine.ok(&["run", "daily"]);
    machine.run(&["status", "--check", "--notify"]);
    assert!(was_told(&machine, "recovered docs@disk"), "{:?}", told(&machine));
}

#[test]
fn the_password_of_a_database_is_taken_away_and_the_message_arrives() {
    let Some(server) = postgres::Postgres::start() else { return };
    let url = server.url_with_password("postgres");
    let table = format!("type = \"postgres\"\nurl = \"{url}\"\npassword = {{ file = \"ROOT/secret\" }}");
    let machine = machine("main", &table, "schedule = \"daily\"");
    let secret = machine.path("secret");
    machine.write("secret", postgres::PASSWORD.as_bytes());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    machine.ok(&["init", "-r", "disk"]);
    machine.ok(&["run", "daily"]);
    fs::write(&secret, "another").unwrap();
    assert_ne!(machine.run(&["run", "daily"]).code, 0);
    machine.run(&["status", "--check", "--notify"]);
    assert!(was_told(&machine, "failed docs@disk"), "{:?}", told(&machine));
    assert!(!fs::read_to_string(machine.path("told")).unwrap().contains("another"));
}

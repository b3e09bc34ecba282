//! Three places of three kinds in one run, and one server that ends in the middle of it: the others commit, and the next
//! run brings what is missing without any other command.

use crate::proxy::Proxy;
use crate::s3::{Door, KEY_ID, S3Server, SECRET};
use crate::sshd::{Sshd, user_name};
use crate::support::Machine;
use std::fs;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

/// A folder, a bucket and a folder behind OpenSSH, the latter two through lines that can be cut.
struct World {
    machine: Machine,
    sshd: Sshd,
    _s3: S3Server,
    lines: [Proxy; 2],
    places: [String; 3],
    rounds: u8,
}

impl World {
    /// None where OpenSSH is missing.
    fn new() -> Option<Self> {
        let sshd = Sshd::start()?;
        let s3 = S3Server::start(Door::default());
        let s3_address = s3.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let lines = [Proxy::to(s3_address), Proxy::to(([127, 0, 0, 1], sshd.port).into())];
        let [s3_port, ssh_port] = [0, 1].map(|i: usize| lines[i].address.port());
        let places = [
            "disk".to_string(),
            format!("s3:http://127.0.0.1:{s3_port}/bucket/boat?region=us-east-1"),
            format!("sftp://{}@127.0.0.1:{ssh_port}{}/boat", user_name(), sshd.file("store").display()),
        ];
        let mut machine = Machine::new();
        machine.set("AWS_ACCESS_KEY_ID", KEY_ID);
        machine.set("AWS_SECRET_ACCESS_KEY", SECRET);
        machine.set("LIFEBOAT_SFTP_KEY_FILE", sshd.file("user").to_str().unwrap());
        let key = fs::read_to_string(sshd.file("host_ed25519.pub")).unwrap();
        machine.write("home/.ssh/known_hosts", format!("[127.0.0.1]:{ssh_port} {key}").as_bytes());
        machine.set("LIFEBOAT_KEY_FILE", "key");
        machine.ok(&["init", "-r", "disk"]);
        for place in &places[1..] {
            machine.ok(&["init", "-r", place, "--copy-of", "disk"]);
        }
        Some(World { machine, sshd, _s3: s3, lines, places, rounds: 0 })
    }

    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["backup", "--retry-for", "1"];
        self.places.iter().for_each(|place| arguments.extend(["-r", place]));
        arguments.push("src");
        arguments
    }

    /// Something new that does not compress.
    fn change(&mut self) {
        self.rounds += 1;
        let mut bytes = vec![0; 1 << 20];
        blake3::Hasher::new().update(&[self.rounds]).finalize_xof().fill(&mut bytes);
        self.machine.write(&format!("src/new{}", self.rounds), &bytes);
    }

    fn passed(&self, line: usize) -> usize {
        self.lines[line].weather.passed.load(Ordering::SeqCst)
    }

    /// A run during which a server ends after so many bytes. Returns its exit code and standard output.
    fn run_and_kill(&self, line: usize, after: usize) -> (i32, String) {
        let until = self.passed(line) + after;
        let mut command = self.machine.command();
        command.args(self.arguments()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut is_gone = false;
        while child.try_wait().unwrap().is_none() {
            if !is_gone && self.passed(line) >= until {
                self.lines[line].vanish();
                if line == 1 {
                    self.sshd.cut();
                }
                is_gone = true;
            }
            sleep(Duration::from_micros(200));
        }
        self.lines[line].vanish();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn snapshots(&self, place: &str) -> Vec<String> {
        let out = self.machine.run(&["snapshots", "-r", place, "--json"]).raw_out;
        let list: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let id = |s: &serde_json::Value| s["id"].as_str().unwrap().to_string();
        let mut ids: Vec<String> = list.as_array().unwrap().iter().map(id).collect();
        ids.sort();
        ids
    }
}

#[test]
fn a_server_that_ends_at_any_time_of_a_run_to_three_holds_up_none_and_catches_up_by_itself() {
    let Some(mut world) = World::new() else { return };
    world.machine.ok(&world.arguments());
    world.change();
    let before = [0, 1].map(|line| world.passed(line));
    world.machine.ok(&world.arguments());
    let whole = [0, 1].map(|line| world.passed(line) - before[line]);
    let mut detached = 0;
    for line in [0, 1] {
        for part in 0..4 {
            let case = format!("{}, after {part}/4", world.places[line + 1]);
            world.change();
            let (code, out) = world.run_and_kill(line, whole[line] * part / 4);
            let saved = out.matches(": saved").count();
            // A server that ends after its commit is no trouble of the run.
            assert!((code == 13 && saved == 2) || (code == 0 && saved == 3), "{case}: {code}\n{out}");
            detached += usize::from(saved == 2);
            let others =
                [0, 1, 2].into_iter().filter(|&i| i != line + 1).map(|i| world.snapshots(&world.places[i]));
            let others: Vec<_> = others.collect();
            assert_eq!(others[0], others[1], "{case}");
            world.lines[line].come_back();
            world.machine.ok(&world.arguments());
            let all: Vec<_> = world.places.iter().map(|place| world.snapshots(place)).collect();
            assert!(all[0] == all[1] && all[1] == all[2], "{case}: {all:?}");
            assert_eq!(all[0].len(), 2 + 2 * (line * 4 + part + 1), "{case}");
        }
    }
    assert!(detached >= 5, "the server ended in the middle only {detached} times");
    for place in &world.places {
        world.machine.ok(&["check", "--read-data", "-r", place]);
    }
}

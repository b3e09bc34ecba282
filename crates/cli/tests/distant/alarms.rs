//! A server vanishes, or no longer believes this machine, and the message arrives.

use crate::proxy::Proxy;
use crate::s3::{Door, KEY_ID, S3Server, SECRET};
use crate::support::Machine;
use serde_json::Value;
use std::fs;

struct World {
    machine: Machine,
    _server: S3Server,
    line: Proxy,
}

fn world() -> World {
    let server = S3Server::start(Door::default());
    let line = Proxy::to(server.endpoint.strip_prefix("http://").unwrap().parse().unwrap());
    let mut machine = Machine::new();
    let (root, port) = (machine.root.display().to_string(), line.address.port());
    let text = format!(
        "[repositories.bucket]\nurl = \"s3:http://127.0.0.1:{port}/bucket/boat?region=us-east-1\"\n\
         [sources.docs]\npaths = [\"{root}/src\"]\n\
         [jobs.daily]\nsources = [\"docs\"]\nto = [\"bucket\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n\
         [goals]\ncopies = 1\nmedia = 1\noffsite = 0\n\
         [notify.me]\ntype = \"command\"\nrun = [\"sh\", \"-c\", \"cat >> {root}/told\"]\n[alerts]\nall = [\"me\"]\n"
    );
    machine.write("lifeboat.toml", text.as_bytes());
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.set("AWS_ACCESS_KEY_ID", KEY_ID);
    machine.set("AWS_SECRET_ACCESS_KEY", SECRET);
    machine.ok(&["init", "-r", "bucket"]);
    machine.ok(&["run", "daily"]);
    assert_eq!(watch(&machine), [] as [&str; 0]);
    World { machine, _server: server, line }
}

/// What a look at how things are tells anew.
fn watch(machine: &Machine) -> Vec<String> {
    fs::remove_file(machine.path("told")).ok();
    machine.run(&["status", "--check", "--notify", "--retry-for", "1"]);
    let text = fs::read_to_string(machine.path("told")).unwrap_or_default();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |event: &Value, key: &str| event[key].as_str().unwrap().to_string();
    events.map(|event| format!("{} {}", word(&event, "kind"), word(&event, "subject"))).collect()
}

#[test]
fn the_server_vanishes_and_the_message_arrives() {
    let World { machine, _server, line } = world();
    line.vanish();
    assert_ne!(machine.run(&["run", "daily", "--retry-for", "1"]).code, 0);
    let told = watch(&machine);
    assert!(told.contains(&"failed docs@bucket".to_string()), "{told:?}");
    line.come_back();
    machine.ok(&["run", "daily"]);
    let told = watch(&machine);
    assert!(told.contains(&"recovered docs@bucket".to_string()), "{told:?}");
}

#[test]
fn the_credentials_are_taken_away_and_the_message_arrives() {
    let World { mut machine, _server, .. } = world();
    machine.set("AWS_SECRET_ACCESS_KEY", "somethingelse");
    assert_ne!(machine.run(&["run", "daily", "--retry-for", "1"]).code, 0);
    let told = watch(&machine);
    assert!(told.contains(&"failed docs@bucket".to_string()), "{told:?}");
    machine.set("AWS_SECRET_ACCESS_KEY", SECRET);
    machine.ok(&["run", "daily"]);
    let told = watch(&machine);
    assert!(told.contains(&"recovered docs@bucket".to_string()), "{told:?}");
}

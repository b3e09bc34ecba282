//! Evidence of retention: each snapshot has its reason, what is gone has its record, and who thins the log is told of.

use crate::support::{Machine, Ran};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

fn run(machine: &Machine, code: i32, args: &[&str]) -> Ran {
    let ran = machine.run(args);
    assert_eq!(ran.code, code, "{args:?}\n{}{}", ran.out, ran.err);
    ran
}

fn report(machine: &Machine, code: i32) -> Value {
    let ran = run(machine, code, &["report", "compliance", "--json"]);
    serde_json::from_slice(&ran.raw_out).unwrap()
}

/// Keeps one snapshot in `second` and all in `main`; nothing waits until it is removed.
fn configured() -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n[repositories.second]\nurl = \"{root}/second\"\n\
         [sources.src]\npaths = [\"{root}/src\"]\n\
         [jobs.daily]\nsources = [\"src\"]\nto = [\"main\", \"second\"]\nschedule = \"daily\"\n\
         [maintenance]\nundo_window = \"0\"\ngrace = \"0\"\n[verify]\nread = \"100%\"\n\
         [retention.one]\nkeep_last = 1\n[retention.rules]\n\"src@second\" = \"one\"\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["init", "-r", "second", "--copy-of", "main"]);
    machine
}

fn part<'r>(report: &'r Value, repository: &str) -> &'r Value {
    report["repositories"].as_array().unwrap().iter().find(|r| r["repository"] == repository).unwrap()
}

fn source<'r>(report: &'r Value, repository: &str) -> &'r Value {
    let sources = part(report, repository)["sources"].as_array().unwrap();
    sources.iter().find(|s| s["source"] == "src").unwrap()
}

#[test]
fn each_snapshot_has_its_reason_and_each_removal_its_record() {
    let machine = configured();
    for content in ["one", "two", "three"] {
        machine.write("src/a", content.as_bytes());
        machine.ok(&["run", "daily"]);
    }
    let before = report(&machine, 0);
    assert_eq!(source(&before, "main")["snapshots"].as_array().unwrap().len(), 3);
    let state = |report: &Value, n: usize| source(report, "second")["snapshots"][n]["state"].clone();
    assert_eq!((state(&before, 0), state(&before, 2)), ("due".into(), "kept".into()), "{before}");
    let id = |n: usize| source(&before, "second")["snapshots"][n]["id"].as_str().unwrap().to_string();
    machine.ok(&["hold", "add", "-r", "second", "case 7", &id(1), "--reason", "the court asks"]);
    run(&machine, 0, &["run", "--maintain"]);
    run(&machine, 0, &["run", "--verify"]);
    run(&machine, 0, &["drill", "run", "-r", "second", "--whole", "--age", "newest"]);
    let after = report(&machine, 0);
    let there = source(&after, "second");
    let lines = there["snapshots"].as_array().unwrap();
    assert_eq!(lines.len(), 2, "{there}");
    assert!(there["rule"].as_str().unwrap().starts_with("one: "), "{there}");
    assert!(lines[0]["state"] == "held" && lines[0]["why"].to_string().contains("case 7"), "{there}");
    assert!(lines[1]["verified"].is_string() && lines[1]["drilled"].is_string(), "{there}");
    assert_eq!(
        (&there["drills"][1], &there["proof"]["bytes_share_of_newest"]),
        (&1.into(), &1.0.into()),
        "{there}"
    );
    assert!(lines[0]["proven"].as_f64().unwrap() < 1.0 && lines[1]["proven"] == 1.0, "{there}");
    let gone = &there["removed"][0];
    assert_eq!(gone["id"], id(0).as_str(), "{there}");
    assert!(gone["why"].as_str().unwrap().starts_with("policy: one") && gone["time"].is_string(), "{gone}");
    assert_eq!(part(&after, "second")["verified"]["share"], 1.0, "{}", part(&after, "second"));
    let actions: Vec<&str> = part(&after, "second")["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["init", "hold", "forget", "prune"]);
    assert!(part(&after, "main")["minimum_age_seconds"] == 0 && part(&after, "main")["log_is_whole"] == true);
    let text = run(&machine, 0, &["report", "compliance"]).out;
    for wanted in ["case 7 (the court asks)", "1 kept, 1 held", "removed", "signed, chained and complete"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    run(&machine, 0, &["report", "compliance", "--html", "page.html"]);
    let page = fs::read_to_string(machine.path("page.html")).unwrap();
    assert!(page.contains("the court asks") && page.contains("none is missing") && !page.contains("<script"));
}

#[test]
fn a_log_that_was_thinned_out_or_changed_is_told() {
    let machine = configured();
    machine.ok(&["run", "daily"]);
    for name in ["one", "two", "three"] {
        machine.ok(&["hold", "add", "-r", "main", name, "--all"]);
    }
    let records = || {
        let mut all: Vec<PathBuf> =
            fs::read_dir(machine.path("main/log")).unwrap().map(|e| e.unwrap().path()).collect();
        all.sort();
        all
    };
    let told = |wanted: &str| {
        let report = report(&machine, 5);
        let problems = part(&report, "main")["log_problems"].to_string();
        assert!(problems.contains(wanted) && part(&report, "second")["log_is_whole"] == true, "{problems}");
    };
    let all = records();
    let [before, last] = all.last_chunk().unwrap();
    for (path, wanted) in
        [(before, "a record was taken away"), (last, "newest record that this machine wrote")]
    {
        let kept = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        told(wanted);
        // Another record in its place has another hash.
        fs::copy(&all[0], path).unwrap();
        told("cannot be read");
        fs::remove_file(path).unwrap();
        fs::write(path, kept).unwrap();
    }
    report(&machine, 0);
}

#[test]
fn a_repository_that_is_away_is_said_to_be_missing_from_the_report() {
    let machine = configured();
    machine.ok(&["run", "daily"]);
    fs::rename(machine.path("second"), machine.path("away")).unwrap();
    let report = report(&machine, 10);
    assert_eq!(report["not_reached"][0][0], "second");
    assert_eq!(report["repositories"].as_array().unwrap().len(), 1);
}

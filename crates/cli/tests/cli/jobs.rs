//! The configuration at the command line: looked at, and run.

use crate::support::Machine;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A machine with a configuration: two repositories of one family, files and a command.
fn machine(more: &str) -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n[repositories.second]\nurl = \"{root}/second\"\n\
         [sources.src]\npaths = [\"{root}/src\"]\n[sources.words]\ntype = \"command\"\ncommand = [\"echo\", \"hello\"]\n\
         [jobs.daily]\nsources = [\"src\", \"words\"]\nto = [\"main\", \"second\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n{more}"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine
}

fn with_repositories(more: &str) -> Machine {
    let machine = machine(more);
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["init", "-r", "second", "--copy-of", "main"]);
    machine
}

fn objects(text: &[u8]) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(text).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_job_brings_every_source_to_every_repository() {
    let machine = with_repositories("");
    let ran = machine.run(&["run", "daily", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let objects = objects(&ran.raw_out);
    let copies: Vec<_> = objects.iter().filter(|o| o["message_type"] == "copy").collect();
    assert_eq!(copies.len(), 4);
    assert!(copies.iter().all(|copy| copy["result"] == "success"), "{copies:?}");
    let id = |source: &str, repository: &str| {
        let fits = |c: &&&serde_json::Value| c["source"] == source && c["repository"] == repository;
        copies.iter().find(fits).unwrap()["snapshot"].clone()
    };
    assert_eq!(id("src", "main"), id("src", "second"), "one snapshot, twice");
    let last = objects.last().unwrap();
    assert_eq!((last["message_type"].as_str(), last["result"].as_str()), (Some("summary"), Some("success")));
    for repository in ["main", "second"] {
        machine.ok(&[
            "restore",
            "-r",
            repository,
            "latest",
            "--tag",
            "source:src",
            "--target",
            &format!("back-{repository}"),
        ]);
        let back =
            machine.root.join(format!("back-{repository}")).join(machine.root.strip_prefix("/").unwrap());
        assert_eq!(fs::read(back.join("src/sub/b")).unwrap(), b"world\n");
        let words = machine.run(&["dump", "-r", repository, "latest:words", "--tag", "source:words"]);
        assert_eq!(words.raw_out, b"hello\n", "{}", words.err);
    }
}

#[test]
fn a_copy_that_was_away_catches_up() {
    let machine = with_repositories("[repositories.second.removable]\nremind_after = \"7d\"\n");
    let (here, away) = (machine.root.join("second"), machine.root.join("away"));
    machine.ok(&["run", "daily"]);
    let row = || {
        let status = machine.ok(&["status"]);
        status.lines().find(|line| line.trim_start().starts_with("second")).unwrap().to_string()
    };
    assert!(row().contains("  good  ") && row().contains("this machine can delete it"), "{}", row());
    fs::write(machine.root.join("src/later"), "later").unwrap();
    fs::rename(&here, &away).unwrap();
    assert!(row().contains("  waits for its disk  ") && !row().contains("delete"), "{}", row());
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 0, "what is there has its snapshots: {}{}", ran.out, ran.err);
    assert!(ran.out.contains("src into second: skipped: the disk of second is not there"), "{}", ran.out);
    let main = (machine.root.join("main"), machine.root.join("main-away"));
    let text = fs::read_to_string(machine.root.join("lifeboat.toml")).unwrap();
    let removable = "[repositories.main.removable]\nremind_after = \"7d\"\n";
    fs::write(machine.root.join("lifeboat.toml"), format!("{text}{removable}")).unwrap();
    fs::rename(&main.0, &main.1).unwrap();
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 75, "nothing could be done: {}{}", ran.out, ran.err);
    fs::rename(&main.1, &main.0).unwrap();
    fs::write(machine.root.join("src/new"), "new").unwrap();
    fs::rename(&away, &here).unwrap();
    machine.ok(&["run", "daily"]);
    let list = machine.run(&["snapshots", "-r", "second", "--tag", "source:src", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.raw_out).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3, "the one it missed, too");
}

#[test]
fn what_is_missing_or_fails_is_a_failure_and_no_snapshot() {
    let machine = with_repositories("");
    machine.ok(&["run", "daily"]);
    fs::rename(machine.root.join("src"), machine.root.join("elsewhere")).unwrap();
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("src into main: failed:") && ran.err.contains("is not there"), "{}", ran.err);
    fs::create_dir(machine.root.join("src")).unwrap();
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 3, "an empty folder is no backup: {}", ran.err);
    let list = machine.run(&["snapshots", "-r", "main", "--tag", "source:src", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.raw_out).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    fs::write(machine.root.join("src/tiny"), "x").unwrap();
    let ran = machine.run(&["run", "daily"]);
    assert!(ran.code == 3 && ran.err.contains("it holds 1 B, and usually 12 B"), "{}", ran.err);

    // Where that was all, the run is no partial success.
    let text = fs::read_to_string(machine.path("lifeboat.toml")).unwrap();
    fs::write(machine.path("lifeboat.toml"), text.replace("[\"src\", \"words\"]", "[\"src\"]")).unwrap();
    for path in ["src/tiny", "src"] {
        let ran = machine.run(&["run", "daily"]);
        assert!(ran.code == 1 && ran.out.contains("job daily: failed"), "{}\n{}", ran.out, ran.err);
        fs::remove_file(machine.path(path)).or_else(|_| fs::remove_dir(machine.path(path))).unwrap();
    }
    let ran = machine.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("is not there"), "{}", ran.err);
    assert!(machine.ok(&["log", "--failed"]).contains("daily"));
}

#[test]
fn what_another_try_cannot_change_is_not_tried_again() {
    let mut machine = with_repositories("");
    let tools = machine.root.join("tools");
    fs::create_dir(&tools).unwrap();
    let (tool, asked) = (tools.join("redis-cli"), machine.root.join("asked"));
    let answers = |words: &str| {
        fs::remove_file(&asked).ok();
        let script = format!("#!/bin/sh\necho x >> {}\necho '{words}'\n", asked.display());
        fs::write(&tool, script).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    };
    machine.set("PATH", &format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    let file = machine.root.join("lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap();
    let redis = "type = \"redis\"\nurl = \"redis://127.0.0.1:1\"";
    let text = text.replace("type = \"command\"\ncommand = [\"echo\", \"hello\"]", redis);
    let text = text
        .replace("attempts = 1", "attempts = 3, wait = \"1s\"")
        .replace("\"src\", \"words\"", "\"words\"");
    fs::write(&file, &text).unwrap();
    for (words, tries) in [("NOAUTH Authentication required.", 1), ("ERR the server is loading", 3)] {
        answers(words);
        let ran = machine.run(&["run", "daily"]);
        assert!(ran.code == 1 && ran.err.contains(words), "{}", ran.err);
        assert_eq!(fs::read_to_string(&asked).unwrap().lines().count(), tries, "{}", ran.err);
    }
}

#[test]
fn a_failing_command_makes_no_snapshot() {
    let machine = with_repositories("");
    let file = machine.root.join("lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[\"echo\", \"hello\"]", "[\"sh\", \"-c\", \"echo half; exit 1\"]"))
        .unwrap();
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.contains("words into main: failed") && ran.out.contains("src into main: snapshot"),
        "{}{}",
        ran.out,
        ran.err
    );
    let list = machine.run(&["snapshots", "-r", "main", "--tag", "source:words", "--json"]);
    assert_eq!(objects(&list.raw_out)[0].as_array().unwrap().len(), 0);
}

#[test]
fn hooks_run_in_order_and_what_was_stopped_starts_again() {
    let hook =
        |on: &str, script: &str| format!("[[hooks]]\non = \"{on}\"\nrun = [\"sh\", \"-c\", \"{script}\"]\n");
    let log = |word: &str| format!("echo {word} $LIFEBOAT_RESULT >> $HOME/log");
    let all = ["before", "after", "success", "failure", "finally"].map(|on| hook(on, &log(on))).concat();
    let machine = with_repositories(&all);
    machine.ok(&["run", "daily"]);
    let log_file = machine.root.join("home/log");
    assert_eq!(
        fs::read_to_string(&log_file).unwrap(),
        "before\nafter success\nsuccess success\nfinally success\n"
    );
    fs::remove_file(&log_file).unwrap();
    fs::rename(machine.root.join("src"), machine.root.join("elsewhere")).unwrap();
    machine.run(&["run", "daily"]);
    assert_eq!(
        fs::read_to_string(&log_file).unwrap(),
        "before\nafter partial\nfailure partial\nfinally partial\n"
    );

    let not_now = with_repositories(&[hook("before", "exit 75"), hook("finally", &log("finally"))].concat());
    let ran = not_now.run(&["run", "daily"]);
    assert_eq!(ran.code, 75, "{}", ran.err);
    assert_eq!(fs::read_to_string(not_now.root.join("home/log")).unwrap(), "finally skipped\n");

    let broken = with_repositories(&[hook("before", "exit 1"), hook("finally", &log("finally"))].concat());
    let ran = broken.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("failed: exit status: 1"), "{}", ran.err);
    assert!(broken.root.join("home/log").exists());
    assert!(!ran.out.contains("snapshot"), "{}", ran.out);
}

#[test]
fn each_source_is_forgotten_by_its_own_policy() {
    let machine = with_repositories(
        "[maintenance]\nundo_window = \"0\"\ngrace = \"0\"\n[retention.one]\nkeep_last = 1\n[retention.rules]\n\"src@second\" = \"one\"\n",
    );
    for n in 0..3 {
        fs::write(machine.root.join("src/n"), format!("{n}")).unwrap();
        machine.ok(&["run", "daily"]);
    }
    let count = |repository: &str| {
        let list = machine.run(&["snapshots", "-r", repository, "--tag", "source:src", "--json"]);
        objects(&list.raw_out)[0].as_array().unwrap().len()
    };
    let ran = machine.run(&["run", "--maintain", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!((count("main"), count("second")), (3, 1));
    machine.ok(&["run", "daily"]);
    assert_eq!(count("second"), 2, "what was forgotten there does not come back");
    let ran = machine.run(&["run", "--verify", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let duties: Vec<_> = objects(&ran.raw_out).into_iter().filter(|o| o["message_type"] == "duty").collect();
    assert_eq!(duties.len(), 2);
    assert!(duties.iter().all(|duty| duty["verification"]["damaged"] == 0));
}

#[test]
fn modes_follow_the_calendar() {
    let machine = with_repositories("mode = { full = \"yearly\", differential = \"yearly\" }\n");
    let mode = || {
        let ran = machine.run(&["run", "daily", "--json"]);
        let copies: Vec<_> =
            objects(&ran.raw_out).into_iter().filter(|o| o["message_type"] == "copy").collect();
        copies[0]["mode"].as_str().unwrap().to_string()
    };
    assert_eq!(
        [mode(), mode(), mode()],
        ["full", "incremental", "incremental"],
        "a full one counts as differential"
    );
}

#[test]
fn names_come_from_the_configuration_and_mistakes_are_told() {
    let machine = with_repositories("");
    let ran = machine.run(&["run", "dayly"]);
    assert!(ran.code == 2 && ran.err.contains("there is no job \"dayly\""), "{}", ran.err);
    let ran = machine.run(&["run"]);
    assert!(ran.code == 2 && ran.err.contains("no job is named"), "{}", ran.err);
    let ran = machine.run(&["snapshots"]);
    assert!(ran.code == 2 && ran.err.contains("main, second"), "{}", ran.err);
    let ran = machine.run(&["run", "--all", "-n"]);
    assert_eq!(
        ran.out,
        "daily:\n  back up src (files) to main, second\n  back up words (command) to main, second\n"
    );
}

#[test]
fn the_configuration_is_checked_and_shown() {
    let machine = machine("");
    let ran = machine.run(&["config", "check"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("warning: no copy of src, words is in another building"), "{}", ran.out);
    assert!(ran.out.contains("can be used: 2 sources, 2 repositories, 1 job"), "{}", ran.out);
    let shown = machine.run(&["config", "show"]);
    assert!(
        shown.out.contains("[repositories.main]") && shown.out.contains("# source src (normal):"),
        "{}",
        shown.out
    );
    let file = machine.root.join("lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("schedule", "shedule")).unwrap();
    let ran = machine.run(&["config", "check"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.out.contains("there is no jobs.daily.shedule") && ran.out.contains("did you mean schedule?"),
        "{}",
        ran.out
    );
    let ran = machine.run(&["run", "daily"]);
    assert!(
        ran.code == 2 && ran.err.contains("lifeboat.toml:15:1: error: there is no jobs.daily.shedule"),
        "{}",
        ran.err
    );
    let schema: serde_json::Value =
        serde_json::from_slice(&machine.run(&["config", "schema"]).raw_out).unwrap();
    assert_eq!(schema["title"], "lifeboat.toml");
}

#[test]
fn the_configuration_goes_along_without_its_secrets() {
    let machine = with_repositories(
        "[notify.hook]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\nheaders = { Authorization = \"hunter2\" }\n",
    );
    machine.ok(&["run", "daily"]);
    machine.ok(&["run", "daily"]);
    for repository in ["main", "second"] {
        let list = machine.run(&["snapshots", "-r", repository, "--tag", "lifeboat:configuration", "--json"]);
        assert_eq!(objects(&list.raw_out)[0].as_array().unwrap().len(), 1, "once for each version");
        let dump = machine.run(&[
            "dump",
            "-r",
            repository,
            "latest:stream:configuration/lifeboat.toml",
            "--tag",
            "lifeboat:configuration",
        ]);
        let text = String::from_utf8(dump.raw_out).unwrap();
        assert!(text.contains("[jobs.daily]") && text.contains("{ missing = true }"), "{text}{}", dump.err);
        assert!(!text.contains("hunter2"));
    }
    let file = machine.root.join("lifeboat.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "# changed\n").unwrap();
    machine.ok(&["run", "daily"]);
    // It is newer than what was saved with it, and is not what anybody means by the latest.
    for spec in ["latest", "latest~1"] {
        let listed = machine.ok(&["ls", spec, "-r", "main"]);
        assert!(!listed.contains("lifeboat.toml"), "{spec}: {listed}");
    }
    let list = machine.run(&["snapshots", "-r", "main", "--tag", "lifeboat:configuration", "--json"]);
    assert_eq!(objects(&list.raw_out)[0].as_array().unwrap().len(), 2);
    let stored = machine.run(&["config", "stored", "-r", "second"]);
    assert!(
        stored.out.starts_with("# lifeboat.toml of atlas, as of ") && stored.out.contains("# changed"),
        "{}",
        stored.out
    );
}

#[test]
fn what_is_older_than_a_policy_allows_goes_although_a_count_would_keep_it() {
    let machine = with_repositories(
        "[retention.short]\nkeep_last = 10\nmax_age = \"5h\"\n[retention.rules]\n\"src@main\" = \"short\"\n",
    );
    machine.ok(&["run", "daily"]);
    // Received ten hours ago, by the clock of the store.
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(10 * 3600);
    let mut folders = vec![machine.path("main/snapshots"), machine.path("main/mirror")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => fs::File::options()
                    .write(true)
                    .open(entry.path())
                    .unwrap()
                    .set_modified(long_ago)
                    .unwrap(),
            }
        }
    }
    let count = |repository: &str| {
        let list = machine.run(&["snapshots", "-r", repository, "--tag", "source:src", "--json"]);
        objects(&list.raw_out)[0].as_array().unwrap().len()
    };
    machine.ok(&["run", "--maintain"]);
    assert_eq!(count("main"), 1, "the newest stays whatever its age");
    fs::write(machine.path("src/new"), "new").unwrap();
    machine.ok(&["run", "daily"]);
    assert_eq!((count("main"), count("second")), (2, 2));
    machine.ok(&["run", "--maintain"]);
    assert_eq!((count("main"), count("second")), (1, 2));
}

#[test]
fn a_hanging_command_is_ended_by_its_time_limit_and_by_a_signal() {
    let machine =
        with_repositories("timeout = \"1s\"\n[[hooks]]\non = \"finally\"\nrun = [\"touch\", \"finally\"]\n");
    let file = machine.root.join("lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("[\"echo\", \"hello\"]", "[\"sh\", \"-c\", \"echo begun; touch begun; exec sleep 1000\"]");
    fs::write(&file, &text).unwrap();
    let ran = machine.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("it took longer than its timeout allows"), "{}", ran.err);
    assert!(machine.path("finally").exists());

    fs::write(&file, text.replace("timeout = \"1s\"\n", "")).unwrap();
    for name in ["begun", "finally"] {
        fs::remove_file(machine.path(name)).unwrap();
    }
    let mut command = machine.command_of(crate::support::LIFEBOAT);
    let mut child = command
        .args(["run", "daily"])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !machine.path("begun").exists() {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(machine.path("finally").exists(), "what was stopped starts again");
}

#[test]
fn a_repository_that_is_not_made_yet_is_made_as_a_copy_of_another_of_its_job() {
    let machine = machine("");
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 10, "{}", ran.err);
    assert!(ran.err.contains("lifeboat init -r ROOT/main\n"), "{}", ran.err);
    assert!(ran.err.contains("lifeboat init -r second --copy-of main\n"), "{}", ran.err);
    machine.ok(&["init", "-r", "second"]);
    let ran = machine.run(&["run", "daily"]);
    assert!(ran.err.contains("lifeboat init -r main --copy-of second\n"), "{}", ran.err);
    assert!(!ran.err.contains("init -r second"), "{}", ran.err);
}

//! Watching: `find` and `versions` say the same with and without the catalog, `status` judges, and whoever must
//! know hears of it when something was taken away.

use crate::support::Machine;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Three snapshots: one file changes, one goes, one comes.
fn with_history() -> Machine {
    let machine = Machine::with_snapshot();
    machine.age_source();
    machine.write("src/sub/report one.txt", b"first");
    machine.write("src/gone.txt", b"soon");
    machine.ok(&["backup", "-r", "repo", "src"]);
    fs::remove_file(machine.path("src/gone.txt")).unwrap();
    machine.write("src/sub/report one.txt", b"second, longer");
    machine.write("src/neu/b", b"b");
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine
}

/// What is said, without what is another in each run: when, and by which.
fn said(err: &str) -> Vec<String> {
    let line = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(mut event) => {
            event["time"].take();
            event["run_id"].take();
            event.to_string()
        }
        Err(_) => line.to_string(),
    };
    err.lines().map(line).collect()
}

fn both_ways(machine: &Machine, args: &[&str]) -> String {
    let with = machine.run(args);
    let mut without = args.to_vec();
    without.push("--no-cache");
    let without = machine.run(&without);
    assert_eq!((with.code, said(&with.raw_err)), (without.code, said(&without.raw_err)), "{args:?}");
    let (with, without) =
        (String::from_utf8(with.raw_out).unwrap(), String::from_utf8(without.raw_out).unwrap());
    assert_eq!(with, without, "{args:?}");
    with
}

#[test]
fn find_and_versions_say_the_same_with_and_without_the_catalog() {
    let machine = with_history();
    let gone = machine.path("src/gone.txt").to_string_lossy().into_owned();
    let report = machine.path("src/sub/report one.txt").to_string_lossy().into_owned();
    let searches: [&[&str]; 16] = [
        &["find", "*t"],
        &["find", "?"],
        &["find", "su?/?"],
        &["find", "SUB/**", "-i"],
        &["find", "s*/"],
        &["find", "[ab]", "!b"],
        &["find", "*", "!*.txt"],
        &["find", "*.txt"],
        &["find", "b", "--long"],
        &["find", "*REPORT*", "-i", "--json"],
        &["find", "gone*", "a"],
        &["find", "sub/", "--type", "d"],
        &["find", "**/sub/b"],
        &["find", "gone.txt", "--snapshot", "latest"],
        &["find", "*.txt", "--newer", "2020-01-01", "--json"],
        &["find", "nothing-like-this"],
    ];
    let check = || {
        for search in searches {
            both_ways(&machine, &[search, &["-r", "repo"]].concat());
        }
        for path in [&gone, &report] {
            both_ways(&machine, &["versions", path, "-r", "repo"]);
            both_ways(&machine, &["versions", path, "-r", "repo", "--json"]);
        }
    };
    check();
    let names = machine.path("home/.cache/lifeboat/names.sqlite");
    assert!(names.exists(), "the catalog answered");
    assert!(both_ways(&machine, &["find", "report*", "-r", "repo"]).contains("report one.txt"));
    // The snapshot that the next one is compared with goes, and a new one comes.
    machine.ok(&["forget", "-r", "repo", "--keep-last", "1", "--prune"]);
    machine.write("src/later.txt", b"later");
    machine.ok(&["backup", "-r", "repo", "src"]);
    check();
    // A damaged catalog is noticed, does no harm, and is begun anew.
    fs::write(&names, vec![b'x'; 20_000]).unwrap();
    check();
    assert!(fs::read(&names).unwrap().starts_with(b"SQLite format 3"));
}

/// Whether the catalog of names, as it lies on the disk, has a name.
fn is_learned(machine: &Machine, name: &str) -> bool {
    let catalog = machine.path("home/.cache/lifeboat/names.sqlite");
    fs::read(catalog).unwrap().windows(name.len()).any(|bytes| bytes == name.as_bytes())
}

#[test]
fn a_backup_teaches_the_catalog_what_changed_once_somebody_searched() {
    let machine = Machine::with_snapshot();
    assert!(!machine.path("home/.cache/lifeboat/names.sqlite").exists(), "who never searches pays nothing");
    machine.ok(&["find", "-r", "repo", "a"]);
    machine.write("src/learned-at-once", b"1");
    machine.ok(&["backup", "-r", "repo", "src"]);
    assert!(is_learned(&machine, "learned-at-once"));
    machine.write("src/learned-with-json", b"2");
    machine.ok(&["backup", "-r", "repo", "src", "--json"]);
    assert!(is_learned(&machine, "learned-with-json"));
    machine.write("src/not-kept-here", b"3");
    machine.ok(&["backup", "-r", "repo", "src", "--no-cache"]);
    assert!(!is_learned(&machine, "not-kept-here"));
    // Nothing of it was learned before, so all of it would have to be read: the next search does that.
    machine.write("other/read-as-a-whole", b"4");
    machine.ok(&["backup", "-r", "repo", "other"]);
    assert!(!is_learned(&machine, "read-as-a-whole"));
    assert!(both_ways(&machine, &["find", "-r", "repo", "not-kept*", "read-as*"]).contains("not-kept-here"));
    assert!(is_learned(&machine, "not-kept-here") && is_learned(&machine, "read-as-a-whole"));
    // A catalog that is no catalog does not fail a backup.
    fs::write(machine.path("home/.cache/lifeboat/names.sqlite"), vec![b'x'; 20_000]).unwrap();
    machine.write("src/a", b"5");
    machine.ok(&["backup", "-r", "repo", "src"]);
}

fn configure(machine: &Machine, more: &str) {
    let root = machine.root.display();
    let text = format!(
        "[repositories.disk]\nurl = \"{root}/repo\"\n[sources.docs]\npaths = [\"{root}/src\"]\n\
         [jobs.daily]\nsources = [\"docs\"]\nto = [\"disk\"]\nschedule = \"daily\"\n\
         [goals]\ncopies = 1\nmedia = 1\noffsite = 0\nmax_age = \"1d\"\n\
         [notify.me]\ntype = \"command\"\nrun = [\"sh\", \"-c\", \"cat >> {root}/told\"]\n\
         [alerts]\nall = [\"me\"]\n{more}"
    );
    machine.write("home/.config/lifeboat/lifeboat.toml", text.as_bytes());
}

/// What was told since the last time it was asked: kind and subject.
fn told(machine: &Machine) -> Vec<String> {
    let text = fs::read_to_string(machine.path("told")).unwrap_or_default();
    fs::remove_file(machine.path("told")).ok();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut told: Vec<String> = events
        .map(|event| format!("{} {}", event["kind"].as_str().unwrap(), event["subject"].as_str().unwrap()))
        .collect();
    told.sort();
    told
}

const WATCH: [&str; 5] = ["status", "--check", "--notify", "--retry-for", "1"];

#[test]
fn status_judges_and_tells_each_change_once() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    // Nobody ever ran it: no daemon, no timer.
    let ran = machine.run(&WATCH);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.out.contains("NO COPY"), "{}", ran.out);
    assert!(told(&machine).contains(&"stale docs@disk".to_string()));
    assert_eq!(machine.run(&WATCH).code, 4);
    assert_eq!(told(&machine), [] as [&str; 0]);
    machine.ok(&["backup", "-r", "repo", "src"]);
    let ran = machine.run(&WATCH);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.starts_with("Everything is protected."), "{}", ran.out);
    let told = told(&machine);
    assert!(told.contains(&"recovered docs@disk".to_string()), "{told:?}");
    let json = machine.run(&["status", "--json"]);
    let object: Value = serde_json::from_slice(&json.raw_out).unwrap();
    assert_eq!(object["met"], true);
    assert_eq!(object["sources"][0]["pairs"][0]["state"], "good");
    assert_eq!(object["sources"][0]["pairs"][0]["deletable"], true);
    let page = machine.run(&["status", "--html", "status.html", "--metrics", "metrics.prom"]);
    assert_eq!(page.code, 0, "{}", page.err);
    assert!(fs::read_to_string(machine.path("status.html")).unwrap().contains("Everything is protected"));
    let metrics = fs::read_to_string(machine.path("metrics.prom")).unwrap();
    assert!(metrics.contains("lifeboat_goal_met{source=\"docs\",goal=\"max-age\"} 1"), "{metrics}");
    assert!(metrics.contains("lifeboat_last_run_success{source=\"docs\",repository=\"disk\"} 0"));
}

#[test]
fn an_old_copy_is_told() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    machine.ok(&["backup", "-r", "repo", "src", "--time", "2020-01-01"]);
    let ran = machine.run(&WATCH);
    assert_eq!(ran.code, 4);
    assert!(ran.out.contains("TOO OLD"), "{}", ran.out);
    assert!(told(&machine).contains(&"stale docs@disk".to_string()));
}

#[test]
fn an_attempt_that_failed_is_told_with_its_cause_although_every_goal_is_met() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    machine.ok(&["run", "daily"]);
    assert_eq!(machine.run(&WATCH).code, 0);
    told(&machine);
    fs::rename(machine.path("src"), machine.path("away")).unwrap();
    assert_eq!(machine.run(&["run", "daily"]).code, 1);
    let ran = machine.run(&WATCH);
    assert_eq!(ran.code, 0, "the goals are met: {}\n{}", ran.out, ran.err);
    let begin = "Every goal is met, but the last attempt failed (docs into disk).";
    assert!(ran.out.starts_with(begin), "{}", ran.out);
    assert!(ran.out.contains("LAST ATTEMPT FAILED"), "{}", ran.out);
    let line = ran.out.lines().find(|line| line.starts_with("failed: docs into disk: ")).unwrap_or_default();
    assert!(line.contains("/src is not there"), "{}", ran.out);
    assert!(ran.out.contains("lifeboat log --source docs"), "{}", ran.out);
    let message: Value =
        serde_json::from_str(fs::read_to_string(machine.path("told")).unwrap().trim()).unwrap();
    assert_eq!((&message["kind"], &message["subject"]), (&"failed".into(), &"docs@disk".into()));
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("/src is not there") && !text.contains("Everything is protected"), "{text}");
    machine.ok(&["status", "--html", "status.html"]);
    let page = fs::read_to_string(machine.path("status.html")).unwrap();
    assert!(page.contains("good, but the last attempt failed") && page.contains("/src is not there"));
}

#[test]
fn the_disk_is_taken_away_and_the_message_arrives() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    machine.ok(&["backup", "-r", "repo", "src"]);
    assert_eq!(machine.run(&WATCH).code, 0);
    told(&machine);
    fs::rename(machine.path("repo"), machine.path("stolen")).unwrap();
    machine.run(&["status", "--check", "--notify", "--retry-for", "1", "--look", "always"]);
    assert_eq!(told(&machine), ["failed watch:disk"]);
    fs::rename(machine.path("stolen"), machine.path("repo")).unwrap();
    machine.run(&["status", "--check", "--notify", "--look", "always"]);
    assert_eq!(told(&machine), ["recovered watch:disk"]);
}

#[test]
fn a_disk_that_goes_before_anybody_looked_at_it_was_not_last_seen_in_1970() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    machine.ok(&["run", "daily"]);
    fs::rename(machine.path("repo"), machine.path("stolen")).unwrap();
    let ran = machine.run(&["status", "--look", "always", "--retry-for", "1"]);
    assert!(ran.out.contains("disk: nobody has looked at it yet"), "{}", ran.out);
}

#[test]
fn the_key_is_taken_away_and_the_message_arrives() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    machine.ok(&["backup", "-r", "repo", "src"]);
    assert_eq!(machine.run(&WATCH).code, 0);
    let keys = machine.path("home/.config/lifeboat");
    for entry in fs::read_dir(&keys).unwrap().flatten() {
        if entry.file_name() != "lifeboat.toml" {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
    told(&machine);
    machine.run(&["status", "--check", "--notify", "--look", "always"]);
    assert_eq!(told(&machine), ["failed watch:disk"]);
}

#[test]
fn the_network_is_taken_away_and_the_message_arrives() {
    let machine = Machine::with_repository();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    configure(&machine, "");
    let path = "home/.config/lifeboat/lifeboat.toml";
    let text = fs::read_to_string(machine.path(path)).unwrap();
    let here = format!("{}/repo", machine.root.display());
    let there = format!("webdav://127.0.0.1:{closed}/repo");
    machine.write(path, text.replace(&here, &there).as_bytes());
    let ran = machine.run(&WATCH);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let told = told(&machine);
    assert!(told.contains(&"failed watch:disk".to_string()), "{told:?}");
    assert!(told.contains(&"stale docs@disk".to_string()), "{told:?}");
}

#[test]
fn a_notifier_that_fails_is_seen_and_the_other_tells_of_it() {
    let machine = Machine::with_repository();
    configure(&machine, "[notify.phone]\ntype = \"ntfy\"\nurl = \"http://127.0.0.1:9/topic-secret\"\n");
    let path = "home/.config/lifeboat/lifeboat.toml";
    let text = fs::read_to_string(machine.path(path)).unwrap();
    machine.write(path, text.replace("all = [\"me\"]", "all = [\"phone\", \"me\"]").as_bytes());
    let ran = machine.run(&WATCH);
    assert!(ran.err.contains("could not tell phone"), "{}", ran.err);
    assert!(!ran.err.contains("topic-secret"), "{}", ran.err);
    told(&machine);
    let ran = machine.run(&WATCH);
    assert!(told(&machine).contains(&"failed notifier:phone".to_string()));
    assert!(ran.out.contains("notifier phone delivers nothing"), "{}", ran.out);
    assert_eq!(machine.run(&["status", "--test-notify", "phone"]).code, 1);
    assert_eq!(machine.run(&["status", "--test-notify", "me"]).code, 0);
    assert_eq!(told(&machine), ["test test"]);
    assert_eq!(machine.run(&["status", "--test-notify", "nobody"]).code, 2);
}

#[test]
fn the_report_goes_out_when_it_is_wanted() {
    let machine = Machine::with_repository();
    configure(&machine, "report = { to = [\"me\"] }\n");
    machine.ok(&["status", "--report"]);
    assert!(told(&machine).contains(&"report report".to_string()));
    machine.ok(&["status", "--notify"]);
    assert!(!told(&machine).contains(&"report report".to_string()), "its time has not come again");
}

#[test]
fn repositories_are_judged_without_a_configuration() {
    let machine = Machine::with_snapshot();
    let ran = machine.run(&["status", "-r", "repo"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains("3 copies (1 of 3)") && ran.out.contains("lies on the same disk as the data"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("1 offsite (0 of 1): every copy is in this building"), "{}", ran.out);
    assert_eq!(machine.run(&["status", "-r", "repo", "--check"]).code, 4);
    let nothing = machine.run(&["status"]);
    assert_eq!(nothing.code, 2);
    assert!(nothing.err.contains("there is nothing to judge"), "{}", nothing.err);
}

#[test]
fn what_was_read_by_hand_counts_without_a_configuration() {
    let machine = Machine::with_snapshot();
    assert!(!machine.ok(&["status", "-r", "repo"]).contains("DAMAGED"));
    let packs = crate::support::walk(&machine.path("repo/packs"));
    packs.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    assert_eq!(machine.run(&["check", "-r", "repo"]).code, 5);
    for spelling in ["repo", "./repo"] {
        let told = machine.ok(&["status", "-r", spelling]);
        assert!(told.contains("DAMAGED"), "{told}");
    }
    assert_eq!(machine.run(&["repair", "-r", "repo"]).code, 0);
    assert!(!machine.ok(&["status", "-r", "repo"]).contains("DAMAGED"));
}

#[test]
fn the_log_is_empty_before_anything_ran_and_names_its_runs() {
    let machine = Machine::new();
    let ran = machine.run(&["log"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("nothing ran yet"));
    assert_eq!(machine.run(&["log", "abcd"]).code, 2);
}

/// A small generator of bytes that look random; the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(len);
    out
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut todo) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => todo.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    files
}

/// The sources of this program as somebody's files.
fn with_real_tree(more: &str) -> Machine {
    let machine = Machine::with_repository();
    configure(&machine, more);
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for krate in ["format", "repo", "engine", "storage", "host", "cli"] {
        for path in files_below(&crates.join(krate).join("src")) {
            let below = path.strip_prefix(crates).unwrap().to_str().unwrap().to_string();
            machine.write(&format!("src/{below}"), &fs::read(&path).unwrap());
        }
    }
    machine
}

fn suspicions(machine: &Machine) -> Vec<String> {
    let status = machine.run(&["status", "--json"]);
    let object: Value = serde_json::from_slice(&status.raw_out).unwrap();
    let all = object["suspicions"].as_array().unwrap();
    all.iter().map(|s| s["text"].as_str().unwrap().to_string()).collect()
}

#[test]
fn an_encryptor_is_caught_on_the_first_snapshot_and_nothing_old_goes() {
    for renames in [true, false] {
        let machine = with_real_tree(
            "[sources.docs.ransomware]\naction = \"hold\"\n[retention.default]\nkeep_last = 1\n",
        );
        machine.ok(&["run", "daily"]);
        machine.write("src/a", b"an ordinary change\n");
        machine.ok(&["run", "daily"]);
        assert_eq!(suspicions(&machine), [] as [&str; 0]);
        // A third of the files: an encryptor that was caught early.
        for (n, path) in files_below(&machine.path("src")).into_iter().enumerate().filter(|(n, _)| n % 3 == 0)
        {
            let len = fs::metadata(&path).unwrap().len() as usize;
            fs::write(&path, noise(n as u64 + 1, len)).unwrap();
            if renames {
                let mut name = path.clone().into_os_string();
                name.push(".locked");
                fs::rename(&path, name).unwrap();
            }
        }
        let ran = machine.run(&["run", "daily"]);
        assert!(ran.err.contains("looks as if it were attacked"), "{}", ran.err);
        let found = suspicions(&machine);
        assert!(found[0].contains("replaced by what looks encrypted"), "{found:?}");
        assert_eq!(found[0].contains("the ending \".locked\""), renames, "{found:?}");
        machine.run(&WATCH);
        assert!(told(&machine).contains(&"suspicious docs".to_string()));
        let holds = machine.ok(&["hold", "list", "-r", "disk"]);
        assert!(holds.contains("before-docs-"), "{holds}");
        // It goes on; retention takes nothing away.
        machine.write("src/a", b"again\n");
        machine.ok(&["run", "daily"]);
        let before = machine.ok(&["snapshots", "-r", "disk", "--json"]);
        machine.run(&["run", "--maintain"]);
        assert_eq!(before, machine.ok(&["snapshots", "-r", "disk", "--json"]));
        machine.ok(&["status", "--acknowledge", "docs"]);
        assert_eq!(suspicions(&machine), [] as [&str; 0]);
    }
}

#[test]
fn a_touched_canary_is_told() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    let path = "home/.config/lifeboat/lifeboat.toml";
    let canary = machine.path("src/.aaa-canary.docx");
    let more = format!("[sources.docs.ransomware]\ncanaries = [\"{}\"]\n", canary.display());
    let text = fs::read_to_string(machine.path(path)).unwrap() + &more;
    machine.write(path, text.as_bytes());
    fs::write(&canary, "nobody opens this").unwrap();
    machine.ok(&["run", "daily"]);
    machine.write("src/a", b"an ordinary change\n");
    machine.ok(&["run", "daily"]);
    assert_eq!(suspicions(&machine), [] as [&str; 0]);
    fs::write(&canary, "somebody did").unwrap();
    machine.run(&["run", "daily"]);
    let found = suspicions(&machine);
    assert!(found[0].ends_with(".aaa-canary.docx was touched"), "{found:?}");
}

/// A week of ordinary work on a real tree.
fn ordinary_week(machine: &Machine, week: u64) {
    let files = files_below(&machine.path("src"));
    let pick = |n: u64| &files[(n.wrapping_mul(2_654_435_761) % files.len() as u64) as usize];
    for n in 0..12 {
        let path = pick(week * 100 + n);
        let mut text = fs::read(path).unwrap_or_default();
        text.extend(format!("// week {week}, change {n}\n").into_bytes());
        fs::write(path, text).unwrap();
    }
    let random = |name: &str, beginning: &[u8], seed: u64| {
        let mut bytes = beginning.to_vec();
        bytes.extend(noise(seed, 6000));
        machine.write(name, &bytes);
    };
    match week % 13 {
        // Photographs, and what was scanned.
        1 => (0..60)
            .for_each(|n| random(&format!("src/photos/{week}-{n}.jpg"), b"\xff\xd8\xff\xe0", week * 99 + n)),
        // Keys and encrypted archives without any beginning that says so.
        2 => (0..30).for_each(|n| random(&format!("src/vault/{week}-{n}.bin"), b"", week * 77 + n)),
        // Logs are compressed: the old names go, new endings come.
        3 => (0..30).for_each(|n| {
            machine.write(&format!("src/logs/{week}-{n}.log"), b"GET / 200\n".repeat(90).as_slice())
        }),
        4 => (0..30).for_each(|n| {
            let old = format!("src/logs/{}-{n}.log", week - 1);
            if machine.path(&old).exists() {
                fs::remove_file(machine.path(&old)).unwrap();
                random(&format!("{old}.gz"), b"\x1f\x8b\x08\0", week * 55 + n);
            }
        }),
        // Another branch is checked out: many texts change.
        5 => files.iter().step_by(5).for_each(|path| {
            let text = fs::read(path).unwrap();
            if std::str::from_utf8(&text).is_ok() {
                fs::write(path, [&text[..], format!("// branch {week}\n").as_bytes()].concat()).unwrap();
            }
        }),
        // A folder gets another name, and back again later.
        6 => fs::rename(machine.path("src/format/src"), machine.path("src/format/source")).unwrap(),
        7 => fs::rename(machine.path("src/format/source"), machine.path("src/format/src")).unwrap(),
        // Rights are put in order: metadata of everything.
        8 => files.iter().for_each(|path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o640 + (week % 2) as u32)).unwrap();
        }),
        // Cleaning up.
        9 => _ = fs::remove_dir_all(machine.path("src/photos")),
        10 => _ = fs::remove_dir_all(machine.path("src/vault")),
        // Notes are renamed one by one: txt to md.
        11 => (0..25).for_each(|n| machine.write(&format!("src/notes/{n}.txt"), b"a note")),
        12 => (0..25).for_each(|n| {
            let old = machine.path(&format!("src/notes/{n}.txt"));
            if old.exists() {
                fs::rename(&old, old.with_extension("md")).unwrap();
            }
        }),
        _ => {}
    }
}

#[test]
fn a_year_of_ordinary_changes_raises_no_alarm() {
    let machine = with_real_tree("");
    machine.ok(&["run", "daily"]);
    for week in 1..=52 {
        ordinary_week(&machine, week);
        let ran = machine.run(&["run", "daily"]);
        assert!(!ran.err.contains("attacked"), "week {week}: {}", ran.err);
    }
    assert_eq!(suspicions(&machine), [] as [&str; 0]);
}

/// Takes requests, answers each with 200, and keeps their first lines.
fn receiver() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, lines) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let kept = lines.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut first = String::new();
            reader.read_line(&mut first).ok();
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok();
            kept.lock().unwrap().push(first.split(' ').nth(1).unwrap_or_default().to_string());
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).ok();
        }
    });
    (port, lines)
}

#[test]
fn healthchecks_hear_of_every_run_and_of_none_when_none_runs() {
    let machine = Machine::with_repository();
    let (port, lines) = receiver();
    let check = format!("[notify.hc]\ntype = \"healthchecks\"\nurl = \"http://127.0.0.1:{port}/ping/1\"\n");
    configure(&machine, &check);
    machine.run(&WATCH);
    assert_eq!(*lines.lock().unwrap(), [] as [&str; 0], "no run, no ping: the service raises the alarm");
    machine.ok(&["run", "daily"]);
    fs::rename(machine.path("src"), machine.path("away")).unwrap();
    assert_ne!(machine.run(&["run", "daily"]).code, 0);
    let lines = lines.lock().unwrap().clone();
    let paths: Vec<(&str, &str)> = lines.iter().map(|line| line.split_once("?rid=").unwrap()).collect();
    assert_eq!(
        paths.iter().map(|(path, _)| *path).collect::<Vec<_>>(),
        ["/ping/1/start", "/ping/1", "/ping/1/start", "/ping/1/fail"]
    );
    assert_eq!((paths[0].1, paths[2].1), (paths[1].1, paths[3].1));
    assert_ne!(paths[0].1, paths[2].1);
    let log = machine.ok(&["log", "--failed"]);
    assert!(log.contains("daily"), "{log}");
}

#[test]
fn a_run_can_log_in_lines_of_json_that_say_what_they_are_about() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    let ran = machine.run(&["run", "daily", "--log-format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.raw_err);
    let lines: Vec<Value> = ran.raw_err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |event: &str| lines.iter().find(|line| line["event"] == event).unwrap_or_else(|| panic!("{event}"));
    let run = of("run_started")["run_id"].as_str().unwrap();
    assert_eq!(of("summary")["run_id"], run);
    let copied = of("copied");
    assert_eq!((&copied["source"], &copied["repository"]), (&"docs".into(), &"disk".into()));
    assert_eq!((&copied["result"], &copied["level"]), (&"success".into(), &"INFO".into()));
    assert!(copied["timestamp"].is_string() && copied["bytes"].as_u64().unwrap() > 0);
    fs::rename(machine.path("src"), machine.path("away")).unwrap();
    let ran = machine.run(&["run", "daily", "--log-format", "json"]);
    let last: Value = serde_json::from_str(ran.raw_err.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["level"]), (&"summary".into(), &"ERROR".into()), "{}", ran.raw_err);
    let ran = machine.run(&["run", "nothing", "--log-format", "text"]);
    assert!(ran.raw_err.contains("ERROR lifeboat:") && ran.raw_err.contains("code=2"), "{}", ran.raw_err);
}

#[test]
fn a_lost_catalog_is_filled_in_again_from_the_repositories() {
    let machine = Machine::with_repository();
    configure(&machine, "");
    machine.ok(&["run", "daily"]);
    machine.ok(&["status", "--check"]);
    let catalog = machine.path("home/.local/state/lifeboat/catalog.sqlite");
    fs::write(&catalog, b"not a database, however long this text may be").unwrap();
    let ran = machine.run(&["status", "--check"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("the catalog was damaged"), "{}", ran.err);
    fs::remove_file(&catalog).unwrap();
    let ran = machine.run(&["status", "--check"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
}

#[test]
fn what_was_tried_is_more_than_what_is_claimed() {
    let machine = Machine::with_repository();
    configure(&machine, "[repositories.disk.immutable]\nmode = \"claimed\"\ndays = 30\n");
    machine.ok(&["run", "daily"]);
    assert!(machine.ok(&["status"]).contains("refuses to delete (claimed)"));
    machine.ok(&["repo", "test", "-r", "disk"]);
    let told = machine.ok(&["status", "--look", "always"]);
    assert!(told.contains("this machine can delete it"), "a claim that was refuted: {told}");
}

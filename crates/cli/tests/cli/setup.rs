//! The first run on a machine, with options and with answers.

use crate::support::{Machine, missing};
use crate::terminal::Terminal;
use std::fs;

fn machine() -> Machine {
    // Where root's would be is no place for tests.
    let mut machine = Machine::new();
    let config = machine.path("home/.config/lifeboat/lifeboat.toml");
    machine.set("LIFEBOAT_CONFIG", &config.to_string_lossy());
    for n in 0..12 {
        fs::write(machine.path(&format!("src/file {n} [x]")), format!("contents {n}\n")).unwrap();
    }
    machine
}

#[test]
fn one_command_protects_a_folder_and_proves_it() {
    let machine = machine();
    let ran = machine
        .run(&["setup", "--yes", "--source", "src", "--to", "disk", "--to", "second", "--loss", "day"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("brought 10 files of files back from disk and read them again: 10 are the same as the originals byte for byte"), "{}", ran.out);
    // Set and not yet forgotten: what makes it run by itself is the next step, and works as it is told.
    let step = ran.err.lines().find(|line| line.contains("schedule install")).expect("the next step is told");
    assert!(step.starts_with("nothing runs by itself yet"), "{}", ran.err);
    assert_eq!(machine.run(&["schedule", "install", "--into", "units"]).code, 0);
    let config = fs::read_to_string(machine.path("home/.config/lifeboat/lifeboat.toml")).unwrap();
    assert!(config.contains("criticality = \"high\"") && config.contains("[jobs.hourly]"), "{config}");
    assert!(config.contains("to = [\"disk\", \"disk2\"]"), "{config}");
    assert!(
        !machine
            .path("home/.local/state/lifeboat")
            .read_dir()
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("proof"))
    );
    let again = machine.run(&["run", "--all"]);
    assert_eq!(again.code, 0, "by its own keys: {}", again.err);
    let check = machine.run(&["config", "check"]);
    assert_eq!(check.code, 0, "{}", check.out);
    let list = machine.run(&["snapshots", "-r", "disk2", "--json"]);
    assert_eq!(list.code, 0, "{}", list.err);
    let twice = machine.run(&["setup", "--yes", "--to", "disk"]);
    assert!(twice.code == 2 && twice.err.contains("there is a configuration already"), "{}", twice.err);
}

#[test]
fn without_a_terminal_nothing_is_asked_and_a_dry_run_makes_nothing() {
    let machine = machine();
    let ran = machine.run(&["setup"]);
    assert!(ran.code == 2 && ran.err.contains("no place is named for the copies"), "{}", ran.err);
    let ran = machine.run(&[
        "setup",
        "-n",
        "--source",
        "src",
        "--to",
        "sftp://me@nas.lan/b",
        "--loss",
        "month",
        "--schedule",
        "Sun 03:00",
        "--keep",
        "2 4w",
        "--copies",
        "2",
        "--exclude",
        "*.tmp",
        "--system",
        "--database",
        "postgresql:///?host=/run/postgresql",
        "--loss",
        "postgres=day",
        "--drill",
        "never",
        "--max-age",
        "system=40d",
        "--drilled-within",
        "20d",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in [
        "[repositories.nas]",
        "schedule = \"Sun 03:00\"",
        "keep_weekly = 4",
        "copies = 2",
        "exclude = [\"*.tmp\"]",
        "type = \"system\"\ncriticality = \"low\"",
        "[sources.postgres]\ntype = \"postgres\"\nurl = \"postgresql:///?host=/run/postgresql\"\ncriticality = \"high\"",
        "max_age = \"40d\"",
        "drilled_within = \"20d\"",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!machine.path("home/.config").exists() && !ran.out.contains("[drills"));
    // Every value that follows is shown, with the option by which it can be another.
    assert_eq!(ran.err.matches("as chosen").count(), 3 * 5 + 1, "{}", ran.err);
    let plain = machine.run(&["setup", "-n", "--to", "b", "--source", "src"]);
    for option in
        ["schedule", "keep", "copies", "media", "offsite", "verified-within", "drill", "drilled-within"]
    {
        let option = format!(" --{option} ");
        assert!(plain.err.lines().any(|line| line.contains(&option)), "{option}: {}", plain.err);
    }
    assert!(plain.out.contains("[drills.files]\nsource = \"files\""), "{}", plain.out);
    let ran = machine.run(&["setup", "-n", "--to", "b", "--source", "src", "--json", "--loss", "day"]);
    let objects: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().any(|o| o["message_type"] == "source" && o["values"]["copies"]["value"] == "3"));
    assert!(objects.iter().any(|o| o["message_type"] == "configuration"));
    let ran = machine.run(&["setup", "-n", "--to", "b", "--loss", "shop=day"]);
    assert!(ran.code == 2 && ran.err.contains("no source has the name shop"), "{}", ran.err);
    let ran = machine.run(&["setup", "-n", "--to", "b", "--database", "oracle://x"]);
    assert!(ran.code == 2 && ran.err.contains("names no kind of server"), "{}", ran.err);
    let ran = machine.run(&["setup", "-n", "--to", "b", "--keep", "nothing"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[test]
fn a_place_that_cannot_be_made_leaves_no_configuration() {
    let machine = machine();
    fs::write(machine.path("file"), "in the way").unwrap();
    let ran = machine.run(&["setup", "--yes", "--source", "src", "--to", "file/below"]);
    assert_ne!(ran.code, 0);
    assert!(!machine.path("home/.config/lifeboat/lifeboat.toml").exists());
}

#[test]
fn at_a_terminal_it_asks() {
    let machine = machine();
    let Some(mut terminal) = Terminal::start(&machine, "setup") else {
        return missing("script of util-linux");
    };
    terminal.answer("What is to be protected? Folders, separated by spaces", "src\r");
    for _ in 0..8 {
        // Root is asked about more of the machine: that is not what this is about.
        terminal.wait_for(": ");
        if terminal.shows("[2]: ") {
            break;
        }
        terminal.answer(": ", "no\r");
    }
    terminal.answer("[2]: ", "3\r");
    terminal.wait_for("restored on trial");
    terminal.answer("When [weekly]: ", "sometime\r");
    terminal.answer("When [weekly]: ", "every 6h\r");
    terminal.answer("[as above]: ", "\r");
    terminal.answer("or never [*-01-01 06:00]: ", "monthly\r");
    terminal.answer("counted [2]: ", "\r");
    terminal.answer("in another building [0]: ", "x\r");
    terminal.answer("in another building [0]: ", "1\r");
    terminal.answer("or s3://bucket: ", "\r");
    terminal.wait_for("without a place there are no copies; Ctrl-C ends this, and makes nothing");
    terminal.answer("or s3://bucket: ", "disk\r");
    terminal.answer("or Enter for no more: ", "\r");
    terminal.answer("(yes/no) [no]: ", "yes\r");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(
        seen.contains("Recovery key, shown only now")
            && seen.contains("are the same as the originals byte for byte"),
        "{seen}"
    );
    let config = machine.path("home/.config/lifeboat/lifeboat.toml");
    let text = fs::read_to_string(&config).unwrap_or_else(|_| panic!("{seen}"));
    assert!(text.contains("schedule = \"every 6h\"") && text.contains("criticality = \"low\""), "{text}");
    assert!(text.contains("[drills.home]\nsource = \"home\"\nschedule = \"monthly\""), "{text}");
    assert!(text.contains("[goals]\noffsite = 1\n"), "{text}");
}

//! `config edit` at a terminal: what is saved can be used, and what cannot be used is not saved.

use crate::support::{Machine, missing};
use crate::terminal::Terminal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const TEXT: &str = "version = 1\n[repositories.main]\nurl = \"/mnt/x\"\n[sources.home]\npaths = [\"~\"]\n\
    [jobs.daily]\nsources = [\"home\"]\nto = [\"main\"]\nschedule = \"daily\"\n";

/// A machine whose editor is a script; it is told the file as `$1`, and its first run is `first`.
fn machine(first: &str, later: &str) -> Machine {
    let mut machine = Machine::new();
    let config = machine.path("files/lifeboat.toml");
    fs::create_dir(config.parent().unwrap()).unwrap();
    fs::write(&config, TEXT).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let named = machine.path("named.toml");
    symlink(&config, &named).unwrap();
    let ran = machine.path("ran").display().to_string();
    let script = format!("if [ -e {ran} ]; then {later}; else touch {ran}; {first}; fi\n");
    let editor = machine.path("editor");
    fs::write(&editor, format!("#!/bin/sh\nset -e\n{script}")).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    machine.set("LIFEBOAT_CONFIG", &named.to_string_lossy());
    machine.set("EDITOR", &editor.to_string_lossy());
    machine
}

fn text(machine: &Machine) -> String {
    fs::read_to_string(machine.path("files/lifeboat.toml")).unwrap()
}

fn left(machine: &Machine) -> usize {
    fs::read_dir(machine.path("files")).unwrap().count()
}

#[test]
fn a_mistake_is_shown_with_its_line_and_edited_again() {
    let machine =
        machine("sed -i s/schedule/shedule/ \"$1\"", "sed -i 's/shedule.*/schedule = \"hourly\"/' \"$1\"");
    let Some(mut terminal) = Terminal::start(&machine, "config edit") else {
        return missing("script of util-linux");
    };
    terminal.wait_for("shedule");
    terminal.wait_for("schedule");
    assert_eq!(text(&machine), TEXT, "nothing is saved while it cannot be used");
    terminal.answer("Edit it again? (yes/no) [no]: ", "yes\r");
    let (code, seen) = terminal.end();
    assert!(code == 0 && seen.contains("saved"), "{seen}");
    assert_eq!(text(&machine), TEXT.replace("\"daily\"", "\"hourly\""));
    let file = fs::metadata(machine.path("files/lifeboat.toml")).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o640);
    assert!(fs::symlink_metadata(machine.path("named.toml")).unwrap().is_symlink());
    assert_eq!(left(&machine), 1, "no copy stays behind");
}

#[test]
fn what_cannot_be_used_is_not_saved() {
    let machine = machine("echo nonsense >> \"$1\"", "exit 1");
    let Some(mut terminal) = Terminal::start(&machine, "config edit") else {
        return missing("script of util-linux");
    };
    terminal.answer("Edit it again? (yes/no) [no]: ", "no\r");
    let (code, seen) = terminal.end();
    assert!(code == 2 && seen.contains("nothing was saved"), "{seen}");
    // An editor that fails saves nothing, either.
    let (code, seen) = Terminal::start(&machine, "config edit").unwrap().end();
    assert!(code == 1 && seen.contains("the editor") && seen.contains("failed"), "{code} {seen}");
    assert_eq!((text(&machine).as_str(), left(&machine)), (TEXT, 1));
    let ran = machine.run(&["config", "edit"]);
    assert!(ran.code == 2 && ran.err.contains("there is no terminal to edit at"), "{}", ran.err);
}

#[test]
fn an_unchanged_file_stays_and_a_change_by_others_is_not_lost_unasked() {
    let other = "echo '# by another' >> named.toml; echo '# mine' >> \"$1\"";
    let machine = machine("true", other);
    let Some(terminal) = Terminal::start(&machine, "config edit") else {
        return missing("script of util-linux");
    };
    let (code, seen) = terminal.end();
    assert!(code == 0 && seen.contains("nothing was changed"), "{seen}");
    let mut terminal = Terminal::start(&machine, "config edit").unwrap();
    terminal.wait_for("was changed by somebody else meanwhile");
    terminal.answer("(yes/no) [no]: ", "no\r");
    let (code, seen) = terminal.end();
    assert!(code == 1 && seen.contains("nothing was saved"), "{code} {seen}");
    assert_eq!((text(&machine), left(&machine)), (format!("{TEXT}# by another\n"), 1));
}

#[test]
fn a_configuration_that_is_not_there_or_no_text_is_a_mistake_of_who_names_it() {
    let machine = Machine::new();
    machine.write("odd.toml", b"\xff\xfe");
    for named in ["absent.toml", "odd.toml"] {
        for command in [&["config", "check"][..], &["status"]] {
            let ran = machine.run(&[command, &["-c", named]].concat());
            assert!(
                ran.code == 2 && ran.err.contains("cannot read the configuration"),
                "{named}: {}",
                ran.err
            );
        }
    }
}

#[test]
fn a_schedule_that_never_comes_says_so() {
    let machine = Machine::new();
    assert!(machine.ok(&["schedule", "next", "2020-01-01"]).ends_with("\n  never\n"));
    assert!(machine.ok(&["schedule", "next", "0 0 31 2 *"]).ends_with("\n  never\n"));
}

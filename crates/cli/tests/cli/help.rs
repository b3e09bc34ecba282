//! Help, completions and manual pages: every command explains itself.

use crate::support::Machine;

#[test]
fn the_list_of_commands_is_complete() {
    let help = Machine::new().ok(&["-h"]);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!(
        listed,
        "  init         Make a new repository
  backup       Back up files and folders
  snapshots    List snapshots
  ls           List the files of a snapshot
  find         Find files in all snapshots
  versions     List the versions of one file
  cat          Print a file of a snapshot
  dump         Write a file, or a folder as an archive
  diff         Compare two snapshots, or one with the files as they are now
  restore      Restore files from a snapshot
  restore-db   Bring databases back into a server
  check        Look for damage
  scrub        Compare stored bytes with their hashes, without any key
  repair       Repair damage, and mark what cannot be repaired
  sync         Bring what another repository of the family lacks
  copy         Copy chosen snapshots to another repository
  status       Show how well everything is protected
  log          Show what ran, and how it ended
  setup        Set up this machine: ask, back up once, and prove it
  run          Run jobs of the configuration: sources into all their repositories, with hooks
  daemon       Run everything by itself, as the configuration says
  schedule     Show and install what runs by itself
  pause        Let nothing begin by itself for a while
  resume       Let things begin by themselves again
  config       Look at the configuration, show it, or edit it
  stats        Show how much is saved and stored
  key          Manage the ways to unlock a repository
  forget       Forget snapshots
  prune        Free the space of what nothing needs any more
  hold         Keep snapshots from being forgotten
  trust        Confirm doubtful snapshots
  repo         Show or set how a repository works, or test its place
  excludes     Find out why a path is saved or left out
  tag          Change the tags of snapshots
  rewrite      Erase paths from all snapshots
  drill        Prove that what is stored comes back: restore, compare, measure, keep the evidence
  report       Show how retention was kept: rules, reasons, proofs, and who did what
  kit          Print the recovery kit: what brings everything back when only one copy is left
  plan         Write the recovery plan: what comes back, from where, how, and who does it
  recover      Come back from nothing: a repository and its key are enough
  completions  Print a completion script for a shell
  man          Write manual pages into a folder
  version      Show the version
  help         Print this message or the help of the given subcommand(s)"
    );
}

#[test]
fn the_list_of_exit_codes_is_complete() {
    let help = Machine::new().ok(&["--help"]);
    let listed = help.split("Exit codes:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let words: Vec<&str> = listed.split([' ', '\n', '/']).collect();
    for code in ["0", "1", "2", "3", "4", "5", "6", "10", "12", "13", "14", "15", "75", "130", "143"] {
        assert!(words.contains(&code), "{code}: {listed}");
    }
    assert!(listed.contains(" 4  a goal is not met ") && listed.contains(" 6  a drill failed "), "{listed}");
    assert!(listed.lines().all(|line| line.len() < 80), "no line is broken: {listed}");
}

/// The commands that a page of help lists.
fn listed(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_string())
    });
    names.collect()
}

/// Looks at a command, and at all below it.
fn explains_itself(machine: &Machine, command: &[String], seen: &mut usize) {
    let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let help = machine.ok(&args);
    *seen += 1;
    let too_long = help.lines().find(|line| line.chars().count() > 100);
    assert_eq!(too_long, None, "{command:?}");
    if !command.is_empty() {
        assert!(help.contains("Example"), "{command:?} has no example");
        let examples = help.split("Example").last().unwrap();
        let named = format!("lifeboat {}", command.join(" "));
        assert!(examples.contains(&named), "{command:?} has an example of another command");
    }
    for name in listed(&help) {
        let below: Vec<String> = command.iter().cloned().chain([name]).collect();
        explains_itself(machine, &below, seen);
    }
}

#[test]
fn every_command_has_an_example_and_fits_the_page() {
    let mut seen = 0;
    explains_itself(&Machine::new(), &[], &mut seen);
    assert!(seen > 60, "only {seen} commands were looked at");
}

#[test]
fn completions_are_there_for_all_shells() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = machine.ok(&["completions", shell]);
        assert!(script.contains("snapshots") && script.contains("read-data"), "{shell}");
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let machine = Machine::new();
    machine.ok(&["man", "pages"]);
    for command in listed(&machine.ok(&["--help"])) {
        let page = std::fs::read_to_string(machine.path(&format!("pages/lifeboat-{command}.1"))).unwrap();
        assert!(page.contains(".TH"), "{command}");
    }
    assert!(machine.path("pages/lifeboat.1").exists());
}

#[test]
fn a_mistyped_command_is_recognised() {
    let ran = Machine::new().run(&["snapshot"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("a similar subcommand exists: 'snapshots'"), "{}", ran.err);
}

//! A kill, or an error of the system, at the n-th call of a kind, for n = 1, 2, ... until a run gets through.
//!
//! `strace` sits between the program and the kernel, so the program under test is the one that users run. Calls
//! are counted for each thread alone, so one injection may hit several threads.

use crate::ledger::State;
use crate::operations::{Call, Effect, OPERATIONS, Operation};
use crate::support::{Ran, missing};
use crate::world::{Ended, KILLED, World, memory};
use crate::{Campaign, say};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// The kill, among the errors.
const KILL: &str = "SIGKILL";

/// Calls that change something durable, each with what may go wrong there. A campaign tries it all, an ordinary
/// run the first two of each.
const CALLS: &[(&str, &[&str])] = &[
    ("fsync,fdatasync", &[KILL, "EIO", "ENOSPC", "EDQUOT"]),
    ("rename,renameat,renameat2,link,linkat", &[KILL, "EIO", "ENOSPC"]),
    ("write,pwrite64,writev", &[KILL, "ENOSPC", "EIO", "EDQUOT"]),
    ("unlink,unlinkat", &[KILL, "EIO"]),
    ("mkdir,mkdirat", &[KILL, "ENOSPC"]),
    ("openat", &[KILL, "EMFILE"]),
];

/// A call was hit so many times by now.
#[derive(Default)]
struct Tally {
    kills: usize,
    errors: usize,
    /// Exit codes of runs that met an error.
    codes: BTreeMap<i32, usize>,
}

/// One injection.
struct Injection {
    calls: &'static str,
    fault: &'static str,
    nth: usize,
}

#[test]
fn a_kill_or_an_error_at_the_nth_call_loses_nothing_and_is_never_hidden() {
    if !has_strace() {
        return missing("strace, and the right to trace");
    }
    let campaign = Campaign::from_environment();
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut world = World::new(campaign.seed, &memory());
    let saved = Saved::prepare(&mut world);
    for operation in OPERATIONS {
        for (calls, faults) in CALLS {
            for fault in faults.iter().take(if campaign.is_whole { faults.len() } else { 2 }) {
                until_it_gets_through(&mut world, &saved, operation, (calls, fault), &campaign, &mut tally);
            }
        }
    }
    say(&format!(
        "{} kills and {} errors at the n-th system call: none lost, {} s; exit codes after errors: {:?}",
        tally.kills,
        tally.errors,
        start.elapsed().as_secs(),
        tally.codes
    ));
}

/// Whether strace is there and may trace.
fn has_strace() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}

/// The repository and this machine's own files before each injection.
struct Saved {
    ledger: crate::ledger::Ledger,
}

impl Saved {
    /// A repository with something to do for every operation: snapshots to keep, one that is forgotten with data
    /// of its own and data shared with others, packs that wait for deletion, and a run that died.
    fn prepare(world: &mut World) -> Saved {
        let save = |world: &mut World| {
            let call = Call::of(&OPERATIONS[0], &mut world.dice, &world.ledger)
                .expect("a backup is always possible");
            crate::world::summary_id(&world.run_to_the_end(&call).ran)
        };
        let waits = save(world);
        world.replace_source();
        let first = save(world);
        for _ in 0..3 {
            world.change_source();
            save(world);
        }
        world.replace_source();
        save(world);
        world.must(&["forget", &waits]);
        world.must(&["prune", "--undo-window", "0", "--grace", "1h"]);
        world.must(&["forget", &first]);
        world.ledger.0.remove(&waits);
        world.ledger.set(&first, State::Forgotten);
        world.change_source();
        let call =
            Call::of(&OPERATIONS[0], &mut world.dice, &world.ledger).expect("a backup is always possible");
        let injection = Injection { calls: "renameat2", fault: KILL, nth: 3 };
        assert_eq!(injection.run(world, &call).0.code, KILLED);
        world.look(&[]);
        copy(world, ".", "saved");
        Saved { ledger: world.ledger.clone() }
    }

    fn put_back(&self, world: &mut World) {
        for name in ["repo", "home"] {
            fs::remove_dir_all(world.machine.path(name)).unwrap();
        }
        copy(world, "saved", ".");
        world.ledger = self.ledger.clone();
    }
}

fn copy(world: &World, from: &str, to: &str) {
    fs::create_dir_all(world.machine.path(to)).unwrap();
    let names = ["repo", "home"].map(|name| world.machine.path(from).join(name));
    let copied = world.machine.command_of("cp").arg("-a").args(names).arg(world.machine.path(to)).status();
    assert!(copied.unwrap().success());
}

/// Injects at the first, the second, ... call, until there is no such call any more.
fn until_it_gets_through(
    world: &mut World,
    saved: &Saved,
    operation: &'static Operation,
    (calls, fault): (&'static str, &'static str),
    campaign: &Campaign,
    tally: &mut Tally,
) {
    let mut nth = 1;
    loop {
        saved.put_back(world);
        let Some(call) = Call::of(operation, &mut world.dice, &world.ledger) else {
            panic!("{}", operation.line)
        };
        let injection = Injection { calls, fault, nth };
        world.note(format!("{} [{fault} at {calls} number {nth}]", call.args.join(" ")));
        world.expect_effect(&call);
        let (ran, hits) = injection.run(world, &call);
        if hits.is_empty() {
            return;
        }
        match fault {
            KILL => tally.kills += 1,
            _ => {
                tally.errors += 1;
                *tally.codes.entry(ran.code).or_default() += 1;
                injection.judge(world, &call, &ran, &hits);
            }
        }
        recover(world, &call, ran);
        nth = injection.next(campaign.is_whole);
    }
}

/// Nothing is lost, and the same command works now.
fn recover(world: &mut World, call: &Call, ran: Ran) {
    world.look(&[Ended { call, ran, took: Duration::ZERO }]);
    if !world.is_done(call) {
        world.run_to_the_end(call);
    }
    world.must(&["check"]);
    let kept = world.ledger.ids(State::Kept);
    let id = world.dice.pick(&kept).expect("there are always some").clone();
    world.verify(&id);
    if world.dice.percent(10) {
        world.verify_all();
    }
}

impl Injection {
    /// Runs the call with this fault. Returns the lines of the log that tell of a hit.
    fn run(&self, world: &World, call: &Call) -> (Ran, Vec<String>) {
        let log = world.machine.path("strace");
        fs::remove_file(&log).ok();
        let how = if self.fault == KILL { "signal" } else { "error" };
        let inject = format!("inject={}:{how}={}:when={}", self.calls, self.fault, self.nth);
        let trace = format!("trace={}", self.calls);
        let mut command = world.machine.command_of("strace");
        command.args(["-f", "-qq", "-y", "-s", "200", "-e", &trace, "-e", &inject, "-o"]).arg(&log);
        command.arg(crate::support::LIFEBOAT).args(world.with_repo(&call.args));
        let ran = world.machine.ran(command.output().unwrap());
        let log = fs::read_to_string(log).unwrap();
        let is_hit = |line: &&str| line.contains("(INJECTED)") || line.contains("+++ killed by SIGKILL");
        let hits = log.lines().filter(is_hit).map(str::to_string).collect();
        (ran, hits)
    }

    /// Few in the beginning, where the runs differ most, then farther apart; all of them in a campaign, but for
    /// the many files that a run opens.
    fn next(&self, is_whole: bool) -> usize {
        match (is_whole, self.calls) {
            (true, "openat") => self.nth + 3,
            (true, _) => self.nth + 1,
            (false, "openat") => self.nth * 3 + 20,
            (false, _) => self.nth * 2,
        }
    }

    /// How the run may end.
    fn judge(&self, world: &World, call: &Call, ran: &Ran, hits: &[String]) {
        let repo = world.machine.path("repo").display().to_string();
        let in_repo = hits.iter().any(|hit| hit.contains(&repo));
        let in_source = hits.iter().any(|hit| hit.contains("/source/"));
        let allowed: &[i32] = match (self.fault, in_repo, call.operation.effect) {
            // A call during which another thread made one is told in two lines; the one with the fault has no path.
            ("EMFILE", false, _) => &[0, 1, 3, 13, 15, 127],
            (_, false, _) => &[0, 1, 3, 15, 127],
            // Every call from the nth on may be hit by several threads: files of the source too.
            ("EMFILE", true, _) if in_source => &[0, 1, 3, 13],
            ("EMFILE", true, _) => &[0, 1, 13],
            // What cannot be removed stays: a temporary file, or the pending record of a snapshot that is saved.
            _ if self.calls.starts_with("unlink") => &[0, 1],
            ("ENOSPC" | "EDQUOT", true, Effect::Saves) => &[15],
            ("ENOSPC" | "EDQUOT", true, _) => &[0, 15],
            (_, true, Effect::Saves) => &[1],
            _ => &[0, 1],
        };
        if !allowed.contains(&ran.code) {
            world.fail(&format!(
                "ended with {}, not one of {allowed:?}\n{}\n{}",
                ran.code,
                hits.join("\n"),
                ran.raw_err
            ));
        }
    }
}

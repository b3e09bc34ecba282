//! Long campaigns: `cargo run --release -p testkit -- campaign --seeds 100000`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;
use testkit::model;
use testkit::simulation::campaign::{campaign, shrink};
use testkit::simulation::life::{Failure, Plan, run};

const USAGE: &str = "\
usage: testkit campaign --seeds N [--seed FIRST] [--planted NAME]
       testkit campaign --seed ONE
       testkit campaign model [--states N]
       testkit model [RULE]
  --seeds N       run so many seeds (the simulation)
  --seed S        begin with this one; alone: run it and show all its requests if it fails
  --planted NAME  with a bug on purpose (needs --features planted)
  campaign model  search the model of the deletion protocol, N states a world (default 20000000)
  model           how each wrong rule of the model loses; with a part of a rule's name, step by step
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["campaign", "model"] => worlds(20_000_000),
        ["campaign", "model", "--states", number] => match number.parse() {
            Ok(states_max) => worlds(states_max),
            Err(_) => tell(USAGE, ExitCode::from(2)),
        },
        ["campaign", ref options @ ..] => simulation(options),
        ["model"] => wrong_rules(""),
        ["model", rule] => wrong_rules(rule),
        _ => tell(USAGE, ExitCode::from(2)),
    }
}

fn tell(text: &str, exit: ExitCode) -> ExitCode {
    // Nobody is listening any more: the exit code says the rest.
    std::io::stdout().write_all(text.as_bytes()).ok();
    exit
}

fn simulation(options: &[&str]) -> ExitCode {
    let (mut seeds, mut first, mut planted) = (None, None, None);
    for option in options.chunks(2) {
        let [name, value] = option else { return tell(USAGE, ExitCode::from(2)) };
        let number = value.parse::<u64>();
        match (*name, number) {
            ("--seeds", Ok(number)) => seeds = Some(number),
            ("--seed", Ok(number)) => first = Some(number),
            ("--planted", _) => planted = Some(*value),
            _ => return tell(USAGE, ExitCode::from(2)),
        }
    }
    if let Some(name) = planted
        && !plant(name)
    {
        return tell(
            "there is no such bug in this program (built with --features planted?)\n",
            ExitCode::from(2),
        );
    }
    match (seeds, first) {
        (Some(seeds), first) => many(first.unwrap_or(0), seeds),
        (None, Some(seed)) => one(seed),
        (None, None) => tell(USAGE, ExitCode::from(2)),
    }
}

#[cfg(feature = "planted")]
fn plant(name: &str) -> bool {
    storage::planted::choose(Some(name));
    testkit::simulation::planted::NAMES.iter().any(|(known, ..)| *known == name)
}

#[cfg(not(feature = "planted"))]
fn plant(_name: &str) -> bool {
    false
}

fn many(first: u64, seeds: u64) -> ExitCode {
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let told = |runs: u64| {
        if runs.is_multiple_of(5000) {
            tell(&format!("{runs} runs in {} s\n", start.elapsed().as_secs()), ExitCode::SUCCESS);
        }
    };
    match campaign(first, seeds, threads, &told) {
        Ok(sums) => {
            let t = &sums.tally;
            let text = format!(
                "{} seeds from {first}: {} requests, {} operations succeeded, {} failed, {} faults, {} clients died, \
                 {} snapshots acknowledged; 0 promises broken; {} s, fingerprint {:016x}\n",
                sums.runs,
                t.steps,
                t.succeeded,
                t.failed,
                t.faults,
                t.crashes,
                t.acknowledged,
                start.elapsed().as_secs(),
                t.fingerprint
            );
            tell(&text, ExitCode::SUCCESS)
        }
        Err(failure) => tell(&explain(&shrink(failure)), ExitCode::FAILURE),
    }
}

fn one(seed: u64) -> ExitCode {
    match run(&Plan { tail: usize::MAX, ..Plan::of(seed) }) {
        Ok(tally) => tell(&format!("seed {seed}: no promise broken; {tally:?}\n"), ExitCode::SUCCESS),
        Err(failure) => tell(&explain(&failure), ExitCode::FAILURE),
    }
}

fn explain(failure: &Failure) -> String {
    let Failure { plan, weather, violation, tail } = failure;
    format!(
        "seed {} ({weather}; {} actors, {} rounds) breaks {}: {}\nlast requests:\n{tail}",
        plan.seed,
        plan.actors_max.min(9),
        plan.rounds,
        violation.invariant,
        violation.what
    )
}

fn worlds(states_max: u64) -> ExitCode {
    match model::campaign::run(states_max, &mut line) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn wrong_rules(named: &str) -> ExitCode {
    model::campaign::explain(named, &mut line);
    ExitCode::SUCCESS
}

fn line(text: &str) {
    tell(&format!("{text}\n"), ExitCode::SUCCESS);
}

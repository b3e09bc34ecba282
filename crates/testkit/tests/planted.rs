//! Every planted bug is found.
#![expect(clippy::print_stderr, reason = "where each was found is worth knowing")]

use std::time::Instant;
use testkit::simulation::planted::{NAMES, OF_FOLDERS, SEEDS_MAX, search, search_folders};

#[test]
fn every_planted_bug_is_found() {
    // Broken promises and panics are what is looked for here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unfound = Vec::new();
    let only = std::env::var("LIFEBOAT_PLANTED").ok();
    for bug in NAMES
        .iter()
        .filter(|(name, ..)| only.as_ref().is_none_or(|only| only.split(',').any(|only| only == *name)))
    {
        let (name, what, _) = bug;
        let start = Instant::now();
        storage::planted::choose(Some(name));
        match search(bug, 2) {
            Some(failure) => eprintln!(
                "{name}: seed {} ({}) breaks {}, {} ms",
                failure.plan.seed,
                failure.weather,
                failure.violation.invariant,
                start.elapsed().as_millis()
            ),
            None => {
                eprintln!("{name}: NOT FOUND in {SEEDS_MAX} seeds, {} ms", start.elapsed().as_millis());
                unfound.push(format!("{name}: {what}"));
            }
        }
    }
    for (name, what, _) in OF_FOLDERS {
        storage::planted::choose(Some(name));
        match search_folders() {
            Some((seed, violation)) => eprintln!("{name}: folder seed {seed} breaks {}", violation.invariant),
            None => unfound.push(format!("{name}: {what}")),
        }
    }
    storage::planted::choose(None);
    drop(std::panic::take_hook());
    assert!(NAMES.len() >= 30);
    assert!(unfound.is_empty(), "not found within {SEEDS_MAX} seeds:\n{}", unfound.join("\n"));
}

#[test]
fn a_program_with_planted_bugs_says_so() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let mark = storage::planted::MARKER;
    assert!(program.windows(mark.len()).any(|window| window == mark));
}

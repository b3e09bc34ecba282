//! Many runs.

use crate::simulation::life::{Failure, Plan, Tally, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The sums of many runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Runs.
    pub runs: u64,
    /// Their tallies, added up; the fingerprint is the exclusive or of all.
    pub tally: Tally,
}

impl Sums {
    fn add(&mut self, tally: &Tally) {
        let sum = &mut self.tally;
        self.runs += 1;
        sum.steps += tally.steps;
        sum.fingerprint ^= tally.fingerprint;
        sum.succeeded += tally.succeeded;
        sum.failed += tally.failed;
        sum.crashes += tally.crashes;
        sum.faults += tally.faults;
        sum.acknowledged += tally.acknowledged;
    }
}

/// Runs the seeds from `first` on, on so many threads, until one fails. `told` hears how many have run.
pub fn campaign(
    first: u64,
    seeds: u64,
    threads: usize,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Sums, Box<Failure>> {
    campaign_of(first..first + seeds, threads, told)
}

/// Runs these seeds, which must ascend.
pub fn campaign_of(
    seeds: impl Iterator<Item = u64> + Send,
    threads: usize,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Sums, Box<Failure>> {
    let seeds = Mutex::new(seeds);
    let failed = AtomicBool::new(false);
    let sums = Mutex::new(Sums::default());
    let failure: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let Some(seed) = seeds.lock().expect("no run panics while it asks").next() else { return };
            match run(&Plan::of(seed)) {
                Ok(tally) => {
                    let mut sums = sums.lock().expect("no run panics while it counts");
                    sums.add(&tally);
                    told(sums.runs);
                }
                Err(found) => {
                    let mut failure = failure.lock().expect("no run panics while it tells");
                    // The smallest seed is told, whichever thread was first.
                    if failure.as_ref().is_none_or(|f| f.plan.seed > found.plan.seed) {
                        *failure = Some(found);
                    }
                    failed.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match failure.into_inner().expect("all runs have ended") {
        Some(failure) => Err(failure),
        None => Ok(sums.into_inner().expect("all runs have ended")),
    }
}

/// Looks for a smaller plan that breaks a promise, too: fewer actors, fewer operations.
pub fn shrink(failure: Box<Failure>) -> Box<Failure> {
    let mut smallest = failure;
    for actors_max in 1..=6 {
        for rounds in 1..=smallest.plan.rounds {
            let plan = Plan { actors_max, rounds, ..smallest.plan.clone() };
            if let Err(smaller) = run(&plan) {
                smallest = smaller;
                return smallest;
            }
        }
    }
    smallest
}

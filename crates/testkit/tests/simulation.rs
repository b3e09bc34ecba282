//! Some thousand histories, every single death of a life, and that one seed is one history.

use testkit::simulation::campaign::{campaign, shrink};
use testkit::simulation::life::{Plan, run};
use testkit::simulation::oracle::Violation;
use testkit::simulation::{folder, sweep};

/// Two threads: each run has some of its own, of which one works at a time.
const THREADS: usize = 2;

#[test]
fn promises_hold_in_every_weather() {
    let sums = campaign(0, 3000, THREADS, &|_| {}).unwrap_or_else(|failure| {
        let smaller = shrink(failure);
        panic!("{:?} breaks {:?}\n{}", smaller.plan, smaller.violation, smaller.tail)
    });
    let t = sums.tally;
    assert!(t.acknowledged > 6000 && t.crashes > 1000 && t.failed > 2000, "too little happened: {t:?}");
}

#[test]
fn seeds_that_broke_a_promise_once_keep_it() {
    // 13361: the loss of one machine's power took back what another had made durable. 8532: every prune wrote a
    // pack anew, because a rescue had put a blob into it three times. 14922: a machine that lost its power took an
    // index segment with it on which another relied. 51203: a repair moved a torn tomb away while it was completed.
    // 32256: a check named a condemned pack that no segment lists any more, which the next prune moves. 35453: a
    // repair left the record of a snapshot alone whose removal was announced once and called off. 36105, 38884: a prune
    // ended a session that had committed, because the first copy of its record was lost at that very moment. 74114: a
    // record whose name was wrongly said to be taken was put over the word that its session is over. 62649: a flipped
    // bit in a second copy was overwritten where its parity is enough.
    for seed in [13_361, 8532, 14_922, 51_203, 32_256, 35_453, 36_105, 38_884, 62_649, 74_114] {
        run(&Plan::of(seed)).unwrap_or_else(|f| panic!("{seed}: {:?}\n{}", f.violation, f.tail));
    }
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..60 {
        let plan = Plan::of(seed);
        let runs = [(); 2].map(|()| run(&plan).unwrap_or_else(|f| panic!("{seed}: {:?}", f.violation)));
        assert_eq!(runs[0], runs[1], "seed {seed}");
        assert!(runs[0].steps > 20);
    }
}

#[test]
fn real_folders_come_back_from_a_place_that_fails() {
    for seed in 0..100 {
        folder::run(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
    }
}

#[test]
fn a_life_may_be_cut_at_every_request() {
    all_hold(&sweep::every_cut(), sweep::run);
}

#[test]
fn a_repair_may_be_cut_at_every_request() {
    all_hold(&sweep::every_cut_of_a_repair(), sweep::run_repair);
}

#[test]
fn the_run_after_a_death_may_die_too() {
    all_hold(&sweep::double_cuts(2), sweep::run);
}

fn all_hold(cuts: &[sweep::Cut], run: fn(&sweep::Cut) -> Result<(), Violation>) {
    assert!(cuts.len() > 200);
    std::thread::scope(|scope| {
        for half in cuts.chunks(cuts.len().div_ceil(THREADS)) {
            scope.spawn(move || {
                for cut in half {
                    run(cut).unwrap_or_else(|violation| panic!("{cut:?}: {violation:?}"));
                }
            });
        }
    });
}

//! The model of the deletion protocol: the right rules lose nothing, every wrong one is found, nobody is stuck.

#![allow(clippy::print_stdout, reason = "what was covered, for whoever asks with --nocapture")]

use std::collections::HashSet;
use testkit::model::campaign::{STATES_MAX, describe, table_line, worlds};
use testkit::model::progress::{Alone, finish_session, free_all, leave_alone, sessions_alive, waste};
use testkit::model::scenario::Scenario;
use testkit::model::search::{search, search_with};
use testkit::model::state::State;
use testkit::model::trace;
use testkit::model::variants::VARIANTS;

/// Searches a world in which all rules are right.
fn assert_safe(world: &Scenario, states_max: u64) -> bool {
    let report = search(world, states_max);
    println!("{}", describe(world, &report));
    for (event, state) in report.lost.iter().flat_map(|(_, way)| way) {
        println!("    {}", trace::line(world, event, state));
    }
    assert!(report.lost.is_none(), "{}: the right rules lose something", world.name);
    report.is_complete
}

#[test]
fn every_broken_rule_is_found() {
    let told = std::fs::read_to_string("../../docs/protocol.md").expect("the protocol is documented");
    for variant in VARIANTS {
        let world = variant.broken();
        let report = search(&world, STATES_MAX);
        let line = table_line(*variant, &report);
        println!("{line} after {} states", report.states);
        assert_eq!(report.lost.is_none(), variant.is_harmless(), "{}", variant.name());
        assert!(report.lost.is_some() || report.is_complete, "{}: not searched to the end", variant.name());
        assert!(variant.is_harmless() || told.contains(&line), "docs/protocol.md lacks the line {line}");
    }
}

#[test]
fn the_right_rules_lose_nothing_where_a_broken_one_does() {
    let mut done = HashSet::new();
    let mut cut_short = Vec::new();
    for variant in VARIANTS {
        let world = variant.world();
        let is_new = done.insert(format!("{:?}", Scenario { name: "", ..world.clone() }));
        if is_new && !assert_safe(&world, 3_000_000) {
            cut_short.push(variant.name());
        }
    }
    // These are searched to their ends by the campaign.
    assert_eq!(
        cut_short,
        ["names of deleted packs are dropped", "merged object sorts before what it replaces"]
    );
}

#[test]
fn larger_worlds_lose_nothing_as_far_as_the_tests_go() {
    for world in worlds() {
        assert_safe(&world, 400_000);
    }
}

#[test]
fn whoever_is_left_alone_ends_and_a_pruner_alone_frees_all() {
    let world = Scenario { packs_max: 5, ..worlds().swap_remove(0) }.paged();
    let (mut sessions, mut prunes, mut crowded) = (0, 0, 0);
    search_with(&world, 150_000, &mut |state: &State| {
        for session in sessions_alive(&world, state) {
            let how = finish_session(&world, state, session);
            assert_ne!(how, Alone::Stuck, "a session is stuck in {state:?}");
            sessions += (how == Alone::Ended) as u64;
            crowded += (how == Alone::NoRoom) as u64;
        }
        let (after, how) = free_all(&world, &leave_alone(state, 3), 3);
        assert_ne!(how, Alone::Stuck, "a pruner is stuck in {state:?}");
        assert!(how == Alone::NoRoom || waste(&world, &after) == 0, "waste stays: {state:?}, {after:?}");
        prunes += (how == Alone::Ended) as u64;
        crowded += (how == Alone::NoRoom) as u64;
    });
    println!("{sessions} sessions and {prunes} prunes ended, {crowded} had no room in the model");
    assert!(sessions > 10_000 && prunes > 10_000 && crowded < (sessions + prunes) / 10);
}

//! SIGKILL at random moments of random operations, alone and two at a time, hundreds of times on one repository.

use crate::operations::{Call, OPERATIONS, Operation};
use crate::tree::{bytes_below, files_below};
use crate::world::{Ended, World, memory};
use crate::{Campaign, say};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::{Duration, Instant, SystemTime};

/// Everything is restored and read after so many rounds.
const ROUNDS_TO_VERIFY_ALL: usize = 40;
/// Histories at the same time: whether the disk is made of memory, and the share of all kills. A real disk makes
/// a run last longer in other places.
const LANES: [(bool, f64); 2] = [(true, 0.85), (false, 0.15)];

/// How long each operation takes when it is left alone, which spreads the kills over it.
#[derive(Default)]
struct Durations(BTreeMap<&'static str, Vec<Duration>>);

impl Durations {
    fn note(&mut self, ended: &Ended<'_>) {
        let known = self.0.entry(ended.call.operation.line).or_default();
        known.push(ended.took);
        if known.len() > 5 {
            known.remove(0);
        }
    }

    fn median(&self, call: &Call) -> Duration {
        let mut known = self.0.get(call.operation.line).cloned().unwrap_or_default();
        known.sort();
        known.get(known.len() / 2).copied().unwrap_or(Duration::from_millis(50))
    }
}

/// What a history came to.
#[derive(Default)]
struct Tally {
    kills: BTreeMap<&'static str, usize>,
    rounds: usize,
    pairs: usize,
    restored: usize,
}

impl Tally {
    fn never_killed(&self) -> Option<&'static Operation> {
        OPERATIONS.iter().find(|operation| !self.kills.contains_key(operation.line))
    }
}

#[test]
fn whatever_is_killed_whenever_nothing_acknowledged_is_lost_and_nobody_has_to_help() {
    let campaign = Campaign::from_environment();
    let start = Instant::now();
    let lane = |(in_memory, share): (bool, f64)| {
        let folder = if in_memory { memory() } else { std::env::temp_dir() };
        let kills = (campaign.kills as f64 * share).ceil() as usize;
        let each = in_memory && campaign.kills >= 100;
        history(World::new(campaign.seed * 2 + u64::from(in_memory), &folder), kills, each)
    };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let lanes: Vec<_> = LANES.map(|of| scope.spawn(move || lane(of))).into_iter().collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    });
    let mut kills: BTreeMap<&str, usize> = BTreeMap::new();
    for (operation, count) in tallies.iter().flat_map(|tally| &tally.kills) {
        *kills.entry(operation).or_default() += count;
    }
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let total = kills.values().sum::<usize>();
    say(&format!(
        "{total} kills in {} rounds, {} of two programs at once, {} restores compared: none lost, {} s",
        sum(|t| t.rounds),
        sum(|t| t.pairs),
        sum(|t| t.restored),
        start.elapsed().as_secs()
    ));
    for (operation, count) in &kills {
        say(&format!("  {count:5}  {operation}"));
    }
    assert!(total >= campaign.kills);
    for operation in OPERATIONS.iter().filter(|_| campaign.kills >= 100) {
        assert!(kills.contains_key(operation.line), "{} was never killed", operation.line);
    }
}

/// Runs one history until so many programs were killed, and where it is asked for each operation at least once.
fn history(mut world: World, kills: usize, each: bool) -> Tally {
    let mut durations = Durations::default();
    let mut tally = Tally::default();
    measure(&mut world, &mut durations);
    loop {
        let enough = tally.kills.values().sum::<usize>() >= kills;
        let wanted = tally.never_killed().filter(|_| enough && each && tally.rounds < 3 * kills);
        if enough && wanted.is_none() {
            break;
        }
        tally.rounds += 1;
        round(&mut world, wanted, &mut durations, &mut tally);
        if tally.rounds.is_multiple_of(ROUNDS_TO_VERIFY_ALL) {
            tally.restored += world.verify_all();
        }
    }
    tally.restored += world.verify_all();
    nothing_piles_up(&mut world);
    tally
}

/// Runs every operation to its end a few times, in an order in which each is possible.
fn measure(world: &mut World, durations: &mut Durations) {
    for _ in 0..3 {
        for operation in OPERATIONS {
            world.change_source();
            let Some(call) = Call::of(operation, &mut world.dice, &world.ledger) else { continue };
            durations.note(&world.run_to_the_end(&call));
        }
    }
}

/// One or two operations are killed, looked at, and run again to their end.
/// The first is the wanted one, if that is possible now.
fn round(
    world: &mut World,
    wanted: Option<&'static Operation>,
    durations: &mut Durations,
    tally: &mut Tally,
) {
    if world.dice.percent(70) {
        world.change_source();
    }
    let first = wanted.and_then(|operation| Call::of(operation, &mut world.dice, &world.ledger));
    let mut calls = vec![first.unwrap_or_else(|| Call::choose(&mut world.dice, &world.ledger))];
    if world.dice.percent(25) {
        let other = Call::choose(&mut world.dice, &world.ledger);
        if calls[0].goes_with(&other) {
            calls.push(other);
            tally.pairs += 1;
        }
    }
    let mut chosen = Vec::new();
    for call in &calls {
        // Two at a time share the processors, and one of them is let live now and then.
        let most = durations.median(call).mul_f64(1.05 * calls.len() as f64);
        let spares = calls.len() > 1 && world.dice.percent(30);
        chosen.push((call, (!spares).then(|| most.mul_f64(world.dice.share()))));
    }
    let ended = world.run_calls(&chosen);
    world.must_be_good(&ended);
    world.look(&ended);
    for end in &ended {
        if end.was_killed() {
            *tally.kills.entry(end.call.operation.line).or_default() += 1;
            run_again(world, durations, end.call);
        } else if calls.len() == 1 {
            durations.note(end);
        }
    }
    world.must(&["check"]);
    let kept = world.ledger.ids(crate::ledger::State::Kept);
    if let Some(id) = world.dice.pick(&kept).cloned() {
        world.verify(&id);
        tally.restored += 1;
    }
}

/// What was killed is run again as it was, unless it did its work before it died.
fn run_again(world: &mut World, durations: &mut Durations, call: &Call) {
    if !world.is_done(call) {
        durations.note(&world.run_to_the_end(call));
    }
}

/// After all the kills, one backup and one prune leave nothing behind that is not needed: no temporary files,
/// no records of dead runs, hardly more bytes than a new repository of the same snapshots takes.
fn nothing_piles_up(world: &mut World) {
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
    let leftovers = || -> Vec<_> {
        let temporary = files_below(&world.machine.path("repo/tmp"));
        let local = files_below(&world.machine.path("home")).into_iter().filter(|path| is_partial(path));
        temporary.into_iter().chain(local).collect()
    };
    let before = leftovers();
    for path in &before {
        File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let call = Call::of(&OPERATIONS[0], &mut world.dice, &world.ledger).expect("a backup is always possible");
    world.run_to_the_end(&call);
    let stay: Vec<_> = before.iter().filter(|path| path.exists()).collect();
    if !stay.is_empty() {
        world.fail(&format!(
            "{} leftovers a day old stay, of {}: {:?}",
            stay.len(),
            before.len(),
            &stay[..1]
        ));
    }
    world.must(&["prune", "--undo-window", "0", "--grace", "0", "--dead-after", "0", "--max-unused", "0"]);
    world.ledger.end_undo();
    world.look(&[]);
    world.verify_all();
    let pending = files_below(&world.machine.path("repo/pending")).len();
    assert_eq!(pending, 0, "records of dead runs stay");
    let (now, fresh) = (bytes_below(&world.machine.path("repo")), world.bytes_when_new());
    say(&format!(
        "  {} leftovers cleared; {now} bytes stored, a new repository of the same takes {fresh}",
        before.len()
    ));
    assert!(now < fresh + fresh / 10, "{now} bytes are stored, {fresh} are needed");
}

/// A file that was to get another name when it was whole.
fn is_partial(path: &std::path::Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.ends_with(".tmp") || name.rsplit_once('.').is_some_and(|(_, end)| end.contains('-'))
}

impl World {
    /// What a new repository of all snapshots that are kept takes.
    pub(crate) fn bytes_when_new(&mut self) -> u64 {
        let fresh = World::new(0, &memory());
        for id in self.ledger.ids(crate::ledger::State::Kept) {
            let spec = format!("{id}:{}", self.source().display());
            let target = fresh.source();
            fs::remove_dir_all(&target).unwrap();
            let target = target.display().to_string();
            self.must(&["restore", "-q", &spec, "--target", &target, "--no-sync"]);
            let ran = fresh.run(&["backup", "source"]);
            assert_eq!(ran.code, 0, "{}", ran.err);
        }
        // As the repository it is compared with: with a reserve, one index, no tails of packs.
        let ran = fresh.run(&["prune", "--undo-window", "0", "--grace", "0", "--max-unused", "0"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        bytes_below(&fresh.machine.path("repo"))
    }
}

//! One run: a seed decides the weather, the actors and whose turn it is; then the end is judged.

use crate::dice::Dice;
use crate::simulation::actors::{Actor, Desk, OBJECTS, cast};
use crate::simulation::history::{History, Watched};
use crate::simulation::judge;
use crate::simulation::oracle::{Oracle, Violation};
use crate::simulation::weather::Weather;
use crate::turns::{Seat, Turns};
use crate::world::{World, create_in, tiny_parameters};
use format::kind::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::{Crash, CrashPoint, SimStore};

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Only the first so many actors take part.
    pub actors_max: usize,
    /// Operations of each actor.
    pub rounds: u64,
    /// So many requests are told of a run that fails.
    pub tail: usize,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        Plan { seed, actors_max: usize::MAX, rounds: 2 + Dice::new(seed ^ 0x5eed).below(2), tail: 60 }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests made by the actors.
    pub steps: u64,
    /// Stands for every one of them.
    pub fingerprint: u64,
    /// Operations that succeeded.
    pub succeeded: u64,
    /// Operations that failed, which is what faults are for.
    pub failed: u64,
    /// Deaths of clients.
    pub crashes: u64,
    /// How often anything went wrong on purpose, the deaths among it.
    pub faults: u64,
    /// Snapshots that were acknowledged.
    pub acknowledged: u64,
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How to run it again.
    pub plan: Plan,
    /// The weather's name.
    pub weather: &'static str,
    /// The promise.
    pub violation: Violation,
    /// The last requests before.
    pub tail: String,
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Result<Tally, Box<Failure>> {
    let mut dice = Dice::new(plan.seed);
    let weather = Weather::draw(&mut dice);
    let stage = Stage::set(plan, &weather, &mut dice);
    let mut tally = stage.play(plan, &mut dice);
    tally.steps = stage.history.len();
    tally.fingerprint = stage.history.fingerprint();
    tally.faults = stage.world.sim.faults_met();
    tally.acknowledged = stage.oracle.acknowledged().len() as u64;
    let tail = stage.history.tail(plan.tail);
    let judged =
        catch_unwind(AssertUnwindSafe(|| judge::judge(&stage.world, &stage.oracle, &weather, &mut dice)));
    if judged.is_err() {
        stage.oracle.violated("R4", "the program panicked while its work was looked at");
    }
    match stage.oracle.violation() {
        None => Ok(tally),
        Some(violation) => {
            Err(Box::new(Failure { plan: plan.clone(), weather: weather.name, violation, tail }))
        }
    }
}

/// The place, and what is kept about the run.
struct Stage {
    world: Arc<World>,
    weather: Weather,
    oracle: Arc<Oracle>,
    history: History,
    folder: Option<tempfile::TempDir>,
}

impl Stage {
    fn set(plan: &Plan, weather: &Weather, dice: &mut Dice) -> Self {
        let sim = SimStore::new(dice.roll());
        let parameters = format::config::Parameters {
            data_parity_percent: if dice.once_in(4) { 6 } else { 0 },
            ..tiny_parameters()
        };
        create_in(Arc::new(sim.clone()), plan.seed, parameters).expect("a good place takes a repository");
        let oracle: Arc<Oracle> = Arc::default();
        sim.objects().iter().for_each(|(name, bytes)| oracle.writes(name, bytes));
        let folder = weather.caches.then(|| cache_folder().expect("there is room for a temporary folder"));
        let mut weather = weather.clone();
        if let Some(room) = weather.room_bytes {
            let used: u64 = sim.objects().values().map(|bytes| bytes.len() as u64).sum();
            weather.faults.space_bytes = Some(used + room);
        }
        sim.set_faults(weather.faults.clone());
        Stage { world: Arc::new(World::of(sim)), weather, oracle, history: History::default(), folder }
    }

    fn play(&self, plan: &Plan, dice: &mut Dice) -> Tally {
        let mut actors = cast(&self.weather, dice);
        actors.truncate(plan.actors_max);
        let stretch = [1, 3, 25][dice.below(3) as usize];
        let turns = Turns::with_stretches(dice.roll(), actors.len(), stretch);
        let machine = self.world.sim.connect();
        let mut threads = Vec::new();
        for (number, actor) in actors.into_iter().enumerate() {
            let client = match self.weather.one_machine {
                true => machine.connect_beside(),
                false => self.world.sim.connect(),
            };
            let desk = self.desk(number, client, turns.seat(number), &*actor, dice);
            let rounds = plan.rounds;
            threads.push(std::thread::spawn(move || live(actor, desk, rounds)));
        }
        let mut tally = Tally::default();
        for thread in threads {
            match thread.join() {
                Ok(one) => {
                    tally.succeeded += one.succeeded;
                    tally.failed += one.failed;
                    tally.crashes += one.crashes;
                }
                Err(_) => self.oracle.violated("R4", "an operation panicked"),
            }
        }
        tally
    }

    fn desk(&self, number: usize, client: SimStore, seat: Seat, actor: &dyn Actor, dice: &mut Dice) -> Desk {
        let (history, oracle) = (self.history.clone(), self.oracle.clone());
        let watched = Watched::new(client.clone(), number, actor.rights(), history.clone(), oracle.clone());
        let cache = self.folder.as_ref().map(|folder| folder.path().join(number.to_string()));
        Desk {
            world: self.world.clone(),
            sim: client,
            watched,
            seat,
            oracle,
            history,
            dice: Dice::new(dice.roll()),
            number,
            round: 0,
            weather: self.weather.clone(),
            cache,
            now: Timestamp { secs: 1_780_000_000, nanos: 0 },
        }
    }
}

/// In memory where the system has such a place.
fn cache_folder() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// The life of one actor: its operations, one process after the other.
fn live(mut actor: Box<dyn Actor>, mut desk: Desk, rounds: u64) -> Tally {
    let mut tally = Tally::default();
    for round in 0..rounds {
        desk.round = round;
        prepare(&mut desk);
        let outcome = actor.act(&mut desk);
        let died = desk.sim.has_crashed();
        tally.crashes += u64::from(died);
        match &outcome {
            Ok(()) => tally.succeeded += 1,
            Err(_) => tally.failed += 1,
        }
        if let Err(e) = &outcome
            && !died
        {
            judge::of_an_error(&*actor, &desk, e);
        }
        desk.sim.reopen();
        spoil_cache(&mut desk);
    }
    if desk.weather.power_cuts && desk.dice.once_in(2) {
        let sim = desk.sim.clone();
        desk.at_turn(|| sim.cut_power());
    }
    tally
}

/// Plans the death of the next operation, and moves clocks.
fn prepare(desk: &mut Desk) {
    let weather = desk.weather.clone();
    if weather.crash_once_in > 0 && desk.dice.once_in(weather.crash_once_in) {
        let points = [CrashPoint::Before, CrashPoint::After, CrashPoint::Torn];
        let point = points[desk.dice.below(if weather.tears { 3 } else { 2 }) as usize];
        // Short operations have some 20 requests, a backup has up to 100.
        let within = [20, 60, 110][desk.dice.below(3) as usize];
        let at_request = desk.sim.requests_made() + desk.dice.below(within);
        let power_loss = weather.power_cuts && desk.dice.once_in(2);
        desk.sim.set_crash(Crash { at_request, point, power_loss });
    }
    if weather.clocks_jump {
        const HOURS: i64 = 3600;
        let jumps = [0, 48 * HOURS, -48 * HOURS, -1_780_000_000, 2_500_000_000];
        desk.now.secs = 1_780_000_000 + jumps[desk.dice.below(5) as usize];
        let store_secs = 1_780_000_000 + jumps[desk.dice.below(5) as usize];
        let sim = desk.sim.clone();
        desk.at_turn(|| sim.set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(store_secs as u64)));
    }
}

/// Files that save time vanish, or are found damaged, between two operations.
fn spoil_cache(desk: &mut Desk) {
    let Some(folder) = desk.cache.clone().filter(|_| desk.dice.once_in(2)) else { return };
    for folder in [folder.join(OBJECTS), folder] {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = files.map(|entry| entry.path()).filter(|p| p.is_file()).collect();
        paths.sort();
        for path in paths {
            match desk.dice.below(4) {
                0 => _ = std::fs::remove_file(path),
                1 => damage_file(&path, &mut desk.dice),
                _ => {}
            }
        }
    }
}

fn damage_file(path: &Path, dice: &mut Dice) {
    let mut bytes = std::fs::read(path).unwrap_or_default();
    if bytes.is_empty() {
        return;
    }
    let at = dice.below(bytes.len() as u64) as usize;
    match dice.once_in(2) {
        true => bytes.truncate(at),
        false => bytes[at] ^= 4,
    }
    // A new file: the old one may be mapped.
    std::fs::remove_file(path).ok();
    std::fs::write(path, bytes).ok();
}

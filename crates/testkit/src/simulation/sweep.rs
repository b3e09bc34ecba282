//! One life with a single client, cut at every one of its requests, in every way.
//!
//! Making the repository, three backups, forgetting one snapshot, bringing it back, forgetting it again, a prune
//! that takes it away and packs anew what is left, and a check. In a second life a repair puts right what was
//! damaged before. Afterwards nobody does anything by hand: the next ordinary operation must succeed, and may be
//! cut in its turn.

use crate::dice::Dice;
use crate::files::{Files, edit, random_files};
use crate::mini::{self, Backup, backup};
use crate::simulation::actors::prune::inline;
use crate::simulation::actors::repair::Mending;
use crate::simulation::history::{History, Rights, Watched};
use crate::simulation::judge;
use crate::simulation::oracle::{Oracle, Sight, Violation};
use crate::simulation::weather::Weather;
use crate::world::{World, create_in, tiny_parameters};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::check::{CheckOptions, ReadShare, check};
use repo::prune::{PruneOptions, UnusedLimit, prune};
use repo::seed::Seed;
use repo::snapshots::{forget, remember};
use repo::workers::Workers;
use repo::{RepoError, RepoResult};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::{Crash, CrashPoint, SimStore, Store};

/// How a life is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first death.
    pub first: Crash,
    /// A death in the run that follows, counted from its first request.
    pub second: Option<Crash>,
    /// Decides lengths of torn objects, and what a power cut leaves.
    pub seed: u64,
}

/// The versions of the files that are saved.
fn versions() -> Vec<Arc<Files>> {
    let mut dice = Dice::new(77);
    let mut files = random_files(&mut dice, 12);
    files.values_mut().for_each(|bytes| bytes.truncate(4000));
    let version = |_| {
        edit(&mut dice, &mut files, 3);
        files.values_mut().for_each(|bytes| bytes.truncate(4000));
        Arc::new(files.clone())
    };
    (0..3).map(version).collect()
}

struct Life {
    world: World,
    oracle: Arc<Oracle>,
    watched: Watched,
}

impl Life {
    fn new(seed: u64) -> (Self, SimStore) {
        Self::with(seed, Rights::Creates)
    }

    fn repairer(seed: u64) -> (Self, SimStore) {
        Self::with(seed, Rights::Repairs)
    }

    fn with(seed: u64, rights: Rights) -> (Self, SimStore) {
        let sim = SimStore::new(seed);
        let oracle: Arc<Oracle> = Arc::default();
        let client = sim.connect();
        let watched = Watched::new(client.clone(), 0, rights, History::default(), oracle.clone());
        (Life { world: World::of(sim), oracle, watched }, client)
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.watched.clone())
    }

    fn save(&self, files: &Arc<Files>, parent: Option<&Snapshot>, seed: u64) -> RepoResult<Snapshot> {
        self.oracle.attempts(mini::session_of(seed), files);
        let reader = self.world.reader_over(self.store())?;
        let options = Backup { parent, checkpoint_files: 5, segment_packs: 2, ..Backup::new(seed) };
        let done = backup(&reader, files, &options)?;
        self.oracle.acknowledges(done.snapshot.id, self.watched.listed_at());
        Ok(done.snapshot)
    }

    /// Lives until it ends or dies.
    fn live(&self) -> RepoResult<()> {
        create_in(self.store(), 1, tiny_parameters())?;
        let versions = versions();
        let mut parent = None;
        let mut first = None;
        for (n, files) in versions.iter().enumerate() {
            let snapshot = self.save(files, parent.as_ref(), 1 + n as u64)?;
            first = first.or(Some(snapshot.id));
            parent = Some(snapshot);
        }
        let first = first.expect("three were saved");
        let repo = self.world.open_over(self.store())?;
        for (n, sight) in [Sight::Hidden, Sight::Shown, Sight::Hidden].into_iter().enumerate() {
            self.oracle.shows(0, first, Sight::Doubtful);
            match sight {
                Sight::Shown => remember(&repo, &first)?,
                _ => forget(&repo, &first, Default::default(), "sweep", &mut Seed::new([n as u8; 32]))?,
            }
            self.oracle.shows(0, first, sight);
        }
        let reader = self.world.reader_over(self.store())?;
        prune(&reader, &frees_everything(), Seed::new([9; 32]), &mut |_, _, _| {})?;
        let reader = self.world.reader_over(self.store())?;
        let mut options = CheckOptions {
            read: ReadShare::Everything,
            workers: Workers(0),
            sample_seed: 0,
            now: Timestamp::default(),
            progress: &mut |_, _| {},
        };
        check(&reader, &mut options).map(|_| ())
    }

    /// Three backups that nothing disturbs, then damage that can be mended: with the help of the source, for a
    /// data pack goes as well.
    fn prepare(&self) -> RepoResult<()> {
        create_in(Arc::new(self.world.sim.clone()), 1, tiny_parameters())?;
        let mut parent = None;
        for (n, files) in versions().iter().enumerate() {
            parent = Some(self.save(files, parent.as_ref(), 1 + n as u64)?);
        }
        self.world.sim.sync().ok();
        let first_of = |folder: &str| {
            let names = self.world.sim.objects().into_keys();
            names.filter(|name| name.as_str().starts_with(folder)).collect::<Vec<_>>()
        };
        self.world.sim.lose(&first_of("mirror/snapshots/")[0]);
        self.world.sim.lose(&first_of("snapshots/")[1]);
        self.world.sim.lose(&first_of("index/")[0]);
        self.world.sim.damage(&first_of("index/")[0], |bytes| bytes[100] ^= 4);
        self.world.sim.damage(&first_of("trees/")[0], |bytes| bytes[300] ^= 4);
        self.world.sim.lose(&first_of("packs/")[0]);
        self.world.sim.sync().ok();
        Ok(())
    }

    /// Puts everything right again.
    fn mend(&self, seed: u64) -> RepoResult<()> {
        let reader = self.world.reader_over(self.store())?;
        let report = Mending::whole(seed).run(&reader, versions())?;
        // The torn record of a session that may still commit is left to a prune.
        match report.left.iter().all(|finding| finding.what.starts_with(repo::names::PENDING)) {
            true => Ok(()),
            false => Err(RepoError::Local(format!("a repair leaves {:?}", report.left))),
        }
    }

    /// What somebody does who finds it not done: makes the repository, or saves once more.
    fn next(&self) -> RepoResult<()> {
        if self.world.reader_over(self.store()).is_err() {
            create_in(self.store(), 2, tiny_parameters())?;
        }
        self.save(&versions()[2], None, 10).map(|_| ())
    }
}

/// Everything goes that is not needed, at once.
fn frees_everything() -> PruneOptions {
    PruneOptions {
        dead_after: Duration::ZERO,
        unused: UnusedLimit::Bytes(0),
        repack_bytes_max: Some(u64::MAX),
        writer: inline(),
        ..PruneOptions::urgent(Timestamp::default())
    }
}

/// How many requests a whole life makes.
pub fn requests_of_a_life() -> u64 {
    let (life, client) = Life::new(0);
    life.live().expect("nothing goes wrong");
    client.requests_made()
}

/// Lives, dies, goes on, and is judged.
pub fn run(cut: &Cut) -> Result<(), Violation> {
    let (life, client) = Life::new(cut.seed);
    client.set_crash(cut.first);
    life.live().ok();
    client.reopen();
    if let Some(second) = cut.second {
        let at_request = client.requests_made() + second.at_request;
        client.set_crash(Crash { at_request, ..second });
        life.next().ok();
        client.reopen();
    }
    if life.world.reader().is_err() {
        life.next().map_err(|e| Violation { invariant: "R4", what: format!("cannot begin again: {e:?}") })?;
    }
    let tears = |crash: &Crash| crash.point == CrashPoint::Torn;
    let weather = Weather {
        name: "sweep",
        tears: tears(&cut.first) || cut.second.as_ref().is_some_and(tears),
        ..Weather::calm()
    };
    judge::judge(&life.world, &life.oracle, &weather, &mut Dice::new(cut.seed));
    life.oracle.violation().map_or(Ok(()), Err)
}

/// How many requests a repair makes in a place that needs one.
pub fn requests_of_a_repair() -> u64 {
    let (life, client) = Life::repairer(0);
    life.prepare().expect("nothing goes wrong");
    let before = client.requests_made();
    life.mend(3).expect("all can be mended");
    client.requests_made() - before
}

/// Repairs, dies, repairs again, and is judged. `first` counts from the first request of the repair.
pub fn run_repair(cut: &Cut) -> Result<(), Violation> {
    let broken = |what: String| Violation { invariant: "R6", what };
    let (life, client) = Life::repairer(cut.seed);
    life.prepare().map_err(|e| broken(format!("cannot begin: {e:?}")))?;
    client.set_crash(Crash { at_request: client.requests_made() + cut.first.at_request, ..cut.first });
    life.mend(3).ok();
    client.reopen();
    // What was cut off is moved out of the way when it is a day old.
    client.set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000 + 2 * 86_400));
    life.mend(4).map_err(|e| broken(format!("the next repair: {e:?}")))?;
    // A torn pending record is named by a check until a prune has ended its session.
    let tears = cut.first.point == CrashPoint::Torn;
    let weather = Weather { name: "sweep", tears, ..Weather::calm() };
    judge::judge(&life.world, &life.oracle, &weather, &mut Dice::new(cut.seed));
    life.oracle.violation().map_or(Ok(()), Err)
}

/// Every single death of a life.
pub fn every_cut() -> Vec<Cut> {
    cuts_of(requests_of_a_life())
}

/// Every single death of a repair.
pub fn every_cut_of_a_repair() -> Vec<Cut> {
    cuts_of(requests_of_a_repair())
}

fn cuts_of(requests: u64) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for at_request in 0..requests {
        let mut add = |point, power_loss, seed| {
            cuts.push(Cut { first: Crash { at_request, point, power_loss }, second: None, seed });
        };
        for power_loss in [false, true] {
            add(CrashPoint::Before, power_loss, 1);
            add(CrashPoint::After, power_loss, 2);
        }
        (3..6).for_each(|seed| add(CrashPoint::Torn, seed == 5, seed));
    }
    cuts
}

/// Deaths in the run after a death: every first one, with some second ones each.
pub fn double_cuts(seconds: u64) -> Vec<Cut> {
    let mut dice = Dice::new(4242);
    let points = [CrashPoint::Before, CrashPoint::After, CrashPoint::Torn];
    let mut crash = |at_request: u64| Crash {
        at_request,
        point: points[dice.below(3) as usize],
        power_loss: dice.once_in(2),
    };
    let mut cuts = Vec::new();
    let mut places = Dice::new(4243);
    for at_request in 0..requests_of_a_life() {
        for _ in 0..seconds {
            let (first, second) = (crash(at_request), crash(places.below(45)));
            cuts.push(Cut { first, second: Some(second), seed: places.roll() });
        }
    }
    cuts
}

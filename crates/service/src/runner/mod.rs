//! Runs what the configuration describes: jobs, and the duties of repositories.
//!
//! A job reads each of its sources once and brings it to all of its repositories. Everything that is not done
//! has a result that says why: each source in each repository, each hook. A source that is missing, not
//! mounted, empty, or much smaller than usual is a failure. What a run does is told to an [`Observer`] and
//! kept in the catalog; neither can make it fail.

mod copies;
mod databases;
mod duties;
mod job;
mod keep_config;
mod look_back;
mod pings;
mod presence;
mod proof;
mod record;
mod request;
mod retention;
mod sources;
mod suspicion;

pub use databases::changes_account;
pub(crate) use databases::{server, with_own_account};
pub use duties::{DutyKind, DutyReport};
pub use job::{JobReport, Trigger};
pub use presence::shrunk;
pub use proof::Proof;
pub use retention::{Judged, judge};
pub use sources::{Captured, capture, capture_files, release};
pub(crate) use sources::{patience, unserved};

use crate::catalog::{Catalog, NewRun, RunId, SourceResult};
use crate::config::Loaded;
use crate::failure::{Exit, Failure, Outcome};
use crate::kit::OwnProgram;
use crate::open::{Opener, Place, Unlock};
use engine::{MemoryBudget, Monitor};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use jiff::tz::TimeZone;
use repo::seed::Seed;
use repo::workers::Workers;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tag that says of which source a snapshot is.
pub const SOURCE_TAG: &str = "source:";

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Gives randomness.
pub type Seeds = Arc<dyn Fn() -> Outcome<Seed> + Send + Sync>;

/// Reads the program that runs.
pub type ReadProgram = Arc<dyn Fn(bool) -> Option<OwnProgram> + Send + Sync>;

/// What runs jobs for one installation.
#[derive(Clone)]
pub struct Runner {
    /// What is to be done.
    pub loaded: Arc<Loaded>,
    /// What opens places.
    pub opener: Opener,
    /// Unlocks repositories before their configuration is asked, and where that names nothing.
    pub unlocks: [Unlock; 2],
    /// The name of this machine in snapshots.
    pub host: String,
    /// The name that the keys of this machine are labelled with.
    pub node: String,
    /// Name and version of the program, for the record.
    pub program: String,
    /// Reads this very program, if it runs anywhere; or, where it is said that it lies beside the copies, any.
    pub own_program: ReadProgram,
    /// The time zone of periods.
    pub zone: TimeZone,
    /// Tells the time.
    pub clock: Clock,
    /// Gives randomness.
    pub seeds: Seeds,
    /// Threads for work that keeps processors busy.
    pub processors: Workers,
    /// What a run may hold.
    pub memory: MemoryBudget,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// Where runs are recorded, if anywhere.
    pub catalog: Option<Arc<Catalog>>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'s> {
    /// A source is read into repositories.
    Backup {
        /// The source.
        source: &'s str,
        /// The repositories.
        repositories: &'s [&'s str],
    },
    /// Snapshots of a source are brought from one repository to another.
    Copy {
        /// The source.
        source: &'s str,
        /// From where.
        from: &'s str,
        /// To where.
        to: &'s str,
    },
    /// A hook runs.
    Hook {
        /// The program and its arguments.
        command: &'s [String],
    },
    /// Snapshots are forgotten by their policies.
    Forget {
        /// The repository.
        repository: &'s str,
    },
    /// Space is freed.
    Prune {
        /// The repository.
        repository: &'s str,
    },
    /// Stored data is read again.
    Verify {
        /// The repository.
        repository: &'s str,
    },
    /// It is tried again after a while.
    Wait {
        /// Why.
        why: &'s str,
        /// For how long.
        secs: u64,
    },
}

/// Hears what a run does.
pub trait Observer: Send + Sync {
    /// A run begins.
    fn began(&self, _run: &NewRun) {}
    /// A step begins.
    fn step(&self, _run: &RunId, _step: &Step<'_>) {}
    /// Hears a step of reading while it works.
    fn monitor(&self) -> Arc<dyn Monitor> {
        Arc::new(engine::Silent)
    }
    /// Bytes done and to do, of steps that are not reading.
    fn progress(&self, _done: u64, _total: u64) {}
    /// A source was dealt with in a repository.
    fn copied(&self, _result: &SourceResult, _snapshot: Option<&Snapshot>) {}
    /// A duty of a repository was dealt with.
    fn duty(&self, _report: &DutyReport) {}
    /// A job ended.
    fn ended(&self, _report: &JobReport) {}
}

/// Hears nothing.
pub struct Unobserved;

impl Observer for Unobserved {}

impl Runner {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn new_run(&self, job: &str, what: &str, trigger: Trigger) -> Outcome<NewRun> {
        let id = RunId::new((self.seeds)()?.draw());
        let start = self.now().secs;
        Ok(NewRun { id, job: job.into(), what: what.into(), trigger: trigger.as_str().into(), start })
    }

    /// The place of a repository of the configuration.
    pub fn place(&self, name: &str) -> Outcome<Place> {
        let repository = self.loaded.config.repositories.get(name).ok_or_else(|| {
            Failure::usage(format!("there is no repository {name:?} in the configuration"))
                .hint("lifeboat config show")
        })?;
        let mut place =
            crate::config::place::place(name, repository, &self.opener.environment, &self.opener.folders)?;
        let [first, last] = self.unlocks.clone();
        place.unlock = crate::config::place::first_of(vec![first, place.unlock, last]);
        if crate::duties::limits(&self.loaded.config) {
            let (loaded, clock, zone, own) =
                (self.loaded.clone(), self.clock.clone(), self.zone.clone(), place.throttle);
            place.rates = Some(Arc::new(move || {
                let now = jiff::Timestamp::from_second(clock().secs).unwrap_or_default();
                let local = now.to_zoned(zone.clone()).datetime();
                let mut throttle = own;
                crate::duties::limit(&loaded.config, local, &mut throttle);
                throttle
            }));
        }
        Ok(place)
    }

    fn is_cancelled(&self) -> bool {
        self.opener.person.cancelled()
    }

    fn cancelled(&self) -> Failure {
        Failure::new(Exit::Interrupted, "cancelled")
    }

    /// Waits in small steps; says whether nobody wanted it to end.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.is_cancelled() {
                return false;
            }
            std::thread::sleep(
                Duration::from_millis(50).min(until.saturating_duration_since(Instant::now())),
            );
        }
        !self.is_cancelled()
    }
}

/// The worse of two ends. Nothing done is better than anything bad, and worse than all done.
pub(crate) fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Ok => 0,
        Exit::Skipped => 1,
        Exit::GoalNotMet => 2,
        Exit::Partial => 3,
        Exit::DrillFailed => 4,
        Exit::Interrupted | Exit::Terminated | Exit::BrokenPipe => 9,
        Exit::Damage => 8,
        _ => 6,
    };
    if rank(b) > rank(a) { b } else { a }
}

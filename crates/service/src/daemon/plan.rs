//! What the daemon is to do, and how: a list of duties, made from the configuration (see `duties`).

use crate::catalog::Duty;
use crate::conditions::Wanted;
use crate::schedule::Schedule;
use std::fmt;
use std::time::Duration;

/// Names a duty: what, and of which job, repository or drill.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What.
    pub duty: Duty,
    /// Of what.
    pub subject: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.duty {
            Duty::Run => write!(f, "job {}", self.subject),
            Duty::Maintenance => write!(f, "maintenance of {}", self.subject),
            Duty::Verify => write!(f, "verification of {}", self.subject),
            Duty::Drill => write!(f, "drill {}", self.subject),
            Duty::Sync => write!(f, "copying to {}", self.subject),
            Duty::Report => f.write_str("report"),
            Duty::Watch => f.write_str("watch"),
        }
    }
}

/// Something that is to be done again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DutyPlan {
    /// What.
    pub duty: Duty,
    /// Of what.
    pub subject: String,
    /// When: at any of these times; never without one.
    pub schedules: Vec<Schedule>,
    /// How much later than that.
    pub delay: Duration,
    /// Whether times that passed unseen are made up for.
    pub catch_up: bool,
    /// Whether conditions and quiet hours hold for it.
    pub heeds_conditions: bool,
    /// Which.
    pub wanted: Wanted,
    /// The repositories it writes to.
    pub writes: Vec<String>,
    /// How often it is tried.
    pub attempts: u32,
    /// How long to wait before trying again.
    pub wait: Duration,
    /// After this time it is ended.
    pub timeout: Option<Duration>,
    /// It should have gone well within this time.
    pub goal: Option<Duration>,
}

impl DutyPlan {
    /// Its name.
    pub fn key(&self) -> Key {
        Key { duty: self.duty, subject: self.subject.clone() }
    }
}

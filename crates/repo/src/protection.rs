//! What keeps a snapshot from being forgotten, and a forgotten one from being removed: holds, and the
//! repository's minimum age.
//!
//! Both `forget` and `prune` ask here, each right before it acts. A hold that is added while the other runs
//! may come too late for one snapshot; it is never too late for one that is only forgotten.

use crate::clock;
use crate::error::RepoResult;
use crate::holds::Holds;
use crate::open::Repo;
use crate::seed::Seed;
use format::config::MinimumAge;
use format::id::{HoldId, SnapshotId};
use format::keep::{Covers, Hold};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use std::time::SystemTime;

/// Why a snapshot must stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// A hold covers it.
    Held {
        /// Which.
        id: HoldId,
        /// Its name.
        name: String,
        /// Why it was made.
        reason: String,
        /// When it ends by itself.
        end: Option<Timestamp>,
    },
    /// A hold that cannot be read may cover it.
    UnreadableHold(HoldId),
    /// It has not reached the repository's minimum age.
    TooYoung {
        /// When it will have, by the store's clock.
        until: Timestamp,
    },
}

/// All that protects snapshots of a repository.
pub struct Protections {
    holds: Holds,
    ages: Vec<MinimumAge>,
    now: Timestamp,
}

impl Protections {
    /// Reads holds and settings as they are now. The store is asked for its time only where that decides
    /// something; `here` is the time by this machine's clock.
    pub fn read(repo: &Repo, here: Timestamp, seed: &mut Seed) -> RepoResult<Self> {
        let mut protections = Self::read_at(repo, here)?;
        if protections.depends_on_time() {
            protections.now = clock::earliest(repo, here, seed)?;
        }
        Ok(protections)
    }

    /// Like [`Protections::read`], without writing anything: for looking only.
    pub fn read_at(repo: &Repo, now: Timestamp) -> RepoResult<Self> {
        let (holds, ages) = (Holds::read(repo)?, repo.parameters().minimum_ages.clone());
        Ok(Protections { holds, ages, now })
    }

    fn depends_on_time(&self) -> bool {
        !self.ages.is_empty() || self.holds.holds.iter().any(|hold| hold.end.is_some())
    }

    /// Whether there is neither a hold nor a minimum age, so that nobody need be asked about.
    pub fn protect_nothing(&self) -> bool {
        self.ages.is_empty() && self.holds.holds.is_empty() && self.holds.unreadable.is_empty()
    }

    /// The time by which ages and ends are judged.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The holds that were read.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// What protects a snapshot; nothing if it may go. `received` is when the store got it.
    pub fn of(&self, snapshot: &Snapshot, received: Option<SystemTime>) -> Vec<Protection> {
        // Where the place tells no times, what the snapshot claims is all there is.
        let received = received.map_or(snapshot.end.max(snapshot.time), clock::timestamp);
        self.by(|hold| hold.covers(snapshot), received)
    }

    /// What protects a snapshot whose record cannot be read: any hold with conditions may.
    pub fn of_unreadable(&self, id: &SnapshotId, received: Option<SystemTime>) -> Vec<Protection> {
        let covers = |hold: &Hold| match &hold.covers {
            Covers::Snapshots(ids) => ids.contains(id),
            Covers::Matching(_) => true,
        };
        self.by(covers, received.map_or(Timestamp { secs: i64::MIN, nanos: 0 }, clock::timestamp))
    }

    fn by(&self, covers: impl Fn(&Hold) -> bool, received: Timestamp) -> Vec<Protection> {
        let unreadable = self.holds.unreadable.iter().map(|(id, _)| Protection::UnreadableHold(*id));
        let held = self.holds.holds.iter().filter(|hold| covers(hold) && !hold.is_over(self.now));
        let held = held.map(|hold| Protection::Held {
            id: hold.id,
            name: hold.name.clone(),
            reason: hold.reason.clone(),
            end: hold.end,
        });
        let until = Timestamp {
            secs: received.secs.saturating_add_unsigned(required_secs(&self.ages, received)),
            ..received
        };
        let young = (until > received && until > self.now).then_some(Protection::TooYoung { until });
        unreadable.chain(held).chain(young).collect()
    }
}

/// The age a snapshot received at this time must reach: the greatest of the settings in force then and since.
/// So a lower setting holds only for what comes after it.
pub fn required_secs(ages: &[MinimumAge], received: Timestamp) -> u64 {
    let ends = ages.iter().skip(1).map(|next| Some(next.since)).chain([None]);
    let counts = ages.iter().zip(ends).filter(|(_, end)| end.is_none_or(|end| received < end));
    counts.map(|(age, _)| age.secs).max().unwrap_or(0)
}

/// Sets the minimum age from now on, by the store's clock. Settings that protect nothing any more go.
pub fn set_minimum_age(repo: &mut Repo, secs: u64, here: Timestamp, seed: &mut Seed) -> RepoResult<()> {
    // An earlier time would let go what was received meanwhile, so the later of the two clocks counts here.
    let now = clock::store_now(repo, seed)?.map_or(here, |there| there.max(here));
    repo.update_parameters(seed, |parameters| {
        let ages = &mut parameters.minimum_ages;
        let since = ages.last().map_or(now, |last| last.since.max(now));
        ages.push(MinimumAge { since, secs });
        while let [first, next, ..] = ages[..] {
            let over = next.since.secs.saturating_add_unsigned(first.secs) < now.secs;
            if !over && first.secs > next.secs {
                break;
            }
            ages.remove(0);
        }
        if let [only] = ages[..]
            && only.secs == 0
        {
            ages.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp { secs, nanos: 0 }
    }

    fn age(since: i64, secs: u64) -> MinimumAge {
        MinimumAge { since: at(since), secs }
    }

    #[test]
    fn a_minimum_age_is_raised_for_all_and_lowered_only_for_what_comes_later() {
        let ages = [age(100, 30), age(200, 7)];
        assert_eq!([50, 150, 199, 200, 500].map(|t| required_secs(&ages, at(t))), [30, 30, 30, 7, 7]);
        let ages = [age(100, 7), age(200, 30)];
        assert_eq!([50, 150, 200].map(|t| required_secs(&ages, at(t))), [30, 30, 30]);
        let ages = [age(100, 30), age(200, 0), age(300, 10)];
        assert_eq!([150, 250, 350].map(|t| required_secs(&ages, at(t))), [30, 10, 10]);
        assert_eq!(required_secs(&[], at(5)), 0);
    }
}

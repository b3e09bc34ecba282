//! Which snapshots a policy keeps, and why each one stays. Pure: it reads no store and no clock.
//!
//! Forgetting by a policy is the real way of deleting, so the enemy here is whoever can *add* snapshots: a
//! stolen client, a wrong clock, a disk that was not mounted. Promised is (the tests play such an enemy):
//! - a snapshot's place in time is when the **store** received it; what a record claims counts only where an
//!   owner or maintainer confirmed it, or where the store tells no times;
//! - a snapshot against which something speaks ([`Doubt`]) is kept in addition and displaces nothing;
//! - a partial snapshot displaces only partial ones, a damaged one only damaged ones;
//! - the newest good snapshot of each source stays, whatever the policy;
//! - equal input gives equal output, whatever the order of the snapshots.
//!
//! A doubtful snapshot does age out: it is judged as if it were the only one added to the good ones, and goes
//! when those cover its place. So a source that was once not mounted leaves nothing behind for ever, and a
//! thousand forged snapshots have no say about one another. Only an unconfirmed time stays until somebody
//! says what it is.

mod buckets;
mod doubt;
mod policy;
mod reason;
#[cfg(test)]
mod tests;

pub use doubt::{Doubt, SequenceFault, doubts};
pub use policy::{Count, Period, Policy, PolicyError, Span};
pub use reason::Reason;

use buckets::Point;
use format::id::SnapshotId;
use format::keep::Trust;
use format::kind::Timestamp;
use format::snapshot::{Completeness, Snapshot};
use jiff::tz::TimeZone;
use repo::protection::Protection;
use std::collections::BTreeMap;
use thiserror::Error;

/// A snapshot, and what is known about it besides.
#[derive(Clone, Debug)]
pub struct Candidate<'s> {
    /// The record.
    pub snapshot: &'s Snapshot,
    /// When the store received it.
    pub received: Option<Timestamp>,
    /// BLAKE3 of the record.
    pub record_hash: [u8; 32],
    /// What was said about it under the gc key.
    pub trust: Option<&'s Trust>,
    /// Whether it is known to be damaged.
    pub damaged: bool,
    /// Whether it was forgotten already: no verdict is given, but it says what is usual and what came before.
    pub forgotten: bool,
    /// Whether the policy is to be applied to it; the others are looked at only.
    pub in_scope: bool,
    /// What protects it.
    pub protections: Vec<Protection>,
}

impl Candidate<'_> {
    /// A confirmation is about one record, not about whatever stands under its name.
    fn trusts(&self) -> Option<&Trust> {
        self.trust.filter(|t| t.snapshot == self.snapshot.id && t.record == self.record_hash)
    }

    fn trusts_time(&self) -> bool {
        self.trusts().is_some_and(|trust| trust.time)
    }

    fn trusts_contents(&self) -> bool {
        self.trusts().is_some_and(|trust| trust.contents)
    }

    /// Its place in time.
    pub fn when(&self) -> Timestamp {
        match self.received {
            Some(received) if !self.trusts_time() => received,
            _ => self.snapshot.time,
        }
    }

    /// A total order, the oldest first.
    fn order(&self) -> (Timestamp, Timestamp, u64, SnapshotId) {
        (self.when(), self.snapshot.time, self.snapshot.sequence, self.snapshot.id)
    }

    /// The better of two kinds of snapshot is never displaced by the worse.
    fn rank(&self) -> u8 {
        match (self.damaged, self.snapshot.completeness) {
            (false, Completeness::Complete) => 0,
            (false, Completeness::Partial) => 1,
            (true, _) => 2,
        }
    }
}

/// What the snapshots of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// The machine.
    pub host: bool,
    /// The sources.
    pub sources: bool,
    /// The tags.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        GroupBy { host: true, sources: true, tags: false }
    }
}

/// How to decide.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// What to keep.
    pub policy: &'r Policy,
    /// To which snapshots it is applied together.
    pub group_by: GroupBy,
    /// Now; counts only for snapshots that claim to come from the future.
    pub now: Timestamp,
    /// Where days begin.
    pub zone: &'r TimeZone,
}

/// What is to become of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub id: SnapshotId,
    /// Why it is kept; without a reason it may be forgotten.
    pub reasons: Vec<Reason>,
    /// What speaks against it.
    pub doubts: Vec<Doubt>,
}

impl Verdict {
    /// Whether it is kept.
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Snapshots that were judged together, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Their machine, where grouped by it.
    pub host: Option<String>,
    /// Their sources, where grouped by them.
    pub sources: Option<Vec<Vec<u8>>>,
    /// Their tags, sorted, where grouped by them.
    pub tags: Option<Vec<String>>,
    /// One for each snapshot in scope that is not forgotten.
    pub verdicts: Vec<Verdict>,
}

/// What a policy comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// All groups, in order of what they have in common.
    pub groups: Vec<Group>,
    /// The store tells no times: what snapshots claim had to be believed.
    pub believes_claims: bool,
}

/// A policy without any rule would forget everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the policy has no rule, so it would keep nothing")]
pub struct EmptyPolicy;

/// Judges every snapshot in scope. All snapshots of the repository must be among the candidates.
pub fn decide(candidates: &[Candidate<'_>], request: &Request<'_>) -> Result<Decision, EmptyPolicy> {
    if request.policy.is_empty() {
        return Err(EmptyPolicy);
    }
    let all_doubts = doubts(candidates, request.now);
    let stay = last_of_sources(candidates, &all_doubts);
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (i, candidate) in candidates.iter().enumerate() {
        if candidate.in_scope && !candidate.forgotten {
            groups.entry(group_key(candidate.snapshot, request.group_by)).or_default().push(i);
        }
    }
    let groups = groups.into_iter().map(|((host, sources, tags), mut members)| {
        members.sort_by_key(|i| candidates[*i].order());
        let mut reasons = by_policy(candidates, &all_doubts, &members, request);
        let verdicts = members.iter().map(|&i| {
            let mut reasons = reasons.remove(&i).unwrap_or_default();
            if reasons.is_empty() && stay.contains(&i) {
                reasons.push(Reason::LastGood);
            }
            reasons.extend(candidates[i].protections.iter().cloned().map(Reason::Protected));
            Verdict { id: candidates[i].snapshot.id, reasons, doubts: all_doubts[i].clone() }
        });
        Group { host, sources, tags, verdicts: verdicts.collect() }
    });
    let believes_claims = candidates.iter().any(|c| c.received.is_none());
    Ok(Decision { groups: groups.collect(), believes_claims })
}

type GroupKey = (Option<String>, Option<Vec<Vec<u8>>>, Option<Vec<String>>);

fn group_key(snapshot: &Snapshot, by: GroupBy) -> GroupKey {
    let mut tags = snapshot.tags.clone();
    tags.sort();
    let (host, sources) = (snapshot.host.clone(), snapshot.sources.clone());
    (by.host.then_some(host), by.sources.then_some(sources), by.tags.then_some(tags))
}

/// What the policy keeps of a group, `members` being the oldest first.
fn by_policy(
    candidates: &[Candidate<'_>],
    doubts: &[Vec<Doubt>],
    members: &[usize],
    request: &Request<'_>,
) -> BTreeMap<usize, Vec<Reason>> {
    let mut kept = BTreeMap::new();
    // Those of each rank beside all that are at least as good.
    let counted = |rank: u8| -> Vec<usize> {
        let counts = |i: &&usize| doubts[**i].is_empty() && candidates[**i].rank() <= rank;
        members.iter().filter(counts).copied().collect()
    };
    let counted = [counted(0), counted(1), counted(2)];
    for (rank, list) in counted.iter().enumerate() {
        let reasons = apply(candidates, list, request);
        let of_rank = reasons.into_iter().filter(|(i, _)| candidates[*i].rank() == rank as u8);
        kept.extend(of_rank);
    }
    for &i in members.iter().filter(|i| !doubts[**i].is_empty()) {
        kept.insert(i, in_doubt(candidates, &doubts[i], i, &counted[candidates[i].rank() as usize], request));
    }
    kept
}

/// A doubtful snapshot beside the good ones alone: other doubtful ones have no say.
fn in_doubt(
    candidates: &[Candidate<'_>],
    doubts: &[Doubt],
    i: usize,
    counted: &[usize],
    request: &Request<'_>,
) -> Vec<Reason> {
    let mut list = counted.to_vec();
    let at = list.partition_point(|other| candidates[*other].order() < candidates[i].order());
    list.insert(at, i);
    let mut reasons = apply(candidates, &list, request).remove(&i).unwrap_or_default();
    if !reasons.is_empty() || doubts.iter().any(Doubt::keeps_until_confirmed) {
        // The rules that would keep it if it counted are not why it is kept, except its tags.
        reasons.retain(|reason| matches!(reason, Reason::Tags(_)));
        reasons.extend(doubts.iter().cloned().map(Reason::InDoubt));
    }
    reasons
}

/// The policy over a list, the oldest first.
fn apply(
    candidates: &[Candidate<'_>],
    list: &[usize],
    request: &Request<'_>,
) -> BTreeMap<usize, Vec<Reason>> {
    let newest_first = list.iter().rev();
    let points: Vec<Point<'_>> = newest_first
        .clone()
        .map(|i| Point::new(candidates[*i].when(), request.zone, &candidates[*i].snapshot.tags))
        .collect();
    let reasons = buckets::apply(request.policy, &points, request.zone);
    newest_first.copied().zip(reasons).collect()
}

/// For each source the snapshot that must stay: the newest good one. Where nothing counts as good, all that
/// might be, or else the newest of the best kind there is.
fn last_of_sources(candidates: &[Candidate<'_>], doubts: &[Vec<Doubt>]) -> Vec<usize> {
    let mut sources: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (i, candidate) in candidates.iter().enumerate().filter(|(_, c)| !c.forgotten) {
        let snapshot = candidate.snapshot;
        sources.entry((&snapshot.host, &snapshot.sources)).or_default().push(i);
    }
    let mut stay = Vec::new();
    for mut members in sources.into_values() {
        members.sort_by_key(|i| candidates[*i].order());
        let newest_first = members.iter().rev().copied();
        let of_rank = |rank: u8| newest_first.clone().filter(move |i| candidates[*i].rank() == rank);
        let good = of_rank(0).find(|i| doubts[*i].is_empty());
        let doubtful: Vec<usize> = of_rank(0).collect();
        let others = || of_rank(1).next().or_else(|| of_rank(2).next());
        match good {
            Some(good) => stay.push(good),
            None if !doubtful.is_empty() => stay.extend(doubtful),
            None => stay.extend(others()),
        }
    }
    stay
}

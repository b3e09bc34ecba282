//! Worlds for the tests of retention.

mod attack;
mod doubts;
mod golden;

use super::*;
use format::id::{BlobId, WriterId};
use format::snapshot::{Mode, Stats};
use format::tree::Root;

const DAY: i64 = 86_400;

/// A snapshot as a test has it; it lends itself to a [`Candidate`].
#[derive(Clone, Debug)]
struct Made {
    snapshot: Snapshot,
    received: Option<Timestamp>,
    hash: [u8; 32],
    trust: Option<Trust>,
    damaged: bool,
    forgotten: bool,
    in_scope: bool,
    protections: Vec<Protection>,
}

fn secs(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 0 }
}

impl Made {
    /// A good snapshot of `/home` on `nas`, claimed, ended and received at the same time.
    fn at(n: u32, time: Timestamp) -> Self {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let snapshot = Snapshot {
            id: SnapshotId(id),
            writer: WriterId([1; 16]),
            sequence: u64::from(n) + 1,
            previous: if n == 0 { [0; 32] } else { hash(n - 1) },
            root: Root { id: BlobId([0; 24]), level: 0 },
            time,
            end: time,
            host: "nas".into(),
            user: "me".into(),
            sources: vec![b"/home".to_vec()],
            tags: Vec::new(),
            mode: Mode::Incremental,
            base: None,
            parent: None,
            completeness: Completeness::Complete,
            stats: Stats { files_unmodified: 1000, source_bytes: 1 << 30, ..Stats::default() },
            program: String::new(),
            excludes: Vec::new(),
            mounts: Vec::new(),
            description: String::new(),
        };
        Made {
            snapshot,
            received: Some(time),
            hash: hash(n),
            trust: None,
            damaged: false,
            forgotten: false,
            in_scope: true,
            protections: Vec::new(),
        }
    }

    fn day(n: u32, day: i64) -> Self {
        Made::at(n, secs(day * DAY + 43_200))
    }

    fn with(mut self, change: impl FnOnce(&mut Made)) -> Self {
        change(&mut self);
        self
    }

    fn trusted(self, time: bool, contents: bool) -> Self {
        self.with(|m| {
            let made = Timestamp::default();
            m.trust = Some(Trust { snapshot: m.snapshot.id, record: m.hash, time, contents, made });
        })
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            snapshot: &self.snapshot,
            received: self.received,
            record_hash: self.hash,
            trust: self.trust.as_ref(),
            damaged: self.damaged,
            forgotten: self.forgotten,
            in_scope: self.in_scope,
            protections: self.protections.clone(),
        }
    }
}

/// The hash of the n-th record.
fn hash(n: u32) -> [u8; 32] {
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    hash
}

/// Long after everything in the tests.
const LATER: Timestamp = Timestamp { secs: 400_000 * DAY, nanos: 0 };

fn decision(snapshots: &[Made], policy: &Policy) -> Decision {
    let candidates: Vec<Candidate<'_>> = snapshots.iter().map(Made::candidate).collect();
    let request = Request { policy, group_by: GroupBy::default(), now: LATER, zone: &TimeZone::UTC };
    decide(&candidates, &request).expect("the policy has a rule")
}

/// The ids of what is kept, in the order of the verdicts.
fn kept_ids(decision: &Decision) -> Vec<SnapshotId> {
    let verdicts = decision.groups.iter().flat_map(|group| &group.verdicts);
    verdicts.filter(|verdict| verdict.is_kept()).map(|verdict| verdict.id).collect()
}

/// The numbers of the snapshots that are kept.
fn kept(snapshots: &[Made], policy: &str) -> Vec<u32> {
    let decision = decision(snapshots, &policy.parse().unwrap());
    let number = |id: SnapshotId| u32::from_be_bytes(id.0[..4].try_into().unwrap());
    let mut numbers: Vec<u32> = kept_ids(&decision).into_iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

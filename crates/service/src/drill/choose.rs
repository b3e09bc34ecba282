//! What a drill restores: which source, which snapshot, which part of it.
//!
//! Everything has its turn. The source whose last drill is longest ago comes first, ages take turns, and a
//! snapshot is cut into parts of which each drill takes the next: runs of leaves of the tree, each about as much work as
//! the others. So after n drills of one age all of it was restored, whatever chance wants.
//!
//! A part is one run and not every n-th leaf, because neighbours lie in the same blocks: of a million tiny files a hundredth
//! that is spread out lies in half of all blocks, and would cost half of the reading.

use super::evidence::Drilled;
use engine::KeyRanges;
use format::erase::below;
use format::snapshot::Snapshot;
use repo::leaf_ranges::LeafRange;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A file is as much work as so many bytes more.
pub(super) const FILE_WEIGHT: u64 = 65_536;

/// The key right behind a key.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Part `k` of `of` equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which, from 0.
    pub k: u64,
    /// Of how many.
    pub of: u64,
}

impl Part {
    /// All of it.
    pub const WHOLE: Part = Part { k: 0, of: 1 };

    /// The part whose turn it is after so many drills.
    pub fn turn(of: u64, drills_before: u64) -> Self {
        let of = of.max(1);
        Part { k: drills_before % of, of }
    }
}

/// Into how many parts a snapshot is cut, so that none has many more files or bytes than these.
pub fn parts_for(leaves: &[LeafRange], files_max: u64, bytes_max: u64) -> u64 {
    let entries: u64 = leaves.iter().map(|leaf| leaf.entries).sum();
    let bytes: u64 = leaves.iter().map(|leaf| leaf.file_bytes).sum();
    let wanted = entries.div_ceil(files_max.max(1)).max(bytes.div_ceil(bytes_max.max(1)));
    wanted.clamp(1, (leaves.len() as u64).max(1))
}

/// The part of each leaf: runs of about the same weight, of which none is empty. `of` is no more than there are leaves.
fn parts(leaves: &[LeafRange], of: u64) -> Vec<u64> {
    let weight = |leaf: &LeafRange| {
        u128::from(leaf.entries) * u128::from(FILE_WEIGHT) + u128::from(leaf.file_bytes) + 1
    };
    let total: u128 = leaves.iter().map(weight).sum();
    let (mut before, mut k) = (0, 0);
    let part_of = |(leaf, left): (&LeafRange, u64)| {
        // The middle of a leaf says where it belongs. One that is heavier than a part leaves no part behind it empty.
        let is_beyond = (2 * before + weight(leaf)) * u128::from(of) >= 2 * u128::from(k + 1) * total;
        if before > 0 && k + 1 < of && (is_beyond || left < of - k) {
            k += 1;
        }
        before += weight(leaf);
        k
    };
    leaves.iter().zip((1..=leaves.len() as u64).rev()).map(part_of).collect()
}

/// The leaves of a part.
pub(super) fn leaves_of(leaves: &[LeafRange], part: Part) -> impl Iterator<Item = &LeafRange> {
    // Where there are fewer leaves than parts, some parts would be empty and prove nothing.
    let of = part.of.clamp(1, (leaves.len() as u64).max(1));
    leaves.iter().zip(parts(leaves, of)).filter(move |(_, k)| *k == part.k % of).map(|(leaf, _)| leaf)
}

/// The keys of a part and of critical paths.
pub fn ranges(leaves: &[LeafRange], part: Part, critical: &[Vec<u8>]) -> KeyRanges {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> =
        leaves_of(leaves, part).map(|leaf| (leaf.from.clone(), leaf.to.clone())).collect();
    for key in critical {
        all.push((key.clone(), after(key)));
        let from = below(key);
        let mut to = from.clone();
        // A prefix ends with a zero byte: the next one is behind everything that begins with it.
        if let Some(last) = to.last_mut() {
            *last = 1;
            all.push((from, to));
        }
    }
    KeyRanges::new(all)
}

/// Which of a source's snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Age {
    /// The newest.
    Newest,
    /// The oldest.
    Oldest,
    /// Any other.
    Random,
}

impl Age {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Age::Newest => "newest",
            Age::Oldest => "oldest",
            Age::Random => "random",
        }
    }
}

/// What snapshots are of: a machine and its paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceKey {
    /// The machine.
    pub host: String,
    /// The paths or streams, as text.
    pub paths: Vec<String>,
}

impl SourceKey {
    /// Of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let paths = snapshot.sources.iter().map(|path| String::from_utf8_lossy(path).into_owned());
        SourceKey { host: snapshot.host.clone(), paths: paths.collect() }
    }

    /// As people read it.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.host, self.paths.join(","))
    }
}

/// A source with its snapshots and drills.
pub struct Source<'s> {
    /// What it is.
    pub key: SourceKey,
    /// Its snapshots that are in sight, oldest first.
    pub snapshots: Vec<&'s Snapshot>,
    /// Its drills, oldest first.
    pub drills: Vec<&'s Drilled>,
}

/// The sources of a repository, the one whose last drill is longest ago first; those that never had one before.
pub fn sources<'s>(snapshots: impl Iterator<Item = &'s Snapshot>, drills: &'s [Drilled]) -> Vec<Source<'s>> {
    let mut all: BTreeMap<SourceKey, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        all.entry(SourceKey::of(snapshot)).or_default().push(snapshot);
    }
    let mut sources: Vec<Source<'s>> = all
        .into_iter()
        .map(|(key, mut snapshots)| {
            snapshots.sort_by_key(|s| (s.time, s.id));
            let drills = drills.iter().filter(|drill| drill.evidence.source == key).collect();
            Source { key, snapshots, drills }
        })
        .collect();
    sources.sort_by_key(|source| source.drills.last().map(|drill| drill.evidence.started));
    sources
}

/// One source of the configuration, whatever its machine and paths were called over time; none without a snapshot.
pub fn of_name<'s>(
    name: &str,
    snapshots: impl Iterator<Item = &'s Snapshot>,
    drills: &'s [Drilled],
) -> Option<Source<'s>> {
    let mut snapshots: Vec<&Snapshot> = snapshots.collect();
    snapshots.sort_by_key(|s| (s.time, s.id));
    let key = SourceKey::of(snapshots.last()?);
    let is_of = |drill: &&Drilled| {
        drill.evidence.source_name.as_deref() == Some(name) && drill.evidence.source.host == key.host
    };
    let drills = drills.iter().filter(is_of).collect();
    Some(Source { key, snapshots, drills })
}

impl<'s> Source<'s> {
    /// The age whose turn it is.
    pub fn age_in_turn(&self) -> Age {
        match self.drills.len() % 3 {
            0 => Age::Newest,
            1 => Age::Oldest,
            _ => Age::Random,
        }
    }

    /// How many drills of an age there were.
    pub fn drills_of(&self, age: Age) -> u64 {
        self.drills.iter().filter(|drill| drill.evidence.age == age).count() as u64
    }

    /// A snapshot of this age; `random` chooses among those in between.
    pub fn snapshot(&self, age: Age, random: u64) -> &'s Snapshot {
        let last = self.snapshots.len() - 1;
        let at = match age {
            Age::Newest => last,
            Age::Oldest => 0,
            Age::Random => (random % self.snapshots.len() as u64) as usize,
        };
        self.snapshots[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use format::id::BlobId;
    use format::tree::PathKey;
    use proptest::prelude::*;

    const ID: BlobId = BlobId([0; BlobId::LEN]);

    fn leaves(n: u64) -> Vec<LeafRange> {
        let key = |i: u64| i.to_be_bytes().to_vec();
        (0..n)
            .map(|i| LeafRange { id: ID, from: key(i), to: key(i + 1), entries: 190, file_bytes: 1 << 20 })
            .collect()
    }

    proptest! {
        /// Every leaf is restored once in a cycle, and no part is much larger than another.
        #[test]
        fn a_cycle_of_drills_covers_everything(n in 1u64..400, of in 1u64..120) {
            let leaves = leaves(n);
            let mut all = Vec::new();
            let of = of.min(n);
            for drill in 0..of {
                let ranges = ranges(&leaves, Part::turn(of, drill), &[]);
                all.extend(ranges.iter().map(|(from, to)| (from.to_vec(), to.to_vec())));
                let share: u64 = ranges.iter().map(|(from, to)| {
                    let number = |key: &[u8]| u64::from_be_bytes(key.try_into().unwrap());
                    number(to) - number(from)
                }).sum();
                prop_assert!(share <= n.div_ceil(of));
            }
            let whole = KeyRanges::new(all);
            prop_assert_eq!(whole.iter().collect::<Vec<_>>(), vec![(&leaves[0].from[..], &leaves[n as usize - 1].to[..])]);
        }
    }

    proptest! {
        /// Whatever leaves weigh, every part is a run, none is empty, and one without a heavy leaf is not heavy.
        #[test]
        fn parts_are_runs_and_none_is_empty(
            weights in proptest::collection::vec((1u64..300, 0u64..1 << 40), 1..200), of in 1u64..200,
        ) {
            let leaves: Vec<LeafRange> = weights
                .iter()
                .map(|(entries, file_bytes)| LeafRange {
                    id: ID, from: vec![], to: vec![], entries: *entries, file_bytes: *file_bytes,
                })
                .collect();
            let of = of.min(leaves.len() as u64);
            let parts = parts(&leaves, of);
            prop_assert!(parts.is_sorted() && parts[0] == 0 && parts[parts.len() - 1] == of - 1);
            prop_assert!(parts.windows(2).all(|pair| pair[1] - pair[0] <= 1));
        }
    }

    #[test]
    fn parts_are_as_small_as_asked_for() {
        let leaves = leaves(1000);
        assert_eq!(parts_for(&leaves, 1900, u64::MAX), 100);
        assert_eq!(parts_for(&leaves, u64::MAX, 10 << 20), 100);
        assert_eq!(parts_for(&leaves, 1, 1), 1000, "a leaf is never cut");
        assert_eq!(parts_for(&[], 1, 1), 1);
    }

    #[test]
    fn a_critical_path_comes_with_all_below_it() {
        let key = PathKey::of(&["/", "etc"]);
        let ranges = ranges(&[], Part::WHOLE, std::slice::from_ref(&key));
        let holds = |path: &[&str]| {
            let key = PathKey::of(path);
            ranges.iter().any(|(from, to)| from <= &key[..] && &key[..] < to)
        };
        assert!(holds(&["/", "etc"]) && holds(&["/", "etc", "passwd"]) && holds(&["/", "etc", "a", "b"]));
        assert!(!holds(&["/", "etcetera"]) && !holds(&["/", "home"]));
    }
}

//! How much of what is stored was proven: restored by a drill and found right.
//!
//! Evidence names the leaves of the snapshot's tree that came back. A leaf's id is the hash of everything that it says of
//! its files, their chunks' ids included, so the same leaf in another snapshot is the same files: what is unchanged
//! since it was proven is proven in the snapshot of today, too, and what changed is not.

use super::{Drilled, SourceKey};
use crate::counts::count;
use crate::failure::Outcome;
use format::id::{BlobId, hex, unhex};
use format::snapshot::Snapshot;
use format::tree::{Node, Root};
use repo::RepoResult;
use repo::browse::read_node;
use repo::leaf_ranges::{LeafRange, leaf_ranges};
use repo::reader::Reader;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::{HashMap, HashSet};

/// So many bytes of an id stand for it: of a hundred million leaves two are alike in one of 3,700 repositories.
const MARK_BYTES: usize = 8;

type Mark = [u8; MARK_BYTES];

fn mark(id: &BlobId) -> Mark {
    *id.0.first_chunk().expect("an id is longer than its mark")
}

/// The leaves that a drill restored; in JSON the first 16 hex digits of each id, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves(Vec<Mark>);

impl<'l> FromIterator<&'l LeafRange> for Leaves {
    fn from_iter<I: IntoIterator<Item = &'l LeafRange>>(leaves: I) -> Self {
        Leaves(leaves.into_iter().map(|leaf| mark(&leaf.id)).collect())
    }
}

impl Leaves {
    /// All leaves of a tree; reads the nodes above them only.
    ///
    /// # Errors
    /// A node cannot be read.
    pub fn of_tree(reader: &Reader, root: Root) -> RepoResult<Self> {
        Ok(leaf_ranges(reader, root)?.iter().collect())
    }

    /// Whether none came back.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Leaves {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(self.0.as_flattened()))
    }
}

impl<'de> Deserialize<'de> for Leaves {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut marks = vec![Mark::default(); text.len() / (2 * MARK_BYTES)];
        match unhex(&text, marks.as_flattened_mut()) {
            Some(()) => Ok(Leaves(marks)),
            None => Err(D::Error::custom("these are no leaves")),
        }
    }
}

/// A part and what it is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Entries and bytes of files that were proven.
    pub proven: (u64, u64),
    /// Entries and bytes of files of all of it.
    pub all: (u64, u64),
}

impl Share {
    /// As a number from 0 to 1: of the bytes; where there are none, of the entries. 1 where there is nothing to prove.
    pub fn ratio(&self) -> f64 {
        match self.all {
            (0, 0) => 1.0,
            (entries, 0) => self.proven.0 as f64 / entries as f64,
            (_, bytes) => self.proven.1 as f64 / bytes as f64,
        }
    }

    /// Whether every entry was proven.
    pub fn is_whole(&self) -> bool {
        self.proven == self.all
    }

    /// In percent, rounded down: 100 is said of what is proven to the last byte only.
    pub fn percent(&self) -> String {
        format!("{:.1} %", (self.ratio() * 1000.0).floor() / 10.0)
    }

    /// Both together.
    pub fn and(self, other: Share) -> Share {
        let sum = |a: (u64, u64), b: (u64, u64)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
        Share { proven: sum(self.proven, other.proven), all: sum(self.all, other.all) }
    }
}

/// A snapshot that is in sight, and how much of it was proven.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What it is of.
    pub source: SourceKey,
    /// Its id in hex.
    pub id: String,
    /// How much of it was proven.
    pub share: Share,
}

/// What was proven of the snapshots of a source.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Proof {
    /// Of its newest snapshot, whether it was restored itself or is the same in another one; in JSON a number from 0 to 1.
    #[serde(rename = "bytes_share_of_newest", serialize_with = "ratio")]
    pub newest: Share,
    /// Of all of them together.
    #[serde(rename = "bytes_share_of_all", serialize_with = "ratio")]
    pub all: Share,
    /// Snapshots that were proven whole.
    #[serde(rename = "snapshots_whole")]
    pub whole: usize,
    /// Of how many.
    pub snapshots: usize,
}

fn ratio<S: Serializer>(share: &Share, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(share.ratio())
}

impl Proof {
    /// Sums up; oldest first.
    pub fn of<'s>(shown: impl Iterator<Item = &'s Shown>) -> Self {
        // Where nothing is in sight, nothing is proven.
        let unproven = Share { all: (1, 0), ..Share::default() };
        let mut proof = Proof { newest: unproven, all: unproven, whole: 0, snapshots: 0 };
        for Shown { share, .. } in shown {
            proof.newest = *share;
            proof.all = if proof.snapshots == 0 { *share } else { proof.all.and(*share) };
            proof.whole += usize::from(share.is_whole());
            proof.snapshots += 1;
        }
        proof
    }

    /// In words.
    pub fn words(&self) -> String {
        format!(
            "{} of the newest snapshot's bytes proven, {} of all; {} of {} whole",
            self.newest.percent(),
            self.all.percent(),
            self.whole,
            count(self.snapshots, "snapshot")
        )
    }
}

/// The leaves that drills proved since a time (Unix seconds). What came back wrong since is proven no longer, and what is
/// not rightly signed proves nothing.
fn proven(drills: &[Drilled], since: i64) -> HashSet<Mark> {
    let mut proven = HashSet::new();
    for drill in drills.iter().filter(|d| d.signed && d.evidence.started >= since) {
        let Leaves(leaves) = &drill.evidence.leaves;
        match drill.evidence.result.is_proof() {
            true => proven.extend(leaves),
            false => leaves.iter().for_each(|leaf| _ = proven.remove(leaf)),
        }
    }
    proven
}

/// How much of each snapshot drills proved since a time (Unix seconds), oldest first. Reads the inner nodes of their trees,
/// those they share once. A tree that is damaged counts as not proven.
///
/// # Errors
/// The repository cannot be read.
pub fn shares<'s>(
    reader: &Reader,
    snapshots: impl Iterator<Item = &'s Snapshot>,
    drills: &[Drilled],
    since: i64,
) -> Outcome<Vec<Shown>> {
    let proven = proven(drills, since);
    let mut trees = Trees { reader, proven: &proven, known: HashMap::new() };
    let mut snapshots: Vec<&Snapshot> = snapshots.collect();
    snapshots.sort_by_key(|s| (s.time, s.id));
    let mut shown = Vec::new();
    for snapshot in snapshots {
        let share = match trees.share(snapshot.root) {
            Ok(share) => share,
            Err(e) if e.is_damage() => Share { proven: (0, 0), all: (1, snapshot.stats.source_bytes) },
            Err(e) => return Err(e.into()),
        };
        shown.push(Shown { source: SourceKey::of(snapshot), id: snapshot.id.hex(), share });
    }
    Ok(shown)
}

/// Sums over trees, each inner node once.
struct Trees<'t> {
    reader: &'t Reader,
    proven: &'t HashSet<Mark>,
    known: HashMap<BlobId, Share>,
}

impl Trees<'_> {
    fn leaf(&self, id: &BlobId, all: (u64, u64)) -> Share {
        let proven = if self.proven.contains(&mark(id)) { all } else { (0, 0) };
        Share { proven, all }
    }

    fn share(&mut self, root: Root) -> RepoResult<Share> {
        match root.level {
            0 => {
                let leaves = leaf_ranges(self.reader, root)?;
                let shares = leaves.iter().map(|leaf| self.leaf(&leaf.id, (leaf.entries, leaf.file_bytes)));
                Ok(shares.fold(Share::default(), Share::and))
            }
            level => self.inner(root.id, level),
        }
    }

    /// The depth is bounded: nodes of more levels than `TREE_LEVELS_MAX` are not decoded.
    fn inner(&mut self, id: BlobId, level: u8) -> RepoResult<Share> {
        if let Some(share) = self.known.get(&id) {
            return Ok(*share);
        }
        let children = match read_node(self.reader, &id)? {
            Node::Index { level: found, children } if found == level => children,
            _ => return Err(repo::leaf_ranges::wrong_level()),
        };
        let mut sum = Share::default();
        for child in children {
            sum = sum.and(match level {
                1 => self.leaf(&child.id, (child.entries, child.file_bytes)),
                _ => self.inner(child.id, level - 1)?,
            });
        }
        self.known.insert(id, sum);
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(ids: &[u8]) -> Leaves {
        Leaves(ids.iter().map(|id| [*id; MARK_BYTES]).collect())
    }

    #[test]
    fn leaves_are_read_as_they_were_written() {
        for some in [leaves(&[]), leaves(&[7]), leaves(&[0, 1, 255])] {
            let text = serde_json::to_string(&some).unwrap();
            assert_eq!(serde_json::from_str::<Leaves>(&text).unwrap(), some, "{text}");
        }
        for wrong in ["\"07\"", "\"zz07070707070707\"", "\"070707070707070707\"", "\"+707070707070707\"", "7"]
        {
            assert!(serde_json::from_str::<Leaves>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_of_bytes_and_where_there_are_none_of_entries() {
        let ratio = |proven, all| Share { proven, all }.ratio();
        assert_eq!(ratio((1, 30), (2, 40)), 0.75);
        assert_eq!(ratio((1, 0), (4, 0)), 0.25);
        assert_eq!(ratio((0, 0), (0, 0)), 1.0);
    }
}

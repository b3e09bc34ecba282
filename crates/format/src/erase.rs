//! Paths that were erased from history, so that no copy, undo or late snapshot brings them back.
//!
//! It takes something away, so it is sealed with the gc key and lives under `gc/`. It covers snapshots that
//! began before it was made: what is backed up again afterwards is there because somebody wants it.

use crate::envelope::ObjectType;
use crate::error::{FormatError, FormatResult};
use crate::gc::GcRecord;
use crate::id::{ErasureId, SnapshotId};
use crate::kind::Timestamp;
use crate::limits::KEY_BYTES_MAX;
use crate::record::{RecordReader, RecordWriter};
use crate::snapshot::Snapshot;
use crate::tree::{KeyPath, PathKey, dir_prefix};

const WHAT: &str = "erasure";

/// An erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Its id.
    pub id: ErasureId,
    /// The erased paths as tree keys; all that is below each is erased, too.
    pub paths: Vec<Vec<u8>>,
    /// When it was made; it covers snapshots that began before.
    pub time: Timestamp,
    /// Machines whose snapshots it covers; all when empty.
    pub hosts: Vec<String>,
    /// Why.
    pub reason: String,
    /// Who made it, on which machine; shown only.
    pub by: String,
    /// Snapshots that were replaced: the old one, and the new one without the paths.
    pub replaced: Vec<(SnapshotId, SnapshotId)>,
}

impl Erasure {
    /// Whether it covers a snapshot.
    pub fn covers(&self, snapshot: &Snapshot) -> bool {
        snapshot.time <= self.time && (self.hosts.is_empty() || self.hosts.contains(&snapshot.host))
    }

    /// Takes in what another copy replaced, as its record of the same erasure says; whether there was anything new.
    pub fn take_in(&mut self, other: &Erasure) -> bool {
        let before = self.replaced.len();
        for pair in &other.replaced {
            if !self.replaced.contains(pair) {
                self.replaced.push(*pair);
            }
        }
        self.replaced.len() > before
    }

    /// Whether an entry of a covered snapshot is erased: it is one of the paths, or below one.
    pub fn erases(&self, key: &[u8]) -> bool {
        self.paths.iter().any(|path| key == path || key.starts_with(&below(path)))
    }

    /// Whether the path with these components is erased.
    pub fn erases_path<C: AsRef<[u8]>>(&self, components: &[C]) -> bool {
        !components.is_empty() && self.erases(&PathKey::of(components))
    }
}

impl GcRecord for Erasure {
    const OBJECT: ObjectType = ObjectType::Erasure;
    const WHAT: &'static str = WHAT;
    const TAGS: &'static [u64] = &[1, 2, 3, 4, 5, 6, 7];

    fn write(&self, w: &mut RecordWriter) {
        w.field(1, &self.id.0);
        w.list(2, &self.paths);
        w.time(3, self.time);
        w.list(4, &self.hosts);
        w.field(5, self.reason.as_bytes());
        w.field(6, self.by.as_bytes());
        w.names(7, self.replaced.iter().flat_map(|(old, new)| [old.0, new.0]));
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        let paths = r.list(2)?;
        for path in &paths {
            let parsed = KeyPath::parse(path)?;
            if parsed.name.is_empty() || path.len() > KEY_BYTES_MAX {
                return Err(FormatError::corrupt(WHAT, "it names no path"));
            }
        }
        let ids: Vec<SnapshotId> = r.names(7)?.map(SnapshotId).collect();
        let (pairs, rest) = ids.as_chunks::<2>();
        if paths.is_empty() || !rest.is_empty() {
            return Err(FormatError::corrupt(WHAT, "it names no path, or half a replacement"));
        }
        Ok(Erasure {
            id: ErasureId(r.array(1)?),
            paths,
            time: r.time(3)?,
            hosts: r.texts(4)?,
            reason: r.text(5)?,
            by: r.text(6)?,
            replaced: pairs.iter().map(|[old, new]| (*old, *new)).collect(),
        })
    }
}

/// What the keys of everything below a path begin with.
pub fn below(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = KeyPath::parse(path).map(|key| key.components().collect()).unwrap_or_default();
    dir_prefix(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Compressor, Level};
    use crate::id::{FamilyId, RepoId};
    use crate::keys::{Key, Keys};

    #[test]
    fn an_erasure_round_trips_and_covers_a_path_and_all_below() {
        let keys = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let repo = RepoId([3; 16]);
        let erasure = Erasure {
            id: ErasureId([4; 8]),
            paths: vec![PathKey::of(&["/", "home", "anna"])],
            time: Timestamp { secs: 5, nanos: 6 },
            hosts: vec!["atlas".into()],
            reason: "asked for".into(),
            by: "me@atlas".into(),
            replaced: vec![(SnapshotId([7; 16]), SnapshotId([8; 16]))],
        };
        let bytes = erasure.encode(&repo, &keys, [5; 32], &mut Compressor::new(Level(3)));
        assert_eq!(Erasure::decode(&bytes, &repo, &keys).unwrap(), erasure);
        assert!(Erasure::decode(&bytes, &RepoId([9; 16]), &keys).is_err());
        assert!(erasure.erases_path(&["/", "home", "anna"]));
        assert!(erasure.erases_path(&["/", "home", "anna", "a", "b"]));
        for other in [&["/", "home"][..], &["/", "home", "annabel"], &["/", "anna"], &["/"], &[]] {
            assert!(!erasure.erases_path(other), "{other:?}");
        }
        let nothing = Erasure { paths: vec![], ..erasure };
        let bytes = nothing.encode(&repo, &keys, [5; 32], &mut Compressor::new(Level(3)));
        assert!(Erasure::decode(&bytes, &repo, &keys).is_err());
    }
}

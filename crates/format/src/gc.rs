//! Records that take something away. They are sealed under a key of their own and live under `gc/`, where
//! rights at the store can keep a stolen client from putting anything; the same bytes anywhere else mean
//! nothing. One exception: an abort record stands at the name of the snapshot that it keeps from coming.

use crate::codec::Compressor;
use crate::envelope::{self, ObjectType, Sealing};
use crate::error::FormatResult;
use crate::id::{PackId, RepoId, SnapshotId};
use crate::keys::Keys;
use crate::kind::Timestamp;
use crate::limits::RECORD_BYTES_MAX;
use crate::record::{RecordReader, RecordWriter};
use crate::seal::Suite;

/// A forgotten snapshot: out of sight, but still a root until prune removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tomb {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// When it was forgotten, by the forgetting machine's clock; shown only.
    pub time: Timestamp,
    /// Why: the policy, or "by id".
    pub reason: String,
}

/// Packs that will be deleted. Final: a pack once condemned never counts as present again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condemned {
    /// The packs.
    pub packs: Vec<PackId>,
    /// Packs into which blobs of such packs were moved, each compared on the way: a place in one of them
    /// may stand in for a condemned one without being read again.
    pub moved_into: Vec<PackId>,
}

/// Snapshots whose removal began. Announced before, so that who brings one of them back at the same moment
/// finds out; and permanent, so that no slow writer or copy puts one of these names again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The snapshots whose removal was announced.
    pub snapshots: Vec<SnapshotId>,
    /// Those whose removal was confirmed: after the announcement they were still forgotten and not held. What
    /// stands under their names is no snapshot.
    pub confirmed: Vec<SnapshotId>,
}

/// The word that a session is over: it can no longer commit. Permanent, because the session may only sleep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The session.
    pub session: SnapshotId,
}

/// A record under the gc key of a family: whoever may maintain a repository reads and writes it, who can only add
/// snapshots has no say. Only this crate has such records.
pub trait GcRecord: Sized {
    /// The type of its object.
    const OBJECT: ObjectType;
    /// What it is called in errors.
    const WHAT: &'static str;
    /// The tags of the fields that it may have.
    const TAGS: &'static [u64];

    /// Writes its fields.
    #[doc(hidden)]
    fn write(&self, w: &mut RecordWriter);

    /// Reads its fields.
    #[doc(hidden)]
    fn read(r: &RecordReader<'_>) -> FormatResult<Self>;

    /// The object's bytes. `entropy` is fresh for each.
    fn encode(&self, repo: &RepoId, keys: &Keys, entropy: [u8; 32], compressor: &mut Compressor) -> Vec<u8> {
        let mut w = RecordWriter::default();
        self.write(&mut w);
        seal(Self::OBJECT, repo, keys, entropy, compressor, w)
    }

    /// Opens and reads a record of this repository.
    ///
    /// # Errors
    /// Corrupt or not authentic; too new for fields and values that this version does not know.
    fn decode(bytes: &[u8], repo: &RepoId, keys: &Keys) -> FormatResult<Self> {
        let envelope = envelope::decode(bytes, Self::OBJECT, Some(&repo.0))?;
        let body = envelope.unseal(keys.gc(), RECORD_BYTES_MAX)?;
        Self::read(&RecordReader::new(&body, Self::WHAT, Self::TAGS)?)
    }
}

pub(crate) fn seal(
    object: ObjectType,
    repo: &RepoId,
    keys: &Keys,
    entropy: [u8; 32],
    compressor: &mut Compressor,
    record: RecordWriter,
) -> Vec<u8> {
    let suite = Suite::fastest();
    let sealing = Sealing { key: keys.gc(), salt_key: keys.salt(), suite, entropy };
    envelope::encode_sealed(object, &repo.0, &[], &record.finish(), &sealing, compressor)
}

impl GcRecord for Tomb {
    const OBJECT: ObjectType = ObjectType::Tomb;
    const WHAT: &'static str = "tomb";
    const TAGS: &'static [u64] = &[1, 2, 3];

    fn write(&self, w: &mut RecordWriter) {
        w.field(1, &self.snapshot.0);
        w.time(2, self.time);
        w.field(3, self.reason.as_bytes());
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        Ok(Tomb { snapshot: SnapshotId(r.array(1)?), time: r.time(2)?, reason: r.text(3)? })
    }
}

impl GcRecord for Condemned {
    const OBJECT: ObjectType = ObjectType::Condemned;
    const WHAT: &'static str = "list of condemned packs";
    const TAGS: &'static [u64] = &[1, 2];

    fn write(&self, w: &mut RecordWriter) {
        w.names(1, self.packs.iter().map(|p| p.0));
        if !self.moved_into.is_empty() {
            w.names(2, self.moved_into.iter().map(|p| p.0));
        }
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        let moved_into = match r.find(2) {
            Some(_) => r.names(2)?.map(PackId).collect(),
            None => Vec::new(),
        };
        Ok(Condemned { packs: r.names(1)?.map(PackId).collect(), moved_into })
    }
}

impl GcRecord for Removed {
    const OBJECT: ObjectType = ObjectType::Removed;
    const WHAT: &'static str = "list of removed snapshots";
    const TAGS: &'static [u64] = &[1, 2];

    fn write(&self, w: &mut RecordWriter) {
        w.names(1, self.snapshots.iter().map(|s| s.0));
        if !self.confirmed.is_empty() {
            w.names(2, self.confirmed.iter().map(|s| s.0));
        }
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        let confirmed = match r.find(2) {
            Some(_) => r.names(2)?.map(SnapshotId).collect(),
            None => Vec::new(),
        };
        Ok(Removed { snapshots: r.names(1)?.map(SnapshotId).collect(), confirmed })
    }
}

impl GcRecord for Abort {
    const OBJECT: ObjectType = ObjectType::Abort;
    const WHAT: &'static str = "abort record";
    const TAGS: &'static [u64] = &[1];

    fn write(&self, w: &mut RecordWriter) {
        w.field(1, &self.session.0);
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        Ok(Abort { session: SnapshotId(r.array(1)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Level;
    use crate::id::FamilyId;
    use crate::keys::Key;

    #[test]
    fn records_round_trip_and_do_not_stand_in_for_one_another() {
        let keys = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let repo = RepoId([3; 16]);
        let mut compressor = Compressor::new(Level(3));
        let tomb = Tomb {
            snapshot: SnapshotId([4; 16]),
            time: Timestamp { secs: 5, nanos: 6 },
            reason: "by id".into(),
        };
        let bytes = tomb.encode(&repo, &keys, [7; 32], &mut compressor);
        assert_eq!(Tomb::decode(&bytes, &repo, &keys).unwrap(), tomb);
        assert!(Tomb::decode(&bytes, &RepoId([9; 16]), &keys).is_err());
        assert!(Condemned::decode(&bytes, &repo, &keys).is_err());
        for moved_into in [vec![], vec![PackId([9; 32]); 2]] {
            let condemned = Condemned { packs: vec![PackId([8; 32]); 3], moved_into };
            let bytes = condemned.encode(&repo, &keys, [7; 32], &mut compressor);
            assert_eq!(Condemned::decode(&bytes, &repo, &keys).unwrap(), condemned);
            assert!(Abort::decode(&bytes, &repo, &keys).is_err());
        }
        let ids = vec![SnapshotId([4; 16]), SnapshotId([5; 16])];
        let removed = Removed { snapshots: ids.clone(), confirmed: ids };
        let bytes = removed.encode(&repo, &keys, [7; 32], &mut compressor);
        assert_eq!(Removed::decode(&bytes, &repo, &keys).unwrap(), removed);
        let abort = Abort { session: SnapshotId([4; 16]) };
        let bytes = abort.encode(&repo, &keys, [7; 32], &mut compressor);
        assert_eq!(Abort::decode(&bytes, &repo, &keys).unwrap(), abort);
    }
}

//! Snapshot and pending records.
//!
//! A snapshot record is the same bytes in every copy: it speaks of the family, never of one repository.
//! Who wrote it, as the how-manieth, and after which record of the same writer are part of it, so that
//! retention need not believe the time a client claims.

use crate::codec::Compressor;
use crate::envelope::{self, ObjectType, Sealing};
use crate::error::{FormatError, FormatResult};
use crate::id::{BlobId, PackId, RepoId, SnapshotId, WriterId};
use crate::keys::Keys;
use crate::kind::Timestamp;
use crate::limits::{RECORD_BYTES_MAX, TREE_LEVELS_MAX};
use crate::record::{RecordReader, RecordWriter};
use crate::seal::Suite;
use crate::tree::Root;
use crate::wire::{Reader, Write};

/// What was re-read, and what the report compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Every byte was read and hashed again, and every blob relied on was proven to be stored.
    Full = 0,
    /// File metadata was trusted against the newest snapshot of the same source.
    Incremental = 1,
    /// File metadata was trusted against the newest full snapshot of the same source.
    Differential = 2,
}

impl Mode {
    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Incremental => "incremental",
            Mode::Differential => "differential",
        }
    }
}

/// Whether a snapshot holds all of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Completeness {
    /// Everything was read.
    Complete = 0,
    /// Finished, but something could not be read; fault records and marks say what.
    Partial = 1,
}

/// Sums over a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files that the base did not have.
    pub files_new: u64,
    /// Files whose contents or metadata changed.
    pub files_changed: u64,
    /// Files taken over unchanged.
    pub files_unmodified: u64,
    /// Folders that the base did not have.
    pub dirs_new: u64,
    /// Folders whose metadata changed.
    pub dirs_changed: u64,
    /// Folders taken over unchanged.
    pub dirs_unmodified: u64,
    /// Links, devices, pipes and sockets.
    pub others: u64,
    /// Bytes of all files.
    pub source_bytes: u64,
    /// Bytes of files whose contents are new or changed since the base.
    pub new_bytes: u64,
    /// Bytes of blobs added to the repository, before compression.
    pub added_bytes: u64,
    /// Bytes of packs added to the repository.
    pub stored_bytes: u64,
    /// Paths that could not be read, or only in part.
    pub faults: u64,
    /// Paths left out by rules.
    pub excluded: u64,
}

impl Stats {
    const FIELDS: usize = 13;

    fn to_array(self) -> [u64; Self::FIELDS] {
        [
            self.files_new,
            self.files_changed,
            self.files_unmodified,
            self.dirs_new,
            self.dirs_changed,
            self.dirs_unmodified,
            self.others,
            self.source_bytes,
            self.new_bytes,
            self.added_bytes,
            self.stored_bytes,
            self.faults,
            self.excluded,
        ]
    }

    fn from_array(a: [u64; Self::FIELDS]) -> Self {
        let [files_new, files_changed, files_unmodified, dirs_new, dirs_changed, dirs_unmodified, others, ..] =
            a;
        let [.., source_bytes, new_bytes, added_bytes, stored_bytes, faults, excluded] = a;
        Stats {
            files_new,
            files_changed,
            files_unmodified,
            dirs_new,
            dirs_changed,
            dirs_unmodified,
            others,
            source_bytes,
            new_bytes,
            added_bytes,
            stored_bytes,
            faults,
            excluded,
        }
    }
}

/// One restorable point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id: that of the session that wrote it.
    pub id: SnapshotId,
    /// The installation that wrote it.
    pub writer: WriterId,
    /// The how-manieth snapshot of that writer, from 1.
    pub sequence: u64,
    /// BLAKE3 of that writer's previous record (its sealed object); zeros for the first.
    pub previous: [u8; 32],
    /// The tree.
    pub root: Root,
    /// When the run began, or what `--time` said.
    pub time: Timestamp,
    /// When the run ended.
    pub end: Timestamp,
    /// Name of the machine.
    pub host: String,
    /// Name of the user.
    pub user: String,
    /// What was backed up: absolute paths, or the name of a stream.
    pub sources: Vec<Vec<u8>>,
    /// Free words for selection.
    pub tags: Vec<String>,
    /// What was re-read.
    pub mode: Mode,
    /// The full snapshot a differential one compares with; for others the parent.
    pub base: Option<SnapshotId>,
    /// The snapshot whose metadata was trusted.
    pub parent: Option<SnapshotId>,
    /// Whether it holds all of its source.
    pub completeness: Completeness,
    /// Sums.
    pub stats: Stats,
    /// Version of the program.
    pub program: String,
    /// The rules that left something out, as the user wrote them.
    pub excludes: Vec<String>,
    /// Mounts the paths lie on: folder and file system type; entries refer to rows.
    pub mounts: Vec<Vec<u8>>,
    /// Free text of the user.
    pub description: String,
}

const WHAT: &str = "snapshot record";
const KNOWN: [u64; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

fn get_root(mut r: Reader<'_>) -> FormatResult<Root> {
    let root = Root { id: BlobId(r.array()?), level: r.u8()? };
    r.end()?;
    if root.level > TREE_LEVELS_MAX { Err(r.error("its tree is impossibly deep")) } else { Ok(root) }
}

fn put_root(out: &mut Vec<u8>, root: &Root) {
    out.extend_from_slice(&root.id.0);
    out.push(root.level);
}

impl Snapshot {
    fn to_record(&self) -> Vec<u8> {
        let mut w = RecordWriter::default();
        w.field(1, &self.id.0);
        w.field(2, &self.writer.0);
        w.number(3, self.sequence);
        w.field(4, &self.previous);
        w.with(5, |out| put_root(out, &self.root));
        w.time(6, self.time);
        w.time(7, self.end);
        w.field(8, self.host.as_bytes());
        w.field(9, self.user.as_bytes());
        w.list(10, &self.sources);
        w.list(11, &self.tags);
        w.number(12, self.mode as u64);
        if let Some(base) = &self.base {
            w.field(13, &base.0);
        }
        if let Some(parent) = &self.parent {
            w.field(14, &parent.0);
        }
        w.number(15, self.completeness as u64);
        w.with(16, |out| self.stats.to_array().iter().for_each(|n| out.put_varint(*n)));
        w.field(17, self.program.as_bytes());
        w.list(18, &self.excludes);
        w.list(19, &self.mounts);
        w.field(20, self.description.as_bytes());
        w.finish()
    }

    fn from_record(bytes: &[u8]) -> FormatResult<Self> {
        let r = RecordReader::new(bytes, WHAT, &KNOWN)?;
        let too_new = |why| FormatError::TooNew { what: WHAT, why };
        let optional_id = |tag| match r.find(tag) {
            Some(_) => r.array(tag).map(|id| Some(SnapshotId(id))),
            None => Ok(None),
        };
        let mut stats = [0; Stats::FIELDS];
        let mut s = r.need(16)?;
        for n in &mut stats {
            *n = s.varint()?;
        }
        // Further numbers are later inventions; they may be ignored.
        Ok(Snapshot {
            id: SnapshotId(r.array(1)?),
            writer: WriterId(r.array(2)?),
            sequence: r.number(3)?,
            previous: r.array(4)?,
            root: get_root(r.need(5)?)?,
            time: r.time(6)?,
            end: r.time(7)?,
            host: r.text(8)?,
            user: r.text(9)?,
            sources: r.list(10)?,
            tags: r.texts(11)?,
            mode: match r.number(12)? {
                0 => Mode::Full,
                1 => Mode::Incremental,
                2 => Mode::Differential,
                _ => return Err(too_new("unknown mode")),
            },
            base: optional_id(13)?,
            parent: optional_id(14)?,
            completeness: match r.number(15)? {
                0 => Completeness::Complete,
                1 => Completeness::Partial,
                _ => return Err(too_new("unknown completeness")),
            },
            stats: Stats::from_array(stats),
            program: r.text(17)?,
            excludes: r.texts(18)?,
            mounts: r.list(19)?,
            description: r.text(20)?,
        })
    }

    /// The object's bytes.
    pub fn encode(
        &self,
        keys: &Keys,
        suite: Suite,
        entropy: [u8; 32],
        compressor: &mut Compressor,
    ) -> Vec<u8> {
        let sealing = Sealing { key: keys.snapshots(), salt_key: keys.salt(), suite, entropy };
        let family = keys.family();
        envelope::encode_sealed(ObjectType::Snapshot, &family.0, &[], &self.to_record(), &sealing, compressor)
    }

    /// Opens and reads a record of this family.
    pub fn decode(bytes: &[u8], keys: &Keys) -> FormatResult<Self> {
        let opened = envelope::decode(bytes, ObjectType::Snapshot, Some(&keys.family().0))?;
        Self::from_record(&opened.unseal(keys.snapshots(), RECORD_BYTES_MAX)?)
    }

    /// The first 8 hex digits, as people say them.
    pub fn short_id(&self) -> String {
        self.id.hex()[..8].to_string()
    }
}

/// A root on its way: what a running session relies on. Bound to one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The session.
    pub session: SnapshotId,
    /// Grows with every replacement.
    pub number: u64,
    /// The tree that is about to be committed; absent in a checkpoint.
    pub root: Option<Root>,
    /// Packs this session wrote so far: they stay, although no root reaches them yet.
    pub packs: Vec<PackId>,
    /// When the session began.
    pub start: Timestamp,
}

impl Pending {
    /// The object's bytes.
    pub fn encode(
        &self,
        repo: &RepoId,
        keys: &Keys,
        suite: Suite,
        entropy: [u8; 32],
        compressor: &mut Compressor,
    ) -> Vec<u8> {
        let mut w = RecordWriter::default();
        w.field(1, &self.session.0);
        w.number(2, self.number);
        if let Some(root) = &self.root {
            w.with(3, |out| put_root(out, root));
        }
        w.names(4, self.packs.iter().map(|p| p.0));
        w.time(5, self.start);
        let sealing = Sealing { key: keys.snapshots(), salt_key: keys.salt(), suite, entropy };
        envelope::encode_sealed(ObjectType::Pending, &repo.0, &[], &w.finish(), &sealing, compressor)
    }

    /// Opens and reads a record of this repository.
    pub fn decode(bytes: &[u8], repo: &RepoId, keys: &Keys) -> FormatResult<Self> {
        let opened = envelope::decode(bytes, ObjectType::Pending, Some(&repo.0))?;
        let body = opened.unseal(keys.snapshots(), RECORD_BYTES_MAX)?;
        let r = RecordReader::new(&body, "pending record", &[1, 2, 3, 4, 5])?;
        Ok(Pending {
            session: SnapshotId(r.array(1)?),
            number: r.number(2)?,
            root: r.find(3).map(get_root).transpose()?,
            packs: r.names(4)?.map(PackId).collect(),
            start: r.time(5)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Level;
    use crate::id::FamilyId;
    use crate::keys::Key;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::owner(FamilyId([1; 16]), Key::new([2; 32]))
    }

    fn sample(n: u64, text: String) -> Snapshot {
        Snapshot {
            id: SnapshotId([n as u8; 16]),
            writer: WriterId([4; 16]),
            sequence: n,
            previous: [5; 32],
            root: Root { id: BlobId([6; 24]), level: (n % 60) as u8 },
            time: Timestamp { secs: -5 * n as i64, nanos: 7 },
            end: Timestamp { secs: n as i64, nanos: 0 },
            host: text.clone(),
            user: "me".into(),
            sources: vec![b"/home".to_vec(), vec![0xff, b'/']],
            tags: vec![text],
            mode: if n.is_multiple_of(2) { Mode::Full } else { Mode::Differential },
            base: n.is_multiple_of(3).then_some(SnapshotId([9; 16])),
            parent: None,
            completeness: Completeness::Partial,
            stats: Stats { files_new: n, excluded: n * 3, source_bytes: u64::MAX, ..Stats::default() },
            program: "lifeboat".into(),
            excludes: vec!["*.tmp".into()],
            mounts: vec![],
            description: String::new(),
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(n in 0u64..200, text: String) {
            let snapshot = sample(n, text);
            let bytes = snapshot.encode(&keys(), Suite::ChaCha20Poly1305, [1; 32], &mut Compressor::new(Level(3)));
            prop_assert_eq!(Snapshot::decode(&bytes, &keys()).unwrap(), snapshot);
        }

        #[test]
        fn hostile_records_never_panic(bytes in proptest::collection::vec(0u8..32, 0..300)) {
            let _ignored = Snapshot::from_record(&bytes);
        }

        #[test]
        fn cut_records_are_refused(n in 0u64..4) {
            let bytes = sample(n, "x".into()).encode(&keys(), Suite::Aes256Gcm, [1; 32], &mut Compressor::new(Level(3)));
            for cut in 0..bytes.len() {
                prop_assert!(Snapshot::decode(&bytes[..cut], &keys()).is_err());
            }
        }
    }

    #[test]
    fn an_unknown_field_is_too_new_and_an_optional_one_is_skipped() {
        let mut record = sample(1, "x".into()).to_record();
        let mut optional = record.clone();
        record.extend_from_slice(&[21, 0]);
        assert!(matches!(Snapshot::from_record(&record), Err(FormatError::TooNew { .. })));
        optional.extend_from_slice(&[64, 0]);
        assert!(Snapshot::from_record(&optional).is_ok());
    }

    #[test]
    fn pending_records_round_trip() {
        let pending = Pending {
            session: SnapshotId([1; 16]),
            number: 3,
            root: None,
            packs: vec![PackId([2; 32]), PackId([3; 32])],
            start: Timestamp { secs: 9, nanos: 9 },
        };
        let repo = RepoId([4; 16]);
        let bytes = pending.encode(&repo, &keys(), Suite::Aes256Gcm, [1; 32], &mut Compressor::new(Level(3)));
        assert_eq!(Pending::decode(&bytes, &repo, &keys()).unwrap(), pending);
        assert!(Pending::decode(&bytes, &RepoId([5; 16]), &keys()).is_err());
    }
}

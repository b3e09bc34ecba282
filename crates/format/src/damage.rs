//! Damage marks: what a repair found that it could not mend. They warn, and keep new snapshots from relying
//! on packs that are known to be broken; nothing is deleted or hidden for their sake.

use crate::envelope::ObjectType;
use crate::error::{FormatError, FormatResult};
use crate::gc::GcRecord;
use crate::id::{BlobKind, PackId, SnapshotId};
use crate::kind::Timestamp;
use crate::record::{RecordReader, RecordWriter};

const WHAT: &str = "damage mark";

/// Paths named in a mark at most.
pub const MARK_PATHS_MAX: usize = 1000;

/// Something damaged that could not be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageMark {
    /// What is damaged.
    pub subject: Subject,
    /// When it was found, by the finder's clock; shown only.
    pub time: Timestamp,
}

/// What a mark is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A snapshot that cannot be restored completely.
    Snapshot {
        /// Which.
        id: SnapshotId,
        /// Entries that are hurt; a part of the tree that is lost counts as one.
        hurt: u64,
        /// The first of their paths.
        paths: Vec<Vec<u8>>,
    },
    /// A pack whose bytes are not those of its name. What it holds may be readable in part; nothing new may
    /// rely on it.
    Pack {
        /// Which.
        id: PackId,
        /// Of which kind.
        kind: BlobKind,
    },
}

impl GcRecord for DamageMark {
    const OBJECT: ObjectType = ObjectType::DamageMark;
    const WHAT: &'static str = WHAT;
    const TAGS: &'static [u64] = &[1, 2, 3, 4, 5, 6];

    fn write(&self, w: &mut RecordWriter) {
        match &self.subject {
            Subject::Snapshot { id, hurt, paths } => {
                w.field(1, &id.0);
                w.number(2, *hurt);
                w.list(3, &paths[..paths.len().min(MARK_PATHS_MAX)]);
            }
            Subject::Pack { id, kind } => {
                w.field(4, &id.0);
                w.number(5, *kind as u64);
            }
        }
        w.time(6, self.time);
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        let subject = match (r.find(1), r.find(4)) {
            (Some(_), None) => {
                Subject::Snapshot { id: SnapshotId(r.array(1)?), hurt: r.number(2)?, paths: r.list(3)? }
            }
            (None, Some(_)) => {
                let kind = u8::try_from(r.number(5)?).ok().and_then(BlobKind::from_u8);
                let kind = kind.ok_or(FormatError::TooNew { what: WHAT, why: "unknown kind" })?;
                Subject::Pack { id: PackId(r.array(4)?), kind }
            }
            _ => return Err(FormatError::corrupt(WHAT, "it is about nothing, or about two things")),
        };
        Ok(DamageMark { subject, time: r.time(6)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Compressor, Level};
    use crate::gc::Tomb;
    use crate::id::{FamilyId, RepoId};
    use crate::keys::{Key, Keys};

    #[test]
    fn marks_round_trip_and_do_not_stand_in_for_tombs() {
        let keys = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let repo = RepoId([3; 16]);
        let time = Timestamp { secs: 5, nanos: 6 };
        let paths = vec![b"/a".to_vec(), b"/b\xff".to_vec()];
        let subjects = [
            Subject::Snapshot { id: SnapshotId([4; 16]), hurt: 7, paths },
            Subject::Pack { id: PackId([5; 32]), kind: BlobKind::Tree },
        ];
        for subject in subjects {
            let mark = DamageMark { subject, time };
            let bytes = mark.encode(&repo, &keys, [7; 32], &mut Compressor::new(Level(3)));
            assert_eq!(DamageMark::decode(&bytes, &repo, &keys).unwrap(), mark);
            assert!(DamageMark::decode(&bytes, &RepoId([9; 16]), &keys).is_err());
            assert!(Tomb::decode(&bytes, &repo, &keys).is_err());
        }
    }
}

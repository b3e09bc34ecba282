//! Records that keep something: holds, which nothing but their end or release takes away, and the word of
//! an owner or maintainer that a snapshot may count in retention although its store received it late.
//!
//! Sealed under the gc key, because both decide what may be deleted: who can only add snapshots has no say.

use crate::envelope::ObjectType;
use crate::error::{FormatError, FormatResult};
use crate::gc::GcRecord;
use crate::id::{HoldId, SnapshotId};
use crate::kind::Timestamp;
use crate::record::{RecordReader, RecordWriter};
use crate::snapshot::Snapshot;

/// Snapshots that must stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// As people call it.
    pub name: String,
    /// Why.
    pub reason: String,
    /// When it was made, by the clock of the machine that made it; shown only.
    pub made: Timestamp,
    /// When it ends by itself; never when absent.
    pub end: Option<Timestamp>,
    /// What it covers.
    pub covers: Covers,
}

/// What a hold covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covers {
    /// These snapshots.
    Snapshots(Vec<SnapshotId>),
    /// Every snapshot that fits, now and later.
    Matching(Matching),
}

/// A choice of snapshots by what they say of themselves. Without any condition it is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Of one of these machines.
    pub hosts: Vec<String>,
    /// With all of these sources.
    pub sources: Vec<Vec<u8>>,
    /// With all tags of one of these lists, separated by commas.
    pub tags: Vec<String>,
}

impl Matching {
    /// Whether a snapshot fits.
    pub fn fits(&self, snapshot: &Snapshot) -> bool {
        let has_all = |list: &String| list.split(',').all(|tag| snapshot.tags.iter().any(|t| t == tag));
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.host))
            && (self.tags.is_empty() || self.tags.iter().any(has_all))
            && self.sources.iter().all(|source| snapshot.sources.contains(source))
    }
}

impl Hold {
    /// Whether it covers a snapshot, be it over or not.
    pub fn covers(&self, snapshot: &Snapshot) -> bool {
        match &self.covers {
            Covers::Snapshots(ids) => ids.contains(&snapshot.id),
            Covers::Matching(matching) => matching.fits(snapshot),
        }
    }

    /// Whether it is over at this time.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.end.is_some_and(|end| end <= now)
    }
}

impl GcRecord for Hold {
    const OBJECT: ObjectType = ObjectType::Hold;
    const WHAT: &'static str = "hold";
    const TAGS: &'static [u64] = &[1, 2, 3, 4, 5, 6, 7, 8, 9];

    fn write(&self, w: &mut RecordWriter) {
        w.field(1, &self.id.0);
        w.field(2, self.name.as_bytes());
        w.field(3, self.reason.as_bytes());
        w.time(4, self.made);
        if let Some(end) = self.end {
            w.time(5, end);
        }
        match &self.covers {
            Covers::Snapshots(ids) => w.names(6, ids.iter().map(|id| id.0)),
            Covers::Matching(matching) => {
                w.list(7, &matching.hosts);
                w.list(8, &matching.sources);
                w.list(9, &matching.tags);
            }
        }
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        let matching = Matching { hosts: r.texts(7)?, sources: r.list(8)?, tags: r.texts(9)? };
        let covers = match (r.find(6), [7, 8, 9].iter().any(|tag| r.find(*tag).is_some())) {
            (None, _) => Covers::Matching(matching),
            (Some(_), false) => Covers::Snapshots(r.names(6)?.map(SnapshotId).collect()),
            (Some(_), true) => {
                return Err(FormatError::corrupt(Self::WHAT, "it has both ids and conditions"));
            }
        };
        Ok(Hold {
            id: HoldId(r.array(1)?),
            name: r.text(2)?,
            reason: r.text(3)?,
            made: r.time(4)?,
            end: r.find(5).map(|_| r.time(5)).transpose()?,
            covers,
        })
    }
}

/// What an owner or maintainer says of one snapshot record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// BLAKE3 of the record as stored: another record under the same name is not confirmed.
    pub record: [u8; 32],
    /// The time it claims is right: retention goes by that instead of when the store received it.
    pub time: bool,
    /// Its size and its place among the writer's snapshots are right, however they look.
    pub contents: bool,
    /// When it was confirmed, by the confirming machine's clock; shown only.
    pub made: Timestamp,
}

const TRUST_TIME: u64 = 1;
const TRUST_CONTENTS: u64 = 2;

impl GcRecord for Trust {
    const OBJECT: ObjectType = ObjectType::Trust;
    const WHAT: &'static str = "trust record";
    const TAGS: &'static [u64] = &[1, 2, 3, 4];

    fn write(&self, w: &mut RecordWriter) {
        w.field(1, &self.snapshot.0);
        w.field(2, &self.record);
        w.number(3, u64::from(self.time) * TRUST_TIME + u64::from(self.contents) * TRUST_CONTENTS);
        w.time(4, self.made);
    }

    fn read(r: &RecordReader<'_>) -> FormatResult<Self> {
        let what = r.number(3)?;
        if what & !(TRUST_TIME | TRUST_CONTENTS) != 0 {
            return Err(FormatError::TooNew { what: Self::WHAT, why: "it confirms something unknown" });
        }
        Ok(Trust {
            snapshot: SnapshotId(r.array(1)?),
            record: r.array(2)?,
            time: what & TRUST_TIME != 0,
            contents: what & TRUST_CONTENTS != 0,
            made: r.time(4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Compressor, Level};
    use crate::gc::{Tomb, seal};
    use crate::id::{FamilyId, RepoId};
    use crate::keys::{Key, Keys};

    const REPO: RepoId = RepoId([3; 16]);

    fn keys() -> Keys {
        Keys::owner(FamilyId([1; 16]), Key::new([2; 32]))
    }

    fn hold(end: Option<Timestamp>, covers: Covers) -> Hold {
        let made = Timestamp { secs: 5, nanos: 6 };
        Hold { id: HoldId([4; 8]), name: "case 7".into(), reason: "court".into(), made, end, covers }
    }

    #[test]
    fn records_round_trip_and_do_not_stand_in_for_one_another() {
        let compressor = &mut Compressor::new(Level(3));
        let matching = Matching { hosts: vec!["nas".into()], sources: vec![vec![0xff]], tags: vec![] };
        for hold in [
            hold(None, Covers::Snapshots(vec![SnapshotId([7; 16]); 3])),
            hold(None, Covers::Snapshots(vec![])),
            hold(Some(Timestamp { secs: 9, nanos: 0 }), Covers::Matching(matching)),
            hold(None, Covers::Matching(Matching::default())),
        ] {
            let bytes = hold.encode(&REPO, &keys(), [7; 32], compressor);
            assert_eq!(Hold::decode(&bytes, &REPO, &keys()).unwrap(), hold);
            assert!(Hold::decode(&bytes, &RepoId([9; 16]), &keys()).is_err());
            assert!(Tomb::decode(&bytes, &REPO, &keys()).is_err());
        }
        for (time, contents) in [(true, false), (false, true), (true, true), (false, false)] {
            let made = Timestamp { secs: 5, nanos: 6 };
            let trust = Trust { snapshot: SnapshotId([7; 16]), record: [8; 32], time, contents, made };
            let bytes = trust.encode(&REPO, &keys(), [7; 32], compressor);
            assert_eq!(Trust::decode(&bytes, &REPO, &keys()).unwrap(), trust);
            assert!(Hold::decode(&bytes, &REPO, &keys()).is_err());
        }
    }

    #[test]
    fn a_hold_with_ids_and_conditions_and_a_confirmation_of_something_unknown_are_refused() {
        let compressor = &mut Compressor::new(Level(3));
        let mut w = RecordWriter::default();
        w.field(1, &[4; 8]);
        w.time(4, Timestamp::default());
        w.names(6, [[7; 16]].into_iter());
        w.list::<String>(7, &[]);
        let bytes = seal(ObjectType::Hold, &REPO, &keys(), [7; 32], compressor, w);
        assert!(matches!(Hold::decode(&bytes, &REPO, &keys()), Err(FormatError::Corrupt { .. })));
        let mut w = RecordWriter::default();
        w.field(1, &[4; 16]);
        w.field(2, &[4; 32]);
        w.number(3, 4);
        w.time(4, Timestamp::default());
        let bytes = seal(ObjectType::Trust, &REPO, &keys(), [7; 32], compressor, w);
        assert!(matches!(Trust::decode(&bytes, &REPO, &keys()), Err(FormatError::TooNew { .. })));
    }
}

//! The configuration of a repository: who it is, what is needed to understand it, how it cuts and packs.
//!
//! The plain part is readable without keys, so that a program can say "too new" or "another family"
//! before it asks for a password. It is authenticated together with the sealed part.

use crate::chunk::ChunkSizes;
use crate::codec::Compressor;
use crate::envelope::{self, ObjectType, Sealing};
use crate::error::{FormatError, FormatResult};
use crate::id::{FamilyId, RepoId, SlotId};
use crate::keys::Keys;
use crate::kind::Timestamp;
use crate::limits::{MINIMUM_AGES_MAX, RECORD_BYTES_MAX};
use crate::parity::PERCENT_MAX;
use crate::record::{RecordReader, RecordWriter};
use crate::seal::Suite;
use crate::wire::{Reader, Write};

const WHAT: &str = "repository configuration";

/// Feature bits that a reader must understand. Version 1 has none.
pub const REQUIRED_FEATURES_KNOWN: u64 = 0;

/// Who a repository is; readable without keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This place.
    pub repo: RepoId,
    /// The family it belongs to.
    pub family: FamilyId,
    /// Features that must be understood to read.
    pub required_features: u64,
    /// Features that may be ignored.
    pub optional_features: u64,
    /// When it was made.
    pub created: Timestamp,
}

/// A setting of how old a snapshot must be before it may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumAge {
    /// In force from here on, by the store's clock, until the next setting.
    pub since: Timestamp,
    /// Seconds since the store received the snapshot.
    pub secs: u64,
}

/// How a repository cuts, packs and behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Content-defined chunks of long files.
    pub chunks: ChunkSizes,
    /// Files up to this length are one blob.
    pub whole_file_bytes_max: u64,
    /// A block of small files is closed at this many raw bytes.
    pub block_bytes: u64,
    /// A data pack is closed at this many bytes.
    pub pack_bytes: u64,
    /// A tree pack is closed at this many bytes.
    pub tree_pack_bytes: u64,
    /// Damage in one piece that a data pack survives by its parity, in percent of its length; 0 without.
    pub data_parity_percent: u8,
    /// The key slots that were made on purpose; others are tried last.
    pub slots: Vec<SlotId>,
    /// Grows with every change of this record.
    pub generation: u64,
    /// Settings of the minimum age, oldest first; a snapshot must fulfil those in force when it was received
    /// and all later ones.
    pub minimum_ages: Vec<MinimumAge>,
    /// What the probe found out about the place, as `name=value` words; empty when never probed.
    pub probed: Vec<String>,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            chunks: ChunkSizes::NORMAL,
            whole_file_bytes_max: 512 << 10,
            block_bytes: 2 << 20,
            pack_bytes: 16 << 20,
            tree_pack_bytes: 8 << 20,
            data_parity_percent: 0,
            slots: Vec::new(),
            generation: 1,
            minimum_ages: Vec::new(),
            probed: Vec::new(),
        }
    }
}

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who the repository is.
    pub identity: Identity,
    /// How it behaves.
    pub parameters: Parameters,
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.family.0);
        out.extend_from_slice(&self.required_features.to_le_bytes());
        out.extend_from_slice(&self.optional_features.to_le_bytes());
        out.extend_from_slice(&self.created.secs.to_le_bytes());
        out.extend_from_slice(&self.created.nanos.to_le_bytes());
        out
    }

    /// Reads the identity; says "too new" when a required feature is unknown. Not yet authenticated.
    pub fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let opened = envelope::decode(bytes, ObjectType::Config, None)?;
        let mut r = Reader::new(opened.plain, WHAT);
        let identity = Identity {
            repo: RepoId(opened.scope()),
            family: FamilyId(r.array()?),
            required_features: r.u64()?,
            optional_features: r.u64()?,
            created: Timestamp { secs: r.u64()? as i64, nanos: r.u32()? },
        };
        if identity.created.nanos > 999_999_999 {
            return Err(r.error("its time is impossible"));
        }
        if identity.required_features & !REQUIRED_FEATURES_KNOWN != 0 {
            return Err(FormatError::TooNew { what: WHAT, why: "a required feature is unknown" });
        }
        Ok(identity)
    }
}

impl Parameters {
    fn to_record(&self) -> Vec<u8> {
        let mut w = RecordWriter::default();
        w.with(1, |out| {
            for n in [self.chunks.min_bytes, self.chunks.average_bytes, self.chunks.max_bytes] {
                out.put_varint(n as u64);
            }
        });
        w.number(2, self.whole_file_bytes_max);
        w.number(3, self.block_bytes);
        w.number(4, self.pack_bytes);
        w.number(5, self.tree_pack_bytes);
        w.number(6, self.data_parity_percent as u64);
        w.names(7, self.slots.iter().map(|s| s.0));
        w.number(8, self.generation);
        if !self.minimum_ages.is_empty() {
            w.with(9, |out| {
                out.put_varint(self.minimum_ages.len() as u64);
                for age in &self.minimum_ages {
                    out.put_signed(age.since.secs);
                    out.put_varint(age.since.nanos as u64);
                    out.put_varint(age.secs);
                }
            });
        }
        w.list(64, &self.probed);
        w.finish()
    }

    fn from_record(bytes: &[u8]) -> FormatResult<Self> {
        let r = RecordReader::new(bytes, WHAT, &[1, 2, 3, 4, 5, 6, 7, 8, 9])?;
        let mut c = r.need(1)?;
        let chunks = ChunkSizes {
            min_bytes: c.varint_max(u32::MAX as u64)? as usize,
            average_bytes: c.varint_max(u32::MAX as u64)? as usize,
            max_bytes: c.varint_max(u32::MAX as u64)? as usize,
        };
        c.end()?;
        let parameters = Parameters {
            chunks,
            whole_file_bytes_max: r.number(2)?,
            block_bytes: r.number(3)?,
            pack_bytes: r.number(4)?,
            tree_pack_bytes: r.number(5)?,
            data_parity_percent: r.number(6)?.try_into().unwrap_or(u8::MAX),
            slots: r.names(7)?.map(SlotId).collect(),
            generation: r.number(8)?,
            minimum_ages: r.find(9).map(minimum_ages).transpose()?.unwrap_or_default(),
            probed: r.texts(64)?,
        };
        parameters.check()?;
        Ok(parameters)
    }

    /// Refuses values no writer could work with.
    fn check(&self) -> FormatResult<()> {
        let within = |n: u64, low: u64, high: u64| n >= low && n <= high;
        let ok = self.chunks.is_valid()
            && within(self.whole_file_bytes_max, 1, 8 << 20)
            && within(self.block_bytes, 1, 8 << 20)
            && within(self.pack_bytes, 1, 1 << 30)
            && within(self.tree_pack_bytes, 1, 256 << 20)
            && self.data_parity_percent <= PERCENT_MAX
            && self.minimum_ages.is_sorted_by_key(|age| age.since);
        if ok { Ok(()) } else { Err(FormatError::corrupt(WHAT, "a parameter is out of range")) }
    }
}

fn minimum_ages(mut r: Reader<'_>) -> FormatResult<Vec<MinimumAge>> {
    let n = r.count(MINIMUM_AGES_MAX, 3)?;
    let age = |r: &mut Reader<'_>| {
        let since = Timestamp { secs: r.signed()?, nanos: r.varint_max(999_999_999)? as u32 };
        Ok(MinimumAge { since, secs: r.varint()? })
    };
    let ages = (0..n).map(|_| age(&mut r)).collect::<FormatResult<_>>()?;
    r.end()?;
    Ok(ages)
}

impl Config {
    /// The object's bytes.
    pub fn encode(&self, keys: &Keys, entropy: [u8; 32], compressor: &mut Compressor) -> Vec<u8> {
        let suite = Suite::fastest();
        let sealing = Sealing { key: keys.config(), salt_key: keys.salt(), suite, entropy };
        let plain = self.identity.encode();
        let record = self.parameters.to_record();
        envelope::encode_sealed(
            ObjectType::Config,
            &self.identity.repo.0,
            &plain,
            &record,
            &sealing,
            compressor,
        )
    }

    /// Opens and reads a configuration.
    pub fn decode(bytes: &[u8], keys: &Keys) -> FormatResult<Self> {
        let identity = Identity::decode(bytes)?;
        let opened = envelope::decode(bytes, ObjectType::Config, None)?;
        let record = opened.unseal(keys.config(), RECORD_BYTES_MAX)?;
        Ok(Config { identity, parameters: Parameters::from_record(&record)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Level;
    use crate::keys::Key;

    fn sample() -> Config {
        let identity = Identity {
            repo: RepoId([1; 16]),
            family: FamilyId([2; 16]),
            required_features: 0,
            optional_features: 0,
            created: Timestamp { secs: 5, nanos: 6 },
        };
        let parameters = Parameters {
            slots: vec![SlotId([3; 8]), SlotId([4; 8])],
            probed: vec!["create-new=atomic".into()],
            data_parity_percent: 6,
            minimum_ages: [(5, 86_400), (9, 0)]
                .map(|(secs, age)| MinimumAge { since: Timestamp { secs, nanos: 1 }, secs: age })
                .to_vec(),
            ..Parameters::default()
        };
        Config { identity, parameters }
    }

    fn keys() -> Keys {
        Keys::owner(FamilyId([2; 16]), Key::new([9; 32]))
    }

    #[test]
    fn configurations_round_trip() {
        let bytes = sample().encode(&keys(), [1; 32], &mut Compressor::new(Level(3)));
        assert_eq!(Identity::decode(&bytes).unwrap(), sample().identity);
        assert_eq!(Config::decode(&bytes, &keys()).unwrap(), sample());
    }

    #[test]
    fn an_unknown_required_feature_is_too_new_and_an_optional_one_is_not() {
        let mut config = sample();
        config.identity.optional_features = 1 << 40;
        let bytes = config.encode(&keys(), [1; 32], &mut Compressor::new(Level(3)));
        assert!(Config::decode(&bytes, &keys()).is_ok());
        config.identity.required_features = 1 << 40;
        let bytes = config.encode(&keys(), [1; 32], &mut Compressor::new(Level(3)));
        assert!(matches!(Identity::decode(&bytes), Err(FormatError::TooNew { .. })));
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let refused = |change: &dyn Fn(&mut Parameters)| {
            let mut config = sample();
            change(&mut config.parameters);
            let bytes = config.encode(&keys(), [1; 32], &mut Compressor::new(Level(3)));
            assert!(Config::decode(&bytes, &keys()).is_err());
        };
        refused(&|p| p.chunks.max_bytes = 1 << 30);
        refused(&|p| p.data_parity_percent = PERCENT_MAX + 1);
        refused(&|p| p.minimum_ages.reverse());
    }
}

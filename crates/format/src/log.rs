//! The log of a repository: what administrators did and what drills proved, each in a record that nobody
//! can change, drop from the middle or put under another name without being found out.
//!
//! A record names the newest records its writer saw, by the hash of their objects, so the log is a chain
//! that forks where two machines write at once and joins again with the next record. It is signed by the
//! machine's own key, besides being sealed with the family's: whoever holds the family's keys can write
//! records, but none of another machine.

use crate::codec::Compressor;
use crate::envelope::{self, ObjectType, Sealing};
use crate::error::{FormatError, FormatResult};
use crate::id::RepoId;
use crate::keys::{Key, Keys};
use crate::kind::Timestamp;
use crate::limits::RECORD_BYTES_MAX;
use crate::record::{RecordReader, RecordWriter};
use crate::seal::Suite;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

const WHAT: &str = "log record";
const CONTEXT: &[u8] = b"lifeboat 2026 v1 log record";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// An administrative action.
    Action,
    /// The evidence of a drill.
    Drill,
    /// Packs that were read and found whole.
    Verification,
    /// Something a newer version writes; its text can be shown.
    Other(u64),
}

impl LogKind {
    fn number(self) -> u64 {
        match self {
            LogKind::Action => 1,
            LogKind::Drill => 2,
            LogKind::Verification => 3,
            LogKind::Other(n) => n,
        }
    }

    fn from_number(n: u64) -> Self {
        match n {
            1 => LogKind::Action,
            2 => LogKind::Drill,
            3 => LogKind::Verification,
            n => LogKind::Other(n),
        }
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// What it is about.
    pub kind: LogKind,
    /// BLAKE3 of the newest records (as stored) that its writer saw.
    pub previous: Vec<[u8; 32]>,
    /// When, by the writing machine's clock.
    pub time: Timestamp,
    /// The writing machine.
    pub machine: String,
    /// Who was logged in there.
    pub user: String,
    /// The action or the drill in one word: `forget`, `hold`, `drill`.
    pub subject: String,
    /// The rest: JSON.
    pub body: String,
}

/// A record: what it says, and whose word it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// What it says.
    pub entry: LogEntry,
    /// The machine's public key (Ed25519).
    pub signer: [u8; 32],
    signature: [u8; 64],
}

fn pair(secret: &Key) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(secret.bytes()).expect("any 32 bytes are an Ed25519 seed")
}

/// The public half of a machine's signing key.
pub fn public_half(secret: &Key) -> [u8; 32] {
    pair(secret).public_key().as_ref().try_into().expect("Ed25519 public keys have 32 bytes")
}

impl LogEntry {
    fn fields(&self, signer: &[u8; 32]) -> RecordWriter {
        let mut w = RecordWriter::default();
        w.number(1, self.kind.number());
        w.names(2, self.previous.iter().copied());
        w.time(3, self.time);
        w.field(4, self.machine.as_bytes());
        w.field(5, self.user.as_bytes());
        w.field(6, self.subject.as_bytes());
        w.field(7, self.body.as_bytes());
        w.field(8, signer);
        w
    }

    /// What the signature is of: bound to one repository.
    fn message(&self, repo: &RepoId, signer: &[u8; 32]) -> Vec<u8> {
        let hash = blake3::hash(&self.fields(signer).finish());
        [CONTEXT, &repo.0, hash.as_bytes()].concat()
    }

    /// Signs it with a machine's key.
    pub fn sign(self, repo: &RepoId, secret: &Key) -> LogRecord {
        let pair = pair(secret);
        let signer = public_half(secret);
        let signature = pair.sign(&self.message(repo, &signer));
        let signature = signature.as_ref().try_into().expect("Ed25519 signatures have 64 bytes");
        LogRecord { entry: self, signer, signature }
    }
}

impl LogRecord {
    /// Whether the signature is that of the key the record names. Whose key that is, others must know.
    pub fn is_signed(&self, repo: &RepoId) -> bool {
        let message = self.entry.message(repo, &self.signer);
        UnparsedPublicKey::new(&ED25519, &self.signer).verify(&message, &self.signature).is_ok()
    }

    /// The object's bytes.
    pub fn encode(
        &self,
        repo: &RepoId,
        keys: &Keys,
        suite: Suite,
        entropy: [u8; 32],
        compressor: &mut Compressor,
    ) -> Vec<u8> {
        let mut w = self.entry.fields(&self.signer);
        w.field(9, &self.signature);
        seal(ObjectType::LogRecord, repo, keys, (suite, entropy), compressor, w)
    }

    /// Opens and reads a record of this repository. The signature is not looked at: [`LogRecord::is_signed`].
    pub fn decode(bytes: &[u8], repo: &RepoId, keys: &Keys) -> FormatResult<Self> {
        let body = open(bytes, ObjectType::LogRecord, repo, keys)?;
        let r = RecordReader::new(&body, WHAT, &[1, 2, 3, 4, 5, 6, 7, 8, 9])?;
        let entry = LogEntry {
            kind: LogKind::from_number(r.number(1)?),
            previous: r.names(2)?.collect(),
            time: r.time(3)?,
            machine: r.text(4)?,
            user: r.text(5)?,
            subject: r.text(6)?,
            body: r.text(7)?,
        };
        let record = LogRecord { entry, signer: r.array(8)?, signature: r.array(9)? };
        // What is signed is the record as this version writes it: a field that it would drop cannot be vouched for.
        match record.entry.fields(&record.signer).finish().len() < body.len() {
            true => Ok(record),
            false => Err(FormatError::corrupt(WHAT, "it is not as it was signed")),
        }
    }
}

pub(crate) fn seal(
    object: ObjectType,
    repo: &RepoId,
    keys: &Keys,
    (suite, entropy): (Suite, [u8; 32]),
    compressor: &mut Compressor,
    record: RecordWriter,
) -> Vec<u8> {
    let key = keys.records();
    let sealing = Sealing { key: &key, salt_key: keys.salt(), suite, entropy };
    envelope::encode_sealed(object, &repo.0, &[], &record.finish(), &sealing, compressor)
}

pub(crate) fn open(bytes: &[u8], object: ObjectType, repo: &RepoId, keys: &Keys) -> FormatResult<Vec<u8>> {
    envelope::decode(bytes, object, Some(&repo.0))?.unseal(&keys.records(), RECORD_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Level;
    use crate::id::FamilyId;

    const REPO: RepoId = RepoId([3; 16]);

    fn entry() -> LogEntry {
        LogEntry {
            kind: LogKind::Action,
            previous: vec![[1; 32], [2; 32]],
            time: Timestamp { secs: 5, nanos: 6 },
            machine: "atlas".into(),
            user: "me".into(),
            subject: "forget".into(),
            body: r#"{"snapshot":"d0"}"#.into(),
        }
    }

    #[test]
    fn records_round_trip_and_are_signed() {
        let keys = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let compressor = &mut Compressor::new(Level(3));
        for kind in [LogKind::Action, LogKind::Drill, LogKind::Other(9)] {
            let record = LogEntry { kind, ..entry() }.sign(&REPO, &Key::new([4; 32]));
            let bytes = record.encode(&REPO, &keys, Suite::Aes256Gcm, [5; 32], compressor);
            let read = LogRecord::decode(&bytes, &REPO, &keys).unwrap();
            assert_eq!(read, record);
            assert!(read.is_signed(&REPO) && !read.is_signed(&RepoId([9; 16])));
            let changed = LogRecord { entry: LogEntry { user: "you".into(), ..read.entry.clone() }, ..read };
            assert!(!changed.is_signed(&REPO));
        }
        let other = Keys::owner(FamilyId([1; 16]), Key::new([7; 32]));
        let bytes = entry().sign(&REPO, &Key::new([4; 32]));
        let bytes = bytes.encode(&REPO, &keys, Suite::Aes256Gcm, [5; 32], compressor);
        assert!(LogRecord::decode(&bytes, &REPO, &other).is_err());
        assert!(LogRecord::decode(&bytes, &RepoId([9; 16]), &keys).is_err());
        for cut in 0..bytes.len() {
            assert!(LogRecord::decode(&bytes[..cut], &REPO, &keys).is_err());
        }
    }

    #[test]
    fn an_owner_and_a_maintainer_read_the_same_log() {
        use crate::keys::Capability;
        let owner = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let bundle = owner.to_bundle(Capability::Maintain).unwrap();
        let maintain = Keys::from_bundle(FamilyId([1; 16]), Capability::Maintain, &bundle).unwrap();
        assert_eq!(owner.records().bytes(), maintain.records().bytes());
        assert_eq!(owner.shown_fingerprint(), maintain.shown_fingerprint());
    }
}

//! The log of a repository: append-only, chained, signed, and free of any lock.
//!
//! A record is put under a new name that holds its hash and names the newest records its writer saw
//! ([`Log::heads`]). Two machines that write at once make a fork, which the next record joins. What is
//! missing shows, because some later record names it; what was changed shows, because its name is its hash;
//! what was cut off at the end shows to whoever remembers the newest record he saw ([`Log::holds`]).

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::{Repo, mend_and_decode};
use crate::reader::chain;
use crate::seed::Seed;
use format::FormatError;
use format::FormatResult;
use format::codec::{Compressor, Level};
use format::keys::Key;
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::log::{LogEntry, LogKind, LogRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::SystemTime;
use storage::{ErrorKind, ObjectName, PutMode};

/// A record as it is stored.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// What it says, and whose word it is.
    pub record: LogRecord,
    /// BLAKE3 of the object, by which later records name it.
    pub hash: [u8; 32],
    /// Its place in the order of writing.
    pub number: u64,
    /// When the store received it, by its own clock.
    pub received: Option<SystemTime>,
    /// Whether its signature is that of the key it names.
    pub signed: bool,
}

/// The whole log.
#[derive(Debug, Default)]
pub struct Log {
    /// Records that can be read, in the order they were written.
    pub records: Vec<StoredRecord>,
    /// Records that cannot, with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Hashes that records name and that are not there: something was taken away.
    pub missing: BTreeSet<[u8; 32]>,
    highest: u64,
}

/// What is to be written.
pub struct NewRecord<'a> {
    /// What it is about.
    pub kind: LogKind,
    /// When.
    pub time: Timestamp,
    /// This machine.
    pub machine: &'a str,
    /// Who is logged in here.
    pub user: &'a str,
    /// The action in one word.
    pub subject: &'a str,
    /// The rest: JSON.
    pub body: String,
}

/// A writer joins what it finds among so many newest records: a fork that is older stays one.
const NEWEST: usize = 32;

impl Log {
    /// Reads all records.
    pub fn read(repo: &Repo) -> RepoResult<Self> {
        Self::read_newest(repo, names::LOG, usize::MAX)
    }

    /// Reads so many of the newest records in a folder; what older ones name is then reported missing.
    fn read_newest(repo: &Repo, folder: &str, count: usize) -> RepoResult<Self> {
        let mut listed = list(repo, folder)?;
        Self::read_listed(repo, listed.split_off(listed.len().saturating_sub(count)))
    }

    /// Reads these records.
    pub(crate) fn read_listed(repo: &Repo, mut listed: Vec<Listed>) -> RepoResult<Self> {
        let mut log = Log::default();
        let objects: Vec<ObjectName> = listed.iter().map(|(_, name, _)| name.clone()).collect();
        let mut listed = listed.drain(..);
        repo.get_many(&objects, RECORD_BYTES_MAX as u64, &mut |name, bytes| {
            let (number, _, received) = listed.next().expect("there are as many as names");
            log.highest = log.highest.max(number);
            let read = bytes.and_then(|mut bytes| {
                let decoded = mend_and_decode(&mut bytes, |bytes| decode(repo, name, bytes));
                decoded
                    .map(|record| (record, *blake3::hash(&bytes).as_bytes()))
                    .map_err(|e| RepoError::object(name, e))
            });
            match read {
                Ok((record, hash)) => {
                    let signed = record.is_signed(&repo.identity().repo);
                    log.records.push(StoredRecord { record, hash, number, received, signed });
                }
                Err(e) if e.is_damage() || e.is_too_new() => {
                    log.unreadable.push((name.to_string(), chain(&e)));
                }
                Err(e) => return Err(e),
            }
            Ok(())
        })?;
        let known: BTreeSet<[u8; 32]> = log.records.iter().map(|r| r.hash).collect();
        let named = log.records.iter().flat_map(|r| r.record.entry.previous.iter().copied());
        log.missing = named.filter(|hash| !known.contains(hash)).collect();
        Ok(log)
    }

    /// The records that no other one names.
    pub fn heads(&self) -> Vec<[u8; 32]> {
        let named: BTreeSet<&[u8; 32]> = self.records.iter().flat_map(|r| &r.record.entry.previous).collect();
        self.records.iter().map(|r| r.hash).filter(|hash| !named.contains(hash)).collect()
    }

    /// Whether a record that somebody remembers is still there.
    pub fn holds(&self, hash: &[u8; 32]) -> bool {
        self.records.iter().any(|r| r.hash == *hash)
    }

    /// Records of one kind, in the order they were written.
    pub fn of_kind(&self, kind: LogKind) -> impl DoubleEndedIterator<Item = &StoredRecord> {
        self.records.iter().filter(move |r| r.record.entry.kind == kind)
    }

    /// The public keys with which each machine signed.
    pub fn signers(&self) -> BTreeMap<String, BTreeSet<[u8; 32]>> {
        let mut signers: BTreeMap<String, BTreeSet<[u8; 32]>> = BTreeMap::new();
        for r in self.records.iter().filter(|r| r.signed) {
            signers.entry(r.record.entry.machine.clone()).or_default().insert(r.record.signer);
        }
        signers
    }

    /// Whether nothing is missing, unreadable or wrongly signed.
    pub fn is_whole(&self) -> bool {
        self.unreadable.is_empty() && self.missing.is_empty() && self.records.iter().all(|r| r.signed)
    }
}

/// The number of a record, its name, and when the store received it.
pub(crate) type Listed = (u64, ObjectName, Option<SystemTime>);

/// The records in a folder, in the order of their numbers.
pub(crate) fn list(repo: &Repo, folder: &str) -> RepoResult<Vec<Listed>> {
    let mut listed = Vec::new();
    repo.list(folder, |info| {
        if let Some(number) = names::parse_log_record(&info.name) {
            listed.push((number, info.name, info.received));
        }
        ControlFlow::Continue(())
    })?;
    listed.sort();
    Ok(listed)
}

/// Records that others name and no object's name speaks of: somebody took them away.
pub(crate) fn taken_away(repo: &Repo) -> RepoResult<BTreeSet<[u8; 32]>> {
    let mut missing = Log::read(repo)?.missing;
    if !missing.is_empty() {
        // What cannot be read is there all the same; so is what was put while the log was being listed.
        repo.list(names::LOG, |info| {
            missing.retain(|hash| !names::is_log_record_with(&info.name, hash));
            ControlFlow::Continue(())
        })?;
    }
    Ok(missing)
}

/// Appends a record, signed with this machine's key. Returns its hash, for who wants to remember it.
pub fn append(repo: &Repo, new: NewRecord<'_>, signing: &Key, seed: &mut Seed) -> RepoResult<[u8; 32]> {
    append_in(repo, names::LOG, 1, new, signing, seed)
}

/// Appends to the log in a folder, under a number that is no smaller than `least`.
pub(crate) fn append_in(
    repo: &Repo,
    folder: &str,
    least: u64,
    new: NewRecord<'_>,
    signing: &Key,
    seed: &mut Seed,
) -> RepoResult<[u8; 32]> {
    let log = Log::read_newest(repo, folder, NEWEST)?;
    let entry = LogEntry {
        kind: new.kind,
        previous: log.heads(),
        time: new.time,
        machine: new.machine.into(),
        user: new.user.into(),
        subject: new.subject.into(),
        body: new.body,
    };
    let record = entry.sign(&repo.identity().repo, signing);
    let mut compressor = Compressor::new(Level(3));
    let bytes = record.encode(&repo.identity().repo, repo.keys(), repo.suite(), seed.draw(), &mut compressor);
    let name = names::log_record(folder, log.highest.saturating_add(1).max(least), &bytes);
    match repo.put(&name, &bytes, PutMode::CreateNew) {
        // The name holds the hash: it is this very record, of a request that was repeated.
        Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {}
        other => other?,
    }
    repo.sync()?;
    Ok(*blake3::hash(&bytes).as_bytes())
}

/// Decodes a record of this name.
pub(crate) fn decode(repo: &Repo, name: &ObjectName, bytes: &[u8]) -> FormatResult<LogRecord> {
    let record = LogRecord::decode(bytes, &repo.identity().repo, repo.keys())?;
    match names::is_log_record_of(name, bytes) {
        true => Ok(record),
        false => Err(FormatError::Corrupt { what: "log record", why: "it stands under another's name" }),
    }
}

//! Attestations: what one machine has read and found whole, told to all others.
//!
//! A check of a part of the data reads what was verified longest ago. One machine remembers that in its
//! [ledger](crate::check::ledger); attestations carry it to the others, so that the parts go round among them, and
//! to a machine that lost its cache. They are records of a log of their own under `attest/`: chained, signed, and
//! sealed with the records key, so that who may only add snapshots cannot claim that anything was verified.
//!
//! Their numbers are a clock that needs none: a run is numbered after every attestation its machine knew, and its
//! own attestation has that number or a greater one. An attestation that is lost or cannot be read costs reading
//! again, nothing else.

use crate::check::ledger::Ledger;
use crate::check::{Depth, Verified, depth_of};
use crate::error::RepoResult;
use crate::log::{self, Log, NewRecord, StoredRecord, append_in};
use crate::names;
use crate::open::Repo;
use crate::reader::Reader;
use crate::seed::Seed;
use format::id::{PackId, hex, unhex};
use format::keys::Key;
use format::kind::Timestamp;
use format::log::LogKind;
use std::collections::BTreeMap;

/// So much of a pack's id is told.
pub const ID_BYTES: usize = 8;

/// Attestations that are read, the newest ones: more than a year of daily ones. What only older ones speak of
/// counts as never verified, and so comes first.
const READ_MAX: usize = 400;

/// Attestations that are held in memory at once.
const READ_AT_ONCE: usize = 16;

/// Packs of one attestation; more become several.
const PACKS_MAX: usize = 1 << 20;

const BEGIN: &str = "{\"packs\":\"";
const END: &str = "\"}";

/// Who attests, and when.
pub struct Attester<'a> {
    /// This machine.
    pub machine: &'a str,
    /// Who is logged in here.
    pub user: &'a str,
    /// Now.
    pub time: Timestamp,
    /// The key of this machine.
    pub signing: &'a Key,
}

/// Teaches this machine's ledger what the attestations say, from the newest back until every pack was named.
/// Returns how many were read.
pub fn learn(reader: &Reader) -> RepoResult<usize> {
    let mut listed = log::list(reader.repo(), names::ATTEST)?;
    if listed.is_empty() {
        return Ok(0);
    }
    let depth = depth_of(reader);
    let mut packs: BTreeMap<[u8; ID_BYTES], PackId> = BTreeMap::new();
    reader.with_index_read(|index| {
        index.visit_packs(&mut |pack, _, _, _| _ = packs.insert(beginning(&pack), pack));
    });
    let mut ledger = Ledger::load(reader.cache(), depth);
    let mut read = 0;
    while read < READ_MAX && !packs.is_empty() && !listed.is_empty() {
        let newest = listed.split_off(listed.len().saturating_sub(READ_AT_ONCE));
        read += newest.len();
        let log = Log::read_listed(reader.repo(), newest)?;
        for stored in log.records.iter().rev().filter(|stored| is_of(stored, depth)) {
            let time = stored.record.entry.time;
            let named = decode(&stored.record.entry.body).unwrap_or_default();
            for pack in named.iter().filter_map(|pack| packs.remove(pack)) {
                ledger.learn(pack, stored.number, time.secs);
            }
        }
    }
    ledger.save();
    Ok(read)
}

/// Whether an attestation counts for who wants this depth: contents were compared only after the bytes.
fn is_of(stored: &StoredRecord, depth: Depth) -> bool {
    let entry = &stored.record.entry;
    let fits = entry.subject == word(Depth::Contents) || entry.subject == word(depth);
    stored.signed && entry.kind == LogKind::Verification && fits
}

/// Tells the other machines what a check has found whole.
pub fn put(repo: &Repo, verified: &Verified, by: &Attester<'_>, seed: &mut Seed) -> RepoResult<()> {
    for packs in verified.packs.chunks(PACKS_MAX) {
        let new = NewRecord {
            kind: LogKind::Verification,
            time: by.time,
            machine: by.machine,
            user: by.user,
            subject: word(verified.depth),
            body: encode(packs),
        };
        append_in(repo, names::ATTEST, verified.run, new, by.signing, seed)?;
    }
    Ok(())
}

fn word(depth: Depth) -> &'static str {
    match depth {
        Depth::Bytes => "bytes",
        Depth::Contents => "contents",
    }
}

fn beginning(pack: &PackId) -> [u8; ID_BYTES] {
    *pack.0.first_chunk().expect("a pack id is longer")
}

fn encode(packs: &[PackId]) -> String {
    let mut sorted: Vec<[u8; ID_BYTES]> = packs.iter().map(beginning).collect();
    sorted.sort_unstable();
    let digits: String = sorted.iter().map(|pack| hex(pack)).collect();
    format!("{BEGIN}{digits}{END}")
}

/// The packs of a body; `None` for what no attestation says.
fn decode(body: &str) -> Option<Vec<[u8; ID_BYTES]>> {
    let digits = body.strip_prefix(BEGIN)?.strip_suffix(END)?.as_bytes();
    let (packs, rest) = digits.as_chunks::<{ 2 * ID_BYTES }>();
    let one = |digits: &[u8; 2 * ID_BYTES]| {
        let mut pack = [0; ID_BYTES];
        unhex(std::str::from_utf8(digits).ok()?, &mut pack).map(|()| pack)
    };
    if rest.is_empty() { packs.iter().map(one).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_written_and_others_are_not() {
        let packs = [PackId([0xab; 32]), PackId([1; 32])];
        let body = encode(&packs);
        assert_eq!(body, r#"{"packs":"0101010101010101abababababababab"}"#);
        assert_eq!(decode(&body).unwrap(), [[1; 8], [0xab; 8]]);
        assert_eq!(decode(&encode(&[])).unwrap(), Vec::<[u8; 8]>::new());
        for wrong in [
            "",
            "{}",
            r#"{"packs":"01"}"#,
            r#"{"packs":"zz01010101010101"}"#,
            r#"{"packs":"\u00e9\u00e901010101010101"}"#,
        ] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}

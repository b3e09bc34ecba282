//! Arbitrary bytes for the files that this machine keeps beside a repository: where a fuzz target comes in. Each
//! function panics when something is accepted that must not be. Nothing else needs them.

use crate::cache::Mapping;
use crate::check::ledger;
use crate::heads::Heads;
use crate::index::SegmentFile;
use format::index::IndexKey;

/// The newest snapshots that were seen.
pub fn heads(bytes: &[u8]) {
    let heads = Heads::from_text(&String::from_utf8_lossy(bytes));
    assert!(Heads::from_text(&heads.to_text()) == heads);
}

/// When packs were read: as it is, and with the hash that belongs to it.
pub fn ledger(bytes: &[u8]) {
    ledger::decode(bytes);
    let whole = [bytes, blake3::hash(bytes).as_bytes()].concat();
    if let Some(rows) = ledger::decode(&whole) {
        assert!(rows.len() * ledger::ROW_BYTES <= bytes.len());
    }
}

/// A laid-out index segment: as it is, and with the hash that belongs to it. Every row is looked at.
pub fn segment(bytes: &[u8]) {
    let whole = crate::index::with_check(bytes.to_vec());
    for bytes in [bytes.to_vec(), whole] {
        let Some(file) = SegmentFile::open(Mapping::from(bytes)) else { continue };
        for row in 0..file.blobs() {
            let found = file.find(&file.key(row)).count();
            assert!(found <= file.blobs());
            (_, _, _) = (file.location(row), file.place(row), file.pack_of(row));
        }
        for pack in 0..file.packs() {
            assert!(file.blocks_of(pack).end <= file.blocks());
            assert!(file.pack_blocks(pack).len() <= file.blocks());
            (_, _, _) = (file.pack_id(pack), file.pack_bytes(pack), file.pack_kind(pack));
        }
        _ = file.find(&IndexKey([0x55; 16])).count();
    }
}

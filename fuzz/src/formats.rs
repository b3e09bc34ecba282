//! One function per decoder of crate `format`, each fed with arbitrary bytes.
//!
//! Sealed things are met twice: as stored bytes, and with the arbitrary bytes as their properly sealed
//! contents (what a thief with keys could write), because no fuzzer guesses a tag. A function panics when a
//! decoder accepts what it must not; crashes, overflows and exhausted memory show by themselves.

use format::block::BlockCoder;
use format::codec::{Compressor, Decompressor, Level};
use format::config::{Config, Identity};
use format::damage::DamageMark;
use format::envelope::{self, Footer, ObjectType, Sealing};
use format::erase::Erasure;
use format::gc::{Abort, Condemned, GcRecord, Removed, Tomb};
use format::id::{BlobKind, FamilyId, PackId, RepoId, SnapshotId};
use format::index::Segment;
use format::keep::{Hold, Trust};
use format::keys::{Key, Keys};
use format::log::LogRecord;
use format::pack::{self, PackHeader};
use format::parity::{self, Geometry};
use format::seal::{self, Suite};
use format::shares::{self, Share};
use format::slot::{KeySlot, Secret};
use format::snapshot::{Pending, Snapshot};
use format::tree::{ExtentNode, Leaf, LeafEncoder, Node, XattrSet, decode_children, encode_children};

const SUITE: Suite = Suite::Aes256Gcm;
const FAMILY: FamilyId = FamilyId([1; 16]);
const REPO: RepoId = RepoId([3; 16]);

fn keys() -> Keys {
    Keys::owner(FAMILY, Key::new([2; 32]))
}

/// The object that holds `body`, sealed with `key`.
fn sealed(object: ObjectType, scope: &[u8; 16], plain: &[u8], body: &[u8], key: &Key) -> Vec<u8> {
    let keys = keys();
    let sealing = Sealing { key, salt_key: keys.salt(), suite: SUITE, entropy: [9; 32] };
    envelope::encode_sealed(object, scope, plain, body, &sealing, &mut Compressor::new(Level(1)))
}

/// Headers, lengths and hashes of small objects.
pub fn envelope(data: &[u8]) {
    for object in [ObjectType::Config, ObjectType::KeySlot, ObjectType::Index] {
        if let Ok(opened) = envelope::decode(data, object, None) {
            _ = opened.unseal(keys().index(), 1 << 20);
        }
    }
    _ = envelope::verify(data);
}

/// Configurations: the plain identity and the sealed parameters.
pub fn config(data: &[u8]) {
    _ = Identity::decode(data);
    let keys = keys();
    let (plain, body) = data.split_at(data.len().min(44));
    _ = Config::decode(&sealed(ObjectType::Config, &REPO.0, plain, body, keys.config()), &keys);
}

/// Key slots; the record is plain, so it needs only an envelope.
pub fn slot(data: &[u8]) {
    _ = KeySlot::decode(data, &REPO);
    let object = envelope::encode_plain(ObjectType::KeySlot, &REPO.0, data);
    if let Ok(slot) = KeySlot::decode(&object, &REPO) {
        assert!(slot.unlock(&REPO, FAMILY, &Secret::Random(&Key::new([5; 32]))).is_err());
    }
}

/// Snapshot records.
pub fn snapshot(data: &[u8]) {
    let keys = keys();
    _ = Snapshot::decode(data, &keys);
    _ = Snapshot::decode(&sealed(ObjectType::Snapshot, &FAMILY.0, &[], data, keys.snapshots()), &keys);
}

/// Pending records.
pub fn pending(data: &[u8]) {
    let keys = keys();
    _ = Pending::decode(&sealed(ObjectType::Pending, &REPO.0, &[], data, keys.snapshots()), &REPO, &keys);
}

/// Tombs, lists of condemned packs, abort records and damage marks.
pub fn gc(data: &[u8]) {
    let keys = keys();
    _ = Tomb::decode(&sealed(ObjectType::Tomb, &REPO.0, &[], data, keys.gc()), &REPO, &keys);
    _ = Condemned::decode(&sealed(ObjectType::Condemned, &REPO.0, &[], data, keys.gc()), &REPO, &keys);
    _ = Removed::decode(&sealed(ObjectType::Removed, &REPO.0, &[], data, keys.gc()), &REPO, &keys);
    _ = Abort::decode(&sealed(ObjectType::Abort, &REPO.0, &[], data, keys.gc()), &REPO, &keys);
    _ = DamageMark::decode(&sealed(ObjectType::DamageMark, &REPO.0, &[], data, keys.gc()), &REPO, &keys);
}

/// Holds and trust records.
pub fn keep(data: &[u8]) {
    let keys = keys();
    let hold = Hold::decode(&sealed(ObjectType::Hold, &REPO.0, &[], data, keys.gc()), &REPO, &keys);
    if let Ok(hold) = hold {
        let again = hold.encode(&REPO, &keys, [9; 32], &mut Compressor::new(Level(1)));
        assert!(Hold::decode(&again, &REPO, &keys).is_ok_and(|read| read == hold));
    }
    _ = Trust::decode(&sealed(ObjectType::Trust, &REPO.0, &[], data, keys.gc()), &REPO, &keys);
}

/// Index segments.
pub fn index(data: &[u8]) {
    let keys = keys();
    let object = sealed(ObjectType::Index, &REPO.0, &[], data, keys.index());
    if let Ok(segment) = Segment::decode(&object, &REPO, &keys) {
        let blocks: Vec<_> = segment.packs.iter().flat_map(|p| &p.blocks).collect();
        assert!(segment.blobs.is_sorted_by_key(|b| b.key));
        assert!(segment.blobs.iter().all(|b| (b.rank as u32) < blocks[b.block as usize].blobs));
    }
}

/// Pack headers and directories.
pub fn directory(data: &[u8]) {
    _ = PackHeader::decode(data);
    let keys = keys();
    let kind = if data.len().is_multiple_of(2) { BlobKind::Data } else { BlobKind::Tree };
    let header = PackHeader { suite: SUITE, kind, class: 0, family: FAMILY, session: SnapshotId([4; 16]) };
    let aad = [&b"LBO1\x06"[..], &header.encode()].concat();
    let sealed = seal::seal(keys.index(), keys.salt(), SUITE, &[1; 32], &aad, data);
    let footer = Footer {
        covered_bytes: 1 << 20,
        directory_offset: 1 << 19,
        shard_bytes: 0,
        parity_bytes: 0,
        hash: [0; 32],
    };
    if let Ok((_, directory)) = pack::open_directory(&header.encode(), &sealed, &footer, &keys) {
        let stored: u64 = directory.blocks.iter().map(|b| b.stored_bytes as u64).sum();
        assert!(64 + stored <= footer.directory_offset);
    }
}

/// Leaves: what is accepted has exactly this encoding.
pub fn leaf(data: &[u8]) {
    if let Ok(leaf) = Leaf::decode(data) {
        let mut again = LeafEncoder::default();
        (0..leaf.len()).for_each(|i| again.push(leaf.key(i), &leaf.entries[i]));
        assert!(again.finish() == data);
    }
    _ = Node::decode(data);
}

/// Index nodes: what is accepted has exactly this encoding.
pub fn children(data: &[u8]) {
    if let Ok((level, children)) = decode_children(data) {
        assert!(encode_children(level, &children) == data);
    }
}

/// Extent nodes.
pub fn extents(data: &[u8]) {
    _ = ExtentNode::decode(data);
}

/// Attribute sets: what is accepted has exactly this encoding.
pub fn xattrs(data: &[u8]) {
    if let Ok(set) = XattrSet::decode(data) {
        assert!(set.encode() == data);
    }
}

/// Blocks: sealed bytes, and raw blocks behind a codec prefix.
pub fn block(data: &[u8]) {
    let keys = keys();
    let mut coder = BlockCoder::new(Compressor::new(Level(1)));
    assert!(coder.open(&keys, BlobKind::Data, SUITE, data).is_err());
    let aad = [&b"LBB1"[..], &FAMILY.0, &[0, SUITE as u8]].concat();
    let key = keys.block_key(BlobKind::Data).expect("an owner has it");
    let mut plain = vec![0];
    plain.extend_from_slice(&(data.len() as u32).to_le_bytes());
    plain.extend_from_slice(data);
    for message in [&plain[..], data] {
        let sealed = seal::seal(key, keys.salt(), SUITE, &[1; 32], &aad, message);
        if let Ok(block) = coder.open(&keys, BlobKind::Data, SUITE, &sealed) {
            assert_eq!(block.blobs().count(), block.len());
        }
    }
}

/// Compressed bytes.
pub fn codec(data: &[u8]) {
    let mut out = Vec::new();
    if Decompressor::default().decompress(data, 1 << 16, "test", &mut out).is_ok() {
        assert!(out.len() <= 1 << 16);
    }
}

/// Recovery keys.
pub fn textkey(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = format::textkey::decode(text) {
        let again = format::textkey::encode(&key);
        assert!(format::textkey::decode(&again).is_ok_and(|k| k.bytes() == key.bytes()));
    }
}

/// Log records and erasures.
pub fn records(data: &[u8]) {
    let keys = keys();
    let log = sealed(ObjectType::LogRecord, &REPO.0, &[], data, &keys.records());
    if let Ok(record) = LogRecord::decode(&log, &REPO, &keys) {
        let again = record.encode(&REPO, &keys, SUITE, [9; 32], &mut Compressor::new(Level(1)));
        assert!(LogRecord::decode(&again, &REPO, &keys).is_ok_and(|read| read == record));
        _ = record.is_signed(&REPO);
    }
    let erasure = sealed(ObjectType::Erasure, &REPO.0, &[], data, keys.gc());
    if let Ok(erasure) = Erasure::decode(&erasure, &REPO, &keys) {
        assert!(erasure.paths.iter().all(|path| erasure.erases(path)));
    }
}

/// Shares of a key and keys in words, as people type them.
pub fn shares(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = format::words::decode_any(&text) {
        let words = format::words::encode(&key).join(" ");
        assert!(format::words::decode(&words).is_ok_and(|k| k.bytes() == key.bytes()));
    }
    let texts = text.split("--");
    let all: Vec<Share> = texts.take(6).filter_map(|text| Share::from_text(text).ok()).collect();
    if let Ok(key) = shares::combine(&all) {
        assert!(shares::others(&all, &key).len() < all.len());
    }
}

/// Footers and the repair that trusts them.
pub fn repair(data: &[u8]) {
    let mut bytes = data.to_vec();
    match envelope::repair(&mut bytes) {
        Ok(_) => assert!(envelope::verify(&bytes).is_ok()),
        Err(_) => assert!(bytes == data),
    }
    assert!(pack::repair(&mut bytes, &PackId([0; 32])).is_err());
}

/// Parity: the first bytes choose what is damaged, the rest is the section.
pub fn parity(data: &[u8]) {
    let Some((choice, rest)) = data.split_first_chunk::<4>() else { return };
    let len = u16::from_le_bytes([choice[0], choice[1]]) as usize;
    let shard_bytes = 1 << (choice[2] % 12);
    let groups = choice[3] as usize + 1;
    let section_bytes = 16 * len.div_ceil(shard_bytes).max(1) + groups * 3 * (16 + shard_bytes);
    let Some(g) = Geometry::claimed(len, shard_bytes, section_bytes) else { return };
    let mut section = rest.to_vec();
    section.resize(g.section_bytes(), choice[3]);
    let mut covered = vec![choice[3]; len];
    if let Ok(repaired) = parity::repair(&mut covered, &section, &g) {
        assert!(repaired.shards <= len.div_ceil(g.shard_bytes()).max(1));
    }
}

//! The corpora of the fuzz targets, replayed: every input that is kept, every beginning of it, and every byte of
//! it changed, through the very functions that the fuzzer feeds. Each call must end well within its bounds.
//!
//! `fuzz/corpus/<target>/` holds the inputs: whole ones written by [`corpora_are_written_by_this_crate`]
//! (`cargo test -p format --test replay -- --ignored`), and whatever a campaign finds.

#[allow(unreachable_pub, reason = "the fuzzer needs them so")]
#[path = "../../../fuzz/src/formats.rs"]
mod fuzz;
#[path = "../../../fuzz/replay.rs"]
mod replay;

use format::codec::{Compressor, Level};
use format::config::{Config, Identity, Parameters};
use format::envelope::{self, ObjectType};
use format::erase::Erasure;
use format::gc::{Abort, Condemned, GcRecord, Removed, Tomb};
use format::id::{BlobId, FamilyId, PackId, RepoId, SlotId, SnapshotId, WriterId};
use format::index::SegmentBuilder;
use format::keep::{Covers, Hold, Matching, Trust};
use format::keys::{Capability, Key, Keys};
use format::kind::Timestamp;
use format::log::{LogEntry, LogKind};
use format::seal::Suite;
use format::slot::{ArgonCost, KeySlot, Secret, SlotEntropy, SlotKind};
use format::snapshot::{Completeness, Mode, Pending, Snapshot, Stats};
use format::tree::Root;
use std::collections::BTreeMap;

/// Every target and its function.
const TARGETS: [(&str, replay::Target); 20] = [
    ("block", fuzz::block),
    ("children", fuzz::children),
    ("codec", fuzz::codec),
    ("config", fuzz::config),
    ("directory", fuzz::directory),
    ("envelope", fuzz::envelope),
    ("extents", fuzz::extents),
    ("gc", fuzz::gc),
    ("index", fuzz::index),
    ("keep", fuzz::keep),
    ("leaf", fuzz::leaf),
    ("parity", fuzz::parity),
    ("pending", fuzz::pending),
    ("records", fuzz::records),
    ("repair", fuzz::repair),
    ("shares", fuzz::shares),
    ("slot", fuzz::slot),
    ("snapshot", fuzz::snapshot),
    ("textkey", fuzz::textkey),
    ("xattrs", fuzz::xattrs),
];

#[test]
fn every_decoder_is_replayed_and_keeps_its_bounds() {
    replay::all("formats", &TARGETS);
}

const SUITE: Suite = Suite::Aes256Gcm;
const FAMILY: FamilyId = FamilyId([1; 16]);
const REPO: RepoId = RepoId([3; 16]);

fn time(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 5 }
}

/// What was sealed in an object.
fn body(bytes: &[u8], object: ObjectType, key: &Key) -> Vec<u8> {
    envelope::decode(bytes, object, None).unwrap().unseal(key, 1 << 20).unwrap()
}

/// Vectors of docs/format.md by name.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let page = include_str!("../../../docs/format.md");
    let hex = |text: &str| -> Option<Vec<u8>> {
        let pairs = text.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    };
    let lines = page.lines().filter_map(|line| line.split_once(" = "));
    lines.filter_map(|(name, value)| Some((name.to_string(), hex(value)?))).collect()
}

fn snapshot() -> Snapshot {
    Snapshot {
        id: SnapshotId([0xd0; 16]),
        writer: WriterId([0xd1; 16]),
        sequence: 300,
        previous: [5; 32],
        root: Root { id: BlobId([0xd2; 24]), level: 2 },
        time: time(1_700_000_000),
        end: time(1_700_000_009),
        host: "harbour".into(),
        user: "me".into(),
        sources: vec![b"/home".to_vec()],
        tags: vec!["weekly".into()],
        mode: Mode::Differential,
        base: Some(SnapshotId([6; 16])),
        parent: Some(SnapshotId([7; 16])),
        completeness: Completeness::Partial,
        stats: Stats::default(),
        program: "1.0".into(),
        excludes: vec!["*.tmp".into()],
        mounts: vec![b"/".to_vec()],
        description: "before the storm".into(),
    }
}

fn slot(keys: &Keys) -> KeySlot {
    let entropy = SlotEntropy {
        id: SlotId([7; 8]),
        salt: [8; 32],
        private: Key::new([9; 32]),
        ephemeral: Key::new([10; 32]),
    };
    let secret = Secret::Random(&Key::new([11; 32]));
    let (capability, cost) = (Capability::Maintain, ArgonCost::default());
    KeySlot::create(&REPO, keys, capability, SlotKind::KeyFile, &secret, cost, "nas", time(5), entropy)
        .unwrap()
}

/// Writes the whole inputs anew; what campaigns found stays.
#[test]
#[ignore = "writes fuzz/corpus"]
fn corpora_are_written_by_this_crate() {
    let keys = Keys::owner(FAMILY, Key::new([2; 32]));
    let mut compressor = Compressor::new(Level(3));
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = replay::corpus().join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    let vectors = vectors();
    for (target, name) in [
        ("leaf", "tree.leaf"),
        ("children", "tree.index"),
        ("xattrs", "tree.xattrs"),
        ("extents", "extents.index"),
        ("extents", "extents.leaf.1"),
        ("extents", "extents.leaf.2"),
        ("directory", "pack.header"),
        ("envelope", "slot.password"),
        ("repair", "slot.password"),
    ] {
        write(target, name, &vectors[name]);
    }
    let section = [&[150, 0, 6, 0][..], &vectors["parity.section"]].concat();
    write("parity", "section", &section);
    write("block", "raw", b"\x03\x05\x00\x05helloworld");
    write("directory", "empty", &[0; 64]);
    let mut packed = Vec::new();
    compressor.compress(&[b'a'; 3000], &mut packed);
    write("codec", "zstd", &packed);
    write("textkey", "key", format::textkey::encode(&Key::new([11; 32])).as_bytes());
    let snapshot = snapshot().encode(&keys, SUITE, [1; 32], &mut compressor);
    write("snapshot", "record", &body(&snapshot, ObjectType::Snapshot, keys.snapshots()));
    write("envelope", "snapshot", &snapshot);
    write("repair", "snapshot", &snapshot);
    let pending = Pending {
        session: SnapshotId([4; 16]),
        number: 3,
        root: Some(Root { id: BlobId([5; 24]), level: 1 }),
        packs: vec![PackId([6; 32]), PackId([7; 32])],
        start: time(9),
    };
    let pending = pending.encode(&REPO, &keys, SUITE, [1; 32], &mut compressor);
    write("pending", "record", &body(&pending, ObjectType::Pending, keys.snapshots()));
    let tomb = Tomb { snapshot: SnapshotId([4; 16]), time: time(5), reason: "keep-daily 7".into() };
    let tomb = tomb.encode(&REPO, &keys, [1; 32], &mut compressor);
    write("gc", "tomb", &body(&tomb, ObjectType::Tomb, keys.gc()));
    let packs: Vec<PackId> = (0..9).map(|n| PackId([n; 32])).collect();
    let condemned = Condemned { packs: packs.clone(), moved_into: packs };
    let condemned = condemned.encode(&REPO, &keys, [1; 32], &mut compressor);
    write("gc", "condemned", &body(&condemned, ObjectType::Condemned, keys.gc()));
    let ids: Vec<SnapshotId> = (0..9).map(|n| SnapshotId([n; 16])).collect();
    let removed = Removed { snapshots: ids.clone(), confirmed: ids };
    let removed = removed.encode(&REPO, &keys, [1; 32], &mut compressor);
    write("gc", "removed", &body(&removed, ObjectType::Removed, keys.gc()));
    let abort = Abort { session: SnapshotId([4; 16]) }.encode(&REPO, &keys, [1; 32], &mut compressor);
    write("gc", "abort", &body(&abort, ObjectType::Abort, keys.gc()));
    write_keep(&keys, &mut compressor, &write);
    write_records(&keys, &mut compressor, &write);
    let identity =
        Identity { repo: REPO, family: FAMILY, required_features: 0, optional_features: 0, created: time(5) };
    let parameters = Parameters { slots: vec![SlotId([3; 8])], ..Parameters::default() };
    let config = Config { identity, parameters }.encode(&keys, [1; 32], &mut compressor);
    let plain = envelope::decode(&config, ObjectType::Config, None).unwrap().plain.to_vec();
    write("config", "whole", &[plain, body(&config, ObjectType::Config, keys.config())].concat());
    write("config", "object", &config);
    let slot = slot(&keys).encode(&REPO);
    write("slot", "record", envelope::decode(&slot, ObjectType::KeySlot, None).unwrap().plain);
    let index =
        SegmentBuilder::new(SnapshotId([4; 16])).finish(&REPO, &keys, SUITE, [1; 32], &mut compressor);
    write("index", "empty", &body(&index, ObjectType::Index, keys.index()));
    let covered = &vectors["index.covered"];
    let mut whole = covered.clone();
    envelope_close(&mut whole);
    write("index", "one-pack", &body(&whole, ObjectType::Index, keys.index()));
}

/// Gives the covered bytes of a vector their footers, so that it is an object, without parity.
fn envelope_close(covered: &mut Vec<u8>) {
    let footer = envelope::Footer {
        covered_bytes: covered.len() as u64,
        directory_offset: 0,
        shard_bytes: 0,
        parity_bytes: 0,
        hash: *blake3::hash(covered).as_bytes(),
    };
    let footer = footer.encode();
    covered.extend_from_slice(&footer);
    covered.extend_from_slice(&footer);
}

fn write_records(keys: &Keys, compressor: &mut Compressor, write: &dyn Fn(&str, &str, &[u8])) {
    let entry = LogEntry {
        kind: LogKind::Drill,
        previous: vec![[4; 32]],
        time: time(5),
        machine: "harbour".into(),
        user: "me".into(),
        subject: "drill".into(),
        body: "{}".into(),
    };
    let log = entry.sign(&REPO, &Key::new([6; 32])).encode(&REPO, keys, SUITE, [1; 32], compressor);
    write("records", "log", &body(&log, ObjectType::LogRecord, &keys.records()));
    let erasure = Erasure {
        id: format::id::ErasureId([4; 8]),
        paths: vec![format::tree::PathKey::of(&["/", "home", "anna"])],
        time: time(5),
        hosts: vec!["harbour".into()],
        reason: "asked for".into(),
        by: "me@harbour".into(),
        replaced: vec![(SnapshotId([4; 16]), SnapshotId([5; 16]))],
    };
    let erasure = erasure.encode(&REPO, keys, [1; 32], compressor);
    write("records", "erasure", &body(&erasure, ObjectType::Erasure, keys.gc()));
    let key = Key::new([11; 32]);
    let shares = format::shares::split(&key, 2, 3, [7; 8], &[8; 32]).unwrap();
    let text: Vec<String> = shares.iter().take(2).map(|share| share.text().to_string()).collect();
    write("shares", "two-of-three", text.join("--\n").as_bytes());
    write("shares", "words", format::words::encode(&key).join(" ").as_bytes());
}

fn write_keep(keys: &Keys, compressor: &mut Compressor, write: &dyn Fn(&str, &str, &[u8])) {
    for (name, covers) in [
        ("hold-ids", Covers::Snapshots(vec![SnapshotId([4; 16])])),
        (
            "hold-matching",
            Covers::Matching(Matching {
                hosts: vec!["nas".into()],
                sources: vec![b"/home".to_vec()],
                tags: vec!["tax".into()],
            }),
        ),
    ] {
        let hold = Hold {
            id: format::id::HoldId([4; 8]),
            name: "tax".into(),
            reason: "ten years".into(),
            made: time(5),
            end: Some(time(9)),
            covers,
        };
        let bytes = hold.encode(&REPO, keys, [1; 32], compressor);
        write("keep", name, &body(&bytes, ObjectType::Hold, keys.gc()));
    }
    let trust =
        Trust { snapshot: SnapshotId([4; 16]), record: [5; 32], time: true, contents: true, made: time(5) };
    let bytes = trust.encode(&REPO, keys, [1; 32], compressor);
    write("keep", "trust", &body(&bytes, ObjectType::Trust, keys.gc()));
}

//! The test vectors in docs/format.md are what this crate computes.
//!
//! A reader in another language is checked with them. When this test fails, either the format changed by
//! accident (fix the code) or on purpose before version 1 was frozen (take the printed list over).

use format::block::{BlockCoder, RawBlock};
use format::chunk::{ChunkSizes, Chunker};
use format::codec::{Compressor, Level};
use format::config::{Config, Identity, Parameters};
use format::envelope;
use format::gc::{Abort, Condemned, GcRecord, Tomb};
use format::id::*;
use format::index::{PackRow, SegmentBuilder};
use format::keep::{Covers, Hold, Matching, Trust};
use format::keys::{Capability, Key, Keys};
use format::kind::{Kind, Timestamp};
use format::log::{LogEntry, LogKind};
use format::pack::{BlockRow, Directory, PackBuilder, PackHeader, block_check};
use format::parity::{self, Geometry, Protection};
use format::seal::{self, Suite};
use format::shares;
use format::slot::{ArgonCost, KeySlot, Secret, SlotEntropy, SlotKind};
use format::snapshot::{Completeness, Mode, Pending, Snapshot, Stats};
use format::textkey;
use format::tree::*;
use format::wire::Write;
use format::words;
use std::collections::BTreeMap;
use std::sync::Arc;

const SUITE: Suite = Suite::Aes256Gcm;
const FAMILY: FamilyId = FamilyId([1; 16]);
const REPO: RepoId = RepoId([3; 16]);

type Vectors = BTreeMap<&'static str, String>;

fn keys() -> Keys {
    Keys::owner(FAMILY, Key::new([2; 32]))
}

fn compressor() -> Compressor {
    Compressor::new(Level(3))
}

fn time(secs: i64, nanos: u32) -> Timestamp {
    Timestamp { secs, nanos }
}

fn numbers(v: &mut Vectors) {
    let mut varints = Vec::new();
    for n in [0, 1, 127, 128, 300, u64::MAX] {
        varints.put_varint(n);
    }
    v.insert("wire.varints", hex(&varints));
    let mut signed = Vec::new();
    for n in [0, -1, 1, -2, 64, i64::MIN] {
        signed.put_signed(n);
    }
    v.insert("wire.signed", hex(&signed));
}

fn derived_keys(v: &mut Vectors) {
    let keys = keys();
    let data_ids = blake3::derive_key("lifeboat 2026 v1 data ids", &[2; 32]);
    let tree_ids = blake3::derive_key("lifeboat 2026 v1 tree ids", &[2; 32]);
    v.insert("key.1.data_ids", hex(&data_ids));
    v.insert("key.2.chunking", hex(keys.chunking().unwrap().bytes()));
    v.insert("key.3.data", hex(keys.block_key(BlobKind::Data).unwrap().bytes()));
    v.insert("key.4.tree_ids", hex(&tree_ids));
    v.insert("key.5.boundaries", hex(keys.boundaries().bytes()));
    v.insert("key.6.tree", hex(keys.block_key(BlobKind::Tree).unwrap().bytes()));
    v.insert("key.7.index", hex(keys.index().bytes()));
    v.insert("key.8.snapshots", hex(keys.snapshots().bytes()));
    v.insert("key.9.gc", hex(keys.gc().bytes()));
    v.insert("key.10.config", hex(keys.config().bytes()));
    v.insert("key.11.trust", hex(keys.trust().bytes()));
    v.insert("key.12.salt", hex(keys.salt().bytes()));
    v.insert("id.data.hello", keys.blob_id(BlobKind::Data, b"hello").unwrap().hex());
    v.insert("id.tree.hello", keys.blob_id(BlobKind::Tree, b"hello").unwrap().hex());
    assert_eq!(
        keys.blob_id(BlobKind::Tree, b"hello").unwrap().0[..],
        blake3::keyed_hash(&tree_ids, b"hello").as_bytes()[..24]
    );
}

fn sealing(v: &mut Vectors) {
    let (key, salt) = (Key::new([3; 32]), Key::new([4; 32]));
    for (name, suite) in [("seal.aes", Suite::Aes256Gcm), ("seal.chacha", Suite::ChaCha20Poly1305)] {
        v.insert(name, hex(&seal::seal(&key, &salt, suite, &[5; 32], b"aad", b"known answer")));
    }
    let sealed = seal::seal(&key, &salt, SUITE, &[5; 32], b"aad", b"known answer");
    let mut hasher = blake3::Hasher::new_keyed(&[3; 32]);
    hasher.update(b"lifeboat message").update(&[1]).update(&sealed[..24]);
    v.insert("seal.aes.message_key", hex(hasher.finalize().as_bytes()));
}

fn slots(v: &mut Vectors) {
    let cost = ArgonCost { memory_kib: 64, passes: 1, lanes: 2 };
    let entropy = || SlotEntropy {
        id: SlotId([7; 8]),
        salt: [8; 32],
        private: Key::new([9; 32]),
        ephemeral: Key::new([10; 32]),
    };
    let make = |capability, kind, secret: &Secret<'_>, label| {
        KeySlot::create(&REPO, &keys(), capability, kind, secret, cost, label, time(1_000_000, 5), entropy())
            .unwrap()
    };
    let random = Key::new([11; 32]);
    let password = make(Capability::Owner, SlotKind::Password, &Secret::Password(b"tide"), "me");
    let file = make(Capability::Maintain, SlotKind::KeyFile, &Secret::Random(&random), "cron");
    v.insert("slot.password", hex(&password.encode(&REPO)));
    v.insert("slot.keyfile.covered", hex(covered(&file.encode(&REPO))));
    v.insert("textkey", textkey::encode(&random).to_string());

    let params = argon2::Params::new(64, 1, 2, Some(32)).unwrap();
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut stretched = [0; 32];
    argon.hash_password_into(b"tide", &[8; 32], &mut stretched).unwrap();
    v.insert("slot.password.stretched", hex(&stretched));
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 v1 slot wrapping");
    hasher.update(&stretched).update(&[8; 32]).update(&[7; 8]).update(&[3; 16]);
    let mut wrapping = [0; 64];
    hasher.finalize_xof().fill(&mut wrapping);
    v.insert("slot.password.wrapping", hex(&wrapping));
    let keys = keys();
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 v1 fingerprint");
    hasher.update(&blake3::derive_key("lifeboat 2026 v1 tree ids", &[2; 32]));
    let tree = keys.block_key(BlobKind::Tree).unwrap();
    for key in [keys.boundaries(), tree, keys.index(), keys.snapshots(), keys.gc(), keys.config()] {
        hasher.update(key.bytes());
    }
    hasher.update(keys.trust().bytes()).update(keys.salt().bytes());
    v.insert("slot.fingerprint", hex(hasher.finalize().as_bytes()));
}

/// The bytes of an object before its parity.
fn covered(bytes: &[u8]) -> &[u8] {
    &bytes[..envelope::verify(bytes).unwrap().covered_bytes as usize]
}

fn blocks(v: &mut Vectors) {
    let mut raw = RawBlock::default();
    for blob in [&b"hello"[..], b"", b"world"] {
        raw.push(blob);
    }
    let block = BlockCoder::new(compressor()).seal(&keys(), BlobKind::Data, SUITE, &[6; 32], &raw).unwrap();
    v.insert("block.sealed", hex(&block.bytes));
    v.insert("block.check", hex(&block_check(&block.bytes)));
}

fn parity_sections(v: &mut Vectors) {
    let data: Vec<u8> = (0..150).collect();
    v.insert("parity.section", hex(&parity::compute(&data, &Geometry::choose(150))));
    let long: Vec<u8> = (0..5000u32).map(|i| ((i * i) >> 3) as u8).collect();
    let section = parity::compute(&long, &Geometry::choose(5000));
    v.insert("parity.long.hash", hex(blake3::hash(&section).as_bytes()));
    let pack: Vec<u8> = (0..50_000u32).map(|i| ((i * i) >> 3) as u8).collect();
    let geometry = Geometry::surviving(pack.len(), 6);
    v.insert("parity.six.groups", geometry.groups().to_string());
    v.insert("parity.six.hash", hex(blake3::hash(&parity::compute(&pack, &geometry)).as_bytes()));
}

fn sample_entries() -> Vec<(Vec<u8>, Entry)> {
    let class = |kind, mode, xattrs| {
        let owner = Owner { uid: 1000, gid: 100, user: b"me".as_slice().into(), group: Box::default() };
        Arc::new(Class { kind, mode, owner, flags: 0, project: 0, mount: 1, xattrs })
    };
    let entry = |class: &Arc<Class>, secs, content, size_bytes| Entry {
        class: class.clone(),
        mtime: time(secs, 5),
        ctime: time(secs, 5),
        inode: secs as u64,
        size_bytes,
        link_group: None,
        rdev: 0,
        target: Box::default(),
        content,
        marks: Marks::default(),
    };
    let folder = class(Kind::Directory, 0o755, Xattrs::None);
    let file = class(Kind::File, 0o644, Xattrs::None);
    let tagged = class(Kind::File, 0o600, Xattrs::Inline(xattr_set().encode().into()));
    let link = class(Kind::Symlink, 0o777, Xattrs::None);
    let id = |n| BlobId([n; 24]);
    let extents = vec![
        Extent::Data { id: id(0xa1), len_bytes: 65536, repeat: 2 },
        Extent::Hole { len_bytes: 4096 },
        Extent::Data { id: id(0xa2), len_bytes: 100, repeat: 1 },
    ];
    let mut rows = vec![
        (vec!["/"], entry(&folder, 100, Content::None, 0)),
        (vec!["/", "a.txt"], entry(&file, 99, Content::Whole(id(0xa0)), 11)),
        (vec!["/", "disk.img"], entry(&tagged, 200, Content::Extents(extents), 135_268)),
        (vec!["/", "home"], entry(&folder, 300, Content::None, 0)),
        (
            vec!["/", "home", "big"],
            entry(&file, 300, Content::ExtentTree { id: id(0xa3), level: 1 }, 1 << 40),
        ),
        (vec!["/", "home", "link"], entry(&link, 301, Content::None, 0)),
    ];
    rows[2].1.ctime = time(201, 0);
    rows[2].1.link_group = Some([0xb0; 8]);
    rows[2].1.marks = Marks::FIXED_CHUNKS;
    rows[5].1.target = b"../a.txt".as_slice().into();
    rows.into_iter().map(|(path, entry)| (PathKey::of(&path), entry)).collect()
}

fn xattr_set() -> XattrSet {
    XattrSet::new(vec![(b"user.b".to_vec(), b"2".to_vec()), (b"user.a".to_vec(), vec![])]).unwrap()
}

fn trees(v: &mut Vectors) {
    let mut leaf = LeafEncoder::default();
    sample_entries().iter().for_each(|(key, entry)| leaf.push(key, entry));
    v.insert("tree.leaf", hex(&leaf.finish()));
    let child = |key: &[&str], n| Child {
        last_key: PathKey::of(key).into(),
        id: BlobId([n; 24]),
        entries: 6,
        file_bytes: 1000,
    };
    let children = [child(&["/", "home", "link"], 0xc1), child(&["/", "home", "me", "x"], 0xc2)];
    v.insert("tree.index", hex(&encode_children(1, &children)));
    v.insert("tree.xattrs", hex(&xattr_set().encode()));
    let key = PathKey::of(&["/", "home"]);
    let hash = blake3::Hasher::new_keyed(keys().boundaries().bytes()).update(&[0]).update(&key).finalize();
    v.insert("tree.boundary.hash", hex(&hash.as_bytes()[..8]));
    let mut nodes = Vec::new();
    let extents = [
        Extent::Data { id: BlobId([0xa1; 24]), len_bytes: 65536, repeat: 2 },
        Extent::Hole { len_bytes: 4096 },
        Extent::Data { id: BlobId([0; 24]), len_bytes: 7, repeat: 1 },
        Extent::Data { id: BlobId([0xa2; 24]), len_bytes: 100, repeat: 1 },
    ];
    let root = build_extents::<()>(&extents, &mut |node| {
        nodes.push(hex(node));
        Ok(keys().blob_id(BlobKind::Tree, node).unwrap())
    });
    assert_eq!((nodes.len(), root.unwrap().level), (3, 1));
    let [first, second, top] = nodes.try_into().unwrap();
    v.insert("extents.leaf.1", first);
    v.insert("extents.leaf.2", second);
    v.insert("extents.index", top);
}

fn chunking(v: &mut Vectors) {
    let keys = keys();
    let mut table = [0; 16];
    blake3::Hasher::new_keyed(keys.chunking().unwrap().bytes())
        .update(b"gear")
        .finalize_xof()
        .fill(&mut table);
    v.insert("chunk.gear.first_two", hex(&table));
    let sizes = ChunkSizes { min_bytes: 64, average_bytes: 256, max_bytes: 1024 };
    let chunker = Chunker::new(keys.chunking().unwrap(), sizes);
    let mut data = vec![0; 4096];
    blake3::Hasher::new().update(b"lifeboat").finalize_xof().fill(&mut data);
    let (mut rest, mut lens) = (&data[..], Vec::new());
    while !rest.is_empty() {
        let n = chunker.cut(rest);
        lens.push(n.to_string());
        rest = &rest[n..];
    }
    v.insert("chunk.lengths", lens.join(","));
}

fn records(v: &mut Vectors) {
    let identity = Identity {
        repo: REPO,
        family: FAMILY,
        required_features: 0,
        optional_features: 0,
        created: time(1_000_000, 5),
    };
    let parameters = Parameters { slots: vec![SlotId([7; 8])], ..Parameters::default() };
    // The cipher of configurations is the machine's choice, so they are not compared byte by byte.
    let config = Config { identity, parameters };
    let bytes = config.encode(&keys(), [12; 32], &mut compressor());
    assert_eq!(Config::decode(&bytes, &keys()).unwrap(), config);
    let snapshot = Snapshot {
        id: SnapshotId([0xd0; 16]),
        writer: WriterId([0xd1; 16]),
        sequence: 1,
        previous: [0; 32],
        root: Root { id: BlobId([0xd2; 24]), level: 0 },
        time: time(1_700_000_000, 123),
        end: time(1_700_000_009, 0),
        host: "h".into(),
        user: "me".into(),
        sources: vec![b"/home".to_vec()],
        tags: vec!["t".into()],
        mode: Mode::Full,
        base: None,
        parent: None,
        completeness: Completeness::Complete,
        stats: Stats { files_new: 3, source_bytes: 300, ..Stats::default() },
        program: "1".into(),
        excludes: vec![],
        mounts: vec![b"/".to_vec()],
        description: String::new(),
    };
    let bytes = snapshot.encode(&keys(), SUITE, [13; 32], &mut compressor());
    v.insert("snapshot.covered", hex(covered(&bytes)));
    v.insert("snapshot.footer", hex(&bytes[bytes.len() - 80..]));
    let packs = vec![PackId([0xe0; 32]), PackId([0xe1; 32])];
    let pending = Pending {
        session: SnapshotId([0xd0; 16]),
        number: 2,
        root: Some(snapshot.root),
        packs: packs.clone(),
        start: time(1_700_000_000, 123),
    };
    let bytes = pending.encode(&REPO, &keys(), SUITE, [14; 32], &mut compressor());
    assert_eq!(Pending::decode(&bytes, &REPO, &keys()).unwrap(), pending);
    v.insert("pending.covered", hex(covered(&bytes)));
    let tomb = Tomb { snapshot: SnapshotId([0xd0; 16]), time: time(5, 6), reason: "by id".into() };
    let bytes = tomb.encode(&REPO, &keys(), [15; 32], &mut compressor());
    assert_eq!(Tomb::decode(&bytes, &REPO, &keys()).unwrap(), tomb);
    let condemned = Condemned { packs: packs.clone(), moved_into: packs };
    let bytes = condemned.encode(&REPO, &keys(), [16; 32], &mut compressor());
    assert_eq!(Condemned::decode(&bytes, &REPO, &keys()).unwrap(), condemned);
    let abort = Abort { session: SnapshotId([0xd0; 16]) };
    let bytes = abort.encode(&REPO, &keys(), [17; 32], &mut compressor());
    assert_eq!(Abort::decode(&bytes, &REPO, &keys()).unwrap(), abort);
    let (name, reason, made) = ("case 7".to_string(), "court order".to_string(), time(5, 6));
    for covers in [Covers::Snapshots(vec![SnapshotId([0xd0; 16])]), Covers::Matching(Matching::default())] {
        let id = HoldId([0xd1; 8]);
        let hold =
            Hold { id, name: name.clone(), reason: reason.clone(), made, end: Some(time(7, 8)), covers };
        let bytes = hold.encode(&REPO, &keys(), [18; 32], &mut compressor());
        assert_eq!(Hold::decode(&bytes, &REPO, &keys()).unwrap(), hold);
    }
    let trust =
        Trust { snapshot: SnapshotId([0xd0; 16]), record: [0xd2; 32], time: true, contents: true, made };
    let bytes = trust.encode(&REPO, &keys(), [19; 32], &mut compressor());
    assert_eq!(Trust::decode(&bytes, &REPO, &keys()).unwrap(), trust);
}

/// What people write down, and what is done and erased.
fn papers(v: &mut Vectors) {
    let key = Key::new([11; 32]);
    let shares = shares::split(&key, 2, 3, [7; 8], &[8; 32]).unwrap();
    let one_line = |share: &shares::Share| share.text().trim_end().replace('\n', " ");
    v.insert("share.1", one_line(&shares[0]));
    v.insert("share.3", one_line(&shares[2]));
    v.insert("words", words::encode(&key).join(" "));
    let entry = LogEntry {
        kind: LogKind::Action,
        previous: vec![[0xd5; 32]],
        time: time(5, 6),
        machine: "harbour".into(),
        user: "me".into(),
        subject: "hold".into(),
        body: r#"{"name":"case 7"}"#.into(),
    };
    let record = entry.sign(&REPO, &Key::new([12; 32]));
    let bytes = record.encode(&REPO, &keys(), SUITE, [20; 32], &mut compressor());
    v.insert("log.covered", hex(covered(&bytes)));
}

fn packs(v: &mut Vectors) {
    let header = PackHeader {
        suite: SUITE,
        kind: BlobKind::Data,
        class: 0,
        family: FAMILY,
        session: SnapshotId([0xd0; 16]),
    };
    let mut raw = RawBlock::default();
    let blobs = [&b"hello"[..], b"", b"world"];
    blobs.iter().for_each(|b| _ = raw.push(b));
    let keys = keys();
    let block = BlockCoder::new(compressor()).seal(&keys, BlobKind::Data, SUITE, &[6; 32], &raw).unwrap();
    let ids: Vec<BlobId> = blobs.iter().map(|b| keys.blob_id(BlobKind::Data, b).unwrap()).collect();
    let (mut builder, head) = PackBuilder::start(header, Protection::None);
    builder.push(&block.bytes, SUITE, 10, &ids);
    let end = builder.finish(&keys, &[17; 32]);
    v.insert("pack.header", hex(&head));
    v.insert("pack.id", end.id.hex());
    v.insert("pack.bytes", end.pack_bytes.to_string());
    v.insert("pack.footer", hex(&end.tail[end.tail.len() - 80..]));
    let expected = BlockRow {
        stored_bytes: block.bytes.len() as u32,
        raw_bytes: 10,
        suite: SUITE,
        key_ref: 0,
        blobs: 3,
        check: block_check(&block.bytes),
    };
    let ids_cut = ids.iter().flat_map(|i| i.0[..8].to_vec()).collect();
    assert_eq!(end.directory, Directory { key_table: vec![], blocks: vec![expected], ids: ids_cut });
    let mut segment = SegmentBuilder::new(SnapshotId([0xd0; 16]));
    segment.add(PackRow::new(end.id, &header, end.pack_bytes, &end.directory), &ids);
    let bytes = segment.finish(&REPO, &keys, SUITE, [18; 32], &mut compressor());
    v.insert("index.covered", hex(covered(&bytes)));
}

/// The `name = value` lines of the page's last code block.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../../docs/format.md");
    let section = page.split("\n## Test vectors").nth(1).expect("the page has test vectors");
    let block = section.split("```").nth(1).expect("the vectors stand in a code block");
    let pairs = block.lines().filter_map(|line| line.split_once(" = "));
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn the_vectors_in_the_page_are_what_the_code_computes() {
    let mut v = Vectors::new();
    numbers(&mut v);
    derived_keys(&mut v);
    sealing(&mut v);
    slots(&mut v);
    blocks(&mut v);
    parity_sections(&mut v);
    trees(&mut v);
    chunking(&mut v);
    records(&mut v);
    packs(&mut v);
    papers(&mut v);
    let computed: BTreeMap<String, String> = v.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    let list: String = computed.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
    assert!(documented() == computed, "the code computes\n{list}");
}

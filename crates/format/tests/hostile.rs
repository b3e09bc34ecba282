//! Hostile bytes: every decoder meets flipped bits, cuts and seeded random changes of valid samples.
//!
//! Nothing may panic, memory stays in proportion to the input, and what is accepted is either the original
//! (sealed things) or has exactly the accepted encoding (things that are only found through their hash).
//! Three enemies are played: chance (bytes change), the store (bytes change and the keyless hashes are made
//! right again) and a thief with keys (malformed contents, properly sealed).

use format::block::{BlockCoder, RawBlock};
use format::codec::{Compressor, Decompressor, Level};
use format::config::{Config, Identity, Parameters};
use format::damage::{DamageMark, Subject};
use format::envelope::{self, Footer, ObjectType, Sealing};
use format::gc::{Abort, Condemned, GcRecord, Removed, Tomb};
use format::id::*;
use format::index::{PackRow, Segment, SegmentBuilder};
use format::keep::{Covers, Hold, Matching, Trust};
use format::keys::{Capability, Key, Keys};
use format::kind::{Kind, Timestamp};
use format::pack::{self, PackBuilder, PackHeader};
use format::parity::{self, Geometry, Protection};
use format::seal::{self, Suite};
use format::slot::{ArgonCost, KeySlot, Secret, SlotEntropy, SlotKind};
use format::snapshot::{Completeness, Mode, Pending, Snapshot, Stats};
use format::textkey;
use format::tree::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

const SUITE: Suite = Suite::Aes256Gcm;
const FAMILY: FamilyId = FamilyId([1; 16]);
const REPO: RepoId = RepoId([3; 16]);
const RANDOM_CHANGES: u64 = 4000;

/// Counts what the current thread holds.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // During a thread's end its counters may be gone already; nothing is measured then.
    _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes held at once by `f` beyond what was held before.
fn peak_of(f: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    f();
    (PEAK.get() - before) as usize
}

/// A small generator of reproducible numbers (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }

    /// Changes a few things in a few places.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(9)).min(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes[at..end].fill(0xff),
                2 => bytes[at..end].fill(0),
                3 => drop(bytes.drain(at..end)),
                4 => bytes.insert(at, self.below(256) as u8),
                5 => bytes.extend_from_within(at..end),
                6 => bytes[at] = [0x7f, 0x80, 0x81, 1, 0x3f, 0xfe][self.below(6)],
                _ => bytes[at] ^= 1 << self.below(8),
            }
            if bytes.is_empty() {
                bytes.push(self.below(256) as u8);
            }
        }
    }
}

/// Judges changed forms of `sample`: `judge` panics when something wrong is accepted. Sealing things anew
/// may itself take memory, which `spare` allows for.
fn campaign(name: &str, sample: &[u8], spare: usize, judge: &dyn Fn(&[u8])) {
    judge(sample);
    let check = |bytes: &[u8], how: &dyn Fn() -> String| {
        let used = peak_of(|| judge(bytes));
        assert!(used <= 64 * bytes.len() + spare, "{name}: {used} bytes held after {}", how());
    };
    let step = sample.len() / 1500 + 1;
    for bit in (0..sample.len() * 8).step_by(step) {
        let mut bad = sample.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        check(&bad, &|| format!("flipping bit {bit}"));
    }
    for cut in (0..sample.len()).step_by(step) {
        check(&sample[..cut], &|| format!("cutting at {cut}"));
    }
    for seed in 1..=RANDOM_CHANGES {
        let mut bad = sample.to_vec();
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).change(&mut bad);
        check(&bad, &|| format!("random change {seed}"));
    }
}

const SPARE: usize = 512 << 10;

fn keys() -> Keys {
    Keys::owner(FAMILY, Key::new([2; 32]))
}

fn compressor() -> Compressor {
    Compressor::new(Level(3))
}

fn time(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 7 }
}

/// What a hostile store can do: make the keyless hashes right again.
fn closed_again(covered: &[u8]) -> Vec<u8> {
    let geometry = Geometry::choose(covered.len());
    let section = parity::compute(covered, &geometry);
    let footer = Footer {
        covered_bytes: covered.len() as u64,
        directory_offset: 0,
        shard_bytes: geometry.shard_bytes() as u32,
        parity_bytes: section.len() as u32,
        hash: *blake3::hash(covered).as_bytes(),
    };
    [covered, &section, &footer.encode(), &footer.encode()].concat()
}

/// Plays all three enemies on a sealed object.
fn sealed_object<T: PartialEq + std::fmt::Debug>(
    name: &str,
    object: ObjectType,
    key: &Key,
    bytes: &[u8],
    decode: &dyn Fn(&[u8]) -> Option<T>,
) {
    let original = decode(bytes).expect("the sample decodes");
    let right_or_refused = |bytes: &[u8]| {
        if let Some(decoded) = decode(bytes) {
            assert_eq!(decoded, original, "{name}");
        }
    };
    campaign(name, bytes, SPARE, &right_or_refused);
    let covered = &bytes[..envelope::verify(bytes).unwrap().covered_bytes as usize];
    campaign(name, covered, SPARE, &|bad| right_or_refused(&closed_again(bad)));
    let opened = envelope::decode(bytes, object, None).unwrap();
    let body = opened.unseal(key, 1 << 20).unwrap();
    let keys = keys();
    campaign(name, &body, SPARE, &|bad| {
        let sealing = Sealing { key, salt_key: keys.salt(), suite: SUITE, entropy: [9; 32] };
        let (scope, plain) = (opened.scope(), opened.plain);
        let made = envelope::encode_sealed(object, &scope, plain, bad, &sealing, &mut compressor());
        _ = decode(&made);
    });
    mended(name, bytes);
}

/// Repair gives back the original or refuses; it never makes something up.
fn mended(name: &str, good: &[u8]) {
    campaign(name, good, SPARE, &|bad| {
        let mut bytes = bad.to_vec();
        if envelope::repair(&mut bytes).is_ok() {
            assert!(envelope::verify(&bytes).is_ok(), "{name}: repaired to something damaged");
            assert!(bytes == good, "{name}: repaired to something else");
        } else {
            assert!(bytes == bad, "{name}: changed although not repaired");
        }
    });
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
        sources: vec![b"/home".to_vec(), b"/etc".to_vec()],
        tags: vec!["weekly".into()],
        mode: Mode::Differential,
        base: Some(SnapshotId([6; 16])),
        parent: Some(SnapshotId([7; 16])),
        completeness: Completeness::Partial,
        stats: Stats { files_new: 3, source_bytes: 300, ..Stats::default() },
        program: "1.0".into(),
        excludes: vec!["*.tmp".into()],
        mounts: vec![b"/\0ext4".to_vec()],
        description: "before the storm".into(),
    }
}

#[test]
fn snapshot_records_bear_it() {
    let keys = keys();
    let bytes = snapshot().encode(&keys, SUITE, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Snapshot::decode(bytes, &keys).ok();
    sealed_object("snapshot", ObjectType::Snapshot, keys.snapshots(), &bytes, &decode);
}

#[test]
fn pending_records_bear_it() {
    let keys = keys();
    let pending = Pending {
        session: SnapshotId([4; 16]),
        number: 3,
        root: Some(Root { id: BlobId([5; 24]), level: 1 }),
        packs: vec![PackId([6; 32]), PackId([7; 32])],
        start: time(9),
    };
    let bytes = pending.encode(&REPO, &keys, SUITE, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Pending::decode(bytes, &REPO, &keys).ok();
    sealed_object("pending", ObjectType::Pending, keys.snapshots(), &bytes, &decode);
}

#[test]
fn gc_records_bear_it() {
    let keys = keys();
    let tomb = Tomb { snapshot: SnapshotId([4; 16]), time: time(5), reason: "keep-daily 7".into() };
    let bytes = tomb.encode(&REPO, &keys, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Tomb::decode(bytes, &REPO, &keys).ok();
    sealed_object("tomb", ObjectType::Tomb, keys.gc(), &bytes, &decode);
    let packs = |from: u8| (from..from + 9).map(|n| PackId([n; 32])).collect();
    let condemned = Condemned { packs: packs(0), moved_into: packs(9) };
    let bytes = condemned.encode(&REPO, &keys, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Condemned::decode(bytes, &REPO, &keys).ok();
    sealed_object("condemned", ObjectType::Condemned, keys.gc(), &bytes, &decode);
    let ids: Vec<SnapshotId> = (0..9).map(|n| SnapshotId([n; 16])).collect();
    let removed = Removed { snapshots: ids.clone(), confirmed: ids };
    let bytes = removed.encode(&REPO, &keys, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Removed::decode(bytes, &REPO, &keys).ok();
    sealed_object("removed", ObjectType::Removed, keys.gc(), &bytes, &decode);
    let bytes = Abort { session: SnapshotId([4; 16]) }.encode(&REPO, &keys, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Abort::decode(bytes, &REPO, &keys).ok();
    sealed_object("abort", ObjectType::Abort, keys.gc(), &bytes, &decode);
    let snapshot = Subject::Snapshot { id: SnapshotId([4; 16]), hurt: 9, paths: vec![b"/a".to_vec(); 3] };
    for subject in [snapshot, Subject::Pack { id: PackId([5; 32]), kind: BlobKind::Data }] {
        let bytes = DamageMark { subject, time: time(5) }.encode(&REPO, &keys, [1; 32], &mut compressor());
        let decode = |bytes: &[u8]| DamageMark::decode(bytes, &REPO, &keys).ok();
        sealed_object("damage mark", ObjectType::DamageMark, keys.gc(), &bytes, &decode);
    }
}

#[test]
fn records_that_keep_bear_it() {
    let keys = keys();
    let matching =
        Matching { hosts: vec!["h".into()], sources: vec![b"/a".to_vec()], tags: vec!["t,u".into()] };
    for covers in [Covers::Snapshots(vec![SnapshotId([4; 16]); 9]), Covers::Matching(matching)] {
        let (name, reason) = ("case 7".into(), "court order".into());
        let hold = Hold { id: HoldId([4; 8]), name, reason, made: time(5), end: Some(time(9)), covers };
        let bytes = hold.encode(&REPO, &keys, [1; 32], &mut compressor());
        let decode = |bytes: &[u8]| Hold::decode(bytes, &REPO, &keys).ok();
        sealed_object("hold", ObjectType::Hold, keys.gc(), &bytes, &decode);
    }
    let (snapshot, made) = (SnapshotId([4; 16]), time(5));
    let trust = Trust { snapshot, record: [8; 32], time: true, contents: false, made };
    let bytes = trust.encode(&REPO, &keys, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Trust::decode(bytes, &REPO, &keys).ok();
    sealed_object("trust", ObjectType::Trust, keys.gc(), &bytes, &decode);
}

#[test]
fn configurations_bear_it() {
    let keys = keys();
    let identity = Identity {
        repo: REPO,
        family: FAMILY,
        required_features: 0,
        optional_features: 0,
        created: time(1_000_000),
    };
    let parameters = Parameters {
        slots: vec![SlotId([7; 8]), SlotId([8; 8])],
        probed: vec!["create-new=atomic".into()],
        ..Parameters::default()
    };
    let bytes = Config { identity, parameters }.encode(&keys, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| Config::decode(bytes, &keys).ok();
    sealed_object("config", ObjectType::Config, keys.config(), &bytes, &decode);
    campaign("identity", &bytes, SPARE, &|bad| _ = Identity::decode(bad));
}

fn slot(kind: SlotKind, secret: &Secret<'_>) -> KeySlot {
    let cost = ArgonCost { memory_kib: 64, passes: 1, lanes: 2 };
    let entropy = SlotEntropy {
        id: SlotId([7; 8]),
        salt: [8; 32],
        private: Key::new([9; 32]),
        ephemeral: Key::new([10; 32]),
    };
    KeySlot::create(&REPO, &keys(), Capability::Owner, kind, secret, cost, "me", time(5), entropy).unwrap()
}

#[test]
fn key_slots_bear_it() {
    let password = slot(SlotKind::Password, &Secret::Password(b"tide")).encode(&REPO);
    campaign("password slot", &password, SPARE, &|bad| _ = KeySlot::decode(bad, &REPO));
    mended("password slot", &password);
    // A store can change a slot and make its hash right; what then opens are the family's keys or nothing.
    let key = Key::new([11; 32]);
    let file = slot(SlotKind::KeyFile, &Secret::Random(&key)).encode(&REPO);
    let covered = &file[..envelope::verify(&file).unwrap().covered_bytes as usize];
    campaign("key file slot", covered, SPARE, &|bad| {
        let Ok(slot) = KeySlot::decode(&closed_again(bad), &REPO) else { return };
        if let Ok(opened) = slot.unlock(&REPO, FAMILY, &Secret::Random(&key)) {
            assert_eq!(opened.index().bytes(), keys().index().bytes());
        }
    });
}

fn sample_pack(kind: BlobKind, protection: Protection) -> (Vec<u8>, pack::PackEnd, PackHeader, Vec<BlobId>) {
    let keys = keys();
    let header = PackHeader { suite: SUITE, kind, class: 0, family: FAMILY, session: SnapshotId([4; 16]) };
    let (mut builder, head) = PackBuilder::start(header, protection);
    let (mut bytes, mut ids) = (head.to_vec(), Vec::new());
    for n in 0..3u8 {
        let mut raw = RawBlock::default();
        let blobs: Vec<Vec<u8>> = (0..4u8).map(|m| [n, m].repeat(5 + m as usize)).collect();
        blobs.iter().for_each(|b| _ = raw.push(b));
        let block = BlockCoder::new(compressor()).seal(&keys, kind, SUITE, &[n; 32], &raw).unwrap();
        let these: Vec<_> = blobs.iter().map(|b| keys.blob_id(kind, b).unwrap()).collect();
        builder.push(&block.bytes, SUITE, raw.body_bytes() as u32, &these);
        bytes.extend_from_slice(&block.bytes);
        ids.extend(these);
    }
    let end = builder.finish(&keys, &[9; 32]);
    bytes.extend_from_slice(&end.tail);
    (bytes, end, header, ids)
}

fn read_directory(bytes: &[u8]) -> Option<pack::Directory> {
    let footer = Footer::from_tail(bytes, bytes.len() as u64).ok()?;
    let range = pack::directory_range(&footer).ok()?;
    let sealed = bytes.get(range.start as usize..range.end as usize)?;
    pack::open_directory(bytes, sealed, &footer, &keys()).ok().map(|(_, directory)| directory)
}

#[test]
fn packs_bear_it() {
    let kinds = [
        (BlobKind::Data, Protection::None),
        (BlobKind::Data, Protection::Percent(6)),
        (BlobKind::Tree, Protection::Small),
    ];
    for (kind, protection) in kinds {
        let (good, end, _, _) = sample_pack(kind, protection);
        campaign("pack", &good, SPARE, &|bad| {
            if let Some(directory) = read_directory(bad) {
                assert_eq!(directory, end.directory);
            }
            assert!(bad == good || pack::verify(bad, &end.id, None).is_err());
            let mut bytes = bad.to_vec();
            match pack::repair(&mut bytes, &end.id) {
                Ok(_) => assert!(bytes == good),
                Err(_) => assert!(bytes == bad),
            }
        });
    }
}

#[test]
fn directories_of_a_thief_bear_it() {
    let keys = keys();
    let (good, end, header, _) = sample_pack(BlobKind::Data, Protection::None);
    let footer = Footer::from_tail(&good, good.len() as u64).unwrap();
    let aad = [&b"LBO1\x06"[..], &header.encode()].concat();
    let sealed = &good[footer.directory_offset as usize..footer.covered_bytes as usize];
    let mut plain = Vec::new();
    seal::open(keys.index(), SUITE, &aad, sealed, "pack directory", &mut plain).unwrap();
    let used = plain.iter().rposition(|b| *b != 0).unwrap() + 1;
    campaign("directory", &plain[..used], SPARE, &|bad| {
        let sealed = seal::seal(keys.index(), keys.salt(), SUITE, &[1; 32], &aad, bad);
        if let Ok((_, directory)) = pack::open_directory(&good, &sealed, &footer, &keys) {
            let listed: u64 = directory.blocks.iter().map(|b| b.stored_bytes as u64).sum();
            assert!(64 + listed <= footer.directory_offset);
            let blobs: usize = directory.blocks.iter().map(|b| b.blobs as usize).sum();
            assert_eq!(directory.ids.len(), blobs * 8);
        }
    });
    assert_eq!(end.directory.blocks.len(), 3);
}

#[test]
fn index_segments_bear_it() {
    let keys = keys();
    let (_, end, header, ids) = sample_pack(BlobKind::Data, Protection::None);
    let mut builder = SegmentBuilder::new(SnapshotId([4; 16]));
    builder.add(PackRow::new(end.id, &header, end.pack_bytes, &end.directory), &ids);
    let bytes = builder.finish(&REPO, &keys, SUITE, [1; 32], &mut compressor());
    let decode = |bytes: &[u8]| {
        let segment = Segment::decode(bytes, &REPO, &keys).ok()?;
        assert!(segment.blobs.is_sorted_by_key(|b| b.key));
        let blocks: Vec<_> = segment.packs.iter().flat_map(|p| &p.blocks).collect();
        assert!(segment.blobs.iter().all(|b| (b.rank as u32) < blocks[b.block as usize].blobs));
        let places: HashSet<_> = segment.blobs.iter().map(|b| (b.block, b.rank)).collect();
        assert_eq!(places.len(), segment.blobs.len(), "two blobs in one place");
        Some(segment)
    };
    sealed_object("index", ObjectType::Index, keys.index(), &bytes, &decode);
}

#[test]
fn blocks_bear_it() {
    let keys = keys();
    let mut raw = RawBlock::default();
    for n in 0..40u8 {
        raw.push(&vec![n % 3; n as usize]);
    }
    let sealed = BlockCoder::new(compressor()).seal(&keys, BlobKind::Data, SUITE, &[1; 32], &raw).unwrap();
    let open = |bytes: &[u8]| BlockCoder::new(compressor()).open(&keys, BlobKind::Data, SUITE, bytes).ok();
    campaign("block", &sealed.bytes, SPARE, &|bad| {
        assert!(bad == sealed.bytes || open(bad).is_none());
    });
    let aad = [&b"LBB1"[..], &FAMILY.0, &[0, 1]].concat();
    let mut plain = Vec::new();
    seal::open(keys.block_key(BlobKind::Data).unwrap(), SUITE, &aad, &sealed.bytes, "block", &mut plain)
        .unwrap();
    let data = keys.block_key(BlobKind::Data).unwrap();
    // A declared length may be up to the largest block: that much may be held, and no more.
    campaign("block of a thief", &plain, 17 << 20, &|bad| {
        if let Some(block) = open(&seal::seal(data, keys.salt(), SUITE, &[1; 32], &aad, bad)) {
            assert_eq!(block.blobs().count(), block.len());
        }
    });
}

#[test]
fn compressed_bytes_bear_it() {
    let mut packed = Vec::new();
    compressor().compress(&b"tide and time ".repeat(60), &mut packed);
    let max = 100_000;
    campaign("codec", &packed, SPARE, &|bad| {
        let mut out = Vec::new();
        if Decompressor::default().decompress(bad, max, "test", &mut out).is_ok() {
            assert!(out.len() <= max);
        }
    });
}

fn sample_leaf() -> Vec<u8> {
    let mut leaf = LeafEncoder::default();
    for n in 0..24u64 {
        let kind = Kind::from_u8((n % 8) as u8).unwrap();
        let is_file = kind == Kind::File;
        let xattrs =
            if n % 5 == 0 { Xattrs::Inline(vec![1; 9].into()) } else { Xattrs::Blob(BlobId([8; 24])) };
        let owner = Owner { uid: 1000, gid: 100, user: b"me".as_slice().into(), group: Box::default() };
        let class = Class { kind, mode: 0o644, owner, flags: 16, project: 0, mount: 1, xattrs };
        let content = match n % 3 {
            _ if !is_file => Content::None,
            0 => Content::Whole(BlobId([n as u8; 24])),
            1 => Content::Extents(vec![
                Extent::Data { id: BlobId([n as u8; 24]), len_bytes: 65_536, repeat: 300 },
                Extent::Hole { len_bytes: 1 << 40 },
            ]),
            _ => Content::ExtentTree { id: BlobId([9; 24]), level: 2 },
        };
        let has_target = matches!(kind, Kind::Symlink | Kind::Fault);
        let entry = Entry {
            class: Arc::new(class),
            mtime: time(1_700_000_000 + n as i64),
            ctime: time(1_700_000_000 + (n / 2) as i64),
            inode: n * 1000,
            size_bytes: if is_file { n << 20 } else { 0 },
            link_group: (n % 4 == 0).then_some([3; 8]),
            rdev: if matches!(kind, Kind::CharDevice | Kind::BlockDevice) { 2049 } else { 0 },
            target: if has_target { b"../there".as_slice().into() } else { Box::default() },
            content,
            marks: Marks((n % 8) as u8),
        };
        let name = format!("name{n:03}");
        leaf.push(&PathKey::of(&["/", "home", &name]), &entry);
    }
    leaf.finish()
}

#[test]
fn leaves_have_one_encoding() {
    campaign("leaf", &sample_leaf(), SPARE, &|bad| {
        let Ok(leaf) = Leaf::decode(bad) else { return };
        let mut again = LeafEncoder::default();
        (0..leaf.len()).for_each(|i| again.push(leaf.key(i), &leaf.entries[i]));
        assert!(again.finish() == bad, "two encodings of one leaf");
    });
}

#[test]
fn index_nodes_have_one_encoding() {
    let children: Vec<Child> = (0..50u64)
        .map(|n| Child {
            last_key: PathKey::of(&["/".to_string(), format!("folder{n:04}"), "x".repeat(n as usize + 1)])
                .into(),
            id: BlobId([n as u8; 24]),
            entries: n * n,
            file_bytes: n << 30,
        })
        .collect();
    campaign("index node", &encode_children(3, &children), SPARE, &|bad| {
        if let Ok((level, children)) = decode_children(bad) {
            assert!(encode_children(level, &children) == bad, "two encodings of one node");
            assert!(children.is_sorted_by(|a, b| a.last_key < b.last_key), "a key stands there twice");
        }
        _ = Node::decode(bad);
    });
}

#[test]
fn extent_nodes_and_attribute_sets_bear_it() {
    let extents: Vec<Extent> = (0..90u32)
        .map(|n| match n % 4 {
            0 => Extent::Hole { len_bytes: (n as u64) << 33 | 1 },
            // Ids of zeros end their node.
            _ => Extent::Data { id: BlobId([(n % 45) as u8 & !1; 24]), len_bytes: 65_536, repeat: n * n + 1 },
        })
        .collect();
    let mut nodes = Vec::new();
    build_extents::<()>(&extents, &mut |node| {
        nodes.push(node.to_vec());
        Ok(BlobId([nodes.len() as u8; 24]))
    })
    .unwrap();
    assert!(nodes.len() >= 2, "leaves and their parent");
    for node in [&nodes[0], &nodes[nodes.len() - 1]] {
        campaign("extents", node, SPARE, &|bad| _ = ExtentNode::decode(bad));
    }
    let pairs = (0..60u8).map(|n| (vec![b'u', n], vec![n; n as usize % 4])).collect();
    campaign("attributes", &XattrSet::new(pairs).unwrap().encode(), SPARE, &|bad| {
        if let Ok(set) = XattrSet::decode(bad) {
            assert!(set.encode() == bad, "two encodings of one set");
            assert!(set.pairs().is_sorted_by(|a, b| a.0 < b.0), "a name stands there twice");
        }
    });
}

#[test]
fn recovery_keys_bear_it() {
    let key = Key::new([0xa5; 32]);
    let text = textkey::encode(&key).to_string();
    campaign("recovery key", text.as_bytes(), SPARE, &|bad| {
        let Ok(bad) = std::str::from_utf8(bad) else { return };
        if let Ok(read) = textkey::decode(bad) {
            assert_eq!(read.bytes(), key.bytes());
        }
    });
}

#[test]
fn parity_sections_bear_it() {
    let data: Vec<u8> = (0..900u32).map(|n| ((n * 7) >> 2) as u8).collect();
    let g = Geometry::choose(data.len());
    let section = parity::compute(&data, &g);
    campaign("parity", &section, SPARE, &|bad| {
        let mut hurt = data.clone();
        hurt[100] ^= 0xff;
        if parity::repair(&mut hurt, bad, &g).is_ok() && bad == section {
            assert!(hurt == data);
        }
        let shard_bytes = g.shard_bytes() << (bad.len() % 40);
        if let Some(other) = Geometry::claimed(bad.len(), shard_bytes, section.len()) {
            _ = parity::repair(&mut bad.to_vec(), &section, &other);
        }
    });
    // Whatever lengths a footer claims: no cut that the code was not made for.
    for covered in (0..3000).chain([1 << 20, u32::MAX as usize]) {
        for (bits, section) in
            (0..40).flat_map(|bits| [0, 48, 64 + covered, 16 * covered, 6 << bits].map(|s| (bits, s)))
        {
            if let Some(g) = Geometry::claimed(covered, 1 << bits, section) {
                assert_eq!(g.section_bytes(), section);
                assert!(g.groups() > 0 && g.shards().div_ceil(g.groups()) <= parity::GROUP_SHARDS_MAX);
            }
        }
    }
}

//! One index segment laid out for lookups: fixed-width rows that can be mapped from a file.
//!
//! ```text
//! header   magic 8 | blobs u64 | blocks u64 | packs u64 | filter bytes u64 | trusted u8 + 7 | check 32
//!          (the check is the hash of everything else: a snapshot may come to rely on these rows)
//! filter   64-byte lines: a blob sets 6 bits in one line, 10 bits a blob (about 1 % false hits)
//! blobs    24 bytes each, ascending: key 16 | block u32 | rank u16 | 0 u16
//! blocks   24 bytes each: pack u32 | offset u32 | stored u32 | raw u32 | blobs u32 | key ref u16 | suite u8 | 0
//! packs    56 bytes each: id 32 | length u64 | first block u32 | blocks u32 | kind u8 | class u8 | 0 u16 | 0 u32
//! ```
//! The layout is this machine's own and disposable; its version is in the magic. Lookups touch a line of
//! the filter and, on a hit, a few pages of sorted rows found by interpolation.

use crate::cache::Mapping;
use crate::index::Location;
use format::id::{BlobKind, PackId};
use format::index::{BlockPlace, IndexKey, Segment};
use format::seal::Suite;
use storage::planted;

const MAGIC: &[u8; 8] = b"LBSEG\0\0\x02";
const HEADER: usize = 80;
const CHECK: usize = 48;
/// So much of a mapped file is in memory at most while it is checked.
const CHECK_STEP: usize = 4 << 20;
const BLOB: usize = 24;
const BLOCK: usize = 24;
const PACK: usize = 56;
const LINE: usize = 64;
/// 10 bits a blob and 6 probes in a 512-bit line: about 1.3 % of absent blobs cost a search.
const FILTER_BITS_PER_BLOB: usize = 10;
const PROBES: usize = 6;

/// A laid-out segment.
pub struct SegmentFile {
    bytes: Mapping,
    blobs: usize,
    blocks: usize,
    packs: usize,
    filter: usize,
    trusted: bool,
}

/// Lays out a decoded segment.
pub(crate) fn lay_out(segment: &Segment) -> Vec<u8> {
    let blocks: usize = segment.packs.iter().map(|p| p.blocks.len()).sum();
    let filter_lines = (segment.blobs.len() * FILTER_BITS_PER_BLOB).div_ceil(8 * LINE).max(1);
    let filter_bytes = filter_lines * LINE;
    let total =
        HEADER + filter_bytes + segment.blobs.len() * BLOB + blocks * BLOCK + segment.packs.len() * PACK;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(MAGIC);
    for n in [segment.blobs.len(), blocks, segment.packs.len(), filter_bytes] {
        out.extend_from_slice(&(n as u64).to_le_bytes());
    }
    out.extend_from_slice(&[segment.trusted as u8, 0, 0, 0, 0, 0, 0, 0]);
    out.resize(HEADER + filter_bytes, 0);
    for blob in &segment.blobs {
        let (line, bits) = probes(&blob.key, filter_lines);
        for bit in bits {
            out[HEADER + line * LINE + bit / 8] |= 1 << (bit % 8);
        }
    }
    for blob in &segment.blobs {
        out.extend_from_slice(&blob.key.0);
        out.extend_from_slice(&blob.block.to_le_bytes());
        out.extend_from_slice(&blob.rank.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
    }
    for (p, pack) in segment.packs.iter().enumerate() {
        for b in &pack.blocks {
            for n in [p as u32, b.offset, b.stored_bytes, b.raw_bytes, b.blobs] {
                out.extend_from_slice(&n.to_le_bytes());
            }
            out.extend_from_slice(&b.key_ref.to_le_bytes());
            out.extend_from_slice(&[b.suite as u8, 0]);
        }
    }
    let mut first = 0u32;
    for pack in &segment.packs {
        out.extend_from_slice(&pack.id.0);
        out.extend_from_slice(&pack.pack_bytes.to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&(pack.blocks.len() as u32).to_le_bytes());
        out.extend_from_slice(&[pack.kind as u8, pack.class, 0, 0, 0, 0, 0, 0]);
        first += pack.blocks.len() as u32;
    }
    debug_assert_eq!(out.len(), total);
    with_check(out)
}

/// Puts the hash into a segment that was laid out.
pub(crate) fn with_check(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() >= HEADER {
        let check = check_of(&bytes, |_, _| {});
        bytes[CHECK..HEADER].copy_from_slice(&check);
    }
    bytes
}

/// The hash of all bytes but its own. Some 5 GB/s, paid when a file is opened. `done` is told which bytes
/// were read.
fn check_of(bytes: &[u8], done: impl Fn(usize, usize)) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..CHECK]);
    for (n, piece) in bytes[HEADER..].chunks(CHECK_STEP).enumerate() {
        hasher.update(piece);
        done(HEADER + n * CHECK_STEP, piece.len());
    }
    *hasher.finalize().as_bytes()
}

/// Which line of the filter, and which bits in it. Keys are hashes already; their own bits will do.
fn probes(key: &IndexKey, lines: usize) -> (usize, [usize; PROBES]) {
    let word = |at: usize| u64::from_le_bytes(key.0[at..at + 8].try_into().expect("a key has 16 bytes"));
    let line = ((word(0) as u128 * lines as u128) >> 64) as usize;
    let bits = word(8);
    (line, std::array::from_fn(|i| (bits >> (9 * i)) as usize & 511))
}

impl SegmentFile {
    /// Takes a mapped file; `None` when it is not a whole one of this version.
    pub fn open(bytes: Mapping) -> Option<Self> {
        let head = bytes.get(..HEADER)?;
        let is_whole = check_of(&bytes, |from, len| bytes.release(from, len)) == head[CHECK..]
            || planted::is("cached-segment-unchecked");
        if head[..8] != *MAGIC || !is_whole {
            return None;
        }
        let n =
            |i: usize| u64::from_le_bytes(head[8 + 8 * i..16 + 8 * i].try_into().expect("8 bytes")) as usize;
        let (blobs, blocks, packs, filter) = (n(0), n(1), n(2), n(3));
        let file = SegmentFile { blobs, blocks, packs, filter, trusted: head[40] == 1, bytes };
        let expected = blobs
            .checked_mul(BLOB)?
            .checked_add(blocks.checked_mul(BLOCK)?)?
            .checked_add(packs.checked_mul(PACK)?)?
            .checked_add(filter)?
            .checked_add(HEADER)?;
        (file.bytes.len() == expected && filter >= LINE).then_some(file)
    }

    /// Bytes of the filter: what lookups of absent blobs touch, and so what stays in memory.
    pub fn filter_bytes(&self) -> usize {
        self.filter
    }

    /// Number of blobs.
    pub fn blobs(&self) -> usize {
        self.blobs
    }

    /// Number of packs.
    pub fn packs(&self) -> usize {
        self.packs
    }

    /// Whether an owner or maintainer made the segment.
    pub fn trusted(&self) -> bool {
        self.trusted
    }

    fn row(&self, i: usize) -> &[u8] {
        let at = HEADER + self.filter + i * BLOB;
        &self.bytes[at..at + BLOB]
    }

    fn head_of(&self, i: usize) -> u64 {
        u64::from_be_bytes(self.row(i)[..8].try_into().expect("a row has 24 bytes"))
    }

    fn block_row(&self, i: usize) -> Option<&[u8]> {
        let at = HEADER + self.filter + self.blobs * BLOB + i * BLOCK;
        (i < self.blocks).then(|| &self.bytes[at..at + BLOCK])
    }

    fn pack_row(&self, i: usize) -> &[u8] {
        let at = HEADER + self.filter + self.blobs * BLOB + self.blocks * BLOCK + i * PACK;
        &self.bytes[at..at + PACK]
    }

    /// The rows with this key.
    pub fn find(&self, key: &IndexKey) -> impl Iterator<Item = usize> + use<'_> {
        let key = *key;
        let first = if self.may_hold(&key) { self.lower_bound(&key) } else { self.blobs };
        (first..self.blobs).take_while(move |i| self.row(*i)[..16] == key.0)
    }

    fn may_hold(&self, key: &IndexKey) -> bool {
        let (line, bits) = probes(key, self.filter / LINE);
        let line = &self.bytes[HEADER + line * LINE..][..LINE];
        bits.iter().all(|bit| line[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Interpolation search: keys are uniform, so a few steps reach the row; halving bounds the rest.
    fn lower_bound(&self, key: &IndexKey) -> usize {
        let wanted = u64::from_be_bytes(key.0[..8].try_into().expect("a key has 16 bytes"));
        let (mut low, mut high) = (0usize, self.blobs);
        for _ in 0..4 {
            if high - low < 32 {
                break;
            }
            let (a, b) = (self.head_of(low), self.head_of(high - 1));
            if wanted <= a || wanted > b {
                break;
            }
            let guess =
                low + ((wanted - a) as u128 * (high - 1 - low) as u128 / (b - a).max(1) as u128) as usize;
            let slack = 8 + ((high - low) as f64).sqrt() as usize;
            let (from, to) = (guess.saturating_sub(slack).max(low), (guess + slack).min(high - 1));
            if self.head_of(from) < wanted {
                low = from;
            }
            if self.head_of(to) >= wanted {
                high = to + 1;
            }
        }
        while low < high {
            let middle = (low + high) / 2;
            if self.row(middle)[..16] < key.0[..] { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// A row's key.
    pub(crate) fn key(&self, row: usize) -> IndexKey {
        IndexKey(self.row(row)[..16].try_into().expect("a row has 24 bytes"))
    }

    /// Number of blocks of all packs.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The block a row points into, counted over all packs, and the rank therein.
    pub(crate) fn place(&self, row: usize) -> (usize, u16) {
        let blob = self.row(row);
        (u32_at(blob, 16) as usize, u16::from_le_bytes([blob[20], blob[21]]))
    }

    /// The numbers of the blocks of pack `i`.
    pub(crate) fn blocks_of(&self, i: usize) -> std::ops::Range<usize> {
        let row = self.pack_row(i);
        let (first, n) = (u32_at(row, 40) as usize, u32_at(row, 44) as usize);
        first.min(self.blocks)..first.saturating_add(n).min(self.blocks)
    }

    /// The block of this number.
    pub(crate) fn block(&self, i: usize) -> Option<BlockPlace> {
        self.block_place(i)
    }

    /// The pack a row points into.
    pub fn pack_of(&self, row: usize) -> Option<usize> {
        let block = u32_at(self.row(row), 16) as usize;
        let pack = u32_at(self.block_row(block)?, 0) as usize;
        (pack < self.packs).then_some(pack)
    }

    /// Where a row's blob lies; the first value is the pack's number in this segment.
    pub fn location(&self, row: usize) -> Option<(usize, Location)> {
        let blob = self.row(row);
        let pack = self.pack_of(row)?;
        let block = self.block_place(u32_at(blob, 16) as usize)?;
        let rank = u16::from_le_bytes([blob[20], blob[21]]);
        Some((pack, Location { pack: self.pack_id(pack), kind: self.pack_kind(pack), block, rank }))
    }

    fn block_place(&self, i: usize) -> Option<BlockPlace> {
        let b = self.block_row(i)?;
        Some(BlockPlace {
            offset: u32_at(b, 4),
            stored_bytes: u32_at(b, 8),
            raw_bytes: u32_at(b, 12),
            blobs: u32_at(b, 16),
            key_ref: u16::from_le_bytes([b[20], b[21]]),
            suite: Suite::from_u8(b[22], "cached index segment").ok()?,
        })
    }

    /// The name of pack `i`.
    pub fn pack_id(&self, i: usize) -> PackId {
        PackId(self.pack_row(i)[..32].try_into().expect("a pack row has 56 bytes"))
    }

    /// The length of pack `i`.
    pub fn pack_bytes(&self, i: usize) -> u64 {
        u64::from_le_bytes(self.pack_row(i)[32..40].try_into().expect("a pack row has 56 bytes"))
    }

    /// The kind of pack `i`.
    pub fn pack_kind(&self, i: usize) -> BlobKind {
        if self.pack_row(i)[48] == BlobKind::Tree as u8 { BlobKind::Tree } else { BlobKind::Data }
    }

    /// The blocks of pack `i`.
    pub fn pack_blocks(&self, i: usize) -> Vec<BlockPlace> {
        let row = self.pack_row(i);
        let (first, n) = (u32_at(row, 40) as usize, u32_at(row, 44) as usize);
        (first..first.saturating_add(n).min(self.blocks)).filter_map(|b| self.block_place(b)).collect()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use format::id::{BlobId, SnapshotId};
    use format::index::{BlobRow, PackRow};
    use std::io::Write;

    fn segment(n: u64) -> Segment {
        let id = |i: u64| BlobId(blake3::hash(&i.to_le_bytes()).as_bytes()[..24].try_into().unwrap());
        let mut blobs: Vec<_> = (0..n)
            .map(|i| BlobRow { key: IndexKey::from(&id(i)), block: (i / 100) as u32, rank: (i % 100) as u16 })
            .collect();
        blobs.sort_by_key(|b| b.key);
        let place = |i: u64| BlockPlace {
            offset: 64 + 10 * i as u32,
            stored_bytes: 10,
            raw_bytes: 20,
            suite: Suite::Aes256Gcm,
            key_ref: 0,
            blobs: 100,
        };
        let pack = PackRow {
            id: PackId([9; 32]),
            kind: BlobKind::Tree,
            class: 0,
            pack_bytes: 12345,
            key_table: vec![],
            blocks: (0..n.div_ceil(100)).map(place).collect(),
        };
        Segment { session: SnapshotId([1; 16]), trusted: true, packs: vec![pack], blobs }
    }

    #[test]
    fn every_blob_is_found_and_absent_ones_are_not() {
        for n in [0, 1, 31, 33, 5000, 60_000] {
            let file = SegmentFile::open(Mapping::from(lay_out(&segment(n)))).unwrap();
            for i in 0..n {
                let key = IndexKey(blake3::hash(&i.to_le_bytes()).as_bytes()[..16].try_into().unwrap());
                let rows: Vec<_> = file.find(&key).collect();
                assert_eq!(rows.len(), 1, "blob {i} of {n}");
                let (_, location) = file.location(rows[0]).unwrap();
                assert_eq!(
                    (location.block.offset, location.rank as u64),
                    (64 + 10 * (i / 100) as u32, i % 100)
                );
                assert_eq!(location.kind, BlobKind::Tree);
            }
            let absent =
                |i: u64| IndexKey(blake3::hash(&(i + n).to_le_bytes()).as_bytes()[..16].try_into().unwrap());
            assert!((0..2000).all(|i| file.find(&absent(i)).next().is_none()));
            let passed = (0..20_000).filter(|i| file.may_hold(&absent(*i))).count();
            assert!(passed < 800, "{passed} of 20,000 absent blobs pass the filter");
        }
    }

    #[test]
    fn damaged_cache_files_are_refused() {
        let good = lay_out(&segment(300));
        for cut in [0, 10, HEADER, good.len() - 1] {
            assert!(SegmentFile::open(Mapping::from(good[..cut].to_vec())).is_none());
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = bad[at].wrapping_add(0x81);
            assert!(SegmentFile::open(Mapping::from(bad)).is_none(), "byte {at}");
        }
    }

    #[test]
    fn two_million_blobs_are_found_through_the_mapping() {
        let folder = tempfile::tempdir().unwrap();
        let n = 2_000_000;
        let mut keys: Vec<IndexKey> = Vec::with_capacity(n);
        let mut noise = vec![0; 16 * n];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        keys.extend(noise.as_chunks::<16>().0.iter().map(|key| IndexKey(*key)));
        let mut large = segment(0);
        large.packs[0].blocks = vec![segment(1).packs[0].blocks[0]; n / 1000];
        let row = |(i, key): (usize, &IndexKey)| BlobRow {
            key: *key,
            block: i as u32 / 1000,
            rank: i as u16 % 1000,
        };
        large.blobs = keys.iter().enumerate().map(row).collect();
        large.blobs.sort_unstable_by_key(|b| b.key);
        let stored = crate::cache::Cache::at(folder.path().into()).store("seg-x", lay_out(&large));
        drop(large);
        assert!(matches!(stored, Mapping::Mapped(_)));
        let file = SegmentFile::open(stored).unwrap();
        assert!(file.filter_bytes() <= 2 * n, "two bytes a blob stay in memory at most");
        let start = std::time::Instant::now();
        let probes = (0..n).step_by(41);
        let (looked_up, mut found, mut passed) = (2 * probes.len() as u32, 0, 0);
        for i in probes {
            found += file.find(&keys[i]).count();
            let mut absent = keys[i];
            absent.0[7] ^= 0x55;
            absent.0[12] ^= 0x55;
            passed += file.may_hold(&absent) as u32;
            assert!(file.find(&absent).next().is_none());
        }
        let each = start.elapsed() / looked_up;
        assert_eq!(found as u32, looked_up / 2);
        assert!(passed < looked_up / 2 / 25, "{passed} absent blobs pass the filter");
        writeln!(std::io::stderr(), "{looked_up} lookups among {n} blobs, {each:?} each").unwrap();
    }

    #[test]
    fn ten_bits_a_blob_are_pinned() {
        let laid_out = lay_out(&segment(10_000));
        let rows = 10_000 * BLOB + 100 * BLOCK + PACK + HEADER;
        assert!((laid_out.len() - rows) * 8 <= 10_000 * 16, "the filter stays below 2 bytes a blob");
    }
}

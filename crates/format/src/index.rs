//! Index segments: a sorted map from blobs to the packs that hold them.
//!
//! A segment adds the packs of one session and takes nothing away. It lists its packs and their blocks,
//! and the first 16 bytes of every blob id in ascending order with the blob's position; what is found is
//! confirmed by decoding. A checksum under the trust key marks segments of owners and maintainers:
//! mappings without it may be read from, but nothing is deduplicated against them.

use crate::codec::Compressor;
use crate::envelope::{self, ObjectType, Sealing};
use crate::error::{FormatError, FormatResult};
use crate::id::{BlobId, BlobKind, PackId, RepoId, SnapshotId};
use crate::keys::Keys;
use crate::limits::*;
use crate::pack::{Directory, HEADER_BYTES, KeyEntry, PackHeader, put_key_table, take_key_table};
use crate::seal::Suite;
use crate::wire::{Reader, Write};

const WHAT: &str = "index segment";
/// Bytes of an id that the index keeps: an accidental match among 2^36 blobs has probability 2^-56.
pub const INDEX_KEY_BYTES: usize = 16;

/// The part of a blob id by which the index is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey(pub [u8; INDEX_KEY_BYTES]);

impl From<&BlobId> for IndexKey {
    fn from(id: &BlobId) -> Self {
        IndexKey(id.0[..INDEX_KEY_BYTES].try_into().expect("an id has 24 bytes"))
    }
}

/// A pack as a segment lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// Its name.
    pub id: PackId,
    /// What it holds.
    pub kind: BlobKind,
    /// Its retention class.
    pub class: u8,
    /// Its length.
    pub pack_bytes: u64,
    /// Keys other than the family's, copied from its directory.
    pub key_table: Vec<KeyEntry>,
    /// Its blocks in order.
    pub blocks: Vec<BlockPlace>,
}

/// A block as a segment lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Where in the pack it begins.
    pub offset: u32,
    /// Length as stored.
    pub stored_bytes: u32,
    /// Length of the blobs it decodes to.
    pub raw_bytes: u32,
    /// Cipher.
    pub suite: Suite,
    /// 0: the family key; n: entry n-1 of the pack's key table.
    pub key_ref: u16,
    /// Number of blobs.
    pub blobs: u32,
}

impl PackRow {
    /// The row of a pack with this directory.
    pub fn new(id: PackId, header: &PackHeader, pack_bytes: u64, directory: &Directory) -> Self {
        let mut offset = HEADER_BYTES as u32;
        let place = |b: &crate::pack::BlockRow| {
            let at = offset;
            offset += b.stored_bytes;
            BlockPlace {
                offset: at,
                stored_bytes: b.stored_bytes,
                raw_bytes: b.raw_bytes,
                suite: b.suite,
                key_ref: b.key_ref,
                blobs: b.blobs,
            }
        };
        PackRow {
            id,
            kind: header.kind,
            class: header.class,
            pack_bytes,
            key_table: directory.key_table.clone(),
            blocks: directory.blocks.iter().map(place).collect(),
        }
    }
}

/// Where a blob lies: the n-th block of the segment, and its rank therein.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// The id's first bytes.
    pub key: IndexKey,
    /// Which block, counted over all packs of the segment.
    pub block: u32,
    /// Which blob of the block.
    pub rank: u16,
}

/// A decoded segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The session that wrote the packs.
    pub session: SnapshotId,
    /// Whether an owner or maintainer made it.
    pub trusted: bool,
    /// The packs.
    pub packs: Vec<PackRow>,
    /// The blobs in ascending order of their keys.
    pub blobs: Vec<BlobRow>,
}

/// Collects the packs of a session into a segment.
pub struct SegmentBuilder {
    session: SnapshotId,
    packs: Vec<PackRow>,
    /// Keys with their position over all packs.
    blobs: Vec<(IndexKey, u32)>,
}

impl SegmentBuilder {
    /// An empty segment of this session.
    pub fn new(session: SnapshotId) -> Self {
        SegmentBuilder { session, packs: Vec::new(), blobs: Vec::new() }
    }

    /// Adds a pack with the ids of its blobs in order.
    pub fn add(&mut self, row: PackRow, ids: &[BlobId]) {
        let listed: usize = row.blocks.iter().map(|b| b.blobs as usize).sum();
        assert_eq!(listed, ids.len(), "a pack's ids are those of its blocks");
        assert!(
            self.blobs.len() + ids.len() <= INDEX_BLOBS_MAX,
            "the writer ends a segment before it is full"
        );
        let start = self.blobs.len() as u32;
        self.blobs.extend(ids.iter().enumerate().map(|(i, id)| (IndexKey::from(id), start + i as u32)));
        self.packs.push(row);
    }

    /// Number of packs.
    pub fn packs(&self) -> usize {
        self.packs.len()
    }

    /// Number of blobs.
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }

    /// The object's bytes. Afterwards the builder is empty.
    pub fn finish(
        &mut self,
        repo: &RepoId,
        keys: &Keys,
        suite: Suite,
        entropy: [u8; 32],
        compressor: &mut Compressor,
    ) -> Vec<u8> {
        self.blobs.sort_unstable();
        let body = self.encode();
        let mut secret = blake3::keyed_hash(keys.trust().bytes(), &body).as_bytes().to_vec();
        secret.extend_from_slice(&body);
        self.packs.clear();
        self.blobs.clear();
        let sealing = Sealing { key: keys.index(), salt_key: keys.salt(), suite, entropy };
        envelope::encode_sealed(ObjectType::Index, &repo.0, &[], &secret, &sealing, compressor)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 24 * self.blobs.len());
        out.extend_from_slice(&self.session.0);
        out.put_varint(self.packs.len() as u64);
        for pack in &self.packs {
            out.extend_from_slice(&pack.id.0);
            out.extend_from_slice(&[pack.kind as u8, pack.class]);
            out.put_varint(pack.pack_bytes);
            put_key_table(&mut out, &pack.key_table);
            out.put_varint(pack.blocks.len() as u64);
            for b in &pack.blocks {
                out.put_varint(b.stored_bytes as u64);
                out.put_varint(b.raw_bytes as u64);
                out.push(b.suite as u8);
                out.put_varint(b.key_ref as u64);
                out.put_varint(b.blobs as u64);
            }
        }
        self.encode_blobs(&mut out);
        out
    }

    /// Three columns: steps of the first 8 bytes, the other 8 bytes, positions in four byte planes.
    fn encode_blobs(&self, out: &mut Vec<u8>) {
        out.put_varint(self.blobs.len() as u64);
        let mut previous = 0;
        for (key, _) in &self.blobs {
            let head = key_head(key);
            out.put_varint(head - previous);
            previous = head;
        }
        for (key, _) in &self.blobs {
            out.extend_from_slice(&key.0[8..]);
        }
        for plane in 0..4 {
            out.extend(self.blobs.iter().map(|(_, position)| position.to_le_bytes()[plane]));
        }
    }
}

fn key_head(key: &IndexKey) -> u64 {
    u64::from_be_bytes(key.0[..8].try_into().expect("a key has 16 bytes"))
}

impl Segment {
    /// Opens and reads a segment of this repository.
    pub fn decode(bytes: &[u8], repo: &RepoId, keys: &Keys) -> FormatResult<Self> {
        let opened = envelope::decode(bytes, ObjectType::Index, Some(&repo.0))?;
        let secret = opened.unseal(keys.index(), INDEX_BYTES_MAX)?;
        Self::parse(&secret, keys)
    }

    fn parse(secret: &[u8], keys: &Keys) -> FormatResult<Self> {
        let mut r = Reader::new(secret, WHAT);
        let mac: [u8; 32] = r.array()?;
        let trusted = blake3::keyed_hash(keys.trust().bytes(), &secret[32..]) == blake3::Hash::from(mac);
        let session = SnapshotId(r.array()?);
        let n = r.count(1 << 24, 36)?;
        let mut packs = Vec::with_capacity(n);
        for _ in 0..n {
            packs.push(decode_pack(&mut r)?);
        }
        let blobs = decode_blobs(&mut r, &packs)?;
        r.end()?;
        Ok(Segment { session, trusted, packs, blobs })
    }
}

fn decode_pack(r: &mut Reader<'_>) -> FormatResult<PackRow> {
    let id = PackId(r.array()?);
    let kind = BlobKind::from_u8(r.u8()?).ok_or(FormatError::TooNew { what: WHAT, why: "unknown kind" })?;
    let class = r.u8()?;
    let pack_bytes = r.varint_max(PACK_BYTES_MAX)?;
    let key_table = take_key_table(r)?;
    let n = r.count(PACK_BLOCKS_MAX, 5)?;
    let mut blocks = Vec::with_capacity(n);
    let mut offset = HEADER_BYTES as u64;
    for _ in 0..n {
        let stored_bytes = r.varint_max(BLOCK_STORED_BYTES_MAX as u64)? as u32;
        blocks.push(BlockPlace {
            offset: offset as u32,
            stored_bytes,
            raw_bytes: r.varint_max(BLOCK_RAW_BYTES_MAX as u64)? as u32,
            suite: Suite::from_u8(r.u8()?, WHAT)?,
            key_ref: r.varint_max(key_table.len() as u64)? as u16,
            blobs: r.varint_max(BLOCK_BLOBS_MAX as u64)? as u32,
        });
        offset += stored_bytes as u64;
        if offset > pack_bytes {
            return Err(r.error("blocks reach beyond their pack"));
        }
    }
    Ok(PackRow { id, kind, class, pack_bytes, key_table, blocks })
}

fn decode_blobs(r: &mut Reader<'_>, packs: &[PackRow]) -> FormatResult<Vec<BlobRow>> {
    // The first position of each block; positions are dense, so they say block and rank.
    let mut firsts = Vec::new();
    let mut total = 0u64;
    for block in packs.iter().flat_map(|p| &p.blocks) {
        firsts.push(total);
        total += block.blobs as u64;
    }
    let n = r.count(INDEX_BLOBS_MAX, 13)?;
    if n as u64 != total {
        return Err(r.error("its blobs are not those of its packs"));
    }
    let mut blobs = Vec::with_capacity(n);
    let mut head = 0u64;
    for _ in 0..n {
        head = head.checked_add(r.varint()?).ok_or_else(|| r.error("its ids are not in order"))?;
        let mut key = [0; INDEX_KEY_BYTES];
        key[..8].copy_from_slice(&head.to_be_bytes());
        blobs.push(BlobRow { key: IndexKey(key), block: 0, rank: 0 });
    }
    for (blob, tail) in blobs.iter_mut().zip(r.take(8 * n)?.as_chunks::<8>().0) {
        blob.key.0[8..].copy_from_slice(tail);
    }
    let planes: Vec<&[u8]> = (0..4).map(|_| r.take(n)).collect::<FormatResult<_>>()?;
    let mut seen = vec![false; n];
    let mut previous = None;
    for (i, blob) in blobs.iter_mut().enumerate() {
        let position = u32::from_le_bytes([planes[0][i], planes[1][i], planes[2][i], planes[3][i]]) as u64;
        if position >= total || std::mem::replace(&mut seen[position as usize], true) {
            return Err(r.error("a blob lies in no place of its own"));
        }
        if previous.replace((blob.key, position)) >= Some((blob.key, position)) {
            return Err(r.error("its ids are not in order"));
        }
        let block = firsts.partition_point(|first| *first <= position) - 1;
        blob.block = block as u32;
        blob.rank = (position - firsts[block]) as u16;
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Level;
    use crate::id::FamilyId;
    use crate::keys::Key;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::owner(FamilyId([1; 16]), Key::new([2; 32]))
    }

    fn row(id: u8, blocks: &[u32]) -> PackRow {
        let mut offset = HEADER_BYTES as u32;
        let place = |blobs: &u32| {
            let stored_bytes = 100 + blobs;
            offset += stored_bytes;
            BlockPlace {
                offset: offset - stored_bytes,
                stored_bytes,
                raw_bytes: 7,
                suite: Suite::Aes256Gcm,
                key_ref: 0,
                blobs: *blobs,
            }
        };
        let blocks: Vec<_> = blocks.iter().map(place).collect();
        PackRow {
            id: PackId([id; 32]),
            kind: BlobKind::Data,
            class: 0,
            pack_bytes: 1 << 20,
            key_table: vec![],
            blocks,
        }
    }

    fn build(packs: &[Vec<u32>]) -> (Vec<u8>, Vec<(BlobId, u32, u16)>) {
        let mut builder = SegmentBuilder::new(SnapshotId([4; 16]));
        let (mut expected, mut n, mut block) = (Vec::new(), 0u64, 0);
        for (p, blocks) in packs.iter().enumerate() {
            let mut ids = Vec::new();
            for blobs in blocks {
                for rank in 0..*blobs {
                    let id = BlobId(blake3::hash(&n.to_le_bytes()).as_bytes()[..24].try_into().unwrap());
                    n += 1;
                    ids.push(id);
                    expected.push((id, block, rank as u16));
                }
                block += 1;
            }
            builder.add(row(p as u8, blocks), &ids);
        }
        let mut compressor = Compressor::new(Level(3));
        (builder.finish(&RepoId([6; 16]), &keys(), Suite::Aes256Gcm, [8; 32], &mut compressor), expected)
    }

    proptest! {
        #[test]
        fn segments_round_trip(packs in proptest::collection::vec(proptest::collection::vec(1u32..30, 0..5), 0..6)) {
            let (bytes, expected) = build(&packs);
            let segment = Segment::decode(&bytes, &RepoId([6; 16]), &keys()).unwrap();
            prop_assert!(segment.trusted);
            prop_assert!(segment.blobs.is_sorted_by_key(|b| b.key));
            prop_assert_eq!(segment.blobs.len(), expected.len());
            for (id, block, rank) in expected {
                let i = segment.blobs.binary_search_by_key(&IndexKey::from(&id), |b| b.key).unwrap();
                prop_assert_eq!((segment.blobs[i].block, segment.blobs[i].rank), (block, rank));
            }
        }

        #[test]
        fn hostile_bodies_never_panic(mut body in proptest::collection::vec(any::<u8>(), 49..300)) {
            let _ignored = Segment::parse(&body, &keys());
            body[48] = 0; // no packs
            let _ignored = Segment::parse(&body, &keys());
        }
    }

    #[test]
    fn a_segment_of_another_repository_is_refused() {
        let (bytes, _) = build(&[vec![3]]);
        assert!(Segment::decode(&bytes, &RepoId([7; 16]), &keys()).is_err());
    }

    #[test]
    fn a_tiny_file_costs_at_most_18_bytes_of_index() {
        let (bytes, expected) = build(&[vec![2000; 25]]);
        let without_parity = bytes.len() as f64 / 1.12;
        assert!(without_parity / expected.len() as f64 <= 18.0, "{} bytes", without_parity);
    }
}

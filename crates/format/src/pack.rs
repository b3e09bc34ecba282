//! Packs: many blocks in one immutable object that is named by its own hash.
//!
//! ```text
//! 0      magic "LBPK" | version u8 | suite u8 | kind u8 | class u8 | family 16 | session 16 | zero 24
//! 64     blocks back to back
//! ..     padding
//! D      directory: sealed like a small object's secret part, in steps of 4 KiB
//! P      parity section (tree packs always, data packs as the repository asks)
//! E-160  footer, twice
//! ```
//! A pack is readable without any index: the directory lists its blocks (length, cipher, key, a checksum
//! of the stored bytes) and the ids in them. Data ids are cut to 8 bytes there: reading confirms a
//! candidate by decoding it, and the full ids stand in the trees. A copy of a block checks its checksum
//! first, so that damage is never given a new, valid name.

use crate::envelope::{self, Footer, ObjectType};
use crate::error::{FormatError, FormatResult};
use crate::id::{BlobId, BlobKind, FamilyId, PackId, SnapshotId};
use crate::keys::Keys;
use crate::limits::{
    BLOCK_BLOBS_MAX, BLOCK_RAW_BYTES_MAX, BLOCK_STORED_BYTES_MAX, FORMAT_VERSION, PACK_BLOBS_MAX,
    PACK_BLOCKS_MAX, PACK_DIRECTORY_BYTES_MAX,
};
use crate::parity::Protection;
use crate::repair;
use crate::seal::{self, Suite};
use crate::wire::{Reader, Write};

const MAGIC: &[u8; 4] = b"LBPK";
const WHAT: &str = "pack";
/// Length of the pack header.
pub const HEADER_BYTES: usize = 64;
/// Directories are padded to multiples of this, so that their length does not count the blobs.
pub(crate) const DIRECTORY_STEP_BYTES: usize = 4096;
/// Packs of at least this length are padded to multiples of [`PAD_STEP_BYTES`]; shorter ones by Padmé.
const PAD_STEP_FROM_BYTES: u64 = 8 << 20;
const PAD_STEP_BYTES: u64 = 64 << 10;
/// Bytes of an id kept in the directory of a data pack.
pub const DATA_ID_PREFIX_BYTES: usize = 8;
/// Keys in a key table, and bytes of one: room for a sealed post-quantum key.
const KEY_TABLE_MAX: usize = 1024;
const KEY_BYTES_MAX: usize = 4096;
/// Bytes of the checksum of a stored block.
pub const BLOCK_CHECK_BYTES: usize = 16;

/// What a pack holds, as its plain header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackHeader {
    /// Cipher of the directory.
    pub suite: Suite,
    /// File contents or tree nodes.
    pub kind: BlobKind,
    /// Retention class: 0 ordinary. Object locks and cold storage go by whole packs of one class.
    pub class: u8,
    /// The family whose keys open it.
    pub family: FamilyId,
    /// The session that wrote it.
    pub session: SnapshotId,
}

impl PackHeader {
    /// The first 64 bytes of a pack.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(MAGIC);
        out[4..8].copy_from_slice(&[FORMAT_VERSION, self.suite as u8, self.kind as u8, self.class]);
        out[8..24].copy_from_slice(&self.family.0);
        out[24..40].copy_from_slice(&self.session.0);
        out
    }

    /// Reads the first 64 bytes of a pack.
    pub fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let mut r = Reader::new(bytes, WHAT);
        if r.array::<4>()? != *MAGIC {
            return Err(r.error("it does not begin as one"));
        }
        if r.u8()? != FORMAT_VERSION {
            return Err(FormatError::TooNew { what: WHAT, why: "unknown version" });
        }
        let suite = Suite::from_u8(r.u8()?, WHAT)?;
        let kind =
            BlobKind::from_u8(r.u8()?).ok_or(FormatError::TooNew { what: WHAT, why: "unknown kind" })?;
        let class = r.u8()?;
        let (family, session) = (FamilyId(r.array()?), SnapshotId(r.array()?));
        if r.array::<24>()? != [0; 24] {
            return Err(FormatError::TooNew { what: WHAT, why: "a reserved byte is in use" });
        }
        Ok(PackHeader { suite, kind, class, family, session })
    }
}

/// A key other than the family's, by which some blocks of a pack are sealed. Version 1 writes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// What kind of key reference this is (an epoch, a sealed session key).
    pub kind: u8,
    /// Its bytes; meaning given by `kind`.
    pub bytes: Vec<u8>,
}

/// Key tables are written alike in directories and in index segments.
pub(crate) fn put_key_table(out: &mut Vec<u8>, keys: &[KeyEntry]) {
    out.put_varint(keys.len() as u64);
    for key in keys {
        out.push(key.kind);
        out.put_bytes(&key.bytes);
    }
}

/// Reads what [`put_key_table`] wrote.
pub(crate) fn take_key_table(r: &mut Reader<'_>) -> FormatResult<Vec<KeyEntry>> {
    let n = r.count(KEY_TABLE_MAX, 2)?;
    (0..n).map(|_| Ok(KeyEntry { kind: r.u8()?, bytes: r.bytes(KEY_BYTES_MAX)?.to_vec() })).collect()
}

/// One block of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// Length as stored.
    pub stored_bytes: u32,
    /// Length of the blobs it decodes to, for planning memory.
    pub raw_bytes: u32,
    /// Cipher.
    pub suite: Suite,
    /// 0: the family key; n: entry n-1 of the key table.
    pub key_ref: u16,
    /// Number of blobs.
    pub blobs: u32,
    /// Truncated BLAKE3 of the stored bytes.
    pub check: [u8; BLOCK_CHECK_BYTES],
}

/// The truncated BLAKE3 of a block's stored bytes.
pub fn block_check(stored: &[u8]) -> [u8; BLOCK_CHECK_BYTES] {
    blake3::hash(stored).as_bytes()[..BLOCK_CHECK_BYTES].try_into().expect("a hash has 32 bytes")
}

/// The bytes of an id that a directory of this kind keeps.
pub fn directory_id_bytes(kind: BlobKind) -> usize {
    match kind {
        BlobKind::Data => DATA_ID_PREFIX_BYTES,
        BlobKind::Tree => BlobId::LEN,
    }
}

/// What a pack contains.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Directory {
    /// Keys other than the family's.
    pub key_table: Vec<KeyEntry>,
    /// The blocks, in order; the first begins at byte 64.
    pub blocks: Vec<BlockRow>,
    /// The ids of all blobs in order, each cut to [`directory_id_bytes`].
    pub ids: Vec<u8>,
}

impl Directory {
    fn encode(&self, body_hash: &[u8; 32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 32 * self.blocks.len() + self.ids.len());
        out.extend_from_slice(body_hash);
        put_key_table(&mut out, &self.key_table);
        out.put_varint(self.blocks.len() as u64);
        for b in &self.blocks {
            out.put_varint(b.stored_bytes as u64);
            out.put_varint(b.raw_bytes as u64);
            out.push(b.suite as u8);
            out.put_varint(b.key_ref as u64);
            out.put_varint(b.blobs as u64);
            out.extend_from_slice(&b.check);
        }
        out.extend_from_slice(&self.ids);
        out
    }

    fn decode(bytes: &[u8], kind: BlobKind) -> FormatResult<([u8; 32], Self)> {
        let mut r = Reader::new(bytes, "pack directory");
        let body_hash = r.array()?;
        let key_table = take_key_table(&mut r)?;
        let n = r.count(PACK_BLOCKS_MAX, 5 + BLOCK_CHECK_BYTES)?;
        let mut blocks = Vec::with_capacity(n);
        let mut blobs = 0u64;
        for _ in 0..n {
            let row = BlockRow {
                stored_bytes: r.varint_max(BLOCK_STORED_BYTES_MAX as u64)? as u32,
                raw_bytes: r.varint_max(BLOCK_RAW_BYTES_MAX as u64)? as u32,
                suite: Suite::from_u8(r.u8()?, "pack directory")?,
                key_ref: r.varint_max(key_table.len() as u64)? as u16,
                blobs: r.varint_max(BLOCK_BLOBS_MAX as u64)? as u32,
                check: r.array()?,
            };
            blobs += row.blobs as u64;
            blocks.push(row);
        }
        if blobs > PACK_BLOBS_MAX as u64 {
            return Err(r.error("it lists too many blobs"));
        }
        let ids = r.take(blobs as usize * directory_id_bytes(kind))?.to_vec();
        if r.rest().iter().any(|b| *b != 0) {
            return Err(r.error("its padding is not zero"));
        }
        Ok((body_hash, Directory { key_table, blocks, ids }))
    }
}

/// The length a pack of `len` bytes up to its directory is padded to.
///
/// Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", 2019) leaks O(log log n) bits
/// at no more than 12 %; full packs need only hide the last 64 KiB.
fn padded_len(len: u64) -> u64 {
    if len >= PAD_STEP_FROM_BYTES {
        return len.next_multiple_of(PAD_STEP_BYTES);
    }
    let exponent = 63 - len.max(2).leading_zeros();
    let kept = 32 - exponent.leading_zeros();
    len.next_multiple_of(1 << exponent.saturating_sub(kept))
}

/// Builds one pack while its blocks stream by: the caller writes the returned pieces in order.
pub struct PackBuilder {
    header: PackHeader,
    directory: Directory,
    hasher: blake3::Hasher,
    len_bytes: u64,
    protection: Protection,
    /// With parity everything is kept, because parity covers it all.
    kept: Option<Vec<u8>>,
}

/// A finished pack's tail and name.
pub struct PackEnd {
    /// The bytes that follow the last block.
    pub tail: Vec<u8>,
    /// The name of the pack.
    pub id: PackId,
    /// Length of the whole pack.
    pub pack_bytes: u64,
    /// What it contains.
    pub directory: Directory,
}

impl PackBuilder {
    /// Starts a pack; the second value is its first piece.
    pub fn start(header: PackHeader, protection: Protection) -> (Self, [u8; HEADER_BYTES]) {
        let head = header.encode();
        let mut builder = PackBuilder {
            header,
            directory: Directory::default(),
            hasher: blake3::Hasher::new(),
            len_bytes: 0,
            protection,
            kept: (protection != Protection::None).then(Vec::new),
        };
        builder.append(&head);
        (builder, head)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
    }

    /// Takes the next block, whose stored bytes the caller writes, and the ids in it. Returns its offset.
    pub fn push(&mut self, block: &[u8], suite: Suite, raw_bytes: u32, ids: &[BlobId]) -> u32 {
        let offset = u32::try_from(self.len_bytes).expect("packs stay below 4 GiB");
        assert!(block.len() <= BLOCK_STORED_BYTES_MAX && raw_bytes as usize <= BLOCK_RAW_BYTES_MAX);
        assert!(ids.len() <= BLOCK_BLOBS_MAX && self.directory.blocks.len() < PACK_BLOCKS_MAX);
        self.append(block);
        self.directory.blocks.push(BlockRow {
            stored_bytes: block.len() as u32,
            raw_bytes,
            suite,
            key_ref: 0,
            blobs: ids.len() as u32,
            check: block_check(block),
        });
        let keep = directory_id_bytes(self.header.kind);
        for id in ids {
            self.directory.ids.extend_from_slice(&id.0[..keep]);
        }
        offset
    }

    /// Bytes so far.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Number of blocks so far.
    pub fn blocks(&self) -> usize {
        self.directory.blocks.len()
    }

    /// Ends the pack: padding, directory, parity, footers.
    pub fn finish(mut self, keys: &Keys, entropy: &[u8; 32]) -> PackEnd {
        let mut tail = self.padding(keys, entropy);
        self.append(&tail.clone());
        let directory_offset = self.len_bytes;
        let body_hash = *self.hasher.finalize().as_bytes();
        let sealed = self.seal_directory(&body_hash, keys, entropy);
        self.append(&sealed);
        tail.extend_from_slice(&sealed);
        let end = self.close(directory_offset);
        self.hasher.update(&end);
        tail.extend_from_slice(&end);
        let pack_bytes = self.len_bytes + end.len() as u64;
        let id = PackId(*self.hasher.finalize().as_bytes());
        PackEnd { tail, id, pack_bytes, directory: self.directory }
    }

    fn padding(&self, keys: &Keys, entropy: &[u8; 32]) -> Vec<u8> {
        let mut padding = vec![0; (padded_len(self.len_bytes) - self.len_bytes) as usize];
        let mut hasher = blake3::Hasher::new_keyed(keys.salt().bytes());
        hasher.update(b"padding").update(entropy).finalize_xof().fill(&mut padding);
        padding
    }

    fn seal_directory(&self, body_hash: &[u8; 32], keys: &Keys, entropy: &[u8; 32]) -> Vec<u8> {
        let mut plain = self.directory.encode(body_hash);
        let sealed_len = (plain.len() + seal::SEAL_BYTES).next_multiple_of(DIRECTORY_STEP_BYTES);
        plain.resize(sealed_len - seal::SEAL_BYTES, 0);
        let aad = directory_aad(&self.header);
        seal::seal(keys.index(), keys.salt(), self.header.suite, entropy, &aad, &plain)
    }

    /// Everything after the directory.
    fn close(&mut self, directory_offset: u64) -> Vec<u8> {
        if let Some(mut kept) = self.kept.take() {
            let covered = kept.len();
            envelope::close(&mut kept, directory_offset, self.protection);
            return kept.split_off(covered);
        }
        let footer = Footer {
            covered_bytes: self.len_bytes,
            directory_offset,
            shard_bytes: 0,
            parity_bytes: 0,
            hash: *self.hasher.finalize().as_bytes(),
        }
        .encode();
        [footer, footer].concat()
    }
}

fn directory_aad(header: &PackHeader) -> Vec<u8> {
    let mut context = vec![ObjectType::PackDirectory as u8];
    context.extend_from_slice(&header.encode());
    envelope::object_aad(&context, &[])
}

/// Where in a pack its directory lies.
pub fn directory_range(footer: &Footer) -> FormatResult<std::ops::Range<u64>> {
    let range = footer.directory_offset..footer.covered_bytes;
    let len = range.end.saturating_sub(range.start);
    let ok = range.start >= HEADER_BYTES as u64
        && len >= seal::SEAL_BYTES as u64
        && len <= PACK_DIRECTORY_BYTES_MAX as u64;
    if ok { Ok(range) } else { Err(FormatError::corrupt(WHAT, "its directory has no possible place")) }
}

/// Reads the header of a pack whose footer was of this version: another version is damage then.
fn decode_header(bytes: &[u8]) -> FormatResult<PackHeader> {
    if bytes.get(4).is_some_and(|version| *version != FORMAT_VERSION) {
        return Err(FormatError::corrupt(WHAT, "its versions differ"));
    }
    PackHeader::decode(bytes)
}

/// Opens the directory of a pack from its header bytes and the bytes at [`directory_range`].
///
/// Blocks never reach beyond `footer.directory_offset`.
pub fn open_directory(
    header_bytes: &[u8],
    sealed: &[u8],
    footer: &Footer,
    keys: &Keys,
) -> FormatResult<(PackHeader, Directory)> {
    let header = decode_header(header_bytes)?;
    if header.family != keys.family() {
        return Err(FormatError::corrupt(WHAT, "it belongs to another family"));
    }
    let mut plain = Vec::new();
    let aad = directory_aad(&header);
    seal::open(keys.index(), header.suite, &aad, sealed, "pack directory", &mut plain)?;
    let (_, directory) = Directory::decode(&plain, header.kind)?;
    let stored: u64 = directory.blocks.iter().map(|b| b.stored_bytes as u64).sum();
    if HEADER_BYTES as u64 + stored > footer.directory_offset {
        return Err(FormatError::corrupt(WHAT, "its blocks reach into the directory"));
    }
    Ok((header, directory))
}

/// Compares a whole pack with its name and its directory with the bytes before it.
pub fn verify(bytes: &[u8], id: &PackId, keys: Option<&Keys>) -> FormatResult<()> {
    if *blake3::hash(bytes).as_bytes() != id.0 {
        return Err(FormatError::corrupt(WHAT, "its bytes do not match its name"));
    }
    let Some(keys) = keys else { return Ok(()) };
    let footer = Footer::from_tail(bytes, bytes.len() as u64)?;
    let range = directory_range(&footer)?;
    let sealed = &bytes[range.start as usize..range.end as usize];
    let header = decode_header(bytes)?;
    let mut plain = Vec::new();
    seal::open(keys.index(), header.suite, &directory_aad(&header), sealed, "pack directory", &mut plain)?;
    let (body_hash, _) = Directory::decode(&plain, header.kind)?;
    if *blake3::hash(&bytes[..range.start as usize]).as_bytes() != body_hash {
        return Err(FormatError::corrupt(WHAT, "its directory belongs to another pack"));
    }
    Ok(())
}

/// Repairs a pack in place by its parity, parity and footers included; afterwards its bytes match its name.
/// `Ok(false)` when nothing was wrong. Without parity only lost footers come back. What cannot be repaired is
/// left as it was.
pub fn repair(bytes: &mut [u8], id: &PackId) -> FormatResult<bool> {
    repair::pack(bytes, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::owner(FamilyId([1; 16]), Key::new([2; 32]))
    }

    fn sample(kind: BlobKind, parity: Protection, blocks: &[Vec<u8>]) -> (Vec<u8>, PackEnd) {
        let header = PackHeader {
            suite: Suite::Aes256Gcm,
            kind,
            class: 0,
            family: FamilyId([1; 16]),
            session: SnapshotId([5; 16]),
        };
        let (mut builder, head) = PackBuilder::start(header, parity);
        let mut bytes = head.to_vec();
        for (i, block) in blocks.iter().enumerate() {
            assert_eq!(
                builder.push(block, Suite::Aes256Gcm, 9, &[BlobId([i as u8; 24])]) as usize,
                bytes.len()
            );
            bytes.extend_from_slice(block);
        }
        let end = builder.finish(&keys(), &[3; 32]);
        bytes.extend_from_slice(&end.tail);
        assert_eq!(bytes.len() as u64, end.pack_bytes);
        (bytes, end)
    }

    fn read(bytes: &[u8]) -> FormatResult<(PackHeader, Directory)> {
        let footer = Footer::from_tail(bytes, bytes.len() as u64)?;
        let range = directory_range(&footer)?;
        let sealed = bytes
            .get(range.start as usize..range.end as usize)
            .ok_or(FormatError::corrupt(WHAT, "it ends too early"))?;
        open_directory(bytes, sealed, &footer, &keys())
    }

    proptest! {
        #[test]
        fn packs_read_without_an_index(
            blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..20), percent in 0u8..21,
        ) {
            let kind = if percent == 20 { BlobKind::Tree } else { BlobKind::Data };
            let protection = if percent == 20 { Protection::Small } else { Protection::of_data(percent) };
            let (bytes, end) = sample(kind, protection, &blocks);
            verify(&bytes, &end.id, Some(&keys())).unwrap();
            let (header, directory) = read(&bytes).unwrap();
            prop_assert_eq!(header.kind, kind);
            prop_assert_eq!(&directory, &end.directory);
            let mut at = HEADER_BYTES;
            for (row, block) in directory.blocks.iter().zip(&blocks) {
                let stored = &bytes[at..at + row.stored_bytes as usize];
                prop_assert_eq!(stored, &block[..]);
                prop_assert_eq!(row.check, block_check(stored));
                at += stored.len();
            }
        }
    }

    #[test]
    fn flips_and_cuts_of_a_pack_are_seen_and_parity_mends_them() {
        let (good, end) = sample(BlobKind::Tree, Protection::Small, &[vec![1; 3000], vec![2; 500]]);
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(verify(&bad, &end.id, None).is_err());
            assert_eq!(repair(&mut bad, &end.id), Ok(true), "at {at}");
            assert!(bad == good);
            assert!(verify(&good[..at], &end.id, None).is_err());
        }
        assert_eq!(repair(&mut good.clone(), &end.id), Ok(false));
        assert!(repair(&mut good.clone(), &PackId([0; 32])).is_err());
    }

    #[test]
    fn lost_footers_come_back_with_and_without_parity() {
        for protection in
            [Protection::None, Protection::Small, Protection::Percent(6), Protection::Percent(20)]
        {
            let blocks: Vec<_> = (0..300u32).map(|n| n.to_le_bytes().repeat(20)).collect();
            let kind = if protection == Protection::Small { BlobKind::Tree } else { BlobKind::Data };
            let (good, end) = sample(kind, protection, &blocks);
            let mut bad = good.clone();
            let footers = bad.len() - Footer::TAIL_BYTES;
            bad[footers..].fill(0);
            assert_eq!(repair(&mut bad, &end.id), Ok(true));
            assert!(bad == good);
        }
    }

    /// A pack of about so many bytes, with this protection.
    fn protected(bytes: usize, percent: u8) -> (Vec<u8>, PackEnd) {
        let mut block = vec![0; bytes.min(1 << 20)];
        blake3::Hasher::new().finalize_xof().fill(&mut block);
        let blocks: Vec<_> = (0..bytes.div_ceil(1 << 20)).map(|_| block.clone()).collect();
        sample(BlobKind::Data, Protection::Percent(percent), &blocks)
    }

    fn survives_a_burst(good: &[u8], end: &PackEnd, percent: u8, at: usize) {
        let burst = good.len() * percent as usize / 100;
        let mut bad = good.to_vec();
        for byte in &mut bad[at..(at + burst).min(good.len())] {
            *byte = !*byte;
        }
        assert_eq!(repair(&mut bad, &end.id), Ok(true), "{percent} % of {} at {at}", good.len());
        assert!(bad == good);
    }

    #[test]
    fn small_packs_survive_damage_of_their_rate_at_every_position() {
        for (bytes, percent) in [(700, 6), (9000, 6), (23_000, 3), (14_000, 20)] {
            let (good, end) = protected(bytes, percent);
            let step = if cfg!(debug_assertions) { 13 } else { 1 };
            for at in (0..good.len()).step_by(step) {
                survives_a_burst(&good, &end, percent, at);
            }
        }
    }

    #[test]
    fn packs_of_usual_length_survive_damage_of_their_rate() {
        for (mebibytes, percent) in [(1, 6), (3, 10), (5, 6)] {
            let (good, end) = protected((mebibytes << 20) + 12_345, percent);
            let covered = Footer::from_tail(&good, good.len() as u64).unwrap().covered_bytes as usize;
            // Where data end and parity begins is where groups are hit in another order.
            let edges = (0..=12).map(|n| covered - (good.len() * percent as usize / 100) * n / 12);
            for at in edges.chain([0, 1, good.len() / 3, good.len() - 161]) {
                survives_a_burst(&good, &end, percent, at);
            }
        }
    }

    #[test]
    fn a_directory_cannot_be_grafted_onto_another_pack() {
        let (a, _) = sample(BlobKind::Data, Protection::None, &[vec![1; 3000]]);
        let (b, _) = sample(BlobKind::Data, Protection::None, &[vec![2; 3000]]);
        let fa = Footer::from_tail(&a, a.len() as u64).unwrap();
        let mut grafted = b[..fa.directory_offset as usize].to_vec();
        grafted.extend_from_slice(&a[fa.directory_offset as usize..fa.covered_bytes as usize]);
        envelope::close(&mut grafted, fa.directory_offset, Protection::None);
        let id = PackId(*blake3::hash(&grafted).as_bytes());
        assert!(verify(&grafted, &id, None).is_ok(), "a hostile store can make any name right");
        assert!(verify(&grafted, &id, Some(&keys())).is_err());
    }

    #[test]
    fn padding_wastes_little_and_hides_lengths() {
        for len in [64u64, 1000, 5000, 123_456, 7 << 20, (8 << 20) + 1, 16 << 20] {
            let padded = padded_len(len);
            assert!(padded >= len && (padded - len) as f64 <= 0.12 * len as f64, "{len} -> {padded}");
        }
        assert_eq!(padded_len((8 << 20) + 1), (8 << 20) + PAD_STEP_BYTES);
    }
}

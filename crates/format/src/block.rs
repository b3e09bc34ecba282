//! Blocks: blobs compressed and sealed together, movable as ciphertext.
//!
//! Raw block: `varint n | n x varint length | bodies`. That is compressed ([`crate::codec`]: codec and raw
//! length come first) and sealed ([`crate::seal`]). The context binds family, kind and cipher, not the
//! pack: a block may move between packs, and between repositories of one family, without being opened.
//! What a block holds is proven by its ids: a wrong plaintext cannot have the right id.

use crate::codec::{Compressor, Decompressor};
use crate::error::FormatResult;
use crate::id::{BlobKind, FamilyId};
use crate::keys::Keys;
use crate::limits::{BLOCK_BLOBS_MAX, BLOCK_LENGTHS_BYTES_MAX, BLOCK_RAW_BYTES_MAX};
use crate::seal::{self, SALT_BYTES, Suite};
use crate::wire::{Reader, Write};
use std::ops::Range;

const WHAT: &str = "block";

/// Blobs on their way into one block.
#[derive(Clone, Debug, Default)]
pub struct RawBlock {
    lens: Vec<u32>,
    bodies: Vec<u8>,
}

impl RawBlock {
    /// Appends a blob and returns its rank.
    pub fn push(&mut self, blob: &[u8]) -> u16 {
        assert!(self.lens.len() < BLOCK_BLOBS_MAX, "the writer closes a block before it is full");
        assert!(self.bodies.len() + blob.len() <= BLOCK_RAW_BYTES_MAX, "blobs fit the largest block");
        self.lens.push(blob.len() as u32);
        self.bodies.extend_from_slice(blob);
        (self.lens.len() - 1) as u16
    }

    /// Bytes of all blobs.
    pub fn body_bytes(&self) -> usize {
        self.bodies.len()
    }

    /// Number of blobs.
    pub fn len(&self) -> usize {
        self.lens.len()
    }

    /// Whether no blob was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// The blobs in order.
    pub fn blobs(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        self.lens.iter().map(move |len| {
            let start = at;
            at += *len as usize;
            &self.bodies[start..at]
        })
    }

    /// Forgets all blobs but keeps the memory.
    pub fn clear(&mut self) {
        self.lens.clear();
        self.bodies.clear();
    }

    /// The bytes that get compressed.
    fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.reserve(self.bodies.len() + 3 * self.lens.len() + 4);
        out.put_varint(self.lens.len() as u64);
        for len in &self.lens {
            out.put_varint(*len as u64);
        }
        out.extend_from_slice(&self.bodies);
    }
}

/// A sealed block as it lies in a pack.
#[derive(Clone, Debug)]
pub struct SealedBlock {
    /// Salt, ciphertext, tag.
    pub bytes: Vec<u8>,
    /// The cipher.
    pub suite: Suite,
}

/// Seals and opens blocks; one per thread (it owns buffers).
pub struct BlockCoder {
    compressor: Compressor,
    decompressor: Decompressor,
    scratch: Vec<u8>,
    /// Memory to compress in, and of the next block that is opened: never both at a time.
    spare: Vec<u8>,
}

/// Context of a sealed block.
fn block_aad(family: &FamilyId, kind: BlobKind, suite: Suite) -> [u8; 22] {
    let mut aad = [0; 22];
    aad[..4].copy_from_slice(b"LBB1");
    aad[4..20].copy_from_slice(&family.0);
    aad[20] = kind as u8;
    aad[21] = suite as u8;
    aad
}

impl BlockCoder {
    /// A coder that compresses with `compressor`.
    pub fn new(compressor: Compressor) -> Self {
        BlockCoder {
            compressor,
            decompressor: Decompressor::default(),
            scratch: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Compresses and seals a block.
    pub fn seal(
        &mut self,
        keys: &Keys,
        kind: BlobKind,
        suite: Suite,
        entropy: &[u8; 32],
        raw: &RawBlock,
    ) -> FormatResult<SealedBlock> {
        raw.encode(&mut self.scratch);
        let mut bytes = vec![0; SALT_BYTES];
        self.compressor.compress_in(&self.scratch, &mut self.spare, &mut bytes);
        let aad = block_aad(&keys.family(), kind, suite);
        seal::seal_in_place(keys.block_key(kind)?, keys.salt(), suite, entropy, &aad, &mut bytes, 0);
        Ok(SealedBlock { bytes, suite })
    }

    /// Opens and decompresses a block.
    pub fn open(
        &mut self,
        keys: &Keys,
        kind: BlobKind,
        suite: Suite,
        sealed: &[u8],
    ) -> FormatResult<OpenBlock> {
        let aad = block_aad(&keys.family(), kind, suite);
        seal::open(keys.block_key(kind)?, suite, &aad, sealed, WHAT, &mut self.scratch)?;
        let mut raw = std::mem::take(&mut self.spare);
        let max = BLOCK_RAW_BYTES_MAX + BLOCK_LENGTHS_BYTES_MAX;
        self.decompressor.decompress(&self.scratch, max, WHAT, &mut raw)?;
        OpenBlock::parse(raw)
    }

    /// Takes back a block that is not needed any more: the next one is opened in its memory.
    pub fn recycle(&mut self, block: OpenBlock) {
        self.spare = block.raw;
    }
}

/// A decoded block: its blobs by rank. The blobs are not yet compared with their ids.
#[derive(Clone, Debug)]
pub struct OpenBlock {
    raw: Vec<u8>,
    ends: Vec<u32>,
}

impl OpenBlock {
    fn parse(raw: Vec<u8>) -> FormatResult<Self> {
        let mut r = Reader::new(&raw, WHAT);
        let n = r.count(BLOCK_BLOBS_MAX, 1)?;
        let mut lens = Vec::with_capacity(n);
        let mut total = 0u64;
        for _ in 0..n {
            let len = r.varint_max(BLOCK_RAW_BYTES_MAX as u64)?;
            total += len;
            lens.push(len as u32);
        }
        if total != r.remaining() as u64 {
            return Err(r.error("its lengths do not add up"));
        }
        if total > BLOCK_RAW_BYTES_MAX as u64 {
            return Err(r.error("it is too long"));
        }
        let mut end = (raw.len() - r.remaining()) as u32;
        let mut ends = Vec::with_capacity(n + 1);
        ends.push(end);
        for len in lens {
            end += len;
            ends.push(end);
        }
        Ok(OpenBlock { raw, ends })
    }

    /// Number of blobs.
    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// Whether it holds no blob.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.raw.capacity() + 4 * self.ends.capacity()
    }

    /// The blob of this rank.
    pub fn blob(&self, rank: usize) -> Option<&[u8]> {
        let range: Range<usize> = *self.ends.get(rank)? as usize..*self.ends.get(rank + 1)? as usize;
        Some(&self.raw[range])
    }

    /// All blobs in order.
    pub fn blobs(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.windows(2).map(|w| &self.raw[w[0] as usize..w[1] as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Level;
    use crate::keys::Key;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::owner(FamilyId([1; 16]), Key::new([2; 32]))
    }

    proptest! {
        #[test]
        fn blocks_round_trip_and_flips_are_seen(
            blobs in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..300), 0..40),
            at: proptest::sample::Index,
        ) {
            let keys = keys();
            let mut coder = BlockCoder::new(Compressor::new(Level(3)));
            let mut raw = RawBlock::default();
            for blob in &blobs {
                raw.push(blob);
            }
            let mut sealed = coder.seal(&keys, BlobKind::Data, Suite::Aes256Gcm, &[0; 32], &raw).unwrap();
            let open = coder.open(&keys, BlobKind::Data, sealed.suite, &sealed.bytes).unwrap();
            prop_assert_eq!(open.blobs().collect::<Vec<_>>(), blobs.iter().map(|b| &b[..]).collect::<Vec<_>>());
            prop_assert_eq!(open.blob(blobs.len()), None);
            prop_assert!(coder.open(&keys, BlobKind::Tree, sealed.suite, &sealed.bytes).is_err());
            let i = at.index(sealed.bytes.len());
            sealed.bytes[i] ^= 1;
            prop_assert!(coder.open(&keys, BlobKind::Data, sealed.suite, &sealed.bytes).is_err());
        }

        #[test]
        fn hostile_raw_blocks_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(open) = OpenBlock::parse(bytes) {
                prop_assert_eq!(open.blobs().count(), open.len());
            }
        }
    }

    #[test]
    fn the_largest_incompressible_block_is_within_the_limits() {
        let mut raw = RawBlock::default();
        let mut noise = vec![0; BLOCK_RAW_BYTES_MAX];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        raw.push(&noise);
        let mut coder = BlockCoder::new(Compressor::new(Level(1)));
        let sealed = coder.seal(&keys(), BlobKind::Data, Suite::Aes256Gcm, &[0; 32], &raw).unwrap();
        assert!(sealed.bytes.len() <= crate::limits::BLOCK_STORED_BYTES_MAX);
        let open = coder.open(&keys(), BlobKind::Data, Suite::Aes256Gcm, &sealed.bytes).unwrap();
        assert!(open.blob(0) == Some(&noise[..]));
    }
}

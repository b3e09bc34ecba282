//! Cutting long files into chunks.
//!
//! Content-defined: a gear hash `h = (h << 1) + G[byte]` over the last 63 bytes; a chunk ends where the
//! high bits of `h` are zero. Normalised as in FastCDC (Xia et al., 2016/2020): more bits must be zero
//! before the average length and fewer after it, which narrows the spread of lengths. The table `G` comes
//! from the family's chunking key. Keyed gear is *not* a proof against an observer of chunk lengths: the
//! defence is that lengths are not visible at rest (blocks, padding, sealed directories).
//!
//! Fixed: aligned chunks for disk images and database files, which are written in place.

use crate::keys::Key;

/// Lengths of content-defined chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSizes {
    /// No chunk but the last is shorter.
    pub min_bytes: usize,
    /// The length where the condition changes; a power of two.
    pub average_bytes: usize,
    /// No chunk is longer.
    pub max_bytes: usize,
}

impl ChunkSizes {
    /// 256 KiB / 1 MiB / 4 MiB.
    pub const NORMAL: ChunkSizes =
        ChunkSizes { min_bytes: 256 << 10, average_bytes: 1 << 20, max_bytes: 4 << 20 };

    /// Whether a chunker can work with these: powers of two, in order, within the format's limits.
    pub fn is_valid(&self) -> bool {
        let all = [self.min_bytes, self.average_bytes, self.max_bytes];
        all.iter().all(|n| n.is_power_of_two())
            && self.min_bytes >= 64
            && self.min_bytes < self.average_bytes
            && self.average_bytes < self.max_bytes
            && self.max_bytes <= crate::limits::CHUNK_BYTES_MAX
    }
}

/// Bits more before, and fewer after, the average length ("normalisation level 2").
const NORMALISATION_BITS: u32 = 2;

/// Finds the ends of content-defined chunks.
#[derive(Clone)]
pub struct Chunker {
    gear: Box<[u64; 256]>,
    /// `gear << 1`, so that two bytes can be taken in a step.
    gear_shifted: Box<[u64; 256]>,
    sizes: ChunkSizes,
    mask_strict: u64,
    mask_loose: u64,
}

impl Chunker {
    /// A chunker with the table of this key.
    pub fn new(key: &Key, sizes: ChunkSizes) -> Self {
        assert!(sizes.is_valid(), "sizes are checked where they are read");
        let mut table = [0u8; 2048];
        blake3::Hasher::new_keyed(key.bytes()).update(b"gear").finalize_xof().fill(&mut table);
        let mut gear = Box::new([0u64; 256]);
        for (entry, bytes) in gear.iter_mut().zip(table.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        let gear_shifted = Box::new(gear.map(|g| g << 1));
        let bits = sizes.average_bytes.trailing_zeros();
        Chunker {
            gear,
            gear_shifted,
            sizes,
            mask_strict: high_mask(bits + NORMALISATION_BITS),
            mask_loose: high_mask(bits - NORMALISATION_BITS),
        }
    }

    /// A chunker with the same table that cuts to other sizes.
    pub fn resized(&self, sizes: ChunkSizes) -> Self {
        assert!(sizes.is_valid(), "sizes are checked where they are read");
        let bits = sizes.average_bytes.trailing_zeros();
        Chunker {
            sizes,
            mask_strict: high_mask(bits + NORMALISATION_BITS),
            mask_loose: high_mask(bits - NORMALISATION_BITS),
            ..self.clone()
        }
    }

    /// The sizes it cuts to.
    pub fn sizes(&self) -> ChunkSizes {
        self.sizes
    }

    /// The length of the first chunk of `data`. `data` must hold at least `max_bytes`, or be the rest of
    /// the file.
    pub fn cut(&self, data: &[u8]) -> usize {
        let len = data.len().min(self.sizes.max_bytes);
        if len <= self.sizes.min_bytes {
            return len;
        }
        let middle = len.min(self.sizes.average_bytes);
        let (min, mut hash) = (self.sizes.min_bytes, 0);
        self.scan(&data[min..middle], self.mask_strict, &mut hash)
            .map(|n| min + n)
            .or_else(|| self.scan(&data[middle..len], self.mask_loose, &mut hash).map(|n| middle + n))
            .unwrap_or(len)
    }

    /// The length up to the first cut in `data`. The two steps per round equal two plain gear steps.
    #[inline]
    fn scan(&self, data: &[u8], mask: u64, hash: &mut u64) -> Option<usize> {
        let mut h = *hash;
        let (pairs, tail) = data.as_chunks::<2>();
        for (i, [a, b]) in pairs.iter().enumerate() {
            h = (h << 2).wrapping_add(self.gear_shifted[*a as usize]);
            if h & (mask << 1) == 0 {
                return Some(2 * i + 1);
            }
            h = h.wrapping_add(self.gear[*b as usize]);
            if h & mask == 0 {
                return Some(2 * i + 2);
            }
        }
        for byte in tail {
            h = (h << 1).wrapping_add(self.gear[*byte as usize]);
            if h & mask == 0 {
                return Some(data.len());
            }
        }
        *hash = h;
        None
    }
}

/// `bits` ones below the topmost bit: the topmost is left out because the two-byte step shifts it away.
fn high_mask(bits: u32) -> u64 {
    ((1u64 << bits) - 1) << (63 - bits)
}

/// Length of fixed chunks: a page-sized change of an image costs one of these before compression.
pub const FIXED_CHUNK_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: ChunkSizes = ChunkSizes { min_bytes: 64, average_bytes: 256, max_bytes: 1024 };

    /// The definition in docs/format.md, a byte at a time.
    fn plain_cut(c: &Chunker, data: &[u8]) -> usize {
        let len = data.len().min(c.sizes.max_bytes);
        let mut h = 0u64;
        for (i, byte) in data.iter().enumerate().take(len).skip(c.sizes.min_bytes) {
            h = (h << 1).wrapping_add(c.gear[*byte as usize]);
            let mask = if i < c.sizes.average_bytes { c.mask_strict } else { c.mask_loose };
            if h & mask == 0 {
                return i + 1;
            }
        }
        len
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
        out
    }

    proptest! {
        #[test]
        fn two_steps_at_once_equal_the_definition(seed: u64, len in 0usize..5000) {
            let c = Chunker::new(&Key::new([7; 32]), SMALL);
            let data = noise(seed, len);
            prop_assert_eq!(c.cut(&data), plain_cut(&c, &data));
        }

        #[test]
        fn chunks_tile_the_data_and_an_insertion_moves_few(seed: u64, at in 0usize..100_000) {
            let c = Chunker::new(&Key::new([7; 32]), SMALL);
            let data = noise(seed, 100_000);
            let mut edited = data.clone();
            edited.insert(at, 0x55);
            let (a, b) = (chunks(&c, &data), chunks(&c, &edited));
            prop_assert!(a.concat() == data);
            prop_assert!(b.concat() == edited);
            let known: std::collections::HashSet<_> = a.iter().collect();
            let fresh = b.iter().filter(|chunk| !known.contains(chunk)).count();
            prop_assert!(fresh <= 24, "{} of {} chunks are new", fresh, b.len());
        }
    }

    fn chunks<'a>(c: &Chunker, mut data: &'a [u8]) -> Vec<&'a [u8]> {
        let mut out = Vec::new();
        while !data.is_empty() {
            let (chunk, rest) = data.split_at(c.cut(data));
            out.push(chunk);
            data = rest;
        }
        out
    }

    #[test]
    fn lengths_spread_like_the_reference_chunker() {
        let data = noise(1, 64 << 20);
        let c = Chunker::new(&Key::new([7; 32]), ChunkSizes::NORMAL);
        let ours = chunks(&c, &data).len();
        let theirs = fastcdc::v2020::FastCDC::new(&data, 256 << 10, 1 << 20, 4 << 20).count();
        assert!(ours.abs_diff(theirs) * 4 <= theirs, "ours {ours}, reference {theirs}");
    }

    #[test]
    fn a_resized_chunker_cuts_like_one_made_with_these_sizes() {
        let key = Key::new([7; 32]);
        let data = noise(3, 300_000);
        let (made, resized) =
            (Chunker::new(&key, SMALL), Chunker::new(&key, ChunkSizes::NORMAL).resized(SMALL));
        assert!(chunks(&made, &data) == chunks(&resized, &data));
    }

    #[test]
    fn another_key_cuts_elsewhere() {
        let data = noise(2, 50_000);
        let cut = |k| chunks(&Chunker::new(&Key::new([k; 32]), SMALL), &data).len();
        let first = |k| Chunker::new(&Key::new([k; 32]), SMALL).cut(&data);
        assert!(cut(1) > 50 && (first(1) != first(2) || cut(1) != cut(2)));
    }
}

//! Compression with a declared length: `codec u8 | raw length u32 | payload`.
//!
//! The raw length is authenticated by whatever seals the result, is checked against a limit before
//! anything is allocated, and the decoder's output buffer is exactly that long: a bomb cannot inflate.

use crate::error::{FormatError, FormatResult};
use crate::seal::TAG_BYTES;
use crate::wire::Reader;

/// Stored as it is.
const CODEC_RAW: u8 = 0;
/// One zstd frame.
const CODEC_ZSTD: u8 = 1;
/// `codec u8 | raw length u32`.
pub const PREFIX_BYTES: usize = 5;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub i32);

/// A reusable compressor; one per thread.
pub struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    level: Level,
}

impl Compressor {
    /// A compressor of this level.
    pub fn new(level: Level) -> Self {
        let mut context = zstd::bulk::Compressor::new(level.0).expect("zstd allocates its context");
        for parameter in tuning(level) {
            context.set_parameter(parameter).expect("a valid zstd parameter");
        }
        Compressor { context, level }
    }

    /// The level it was made with.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Appends prefix and payload of `raw` to `out`; stores it raw where compression gains under 1/64.
    pub fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        self.compress_in(raw, &mut Vec::new(), out);
    }

    /// The same with memory to work in, whatever is in it: it grows to what the longest input needs, and clearing new
    /// memory for each block took a twentieth of a backup.
    pub fn compress_in(&mut self, raw: &[u8], work: &mut Vec<u8>, out: &mut Vec<u8>) {
        let raw_len = u32::try_from(raw.len()).expect("blocks and records are shorter than 4 GiB");
        let room = zstd::zstd_safe::compress_bound(raw.len());
        if work.len() < room {
            work.resize(room, 0);
        }
        let packed = self.context.compress_to_buffer(raw, &mut work[..room]).unwrap_or(usize::MAX);
        let (codec, payload) = match packed < raw.len() - raw.len() / 64 {
            true => (CODEC_ZSTD, &work[..packed]),
            false => (CODEC_RAW, raw),
        };
        // As long as it will be: the tag of whoever seals it comes behind.
        out.reserve_exact(PREFIX_BYTES + payload.len() + TAG_BYTES);
        out.push(codec);
        out.extend_from_slice(&raw_len.to_le_bytes());
        out.extend_from_slice(payload);
    }
}

/// Parameters beyond the level's defaults.
fn tuning(_level: Level) -> Vec<zstd::zstd_safe::CParameter> {
    use zstd::zstd_safe::CParameter::*;
    // The lengths are authenticated by the seal and the contents by their ids, so zstd's own
    // checksum and dictionary id would be dead weight.
    vec![ChecksumFlag(false), DictIdFlag(false), ContentSizeFlag(true)]
}

/// A reusable decompressor; one per thread.
pub struct Decompressor {
    context: zstd::bulk::Decompressor<'static>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Decompressor { context: zstd::bulk::Decompressor::new().expect("zstd allocates its context") }
    }
}

impl Decompressor {
    /// Decodes what [`Compressor::compress`] wrote into `out`, in place of what it held; at most `max` bytes. With an error
    /// what it holds is of no use.
    pub fn decompress(
        &mut self,
        bytes: &[u8],
        max: usize,
        what: &'static str,
        out: &mut Vec<u8>,
    ) -> FormatResult<()> {
        let mut r = Reader::new(bytes, what);
        let codec = r.u8()?;
        let raw_len = r.u32()? as usize;
        if raw_len > max {
            return Err(r.error("its declared length exceeds the limit"));
        }
        let payload = r.rest();
        match codec {
            CODEC_RAW if payload.len() == raw_len => {
                out.clear();
                out.extend_from_slice(payload);
            }
            CODEC_RAW => return Err(r.error("its length is not the declared one")),
            CODEC_ZSTD => {
                // What was there is overwritten, so it is not cleared first.
                match out.capacity() < raw_len {
                    true => *out = vec![0; raw_len],
                    false => out.resize(raw_len, 0),
                }
                let n = self.context.decompress_to_buffer(payload, &mut out[..]);
                if n.ok() != Some(raw_len) {
                    out.clear();
                    return Err(r.error("decompression failed"));
                }
            }
            _ => return Err(FormatError::TooNew { what, why: "unknown compression" }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn compression_round_trips(raw in proptest::collection::vec(any::<u8>(), 0..5000), repeat in 1usize..20) {
            let raw = raw.repeat(repeat);
            let mut packed = vec![7u8];
            Compressor::new(Level(3)).compress(&raw, &mut packed);
            prop_assert!(packed.len() <= 1 + PREFIX_BYTES + raw.len());
            let mut back = Vec::new();
            Decompressor::default().decompress(&packed[1..], raw.len(), "test", &mut back).unwrap();
            prop_assert_eq!(back, raw);
        }

        #[test]
        fn hostile_bytes_are_an_error_or_short(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut back = Vec::new();
            if Decompressor::default().decompress(&bytes, 1000, "test", &mut back).is_ok() {
                prop_assert!(back.len() <= 1000);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_inflates() {
        let mut packed = Vec::new();
        Compressor::new(Level(3)).compress(&vec![0u8; 1 << 20], &mut packed);
        assert!(packed.len() < 1000);
        let mut out = Vec::new();
        assert!(Decompressor::default().decompress(&packed, 1 << 19, "test", &mut out).is_err());
        packed[1..5].copy_from_slice(&(1000u32).to_le_bytes());
        assert!(Decompressor::default().decompress(&packed, 1 << 19, "test", &mut out).is_err());
        assert!(out.capacity() <= 1 << 19);
    }
}

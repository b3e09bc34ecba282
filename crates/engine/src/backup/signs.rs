//! What the contents of new and changed files look like, from a small sample of each: random or not.
//!
//! What an encryptor leaves behind looks random and has lost the beginning that told what it was. Compressed
//! files look random, too, but say so in their first bytes. The sample costs a few microseconds where the file
//! is read anyway.

use std::os::unix::fs::FileExt;

/// Bytes looked at, from the beginning of a file.
pub(super) const SAMPLE_BYTES: usize = 4096;
/// Shorter files say too little: even of random bytes so few show no 7.2 bits each.
const JUDGED_BYTES_MIN: usize = 512;

/// Files whose contents are new, by what they look like. Only those that were long enough to tell count as
/// judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Files whose contents changed.
    pub changed: u64,
    /// Of these, long enough to tell.
    pub changed_judged: u64,
    /// Of these, random without saying what they are.
    pub changed_random: u64,
    /// New files that were long enough to tell.
    pub new_judged: u64,
    /// Of these, random without saying what they are.
    pub new_random: u64,
}

impl Signs {
    pub(super) fn count_new(&mut self, random: Option<bool>) {
        self.new_judged += u64::from(random.is_some());
        self.new_random += u64::from(random == Some(true));
    }

    pub(super) fn count_changed(&mut self, random: Option<bool>) {
        self.changed += 1;
        self.changed_judged += u64::from(random.is_some());
        self.changed_random += u64::from(random == Some(true));
    }
}

/// Whether a file that begins so looks encrypted; `None` where it is too short to tell.
pub(super) fn looks_random(beginning: &[u8]) -> Option<bool> {
    let sample = &beginning[..beginning.len().min(SAMPLE_BYTES)];
    if sample.len() < JUDGED_BYTES_MIN {
        return None;
    }
    let wanted = random_bits(sample.len());
    Some(!says_what_it_is(sample) && most_bits_per_byte(sample) > wanted && bits_per_byte(sample) > wanted)
}

/// The same of a file that is not in memory.
pub(super) fn file_looks_random(file: &std::fs::File) -> Option<bool> {
    let mut sample = [0; SAMPLE_BYTES];
    let mut len = 0;
    while len < SAMPLE_BYTES {
        // What cannot be read is told when it is read in earnest.
        match file.read_at(&mut sample[len..], len as u64) {
            Ok(0) | Err(_) => break,
            Ok(n) => len += n,
        }
    }
    looks_random(&sample[..len])
}

/// What the entropy can be at most where only so many different bytes occur: text ends here, at a third of the work.
fn most_bits_per_byte(sample: &[u8]) -> f64 {
    let mut occurs = [0u8; 256];
    sample.iter().for_each(|byte| occurs[usize::from(*byte)] = 1);
    occurs.iter().map(|one| f64::from(*one)).sum::<f64>().log2()
}

/// Shannon's entropy of the bytes.
fn bits_per_byte(sample: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in sample {
        counts[usize::from(*byte)] += 1;
    }
    let total = sample.len() as f64;
    let of = |n: &u32| {
        let share = f64::from(*n) / total;
        if *n == 0 { 0.0 } else { -share * share.log2() }
    };
    counts.iter().map(of).sum()
}

/// What random bytes reach at least. The expected entropy of n random bytes is about 8 - 255 / (2 n ln 2)
/// (Miller's correction), for 4096 bytes 7.955 and for 512 bytes 7.64 (with the terms beyond it); below it a
/// margin of several standard deviations. Text, code and programs stay under 6.7.
fn random_bits(len: usize) -> f64 {
    match len {
        4096.. => 7.93,
        2048.. => 7.86,
        1024.. => 7.70,
        _ => 7.45,
    }
}

/// Beginnings of formats that are compressed, or random on purpose and say so.
fn says_what_it_is(sample: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 33] = [
        b"\xff\xd8\xff",
        b"\x89PNG",
        b"GIF8",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x1f\x8b",
        b"BZh",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!",
        b"\x04\x22\x4d\x18",
        b"%PDF",
        b"OggS",
        b"fLaC",
        b"ID3",
        b"\xff\xfb",
        b"\xff\xf3",
        b"\xff\xf1",
        b"RIFF",
        b"\x1a\x45\xdf\xa3",
        b"\x00\x00\x01\xba",
        b"MSCF",
        b"LUKS",
        b"-----BEGIN PGP",
        b"age-encryption.org/",
        b"Salted__",
        b"\x85\x01",
        b"\x85\x02",
        b"\x8c\x0d",
        b"\x03\xd9\xa2\x9a",
        b"wOF2",
        b"II*\0",
    ];
    BEGINNINGS.iter().any(|beginning| sample.starts_with(beginning))
        // MP4, HEIC and their kin name themselves after a length; tar after 257 bytes.
        || sample.get(4..8) == Some(b"ftyp")
        || sample.get(257..262) == Some(b"ustar")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize, seed: u64) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn random_bytes_of_every_length_are_told_and_text_is_not() {
        for len in [512, 700, 1024, 1500, 2048, 4095, 4096, 100_000] {
            let told = (0..200).filter(|seed| looks_random(&random(len, *seed)) == Some(true)).count();
            assert!(told >= 198, "{told} of 200 with {len} bytes");
        }
        let code = include_bytes!("signs.rs");
        assert_eq!(looks_random(code), Some(false));
        assert_eq!(looks_random(&random(511, 1)), None);
        use std::fmt::Write;
        let mut hex = String::new();
        random(4096, 9).iter().for_each(|b| write!(hex, "{b:02x}").unwrap());
        assert_eq!(looks_random(hex.as_bytes()), Some(false));
    }

    #[test]
    fn a_known_beginning_is_no_sign() {
        for beginning in
            [&b"\xff\xd8\xff"[..], b"PK\x03\x04", b"\0\0\0\x20ftypheic", b"age-encryption.org/v1"]
        {
            let mut file = beginning.to_vec();
            file.extend(random(4096, 3));
            assert_eq!(looks_random(&file), Some(false));
        }
    }
}

//! The one envelope of all small objects: header, plain part, sealed part, parity, two footers.
//!
//! ```text
//! 0      magic "LBOB" | version u8 | type u8 | suite u8 | 0 u8 | plain length u32 | sealed length u32
//! 16     scope id 16 (repository or family)
//! 32     plain part (authenticated, readable without keys)
//! ..     sealed part: salt 24 | ciphertext | tag 16      (absent when the sealed length is 0)
//! P      parity section over [0, P)
//! E-160  footer, twice
//! ```
//! The footers hold the BLAKE3 of `[0, P)`: anyone can scrub an object without keys, and a repair is
//! right exactly when the hash is.

use crate::codec::{Compressor, Decompressor};
use crate::error::{FormatError, FormatResult};
use crate::keys::Key;
use crate::limits::{FORMAT_VERSION, INDEX_BYTES_MAX, RECORD_BYTES_MAX};
use crate::parity::{self, Geometry, Protection};
use crate::repair;
use crate::seal::{self, SALT_BYTES, Suite};
use crate::wire::Reader;

const MAGIC: &[u8; 4] = b"LBOB";
const FOOTER_MAGIC: &[u8; 4] = b"LBFT";
const HEADER_BYTES: usize = 32;
/// One footer: magic 4, version 1, zero 3, covered u64, directory u64, shard u32, parity u32, hash 32,
/// check 16.
pub const FOOTER_BYTES: usize = 80;

/// What an object is. The number is authenticated, so one type cannot stand in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectType {
    /// Identity, features and parameters of a repository.
    Config = 1,
    /// A way to unlock.
    KeySlot = 2,
    /// A snapshot record.
    Snapshot = 3,
    /// A root that is not committed yet.
    Pending = 4,
    /// A sorted map from blobs to packs.
    Index = 5,
    /// A pack's directory (sealed alike, but inside the pack).
    PackDirectory = 6,
    /// A forgotten snapshot.
    Tomb = 7,
    /// Packs that will be deleted.
    Condemned = 8,
    /// Keeps snapshots from being forgotten.
    Hold = 9,
    /// Confirms a snapshot for retention.
    Trust = 10,
    /// Damage that could not be mended.
    DamageMark = 11,
    /// Stands where a snapshot record would: its session is over.
    Abort = 12,
    /// Snapshots that are being removed, or were.
    Removed = 13,
    /// What an administrator did, or a drill proved.
    LogRecord = 14,
    /// Paths that were erased from history.
    Erasure = 15,
}

impl ObjectType {
    /// The most its secret part may hold.
    fn secret_bytes_max(self) -> usize {
        match self {
            ObjectType::Index => INDEX_BYTES_MAX,
            _ => RECORD_BYTES_MAX,
        }
    }

    fn what(self) -> &'static str {
        match self {
            ObjectType::Config => "repository configuration",
            ObjectType::KeySlot => "key slot",
            ObjectType::Snapshot => "snapshot record",
            ObjectType::Pending => "pending record",
            ObjectType::Index => "index segment",
            ObjectType::PackDirectory => "pack directory",
            ObjectType::Tomb => "tomb",
            ObjectType::Condemned => "list of condemned packs",
            ObjectType::Hold => "hold",
            ObjectType::Trust => "trust record",
            ObjectType::DamageMark => "damage mark",
            ObjectType::Abort => "abort record",
            ObjectType::Removed => "list of removed snapshots",
            ObjectType::LogRecord => "log record",
            ObjectType::Erasure => "erasure",
        }
    }
}

/// The authenticated context of a sealed object.
pub(crate) fn object_aad(header: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(4 + header.len() + plain.len());
    aad.extend_from_slice(b"LBO1");
    aad.extend_from_slice(header);
    aad.extend_from_slice(plain);
    aad
}

/// How to seal an object.
pub struct Sealing<'a> {
    /// The key for this type of object.
    pub key: &'a Key,
    /// The family's salt key.
    pub salt_key: &'a Key,
    /// The cipher.
    pub suite: Suite,
    /// Fresh randomness.
    pub entropy: [u8; 32],
}

/// Encodes an object whose `secret` part is compressed and sealed.
pub fn encode_sealed(
    object: ObjectType,
    scope: &[u8; 16],
    plain: &[u8],
    secret: &[u8],
    sealing: &Sealing<'_>,
    compressor: &mut Compressor,
) -> Vec<u8> {
    assert!(secret.len() <= object.secret_bytes_max(), "readers would refuse so long an object");
    let mut body = vec![0u8; SALT_BYTES];
    compressor.compress(secret, &mut body);
    let sealed_len = body.len() + seal::TAG_BYTES;
    let header = header(object, sealing.suite as u8, scope, plain.len(), sealed_len);
    let aad = object_aad(&header, plain);
    seal::seal_in_place(sealing.key, sealing.salt_key, sealing.suite, &sealing.entropy, &aad, &mut body, 0);
    let mut out = Vec::with_capacity(HEADER_BYTES + plain.len() + body.len() + body.len() / 6 + 1024);
    out.extend_from_slice(&header);
    out.extend_from_slice(plain);
    out.extend_from_slice(&body);
    close(&mut out, 0, Protection::Small);
    out
}

/// Encodes an object that protects its secrets itself (key slots).
pub fn encode_plain(object: ObjectType, scope: &[u8; 16], plain: &[u8]) -> Vec<u8> {
    let mut out = header(object, 0, scope, plain.len(), 0).to_vec();
    out.extend_from_slice(plain);
    close(&mut out, 0, Protection::Small);
    out
}

fn header(
    object: ObjectType,
    suite: u8,
    scope: &[u8; 16],
    plain_len: usize,
    sealed_len: usize,
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&[FORMAT_VERSION, object as u8, suite, 0]);
    header[8..12].copy_from_slice(&u32::try_from(plain_len).expect("plain parts are small").to_le_bytes());
    header[12..16]
        .copy_from_slice(&u32::try_from(sealed_len).expect("objects stay below 4 GiB").to_le_bytes());
    header[16..].copy_from_slice(scope);
    header
}

/// Appends parity (if wanted) and both footers to the covered bytes in `out`.
pub(crate) fn close(out: &mut Vec<u8>, directory_offset: u64, protection: Protection) {
    let covered = out.len();
    let hash = *blake3::hash(out).as_bytes();
    let (mut shard_bytes, mut parity_bytes) = (0, 0);
    if let Some(geometry) = Geometry::of(covered, protection) {
        let section = parity::compute(out, &geometry);
        (shard_bytes, parity_bytes) = (geometry.shard_bytes(), section.len());
        out.extend_from_slice(&section);
    }
    let footer = Footer {
        covered_bytes: covered as u64,
        directory_offset,
        shard_bytes: shard_bytes as u32,
        parity_bytes: parity_bytes as u32,
        hash,
    };
    out.extend_from_slice(&footer.encode());
    out.extend_from_slice(&footer.encode());
}

/// The end of every object and pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Bytes before the parity section.
    pub covered_bytes: u64,
    /// Where a pack's directory begins; 0 in other objects.
    pub directory_offset: u64,
    /// Length of a parity shard; 0 without parity.
    pub shard_bytes: u32,
    /// Length of the parity section.
    pub parity_bytes: u32,
    /// BLAKE3 of the covered bytes.
    pub hash: [u8; 32],
}

impl Footer {
    /// The bytes of one footer.
    pub fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[..4].copy_from_slice(FOOTER_MAGIC);
        out[4] = FORMAT_VERSION;
        out[8..16].copy_from_slice(&self.covered_bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.directory_offset.to_le_bytes());
        out[24..28].copy_from_slice(&self.shard_bytes.to_le_bytes());
        out[28..32].copy_from_slice(&self.parity_bytes.to_le_bytes());
        out[32..64].copy_from_slice(&self.hash);
        let check = blake3::hash(&out[..64]);
        out[64..].copy_from_slice(&check.as_bytes()[..16]);
        out
    }

    fn decode(bytes: &[u8]) -> FormatResult<Self> {
        const WHAT: &str = "footer";
        let mut r = Reader::new(bytes, WHAT);
        if r.array::<4>()? != *FOOTER_MAGIC || bytes.len() != FOOTER_BYTES {
            return Err(r.error("it does not begin as one"));
        }
        if blake3::hash(&bytes[..64]).as_bytes()[..16] != bytes[64..] {
            return Err(r.error("its checksum does not match"));
        }
        if r.u8()? != FORMAT_VERSION || r.array::<3>()? != [0; 3] {
            return Err(FormatError::TooNew { what: WHAT, why: "unknown version" });
        }
        Ok(Footer {
            covered_bytes: r.u64()?,
            directory_offset: r.u64()?,
            shard_bytes: r.u32()?,
            parity_bytes: r.u32()?,
            hash: r.array()?,
        })
    }

    /// Reads the footer from the last [`Footer::TAIL_BYTES`] of an object of `object_bytes`; either copy
    /// will do. An object cut short or extended does not match its footer's lengths.
    pub fn from_tail(tail: &[u8], object_bytes: u64) -> FormatResult<Self> {
        if tail.len() < Self::TAIL_BYTES {
            return Err(FormatError::corrupt("footer", "the object is too short"));
        }
        let (first, second) = tail[tail.len() - Self::TAIL_BYTES..].split_at(FOOTER_BYTES);
        let footer = match (Self::decode(second), Self::decode(first)) {
            (Ok(footer), _) | (_, Ok(footer)) => footer,
            (Err(e @ FormatError::TooNew { .. }), _) | (_, Err(e)) => return Err(e),
        };
        let claimed = footer.covered_bytes.checked_add(footer.parity_bytes as u64 + Self::TAIL_BYTES as u64);
        if claimed != Some(object_bytes) {
            return Err(FormatError::corrupt("footer", "the object's length is another one"));
        }
        Ok(footer)
    }

    /// Both footers.
    pub const TAIL_BYTES: usize = 2 * FOOTER_BYTES;
}

/// Whether an object is whole. Needs no key.
pub fn verify(bytes: &[u8]) -> FormatResult<Footer> {
    let footer = Footer::from_tail(bytes, bytes.len() as u64)?;
    let covered = &bytes[..footer.covered_bytes as usize];
    if *blake3::hash(covered).as_bytes() != footer.hash {
        return Err(FormatError::corrupt("object", "its bytes do not match its hash"));
    }
    Ok(footer)
}

/// Repairs a small object in place by its parity, parity and footers included; afterwards it has the bytes
/// it was written with. `Ok(false)` when nothing was wrong. What cannot be repaired is left as it was.
pub fn repair(bytes: &mut [u8]) -> FormatResult<bool> {
    repair::object(bytes)
}

/// The covered length a header speaks of.
pub(crate) fn covered_bytes(header: &[u8]) -> FormatResult<u64> {
    let mut r = Reader::new(header, "object");
    if r.array::<4>()? != *MAGIC {
        return Err(r.error("it does not begin as one"));
    }
    r.take(4)?;
    Ok(HEADER_BYTES as u64 + r.u32()? as u64 + r.u32()? as u64)
}

/// An object whose envelope was read and whose hash was right.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    header: [u8; HEADER_BYTES],
    /// The plain part; authentic only once [`Opened::unseal`] succeeded.
    pub plain: &'a [u8],
    sealed: &'a [u8],
    what: &'static str,
}

/// Reads the envelope of an object that must be of type `object` and of `scope` (when given).
pub fn decode<'a>(bytes: &'a [u8], object: ObjectType, scope: Option<&[u8; 16]>) -> FormatResult<Opened<'a>> {
    let what = object.what();
    let mut r = Reader::new(bytes, what);
    if r.array::<4>()? != *MAGIC {
        return Err(r.error("it does not begin as one"));
    }
    // The footer is judged first: a flipped bit in the version byte must not look like a newer version.
    let footer = verify(bytes)?;
    if r.u8()? != FORMAT_VERSION {
        return Err(r.error("its versions differ"));
    }
    if r.u8()? != object as u8 {
        return Err(r.error("it is an object of another type"));
    }
    r.take(1)?;
    if r.u8()? != 0 {
        return Err(FormatError::TooNew { what, why: "a reserved byte is in use" });
    }
    if footer.covered_bytes != covered_bytes(bytes)? {
        return Err(r.error("its lengths do not add up"));
    }
    let (plain_len, sealed_len) = (r.u32()? as usize, r.u32()? as usize);
    let found: [u8; 16] = r.array()?;
    if scope.is_some_and(|s| *s != found) {
        return Err(r.error("it belongs to another repository"));
    }
    let plain = r.take(plain_len)?;
    let sealed = r.take(sealed_len)?;
    let header = bytes[..HEADER_BYTES].try_into().expect("a header was read");
    Ok(Opened { header, plain, sealed, what })
}

/// The scope id of any small object that is whole. Needs no key and proves nothing.
pub fn scope(bytes: &[u8]) -> FormatResult<[u8; 16]> {
    const WHAT: &str = "small object";
    verify(bytes)?;
    let mut r = Reader::new(bytes, WHAT);
    if r.array::<4>()? != *MAGIC || r.u8()? != FORMAT_VERSION {
        return Err(r.error("it does not begin as one"));
    }
    r.take(11)?;
    r.array()
}

impl Opened<'_> {
    /// The scope id in the header.
    pub fn scope(&self) -> [u8; 16] {
        self.header[16..].try_into().expect("a header has 32 bytes")
    }

    /// Opens the sealed part; at most `max` bytes.
    pub fn unseal(&self, key: &Key, max: usize) -> FormatResult<Vec<u8>> {
        let suite = Suite::from_u8(self.header[6], self.what)?;
        let aad = object_aad(&self.header, self.plain);
        let (mut packed, mut raw) = (Vec::new(), Vec::new());
        seal::open(key, suite, &aad, self.sealed, self.what, &mut packed)?;
        Decompressor::default().decompress(&packed, max, self.what, &mut raw)?;
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Level;
    use proptest::prelude::*;

    fn sample(secret: &[u8]) -> Vec<u8> {
        let (key, salt_key) = (Key::new([1; 32]), Key::new([2; 32]));
        let sealing = Sealing { key: &key, salt_key: &salt_key, suite: Suite::Aes256Gcm, entropy: [3; 32] };
        let mut compressor = Compressor::new(Level(3));
        encode_sealed(ObjectType::Snapshot, &[7; 16], b"plain", secret, &sealing, &mut compressor)
    }

    fn read(bytes: &[u8]) -> FormatResult<Vec<u8>> {
        let opened = decode(bytes, ObjectType::Snapshot, Some(&[7; 16]))?;
        assert_eq!(opened.plain, b"plain");
        opened.unseal(&Key::new([1; 32]), 1 << 20)
    }

    #[test]
    fn every_bit_flip_is_noticed_or_harmless_and_repaired() {
        let good = sample(b"the secret part of a small object");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read(&bad) {
                Ok(secret) => assert_eq!(secret, b"the secret part of a small object"),
                Err(e) => assert!(matches!(e, FormatError::Corrupt { .. }), "bit {bit}: {e}"),
            }
            assert_eq!(repair(&mut bad), Ok(true), "bit {bit}");
            assert!(bad == good, "bit {bit}");
        }
        assert_eq!(repair(&mut good.clone()), Ok(false));
    }

    #[test]
    fn every_truncation_is_noticed() {
        let good = sample(b"secret");
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&[&good[..], b"x"].concat()).is_err());
    }

    #[test]
    fn type_scope_and_plain_part_are_bound() {
        let good = sample(b"secret");
        assert!(decode(&good, ObjectType::Pending, None).is_err());
        assert!(decode(&good, ObjectType::Snapshot, Some(&[8; 16])).is_err());
        let mut other = good.clone();
        other[32] = b'X';
        let covered = verify(&good).unwrap().covered_bytes as usize;
        other.truncate(covered);
        close(&mut other, 0, Protection::Small); // a hostile store can make the hash right again
        let opened = decode(&other, ObjectType::Snapshot, Some(&[7; 16])).unwrap();
        assert!(matches!(opened.unseal(&Key::new([1; 32]), 1 << 20), Err(FormatError::NotAuthentic { .. })));
    }

    #[test]
    fn nothing_stands_between_the_parts() {
        let good = sample(b"secret");
        let covered = verify(&good).unwrap().covered_bytes as usize;
        let mut longer = good[..covered].to_vec();
        longer.push(0);
        close(&mut longer, 0, Protection::Small);
        assert!(matches!(read(&longer), Err(FormatError::Corrupt { .. })));
    }

    #[test]
    fn an_unknown_version_is_too_new_not_damaged() {
        let good = sample(b"secret");
        let covered = verify(&good).unwrap().covered_bytes as usize;
        let mut newer = good.clone();
        newer[4] = FORMAT_VERSION + 1;
        assert!(matches!(read(&newer), Err(FormatError::Corrupt { .. })), "a flipped bit is damage");
        newer.truncate(covered);
        close(&mut newer, 0, Protection::Small);
        for footer in [newer.len() - 2 * FOOTER_BYTES, newer.len() - FOOTER_BYTES] {
            newer[footer + 4] = FORMAT_VERSION + 1;
            let check = blake3::hash(&newer[footer..footer + 64]);
            newer[footer + 64..footer + 80].copy_from_slice(&check.as_bytes()[..16]);
        }
        assert!(matches!(read(&newer), Err(FormatError::TooNew { .. })));
        assert!(matches!(repair(&mut newer.clone()), Err(FormatError::TooNew { .. })));
        let end = newer.len();
        newer[end - 1] ^= 1; // one damaged footer does not change the verdict
        assert!(matches!(read(&newer), Err(FormatError::TooNew { .. })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ignored = read(&bytes);
            let _ignored = repair(&mut bytes.clone());
        }
    }
}

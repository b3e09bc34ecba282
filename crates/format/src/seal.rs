//! Authenticated encryption of one message under a key of its own.
//!
//! `sealed = salt 24 | ciphertext | tag 16`. The message key is the keyed BLAKE3 of the salt, so each key
//! seals one message, the nonce is always zero, and there is no counter to keep over threads or crashes.
//! The salt hashes fresh randomness, the context *and* the message: should a resumed virtual machine
//! repeat its randomness, different messages still get different keys.

use crate::error::{FormatError, FormatResult};
use crate::keys::Key;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Length of the salt before a ciphertext.
pub const SALT_BYTES: usize = 24;
/// Length of the tag after a ciphertext.
pub const TAG_BYTES: usize = 16;
/// What sealing adds.
pub const SEAL_BYTES: usize = SALT_BYTES + TAG_BYTES;

/// The cipher of a sealed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM; the default where the processor has AES instructions.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305; the default elsewhere.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// The suite with this number; an unknown one is "too new".
    pub fn from_u8(n: u8, what: &'static str) -> FormatResult<Self> {
        match n {
            1 => Ok(Suite::Aes256Gcm),
            2 => Ok(Suite::ChaCha20Poly1305),
            _ => Err(FormatError::TooNew { what, why: "unknown cipher" }),
        }
    }

    /// The faster suite on this processor.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        let aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let aes = false;
        if aes { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// The raw cipher with a key that seals this one message only (zero nonce).
    pub(crate) fn one_shot(self, key: &[u8; 32]) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(self.algorithm(), key).expect("keys have 32 bytes"))
    }
}

pub(crate) fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Draws the salt of a message: hedged by its context and itself.
fn draw_salt(salt_key: &Key, entropy: &[u8; 32], aad: &[u8], message: &[u8]) -> [u8; SALT_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(salt_key.bytes());
    hasher.update(entropy).update(&(aad.len() as u64).to_le_bytes()).update(aad).update(message);
    hasher.finalize().as_bytes()[..SALT_BYTES].try_into().expect("a hash has 32 bytes")
}

fn message_key(key: &Key, suite: Suite, salt: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key.bytes());
    hasher.update(b"lifeboat message").update(&[suite as u8]).update(salt);
    *hasher.finalize().as_bytes()
}

/// Seals `buffer[start..]` in place: afterwards it holds salt, ciphertext and tag.
///
/// `buffer[start..start + 24]` must be room left for the salt; the message follows it.
pub fn seal_in_place(
    key: &Key,
    salt_key: &Key,
    suite: Suite,
    entropy: &[u8; 32],
    aad: &[u8],
    buffer: &mut Vec<u8>,
    start: usize,
) {
    let body = start + SALT_BYTES;
    let salt = draw_salt(salt_key, entropy, aad, &buffer[body..]);
    buffer[start..body].copy_from_slice(&salt);
    let cipher = suite.one_shot(&message_key(key, suite, &salt));
    let tag = cipher
        .seal_in_place_separate_tag(zero_nonce(), Aad::from(aad), &mut buffer[body..])
        .expect("messages are far below the cipher's length limit");
    buffer.extend_from_slice(tag.as_ref());
}

/// Seals a message into a new vector.
pub fn seal(
    key: &Key,
    salt_key: &Key,
    suite: Suite,
    entropy: &[u8; 32],
    aad: &[u8],
    message: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + SEAL_BYTES);
    out.resize(SALT_BYTES, 0);
    out.extend_from_slice(message);
    seal_in_place(key, salt_key, suite, entropy, aad, &mut out, 0);
    out
}

/// Opens a sealed message into `out` (cleared first).
pub fn open(
    key: &Key,
    suite: Suite,
    aad: &[u8],
    sealed: &[u8],
    what: &'static str,
    out: &mut Vec<u8>,
) -> FormatResult<()> {
    if sealed.len() < SEAL_BYTES {
        return Err(FormatError::corrupt(what, "it ends too early"));
    }
    let (salt, body) = sealed.split_at(SALT_BYTES);
    let cipher = suite.one_shot(&message_key(key, suite, salt));
    out.clear();
    out.extend_from_slice(body);
    let len = cipher
        .open_in_place(zero_nonce(), Aad::from(aad), out)
        .map_err(|_| FormatError::NotAuthentic { what })?
        .len();
    out.truncate(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> (Key, Key) {
        (Key::new([3; 32]), Key::new([4; 32]))
    }

    proptest! {
        #[test]
        fn messages_round_trip_and_every_flip_is_seen(
            message in proptest::collection::vec(any::<u8>(), 0..200), flip: proptest::sample::Index,
            bit in 0u8..8, chacha: bool,
        ) {
            let (key, salt) = keys();
            let suite = if chacha { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm };
            let mut sealed = seal(&key, &salt, suite, &[9; 32], b"aad", &message);
            let mut back = Vec::new();
            open(&key, suite, b"aad", &sealed, "test", &mut back).unwrap();
            prop_assert_eq!(&back, &message);
            prop_assert!(open(&key, suite, b"aae", &sealed, "test", &mut back).is_err());
            let at = flip.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&key, suite, b"aad", &sealed, "test", &mut back).is_err());
        }
    }

    #[test]
    fn repeated_randomness_does_not_repeat_a_message_key() {
        let (key, salt) = keys();
        let a = seal(&key, &salt, Suite::Aes256Gcm, &[0; 32], b"", b"one message");
        let b = seal(&key, &salt, Suite::Aes256Gcm, &[0; 32], b"", b"two message");
        let c = seal(&key, &salt, Suite::Aes256Gcm, &[0; 32], b"context", b"one message");
        assert_ne!(a[..SALT_BYTES], b[..SALT_BYTES]);
        assert_ne!(a[..SALT_BYTES], c[..SALT_BYTES]);
    }

    #[test]
    fn known_answer() {
        let (key, salt) = keys();
        let sealed = seal(&key, &salt, Suite::Aes256Gcm, &[5; 32], b"aad", b"known answer");
        assert_eq!(blake3::hash(&sealed).to_hex().as_str(), KNOWN_SEAL, "nonces, salts or keys changed");
    }

    const KNOWN_SEAL: &str = "8e364cfcfc323993c48fb133054ea8879c8570eca346d5a85f90ce427994c7fb";
}

//! A 32-byte secret as text a person can write down: 14 groups of 4 characters with a checksum.
//!
//! Crockford's base32 of `secret 32 | BLAKE3(secret) 3`: 35 bytes are exactly 56 characters. Reading
//! forgives case, dashes, white space and the look-alikes O/0, I/1, L/1.

use crate::keys::Key;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_CHARS: usize = 56;
const CHECK_BYTES: usize = 3;

/// Why a text is not a recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextKeyError {
    /// Too short or too long.
    #[error("a recovery key has 56 characters, this has {0}")]
    Length(usize),
    /// Contains a character that never occurs.
    #[error("the character {0:?} never occurs in a recovery key")]
    Character(char),
    /// All characters are possible, but at least one is another one.
    #[error("the checksum does not match: at least one character is mistyped")]
    Checksum,
}

/// The text of a secret: `XXXX-XXXX-…`, 14 groups.
pub fn encode(key: &Key) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(key.bytes().to_vec());
    bytes.extend_from_slice(&blake3::hash(key.bytes()).as_bytes()[..CHECK_BYTES]);
    grouped(&bytes)
}

/// Groups of four characters for bytes in fives.
pub(crate) fn grouped(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for (i, five) in bytes.chunks_exact(5).enumerate() {
        let word = five.iter().fold(0u64, |w, b| w << 8 | *b as u64);
        for (j, shift) in (0..8).rev().enumerate() {
            if j % 4 == 0 && i + j > 0 {
                text.push('-');
            }
            text.push(ALPHABET[(word >> (5 * shift)) as usize & 31] as char);
        }
    }
    text
}

/// The digits of a text as numbers below 32; white space and dashes are skipped.
pub(crate) fn digits(
    text: impl Iterator<Item = char>,
    digits: &mut Zeroizing<Vec<u8>>,
) -> Result<(), TextKeyError> {
    for c in text.filter(|c| !c.is_whitespace() && *c != '-') {
        digits.push(digit(c).ok_or(TextKeyError::Character(c))?);
    }
    Ok(())
}

/// The bytes of digits in eights.
pub(crate) fn undigit(digits: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() * 5 / 8));
    for eight in digits.chunks_exact(8) {
        let word = eight.iter().fold(0u64, |w, d| w << 5 | *d as u64);
        bytes.extend_from_slice(&word.to_be_bytes()[3..]);
    }
    bytes
}

/// Reads the text of a secret.
pub fn decode(text: &str) -> Result<Key, TextKeyError> {
    let mut found = Zeroizing::new(Vec::with_capacity(TEXT_CHARS));
    digits(text.chars(), &mut found)?;
    if found.len() != TEXT_CHARS {
        return Err(TextKeyError::Length(found.len()));
    }
    let bytes = undigit(&found);
    let secret: [u8; 32] = bytes[..32].try_into().expect("35 bytes were decoded");
    if blake3::hash(&secret).as_bytes()[..CHECK_BYTES] != bytes[32..] {
        return Err(TextKeyError::Checksum);
    }
    Ok(Key::new(secret))
}

fn digit(c: char) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        c => c,
    };
    ALPHABET.iter().position(|a| *a as char == c).map(|p| p as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn secrets_round_trip_through_sloppy_typing(secret: [u8; 32]) {
            let text = encode(&Key::new(secret));
            prop_assert_eq!(text.len(), TEXT_CHARS + 13);
            let sloppy = text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
            prop_assert_eq!(decode(&sloppy).ok().map(|k| *k.bytes()), Some(secret));
        }

        #[test]
        fn one_wrong_character_is_noticed(secret: [u8; 32], at in 0usize..56, other in 1u8..32) {
            let text = encode(&Key::new(secret)).replace('-', "");
            let mut wrong: Vec<u8> = text.bytes().collect();
            let was = digit(wrong[at] as char).unwrap();
            wrong[at] = ALPHABET[((was + other) % 32) as usize];
            // One character changes 5 bits; the 24-bit checksum misses 1 in 2^24 of these.
            prop_assert!(decode(std::str::from_utf8(&wrong).unwrap()).is_err());
        }
    }
}

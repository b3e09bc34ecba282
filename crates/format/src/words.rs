//! A 32-byte secret as 24 English words: easier to read out, to hear and to write than groups.
//!
//! The list and the checksum are those of BIP-39 (256 bits, 8 bits of SHA-256): each word is known by its
//! first four letters, and software for it exists everywhere. The words *are* the key; they are not stretched.

use crate::keys::Key;
use crate::textkey::{self, TextKeyError};
use bip39::{Language, Mnemonic};
use zeroize::{Zeroize, Zeroizing};

/// How many words a key has.
pub const WORDS: usize = 24;

/// Why words are not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Too few or too many.
    #[error("a recovery key has 24 words, these are {0}")]
    Count(usize),
    /// Not in the list; its place, from 1.
    #[error("word {0} is not in the list")]
    Unknown(usize),
    /// All are in the list, and at least one is another one.
    #[error("the checksum does not match: at least one word is another one, or they are in another order")]
    Checksum,
    /// Neither words nor groups.
    #[error(transparent)]
    Groups(#[from] TextKeyError),
}

/// The words of a secret.
pub fn encode(key: &Key) -> Vec<&'static str> {
    let mnemonic = Mnemonic::from_entropy_in(Language::English, key.bytes());
    mnemonic.expect("256 bits have a mnemonic").words().collect()
}

/// Reads 24 words; the first four letters of each are enough.
pub fn decode(text: &str) -> Result<Key, WordsError> {
    let list = Language::English.word_list();
    let given: Vec<Zeroizing<String>> = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|w| !w.is_empty())
        .map(|w| Zeroizing::new(w.to_ascii_lowercase()))
        .collect();
    if given.len() != WORDS {
        return Err(WordsError::Count(given.len()));
    }
    let mut phrase = Zeroizing::new(String::with_capacity(WORDS * 9));
    for (i, word) in given.iter().enumerate() {
        let is_meant =
            |listed: &&&str| **listed == **word || (word.len() == 4 && listed.starts_with(&***word));
        let found = list.iter().find(|listed| ***listed == ***word).or_else(|| list.iter().find(is_meant));
        phrase.push_str(found.ok_or(WordsError::Unknown(i + 1))?);
        phrase.push(' ');
    }
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, phrase.trim_end());
    let (mut bytes, len) = mnemonic.map_err(|_| WordsError::Checksum)?.to_entropy_array();
    let secret = bytes[..len].try_into().map(Key::new).map_err(|_| WordsError::Count(len));
    bytes.zeroize();
    secret
}

/// Reads a recovery key however it was written down: as words (also with the numbers that a sheet puts before
/// them), or as groups.
pub fn decode_any(text: &str) -> Result<Key, WordsError> {
    let is_number = |word: &&str| word.trim_end_matches(['.', ')']).bytes().all(|b| b.is_ascii_digit());
    let unnumbered: Vec<&str> = text.split_whitespace().filter(|word| !is_number(word)).collect();
    let is_words = unnumbered.iter().all(|word| !word.bytes().any(|b| b.is_ascii_digit()))
        && unnumbered.iter().filter(|word| word.len() >= 3).count() > 14;
    if is_words { decode(&Zeroizing::new(unnumbered.join(" "))) } else { Ok(textkey::decode(text)?) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_round_trip_whole_and_by_their_beginnings(secret: [u8; 32]) {
            let words = encode(&Key::new(secret));
            prop_assert_eq!(words.len(), WORDS);
            prop_assert_eq!(decode_any(&words.join(" ")).map(|k| *k.bytes()), Ok(secret));
            let numbered: String = words.iter().enumerate().map(|(i, w)| format!("{} {w}\n", i + 1)).collect();
            prop_assert_eq!(decode_any(&numbered).map(|k| *k.bytes()), Ok(secret));
            prop_assert_eq!(decode_any(&numbered.replace(' ', ". ")).map(|k| *k.bytes()), Ok(secret));
            let short: Vec<&str> = words.iter().map(|w| &w[..w.len().min(4)]).collect();
            prop_assert_eq!(decode(&short.join("\n").to_uppercase()).map(|k| *k.bytes()), Ok(secret));
            prop_assert_eq!(decode_any(&textkey::encode(&Key::new(secret))).map(|k| *k.bytes()), Ok(secret));
        }

        /// The list again, without the library: 11 bits a word, then 8 bits of SHA-256.
        #[test]
        fn the_words_are_those_of_bip39(secret: [u8; 32]) {
            use sha2::Digest;
            let bits = [&secret[..], &sha2::Sha256::digest(secret)[..1]].concat();
            let list = Language::English.word_list();
            for (i, word) in encode(&Key::new(secret)).iter().enumerate() {
                let number = (11 * i..11 * i + 11).fold(0, |n, bit| n << 1 | (bits[bit / 8] >> (7 - bit % 8) & 1) as usize);
                prop_assert_eq!(list[number], *word);
            }
        }

        #[test]
        fn any_text_is_answered(text in ".{0,300}") {
            _ = decode_any(&text);
        }
    }

    #[test]
    fn a_wrong_word_is_noticed() {
        let mut words = encode(&Key::new([5; 32]));
        words.swap(0, 23);
        assert_eq!(decode(&words.join(" ")).err(), Some(WordsError::Checksum));
        words[3] = "lifeboat";
        assert_eq!(decode(&words.join(" ")).err(), Some(WordsError::Unknown(4)));
        assert_eq!(decode("abandon").err(), Some(WordsError::Count(1)));
    }
}

//! A key in several parts, of which some are enough: for people of whom no single one shall be able to unlock.
//!
//! Shamir's scheme over GF(2^8), byte by byte, in the field of [`crate::parity`] (polynomial 0x11d): fewer
//! shares than the threshold tell nothing about the key. Every coefficient is uniform, the highest one
//! too - a scheme that never draws a zero there gives the key away to whoever collects enough sets.
//!
//! A share carries what names a wrong one: the id of its set (a *foreign* share), a check of every line of
//! its text (a *mistyped* one), short hashes of all shares of the set (a *forged* one), and a check of the
//! key itself. With more shares at hand than needed, the right ones are found among them and the others
//! named for certain.

use crate::keys::Key;
use crate::textkey::{self, TextKeyError};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Most shares of a set: each share holds a hash of every other, and somebody has to type it.
pub const SHARES_MAX: u8 = 16;

const VERSION: u8 = 1;
const SET_BYTES: usize = 8;
const KEY_CHECK_BYTES: usize = 16;
/// 64 bits: a forger who must match the lists of the honest shares tries 2^63 values. Whether the key is the
/// right one rests on [`KEY_CHECK_BYTES`], not on this.
const SHARE_CHECK_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + SET_BYTES + 3 + 32 + KEY_CHECK_BYTES;
/// Bytes of the share in a line of its text; the line's own check follows.
const LINE_BYTES: usize = 12;
const LINE_CHECK_BYTES: usize = 3;
const LINE_CHARS: usize = (LINE_BYTES + LINE_CHECK_BYTES) * 8 / 5;

/// One part of a key. No `Debug`; wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Share {
    set: [u8; SET_BYTES],
    needed: u8,
    of: u8,
    number: u8,
    value: [u8; 32],
    key_check: [u8; KEY_CHECK_BYTES],
    checks: Vec<[u8; SHARE_CHECK_BYTES]>,
}

/// Why a text is not a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareTextError {
    /// Too few or too many characters in all.
    #[error("a share is made of lines of 24 characters; {0} characters are no whole number of them")]
    Length(usize),
    /// Contains a character that never occurs.
    #[error("the character {0:?} never occurs in a share")]
    Character(char),
    /// One line is mistyped, or lines stand in another order.
    #[error("line {0} is mistyped, or not in its place")]
    Line(usize),
    /// All lines are right and make no share.
    #[error("this is not a share")]
    NotAShare,
    /// Made by a newer version.
    #[error("this share was made by a newer version of lifeboat")]
    TooNew,
}

/// Why shares do not make a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// There are none.
    #[error("no share was given")]
    None,
    /// Too few different ones.
    #[error("{have} of the {needed} shares that are needed")]
    TooFew {
        /// How many different ones there are.
        have: usize,
        /// How many make the key.
        needed: usize,
    },
    /// Shares of different sets; the indices of those that are not of the set of most.
    #[error("{} of another set", listed(.0))]
    Foreign(Vec<usize>),
    /// These indices hold wrong shares.
    #[error("{} wrong: the others do not know it", listed(.0))]
    Wrong(Vec<usize>),
    /// Some are wrong, and nothing says which: each of two accuses the other.
    #[error("at least one share is wrong, and these are too few to tell which; add another one")]
    Undecided,
}

fn listed(indices: &[usize]) -> String {
    let numbers: Vec<String> = indices.iter().map(|i| (i + 1).to_string()).collect();
    match indices.len() {
        1 => format!("share number {} of those given is", numbers[0]),
        _ => format!("shares number {} of those given are", numbers.join(", ")),
    }
}

/// Splits a key into `of` shares of which any `needed` make it again. `entropy` must be fresh.
///
/// `None` unless `2 <= needed <= of <= SHARES_MAX`: with a threshold of 1 every share would be the key.
pub fn split(key: &Key, needed: u8, of: u8, set: [u8; 8], entropy: &[u8; 32]) -> Option<Vec<Share>> {
    if needed < 2 || needed > of || of > SHARES_MAX {
        return None;
    }
    let coefficients = coefficients(key, needed, &set, entropy);
    let values: Vec<Zeroizing<[u8; 32]>> = (1..=of).map(|x| evaluate(&coefficients, x)).collect();
    let key_check = key_check(key, &set, needed, of);
    let checks: Vec<_> =
        values.iter().zip(1u8..).map(|(value, x)| share_check(value, &set, needed, of, x)).collect();
    let shares = values.iter().zip(1u8..).map(|(value, number)| Share {
        set,
        needed,
        of,
        number,
        value: **value,
        key_check,
        checks: checks.clone(),
    });
    Some(shares.collect())
}

/// The polynomials, one per byte of the key: the key first, then uniform bytes. They depend on the key as
/// well, so that a machine whose random numbers repeat does not use them for two keys.
fn coefficients(key: &Key, needed: u8, set: &[u8; 8], entropy: &[u8; 32]) -> Vec<Zeroizing<[u8; 32]>> {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 v1 share coefficients");
    hasher.update(entropy).update(key.bytes()).update(set);
    let mut random = hasher.finalize_xof();
    let mut all = vec![Zeroizing::new(*key.bytes())];
    for _ in 1..needed {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(&mut *bytes);
        all.push(bytes);
    }
    all
}

/// Product in GF(2^8) modulo x^8+x^4+x^3+x^2+1, without a table or a branch on its operands.
fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= a & (b & 1).wrapping_neg();
        let carry = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (0x1d & carry);
        b >>= 1;
    }
    product
}

/// The inverse: a^254.
fn invert(a: u8) -> u8 {
    let mut power = a;
    let mut product = 1;
    for _ in 0..7 {
        power = multiply(power, power);
        product = multiply(product, power);
    }
    product
}

fn evaluate(coefficients: &[Zeroizing<[u8; 32]>], x: u8) -> Zeroizing<[u8; 32]> {
    let mut value = Zeroizing::new([0; 32]);
    for coefficient in coefficients.iter().rev() {
        for (byte, c) in value.iter_mut().zip(coefficient.iter()) {
            *byte = multiply(*byte, x) ^ c;
        }
    }
    value
}

/// The value at `x` of the polynomial through these points (Lagrange); 0 is the key.
fn interpolate(points: &[&Share], x: u8) -> Zeroizing<[u8; 32]> {
    let mut value = Zeroizing::new([0; 32]);
    for (i, point) in points.iter().enumerate() {
        let mut weight = 1;
        for (_, other) in points.iter().enumerate().filter(|(j, _)| *j != i) {
            let over = invert(point.number ^ other.number);
            weight = multiply(weight, multiply(x ^ other.number, over));
        }
        value.iter_mut().zip(point.value).for_each(|(sum, y)| *sum ^= multiply(y, weight));
    }
    value
}

fn key_check(key: &Key, set: &[u8; 8], needed: u8, of: u8) -> [u8; KEY_CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 v1 shared key check");
    hasher.update(set).update(&[needed, of]).update(key.bytes());
    hasher.finalize().as_bytes()[..KEY_CHECK_BYTES].try_into().expect("a hash is longer")
}

fn share_check(value: &[u8; 32], set: &[u8; 8], needed: u8, of: u8, x: u8) -> [u8; SHARE_CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 v1 share check");
    hasher.update(set).update(&[needed, of, x]).update(value);
    hasher.finalize().as_bytes()[..SHARE_CHECK_BYTES].try_into().expect("a hash is longer")
}

impl Share {
    /// The set it belongs to.
    pub fn set(&self) -> [u8; 8] {
        self.set
    }

    /// Its number in the set, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// How many make the key.
    pub fn needed(&self) -> u8 {
        self.needed
    }

    /// How many there are.
    pub fn of(&self) -> u8 {
        self.of
    }

    fn is_whole(&self) -> bool {
        (2..=SHARES_MAX).contains(&self.needed)
            && self.needed <= self.of
            && self.of <= SHARES_MAX
            && (1..=self.of).contains(&self.number)
            && self.checks.len() == self.of as usize
            && self.knows(self)
    }

    /// Whether this share's list names that share's value.
    fn knows(&self, other: &Share) -> bool {
        let check = share_check(&other.value, &other.set, other.needed, other.of, other.number);
        self.checks.get(other.number as usize - 1) == Some(&check)
    }

    fn is_of_set_of(&self, other: &Share) -> bool {
        (self.set, self.needed, self.of) == (other.set, other.needed, other.of)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + self.checks.len() * 8 + LINE_BYTES));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.set);
        bytes.extend_from_slice(&[self.needed, self.of, self.number]);
        bytes.extend_from_slice(&self.value);
        bytes.extend_from_slice(&self.key_check);
        self.checks.iter().for_each(|check| bytes.extend_from_slice(check));
        let padded = bytes.len().next_multiple_of(LINE_BYTES);
        bytes.resize(padded, 0);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, ShareTextError> {
        if bytes.first().is_some_and(|version| *version > VERSION) {
            return Err(ShareTextError::TooNew);
        }
        let head = bytes.first_chunk::<HEAD_BYTES>().ok_or(ShareTextError::NotAShare)?;
        let [needed, of, number] = [head[9], head[10], head[11]];
        let checks = &bytes[HEAD_BYTES..];
        let checks_bytes = of as usize * SHARE_CHECK_BYTES;
        let padded = (HEAD_BYTES + checks_bytes).next_multiple_of(LINE_BYTES);
        if bytes.len() != padded || checks[checks_bytes..].iter().any(|byte| *byte != 0) {
            return Err(ShareTextError::NotAShare);
        }
        let part = |from: usize, to: usize| &head[from..to];
        let share = Share {
            set: part(1, 9).try_into().expect("8 bytes"),
            needed,
            of,
            number,
            value: part(12, 44).try_into().expect("32 bytes"),
            key_check: part(44, 60).try_into().expect("16 bytes"),
            checks: checks[..checks_bytes].as_chunks().0.to_vec(),
        };
        if head[0] == VERSION && number > 0 && share.is_whole() {
            Ok(share)
        } else {
            Err(ShareTextError::NotAShare)
        }
    }

    /// The lines of its text: six groups of four characters each.
    pub fn lines(&self) -> Vec<Zeroizing<String>> {
        let bytes = self.to_bytes();
        let mut lines = Vec::new();
        for (i, part) in bytes.chunks_exact(LINE_BYTES).enumerate() {
            let mut line = Zeroizing::new(part.to_vec());
            line.extend_from_slice(&line_check(i, part));
            lines.push(textkey::grouped(&line));
        }
        lines
    }

    /// The whole text, one line after the other.
    pub fn text(&self) -> Zeroizing<String> {
        let lines: Vec<Zeroizing<String>> = self.lines();
        let mut text = Zeroizing::new(String::with_capacity(lines.len() * 30));
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads a text: white space and dashes do not matter, nor do empty lines and lines that begin with `#`.
    pub fn from_text(text: &str) -> Result<Self, ShareTextError> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let digits = digits(lines.flat_map(str::chars))?;
        if digits.is_empty() || !digits.len().is_multiple_of(LINE_CHARS) {
            return Err(ShareTextError::Length(digits.len()));
        }
        let mut typed = TypedShare::default();
        digits.chunks_exact(LINE_CHARS).try_for_each(|line| typed.push(line))?;
        Share::from_bytes(&typed.bytes)
    }
}

fn digits(text: impl Iterator<Item = char>) -> Result<Zeroizing<Vec<u8>>, ShareTextError> {
    let mut digits = Zeroizing::new(Vec::new());
    textkey::digits(text, &mut digits).map_err(|e| match e {
        TextKeyError::Character(c) => ShareTextError::Character(c),
        _ => ShareTextError::NotAShare,
    })?;
    Ok(digits)
}

/// A share that is typed line by line: each line is checked as it comes.
#[derive(Default)]
pub struct TypedShare {
    bytes: Zeroizing<Vec<u8>>,
}

impl TypedShare {
    /// Takes the next line of its text.
    ///
    /// # Errors
    /// It is mistyped, or another line; the same one may be given again.
    pub fn line(&mut self, text: &str) -> Result<(), ShareTextError> {
        let digits = digits(text.chars())?;
        if digits.len() != LINE_CHARS {
            return Err(ShareTextError::Length(digits.len()));
        }
        self.push(&digits)?;
        if self.bytes[0] > VERSION {
            return Err(ShareTextError::TooNew);
        }
        Ok(())
    }

    fn push(&mut self, digits: &[u8]) -> Result<(), ShareTextError> {
        let (line, place) = (textkey::undigit(digits), self.lines());
        let (part, check) = line.split_at(LINE_BYTES);
        if line_check(place, part) != check {
            return Err(ShareTextError::Line(place + 1));
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Lines so far.
    pub fn lines(&self) -> usize {
        self.bytes.len() / LINE_BYTES
    }

    /// Lines in all, which the first one tells.
    pub fn lines_of(&self) -> Option<usize> {
        let shares = *self.bytes.get(1 + SET_BYTES + 1)?;
        Some((HEAD_BYTES + usize::from(shares) * SHARE_CHECK_BYTES).div_ceil(LINE_BYTES))
    }

    /// The share, once its last line was given.
    pub fn share(&self) -> Option<Result<Share, ShareTextError>> {
        (Some(self.lines()) == self.lines_of()).then(|| Share::from_bytes(&self.bytes))
    }
}

/// Bound to the line's place, so that swapped lines are noticed.
fn line_check(line: usize, part: &[u8]) -> [u8; LINE_CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 v1 share line");
    hasher.update(&[line as u8]).update(part);
    hasher.finalize().as_bytes()[..LINE_CHECK_BYTES].try_into().expect("a hash is longer")
}

/// Makes the key of enough shares. What is wrong is named by its place among those given, from 0.
pub fn combine(shares: &[Share]) -> Result<Key, CombineError> {
    let (mine, foreign) = largest_set(shares)?;
    let first = &shares[mine[0]];
    let needed = first.needed as usize;
    // The same share twice is one share; two values for one number cannot both be right.
    let mut distinct: Vec<usize> = Vec::new();
    for i in &mine {
        if !distinct
            .iter()
            .any(|j| shares[*j].number == shares[*i].number && shares[*j].value == shares[*i].value)
        {
            distinct.push(*i);
        }
    }
    let numbers: std::collections::BTreeSet<u8> = distinct.iter().map(|i| shares[*i].number).collect();
    if numbers.len() < needed {
        return match foreign.is_empty() {
            true => Err(CombineError::TooFew { have: numbers.len(), needed }),
            false => Err(CombineError::Foreign(foreign)),
        };
    }
    match search(shares, &distinct, needed) {
        Some(key) => Ok(key),
        None => Err(accused(shares, &distinct)),
    }
}

/// The indices of the set that most shares belong to (the first one's where two have as many), and the others.
fn largest_set(shares: &[Share]) -> Result<(Vec<usize>, Vec<usize>), CombineError> {
    let members =
        |of: &Share| -> Vec<usize> { (0..shares.len()).filter(|i| shares[*i].is_of_set_of(of)).collect() };
    let mut best: Vec<usize> = Vec::new();
    for share in shares {
        let set = members(share);
        if set.len() > best.len() {
            best = set;
        }
    }
    if best.is_empty() {
        return Err(CombineError::None);
    }
    let others = (0..shares.len()).filter(|i| !best.contains(i)).collect();
    Ok((best, others))
}

/// Tries every choice of as many as are needed; at most C(16, 8) = 12,870 of them.
fn search(shares: &[Share], from: &[usize], needed: usize) -> Option<Key> {
    let mut choice: Vec<usize> = Vec::with_capacity(needed);
    let mut found = None;
    choose(from, needed, &mut choice, &mut |choice| {
        let points: Vec<&Share> = choice.iter().map(|i| &shares[*i]).collect();
        let key = Key::new(*interpolate(&points, 0));
        let first = points[0];
        let check = key_check(&key, &first.set, first.needed, first.of);
        // All must speak of the same key, or one of them was made to fit another.
        let is_right = points.iter().all(|p| p.key_check == check);
        found = is_right.then_some(key);
        is_right
    });
    found
}

/// Visits choices of distinct shares until one is right.
fn choose(
    from: &[usize],
    n: usize,
    choice: &mut Vec<usize>,
    is_right: &mut dyn FnMut(&[usize]) -> bool,
) -> bool {
    if choice.len() == n {
        return is_right(choice);
    }
    for (at, i) in from.iter().enumerate() {
        choice.push(*i);
        if choose(&from[at + 1..], n, choice, is_right) {
            return true;
        }
        choice.pop();
    }
    false
}

/// The shares that more of the others accuse than know.
fn accused(shares: &[Share], distinct: &[usize]) -> CombineError {
    let is_accused = |i: &&usize| {
        let others = distinct.iter().filter(|j| j != i);
        let known = others.clone().filter(|j| shares[**j].knows(&shares[**i])).count();
        others.count() - known > known
    };
    let wrong: Vec<usize> = distinct.iter().filter(is_accused).copied().collect();
    match wrong.len() {
        0 => CombineError::Undecided,
        n if n == distinct.len() => CombineError::Undecided,
        _ => CombineError::Wrong(wrong),
    }
}

/// The places, among those given, of shares that are not of the key that was made: foreign or wrong.
pub fn others(shares: &[Share], key: &Key) -> Vec<usize> {
    let is_other = |share: &Share| {
        let is_of_key = share.key_check == key_check(key, &share.set, share.needed, share.of);
        let same_set: Vec<&Share> =
            shares.iter().filter(|s| s.is_of_set_of(share) && s.number != share.number).collect();
        !is_of_key || !lies_on(share, &same_set, key)
    };
    (0..shares.len()).filter(|i| is_other(&shares[*i])).collect()
}

/// Whether a share lies on the polynomial of the key together with some `needed - 1` of the others.
fn lies_on(share: &Share, others: &[&Share], key: &Key) -> bool {
    let indices: Vec<usize> = (0..others.len()).collect();
    choose(&indices, share.needed as usize - 1, &mut Vec::new(), &mut |choice| {
        let points: Vec<&Share> = choice.iter().map(|i| others[*i]).chain([share]).collect();
        interpolate(&points, 0)[..] == key.bytes()[..]
    })
}

#[cfg(test)]
mod tests;

//! Shares of a key: any enough of them give it back, fewer say nothing, altered ones are noticed.

use super::*;
use proptest::prelude::*;

fn shares(secret: [u8; 32], needed: u8, of: u8) -> Vec<Share> {
    split(&Key::new(secret), needed, of, [7; 8], &[secret[0]; 32]).unwrap()
}

fn key(shares: &[Share]) -> Result<[u8; 32], CombineError> {
    combine(shares).map(|key| *key.bytes())
}

proptest! {
    #[test]
    fn any_that_are_enough_make_the_key(secret: [u8; 32], needed in 2u8..6, more in 0u8..4, start in 0usize..9) {
        let mut all = shares(secret, needed, needed + more);
        let len = all.len();
        all.rotate_left(start % len);
        prop_assert_eq!(key(&all[..needed as usize]), Ok(secret));
        let too_few = CombineError::TooFew { have: needed as usize - 1, needed: needed as usize };
        prop_assert_eq!(key(&all[..needed as usize - 1]), Err(too_few));
    }

    #[test]
    fn shares_round_trip_through_sloppy_typing(secret: [u8; 32], needed in 2u8..9, number in 0usize..8) {
        let share = &shares(secret, needed, 16)[number];
        let text = share.text();
        prop_assert!(text.lines().all(|line| line.len() == 29));
        let sloppy = text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
        let noted = ["# a note\n", &sloppy, "\n\n"].concat();
        prop_assert!(Share::from_text(&noted) == Ok(share.clone()));
    }

    #[test]
    fn a_mistyped_line_is_named(secret: [u8; 32], at in 0usize..168, other in 1usize..32) {
        const ALPHABET: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut text: Vec<u8> = shares(secret, 2, 3)[0].text().replace(['-', '\n'], "").into_bytes();
        let was = ALPHABET.iter().position(|c| *c == text[at]).unwrap();
        text[at] = ALPHABET[(was + other) % 32];
        let read = Share::from_text(std::str::from_utf8(&text).unwrap());
        // The check of a line has 24 bits and one character changes 5: it always shows.
        prop_assert!(read.err() == Some(ShareTextError::Line(at / 24 + 1)));
    }

    #[test]
    fn any_text_is_answered(text in "[0-9a-z#\n -]{0,400}") {
        _ = Share::from_text(&text);
    }
}

#[test]
fn the_field_is_a_field() {
    for a in 1..=255 {
        assert_eq!(multiply(a, invert(a)), 1);
        assert_eq!(multiply(a, 1), a);
    }
    assert_eq!(multiply(0x80, 2), 0x1d);
}

#[test]
fn swapped_lines_are_noticed() {
    let text = shares([3; 32], 2, 3)[0].text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(1, 2);
    assert!(Share::from_text(&lines.join("\n")).err() == Some(ShareTextError::Line(2)));
    assert!(Share::from_text(&text[..100]).err().is_some());
    assert!(matches!(Share::from_text("U"), Err(ShareTextError::Character('U'))));
}

#[test]
fn a_foreign_share_is_named() {
    let (mine, theirs) =
        (shares([1; 32], 2, 3), { split(&Key::new([2; 32]), 2, 3, [8; 8], &[5; 32]).unwrap() });
    assert_eq!(key(&[mine[0].clone(), theirs[0].clone()]), Err(CombineError::Foreign(vec![1])));
    let given = [mine[0].clone(), theirs[0].clone(), mine[2].clone()];
    assert_eq!(key(&given), Ok([1; 32]));
    assert_eq!(others(&given, &Key::new([1; 32])), [1]);
}

/// Another value, and a list that knows it: what a forger can make who sees one share.
fn forged(share: &Share) -> Share {
    let mut forged = share.clone();
    forged.value[0] ^= 1;
    forged.checks[share.number as usize - 1] =
        share_check(&forged.value, &share.set, share.needed, share.of, share.number);
    assert!(forged.is_whole());
    forged
}

#[test]
fn a_forged_share_is_named() {
    let all = shares([9; 32], 3, 5);
    let given = [all[0].clone(), forged(&all[1]), all[2].clone()];
    assert_eq!(key(&given), Err(CombineError::Wrong(vec![1])));
    let given = [all[0].clone(), forged(&all[1]), all[2].clone(), all[4].clone()];
    assert_eq!(key(&given), Ok([9; 32]));
    assert_eq!(others(&given, &Key::new([9; 32])), [1]);
}

#[test]
fn two_that_accuse_each_other_are_not_decided_between() {
    let all = shares([9; 32], 2, 2);
    let mut slander = forged(&all[1]);
    slander.checks[0] = [0; 8];
    assert_eq!(key(&[all[0].clone(), slander]), Err(CombineError::Undecided));
    assert_eq!(key(&[all[0].clone(), forged(&all[1])]), Err(CombineError::Wrong(vec![1])));
    assert_eq!(key(&[]), Err(CombineError::None));
}

#[test]
fn the_same_share_twice_is_one() {
    let all = shares([9; 32], 2, 3);
    let given = [all[0].clone(), all[0].clone()];
    assert_eq!(key(&given), Err(CombineError::TooFew { have: 1, needed: 2 }));
}

#[test]
fn impossible_thresholds_are_refused() {
    for (needed, of) in [(0, 3), (1, 3), (4, 3), (2, 17), (17, 17)] {
        assert!(split(&Key::new([1; 32]), needed, of, [0; 8], &[0; 32]).is_none(), "{needed} of {of}");
    }
}

/// Every coefficient byte, the highest ones too, takes each value as often as chance wants it: chi-square
/// with 255 degrees of freedom stays below 400 (beyond it with probability 2e-8).
#[test]
fn coefficients_are_uniform() {
    const DRAWS: usize = 4000;
    let needed = 4;
    let mut counts = vec![[0u32; 256]; needed as usize];
    for n in 0..DRAWS {
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let all = coefficients(&Key::new([7; 32]), needed, &[1; 8], &entropy);
        for (counts, coefficient) in counts.iter_mut().zip(&all) {
            coefficient.iter().for_each(|byte| counts[*byte as usize] += 1);
        }
    }
    let expected = (DRAWS * 32) as f64 / 256.0;
    for (n, counts) in counts.iter().enumerate().skip(1) {
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - expected).powi(2) / expected).sum();
        assert!(chi < 400.0, "coefficient {n}: {chi}");
        assert!(counts[0] > 0, "coefficient {n} is never 0");
    }
}

/// One share less than needed fits every key alike: over many splits its bytes are uniform whatever the key.
#[test]
fn too_few_shares_tell_nothing() {
    for secret in [0, 0xff] {
        let mut counts = [0u32; 256];
        for n in 0..4000u64 {
            let mut entropy = [1; 32];
            entropy[..8].copy_from_slice(&n.to_le_bytes());
            let share = &split(&Key::new([secret; 32]), 2, 3, [0; 8], &entropy).unwrap()[1];
            share.value.iter().for_each(|byte| counts[*byte as usize] += 1);
        }
        let expected = 4000.0 * 32.0 / 256.0;
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - expected).powi(2) / expected).sum();
        assert!(chi < 400.0, "{chi}");
    }
}

/// An independent implementation (crate `blahaj`, its tables over the same field) makes the key of our
/// shares, and ours makes the key of its.
#[test]
fn another_implementation_agrees() {
    let secret = std::array::from_fn(|i| i as u8 * 7);
    let ours = shares(secret, 3, 5);
    let theirs: Vec<blahaj::Share> = [4, 0, 2]
        .map(|i: usize| {
            let bytes = [&[ours[i].number][..], &ours[i].value].concat();
            blahaj::Share::try_from(&bytes[..]).unwrap()
        })
        .to_vec();
    assert_eq!(blahaj::Sharks(3).recover(&theirs).unwrap(), secret);
    let dealt: Vec<blahaj::Share> = blahaj::Sharks(3).dealer(&secret).take(3).collect();
    let points: Vec<Share> = dealt
        .iter()
        .map(|share| {
            let bytes = Vec::from(share);
            let mut point = ours[0].clone();
            (point.number, point.value) = (bytes[0], bytes[1..].try_into().unwrap());
            point
        })
        .collect();
    assert_eq!(*interpolate(&points.iter().collect::<Vec<_>>(), 0), secret);
}

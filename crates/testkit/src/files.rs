//! A source as a plain map from paths to contents, random ones, and random edits of them.

use crate::dice::Dice;
use std::collections::BTreeMap;

/// Paths below `/` (components split by `/`) and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Random files in a few folders; most are small, some need several chunks, some are equal.
pub fn random_files(dice: &mut Dice, count: usize) -> Files {
    (0..count).map(|_| (random_path(dice), random_contents(dice))).collect()
}

fn random_path(dice: &mut Dice) -> String {
    let name = format!("f{}", dice.below(100_000));
    match dice.below(4) {
        0 => name,
        1 => format!("a/{name}"),
        2 => format!("b{}/{name}", dice.below(8)),
        _ => format!("c/d{}/{name}", dice.below(3)),
    }
}

fn random_contents(dice: &mut Dice) -> Vec<u8> {
    match dice.below(20) {
        0 => Vec::new(),
        1 => b"the same in many places".to_vec(),
        2 => {
            let len = dice.below(30_000) as usize;
            dice.bytes(len)
        }
        3 => vec![dice.below(3) as u8; dice.below(20_000) as usize],
        _ => {
            let len = 1 + dice.below(300) as usize;
            dice.bytes(len)
        }
    }
}

/// Changes, removes and adds a few files.
pub fn edit(dice: &mut Dice, files: &mut Files, edits: usize) {
    for _ in 0..edits {
        let at = dice.below(files.len().max(1) as u64) as usize;
        let path = files.keys().nth(at).cloned();
        match (dice.below(4), path) {
            (0, Some(path)) => _ = files.remove(&path),
            (1 | 2, Some(path)) => _ = files.insert(path, random_contents(dice)),
            _ => _ = files.insert(random_path(dice), random_contents(dice)),
        }
    }
}

//! Giving a damaged object back the bytes it was written with.
//!
//! Covered bytes come back by parity, judged by the footer's hash; parity and footers are then computed
//! again. Even both footers may be lost (one bad sector at the end does that): the length of the object
//! leaves few possible geometries, and the shard hashes, the header or the name of a pack say which is
//! right. Nothing here needs a key, and an object that cannot be repaired is left as it was.

use crate::envelope::{self, Footer};
use crate::error::{FormatError, FormatResult};
use crate::id::PackId;
use crate::pack::{DIRECTORY_STEP_BYTES, HEADER_BYTES};
use crate::parity::{self, Geometry};

const WHAT: &str = "object";

/// Repairs a small object.
pub(crate) fn object(bytes: &mut [u8]) -> FormatResult<bool> {
    match Footer::from_tail(bytes, bytes.len() as u64) {
        Ok(footer) => with_footer(bytes, &footer),
        Err(error @ FormatError::TooNew { .. }) => Err(error),
        Err(_) => object_without_footer(bytes),
    }
}

/// Repairs a pack of this name.
pub(crate) fn pack(bytes: &mut [u8], id: &PackId) -> FormatResult<bool> {
    if *blake3::hash(bytes).as_bytes() == id.0 {
        return Ok(false);
    }
    match Footer::from_tail(bytes, bytes.len() as u64) {
        Ok(footer) => {
            let mut mended = bytes.to_vec();
            with_footer(&mut mended, &footer)?;
            if *blake3::hash(&mended).as_bytes() != id.0 {
                return Err(FormatError::corrupt("pack", "parity did not restore its name"));
            }
            bytes.copy_from_slice(&mended);
            Ok(true)
        }
        Err(error @ FormatError::TooNew { .. }) => Err(error),
        Err(_) => pack_without_footer(bytes, id),
    }
}

fn with_footer(bytes: &mut [u8], footer: &Footer) -> FormatResult<bool> {
    let (covered, rest) = bytes.split_at_mut(footer.covered_bytes as usize);
    let section_bytes = footer.parity_bytes as usize;
    let geometry = Geometry::claimed(covered.len(), footer.shard_bytes as usize, section_bytes);
    if geometry.is_none() && (section_bytes > 0 || footer.shard_bytes > 0) {
        return Err(FormatError::corrupt(WHAT, "its parity has an impossible length"));
    }
    let intact = *blake3::hash(covered).as_bytes() == footer.hash;
    if !intact {
        let g = geometry.ok_or(FormatError::corrupt(WHAT, "it is damaged and carries no parity"))?;
        let mut mended = covered.to_vec();
        parity::repair(&mut mended, &rest[..section_bytes], &g)?;
        if *blake3::hash(&mended).as_bytes() != footer.hash {
            return Err(FormatError::corrupt(WHAT, "parity did not restore its hash"));
        }
        covered.copy_from_slice(&mended);
    }
    let tail = tail(covered, footer.directory_offset, geometry.as_ref());
    let whole = *rest == tail[..];
    rest.copy_from_slice(&tail);
    Ok(!(intact && whole))
}

/// Everything after the covered bytes.
fn tail(covered: &[u8], directory_offset: u64, geometry: Option<&Geometry>) -> Vec<u8> {
    let mut tail = geometry.map_or(Vec::new(), |g| parity::compute(covered, g));
    let footer = Footer {
        covered_bytes: covered.len() as u64,
        directory_offset,
        shard_bytes: geometry.map_or(0, |g| g.shard_bytes() as u32),
        parity_bytes: tail.len() as u32,
        hash: *blake3::hash(covered).as_bytes(),
    };
    tail.extend_from_slice(&footer.encode());
    tail.extend_from_slice(&footer.encode());
    tail
}

fn object_without_footer(bytes: &mut [u8]) -> FormatResult<bool> {
    for geometry in Geometry::possible(bytes.len()) {
        let Ok(covered) = by_tables(bytes, &geometry) else { continue };
        if envelope::covered_bytes(&covered) != Ok(covered.len() as u64) {
            continue;
        }
        let tail = tail(&covered, 0, Some(&geometry));
        bytes[..covered.len()].copy_from_slice(&covered);
        bytes[covered.len()..].copy_from_slice(&tail);
        return Ok(true);
    }
    Err(FormatError::corrupt(WHAT, "both footers are lost, and parity does not tell them"))
}

fn pack_without_footer(bytes: &mut [u8], id: &PackId) -> FormatResult<bool> {
    let plain = bytes.len().checked_sub(Footer::TAIL_BYTES).map(|n| (bytes[..n].to_vec(), None));
    let with_parity = Geometry::possible(bytes.len())
        .into_iter()
        .filter_map(|g| by_tables(bytes, &g).ok().map(|covered| (covered, Some(g))));
    for (covered, geometry) in plain.into_iter().chain(with_parity) {
        if let Some(tail) = tail_for_name(&covered, geometry.as_ref(), id) {
            bytes[..covered.len()].copy_from_slice(&covered);
            bytes[covered.len()..].copy_from_slice(&tail);
            return Ok(true);
        }
    }
    Err(FormatError::corrupt("pack", "both footers are lost, and its name does not tell them"))
}

/// Tries every place the directory can have; the name says which was right.
fn tail_for_name(covered: &[u8], geometry: Option<&Geometry>, id: &PackId) -> Option<Vec<u8>> {
    let mut tail = tail(covered, 0, geometry);
    let section_bytes = tail.len() - Footer::TAIL_BYTES;
    let mut before_footers = blake3::Hasher::new();
    before_footers.update(covered).update(&tail[..section_bytes]);
    let mut footer = Footer::from_tail(&tail, (covered.len() + tail.len()) as u64).ok()?;
    let first = covered.len().checked_sub(DIRECTORY_STEP_BYTES)?;
    for at in (HEADER_BYTES..=first).rev().step_by(DIRECTORY_STEP_BYTES) {
        footer.directory_offset = at as u64;
        let footers = [footer.encode(), footer.encode()].concat();
        if *before_footers.clone().update(&footers).finalize().as_bytes() == id.0 {
            tail[section_bytes..].copy_from_slice(&footers);
            return Some(tail);
        }
    }
    None
}

/// The covered bytes of an object, repaired by the tables alone: every shard matches its short hash.
fn by_tables(bytes: &[u8], geometry: &Geometry) -> FormatResult<Vec<u8>> {
    let (covered, rest) = bytes.split_at(geometry.covered_bytes());
    let mut covered = covered.to_vec();
    let section = &rest[..geometry.section_bytes()];
    parity::repair(&mut covered, section, geometry)?;
    // Once more: what was rebuilt must match its hash as well.
    match parity::repair(&mut covered, section, geometry)?.shards {
        0 => Ok(covered),
        _ => Err(FormatError::corrupt(WHAT, "parity contradicts itself")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::Protection;
    use proptest::prelude::*;

    fn object_of(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes[..8].copy_from_slice(b"LBOB\x01\x03\x01\x00");
        bytes[8..12].copy_from_slice(&10u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&(len as u32 - 42).to_le_bytes());
        envelope::close(&mut bytes, 0, Protection::Small);
        bytes
    }

    proptest! {
        #[test]
        fn a_lost_end_is_mended(len in 50usize..300_000, lost in 1usize..=4096) {
            let good = object_of(len);
            let mut bad = good.clone();
            // One of the three rows of parity must remain, for the flipped byte.
            let g = Geometry::choose(len);
            let start = bad.len() - lost.min(Footer::TAIL_BYTES + g.section_bytes() / 2);
            bad[start..].fill(0);
            bad[20] ^= 1; // and a byte of the header
            prop_assert_eq!(object(&mut bad), Ok(true));
            prop_assert!(bad == good);
        }

        #[test]
        fn hopeless_objects_are_left_alone(len in 50usize..5000, from in 0usize..50) {
            let mut bad = object_of(len);
            bad[from..].fill(7);
            let before = bad.clone();
            prop_assert!(object(&mut bad).is_err());
            prop_assert!(bad == before);
        }
    }
}

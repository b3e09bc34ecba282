//! Parity: repairs a damaged object from itself.
//!
//! The covered bytes are cut into shards (the last one padded with zeros). Shard i belongs to group
//! `i mod G`, so a burst of damage is spread over all groups. Each group of at most 255 shards
//! gets three parity shards over GF(2^8) with the polynomial 0x11d:
//! `P_p = sum of d_j * 2^(p * (k-1-j))` for p = 0, 1, 2. That is computed by `acc = acc * 2^p + d_j` in
//! order, needs no multiplication tables, and any three lost shards of a group come back (the generators
//! 1, 2, 4 are those of the well-known triple-parity RAID; all 3x3 minors are non-zero up to 255 shards).
//! Truncated hashes of all shards, stored twice, tell which shards are damaged.

mod geometry;

pub use geometry::{GROUP_SHARDS_MAX, Geometry, PERCENT_MAX, Protection};

use crate::error::{FormatError, FormatResult};

/// Parity shards of a group.
pub const ROWS: usize = 3;
/// Bytes of a shard's hash.
const HASH_BYTES: usize = 8;

/// The parity section of `covered`: hash table, parity shards, hash table again.
pub fn compute(covered: &[u8], geometry: &Geometry) -> Vec<u8> {
    assert_eq!(covered.len(), geometry.covered_bytes());
    let rows = compute_rows(covered, geometry);
    let mut table = Vec::with_capacity(geometry.hash_table_bytes());
    for i in 0..geometry.shards() {
        table.extend_from_slice(&shard_hash(geometry.shard(covered, i)));
    }
    for shard in rows.chunks_exact(geometry.shard_bytes()) {
        table.extend_from_slice(&shard_hash(shard));
    }
    let mut section = table.clone();
    section.extend_from_slice(&rows);
    section.extend_from_slice(&table);
    section
}

fn shard_hash(shard: &[u8]) -> [u8; HASH_BYTES] {
    blake3::hash(shard).as_bytes()[..HASH_BYTES].try_into().expect("a hash has 32 bytes")
}

fn compute_rows(covered: &[u8], g: &Geometry) -> Vec<u8> {
    let mut rows = vec![0u8; ROWS * g.groups() * g.shard_bytes()];
    for (p, row) in rows.chunks_exact_mut(g.groups() * g.shard_bytes()).enumerate() {
        for i in 0..g.shards() {
            let at = (i % g.groups()) * g.shard_bytes();
            fold(&mut row[at..at + g.shard_bytes()], g.shard(covered, i), p);
        }
    }
    rows
}

/// `acc = acc * 2^p + shard`, where a shard shorter than `acc` counts as padded with zeros.
fn fold(acc: &mut [u8], shard: &[u8], p: usize) {
    for _ in 0..p {
        for word in acc.as_chunks_mut::<8>().0 {
            *word = double_8(u64::from_le_bytes(*word)).to_le_bytes();
        }
    }
    for (a, s) in acc.iter_mut().zip(shard) {
        *a ^= s;
    }
}

/// Doubles eight field elements at once.
#[inline]
fn double_8(x: u64) -> u64 {
    let high = (x >> 7) & 0x0101_0101_0101_0101;
    ((x << 1) & 0xfefe_fefe_fefe_fefe) ^ (high * 0x1d)
}

/// What a repair did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Data shards that were rebuilt.
    pub shards: usize,
}

/// Rebuilds damaged shards of `covered` from a parity section (itself perhaps damaged).
///
/// The result still has to be compared with the object's hash by the caller: shard hashes are short and
/// their table is not authenticated.
pub fn repair(covered: &mut [u8], section: &[u8], g: &Geometry) -> FormatResult<Repaired> {
    const WHAT: &str = "parity section";
    if section.len() != g.section_bytes() || covered.len() != g.covered_bytes() {
        return Err(FormatError::corrupt(WHAT, "its length does not fit"));
    }
    let (first, rest) = section.split_at(g.hash_table_bytes());
    let (rows, second) = rest.split_at(ROWS * g.groups() * g.shard_bytes());
    // Damage may lie in either copy of the table: take, shard by shard, any copy that matches.
    let intact = |index: usize, shard: &[u8]| {
        let at = index * HASH_BYTES;
        let hash = shard_hash(shard);
        first[at..at + HASH_BYTES] == hash || second[at..at + HASH_BYTES] == hash
    };
    let mut total = 0;
    for group in 0..g.groups() {
        let members: Vec<usize> = (0..g.group_len(group)).map(|j| group + j * g.groups()).collect();
        let lost: Vec<usize> =
            (0..members.len()).filter(|j| !intact(members[*j], g.shard(covered, members[*j]))).collect();
        if lost.is_empty() {
            continue;
        }
        let row = |p: usize| &rows[(p * g.groups() + group) * g.shard_bytes()..][..g.shard_bytes()];
        let good: Vec<usize> =
            (0..ROWS).filter(|p| intact(g.shards() + p * g.groups() + group, row(*p))).collect();
        if lost.len() > good.len() {
            return Err(FormatError::corrupt(WHAT, "more is damaged than parity can restore"));
        }
        rebuild(covered, g, &members, &lost, &good[..lost.len()], &row);
        total += lost.len();
    }
    Ok(Repaired { shards: total })
}

/// Solves for the lost shards of one group.
fn rebuild<'a>(
    covered: &mut [u8],
    g: &Geometry,
    members: &[usize],
    lost: &[usize],
    rows: &[usize],
    row: &dyn Fn(usize) -> &'a [u8],
) {
    let k = members.len();
    let coefficient = |p: usize, j: usize| power_of_two(p * (k - 1 - j));
    // Syndromes: the parity minus what the intact shards contribute.
    let mut syndromes: Vec<Vec<u8>> = rows.iter().map(|p| row(*p).to_vec()).collect();
    for (p, syndrome) in rows.iter().zip(&mut syndromes) {
        for j in (0..k).filter(|j| !lost.contains(j)) {
            let c = coefficient(*p, j);
            for (s, d) in syndrome.iter_mut().zip(g.shard(covered, members[j])) {
                *s ^= multiply(c, *d);
            }
        }
    }
    let matrix = rows.iter().map(|p| lost.iter().map(|j| coefficient(*p, *j)).collect()).collect();
    let inverse = invert(matrix);
    for (column, j) in lost.iter().enumerate() {
        let start = members[*j] * g.shard_bytes();
        let end = (start + g.shard_bytes()).min(covered.len());
        for (offset, out) in covered[start..end].iter_mut().enumerate() {
            *out = (0..rows.len()).fold(0, |acc, r| acc ^ multiply(inverse[column][r], syndromes[r][offset]));
        }
    }
}

/// Gauss-Jordan elimination; the matrices of this code are never singular.
fn invert(mut m: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let n = m.len();
    let mut inverse: Vec<Vec<u8>> = (0..n).map(|i| (0..n).map(|j| (i == j) as u8).collect()).collect();
    for column in 0..n {
        let pivot = (column..n).find(|r| m[*r][column] != 0).expect("the code is MDS up to 255 shards");
        m.swap(column, pivot);
        inverse.swap(column, pivot);
        let scale = reciprocal(m[column][column]);
        for j in 0..n {
            m[column][j] = multiply(m[column][j], scale);
            inverse[column][j] = multiply(inverse[column][j], scale);
        }
        for r in (0..n).filter(|r| *r != column) {
            let factor = m[r][column];
            for j in 0..n {
                m[r][j] ^= multiply(factor, m[column][j]);
                inverse[r][j] ^= multiply(factor, inverse[column][j]);
            }
        }
    }
    inverse
}

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        product ^= a * (b & 1);
        a = (a << 1) ^ (0x1d * (a >> 7));
        b >>= 1;
    }
    product
}

fn power_of_two(exponent: usize) -> u8 {
    (0..exponent % 255).fold(1, |x, _| multiply(x, 2))
}

fn reciprocal(a: u8) -> u8 {
    (1..=254).fold(1, |x, _| multiply(x, a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn any_three_shards_of_a_group_can_be_lost() {
        for k in [1usize, 2, 3, 4, 17, 30] {
            let g = Geometry::choose(k * 64 - 5);
            let data: Vec<u8> = (0..k * 64 - 5).map(|i| (i * 131 + i / 7) as u8).collect();
            let section = compute(&data, &g);
            for a in 0..k {
                for b in a..k {
                    for c in b..k {
                        let mut hurt = data.clone();
                        for shard in [a, b, c] {
                            hurt[shard * 64] ^= 0x5a;
                        }
                        if hurt == data {
                            continue;
                        }
                        repair(&mut hurt, &section, &g).unwrap();
                        assert!(hurt == data, "k {k}: shards {a} {b} {c}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_burst_of_a_twelfth_is_repaired(
            data in proptest::collection::vec(any::<u8>(), 4000..40_000), start: proptest::sample::Index,
        ) {
            let g = Geometry::choose(data.len());
            let mut section = compute(&data, &g);
            prop_assert_eq!(section.len(), g.section_bytes());
            let mut hurt = data.clone();
            let burst = data.len() / 12;
            let at = start.index(data.len() - burst);
            hurt[at..at + burst].fill(0xEE);
            section[..g.hash_table_bytes()].fill(0); // and one table is gone as well
            repair(&mut hurt, &section, &g).unwrap();
            prop_assert!(hurt == data);
        }

        #[test]
        fn hostile_sections_never_panic(
            mut data in proptest::collection::vec(any::<u8>(), 0..3000),
            section in proptest::collection::vec(any::<u8>(), 0..3000), bits in 0usize..12, groups in 1usize..50,
        ) {
            let shard = 1 << bits;
            let section_bytes = 16 * data.len().div_ceil(shard).max(1) + groups * 3 * (16 + shard);
            if let Some(g) = Geometry::claimed(data.len(), shard, section_bytes) {
                let _ignored = repair(&mut data, &section, &g);
                let mut fitting = section.clone();
                fitting.resize(g.section_bytes(), 3);
                let _ignored = repair(&mut data, &fitting, &g);
            }
        }
    }

    #[test]
    fn the_longest_groups_are_mended_as_well() {
        let data: Vec<u8> = (0..255 * 512u32).map(|i| (i ^ (i >> 9)) as u8).collect();
        let g = Geometry::surviving(data.len(), 1);
        assert!(g.shards() / g.groups() > 80);
        let section = compute(&data, &g);
        for first in (0..g.shards() - 3 * g.groups()).step_by(g.groups() + 1) {
            let mut hurt = data.clone();
            for shard in [first, first + g.groups(), first + 2 * g.groups()] {
                hurt[shard * g.shard_bytes()] ^= 0xa5;
            }
            assert_eq!(repair(&mut hurt, &section, &g), Ok(Repaired { shards: 3 }));
            assert!(hurt == data);
        }
    }

    #[test]
    fn too_much_damage_is_said() {
        let g = Geometry::choose(1000);
        let section = compute(&[1; 1000], &g);
        let mut hurt = [2; 1000];
        assert!(repair(&mut hurt, &section, &g).is_err());
    }

    #[test]
    fn known_answer() {
        let data: Vec<u8> = (0..5000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let section = compute(&data, &Geometry::choose(data.len()));
        assert_eq!(blake3::hash(&section).to_hex().as_str(), KNOWN_PARITY, "the code or its layout changed");
    }

    const KNOWN_PARITY: &str = "e8d9e95b32aefc19dacb5c4bcf95f408eab064fa34f80ed210f6dea76798970c";
}

//! How an object is cut into shards and groups.
//!
//! A reader needs no rule: the footer's three lengths say shard length and number of groups. Writers follow
//! one of two rules, so that the cut can be found again when both footers are lost: *small*, for small
//! objects and tree packs, and *percent*, for data packs: so many groups that any damage in one piece, up
//! to that share of the whole pack, hits no group more than three times.

use super::{HASH_BYTES, ROWS};
use crate::envelope::Footer;

/// Most data shards of a group of a small object: 3 of 30 is the promised tenth.
const GROUP_SHARDS_SMALL: usize = 30;
/// Most data shards of any group: beyond, the code's matrices could be singular.
pub const GROUP_SHARDS_MAX: usize = 255;
/// Most shards when their length is chosen; longer shards beyond.
const SHARDS_TARGET_MAX: usize = 1920;
/// Shortest shard, and that of small objects.
const SHARD_BYTES_MIN: usize = 64;
/// Shortest shard of data packs: the tables cost 16 bytes a shard, 3 % of this.
const SHARD_BYTES_MIN_PERCENT: usize = 512;
/// Most that a data pack may be asked to survive, in percent of its length.
pub const PERCENT_MAX: u8 = 20;

/// How much a writer protects an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Not at all.
    None,
    /// As small objects and tree packs are: three shards of each 30.
    Small,
    /// Damage in one piece of so many percent of the whole, from 1 to [`PERCENT_MAX`].
    Percent(u8),
}

impl Protection {
    /// That of a data pack in a repository whose parameters say so many percent.
    pub fn of_data(percent: u8) -> Self {
        match percent {
            0 => Protection::None,
            percent => Protection::Percent(percent.min(PERCENT_MAX)),
        }
    }
}

/// How covered bytes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    covered_bytes: usize,
    shard_bytes: usize,
    shards: usize,
    groups: usize,
}

impl Geometry {
    /// The cut a writer chooses for a small object.
    pub fn choose(covered_bytes: usize) -> Self {
        let shard_bytes = shard_bytes(covered_bytes, SHARD_BYTES_MIN);
        let shards = shard_count(covered_bytes, shard_bytes);
        Geometry { covered_bytes, shard_bytes, shards, groups: shards.div_ceil(GROUP_SHARDS_SMALL) }
    }

    /// The cut a writer chooses for a data pack: the fewest groups with which any damage in one piece, up to
    /// so many percent of the whole object, can be mended.
    pub fn surviving(covered_bytes: usize, percent: u8) -> Self {
        let shard_bytes = shard_bytes(covered_bytes, SHARD_BYTES_MIN_PERCENT);
        let shards = shard_count(covered_bytes, shard_bytes);
        let cut = |groups| Geometry { covered_bytes, shard_bytes, shards, groups };
        let fewest = shards.div_ceil(GROUP_SHARDS_MAX);
        let enough = (fewest..shards).map(cut).find(|g| g.survives(percent));
        enough.unwrap_or(cut(shards))
    }

    /// The cut of this protection.
    pub fn of(covered_bytes: usize, protection: Protection) -> Option<Self> {
        match protection {
            Protection::None => None,
            Protection::Small => Some(Self::choose(covered_bytes)),
            Protection::Percent(percent) => Some(Self::surviving(covered_bytes, percent)),
        }
    }

    /// Damage that begins among the data may end among the parity. Groups come by turns in both, but where
    /// data end the turn may be cut short: the last `groups - last_turn` groups are passed over there, and
    /// the data's last shard may be short, which is one shard more for the same bytes.
    fn survives(&self, percent: u8) -> bool {
        let burst = (self.object_bytes() * percent as usize).div_ceil(100);
        let touched = burst.saturating_sub(1).div_ceil(self.shard_bytes) + 1;
        let last_turn = (self.shards - 1) % self.groups + 1;
        (ROWS - 1) * self.groups + last_turn > touched
    }

    /// The cut a footer claims; `None` when no writer makes such a one.
    pub fn claimed(covered_bytes: usize, shard_bytes: usize, section_bytes: usize) -> Option<Self> {
        if !shard_bytes.is_power_of_two() || shard_bytes < SHARD_BYTES_MIN {
            return None;
        }
        let shards = shard_count(covered_bytes, shard_bytes);
        let parity_bytes = section_bytes.checked_sub(2 * HASH_BYTES * shards)?;
        let of_group = ROWS * (2 * HASH_BYTES + shard_bytes);
        let groups = parity_bytes / of_group;
        let fits = parity_bytes.is_multiple_of(of_group)
            && (1..=shards).contains(&groups)
            && shards.div_ceil(groups) <= GROUP_SHARDS_MAX;
        fits.then_some(Geometry { covered_bytes, shard_bytes, shards, groups })
    }

    /// The cuts a writer may have made of an object of this length whose footers are lost. For each length
    /// of shards and number of groups there is at most one length of the data that adds up.
    pub(crate) fn possible(object_bytes: usize) -> Vec<Self> {
        let mut found = Vec::new();
        for shard_bytes in (6..31).map(|bits| 1usize << bits) {
            let most = (object_bytes / shard_bytes).min(SHARDS_TARGET_MAX) + 1;
            let fewest = (most / 4).div_ceil(GROUP_SHARDS_MAX);
            let groups = fewest.max(1)..=most / 8 + 4; // at PERCENT_MAX a group has some 11 shards
            let all = groups.filter_map(|g| Self::adding_up(object_bytes, shard_bytes, g));
            found.extend(all.filter(Self::is_a_writers));
            if object_bytes / shard_bytes < SHARDS_TARGET_MAX / 4 && shard_bytes >= SHARD_BYTES_MIN_PERCENT {
                break; // for so few shards no writer would take longer ones
            }
        }
        found
    }

    fn adding_up(object_bytes: usize, shard_bytes: usize, groups: usize) -> Option<Self> {
        let cut = |covered_bytes| {
            let shards = shard_count(covered_bytes, shard_bytes);
            Geometry { covered_bytes, shard_bytes, shards, groups }
        };
        let (mut low, mut high) = (0, object_bytes);
        while low < high {
            let middle = (low + high) / 2;
            if cut(middle).object_bytes() < object_bytes {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let g = cut(low);
        (g.object_bytes() == object_bytes && groups <= g.shards).then_some(g)
    }

    fn is_a_writers(&self) -> bool {
        let is_for = |p| self.survives(p) && Self::surviving(self.covered_bytes, p) == *self;
        let is_data = || (1..=PERCENT_MAX).any(is_for);
        self.shards <= SHARDS_TARGET_MAX && (Self::choose(self.covered_bytes) == *self || is_data())
    }

    /// Length of what is covered.
    pub fn covered_bytes(&self) -> usize {
        self.covered_bytes
    }

    /// Length of one shard in bytes.
    pub fn shard_bytes(&self) -> usize {
        self.shard_bytes
    }

    /// Number of data shards.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    pub(super) fn hash_table_bytes(&self) -> usize {
        HASH_BYTES * (self.shards + ROWS * self.groups)
    }

    /// Length of the whole parity section.
    pub fn section_bytes(&self) -> usize {
        2 * self.hash_table_bytes() + ROWS * self.groups * self.shard_bytes
    }

    /// Length of the whole object.
    fn object_bytes(&self) -> usize {
        self.covered_bytes + self.section_bytes() + Footer::TAIL_BYTES
    }

    pub(super) fn group_len(&self, group: usize) -> usize {
        (self.shards - group).div_ceil(self.groups)
    }

    pub(super) fn shard<'a>(&self, covered: &'a [u8], index: usize) -> &'a [u8] {
        let start = index * self.shard_bytes;
        &covered[start.min(covered.len())..(start + self.shard_bytes).min(covered.len())]
    }
}

fn shard_bytes(covered_bytes: usize, least: usize) -> usize {
    let mut shard_bytes = least;
    while covered_bytes.div_ceil(shard_bytes) > SHARDS_TARGET_MAX {
        shard_bytes *= 2;
    }
    shard_bytes
}

fn shard_count(covered_bytes: usize, shard_bytes: usize) -> usize {
    covered_bytes.div_ceil(shard_bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> impl Iterator<Item = usize> {
        let small = (64..20_000).step_by(371);
        small.chain((100_000..400_000).step_by(40_931)).chain([(1 << 20) + 5, 16 << 20, 1 << 30])
    }

    #[test]
    fn a_footer_tells_the_cut() {
        for covered in lengths() {
            for g in [Geometry::choose(covered), Geometry::surviving(covered, 6)] {
                assert_eq!(Geometry::claimed(covered, g.shard_bytes, g.section_bytes()), Some(g));
                assert_eq!(Geometry::claimed(covered, g.shard_bytes, g.section_bytes() + 1), None);
                assert_eq!(Geometry::claimed(covered, g.shard_bytes + 1, g.section_bytes()), None);
            }
        }
    }

    #[test]
    fn the_writers_cut_is_among_the_possible_ones() {
        for covered in lengths() {
            for percent in [0, 1, 3, 6, 10, 20] {
                let g = match percent {
                    0 => Geometry::choose(covered),
                    _ => Geometry::surviving(covered, percent),
                };
                let possible = Geometry::possible(g.object_bytes());
                assert!(possible.contains(&g), "{covered}, {percent} %");
                assert!(possible.len() <= 40, "{covered}, {percent} %: {}", possible.len());
            }
        }
    }

    /// The share of parity in a full pack: little more than what it survives.
    #[test]
    fn protection_costs_little_more_than_it_survives() {
        for (percent, most) in [(1, 0.016), (3, 0.04), (6, 0.075), (10, 0.122), (20, 0.28)] {
            let g = Geometry::surviving(16 << 20, percent);
            let cost = g.section_bytes() as f64 / (16 << 20) as f64;
            assert!(cost <= most, "{percent} %: {cost}");
        }
    }
}

//! How much memory a run may hold, and how its stages share it.
//!
//! What a run needs whatever it does - code, compressors, the walk's list, the filter of the index - is about
//! [`FIXED_BYTES`]; the rest is read-ahead, packs on their way and ranges being fetched, which only buy
//! speed. [`MemoryBudget`] divides that rest. Beside the budget stand 2 bytes a stored blob for the index,
//! and 64 MiB for a moment while a password is stretched.

use repo::workers::Workers;

/// Code, compressors (4 MiB a thread), blocks being sealed, the walk's list and a window of the tree,
/// measured on two threads.
const FIXED_BYTES: u64 = 48 << 20;
/// A request of a restore: the stored range and the block that is opened from it.
const REQUEST_BYTES: u64 = 6 << 20;
/// Files read ahead never need more than this: then the disk is far ahead of the processors.
const READ_AHEAD_BYTES_MAX: u64 = 64 << 20;

/// Bytes that a run may hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryBudget(u64);

impl MemoryBudget {
    /// Below this, one file and one pack at a time would not fit.
    pub const BYTES_MIN: u64 = 64 << 20;

    /// A budget of so many bytes, at least [`MemoryBudget::BYTES_MIN`].
    pub fn new(bytes: u64) -> Self {
        MemoryBudget(bytes.max(Self::BYTES_MIN))
    }

    fn free_bytes(self) -> u64 {
        self.0 - FIXED_BYTES
    }

    /// Contents of small files that may be read before they are stored: a quarter of what is free.
    pub fn read_ahead_bytes(self) -> u64 {
        (self.free_bytes() / 4).min(READ_AHEAD_BYTES_MAX)
    }

    /// Packs that may be on their way at once, beside the two that are being filled. A local place holds
    /// them in files, so that they cost nothing here.
    pub fn uploads(self, pack_bytes: u64, local: bool, wanted: usize) -> Workers {
        let left = self.free_bytes() - self.read_ahead_bytes();
        let fit = if local { wanted as u64 } else { left / pack_bytes.max(1) };
        Workers((fit as usize).clamp(1, wanted.max(1)))
    }

    /// Ranges of packs that a restore may fetch at once.
    pub fn requests(self, wanted: usize) -> usize {
        ((self.free_bytes() / REQUEST_BYTES) as usize).clamp(1, wanted.max(1))
    }
}

impl Default for MemoryBudget {
    /// 96 MiB: with it, a backup of the kernel's source stays below 120 MiB.
    fn default() -> Self {
        MemoryBudget(96 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_never_gives_less_and_no_memory_gives_one() {
        let least = MemoryBudget::new(0);
        assert_eq!(least, MemoryBudget::new(MemoryBudget::BYTES_MIN));
        assert_eq!(least.uploads(16 << 20, false, 8), Workers(1));
        assert_eq!(least.uploads(1 << 40, false, 8), Workers(1));
        assert!(least.read_ahead_bytes() >= 4 << 20);
        let budgets: Vec<_> = (0..64).map(|n| MemoryBudget::new((64 << 20) + (n << 24))).collect();
        for pair in budgets.windows(2) {
            assert!(pair[0].read_ahead_bytes() <= pair[1].read_ahead_bytes());
            assert!(pair[0].uploads(16 << 20, false, 8).0 <= pair[1].uploads(16 << 20, false, 8).0);
            assert!(pair[0].requests(8) <= pair[1].requests(8));
        }
    }

    #[test]
    fn the_parts_stay_within_the_whole() {
        for mib in [64, 96, 200, 1000] {
            let budget = MemoryBudget::new(mib << 20);
            let packs = budget.uploads(16 << 20, false, 64).0 as u64 * (16 << 20);
            let parts = FIXED_BYTES + budget.read_ahead_bytes() + packs;
            assert!(parts <= (mib << 20) + (16 << 20), "{mib} MiB: {parts}");
        }
    }
}

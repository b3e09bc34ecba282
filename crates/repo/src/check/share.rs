//! Which packs a check reads: always those first that were verified longest ago, so that a part a day comes
//! round in as many days as there are parts, and an interrupted reading is taken up where it ended.

use super::ledger::Ledger;
use format::id::PackId;

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadShare {
    /// Nothing.
    Nothing,
    /// All.
    Everything,
    /// So many parts of all bytes.
    Part {
        /// How many.
        part: u64,
        /// Of how many.
        of: u64,
    },
    /// This share of all bytes.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
}

impl ReadShare {
    fn budget(self, total: u64) -> u64 {
        match self {
            ReadShare::Nothing => 0,
            ReadShare::Everything => u64::MAX,
            ReadShare::Part { part, of } => {
                let parts = total as u128 * part as u128;
                u64::try_from(parts.div_ceil(of.max(1) as u128)).unwrap_or(u64::MAX)
            }
            ReadShare::Percent(percent) => (total as f64 * percent / 100.0).ceil() as u64,
            ReadShare::Bytes(bytes) => bytes,
        }
    }

    /// The packs to read, in this order. At least the share is taken: else the last part would be left for
    /// ever. Packs that were verified in the same run come in an order drawn from `seed`.
    pub(crate) fn choose(
        self,
        packs: impl Iterator<Item = (PackId, u64)>,
        ledger: &Ledger,
        seed: u64,
    ) -> Vec<PackId> {
        let key = *blake3::hash(&seed.to_le_bytes()).as_bytes();
        let rank = |id: &PackId| (ledger.last_run(id), *blake3::keyed_hash(&key, &id.0).as_bytes());
        let mut packs: Vec<_> = packs.map(|(id, bytes)| (rank(&id), id, bytes)).collect();
        packs.sort_unstable();
        let budget = self.budget(packs.iter().map(|p| p.2).sum());
        let mut sum = 0u64;
        let within = |p: &&(_, PackId, u64)| {
            let wanted = sum < budget;
            sum = sum.saturating_add(p.2);
            wanted
        };
        packs.iter().take_while(within).map(|p| p.1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::check::ledger::Depth;
    use format::kind::Timestamp;
    use std::collections::HashSet;

    #[test]
    fn a_thirtieth_a_day_reads_everything_in_thirty_days() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().into());
        let packs: Vec<_> = (0..97u8).map(|n| (PackId([n; 32]), 1000 + n as u64 * 77)).collect();
        let listed: HashSet<PackId> = packs.iter().map(|p| p.0).collect();
        let (mut read, mut most) = (HashSet::new(), 0);
        for day in 0..30 {
            let mut ledger = Ledger::load(&cache, Depth::Bytes);
            let chosen = ReadShare::Part { part: 1, of: 30 }.choose(packs.iter().copied(), &ledger, day);
            most = most.max(chosen.len());
            for id in chosen {
                read.insert(id);
                ledger.note(id, 1, true, Timestamp::default());
            }
            ledger.finish(&listed);
        }
        assert_eq!(read, listed);
        assert!(most <= 8, "no day reads much more than its part");
    }

    #[test]
    fn shares_are_bounded() {
        let ledger = Ledger::load(&Cache::none(), Depth::Bytes);
        let packs: Vec<_> = (0..50u8).map(|n| (PackId([n; 32]), 100)).collect();
        let count = |share: ReadShare| share.choose(packs.iter().copied(), &ledger, 1).len();
        assert_eq!(count(ReadShare::Nothing), 0);
        assert_eq!(count(ReadShare::Everything), 50);
        assert_eq!(count(ReadShare::Percent(10.0)), 5);
        assert_eq!(count(ReadShare::Bytes(101)), 2);
        assert_eq!(count(ReadShare::Part { part: 1, of: 3 }), 17);
    }
}

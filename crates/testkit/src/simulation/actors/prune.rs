//! Freeing space, as often as it likes, beside everybody else.

use crate::dice::Dice;
use crate::simulation::actors::{Actor, Desk};
use crate::simulation::history::Rights;
use format::codec::Level;
use format::kind::Timestamp;
use repo::RepoResult;
use repo::prune::{PruneOptions, UnusedLimit, prune};
use repo::seed::Seed;
use repo::workers::Workers;
use repo::writer::WriterOptions;
use std::time::Duration;

/// How the pruners of a run prune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Whether what was forgotten can be brought back for ever, or is gone at once.
    pub undo_for_ever: bool,
    /// Whether condemned packs are deleted at once.
    pub no_grace: bool,
    /// Whether sessions are ended that are only slow.
    pub impatient: bool,
}

/// Longer than any clock of a simulation jumps.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);

impl Manners {
    /// The manners of a seed; mostly those that delete most.
    pub fn draw(dice: &mut Dice) -> Self {
        Manners { undo_for_ever: dice.once_in(3), no_grace: !dice.once_in(4), impatient: dice.once_in(3) }
    }

    /// What a pruner asks for.
    pub fn options(&self, now: Timestamp, dice: &mut Dice) -> PruneOptions {
        let day = Duration::from_secs(24 * 3600);
        let limits = [UnusedLimit::Bytes(0), UnusedLimit::Worthwhile, UnusedLimit::Share(0.3)];
        PruneOptions {
            undo_window: if self.undo_for_ever { FOR_EVER } else { Duration::ZERO },
            grace: if self.no_grace { Duration::ZERO } else { day },
            dead_after: if self.impatient { Duration::ZERO } else { FOR_EVER },
            unused: limits[dice.below(3) as usize],
            repack_bytes_max: Some(u64::MAX),
            writer: inline(),
            ..PruneOptions::new(now)
        }
    }
}

/// Everything on the caller's thread.
pub fn inline() -> WriterOptions {
    WriterOptions {
        seal_workers: Workers(0),
        upload_workers: Workers(0),
        level: Level(1),
        ..WriterOptions::default()
    }
}

/// Prunes.
pub struct Prunes;

impl Actor for Prunes {
    fn name(&self) -> &'static str {
        "prune"
    }

    fn rights(&self) -> Rights {
        Rights::Prunes
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        let Some(manners) = desk.weather.prunes else { return Ok(()) };
        let options = manners.options(desk.now, &mut desk.dice);
        let reader = desk.reader()?;
        let mut seed = [1; 32];
        seed[..8].copy_from_slice(&desk.unique_seed().to_le_bytes());
        let report = prune(&reader, &options, Seed::new(seed), &mut |_, _, _| {})?;
        if desk.weather.is_calm()
            && let Some(doubt) = report.doubts.first().or(report.damaged.first())
        {
            desk.oracle.violated("R13", format!("prune doubts where nothing is damaged: {doubt}"));
        }
        Ok(())
    }
}

//! Forgetting snapshots and bringing them back.

use crate::simulation::actors::{Actor, Desk};
use crate::simulation::history::Rights;
use crate::simulation::oracle::Sight;
use format::id::SnapshotId;
use repo::RepoResult;
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget, remember};

/// Forgets a snapshot, or changes its mind about one.
#[derive(Default)]
pub struct Forgets {
    forgotten: Vec<SnapshotId>,
}

impl Actor for Forgets {
    fn name(&self) -> &'static str {
        "forget"
    }

    fn rights(&self) -> Rights {
        Rights::Forgets
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        let repo = desk.world.open_over(desk.store())?;
        if desk.dice.once_in(3)
            && let Some(id) = self.forgotten.pop()
        {
            desk.oracle.shows(desk.number, id, Sight::Doubtful);
            remember(&repo, &id)?;
            if desk.weather.can_undo() {
                desk.oracle.shows(desk.number, id, Sight::Shown);
            }
            return Ok(());
        }
        let list = SnapshotList::read(&repo)?;
        let visible: Vec<SnapshotId> = list.visible().map(|s| s.id).collect();
        if visible.is_empty() {
            return Ok(());
        }
        let id = visible[desk.dice.below(visible.len() as u64) as usize];
        self.forgotten.push(id);
        desk.oracle.shows(desk.number, id, Sight::Doubtful);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&desk.unique_seed().to_le_bytes());
        forget(&repo, &id, desk.now, "by the simulation", &mut Seed::new(seed))?;
        desk.oracle.shows(desk.number, id, Sight::Hidden);
        Ok(())
    }
}

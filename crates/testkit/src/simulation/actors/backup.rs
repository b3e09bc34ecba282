//! Backups of a changing map of files by the repository's real writer.

use crate::dice::Dice;
use crate::files::{Files, edit, random_files};
use crate::mini::{self, Backup, Done};
use crate::simulation::actors::{Actor, Desk};
use crate::simulation::history::Rights;
use format::id::SnapshotId;
use format::snapshot::Snapshot;
use repo::snapshots::SnapshotList;
use repo::{RepoError, RepoResult};
use std::collections::BTreeSet;
use std::sync::Arc;

/// In every tree, and never to be read in a place without the key.
pub const CANARY: &[u8] = b"the canary sings in plain text";

/// Saves its files again and again.
pub struct Backups {
    files: Files,
    mine: BTreeSet<SnapshotId>,
}

/// How often a run may start over, plus the first try; each has an id of its own.
const TRIES: u64 = 3;

impl Backups {
    /// One with some files.
    pub fn new(dice: &mut Dice) -> Self {
        let count = 4 + dice.below(14) as usize;
        let mut files = random_files(dice, count);
        files.values_mut().for_each(|bytes| bytes.truncate(5000));
        files.insert("canary".into(), CANARY.to_vec());
        Backups { files, mine: BTreeSet::new() }
    }

    fn attempt(
        &mut self,
        desk: &mut Desk,
        files: &Arc<Files>,
        parent: Option<&Snapshot>,
        seed: u64,
    ) -> RepoResult<Done> {
        for again in 0..TRIES {
            let id = mini::session_of(seed + (again << 32));
            self.mine.insert(id);
            desk.oracle.attempts(id, files);
        }
        let reader = desk.reader()?;
        let options = Backup {
            parent,
            thorough: desk.dice.once_in(4),
            checkpoint_files: desk.dice.below(8) as usize,
            segment_packs: 1 + desk.dice.below(3) as usize,
            ..Backup::new(seed)
        };
        mini::backup(&reader, files, &options)
    }

    /// The newest snapshot of these files, as the program chooses it.
    fn parent(&self, desk: &mut Desk) -> RepoResult<Option<Snapshot>> {
        if desk.dice.once_in(4) {
            return Ok(None);
        }
        let repo = desk.world.open_over(desk.store())?;
        let list = SnapshotList::read(&repo)?;
        Ok(list.visible().rev().find(|s| self.mine.contains(&s.id)).cloned())
    }
}

impl Actor for Backups {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn rights(&self) -> Rights {
        Rights::BacksUp
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        if desk.round > 0 {
            let edits = desk.dice.below(5) as usize;
            edit(&mut desk.dice, &mut self.files, edits);
            self.files.values_mut().for_each(|bytes| bytes.truncate(5000));
            self.files.insert("canary".into(), CANARY.to_vec());
        }
        let files = Arc::new(self.files.clone());
        let parent = self.parent(desk)?;
        let seed = desk.unique_seed();
        let done = match self.attempt(desk, &files, parent.as_ref(), seed) {
            // A parent that cannot be read is no reason not to back up: everything is read again.
            Err(e) if e.is_damage() && parent.is_some() => {
                self.attempt(desk, &files, None, seed + (1 << 40))?
            }
            other => other?,
        };
        desk.oracle.acknowledges(done.snapshot.id, desk.watched.listed_at());
        if done.snapshot.id != mini::session_of(seed) && desk.weather.is_calm() {
            return Err(RepoError::Overtaken);
        }
        Ok(())
    }
}

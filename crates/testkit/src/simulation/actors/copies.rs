//! Copies from a sibling: somebody has a place of his own, makes snapshots there, and brings them here.

use crate::dice::Dice;
use crate::files::{Files, edit, random_files};
use crate::mini::{Backup, backup};
use crate::simulation::actors::backup::CANARY;
use crate::simulation::actors::{Actor, Desk};
use crate::simulation::history::Rights;
use crate::world::World;
use format::id::SnapshotId;
use format::kind::Timestamp;
use repo::RepoResult;
use repo::seed::Seed;
use repo::sync::{SyncOptions, id_of_generation, sync};
use repo::workers::Workers;
use repo::writer::WriterOptions;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Brings snapshots from a place where nothing goes wrong.
pub struct Copies {
    files: Files,
    sibling: Option<World>,
    made: BTreeSet<SnapshotId>,
}

/// An id may be over here so often: ended, or removed.
const GENERATIONS: u32 = 6;

impl Copies {
    /// One with some files.
    pub fn new(dice: &mut Dice) -> Self {
        let mut files = random_files(dice, 8);
        files.insert("canary".into(), CANARY.to_vec());
        Copies { files, sibling: None, made: BTreeSet::new() }
    }

    fn trimmed(&mut self) -> Arc<Files> {
        self.files.values_mut().for_each(|bytes| bytes.truncate(5000));
        self.files.insert("canary".into(), CANARY.to_vec());
        Arc::new(self.files.clone())
    }
}

impl Actor for Copies {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn rights(&self) -> Rights {
        Rights::BacksUp
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        let target = desk.reader()?;
        let keys = target.repo().keys().clone();
        let sibling = self.sibling.get_or_insert_with(|| desk.world.sibling_with(keys, desk.unique_seed()));
        let source = sibling.reader()?;
        let edits = desk.dice.below(5) as usize;
        edit(&mut desk.dice, &mut self.files, edits);
        let files = self.trimmed();
        let made = backup(&source, &files, &Backup::new(desk.unique_seed() + (1 << 50)))?.snapshot.id;
        self.made.insert(made);
        let here = target.repo().identity().repo;
        desk.oracle.attempts(made, &files);
        for generation in 1..=GENERATIONS {
            desk.oracle.attempts(id_of_generation(&here, &made, generation), &files);
        }
        let none = Workers(0);
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&desk.unique_seed().to_le_bytes());
        let mut options = SyncOptions {
            snapshots: Some(self.made.clone()),
            again: desk.dice.once_in(3),
            dry_run: false,
            read_back: desk.dice.once_in(4),
            now: Timestamp::default(),
            fetch_workers: none,
            writer: WriterOptions {
                seal_workers: none,
                upload_workers: none,
                segment_packs: 1 + desk.dice.below(3) as usize,
                ..WriterOptions::default()
            },
            progress: &mut |_, _| {},
            cancelled: &|| false,
        };
        let report = sync(&source, &target, &mut options, Seed::new(seed))?;
        for (_, id) in report.copied {
            desk.oracle.acknowledges(id, desk.watched.listed_at());
        }
        Ok(())
    }
}

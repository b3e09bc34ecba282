//! Mending, beside everybody else, with and without the source of the files at hand.

use crate::files::Files;
use crate::mini::PIECE_BYTES;
use crate::simulation::actors::prune::inline;
use crate::simulation::actors::{Actor, Desk};
use crate::simulation::history::Rights;
use format::id::{BlobId, BlobKind};
use format::kind::Timestamp;
use repo::check::ReadShare;
use repo::reader::Reader;
use repo::repair::{RepairOptions, RepairReport, SourceFiles, Wanted, repair};
use repo::seed::Seed;
use repo::workers::Workers;
use repo::{Repo, RepoResult};
use std::sync::Arc;

/// Repairs, or says what it would do.
pub struct Repairs;

impl Actor for Repairs {
    fn name(&self) -> &'static str {
        "repair"
    }

    fn rights(&self) -> Rights {
        Rights::Repairs
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        // What has to be mended comes up while others work.
        for _ in 0..desk.dice.below(60) {
            desk.at_turn(|| ());
        }
        let reader = desk.reader()?;
        let known = desk.oracle.acknowledged();
        let files = match desk.dice.below(2 * known.len() as u64 + 1) as usize {
            at if at < known.len() => vec![known[at].files.clone()],
            _ => Vec::new(),
        };
        let mending = Mending {
            dry_run: desk.dice.once_in(6),
            read: if desk.dice.once_in(3) { ReadShare::Nothing } else { ReadShare::Everything },
            now: desk.now,
            seed: desk.unique_seed(),
        };
        let report = mending.run(&reader, files)?;
        if desk.weather.is_calm() && !report.left.is_empty() {
            desk.oracle.violated("R13", format!("repair finds damage where there is none: {report:?}"));
        }
        Ok(())
    }
}

/// How a repair of the simulation is done.
pub struct Mending {
    /// Say only what would be done.
    pub dry_run: bool,
    /// Which packs are read.
    pub read: ReadShare,
    /// What the time is believed to be.
    pub now: Timestamp,
    /// Randomness.
    pub seed: u64,
}

impl Mending {
    /// Everything is read, and mended.
    pub fn whole(seed: u64) -> Self {
        Mending { dry_run: false, read: ReadShare::Everything, now: Timestamp::default(), seed }
    }

    /// Repairs; `files` are those of sources that are at hand.
    pub fn run(&self, reader: &Arc<Reader>, files: Vec<Arc<Files>>) -> RepoResult<RepairReport> {
        let mut source = MapSource(files);
        let mut options = RepairOptions {
            dry_run: self.dry_run,
            read: self.read,
            workers: Workers(0),
            sample_seed: self.seed,
            now: self.now,
            sibling: None,
            source: Some(&mut source),
            writer: inline(),
            progress: &mut |_, _| {},
        };
        let mut seed = [2; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        repair(reader, &mut options, Seed::new(seed))
    }
}

/// Files that may hold what is lost.
struct MapSource(Vec<Arc<Files>>);

impl SourceFiles for MapSource {
    fn find(
        &mut self,
        repo: &Repo,
        wanted: &Wanted,
        give: &mut dyn FnMut(&BlobId, &[u8]) -> RepoResult<()>,
    ) -> RepoResult<()> {
        for piece in
            self.0.iter().flat_map(|files| files.values()).flat_map(|bytes| bytes.chunks(PIECE_BYTES))
        {
            let Ok(id) = repo.keys().blob_id(BlobKind::Data, piece) else { continue };
            if wanted.ids.contains(&id) {
                give(&id, piece)?;
            }
        }
        Ok(())
    }
}

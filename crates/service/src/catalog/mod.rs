//! The catalog: what this installation remembers of its runs, copies, verifications, drills and alarms,
//! and the names over all snapshots.
//!
//! Two SQLite files. [`Catalog`] (small, in the state folder) holds records; [`Names`] (large, in the cache
//! folder) holds the paths of all snapshots for instant search. What they promise:
//! - neither is needed for a restore; a missing or corrupt file is replaced by an empty one, and what the
//!   repositories know is filled in again ([`Catalog::see_copies`], [`Names::update`]);
//! - a catalog of a newer version is left alone, and nothing is recorded;
//! - no writer waits longer than [`BUSY_MS_MAX`] for another: recording may fail, a run never does for it.
//!
//! Times are Unix seconds; what never happened is `None`, never 0.

mod alarms;
mod copies;
mod database;
mod duties;
mod names;
mod runs;
mod search;
mod signals;

pub use alarms::{Alarm, NotifierState};
pub use copies::{Copy, Drill, DrillResult, ErasedLeft, PlaceFacts, Verification};
pub use database::{BUSY_MS_MAX, CatalogError, CatalogResult};
pub use duties::{Duty, DutyRecord};
pub use names::{Names, Point, Updated};
pub use runs::{NewRun, Run, RunId, RunResult, SourceResult, Totals};
pub use search::{Ends, Found, FoundBySnapshot, Query, literal};
pub use signals::Suspicion;

use database::{Schema, open};
use rusqlite::Connection;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Name of the file in the state folder.
pub const CATALOG_FILE: &str = "catalog.sqlite";
/// Name of the file in the cache folder.
pub const NAMES_FILE: &str = "names.sqlite";

/// The records of this installation. Cheap calls, usable from any thread.
pub struct Catalog {
    connection: Mutex<Connection>,
    replaced: Option<String>,
}

impl Catalog {
    /// Opens the catalog, or begins a new one where none is or the old one is corrupt.
    pub fn open(path: &Path) -> CatalogResult<Self> {
        let opened = open(path, &SCHEMA)?;
        Ok(Catalog { connection: Mutex::new(opened.connection), replaced: opened.replaced })
    }

    /// A catalog that is gone with this value.
    pub fn in_memory() -> CatalogResult<Self> {
        let connection = database::in_memory(&SCHEMA)?;
        Ok(Catalog { connection: Mutex::new(connection), replaced: None })
    }

    /// Why the file was replaced when it was opened, if it was.
    pub fn replaced(&self) -> Option<&str> {
        self.replaced.as_deref()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops runs and their results that began before `before`, except the newest of each job.
    pub fn trim(&self, before: i64) -> CatalogResult<()> {
        let connection = self.connection();
        let sql = "DELETE FROM runs WHERE start < ?1 AND id NOT IN \
                   (SELECT id FROM (SELECT id, max(start) FROM runs GROUP BY job))";
        connection.execute(sql, [before]).map_err(CatalogError::during("drop old runs"))?;
        Ok(())
    }
}

/// Steps from one version to the next. Never changed once released; a later version appends.
const SCHEMA: Schema = Schema { what: "catalog", check_all: true, steps: &[include_str!("catalog.sql")] };

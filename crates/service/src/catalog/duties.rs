//! Duties: what must happen again and again, and when it last did. Each has its own freshness.

use super::{Catalog, CatalogError, CatalogResult};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

/// What must happen again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// A job's run; the subject is the job.
    Run,
    /// Retention and freeing space; the subject is the repository.
    Maintenance,
    /// Reading what is stored; the subject is the repository.
    Verify,
    /// A drill; the subject is its name.
    Drill,
    /// Bringing an absent copy up to date; the subject is the repository.
    Sync,
    /// The regular report; the subject is empty.
    Report,
    /// Looking whether all the others happened; the subject is empty.
    Watch,
}

impl Duty {
    /// All of them.
    pub const ALL: [Duty; 7] =
        [Duty::Run, Duty::Maintenance, Duty::Verify, Duty::Drill, Duty::Sync, Duty::Report, Duty::Watch];

    /// As it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Duty::Run => "run",
            Duty::Maintenance => "maintenance",
            Duty::Verify => "verify",
            Duty::Drill => "drill",
            Duty::Sync => "sync",
            Duty::Report => "report",
            Duty::Watch => "watch",
        }
    }
}

/// When a duty was last done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DutyRecord {
    /// Since when it should happen: when it was first heard of.
    pub first_due: i64,
    /// When it was last tried.
    pub attempted: Option<i64>,
    /// When it last went well.
    pub succeeded: Option<i64>,
    /// How often it failed since then.
    pub failures: u64,
    /// Why it failed last.
    pub error: Option<String>,
}

impl Catalog {
    /// Makes a duty known without having done it, so that its absence is noticed from now on.
    pub fn expect_duty(&self, duty: Duty, subject: &str, now: i64) -> CatalogResult<()> {
        let sql = "INSERT INTO duties (duty, subject, first_due) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let put = self.connection().execute(sql, params![duty.as_str(), subject, now]);
        put.map(drop).map_err(CatalogError::during("record a duty"))
    }

    /// Records that a duty was tried; `error` says why it failed.
    pub fn record_duty(&self, duty: Duty, subject: &str, at: i64, error: Option<&str>) -> CatalogResult<()> {
        let sql = match error {
            None => {
                "INSERT INTO duties VALUES (?1, ?2, ?3, ?3, ?3, 0, ?4) \
                 ON CONFLICT DO UPDATE SET attempted = ?3, succeeded = ?3, failures = 0, error = NULL"
            }
            Some(_) => {
                "INSERT INTO duties VALUES (?1, ?2, ?3, ?3, NULL, 1, ?4) \
                 ON CONFLICT DO UPDATE SET attempted = ?3, failures = failures + 1, error = ?4"
            }
        };
        let put = self.connection().execute(sql, params![duty.as_str(), subject, at, error]);
        put.map(drop).map_err(CatalogError::during("record a duty"))
    }

    /// When a duty was last done; none if it was never heard of.
    pub fn duty(&self, duty: Duty, subject: &str) -> CatalogResult<Option<DutyRecord>> {
        let sql = "SELECT first_due, attempted, succeeded, failures, error FROM duties \
                   WHERE duty = ?1 AND subject = ?2";
        let row = self.connection().query_row(sql, [duty.as_str(), subject], record_of);
        row.optional().map_err(CatalogError::during("look up a duty"))
    }
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<DutyRecord> {
    Ok(DutyRecord {
        first_due: row.get(0)?,
        attempted: row.get(1)?,
        succeeded: row.get(2)?,
        failures: super::runs::number(row, 3)?,
        error: row.get(4)?,
    })
}

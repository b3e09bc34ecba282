//! Runs: what ran, why, when, how it ended, and what became of each source in each repository.

use super::{Catalog, CatalogError, CatalogResult};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

/// Names a run: 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RunId(pub String);

impl RunId {
    /// From randomness.
    pub fn new(random: [u8; 8]) -> Self {
        RunId(random.iter().map(|b| format!("{b:02x}")).collect())
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunResult {
    /// All of it.
    Success,
    /// Finished, but something could not be read.
    Partial,
    /// Not done.
    Failed,
    /// Not done on purpose: disk absent, on battery, quiet hours, a hook said so.
    Skipped,
    /// Ended by the user or the system.
    Cancelled,
}

impl RunResult {
    /// As it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            RunResult::Success => "success",
            RunResult::Partial => "partial",
            RunResult::Failed => "failed",
            RunResult::Skipped => "skipped",
            RunResult::Cancelled => "cancelled",
        }
    }

    /// What is not known must be read as failure.
    fn parse(word: &str) -> Self {
        let all = [RunResult::Success, RunResult::Partial, RunResult::Skipped, RunResult::Cancelled];
        all.into_iter().find(|result| result.as_str() == word).unwrap_or(RunResult::Failed)
    }
}

/// A run that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Its name.
    pub id: RunId,
    /// The job, or another word for what asked for it (`backup` by hand).
    pub job: String,
    /// What is done: `backup`, `sync`, `maintenance`, `verify`, `drill`.
    pub what: String,
    /// Why now: `schedule`, `catch-up`, `manual`, `plugged-in`.
    pub trigger: String,
    /// When it began.
    pub start: i64,
}

/// A run as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The job.
    pub job: String,
    /// What was done.
    pub what: String,
    /// Why.
    pub trigger: String,
    /// When it began.
    pub start: i64,
    /// When it ended; none while it runs, or when it was killed.
    pub end: Option<i64>,
    /// How it ended.
    pub result: Option<RunResult>,
    /// The exit code.
    pub exit: Option<i64>,
    /// What went wrong, in words.
    pub error: Option<String>,
}

/// What became of one source in one repository during a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceResult {
    /// The run.
    pub run: RunId,
    /// The source's name.
    pub source: String,
    /// The repository's name.
    pub repository: String,
    /// When it was done.
    pub at: i64,
    /// How it ended.
    pub result: RunResult,
    /// The snapshot, in hex, if there is one.
    pub snapshot: Option<String>,
    /// Files in the snapshot.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes of new blobs, before compression.
    pub added_bytes: u64,
    /// Bytes stored.
    pub uploaded_bytes: u64,
    /// Paths that could not be read.
    pub errors: u64,
    /// How long it took.
    pub seconds: f64,
    /// The exit code it would have by itself.
    pub code: i64,
    /// What went wrong, in words.
    pub error: Option<String>,
}

/// Sums over all recorded results of a pair; they only grow while the catalog lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of new blobs.
    pub added_bytes: u64,
    /// Bytes stored.
    pub uploaded_bytes: u64,
    /// Results recorded.
    pub runs: u64,
    /// Those that failed.
    pub failures: u64,
}

const RUN_COLUMNS: &str = "id, job, what, trigger, start, end, result, exit, error";
const RESULT_COLUMNS: &str = "run, source, repository, at, result, snapshot, files, bytes, added_bytes, \
                              uploaded_bytes, errors, seconds, code, error";

impl Catalog {
    /// Records that a run begins.
    pub fn begin_run(&self, run: &NewRun) -> CatalogResult<()> {
        let sql = "INSERT INTO runs (id, job, what, trigger, start) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![run.id.0, run.job, run.what, run.trigger, run.start];
        self.connection().execute(sql, values).map_err(CatalogError::during("record a run"))?;
        Ok(())
    }

    /// Records how a run ended.
    pub fn end_run(
        &self,
        id: &RunId,
        end: i64,
        result: RunResult,
        exit: i64,
        error: Option<&str>,
    ) -> CatalogResult<()> {
        let sql = "UPDATE runs SET end = ?2, result = ?3, exit = ?4, error = ?5 WHERE id = ?1";
        let values = params![id.0, end, result.as_str(), exit, error];
        self.connection().execute(sql, values).map_err(CatalogError::during("record the end of a run"))?;
        Ok(())
    }

    /// Records what became of a source in a repository, and adds to the sums.
    pub fn record_result(&self, r: &SourceResult) -> CatalogResult<()> {
        let failed = CatalogError::during("record a result");
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(&failed)?;
        let sql = format!(
            "INSERT OR REPLACE INTO results ({RESULT_COLUMNS}) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        );
        let values = params![
            r.run.0,
            r.source,
            r.repository,
            r.at,
            r.result.as_str(),
            r.snapshot,
            stored(r.files),
            stored(r.bytes),
            stored(r.added_bytes),
            stored(r.uploaded_bytes),
            stored(r.errors),
            r.seconds,
            r.code,
            r.error
        ];
        transaction.execute(&sql, values).map_err(&failed)?;
        let sql = "INSERT INTO totals VALUES (?1, ?2, ?3, ?4, 1, ?5) ON CONFLICT DO UPDATE SET \
                   added_bytes = added_bytes + ?3, uploaded_bytes = uploaded_bytes + ?4, \
                   runs = runs + 1, failures = failures + ?5";
        let failures = i64::from(r.result == RunResult::Failed);
        let values =
            params![r.source, r.repository, stored(r.added_bytes), stored(r.uploaded_bytes), failures];
        transaction.execute(sql, values).map_err(&failed)?;
        if !matches!(r.code, 0 | 75) {
            let sql = "INSERT INTO errors VALUES (?1, 1) ON CONFLICT DO UPDATE SET count = count + 1";
            transaction.execute(sql, [r.code]).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)
    }

    /// The newest runs, newest first; of one job, or of all.
    pub fn runs(&self, job: Option<&str>, limit: usize) -> CatalogResult<Vec<Run>> {
        let failed = CatalogError::during("list runs");
        let connection = self.connection();
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE ?1 IS NULL OR job = ?1 ORDER BY start DESC, rowid DESC LIMIT ?2"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let rows = statement.query_map(params![job, limit as i64], run_of).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Runs whose names begin with these letters.
    pub fn runs_named(&self, start: &str) -> CatalogResult<Vec<Run>> {
        let failed = CatalogError::during("find a run");
        let connection = self.connection();
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY start LIMIT 10"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let rows = statement.query_map([start], run_of).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// What became of each source in a run.
    pub fn results(&self, run: &RunId) -> CatalogResult<Vec<SourceResult>> {
        let failed = CatalogError::during("list results");
        let connection = self.connection();
        let sql = format!("SELECT {RESULT_COLUMNS} FROM results WHERE run = ?1 ORDER BY source, repository");
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let rows = statement.query_map([&run.0], result_of).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// The newest results of a source in a repository, newest first. Skipped ones count as none.
    pub fn last_results(
        &self,
        source: &str,
        repository: &str,
        limit: usize,
    ) -> CatalogResult<Vec<SourceResult>> {
        let failed = CatalogError::during("look up results");
        let connection = self.connection();
        let sql = format!(
            "SELECT {RESULT_COLUMNS} FROM results WHERE source = ?1 AND repository = ?2 \
             AND result <> 'skipped' ORDER BY at DESC, rowid DESC LIMIT ?3"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let rows = statement.query_map(params![source, repository, limit as i64], result_of);
        rows.map_err(&failed)?.collect::<Result<_, _>>().map_err(&failed)
    }

    /// The sums of a pair.
    pub fn totals(&self, source: &str, repository: &str) -> CatalogResult<Totals> {
        let sql = "SELECT added_bytes, uploaded_bytes, runs, failures FROM totals \
                   WHERE source = ?1 AND repository = ?2";
        let totals = self.connection().query_row(sql, [source, repository], |row| {
            Ok(Totals {
                added_bytes: number(row, 0)?,
                uploaded_bytes: number(row, 1)?,
                runs: number(row, 2)?,
                failures: number(row, 3)?,
            })
        });
        Ok(totals.optional().map_err(CatalogError::during("look up sums"))?.unwrap_or_default())
    }

    /// How often runs ended with each exit code that means failure.
    pub fn error_counts(&self) -> CatalogResult<Vec<(i64, u64)>> {
        let failed = CatalogError::during("count errors");
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT code, count FROM errors ORDER BY code").map_err(&failed)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, number(row, 1)?))).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }
}

/// SQLite's integers are signed; nothing real comes near the difference.
pub(super) fn stored(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: RunId(row.get(0)?),
        job: row.get(1)?,
        what: row.get(2)?,
        trigger: row.get(3)?,
        start: row.get(4)?,
        end: row.get(5)?,
        result: row.get::<_, Option<String>>(6)?.map(|word| RunResult::parse(&word)),
        exit: row.get(7)?,
        error: row.get(8)?,
    })
}

fn result_of(row: &Row<'_>) -> rusqlite::Result<SourceResult> {
    Ok(SourceResult {
        run: RunId(row.get(0)?),
        source: row.get(1)?,
        repository: row.get(2)?,
        at: row.get(3)?,
        result: RunResult::parse(&row.get::<_, String>(4)?),
        snapshot: row.get(5)?,
        files: number(row, 6)?,
        bytes: number(row, 7)?,
        added_bytes: number(row, 8)?,
        uploaded_bytes: number(row, 9)?,
        errors: number(row, 10)?,
        seconds: row.get(11)?,
        code: row.get(12)?,
        error: row.get(13)?,
    })
}

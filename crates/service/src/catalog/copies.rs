//! Copies (source x repository x snapshot), verifications, drills, and what is known of each place.

use super::runs::{number, stored};
use super::{Catalog, CatalogError, CatalogResult};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

/// One snapshot of a source in one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// The source's name.
    pub source: String,
    /// The repository's name.
    pub repository: String,
    /// The snapshot, in hex.
    pub snapshot: String,
    /// The moment it holds: when the run that read the source began.
    pub time: i64,
    /// When this copy was made.
    pub made: i64,
    /// Whether it is complete and not known to be damaged or suspicious.
    pub good: bool,
    /// Files in it.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// When all of it was last read and found right, here.
    pub verified: Option<i64>,
    /// When a drill last restored from it, here.
    pub drilled: Option<i64>,
}

/// What a check or scrub of a repository found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// The repository's name.
    pub repository: String,
    /// When it ended.
    pub at: i64,
    /// `check`, `read-data`, `scrub` or `repair`.
    pub kind: String,
    /// How much of the stored bytes was read, 0 to 1.
    pub ratio: f64,
    /// Bytes read.
    pub bytes: u64,
    /// Objects found damaged or missing.
    pub damaged: u64,
    /// Why it could not finish.
    pub error: Option<String>,
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillResult {
    /// Everything came back, in time, and every assertion held.
    Passed,
    /// Something came back wrong, late or not at all.
    Failed,
}

/// A test restore and its evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drill {
    /// The drill's name.
    pub name: String,
    /// What was restored.
    pub source: String,
    /// From where.
    pub repository: String,
    /// The snapshot, in hex.
    pub snapshot: Option<String>,
    /// When it ended.
    pub at: i64,
    /// How long the restore took.
    pub seconds: f64,
    /// How it ended.
    pub result: DrillResult,
    /// Files that came back.
    pub files: u64,
    /// Bytes that came back.
    pub bytes: u64,
    /// How long it may take.
    pub rto_seconds: Option<f64>,
    /// The evidence, as JSON.
    pub detail: String,
}

/// What is left in a repository of what was erased from history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasedLeft {
    /// It was not reached when paths were erased from its other copies.
    Missed,
    /// So many snapshots hold erased paths that nothing protects.
    Snapshots(u64),
}

/// What was seen of a repository when it was last open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceFacts {
    /// Bytes stored there, if counted.
    pub stored_bytes: Option<u64>,
    /// Bytes still free there, if it says.
    pub free_bytes: Option<u64>,
    /// Snapshots in sight.
    pub snapshots: u64,
    /// Whether deleting a version was tried and refused; none if it was not tried.
    pub immutable_proven: Option<bool>,
    /// Whether the credentials of this machine may delete there; none if not known.
    pub deletable: Option<bool>,
    /// The repository's id, in hex.
    pub repository_id: String,
    /// The family's id, in hex.
    pub family: String,
    /// The location without secrets.
    pub location: String,
    /// Sources whose files lie on the same file system.
    pub same_disk: Vec<String>,
    /// What is left of what was erased; none if nothing is.
    pub erased: Option<ErasedLeft>,
}

const COPY_COLUMNS: &str = "source, repository, snapshot, time, made, good, files, bytes, verified, drilled";
const DRILL_COLUMNS: &str =
    "name, source, repository, snapshot, at, seconds, result, files, bytes, rto_seconds, detail";

impl Catalog {
    /// Records a copy, or what changed about it; when it was verified or drilled is kept unless told anew.
    pub fn record_copy(&self, copy: &Copy) -> CatalogResult<()> {
        let connection = self.connection();
        put_copy(&connection, copy).map_err(CatalogError::during("record a copy"))
    }

    /// Takes over what a repository holds of a source: what is not listed is gone. This is how a catalog that
    /// was lost knows its copies again.
    pub fn see_copies(&self, source: &str, repository: &str, seen: &[Copy]) -> CatalogResult<()> {
        let failed = CatalogError::during("record the copies of a repository");
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(&failed)?;
        let sql = "UPDATE copies SET gone = 1 WHERE source = ?1 AND repository = ?2";
        transaction.execute(sql, [source, repository]).map_err(&failed)?;
        for copy in seen {
            put_copy(&transaction, copy).map_err(&failed)?;
        }
        let sql = "DELETE FROM copies WHERE source = ?1 AND repository = ?2 AND gone = 1";
        transaction.execute(sql, [source, repository]).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// The copies of a source in a repository, newest moment first.
    pub fn copies(&self, source: &str, repository: &str) -> CatalogResult<Vec<Copy>> {
        let failed = CatalogError::during("list copies");
        let connection = self.connection();
        let sql = format!(
            "SELECT {COPY_COLUMNS} FROM copies WHERE source = ?1 AND repository = ?2 \
             ORDER BY time DESC, snapshot"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let rows = statement.query_map([source, repository], copy_of).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Says that a copy is damaged or otherwise not to be counted on, or that it is right again.
    pub fn mark_copy(&self, repository: &str, snapshot: &str, good: bool) -> CatalogResult<()> {
        let sql = "UPDATE copies SET good = ?3 WHERE repository = ?1 AND snapshot = ?2";
        let marked = self.connection().execute(sql, params![repository, snapshot, good]);
        marked.map(drop).map_err(CatalogError::during("mark a copy"))
    }

    /// Records a verification. One that read everything and found nothing verifies all copies there; their
    /// snapshots must be given, since others may have arrived meanwhile.
    pub fn record_verification(&self, v: &Verification, snapshots: &[String]) -> CatalogResult<()> {
        let failed = CatalogError::during("record a verification");
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(&failed)?;
        let sql = "INSERT INTO verifications (repository, at, kind, ratio, bytes, damaged, error) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values =
            params![v.repository, v.at, v.kind, v.ratio, stored(v.bytes), stored(v.damaged), v.error];
        transaction.execute(sql, values).map_err(&failed)?;
        let sql = "UPDATE copies SET verified = ?3 WHERE repository = ?1 AND snapshot = ?2";
        for snapshot in snapshots {
            transaction.execute(sql, params![v.repository, snapshot, v.at]).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)
    }

    /// The newest verifications of a repository, newest first.
    pub fn verifications(&self, repository: &str, limit: usize) -> CatalogResult<Vec<Verification>> {
        let failed = CatalogError::during("list verifications");
        let connection = self.connection();
        let sql = "SELECT repository, at, kind, ratio, bytes, damaged, error FROM verifications \
                   WHERE repository = ?1 ORDER BY at DESC, id DESC LIMIT ?2";
        let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
        let rows = statement.query_map(params![repository, limit as i64], |row| {
            Ok(Verification {
                repository: row.get(0)?,
                at: row.get(1)?,
                kind: row.get(2)?,
                ratio: row.get(3)?,
                bytes: number(row, 4)?,
                damaged: number(row, 5)?,
                error: row.get(6)?,
            })
        });
        rows.map_err(&failed)?.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Records a drill; one that passed counts for its snapshot.
    pub fn record_drill(&self, d: &Drill) -> CatalogResult<()> {
        let failed = CatalogError::during("record a drill");
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(&failed)?;
        let sql = format!(
            "INSERT INTO drills ({DRILL_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        );
        let result = match d.result {
            DrillResult::Passed => "passed",
            DrillResult::Failed => "failed",
        };
        let values = params![
            d.name,
            d.source,
            d.repository,
            d.snapshot,
            d.at,
            d.seconds,
            result,
            stored(d.files),
            stored(d.bytes),
            d.rto_seconds,
            d.detail
        ];
        transaction.execute(&sql, values).map_err(&failed)?;
        if let (DrillResult::Passed, Some(snapshot)) = (d.result, &d.snapshot) {
            let sql =
                "UPDATE copies SET drilled = ?4 WHERE source = ?1 AND repository = ?2 AND snapshot = ?3";
            transaction.execute(sql, params![d.source, d.repository, snapshot, d.at]).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)
    }

    /// The newest drills, newest first; of one drill by name, or of all.
    pub fn drills(&self, name: Option<&str>, limit: usize) -> CatalogResult<Vec<Drill>> {
        self.drills_where("?1 IS NULL OR name = ?1", params![name, limit as i64])
    }

    /// The newest drills of a source from a repository, newest first.
    pub fn drills_of(&self, source: &str, repository: &str, limit: usize) -> CatalogResult<Vec<Drill>> {
        self.drills_where("source = ?1 AND repository = ?3", params![source, limit as i64, repository])
    }

    fn drills_where(&self, condition: &str, values: &[&dyn rusqlite::ToSql]) -> CatalogResult<Vec<Drill>> {
        let failed = CatalogError::during("list drills");
        let connection = self.connection();
        let sql = format!(
            "SELECT {DRILL_COLUMNS} FROM drills WHERE {condition} ORDER BY at DESC, id DESC LIMIT ?2"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let rows = statement.query_map(values, drill_of).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Remembers what was seen of a repository.
    pub fn record_place(&self, repository: &str, at: i64, facts: &PlaceFacts) -> CatalogResult<()> {
        let facts = serde_json::to_string(facts).expect("numbers and words are always JSON");
        let sql = "INSERT OR REPLACE INTO places VALUES (?1, ?2, ?3)";
        let put = self.connection().execute(sql, params![repository, at, facts]);
        put.map(drop).map_err(CatalogError::during("record a place"))
    }

    /// What was last seen of a repository, and when.
    pub fn place(&self, repository: &str) -> CatalogResult<Option<(i64, PlaceFacts)>> {
        let sql = "SELECT at, facts FROM places WHERE repository = ?1";
        let row = self
            .connection()
            .query_row(sql, [repository], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
        let row = row.optional().map_err(CatalogError::during("look up a place"))?;
        // Facts that cannot be read are facts not known: they come back when the place is next open.
        Ok(row.and_then(|(at, facts)| Some((at, serde_json::from_str(&facts).ok()?))))
    }
}

fn put_copy(connection: &rusqlite::Connection, c: &Copy) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO copies ({COPY_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT DO UPDATE SET time = ?4, made = min(made, ?5), good = ?6, files = ?7, bytes = ?8, \
         verified = coalesce(?9, verified), drilled = coalesce(?10, drilled), gone = 0"
    );
    let values = params![
        c.source,
        c.repository,
        c.snapshot,
        c.time,
        c.made,
        c.good,
        stored(c.files),
        stored(c.bytes),
        c.verified,
        c.drilled
    ];
    connection.prepare_cached(&sql)?.execute(values)?;
    Ok(())
}

fn copy_of(row: &Row<'_>) -> rusqlite::Result<Copy> {
    Ok(Copy {
        source: row.get(0)?,
        repository: row.get(1)?,
        snapshot: row.get(2)?,
        time: row.get(3)?,
        made: row.get(4)?,
        good: row.get(5)?,
        files: number(row, 6)?,
        bytes: number(row, 7)?,
        verified: row.get(8)?,
        drilled: row.get(9)?,
    })
}

fn drill_of(row: &Row<'_>) -> rusqlite::Result<Drill> {
    Ok(Drill {
        name: row.get(0)?,
        source: row.get(1)?,
        repository: row.get(2)?,
        snapshot: row.get(3)?,
        at: row.get(4)?,
        seconds: row.get(5)?,
        result: match row.get::<_, String>(6)?.as_str() {
            "passed" => DrillResult::Passed,
            _ => DrillResult::Failed,
        },
        files: number(row, 7)?,
        bytes: number(row, 8)?,
        rto_seconds: row.get(9)?,
        detail: row.get(10)?,
    })
}

//! What looked like an attack, until a person says that it was none.

use super::{Catalog, CatalogError, CatalogResult};
use rusqlite::{Row, params};
use serde::Serialize;

/// A snapshot that looks like the work of an attacker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspicion {
    /// The source.
    pub source: String,
    /// The snapshot, in hex.
    pub snapshot: String,
    /// When it was noticed.
    pub at: i64,
    /// Why, in words.
    pub text: String,
    /// When a person said that it is in order.
    pub acknowledged: Option<i64>,
}

impl Catalog {
    /// Records a suspicion; one about the same snapshot is kept as it is.
    pub fn record_suspicion(&self, s: &Suspicion) -> CatalogResult<()> {
        let sql = "INSERT INTO signals VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        let values = params![s.source, s.snapshot, s.at, s.text, s.acknowledged];
        let put = self.connection().execute(sql, values);
        put.map(drop).map_err(CatalogError::during("record a suspicion"))
    }

    /// The suspicions, newest first; of one source, or of all.
    pub fn suspicions(&self, source: Option<&str>, limit: usize) -> CatalogResult<Vec<Suspicion>> {
        let failed = CatalogError::during("list suspicions");
        let connection = self.connection();
        let sql = "SELECT source, snapshot, at, text, acknowledged FROM signals \
                   WHERE ?1 IS NULL OR source = ?1 ORDER BY at DESC, snapshot LIMIT ?2";
        let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
        let rows = statement.query_map(params![source, limit as i64], suspicion_of).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Says that everything suspected of a source so far is in order; tells how much that was.
    pub fn acknowledge(&self, source: &str, now: i64) -> CatalogResult<usize> {
        let sql = "UPDATE signals SET acknowledged = ?2 WHERE source = ?1 AND acknowledged IS NULL";
        self.connection().execute(sql, params![source, now]).map_err(CatalogError::during("acknowledge"))
    }
}

fn suspicion_of(row: &Row<'_>) -> rusqlite::Result<Suspicion> {
    Ok(Suspicion {
        source: row.get(0)?,
        snapshot: row.get(1)?,
        at: row.get(2)?,
        text: row.get(3)?,
        acknowledged: row.get(4)?,
    })
}

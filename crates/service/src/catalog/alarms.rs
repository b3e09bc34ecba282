//! What is wrong right now, since when, and who was told; and whether the tellers themselves work.

use super::runs::number;
use super::{Catalog, CatalogError, CatalogResult};
use rusqlite::{Row, params};
use serde::Serialize;

/// Something that is wrong, or was and is about to be told as over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// What kind: `stale`, `failed`, `damaged` ...
    pub kind: String,
    /// What about: `home@nas`.
    pub subject: String,
    /// Since when.
    pub since: i64,
    /// In words.
    pub text: String,
    /// The command that helps.
    pub fix: String,
    /// When somebody was last told.
    pub told: Option<i64>,
    /// When it was over; kept until that was told.
    pub recovered: Option<i64>,
    /// Nobody wants to hear of it until then.
    pub silenced_until: Option<i64>,
    /// The notifiers that have told it: what tells of its end.
    pub sent: Vec<String>,
}

/// Whether a notifier works.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NotifierState {
    /// Its name.
    pub name: String,
    /// When it last delivered.
    pub succeeded: Option<i64>,
    /// When it last failed.
    pub failed: Option<i64>,
    /// How often it failed since it last delivered.
    pub failures: u64,
    /// Why it failed last.
    pub error: Option<String>,
}

const COLUMNS: &str = "kind, subject, since, text, fix, told, recovered, silenced_until, sent";

impl Catalog {
    /// All alarms, also those that are over and not told yet.
    pub fn alarms(&self) -> CatalogResult<Vec<Alarm>> {
        let failed = CatalogError::during("list alarms");
        let connection = self.connection();
        let sql = format!("SELECT {COLUMNS} FROM alarms ORDER BY since, kind, subject");
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let rows = statement.query_map([], alarm_of).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Records an alarm, or what changed about it.
    pub fn put_alarm(&self, a: &Alarm) -> CatalogResult<()> {
        let sql =
            format!("INSERT OR REPLACE INTO alarms ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
        let sent = a.sent.join(" ");
        let values =
            params![a.kind, a.subject, a.since, a.text, a.fix, a.told, a.recovered, a.silenced_until, sent];
        let put = self.connection().execute(&sql, values);
        put.map(drop).map_err(CatalogError::during("record an alarm"))
    }

    /// Drops an alarm that is over and told.
    pub fn drop_alarm(&self, kind: &str, subject: &str) -> CatalogResult<()> {
        let sql = "DELETE FROM alarms WHERE kind = ?1 AND subject = ?2";
        let dropped = self.connection().execute(sql, [kind, subject]);
        dropped.map(drop).map_err(CatalogError::during("drop an alarm"))
    }

    /// Records whether a notifier delivered; `error` says why not.
    pub fn record_notifier(&self, name: &str, at: i64, error: Option<&str>) -> CatalogResult<()> {
        let sql = match error {
            None => {
                "INSERT INTO notifiers VALUES (?1, ?2, NULL, 0, ?3) \
                 ON CONFLICT DO UPDATE SET succeeded = ?2, failures = 0, error = NULL"
            }
            Some(_) => {
                "INSERT INTO notifiers VALUES (?1, NULL, ?2, 1, ?3) \
                 ON CONFLICT DO UPDATE SET failed = ?2, failures = failures + 1, error = ?3"
            }
        };
        let put = self.connection().execute(sql, params![name, at, error]);
        put.map(drop).map_err(CatalogError::during("record a notifier"))
    }

    /// Whether the notifiers work, by name.
    pub fn notifiers(&self) -> CatalogResult<Vec<NotifierState>> {
        let failed = CatalogError::during("list notifiers");
        let connection = self.connection();
        let sql = "SELECT name, succeeded, failed, failures, error FROM notifiers ORDER BY name";
        let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
        let rows = statement.query_map([], |row| {
            Ok(NotifierState {
                name: row.get(0)?,
                succeeded: row.get(1)?,
                failed: row.get(2)?,
                failures: number(row, 3)?,
                error: row.get(4)?,
            })
        });
        rows.map_err(&failed)?.collect::<Result<_, _>>().map_err(&failed)
    }
}

fn alarm_of(row: &Row<'_>) -> rusqlite::Result<Alarm> {
    Ok(Alarm {
        kind: row.get(0)?,
        subject: row.get(1)?,
        since: row.get(2)?,
        text: row.get(3)?,
        fix: row.get(4)?,
        told: row.get(5)?,
        recovered: row.get(6)?,
        silenced_until: row.get(7)?,
        sent: row.get::<_, String>(8)?.split_whitespace().map(str::to_string).collect(),
    })
}

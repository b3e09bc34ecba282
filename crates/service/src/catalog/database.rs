//! Opening an SQLite file so that a bad one never stands in the way.
//!
//! WAL, so that readers and a writer do not wait for one another; a version number and steps between versions;
//! a corrupt file is moved aside (one is kept, for whoever wants to look) and an empty one begun.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// How long a call waits for another process that writes.
pub const BUSY_MS_MAX: u64 = 2_000;

/// Why the catalog could not do something. Never a reason to end a run.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// SQLite refused.
    #[error("catalog: cannot {during}")]
    Database {
        /// What was being done.
        during: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A later version of the program made it.
    #[error("{what} {path}: written by a newer version of lifeboat (version {found}, known up to {known})")]
    TooNew {
        /// Which of the two files.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest version this program knows.
        known: usize,
    },
    /// The file system refused.
    #[error("catalog {path}")]
    File {
        /// Where.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Whoever asked for names to be learned does not wait any longer.
    #[error("the names were not learned: it was stopped")]
    Stopped,
    /// A repository could not be read while names were filled in.
    #[error("cannot read the names of a snapshot")]
    Repository(#[from] repo::RepoError),
}

/// The result of whatever asks the catalog.
pub type CatalogResult<T> = Result<T, CatalogError>;

impl CatalogError {
    /// Names what SQLite refused.
    pub(crate) fn during(during: &'static str) -> impl Fn(rusqlite::Error) -> CatalogError {
        move |source| CatalogError::Database { during, source }
    }

    /// Whether the file holds what SQLite did not write.
    pub fn is_damage(&self) -> bool {
        matches!(self, CatalogError::Database { source, .. } if is_damage(source))
    }

    /// Whether another process holds the file for longer than this one waits.
    pub fn is_busy(&self) -> bool {
        let CatalogError::Database { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
        )
        // A table that the version number promises is not there.
        || matches!(error, rusqlite::Error::SqlInputError { msg, .. } if msg.starts_with("no such"))
}

/// What a file holds, and how it came to that.
pub(crate) struct Schema {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// Whether every page is looked at when it is opened; for small files.
    pub(crate) check_all: bool,
    /// From version n to n + 1.
    pub(crate) steps: &'static [&'static str],
}

/// An open file.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// Why an older file was moved aside.
    pub(crate) replaced: Option<String>,
}

/// Opens or makes a file; a corrupt one is moved aside.
pub(crate) fn open(path: &Path, schema: &Schema) -> CatalogResult<Opened> {
    prepare(path)?;
    match connect(path, schema) {
        Ok(connection) => Ok(Opened { connection, replaced: None }),
        Err(e) if e.is_damage() => {
            set_aside(path)?;
            prepare(path)?;
            let why = match &e {
                CatalogError::Database { source, .. } => source.to_string(),
                other => other.to_string(),
            };
            Ok(Opened { connection: connect(path, schema)?, replaced: Some(why) })
        }
        Err(e) => Err(e),
    }
}

/// A database without a file.
pub(crate) fn in_memory(schema: &Schema) -> CatalogResult<Connection> {
    let mut connection = Connection::open_in_memory().map_err(CatalogError::during("begin"))?;
    migrate(&mut connection, Path::new(":memory:"), schema)?;
    Ok(connection)
}

/// Makes the folder and the file, so that only their owner may read them: SQLite itself would ask the umask.
fn prepare(path: &Path) -> CatalogResult<()> {
    let failed = |source| CatalogError::File { path: path.to_path_buf(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    file.map(drop).map_err(failed)
}

fn connect(path: &Path, schema: &Schema) -> CatalogResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(CatalogError::during("open"))?;
    connection
        .busy_timeout(Duration::from_millis(BUSY_MS_MAX))
        .and_then(|()| connection.pragma_update(None, "journal_mode", "wal"))
        // Losing the newest records to a power cut is fine; what they tell is in the repositories, too.
        .and_then(|()| connection.pragma_update(None, "synchronous", "normal"))
        .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
        // What was written by hand must not run code of its own.
        .and_then(|()| connection.pragma_update(None, "trusted_schema", false))
        // Otherwise a statement is planned again for every value it is given, which costs more than running it.
        .and_then(|()| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop))
        .map_err(CatalogError::during("open"))?;
    if schema.check_all {
        let sound = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        if sound.map_err(CatalogError::during("check"))? != "ok" {
            let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            let source = rusqlite::Error::SqliteFailure(corrupt, Some("pages are damaged".into()));
            return Err(CatalogError::Database { during: "check", source });
        }
    }
    migrate(&mut connection, path, schema)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path, schema: &Schema) -> CatalogResult<()> {
    let failed = CatalogError::during("bring the tables up to date");
    // Two processes may find the file new at the same time: the second one sees the first one's version.
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&failed)?;
    let found: i64 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&failed)?;
    let (found, known) = (usize::try_from(found).unwrap_or(usize::MAX), schema.steps.len());
    if found > known {
        return Err(CatalogError::TooNew { what: schema.what, path: path.to_path_buf(), found, known });
    }
    for step in &schema.steps[found..] {
        transaction.execute_batch(step).map_err(&failed)?;
    }
    transaction.pragma_update(None, "user_version", known as i64).map_err(&failed)?;
    transaction.commit().map_err(&failed)
}

/// Moves a corrupt file out of the way, over what was moved before.
fn set_aside(path: &Path) -> CatalogResult<()> {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    for ending in ["-wal", "-shm"] {
        fs::remove_file(with(ending)).ok();
    }
    let moved = fs::rename(path, with(".broken"));
    moved.map_err(|source| CatalogError::File { path: path.to_path_buf(), source })
}

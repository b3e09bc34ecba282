//! SQLite databases through SQLite's own online backup.
//!
//! The backup interface writes into another database and nowhere else, and only a database can be asked whether
//! it is whole; so a copy is made first, in a private folder that is gone afterwards, checked, and read from
//! there. Writers are not shut out: pages are copied in steps, and a step that finds a writer waits for it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::about::{About, Database};
use super::{Files, Patience, Restore, Restored, not_empty};
use crate::produce::{Contents, Facts, Grain, Producer, Sink, file_name};
use crate::stat::Timestamp;

/// Where the databases stand.
const FOLDER: &str = "databases";
/// Beginning of the name of the folder with copies.
pub const COPIES: &str = "lifeboat-sqlite-";
/// Pages copied at a time: 4 MiB of the usual 4 KiB pages, some milliseconds in which a writer must wait.
const STEP_PAGES: i32 = 1024;
/// How long a step waits for a writer, and how often in all: five minutes of one that never ends.
const WAIT: Duration = Duration::from_millis(50);
const WAITS_MAX: u32 = 6000;
/// A database that is written faster than it is copied begins again each time.
const RESTARTS_MAX: u32 = 20;

/// SQLite databases as a source.
pub struct Sqlite {
    /// Their files.
    pub paths: Vec<PathBuf>,
    /// A folder with room for the largest of them, for the copy.
    pub scratch: PathBuf,
    /// For how long a database is waited for.
    pub patience: Patience,
}

impl Producer for Sqlite {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let mut about = About { server: rusqlite::version().into(), ..About::new("sqlite") };
        if self.paths.is_empty() {
            return Err(io::Error::other("no database is named"));
        }
        for path in &self.paths {
            let name =
                path.to_str().ok_or_else(|| io::Error::other("the path of a database is not UTF-8"))?;
            let kept = [FOLDER.to_string(), file_name(name.trim_start_matches('/'))];
            let copy = copy(path, &self.scratch, &self.patience).map_err(|e| named(path, &e))?;
            let tables = copy.tables;
            let facts = facts(path)?;
            let mut file = copy.file;
            sink.file(&[&kept[0], &kept[1]], facts, Contents::Stream(&mut file, Grain::Fixed))?;
            about.databases.push(Database {
                name: name.into(),
                path: kept.into(),
                tables: Some(tables),
                create: String::new(),
            });
        }
        about.keep(sink)
    }
}

fn named(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

fn facts(path: &Path) -> io::Result<Facts> {
    use std::os::unix::fs::MetadataExt;
    let stat = std::fs::metadata(path)?;
    let modified = Timestamp { secs: stat.mtime(), nanos: stat.mtime_nsec() as u32 };
    let mode = (stat.mode() & 0o7777) as u16;
    Ok(Facts { mode, uid: stat.uid(), gid: stat.gid(), modified: Some(modified) })
}

/// A checked copy; its folder is gone already, the open file is all that is left of it.
struct Copy {
    file: std::fs::File,
    tables: u64,
}

fn sqlite(e: rusqlite::Error) -> io::Error {
    io::Error::other(e.to_string())
}

fn copy(path: &Path, scratch: &Path, patience: &Patience) -> io::Result<Copy> {
    let folder = private_folder(scratch)?;
    let to = folder.0.join("copy");
    let tables = copy_to(path, &to, patience)?;
    Ok(Copy { file: std::fs::File::open(&to)?, tables })
}

/// Copies a database into a new file and checks the copy; the number of its tables.
fn copy_to(path: &Path, to: &Path, patience: &Patience) -> io::Result<u64> {
    // Opening for reading alone would fail for a database in WAL mode whose helper files are not there yet.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    std::fs::metadata(path)?;
    let source = Connection::open_with_flags(path, flags)
        .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
        .map_err(sqlite)?;
    let mut copy = Connection::open(to).map_err(sqlite)?;
    copy.pragma_update(None, "synchronous", "off").map_err(sqlite)?;
    step_through(&source, &mut copy, patience)?;
    drop(source);
    let verdict: String =
        copy.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if verdict != "ok" {
        return Err(io::Error::other(format!("the database is damaged: {verdict}")));
    }
    let sql = "select count(*) from sqlite_master where type = 'table'";
    let tables: i64 = copy.query_row(sql, [], |row| row.get(0)).map_err(sqlite)?;
    copy.close().map_err(|(_, e)| sqlite(e))?;
    Ok(tables as u64)
}

fn step_through(source: &Connection, copy: &mut Connection, patience: &Patience) -> io::Result<()> {
    let backup = Backup::new(source, copy).map_err(sqlite)?;
    let (mut waits, mut restarts, mut left) = (0, 0, i32::MAX);
    loop {
        match backup.step(STEP_PAGES).map_err(sqlite)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {
                let now = backup.progress().remaining;
                restarts += u32::from(now > left);
                left = now;
            }
            _ => {
                waits += 1;
                std::thread::sleep(WAIT);
            }
        }
        if patience.is_over() {
            return Err(io::Error::other("it was given up before the database was copied"));
        }
        if waits > WAITS_MAX {
            return Err(io::Error::other("another program holds the database for more than five minutes"));
        }
        if restarts > RESTARTS_MAX {
            // One step of everything shuts writers out, but it ends.
            return match backup.step(-1).map_err(sqlite)? {
                StepResult::Done => Ok(()),
                _ => Err(io::Error::other("the database is written without a pause")),
            };
        }
    }
}

/// A folder only we may enter, removed when it is dropped.
struct Private(PathBuf);

fn private_folder(scratch: &Path) -> io::Result<Private> {
    use std::os::unix::fs::DirBuilderExt;
    for n in 0..1000 {
        let path = scratch.join(format!("{COPIES}{}-{n}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(Private(path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(named(scratch, &e)),
        }
    }
    Err(named(scratch, &io::Error::other("it is full of folders of earlier copies")))
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Removes copies that runs left behind which were killed: their process is gone.
pub fn clean(scratch: &Path) -> io::Result<u64> {
    let mut removed = 0;
    for entry in std::fs::read_dir(scratch)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(COPIES)) else { continue };
        let alive = rest.split('-').next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !alive && entry.file_type()?.is_dir() && std::fs::remove_dir_all(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Brings databases back to their files, or into a folder.
///
/// Each is written beside its place first and checked there. It then goes into the place through SQLite's own
/// backup, so that programs that have the database open see it whole, before or after.
pub fn restore(
    into: Option<&Path>,
    about: &About,
    files: &mut dyn Files,
    what: &Restore,
) -> io::Result<Vec<Restored>> {
    what.refuse_name()?;
    let chosen = what.choose(about)?;
    let place = |database: &Database| match into {
        Some(folder) => folder.join(Path::new(&database.name).file_name().unwrap_or_default()),
        None => PathBuf::from(&database.name),
    };
    let places: Vec<PathBuf> = chosen.iter().map(|database| place(database)).collect();
    if let Some(twice) = places.iter().enumerate().find(|(i, p)| places[..*i].contains(p)) {
        return Err(io::Error::other(format!("two databases would become {}", twice.1.display())));
    }
    for (database, place) in chosen.iter().zip(&places) {
        if !what.replace && std::fs::metadata(place).is_ok_and(|stat| stat.len() > 0) {
            return Err(not_empty(&database.name, &format!("{} is there", place.display())));
        }
    }
    let mut restored = Vec::new();
    for (database, place) in chosen.into_iter().zip(&places) {
        let replaced = place.exists();
        let (mut tables, mut rows) = (database.tables.unwrap_or(0), None);
        if !what.dry_run {
            (tables, rows) =
                put(database, place, files).map(|(t, r)| (t, Some(r))).map_err(|e| named(place, &e))?;
        }
        restored.push(Restored { name: database.name.clone(), tables, rows, replaced });
    }
    Ok(restored)
}

fn put(database: &Database, place: &Path, files: &mut dyn Files) -> io::Result<(u64, u64)> {
    let folder = place.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let private = private_folder(folder)?;
    let raw = private.0.join("raw");
    let path: Vec<&str> = database.path.iter().map(String::as_str).collect();
    let mut file = std::fs::File::create_new(&raw)?;
    files.write(&path, &mut file)?;
    file.flush()?;
    file.sync_all()?;
    drop(file);
    let fresh = Connection::open(&raw).map_err(sqlite)?;
    let verdict: String =
        fresh.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if verdict != "ok" {
        return Err(io::Error::other(format!("what was kept is damaged: {verdict}")));
    }
    let mut there = Connection::open(place).map_err(sqlite)?;
    there.busy_timeout(Duration::from_secs(60)).map_err(sqlite)?;
    step_through(&fresh, &mut there, &Patience::default())?;
    count(&there)
}

/// Tables and all their rows.
fn count(connection: &Connection) -> io::Result<(u64, u64)> {
    let sql = "select name from sqlite_master where type = 'table' and sql not like 'create virtual%'";
    let mut statement = connection.prepare(sql).map_err(sqlite)?;
    let names = statement.query_map([], |row| row.get::<_, String>(0)).map_err(sqlite)?;
    let (mut tables, mut rows) = (0, 0);
    for name in names {
        let name = name.map_err(sqlite)?.replace('"', "\"\"");
        let sql = format!("select count(*) from \"{name}\"");
        rows += connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map_err(sqlite)? as u64;
        tables += 1;
    }
    Ok((tables, rows))
}

/// Asks a database for one value; nothing is changed.
pub fn ask(path: &Path, sql: &str) -> io::Result<String> {
    use rusqlite::types::ValueRef;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    let mut statement = connection.prepare(sql).map_err(sqlite)?;
    let columns = statement.column_count();
    let mut rows = statement.query([]).map_err(sqlite)?;
    let value = match rows.next().map_err(sqlite)? {
        Some(row) if columns == 1 => match row.get_ref(0).map_err(sqlite)? {
            ValueRef::Null => String::new(),
            ValueRef::Integer(n) => n.to_string(),
            ValueRef::Real(n) => n.to_string(),
            ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
        },
        _ => return super::one_value("", false),
    };
    let is_one = rows.next().map_err(sqlite)?.is_none();
    super::one_value(&value, is_one)
}

/// Compares the beginning of a file with what every SQLite database begins with.
pub fn is_database(path: &Path) -> bool {
    let mut head = [0; 16];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok()
        && &head == b"SQLite format 3\0"
}

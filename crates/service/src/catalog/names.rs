//! The names over all snapshots, so that finding one does not walk their trees.
//!
//! Snapshots of the same host and sources form a *lane*; each new one becomes its next *point*. A path that
//! looks the same from point a to point b is one row, so a snapshot costs what changed since the one before:
//! the difference of two trees is read, not the trees. The same snapshot in several repositories of a family
//! is one point. Points are numbered as they are learned, which need not be the order of time.
//!
//! The file may be incomplete or gone at any time: [`Names::known`] says what it speaks of.

use super::database::{Schema, open};
use super::{CatalogError, CatalogResult};
use format::id::{BlobId, FamilyId, SnapshotId};
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::{Class, Entry, KeyPath, Root};
use repo::browse::{self, Change};
use repo::reader::Reader;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a row ends that is still true at the newest point.
pub(super) const OPEN: i64 = i64::MAX;
/// Names whose numbers are remembered while a point is written: about 100 bytes each.
const NAMES_REMEMBERED: usize = 100_000;
/// Pages kept in memory, in KiB.
const CACHE_KIB: i64 = 32 << 10;

const SCHEMA: Schema =
    Schema { what: "catalog of names", check_all: false, steps: &[include_str!("names.sql")] };

/// The names over all snapshots.
pub struct Names {
    pub(super) connection: Connection,
    path: PathBuf,
}

/// What an update did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Snapshots that became known.
    pub added: u64,
    /// Snapshots whose names could not be read; they stay unknown.
    pub unreadable: u64,
}

impl Names {
    /// Opens the file, or begins a new one where none is or the old one is corrupt.
    pub fn open(path: &Path) -> CatalogResult<Self> {
        let opened = open(path, &SCHEMA)?;
        let names = Names { connection: opened.connection, path: path.to_path_buf() };
        // An update of a million rows must not leave a log of that size behind.
        let set = |name: &str, value: i64| names.connection.pragma_update(None, name, value);
        set("cache_size", -CACHE_KIB)
            .and_then(|()| set("journal_size_limit", 64 << 20))
            .map_err(CatalogError::during("open the names"))?;
        Ok(names)
    }

    /// Begins again with an empty file after damage was met while it was used.
    pub fn begin_anew(self) -> CatalogResult<Self> {
        let Names { connection, path } = self;
        drop(connection);
        for ending in ["", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_os_string();
            name.push(ending);
            std::fs::remove_file(name).ok();
        }
        Names::open(&path)
    }

    /// The snapshots of a family whose names are here.
    pub fn known(&self, family: &FamilyId) -> CatalogResult<HashSet<SnapshotId>> {
        let failed = CatalogError::during("list the known snapshots");
        let sql = "SELECT snapshot FROM points JOIN lanes ON lanes.id = lane WHERE family = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let rows = statement.query_map([family.0], |row| row.get::<_, [u8; 16]>(0)).map_err(&failed)?;
        rows.map(|id| id.map(SnapshotId)).collect::<Result<_, _>>().map_err(&failed)
    }

    /// Learns the names of snapshots that are not known yet, oldest first, one transaction each, and forgets
    /// points that no snapshot of `visible` is any more. A snapshot that cannot be read stays unknown.
    pub fn update(
        &mut self,
        reader: &Reader,
        family: &FamilyId,
        visible: &[&Snapshot],
        stop: &dyn Fn() -> bool,
    ) -> CatalogResult<Updated> {
        let known = self.known(family)?;
        let mut updated = Updated::default();
        for snapshot in visible.iter().filter(|s| !known.contains(&s.id)) {
            if stop() {
                break;
            }
            match self.learn(reader, family, snapshot, stop) {
                Ok(()) => updated.added += 1,
                Err(CatalogError::Stopped) => break,
                Err(CatalogError::Repository(e)) if e.is_damage() => updated.unreadable += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(updated)
    }

    /// Learns one new snapshot by what changed in it, if the one before it in its lane is known; says whether
    /// it is known now. What would have to be read as a whole is left to [`Names::update`].
    pub fn follow(
        &mut self,
        reader: &Reader,
        family: &FamilyId,
        snapshot: &Snapshot,
        stop: &dyn Fn() -> bool,
    ) -> CatalogResult<bool> {
        let what = lane_name(snapshot);
        let Some(base) = self.newest_root(family, &what)? else { return Ok(false) };
        if self.known(family)?.contains(&snapshot.id) {
            return Ok(true);
        }
        match self.learn_changes(reader, family, snapshot, base, stop) {
            Ok(()) => Ok(true),
            Err(CatalogError::Stopped) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn learn(
        &mut self,
        reader: &Reader,
        family: &FamilyId,
        snapshot: &Snapshot,
        stop: &dyn Fn() -> bool,
    ) -> CatalogResult<()> {
        let what = lane_name(snapshot);
        if let Some(base) = self.newest_root(family, &what)? {
            match self.learn_changes(reader, family, snapshot, base, stop) {
                // The newest known snapshot was forgotten and its tree is gone.
                Err(CatalogError::Repository(_)) => self.forget_lane(family, &what)?,
                other => return other,
            }
        }
        self.add_point(family, &what, &snapshot.id, snapshot.root, &mut |point| {
            let mut failed = None;
            browse::visit_range(reader, snapshot.root, &[], &mut |key, entry| {
                failed = point.take_unless(stop, key, Change::Added(entry)).err();
                Ok(if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            failed.map_or(Ok(()), Err)
        })
    }

    fn learn_changes(
        &mut self,
        reader: &Reader,
        family: &FamilyId,
        snapshot: &Snapshot,
        base: Root,
        stop: &dyn Fn() -> bool,
    ) -> CatalogResult<()> {
        let what = lane_name(snapshot);
        self.add_point(family, &what, &snapshot.id, snapshot.root, &mut |point| {
            let mut failed = None;
            browse::diff(reader, base, snapshot.root, &mut |key, change| {
                if failed.is_none() {
                    failed = point.take_unless(stop, key, change).err();
                }
                Ok(())
            })?;
            failed.map_or(Ok(()), Err)
        })
    }

    fn newest_root(&self, family: &FamilyId, what: &[u8]) -> CatalogResult<Option<Root>> {
        let sql = "SELECT root, level FROM lanes WHERE family = ?1 AND what = ?2 AND root IS NOT NULL";
        let root = self.connection.query_row(sql, params![family.0, what], |row| {
            Ok(Root { id: BlobId(row.get(0)?), level: row.get(1)? })
        });
        root.optional().map_err(CatalogError::during("look up a lane"))
    }

    /// Forgets all points of a lane; the snapshots among them that are still there are learned again.
    fn forget_lane(&mut self, family: &FamilyId, what: &[u8]) -> CatalogResult<()> {
        let failed = CatalogError::during("forget names");
        let transaction = immediate(&mut self.connection).map_err(&failed)?;
        let lane = "(SELECT id FROM lanes WHERE family = ?1 AND what = ?2)";
        for table in ["entries", "points"] {
            let sql = format!("DELETE FROM {table} WHERE lane = {lane}");
            transaction.execute(&sql, params![family.0, what]).map_err(&failed)?;
        }
        let sql = "UPDATE lanes SET root = NULL, level = NULL, next = 0 WHERE family = ?1 AND what = ?2";
        transaction.execute(sql, params![family.0, what]).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// Adds the next point of a lane. `fill` tells what is different from the point before (all there is, for
    /// the first one); all of it is taken, or nothing.
    pub fn add_point(
        &mut self,
        family: &FamilyId,
        what: &[u8],
        snapshot: &SnapshotId,
        root: Root,
        fill: &mut dyn FnMut(&mut Point<'_>) -> CatalogResult<()>,
    ) -> CatalogResult<()> {
        let failed = CatalogError::during("add the names of a snapshot");
        let transaction = immediate(&mut self.connection).map_err(&failed)?;
        transaction
            .execute(
                "INSERT INTO lanes (family, what) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![family.0, what],
            )
            .map_err(&failed)?;
        let sql = "SELECT id, next FROM lanes WHERE family = ?1 AND what = ?2";
        let (lane, ordinal) = transaction
            .query_row(sql, params![family.0, what], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(&failed)?;
        let mut point = Point::new(&transaction, lane, ordinal);
        fill(&mut point)?;
        let sql = "INSERT INTO points VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![lane, ordinal, snapshot.0]).map_err(&failed)?;
        let sql = "UPDATE lanes SET root = ?2, level = ?3, next = ?4 WHERE id = ?1";
        transaction.execute(sql, params![lane, root.id.0, root.level, ordinal + 1]).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }
}

/// What a lane is known by: the machine and what it saves.
fn lane_name(snapshot: &Snapshot) -> Vec<u8> {
    let mut name = snapshot.host.as_bytes().to_vec();
    for source in &snapshot.sources {
        name.push(0);
        name.extend_from_slice(source);
    }
    name
}

fn immediate(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// A point being written.
pub struct Point<'t> {
    transaction: &'t Transaction<'t>,
    lane: i64,
    ordinal: i64,
    /// The folder last met; neighbours share it.
    folder: Option<(Vec<u8>, i64)>,
    names: HashMap<Box<[u8]>, i64>,
    classes: HashMap<Arc<Class>, i64>,
}

impl<'t> Point<'t> {
    fn new(transaction: &'t Transaction<'t>, lane: i64, ordinal: i64) -> Self {
        Point { transaction, lane, ordinal, folder: None, names: HashMap::new(), classes: HashMap::new() }
    }

    /// Takes one difference from the point before.
    pub fn take(&mut self, key: &[u8], change: Change<'_>) -> CatalogResult<()> {
        let failed = CatalogError::during("add a name");
        match change {
            Change::Added(entry) => self.begin(key, entry).map_err(&failed),
            Change::Removed(entry) => self.end(key, entry).map_err(&failed),
            Change::Changed(old, new) if looks_equal(old, new) => Ok(()),
            Change::Changed(old, new) => {
                self.end(key, old).and_then(|()| self.begin(key, new)).map_err(&failed)
            }
        }
    }

    fn take_unless(&mut self, stop: &dyn Fn() -> bool, key: &[u8], change: Change<'_>) -> CatalogResult<()> {
        if stop() {
            return Err(CatalogError::Stopped);
        }
        self.take(key, change)
    }

    fn begin(&mut self, key: &[u8], entry: &Entry) -> rusqlite::Result<()> {
        let Some((folder, name)) = self.ids(key, entry)? else { return Ok(()) };
        let class = self.class(&entry.class)?;
        let sql =
            "INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let target = (!entry.target.is_empty()).then_some(&entry.target[..]);
        self.transaction.prepare_cached(sql)?.execute(params![
            name,
            folder,
            self.lane,
            self.ordinal,
            OPEN,
            class,
            entry.size_bytes as i64,
            entry.mtime.secs,
            entry.mtime.nanos,
            entry.ctime.secs,
            entry.ctime.nanos,
            entry.inode as i64,
            target,
        ])?;
        Ok(())
    }

    fn end(&mut self, key: &[u8], entry: &Entry) -> rusqlite::Result<()> {
        let Some((folder, name)) = self.ids(key, entry)? else { return Ok(()) };
        let sql = "UPDATE entries SET last = ?4 WHERE name = ?1 AND folder = ?2 AND lane = ?3 AND last = ?5";
        let values = params![name, folder, self.lane, self.ordinal - 1, OPEN];
        self.transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// The numbers of folder and name; none for fault records, which are no paths.
    fn ids(&mut self, key: &[u8], entry: &Entry) -> rusqlite::Result<Option<(i64, i64)>> {
        match KeyPath::parse(key) {
            Ok(path) if entry.kind() != Kind::Fault && !path.name.is_empty() => {
                Ok(Some((self.folder(path.prefix)?, self.name(path.name)?)))
            }
            _ => Ok(None),
        }
    }

    fn folder(&mut self, prefix: &[u8]) -> rusqlite::Result<i64> {
        if let Some((_, id)) = self.folder.as_ref().filter(|(last, _)| last == prefix) {
            return Ok(*id);
        }
        let found = self.number("SELECT id FROM folders WHERE prefix = ?1", prefix)?;
        let id = match found {
            Some(id) => id,
            None => self.insert("INSERT INTO folders (prefix) VALUES (?1)", prefix)?,
        };
        self.folder = Some((prefix.to_vec(), id));
        Ok(id)
    }

    fn name(&mut self, name: &[u8]) -> rusqlite::Result<i64> {
        if let Some(id) = self.names.get(name) {
            return Ok(*id);
        }
        let id = match self.number("SELECT id FROM names WHERE name = ?1", name)? {
            Some(id) => id,
            None => {
                let id = self.insert("INSERT INTO names (name) VALUES (?1)", name)?;
                let sql = "INSERT INTO trigrams (rowid, name) VALUES (?1, ?2)";
                let words = String::from_utf8_lossy(name);
                self.transaction.prepare_cached(sql)?.execute(params![id, words])?;
                id
            }
        };
        if self.names.len() >= NAMES_REMEMBERED {
            self.names.clear();
        }
        self.names.insert(name.into(), id);
        Ok(id)
    }

    fn class(&mut self, class: &Arc<Class>) -> rusqlite::Result<i64> {
        if let Some(id) = self.classes.get(class) {
            return Ok(*id);
        }
        let owner = &class.owner;
        let values =
            params![class.kind as u8, class.mode, owner.uid, owner.gid, &owner.user[..], &owner.group[..]];
        let sql = "INSERT INTO classes (kind, mode, uid, gid, user, grp) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                   ON CONFLICT DO UPDATE SET mode = ?2 RETURNING id";
        let id = self.transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
        self.classes.insert(class.clone(), id);
        Ok(id)
    }

    fn number(&self, sql: &str, bytes: &[u8]) -> rusqlite::Result<Option<i64>> {
        self.transaction.prepare_cached(sql)?.query_row([bytes], |row| row.get(0)).optional()
    }

    fn insert(&self, sql: &str, bytes: &[u8]) -> rusqlite::Result<i64> {
        self.transaction.prepare_cached(sql)?.insert([bytes])
    }
}

/// Whether nothing is different that a row tells, and the contents are the same.
fn looks_equal(a: &Entry, b: &Entry) -> bool {
    let told = |e: &Entry| {
        let c = &e.class;
        (c.kind, c.mode, c.owner.clone(), e.size_bytes, e.mtime, e.ctime, e.inode, e.target.clone())
    };
    told(a) == told(b) && a.content == b.content && a.class.xattrs == b.class.xattrs
}

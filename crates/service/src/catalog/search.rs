//! Asking the names: which paths fit, in which snapshots, and in which snapshots one path looks the same.
//!
//! A pattern with three letters in a row that must occur in the name is looked up by its trigrams; others
//! look at every distinct name once. Either way the caller's own rule decides.

use super::names::Names;
use super::{CatalogError, CatalogResult};
use format::id::{FamilyId, SnapshotId};
use format::kind::{Kind, Timestamp};
use format::tree::{Class, Content, Entry, KeyPath, Marks, Owner, Xattrs};
use rusqlite::{Row, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is looked for.
pub struct Query<'q> {
    /// Letters that must be in the last name, one for each pattern of which one must fit; none when some
    /// pattern has no such letters. See [`literal`].
    pub literals: Option<Vec<String>>,
    /// Whether a last name can fit at all; may say yes too often.
    pub name_fits: &'q dyn Fn(&[u8]) -> bool,
    /// Whether a path fits: its components, volume first, and what it is.
    pub fits: &'q dyn Fn(&[&[u8]], &Entry) -> bool,
}

/// A path that fits.
#[derive(Clone, Debug)]
pub struct Found {
    /// The tree key.
    pub key: Vec<u8>,
    /// What it looked like. Contents and attributes are not in the catalog.
    pub entry: Entry,
}

/// Paths that fit, by snapshot, in the order of the walk.
pub type FoundBySnapshot = BTreeMap<SnapshotId, Vec<Arc<Found>>>;

/// The longest run of letters that every name fitting a pattern contains; none if that is under three.
/// Looks at the last component, and no further than the first bracket or backslash.
pub fn literal(pattern: &[u8], ignore_case: bool) -> Option<String> {
    let last = pattern.strip_suffix(b"/").unwrap_or(pattern).rsplit(|b| *b == b'/').next()?;
    let sure = last.split(|b| matches!(b, b'[' | b'\\')).next()?;
    let runs = sure.split(|b| matches!(b, b'*' | b'?'));
    let longest = runs.max_by_key(|run| run.len())?;
    let text = std::str::from_utf8(longest).ok()?;
    // Beyond ASCII, SQLite's idea of equal letters is not ours.
    let usable = text.chars().count() >= 3 && !text.contains('\0') && (!ignore_case || text.is_ascii());
    usable.then(|| text.to_string())
}

/// How every name that fits a pattern begins and ends: told at once, where judging a name takes four times as long as
/// reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    begin: Vec<u8>,
    end: Vec<u8>,
    ignore_case: bool,
}

impl Ends {
    /// What is plain at both ends of the last component of a pattern; none where that cannot be told.
    pub fn of(pattern: &[u8], ignore_case: bool) -> Option<Ends> {
        let last = pattern.strip_suffix(b"/").unwrap_or(pattern).rsplit(|b| *b == b'/').next()?;
        // A bracket may hold a slash, a backslash may make a star plain, and blanks at the end may not count.
        let is_open = pattern.iter().any(|b| matches!(b, b'[' | b'\\')) || last.last() == Some(&b' ');
        // Beyond ASCII a letter's other case has another length.
        if is_open || matches!(last.first(), Some(b'!' | b'#')) || ignore_case && !last.is_ascii() {
            return None;
        }
        let is_wild = |b: &u8| matches!(b, b'*' | b'?');
        let begin = last.split(is_wild).next()?.to_vec();
        let end = last.rsplit(is_wild).next()?.to_vec();
        Some(Ends { begin, end, ignore_case })
    }

    /// Whether a name may fit; `false` is certain.
    pub fn fits(&self, name: &[u8]) -> bool {
        let (Some(first), Some(last)) = (
            name.get(..self.begin.len()),
            name.len().checked_sub(self.end.len()).and_then(|from| name.get(from..)),
        ) else {
            return false;
        };
        match self.ignore_case {
            true => first.eq_ignore_ascii_case(&self.begin) && last.eq_ignore_ascii_case(&self.end),
            false => first == self.begin && last == self.end,
        }
    }
}

/// `"abc" AND "bcd"`: without positions in the index a longer word is the sum of its trigrams.
fn trigram_query(literal: &str) -> String {
    let letters: Vec<char> = literal.chars().collect();
    let quoted = letters.windows(3).map(|three| {
        let text: String = three.iter().collect();
        format!("\"{}\"", text.replace('"', "\"\""))
    });
    quoted.collect::<Vec<_>>().join(" AND ")
}

/// In the order in which [`entry_of`] and [`interval_of`] take them: by number, because a column's name is looked for
/// among all of them.
const ENTRY_COLUMNS: &str = "kind, mode, uid, gid, user, grp, size, mtime, mtime_nanos, ctime, ctime_nanos, \
                             inode, target, lane, first, last, prefix";
const LANE: usize = 13;
const PREFIX: usize = 16;

impl Names {
    /// Finds paths in the known snapshots of a family.
    pub fn find(&self, family: &FamilyId, query: &Query<'_>) -> CatalogResult<FoundBySnapshot> {
        let failed = CatalogError::during("search the names");
        let points = self.points(family)?;
        let mut found = Vec::new();
        for (id, name) in self.names_that_may_fit(query).map_err(&failed)? {
            self.add_entries(id, &name, query, &points, &mut found).map_err(&failed)?;
        }
        // Once sorted, each snapshot's share is sorted, too.
        found.sort_by(|(a, ..), (b, ..)| a.key.cmp(&b.key));
        let mut by_snapshot = FoundBySnapshot::new();
        for (found, lane, first, last) in found {
            for (_, snapshot) in points[&lane].range(first..=last) {
                by_snapshot.entry(*snapshot).or_default().push(found.clone());
            }
        }
        Ok(by_snapshot)
    }

    /// The snapshots of each lane of a family by their ordinals.
    fn points(&self, family: &FamilyId) -> CatalogResult<BTreeMap<i64, BTreeMap<i64, SnapshotId>>> {
        let failed = CatalogError::during("list the known snapshots");
        let sql =
            "SELECT lane, ordinal, snapshot FROM points JOIN lanes ON lanes.id = lane WHERE family = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement.query([family.0]).map_err(&failed)?;
        let mut points: BTreeMap<i64, BTreeMap<i64, SnapshotId>> = BTreeMap::new();
        while let Some(row) = rows.next().map_err(&failed)? {
            let (lane, ordinal) = (row.get(0).map_err(&failed)?, row.get(1).map_err(&failed)?);
            let snapshot = SnapshotId(row.get(2).map_err(&failed)?);
            points.entry(lane).or_default().insert(ordinal, snapshot);
        }
        Ok(points)
    }

    fn names_that_may_fit(&self, query: &Query<'_>) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
        let words = query.literals.as_ref().map(|literals| {
            let each = literals.iter().map(|literal| format!("({})", trigram_query(literal)));
            each.collect::<Vec<_>>().join(" OR ")
        });
        let sql = match &words {
            Some(_) => {
                "SELECT id, names.name FROM trigrams JOIN names ON id = trigrams.rowid WHERE trigrams MATCH ?1"
            }
            None => "SELECT id, name FROM names WHERE ?1 IS NULL",
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([words])?;
        let mut fitting = Vec::new();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(1)?.as_blob()?;
            if (query.name_fits)(name) {
                fitting.push((row.get(0)?, name.to_vec()));
            }
        }
        Ok(fitting)
    }

    fn add_entries(
        &self,
        name_id: i64,
        name: &[u8],
        query: &Query<'_>,
        points: &BTreeMap<i64, BTreeMap<i64, SnapshotId>>,
        found: &mut Vec<(Arc<Found>, i64, i64, i64)>,
    ) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT {ENTRY_COLUMNS} FROM entries JOIN classes ON classes.id = class \
             JOIN folders ON folders.id = folder WHERE name = ?1"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([name_id])?;
        while let Some(row) = rows.next()? {
            let (lane, first, last) = interval_of(row, LANE)?;
            let seen = points.get(&lane).is_some_and(|points| points.range(first..=last).next().is_some());
            let key = format::tree::PathKey::child(row.get_ref(PREFIX)?.as_blob()?, name);
            let Ok(path) = KeyPath::parse(&key) else { continue };
            let entry = entry_of(row)?;
            if seen && (query.fits)(&path.components().collect::<Vec<_>>(), &entry) {
                found.push((Arc::new(Found { key, entry }), lane, first, last));
            }
        }
        Ok(())
    }

    /// In which known snapshots the path under a key looks the same: a number for each look, by snapshot.
    /// Snapshots without the path are not there.
    pub fn looks(&self, family: &FamilyId, key: &[u8]) -> CatalogResult<BTreeMap<SnapshotId, usize>> {
        let failed = CatalogError::during("look up a path");
        let Ok(path) = KeyPath::parse(key) else { return Ok(BTreeMap::new()) };
        let points = self.points(family)?;
        let sql = "SELECT lane, first, last FROM entries JOIN folders ON folders.id = folder \
                   JOIN names ON names.id = entries.name WHERE names.name = ?1 AND prefix = ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement.query(params![path.name, path.prefix]).map_err(&failed)?;
        let (mut looks, mut number) = (BTreeMap::new(), 0);
        while let Some(row) = rows.next().map_err(&failed)? {
            let (lane, first, last) = interval_of(row, 0).map_err(&failed)?;
            let covered = points.get(&lane).into_iter().flat_map(|points| points.range(first..=last));
            looks.extend(covered.map(|(_, snapshot)| (*snapshot, number)));
            number += 1;
        }
        Ok(looks)
    }
}

/// Lane, first and last, from a column on.
fn interval_of(row: &Row<'_>, at: usize) -> rusqlite::Result<(i64, i64, i64)> {
    let (first, last): (i64, i64) = (row.get(at + 1)?, row.get(at + 2)?);
    // What is not an interval would make a range panic.
    Ok((row.get(at)?, first, last.max(first)))
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let kind = match row.get::<_, u8>(0)? {
        0 => Kind::File,
        1 => Kind::Directory,
        2 => Kind::Symlink,
        3 => Kind::Fifo,
        4 => Kind::Socket,
        5 => Kind::CharDevice,
        6 => Kind::BlockDevice,
        _ => Kind::Fault,
    };
    let bytes = |column: usize| row.get::<_, Vec<u8>>(column).map(Vec::into_boxed_slice);
    let owner = Owner { uid: row.get(2)?, gid: row.get(3)?, user: bytes(4)?, group: bytes(5)? };
    let class =
        Class { kind, mode: row.get(1)?, owner, flags: 0, project: 0, mount: 0, xattrs: Xattrs::None };
    Ok(Entry {
        class: Arc::new(class),
        size_bytes: row.get::<_, i64>(6)? as u64,
        mtime: Timestamp { secs: row.get(7)?, nanos: row.get(8)? },
        ctime: Timestamp { secs: row.get(9)?, nanos: row.get(10)? },
        inode: row.get::<_, i64>(11)? as u64,
        link_group: None,
        rdev: 0,
        target: row.get::<_, Option<Vec<u8>>>(12)?.unwrap_or_default().into_boxed_slice(),
        content: Content::None,
        marks: Marks::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_in_every_name_that_fits() {
        let of = |pattern: &str| literal(pattern.as_bytes(), false);
        assert_eq!(of("*.kdbx").as_deref(), Some(".kdbx"));
        assert_eq!(of("/etc/fstab").as_deref(), Some("fstab"));
        assert_eq!(of("src/*/main_*.rs/").as_deref(), Some("main_"));
        assert_eq!(of("re[pb]ort.txt"), None, "what follows a bracket may be inside it");
        assert_eq!(of("report[12].txt").as_deref(), Some("report"));
        assert_eq!(of("src/**"), None);
        assert_eq!(literal("Ärger".as_bytes(), true), None);
        assert_eq!(literal("Ärger".as_bytes(), false).as_deref(), Some("Ärger"));
    }

    #[test]
    fn what_fits_begins_and_ends_as_its_pattern_does() {
        let fits =
            |pattern: &str, name: &str| Ends::of(pattern.as_bytes(), false).unwrap().fits(name.as_bytes());
        assert!(fits("*.c", "a.c") && fits("*.c", ".c") && !fits("*.c", "a.h") && !fits("*.c", "c"));
        assert!(fits("/src/x?", "xy") && !fits("x?", "y") && fits("**", "") && fits("a*a", "a"));
        assert!(fits("ab/", "ab") && !fits("ab", "abc") && !fits("ab", "a"));
        let without_case = Ends::of(b"X*.C", true).unwrap();
        assert!(without_case.fits(b"x1.c") && !without_case.fits(b"y.c"));
        for open in ["a[bc]", r"a\*", "a ", "!a", "#a"] {
            assert_eq!(Ends::of(open.as_bytes(), false), None, "{open}");
        }
        assert_eq!(Ends::of("É*".as_bytes(), true), None);
    }
}

//! Leaves: entries in key order, stored column by column.
//!
//! ```text
//! type 1 | varint entries | bytes common prefix of all keys
//! varint classes, then each class once in the order of first use
//! eight columns, each with its length: keys, classes, forms, times, inodes, sizes, ids, extras
//! ```
//! Columns of like values compress better than rows and keep the incompressible ids apart. Every leaf has
//! exactly one encoding: dictionaries in first-use order, shortest numbers, no optional forms.

use crate::error::{FormatError, FormatResult};
use crate::id::BlobId;
use crate::kind::{Kind, Timestamp};
use crate::limits::*;
use crate::tree::entry::{Class, Content, Entry, Marks, Owner, Xattrs};
use crate::tree::extents::Extent;
use crate::wire::{Reader, Write};
use std::collections::HashSet;
use std::sync::Arc;

const WHAT: &str = "tree leaf";
const TYPE: u8 = 1;
const COLUMNS: usize = 8;
const KEYS: usize = 0;
const CLASSES: usize = 1;
const FORMS: usize = 2;
const TIMES: usize = 3;
const INODES: usize = 4;
const SIZES: usize = 5;
const IDS: usize = 6;
const EXTRAS: usize = 7;

/// Expanded keys of a leaf: a leaf ends with the entry that brings its weight to the limit.
const KEYS_BYTES_MAX: usize = NODE_WEIGHT_MAX + KEY_BYTES_MAX;

/// Form bits 0-1: where the contents are. Bit 2: ctime equals mtime. Bit 3: has a link group. Bits 4-7: marks.
const FORM_CONTENT: u8 = 3;
const FORM_SAME_TIME: u8 = 4;
const FORM_LINKED: u8 = 8;
const FORM_MARKS_SHIFT: u8 = 4;

/// How many leading bytes two slices share.
pub(crate) fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// A decoded leaf.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Leaf {
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    /// The entries in key order.
    pub entries: Vec<Entry>,
}

impl Leaf {
    /// The key of entry `i`.
    pub fn key(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.key_ends[i - 1] as usize };
        &self.keys[start..self.key_ends[i] as usize]
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entries (a decoded leaf never is).
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The index of the first key that is not below `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Reads a leaf.
    pub fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let mut r = Reader::new(bytes, WHAT);
        if bytes.len() > NODE_BYTES_MAX || r.u8()? != TYPE {
            return Err(r.error("it does not begin as one"));
        }
        let n = r.count(NODE_ENTRIES_MAX, 4)?;
        if n == 0 {
            return Err(r.error("it has no entries"));
        }
        let prefix = r.bytes(KEY_BYTES_MAX)?;
        let n_classes = r.count(n, 8)?;
        let classes = decode_classes(&mut r, n_classes)?;
        let mut columns = Vec::with_capacity(COLUMNS);
        for _ in 0..COLUMNS {
            columns.push(r.section()?);
        }
        r.end()?;
        let columns: [Reader<'_>; COLUMNS] = columns.try_into().expect("eight columns were read");
        let mut leaf =
            RowDecoder { columns, classes: &classes, used: 0, state: Previous::default() }.rows(n)?;
        leaf.expand_keys(prefix, n)?;
        Ok(leaf)
    }

    /// Turns the stored suffixes into whole keys and checks their order.
    fn expand_keys(&mut self, prefix: &[u8], n: usize) -> FormatResult<()> {
        let bad = |why| FormatError::corrupt(WHAT, why);
        let suffixes = std::mem::take(&mut self.keys);
        let ends = std::mem::take(&mut self.key_ends);
        self.keys.reserve((suffixes.len() + n * prefix.len()).min(KEYS_BYTES_MAX));
        let first = &suffixes[..ends[0] as usize];
        let last = &suffixes[ends.iter().rev().nth(1).map_or(0, |end| *end as usize)..];
        if common_prefix_len(first, last) != 0 {
            return Err(bad("its common prefix is not the longest"));
        }
        let mut start = 0;
        let mut previous: Option<&[u8]> = None;
        for end in ends {
            let suffix = &suffixes[start..end as usize];
            if previous.is_some_and(|p| p >= suffix) {
                return Err(bad("its keys are not in order"));
            }
            if prefix.len() + suffix.len() > KEY_BYTES_MAX {
                return Err(bad("a key is too long"));
            }
            self.keys.extend_from_slice(prefix);
            self.keys.extend_from_slice(suffix);
            if self.keys.len() > KEYS_BYTES_MAX {
                return Err(bad("its keys are too long"));
            }
            self.key_ends.push(self.keys.len() as u32);
            previous = Some(suffix);
            start = end as usize;
        }
        Ok(())
    }
}

fn decode_classes(r: &mut Reader<'_>, n: usize) -> FormatResult<Vec<Arc<Class>>> {
    let mut classes = Vec::with_capacity(n);
    let mut known = HashSet::with_capacity(n);
    for _ in 0..n {
        let class = Arc::new(decode_class(r)?);
        if !known.insert(class.clone()) {
            return Err(r.error("a class stands there twice"));
        }
        classes.push(class);
    }
    Ok(classes)
}

fn decode_class(r: &mut Reader<'_>) -> FormatResult<Class> {
    let kind =
        Kind::from_u8(r.u8()?).ok_or(FormatError::TooNew { what: WHAT, why: "unknown kind of path" })?;
    let mode = r.varint_max(0o7777)? as u16;
    let owner = Owner {
        uid: r.varint_max(u32::MAX as u64)? as u32,
        gid: r.varint_max(u32::MAX as u64)? as u32,
        user: r.bytes(OWNER_NAME_BYTES_MAX)?.into(),
        group: r.bytes(OWNER_NAME_BYTES_MAX)?.into(),
    };
    let flags = r.varint_max(u32::MAX as u64)? as u32;
    let project = r.varint_max(u32::MAX as u64)? as u32;
    let mount = r.varint_max(u32::MAX as u64)? as u32;
    let xattrs = match r.u8()? {
        0 => Xattrs::None,
        1 => Xattrs::Inline(r.bytes(XATTRS_INLINE_BYTES_MAX)?.into()),
        2 => Xattrs::Blob(BlobId(r.array()?)),
        _ => return Err(r.error("its attributes have no known form")),
    };
    Ok(Class { kind, mode, owner, flags, project, mount, xattrs })
}

fn encode_class(class: &Class, out: &mut Vec<u8>) {
    out.push(class.kind as u8);
    out.put_varint(class.mode as u64);
    out.put_varint(class.owner.uid as u64);
    out.put_varint(class.owner.gid as u64);
    out.put_bytes(&class.owner.user);
    out.put_bytes(&class.owner.group);
    out.put_varint(class.flags as u64);
    out.put_varint(class.project as u64);
    out.put_varint(class.mount as u64);
    match &class.xattrs {
        Xattrs::None => out.push(0),
        Xattrs::Inline(set) => {
            out.push(1);
            out.put_bytes(set);
        }
        Xattrs::Blob(id) => {
            out.push(2);
            out.extend_from_slice(&id.0);
        }
    }
}

/// What deltas are taken against: the entry before.
#[derive(Default)]
struct Previous {
    mtime: Timestamp,
    ctime: Timestamp,
    inode: u64,
}

const NANOS: i128 = 1_000_000_000;

fn to_nanos(t: Timestamp) -> i128 {
    t.secs as i128 * NANOS + t.nanos as i128
}

fn put_time(out: &mut Vec<u8>, now: Timestamp, before: &mut Timestamp) {
    out.put_signed_wide(to_nanos(now) - to_nanos(*before));
    *before = now;
}

fn get_time(r: &mut Reader<'_>, before: &mut Timestamp) -> FormatResult<Timestamp> {
    let delta = r.signed_wide()?;
    let nanos = to_nanos(*before).checked_add(delta).ok_or_else(|| r.error("a time is impossible"))?;
    let secs = i64::try_from(nanos.div_euclid(NANOS)).map_err(|_| r.error("a time is impossible"))?;
    *before = Timestamp { secs, nanos: nanos.rem_euclid(NANOS) as u32 };
    Ok(*before)
}

struct RowDecoder<'a> {
    columns: [Reader<'a>; COLUMNS],
    classes: &'a [Arc<Class>],
    used: usize,
    state: Previous,
}

impl RowDecoder<'_> {
    /// Reads all rows; keys are still without the common prefix.
    fn rows(mut self, n: usize) -> FormatResult<Leaf> {
        let mut leaf = Leaf::default();
        leaf.entries.reserve(n);
        leaf.key_ends.reserve(n);
        let mut start = 0;
        for _ in 0..n {
            start = self.key(&mut leaf, start)?;
            let entry = self.entry()?;
            leaf.entries.push(entry);
        }
        if self.used != self.classes.len() {
            return Err(FormatError::corrupt(WHAT, "a class is not used"));
        }
        self.columns.iter().try_for_each(|c| c.end())?;
        Ok(leaf)
    }

    fn key(&mut self, leaf: &mut Leaf, start: usize) -> FormatResult<usize> {
        let r = &mut self.columns[KEYS];
        let before = leaf.keys.len() - start;
        let shared = r.varint_max(before as u64)? as usize;
        let rest = r.bytes(KEY_BYTES_MAX - shared)?;
        if common_prefix_len(&leaf.keys[start + shared..], rest) != 0 {
            return Err(r.error("a key is not in its shortest form"));
        }
        let end = leaf.keys.len();
        if end + shared + rest.len() > KEYS_BYTES_MAX {
            return Err(r.error("its keys are too long"));
        }
        leaf.keys.extend_from_within(start..start + shared);
        leaf.keys.extend_from_slice(rest);
        leaf.key_ends.push(leaf.keys.len() as u32);
        Ok(end)
    }

    fn class(&mut self) -> FormatResult<Arc<Class>> {
        let r = &mut self.columns[CLASSES];
        let index = r.varint_max(self.used as u64)? as usize;
        let class = self.classes.get(index).ok_or_else(|| r.error("a class is missing"))?;
        self.used = self.used.max(index + 1);
        Ok(class.clone())
    }

    fn entry(&mut self) -> FormatResult<Entry> {
        let class = self.class()?;
        let form = self.columns[FORMS].u8()?;
        let times = &mut self.columns[TIMES];
        let mtime = get_time(times, &mut self.state.mtime)?;
        let ctime = if form & FORM_SAME_TIME != 0 {
            self.state.ctime = mtime;
            mtime
        } else {
            get_time(times, &mut self.state.ctime)?
        };
        if form & FORM_SAME_TIME == 0 && ctime == mtime {
            return Err(times.error("equal times are not marked as such"));
        }
        let inode = self.state.inode.wrapping_add_signed(self.columns[INODES].signed()?);
        self.state.inode = inode;
        let is_file = class.kind == Kind::File;
        let size_bytes = if is_file { self.columns[SIZES].varint()? } else { 0 };
        let link_group = if form & FORM_LINKED != 0 { Some(self.columns[EXTRAS].array()?) } else { None };
        let rdev = match class.kind {
            Kind::CharDevice | Kind::BlockDevice => self.columns[EXTRAS].varint()?,
            _ => 0,
        };
        let target: Box<[u8]> = match class.kind {
            Kind::Symlink | Kind::Fault => self.columns[EXTRAS].bytes(LINK_TARGET_BYTES_MAX)?.into(),
            _ => Box::default(),
        };
        let content = self.content(form & FORM_CONTENT)?;
        if !is_file && content != Content::None {
            return Err(FormatError::corrupt(WHAT, "something other than a file has contents"));
        }
        let marks = Marks(form >> FORM_MARKS_SHIFT);
        Ok(Entry { class, mtime, ctime, inode, size_bytes, link_group, rdev, target, content, marks })
    }

    fn content(&mut self, form: u8) -> FormatResult<Content> {
        Ok(match form {
            0 => Content::None,
            1 => Content::Whole(BlobId(self.columns[IDS].array()?)),
            2 => {
                let r = &mut self.columns[EXTRAS];
                let n = r.count(EXTENTS_INLINE_MAX, 1)?;
                if n == 0 {
                    return Err(r.error("a list of extents is empty"));
                }
                Content::Extents((0..n).map(|_| Extent::get(r)).collect::<Result<_, _>>()?)
            }
            _ => {
                let level = self.columns[EXTRAS].u8()?;
                if level > TREE_LEVELS_MAX {
                    return Err(self.columns[EXTRAS].error("its extents are impossibly deep"));
                }
                Content::ExtentTree { id: BlobId(self.columns[IDS].array()?), level }
            }
        })
    }
}

/// Encodes a leaf entry by entry.
#[derive(Default)]
pub struct LeafEncoder {
    classes: Vec<Arc<Class>>,
    columns: [Vec<u8>; COLUMNS],
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    state: Previous,
    /// Sum of file sizes.
    pub file_bytes: u64,
}

impl LeafEncoder {
    /// Number of entries so far.
    pub fn len(&self) -> usize {
        self.key_ends.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.key_ends.is_empty()
    }

    /// The key of the last entry.
    pub fn last_key(&self) -> &[u8] {
        let start = self.key_ends.len().checked_sub(2).map_or(0, |i| self.key_ends[i] as usize);
        &self.keys[start..]
    }

    /// Appends an entry; keys must ascend.
    pub fn push(&mut self, key: &[u8], entry: &Entry) {
        assert!(self.is_empty() || self.last_key() < key, "entries come in key order");
        assert_writable(key, entry);
        self.keys.extend_from_slice(key);
        self.key_ends.push(self.keys.len() as u32);
        let class = self.class_index(&entry.class);
        self.columns[CLASSES].put_varint(class as u64);
        let same_time = entry.ctime == entry.mtime;
        let times = &mut self.columns[TIMES];
        put_time(times, entry.mtime, &mut self.state.mtime);
        if same_time {
            self.state.ctime = entry.ctime;
        } else {
            put_time(times, entry.ctime, &mut self.state.ctime);
        }
        self.columns[INODES].put_signed(entry.inode.wrapping_sub(self.state.inode) as i64);
        self.state.inode = entry.inode;
        if entry.kind() == Kind::File {
            self.columns[SIZES].put_varint(entry.size_bytes);
            self.file_bytes = self.file_bytes.saturating_add(entry.size_bytes);
        }
        self.extras(entry, same_time);
    }

    fn extras(&mut self, entry: &Entry, same_time: bool) {
        let mut form = (entry.marks.0 << FORM_MARKS_SHIFT) | if same_time { FORM_SAME_TIME } else { 0 };
        if let Some(group) = &entry.link_group {
            form |= FORM_LINKED;
            self.columns[EXTRAS].extend_from_slice(group);
        }
        match entry.kind() {
            Kind::CharDevice | Kind::BlockDevice => self.columns[EXTRAS].put_varint(entry.rdev),
            Kind::Symlink | Kind::Fault => self.columns[EXTRAS].put_bytes(&entry.target),
            _ => {}
        }
        match &entry.content {
            Content::None => {}
            Content::Whole(id) => {
                form |= 1;
                self.columns[IDS].extend_from_slice(&id.0);
            }
            Content::Extents(extents) => {
                form |= 2;
                self.columns[EXTRAS].put_varint(extents.len() as u64);
                extents.iter().for_each(|e| e.put(&mut self.columns[EXTRAS]));
            }
            Content::ExtentTree { id, level } => {
                form |= 3;
                self.columns[EXTRAS].push(*level);
                self.columns[IDS].extend_from_slice(&id.0);
            }
        }
        self.columns[FORMS].push(form);
    }

    fn class_index(&mut self, class: &Arc<Class>) -> usize {
        let same = |c: &Arc<Class>| Arc::ptr_eq(c, class);
        let found =
            self.classes.iter().rposition(same).or_else(|| self.classes.iter().position(|c| c == class));
        found.unwrap_or_else(|| {
            self.classes.push(class.clone());
            self.classes.len() - 1
        })
    }

    /// Ends the leaf and starts afresh.
    pub fn finish(&mut self) -> Vec<u8> {
        let n = self.len();
        let first_end = self.key_ends[0] as usize;
        let prefix_len = common_prefix_len(&self.keys[..first_end], self.last_key());
        let mut out = Vec::with_capacity(self.columns.iter().map(Vec::len).sum::<usize>() + self.keys.len());
        out.push(TYPE);
        out.put_varint(n as u64);
        out.put_bytes(&self.keys[..prefix_len]);
        out.put_varint(self.classes.len() as u64);
        self.classes.iter().for_each(|c| encode_class(c, &mut out));
        self.encode_keys(prefix_len);
        for column in &mut self.columns {
            out.put_bytes(column);
            column.clear();
        }
        self.classes.clear();
        self.keys.clear();
        self.key_ends.clear();
        self.state = Previous::default();
        self.file_bytes = 0;
        out
    }

    fn encode_keys(&mut self, prefix_len: usize) {
        let (mut start, mut previous) = (0, &[][..]);
        for end in &self.key_ends {
            let suffix = &self.keys[start + prefix_len..*end as usize];
            let shared = common_prefix_len(previous, suffix);
            self.columns[KEYS].put_varint(shared as u64);
            self.columns[KEYS].put_bytes(&suffix[shared..]);
            previous = suffix;
            start = *end as usize;
        }
    }
}

/// Stops a writer before it stores what no reader would accept.
fn assert_writable(key: &[u8], entry: &Entry) {
    let Class { mode, owner, xattrs, .. } = &*entry.class;
    assert!(key.len() <= KEY_BYTES_MAX, "longer paths are reported as unreadable");
    assert!(*mode <= 0o7777 && owner.user.len().max(owner.group.len()) <= OWNER_NAME_BYTES_MAX);
    assert!(entry.target.len() <= LINK_TARGET_BYTES_MAX, "longer targets are cut or reported");
    assert!(entry.kind() == Kind::File || entry.content == Content::None, "only files have contents");
    if let Xattrs::Inline(set) = xattrs {
        assert!(set.len() <= XATTRS_INLINE_BYTES_MAX, "larger sets are blobs");
    }
    if let Content::Extents(extents) = &entry.content {
        assert!((1..=EXTENTS_INLINE_MAX).contains(&extents.len()), "longer lists have nodes");
    }
}

#[cfg(test)]
mod tests;

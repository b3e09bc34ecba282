//! What the walk hands out: one directory, or one run of a huge one, as sorted entries with their metadata.
//!
//! Names stand back to back in one arena, so that a million of them cost their own bytes and little more.
//! A listing says everything that is known about its directory, including what went wrong and what was left
//! out on purpose; an entry that is in none of these lists did not exist.

use std::sync::Arc;

use rustix::io::Errno;

use crate::directory::Directory;
use crate::rules::Exclusion;
use crate::stat::Stat;

/// The most entries one [`Listing`] holds; larger directories come as several.
pub const RUN_ENTRIES_MAX: usize = 65_536;

/// A name inside the arena of its listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameRange {
    pub(crate) start: u32,
    pub(crate) len: u16,
}

impl NameRange {
    pub(crate) fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start as usize..self.start as usize + self.len as usize]
    }
}

/// One entry of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub(crate) name: NameRange,
    /// Its metadata when the directory was listed.
    pub stat: Stat,
}

/// One directory, or one run of a huge one.
#[derive(Debug)]
pub struct Listing {
    /// The directory listed.
    pub dir: Arc<Directory>,
    /// The entries in order of their name bytes. In directories that only lead to a source, only these children.
    pub entries: Vec<Found>,
    /// What could not be read, and why.
    pub faults: Vec<Fault>,
    /// Number of entries left out because a rule says so.
    pub excluded_count: usize,
    /// The entries left out, in name order; filled only if the walk was asked to.
    pub excluded: Vec<Excluded>,
    /// Why the directory was not entered at all; it then has no entries.
    pub not_entered: Option<NotEntered>,
    /// True if only children that lead to a source are listed: what is missing here was never looked at.
    pub filtered: bool,
    /// True in the only or last listing of this directory.
    pub last: bool,
    pub(crate) names: Vec<u8>,
}

impl Listing {
    pub(crate) fn empty(dir: Arc<Directory>) -> Listing {
        Listing {
            dir,
            entries: Vec::new(),
            faults: Vec::new(),
            excluded_count: 0,
            excluded: Vec::new(),
            not_entered: None,
            filtered: false,
            last: true,
            names: Vec::new(),
        }
    }

    /// Returns the name of one of this listing's entries, without any folder.
    pub fn name(&self, entry: &Found) -> &[u8] {
        entry.name.of(&self.names)
    }

    /// Returns the name of one of the entries left out.
    pub fn excluded_name(&self, entry: &Excluded) -> &[u8] {
        entry.name.of(&self.names)
    }

    /// Goes through the entries with their names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Stat)> {
        self.entries.iter().map(|entry| (self.name(entry), &entry.stat))
    }

    /// About how much memory the listing occupies.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.names.len() + self.entries.len() * size_of::<Found>() + 256
    }

    pub(crate) fn push_name(&mut self, name: &[u8]) -> NameRange {
        let range = NameRange { start: self.names.len() as u32, len: name.len() as u16 };
        self.names.extend_from_slice(name);
        range
    }
}

/// An entry that a rule left out.
#[derive(Clone, Debug)]
pub struct Excluded {
    pub(crate) name: NameRange,
    /// True for directories: everything below was left out with it.
    pub is_directory: bool,
    /// The rule that decided.
    pub why: Exclusion,
}

/// Why a directory was kept as an entry but not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEntered {
    /// It is on another file system and the walk was told to stay on one.
    OtherFileSystem,
    /// The kernel makes up its contents; the name of the file system.
    Virtual(&'static str),
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is there and cannot be read.
    Unreadable,
    /// It was there a moment ago; ordinary on a living system.
    Vanished,
    /// Something else took its place between two looks. If that is a directory, its contents are listed, and
    /// the metadata in the listing above is that of the old one; anything else is not entered.
    Replaced,
    /// Some names were read, then the directory gave an error.
    PartlyListed,
}

/// Something that could not be listed or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The entry concerned, `None` for the directory of the listing itself.
    pub name: Option<Box<[u8]>>,
    /// What kind of thing went wrong.
    pub kind: FaultKind,
    /// The kernel's error number, 0 if no call failed.
    pub errno: i32,
    /// What failed and why, without the path.
    pub text: String,
}

impl Fault {
    pub(crate) fn new(name: Option<&[u8]>, what: &str, errno: Errno) -> Fault {
        let kind = match errno {
            Errno::NOENT => FaultKind::Vanished,
            Errno::STALE | Errno::LOOP | Errno::NOTDIR => FaultKind::Replaced,
            _ => FaultKind::Unreadable,
        };
        let text = format!("{what}: {}", std::io::Error::from(errno));
        Fault { name: name.map(Box::from), kind, errno: errno.raw_os_error(), text }
    }
}

//! Attributes beyond the mode, as they are saved: extended attributes, inode flags, project id, link target.
//!
//! ACLs and capabilities are extended attributes to Linux (`system.posix_acl_access`, `security.capability`)
//! and are kept as raw bytes. What could not be read is named, never left out silently. Costs three system
//! calls on an open file that has nothing special.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::directory::Directory;
use crate::linux_attributes::{self as calls, Place};
use crate::stat::{Kind, Stat};

/// The inode flags that say what somebody wants, of linux/fs.h (chattr letters `suSDiadAcCjtTxPF` and `m`); the others say
/// how the file system stores the file, or cannot be set.
pub const INODE_FLAGS_KEPT: u32 = 0x1 // SECRM
    | 0x2 // UNRM
    | 0x4 // COMPR
    | 0x8 // SYNC
    | 0x10 // IMMUTABLE
    | 0x20 // APPEND
    | 0x40 // NODUMP
    | 0x80 // NOATIME
    | 0x400 // NOCOMP
    | 0x4000 // JOURNAL_DATA
    | 0x8000 // NOTAIL
    | 0x1_0000 // DIRSYNC
    | 0x2_0000 // TOPDIR
    | 0x80_0000 // NOCOW
    | 0x200_0000 // DAX
    | 0x2000_0000 // PROJINHERIT
    | 0x4000_0000; // CASEFOLD

/// Everything about an entry that the directory listing does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Extended attributes in order of their names, ACLs and capabilities among them.
    pub xattrs: Vec<Xattr>,
    /// Inode flags, see [`INODE_FLAGS_KEPT`]; 0 if there are none.
    pub flags: u32,
    /// Project id for quotas; 0 if there is none.
    pub project: u32,
    /// Where a symbolic link points, as raw bytes; `None` for everything else.
    pub link_target: Option<Box<[u8]>>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Full name with its namespace, without a NUL.
    pub name: Box<[u8]>,
    /// Raw value.
    pub value: Box<[u8]>,
}

/// A part of an entry's attributes that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which part, for messages.
    pub part: Box<str>,
    /// The kernel's error number.
    pub errno: i32,
}

impl Unread {
    fn new(part: impl Into<Box<str>>, errno: Errno) -> Unread {
        Unread { part: part.into(), errno: errno.raw_os_error() }
    }
}

/// Reads the extras of a file or directory through an open descriptor.
pub fn read_extras_open(fd: impl AsFd) -> Extras {
    let fd = fd.as_fd();
    let mut extras = Extras::default();
    read_xattrs(&Place::open(&fd), &mut extras);
    match calls::inode_flags(fd) {
        Ok(flags) => extras.flags = flags & INODE_FLAGS_KEPT,
        Err(errno) => extras.unread.push(Unread::new("inode flags", errno)),
    }
    match calls::project_id(fd) {
        Ok(project) => extras.project = project,
        Err(errno) => extras.unread.push(Unread::new("project id", errno)),
    }
    extras
}

/// Reads the extras of any entry by name. Opens only files and directories: opening a device or a pipe acts.
///
/// Fails only if the folder itself is gone; what cannot be read of the entry is in [`Extras::unread`].
pub fn read_extras(directory: &Arc<Directory>, name: &[u8], stat: &Stat) -> io::Result<Extras> {
    let folder = directory.descriptor()?;
    if matches!(stat.kind, Kind::File | Kind::Directory) {
        match open_for_attributes(&folder, name, stat.kind) {
            Ok(fd) => return Ok(read_extras_open(fd)),
            // Attributes may be readable where contents are not.
            Err(errno) => {
                let mut extras = extras_by_name(&folder, name);
                extras.unread.push(Unread::new("inode flags", errno));
                return Ok(extras);
            }
        }
    }
    let mut extras = extras_by_name(&folder, name);
    if stat.kind == Kind::Symlink {
        match rustix::fs::readlinkat(&folder, name, Vec::new()) {
            Ok(target) => extras.link_target = Some(target.into_bytes().into()),
            Err(errno) => extras.unread.push(Unread::new("link target", errno)),
        }
    }
    Ok(extras)
}

fn open_for_attributes(folder: &OwnedFd, name: &[u8], kind: Kind) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if kind == Kind::Directory {
        flags |= OFlags::DIRECTORY;
    }
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

fn extras_by_name(folder: &OwnedFd, name: &[u8]) -> Extras {
    let mut extras = Extras::default();
    read_xattrs(&Place::below(folder, name), &mut extras);
    extras
}

fn read_xattrs(place: &Place<'_>, extras: &mut Extras) {
    let names = match calls::xattr_names(place) {
        Ok(names) => names,
        Err(errno) => return extras.unread.push(Unread::new("extended attributes", errno)),
    };
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match calls::xattr(place, name) {
            Ok(value) => extras.xattrs.push(Xattr { name: name.into(), value: value.into() }),
            // Removed since the names were read.
            Err(Errno::NODATA) => {}
            Err(errno) => {
                let part = format!("extended attribute {}", name.escape_ascii());
                extras.unread.push(Unread::new(part, errno));
            }
        }
    }
    extras.xattrs.sort_unstable();
}

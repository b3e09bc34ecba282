//! Regular files on their way back: created anew or opened to be changed in place.
//!
//! Promises: a file is created, never opened by accident, and never written through a link or through a
//! second name. Until it is finished only its owner may read what its attributes do not yet allow others.
//! Knows no contents and no order; what is written where is the caller's.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::apply::{Attributes, Made, Owner, Unapplied};
use crate::linux;
use crate::linux_attributes as calls;
use crate::stat::{Kind, Stat};
use crate::target::{Target, TargetDir, check_name};

/// Flags that act only on a file that has no contents yet: no copy-on-write, no compression.
const FLAGS_BEFORE_CONTENTS: u32 = 0x80_0000 | 0x400 | 0x4;

/// The mark of a file that is not finished: the sticky bit, which means nothing for a file on Linux, and which any
/// owner may set. It is gone with the final mode.
const UNFINISHED: u16 = 0o1000;

/// Whether a restore of a file with this mode began what stands there and never finished it.
pub fn is_unfinished(stat: &Stat, wanted_mode: u16) -> bool {
    stat.kind == Kind::File && stat.mode & UNFINISHED != 0 && wanted_mode & UNFINISHED == 0
}

/// A file being restored, empty or with its old contents, open for reading and writing.
#[derive(Debug)]
pub struct NewFile {
    /// The file.
    pub file: File,
    pub(crate) made: Made,
}

/// What became of the wish to change a file in place.
#[derive(Debug)]
pub enum InPlace {
    /// It is open, with its old contents and this metadata.
    Open(NewFile, Stat),
    /// There is nothing, or nothing that may be written to: another kind, a file with a second name (writing would
    /// change that, too), a running program, one without permission. It has to be created anew.
    CreateAnew,
}

impl Target {
    /// Creates the file `name` for contents that come next; what stands there is replaced only as
    /// [`TargetOptions::existing`](crate::target::TargetOptions::existing) allows.
    pub fn create_file(
        &self,
        parent: &TargetDir,
        name: &[u8],
        attributes: &Attributes<'_>,
    ) -> io::Result<NewFile> {
        let mode = self.mode_at_creation(parent, self.owner_wanted(attributes), attributes.mode);
        self.create(parent, name, attributes, mode)
    }

    /// The same for a file that takes many writes: until it is finished it is marked as such, for whoever finds it
    /// after a crash (see [`is_unfinished`]).
    pub fn create_unfinished(
        &self,
        parent: &TargetDir,
        name: &[u8],
        attributes: &Attributes<'_>,
    ) -> io::Result<NewFile> {
        self.create(parent, name, attributes, UNFINISHED | 0o600)
    }

    fn create(
        &self,
        parent: &TargetDir,
        name: &[u8],
        attributes: &Attributes<'_>,
        mode: u16,
    ) -> io::Result<NewFile> {
        let owner = self.owner_wanted(attributes);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let raw = Mode::from_raw_mode(mode.into());
        let file = self.make(parent, name, |folder| rustix::fs::openat(folder, name, flags, raw))?;
        let early = attributes.flags & FLAGS_BEFORE_CONTENTS;
        if self.options.flags && early != 0 {
            // A file system that cannot is named when the file is finished.
            let _ = calls::inode_flags(&file).and_then(|now| calls::set_inode_flags(&file, now | early));
        }
        let made = Made {
            mode: self.credentials.umask.filter(|_| !parent.inherits).map(|umask| mode & !umask),
            uid: Some(self.credentials.uid),
            gid: parent.new_group,
            fresh: true,
            inherited: parent.inherits,
            owner,
        };
        Ok(NewFile { file: file.into(), made })
    }

    /// Uses the final mode at once if owner and group are right from the start, which saves a call; otherwise
    /// the file is private until it belongs to the right ones.
    fn mode_at_creation(&self, parent: &TargetDir, owner: Owner, mode: u16) -> u16 {
        let owner_right = owner.uid.is_none_or(|uid| uid == self.credentials.uid);
        let group_right = owner.gid.is_none_or(|gid| parent.new_group == Some(gid));
        if owner_right && group_right { mode & 0o777 } else { 0o600 }
    }

    /// Opens an existing file to change what differs, if that can be done without side effects.
    pub fn open_in_place(
        &self,
        parent: &TargetDir,
        name: &[u8],
        attributes: &Attributes<'_>,
    ) -> io::Result<InPlace> {
        check_name(name)?;
        let folder = parent.directory.descriptor()?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let before = match linux::stat_name(&folder, name) {
            Ok(stat) if stat.kind == Kind::File && stat.nlink == 1 => stat,
            Ok(_) | Err(Errno::NOENT) => return Ok(InPlace::CreateAnew),
            Err(errno) => return Err(errno.into()),
        };
        let fd = match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Ok(InPlace::CreateAnew),
            Err(Errno::TXTBSY | Errno::ACCESS | Errno::PERM | Errno::AGAIN) => {
                return Ok(InPlace::CreateAnew);
            }
            Err(errno) => return Err(errno.into()),
        };
        let stat = linux::stat_open(&fd)?;
        if !crate::stat::same_inode(&before, &stat) || stat.nlink != 1 {
            return Ok(InPlace::CreateAnew);
        }
        let made = Made {
            mode: Some(stat.mode),
            uid: Some(stat.uid),
            gid: Some(stat.gid),
            fresh: false,
            inherited: true,
            owner: self.owner_wanted(attributes),
        };
        Ok(InPlace::Open(NewFile { file: fd.into(), made }, stat))
    }

    /// Restores the attributes of a file whose contents are complete. Returns what could not be applied.
    ///
    /// To be called after the last write: writing changes the times and clears capabilities.
    pub fn finish_file(&self, file: &NewFile, attributes: &Attributes<'_>) -> Vec<Unapplied> {
        self.apply_to_file(file.file.as_fd(), file.made, attributes)
    }
}

impl NewFile {
    /// Returns the metadata the file has now: what [`Target::hard_link`] wants to know.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(linux::stat_open(&self.file)?)
    }
}

/// Frees the blocks of a range, which reads as zeros from then on. Fails where the file system has no holes.
pub fn punch_hole(file: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, mode, offset, len)?)
}

/// Reserves space for a file of this length, so that a full disk shows before the work is done.
pub fn reserve(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size_bytes)?)
}

/// Sets the length of a file: what is cut is gone, what is added is a hole.
pub fn set_length(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::ftruncate(file, size_bytes)?)
}

/// Lets a range of `to` share the blocks of a range of `from` (a reflink). Both must be on one file system
/// that can, and the ranges aligned to its blocks; otherwise this fails and nothing changed.
pub fn clone_range(
    from: impl AsFd,
    from_offset: u64,
    len: u64,
    to: impl AsFd,
    to_offset: u64,
) -> io::Result<()> {
    Ok(calls::clone_range(from, from_offset, len, to, to_offset)?)
}

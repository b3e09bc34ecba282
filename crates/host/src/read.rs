//! Opening files for reading without side effects, and finding their holes.
//!
//! Promises: only regular files are opened for reading, whatever stands at the name by now; no link is
//! followed, no pipe is waited for, no access time is touched where the kernel allows to ask for that.
//! Knows nothing about what is done with the contents.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::directory::Directory;
use crate::linux;
use crate::stat::{Kind, Stat};

/// A regular file open for reading, and what it was at that moment.
#[derive(Debug)]
pub struct OpenFile {
    /// The file, at its beginning.
    pub file: File,
    /// Its metadata right after opening. Where it differs from the listing, this is the truth: programs
    /// replace files by renaming a new one over them.
    pub stat: Stat,
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens a regular file for reading. `listed` is what the walk saw.
///
/// Fails with `InvalidInput` if the name is something else than a regular file by now.
pub fn open_for_read(directory: &Arc<Directory>, name: &[u8], listed: &Stat) -> io::Result<OpenFile> {
    let folder = directory.descriptor()?;
    let fd = match open_quietly(&folder, name, listed) {
        // Somebody holds a lease (a Samba client, say); only a blocking open makes the kernel call it in.
        Err(Errno::AGAIN) => open_blocking(&folder, name)?,
        other => other?,
    };
    let stat = linux::stat_open(&fd)?;
    if stat.kind != Kind::File {
        return Err(not_a_file());
    }
    Ok(OpenFile { file: File::from(fd), stat })
}

impl OpenFile {
    /// Reads the metadata again: after the last byte was read, it tells whether the file changed meanwhile.
    pub fn stat_again(&self) -> io::Result<Stat> {
        Ok(linux::stat_open(&self.file)?)
    }
}

fn open_quietly(folder: &OwnedFd, name: &[u8], listed: &Stat) -> Result<OwnedFd, Errno> {
    // Others than the owner are refused; asking all the same would double the calls.
    let me = rustix::process::geteuid();
    if me.is_root() || me.as_raw() == listed.uid {
        match rustix::fs::openat(folder, name, READ | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => {}
            other => return other,
        }
    }
    rustix::fs::openat(folder, name, READ, Mode::empty())
}

fn open_blocking(folder: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let handle_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(folder, name, handle_only, Mode::empty())?;
    if linux::stat_open(&handle)?.kind != Kind::File {
        return Err(not_a_file());
    }
    let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
    Ok(rustix::fs::openat(CWD, itself, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a regular file")
}

/// Returns the ranges of a file that hold data, in order; the rest up to `size_bytes` reads as zeros.
///
/// Worth calling only if [`Stat::may_have_holes`]. A file system that keeps no such map gives one range. The
/// position of the file is moved.
pub fn data_ranges(file: impl AsFd, size_bytes: u64) -> io::Result<Vec<Range<u64>>> {
    let file = file.as_fd();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size_bytes {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < size_bytes => start,
            // No data from here to the end, or data only in what was appended meanwhile.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) if at == 0 => {
                return Ok(std::iter::once(0..size_bytes).collect());
            }
            Err(errno) => return Err(errno.into()),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size_bytes),
            // The file was cut shorter between the two calls.
            Err(Errno::NXIO) => size_bytes,
            Err(errno) => return Err(errno.into()),
        };
        ranges.push(start..end);
        at = end;
    }
    Ok(ranges)
}

//! Reading the small files that rules depend on: ignore files and markers.
//!
//! Promises: follows no link, reads regular files only, and never more than a limit.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::directory::Directory;
use crate::linux;
use crate::stat::Kind;

/// An ignore file with more bytes is refused rather than half obeyed.
const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a whole ignore file.
pub(crate) fn read_whole(directory: &Arc<Directory>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let file = open(directory, name)?;
    let contents = read(&file, IGNORE_FILE_BYTES_MAX + 1)?;
    if contents.len() as u64 > IGNORE_FILE_BYTES_MAX { Err(Errno::FBIG) } else { Ok(contents) }
}

/// Reads the first bytes of a marker, fewer if it is shorter. With `len` 0 it need not even be readable.
pub(crate) fn read_start(directory: &Arc<Directory>, name: &[u8], len: usize) -> Result<Vec<u8>, Errno> {
    if len == 0 {
        return Ok(Vec::new());
    }
    read(&open(directory, name)?, len as u64)
}

fn open(directory: &Arc<Directory>, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&*directory.descriptor()?, name, flags, Mode::empty())?;
    if linux::stat_open(&fd)?.kind != Kind::File {
        return Err(Errno::INVAL);
    }
    Ok(fd.into())
}

fn read(file: &File, bytes_max: u64) -> Result<Vec<u8>, Errno> {
    let mut contents = Vec::new();
    let read = file.take(bytes_max).read_to_end(&mut contents);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(contents)
}

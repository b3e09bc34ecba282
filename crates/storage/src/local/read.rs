//! Reads objects and lists of a local store. Nothing here ever writes.
//!
//! Promises: only plain files with well-formed names count as objects, so no foreign file, pipe, device
//! or symbolic link in the folder is opened, listed or waited for; lists come in name order.

use super::errors::failed;
use super::write::TEMP_FOLDER;
use crate::{ErrorKind, ObjectInfo, ObjectName, StoreError, StoreResult};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Deeper folders are not ours. The deepest of ours is `maint/test-…/mirror/snapshots/`; a limit keeps
/// a hostile tree from becoming an endless list.
pub(super) const FOLDERS_DEEP_MAX: usize = 6;

/// Opens an object and tells what it is.
pub(super) fn open_object(root: &OwnedFd, name: &ObjectName) -> rustix::io::Result<(File, Stat)> {
    // NONBLOCK so that a pipe laid in our way cannot hang the open; it means nothing for files.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(root, name.as_str(), flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NOENT);
    }
    Ok((file, stat))
}

/// Reads `len` bytes at `offset`; less only where the file ends.
pub(super) fn read_at(file: &File, offset: u64, len: usize) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        // The vector may have been given more room than asked for; never read into that.
        let missing = len - bytes.len();
        let read = if bytes.spare_capacity_mut().len() > missing {
            read_into_start(file, at, &mut bytes, missing)
        } else {
            rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at)
        };
        match read {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn read_into_start(file: &File, at: u64, bytes: &mut Vec<u8>, len: usize) -> rustix::io::Result<usize> {
    let before = bytes.len();
    bytes.resize(before + len, 0);
    let outcome = rustix::io::pread(file, &mut bytes[before..], at);
    bytes.truncate(before + *outcome.as_ref().unwrap_or(&0));
    outcome
}

/// The most recently read objects, kept open: a restore reads many ranges of the same few packs.
///
/// A kept object that another process deletes or replaces is read as it was.
pub(super) struct OpenFiles {
    files_max: usize,
    /// Oldest use first. A handful of entries, so a plain search beats any map.
    files: Mutex<Vec<(ObjectName, Arc<File>)>>,
}

impl OpenFiles {
    pub(super) fn new(files_max: usize) -> Self {
        Self { files_max: files_max.max(1), files: Mutex::new(Vec::new()) }
    }

    /// Gives the open file of `name`, opening it if need be.
    pub(super) fn open(&self, root: &OwnedFd, name: &ObjectName) -> rustix::io::Result<Arc<File>> {
        if let Some(file) = self.touch(name) {
            return Ok(file);
        }
        let file = Arc::new(open_object(root, name)?.0);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= self.files_max {
            files.remove(0);
        }
        files.push((name.clone(), file.clone()));
        Ok(file)
    }

    fn touch(&self, name: &ObjectName) -> Option<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let at = files.iter().rposition(|(kept, _)| kept == name)?;
        files[at..].rotate_left(1);
        files.last().map(|(_, file)| file.clone())
    }

    /// Closes an object that was deleted or replaced.
    pub(super) fn forget(&self, name: &ObjectName) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).retain(|(kept, _)| kept != name);
    }
}

/// Reads exactly `range` of an open object.
pub(super) fn read_range(file: &File, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
    let wrong = || StoreError::new(ErrorKind::Config, format!("read bytes {range:?} of {name}"));
    let len = range.end.checked_sub(range.start).ok_or_else(wrong)?;
    // Asked before room is made: a range out of a damaged index must not become a huge allocation.
    let file_len = file.metadata().map(|found| found.len());
    let file_len = file_len
        .map_err(|error| StoreError::new(ErrorKind::Other, format!("look at {name}")).because(error))?;
    if file_len < range.end {
        return Err(truncated(name, &range));
    }
    let len = usize::try_from(len).map_err(|_| wrong())?;
    let bytes = read_at(file, range.start, len).map_err(|error| failed("read", name, error))?;
    if bytes.len() < len {
        return Err(truncated(name, &range));
    }
    Ok(bytes)
}

fn truncated(name: &ObjectName, range: &Range<u64>) -> StoreError {
    StoreError::new(ErrorKind::Truncated, format!("read bytes {}..{} of {name}", range.start, range.end))
}

/// What the file system tells about an object.
pub(super) fn info_of(name: ObjectName, stat: &Stat) -> ObjectInfo {
    let since = Duration::new(stat.st_mtime.unsigned_abs(), u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    let received = if stat.st_mtime >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(since)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(stat.st_mtime.unsigned_abs()))
    };
    ObjectInfo { name, len_bytes: u64::try_from(stat.st_size).unwrap_or(0), received }
}

/// One list being made.
pub(super) struct Listing<'a> {
    pub(super) prefix: &'a str,
    pub(super) visit: &'a mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
}

impl Listing<'_> {
    /// Lists what is in `folder`, whose name with a closing `/` is `path` ("" for the root).
    pub(super) fn walk(&mut self, folder: OwnedFd, path: &str, deep: usize) -> StoreResult<ControlFlow<()>> {
        for entry in self.entries_of(&folder, path)? {
            let flow = if entry.ends_with('/') {
                self.enter(&folder, path, &entry, deep)?
            } else {
                self.show(&folder, path, entry)?
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Full names in `folder` that may lie under the prefix, folders with a closing `/`, in the order of
    /// the full names below them: `a-b` < `a/b`, so a folder sorts by its name *with* the slash.
    fn entries_of(&self, folder: &OwnedFd, path: &str) -> StoreResult<Vec<String>> {
        let shown = if path.is_empty() { "the repository folder" } else { path };
        let fail = |error| failed("list", shown, error);
        let mut entries = Vec::new();
        for entry in Dir::read_from(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(part) = entry.file_name().to_str() else { continue };
            if matches!(part, "." | "..") || (path.is_empty() && part == TEMP_FOLDER) {
                continue;
            }
            let mut name = format!("{path}{part}");
            match self.type_of(folder, entry.file_name(), entry.file_type(), path.is_empty()) {
                FileType::Directory => name.push('/'),
                FileType::RegularFile => {}
                _ => continue,
            }
            if name.starts_with(self.prefix) || (name.ends_with('/') && self.prefix.starts_with(&name)) {
                entries.push(name);
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// The type of an entry. A symbolic link to a folder counts directly below the root only, where
    /// people move `packs/` to another disk; deeper ones could make a list endless.
    fn type_of(&self, folder: &OwnedFd, name: &std::ffi::CStr, known: FileType, at_root: bool) -> FileType {
        let flags = match known {
            FileType::Unknown => AtFlags::SYMLINK_NOFOLLOW,
            FileType::Symlink if at_root => AtFlags::empty(),
            other => return other,
        };
        let found = rustix::fs::statat(folder, name, flags).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match (known, found) {
            (FileType::Symlink, Ok(FileType::Directory)) => FileType::Directory,
            (FileType::Unknown, Ok(found)) => found,
            _ => FileType::Symlink,
        }
    }

    fn enter(
        &mut self,
        folder: &OwnedFd,
        path: &str,
        name: &str,
        deep: usize,
    ) -> StoreResult<ControlFlow<()>> {
        if deep >= FOLDERS_DEEP_MAX {
            return Ok(ControlFlow::Continue(()));
        }
        match open_folder(folder, &name[path.len()..]) {
            Ok(inner) => self.walk(inner, name, deep + 1),
            // Gone since the folder was read.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(ControlFlow::Continue(())),
            Err(error) => Err(failed("list", name, error)),
        }
    }

    fn show(&mut self, folder: &OwnedFd, path: &str, name: String) -> StoreResult<ControlFlow<()>> {
        let Some(object) = ObjectName::new(&name) else { return Ok(ControlFlow::Continue(())) };
        match rustix::fs::statat(folder, &name[path.len()..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok((self.visit)(info_of(object, &stat)))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(ControlFlow::Continue(())),
            Err(error) => Err(failed("list", name, error)),
        }
    }
}

/// Opens a folder below `at` for listing.
pub(super) fn open_folder(at: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

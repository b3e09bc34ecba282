//! Removing a whole tree below a directory handle.
//!
//! Promises: follows no symbolic link, enters no other file system, needs no stack and no long path however
//! deep the tree is. Clears the flags that would forbid the removal where this process may. Stops at the
//! first thing that cannot be removed.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::directory::Directory;
use crate::linux;
use crate::linux_attributes as calls;
use crate::lister;
use crate::stat::{Kind, Stat};

/// Immutable and append-only.
const FORBIDDING_FLAGS: u32 = 0x10 | 0x20;

/// Removes a folder with everything below it, also what has flags against removal where this process may clear
/// them, and folders that nobody may enter; nothing there is fine.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "it has no name");
    let name = path.file_name().ok_or_else(no_name)?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = match parent.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let names = parent.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let folder = names.fold(Directory::root(64), |folder, name| folder.child(name.as_bytes()));
    remove_tree(&folder, name.as_bytes())
}

/// Removes `name` with everything below it; nothing there is fine.
pub(crate) fn remove_tree(parent: &Arc<Directory>, name: &[u8]) -> io::Result<()> {
    let folder = parent.descriptor()?;
    let stat = match linux::stat_name(&folder, name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    if stat.kind != Kind::Directory {
        return unlink(&folder, name, stat.kind);
    }
    let device = parent.found().map_or(stat.device, |found| found.device);
    let mut open = vec![Emptying::enter(parent.child(name), &stat, device)?];
    while let Some(innermost) = open.last_mut() {
        if let Some((below, stat)) = innermost.folders.pop() {
            let below = innermost.directory.child(&below);
            open.push(Emptying::enter(below, &stat, device)?);
            continue;
        }
        let above = innermost.directory.parent().expect("a directory to remove has a parent").descriptor()?;
        unlink(&above, innermost.directory.name(), Kind::Directory)?;
        open.pop();
    }
    Ok(())
}

/// A directory that holds nothing but these directories any more.
struct Emptying {
    directory: Arc<Directory>,
    folders: Vec<(Box<[u8]>, Stat)>,
}

impl Emptying {
    fn enter(directory: Arc<Directory>, stat: &Stat, device: u64) -> io::Result<Emptying> {
        open_to_empty(&directory, stat, device)?;
        let folders = remove_files(&directory)?;
        Ok(Emptying { directory, folders })
    }
}

/// Makes sure that a directory is on the right file system and can be emptied.
fn open_to_empty(directory: &Arc<Directory>, stat: &Stat, device: u64) -> io::Result<()> {
    if stat.device != device {
        return Err(io::Error::new(io::ErrorKind::CrossesDevices, "another file system is mounted there"));
    }
    let opened = match directory.descriptor() {
        Err(Errno::ACCESS) => {
            let above = directory.parent().expect("a directory to remove has a parent").descriptor()?;
            let handle = linux::open_passage(&above, directory.name())?;
            let private = rustix::fs::Mode::from_raw_mode(0o700);
            rustix::fs::chmodat(rustix::fs::CWD, crate::apply::itself(&handle), private, AtFlags::empty())?;
            directory.descriptor()?
        }
        other => other?,
    };
    clear_flags(&opened)
}

/// Removes everything that is not a directory and returns the directories.
fn remove_files(directory: &Arc<Directory>) -> io::Result<Vec<(Box<[u8]>, Stat)>> {
    let fd = directory.descriptor()?;
    let mut folders = Vec::new();
    for listing in lister::list_alone(directory) {
        if let Some(fault) = listing.faults.iter().find(|fault| fault.errno != Errno::NOENT.raw_os_error()) {
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        for (name, stat) in listing.iter() {
            if stat.kind == Kind::Directory {
                folders.push((name.into(), *stat));
            } else {
                unlink(&fd, name, stat.kind)?;
            }
        }
    }
    Ok(folders)
}

fn unlink(folder: &OwnedFd, name: &[u8], kind: Kind) -> io::Result<()> {
    let flags = if kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(folder, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::PERM) if kind == Kind::File => {
            let open = rustix::fs::OFlags::RDONLY
                | rustix::fs::OFlags::NOFOLLOW
                | rustix::fs::OFlags::NONBLOCK
                | rustix::fs::OFlags::CLOEXEC;
            clear_flags(&rustix::fs::openat(folder, name, open, rustix::fs::Mode::empty())?)?;
            Ok(rustix::fs::unlinkat(folder, name, flags)?)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Takes away the flags that forbid changes.
pub(crate) fn clear_flags(fd: &OwnedFd) -> io::Result<()> {
    let flags = calls::inode_flags(fd)?;
    if flags & FORBIDDING_FLAGS != 0 {
        calls::set_inode_flags(fd, flags & !FORBIDDING_FLAGS)?;
    }
    Ok(())
}

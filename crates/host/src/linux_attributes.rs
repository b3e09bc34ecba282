//! The Linux system calls for attributes beyond the mode: extended attributes, inode flags, project ids.
//!
//! Promises: a [`Place`] is never reached through a symbolic link. Attribute bytes pass through untouched.
//! Knows nothing about which attributes matter or in which order they are put back.

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, opcode};

/// The largest value the kernel takes or gives (XATTR_SIZE_MAX), also the largest list of names.
const XATTR_BYTES_MAX: usize = 65_536;

/// Something that has attributes.
pub(crate) enum Place<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// Anything else: a path through `/proc/self/fd` whose last component is not followed.
    Name(Vec<u8>),
}

impl<'a> Place<'a> {
    pub(crate) fn open(fd: &'a impl AsFd) -> Place<'a> {
        Place::Open(fd.as_fd())
    }

    /// Names an entry below an open directory. There is no call that takes a directory and a name for
    /// extended attributes on older kernels, and the descriptor's own path may be too long.
    pub(crate) fn below(directory: &impl AsFd, name: &[u8]) -> Place<'static> {
        let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        Place::Name(path)
    }
}

/// Returns the names of all extended attributes, each followed by a NUL; empty if there can be none.
pub(crate) fn xattr_names(place: &Place<'_>) -> Result<Vec<u8>, Errno> {
    // Nearly always there is nothing: one call, no allocation.
    let mut first = [0u8; 512];
    match list(place, &mut first) {
        Ok(len) => return Ok(first[..len].to_vec()),
        Err(Errno::RANGE) => {}
        // The file system has no extended attributes.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    }
    let mut all = vec![0; XATTR_BYTES_MAX];
    let len = list(place, &mut all)?;
    all.truncate(len);
    Ok(all)
}

fn list(place: &Place<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    match place {
        Place::Open(fd) => rustix::fs::flistxattr(fd, buffer),
        Place::Name(path) => rustix::fs::llistxattr(&**path, buffer),
    }
}

/// Returns the value of one extended attribute.
pub(crate) fn xattr(place: &Place<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let get = |buffer: &mut [u8]| match place {
        Place::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
        Place::Name(path) => rustix::fs::lgetxattr(&**path, name, buffer),
    };
    let mut first = [0u8; 512];
    match get(&mut first) {
        Ok(len) => return Ok(first[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut all = vec![0; XATTR_BYTES_MAX];
    let len = get(&mut all)?;
    all.truncate(len);
    Ok(all)
}

/// Sets one extended attribute, whether it existed or not.
pub(crate) fn set_xattr(place: &Place<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    let any = rustix::fs::XattrFlags::empty();
    match place {
        Place::Open(fd) => rustix::fs::fsetxattr(fd, name, value, any),
        Place::Name(path) => rustix::fs::lsetxattr(&**path, name, value, any),
    }
}

/// Removes one extended attribute; one that is not there is fine.
pub(crate) fn remove_xattr(place: &Place<'_>, name: &[u8]) -> Result<(), Errno> {
    let removed = match place {
        Place::Open(fd) => rustix::fs::fremovexattr(fd, name),
        Place::Name(path) => rustix::fs::lremovexattr(&**path, name),
    };
    match removed {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

const GET_FLAGS: Opcode = opcode::read::<c_long>(b'f', 1);
const SET_FLAGS: Opcode = opcode::write::<c_long>(b'f', 2);

/// Returns the inode flags (`FS_*_FL` of linux/fs.h) of an open file or directory, 0 where there are none.
pub(crate) fn inode_flags(fd: impl AsFd) -> Result<u32, Errno> {
    let mut flags = 0u32;
    // SAFETY: FS_IOC_GETFLAGS writes one 32-bit integer, although its number is made with the size of a long.
    match unsafe { rustix::ioctl::ioctl(fd, Updater::<'_, GET_FLAGS, u32>::new(&mut flags)) } {
        Ok(()) => Ok(flags),
        Err(errno) if means_unsupported(errno) => Ok(0),
        Err(errno) => Err(errno),
    }
}

/// Sets the inode flags of an open file or directory.
pub(crate) fn set_inode_flags(fd: impl AsFd, mut flags: u32) -> Result<(), Errno> {
    // SAFETY: FS_IOC_SETFLAGS reads one 32-bit integer.
    unsafe { rustix::ioctl::ioctl(fd, Updater::<'_, SET_FLAGS, u32>::new(&mut flags)) }
}

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

const FS_GET_XATTR: Opcode = opcode::read::<FsXattr>(b'X', 31);
const FS_SET_XATTR: Opcode = opcode::write::<FsXattr>(b'X', 32);

fn fs_xattr(fd: impl AsFd) -> Result<FsXattr, Errno> {
    let mut attributes = FsXattr::default();
    // SAFETY: FS_IOC_FSGETXATTR writes one struct fsxattr, which FsXattr mirrors.
    unsafe { rustix::ioctl::ioctl(fd, Updater::<'_, FS_GET_XATTR, FsXattr>::new(&mut attributes)) }?;
    Ok(attributes)
}

/// Returns the project id (quota group) of an open file or directory, 0 where there is none.
pub(crate) fn project_id(fd: impl AsFd) -> Result<u32, Errno> {
    match fs_xattr(fd) {
        Ok(attributes) => Ok(attributes.projid),
        Err(errno) if means_unsupported(errno) => Ok(0),
        Err(errno) => Err(errno),
    }
}

/// Sets the project id of an open file or directory.
pub(crate) fn set_project_id(fd: impl AsFd, project: u32) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let mut attributes = fs_xattr(fd)?;
    attributes.projid = project;
    // SAFETY: FS_IOC_FSSETXATTR reads one struct fsxattr, which FsXattr mirrors.
    unsafe { rustix::ioctl::ioctl(fd, Updater::<'_, FS_SET_XATTR, FsXattr>::new(&mut attributes)) }
}

/// Says whether an error means that this file system has no such thing.
pub(crate) fn means_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)
}

/// `struct file_clone_range` of linux/fs.h.
#[repr(C)]
struct CloneRange {
    source: i64,
    source_offset: u64,
    source_length: u64,
    destination_offset: u64,
}

const CLONE_RANGE: Opcode = opcode::write::<CloneRange>(0x94, 13);

/// Lets two files share the blocks of a range.
pub(crate) fn clone_range(
    from: impl AsFd,
    from_offset: u64,
    len: u64,
    to: impl AsFd,
    to_offset: u64,
) -> Result<(), Errno> {
    let from = from.as_fd();
    let mut range = CloneRange {
        source: i64::from(from.as_raw_fd()),
        source_offset: from_offset,
        source_length: len,
        destination_offset: to_offset,
    };
    // SAFETY: FICLONERANGE reads one struct file_clone_range; the descriptor in it is open while `from` lives.
    unsafe { rustix::ioctl::ioctl(to, Updater::<'_, CLONE_RANGE, CloneRange>::new(&mut range)) }
}

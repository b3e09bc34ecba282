//! The Linux system calls of the walk: opening directories, listing names and reading metadata.
//!
//! Promises: no call follows a symbolic link in its last component, and every descriptor closes on exec.
//! Errors are the kernel's own numbers. Knows nothing about order, rules or what is done with the answers.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::stat::{Kind, Stat, Timestamp};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `name` below `parent` for listing, without touching its access time where allowed.
pub(crate) fn open_directory(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let parent = parent.as_fd();
    match rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may ask for this; everybody else lists as usual.
        Err(Errno::PERM) => rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()),
        other => other,
    }
}

/// Opens the directory `name` below `parent` only as a place to start from; needs no read permission.
pub(crate) fn open_passage(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Opens `/`.
pub(crate) fn open_root() -> Result<OwnedFd, Errno> {
    open_directory(rustix::fs::CWD, b"/").or_else(|_| open_passage(rustix::fs::CWD, b"/"))
}

/// Reads the metadata of `name` below `directory`; a symbolic link is itself, an automount is not triggered.
pub(crate) fn stat_at(directory: impl AsFd, name: &std::ffi::CStr) -> Result<Stat, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS).map(|x| stat_from(&x))
}

/// Reads the metadata of `name` below `directory`, for names that are not yet NUL-terminated.
pub(crate) fn stat_name(directory: impl AsFd, name: &[u8]) -> Result<Stat, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS).map(|x| stat_from(&x))
}

/// Reads the metadata of an open descriptor.
pub(crate) fn stat_open(fd: impl AsFd) -> Result<Stat, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|x| stat_from(&x))
}

fn stat_from(x: &Statx) -> Stat {
    let mode = u32::from(x.stx_mode);
    Stat {
        kind: kind_from(FileType::from_raw_mode(mode)),
        mode: x.stx_mode & 0o7777,
        nlink: x.stx_nlink,
        uid: x.stx_uid,
        gid: x.stx_gid,
        size_bytes: x.stx_size,
        mtime: Timestamp { secs: x.stx_mtime.tv_sec, nanos: x.stx_mtime.tv_nsec },
        ctime: Timestamp { secs: x.stx_ctime.tv_sec, nanos: x.stx_ctime.tv_nsec },
        inode: x.stx_ino,
        device: rustix::fs::makedev(x.stx_dev_major, x.stx_dev_minor),
        rdev: rustix::fs::makedev(x.stx_rdev_major, x.stx_rdev_minor),
        blocks: x.stx_blocks,
        no_dump: x.stx_attributes.contains(StatxAttributes::NODUMP),
    }
}

fn kind_from(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => Kind::Fault,
    }
}

/// Calls `each(name with its NUL, inode, kind if the directory tells)` for every name except `.` and `..`.
///
/// After an error the names given so far are real but not complete.
pub(crate) fn each_name(
    directory: impl AsFd,
    buffer: &mut [MaybeUninit<u8>],
    mut each: impl FnMut(&[u8], u64, Option<Kind>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut entries = RawDir::new(directory, buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes_with_nul();
        if name == b".\0" || name == b"..\0" {
            continue;
        }
        let kind = Some(kind_from(entry.file_type())).filter(|&kind| kind != Kind::Fault);
        each(name, entry.ino(), kind)?;
    }
    Ok(())
}

/// Names of the file systems that hold no data of anybody: the kernel makes up their contents while one
/// looks, some of it without end. The numbers are from linux/magic.h.
const VIRTUAL_FILE_SYSTEMS: [(u32, &str); 24] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x1cd1, "devpts"),
    (0x7363_6673, "securityfs"),
    (0x6165_676c, "pstore"),
    (0xcafe_4a11, "bpf"),
    (0x6265_6570, "configfs"),
    (0xde5e_81e4, "efivarfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x6c6f_6f70, "binderfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6573_5543, "fusectl"),
    (0x1980_0202, "mqueue"),
    (0x6e73_6673, "nsfs"),
    (0x5a3c_69f0, "apparmorfs"),
    (0x6759_6969, "rpc_pipefs"),
    (0x0765_5821, "resctrl"),
    (0x958458f6, "hugetlbfs"),
    (0xabba_1974, "xenfs"),
];

/// Returns the name of the virtual file system an open directory belongs to, `None` for real ones.
pub(crate) fn virtual_file_system(directory: impl AsFd) -> Option<&'static str> {
    let magic = rustix::fs::fstatfs(directory).ok()?.f_type as u32;
    VIRTUAL_FILE_SYSTEMS.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

//! What a path is, and when it changed: the words shared by the walk, the tree and the restore.

/// What a path of a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A regular file.
    File = 0,
    /// A directory.
    Directory = 1,
    /// A symbolic link.
    Symlink = 2,
    /// A named pipe.
    Fifo = 3,
    /// A socket; only its metadata is kept.
    Socket = 4,
    /// A character device.
    CharDevice = 5,
    /// A block device node (its metadata, not its contents).
    BlockDevice = 6,
    /// Not a path: says that the directory it stands in could not be read completely.
    Fault = 7,
}

impl Kind {
    /// The kind with this number, `None` for numbers this version does not know.
    pub fn from_u8(n: u8) -> Option<Kind> {
        use Kind::*;
        [File, Directory, Symlink, Fifo, Socket, CharDevice, BlockDevice, Fault].get(n as usize).copied()
    }
}

/// A point in time: seconds since 1970-01-01 UTC (negative before) and nanoseconds within the second.
///
/// Covers every time a Linux file system can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

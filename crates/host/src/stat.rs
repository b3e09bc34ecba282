//! What the file system says about one path, and whether two such answers mean the same version of it.
//!
//! Promises: every field is what the kernel gave, nothing is rounded. Knows no names and reads no contents.

pub use format::kind::{Kind, Timestamp};

/// The metadata of one path that a single status call gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What the path is; never [`Kind::Fault`].
    pub kind: Kind,
    /// The low twelve mode bits: permissions, set-user-id, set-group-id, sticky.
    pub mode: u16,
    /// Number of names of the inode.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of the contents; of the target for symbolic links.
    pub size_bytes: u64,
    /// When the contents last changed.
    pub mtime: Timestamp,
    /// When contents or metadata last changed; cannot be set by users, so it is the better witness.
    pub ctime: Timestamp,
    /// Inode number, unique on its device.
    pub inode: u64,
    /// Device the inode lives on, in the kernel's 64-bit form.
    pub device: u64,
    /// Device number of a device node, zero for everything else.
    pub rdev: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// It has the inode flag that asks backup programs to leave it out.
    pub no_dump: bool,
}

impl Stat {
    /// Says whether the file occupies less space than its length, hence may have holes.
    ///
    /// Compressing file systems answer yes for files without holes; the hole map then is one range.
    pub fn may_have_holes(&self) -> bool {
        self.kind == Kind::File && self.blocks.saturating_mul(512) < self.size_bytes
    }

    /// Returns the major and minor number of a device node.
    pub fn device_numbers(&self) -> (u32, u32) {
        (rustix::fs::major(self.rdev), rustix::fs::minor(self.rdev))
    }
}

/// Says whether nothing that matters changed between two looks at the same path.
///
/// Used around reading a file (was it written while it was read?) and between stat and open (was it
/// replaced?). The access time and the number of links may differ: a new hard link is no new version, but it
/// changes ctime, and then the answer is no, which costs one more read and never a lost change.
pub fn same_version(before: &Stat, after: &Stat) -> bool {
    same_inode(before, after)
        && before.size_bytes == after.size_bytes
        && before.mtime == after.mtime
        && before.ctime == after.ctime
}

/// Says whether two answers are about the same inode.
pub fn same_inode(a: &Stat, b: &Stat) -> bool {
    a.kind == b.kind && a.inode == b.inode && a.device == b.device
}

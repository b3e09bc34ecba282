//! One path of a snapshot: what it is, whose it is, when it changed, and where its contents are.

use crate::id::BlobId;
use crate::kind::{Kind, Timestamp};
use crate::tree::extents::Extent;
use std::sync::Arc;

/// Who owns a path: numbers, and names for restoring on another machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// User name; empty when there was none.
    pub user: Box<[u8]>,
    /// Group name; empty when there was none.
    pub group: Box<[u8]>,
}

/// Extended attributes, ACLs among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Xattrs {
    /// There are none.
    #[default]
    None,
    /// An encoded [`crate::tree::XattrSet`].
    Inline(Box<[u8]>),
    /// The blob (kind tree) that holds the encoded set.
    Blob(BlobId),
}

/// What many paths have in common; leaves store each distinct class once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// What the path is.
    pub kind: Kind,
    /// Permission bits, set-id bits and sticky bit (12 bits).
    pub mode: u16,
    /// Whose it is.
    pub owner: Owner,
    /// Inode flags as `FS_IOC_GETFLAGS` gives them (immutable, append-only, no-dump …).
    pub flags: u32,
    /// Quota project id.
    pub project: u32,
    /// Which row of the snapshot's mount table the path lies on.
    pub mount: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// Facts about how an entry was saved. Four bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks(pub u8);

impl Marks {
    /// The file changed while it was read: its contents may mix two states.
    pub const CHANGED: Marks = Marks(1);
    /// The file is cut into fixed chunks; later versions of the path are, too.
    pub const FIXED_CHUNKS: Marks = Marks(2);
    /// The path is known, but its contents could not be read.
    pub const UNREADABLE: Marks = Marks(4);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Marks) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other`.
    pub fn with(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }
}

/// Where the contents of a file are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// The file is empty, or the path is not a file.
    #[default]
    None,
    /// One blob holds the whole file.
    Whole(BlobId),
    /// A few chunks and holes, in order.
    Extents(Vec<Extent>),
    /// Many chunks and holes, in nodes of their own.
    ExtentTree {
        /// The root node.
        id: BlobId,
        /// Its level; 0 when it holds extents itself.
        level: u8,
    },
}

/// One path of a snapshot. The path itself is the key it is stored under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Kind, mode, owner, flags and attributes.
    pub class: Arc<Class>,
    /// When the contents last changed.
    pub mtime: Timestamp,
    /// When the metadata last changed; only compared, never restored.
    pub ctime: Timestamp,
    /// Inode number; only compared.
    pub inode: u64,
    /// Length of a file in bytes; 0 for other kinds.
    pub size_bytes: u64,
    /// The same in all names of one inode: keyed hash of the first name's key.
    pub link_group: Option<[u8; 8]>,
    /// Device number of a device node.
    pub rdev: u64,
    /// Target of a symbolic link; description of a fault.
    pub target: Box<[u8]>,
    /// Where the contents are.
    pub content: Content,
    /// How it was saved.
    pub marks: Marks,
}

impl Entry {
    /// What the path is.
    pub fn kind(&self) -> Kind {
        self.class.kind
    }

    /// What an entry weighs in a node: a measure that does not depend on its neighbours, so that forced
    /// cuts fall at the same entries in every build.
    pub fn weight(&self, key: &[u8]) -> usize {
        let extents = if let Content::Extents(e) = &self.content { e.len() } else { 0 };
        let xattrs = if let Xattrs::Inline(x) = &self.class.xattrs { x.len() } else { 0 };
        key.len() + 64 + self.target.len() + 32 * extents + xattrs
    }
}

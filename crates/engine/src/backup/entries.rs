//! From what the system says about a path to what a snapshot keeps of it.

use format::keys::Keys;
use format::kind::Kind;
use format::limits::XATTRS_INLINE_BYTES_MAX;
use format::tree::{Class, Content, Entry, Marks, Owner, XattrSet, Xattrs};
use host::{Extras, Owners, Stat};
use repo::RepoResult;
use repo::writer::Writer;
use std::collections::HashMap;
use std::sync::Arc;

/// The classes of entries without attributes, by all that distinguishes them.
type PlainKey = (Kind, u16, u32, u32, u32, u32, u32);

/// Classes kept for reuse.
const CLASSES_MAX: usize = 10_000;

/// The group of hard links whose first path this is.
pub(crate) fn link_group_of(keys: &Keys, key: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(keys.boundaries().bytes());
    hasher.update(b"link group").update(key);
    hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes")
}

/// Makes entries; remembers classes, mounts and hard links.
pub(super) struct Entries {
    owners: Owners,
    owned_by: HashMap<(u32, u32), Owner>,
    plain: HashMap<PlainKey, Arc<Class>>,
    links: HashMap<(u64, u64), [u8; 8]>,
    mounts: Vec<Vec<u8>>,
    mount_of: HashMap<u64, u32>,
}

impl Entries {
    /// `mounts` is the parent's table: its rows keep their numbers.
    pub(super) fn new(mounts: Vec<Vec<u8>>) -> Self {
        Entries {
            owners: Owners::of_this_machine(),
            owned_by: HashMap::new(),
            plain: HashMap::new(),
            links: HashMap::new(),
            mounts,
            mount_of: HashMap::new(),
        }
    }

    /// The mount table for the record.
    pub(super) fn into_mounts(self) -> Vec<Vec<u8>> {
        self.mounts
    }

    /// The number of the mount a device belongs to; `path` is where it was first met.
    fn mount(&mut self, device: u64, path: impl FnOnce() -> Vec<u8>) -> u32 {
        if let Some(n) = self.mount_of.get(&device) {
            return *n;
        }
        let path = path();
        let taken: Vec<u32> = self.mount_of.values().copied().collect();
        let known = self.mounts.iter().position(|m| *m == path).filter(|n| !taken.contains(&(*n as u32)));
        let n = known.unwrap_or_else(|| {
            self.mounts.push(path);
            self.mounts.len() - 1
        }) as u32;
        self.mount_of.insert(device, n);
        n
    }

    /// Takes over the mount of an entry that did not change: otherwise a file that is read again below
    /// it would be the first that is met on its device, start a mount of its own and seem changed.
    pub(super) fn know_mount(&mut self, stat: &Stat, entry: &Entry) {
        let n = entry.class.mount;
        let free = || (n as usize) < self.mounts.len() && !self.mount_of.values().any(|taken| *taken == n);
        if !self.mount_of.contains_key(&stat.device) && free() {
            self.mount_of.insert(stat.device, n);
        }
    }

    /// Names of one inode carry the same group: a keyed hash of the first one's key.
    pub(super) fn link_group(&mut self, keys: &Keys, key: &[u8], stat: &Stat) -> Option<[u8; 8]> {
        if stat.nlink < 2 || stat.kind == Kind::Directory {
            return None;
        }
        let first = || link_group_of(keys, key);
        Some(*self.links.entry((stat.device, stat.inode)).or_insert_with(first))
    }

    /// Takes over the group of an entry that did not change.
    pub(super) fn know_link(&mut self, stat: &Stat, entry: &Entry) {
        if let Some(group) = entry.link_group {
            self.links.entry((stat.device, stat.inode)).or_insert(group);
        }
    }

    /// The entry of a path.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn make(
        &mut self,
        writer: &mut Writer,
        key: &[u8],
        stat: &Stat,
        extras: Extras,
        content: Content,
        marks: Marks,
        path: impl FnOnce() -> Vec<u8>,
    ) -> RepoResult<Entry> {
        let keys = writer.reader().repo().keys().clone();
        let link_group = self.link_group(&keys, key, stat);
        let mount = self.mount(stat.device, path);
        let target = extras.link_target.clone().unwrap_or_default();
        let class = self.class(writer, stat, extras, mount)?;
        let is_device = matches!(stat.kind, Kind::CharDevice | Kind::BlockDevice);
        Ok(Entry {
            class,
            mtime: stat.mtime,
            ctime: stat.ctime,
            inode: stat.inode,
            size_bytes: if stat.kind == Kind::File { stat.size_bytes } else { 0 },
            link_group,
            rdev: if is_device { stat.rdev } else { 0 },
            target: if stat.kind == Kind::Symlink { target } else { Box::default() },
            content,
            marks,
        })
    }

    fn class(
        &mut self,
        writer: &mut Writer,
        stat: &Stat,
        extras: Extras,
        mount: u32,
    ) -> RepoResult<Arc<Class>> {
        let plain_key = (stat.kind, stat.mode, stat.uid, stat.gid, extras.flags, extras.project, mount);
        if extras.xattrs.is_empty()
            && let Some(class) = self.plain.get(&plain_key)
        {
            return Ok(class.clone());
        }
        let is_plain = extras.xattrs.is_empty();
        let class = Arc::new(Class {
            kind: stat.kind,
            mode: stat.mode,
            owner: self.owner(stat.uid, stat.gid),
            flags: extras.flags,
            project: extras.project,
            mount,
            xattrs: store_xattrs(writer, extras)?,
        });
        if is_plain {
            if self.plain.len() >= CLASSES_MAX {
                self.plain.clear();
            }
            self.plain.insert(plain_key, class.clone());
        }
        Ok(class)
    }

    fn owner(&mut self, uid: u32, gid: u32) -> Owner {
        let owners = &self.owners;
        let make = || Owner {
            uid,
            gid,
            user: owners.user_name(uid).map(|n| (*n).into()).unwrap_or_default(),
            group: owners.group_name(gid).map(|n| (*n).into()).unwrap_or_default(),
        };
        self.owned_by.entry((uid, gid)).or_insert_with(make).clone()
    }
}

/// Small sets of attributes stand in the entry's class, long ones in a blob.
fn store_xattrs(writer: &mut Writer, extras: Extras) -> RepoResult<Xattrs> {
    if extras.xattrs.is_empty() {
        return Ok(Xattrs::None);
    }
    let pairs = extras.xattrs.into_iter().map(|x| (x.name.into(), x.value.into())).collect();
    let Some(set) = XattrSet::new(pairs) else { return Ok(Xattrs::None) };
    let bytes = set.encode();
    if bytes.len() <= XATTRS_INLINE_BYTES_MAX {
        return Ok(Xattrs::Inline(bytes.into()));
    }
    Ok(Xattrs::Blob(writer.put_node(&bytes)?))
}

/// The record of a directory that could not be listed completely.
pub(super) fn fault_entry(text: &str) -> Entry {
    let class = Class {
        kind: Kind::Fault,
        mode: 0,
        owner: Owner::default(),
        flags: 0,
        project: 0,
        mount: 0,
        xattrs: Xattrs::None,
    };
    let text = &text.as_bytes()[..text.len().min(4096)];
    Entry {
        class: Arc::new(class),
        mtime: Default::default(),
        ctime: Default::default(),
        inode: 0,
        size_bytes: 0,
        link_group: None,
        rdev: 0,
        target: text.into(),
        content: Content::None,
        marks: Marks::default(),
    }
}

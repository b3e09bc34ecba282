//! The folder a restore writes to, and the operations below it.
//!
//! Promises: nothing outside the target is created, changed or followed, whatever names the snapshot holds
//! and whatever stands or is planted in the target: names are single components, every step goes through a
//! directory handle that is no symbolic link. Nothing existing is replaced unless [`Existing`] says so.
//! Knows no snapshot and does not decide what is restored.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::apply::{Attributes, Credentials, Unapplied};
use crate::directory::Directory;
use crate::linux;
use crate::linux_attributes::{self as calls, Place};
use crate::lister;
use crate::listing::Listing;
use crate::owners::Owners;
use crate::remove::remove_tree;
use crate::stat::{Kind, Stat};

pub use crate::restore_file::{InPlace, NewFile};

/// What may be done with something that already stands where an entry is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Nothing: the operation fails with `AlreadyExists`.
    #[default]
    Keep,
    /// Anything that is not a directory, and empty directories, may be removed.
    ReplaceFiles,
    /// Whole directories may be removed with their contents, too.
    ReplaceAll,
}

/// How to restore.
#[derive(Clone, Debug)]
pub struct TargetOptions {
    /// What may be replaced. Directories always merge with existing directories.
    pub existing: Existing,
    /// Restore owners and groups at all.
    pub owners: bool,
    /// Take the numbers of owners and groups even where this machine knows the names under other numbers.
    pub numeric_ids: bool,
    /// Restore extended attributes, ACLs and capabilities.
    pub xattrs: bool,
    /// Restore inode flags and project ids.
    pub flags: bool,
    /// Number of directories that keep a descriptor open.
    pub open_directories_max: usize,
}

impl Default for TargetOptions {
    fn default() -> TargetOptions {
        TargetOptions {
            existing: Existing::Keep,
            owners: true,
            numeric_ids: false,
            xattrs: true,
            flags: true,
            open_directories_max: 128,
        }
    }
}

/// A folder to restore into. Shared between threads.
#[derive(Debug)]
pub struct Target {
    top: TargetDir,
    pub(crate) options: TargetOptions,
    pub(crate) credentials: Credentials,
    pub(crate) owners: Owners,
}

/// A directory of the target; cheap to clone.
#[derive(Clone, Debug)]
pub struct TargetDir {
    pub(crate) directory: Arc<Directory>,
    /// The group that new entries surely get, `None` if it depends on flags or mount options.
    pub(crate) new_group: Option<u32>,
    /// New entries inherit an ACL, inode flags or a project id, which their source did not have.
    pub(crate) inherits: bool,
    /// False if the directory stood there before this restore.
    pub(crate) fresh: bool,
}

impl Target {
    /// Opens the folder to restore into; with `create`, makes it and missing folders above it first.
    ///
    /// The path itself is the user's own word: symbolic links in it are followed.
    pub fn open(path: &Path, create: bool, options: TargetOptions) -> io::Result<Target> {
        if create {
            std::fs::create_dir_all(path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let credentials = Credentials::of_this_process();
        let directory = Directory::anchored(fd, options.open_directories_max)?;
        let top = TargetDir::new(directory, &credentials, false)?;
        Ok(Target { top, options, credentials, owners: Owners::of_this_machine() })
    }

    /// Returns the folder that was opened.
    pub fn top(&self) -> &TargetDir {
        &self.top
    }

    /// Returns how many owners or groups were left as they are because this process may not change them.
    pub fn owners_skipped(&self) -> u64 {
        self.credentials.owners_skipped()
    }

    /// Makes everything restored so far durable, contents and names, with one call for the whole file system.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&*self.top.directory.descriptor()?)?)
    }

    /// Makes the directory `name`, or opens the one that is there. Its attributes come last, see
    /// [`Target::finish_directory`]; until then only its owner enters it.
    ///
    /// Something else that stands there, a symbolic link too, is replaced only as [`TargetOptions::existing`] allows.
    pub fn directory(&self, parent: &TargetDir, name: &[u8]) -> io::Result<TargetDir> {
        check_name(name)?;
        let folder = parent.directory.descriptor()?;
        let private = Mode::from_raw_mode(0o700);
        let fresh = match rustix::fs::mkdirat(&folder, name, private) {
            Ok(()) => true,
            Err(Errno::EXIST) if self.is_directory(&folder, name)? => false,
            Err(Errno::EXIST) => {
                self.clear(parent, name)?;
                rustix::fs::mkdirat(&folder, name, private)?;
                true
            }
            Err(errno) => return Err(errno.into()),
        };
        let directory = parent.directory.child(name);
        match directory.descriptor() {
            Err(Errno::ACCESS) if !fresh => self.unlock_directory(&folder, name)?,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        if !fresh && self.options.existing != Existing::Keep {
            // An immutable folder takes no entries; its flags are set again when it is finished.
            crate::remove::clear_flags(&*directory.descriptor()?)?;
        }
        let made = TargetDir::new(directory, &self.credentials, fresh)?;
        if fresh && parent.inherits {
            return made.without_inherited_acl(&self.credentials);
        }
        Ok(made)
    }

    fn is_directory(&self, folder: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
        linux::stat_name(folder, name).map(|stat| stat.kind == Kind::Directory)
    }

    /// Lets the owner into a directory of its own again; an interrupted restore leaves such ones behind.
    fn unlock_directory(&self, folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
        let handle = linux::open_passage(folder, name)?;
        let itself = crate::apply::itself(&handle);
        Ok(rustix::fs::chmodat(CWD, itself, Mode::from_raw_mode(0o700), AtFlags::empty())?)
    }

    /// Restores the attributes of a directory. To be called when nothing below it changes any more, deepest
    /// first: its times would move, and it may become read-only.
    pub fn finish_directory(
        &self,
        directory: &TargetDir,
        attributes: &Attributes<'_>,
    ) -> io::Result<Vec<Unapplied>> {
        let fd = directory.directory.descriptor()?;
        Ok(self.apply_to_directory(fd.as_fd(), directory, attributes))
    }

    /// Makes a symbolic link with all its attributes.
    pub fn symlink(
        &self,
        parent: &TargetDir,
        name: &[u8],
        link_target: &[u8],
        attributes: &Attributes<'_>,
    ) -> io::Result<Vec<Unapplied>> {
        self.make(parent, name, |folder| rustix::fs::symlinkat(link_target, folder, name))?;
        let folder = parent.directory.descriptor()?;
        Ok(self.apply_by_name(parent, &folder, name, Kind::Symlink, attributes))
    }

    /// Makes a pipe, a socket node or a device node with all its attributes.
    ///
    /// Fails with `InvalidInput` for kinds that are made by other operations.
    pub fn node(
        &self,
        parent: &TargetDir,
        name: &[u8],
        kind: Kind,
        device_numbers: (u32, u32),
        attributes: &Attributes<'_>,
    ) -> io::Result<Vec<Unapplied>> {
        use rustix::fs::FileType;
        let file_type = match kind {
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a node")),
        };
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => rustix::fs::makedev(device_numbers.0, device_numbers.1),
            _ => 0,
        };
        let private = Mode::from_raw_mode(0o600);
        self.make(parent, name, |folder| rustix::fs::mknodat(folder, name, file_type, private, device))?;
        let folder = parent.directory.descriptor()?;
        Ok(self.apply_by_name(parent, &folder, name, kind, attributes))
    }

    /// Gives an entry that this restore made a second name. `made` is its metadata, which proves that nobody
    /// put something else there meanwhile: a link to a file outside would change that file later.
    pub fn hard_link(
        &self,
        from: &TargetDir,
        from_name: &[u8],
        made: &Stat,
        to: &TargetDir,
        name: &[u8],
    ) -> io::Result<()> {
        check_name(from_name)?;
        let from_folder = from.directory.descriptor()?;
        self.make(to, name, |folder| {
            rustix::fs::linkat(&from_folder, from_name, folder, name, AtFlags::empty())
        })?;
        let folder = to.directory.descriptor()?;
        if !crate::stat::same_inode(made, &linux::stat_name(&folder, name)?) {
            rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
            return Err(io::Error::other("the file to link to was replaced during the restore"));
        }
        Ok(())
    }

    /// Returns the metadata of an entry, `None` if there is none.
    pub fn stat(&self, parent: &TargetDir, name: &[u8]) -> io::Result<Option<Stat>> {
        check_name(name)?;
        match linux::stat_name(&*parent.directory.descriptor()?, name) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Lists a directory with the metadata of its entries, in name order.
    pub fn list(&self, directory: &TargetDir) -> Vec<Listing> {
        lister::list_alone(&directory.directory)
    }

    /// Removes an entry with everything below it; what is not there is fine.
    ///
    /// Follows no link and enters no other file system. After an error the rest is still there.
    pub fn remove(&self, parent: &TargetDir, name: &[u8]) -> io::Result<()> {
        check_name(name)?;
        remove_tree(&parent.directory, name)
    }

    /// Opens something existing for reading, to compare it: a regular file, no link, no waiting.
    pub fn open_to_compare(&self, parent: &TargetDir, name: &[u8], stat: &Stat) -> io::Result<File> {
        check_name(name)?;
        Ok(crate::read::open_for_read(&parent.directory, name, stat)?.file)
    }

    /// Makes an entry with `make`, first removing what stands there as far as allowed.
    pub(crate) fn make<T>(
        &self,
        parent: &TargetDir,
        name: &[u8],
        make: impl Fn(&OwnedFd) -> Result<T, Errno>,
    ) -> io::Result<T> {
        check_name(name)?;
        let folder = parent.directory.descriptor()?;
        match make(&folder) {
            Err(Errno::EXIST) => {
                self.clear(parent, name)?;
                Ok(make(&folder)?)
            }
            other => Ok(other?),
        }
    }

    /// Removes what stands at a name, as far as allowed.
    fn clear(&self, parent: &TargetDir, name: &[u8]) -> io::Result<()> {
        let folder = parent.directory.descriptor()?;
        let is_directory = self.is_directory(&folder, name)?;
        match (self.options.existing, is_directory) {
            (Existing::Keep, _) => Err(Errno::EXIST.into()),
            (Existing::ReplaceFiles, true) => Ok(rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?),
            (Existing::ReplaceAll, true) => remove_tree(&parent.directory, name),
            (_, false) => remove_tree(&parent.directory, name),
        }
    }
}

impl TargetDir {
    fn new(directory: Arc<Directory>, credentials: &Credentials, fresh: bool) -> io::Result<TargetDir> {
        let fd = directory.descriptor()?;
        let stat = *directory.found().expect("an opened directory was looked at");
        // With the set-group-id bit, or mounted that way, entries take the folder's group; if both are the
        // same there is no doubt.
        let new_group = (stat.gid == credentials.gid).then_some(stat.gid);
        let inherits = inherits(&fd);
        Ok(TargetDir { directory, new_group, inherits, fresh })
    }

    /// A new directory has the ACL of the folder it was made in, as its own and as the one it hands on.
    fn without_inherited_acl(self, credentials: &Credentials) -> io::Result<TargetDir> {
        let fd = self.directory.descriptor()?;
        for name in ["system.posix_acl_default", "system.posix_acl_access"] {
            calls::remove_xattr(&Place::open(&fd), name.as_bytes())?;
        }
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o700))?;
        TargetDir::new(self.directory, credentials, true)
    }

    /// Returns the path below the target, for messages.
    pub fn path(&self) -> Vec<u8> {
        self.directory.components().join(&b'/')
    }

    /// Says whether this restore made the directory.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// Inode flags that new entries take over from their folder.
const INHERITED_FLAGS: u32 =
    0x4 | 0x8 | 0x40 | 0x80 | 0x400 | 0x1_0000 | 0x80_0000 | 0x200_0000 | 0x2000_0000;

fn inherits(fd: impl AsFd) -> bool {
    let fd = fd.as_fd();
    let acl = calls::xattr(&Place::open(&fd), b"system.posix_acl_default").is_ok();
    acl || calls::inode_flags(fd).is_ok_and(|flags| flags & INHERITED_FLAGS != 0)
}

/// Refuses names that are not one plain component: they come from a snapshot and may be hostile.
pub(crate) fn check_name(name: &[u8]) -> io::Result<()> {
    let bad = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0);
    if bad {
        let why = format!("\"{}\" is not a file name", name.escape_ascii());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

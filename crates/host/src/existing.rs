//! What already stands in the target: looked at, and brought up to date without being made again.
//!
//! Promises: looking changes nothing; what is right already is not touched, so that its change time, by which
//! the next backup recognises it, stays. Knows no contents.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::apply::{Attributes, Made, Part, Unapplied};
use crate::attributes::{Extras, INODE_FLAGS_KEPT, read_extras_open};
use crate::linux;
use crate::linux_attributes as calls;
use crate::rules::Rules;
use crate::stat::{Kind, Stat, same_inode};
use crate::target::{Target, TargetDir, check_name};

/// Read-only, never through a link, never waiting: enough to set every attribute.
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

impl Target {
    /// Returns user and group of this process, `None` if it may give files to others.
    pub fn bound_to(&self) -> Option<(u32, u32)> {
        (self.credentials.uid != 0).then_some((self.credentials.uid, self.credentials.gid))
    }

    /// Opens a directory that is there already and changes nothing; `None` if the name is not a directory.
    pub fn existing_directory(&self, parent: &TargetDir, name: &[u8]) -> io::Result<Option<TargetDir>> {
        check_name(name)?;
        let directory = parent.directory.child(name);
        match directory.descriptor() {
            Ok(_) => Ok(Some(TargetDir { directory, new_group: None, inherits: true, fresh: false })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns where a symbolic link points, `None` if the name is no symbolic link.
    pub fn read_link(&self, parent: &TargetDir, name: &[u8]) -> io::Result<Option<Box<[u8]>>> {
        check_name(name)?;
        match rustix::fs::readlinkat(&*parent.directory.descriptor()?, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes().into())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives a file whose contents are right the attributes it lacks. `stat` is its metadata. If all of them
    /// are right it is not touched.
    pub fn refresh_file(
        &self,
        parent: &TargetDir,
        name: &[u8],
        stat: &Stat,
        attributes: &Attributes<'_>,
    ) -> io::Result<Vec<Unapplied>> {
        check_name(name)?;
        let folder = parent.directory.descriptor()?;
        let fd = rustix::fs::openat(&*folder, name, LOOK, Mode::empty())?;
        if !same_inode(stat, &linux::stat_open(&fd)?) {
            return Err(Errno::STALE.into());
        }
        let owner = self.owner_wanted(attributes);
        let owner_right = owner.uid.is_none_or(|uid| uid == stat.uid || self.credentials.uid != 0)
            && owner.gid.is_none_or(|gid| gid == stat.gid || self.credentials.uid != 0);
        let plain_right = owner_right && stat.mode == attributes.mode && stat.mtime == attributes.mtime;
        if plain_right && self.extras_right(&read_extras_open(&fd), attributes) {
            return Ok(Vec::new());
        }
        crate::remove::clear_flags(&fd)?;
        let made = Made {
            mode: Some(stat.mode),
            uid: Some(stat.uid),
            gid: Some(stat.gid),
            fresh: false,
            inherited: true,
            owner,
        };
        Ok(self.apply_to_file(fd.as_fd(), made, attributes))
    }

    fn extras_right(&self, found: &Extras, wanted: &Attributes<'_>) -> bool {
        let own = |name: &[u8]| {
            crate::apply::belongs_to_the_entry(name) || wanted.xattrs.iter().any(|x| *x.name == *name)
        };
        let xattrs: Vec<_> = found.xattrs.iter().filter(|x| own(&x.name)).collect();
        let xattrs_right = !self.options.xattrs || xattrs.iter().copied().eq(wanted.xattrs);
        let flags_right = !self.options.flags
            || found.flags == wanted.flags & INODE_FLAGS_KEPT && found.project == wanted.project;
        xattrs_right && flags_right
    }

    /// Adds inode flags to a file that this restore made: for those that forbid further names, when all are
    /// there.
    pub fn add_flags(&self, parent: &TargetDir, name: &[u8], made: &Stat, flags: u32) -> Vec<Unapplied> {
        match self.try_add_flags(parent, name, made, flags) {
            Ok(()) => Vec::new(),
            Err(errno) => vec![Unapplied { part: Part::Flags(flags), errno: errno.raw_os_error() }],
        }
    }

    fn try_add_flags(&self, parent: &TargetDir, name: &[u8], made: &Stat, flags: u32) -> Result<(), Errno> {
        let folder = parent.directory.descriptor()?;
        let fd = rustix::fs::openat(&*folder, name, LOOK, Mode::empty())?;
        let stat = linux::stat_open(&fd)?;
        if stat.kind != Kind::File || !same_inode(made, &stat) {
            return Err(Errno::STALE);
        }
        let now = calls::inode_flags(&fd)?;
        calls::set_inode_flags(&fd, now | flags)
    }
}

/// Takes the number of a device, as [`Stat::rdev`] has it, apart into major and minor.
pub fn device_numbers(rdev: u64) -> (u32, u32) {
    (rustix::fs::major(rdev), rustix::fs::minor(rdev))
}

impl TargetDir {
    /// Returns the device the directory lives on: where it differs from that of the parent, something is
    /// mounted there.
    pub fn device(&self) -> Option<u64> {
        self.directory.found().map(|stat| stat.device)
    }
}

impl Rules {
    /// Judges a path of a snapshot by the patterns of options and pattern files alone; ignore files and
    /// markers were judged when it was saved. `path` has all components from `/`.
    ///
    /// Returns whether it is left out, `None` if no pattern speaks about it: then what holds for its folder
    /// holds for it.
    pub fn judge_saved(&self, path: &[&[u8]], is_directory: bool) -> Option<bool> {
        if !self.judge_names() {
            return None;
        }
        self.patterns.decide(path, &[0], is_directory).map(|pattern| !pattern.negated)
    }

    /// Says whether [`Rules::judge_saved`] can have an opinion about any path.
    pub fn judge_anything_saved(&self) -> bool {
        self.judge_names()
    }
}

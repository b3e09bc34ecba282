//! Attributes on their way back, in the one order in which they do not undo each other:
//! owner (it clears set-id bits and capabilities), extended attributes and ACLs (they change the mode),
//! mode, times, project and inode flags (an immutable file takes no further change).
//!
//! Promises: whatever could not be applied is returned, except owners that an unprivileged process may not
//! give away, which are counted once for the whole run. A set-user-id bit is never set for a wrong owner.
//! A new file whose owner and mode are right costs one system call.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::attributes::{INODE_FLAGS_KEPT, Xattr};
use crate::linux;
use crate::linux_attributes::{self as calls, Place};
use crate::stat::{Kind, Stat, Timestamp};
use crate::target::{Target, TargetDir};

/// The attributes of an entry as the snapshot holds them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// The low twelve mode bits.
    pub mode: u16,
    /// Number of the owner where it was saved.
    pub uid: u32,
    /// Number of the group where it was saved.
    pub gid: u32,
    /// Name of the owner where it was saved.
    pub user: Option<&'a [u8]>,
    /// Name of the group where it was saved.
    pub group: Option<&'a [u8]>,
    /// When the contents last changed.
    pub mtime: Timestamp,
    /// Inode flags, see [`INODE_FLAGS_KEPT`].
    pub flags: u32,
    /// Project id, 0 for none.
    pub project: u32,
    /// Extended attributes, ACLs and capabilities among them.
    pub xattrs: &'a [Xattr],
}

/// An attribute that could not be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unapplied {
    /// Which one.
    pub part: Part,
    /// The kernel's error number; 0 if the kernel took it but the file system cannot hold it.
    pub errno: i32,
}

/// A part of the attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Owner or group.
    Owner,
    /// The extended attribute of this name.
    Xattr(Box<[u8]>),
    /// All extended attributes: those that are there could not be listed.
    Xattrs,
    /// Permissions.
    Mode,
    /// The set-user-id and set-group-id bits, left off because the owner is another one.
    SetIdBits,
    /// The modification time.
    Times,
    /// These inode flags.
    Flags(u32),
    /// The project id.
    Project,
}

impl fmt::Display for Unapplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Part::Owner => f.write_str("owner")?,
            Part::Xattr(name) => write!(f, "extended attribute \"{}\"", name.escape_ascii())?,
            Part::Xattrs => f.write_str("extended attributes")?,
            Part::Mode => f.write_str("permissions")?,
            Part::SetIdBits => f.write_str("set-user-id and set-group-id bits")?,
            Part::Times => f.write_str("modification time")?,
            Part::Flags(flags) => write!(f, "inode flags {flags:#x}")?,
            Part::Project => f.write_str("project id")?,
        }
        match (self.errno, &self.part) {
            (0, Part::SetIdBits) => f.write_str(": left off because the owner could not be restored"),
            (0, _) => f.write_str(": not within what this file system can hold"),
            (errno, _) => write!(f, ": {}", std::io::Error::from_raw_os_error(errno)),
        }
    }
}

/// What an entry has already, so that only the difference costs a call. `None` is unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) mode: Option<u16>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// It has no extended attributes and no flags but inherited ones.
    pub(crate) fresh: bool,
    pub(crate) inherited: bool,
    pub(crate) owner: Owner,
}

/// Owner and group to be set, as numbers of this machine; `None` leaves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// Who this process is.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    groups: Vec<u32>,
    /// `None` if it cannot be known without changing it.
    pub(crate) umask: Option<u16>,
    owners_skipped: AtomicU64,
}

impl Credentials {
    pub(crate) fn of_this_process() -> Credentials {
        let groups = rustix::process::getgroups().unwrap_or_default();
        Credentials {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            umask: read_umask(),
            owners_skipped: AtomicU64::new(0),
        }
    }

    pub(crate) fn owners_skipped(&self) -> u64 {
        self.owners_skipped.load(Ordering::Relaxed)
    }

    fn may_use_group(&self, gid: u32) -> bool {
        self.uid == 0 || gid == self.gid || self.groups.contains(&gid)
    }
}

/// The call that returns the mask also changes it, for every thread; the kernel shows it here without that.
fn read_umask() -> Option<u16> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u16::from_str_radix(line.trim(), 8).ok()
}

/// The path under which the kernel shows an open descriptor; following it leads to just that inode.
pub(crate) fn itself(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// How one entry is reached.
enum Way<'a> {
    Open(BorrowedFd<'a>),
    /// A name below an open directory, never followed.
    Name(&'a OwnedFd, &'a [u8], Kind),
}

impl Target {
    /// Translates owner and group into numbers of this machine.
    pub(crate) fn owner_wanted(&self, attributes: &Attributes<'_>) -> Owner {
        if !self.options.owners {
            return Owner::default();
        }
        let names_count = !self.options.numeric_ids;
        let uid = attributes.user.filter(|_| names_count).and_then(|name| self.owners.user_id(name));
        let gid = attributes.group.filter(|_| names_count).and_then(|name| self.owners.group_id(name));
        Owner { uid: Some(uid.unwrap_or(attributes.uid)), gid: Some(gid.unwrap_or(attributes.gid)) }
    }

    pub(crate) fn apply_to_file(
        &self,
        file: BorrowedFd<'_>,
        made: Made,
        attributes: &Attributes<'_>,
    ) -> Vec<Unapplied> {
        self.apply(&Way::Open(file), made, attributes)
    }

    pub(crate) fn apply_to_directory(
        &self,
        fd: BorrowedFd<'_>,
        directory: &TargetDir,
        attributes: &Attributes<'_>,
    ) -> Vec<Unapplied> {
        let owner = self.owner_wanted(attributes);
        let fresh = directory.fresh;
        let found = directory.directory.found();
        let (uid, gid) = (found.map(|stat| stat.uid), found.map(|stat| stat.gid));
        let inherited = directory.inherits;
        self.apply(&Way::Open(fd), Made { mode: None, uid, gid, fresh, inherited, owner }, attributes)
    }

    /// For what was just made and cannot be opened: links and nodes.
    pub(crate) fn apply_by_name(
        &self,
        parent: &TargetDir,
        folder: &OwnedFd,
        name: &[u8],
        kind: Kind,
        attributes: &Attributes<'_>,
    ) -> Vec<Unapplied> {
        let created = self.credentials.umask.filter(|_| !parent.inherits).map(|umask| 0o600 & !umask);
        let made = Made {
            // A link has no permissions of its own, so they are always right.
            mode: if kind == Kind::Symlink { Some(attributes.mode) } else { created },
            uid: Some(self.credentials.uid),
            gid: parent.new_group,
            fresh: true,
            inherited: parent.inherits && kind != Kind::Symlink,
            owner: self.owner_wanted(attributes),
        };
        self.apply(&Way::Name(folder, name, kind), made, attributes)
    }

    fn apply(&self, way: &Way<'_>, mut made: Made, attributes: &Attributes<'_>) -> Vec<Unapplied> {
        let mut left = Vec::new();
        let owner_right = self.apply_owner(way, &mut made, &mut left);
        if self.options.xattrs {
            apply_xattrs(way, &mut made, attributes, &mut left);
        }
        apply_mode(way, &made, attributes.mode, owner_right, &mut left);
        apply_times(way, attributes.mtime, &mut left);
        if let Way::Open(fd) = way
            && self.options.flags
        {
            apply_project(*fd, &made, attributes.project, &mut left);
            apply_flags(*fd, &made, attributes.flags & INODE_FLAGS_KEPT, &mut left);
        }
        left
    }

    /// Says whether owner and group are those wanted, or none are.
    fn apply_owner(&self, way: &Way<'_>, made: &mut Made, left: &mut Vec<Unapplied>) -> bool {
        let uid = made.owner.uid.filter(|uid| made.uid != Some(*uid));
        let gid = made.owner.gid.filter(|gid| made.gid != Some(*gid));
        if uid.is_none() && gid.is_none() {
            return true;
        }
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            // To the kernel this number means "leave it".
            left.push(Unapplied::new(Part::Owner, Errno::INVAL));
            return false;
        }
        if self.credentials.uid == 0 {
            match change_owner(way, uid, gid) {
                Ok(()) => made.mode = made.mode.filter(|mode| mode & 0o6000 == 0),
                Err(Errno::PERM) => return self.skip_owner(),
                Err(errno) => left.push(Unapplied::new(Part::Owner, errno)),
            }
            return left.is_empty();
        }
        let group_done = match gid {
            Some(gid) if self.credentials.may_use_group(gid) => change_owner(way, None, Some(gid)).is_ok(),
            other => other.is_none(),
        };
        made.mode = made.mode.filter(|mode| mode & 0o6000 == 0);
        if uid.is_some() || !group_done { self.skip_owner() } else { true }
    }

    fn skip_owner(&self) -> bool {
        self.credentials.owners_skipped.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl Unapplied {
    fn new(part: Part, errno: Errno) -> Unapplied {
        Unapplied { part, errno: errno.raw_os_error() }
    }
}

fn change_owner(way: &Way<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    match way {
        Way::Open(fd) => rustix::fs::fchown(fd, uid, gid),
        Way::Name(folder, name, _) => rustix::fs::chownat(folder, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// Extended attributes that are removed from an existing entry if the snapshot has none of that name. Others
/// (labels of security modules, say) belong to the machine.
pub(crate) fn belongs_to_the_entry(name: &[u8]) -> bool {
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"system.posix_acl_"];
    name == b"security.capability" || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn apply_xattrs(way: &Way<'_>, made: &mut Made, attributes: &Attributes<'_>, left: &mut Vec<Unapplied>) {
    let may_have_others = !made.fresh || made.inherited;
    if attributes.xattrs.is_empty() && !may_have_others {
        return;
    }
    let place = match way {
        Way::Open(fd) => Place::Open(*fd),
        Way::Name(folder, name, _) => Place::below(*folder, name),
    };
    if may_have_others {
        remove_others(&place, made, attributes.xattrs, left);
    }
    for xattr in attributes.xattrs {
        if xattr.name.starts_with(b"system.posix_acl_") {
            made.mode = None;
        }
        if let Err(errno) = calls::set_xattr(&place, &xattr.name, &xattr.value) {
            left.push(Unapplied::new(Part::Xattr(xattr.name.clone()), errno));
        }
    }
}

fn remove_others(place: &Place<'_>, made: &mut Made, wanted: &[Xattr], left: &mut Vec<Unapplied>) {
    let names = match calls::xattr_names(place) {
        Ok(names) => names,
        Err(errno) => return left.push(Unapplied::new(Part::Xattrs, errno)),
    };
    for name in names.split(|&byte| byte == 0).filter(|name| belongs_to_the_entry(name)) {
        if wanted.iter().any(|xattr| *xattr.name == *name) {
            continue;
        }
        made.mode = None;
        if let Err(errno) = calls::remove_xattr(place, name) {
            left.push(Unapplied::new(Part::Xattr(name.into()), errno));
        }
    }
}

fn apply_mode(way: &Way<'_>, made: &Made, mode: u16, owner_right: bool, left: &mut Vec<Unapplied>) {
    let allowed = if owner_right { mode } else { mode & !0o6000 };
    if allowed != mode && !matches!(way, Way::Name(_, _, Kind::Symlink)) {
        left.push(Unapplied { part: Part::SetIdBits, errno: 0 });
    }
    if made.mode == Some(allowed) || matches!(way, Way::Name(_, _, Kind::Symlink)) {
        return;
    }
    if let Err(errno) = change_mode(way, Mode::from_raw_mode(allowed.into())) {
        left.push(Unapplied::new(Part::Mode, errno));
    }
}

fn change_mode(way: &Way<'_>, mode: Mode) -> Result<(), Errno> {
    match way {
        Way::Open(fd) => rustix::fs::fchmod(fd, mode),
        Way::Name(folder, name, kind) => {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
            let handle = rustix::fs::openat(folder, *name, flags, Mode::empty())?;
            if linux::stat_open(&handle)?.kind != *kind {
                return Err(Errno::STALE);
            }
            rustix::fs::chmodat(CWD, itself(&handle), mode, AtFlags::empty())
        }
    }
}

fn apply_times(way: &Way<'_>, mtime: Timestamp, left: &mut Vec<Unapplied>) {
    // Numbers beyond a second have special meanings to the kernel.
    let set = if mtime.nanos < 1_000_000_000 { change_times(way, mtime) } else { Err(Errno::INVAL) };
    if let Err(errno) = set {
        return left.push(Unapplied::new(Part::Times, errno));
    }
    // File systems clamp times outside their range without a word; within this one all can be trusted.
    if (0..1 << 31).contains(&mtime.secs) {
        return;
    }
    match stat_again(way) {
        Ok(stat) if stat.mtime.secs == mtime.secs => {}
        Ok(_) => left.push(Unapplied { part: Part::Times, errno: 0 }),
        Err(errno) => left.push(Unapplied::new(Part::Times, errno)),
    }
}

fn change_times(way: &Way<'_>, mtime: Timestamp) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() },
    };
    match way {
        Way::Open(fd) => rustix::fs::futimens(fd, &times),
        Way::Name(folder, name, _) => rustix::fs::utimensat(folder, *name, &times, AtFlags::SYMLINK_NOFOLLOW),
    }
}

fn stat_again(way: &Way<'_>) -> Result<Stat, Errno> {
    match way {
        Way::Open(fd) => linux::stat_open(fd),
        Way::Name(folder, name, _) => linux::stat_name(folder, name),
    }
}

fn apply_project(fd: BorrowedFd<'_>, made: &Made, project: u32, left: &mut Vec<Unapplied>) {
    if project == 0 && made.fresh && !made.inherited {
        return;
    }
    let set = calls::project_id(fd)
        .and_then(|now| if now == project { Ok(()) } else { calls::set_project_id(fd, project) });
    if let Err(errno) = set {
        left.push(Unapplied::new(Part::Project, errno));
    }
}

/// Immutable and append-only: after them nothing else can be set.
const FORBIDDING_FLAGS: u32 = 0x10 | 0x20;

fn apply_flags(fd: BorrowedFd<'_>, made: &Made, wanted: u32, left: &mut Vec<Unapplied>) {
    if wanted == 0 && made.fresh && !made.inherited {
        return;
    }
    let now = match calls::inode_flags(fd) {
        Ok(now) => now,
        Err(errno) => return left.push(Unapplied::new(Part::Flags(wanted), errno)),
    };
    let all = now & !INODE_FLAGS_KEPT | wanted;
    if all == now || calls::set_inode_flags(fd, all).is_ok() {
        // Some file systems accept flags that they do not keep.
        let kept = if all == now { now } else { calls::inode_flags(fd).unwrap_or(all) };
        if kept & wanted != wanted {
            left.push(Unapplied { part: Part::Flags(wanted & !kept), errno: 0 });
        }
        return;
    }
    apply_flags_singly(fd, now, all, left);
}

/// One flag that the file system does not have must not cost the others.
fn apply_flags_singly(fd: BorrowedFd<'_>, mut now: u32, all: u32, left: &mut Vec<Unapplied>) {
    let differing = |forbidding: bool| {
        (0..32)
            .map(|bit| 1u32 << bit)
            .filter(move |bit| (now ^ all) & bit != 0 && (bit & FORBIDDING_FLAGS != 0) == forbidding)
    };
    let mut failed = (0, Errno::OPNOTSUPP);
    for bit in differing(false).chain(differing(true)).collect::<Vec<_>>() {
        match calls::set_inode_flags(fd, now ^ bit) {
            Ok(()) => now ^= bit,
            Err(errno) => failed = (failed.0 | bit, errno),
        }
    }
    if failed.0 != 0 {
        left.push(Unapplied::new(Part::Flags(failed.0), failed.1));
    }
}

//! From what a snapshot says about an entry to what the host applies, and what could not be applied.

use super::Context;
use super::tell::{add, lock};
use super::window::{Folder, Task};
use format::id::BlobKind;
use format::kind::Timestamp;
use format::tree::{Class, XattrSet, Xattrs};
use host::{Attributes, NewFile, Part, Stat, Unapplied, Xattr};
use repo::RepoError;
use std::sync::Arc;

/// Immutable and append-only: a file that has them takes no further name.
const FORBIDDING_FLAGS: u32 = 0x10 | 0x20;

/// An inode that was made, for its further names.
pub(super) struct LinkMade {
    pub(super) folder: Arc<Folder>,
    pub(super) name: Box<[u8]>,
    pub(super) stat: Stat,
}

/// Flags that wait until all names of an inode are there.
pub(super) struct LateFlags {
    pub(super) made: LinkMade,
    pub(super) flags: u32,
}

/// The extended attributes of a class. What cannot be read is told, and left out as a whole.
pub(super) fn xattrs_of(ctx: &Context<'_>, class: &Class, path: impl FnOnce() -> Vec<u8>) -> Vec<Xattr> {
    let set = match &class.xattrs {
        Xattrs::None => return Vec::new(),
        Xattrs::Inline(bytes) => XattrSet::decode(bytes),
        Xattrs::Blob(id) => match ctx.reader.read(BlobKind::Tree, id) {
            Ok(bytes) => XattrSet::decode(&bytes),
            Err(e) => {
                ctx.tell.damage(path(), "read extended attributes", &e);
                return Vec::new();
            }
        },
    };
    match set {
        Ok(set) => {
            let xattr =
                |(name, value): &(Vec<u8>, Vec<u8>)| Xattr { name: name[..].into(), value: value[..].into() };
            set.pairs().iter().map(xattr).collect()
        }
        Err(source) => {
            let error = RepoError::Object { name: "extended attributes".into(), source };
            ctx.tell.damage(path(), "read extended attributes", &error);
            Vec::new()
        }
    }
}

/// What the host applies.
pub(super) fn attributes<'a>(class: &'a Class, mtime: Timestamp, xattrs: &'a [Xattr]) -> Attributes<'a> {
    let name = |name: &'a [u8]| Some(name).filter(|name| !name.is_empty());
    Attributes {
        mode: class.mode,
        uid: class.owner.uid,
        gid: class.owner.gid,
        user: name(&class.owner.user),
        group: name(&class.owner.group),
        mtime,
        flags: class.flags,
        project: class.project,
        xattrs,
    }
}

/// Ends a file: gives it its attributes, and remembers it where more names of it follow. `mtime` differs
/// from the entry's where the contents are not complete: then the next run finds work to do.
pub(super) fn settle_file(
    ctx: &Context<'_>,
    task: &Task,
    file: &NewFile,
    xattrs: &[Xattr],
    mtime: Timestamp,
) {
    let mut wanted = attributes(&task.entry.class, mtime, xattrs);
    let forbidding = wanted.flags & FORBIDDING_FLAGS;
    if task.entry.link_group.is_some() {
        wanted.flags &= !FORBIDDING_FLAGS;
    }
    let left = ctx.target().finish_file(file, &wanted);
    tell_unapplied(ctx, || task.path(), &left);
    if task.entry.link_group.is_some() {
        match file.stat() {
            Ok(stat) => remember_link(ctx, task, stat, forbidding),
            Err(e) => ctx.tell.io_problem(task.path(), "look at", &e),
        }
    }
}

/// Keeps where an inode with several names was made, if it is the first.
pub(super) fn remember_link(ctx: &Context<'_>, task: &Task, stat: Stat, forbidding: u32) {
    let Some(group) = task.entry.link_group else { return };
    let made = || LinkMade { folder: task.folder.clone(), name: task.name.clone(), stat };
    lock(&ctx.links).entry(group).or_insert_with(|| Arc::new(made()));
    if forbidding != 0 {
        lock(&ctx.late_flags).push(LateFlags { made: made(), flags: forbidding });
    }
}

/// Names what could not be applied to one path.
pub(super) fn tell_unapplied(ctx: &Context<'_>, path: impl Fn() -> Vec<u8>, left: &[Unapplied]) {
    if left.is_empty() {
        return;
    }
    add(&ctx.tell.sums.problems, 1);
    for unapplied in left {
        ctx.tell.also(path(), during(&unapplied.part), unapplied.to_string(), unapplied.errno);
    }
}

fn during(part: &Part) -> &'static str {
    match part {
        Part::Owner => "restore owner",
        Part::Xattr(_) | Part::Xattrs => "restore extended attributes",
        Part::Mode | Part::SetIdBits => "restore permissions",
        Part::Times => "restore times",
        Part::Flags(_) => "restore inode flags",
        Part::Project => "restore project id",
    }
}

/// Gives the folders their attributes; nothing below them changes any more.
pub(super) fn finish_folders(ctx: &Context<'_>, folders: &[Arc<Folder>]) {
    for folder in folders {
        let (Some(facts), Some(dir)) = (&folder.facts, &folder.dir) else { continue };
        let xattrs = xattrs_of(ctx, &facts.class, || folder.path.clone());
        let wanted = attributes(&facts.class, facts.mtime, &xattrs);
        match ctx.target().finish_directory(dir, &wanted) {
            Ok(left) => tell_unapplied(ctx, || folder.path.clone(), &left),
            Err(e) => ctx.tell.io_problem(folder.path.clone(), "restore attributes", &e),
        }
    }
}

/// Sets the flags that waited, last of all.
pub(super) fn set_late_flags(ctx: &Context<'_>) {
    for late in std::mem::take(&mut *lock(&ctx.late_flags)) {
        let made = &late.made;
        let Some(dir) = &made.folder.dir else { continue };
        let left = ctx.target().add_flags(dir, &made.name, &made.stat, late.flags);
        tell_unapplied(ctx, || made.folder.path_of(&made.name), &left);
    }
}

/// Tells once how many owners were left because this process may not give files away.
pub(super) fn tell_owners_skipped(ctx: &Context<'_>) {
    let skipped = ctx.target().owners_skipped();
    if skipped > 0 {
        // Whoever restores as an ordinary user, above all below the folders of the system, could not want more.
        let text =
            format!("{skipped} paths belong to you now: only root can give files to other owners and groups");
        ctx.tell.info(Vec::new(), "restore owner", text);
    }
}

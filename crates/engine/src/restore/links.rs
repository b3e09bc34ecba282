//! Further names of inodes that were restored; where the file system takes none, copies.

use super::Context;
use super::attributes::LinkMade;
use super::execute::execute_inline;
use super::files::{unchanged, window_of_one};
use super::tell::lock;
use super::window::{How, Task};
use format::kind::Kind;
use host::Stat;
use std::io;
use std::sync::Arc;

/// Makes further names. Everything else of the window is there.
pub(super) fn make_links(ctx: &Context<'_>, links: &[Task]) {
    for task in links {
        if ctx.tell.stopped() {
            return;
        }
        let group = task.entry.link_group.expect("only entries with a link group wait to be linked");
        let made = lock(&ctx.links).get(&group).cloned();
        let Some(made) = made else {
            copy(ctx, task);
            continue;
        };
        match link(ctx, task, &made) {
            Ok(Linked::Already) => unchanged(ctx, task),
            Ok(Linked::Now) if task.entry.kind() == Kind::File => ctx.file_restored(task),
            Ok(Linked::Now) => ctx.other_restored(task),
            Err(_) => copy(ctx, task),
        }
    }
}

enum Linked {
    Already,
    Now,
}

fn link(ctx: &Context<'_>, task: &Task, made: &Arc<LinkMade>) -> io::Result<Linked> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let dir = task.folder.dir.as_ref().ok_or_else(gone)?;
    let from = made.folder.dir.as_ref().ok_or_else(gone)?;
    let same = |stat: Stat| host::stat::same_inode(&stat, &made.stat);
    if task.existed && ctx.target().stat(dir, &task.name)?.is_some_and(same) {
        return Ok(Linked::Already);
    }
    ctx.target().hard_link(from, &made.name, &made.stat, dir, &task.name)?;
    Ok(Linked::Now)
}

/// The first name was not restored, or cannot be linked to: this one gets contents of its own.
fn copy(ctx: &Context<'_>, task: &Task) {
    let copy = Task {
        folder: task.folder.clone(),
        name: task.name.clone(),
        entry: task.entry.clone(),
        how: How::Create,
        existed: task.existed,
    };
    execute_inline(ctx, window_of_one(ctx, copy));
}

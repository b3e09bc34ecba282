//! Removing from the target what the snapshot does not have.
//!
//! Promises: only in folders that were saved whole and restored whole, never what a rule leaves out, now or when
//! the backup was made, never in something mounted there, and no link is followed. Everything that goes is named,
//! a folder with all that is in it. Where the snapshot is damaged nothing is removed.

use super::Context;
use super::plan::Level;
use super::tell::add;
use super::window::Folder;
use crate::monitor::Action;
use host::{Kind, Rules, Stat, Target, TargetDir};
use std::path::Path;

/// How a backup left out paths that stand in the target.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// By their names.
    pub rules: Rules,
    /// By files with these names in their folder, or in one above it.
    pub markers: Vec<Vec<u8>>,
    /// Files longer than this.
    pub longer_than_bytes: Option<u64>,
}

/// A path that is to go.
struct Going {
    path: Vec<u8>,
    stat: Stat,
}

impl LeftOut {
    fn covers(&self, going: &Going) -> bool {
        let is_directory = going.stat.kind == Kind::Directory;
        let names: Vec<&[u8]> = going.path.split(|byte| *byte == b'/').filter(|n| !n.is_empty()).collect();
        let judge = |n: usize| self.rules.judge_saved(&names[..n], is_directory || n < names.len());
        let is_long = || {
            let is_file = going.stat.kind == Kind::File;
            is_file && self.longer_than_bytes.is_some_and(|most| going.stat.size_bytes > most)
        };
        names.last().is_some_and(|name| self.is_marker(name))
            || is_long()
            || (1..=names.len()).rev().find_map(judge).unwrap_or(false)
    }

    fn is_marker(&self, name: &[u8]) -> bool {
        self.markers.iter().any(|marker| marker == name)
    }
}

/// Removes what stands in a folder under a name that the snapshot does not have.
pub(super) fn remove_others(ctx: &Context<'_>, level: &Level, tree_damaged: bool) {
    let Some(folder) = level.folder.as_ref().filter(|folder| !folder.empty && level.whole) else { return };
    let Some(dir) = &folder.dir else { return };
    if tree_damaged {
        let text = "nothing is removed, because a part of the snapshot cannot be read".to_string();
        return ctx.tell.problem(folder.path.clone(), "remove", text, 0);
    }
    for (name, stat) in names_in(ctx.target(), dir) {
        let path = folder.path_of(&name);
        if level.names.binary_search_by(|known| (**known).cmp(&name)).is_ok()
            || ctx.is_left_out(&path, stat.kind == Kind::Directory)
        {
            continue;
        }
        let goes = everything(ctx, dir, &name, path, stat);
        if level.marked || ctx.must_stay(&goes) {
            add(&ctx.tell.sums.kept, 1);
            goes.into_iter().take(1).for_each(|top| ctx.tell.item(Action::Excluded, || top.path, 0));
            continue;
        }
        if !ctx.request.dry_run
            && let Err(e) = ctx.target().remove(dir, &name)
        {
            ctx.tell.io_problem(folder.path_of(&name), "remove", &e);
            continue;
        }
        tell_gone(ctx, goes);
    }
}

/// Names what a folder holds that goes because something else belongs in its place; `false` if it must not go.
pub(super) fn name_replaced(ctx: &Context<'_>, folder: &Folder, name: &[u8], stat: Stat) -> bool {
    let Some(dir) = &folder.dir else { return true };
    let mut goes = everything(ctx, dir, name, folder.path_of(name), stat);
    if ctx.must_stay(&goes) {
        return false;
    }
    // The path itself is told as restored.
    goes.remove(0);
    tell_gone(ctx, goes);
    true
}

fn tell_gone(ctx: &Context<'_>, paths: Vec<Going>) {
    add(&ctx.tell.sums.deleted, paths.len() as u64);
    paths.into_iter().for_each(|gone| ctx.tell.item(Action::Deleted, || gone.path, 0));
}

/// A path of the target and everything in it. What cannot be listed is missing, and will not be removed either.
fn everything(ctx: &Context<'_>, parent: &TargetDir, name: &[u8], path: Vec<u8>, stat: Stat) -> Vec<Going> {
    let is_directory = stat.kind == Kind::Directory;
    let mut found = vec![Going { path, stat }];
    if is_directory && let Ok(Some(dir)) = ctx.target().existing_directory(parent, name) {
        for (name, stat) in names_in(ctx.target(), &dir) {
            let path = [&found[0].path[..], &name[..]].join(&b'/');
            found.extend(everything(ctx, &dir, &name, path, stat));
        }
    }
    found
}

fn names_in(target: &Target, dir: &TargetDir) -> Vec<(Box<[u8]>, Stat)> {
    let mut names = Vec::new();
    for listing in target.list(dir) {
        names.extend(listing.iter().map(|(name, stat)| (name.into(), *stat)));
    }
    names
}

impl Context<'_> {
    /// Whether everything in a folder was to be saved: only folders at or below a source were. Others were
    /// only on the way to one.
    pub(super) fn is_wholly_saved(&self, path: &[u8]) -> bool {
        self.request.snapshot.sources.iter().any(|source| {
            let source = source.strip_suffix(b"/").unwrap_or(source);
            let rest = path.strip_prefix(source);
            path.starts_with(b"/") && rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }

    /// Whether the backup left out any of these.
    fn must_stay(&self, goes: &[Going]) -> bool {
        self.request.kept.as_ref().is_some_and(|left_out| goes.iter().any(|going| left_out.covers(going)))
    }

    /// Whether the snapshot has a file in this folder by which the backup left out others.
    pub(super) fn has_marker(&self, level: &Level) -> bool {
        let kept = self.request.kept.as_ref();
        kept.is_some_and(|left_out| level.names.iter().any(|name| left_out.is_marker(name)))
    }

    /// Whether a rule leaves out a path of the target, itself or a folder above it.
    fn is_left_out(&self, path: &[u8], is_directory: bool) -> bool {
        if !self.request.rules.judge_anything_saved() {
            return false;
        }
        let components: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let judge = |n: usize| self.judge(&components[..n], is_directory || n < components.len());
        // The selected folder is restored whatever the rules say about it and what is above it.
        (self.selected_depth() + 1..=components.len()).rev().find_map(judge).unwrap_or(false)
    }
}

/// Whether a folder does not exist or has nothing in it.
pub(super) fn is_empty_folder(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut names) => names.next().is_none(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

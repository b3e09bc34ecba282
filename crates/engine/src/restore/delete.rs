//! Removing from the target what the snapshot does not have.
//!
//! Promises: only in folders that were saved whole and restored whole, never what a rule leaves out, never
//! in something mounted there, and no link is followed. Where the snapshot is damaged nothing is removed.

use super::Context;
use super::plan::Level;
use super::tell::add;
use crate::monitor::Action;
use host::{Target, TargetDir};
use std::path::Path;

/// Removes what stands in a folder under a name that the snapshot does not have.
pub(super) fn remove_others(ctx: &Context<'_>, level: &Level, tree_damaged: bool) {
    let Some(folder) = level.folder.as_ref().filter(|folder| !folder.empty && level.whole) else { return };
    let Some(dir) = &folder.dir else { return };
    if tree_damaged {
        let text = "nothing is removed, because a part of the snapshot cannot be read".to_string();
        return ctx.tell.problem(folder.path.clone(), "remove", text, 0);
    }
    for (name, is_directory) in names_in(ctx.target(), dir) {
        let path = folder.path_of(&name);
        if level.names.binary_search_by(|known| (**known).cmp(&name)).is_ok()
            || ctx.is_left_out(&path, is_directory)
        {
            continue;
        }
        if !ctx.request.dry_run
            && let Err(e) = ctx.target().remove(dir, &name)
        {
            ctx.tell.io_problem(path, "remove", &e);
            continue;
        }
        add(&ctx.tell.sums.deleted, 1);
        ctx.tell.item(Action::Deleted, || path, 0);
    }
}

fn names_in(target: &Target, dir: &TargetDir) -> Vec<(Box<[u8]>, bool)> {
    let mut names = Vec::new();
    for listing in target.list(dir) {
        let found = listing.iter().map(|(name, stat)| (name.into(), stat.kind == host::Kind::Directory));
        names.extend(found);
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

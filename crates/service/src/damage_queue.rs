//! Damage that reading met, waiting for a repair.
//!
//! Reading never writes to a repository, so what it finds is noted in a file of this machine's state folder: one
//! line each. Losing the file loses nothing but the reminder.

use crate::durable;
use crate::folders::Folders;
use format::id::RepoId;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;

/// So much of the file is read, and kept.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn path(folders: &Folders, repo: &RepoId) -> PathBuf {
    folders.state.join(format!("damage-{}", repo.hex()))
}

/// What waits for a repair of a repository: a blob and what is wrong with it, a line each.
pub fn waiting(folders: &Folders, repo: &RepoId) -> BTreeSet<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path(folders, repo));
    match file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => text.lines().map(str::to_string).collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// Adds to what waits: names, and what is wrong with each.
pub fn note<'d>(
    folders: &Folders,
    repo: &RepoId,
    damage: impl Iterator<Item = (String, &'d str)>,
) -> io::Result<()> {
    let mut lines = waiting(folders, repo);
    let before = lines.len();
    lines.extend(damage.map(|(what, why)| format!("{what} {}", why.replace('\n', " "))));
    if lines.len() == before {
        return Ok(());
    }
    let mut text = String::new();
    for line in lines {
        if (text.len() + line.len() + 1) as u64 > FILE_BYTES_MAX {
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    durable::replace(&path(folders, repo), text.as_bytes())
}

/// Nothing waits any more.
pub fn clear(folders: &Folders, repo: &RepoId) {
    std::fs::remove_file(path(folders, repo)).ok();
}

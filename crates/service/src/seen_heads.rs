//! Which snapshots this machine has seen of a repository, in a file of its state folder.
//!
//! The file may be lost: then the next look is believed, as the first one was.

use crate::display::safe;
use crate::durable;
use crate::failure::{Exit, Failure};
use crate::folders::Folders;
use format::id::{RepoId, SnapshotId};
use repo::heads::{Gone, Heads};
use std::collections::BTreeSet;
use std::io;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Bytes read of the file at most: 90 a snapshot.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// What was seen.
pub struct Kept {
    path: PathBuf,
    /// The snapshots.
    pub heads: Heads,
}

/// What this machine has seen of a repository.
pub fn of(folders: &Folders, repo: &RepoId) -> Kept {
    let path = folders.state.join(format!("heads-{}", repo.hex()));
    let mut text = String::new();
    let read =
        std::fs::File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    let heads = read.map_or_else(|_| Heads::default(), |_| Heads::from_text(&text));
    Kept { path, heads }
}

impl Kept {
    /// Remembers what is there now.
    pub fn update(&self, now: &Heads) -> io::Result<()> {
        if self.heads == *now {
            return Ok(());
        }
        durable::replace(&self.path, now.to_text().as_bytes())
    }
}

/// Whether this process has not told of it yet: a job reads the same list several times.
pub fn is_news(repo: &RepoId, gone: &Gone) -> bool {
    static TOLD: Mutex<BTreeSet<(RepoId, SnapshotId)>> = Mutex::new(BTreeSet::new());
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert((*repo, gone.seen.snapshot))
}

/// What is known of a snapshot that is gone.
pub fn why(gone: &Gone) -> String {
    let id = &gone.seen.snapshot.hex()[..8];
    let number = gone.seen.sequence;
    let now = match gone.shown {
        Some(_) if !gone.is_newest() => "newer ones of its machine are there".to_string(),
        Some(shown) => format!("the newest one of its machine that is shown now has number {shown}"),
        None => "no snapshot of its machine is shown now".to_string(),
    };
    format!("snapshot {id} (number {number} of its machine) is gone, and was not forgotten; {now}")
}

/// What a user is told whose repository went back in time.
pub fn refusal(place: &str, gone: &Gone) -> Failure {
    let what = format!("{} shows an older state than this machine has seen", safe(place));
    Failure::new(Exit::Failed, what).because(why(gone)).hint(
        "if you brought back an older copy of the repository yourself, add --accept-rollback once; if not, ask who runs the storage",
    )
}

//! The plan of a restore, a window at a time: what is made in which folder, and which blobs it takes.
//!
//! A window holds some ten thousand entries, so that memory does not grow with the snapshot. Within a
//! window everything that lies in one block is done together. Knows no file system calls.

use super::large::LargeFile;
use format::id::{BlobId, PackId};
use format::index::BlockPlace;
use format::kind::Timestamp;
use format::tree::{Class, Entry};
use host::TargetDir;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Entries and pieces of one window. Some 250 bytes each, and three windows live at a time: 25 MiB.
const WINDOW_WEIGHT_MAX: usize = 32 << 10;

/// Entries without contents that one job makes.
const OTHERS_PER_JOB: usize = 256;

/// A folder being restored into.
pub(super) struct Folder {
    /// `None` in a dry run where there is none yet.
    pub(super) dir: Option<TargetDir>,
    /// Nothing stands in it that this restore did not make.
    pub(super) empty: bool,
    /// Its path in the snapshot, for messages.
    pub(super) path: Vec<u8>,
    /// What it gets when nothing below it changes any more; `None` leaves it as it is.
    pub(super) facts: Option<Facts>,
}

/// The attributes of a folder.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) class: Arc<Class>,
    pub(super) mtime: Timestamp,
}

impl Folder {
    /// The path of something in it, for messages.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        if !path.is_empty() && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

/// How a file gets its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Made anew; what stands there is replaced as far as allowed.
    Create,
    /// The file that stands there is changed where it differs.
    InPlace,
}

/// An entry to be restored.
pub(super) struct Task {
    pub(super) folder: Arc<Folder>,
    pub(super) name: Box<[u8]>,
    pub(super) entry: Entry,
    pub(super) how: How,
    /// Something stood there before.
    pub(super) existed: bool,
}

impl Task {
    pub(super) fn path(&self) -> Vec<u8> {
        self.folder.path_of(&self.name)
    }
}

/// Where the bytes of a piece go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dest {
    /// All of this task's file.
    Small(u32),
    /// Into this large file.
    Large(u32),
}

/// A blob and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) id: BlobId,
    /// Which pack of the window; `NOWHERE` if the index knows no place.
    pub(super) pack: u32,
    pub(super) block: BlockPlace,
    pub(super) rank: u16,
    pub(super) dest: Dest,
    pub(super) offset: u64,
    pub(super) repeat: u32,
}

/// The pack of pieces that are in no pack the index knows.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A part of the plan.
#[derive(Default)]
pub(super) struct Window {
    /// Small files, and everything that is neither a file nor a folder.
    pub(super) tasks: Vec<Task>,
    pub(super) large: Vec<Arc<LargeFile>>,
    pub(super) pieces: Vec<Piece>,
    pub(super) packs: Vec<PackId>,
    pack_numbers: HashMap<PackId, u32>,
    /// Tasks without contents.
    pub(super) others: Vec<u32>,
    /// Further names of inodes; made after everything else of the window.
    pub(super) links: Vec<Task>,
    /// Folders below which nothing changes after this window, deepest first.
    pub(super) finished: Vec<Arc<Folder>>,
}

/// Some pieces in one block.
pub(super) type BlockRange = Range<u32>;

impl Window {
    /// Whether it is time to execute it.
    pub(super) fn is_full(&self) -> bool {
        let things = self.tasks.len() + self.large.len() + self.pieces.len() + self.links.len();
        things + self.finished.len() >= WINDOW_WEIGHT_MAX
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        let things = self.tasks.len() + self.large.len() + self.pieces.len() + self.links.len();
        things + self.finished.len() == 0
    }

    pub(super) fn pack_number(&mut self, pack: PackId) -> u32 {
        let packs = &mut self.packs;
        *self.pack_numbers.entry(pack).or_insert_with(|| {
            packs.push(pack);
            packs.len() as u32 - 1
        })
    }

    /// Brings the pieces into the order in which they are fetched: pack by pack in the order in which the
    /// window needs them, block by block, and within a block as the files stand in their folders.
    pub(super) fn sort(&mut self) {
        self.pieces.sort_unstable_by_key(|p| (p.pack, p.block.offset, p.dest, p.offset));
    }

    /// The pieces of each block.
    pub(super) fn blocks(&self) -> Vec<BlockRange> {
        let same = |a: &Piece, b: &Piece| (a.pack, a.block.offset) == (b.pack, b.block.offset);
        let mut from = 0;
        let ranges = self.pieces.chunk_by(same).map(|run| {
            let range = from..from + run.len() as u32;
            from = range.end;
            range
        });
        ranges.collect()
    }

    /// Tasks without contents in portions for the workers.
    pub(super) fn portions(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        let n = self.others.len();
        (0..n).step_by(OTHERS_PER_JOB).map(move |at| at as u32..n.min(at + OTHERS_PER_JOB) as u32)
    }
}

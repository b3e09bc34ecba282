//! What happens on the reading threads: open, read, hash, and everything else the system is asked.

use super::signs::{file_looks_random, looks_random};
use format::id::{BlobId, BlobKind};
use format::keys::Keys;
use host::attributes::{Extras, read_extras, read_extras_open};
use host::read::{OpenFile, open_for_read};
use host::stat::same_version;
use host::{Directory, Kind, Stat};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries of one directory to be read.
pub(super) struct ReadBatch {
    pub(super) dir: Arc<Directory>,
    /// Names one after the other, and where each ends.
    pub(super) names: Vec<u8>,
    pub(super) entries: Vec<(usize, Stat)>,
    /// Contents that will be held in memory when it was read.
    pub(super) bytes: u64,
}

impl ReadBatch {
    pub(super) fn new(dir: Arc<Directory>) -> Self {
        ReadBatch { dir, names: Vec::new(), entries: Vec::new(), bytes: 0 }
    }

    /// Adds an entry. Files longer than `whole_max` are only opened here; their contents are read later.
    pub(super) fn push(&mut self, name: &[u8], stat: Stat, whole_max: u64) {
        self.names.extend_from_slice(name);
        self.entries.push((self.names.len(), stat));
        if stat.kind == Kind::File && stat.size_bytes <= whole_max {
            self.bytes += stat.size_bytes;
        }
    }

    fn name(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.entries[i - 1].0 };
        &self.names[start..self.entries[i].0]
    }
}

/// Contents as far as they were read.
pub(super) enum Body {
    /// Not a file.
    None,
    /// A whole small file: a range of the batch's buffer, and its id.
    Small { range: Range<usize>, id: BlobId },
    /// An open file that is read piece by piece later.
    Large(Box<OpenFile>),
    /// Could not be read.
    Unreadable(io::Error),
}

/// One entry after reading.
pub(super) struct ReadEntry {
    /// What it was when its contents were read.
    pub(super) stat: Stat,
    pub(super) extras: Extras,
    pub(super) body: Body,
    /// It changed while it was read, twice.
    pub(super) changed: bool,
    /// Whether its contents look random; `None` where that cannot be told.
    pub(super) random: Option<bool>,
}

/// A batch after reading.
pub(super) struct ReadDone {
    pub(super) buffer: Vec<u8>,
    pub(super) entries: Vec<ReadEntry>,
}

/// Buffers that were used and can be used again.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Buffers kept for reuse.
const SPARE_BUFFERS_MAX: usize = 8;

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BUFFERS_MAX {
            spare.push(buffer);
        }
    }
}

/// Makes the work of one reading thread.
pub(super) fn batch_reader(
    keys: Arc<Keys>,
    whole_max: u64,
    buffers: Buffers,
) -> Box<dyn FnMut(ReadBatch) -> ReadDone + Send> {
    Box::new(move |batch| {
        let mut buffer = buffers.take();
        let mut entries = Vec::with_capacity(batch.entries.len());
        for (i, (_, stat)) in batch.entries.iter().enumerate() {
            entries.push(read_entry(&batch.dir, batch.name(i), stat, &keys, whole_max, &mut buffer));
        }
        ReadDone { buffer, entries }
    })
}

fn read_entry(
    dir: &Arc<Directory>,
    name: &[u8],
    listed: &Stat,
    keys: &Keys,
    whole_max: u64,
    buffer: &mut Vec<u8>,
) -> ReadEntry {
    if listed.kind != Kind::File {
        return match read_extras(dir, name, listed) {
            Ok(extras) => ReadEntry { stat: *listed, extras, body: Body::None, changed: false, random: None },
            Err(e) => unreadable(listed, Extras::default(), e),
        };
    }
    let open = match open_for_read(dir, name, listed) {
        Ok(open) => open,
        Err(e) => {
            let extras = read_extras(dir, name, listed).unwrap_or_default();
            return unreadable(listed, extras, e);
        }
    };
    let extras = read_extras_open(&open.file);
    let sparse = open.stat.may_have_holes() && open.stat.size_bytes >= SPARSE_BYTES_MIN;
    if open.stat.size_bytes > whole_max || sparse {
        return large(open, extras);
    }
    match read_small(open, whole_max, buffer) {
        Ok(Small::Whole { range, stat, changed }) => {
            let id = keys.blob_id(BlobKind::Data, &buffer[range.clone()]).expect("only owners back up");
            let random = looks_random(&buffer[range.clone()]);
            ReadEntry { stat, extras, body: Body::Small { range, id }, changed, random }
        }
        Ok(Small::Grew(open)) => large(open, extras),
        Err(e) => unreadable(listed, extras, e),
    }
}

/// Smaller files are stored whole even if they have holes: a hole map would cost more than it saves.
const SPARSE_BYTES_MIN: u64 = 64 << 10;

fn large(open: OpenFile, extras: Extras) -> ReadEntry {
    let random = file_looks_random(&open.file);
    ReadEntry { stat: open.stat, extras, body: Body::Large(Box::new(open)), changed: false, random }
}

fn unreadable(stat: &Stat, extras: Extras, e: io::Error) -> ReadEntry {
    ReadEntry { stat: *stat, extras, body: Body::Unreadable(e), changed: false, random: None }
}

enum Small {
    Whole {
        range: Range<usize>,
        stat: Stat,
        changed: bool,
    },
    /// It is no longer small.
    Grew(OpenFile),
}

/// Appends the contents of a file, at most `limit` bytes. Where all that the file is long is there and the last
/// read had room for more, the end is not asked for: the caller looks at the length again.
fn read_up_to(open: &mut OpenFile, limit: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let start = buffer.len();
    let expected = open.stat.size_bytes.min(limit) as usize;
    buffer.resize(start + expected + 1, 0);
    let mut end = start;
    while end < buffer.len() {
        match open.file.read(&mut buffer[end..]) {
            Ok(0) => break,
            Ok(n) => end += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        if end - start == expected {
            break;
        }
    }
    let grew = end == buffer.len();
    buffer.truncate(end);
    if grew {
        (&mut open.file).take(limit.saturating_sub((end - start) as u64)).read_to_end(buffer)?;
    }
    Ok(())
}

/// Reads a small file; once more if it changed meanwhile.
fn read_small(mut open: OpenFile, whole_max: u64, buffer: &mut Vec<u8>) -> io::Result<Small> {
    let start = buffer.len();
    for attempt in 0..2 {
        buffer.truncate(start);
        read_up_to(&mut open, whole_max + 1, buffer)?;
        let after = open.stat_again()?;
        if buffer.len() - start > whole_max as usize || after.size_bytes > whole_max {
            buffer.truncate(start);
            io::Seek::rewind(&mut open.file)?;
            open.stat = after;
            return Ok(Small::Grew(open));
        }
        let steady = same_version(&open.stat, &after) && after.size_bytes == (buffer.len() - start) as u64;
        if steady || attempt == 1 {
            let mut stat = after;
            stat.size_bytes = (buffer.len() - start) as u64;
            return Ok(Small::Whole { range: start..buffer.len(), stat, changed: !steady });
        }
        open.stat = after;
        io::Seek::rewind(&mut open.file)?;
    }
    unreachable!("the second attempt returns")
}

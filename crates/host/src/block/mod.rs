//! Block devices and disk images: which parts hold something, read in place.
//!
//! Holes of an image are left out, and so is what the file system on it says is free, if that can be believed:
//! the file system must be in order and mounted nowhere, and must say the same after the last byte was read. What
//! was left out reads as zeros from the snapshot. Nothing is written to the device.

mod free;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::databases::{About, Database};
use crate::freeze::mounts;
use crate::produce::{Contents, Facts, Producer, Sink};
use crate::read::data_ranges;

pub use free::Free;

/// Name of the image in a snapshot.
pub const IMAGE: &str = "disk.img";
/// What is left out is left out in pieces of whole chunks: a shorter gap would cost more than it saves.
const GAP_BYTES: u64 = 64 << 10;

/// A device or an image as a source.
pub struct Block {
    /// What is read: the device, or a snapshot of it.
    pub device: PathBuf,
    /// What is recorded as its place, where that is another.
    pub known_as: Option<PathBuf>,
    /// Leave out what the file system on it does not use.
    pub skip_free: bool,
}

impl Producer for Block {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", self.device.display()));
        let mut file = open(&self.device).map_err(named)?;
        let size = size(&mut file).map_err(named)?;
        if size == 0 {
            return Err(named(io::Error::other("it holds nothing")));
        }
        let is_file = file.metadata()?.file_type().is_file();
        let before = file.metadata()?;
        let mut ranges = if is_file { data_ranges(&file, size)? } else { std::iter::once(0..size).collect() };
        if !self.is_frozen() && is_mounted(&self.device).map_err(named)? {
            let text = "it is mounted or in use: what is written meanwhile may be kept in part";
            sink.tell(&self.device.display().to_string(), text);
        }
        let free = if self.skip_free { self.free(size, sink) } else { None };
        if let Some(free) = &free {
            ranges = without(&ranges, &free.ranges);
        }
        let contents = Contents::Sparse { size_bytes: size, ranges, file: &mut file };
        sink.file(&[IMAGE], Facts::PRIVATE, contents)?;
        let after = file.metadata()?;
        if is_file && (before.mtime(), before.mtime_nsec()) != (after.mtime(), after.mtime_nsec()) {
            return Err(named(io::Error::other("it was written while it was read")));
        }
        if let Some(free) = &free {
            let again = self.free(size, sink);
            if again.as_ref() != Some(free) {
                return Err(named(io::Error::other(
                    "its file system was changed or mounted while it was read",
                )));
            }
        }
        let place = self.known_as.as_ref().unwrap_or(&self.device);
        let image = Database {
            name: place.display().to_string(),
            path: vec![IMAGE.into()],
            tables: None,
            create: String::new(),
        };
        let server = free.map_or(String::new(), |free| format!("{}, free space left out", free.kind));
        About { server, place: place.display().to_string(), databases: vec![image], ..About::new("block") }
            .keep(sink)
    }
}

impl Block {
    /// Whether a snapshot is read, which nobody writes to.
    fn is_frozen(&self) -> bool {
        self.known_as.is_some()
    }

    /// What is free, if that can be believed; why not is told.
    fn free(&self, size: u64, sink: &mut dyn Sink) -> Option<Free> {
        let item = self.device.display().to_string();
        match is_mounted(&self.device).and_then(|mounted| match mounted {
            true => Err(io::Error::other("it is mounted")),
            false => free::of(&self.device, size),
        }) {
            Ok(free) => free,
            Err(e) => {
                sink.tell(&item, &format!("free space is kept, too: {e}"));
                None
            }
        }
    }
}

/// Opens a device or an image for reading.
fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_block_device() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a block device nor a file")),
    }
}

/// Length in bytes; leaves the position at the beginning.
fn size(file: &mut File) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(size)
}

/// Whether a device, or a device that a file lies behind, is mounted somewhere.
fn is_mounted(path: &Path) -> io::Result<bool> {
    let stat = std::fs::metadata(path)?;
    let mounts = mounts::read()?;
    if stat.file_type().is_block_device() {
        let device = format!("{}:{}", rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
        let same =
            |source: &str| std::fs::metadata(source).is_ok_and(|s| s.rdev() == stat.rdev() && s.rdev() != 0);
        return Ok(mounts.iter().any(|mount| mount.device == device || same(&mount.source)));
    }
    // An image may be behind a loop device; whether that one is mounted hardly matters: it is in use.
    let real = path.canonicalize()?;
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|backing| Path::new(backing.trim_end_matches('\n')) == real) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `ranges` less `free`, both ascending; only whole chunks of at least one [`GAP_BYTES`] are taken out.
fn without(ranges: &[Range<u64>], free: &[Range<u64>]) -> Vec<Range<u64>> {
    let gaps: Vec<Range<u64>> = free
        .iter()
        .map(|gap| gap.start.next_multiple_of(GAP_BYTES)..gap.end / GAP_BYTES * GAP_BYTES)
        .filter(|gap| gap.start < gap.end)
        .collect();
    let mut kept = Vec::new();
    let mut first = 0;
    for range in ranges {
        let mut at = range.start;
        while first < gaps.len() && gaps[first].end <= range.start {
            first += 1;
        }
        for gap in gaps[first..].iter().take_while(|gap| gap.start < range.end) {
            if gap.start > at {
                kept.push(at..gap.start);
            }
            at = at.max(gap.end);
        }
        if at < range.end {
            kept.push(at..range.end);
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_chunks_are_left_out() {
        let k = 1 << 10;
        let all = [0..1024 * k];
        assert_eq!(without(&all, &[]), all);
        assert_eq!(without(&all, &[100 * k..180 * k]), all, "less than one aligned chunk");
        assert_eq!(without(&all, &[100 * k..200 * k]), [0..128 * k, 192 * k..1024 * k]);
        assert_eq!(without(&all, &[0..128 * k, 960 * k..1024 * k]), [128 * k..960 * k]);
        let parts = [0..100 * k, 300 * k..400 * k];
        assert_eq!(without(&parts, &[64 * k..320 * k]), [0..64 * k, 320 * k..400 * k]);
        assert!(without(&all, &[0..1024 * k]).is_empty());
    }
}

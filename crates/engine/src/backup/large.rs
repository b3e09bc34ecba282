//! Long files and streams: cut into chunks, piece by piece, with their holes.

use super::FixedChunkPolicy;
use format::chunk::{ChunkSizes, Chunker, FIXED_CHUNK_BYTES};
use format::id::{BlobId, BlobKind};
use format::limits::EXTENTS_INLINE_MAX;
use format::tree::{Content, Extent, build_extents};
use host::read::{OpenFile, data_ranges};
use repo::writer::Writer;
use repo::{RepoError, RepoResult};
use std::io::{self, Read, Seek, SeekFrom};

/// Why a file's contents could not be stored: its own fault, or the repository's.
pub(crate) enum Failure {
    /// Reading it failed.
    Source(io::Error),
    /// Storing failed: the run ends.
    Repo(RepoError),
}

impl From<RepoError> for Failure {
    fn from(e: RepoError) -> Self {
        Failure::Repo(e)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Source(e)
    }
}

/// Called with the number of bytes just read; returns whether to stop.
pub(crate) type Tick<'t> = dyn FnMut(u64) -> bool + 't;

/// How a file is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cutting {
    /// Where the contents say.
    ContentDefined,
    /// Where the contents say, in short chunks.
    Fine,
    /// Every 64 KiB.
    Fixed,
}

/// Cuts long files; owns the buffer they pass through.
pub(crate) struct Cutter {
    chunker: Chunker,
    fine: Chunker,
    buffer: Vec<u8>,
    fixed: FixedChunkPolicy,
}

/// Chunks of dumps. A dump is a run of rows of which few change, near one another: pieces a sixteenth as
/// long as those of files store the rest of fewer rows again. They share blocks, so they compress alike.
const FINE: ChunkSizes = ChunkSizes { min_bytes: 16 << 10, average_bytes: 64 << 10, max_bytes: 256 << 10 };

/// What is read at once at least.
const BUFFER_BYTES_MIN: usize = 2 << 20;

/// Images and databases are cut into fixed chunks from this length on.
const FIXED_FROM_BYTES: u64 = 1 << 20;
/// Enough of a file's beginning to recognise what it is.
const HEAD_BYTES: usize = 2048;
/// Chunks shorter than this share blocks with others; longer ones get a block of their own.
const ALONE_FROM_BYTES: usize = 256 << 10;

/// Endings of files that programs write into their middle.
const FIXED_EXTENSIONS: [&str; 24] = [
    "img", "raw", "qcow", "qcow2", "qed", "vmdk", "vhd", "vhdx", "vdi", "hdd", "dsk", "sqlite", "sqlite3",
    "db", "db3", "s3db", "ibd", "ibdata1", "mdf", "ndf", "ldf", "myd", "fdb", "dbf",
];

impl Cutter {
    pub(crate) fn new(chunker: Chunker, fixed: FixedChunkPolicy) -> Self {
        let fine = chunker.resized(FINE);
        Cutter { chunker, fine, buffer: Vec::new(), fixed }
    }

    /// How to cut a file: as before where there was a before, else by ending and contents.
    pub(super) fn choose(
        &self,
        name: &[u8],
        head: &[u8],
        size_bytes: u64,
        before: Option<Cutting>,
    ) -> Cutting {
        if self.fixed.never {
            return Cutting::ContentDefined;
        }
        if let Some(before) = before {
            return before;
        }
        let long = size_bytes >= FIXED_FROM_BYTES;
        if long && (self.has_fixed_extension(name) || has_fixed_magic(head)) {
            Cutting::Fixed
        } else {
            Cutting::ContentDefined
        }
    }

    fn has_fixed_extension(&self, name: &[u8]) -> bool {
        let Some(dot) = name.iter().rposition(|b| *b == b'.') else { return false };
        let Ok(extension) = std::str::from_utf8(&name[dot + 1..]) else { return false };
        let is = |e: &str| e.eq_ignore_ascii_case(extension);
        FIXED_EXTENSIONS.iter().any(|e| is(e)) || self.fixed.extensions.iter().any(|e| is(e))
    }

    /// Stores an open file. Returns where its contents are, its length as read, and how it was cut.
    pub(super) fn store_file(
        &mut self,
        writer: &mut Writer,
        open: &mut OpenFile,
        name: &[u8],
        before: Option<Cutting>,
        tick: &mut Tick<'_>,
    ) -> Result<(Content, u64, Cutting), Failure> {
        let size = open.stat.size_bytes;
        let ranges = if open.stat.may_have_holes() {
            data_ranges(&open.file, size)?
        } else {
            std::iter::once(0..size).collect()
        };
        let mut head = vec![0; HEAD_BYTES.min(size as usize)];
        open.file.seek(SeekFrom::Start(0))?;
        let head_len = read_full(&mut open.file, &mut head)?;
        let cutting = self.choose(name, &head[..head_len], size, before);
        let mut extents = Vec::new();
        let mut at = 0;
        for range in ranges {
            if range.start > at {
                Extent::append(&mut extents, Extent::Hole { len_bytes: range.start - at });
            }
            open.file.seek(SeekFrom::Start(range.start))?;
            let len = range.end - range.start;
            let mut limited = (&mut open.file).take(len);
            let read = self.store_stream(writer, &mut limited, range.start, cutting, &mut extents, tick)?;
            at = range.start + read;
            if read < len {
                break; // it was cut shorter while it was read; the caller notices by its status
            }
        }
        let complete = at == size || extents.is_empty();
        if at < size && (complete || tail_is_hole(&open.file, at, size)) {
            Extent::append(&mut extents, Extent::Hole { len_bytes: size - at });
            at = size;
        }
        Ok((finish_extents(writer, extents)?, at, cutting))
    }

    /// Stores everything a reader gives, appending to `extents`. Returns how many bytes that was.
    pub(crate) fn store_stream(
        &mut self,
        writer: &mut Writer,
        input: &mut dyn Read,
        offset: u64,
        cutting: Cutting,
        extents: &mut Vec<Extent>,
        tick: &mut Tick<'_>,
    ) -> Result<u64, Failure> {
        self.cut_stream(input, offset, cutting, tick, &mut |chunk| {
            let id = store_chunk(writer, chunk)?;
            Extent::append(extents, Extent::Data { id, len_bytes: chunk.len() as u32, repeat: 1 });
            Ok(())
        })
    }

    /// Cuts everything a reader gives, which begins at `offset` of its file.
    pub(crate) fn cut_stream(
        &mut self,
        input: &mut dyn Read,
        offset: u64,
        cutting: Cutting,
        tick: &mut Tick<'_>,
        take: &mut dyn FnMut(&[u8]) -> RepoResult<()>,
    ) -> Result<u64, Failure> {
        let longest = match cutting {
            Cutting::ContentDefined => self.chunker.sizes().max_bytes,
            Cutting::Fine => FINE.max_bytes,
            Cutting::Fixed => FIXED_CHUNK_BYTES,
        };
        let (mut start, mut end, mut total, mut ended) = (0, 0, 0u64, false);
        // Of each filling up to `longest` is moved to the front: the shorter the chunks, the smaller that part.
        self.buffer.resize((2 * longest).max(BUFFER_BYTES_MIN), 0);
        loop {
            if end - start < longest && !ended {
                self.buffer.copy_within(start..end, 0);
                end -= start;
                start = 0;
                let read = read_full(input, &mut self.buffer[end..])?;
                ended = end + read < self.buffer.len();
                end += read;
                if tick(read as u64) {
                    return Err(Failure::Source(io::Error::from(io::ErrorKind::Interrupted)));
                }
            }
            if start == end {
                return Ok(total);
            }
            let waiting = &self.buffer[start..end];
            let len = match cutting {
                Cutting::ContentDefined => self.chunker.cut(waiting),
                Cutting::Fine => self.fine.cut(waiting),
                Cutting::Fixed => {
                    let grid = FIXED_CHUNK_BYTES - ((offset + total) % FIXED_CHUNK_BYTES as u64) as usize;
                    grid.min(waiting.len())
                }
            };
            take(&waiting[..len])?;
            start += len;
            total += len as u64;
        }
    }
}

/// Whether everything from `at` on is a hole: then the data ranges simply ended.
fn tail_is_hole(file: &std::fs::File, at: u64, size: u64) -> bool {
    data_ranges(file, size).is_ok_and(|ranges| ranges.iter().all(|r| r.end <= at))
}

fn store_chunk(writer: &mut Writer, bytes: &[u8]) -> RepoResult<BlobId> {
    let keys = writer.reader().repo().keys();
    let id = keys.blob_id(BlobKind::Data, bytes).map_err(|e| RepoError::Local(e.to_string()))?;
    if bytes.len() >= ALONE_FROM_BYTES {
        writer.put_alone(BlobKind::Data, &id, bytes)?;
    } else {
        writer.put(BlobKind::Data, &id, bytes)?;
    }
    Ok(id)
}

/// Few extents stand in the entry, many in nodes of their own.
pub(crate) fn finish_extents(writer: &mut Writer, extents: Vec<Extent>) -> RepoResult<Content> {
    if extents.is_empty() {
        return Ok(Content::None);
    }
    if extents.len() <= EXTENTS_INLINE_MAX {
        return Ok(Content::Extents(extents));
    }
    let root = build_extents(&extents, &mut |node| writer.put_node(node))?;
    Ok(Content::ExtentTree { id: root.id, level: root.level })
}

/// Reads until the buffer is full or the input ends.
pub(crate) fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Disk images and databases by their first bytes.
fn has_fixed_magic(head: &[u8]) -> bool {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    at(0, b"SQLite format 3\0")
        || at(0, b"QFI\xfb")
        || at(0, b"KDMV")
        || at(0, b"vhdxfile")
        || at(0, b"conectix")
        || at(0x40, b"\x7f\x10\xda\xbe")
        || at(0x438, b"\x53\xef")
        || at(0, b"XFSB")
        || (at(510, b"\x55\xaa") && at(0x200, b"EFI PART"))
}

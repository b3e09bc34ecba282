//! Comparing files with what a snapshot says their contents are, by the ids of their pieces.

use super::Context;
use super::tell::add;
use super::window::Task;
use format::id::{BlobId, BlobKind};
use format::tree::{Content, Entry, Extent, ExtentChild, ExtentNode};
use host::read::data_ranges;
use repo::{RepoError, RepoResult};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes read at once where no id is to be recomputed.
const READ_BYTES: u64 = 1 << 20;

/// Compares; keeps its buffer.
pub(super) struct Contents<'c> {
    ctx: &'c Context<'c>,
    buffer: Vec<u8>,
}

impl<'c> Contents<'c> {
    pub(super) fn new(ctx: &'c Context<'c>) -> Self {
        Contents { ctx, buffer: Vec::new() }
    }

    /// Whether a range of a file is this blob. Fails when everything is to end.
    pub(super) fn is_blob(&mut self, file: &File, at: u64, len: u32, id: &BlobId) -> io::Result<bool> {
        if !self.ctx.tell.goes_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.buffer.resize(len as usize, 0);
        match file.read_exact_at(&mut self.buffer, at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
        let keys = self.ctx.reader.repo().keys();
        let found = keys.blob_id(BlobKind::Data, &self.buffer).map_err(io::Error::other)?;
        Ok(found == *id)
    }

    /// Whether a file holds what the entry says.
    pub(super) fn are_equal(&mut self, file: &File, entry: &Entry) -> RepoResult<io::Result<bool>> {
        match file.metadata() {
            Ok(found) if found.len() == entry.size_bytes => {}
            Ok(_) => return Ok(Ok(false)),
            Err(e) => return Ok(Err(e)),
        }
        let mut at = 0;
        let mut extents = ExtentWalk::new(self.ctx, entry);
        while let Some(step) = extents.next_step() {
            let equal = match step {
                Step::Lost { error, .. } => return Err(error),
                Step::Extent(Extent::Hole { len_bytes }) => {
                    let end = at + len_bytes;
                    let from = std::mem::replace(&mut at, end);
                    self.reads_as_zeros(file, from..end)
                }
                Step::Extent(Extent::Data { id, len_bytes, repeat }) => {
                    self.are_blobs(file, &mut at, len_bytes, repeat, &id)
                }
            };
            match equal {
                Ok(true) => {}
                other => return Ok(other),
            }
        }
        Ok(Ok(at == entry.size_bytes))
    }

    fn are_blobs(
        &mut self,
        file: &File,
        at: &mut u64,
        len: u32,
        repeat: u32,
        id: &BlobId,
    ) -> io::Result<bool> {
        for _ in 0..repeat {
            if !self.is_blob(file, *at, len, id)? {
                return Ok(false);
            }
            *at += len as u64;
        }
        Ok(true)
    }

    fn reads_as_zeros(&mut self, file: &File, range: Range<u64>) -> io::Result<bool> {
        for data in data_ranges(file, range.end)? {
            let mut at = data.start.max(range.start);
            while at < data.end {
                let n = (data.end - at).min(READ_BYTES);
                self.buffer.resize(n as usize, 0);
                file.read_exact_at(&mut self.buffer, at)?;
                if self.buffer.iter().any(|byte| *byte != 0) {
                    return Ok(false);
                }
                at += n;
            }
        }
        Ok(true)
    }

    /// Reads back a file that was restored, and tells if it is not what it must be.
    pub(super) fn verify(&mut self, task: &Task, file: &File) {
        let tell = &self.ctx.tell;
        match self.are_equal(file, &task.entry) {
            _ if tell.stopped() => {}
            Ok(Ok(true)) => add(&tell.sums.files_verified, 1),
            Ok(Ok(false)) => {
                let text = "what was read back is not what was restored".into();
                tell.problem(task.path(), "verify", text, 0);
            }
            Ok(Err(e)) => tell.io_problem(task.path(), "verify", &e),
            Err(e) => tell.damage(task.path(), "verify", &e),
        }
    }
}

/// What stands next in a file.
pub(super) enum Step {
    Extent(Extent),
    /// A part of the list cannot be read; it covers this many bytes.
    Lost {
        file_bytes: u64,
        error: RepoError,
    },
}

/// The extents of a file in order, however many: only a path of nodes is in memory.
pub(super) struct ExtentWalk<'c> {
    ctx: &'c Context<'c>,
    /// Extents of the node being read, the next one last.
    waiting: Vec<Extent>,
    /// Nodes not read yet, the next one last.
    nodes: Vec<(u8, ExtentChild)>,
}

impl<'c> ExtentWalk<'c> {
    pub(super) fn new(ctx: &'c Context<'c>, entry: &Entry) -> Self {
        let mut walk = ExtentWalk { ctx, waiting: Vec::new(), nodes: Vec::new() };
        match &entry.content {
            Content::None => {}
            Content::Whole(id) => {
                let len_bytes = entry.size_bytes.min(u32::MAX as u64) as u32;
                walk.waiting.push(Extent::Data { id: *id, len_bytes, repeat: 1 });
            }
            Content::Extents(list) => walk.waiting.extend(list.iter().rev()),
            Content::ExtentTree { id, level } => {
                walk.nodes.push((*level, ExtentChild { id: *id, file_bytes: entry.size_bytes }));
            }
        }
        walk
    }

    pub(super) fn next_step(&mut self) -> Option<Step> {
        loop {
            if let Some(extent) = self.waiting.pop() {
                return Some(Step::Extent(extent));
            }
            let (level, node) = self.nodes.pop()?;
            match (self.read_node(&node.id), level) {
                (Ok(ExtentNode::Extents(list)), 0) => self.waiting.extend(list.iter().rev()),
                (Ok(ExtentNode::Children { level: found, children }), level) if found == level => {
                    self.nodes.extend(children.iter().rev().map(|child| (level - 1, *child)));
                }
                (Ok(_), _) => {
                    let why = "a node of another level";
                    let source = format::FormatError::Corrupt { what: "extent list", why };
                    let error = RepoError::Object { name: "extent list".into(), source };
                    return Some(Step::Lost { file_bytes: node.file_bytes, error });
                }
                (Err(error), _) => return Some(Step::Lost { file_bytes: node.file_bytes, error }),
            }
        }
    }

    fn read_node(&self, id: &BlobId) -> RepoResult<ExtentNode> {
        let bytes = self.ctx.reader.read(BlobKind::Tree, id)?;
        ExtentNode::decode(&bytes).map_err(|source| RepoError::Object { name: "extent list".into(), source })
    }
}

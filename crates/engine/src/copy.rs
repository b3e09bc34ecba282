//! Copying a snapshot into a repository of another family: everything is read, and cut and sealed anew.
//!
//! With other keys the same bytes have other ids and other places to be cut at, so a copy is written as a backup
//! of the files would be: what the target has from its own backups is not stored again. The tree keeps every
//! path and attribute; the record keeps machine, sources, times, tags and sums, and gets an id of its own. An
//! owner copies on purpose, so the copy is confirmed: its place in retention is the time it claims.

mod forecast;

pub use forecast::Forecast;

use crate::backup::FixedChunkPolicy;
use crate::backup::large::{Cutter, Cutting, Failure, finish_extents};
use crate::monitor::{Monitor, Phase, Progress};
use format::chunk::Chunker;
use format::id::{BlobId, BlobKind, FamilyId, WriterId};
use format::keep::Trust;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use format::tree::{Class, Content, Entry, Extent, KeyPath, Marks, Root, TreeBuilder, TreeSink, Xattrs};
use repo::browse::{Leaves, PlacedLeaf, visit_pieces};
use repo::erasures::Erased;
use repo::index::PackListing;
use repo::reader::{Blob, Reader};
use repo::seed::Seed;
use repo::snapshots::SnapshotList;
use repo::writer::publish::Published;
use repo::writer::{Writer, WriterOptions, Written};
use repo::{RepoError, RepoResult, trust};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What became of a copy.
#[derive(Clone, Debug)]
pub enum Copied {
    /// It is there now.
    Made(Box<Snapshot>, Written),
    /// It was there already.
    Present(Box<Snapshot>),
}

/// Another machine's prune may take away what was relied on; so often the copy is written again.
const TRIES: usize = 3;

/// Copies a snapshot into a repository with other keys. `seed` is for ids and salts, `now` shown in the
/// confirmation.
pub fn copy_anew(
    source: &Arc<Reader>,
    target: &Arc<Reader>,
    snapshot: &Snapshot,
    options: WriterOptions,
    mut seed: Seed,
    now: Timestamp,
    monitor: &dyn Monitor,
) -> RepoResult<Copied> {
    let list = SnapshotList::read(target.repo())?;
    let writer_id = writer_of_copies(&snapshot.writer, &source.repo().identity().family);
    let snapshot = &Snapshot { writer: writer_id, ..snapshot.clone() };
    if let Some(same) = list.snapshots.iter().map(|s| &s.snapshot).find(|s| is_copy(s, snapshot)) {
        return Ok(Copied::Present(Box::new(same.clone())));
    }
    for _ in 0..TRIES {
        let listing = PackListing::read(target.repo())?;
        let mut writer = Writer::start(target.clone(), &listing, Seed::new(seed.draw()), now, options);
        drop(listing);
        let copied = Copier::new(source, target, snapshot, &mut writer, monitor)?.run();
        let root = copied.inspect_err(|_| _ = writer.abandon())?;
        if writer.prepare(root, None, false)? {
            let mut record =
                Snapshot { id: writer.session(), root, base: None, parent: None, ..snapshot.clone() };
            record.stats.stored_bytes = writer.written().stored_bytes;
            record.stats.added_bytes = writer.written().added_bytes;
            if let Published::Done { record_hash } = writer.commit(&record)? {
                let word =
                    Trust { snapshot: record.id, record: record_hash, time: true, contents: true, made: now };
                trust::confirm(target.repo(), &word, &mut seed)?;
                return Ok(Copied::Made(Box::new(record), writer.written()));
            }
        }
        writer.abandon()?;
    }
    Err(RepoError::Overtaken)
}

/// Copies have a writer of their own: the one that made the snapshots may write to the target, too, and counts
/// what it writes there by itself.
fn writer_of_copies(writer: &WriterId, family: &FamilyId) -> WriterId {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 writer of copies");
    hasher.update(&family.0).update(&writer.0);
    WriterId(hasher.finalize().as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
}

/// Whether one record tells of the other's run.
fn is_copy(a: &Snapshot, b: &Snapshot) -> bool {
    (a.writer, a.sequence, a.time, a.end) == (b.writer, b.sequence, b.time, b.end)
        && (&a.host, &a.sources, &a.tags) == (&b.host, &b.sources, &b.tags)
}

struct Nodes<'w>(&'w mut Writer);

impl TreeSink for Nodes<'_> {
    type Error = RepoError;
    fn put_node(&mut self, node: &[u8]) -> RepoResult<BlobId> {
        self.0.put_node(node)
    }
}

struct Copier<'c> {
    source: &'c Reader,
    target: &'c Reader,
    snapshot: &'c Snapshot,
    writer: &'c mut Writer,
    cutter: Cutter,
    builder: TreeBuilder,
    /// The groups of hard links, which are named by a keyed hash of their first path.
    links: HashMap<[u8; 8], [u8; 8]>,
    /// What was erased from the snapshot stays away from the copy.
    erased: Erased,
    monitor: &'c dyn Monitor,
    progress: Progress,
}

impl<'c> Copier<'c> {
    fn new(
        source: &'c Reader,
        target: &'c Reader,
        snapshot: &'c Snapshot,
        writer: &'c mut Writer,
        monitor: &'c dyn Monitor,
    ) -> RepoResult<Self> {
        let keys = target.repo().keys();
        let key = keys.chunking().map_err(|e| RepoError::Local(e.to_string()))?;
        let chunker = Chunker::new(key, target.repo().parameters().chunks);
        let stats = &snapshot.stats;
        let progress = Progress {
            phase: Phase::Work,
            files_done: 0,
            bytes_done: 0,
            files_total: stats.files_new + stats.files_changed + stats.files_unmodified,
            bytes_total: stats.source_bytes,
            bytes_stored: 0,
            problems: 0,
            current: Vec::new(),
        };
        Ok(Copier {
            cutter: Cutter::new(chunker, FixedChunkPolicy::default()),
            builder: TreeBuilder::new(keys.boundaries()),
            links: HashMap::new(),
            erased: Erased::of(source.repo(), snapshot)?,
            source,
            target,
            snapshot,
            writer,
            monitor,
            progress,
        })
    }

    fn run(mut self) -> RepoResult<Root> {
        let mut leaves = Leaves::from_key(self.source, self.snapshot.root, &[])?;
        while let Some(PlacedLeaf { leaf, .. }) = leaves.next_leaf()? {
            for i in 0..leaf.len() {
                if self.monitor.cancelled() {
                    return Err(RepoError::Local(crate::backup::CANCELLED.into()));
                }
                if self.is_erased(leaf.key(i)) {
                    continue;
                }
                let entry = self.entry(leaf.key(i), &leaf.entries[i])?;
                self.builder.push(leaf.key(i), &entry, &mut Nodes(self.writer))?;
                self.progress.files_done += 1;
                self.progress.bytes_done += entry.size_bytes;
                self.progress.bytes_stored = self.writer.written().stored_bytes;
                self.monitor.progress(&self.progress);
            }
        }
        let root = self.builder.finish(&mut Nodes(self.writer))?;
        root.ok_or_else(|| RepoError::Local("there is nothing in the snapshot".into()))
    }

    fn is_erased(&self, key: &[u8]) -> bool {
        !self.erased.is_empty()
            && KeyPath::parse(key)
                .is_ok_and(|path| self.erased.covers(&path.components().collect::<Vec<_>>()))
    }

    fn entry(&mut self, key: &[u8], old: &Entry) -> RepoResult<Entry> {
        let content = self.content(old)?;
        let link_group = old.link_group.map(|group| self.link_group(group, key));
        Ok(Entry { class: self.class(&old.class)?, link_group, content, ..old.clone() })
    }

    fn link_group(&mut self, old: [u8; 8], key: &[u8]) -> [u8; 8] {
        let keys = self.target.repo().keys();
        *self.links.entry(old).or_insert_with(|| crate::backup::link_group_of(keys, key))
    }

    /// Attributes too long for the leaf are a node of their own.
    fn class(&mut self, old: &Arc<Class>) -> RepoResult<Arc<Class>> {
        let Xattrs::Blob(id) = &old.xattrs else { return Ok(old.clone()) };
        let bytes = self.source.read(BlobKind::Tree, id)?;
        let id = self.writer.put_node(&bytes)?;
        Ok(Arc::new(Class { xattrs: Xattrs::Blob(id), ..(**old).clone() }))
    }

    fn content(&mut self, old: &Entry) -> RepoResult<Content> {
        match &old.content {
            Content::None => Ok(Content::None),
            Content::Whole(id) if old.size_bytes <= self.target.repo().parameters().whole_file_bytes_max => {
                let bytes = self.source.read(BlobKind::Data, id)?;
                let keys = self.target.repo().keys();
                let id = keys.blob_id(BlobKind::Data, &bytes).map_err(|e| RepoError::Local(e.to_string()))?;
                self.writer.put(BlobKind::Data, &id, &bytes)?;
                Ok(Content::Whole(id))
            }
            _ => self.long(old),
        }
    }

    /// Between holes the contents are one stream, which is cut anew.
    fn long(&mut self, old: &Entry) -> RepoResult<Content> {
        let cutting = match old.marks.has(Marks::FIXED_CHUNKS) {
            true => Cutting::Fixed,
            false => Cutting::ContentDefined,
        };
        let mut pieces: VecDeque<Extent> = VecDeque::new();
        visit_pieces(self.source, old, &mut |extent| {
            pieces.push_back(*extent);
            Ok(ControlFlow::Continue(()))
        })?;
        let (mut extents, mut at) = (Vec::new(), 0u64);
        while let Some(first) = pieces.front().copied() {
            if let Extent::Hole { len_bytes } = first {
                Extent::append(&mut extents, first);
                at += len_bytes;
                pieces.pop_front();
                continue;
            }
            let mut stream = Pieces { source: self.source, rest: &mut pieces, open: None, failure: None };
            let stored =
                self.cutter.store_stream(self.writer, &mut stream, at, cutting, &mut extents, &mut |_| false);
            match (stored, stream.failure) {
                (_, Some(e)) | (Err(Failure::Repo(e)), _) => return Err(e),
                (Err(Failure::Source(e)), _) => return Err(RepoError::Local(e.to_string())),
                (Ok(len), None) => at += len,
            }
        }
        if at != old.size_bytes {
            return Err(RepoError::Local("the pieces of a file are not as long as the file".into()));
        }
        finish_extents(self.writer, extents)
    }
}

/// The pieces of a file up to the next hole, as a stream.
struct Pieces<'p> {
    source: &'p Reader,
    rest: &'p mut VecDeque<Extent>,
    /// The piece that is being read, how much of it was, and how often it comes again.
    open: Option<(Blob, usize, u32)>,
    failure: Option<RepoError>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((blob, at, again)) = &mut self.open {
                if *at < blob.len() {
                    let n = buffer.len().min(blob.len() - *at);
                    buffer[..n].copy_from_slice(&blob[*at..*at + n]);
                    *at += n;
                    return Ok(n);
                }
                if *again > 0 {
                    (*at, *again) = (0, *again - 1);
                    continue;
                }
                self.open = None;
            }
            let Some(Extent::Data { id, repeat, .. }) = self.rest.front().copied() else { return Ok(0) };
            self.rest.pop_front();
            match self.source.read(BlobKind::Data, &id) {
                Ok(blob) => self.open = Some((blob, 0, repeat.saturating_sub(1))),
                Err(e) => {
                    let told = io::Error::other(e.to_string());
                    self.failure = Some(e);
                    return Err(told);
                }
            }
        }
    }
}

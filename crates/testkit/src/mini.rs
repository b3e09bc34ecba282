//! The smallest backup and restore there can be: a map goes in, a map comes out.
//!
//! Uses the repository as the real engine does (leaves of the parent are taken over unread, long files
//! are cut into pieces), without a file system and in a few lines that can be checked by reading.

use crate::files::Files;
use format::codec::Level;
use format::id::{BlobId, BlobKind, SnapshotId, WriterId};
use format::kind::{Kind, Timestamp};
use format::snapshot::{Completeness, Mode, Snapshot, Stats};
use format::tree::{
    Class, Content, Entry, Extent, KeptLeaf, KeyPath, Marks, Owner, PathKey, Root, TreeBuilder, TreeSink,
    Xattrs, build_extents,
};
use repo::browse::{self, Leaves};
use repo::index::PackListing;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use repo::writer::publish::Published;
use repo::writer::{Writer, WriterOptions, Written};
use repo::{RepoError, RepoResult};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Longer files are cut into pieces of this length.
pub const PIECE_BYTES: usize = 1000;

/// How a map is backed up.
#[derive(Clone)]
pub struct Backup<'a> {
    /// The session's randomness.
    pub seed: u64,
    /// Threads of each stage.
    pub workers: Workers,
    /// The snapshot whose leaves are taken over.
    pub parent: Option<&'a Snapshot>,
    /// Whether every blob is looked up again before the snapshot is published.
    pub thorough: bool,
    /// A checkpoint after every so many files; 0 for none.
    pub checkpoint_files: usize,
    /// A segment after so many packs.
    pub segment_packs: usize,
}

impl Backup<'_> {
    /// A plain backup on one thread.
    pub fn new(seed: u64) -> Self {
        Backup {
            seed,
            workers: Workers(0),
            parent: None,
            thorough: false,
            checkpoint_files: 0,
            segment_packs: 8,
        }
    }
}

/// What a backup came to.
#[derive(Clone, Debug)]
pub struct Done {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What was written for it.
    pub written: Written,
}

/// Backs up a map. Starts over without the parent when that is asked for.
pub fn backup(reader: &Arc<Reader>, files: &Files, options: &Backup<'_>) -> RepoResult<Done> {
    let mut options = options.clone();
    for _ in 0..3 {
        let mut writer = start(reader, &options)?;
        let root = write_tree(reader, &mut writer, files, &options)?;
        let parent = options.parent.map(|p| p.id);
        if writer.prepare(root, parent.as_ref(), options.thorough)? {
            let snapshot = record(&writer, root, options.parent);
            match writer.commit(&snapshot)? {
                Published::Done { .. } => return Ok(Done { snapshot, written: writer.written() }),
                Published::Overtaken => {}
            }
        }
        writer.abandon()?;
        options.parent = None;
        options.seed += 1 << 32;
    }
    Err(RepoError::Overtaken)
}

/// Starts the session of a backup.
pub fn start(reader: &Arc<Reader>, options: &Backup<'_>) -> RepoResult<Writer> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&options.seed.to_le_bytes());
    let listing = PackListing::read(reader.repo())?;
    let writer_options = WriterOptions {
        seal_workers: options.workers,
        upload_workers: options.workers,
        level: Level(1),
        segment_packs: options.segment_packs,
        ..WriterOptions::default()
    };
    Ok(Writer::start(reader.clone(), &listing, Seed::new(seed), Timestamp::default(), writer_options))
}

struct Sink<'w>(&'w mut Writer);

impl TreeSink for Sink<'_> {
    type Error = RepoError;
    fn put_node(&mut self, node: &[u8]) -> RepoResult<BlobId> {
        self.0.put_node(node)
    }
}

/// Stores contents and tree of a map and returns the root.
pub fn write_tree(
    reader: &Arc<Reader>,
    writer: &mut Writer,
    files: &Files,
    options: &Backup<'_>,
) -> RepoResult<Root> {
    let mut known = match options.parent {
        Some(parent) => kept_entries(reader, parent.root)?,
        None => BTreeMap::new(),
    };
    let mut builder = TreeBuilder::new(reader.repo().keys().boundaries());
    for (n, (key, bytes)) in by_key(files).into_iter().enumerate() {
        let times = times_of(bytes);
        match known.remove(&key) {
            Some((leaf, i)) if leaf.leaf.entries[i].mtime == times => {
                builder.keep(&leaf, i, &mut Sink(writer))?;
            }
            _ => {
                let entry = entry(writer, bytes)?;
                builder.push(&key, &entry, &mut Sink(writer))?;
            }
        }
        if options.checkpoint_files > 0 && n % options.checkpoint_files == options.checkpoint_files - 1 {
            writer.checkpoint()?;
        }
    }
    let root = builder.finish(&mut Sink(writer))?;
    root.ok_or_else(|| RepoError::Local("an empty map has no tree".into()))
}

/// Files in the order of their keys.
pub fn by_key(files: &Files) -> BTreeMap<Vec<u8>, &Vec<u8>> {
    files.iter().map(|(path, bytes)| (key_of(path), bytes)).collect()
}

/// The key of a path below `/`.
pub fn key_of(path: &str) -> Vec<u8> {
    let components: Vec<&str> = std::iter::once("/").chain(path.split('/')).collect();
    PathKey::of(&components)
}

/// Entries of the parent that may be taken over.
pub type KeptEntries = BTreeMap<Vec<u8>, (Arc<KeptLeaf>, usize)>;

/// Reads all leaves of a tree.
pub fn kept_entries(reader: &Reader, root: Root) -> RepoResult<KeptEntries> {
    let mut leaves = Leaves::from_key(reader, root, b"")?;
    let mut known = BTreeMap::new();
    while let Some(placed) = leaves.next_leaf()? {
        let kept = Arc::new(KeptLeaf { leaf: placed.leaf, child: placed.child, is_last: placed.is_last });
        for i in 0..kept.leaf.len() {
            known.insert(kept.leaf.key(i).to_vec(), (kept.clone(), i));
        }
    }
    Ok(known)
}

/// A modification time that stands for the contents: equal times mean equal bytes.
fn times_of(bytes: &[u8]) -> Timestamp {
    let id = format::keys::blob_id_with(&format::keys::Key::new([0; 32]), bytes);
    Timestamp { secs: i32::from_le_bytes(id.0[..4].try_into().expect("four bytes")) as i64, nanos: 0 }
}

fn entry(writer: &mut Writer, bytes: &[u8]) -> RepoResult<Entry> {
    let class = Class {
        kind: Kind::File,
        mode: 0o644,
        owner: Owner::default(),
        flags: 0,
        project: 0,
        mount: 0,
        xattrs: Xattrs::None,
    };
    Ok(Entry {
        class: Arc::new(class),
        mtime: times_of(bytes),
        ctime: times_of(bytes),
        inode: 1,
        size_bytes: bytes.len() as u64,
        link_group: None,
        rdev: 0,
        target: Box::default(),
        content: content(writer, bytes)?,
        marks: Marks::default(),
    })
}

fn content(writer: &mut Writer, bytes: &[u8]) -> RepoResult<Content> {
    if bytes.is_empty() {
        return Ok(Content::None);
    }
    if bytes.len() <= PIECE_BYTES {
        return Ok(Content::Whole(put(writer, bytes)?));
    }
    let mut extents: Vec<Extent> = Vec::new();
    for piece in bytes.chunks(PIECE_BYTES) {
        let (id, len_bytes) = (put(writer, piece)?, piece.len() as u32);
        match extents.last_mut() {
            Some(Extent::Data { id: last, len_bytes: len, repeat }) if *last == id && *len == len_bytes => {
                *repeat += 1;
            }
            _ => extents.push(Extent::Data { id, len_bytes, repeat: 1 }),
        }
    }
    if extents.len() <= format::limits::EXTENTS_INLINE_MAX {
        return Ok(Content::Extents(extents));
    }
    let root = build_extents(&extents, &mut |node| writer.put_node(node))?;
    Ok(Content::ExtentTree { id: root.id, level: root.level })
}

fn put(writer: &mut Writer, bytes: &[u8]) -> RepoResult<BlobId> {
    let keys = writer.reader().repo().keys().clone();
    let id = keys.blob_id(BlobKind::Data, bytes).map_err(|e| RepoError::SelfTest(e.to_string()))?;
    writer.put(BlobKind::Data, &id, bytes)?;
    Ok(id)
}

/// The record of a prepared session.
pub fn record(writer: &Writer, root: Root, parent: Option<&Snapshot>) -> Snapshot {
    Snapshot {
        id: writer.session(),
        writer: WriterId([1; 16]),
        sequence: parent.map_or(1, |p| p.sequence + 1),
        previous: [0; 32],
        root,
        time: Timestamp { secs: parent.map_or(1, |p| p.time.secs + 1), nanos: 0 },
        end: Timestamp::default(),
        host: "h".into(),
        user: "u".into(),
        sources: vec![b"/".to_vec()],
        tags: Vec::new(),
        mode: Mode::Full,
        base: None,
        parent: parent.map(|p| p.id),
        completeness: Completeness::Complete,
        stats: Stats::default(),
        program: "test".into(),
        excludes: Vec::new(),
        mounts: Vec::new(),
        description: String::new(),
    }
}

/// The id of the snapshot that this seed makes, if it is its first try.
pub fn session_of(seed: u64) -> SnapshotId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    SnapshotId(Seed::new(bytes).draw())
}

/// Reads everything a tree holds; the first file that cannot be read ends it.
pub fn restore(reader: &Reader, root: Root) -> RepoResult<Files> {
    let (files, lost) = restore_what_can_be(reader, root)?;
    match lost.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(files),
    }
}

/// Files that could be read, and those that could not.
pub type Restored = (Files, Vec<(String, RepoError)>);

/// Reads what can be read of a tree whose nodes can be.
pub fn restore_what_can_be(reader: &Reader, root: Root) -> RepoResult<Restored> {
    let (mut files, mut lost) = (Files::new(), Vec::new());
    browse::visit_range(reader, root, b"", &mut |key, entry| {
        let path = path_of(key);
        match read_file(reader, entry) {
            Ok(bytes) => _ = files.insert(path, bytes),
            Err(error) => lost.push((path, error)),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((files, lost))
}

fn path_of(key: &[u8]) -> String {
    let path = KeyPath::parse(key).expect("the test made this key").display_bytes();
    String::from_utf8(path).expect("the test's names are text").trim_start_matches('/').to_string()
}

/// Reads the contents of an entry.
pub fn read_file(reader: &Reader, entry: &Entry) -> RepoResult<Vec<u8>> {
    let mut bytes = Vec::new();
    for extent in browse::extents(reader, entry)? {
        match extent {
            Extent::Data { id, repeat, .. } => {
                let blob = reader.read(BlobKind::Data, &id)?;
                (0..repeat).for_each(|_| bytes.extend_from_slice(&blob));
            }
            Extent::Hole { len_bytes } => bytes.resize(bytes.len() + len_bytes as usize, 0),
        }
    }
    assert_eq!(bytes.len() as u64, entry.size_bytes, "the pieces cover the file");
    Ok(bytes)
}

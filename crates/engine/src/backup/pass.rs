//! One pass over the source: walk, compare with the parent, read what is new, build the tree.
//!
//! A single thread, the conductor, decides everything and in key order; threads only list and read ahead.
//! So the tree, the blocks and the packs are the same however many threads there are.

mod compare;
mod produced;

use super::entries::{Entries, fault_entry};
use super::large::{Cutter, Cutting, Failure, finish_extents};
use super::live::Differences;
use super::parent::{Known, ParentCursor, unchanged};
use super::read_ahead::ReadAhead;
use super::reading::{Body, Buffers, ReadBatch, ReadEntry, batch_reader};
use super::signs::Signs;
use super::tell::Teller;
use super::{BackupRequest, Source};
use crate::monitor::{Action, Phase};
use format::chunk::Chunker;
use format::id::{BlobId, BlobKind};
use format::kind::{Kind, Timestamp};
use format::snapshot::{Mode, Stats};
use format::tree::{Content, Marks, PathKey, Root, TreeBuilder, TreeSink};
use host::produce::Producer;
use host::stat::same_version;
use host::{Directory, Listing, NotEntered, Stat, Walk};
use produced::Made;
use repo::reader::Reader;
use repo::writer::Writer;
use repo::{RepoError, RepoResult};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of small files that one reading job takes.
const BATCH_BYTES: u64 = 1 << 20;
/// Entries that one reading job takes.
const BATCH_ENTRIES: usize = 128;
/// Decided entries that may wait behind one that is still being read.
const WAITING_MAX: usize = 8 << 10;

/// What a pass made.
pub(super) struct Passed {
    pub(super) root: Root,
    pub(super) stats: Stats,
    pub(super) signs: Signs,
    pub(super) mounts: Vec<Vec<u8>>,
    pub(super) missing: Vec<(PathBuf, String)>,
    /// Whether leaves or entries were taken over from the parent.
    pub(super) inherited: bool,
    /// Whether anything differs from the parent.
    pub(super) changed: bool,
}

/// Nodes go to the writer.
struct Nodes<'w>(&'w mut Writer);

impl TreeSink for Nodes<'_> {
    type Error = RepoError;
    fn put_node(&mut self, node: &[u8]) -> RepoResult<BlobId> {
        self.0.put_node(node)
    }
}

/// A decided entry, in key order.
enum Item {
    /// As the parent has it.
    Keep { known: Known, stat: Stat },
    /// The next of the entries that are being read. A folder that only leads to a source is on the way.
    Read { key: Vec<u8>, known: Option<Known>, on_the_way: bool },
    /// Ready.
    Fault { key: Vec<u8>, text: String },
    /// Ready, its contents stored.
    Made(Box<Made>),
    /// The parent has it, and the walk passed over it; only where differences are told.
    Gone { known: Known },
}

pub(super) struct Pass<'a> {
    reader: &'a Reader,
    writer: &'a mut Writer,
    request: &'a mut BackupRequest,
    teller: &'a mut Teller<'a>,
    builder: TreeBuilder,
    entries: Entries,
    cutter: Cutter,
    items: VecDeque<Item>,
    reading: ReadAhead,
    buffers: Buffers,
    batch: Option<ReadBatch>,
    /// The batch whose results are being used.
    done: Option<(Vec<u8>, VecDeque<ReadEntry>)>,
    stats: Stats,
    signs: Signs,
    /// When the parent began; `None` when its metadata is not trusted.
    trusted_since: Option<Timestamp>,
    changed: bool,
    /// Whether an entry was taken over unread: its contents are looked up by nobody before the run is published,
    /// whether its leaf is taken over or made anew.
    keeps_any: bool,
    /// Paths of the sources themselves.
    ends: HashSet<Vec<u8>>,
    /// Who is told what differs; then nothing is to be published.
    differences: Option<Differences<'a>>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        writer: &'a mut Writer,
        request: &'a mut BackupRequest,
        teller: &'a mut Teller<'a>,
    ) -> RepoResult<Self> {
        let repo = reader.repo();
        let key = repo.keys().chunking().map_err(|e| RepoError::Local(e.to_string()))?;
        let chunker = Chunker::new(key, repo.parameters().chunks);
        let buffers = Buffers::default();
        let whole_max = repo.parameters().whole_file_bytes_max;
        let (keys, spare) = (repo.keys().clone(), buffers.clone());
        let make = move || batch_reader(keys.clone(), whole_max, spare.clone());
        let trusts = request.mode != Mode::Full;
        // A claimed time later than the run's own end says nothing about when it really began.
        let parent = request.parent.as_ref().filter(|p| trusts && p.time <= p.end);
        let trusted_since = parent.map(|p| p.time);
        let mounts = request.parent.as_ref().map(|p| p.mounts.clone()).unwrap_or_default();
        Ok(Pass {
            reading: ReadAhead::new(request, make),
            builder: TreeBuilder::new(repo.keys().boundaries()),
            entries: Entries::new(mounts),
            cutter: Cutter::new(chunker, request.fixed_chunks.clone()),
            items: VecDeque::new(),
            buffers,
            batch: None,
            done: None,
            stats: Stats::default(),
            signs: Signs::default(),
            trusted_since,
            changed: request.parent.is_none(),
            keeps_any: false,
            ends: HashSet::new(),
            differences: None,
            reader,
            writer,
            request,
            teller,
        })
    }

    /// Runs the pass.
    pub(super) fn run(mut self) -> RepoResult<Passed> {
        let parent_root = self.request.parent.as_ref().map(|p| p.root);
        let reader = self.reader;
        let mut parent = ParentCursor::open(reader, parent_root).or_else(|e| {
            self.teller.damaged_parent(&e);
            ParentCursor::open(reader, None)
        })?;
        let missing = match std::mem::replace(&mut self.request.source, Source::Paths(Vec::new())) {
            Source::Paths(paths) => {
                let missing = self.walk(&paths, None, &mut parent)?;
                self.request.source = Source::Paths(paths);
                missing
            }
            Source::Produced { name, mut producer, paths } => {
                let missing = self.produced(&name, &mut *producer, &paths, &mut parent)?;
                self.request.source = Source::Produced { name, producer, paths };
                missing
            }
            Source::Stream { name, reader } => {
                self.stream(&name, reader)?;
                Vec::new()
            }
        };
        self.finish(parent, missing)
    }

    fn finish(mut self, mut parent: ParentCursor<'_>, missing: Vec<(PathBuf, String)>) -> RepoResult<Passed> {
        self.settle(0)?;
        parent.finish()?;
        let inherited = self.keeps_any || self.builder.leaves_reused() > 0;
        let root = self.builder.finish(&mut Nodes(self.writer))?;
        let root = root.ok_or_else(|| RepoError::Local("there is nothing to back up".into()))?;
        self.stats.faults = self.teller.problems();
        let changed = self.changed || parent.removed > 0;
        let mounts = self.entries.into_mounts();
        Ok(Passed { root, stats: self.stats, signs: self.signs, mounts, missing, inherited, changed })
    }

    /// What the source makes, and then the files beside it.
    fn produced(
        &mut self,
        name: &str,
        producer: &mut dyn Producer,
        paths: &[PathBuf],
        parent: &mut ParentCursor<'_>,
    ) -> RepoResult<Vec<(PathBuf, String)>> {
        let mut made = self.produce(name, producer)?.into_iter();
        let volume = made.next();
        let missing = if paths.is_empty() {
            self.queue_made(volume.into_iter(), parent)?;
            Vec::new()
        } else {
            self.walk(paths, volume, parent)?
        };
        self.queue_made(made, parent)?;
        Ok(missing)
    }

    /// `volume` is the entry of another volume that comes after `/` and before what is in it.
    fn walk(
        &mut self,
        paths: &[PathBuf],
        volume: Option<Made>,
        parent: &mut ParentCursor<'_>,
    ) -> RepoResult<Vec<(PathBuf, String)>> {
        let local = |e: std::io::Error| RepoError::Local(format!("cannot walk: {e}"));
        let mut options = self.request.walk.clone();
        options.report_excluded = self.teller.wants_items();
        let mut walk = Walk::start(paths, self.request.rules.clone(), options).map_err(local)?;
        let missing: Vec<_> = walk.missing().iter().map(|m| (m.path.clone(), m.error.to_string())).collect();
        if missing.len() == paths.len() && self.differences.is_none() {
            let (path, why) = missing.first().expect("there is at least one source");
            return Err(RepoError::Local(format!("cannot read {}: {why}", path.display())));
        }
        self.tell_missing(walk.missing())?;
        let (root_dir, root_stat) = (walk.root().0.clone(), *walk.root().1);
        self.ends = paths.iter().map(|p| p.as_os_str().as_encoded_bytes().to_vec()).collect();
        let on_the_way = !self.ends.contains(&b"/"[..]);
        self.decide(&root_dir, PathKey::of(&[b"/"]), b".", &root_stat, on_the_way, parent)?;
        self.queue_made(volume.into_iter(), parent)?;
        while let Some(listing) = walk.next() {
            self.listing(&listing, parent)?;
        }
        Ok(missing)
    }

    /// Decides about all entries of a directory.
    fn listing(&mut self, listing: &Listing, parent: &mut ParentCursor<'_>) -> RepoResult<()> {
        let mut prefix = b"/\0".to_vec();
        for component in listing.dir.components() {
            prefix.extend_from_slice(component);
            prefix.push(0);
        }
        self.stats.excluded += listing.excluded_count as u64;
        self.tell_listing(listing);
        if let Some(text) = fault_text(listing) {
            let key = PathKey::child(&prefix, b"");
            parent.find(&key)?;
            self.queue_gone(parent);
            self.items.push_back(Item::Fault { key, text });
        }
        let mut key = Vec::new();
        for (name, stat) in listing.iter() {
            PathKey::child_into(&prefix, name, &mut key);
            if key.len() > format::limits::KEY_BYTES_MAX {
                self.teller.path_too_long(&listing.dir, name);
                continue;
            }
            let on_the_way = listing.filtered && !self.ends.contains(&shown(&key)[..]);
            self.decide(&listing.dir, key.clone(), name, stat, on_the_way, parent)?;
        }
        self.send_batch();
        self.settle(WAITING_MAX)
    }

    /// Keeps an entry as the parent has it, or has it read.
    fn decide(
        &mut self,
        dir: &Arc<Directory>,
        key: Vec<u8>,
        name: &[u8],
        stat: &Stat,
        on_the_way: bool,
        parent: &mut ParentCursor<'_>,
    ) -> RepoResult<()> {
        let known = parent.find(&key)?;
        if let Some(differences) = &self.differences {
            let is_wanted = differences.wants(&key);
            self.queue_gone(parent);
            if !is_wanted {
                return Ok(());
            }
        }
        if let (Some(known), Some(since)) = (&known, self.trusted_since)
            && unchanged(known.entry(), stat, since, self.request.ignore_inode)
        {
            self.items.push_back(Item::Keep { known: known.clone(), stat: *stat });
            return Ok(());
        }
        self.items.push_back(Item::Read { key, known, on_the_way });
        let batch = self.batch.get_or_insert_with(|| ReadBatch::new(dir.clone()));
        batch.push(name, *stat, self.reader.repo().parameters().whole_file_bytes_max);
        if batch.entries.len() >= BATCH_ENTRIES || batch.bytes >= BATCH_BYTES {
            self.send_batch();
            self.settle(WAITING_MAX)?;
        }
        Ok(())
    }

    fn send_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.reading.give(batch);
        }
    }

    /// Puts decided entries into the tree, waiting while more than `waiting_max` of them, or too many
    /// reading jobs, are under way.
    fn settle(&mut self, waiting_max: usize) -> RepoResult<()> {
        if waiting_max == 0 {
            self.send_batch();
        }
        loop {
            let must_wait = self.items.len() > waiting_max || self.reading.is_far();
            match self.items.front() {
                None => return Ok(()),
                Some(Item::Read { .. }) if self.done.is_none() => {
                    let done = if must_wait { self.reading.take() } else { self.reading.try_take() };
                    let Some(done) = done else { return Ok(()) };
                    self.done = Some((done.buffer, done.entries.into()));
                }
                Some(_) => {}
            }
            let item = self.items.pop_front().expect("there is a front");
            self.place(item)?;
        }
    }

    fn place(&mut self, item: Item) -> RepoResult<()> {
        match item {
            Item::Keep { known, stat } => self.place_kept(&known, &stat),
            Item::Made(made) => self.place_made(*made),
            Item::Gone { known } => match &mut self.differences {
                Some(differences) => differences.gone(known.leaf.leaf.key(known.index), known.entry()),
                None => Ok(()),
            },
            Item::Fault { key, text } => {
                self.changed = true;
                self.builder.push(&key, &fault_entry(&text), &mut Nodes(self.writer))
            }
            Item::Read { key, known, on_the_way } => {
                let (buffer, mut entries) = self.done.take().expect("results are there");
                let entry = entries.pop_front().expect("each entry of a batch has a result");
                let differs = self.place_read(&key, known, entry, &buffer, on_the_way)?;
                self.changed |= differs && !on_the_way;
                if entries.is_empty() {
                    self.buffers.give_back(buffer);
                } else {
                    self.done = Some((buffer, entries));
                }
                Ok(())
            }
        }
    }

    fn place_kept(&mut self, known: &Known, stat: &Stat) -> RepoResult<()> {
        self.keeps_any = true;
        let entry = known.entry();
        self.entries.know_link(stat, entry);
        self.entries.know_mount(stat, entry);
        self.count(entry.kind(), entry.size_bytes, Action::Unchanged);
        self.teller.done(Action::Unchanged, known.leaf.leaf.key(known.index), entry.size_bytes);
        self.builder.keep(&known.leaf, known.index, &mut Nodes(self.writer))
    }

    /// Stores what was read and puts the entry into the tree. Says whether it differs from the parent's.
    fn place_read(
        &mut self,
        key: &[u8],
        known: Option<Known>,
        read: ReadEntry,
        buffer: &[u8],
        on_the_way: bool,
    ) -> RepoResult<bool> {
        let ReadEntry { mut stat, extras, body, changed, random } = read;
        // What cannot be read at all is told once, and a folder that cannot be opened by who lists it.
        if !matches!(body, Body::Unreadable(_)) {
            self.teller.unread_extras(key, &extras, stat.kind);
        }
        let blind = !extras.unread.is_empty();
        let mut marks = if changed { Marks::CHANGED } else { Marks::default() };
        let content = match body {
            Body::None => Content::None,
            Body::Small { range, .. } if range.is_empty() => Content::None,
            Body::Small { range, id } => {
                self.writer.put(BlobKind::Data, &id, &buffer[range])?;
                Content::Whole(id)
            }
            Body::Large(open) => self.store_large(key, known.as_ref(), *open, &mut stat, &mut marks)?,
            Body::Unreadable(e) => {
                self.teller.unreadable(key, &e);
                marks = marks.with(Marks::UNREADABLE);
                Content::None
            }
        };
        if marks.has(Marks::CHANGED) {
            self.teller.changed_while_read(key);
        }
        let path = || shown(key);
        let entry = self.entries.make(self.writer, key, &stat, extras, content, marks, path)?;
        let action = match &known {
            None => Action::New,
            Some(known) if *known.entry() == entry => Action::Unchanged,
            Some(_) => Action::Modified,
        };
        if let Some(differences) = &mut self.differences {
            differences.met(key, known.as_ref().map(Known::entry), &entry, blind || on_the_way)?;
        }
        match (&known, entry.kind()) {
            (None, Kind::File) => self.signs.count_new(random),
            (Some(known), Kind::File) if known.entry().content != entry.content => {
                self.signs.count_changed(random);
            }
            _ => {}
        }
        self.count(entry.kind(), entry.size_bytes, action);
        self.teller.done(action, key, entry.size_bytes);
        self.teller.stored(self.writer.written().stored_bytes);
        let mut nodes = Nodes(self.writer);
        match &known {
            Some(known) if action == Action::Unchanged => {
                self.builder.keep(&known.leaf, known.index, &mut nodes)?;
            }
            _ => self.builder.push(key, &entry, &mut nodes)?,
        }
        Ok(action != Action::Unchanged)
    }

    /// Stores a long file; once more if it changed meanwhile.
    fn store_large(
        &mut self,
        key: &[u8],
        known: Option<&Known>,
        mut open: host::read::OpenFile,
        stat: &mut Stat,
        marks: &mut Marks,
    ) -> RepoResult<Content> {
        let before =
            known.filter(|k| !matches!(k.entry().content, Content::None | Content::Whole(_))).map(|k| {
                let fixed = k.entry().marks.has(Marks::FIXED_CHUNKS);
                if fixed { Cutting::Fixed } else { Cutting::ContentDefined }
            });
        let name = key.rsplit(|b| *b == 0).next().unwrap_or(key);
        for attempt in 0..2 {
            let teller = &mut *self.teller;
            let mut tick = |bytes| teller.reading(key, bytes);
            let stored = self.cutter.store_file(self.writer, &mut open, name, before, &mut tick);
            let (content, len, cutting) = match stored {
                Ok(stored) => stored,
                Err(Failure::Repo(e)) => return Err(e),
                Err(Failure::Source(_)) if self.teller.cancelled() => {
                    return Err(RepoError::Local(super::CANCELLED.into()));
                }
                Err(Failure::Source(e)) => {
                    self.teller.unreadable(key, &e);
                    *marks = marks.with(Marks::UNREADABLE);
                    return Ok(Content::None);
                }
            };
            if cutting == Cutting::Fixed {
                *marks = marks.with(Marks::FIXED_CHUNKS);
            }
            let after = open.stat_again().unwrap_or(open.stat);
            let steady = same_version(&open.stat, &after) && after.size_bytes == len;
            if steady || attempt == 1 {
                *stat = after;
                stat.size_bytes = len;
                if !steady {
                    *marks = marks.with(Marks::CHANGED);
                }
                return Ok(content);
            }
            open.stat = after;
        }
        unreachable!("the second attempt returns")
    }

    /// A stream is a file in the place of a volume.
    fn stream(&mut self, name: &str, mut input: Box<dyn std::io::Read + Send>) -> RepoResult<()> {
        let key = PathKey::of(&[format!("stream:{name}").into_bytes()]);
        let mut extents = Vec::new();
        let teller = &mut *self.teller;
        let mut tick = |bytes| teller.reading(&key, bytes);
        let cut = Cutting::ContentDefined;
        let stored = self.cutter.store_stream(self.writer, &mut *input, 0, cut, &mut extents, &mut tick);
        let size_bytes = match stored {
            Ok(len) => len,
            Err(Failure::Repo(e)) => return Err(e),
            Err(Failure::Source(_)) if self.teller.cancelled() => {
                return Err(RepoError::Local(super::CANCELLED.into()));
            }
            Err(Failure::Source(e)) => {
                return Err(RepoError::Local(format!(
                    "the stream {name:?} failed, nothing was committed: {e}"
                )));
            }
        };
        let content = finish_extents(self.writer, extents)?;
        let stat = stream_stat(self.request.time, size_bytes);
        let path = || shown(&key);
        let extras = host::Extras::default();
        let entry = self.entries.make(self.writer, &key, &stat, extras, content, Marks::default(), path)?;
        self.changed = true;
        self.count(Kind::File, size_bytes, Action::New);
        self.teller.done(Action::New, &key, 0);
        self.builder.push(&key, &entry, &mut Nodes(self.writer))
    }

    fn count(&mut self, kind: Kind, bytes: u64, action: Action) {
        let s = &mut self.stats;
        s.source_bytes += bytes;
        if action != Action::Unchanged {
            s.new_bytes += bytes;
        }
        let counter = match (kind, action) {
            (Kind::File, Action::New) => &mut s.files_new,
            (Kind::File, Action::Unchanged) => &mut s.files_unmodified,
            (Kind::File, _) => &mut s.files_changed,
            (Kind::Directory, Action::New) => &mut s.dirs_new,
            (Kind::Directory, Action::Unchanged) => &mut s.dirs_unmodified,
            (Kind::Directory, _) => &mut s.dirs_changed,
            _ => &mut s.others,
        };
        *counter += 1;
        if self.teller.phase() != Phase::Work {
            self.teller.enter(Phase::Work);
        }
    }
}

fn shown(key: &[u8]) -> Vec<u8> {
    format::tree::KeyPath::parse(key).map(|p| p.display_bytes()).unwrap_or_default()
}

fn stream_stat(time: Timestamp, size_bytes: u64) -> Stat {
    Stat {
        kind: Kind::File,
        mode: 0o600,
        nlink: 1,
        uid: 0,
        gid: 0,
        size_bytes,
        mtime: time,
        ctime: time,
        inode: 0,
        device: 0,
        rdev: 0,
        blocks: size_bytes.div_ceil(512),
        no_dump: false,
    }
}

/// What could not be listed, in words; `None` when all was. Ordinary reasons for not entering are no fault.
fn fault_text(listing: &Listing) -> Option<String> {
    if listing.faults.is_empty() {
        return None;
    }
    let one = |f: &host::Fault| match &f.name {
        Some(name) => format!("{}: {}", name.escape_ascii(), f.text),
        None => f.text.clone(),
    };
    Some(listing.faults.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// Why a directory was not entered, in words.
pub(super) fn not_entered_text(why: &NotEntered) -> String {
    match why {
        NotEntered::OtherFileSystem => "on another file system, not entered".into(),
        NotEntered::Virtual(name) => format!("the {name} file system holds nothing to keep, not entered"),
    }
}

//! Files that a source makes while it is read, gathered in any order and put into the tree in key order.
//!
//! Their contents go to the writer at once; only their entries wait, some hundred bytes each, until the
//! producer has said that everything is whole. Any failure ends the run without a snapshot.

use super::{Nodes, Pass, shown, stream_stat};
use crate::backup::entries::Entries;
use crate::backup::large::{Cutter, Cutting, Failure, finish_extents};
use crate::backup::parent::{Known, ParentCursor};
use crate::backup::tell::Teller;
use crate::monitor::Action;
use format::id::BlobKind;
use format::kind::{Kind, Timestamp};
use format::limits::KEY_BYTES_MAX;
use format::tree::{Content, Entry, Extent, Marks, PathKey};
use host::produce::{Contents, Facts, Grain, Producer, Sink};
use host::{Extras, Stat};
use repo::writer::Writer;
use repo::{RepoError, RepoResult};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, SeekFrom};

/// An entry that waits for its place.
pub(super) struct Made {
    pub(super) key: Vec<u8>,
    entry: Entry,
    /// It has no time of its own: an equal one of the parent is the same.
    timeless: bool,
    pub(super) known: Option<Known>,
}

impl Pass<'_> {
    /// Lets the producer make everything. Returns the entry of the volume first, then the rest in key order.
    pub(super) fn produce(&mut self, name: &str, producer: &mut dyn Producer) -> RepoResult<Vec<Made>> {
        let volume = format!("stream:{name}");
        let mut gathering = Gathering {
            volume: &volume,
            time: self.request.time,
            writer: self.writer,
            entries: &mut self.entries,
            cutter: &mut self.cutter,
            teller: self.teller,
            made: BTreeMap::new(),
            failed: None,
        };
        gathering.folder(&[], Facts { mode: 0o700, ..Facts::PRIVATE }).ok();
        let produced = producer.produce(&mut gathering);
        let Gathering { made, failed, .. } = gathering;
        if let Some(failed) = failed {
            return Err(failed);
        }
        match produced {
            Ok(()) if made.len() > 1 => Ok(made.into_iter().map(|(key, made)| made.under(key)).collect()),
            Ok(()) => Err(RepoError::Local(format!("the source {name:?} gave nothing to keep"))),
            Err(_) if self.teller.cancelled() => Err(RepoError::Local(crate::backup::CANCELLED.into())),
            Err(e) => {
                let text = format!("the source {name:?} failed, nothing was committed: {e}");
                Err(match e.kind() {
                    ErrorKind::PermissionDenied | ErrorKind::InvalidInput => RepoError::SourceRefused(text),
                    _ => RepoError::Local(text),
                })
            }
        }
    }

    /// Puts an entry into the tree, as the parent has it if nothing about it differs.
    pub(super) fn place_made(&mut self, made: Made) -> RepoResult<()> {
        let Made { key, mut entry, timeless, known } = made;
        let before = known.as_ref().map(Known::entry);
        if let Some(before) = before.filter(|before| timeless && same_but_for_time(before, &entry)) {
            (entry.mtime, entry.ctime) = (before.mtime, before.ctime);
        }
        let action = match before {
            None => Action::New,
            Some(before) if *before == entry => Action::Unchanged,
            Some(_) => Action::Modified,
        };
        self.changed |= action != Action::Unchanged;
        self.count(entry.kind(), entry.size_bytes, action);
        self.teller.done(action, &key, entry.size_bytes);
        self.teller.stored(self.writer.written().stored_bytes);
        match known {
            Some(known) if action == Action::Unchanged => {
                self.builder.keep(&known.leaf, known.index, &mut Nodes(self.writer))
            }
            _ => self.builder.push(&key, &entry, &mut Nodes(self.writer)),
        }
    }

    /// Queues entries, which must come in key order, beside what the parent has under their keys.
    pub(super) fn queue_made(
        &mut self,
        made: impl Iterator<Item = Made>,
        parent: &mut ParentCursor<'_>,
    ) -> RepoResult<()> {
        for mut one in made {
            one.known = parent.find(&one.key)?;
            self.items.push_back(super::Item::Made(Box::new(one)));
        }
        Ok(())
    }
}

fn same_but_for_time(a: &Entry, b: &Entry) -> bool {
    a.class == b.class && a.size_bytes == b.size_bytes && a.content == b.content && a.marks == b.marks
}

/// What is being gathered; a [`Sink`] over the parts of the pass that storing needs.
struct Gathering<'g, 't> {
    volume: &'g str,
    time: Timestamp,
    writer: &'g mut Writer,
    entries: &'g mut Entries,
    cutter: &'g mut Cutter,
    teller: &'g mut Teller<'t>,
    made: BTreeMap<Vec<u8>, Made>,
    /// Storing failed: whatever the producer says then, this is why.
    failed: Option<RepoError>,
}

impl Made {
    fn under(self, key: Vec<u8>) -> Made {
        Made { key, ..self }
    }
}

impl Gathering<'_, '_> {
    fn key(&self, path: &[&str]) -> io::Result<Vec<u8>> {
        let bad = |name: &str| name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
        if let Some(name) = path.iter().find(|name| bad(name)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is no name of a file"),
            ));
        }
        let components: Vec<&[u8]> =
            std::iter::once(self.volume).chain(path.iter().copied()).map(str::as_bytes).collect();
        let key = PathKey::of(&components);
        if key.len() > KEY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path is too long to be kept"));
        }
        Ok(key)
    }

    /// Turns a failure to store into an error for the producer, remembering the real one.
    fn fail(&mut self, e: RepoError) -> io::Error {
        self.failed.get_or_insert(e);
        io::Error::other("it could not be stored")
    }

    fn add(&mut self, key: Vec<u8>, facts: Facts, what: (Kind, u64, Content, Marks)) -> io::Result<()> {
        let (kind, size_bytes, content, marks) = what;
        let time = facts.modified.unwrap_or(self.time);
        let stat =
            Stat { kind, mode: facts.mode, uid: facts.uid, gid: facts.gid, ..stream_stat(time, size_bytes) };
        let entry =
            self.entries.make(self.writer, &key, &stat, Extras::default(), content, marks, || shown(&key));
        let entry = entry.map_err(|e| self.fail(e))?;
        let timeless = facts.modified.is_none();
        self.made.insert(key, Made { key: Vec::new(), entry, timeless, known: None });
        Ok(())
    }

    fn folders_above(&mut self, path: &[&str]) -> io::Result<()> {
        for depth in 1..path.len() {
            let key = self.key(&path[..depth])?;
            match self.made.get(&key).map(|made| made.entry.kind()) {
                Some(Kind::Directory) => {}
                Some(_) => return Err(twice(&path[..depth])),
                None => {
                    let facts = Facts { mode: 0o700, ..Facts::PRIVATE };
                    self.add(key, facts, (Kind::Directory, 0, Content::None, Marks::default()))?;
                }
            }
        }
        Ok(())
    }

    fn store(&mut self, key: &[u8], contents: Contents<'_>) -> Result<(u64, Content, Marks), Failure> {
        match contents {
            Contents::Bytes([]) => Ok((0, Content::None, Marks::default())),
            Contents::Bytes(bytes) if bytes.len() as u64 <= self.whole_max() => {
                let keys = self.writer.reader().repo().keys();
                let id = keys.blob_id(BlobKind::Data, bytes).map_err(|e| RepoError::Local(e.to_string()))?;
                self.writer.put(BlobKind::Data, &id, bytes)?;
                Ok((bytes.len() as u64, Content::Whole(id), Marks::default()))
            }
            Contents::Bytes(mut bytes) => self.store_stream(key, &mut bytes, Cutting::Fine),
            Contents::Stream(reader, grain) => self.store_stream(key, reader, cutting(grain)),
            Contents::Sparse { size_bytes, ranges, file } => {
                let mut extents = Vec::new();
                let mut at = 0;
                for range in ranges {
                    if range.start < at || range.end > size_bytes || range.is_empty() {
                        return Err(io::Error::other("the ranges of a sparse file are not in order").into());
                    }
                    if range.start > at {
                        Extent::append(&mut extents, Extent::Hole { len_bytes: range.start - at });
                    }
                    file.seek(SeekFrom::Start(range.start))?;
                    let mut part = io::Read::take(&mut *file, range.end - range.start);
                    let len = self.store_part(key, &mut part, range.start, Cutting::Fixed, &mut extents)?;
                    if len < range.end - range.start {
                        let text = format!("it ended at byte {}, before its length", range.start + len);
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
                    }
                    at = range.end;
                }
                if at < size_bytes {
                    Extent::append(&mut extents, Extent::Hole { len_bytes: size_bytes - at });
                }
                Ok((size_bytes, finish_extents(self.writer, extents)?, Marks::FIXED_CHUNKS))
            }
        }
    }

    fn whole_max(&self) -> u64 {
        self.writer.reader().repo().parameters().whole_file_bytes_max
    }

    fn store_stream(
        &mut self,
        key: &[u8],
        reader: &mut dyn io::Read,
        cutting: Cutting,
    ) -> Result<(u64, Content, Marks), Failure> {
        let mut extents = Vec::new();
        let len = self.store_part(key, reader, 0, cutting, &mut extents)?;
        let marks = if cutting == Cutting::Fixed { Marks::FIXED_CHUNKS } else { Marks::default() };
        Ok((len, finish_extents(self.writer, extents)?, marks))
    }

    fn store_part(
        &mut self,
        key: &[u8],
        reader: &mut dyn io::Read,
        offset: u64,
        cutting: Cutting,
        extents: &mut Vec<Extent>,
    ) -> Result<u64, Failure> {
        let teller = &mut *self.teller;
        let mut tick = |bytes| teller.reading(key, bytes);
        self.cutter.store_stream(self.writer, reader, offset, cutting, extents, &mut tick)
    }
}

fn cutting(grain: Grain) -> Cutting {
    match grain {
        Grain::Coarse => Cutting::ContentDefined,
        Grain::Fine => Cutting::Fine,
        Grain::Fixed => Cutting::Fixed,
    }
}

fn twice(path: &[&str]) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("the source made {:?} twice", path.join("/")))
}

impl Sink for Gathering<'_, '_> {
    fn file(&mut self, path: &[&str], facts: Facts, contents: Contents<'_>) -> io::Result<u64> {
        let key = self.key(path)?;
        if path.is_empty() || self.made.contains_key(&key) {
            return Err(twice(path));
        }
        self.folders_above(path)?;
        let (len, content, marks) = match self.store(&key, contents) {
            Ok(stored) => stored,
            Err(Failure::Repo(e)) => return Err(self.fail(e)),
            Err(Failure::Source(e)) => return Err(e),
        };
        self.add(key, facts, (Kind::File, len, content, marks))?;
        Ok(len)
    }

    fn folder(&mut self, path: &[&str], facts: Facts) -> io::Result<()> {
        let key = self.key(path)?;
        if self.made.get(&key).is_some_and(|made| made.entry.kind() != Kind::Directory) {
            return Err(twice(path));
        }
        self.folders_above(path)?;
        self.add(key, facts, (Kind::Directory, 0, Content::None, Marks::default()))
    }

    fn tell(&mut self, item: &str, text: &str) {
        self.teller.told_by_source(self.volume, item, text);
    }
}

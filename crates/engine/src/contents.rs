//! The bytes of saved files, in order: into a writer, and as the files of a source that go back into a server.

use crate::backup::CANCELLED;
use crate::monitor::{Monitor, Phase, Progress, Silent};
use format::id::BlobKind;
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::{Entry, Extent, PathKey};
use host::databases::Files;
use repo::erasures::Erased;
use repo::reader::{Reader, chain};
use repo::{RepoError, RepoResult, browse};
use std::cell::OnceCell;
use std::io::{self, Write};
use std::sync::Arc;

/// Zeros are written in pieces of this size.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the contents of a file; holes become zeros. Returns how many bytes that were.
///
/// An error of `out` is in `Err(Ok(..))`, one of the repository in `Err(Err(..))`.
pub fn write_contents(
    reader: &Reader,
    entry: &Entry,
    out: &mut dyn Write,
) -> Result<u64, Result<io::Error, RepoError>> {
    let mut len = 0;
    for extent in browse::extents(reader, entry).map_err(Err)? {
        match extent {
            Extent::Data { id, repeat, .. } => {
                let blob = reader.read(BlobKind::Data, &id).map_err(Err)?;
                for _ in 0..repeat {
                    out.write_all(&blob).map_err(Ok)?;
                    len += blob.len() as u64;
                }
            }
            Extent::Hole { len_bytes } => {
                zeros(len_bytes, out).map_err(Ok)?;
                len += len_bytes;
            }
        }
    }
    Ok(len)
}

fn zeros(len_bytes: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut left = len_bytes;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        out.write_all(&ZEROS[..piece as usize])?;
        left -= piece;
    }
    Ok(())
}

/// The files that a source made, in a snapshot of it.
pub struct StoredFiles<'m> {
    reader: Arc<Reader>,
    snapshot: Snapshot,
    volume: String,
    monitor: &'m dyn Monitor,
    bytes_done: u64,
    failed: Option<RepoError>,
    erased: OnceCell<Erased>,
}

impl<'m> StoredFiles<'m> {
    /// The files of the source in this snapshot whose name is given; without one, of the only one it has.
    ///
    /// `None` if there is none, or no name and several.
    pub fn of(reader: &Arc<Reader>, snapshot: &Snapshot, name: Option<&str>) -> Option<StoredFiles<'m>> {
        let streams = || snapshot.sources.iter().filter_map(|s| s.strip_prefix(b"stream:"));
        let found = match name {
            Some(name) => streams().find(|stream| *stream == name.as_bytes()),
            None => streams().next().filter(|_| streams().count() == 1),
        };
        let volume = format!("stream:{}", std::str::from_utf8(found?).ok()?);
        let (reader, snapshot) = (reader.clone(), snapshot.clone());
        Some(StoredFiles {
            reader,
            snapshot,
            volume,
            monitor: &Silent,
            bytes_done: 0,
            failed: None,
            erased: OnceCell::new(),
        })
    }

    /// Tells how far it is, and ends when it is cancelled.
    pub fn telling(mut self, monitor: &'m dyn Monitor) -> Self {
        self.monitor = monitor;
        self
    }

    /// The name of the source.
    pub fn name(&self) -> &str {
        self.volume.strip_prefix("stream:").unwrap_or(&self.volume)
    }

    /// The path of one of its files as components, the volume first.
    pub fn components(&self, path: &[&str]) -> Vec<Vec<u8>> {
        let names = std::iter::once(self.volume.as_str()).chain(path.iter().copied());
        names.map(|name| name.as_bytes().to_vec()).collect()
    }

    /// The entry of one of its files; of the volume itself for an empty path. What was erased from history is
    /// not there.
    pub fn entry(&self, path: &[&str]) -> RepoResult<Option<Entry>> {
        let path = self.components(path);
        if self.erased()?.covers(&path) {
            return Ok(None);
        }
        browse::lookup(&self.reader, self.snapshot.root, &PathKey::of(&path))
    }

    fn erased(&self) -> RepoResult<&Erased> {
        if self.erased.get().is_none() {
            let erased = Erased::of(self.reader.repo(), &self.snapshot)?;
            let _ = self.erased.set(erased);
        }
        Ok(self.erased.get().expect("it was set just now"))
    }

    /// Why the repository could not give something, if that was why a write failed.
    pub fn failure(self) -> Option<RepoError> {
        self.failed
    }
}

/// Counts what passes, and ends when nobody wants it any longer.
struct Told<'t> {
    out: &'t mut dyn Write,
    monitor: &'t dyn Monitor,
    progress: Progress,
}

impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.monitor.cancelled() {
            return Err(io::Error::other(CANCELLED));
        }
        let len = self.out.write(bytes)?;
        self.progress.bytes_done += len as u64;
        self.monitor.progress(&self.progress);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Files for StoredFiles<'_> {
    fn write(&mut self, path: &[&str], out: &mut dyn Write) -> io::Result<u64> {
        let name = path.join("/");
        let entry = match self.entry(path) {
            Ok(entry) => entry.filter(|entry| entry.kind() == Kind::File),
            Err(e) => return Err(self.fail(&name, e)),
        };
        let absent = || io::Error::new(io::ErrorKind::NotFound, format!("the snapshot has no file {name}"));
        let entry = entry.ok_or_else(absent)?;
        let progress = Progress {
            phase: Phase::Work,
            files_done: 0,
            bytes_done: self.bytes_done,
            files_total: 0,
            bytes_total: self.snapshot.stats.source_bytes.max(self.bytes_done + entry.size_bytes),
            bytes_stored: 0,
            problems: 0,
            current: name.clone().into_bytes(),
        };
        let mut told = Told { out, monitor: self.monitor, progress };
        let written = write_contents(&self.reader, &entry, &mut told);
        self.bytes_done = told.progress.bytes_done;
        match written {
            Ok(len) if len == entry.size_bytes => Ok(len),
            Ok(len) => {
                Err(io::Error::other(format!("{name} has {len} bytes instead of {}", entry.size_bytes)))
            }
            Err(Ok(e)) => Err(e),
            Err(Err(e)) => Err(self.fail(&name, e)),
        }
    }
}

impl StoredFiles<'_> {
    fn fail(&mut self, name: &str, e: RepoError) -> io::Error {
        let told = io::Error::other(format!("{name}: {}", chain(&e)));
        self.failed.get_or_insert(e);
        told
    }
}

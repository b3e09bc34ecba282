//! Files on this machine that save time and nothing else.
//!
//! One folder per repository, 0700. Any file may vanish or be damaged at any time: it is then made again.
//! Without a folder everything is kept in memory for as long as the process runs.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Bytes of a cached file: mapped, or in memory where there is no folder.
pub enum Mapping {
    /// A mapped file.
    Mapped(memmap2::Mmap),
    /// Bytes in memory.
    Memory(Vec<u8>),
}

impl Deref for Mapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Mapping::Mapped(map) => map,
            Mapping::Memory(bytes) => bytes,
        }
    }
}

impl Mapping {
    /// Hands back the memory of what was read once and will hardly be read again. The bytes stay readable.
    pub fn release(&self, from: usize, len: usize) {
        #[cfg(unix)]
        if let Mapping::Mapped(map) = self {
            // SAFETY: the mapping is shared with the file and never written, so dropped pages come back as
            // they were.
            unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, from, len) }.ok();
        }
    }
}

impl From<Vec<u8>> for Mapping {
    fn from(bytes: Vec<u8>) -> Self {
        Mapping::Memory(bytes)
    }
}

/// The cache folder of one repository, or none.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// A cache in this folder, which is made when something is first stored.
    pub fn at(folder: PathBuf) -> Self {
        Cache { folder: Some(folder) }
    }

    /// No folder.
    pub fn none() -> Self {
        Cache::default()
    }

    /// Maps a cached file.
    pub fn map(&self, name: &str) -> Option<Mapping> {
        let file = File::open(self.folder.as_ref()?.join(name)).ok()?;
        map_file(&file)
    }

    /// Stores a file and maps it; keeps the bytes in memory where that fails.
    pub fn store(&self, name: &str, bytes: Vec<u8>) -> Mapping {
        let stored = self.folder.as_ref().and_then(|folder| write_file(folder, name, &bytes));
        stored.unwrap_or(Mapping::Memory(bytes))
    }

    /// Reads a small file.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.as_ref()?.join(name)).ok()
    }

    /// Removes files whose names begin with `prefix` and are not in `keep`.
    pub fn retain(&self, prefix: &str, keep: impl Fn(&str) -> bool) {
        for (name, entry) in self.files(prefix) {
            if !keep(&name) {
                fs::remove_file(entry.path()).ok();
            }
        }
    }

    /// Of the files whose names begin with `prefix`, removes all but the `n` written last, and what a process that died
    /// left half-written a day ago.
    pub fn retain_newest(&self, prefix: &str, n: usize) {
        let time = |entry: &fs::DirEntry| {
            entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let of_today = SystemTime::now().checked_sub(PARTIAL_FOR).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut files = Vec::new();
        for (name, entry) in self.files(prefix) {
            match is_partial(&name) {
                false => files.push((time(&entry), entry.path())),
                true if time(&entry) < of_today => _ = fs::remove_file(entry.path()),
                true => {}
            }
        }
        files.sort();
        for (_, path) in files.iter().rev().skip(n) {
            fs::remove_file(path).ok();
        }
    }

    fn files(&self, prefix: &str) -> impl Iterator<Item = (String, fs::DirEntry)> {
        let entries = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok());
        let named = |entry: fs::DirEntry| entry.file_name().into_string().ok().map(|name| (name, entry));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(named)
            .filter(move |(name, _)| name.starts_with(prefix))
    }
}

fn map_file(file: &File) -> Option<Mapping> {
    // SAFETY: cache files are written under a temporary name and renamed when complete, never changed in
    // place afterwards, and lie in a folder only their owner may write. Rows are bounds-checked on access.
    unsafe { memmap2::Mmap::map(file) }.ok().map(Mapping::Mapped)
}

/// How long a file may be half-written.
const PARTIAL_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether this is the name of a file that is being written: see [`write_file`].
fn is_partial(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, writer)| writer.contains('-'))
}

/// Makes names of files being written unique in this process.
static PARTIAL: AtomicU64 = AtomicU64::new(0);

/// Writes beside and renames, so that a reader sees all or nothing. What a crash leaves begins with the
/// file's own name, so that `retain` removes it.
fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Option<Mapping> {
    create_private_folder(folder).ok()?;
    let number = PARTIAL.fetch_add(1, Ordering::Relaxed);
    let partial = folder.join(format!("{name}.{}-{number}", std::process::id()));
    fs::remove_file(&partial).ok(); // of a process of the same number that was killed
    let written = write_private(&partial, bytes).and_then(|file| {
        fs::rename(&partial, folder.join(name))?;
        Ok(file)
    });
    match written {
        Ok(file) => map_file(&file),
        Err(_) => {
            fs::remove_file(&partial).ok();
            None
        }
    }
}

fn create_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_half_written_goes_after_a_day_and_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        for name in ["seen-a", "seen-b"] {
            cache.store(name, b"x".to_vec());
        }
        let put = |name: &str, age: Duration| {
            let file = File::create(folder.path().join("cache").join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        put("seen-c.17-1", Duration::from_secs(60));
        put("seen-d.18-1", PARTIAL_FOR + Duration::from_secs(60));
        cache.retain_newest("seen-", 2);
        let mut left: Vec<String> = cache.files("seen-").map(|(name, _)| name).collect();
        left.sort();
        assert_eq!(left, ["seen-a", "seen-b", "seen-c.17-1"]);
    }
}

//! Keeps small objects of a remote place on the local disk, so that they are fetched once.
//!
//! Promise: nothing but time depends on it. An object is used only after the caller's check has accepted
//! it (its content must fit its name), so a damaged, foreign or deleted cache file is fetched again.
//! Only names under the chosen prefixes are kept, up to a number of bytes; the longest unused go first.
//! Several processes may share one folder.

use crate::buffered::BufferedUpload;
use crate::{
    Capabilities, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreError, StoreResult, Upload, planted,
};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Says whether these bytes are the object of that name.
pub type Verify = Arc<dyn Fn(&ObjectName, &[u8]) -> bool + Send + Sync>;

/// So many ranges of one object are fetched singly before the whole object is. A look at one entry costs
/// one small range; reading on costs the object.
const RANGES_BEFORE_WHOLE: u32 = 3;

/// How a cache is set up.
#[derive(Clone)]
pub struct CacheOptions {
    /// The folder of this repository's cache; made if it is missing.
    pub folder: PathBuf,
    /// Names that are kept: those that begin with one of these, such as `trees/`.
    pub prefixes: Vec<String>,
    /// Bytes the folder may hold.
    pub bytes_max: u64,
    /// Objects larger than this are never fetched whole for the sake of the cache (bytes).
    pub object_bytes_max: u64,
    /// Tells whether bytes belong to a name. Only what it accepts is kept or used.
    pub verify: Verify,
}

/// A store whose small objects are kept at hand.
#[derive(Clone)]
pub struct CacheStore {
    inner: Arc<dyn Store>,
    options: Arc<CacheOptions>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Files of the cache, with length and last use as a number that only grows.
    kept: HashMap<String, Kept>,
    bytes: u64,
    uses: u64,
    /// Ranges that were asked for in vain.
    misses: HashMap<ObjectName, u32>,
}

struct Kept {
    len_bytes: u64,
    last_use: u64,
    /// Its bytes were checked by this process, so ranges of the file may be believed.
    is_verified: bool,
}

static TEMP_NUMBER: AtomicU64 = AtomicU64::new(0);

impl CacheStore {
    /// Puts a cache around `inner`. A folder that cannot be made or read only means an empty cache, and
    /// around a store that is local itself nothing is kept: everything passes straight through.
    pub fn new(inner: Arc<dyn Store>, mut options: CacheOptions) -> Self {
        if inner.capabilities().local {
            options.prefixes.clear();
        }
        let state = State::load(&options.folder);
        Self { inner, options: Arc::new(options), state: Arc::new(Mutex::new(state)) }
    }

    fn keeps(&self, name: &ObjectName) -> bool {
        self.options.prefixes.iter().any(|prefix| name.as_str().starts_with(prefix.as_str()))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.options.folder.join(file_name(name))
    }

    /// The kept object, if it is still what it must be.
    fn kept(&self, name: &ObjectName) -> Option<Vec<u8>> {
        self.state().kept.get(&file_name(name))?;
        let bytes = fs::read(self.path(name)).ok();
        match bytes
            .filter(|bytes| (self.options.verify)(name, bytes) || planted::is("cached-object-unchecked"))
        {
            Some(bytes) => {
                self.state().used(&file_name(name));
                Some(bytes)
            }
            None => {
                self.forget(name);
                None
            }
        }
    }

    /// A range of the kept object, which is checked as a whole once per process.
    fn kept_range(&self, name: &ObjectName, range: &Range<u64>) -> Option<Vec<u8>> {
        let (is_verified, len_bytes) = {
            let state = self.state();
            let kept = state.kept.get(&file_name(name))?;
            (kept.is_verified, kept.len_bytes)
        };
        if !is_verified {
            let bytes = self.kept(name)?;
            return slice(&bytes, range);
        }
        if range.start > range.end || range.end > len_bytes {
            // The place itself shall say what is wrong with such a range.
            return None;
        }
        match read_range(&self.path(name), range, len_bytes) {
            Ok(bytes) => {
                self.state().used(&file_name(name));
                Some(bytes)
            }
            Err(_) => {
                self.forget(name);
                None
            }
        }
    }

    fn forget(&self, name: &ObjectName) {
        let file = file_name(name);
        self.state().drop_entry(&file);
        // A file that is not there or cannot be removed is not believed either way.
        let _ = fs::remove_file(self.options.folder.join(file));
    }

    /// Keeps an object if it may be kept; failing to do so is nobody's problem.
    fn keep(&self, name: &ObjectName, bytes: &[u8]) {
        let len_bytes = bytes.len() as u64;
        let fits = len_bytes <= self.options.object_bytes_max.min(self.options.bytes_max);
        if !fits || !self.keeps(name) || !(self.options.verify)(name, bytes) {
            return;
        }
        self.make_room(len_bytes);
        if write_file(&self.options.folder, &file_name(name), bytes).is_ok() {
            self.state().add(file_name(name), len_bytes);
        }
    }

    fn make_room(&self, len_bytes: u64) {
        let room = self.options.bytes_max.saturating_sub(len_bytes);
        let gone = self.state().drop_oldest_beyond(room);
        for file in gone {
            let _ = fs::remove_file(self.options.folder.join(file));
        }
    }

    /// Counts a range that was not at hand and tells whether the whole object is worth fetching now.
    fn is_worth_fetching(&self, name: &ObjectName) -> bool {
        let mut state = self.state();
        let misses = state.misses.entry(name.clone()).or_default();
        *misses += 1;
        *misses == RANGES_BEFORE_WHOLE
    }

    fn put_and_keep(&self, name: &ObjectName, bytes: &[u8], outcome: StoreResult<()>) -> StoreResult<()> {
        if self.keeps(name) {
            self.forget(name);
            if outcome.is_ok() {
                self.keep(name, bytes);
            }
        }
        outcome
    }
}

impl State {
    /// Takes up what an earlier process left, oldest use first as the file times tell.
    fn load(folder: &Path) -> Self {
        let mut found: Vec<(SystemTime, String, u64)> = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (Ok(file), Ok(about)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            if file.starts_with(TEMP_PREFIX) {
                let _ = fs::remove_file(entry.path());
            } else if about.is_file() {
                found.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), file, about.len()));
            }
        }
        found.sort();
        let mut state = Self::default();
        for (_, file, len_bytes) in found {
            state.add(file.clone(), len_bytes);
            if let Some(kept) = state.kept.get_mut(&file) {
                kept.is_verified = false;
            }
        }
        state
    }

    fn add(&mut self, file: String, len_bytes: u64) {
        self.drop_entry(&file);
        self.uses += 1;
        self.bytes += len_bytes;
        self.kept.insert(file, Kept { len_bytes, last_use: self.uses, is_verified: true });
    }

    fn used(&mut self, file: &str) {
        self.uses += 1;
        let uses = self.uses;
        if let Some(kept) = self.kept.get_mut(file) {
            kept.last_use = uses;
            kept.is_verified = true;
        }
    }

    fn drop_entry(&mut self, file: &str) {
        if let Some(kept) = self.kept.remove(file) {
            self.bytes -= kept.len_bytes;
        }
    }

    /// Forgets the longest unused until the rest fits, and tells their files.
    fn drop_oldest_beyond(&mut self, bytes_max: u64) -> Vec<String> {
        let mut gone = Vec::new();
        while self.bytes > bytes_max {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.last_use).map(|(file, _)| file.clone());
            let Some(oldest) = oldest else { break };
            self.drop_entry(&oldest);
            gone.push(oldest);
        }
        gone
    }
}

/// Files that are being written; leftovers go when the cache is opened.
const TEMP_PREFIX: &str = "new-";

/// One flat folder: `/` becomes `_`, which no object name contains.
fn file_name(name: &ObjectName) -> String {
    name.as_str().replace('/', "_")
}

/// No fsync: a file that a power cut tore is found out by the check and fetched again.
fn write_file(folder: &Path, file: &str, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let number = TEMP_NUMBER.fetch_add(1, Ordering::Relaxed);
    let temp = folder.join(format!("{TEMP_PREFIX}{}-{number}", std::process::id()));
    let written = fs::File::create_new(&temp).and_then(|mut made| made.write_all(bytes));
    written.and_then(|()| fs::rename(&temp, folder.join(file))).inspect_err(|_| {
        let _ = fs::remove_file(&temp);
    })
}

fn read_range(path: &Path, range: &Range<u64>, len_bytes: u64) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(path)?;
    if file.metadata()?.len() != len_bytes {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let len = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

fn slice(bytes: &[u8], range: &Range<u64>) -> Option<Vec<u8>> {
    let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
    bytes.get(range).map(<[u8]>::to_vec)
}

impl Store for CacheStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.put_and_keep(name, bytes, self.inner.put(name, bytes, mode))
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.put_and_keep(name, bytes, self.inner.put_shared(name, bytes, mode))
    }

    /// In memory, because whether the object will be kept is not known before its name is.
    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        if self.options.prefixes.is_empty() {
            return self.inner.upload(len_hint_bytes);
        }
        let store = self.clone();
        Ok(BufferedUpload::start(len_hint_bytes, move |bytes, name: &ObjectName, mode| {
            store.put_shared(name, &bytes, mode)
        }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        if !self.keeps(name) {
            return self.inner.get(name, max_bytes);
        }
        if let Some(bytes) = self.kept(name) {
            return match bytes.len() as u64 <= max_bytes {
                true => Ok(bytes),
                false => Err(StoreError::new(ErrorKind::TooLarge, format!("read {name}"))),
            };
        }
        let bytes = self.inner.get(name, max_bytes)?;
        self.keep(name, &bytes);
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        if !self.keeps(name) {
            return self.inner.get_range(name, range);
        }
        if let Some(bytes) = self.kept_range(name, &range) {
            return Ok(bytes);
        }
        if self.is_worth_fetching(name)
            && let Ok(bytes) = self.inner.get(name, self.options.object_bytes_max)
        {
            self.keep(name, &bytes);
            if let Some(part) = slice(&bytes, &range) {
                return Ok(part);
            }
        }
        self.inner.get_range(name, range)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.inner.list(prefix, visit)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.inner.stat(name)
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        if self.keeps(name) {
            self.forget(name);
        }
        self.inner.delete(name)
    }

    fn sync(&self) -> StoreResult<()> {
        self.inner.sync()
    }

    fn look(&self) -> StoreResult<()> {
        self.inner.look()
    }

    fn end_look(&self) {
        self.inner.end_look();
    }
}

#[cfg(test)]
mod tests;

//! One listing of a whole place instead of many of its parts, and small objects from this machine while that
//! listing shows that they are still the same.
//!
//! For places where every request costs a round trip. Promises:
//! - a list is answered from a *look* at the whole place only for some seconds after [`Store::look`], and not
//!   beyond this client's next change or [`Store::end_look`]; at any other time the place itself is asked;
//! - an object is taken from this machine only while a look shows it with the length and the receive time it
//!   had when it was fetched, and the caller's check accepts its bytes: a bad transfer, or a damaged file here,
//!   must not pass for a bad object again and again.
//!
//! Nothing but time depends on it.

use crate::{Capabilities, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreResult, Upload, Verify};
use std::fs;
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// More objects than this are not held in memory: then each part is listed by itself, as without a look.
const OBJECTS_MAX: usize = 200_000;
/// Larger objects are not kept.
const OBJECT_BYTES_MAX: u64 = 1 << 20;
/// Objects that are kept at most; beyond it the ones a look does not show go.
const KEPT_MAX: usize = 20_000;

static TEMP_NUMBER: AtomicU64 = AtomicU64::new(0);

/// A look is good for so long: whoever reads for hours must see what others do meanwhile.
const GOOD_FOR: Duration = Duration::from_secs(15);

/// The objects of a place at one moment, in the order of their names.
type Listing = Arc<Vec<ObjectInfo>>;
/// A listing, and when it was begun.
type Look = (Instant, Listing);

/// A store that can be looked at as a whole.
pub struct LookStore {
    inner: Arc<dyn Store>,
    /// Where small objects are kept.
    folder: PathBuf,
    /// Names that are kept begin with one of these.
    prefixes: Vec<String>,
    /// Whether bytes are a whole object.
    verify: Verify,
    current: Arc<Mutex<Option<Look>>>,
}

impl LookStore {
    /// Around `inner`; small objects under these prefixes are kept in the folder, which is made when needed, if
    /// `verify` says that they are whole.
    pub fn new(inner: Arc<dyn Store>, folder: PathBuf, prefixes: Vec<String>, verify: Verify) -> Self {
        LookStore { inner, folder, prefixes, verify, current: Arc::default() }
    }

    fn current(&self) -> MutexGuard<'_, Option<Look>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listing, while it is good.
    fn listing(&self) -> Option<Listing> {
        let mut current = self.current();
        if current.as_ref().is_some_and(|(begun, _)| begun.elapsed() > GOOD_FOR) {
            *current = None;
        }
        current.as_ref().map(|(_, listing)| listing.clone())
    }

    fn shown(&self, name: &ObjectName) -> Option<ObjectInfo> {
        let listing = self.listing()?;
        let at = listing.binary_search_by(|info| info.name.cmp(name)).ok()?;
        listing.get(at).cloned()
    }

    /// The file of an object as a look shows it: another length or time is another file.
    fn file(&self, info: &ObjectInfo) -> Option<PathBuf> {
        let keeps = self.prefixes.iter().any(|prefix| info.name.as_str().starts_with(prefix.as_str()));
        if !keeps || info.len_bytes > OBJECT_BYTES_MAX {
            return None;
        }
        let received = nanos(info.received?);
        let flat = info.name.as_str().replace('/', "+");
        Some(self.folder.join(format!("{flat}-{}-{received}", info.len_bytes)))
    }

    fn kept(&self, file: &Path, info: &ObjectInfo) -> Option<Vec<u8>> {
        let is_whole =
            |bytes: &Vec<u8>| bytes.len() as u64 == info.len_bytes && (self.verify)(&info.name, bytes);
        fs::read(file).ok().filter(is_whole)
    }

    /// A file that cannot be kept is fetched again next time.
    fn keep(&self, file: &Path, bytes: &[u8]) {
        let number = TEMP_NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("new-{}-{number}", std::process::id()));
        let written = make_folder(&self.folder).and_then(|()| {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&temporary)?.write_all(bytes)?;
            fs::rename(&temporary, file)
        });
        if written.is_err() {
            fs::remove_file(&temporary).ok();
        }
    }

    /// Files that a look speaks of no more go when there are too many.
    fn tidy(&self, listing: &Listing) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        if files.len() <= KEPT_MAX {
            return;
        }
        let used: std::collections::HashSet<PathBuf> = listing.iter().filter_map(|i| self.file(i)).collect();
        files.iter().filter(|file| !used.contains(*file)).for_each(|file| _ = fs::remove_file(file));
    }
}

fn nanos(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// An upload that ends the look when its object gets its name.
struct EndsLook {
    upload: Box<dyn Upload>,
    current: Arc<Mutex<Option<Look>>>,
}

impl Upload for EndsLook {
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.upload.write(bytes)
    }

    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.upload.finish(name, mode)
    }
}

impl Store for LookStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.end_look();
        self.inner.put(name, bytes, mode)
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.end_look();
        self.inner.put_shared(name, bytes, mode)
    }

    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let upload = self.inner.upload(len_hint_bytes)?;
        Ok(Box::new(EndsLook { upload, current: self.current.clone() }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        let shown = self.shown(name);
        let file = shown.as_ref().and_then(|info| Some((self.file(info)?, info)));
        if let Some((file, info)) = &file
            && info.len_bytes <= max_bytes
            && let Some(bytes) = self.kept(file, info)
        {
            return Ok(bytes);
        }
        let bytes = self.inner.get(name, max_bytes)?;
        if let Some((file, info)) = &file
            && info.len_bytes == bytes.len() as u64
            && (self.verify)(name, &bytes)
        {
            self.keep(file, &bytes);
        }
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.inner.get_range(name, range)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        let Some(listing) = self.listing() else { return self.inner.list(prefix, visit) };
        let from = listing.partition_point(|info| info.name.as_str() < prefix);
        for info in listing[from..].iter().take_while(|info| info.name.as_str().starts_with(prefix)) {
            if visit(info.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.inner.stat(name)
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.end_look();
        self.inner.delete(name)
    }

    fn sync(&self) -> StoreResult<()> {
        self.inner.sync()
    }

    fn look(&self) -> StoreResult<()> {
        self.end_look();
        let begun = Instant::now();
        let mut objects = Vec::new();
        let mut is_too_long = false;
        let listed = self.inner.list("", &mut |info| {
            is_too_long = objects.len() >= OBJECTS_MAX;
            objects.push(info);
            if is_too_long { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match listed {
            // Each part is listed by itself, which says the same of an empty place.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        if is_too_long {
            return Ok(());
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        let listing = Arc::new(objects);
        self.tidy(&listing);
        *self.current() = Some((begun, listing));
        Ok(())
    }

    fn end_look(&self) {
        *self.current() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RecordStore, SimStore};

    fn name(text: &str) -> ObjectName {
        ObjectName::new(text).unwrap()
    }

    fn listed(store: &dyn Store, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        store
            .list(prefix, &mut |info| {
                names.push(info.name.to_string());
                ControlFlow::Continue(())
            })
            .unwrap();
        names
    }

    #[test]
    fn a_look_answers_lists_until_something_changes_and_small_objects_while_they_stay_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let sim = SimStore::new(1);
        sim.set_time(UNIX_EPOCH + std::time::Duration::from_secs(100));
        for text in ["keys/a", "keys/b", "packs/1/x", "config"] {
            sim.put(&name(text), text.as_bytes(), PutMode::CreateNew).unwrap();
        }
        let record = Arc::new(RecordStore::new(Arc::new(sim.connect())));
        let log = record.log();
        let open = || {
            LookStore::new(
                record.clone(),
                folder.path().join("kept"),
                vec!["keys/".into(), "config".into()],
                Arc::new(|_, bytes| bytes != b"torn"),
            )
        };
        let store = open();
        store.look().unwrap();
        assert_eq!(listed(&store, "keys/"), ["keys/a", "keys/b"]);
        assert_eq!(listed(&store, "packs/"), ["packs/1/x"]);
        assert_eq!(listed(&store, "nothing/"), [""; 0]);
        assert_eq!(store.get(&name("keys/a"), 100).unwrap(), b"keys/a");
        assert_eq!((log.counts().lists, log.counts().gets), (1, 1));
        // Somebody else adds and changes; the look does not see it, and the next one does.
        sim.set_time(UNIX_EPOCH + std::time::Duration::from_secs(200));
        sim.put(&name("keys/c"), b"new", PutMode::CreateNew).unwrap();
        sim.put(&name("keys/a"), b"KEYS/A", PutMode::Replace).unwrap();
        assert_eq!(listed(&store, "keys/"), ["keys/a", "keys/b"]);
        let again = open();
        again.look().unwrap();
        assert_eq!(listed(&again, "keys/"), ["keys/a", "keys/b", "keys/c"]);
        assert_eq!(again.get(&name("keys/a"), 100).unwrap(), b"KEYS/A");
        let gets = log.counts().gets;
        assert_eq!(again.get(&name("keys/a"), 100).unwrap(), b"KEYS/A");
        assert_eq!(log.counts().gets, gets);
        // An own change ends the look.
        again.put(&name("keys/d"), b"d", PutMode::CreateNew).unwrap();
        assert_eq!(listed(&again, "keys/").len(), 4);
        again.look().unwrap();
        let mut upload = again.upload(1).unwrap();
        upload.write(b"e").unwrap();
        upload.finish(&name("keys/e"), PutMode::CreateNew).unwrap();
        again.delete(&name("keys/b")).unwrap();
        assert_eq!(listed(&again, "keys/"), ["keys/a", "keys/c", "keys/d", "keys/e"]);
        // What is not whole is not kept, nor used if it was.
        sim.put(&name("keys/e"), b"torn", PutMode::Replace).unwrap();
        again.look().unwrap();
        let gets = log.counts().gets;
        again.get(&name("keys/e"), 100).unwrap();
        again.get(&name("keys/e"), 100).unwrap();
        assert_eq!(log.counts().gets, gets + 2);
        for file in fs::read_dir(folder.path().join("kept")).unwrap() {
            let path = file.unwrap().path();
            let len = fs::metadata(&path).unwrap().len() as usize;
            fs::write(path, &b"torn........"[..len.min(12)]).unwrap();
        }
        // What is not kept, or was not looked at, is asked for.
        again.look().unwrap();
        let gets = log.counts().gets;
        again.get(&name("packs/1/x"), 100).unwrap();
        again.get(&name("packs/1/x"), 100).unwrap();
        again.end_look();
        again.get(&name("keys/a"), 100).unwrap();
        assert_eq!(log.counts().gets, gets + 3);
    }
}

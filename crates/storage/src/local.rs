//! Objects as files below one folder of this machine.
//!
//! Promises: an object has its name only when its bytes are durable, is never seen half written, and
//! with `PutMode::CreateNew` never takes the place of another, even against a second process. Reading
//! never writes. Temporary files live in `tmp/`; those that a crash left behind go at the first write
//! a day later. Objects are readable by the owner, and by the group where the root folder is.
//! Knows nothing of what objects mean; ignores every file whose name no store would make.

mod errors;
mod read;
mod write;
mod writeback;

use crate::{
    Capabilities, CreateNew, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreError, StoreResult,
    Upload,
};
use errors::failed;
use read::{Listing, OpenFiles};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;
use write::{LocalUpload, Writer};

/// How a local store is opened.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Makes the folder when it is missing. Without it a missing folder is
    /// [`ErrorKind::NoSuchPlace`], so that a backup to an unplugged disk does not fill the root disk.
    pub create_root: bool,
    /// Names become durable at [`Store::sync`] instead of one by one; see there. The bytes of an object
    /// are durable before it has a name in both cases.
    pub batch_folder_sync: bool,
    /// How many recently read objects are kept open.
    pub open_files_max: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        // 32 packs of 16 MiB cover what the threads of one restore read from at a time.
        Self { create_root: false, batch_folder_sync: true, open_files_max: 32 }
    }
}

/// A folder of this machine as a store.
pub struct LocalStore {
    writer: Arc<Writer>,
    open_files: Arc<OpenFiles>,
}

impl LocalStore {
    /// Opens the folder `path`.
    ///
    /// Fails with [`ErrorKind::NoSuchPlace`] when it is not there (and may not be created) or is no
    /// folder, and with [`ErrorKind::Denied`] when it may not be entered.
    pub fn open(path: &Path, options: &LocalOptions) -> StoreResult<Self> {
        let place = path.display().to_string();
        if options.create_root {
            write::create_root(path).map_err(|error| failed("create folder", &place, error))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => StoreError::new(ErrorKind::NoSuchPlace, format!("open {place}"))
                .because(std::io::Error::from(error)),
            _ => failed("open", &place, error),
        })?;
        Ok(Self {
            writer: Arc::new(Writer::new(root, place, options.batch_folder_sync)?),
            open_files: Arc::new(OpenFiles::new(options.open_files_max)),
        })
    }
}

/// Refuses names that would land among the temporary files or too deep to be listed.
fn check_name(name: &ObjectName) -> StoreResult<()> {
    let mut parts = name.as_str().split('/');
    let is_temp = parts.next() == Some(write::TEMP_FOLDER);
    if is_temp || parts.count() > read::FOLDERS_DEEP_MAX {
        return Err(StoreError::new(ErrorKind::Config, format!("use {name} as the name of an object")));
    }
    Ok(())
}

impl Store for LocalStore {
    fn location(&self) -> String {
        self.writer.place.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create_new: CreateNew::Atomic,
            list_after_write: true,
            received_time: true,
            parallel_requests: 4,
            local: true,
        }
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        let mut upload = self.upload(bytes.len() as u64)?;
        upload.write(bytes)?;
        upload.finish(name, mode)
    }

    fn upload(&self, _len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let open_files = self.open_files.clone();
        let replaced = Box::new(move |name: &ObjectName| open_files.forget(name));
        Ok(Box::new(LocalUpload { temp: self.writer.create_temp()?, replaced }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        let opened = read::open_object(&self.writer.root, name);
        let (file, stat) = opened.map_err(|error| self.writer.failed("read", name.as_str(), error))?;
        let len_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        if len_bytes > max_bytes {
            return Err(StoreError::new(ErrorKind::TooLarge, format!("read {name} of {len_bytes} bytes")));
        }
        read::read_range(&file, name, 0..len_bytes)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        let opened = self.open_files.open(&self.writer.root, name);
        let file = opened.map_err(|error| self.writer.failed("read", name.as_str(), error))?;
        read::read_range(&file, name, range)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        // Only the folders that the prefix names are entered, so "packs/" reads nothing else.
        let folder = prefix.rfind('/').map_or("", |at| &prefix[..=at]);
        let path = if folder.is_empty() { "." } else { folder };
        if prefix.starts_with("tmp/")
            || (!folder.is_empty() && ObjectName::new(folder.trim_end_matches('/')).is_none())
        {
            return Ok(());
        }
        if self.writer.root_is_gone() {
            // The kernel shows a removed folder as an empty one, which is the last thing to believe.
            return Err(self.writer.failed("list", prefix, Errno::NOENT));
        }
        let opened = match read::open_folder(&self.writer.root, path) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(failed("list", path, error)),
        };
        let deep = folder.matches('/').count();
        let mut listing = Listing { prefix, visit };
        listing.walk(opened, folder, deep).map(|_| ())
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        let found = rustix::fs::statat(&self.writer.root, name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        let stat = found.map_err(|error| self.writer.failed("look at", name.as_str(), error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed("look at", name, Errno::NOENT));
        }
        Ok(read::info_of(name.clone(), &stat))
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.writer.delete(name)?;
        self.open_files.forget(name);
        Ok(())
    }

    fn sync(&self) -> StoreResult<()> {
        self.writer.sync()
    }
}

#[cfg(test)]
mod tests;

//! Makes objects durable: temporary file, `fdatasync`, a name that replaces nothing, folder `fsync`.
//!
//! Promises: an object gets its name only after its bytes are on the disk; a new folder is named
//! durably before an object in it counts; after a failed folder `fsync` nothing of this store is called
//! durable any more, because the kernel forgets which names it could not write. Knows nothing of reading.

use super::errors::{failed, is_unsupported, kind_of};
use super::writeback;
use crate::{ErrorKind, ObjectName, PutMode, StoreError, StoreResult, Upload};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The folder of files that are being written. No object name may begin with it.
pub(super) const TEMP_FOLDER: &str = "tmp";
/// A temporary file untouched for this long belongs to no running process (seconds).
const TEMP_AGE_MAX_S: i64 = 24 * 60 * 60;
/// Writeback is started each time this much is new: small enough that the disk works while the next
/// bytes are made, large enough to stay one sequential write (bytes).
const WRITEBACK_STEP_BYTES: u64 = 4 << 20;

/// Folders that are made durable at the same time.
const FOLDER_SYNCS_AT_ONCE: usize = 4;

/// Ways to give a file its name without replacing another, best first.
pub(super) const BY_RENAME: u8 = 0;
/// A second name by hard link, then the temporary name goes.
pub(super) const BY_LINK: u8 = 1;
/// The name is reserved by an empty file that only one writer can create, then renamed over.
pub(super) const BY_RESERVATION: u8 = 2;

static TEMP_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The writing half of a local store.
pub(super) struct Writer {
    /// The repository folder.
    pub(super) root: OwnedFd,
    /// How the place is called in messages.
    pub(super) place: String,
    /// Whether folder `fsync` waits for [`Writer::sync`].
    pub(super) batch_folder_sync: bool,
    /// Which way of naming works here; only ever steps down.
    pub(super) naming: AtomicU8,
    file_mode: Mode,
    folder_mode: Mode,
    /// Folders whose names changed since their last `fsync`.
    unsynced_folders: Mutex<BTreeSet<String>>,
    /// Held during a sync, so that a second one does not return while the first still works.
    syncing: Mutex<()>,
    /// Why a folder `fsync` failed first; never cleared.
    sync_failed: OnceLock<Errno>,
    temp_cleaned: AtomicBool,
}

impl Writer {
    pub(super) fn new(root: OwnedFd, place: String, batch_folder_sync: bool) -> StoreResult<Self> {
        let stat = rustix::fs::fstat(&root).map_err(|error| failed("look at", &place, error))?;
        // Whoever opened the root folder to a group wants the objects to be readable by it too.
        let group = Mode::from_raw_mode(stat.st_mode) & Mode::RWXG;
        Ok(Self {
            root,
            place,
            batch_folder_sync,
            naming: AtomicU8::new(BY_RENAME),
            file_mode: Mode::RUSR | Mode::WUSR | (group - Mode::XGRP),
            folder_mode: Mode::RWXU | group,
            unsynced_folders: Mutex::new(BTreeSet::new()),
            syncing: Mutex::new(()),
            sync_failed: OnceLock::new(),
            temp_cleaned: AtomicBool::new(false),
        })
    }

    /// Opens a new file in the temporary folder, making that folder if it is not there.
    pub(super) fn create_temp(self: &Arc<Self>) -> StoreResult<TempFile> {
        self.refuse_after_failed_sync()?;
        let mut folder_made = false;
        loop {
            let number = TEMP_NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TEMP_FOLDER}/{}-{number}", std::process::id());
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match rustix::fs::openat(&self.root, name.as_str(), flags, self.file_mode) {
                Ok(fd) => {
                    let temp = TempFile::new(self.clone(), name, File::from(fd));
                    self.clean_temp_once(&temp);
                    return Ok(temp);
                }
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) if !folder_made => {
                    self.make_folders(TEMP_FOLDER)?;
                    folder_made = true;
                }
                Err(error) => return Err(self.failed("create", &name, error)),
            }
        }
    }

    /// Makes every folder of `path` that is missing. A new name must be durable before anything in it
    /// is, so the folder above is remembered for, or gets, its `fsync`.
    fn make_folders(&self, path: &str) -> StoreResult<()> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let folder = &path[..end];
            match rustix::fs::mkdirat(&self.root, folder, self.folder_mode) {
                Ok(()) => self.folder_changed(folder_above(folder))?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(self.failed("create folder", folder, error)),
            }
        }
        Ok(())
    }

    /// Removes an object.
    pub(super) fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.refuse_after_failed_sync()?;
        match rustix::fs::unlinkat(&self.root, name.as_str(), AtFlags::empty()) {
            Ok(()) => self.folder_changed(folder_above(name.as_str())),
            // A folder of that name is no object.
            Err(Errno::ISDIR) => Err(failed("delete", name, Errno::NOENT)),
            Err(Errno::PERM) if self.is_folder(name.as_str()) => Err(failed("delete", name, Errno::NOENT)),
            Err(error) => Err(self.failed("delete", name.as_str(), error)),
        }
    }

    fn is_folder(&self, path: &str) -> bool {
        rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Makes every name that was given or taken away survive power loss.
    pub(super) fn sync(&self) -> StoreResult<()> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failed_sync()?;
        let folders =
            std::mem::take(&mut *self.unsynced_folders.lock().unwrap_or_else(PoisonError::into_inner));
        let folders: Vec<&String> = folders.iter().collect();
        // Each fsync of a folder ends with a flush of the disk; those that run at the same time share one.
        let per_thread = folders.len().div_ceil(FOLDER_SYNCS_AT_ONCE).max(1);
        let sync_all = |folders: &[&String]| folders.iter().try_for_each(|folder| self.sync_folder(folder));
        std::thread::scope(|scope| {
            let mut parts = folders.chunks(per_thread);
            let own = parts.next().unwrap_or_default();
            let others: Vec<_> = parts.map(|part| scope.spawn(move || sync_all(part))).collect();
            let outcome = sync_all(own);
            let join = |other: std::thread::ScopedJoinHandle<'_, StoreResult<()>>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            others.into_iter().map(join).fold(outcome, StoreResult::and)
        })
    }

    fn folder_changed(&self, folder: &str) -> StoreResult<()> {
        if self.batch_folder_sync {
            let mut folders = self.unsynced_folders.lock().unwrap_or_else(PoisonError::into_inner);
            if !folders.contains(folder) {
                folders.insert(folder.to_owned());
            }
            return Ok(());
        }
        self.sync_folder(folder)
    }

    fn sync_folder(&self, folder: &str) -> StoreResult<()> {
        let path = if folder.is_empty() { "." } else { folder };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.root, path, flags, Mode::empty());
        match opened.and_then(rustix::fs::fsync) {
            Ok(()) => Ok(()),
            // Some FUSE and SMB mounts have no fsync for folders: there is nothing better to be had.
            Err(error) if is_unsupported(error) && error != Errno::PERM => Ok(()),
            Err(error) => {
                self.sync_failed.set(error).ok(); // the first reason stays
                Err(self.failed("make folder durable", path, error))
            }
        }
    }

    fn refuse_after_failed_sync(&self) -> StoreResult<()> {
        let Some(error) = self.sync_failed.get() else { return Ok(()) };
        // Never a kind that says something about the object, as "not found" does: callers go by that.
        let kind = match kind_of(*error) {
            ErrorKind::NoSpace => ErrorKind::NoSpace,
            _ => ErrorKind::Other,
        };
        let what = format!("write to {} after a folder of it could not be made durable", self.place);
        Err(StoreError::new(kind, what).because(std::io::Error::from(*error)))
    }

    /// Removes what crashed writers left, judged by the file system's own clock: `newest` was made just now.
    fn clean_temp_once(&self, newest: &TempFile) {
        if self.temp_cleaned.swap(true, Ordering::Relaxed) {
            return;
        }
        // Rubbish that cannot be removed costs space, not safety, and must not stop a backup.
        let _ = self.clean_temp(newest);
    }

    fn clean_temp(&self, newest: &TempFile) -> rustix::io::Result<()> {
        let now_s = rustix::fs::fstat(&newest.file)?.st_mtime;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = rustix::fs::openat(&self.root, TEMP_FOLDER, flags, Mode::empty())?;
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let stat = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if is_file && now_s.saturating_sub(stat.st_mtime) > TEMP_AGE_MAX_S {
                rustix::fs::unlinkat(&folder, entry.file_name(), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Whether the repository folder itself was removed since it was opened.
    pub(super) fn root_is_gone(&self) -> bool {
        rustix::fs::fstat(&self.root).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Like [`failed`], but tells a repository folder that has gone from an object that is not there.
    pub(super) fn failed(&self, verb: &str, name: &str, error: Errno) -> StoreError {
        if error == Errno::NOENT && self.root_is_gone() {
            let what = format!("{verb} {name} in {}", self.place);
            return StoreError::new(ErrorKind::NoSuchPlace, what).because(std::io::Error::from(error));
        }
        failed(verb, name, error)
    }
}

fn folder_above(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// A file without a final name. It goes when it is dropped before it has one.
pub(super) struct TempFile {
    writer: Arc<Writer>,
    name: String,
    file: File,
    len_bytes: u64,
    writeback_bytes: u64,
    named: bool,
}

impl TempFile {
    fn new(writer: Arc<Writer>, name: String, file: File) -> Self {
        Self { writer, name, file, len_bytes: 0, writeback_bytes: 0, named: false }
    }

    /// Appends bytes and lets the disk start on them.
    pub(super) fn append(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.file.write_all(bytes).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            self.writer.failed("write", &self.name, errno)
        })?;
        self.len_bytes += bytes.len() as u64;
        if self.len_bytes - self.writeback_bytes >= WRITEBACK_STEP_BYTES {
            writeback::start(&self.file, self.writeback_bytes..self.len_bytes);
            self.writeback_bytes = self.len_bytes;
        }
        Ok(())
    }

    /// Makes the bytes durable, then visible as `name`, then, unless that is batched, the name durable.
    pub(super) fn publish(mut self, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        self.writer.refuse_after_failed_sync()?;
        // A failed fdatasync is never repeated: the kernel has marked the lost pages clean, so a second
        // call would say yes. The file goes instead.
        rustix::fs::fdatasync(&self.file)
            .map_err(|error| self.writer.failed("make durable", name.as_str(), error))?;
        match self.give_name(name.as_str(), mode) {
            Err(Errno::NOENT) => {
                self.writer.make_folders(folder_above(name.as_str()))?;
                self.give_name(name.as_str(), mode)
            }
            other => other,
        }
        .map_err(|error| self.writer.failed("name", name.as_str(), error))?;
        self.named = true;
        self.writer.folder_changed(folder_above(name.as_str()))
    }

    fn give_name(&self, name: &str, mode: PutMode) -> rustix::io::Result<()> {
        if mode == PutMode::Replace {
            return rustix::fs::renameat(&self.writer.root, &self.name, &self.writer.root, name);
        }
        loop {
            let way = self.writer.naming.load(Ordering::Relaxed);
            let outcome = match way {
                BY_RENAME => self.rename_to_free_name(name),
                BY_LINK => self.link_to_free_name(name),
                _ => return self.reserve_and_rename(name),
            };
            match outcome {
                Err(error) if is_unsupported(error) => {
                    self.writer.naming.fetch_max((way + 1).min(BY_RESERVATION), Ordering::Relaxed);
                }
                other => return other,
            }
        }
    }

    fn rename_to_free_name(&self, name: &str) -> rustix::io::Result<()> {
        let root = &self.writer.root;
        rustix::fs::renameat_with(root, &self.name, root, name, RenameFlags::NOREPLACE)
    }

    fn link_to_free_name(&self, name: &str) -> rustix::io::Result<()> {
        let root = &self.writer.root;
        rustix::fs::linkat(root, &self.name, root, name, AtFlags::empty())?;
        // A second name left in the temporary folder is cleaned like any other leftover.
        let _ = rustix::fs::unlinkat(root, &self.name, AtFlags::empty());
        Ok(())
    }

    /// For exFAT, SMB and FUSE: only one writer can create the name; it then renames over its own empty
    /// file. Cut off in between, an empty object stays, which every reader sees by its length.
    fn reserve_and_rename(&self, name: &str) -> rustix::io::Result<()> {
        let root = &self.writer.root;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        drop(rustix::fs::openat(root, name, flags, self.writer.file_mode)?);
        rustix::fs::renameat(root, &self.name, root, name).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(root, name, AtFlags::empty());
        })
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.named {
            // Nothing more can be done about a leftover here; it is cleaned a day later.
            let _ = rustix::fs::unlinkat(&self.writer.root, &self.name, AtFlags::empty());
        }
    }
}

/// An object written straight into its temporary file.
pub(super) struct LocalUpload {
    pub(super) temp: TempFile,
    /// Forgets the open handle of a replaced object.
    pub(super) replaced: Box<dyn Fn(&ObjectName) + Send>,
}

impl Upload for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.temp.append(bytes)
    }

    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        super::check_name(name)?;
        self.temp.publish(name, mode)?;
        (self.replaced)(name);
        Ok(())
    }
}

/// Makes the repository folder itself, with every missing folder above it, readable by its owner only.
pub(super) fn create_root(path: &std::path::Path) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Err(Errno::NOENT) => {
            let above = path.parent().ok_or(Errno::NOENT)?;
            create_root(above)?;
            create_root(path)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            let above = above.unwrap_or(std::path::Path::new("."));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            // A folder above that may be entered but not read cannot be synced; that is not ours to judge.
            match rustix::fs::openat(CWD, above, flags, Mode::empty()).and_then(rustix::fs::fsync) {
                Err(error) if error != Errno::ACCESS && !is_unsupported(error) => Err(error),
                _ => Ok(()),
            }
        }
    }
}

#[cfg(test)]
impl Writer {
    /// The folders that the next sync will make durable.
    pub(super) fn unsynced(&self) -> Vec<String> {
        self.unsynced_folders.lock().expect("no test panics with the lock").iter().cloned().collect()
    }
}

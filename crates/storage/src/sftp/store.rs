//! The store itself: objects are files below one folder of an SSH server.
//!
//! How an object comes to be, step by step, stands in `upload.rs`; how lists are made, in `list.rs`. Only
//! plain files with well-formed names count as objects.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::TEMPORARY_FOLDER;
use super::fault::Fault;
use super::list::{Listing, object_info};
use super::place::Place;
use super::pool::Lease;
use super::read::{OpenFile, ReadFault};
use super::upload::SftpUpload;
use super::wire::{EntryKind, Reply, Request};
use crate::{
    Capabilities, CreateNew, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreError, StoreResult,
    Upload,
};

/// Deeper folders are not ours; a limit keeps a hostile tree from becoming an endless list.
pub(super) const FOLDERS_DEEP_MAX: usize = 6;

/// Requests on one connection overlap on the line, though not at the server: enough to hide its latency.
const REQUESTS_PER_CONNECTION: usize = 4;

/// A folder on an SSH server.
pub(super) struct SftpStore(pub(super) Arc<Place>);

/// Refuses names that would land among the temporary files or too deep to be listed.
pub(super) fn check_name(name: &ObjectName) -> StoreResult<()> {
    let mut parts = name.as_str().split('/');
    let is_temporary = parts.next() == Some(TEMPORARY_FOLDER);
    if is_temporary || parts.count() > FOLDERS_DEEP_MAX {
        return Err(StoreError::new(ErrorKind::Config, format!("use {name} as the name of an object")));
    }
    Ok(())
}

impl Store for SftpStore {
    fn location(&self) -> String {
        self.0.location.clone()
    }

    fn capabilities(&self) -> Capabilities {
        let create_new = match self.0.has_hard_links() {
            true => CreateNew::Atomic,
            false => CreateNew::BestEffort,
        };
        Capabilities {
            create_new,
            list_after_write: true,
            received_time: true,
            parallel_requests: self.0.connections() * REQUESTS_PER_CONNECTION,
            local: false,
        }
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        check_name(name)?;
        let mut upload = Box::new(SftpUpload::create(Arc::clone(&self.0))?);
        upload.write(bytes)?;
        upload.finish(name, mode)
    }

    fn upload(&self, _len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        Ok(Box::new(SftpUpload::create(Arc::clone(&self.0))?))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        let what = || format!("read {name}");
        let lease = self.0.lease()?;
        let (file, len_bytes) = self.open_object(&lease, name, what)?;
        if len_bytes > max_bytes {
            return Err(StoreError::new(ErrorKind::TooLarge, format!("read {name} of {len_bytes} bytes")));
        }
        read_bytes(&file, 0..len_bytes, what)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        let what = || format!("read bytes {}..{} of {name}", range.start, range.end);
        if range.start > range.end {
            return Err(StoreError::new(ErrorKind::Config, what()));
        }
        let lease = self.0.lease()?;
        let (file, len_bytes) = self.open_object(&lease, name, what)?;
        // Asked before room is made: a range out of a damaged index must not become a huge allocation.
        if len_bytes < range.end {
            return Err(StoreError::new(ErrorKind::Truncated, what()));
        }
        read_bytes(&file, range.clone(), what)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_temporary = folder.split('/').next() == Some(TEMPORARY_FOLDER);
        if is_temporary || (!folder.is_empty() && ObjectName::new(folder).is_none()) {
            return Ok(());
        }
        let what = || format!("list \"{prefix}\"");
        let lease = self.0.lease()?;
        let mut listing = Listing { session: &lease, root: self.0.root_prefix(), prefix, visit };
        let folder_is_there = listing.run(folder).map_err(|fault| fault.at(what()))?;
        // No folder for the prefix is an empty list; no root would make a lost disk look like an empty store.
        if !folder_is_there && !self.0.exists(&lease, self.0.root_path()).map_err(|fault| fault.at(what()))? {
            return Err(StoreError::new(ErrorKind::NoSuchPlace, what()));
        }
        Ok(())
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        let what = || format!("look at {name}");
        let lease = self.0.lease()?;
        match lease.call(Request::LinkStat { path: &self.0.path(name.as_str()) }) {
            Ok(Reply::Attributes(attributes)) => match attributes.kind(b"-") {
                EntryKind::File => Ok(object_info(name, &attributes)),
                _ => Err(not_a_file(what())),
            },
            Ok(_) => Err(Fault::Protocol("a stat without attributes").at(what())),
            Err(fault) => Err(self.0.object_error(&lease, fault, what())),
        }
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        let what = || format!("delete {name}");
        check_name(name)?;
        let lease = self.0.lease_for_writing()?;
        let path = self.0.path(name.as_str());
        let fault = match lease.call(Request::Remove { path: &path }) {
            Ok(_) => {
                self.0.note(&lease, &path, None);
                return Ok(());
            }
            Err(fault) => fault,
        };
        if fault.kind() == ErrorKind::NotFound || fault.is_fatal() {
            return Err(self.0.object_error(&lease, fault, what()));
        }
        // Servers refuse to remove folders in various words.
        match lease.call(Request::LinkStat { path: &path }) {
            Ok(Reply::Attributes(attributes)) if attributes.kind(b"-") != EntryKind::File => {
                Err(not_a_file(what()))
            }
            _ => Err(self.0.failure(&lease, fault, what())),
        }
    }

    fn sync(&self) -> StoreResult<()> {
        self.0.sync()
    }
}

impl SftpStore {
    fn open_object<'a>(
        &self,
        lease: &'a Lease,
        name: &ObjectName,
        what: impl Fn() -> String,
    ) -> StoreResult<(OpenFile<'a>, u64)> {
        let opened = OpenFile::open(lease, &self.0.path(name.as_str()));
        let file = opened.map_err(|fault| self.0.object_error(lease, fault, what()))?;
        if file.attributes.kind(b"-") != EntryKind::File {
            return Err(not_a_file(what()));
        }
        match file.attributes.len_bytes {
            Some(len_bytes) => Ok((file, len_bytes)),
            None => Err(Fault::Protocol("attributes without a length").at(what())),
        }
    }
}

fn read_bytes(file: &OpenFile<'_>, range: Range<u64>, what: impl Fn() -> String) -> StoreResult<Vec<u8>> {
    let too_large = |_| StoreError::new(ErrorKind::TooLarge, what());
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(too_large)?];
    match file.fill(range.start, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(ReadFault::Ended) => Err(StoreError::new(ErrorKind::Truncated, what())),
        Err(ReadFault::Failed(fault)) => Err(fault.at(what())),
    }
}

fn not_a_file(what: String) -> StoreError {
    StoreError::new(ErrorKind::NotFound, what).because("there is something else of that name")
}

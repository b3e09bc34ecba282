//! Counts and remembers requests, so that tests can state what an operation may cost.

use crate::{
    Capabilities, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreResult, Upload,
    buffered::BufferedUpload,
};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// Kinds of requests. A `finish` of an upload counts as a `Put`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// `put`, or the `finish` of an upload.
    Put,
    /// `get`.
    Get,
    /// `get_range`.
    GetRange,
    /// `list`.
    List,
    /// `stat`.
    Stat,
    /// `delete`.
    Delete,
    /// `sync`.
    Sync,
}

/// One request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What was asked for.
    pub kind: RequestKind,
    /// The object, or the prefix of a list; empty for `sync`.
    pub name: String,
    /// Bytes of the object sent or received; for a list the number of objects shown.
    pub bytes: u64,
    /// How it failed, if it did.
    pub error: Option<ErrorKind>,
}

/// Requests by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Objects stored.
    pub puts: u64,
    /// Objects read whole.
    pub gets: u64,
    /// Ranges read.
    pub range_gets: u64,
    /// Lists.
    pub lists: u64,
    /// Questions for length and time.
    pub stats: u64,
    /// Objects removed.
    pub deletes: u64,
    /// Ordering points.
    pub syncs: u64,
}

impl RequestCounts {
    /// All requests but `sync`, which costs no round trip on a remote store.
    pub fn total(&self) -> u64 {
        self.puts + self.gets + self.range_gets + self.lists + self.stats + self.deletes
    }
}

/// Requests in the order in which they ended. Clones share one log.
#[derive(Clone, Debug, Default)]
pub struct RequestLog {
    requests: Arc<Mutex<Vec<Request>>>,
}

impl RequestLog {
    /// Notes a request and passes its outcome on.
    pub fn note<T>(
        &self,
        kind: RequestKind,
        name: &str,
        bytes: impl FnOnce(&T) -> u64,
        outcome: StoreResult<T>,
    ) -> StoreResult<T> {
        let (bytes, error) = match &outcome {
            Ok(value) => (bytes(value), None),
            Err(error) => (0, Some(error.kind())),
        };
        self.lock().push(Request { kind, name: name.to_owned(), bytes, error });
        outcome
    }

    /// Everything since the start or the last `clear`.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().clone()
    }

    /// Requests by kind, failed ones included.
    pub fn counts(&self) -> RequestCounts {
        let mut counts = RequestCounts::default();
        for request in self.lock().iter() {
            *match request.kind {
                RequestKind::Put => &mut counts.puts,
                RequestKind::Get => &mut counts.gets,
                RequestKind::GetRange => &mut counts.range_gets,
                RequestKind::List => &mut counts.lists,
                RequestKind::Stat => &mut counts.stats,
                RequestKind::Delete => &mut counts.deletes,
                RequestKind::Sync => &mut counts.syncs,
            } += 1;
        }
        counts
    }

    /// Forgets what was noted.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store that notes every request to the one below.
pub struct RecordStore {
    inner: Arc<dyn Store>,
    log: RequestLog,
}

impl RecordStore {
    /// Puts a log around `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, log: RequestLog::default() }
    }

    /// The log; stays connected to this store.
    pub fn log(&self) -> RequestLog {
        self.log.clone()
    }
}

impl Store for RecordStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        let outcome = self.inner.put(name, bytes, mode);
        self.log.note(RequestKind::Put, name.as_str(), |()| bytes.len() as u64, outcome)
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        let outcome = self.inner.put_shared(name, bytes, mode);
        self.log.note(RequestKind::Put, name.as_str(), |()| bytes.len() as u64, outcome)
    }

    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let (inner, log) = (self.inner.clone(), self.log.clone());
        Ok(BufferedUpload::start(len_hint_bytes, move |bytes, name: &ObjectName, mode| {
            let outcome = inner.put_shared(name, &bytes, mode);
            log.note(RequestKind::Put, name.as_str(), |()| bytes.len() as u64, outcome)
        }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        let outcome = self.inner.get(name, max_bytes);
        self.log.note(RequestKind::Get, name.as_str(), |bytes| bytes.len() as u64, outcome)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        let outcome = self.inner.get_range(name, range);
        self.log.note(RequestKind::GetRange, name.as_str(), |bytes| bytes.len() as u64, outcome)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        let mut shown = 0;
        let outcome = self.inner.list(prefix, &mut |info| {
            shown += 1;
            visit(info)
        });
        self.log.note(RequestKind::List, prefix, |()| shown, outcome)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        let outcome = self.inner.stat(name);
        self.log.note(RequestKind::Stat, name.as_str(), |_| 0, outcome)
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        let outcome = self.inner.delete(name);
        self.log.note(RequestKind::Delete, name.as_str(), |()| 0, outcome)
    }

    fn sync(&self) -> StoreResult<()> {
        let outcome = self.inner.sync();
        self.log.note(RequestKind::Sync, "", |()| 0, outcome)
    }

    fn look(&self) -> StoreResult<()> {
        self.inner.look()
    }

    fn end_look(&self) {
        self.inner.end_look();
    }
}

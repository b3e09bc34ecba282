//! Object stores, WebDAV servers and people's drives, all reached through OpenDAL, which no other part of lifeboat names.
//!
//! Blocking calls over one private runtime that all remote stores share. Keeps the promises of `Store` as
//! far as the place does: `CreateNew` is the server's own condition on S3, Google and Azure, and a look
//! beforehand elsewhere. A WebDAV object is sent under a temporary name and moved, because not every
//! server hides half an upload. Nothing is retried here, and lists are put into name order.

mod bearer;
mod errors;
mod http;
mod leftovers;
mod listing;
mod service;
mod wire;

pub(crate) use service::WEBDAV_PASSWORD;
pub(crate) use wire::Line;
pub use wire::{Wire, WireAnswer, WireRequest};

use crate::powers::{Versions, done};
use crate::{
    Capabilities, CreateNew, DriveService, ErrorKind, Location, ObjectInfo, ObjectName, PutMode,
    RemoteOptions, Store, StoreError, StoreResult, Upload, buffered::BufferedUpload,
};
use bytes::Bytes;
use errors::failed;
use futures_util::TryStreamExt;
use opendal::{Buffer, HttpTransporter, Metadata, OperationContext, Operator};
use std::future::Future;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Larger objects are sent in parts (bytes). Packs stay below, which is one request each.
const WHOLE_PUT_MAX_BYTES: usize = 64 << 20;
/// Size of such a part (bytes). S3 allows 10,000 parts, so 160 GiB.
const PART_BYTES: usize = 16 << 20;
/// No request takes longer than this and what its bytes need at [`SLOWEST_BYTES_PER_S`].
const REQUEST_TIME_MAX: Duration = Duration::from_secs(180);
/// A line slower than this counts as cut (bytes per second).
const SLOWEST_BYTES_PER_S: u64 = 16 << 10;
/// The folder of unfinished WebDAV uploads. No object name may begin with it.
const TEMP_FOLDER: &str = "tmp";

/// So many files of one name are removed at once where a drive lets several have it.
const DOUBLES_MAX: usize = 16;

/// What differs between places of one kind and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bucket,
    Webdav,
    Drive(DriveService),
}

static TEMP_NUMBER: AtomicU64 = AtomicU64::new(0);

/// An object store or WebDAV server as a store. Clones share connections.
#[derive(Clone)]
pub struct RemoteStore {
    operator: Operator,
    runtime: &'static Runtime,
    location: Arc<str>,
    kind: Kind,
    /// Stores in another class, and what the names of such objects begin with.
    cold: Option<(Operator, Arc<str>)>,
    /// Whether the server itself refuses to replace; dropped when it turns out not to know the condition.
    conditional: Arc<AtomicBool>,
    /// Whether the temporary folder of a WebDAV server was looked through.
    temp_cleaned: Arc<AtomicBool>,
}

impl RemoteStore {
    /// Prepares a store; nothing is sent yet, so a wrong address or login shows at the first request.
    pub fn open(location: &Location, options: RemoteOptions<'_>) -> StoreResult<Self> {
        let nothing = |_: &str| None;
        let operator = service::operator(location, options.lookup.unwrap_or(&nothing))?;
        let line = Line::new(&options)?;
        let (kind, transport) = match location {
            Location::Drive(drive) => {
                let keeper = service::login_keeper(drive, &options)?;
                let login = service::login(drive, &*keeper)?;
                let bearer = bearer::Bearer::new(line, keeper, login);
                (Kind::Drive(drive.service), HttpTransporter::new(bearer))
            }
            Location::Webdav(_) => (Kind::Webdav, HttpTransporter::new(line)),
            _ => (Kind::Bucket, HttpTransporter::new(line)),
        };
        let context = OperationContext::default().with_http_transport(transport);
        let operator = operator.with_context(context.clone());
        let cold = service::cold_operator(location, options.lookup.unwrap_or(&nothing))?;
        let cold_prefix: Arc<str> = options.cold_prefix.unwrap_or("").into();
        let cold = cold.map(|cold| (cold.with_context(context), cold_prefix));
        let conditional =
            operator.info().capability().write_with_if_not_exists && !options.look_before_create;
        Ok(Self {
            operator,
            runtime: runtime()?,
            location: location.to_string().into(),
            kind,
            cold,
            conditional: Arc::new(AtomicBool::new(conditional)),
            temp_cleaned: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Runs a request to its end, or until it has taken longer than any line that is alive.
    fn run<T>(
        &self,
        what: impl Fn() -> String,
        bytes: u64,
        request: impl Future<Output = opendal::Result<T>>,
    ) -> StoreResult<T> {
        let time_max = REQUEST_TIME_MAX + Duration::from_secs(bytes / SLOWEST_BYTES_PER_S);
        let outcome = self.runtime.block_on(async { tokio::time::timeout(time_max, request).await });
        match outcome {
            Ok(outcome) => outcome.map_err(|error| match self.kind {
                Kind::Webdav => errors::failed_at_webdav(what(), &error),
                _ => failed(what(), &error),
            }),
            Err(_) => {
                let why = format!("no answer within {} s", time_max.as_secs());
                Err(StoreError::new(ErrorKind::Transient, what()).because(why))
            }
        }
    }

    fn put_buffer(&self, name: &ObjectName, content: Buffer, mode: PutMode) -> StoreResult<()> {
        if self.kind == Kind::Webdav {
            return self.put_by_move(name, content, mode);
        }
        if mode == PutMode::CreateNew && self.conditional.load(Ordering::Relaxed) {
            return match self.write(name.as_str(), content.clone(), true) {
                // A server that does not know the condition says so once; from then on we look beforehand.
                Err(error) if error.kind() == ErrorKind::Other && is_not_implemented(&error) => {
                    self.conditional.store(false, Ordering::Relaxed);
                    self.refuse_taken(name)?;
                    self.write(name.as_str(), content, false)
                }
                other => other,
            };
        }
        if mode == PutMode::CreateNew {
            self.refuse_taken(name)?;
        }
        self.write(name.as_str(), content, false)
    }

    fn write(&self, path: &str, content: Buffer, if_not_exists: bool) -> StoreResult<()> {
        let len = content.len();
        let mut request = self.operator_for(path).write_with(path, content);
        if if_not_exists {
            request = request.if_not_exists(true);
        }
        if len > WHOLE_PUT_MAX_BYTES && self.kind == Kind::Bucket {
            request = request.chunk(PART_BYTES).concurrent(2);
        }
        self.run(|| format!("write {path}"), len as u64, async { request.await.map(|_| ()) })
    }

    fn operator_for(&self, path: &str) -> &Operator {
        match &self.cold {
            Some((cold, prefix)) if path.starts_with(&**prefix) => cold,
            _ => &self.operator,
        }
    }

    /// Stores an object and tells its version, where the place keeps versions.
    pub(crate) fn put_for_version(&self, name: &ObjectName, bytes: &[u8]) -> StoreResult<Option<String>> {
        let what = || format!("write {name}");
        let write = |is_new| {
            let request = self.operator.write_with(name.as_str(), bytes.to_vec()).if_not_exists(is_new);
            self.run(what, bytes.len() as u64, async { request.await })
        };
        // A policy may demand the condition, and a server may not know it.
        let stored = match self.conditional.load(Ordering::Relaxed) {
            true => match write(true) {
                Err(error) if is_not_implemented(&error) => write(false),
                other => other,
            },
            false => write(false),
        }?;
        Ok(stored.version().filter(|version| *version != "null").map(str::to_owned))
    }

    /// Tries to remove a version for good.
    pub(crate) fn try_to_remove_version(&self, name: &ObjectName, version: &str) -> StoreResult<Versions> {
        let request = self.operator.delete_with(name.as_str()).version(version);
        match done(self.run(|| format!("delete a version of {name}"), 0, async { request.await }))? {
            true => Ok(Versions::Removed),
            false => Ok(Versions::Held),
        }
    }

    fn refuse_taken(&self, name: &ObjectName) -> StoreResult<()> {
        match self.stat(name) {
            Ok(_) => Err(StoreError::new(ErrorKind::AlreadyExists, format!("write {name}"))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn put_by_move(&self, name: &ObjectName, content: Buffer, mode: PutMode) -> StoreResult<()> {
        if name.as_str().split('/').next() == Some(TEMP_FOLDER) {
            return Err(StoreError::new(ErrorKind::Config, format!("use {name} as the name of an object")));
        }
        if mode == PutMode::CreateNew {
            self.refuse_taken(name)?;
        }
        let temp = temp_name();
        let outcome = self.write(&temp, content, false).and_then(|()| {
            if !self.temp_cleaned.swap(true, Ordering::Relaxed) {
                leftovers::clean(self, &temp);
            }
            self.run(|| format!("name {name}"), 0, self.operator.rename(&temp, name.as_str()))
        });
        // A server whose own disk or line fails says "not found" to a write.
        let outcome = outcome.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                StoreError::new(ErrorKind::Transient, format!("write {name}")).because(error)
            }
            _ => error,
        });
        if outcome.is_err() {
            // What cannot be removed now costs space only; the error that is told is the first one.
            let _ = self.run(String::new, 0, self.operator.delete(&temp));
        }
        outcome
    }

    /// The path of an entry of `folder`: Dropbox's entries come with their last name alone.
    fn path_in(&self, folder: &str, path: &str) -> String {
        match self.kind {
            Kind::Drive(DriveService::Dropbox) => format!("{folder}{path}"),
            _ => path.to_owned(),
        }
    }

    /// Removes the other files of this name: Google's drive lets several have it.
    fn delete_doubles(&self, name: &ObjectName) -> StoreResult<()> {
        for _ in 0..DOUBLES_MAX {
            // The operator in use remembers that the name is gone; one that knows nothing asks.
            let asking = service::fresh(&self.operator)?;
            let what = || format!("delete {name}");
            match self.run(what, 0, asking.stat(name.as_str())) {
                Ok(_) => self.run(what, 0, asking.delete(name.as_str()))?,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::new(ErrorKind::Transient, format!("delete {name}"))
            .because("the name keeps coming back"))
    }

    /// Some WebDAV servers say "not found" to a read whenever they cannot read: only a look tells.
    fn doubted<T>(&self, name: &ObjectName, outcome: StoreResult<T>) -> StoreResult<T> {
        match outcome {
            Err(error) if self.kind == Kind::Webdav && error.kind() == ErrorKind::NotFound => {
                self.stat(name)?;
                Err(StoreError::new(ErrorKind::Transient, format!("read {name}")).because(error))
            }
            other => other,
        }
    }

    async fn read_bounded(&self, name: &ObjectName, max_bytes: u64) -> opendal::Result<Option<Vec<u8>>> {
        let reader = self.operator.reader(name.as_str()).await?;
        let mut parts = reader.into_stream(..).await?;
        let mut bytes = Vec::new();
        while let Some(part) = parts.try_next().await? {
            if bytes.len() as u64 + part.len() as u64 > max_bytes {
                return Ok(None);
            }
            part.for_each(|slice| bytes.extend_from_slice(&slice));
        }
        Ok(Some(bytes))
    }
}

/// Lets a request hold on to an object without a copy of it.
struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Unique among the clients of a place: two machines may have the same process number.
fn temp_name() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let number = TEMP_NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{TEMP_FOLDER}/{:x}-{}-{number}", since.as_nanos(), std::process::id())
}

fn is_not_implemented(error: &StoreError) -> bool {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    cause.contains("HTTP status 501") || cause.contains("NotImplemented")
}

/// One runtime for all remote stores. The calling threads do most of the work themselves.
pub(crate) fn runtime() -> StoreResult<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("lifeboat-remote")
        .enable_all()
        .build()
        .map_err(|error| {
            StoreError::new(ErrorKind::Other, "start the threads for remote places").because(error)
        })?;
    Ok(RUNTIME.get_or_init(|| made))
}

fn info_of(name: ObjectName, metadata: &Metadata) -> ObjectInfo {
    let received = metadata.last_modified().map(SystemTime::from);
    ObjectInfo { name, len_bytes: metadata.content_length(), received }
}

impl Store for RemoteStore {
    fn location(&self) -> String {
        self.location.to_string()
    }

    fn capabilities(&self) -> Capabilities {
        let create_new = match self.conditional.load(Ordering::Relaxed) {
            true => CreateNew::Atomic,
            false => CreateNew::BestEffort,
        };
        Capabilities {
            create_new,
            // Google says of its drive's lists that they come right in the end. Nothing seen here could
            // prove more: what this process wrote it is shown at once, whatever others are shown.
            list_after_write: self.kind != Kind::Drive(DriveService::Gdrive),
            received_time: true,
            parallel_requests: if self.kind == Kind::Bucket { 16 } else { 4 },
            local: false,
        }
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.put_buffer(name, Buffer::from(bytes.to_vec()), mode)
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.put_buffer(name, Buffer::from(Bytes::from_owner(SharedBytes(bytes.clone()))), mode)
    }

    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let store = self.clone();
        Ok(BufferedUpload::start(len_hint_bytes, move |bytes, name: &ObjectName, mode| {
            store.put_shared(name, &bytes, mode)
        }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        let what = || format!("read {name}");
        // The time allowed covers what may come at most, but no more than the largest object of ours.
        let time_bytes = max_bytes.min(WHOLE_PUT_MAX_BYTES as u64);
        let read = self.run(what, time_bytes, self.read_bounded(name, max_bytes));
        let bytes = self.doubted(name, read)?;
        bytes.ok_or_else(|| StoreError::new(ErrorKind::TooLarge, what()))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        let what = || format!("read bytes {}..{} of {name}", range.start, range.end);
        let truncated = || StoreError::new(ErrorKind::Truncated, what());
        let Some(len) = range.end.checked_sub(range.start) else {
            return Err(StoreError::new(ErrorKind::Config, what()));
        };
        if len == 0 {
            // HTTP cannot ask for no bytes.
            return if self.stat(name)?.len_bytes < range.end { Err(truncated()) } else { Ok(Vec::new()) };
        }
        // At most what an object of ours can hold is awaited; the answer decides, not the question.
        let time_bytes = len.min(WHOLE_PUT_MAX_BYTES as u64);
        let request = self.operator.read_with(name.as_str()).range(range.clone());
        match self.run(what, time_bytes, async { request.await }) {
            Ok(bytes) if bytes.len() as u64 == len => Ok(bytes.to_vec()),
            Err(error) if !matches!(error.kind(), ErrorKind::Other | ErrorKind::Transient) => {
                self.doubted(name, Err(error))
            }
            short_or_failed => {
                // A short answer is either a short object or a cut line; only the object's length tells.
                if self.stat(name)?.len_bytes < range.end {
                    return Err(truncated());
                }
                short_or_failed.and_then(|_| Err(StoreError::new(ErrorKind::Transient, what())))
            }
        }
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        match self.kind {
            Kind::Bucket => listing::flat(self, prefix, visit),
            Kind::Webdav | Kind::Drive(_) => listing::by_folder(self, prefix, visit),
        }
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        let what = || format!("look at {name}");
        let metadata = self.run(what, 0, self.operator.stat(name.as_str()))?;
        match metadata.is_file() {
            true => Ok(info_of(name.clone(), &metadata)),
            false => Err(StoreError::new(ErrorKind::NotFound, what())),
        }
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        // These services say yes to the removal of what is not there.
        self.stat(name)?;
        let delete = || self.run(|| format!("delete {name}"), 0, self.operator.delete(name.as_str()));
        delete()?;
        if self.kind == Kind::Drive(DriveService::Gdrive) {
            self.delete_doubles(name)?;
        }
        Ok(())
    }
}

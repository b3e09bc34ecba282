//! Named, immutable objects somewhere: a folder, an SSH server, an object store.
//!
//! [`Store`] is the only door through which lifeboat touches stored bytes. It is blocking, small and
//! object-safe; every implementation is judged by the same conformance suite. A store knows nothing
//! of what the objects mean, nothing of keys and nothing of retention.
//!
//! Promises a store makes:
//! - an object becomes visible whole or not at all; its bytes are durable before it has its name, and it
//!   outlives a power cut once [`Store::sync`] has returned after its `put`;
//! - `PutMode::CreateNew` never replaces an object *if* [`Capabilities::create_new`] is `Atomic`;
//! - lists are in name order and complete for everything whose `put` returned before the list began,
//!   *if* [`Capabilities::list_after_write`] holds. What a place really keeps is probed, never assumed.

mod buffered;
mod cache;
pub mod conformance;
mod error;
mod local;
mod location;
mod look;
mod name;
#[cfg(feature = "remote")]
pub mod oauth;
mod open;
pub mod planted;
mod powers;
mod probe;
#[cfg(feature = "remote")]
mod rclone;
mod read_only;
mod record;
#[cfg(feature = "remote")]
mod remote;
pub mod removable;
mod retry;
#[cfg(feature = "sftp")]
pub mod sftp;
mod sim;
pub mod thaw;
mod throttle;

pub use cache::{CacheOptions, CacheStore, Verify};
pub use error::{ErrorKind, StoreError, StoreResult};
pub use local::{LocalOptions, LocalStore};
pub use location::{
    BucketLocation, BucketService, DriveLocation, DriveService, Location, RcloneLocation, RemovableLocation,
    WebdavLocation, is_login_name,
};
pub use look::LookStore;
pub use name::ObjectName;
#[cfg(feature = "remote")]
pub use open::Logins;
pub use open::{Lookup, OpenOptions, RemoteOptions, open};
pub use powers::{Powers, Versions, powers};
pub use probe::{CreateNewKept, ProbeResult, probe};
#[cfg(feature = "remote")]
pub use rclone::RcloneStore;
pub use read_only::{ReadOnlyStore, Refusal};
pub use record::{RecordStore, Request, RequestCounts, RequestKind, RequestLog};
#[cfg(feature = "remote")]
pub use remote::{RemoteStore, Wire, WireAnswer, WireRequest};
pub use retry::{RetryOptions, RetryStore, Wait};
pub use sim::{Crash, CrashPoint, Faults, SimStore};
pub use throttle::{Rates, ThrottleOptions, ThrottleStore};

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::SystemTime;

/// What a `put` may do when the name is already taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Fail with [`ErrorKind::AlreadyExists`] when an object of that name exists.
    CreateNew,
    /// Replace whatever is there.
    Replace,
}

/// What a store tells about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// When the *store* received it, by the store's own clock; `None` where the place does not say.
    pub received: Option<SystemTime>,
}

/// How `PutMode::CreateNew` is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateNew {
    /// The store itself refuses to replace: two racing writers cannot both succeed.
    Atomic,
    /// Only checked beforehand; two racing writers may both succeed.
    BestEffort,
}

/// What a place is known to keep. Static claims of the implementation, corrected by the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How `CreateNew` is kept.
    pub create_new: CreateNew,
    /// A list started after a `put` returned shows the object.
    pub list_after_write: bool,
    /// Objects have a receive time by the store's clock.
    pub received_time: bool,
    /// Many requests in flight are cheap (object stores) or not (one spinning disk).
    pub parallel_requests: usize,
    /// The objects are files of this machine: ranged reads cost no round trip.
    pub local: bool,
}

/// An object being written whose name is not known before its last byte.
///
/// Dropping an upload without `finish` leaves nothing visible behind.
pub trait Upload: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()>;
    /// Gives the object its name and makes it visible; durable as after `put`.
    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()>;
}

/// Named objects somewhere. See the module head for the promises.
pub trait Store: Send + Sync {
    /// The place in words, for messages: a URL or path without any secret.
    fn location(&self) -> String;
    /// What this place keeps.
    fn capabilities(&self) -> Capabilities;
    /// Stores a whole object. See [`Store::sync`] for when it survives a power cut.
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()>;
    /// Like `put`, of bytes that a store may keep hold of instead of copying them.
    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.put(name, bytes, mode)
    }
    /// Starts an object that is written in pieces and named last. `len_hint_bytes` is a guess.
    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>>;
    /// Reads a whole object; refuses with [`ErrorKind::TooLarge`] beyond `max_bytes`.
    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>>;
    /// Reads exactly `range`; an object that ends before is [`ErrorKind::Truncated`].
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>>;
    /// Visits every object whose name starts with `prefix` ("packs/", "" for all), in name order.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()>;
    /// Tells length and receive time of one object.
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo>;
    /// Removes an object, for good after the next [`Store::sync`]; an absent one is [`ErrorKind::NotFound`].
    fn delete(&self, name: &ObjectName) -> StoreResult<()>;
    /// Makes everything whose `put`, `finish` or `delete` returned before this call survive power loss.
    ///
    /// Without it, after a power cut, an object that was put may be absent (never torn: its bytes are
    /// durable before its name), and one that was deleted may be back. Objects named since the last
    /// `sync` may be lost in any combination, so whoever publishes an object that refers to others calls
    /// `sync` between them: packs, `sync`, index, `sync`, snapshot, `sync`. The crash of a process alone
    /// loses nothing. A local store batches the `fsync` of its folders here, which saves one per object;
    /// stores whose `put` is durable by itself do nothing. Once it fails, nothing since the last success
    /// counts as durable, and that store refuses to write again.
    fn sync(&self) -> StoreResult<()> {
        Ok(())
    }
    /// Says that lists of several parts follow: a store may answer them from one listing of everything, taken
    /// now, until the next change by this client or [`Store::end_look`]. Most stores take no notice.
    fn look(&self) -> StoreResult<()> {
        Ok(())
    }
    /// From now on the place itself is asked again.
    fn end_look(&self) {}
}

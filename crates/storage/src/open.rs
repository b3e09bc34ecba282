//! Opens a location as a store, with everything around it that the place needs.
//!
//! From the inside out: the place; retries, where a line can be cut; limits of speed; the cache. A local
//! folder gets none of these but the limits. The environment comes in as a value; nothing here reads it.

use crate::retry;
use crate::{
    CacheOptions, CacheStore, LocalOptions, LocalStore, Location, Rates, RetryOptions, RetryStore, Store,
    StoreResult, ThrottleOptions, ThrottleStore,
};
use std::sync::Arc;

/// Looks up a variable of the environment; empty ones count as absent.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Finds who keeps the login of a drive.
#[cfg(feature = "remote")]
pub type Logins<'a> = &'a dyn Fn(&crate::DriveLocation) -> Option<Arc<dyn crate::oauth::KeepLogin>>;

/// How an object store or WebDAV server is opened.
#[derive(Clone, Copy, Default)]
pub struct RemoteOptions<'a> {
    /// Where credentials come from; `None` knows none.
    pub lookup: Option<Lookup<'a>>,
    /// Certificates in PEM that are trusted beside the system's.
    pub extra_roots_pem: Option<&'a [u8]>,
    /// Only objects whose names begin so are stored in the location's `storage_class`; the others stay in the
    /// bucket's own, because they are read by every run. Without it, all are.
    pub cold_prefix: Option<&'a str>,
    /// Looks before each new object instead of trusting the server's condition: for servers that the
    /// probe has seen to accept the condition and to replace all the same.
    pub look_before_create: bool,
    /// Who keeps the login of a drive; `None` for a drive without one.
    #[cfg(feature = "remote")]
    pub logins: Option<Logins<'a>>,
    /// Stands in for the network, in tests.
    #[cfg(feature = "remote")]
    pub wire: Option<&'a Arc<dyn crate::Wire>>,
}

/// How a location is opened.
#[derive(Clone, Default)]
pub struct OpenOptions<'a> {
    /// For a folder of this machine.
    pub local: LocalOptions,
    /// For an SSH server.
    #[cfg(feature = "sftp")]
    pub sftp: crate::sftp::SftpOptions,
    /// For object stores and WebDAV.
    pub remote: RemoteOptions<'a>,
    /// Where the system tells about drives that come and go.
    pub media: crate::removable::MediaOptions,
    /// Waiting for places that are out of reach for a while.
    pub retry: RetryOptions,
    /// Limits of speed; none by default.
    pub throttle: ThrottleOptions,
    /// Limits of speed that change while the place is open; instead of `throttle` where there are any.
    pub rates: Option<Rates>,
    /// A cache on the local disk, for places that are not local; none by default.
    pub cache: Option<CacheOptions>,
}

impl OpenOptions<'_> {
    /// Lets a missing folder be made, on this machine or an SSH server: for a repository that begins.
    pub fn creating_folder(mut self) -> Self {
        self.local.create_root = true;
        #[cfg(feature = "sftp")]
        {
            self.sftp.create_root = true;
        }
        self
    }
}

/// Opens `location`. Nothing is sent to object stores yet, so their errors show at the first request.
///
/// # Errors
/// [`crate::ErrorKind::NoSuchPlace`] for a missing folder, [`crate::ErrorKind::Config`] for credentials that
/// are not there and for a place that this build was made without.
pub fn open(location: &Location, options: &OpenOptions<'_>) -> StoreResult<Arc<dyn Store>> {
    // An SSH server is connected to here, and may be out of reach for a while.
    let place = retry::again(&options.retry, || open_place(location, options))?;
    let is_local = place.capabilities().local;
    let mut store = place;
    if !is_local {
        store = Arc::new(RetryStore::new(store, options.retry.clone()));
    }
    match &options.rates {
        Some(rates) => store = Arc::new(ThrottleStore::following(store, rates.clone())),
        None if options.throttle != ThrottleOptions::default() => {
            store = Arc::new(ThrottleStore::new(store, options.throttle));
        }
        None => {}
    }
    match &options.cache {
        Some(cache) if !is_local => Ok(Arc::new(CacheStore::new(store, cache.clone()))),
        _ => Ok(store),
    }
}

fn open_place(location: &Location, options: &OpenOptions<'_>) -> StoreResult<Arc<dyn Store>> {
    match location {
        Location::Local(path) => Ok(Arc::new(LocalStore::open(path, &options.local)?)),
        Location::Removable(place) => {
            Ok(Arc::new(crate::removable::RemovableStore::open(place, &options.local, &options.media)?))
        }
        #[cfg(feature = "sftp")]
        Location::Sftp(place) => crate::sftp::open(place, &options.sftp),
        #[cfg(feature = "remote")]
        Location::Bucket(_) | Location::Webdav(_) | Location::Drive(_) => {
            Ok(Arc::new(crate::RemoteStore::open(location, options.remote)?))
        }
        #[cfg(feature = "remote")]
        Location::Rclone(place) => {
            let creates = options.local.create_root;
            Ok(Arc::new(crate::RcloneStore::open(place, creates, &options.remote)?))
        }
        #[cfg(not(feature = "remote"))]
        Location::Bucket(_) | Location::Webdav(_) | Location::Drive(_) | Location::Rclone(_) => {
            let why = "this build was made without object stores, WebDAV and drives (cargo feature `remote`)";
            Err(crate::StoreError::new(crate::ErrorKind::Config, format!("open {location}")).because(why))
        }
    }
}

//! Places that rclone reaches, through a child `rclone serve webdav` that lives as long as the store.
//!
//! The child listens on the loopback interface alone, with a user and a password drawn for this run, which
//! it is told by its environment and never by its arguments. It ends with us, also when we are killed. If it
//! ends before, requests fail for now and the next one starts another. Works with rclone 1.60 and newer.

mod child;

use crate::buffered::BufferedUpload;
use crate::location::RcloneLocation;
use crate::{
    Capabilities, ErrorKind, Location, ObjectInfo, ObjectName, PutMode, RemoteOptions, RemoteStore, Store,
    StoreError, StoreResult, Upload, WebdavLocation,
};
use child::Child;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// Variables of the environment that name the program and its configuration.
const PROGRAM: &str = "LIFEBOAT_RCLONE";
const CONFIG: &str = "RCLONE_CONFIG";

/// How rclone is started.
#[derive(Clone)]
struct Settings {
    program: String,
    /// Its configuration, where it is not the usual one.
    config: Option<String>,
    /// `REMOTE:PATH`.
    target: String,
}

/// A place behind rclone. Clones share the child.
#[derive(Clone)]
pub struct RcloneStore {
    location: Arc<str>,
    settings: Settings,
    running: Arc<Mutex<Running>>,
}

struct Running {
    child: Child,
    store: RemoteStore,
}

impl RcloneStore {
    /// Starts rclone. `create_root` makes the folder first.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where rclone or the remote is missing, with rclone's own words.
    pub fn open(place: &RcloneLocation, create_root: bool, options: &RemoteOptions<'_>) -> StoreResult<Self> {
        let lookup = |name: &str| options.lookup.and_then(|lookup| lookup(name));
        let settings = Settings {
            program: lookup(PROGRAM).unwrap_or_else(|| "rclone".to_owned()),
            config: lookup(CONFIG),
            target: format!("{}:{}", place.remote, place.path),
        };
        if create_root {
            child::make_folder(&settings)?;
        }
        let running = Arc::new(Mutex::new(start(&settings)?));
        Ok(Self { location: place.to_string().into(), settings, running })
    }

    /// The process number of the child, for whoever wants to look at it.
    pub fn child_id(&self) -> u32 {
        self.lock().child.id()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request to the child that runs, or to another if it has ended.
    fn ask<T>(&self, request: impl FnOnce(&RemoteStore) -> StoreResult<T>) -> StoreResult<T> {
        let store = {
            let mut running = self.lock();
            if running.child.has_ended() {
                *running = start(&self.settings)?;
            }
            running.store.clone()
        };
        request(&store).map_err(|error| self.told(error))
    }

    /// A line that is cut because rclone ended is told as such.
    fn told(&self, error: StoreError) -> StoreError {
        let running = self.lock();
        match error.kind() {
            ErrorKind::Transient if running.child.has_ended() => {
                StoreError::new(ErrorKind::Transient, "reach the place").because(running.child.last_words())
            }
            // WebDAV has no word for it that rclone would use; its own words have.
            ErrorKind::Transient if let Some(words) = running.child.said_full() => {
                StoreError::new(ErrorKind::NoSpace, "write to the place").because(words)
            }
            _ => error,
        }
    }
}

fn start(settings: &Settings) -> StoreResult<Running> {
    let child = Child::start(settings)?;
    let server = format!("http://{}", child.address());
    let place = WebdavLocation { server, path: String::new(), user: Some(child.user().to_owned()) };
    let password = child.password().to_owned();
    let lookup = move |name: &str| (name == crate::remote::WEBDAV_PASSWORD).then(|| password.clone());
    let options = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
    let store = RemoteStore::open(&Location::Webdav(place), options)?;
    Ok(Running { child, store })
}

impl Store for RcloneStore {
    fn location(&self) -> String {
        self.location.to_string()
    }

    fn capabilities(&self) -> Capabilities {
        self.lock().store.capabilities()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.ask(|store| store.put(name, bytes, mode))
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.ask(|store| store.put_shared(name, bytes, mode))
    }

    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let store = self.clone();
        Ok(BufferedUpload::start(len_hint_bytes, move |bytes, name: &ObjectName, mode| {
            store.put_shared(name, &bytes, mode)
        }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.ask(|store| store.get(name, max_bytes))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.ask(|store| store.get_range(name, range))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.ask(|store| store.list(prefix, visit))
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.ask(|store| store.stat(name))
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.ask(|store| store.delete(name))
    }
}

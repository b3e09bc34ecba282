//! A store in memory that fails on purpose: the same seed and calls give the same faults.
//!
//! Injects: errors before and after a change took place, changes applied twice, torn objects, flipped bits
//! in what is read, answers that are too short or belong to another object, lists that are late or cut short,
//! a place that runs full, refuses, is busy for a while or silently replaces, a crash at the n-th request of
//! one client with or without loss of what its machine had not synced. Several clients may share one place.
//! It knows no time of its own: [`SimStore::set_time`] moves the clock.

mod world;

use crate::record::{RequestKind, RequestLog};
use crate::{
    Capabilities, CreateNew, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreError, StoreResult,
    Upload, buffered::BufferedUpload,
};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use world::{Fate, World};

/// What goes wrong, and how often. Chances are per request, in thousandths; the default is a good place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The request fails and nothing happened.
    pub error_before_permille: u16,
    /// A change took place, but the request fails all the same.
    pub error_after_permille: u16,
    /// A `put` fails and leaves the beginning of the object visible.
    pub torn_put_permille: u16,
    /// A change is applied, then applied once more, and the second answer is told.
    pub repeat_change_permille: u16,
    /// A new object is refused as if its name were taken.
    pub wrongly_taken_permille: u16,
    /// One bit of what is read is wrong, the stored object is not.
    pub flip_read_permille: u16,
    /// What is read ends early, and nothing says so.
    pub short_read_permille: u16,
    /// What is read belongs to another object of the same folder.
    pub misdirected_read_permille: u16,
    /// A list ends early and says nothing.
    pub short_list_permille: u16,
    /// A change is seen by lists up to this many requests later.
    pub list_delay_requests: u64,
    /// Bytes that fit; more is [`ErrorKind::NoSpace`].
    pub space_bytes: Option<u64>,
    /// Replaces taken names in spite of `CreateNew`, as some object stores do.
    pub ignores_create_new: bool,
    /// Refuses `delete` and replacing, as an append-only place does.
    pub append_only: bool,
    /// Refuses `delete` alone, as an object lock does.
    pub keeps_everything: bool,
    /// Requests of all clients, by their number at the place, that fail as transient: the place is busy.
    pub busy: Option<Range<u64>>,
    /// Kind of the injected errors.
    pub error_kind: ErrorKind,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            error_before_permille: 0,
            error_after_permille: 0,
            torn_put_permille: 0,
            repeat_change_permille: 0,
            wrongly_taken_permille: 0,
            flip_read_permille: 0,
            short_read_permille: 0,
            misdirected_read_permille: 0,
            short_list_permille: 0,
            list_delay_requests: 0,
            space_bytes: None,
            ignores_create_new: false,
            append_only: false,
            keeps_everything: false,
            busy: None,
            error_kind: ErrorKind::Transient,
        }
    }
}

/// Where in its request a client dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The request does nothing.
    Before,
    /// A `put` leaves the beginning of the object visible; any other request does nothing.
    Torn,
    /// The request took place, but nobody heard so.
    After,
}

/// The death of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Number of the request, counted from 0 over the life of the client, `sync` included.
    pub at_request: u64,
    /// Where in that request.
    pub point: CrashPoint,
    /// The machine dies: each name that one of its clients changed since that client's last `sync` falls
    /// back to one of its states since then.
    pub power_loss: bool,
}

/// One client of a simulated place. Clones are the same client.
#[derive(Clone)]
pub struct SimStore {
    world: Arc<Mutex<World>>,
    client: usize,
    log: RequestLog,
}

impl SimStore {
    /// An empty good place.
    pub fn new(seed: u64) -> Self {
        Self::with_faults(seed, Faults::default())
    }

    /// An empty place with faults.
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        let mut world = World::new(seed, faults);
        let client = world.add_client();
        Self { world: Arc::new(Mutex::new(world)), client, log: RequestLog::default() }
    }

    /// Another client of the same place, on a machine of its own, with its own crash, request numbers and log.
    pub fn connect(&self) -> Self {
        let client = self.world().add_client();
        Self { world: self.world.clone(), client, log: RequestLog::default() }
    }

    /// Like [`SimStore::connect`] on this client's machine: both lose their power together.
    pub fn connect_beside(&self) -> Self {
        let beside = self.connect();
        let mut world = self.world();
        world.clients[beside.client].machine = world.clients[self.client].machine;
        drop(world);
        beside
    }

    /// What this client asked for so far.
    pub fn log(&self) -> RequestLog {
        self.log.clone()
    }

    /// Changes the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// Ends all faults: lists are up to date, nobody is dead, nothing waits to be synced.
    pub fn heal(&self) {
        self.world().heal();
    }

    /// How many requests all clients have made that were not dead.
    pub fn requests_of_all(&self) -> u64 {
        self.world().requests
    }

    /// How often something went wrong on purpose so far: requests that failed, were torn, repeated or answered
    /// wrongly, lists that will be late, deaths, power cuts, damage at rest.
    pub fn faults_met(&self) -> u64 {
        self.world().faults_met
    }

    /// Lets this client die at a request.
    pub fn set_crash(&self, crash: Crash) {
        self.world().clients[self.client].crash = Some(crash);
    }

    /// The power of this client's machine goes off now.
    pub fn cut_power(&self) {
        self.world().cut_power(self.client);
    }

    /// Whether this client has died.
    pub fn has_crashed(&self) -> bool {
        self.world().clients[self.client].is_dead
    }

    /// Starts this client again after its crash; no further crash is planned.
    pub fn reopen(&self) {
        let client = &mut self.world().clients[self.client];
        client.is_dead = false;
        client.crash = None;
    }

    /// How many requests this client has made; the next one has this number.
    pub fn requests_made(&self) -> u64 {
        self.world().clients[self.client].requests
    }

    /// Sets the clock of the place, which stamps new objects.
    pub fn set_time(&self, now: SystemTime) {
        self.world().now = now;
    }

    /// The stored bytes of an object, past all faults.
    pub fn object(&self, name: &ObjectName) -> Option<Vec<u8>> {
        self.world().objects.get(name).map(|stored| stored.bytes.to_vec())
    }

    /// Everything stored, past all faults.
    pub fn objects(&self) -> BTreeMap<ObjectName, Vec<u8>> {
        let world = self.world();
        world.objects.iter().map(|(name, stored)| (name.clone(), stored.bytes.to_vec())).collect()
    }

    /// Changes stored bytes behind everyone's back: damage at rest. `false` if there is no such object.
    pub fn damage(&self, name: &ObjectName, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut world = self.world();
        let Some(stored) = world.objects.get_mut(name) else { return false };
        let mut bytes = stored.bytes.to_vec();
        change(&mut bytes);
        stored.bytes = bytes.into();
        world.faults_met += 1;
        true
    }

    /// Loses an object behind everyone's back. `false` if there is no such object.
    pub fn lose(&self, name: &ObjectName) -> bool {
        let mut world = self.world();
        let was_there = world.objects.remove(name).is_some();
        world.faults_met += u64::from(was_there);
        was_there
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a request that changes nothing.
    fn look<T>(&self, what: &str, act: impl FnOnce(&mut World) -> StoreResult<T>) -> StoreResult<T> {
        let mut world = self.world();
        match world.next_fate(self.client, false) {
            Fate::Happens => act(&mut world),
            _ => Err(world.injected(self.client, what)),
        }
    }

    /// Runs a request that changes something; `act` is told whether it is torn.
    fn change(
        &self,
        what: &str,
        may_tear: bool,
        act: impl Fn(&mut World, bool) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let mut world = self.world();
        let fate = world.next_fate(self.client, may_tear);
        if fate != Fate::FailsBefore {
            act(&mut world, fate == Fate::Torn)?;
        }
        world.lose_power_if_due(self.client);
        if fate == Fate::HappensTwice {
            return act(&mut world, false);
        }
        match fate {
            Fate::Happens => Ok(()),
            _ => Err(world.injected(self.client, what)),
        }
    }

    fn put_unlogged(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.change(&format!("write {name}"), true, |world, torn| {
            world.put(self.client, name, bytes, mode, torn)
        })
    }
}

fn not_found(verb: &str, name: &ObjectName) -> StoreError {
    StoreError::new(ErrorKind::NotFound, format!("{verb} {name}"))
}

impl Store for SimStore {
    fn location(&self) -> String {
        "sim:".to_owned()
    }

    /// Claims what a good place keeps, whatever the faults: finding out is the task of the probe.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create_new: CreateNew::Atomic,
            list_after_write: true,
            received_time: true,
            parallel_requests: 4,
            local: false,
        }
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        let outcome = self.put_unlogged(name, bytes, mode);
        self.log.note(RequestKind::Put, name.as_str(), |()| bytes.len() as u64, outcome)
    }

    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let store = self.clone();
        Ok(BufferedUpload::start(len_hint_bytes, move |bytes, name: &ObjectName, mode| {
            store.put(name, &bytes, mode)
        }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        let outcome = self.look(&format!("read {name}"), |world| {
            let stored = world.read(name)?;
            if stored.bytes.len() as u64 > max_bytes {
                return Err(StoreError::new(ErrorKind::TooLarge, format!("read {name}")));
            }
            Ok(world.perhaps_spoilt(stored.bytes.to_vec()))
        });
        self.log.note(RequestKind::Get, name.as_str(), |bytes| bytes.len() as u64, outcome)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        let outcome = self.look(&format!("read {name}"), |world| {
            let stored = world.read(name)?;
            if range.start > range.end {
                return Err(StoreError::new(ErrorKind::Config, format!("read bytes {range:?} of {name}")));
            }
            let within = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let part = within.and_then(|(start, end)| stored.bytes.get(start..end));
            let truncated =
                || StoreError::new(ErrorKind::Truncated, format!("read bytes {range:?} of {name}"));
            let bytes = part.ok_or_else(truncated)?.to_vec();
            Ok(world.perhaps_spoilt(bytes))
        });
        self.log.note(RequestKind::GetRange, name.as_str(), |bytes| bytes.len() as u64, outcome)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        let outcome = self.look(&format!("list {prefix}"), |world| Ok(world.list(prefix)));
        let outcome = self.log.note(RequestKind::List, prefix, |shown| shown.len() as u64, outcome);
        // The visitor may use the store, so the place is not locked any more.
        let _ = outcome?.into_iter().try_for_each(visit);
        Ok(())
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        let outcome = self.look(&format!("look at {name}"), |world| {
            let stored = world.objects.get(name).ok_or_else(|| not_found("look at", name))?;
            Ok(stored.info(name))
        });
        self.log.note(RequestKind::Stat, name.as_str(), |_| 0, outcome)
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        let outcome =
            self.change(&format!("delete {name}"), false, |world, _| world.delete(self.client, name));
        self.log.note(RequestKind::Delete, name.as_str(), |()| 0, outcome)
    }

    fn sync(&self) -> StoreResult<()> {
        let outcome = self.change("sync", false, |world, _| {
            world.settle(self.client);
            Ok(())
        });
        self.log.note(RequestKind::Sync, "", |()| 0, outcome)
    }
}

#[cfg(test)]
mod tests;

//! The state of a simulated place: objects, clients, and the dice.

use super::{Crash, CrashPoint, Faults, not_found};
use crate::{ErrorKind, ObjectInfo, ObjectName, PutMode, StoreError, StoreResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Happens,
    HappensTwice,
    FailsBefore,
    Torn,
    FailsAfter,
}

#[derive(Clone)]
pub(super) struct Stored {
    pub(super) bytes: Arc<[u8]>,
    received: SystemTime,
}

impl Stored {
    pub(super) fn info(&self, name: &ObjectName) -> ObjectInfo {
        ObjectInfo { name: name.clone(), len_bytes: self.bytes.len() as u64, received: Some(self.received) }
    }
}

#[derive(Default)]
pub(super) struct Client {
    /// Clients of one machine lose their power together.
    pub(super) machine: usize,
    pub(super) requests: u64,
    pub(super) crash: Option<Crash>,
    pub(super) is_dead: bool,
    /// What each change since the last sync overwrote, in order.
    pub(super) unsynced: Vec<(ObjectName, Option<Stored>)>,
}

/// What lists show of a name until a later request.
struct Stale {
    until_request: u64,
    shown: Option<ObjectInfo>,
}

pub(super) struct World {
    pub(super) faults: Faults,
    pub(super) objects: BTreeMap<ObjectName, Stored>,
    pub(super) clients: Vec<Client>,
    pub(super) now: SystemTime,
    stale: BTreeMap<ObjectName, Stale>,
    pub(super) requests: u64,
    /// How often something went wrong on purpose.
    pub(super) faults_met: u64,
    dice: u64,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults,
            objects: BTreeMap::new(),
            clients: Vec::new(),
            // Some moment in 2026, so that nobody mistakes it for the beginning of time.
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000),
            stale: BTreeMap::new(),
            requests: 0,
            faults_met: 0,
            dice: seed,
        }
    }

    pub(super) fn add_client(&mut self) -> usize {
        let machine = self.clients.len();
        self.clients.push(Client { machine, ..Client::default() });
        machine
    }

    pub(super) fn heal(&mut self) {
        self.faults = Faults::default();
        self.stale.clear();
        for client in &mut self.clients {
            client.is_dead = false;
            client.crash = None;
            client.unsynced.clear();
        }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): tiny, and every seed is a good one.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }

    /// Rolls only when there is a chance, so that switching one fault off does not shift the others much.
    fn happens(&mut self, permille: u16) -> bool {
        let happens = permille > 0 && self.below(1000) < u64::from(permille);
        self.faults_met += u64::from(happens);
        happens
    }

    /// Counts a request and decides what becomes of it.
    pub(super) fn next_fate(&mut self, client: usize, may_tear: bool) -> Fate {
        if self.clients[client].is_dead {
            return Fate::FailsBefore;
        }
        self.requests += 1;
        let number = self.clients[client].requests;
        self.clients[client].requests += 1;
        if let Some(crash) = self.clients[client].crash.filter(|crash| crash.at_request == number) {
            self.clients[client].is_dead = true;
            self.faults_met += 1;
            return match crash.point {
                CrashPoint::After => Fate::FailsAfter,
                CrashPoint::Torn if may_tear => Fate::Torn,
                CrashPoint::Torn | CrashPoint::Before => Fate::FailsBefore,
            };
        }
        let is_busy = self.faults.busy.as_ref().is_some_and(|busy| busy.contains(&self.requests));
        self.faults_met += u64::from(is_busy);
        if is_busy || self.happens(self.faults.error_before_permille) {
            Fate::FailsBefore
        } else if may_tear && self.happens(self.faults.torn_put_permille) {
            Fate::Torn
        } else if self.happens(self.faults.error_after_permille) {
            Fate::FailsAfter
        } else if self.happens(self.faults.repeat_change_permille) {
            Fate::HappensTwice
        } else {
            Fate::Happens
        }
    }

    pub(super) fn injected(&self, client: usize, what: &str) -> StoreError {
        if self.clients[client].is_dead {
            return StoreError::new(ErrorKind::Other, format!("{what} after the simulated crash"));
        }
        let is_busy = self.faults.busy.as_ref().is_some_and(|busy| busy.contains(&self.requests));
        let kind = if is_busy { ErrorKind::Transient } else { self.faults.error_kind };
        StoreError::new(kind, format!("{what} with a simulated fault"))
    }

    /// Undoes a part of what the machine of a client that just died with its power had not synced.
    pub(super) fn lose_power_if_due(&mut self, client: usize) {
        let dead = self.clients[client].is_dead;
        if !dead || !self.clients[client].crash.is_some_and(|crash| crash.power_loss) {
            return;
        }
        self.cut_power(client);
    }

    /// The machine of a client dies.
    pub(super) fn cut_power(&mut self, client: usize) {
        let machine = self.clients[client].machine;
        self.faults_met += 1;
        for other in 0..self.clients.len() {
            if self.clients[other].machine == machine {
                self.clients[other].is_dead = true;
                self.lose_unsynced(other);
            }
        }
    }

    /// What a client changed becomes durable. Where it changed a name after another machine did, the loss of
    /// that machine's power takes nothing back any more.
    pub(super) fn settle(&mut self, client: usize) {
        let settled = std::mem::take(&mut self.clients[client].unsynced);
        for other in &mut self.clients {
            other.unsynced.retain(|(name, _)| !settled.iter().any(|(changed, _)| changed == name));
        }
    }

    fn lose_unsynced(&mut self, client: usize) {
        let mut histories: BTreeMap<ObjectName, Vec<Option<Stored>>> = BTreeMap::new();
        for (name, before) in std::mem::take(&mut self.clients[client].unsynced) {
            histories.entry(name).or_default().push(before);
        }
        for (name, mut states) in histories {
            let kept = self.below(states.len() as u64 + 1) as usize;
            if kept < states.len() {
                self.set(&name, states.swap_remove(kept));
            }
        }
    }

    fn set(&mut self, name: &ObjectName, stored: Option<Stored>) -> Option<Stored> {
        match stored {
            Some(stored) => self.objects.insert(name.clone(), stored),
            None => self.objects.remove(name),
        }
    }

    fn apply(&mut self, client: usize, name: &ObjectName, stored: Option<Stored>) {
        let before = self.set(name, stored);
        if self.faults.list_delay_requests > 0 {
            let delay = self.below(self.faults.list_delay_requests + 1);
            self.faults_met += u64::from(delay > 0);
            let shown = before.as_ref().map(|before| before.info(name));
            self.stale.insert(name.clone(), Stale { until_request: self.requests + delay, shown });
        }
        self.clients[client].unsynced.push((name.clone(), before));
    }

    pub(super) fn put(
        &mut self,
        client: usize,
        name: &ObjectName,
        bytes: &[u8],
        mode: PutMode,
        torn: bool,
    ) -> StoreResult<()> {
        let fail = |kind| Err(StoreError::new(kind, format!("write {name}")));
        if mode == PutMode::CreateNew && self.happens(self.faults.wrongly_taken_permille) {
            return fail(ErrorKind::AlreadyExists);
        }
        let taken = self.objects.get(name).map(|stored| stored.bytes.len() as u64);
        if taken.is_some() && mode == PutMode::CreateNew && !self.faults.ignores_create_new {
            return fail(ErrorKind::AlreadyExists);
        }
        if taken.is_some() && self.faults.append_only {
            self.faults_met += 1;
            return fail(ErrorKind::Denied);
        }
        let used: u64 = self.objects.values().map(|stored| stored.bytes.len() as u64).sum();
        if self.faults.space_bytes.is_some_and(|space| used - taken.unwrap_or(0) + bytes.len() as u64 > space)
        {
            self.faults_met += 1;
            return fail(ErrorKind::NoSpace);
        }
        let len = if torn { self.below(bytes.len() as u64) as usize } else { bytes.len() };
        self.apply(client, name, Some(Stored { bytes: bytes[..len].into(), received: self.now }));
        Ok(())
    }

    pub(super) fn delete(&mut self, client: usize, name: &ObjectName) -> StoreResult<()> {
        if !self.objects.contains_key(name) {
            return Err(not_found("delete", name));
        }
        if self.faults.append_only || self.faults.keeps_everything {
            self.faults_met += 1;
            return Err(StoreError::new(ErrorKind::Denied, format!("delete {name}")));
        }
        self.apply(client, name, None);
        Ok(())
    }

    /// The object of this name, or by mistake another one of its folder.
    pub(super) fn read(&mut self, name: &ObjectName) -> StoreResult<Stored> {
        if self.happens(self.faults.misdirected_read_permille) {
            let text = name.as_str();
            let folder = &text[..text.find('/').map_or(0, |slash| slash + 1)];
            let is_other = |n: &&ObjectName| n.as_str().starts_with(folder) && *n != name;
            let count = self.objects.keys().filter(is_other).count() as u64;
            let chosen = self.below(count) as usize;
            let other = self.objects.iter().filter(|(n, _)| is_other(n)).nth(chosen);
            if let Some((_, stored)) = other {
                return Ok(stored.clone());
            }
        }
        self.objects.get(name).cloned().ok_or_else(|| not_found("read", name))
    }

    /// What arrives of what was read.
    pub(super) fn perhaps_spoilt(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if !bytes.is_empty() && self.happens(self.faults.flip_read_permille) {
            let bit = self.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        if !bytes.is_empty() && self.happens(self.faults.short_read_permille) {
            let kept = self.below(bytes.len() as u64) as usize;
            bytes.truncate(kept);
        }
        bytes
    }

    /// What a list of `prefix` shows, in name order.
    pub(super) fn list(&mut self, prefix: &str) -> Vec<ObjectInfo> {
        let requests = self.requests;
        self.stale.retain(|_, stale| stale.until_request > requests);
        let mut shown: BTreeMap<&ObjectName, ObjectInfo> =
            self.objects.iter().map(|(name, stored)| (name, stored.info(name))).collect();
        for (name, stale) in &self.stale {
            match &stale.shown {
                Some(info) => shown.insert(name, info.clone()),
                None => shown.remove(name),
            };
        }
        let mut shown: Vec<_> =
            shown.into_values().filter(|info| info.name.as_str().starts_with(prefix)).collect();
        if self.happens(self.faults.short_list_permille) {
            let kept = self.below(shown.len() as u64) as usize;
            shown.truncate(kept);
        }
        shown
    }
}

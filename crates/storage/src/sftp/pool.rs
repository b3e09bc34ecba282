//! Up to a given number of sessions to one server, opened as they are needed and shared when all are busy.
//!
//! A caller gets the session with the fewest others on it. A dead session is replaced by the next caller who
//! draws it; the one who was on it when it died has got an error. Retrying is not done here.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connect::Connector;
use super::session::Session;
use super::wire::Request;
use crate::{ErrorKind, StoreResult};

/// The sessions of one store.
pub(super) struct Pool {
    connector: Connector,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    users: AtomicUsize,
    session: Mutex<Option<Arc<Session>>>,
}

impl Slot {
    fn live(&self) -> Option<Arc<Session>> {
        // A slot that is locked is connecting, and so is no help now.
        let session = self.session.try_lock().ok()?;
        session.as_ref().filter(|session| session.is_alive()).cloned()
    }
}

impl Pool {
    /// Makes an empty pool of `sessions_max` sessions, at least one.
    pub(super) fn new(connector: Connector, sessions_max: usize) -> Arc<Self> {
        let slots = (0..sessions_max.max(1)).map(|_| Slot::default()).collect();
        Arc::new(Self { connector, slots })
    }

    /// How many sessions there may be, at least one.
    pub(super) fn sessions_max(&self) -> usize {
        self.slots.len()
    }

    /// Takes part in a session, connecting when there is an unused slot.
    pub(super) fn lease(self: &Arc<Self>) -> StoreResult<Lease> {
        let fewest = |slot: &usize| {
            let slot = &self.slots[*slot];
            (slot.users.load(Ordering::Relaxed), slot.live().is_none())
        };
        let slot = (0..self.slots.len()).min_by_key(fewest).unwrap_or(0);
        let user = User::new(Arc::clone(self), slot);
        match self.session(slot) {
            Ok(session) => Ok(Lease { session, _user: user }),
            // A server may limit connections; those that stand will do.
            Err(error) if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Denied) => {
                let session = self.slots.iter().find_map(Slot::live).ok_or(error)?;
                Ok(Lease { session, _user: user })
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until every live session has done what it was told, such as removing temporary files, which a
    /// process that ends right after would take with it. Returns the numbers of those that answered.
    pub(super) fn settle(&self) -> Vec<u64> {
        let live = self.slots.iter().filter_map(Slot::live);
        // Servers work through a session in order; any answer will do.
        let answers = |session: &Arc<Session>| match session.call(Request::Stat { path: "." }) {
            Ok(_) => true,
            Err(fault) => !fault.is_fatal(),
        };
        live.filter(answers).map(|session| session.number).collect()
    }

    fn session(&self, slot: usize) -> StoreResult<Arc<Session>> {
        let mut session = self.slots[slot].session.lock().unwrap_or_else(PoisonError::into_inner);
        match session.as_ref().filter(|session| session.is_alive()) {
            Some(live) => Ok(Arc::clone(live)),
            None => {
                let fresh = Arc::new(self.connector.connect()?);
                *session = Some(Arc::clone(&fresh));
                Ok(fresh)
            }
        }
    }
}

/// A session in use.
pub(super) struct Lease {
    session: Arc<Session>,
    _user: User,
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

/// Counts one user of a slot as long as it lives.
struct User {
    pool: Arc<Pool>,
    slot: usize,
}

impl User {
    fn new(pool: Arc<Pool>, slot: usize) -> Self {
        pool.slots[slot].users.fetch_add(1, Ordering::Relaxed);
        Self { pool, slot }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.pool.slots[self.slot].users.fetch_sub(1, Ordering::Relaxed);
    }
}

//! A store whose clients take turns: which request of which thread comes next is decided by a seed.
//!
//! Every client's thread blocks before each request until it is its turn, so that two sessions interleave
//! request by request, and the same seed gives the same interleaving.

use crate::dice::Dice;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use storage::{Capabilities, ObjectInfo, ObjectName, PutMode, Store, StoreResult, Upload};

/// Decides whose turn it is.
pub struct Turns {
    state: Mutex<State>,
    /// One for each client, so that a turn wakes one thread only.
    chosen: Vec<Condvar>,
}

struct State {
    dice: Dice,
    /// What each client does: waits for a turn, has one, or computes.
    clients: Vec<Status>,
    /// A chosen client keeps its turn for up to so many requests. A switch of threads costs more than the
    /// request itself, and long stretches find what alternating requests do not.
    longest_stretch: u64,
    /// Who has the turn, and for how many further requests.
    stretch: (usize, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Computing,
    Waiting,
    Chosen,
    Gone,
}

impl Turns {
    /// Turns of `clients` clients, a request each.
    pub fn new(seed: u64, clients: usize) -> Arc<Self> {
        Self::with_stretches(seed, clients, 1)
    }

    /// Turns of up to `longest_stretch` requests.
    pub fn with_stretches(seed: u64, clients: usize, longest_stretch: u64) -> Arc<Self> {
        let state = State {
            dice: Dice::new(seed),
            clients: vec![Status::Computing; clients],
            longest_stretch,
            stretch: (0, 0),
        };
        let chosen = (0..clients).map(|_| Condvar::new()).collect();
        Arc::new(Turns { state: Mutex::new(state), chosen })
    }

    /// The store of one client, whose requests are all made by one thread. The client leaves when its last
    /// clone is dropped.
    pub fn client(self: &Arc<Self>, number: usize, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        self.seat(number).store(inner)
    }

    /// The place of one client among the others.
    pub fn seat(self: &Arc<Self>, number: usize) -> Seat {
        Seat(Arc::new(Client { turns: self.clone(), number }))
    }

    fn wait(&self, number: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.goes_on(number) {
            return;
        }
        self.change(&mut state, number, Status::Waiting);
        while state.clients[number] != Status::Chosen {
            state = self.chosen[number].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn set(&self, number: usize, status: Status) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.change(&mut state, number, status);
    }

    fn change(&self, state: &mut State, number: usize, status: Status) {
        state.clients[number] = status;
        if let Some(next) = state.choose()
            && next != number
        {
            self.chosen[next].notify_one();
        }
    }
}

impl State {
    /// Whether a client still has the turn it got. Nobody else can have one then, so this does not depend on
    /// threads either.
    fn goes_on(&mut self, number: usize) -> bool {
        let goes_on = self.stretch.0 == number && self.stretch.1 > 0;
        if goes_on {
            self.stretch.1 -= 1;
            self.clients[number] = Status::Chosen;
        }
        goes_on
    }

    /// Chooses one when all that are left wait: only then does the choice not depend on threads.
    fn choose(&mut self) -> Option<usize> {
        let busy = |s: &Status| matches!(s, Status::Computing | Status::Chosen);
        if self.clients.iter().any(busy) {
            return None;
        }
        let waiting: Vec<usize> =
            (0..self.clients.len()).filter(|i| self.clients[*i] == Status::Waiting).collect();
        if waiting.is_empty() {
            return None;
        }
        let chosen = waiting[self.dice.below(waiting.len() as u64) as usize];
        self.clients[chosen] = Status::Chosen;
        let further = if self.longest_stretch > 1 { self.dice.below(self.longest_stretch) } else { 0 };
        self.stretch = (chosen, further);
        Some(chosen)
    }
}

/// The place of one client. Clones are the same place, which is left when the last is dropped.
#[derive(Clone)]
pub struct Seat(Arc<Client>);

impl Seat {
    /// Puts turns before every request to a store.
    pub fn store(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(TurnStore { inner, turn: self.0.clone() })
    }

    /// Does something when it is this client's turn.
    pub fn take<T>(&self, act: impl FnOnce() -> T) -> T {
        self.0.take(act)
    }
}

struct Client {
    turns: Arc<Turns>,
    number: usize,
}

impl Client {
    fn take<T>(&self, request: impl FnOnce() -> T) -> T {
        self.turns.wait(self.number);
        let outcome = request();
        self.turns.set(self.number, Status::Computing);
        outcome
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.turns.set(self.number, Status::Gone);
    }
}

struct TurnStore {
    inner: Arc<dyn Store>,
    turn: Arc<Client>,
}

struct TurnUpload {
    inner: Box<dyn Upload>,
    turn: Arc<Client>,
}

impl Upload for TurnUpload {
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        let TurnUpload { inner, turn } = *self;
        turn.take(|| inner.finish(name, mode))
    }
}

impl Store for TurnStore {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.turn.take(|| self.inner.put(name, bytes, mode))
    }
    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let inner = self.inner.upload(len_hint_bytes)?;
        Ok(Box::new(TurnUpload { inner, turn: self.turn.clone() }))
    }
    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.turn.take(|| self.inner.get(name, max_bytes))
    }
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.turn.take(|| self.inner.get_range(name, range))
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.turn.take(|| self.inner.list(prefix, visit))
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.turn.take(|| self.inner.stat(name))
    }
    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.turn.take(|| self.inner.delete(name))
    }
    fn sync(&self) -> StoreResult<()> {
        self.turn.take(|| self.inner.sync())
    }
}

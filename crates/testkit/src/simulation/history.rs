//! What happened at the place, in order; and what no client may do there whatever happens.
//!
//! A [`Watched`] store stands behind a client's turn, so the order of the steps is the order of the turns and
//! one seed gives one history. It also judges each step: committed objects are never changed (I1), reading
//! never writes (I4), and nobody deletes what is not his to delete (R3).

use crate::simulation::oracle::Oracle;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::{
    Capabilities, ErrorKind, ObjectInfo, ObjectName, PutMode, RequestKind, SimStore, Store, StoreResult,
    Upload,
};

/// What a client may do to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Look.
    Reads,
    /// Make snapshots, and take away pending records.
    BacksUp,
    /// Hide snapshots and bring them back.
    Forgets,
    /// Delete what nothing needs.
    Prunes,
    /// Put back what was damaged.
    Repairs,
    /// Add objects, whatever they are.
    Adds,
    /// Make a repository.
    Creates,
}

/// One request that was made, with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who asked.
    pub client: usize,
    /// For what.
    pub kind: RequestKind,
    /// Of which object, or under which prefix.
    pub name: String,
    /// Bytes sent or received, or objects shown.
    pub bytes: u64,
    /// How it failed, if it did.
    pub error: Option<ErrorKind>,
}

/// All steps of a run. Clones share them.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Vec<Step>>>);

impl History {
    /// Number of steps so far.
    pub fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// A number that stands for the whole history (FNV-1a over all fields).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for step in self.lock().iter() {
            take(&(step.client as u64).to_le_bytes());
            take(&[step.kind as u8, step.error.map_or(0, |e| 1 + e as u8)]);
            take(step.name.as_bytes());
            take(&step.bytes.to_le_bytes());
        }
        hash
    }

    /// The last steps in words, one a line.
    pub fn tail(&self, count: usize) -> String {
        let steps = self.lock();
        let line = |step: &Step| {
            let outcome = step.error.map_or(format!("{}", step.bytes), |e| format!("{e:?}"));
            format!("  {} {:?} {}: {outcome}\n", step.client, step.kind, step.name)
        };
        steps[steps.len().saturating_sub(count)..].iter().map(line).collect()
    }

    /// Notes what happened to an object behind everyone's back.
    pub fn remark(&self, client: usize, what: &str, name: &ObjectName) {
        let (kind, name) = (RequestKind::Delete, format!("({what}) {name}"));
        self.lock().push(Step { client, kind, name, bytes: 0, error: None });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store of one client, watched.
#[derive(Clone)]
pub struct Watched {
    inner: SimStore,
    client: usize,
    rights: Rights,
    history: History,
    oracle: Arc<Oracle>,
    /// When the client last listed tree packs: what was lost before is known to it.
    listed_at: Arc<Mutex<u64>>,
}

impl Watched {
    /// Watches a client.
    pub fn new(
        inner: SimStore,
        client: usize,
        rights: Rights,
        history: History,
        oracle: Arc<Oracle>,
    ) -> Self {
        Watched { inner, client, rights, history, oracle, listed_at: Arc::default() }
    }

    /// The step at which this client last saw which packs there are.
    pub fn listed_at(&self) -> u64 {
        *self.listed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T>(
        &self,
        kind: RequestKind,
        name: &str,
        bytes: impl FnOnce(&T) -> u64,
        outcome: StoreResult<T>,
    ) -> StoreResult<T> {
        let (bytes, error) = match &outcome {
            Ok(value) => (bytes(value), None),
            Err(e) => (0, Some(e.kind())),
        };
        let step = Step { client: self.client, kind, name: name.to_string(), bytes, error };
        self.history.lock().push(step);
        outcome
    }

    /// What a repair may delete: marks, its own session's record, and what it moved out of the way before.
    fn may_go(&self, name: &ObjectName) -> bool {
        let aside = repo::names::name(&format!("maint/aside-{}", name.file_name()));
        let is_kept = || self.inner.object(&aside).is_some_and(|kept| self.inner.object(name) == Some(kept));
        let text = name.as_str();
        let is_its_own =
            ["gc/damaged-", "pending/", "maint/mended-", "maint/clock-"].iter().any(|f| text.starts_with(f));
        is_its_own || !is_contents(text) && is_kept()
    }

    /// Only what an object was written with once is ever put in its place again.
    fn judge_mending(&self, name: &ObjectName, bytes: &[u8]) {
        let is_marks = name.as_str().starts_with("gc/damaged-") || name.as_str().starts_with("maint/");
        if self.rights == Rights::Repairs && !is_marks && self.oracle.wrote(name, bytes) == Some(false) {
            self.oracle.violated("I1", format!("a repair puts bytes as {name} that nobody wrote there"));
        }
        if self.rights != Rights::Adds {
            self.oracle.writes(name, bytes);
        }
    }

    /// Judges a change before it takes place.
    fn judge(&self, kind: RequestKind, name: &ObjectName, replacing: Option<&[u8]>) {
        let text = name.as_str();
        let allowed = match (self.rights, kind) {
            (Rights::Reads, _) => false,
            (Rights::Adds, RequestKind::Put) | (Rights::Prunes | Rights::Creates, _) => true,
            (Rights::BacksUp, RequestKind::Put) => {
                !text.starts_with("gc/") && !text.starts_with("keys/") && text != "config"
            }
            // The second copy of its own record goes with the first.
            (Rights::BacksUp, _) => {
                let first = text.strip_prefix("mirror/").and_then(ObjectName::new);
                text.starts_with("pending/")
                    || text.starts_with("mirror/snapshots/")
                        && first.is_some_and(|first| self.inner.object(&first).is_none())
            }
            // Who brings a snapshot back puts a missing second copy of its record first.
            (Rights::Forgets, RequestKind::Put) if text.starts_with("mirror/snapshots/") => true,
            (Rights::Forgets, _) => !is_data(text),
            (Rights::Repairs, RequestKind::Put) => true,
            (Rights::Repairs, _) => self.may_go(name),
            _ => false,
        };
        if !allowed {
            let invariant = if self.rights == Rights::Reads { "I4" } else { "R3" };
            self.oracle.violated(invariant, format!("{:?} client: {kind:?} {text}", self.rights));
        }
        let Some(bytes) = replacing.filter(|_| is_immutable(text) && self.rights != Rights::Repairs) else {
            return;
        };
        // The torn beginning of an object may be completed; nothing else of this kind is ever replaced.
        if let Some(before) = self.inner.object(name)
            && !bytes.starts_with(&before)
        {
            self.oracle.violated("I1", format!("{text} is replaced by other bytes"));
        }
    }
}

/// Objects that hold contents, or say where they are.
fn is_data(name: &str) -> bool {
    ["packs/", "trees/", "index/", "snapshots/", "mirror/snapshots/"].iter().any(|f| name.starts_with(f))
}

/// Objects whose loss is the loss of contents.
fn is_contents(name: &str) -> bool {
    ["packs/", "trees/", "snapshots/", "mirror/", "config", "keys/"].iter().any(|f| name.starts_with(f))
}

/// Objects that never change once they are whole.
fn is_immutable(name: &str) -> bool {
    is_data(name) || name.starts_with("pending/") || name.starts_with("gc/condemned-")
}

impl Store for Watched {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.judge(RequestKind::Put, name, (mode == PutMode::Replace).then_some(bytes));
        self.judge_mending(name, bytes);
        let outcome = self.inner.put(name, bytes, mode);
        self.note(RequestKind::Put, name.as_str(), |()| bytes.len() as u64, outcome)
    }
    fn upload(&self, _len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        Ok(Box::new(Gathered { bytes: Vec::new(), store: self.clone() }))
    }
    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        let outcome = self.inner.get(name, max_bytes);
        self.note(RequestKind::Get, name.as_str(), |bytes| bytes.len() as u64, outcome)
    }
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        let outcome = self.inner.get_range(name, range);
        self.note(RequestKind::GetRange, name.as_str(), |bytes| bytes.len() as u64, outcome)
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        let mut shown = Vec::new();
        let outcome = self.inner.list(prefix, &mut |info| {
            shown.push(info);
            ControlFlow::Continue(())
        });
        if prefix == repo::names::PACKS {
            *self.listed_at.lock().unwrap_or_else(PoisonError::into_inner) = self.history.len();
        }
        let count = shown.len() as u64;
        self.note(RequestKind::List, prefix, |()| count, outcome)?;
        let _ = shown.into_iter().try_for_each(visit);
        Ok(())
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        let outcome = self.inner.stat(name);
        self.note(RequestKind::Stat, name.as_str(), |_| 0, outcome)
    }
    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.judge(RequestKind::Delete, name, None);
        let outcome = self.inner.delete(name);
        self.note(RequestKind::Delete, name.as_str(), |()| 0, outcome)
    }
    fn sync(&self) -> StoreResult<()> {
        let outcome = self.inner.sync();
        self.note(RequestKind::Sync, "", |()| 0, outcome)
    }
}

/// An upload that becomes one put.
struct Gathered {
    bytes: Vec<u8>,
    store: Watched,
}

impl Upload for Gathered {
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        self.store.put(name, &self.bytes, mode)
    }
}

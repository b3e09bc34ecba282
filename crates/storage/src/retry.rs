//! Tries again what failed for a while: cut lines, time-outs, busy servers. The only layer that does.
//!
//! Only [`ErrorKind::Transient`] is worth it; a wrong login, a full disk or a refusal stays what it is.
//! An answer that got lost is resolved by looking: a new object that is "already there" after a failed try
//! is ours if its bytes are ours. Waiting is passed in, so that a user can end it and tests need no time.

use crate::buffered::BufferedUpload;
use crate::{
    Capabilities, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreError, StoreResult, Upload, planted,
};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Waits, and says whether to go on; `Break` gives up at once and tells the error met last.
pub type Wait = Arc<dyn Fn(Duration) -> ControlFlow<()> + Send + Sync>;

/// How long and how often is tried again.
#[derive(Clone)]
pub struct RetryOptions {
    /// Sum of the waiting times for one request, after which its last error is told.
    pub budget: Duration,
    /// The same until the place has answered for the first time: a wrong address or a server that is off
    /// shall show while somebody is looking, a cut in the middle of the night shall be outlasted.
    pub first_contact_budget: Duration,
    /// The first waiting time; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest waiting time.
    pub longest_wait: Duration,
    /// How waiting is done.
    pub wait: Wait,
    /// Seed of the dice that spread the waiting times of many clients.
    pub seed: u64,
}

impl Default for RetryOptions {
    /// 0.2 s to 60 s, for 5 minutes: outlasts a router's restart and Amazon's "slow down". 15 s at first.
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(300),
            first_contact_budget: Duration::from_secs(15),
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(60),
            wait: Arc::new(|time| {
                std::thread::sleep(time);
                ControlFlow::Continue(())
            }),
            seed: u64::from(std::process::id()),
        }
    }
}

/// A store that tries again.
#[derive(Clone)]
pub struct RetryStore {
    inner: Arc<dyn Store>,
    options: RetryOptions,
    dice: Arc<AtomicU64>,
    /// Whether the place has ever answered.
    is_reached: Arc<AtomicBool>,
}

/// Connects to a place, which is no request to a store, with the patience of a first contact.
pub(crate) fn again<T>(options: &RetryOptions, request: impl FnMut() -> StoreResult<T>) -> StoreResult<T> {
    Patience::new(options, &AtomicU64::new(options.seed), &AtomicBool::new(false)).outlast(request)
}

/// The waiting of one request.
struct Patience<'a> {
    options: &'a RetryOptions,
    dice: &'a AtomicU64,
    is_reached: &'a AtomicBool,
    waited: Duration,
    next: Duration,
}

impl<'a> Patience<'a> {
    fn new(options: &'a RetryOptions, dice: &'a AtomicU64, is_reached: &'a AtomicBool) -> Self {
        Self { options, dice, is_reached, waited: Duration::ZERO, next: options.first_wait }
    }

    /// Notes whether an answer came; a refusal is an answer too.
    fn heard<T>(&self, outcome: StoreResult<T>) -> StoreResult<T> {
        if !matches!(&outcome, Err(error) if error.kind().is_transient()) {
            self.is_reached.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn budget(&self) -> Duration {
        match self.is_reached.load(Ordering::Relaxed) {
            true => self.options.budget,
            false => self.options.first_contact_budget.min(self.options.budget),
        }
    }

    fn outlast<T>(mut self, mut request: impl FnMut() -> StoreResult<T>) -> StoreResult<T> {
        loop {
            match self.heard(request()) {
                Ok(value) => return Ok(value),
                Err(error) => self.wait_after(error)?,
            }
        }
    }

    /// Waits for the next try, or gives the error back when it is final or patience has ended.
    fn wait_after(&mut self, error: StoreError) -> StoreResult<()> {
        let (options, budget) = (self.options, self.budget());
        if !error.kind().is_transient() || self.waited >= budget {
            return Err(error);
        }
        let time = self.jittered(self.next).min(budget - self.waited);
        self.waited += time;
        self.next = (self.next * 2).min(options.longest_wait);
        match (options.wait)(time) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(error),
        }
    }

    /// Between half of the time and all of it, so that many clients do not come back at once.
    fn jittered(&self, time: Duration) -> Duration {
        let mut mixed = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let part = u32::try_from((mixed >> 32) % 1024).unwrap_or(0);
        time / 2 + time / 2 * part / 1024
    }
}

impl RetryStore {
    /// Puts retries around `inner`.
    pub fn new(inner: Arc<dyn Store>, options: RetryOptions) -> Self {
        let dice = Arc::new(AtomicU64::new(options.seed));
        Self { inner, options, dice, is_reached: Arc::new(AtomicBool::new(false)) }
    }

    fn patience(&self) -> Patience<'_> {
        Patience::new(&self.options, &self.dice, &self.is_reached)
    }

    fn again<T>(&self, request: impl FnMut() -> StoreResult<T>) -> StoreResult<T> {
        self.patience().outlast(request)
    }

    fn put_again(
        &self,
        name: &ObjectName,
        bytes: &[u8],
        mode: PutMode,
        put: impl Fn(PutMode) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let mut patience = self.patience();
        let mut outcome = patience.heard(put(mode));
        while let Err(error) = outcome {
            match patience.wait_after(error) {
                Err(_) if planted::is("last-try-counts") => return Ok(()),
                other => other?,
            }
            outcome = match patience.heard(put(mode)) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    self.settle(name, bytes, error, &put)
                }
                other => other,
            };
        }
        Ok(())
    }

    /// After a try whose answer got lost, a taken name may be our own doing.
    fn settle(
        &self,
        name: &ObjectName,
        bytes: &[u8],
        taken: StoreError,
        put: impl Fn(PutMode) -> StoreResult<()>,
    ) -> StoreResult<()> {
        match self.inner.get(name, bytes.len() as u64) {
            Ok(_) if planted::is("taken-is-ours") => Ok(()),
            Ok(stored) if stored == bytes => Ok(()),
            // The torn beginning of ours, at a place that shows half an object: nobody else can want it.
            Ok(stored) if !stored.is_empty() && bytes.starts_with(&stored) => put(PutMode::Replace),
            Err(error) if error.kind().is_transient() => Err(error),
            _ => Err(taken),
        }
    }
}

impl Store for RetryStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.put_again(name, bytes, mode, |mode| self.inner.put(name, bytes, mode))
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.put_again(name, bytes, mode, |mode| self.inner.put_shared(name, bytes, mode))
    }

    /// Keeps the object in memory until it is stored, because it may have to be sent again.
    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let store = self.clone();
        Ok(BufferedUpload::start(len_hint_bytes, move |bytes, name: &ObjectName, mode| {
            store.put_shared(name, &bytes, mode)
        }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.again(|| self.inner.get(name, max_bytes))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.again(|| self.inner.get_range(name, range.clone()))
    }

    /// A list that is cut is taken up after the last object shown: lists are in name order.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        let mut last: Option<ObjectName> = None;
        self.again(|| {
            self.inner.list(prefix, &mut |info| {
                if last.as_ref().is_some_and(|last| info.name <= *last) {
                    return ControlFlow::Continue(());
                }
                last = Some(info.name.clone());
                visit(info)
            })
        })
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.again(|| self.inner.stat(name))
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        let mut patience = self.patience();
        let mut outcome = patience.heard(self.inner.delete(name));
        while let Err(error) = outcome {
            patience.wait_after(error)?;
            outcome = match patience.heard(self.inner.delete(name)) {
                // The try whose answer got lost did it.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => other,
            };
        }
        Ok(())
    }

    fn sync(&self) -> StoreResult<()> {
        self.again(|| self.inner.sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Faults, SimStore};
    use std::sync::Mutex;

    fn name(text: &str) -> ObjectName {
        ObjectName::new(text).expect("names in tests are well formed")
    }

    /// Retries without waiting, and the times that were asked for.
    fn patient(sim: &SimStore) -> (RetryStore, Arc<Mutex<Vec<Duration>>>) {
        let waits = Arc::new(Mutex::new(Vec::new()));
        let noted = waits.clone();
        let wait: Wait = Arc::new(move |time| {
            noted.lock().unwrap().push(time);
            ControlFlow::Continue(())
        });
        let options = RetryOptions { wait, ..RetryOptions::default() };
        (RetryStore::new(Arc::new(sim.clone()), options), waits)
    }

    fn stormy() -> Faults {
        Faults {
            error_before_permille: 200,
            error_after_permille: 200,
            torn_put_permille: 100,
            ..Faults::default()
        }
    }

    #[test]
    fn everything_gets_through_a_storm_exactly_once() {
        let sim = SimStore::with_faults(1, stormy());
        let (store, _) = patient(&sim);
        for number in 0..200_u32 {
            let (object, bytes) = (name(&format!("{number:03}")), number.to_le_bytes().repeat(10));
            store.put(&object, &bytes, PutMode::CreateNew).unwrap();
            assert_eq!(store.get(&object, 40).unwrap(), bytes);
            if number % 2 == 0 {
                store.delete(&object).unwrap();
            }
        }
        let kept = sim.objects();
        assert_eq!(kept.len(), 100);
        assert!(kept.values().all(|bytes| bytes.len() == 40));
    }

    #[test]
    fn a_name_taken_by_somebody_else_stays_taken() {
        let sim = SimStore::new(2);
        sim.put(&name("a"), b"theirs", PutMode::CreateNew).unwrap();
        for seed in 0..50 {
            let sim = sim.connect();
            sim.set_faults(Faults { error_before_permille: 200, ..Faults::default() });
            let (store, _) = patient(&sim);
            let mine = format!("mine {seed}");
            let refused = store.put(&name("a"), mine.as_bytes(), PutMode::CreateNew).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        }
        sim.set_faults(Faults::default());
        assert_eq!(sim.get(&name("a"), 10).unwrap(), b"theirs");
    }

    #[test]
    fn patience_ends_with_the_budget_and_waits_grow() {
        let sim = SimStore::with_faults(3, Faults { error_before_permille: 1000, ..Faults::default() });
        let (store, waits) = patient(&sim);
        assert_eq!(store.stat(&name("a")).unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(waits.lock().unwrap().drain(..).sum::<Duration>(), Duration::from_secs(15));
        // Once it has answered, if only to say no, it is worth more patience.
        sim.set_faults(Faults::default());
        assert_eq!(store.stat(&name("a")).unwrap_err().kind(), ErrorKind::NotFound);
        sim.set_faults(Faults { error_before_permille: 1000, ..Faults::default() });
        assert_eq!(store.stat(&name("a")).unwrap_err().kind(), ErrorKind::Transient);
        let waits = waits.lock().unwrap();
        assert_eq!(waits.iter().sum::<Duration>(), Duration::from_secs(300));
        assert!(waits[0] >= Duration::from_millis(100) && waits[0] <= Duration::from_millis(200));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(60)));
        assert!(waits[3] > waits[0] * 2 && waits.len() < 30, "{waits:?}");
    }

    #[test]
    fn final_errors_are_told_at_once() {
        let kinds =
            [ErrorKind::Denied, ErrorKind::Unauthenticated, ErrorKind::NoSpace, ErrorKind::UntrustedServer];
        for error_kind in kinds {
            let sim = SimStore::with_faults(
                4,
                Faults { error_before_permille: 1000, error_kind, ..Faults::default() },
            );
            let (store, waits) = patient(&sim);
            assert_eq!(store.put(&name("a"), b"", PutMode::Replace).unwrap_err().kind(), error_kind);
            assert!(waits.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn a_user_can_end_the_waiting() {
        let sim = SimStore::with_faults(5, Faults { error_before_permille: 1000, ..Faults::default() });
        let options = RetryOptions { wait: Arc::new(|_| ControlFlow::Break(())), ..RetryOptions::default() };
        let store = RetryStore::new(Arc::new(sim.clone()), options);
        assert_eq!(store.get(&name("a"), 1).unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(sim.requests_made(), 1);
    }

    /// Shows two objects, then fails once.
    struct CutList(SimStore, AtomicU64);

    impl Store for CutList {
        fn location(&self) -> String {
            self.0.location()
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
            self.0.put(name, bytes, mode)
        }
        fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
            self.0.upload(len_hint_bytes)
        }
        fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
            self.0.get(name, max_bytes)
        }
        fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
            self.0.get_range(name, range)
        }
        fn list(
            &self,
            prefix: &str,
            visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
        ) -> StoreResult<()> {
            let is_cut = self.1.fetch_add(1, Ordering::Relaxed) == 0;
            let mut shown = 0;
            self.0.list(prefix, &mut |info| {
                shown += 1;
                if is_cut && shown > 2 { ControlFlow::Break(()) } else { visit(info) }
            })?;
            if is_cut { Err(StoreError::new(ErrorKind::Transient, "list")) } else { Ok(()) }
        }
        fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
            self.0.stat(name)
        }
        fn delete(&self, name: &ObjectName) -> StoreResult<()> {
            self.0.delete(name)
        }
    }

    #[test]
    fn a_cut_list_shows_every_object_once() {
        let sim = SimStore::new(6);
        for object in ["a", "b", "c", "d"] {
            sim.put(&name(object), b"", PutMode::CreateNew).unwrap();
        }
        let cut = CutList(sim, AtomicU64::new(0));
        let options =
            RetryOptions { wait: Arc::new(|_| ControlFlow::Continue(())), ..RetryOptions::default() };
        let store = RetryStore::new(Arc::new(cut), options);
        let mut shown = Vec::new();
        let mut visit = |info: ObjectInfo| {
            shown.push(info.name.to_string());
            ControlFlow::Continue(())
        };
        store.list("", &mut visit).unwrap();
        assert_eq!(shown, ["a", "b", "c", "d"]);
    }
}

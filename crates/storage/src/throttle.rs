//! Keeps uploads and downloads below so many bytes per second, and requests below so many, over all threads together.
//!
//! A token bucket that holds one second: a short burst is free, the average is not exceeded. Uploads wait
//! before they send; downloads wait after they have received, since nobody knows the length before. Limits may
//! change while the store is open ([`Rates`]): what waits already goes at the old speed, what comes then at the new.

use crate::{Capabilities, ObjectInfo, ObjectName, PutMode, Store, StoreResult, Upload};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rates of a throttled store; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// What is sent.
    pub upload_bytes_per_s: Option<u64>,
    /// What is received.
    pub download_bytes_per_s: Option<u64>,
    /// Requests, whatever they ask; a listing of many pages and a request that is tried again count as one.
    pub requests_per_s: Option<u64>,
}

/// Limits that depend on the time: asked for again and again while a store is open.
pub type Rates = Arc<dyn Fn() -> ThrottleOptions + Send + Sync>;

/// How often limits that depend on the time are asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A store of limited speed.
pub struct ThrottleStore {
    inner: Arc<dyn Store>,
    limits: Arc<Limits>,
}

impl ThrottleStore {
    /// Puts limits around `inner`.
    pub fn new(inner: Arc<dyn Store>, options: ThrottleOptions) -> Self {
        Self { inner, limits: Arc::new(Limits::new(options, None)) }
    }

    /// Puts limits around `inner` that are asked for about once a second while it is used.
    pub fn following(inner: Arc<dyn Store>, rates: Rates) -> Self {
        Self { inner, limits: Arc::new(Limits::new(rates(), Some(rates))) }
    }

    /// Sends a request whose answer counts.
    fn receive(&self, request: impl FnOnce() -> StoreResult<Vec<u8>>) -> StoreResult<Vec<u8>> {
        self.limits.asks();
        let outcome = request();
        if let Ok(bytes) = &outcome {
            self.limits.received(bytes.len() as u64);
        }
        outcome
    }
}

/// Both directions, the number of requests, and who is asked for their rates.
struct Limits {
    upload: Limit,
    download: Limit,
    requests: Limit,
    rates: Option<Rates>,
    asked: Mutex<Instant>,
}

impl Limits {
    fn new(options: ThrottleOptions, rates: Option<Rates>) -> Self {
        Self {
            upload: Limit::new(options.upload_bytes_per_s),
            download: Limit::new(options.download_bytes_per_s),
            requests: Limit::new(options.requests_per_s),
            rates,
            asked: Mutex::new(Instant::now()),
        }
    }

    /// A request is about to be sent.
    fn asks(&self) {
        self.follow();
        self.requests.pass(1);
    }

    fn sends(&self, bytes: u64) {
        self.follow();
        self.upload.pass(bytes);
    }

    fn received(&self, bytes: u64) {
        self.follow();
        self.download.pass(bytes);
    }

    fn follow(&self) {
        let Some(rates) = &self.rates else { return };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.elapsed() < ASK_EVERY {
            return;
        }
        *asked = Instant::now();
        drop(asked);
        let options = rates();
        self.upload.set(options.upload_bytes_per_s);
        self.download.set(options.download_bytes_per_s);
        self.requests.set(options.requests_per_s);
    }
}

/// One rate, of bytes or requests, and since when and how far what passed is ahead of it.
struct Limit {
    started: Instant,
    bucket: Mutex<Option<Bucket>>,
}

impl Limit {
    fn new(per_s: Option<u64>) -> Self {
        Self { started: Instant::now(), bucket: Mutex::new(per_s.map(Bucket::new)) }
    }

    fn set(&self, per_s: Option<u64>) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *bucket, per_s) {
            (Some(bucket), Some(rate)) => bucket.per_s = rate.max(1),
            (bucket, rate) => *bucket = rate.map(Bucket::new),
        }
    }

    fn pass(&self, units: u64) {
        let now = self.started.elapsed();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(time) = bucket.as_mut().map(|bucket| bucket.take(now, units)) else { return };
        drop(bucket);
        // Not under the lock: the next thread queues up behind the units, not behind the sleep.
        std::thread::sleep(time);
    }
}

/// Bytes or requests that may pass. Pure: the time is told.
struct Bucket {
    per_s: u64,
    /// When everything granted so far will have passed at the full rate.
    paid_until: Duration,
}

impl Bucket {
    fn new(per_s: u64) -> Self {
        Self { per_s: per_s.max(1), paid_until: Duration::ZERO }
    }

    /// Grants `units` and tells how long to wait for them.
    fn take(&mut self, now: Duration, units: u64) -> Duration {
        // What was not used within the last second is lost, what is due is not forgiven.
        let oldest = now.saturating_sub(Duration::from_secs(1));
        let cost = Duration::from_secs_f64(units as f64 / self.per_s as f64);
        self.paid_until = self.paid_until.max(oldest) + cost;
        self.paid_until.saturating_sub(now)
    }
}

struct ThrottleUpload {
    inner: Box<dyn Upload>,
    limits: Arc<Limits>,
}

impl Upload for ThrottleUpload {
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.limits.sends(bytes.len() as u64);
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        self.limits.asks();
        self.inner.finish(name, mode)
    }
}

impl Store for ThrottleStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.limits.asks();
        self.limits.sends(bytes.len() as u64);
        self.inner.put(name, bytes, mode)
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.limits.asks();
        self.limits.sends(bytes.len() as u64);
        self.inner.put_shared(name, bytes, mode)
    }

    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let inner = self.inner.upload(len_hint_bytes)?;
        Ok(Box::new(ThrottleUpload { inner, limits: self.limits.clone() }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.receive(|| self.inner.get(name, max_bytes))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.receive(|| self.inner.get_range(name, range))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.limits.asks();
        self.inner.list(prefix, visit)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.limits.asks();
        self.inner.stat(name)
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.limits.asks();
        self.inner.delete(name)
    }

    fn sync(&self) -> StoreResult<()> {
        self.inner.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimStore;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_burst_of_a_second_is_free_and_the_average_is_not_exceeded() {
        let mut bucket = Bucket::new(1000);
        let start = Duration::from_secs(10);
        assert_eq!(bucket.take(start, 1000), ms(0));
        assert_eq!(bucket.take(start, 500), ms(500));
        assert_eq!(bucket.take(start + ms(500), 250), ms(250));
        assert_eq!(bucket.take(start + ms(1750), 100), ms(0));
        // An hour of silence earns one second, not an hour.
        assert_eq!(bucket.take(start + Duration::from_secs(3600), 3000), ms(2000));
    }

    #[test]
    fn a_limit_that_comes_while_a_store_is_used_is_heeded() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let slow = Arc::new(AtomicBool::new(false));
        let rates: Rates = {
            let slow = slow.clone();
            Arc::new(move || ThrottleOptions {
                upload_bytes_per_s: slow.load(Ordering::Relaxed).then_some(100 << 10),
                ..ThrottleOptions::default()
            })
        };
        let store = ThrottleStore::following(Arc::new(SimStore::new(1)), rates);
        let put = |name: &str| {
            let start = Instant::now();
            store.put(&ObjectName::new(name).unwrap(), &[0; 300 << 10], PutMode::CreateNew).unwrap();
            start.elapsed()
        };
        put("a");
        assert!(store.limits.upload.bucket.lock().unwrap().is_none(), "nothing is limited");
        slow.store(true, Ordering::Relaxed);
        std::thread::sleep(ASK_EVERY);
        assert!(put("b") >= ms(1900), "three seconds' worth, of which one is a free burst");
        slow.store(false, Ordering::Relaxed);
        std::thread::sleep(ASK_EVERY);
        put("c");
        assert!(store.limits.upload.bucket.lock().unwrap().is_none(), "the window is over");
    }

    #[test]
    fn requests_of_every_kind_pass_at_their_rate() {
        let options = ThrottleOptions { requests_per_s: Some(10), ..ThrottleOptions::default() };
        let store = ThrottleStore::new(Arc::new(SimStore::new(1)), options);
        let name = ObjectName::new("a").unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            store.put(&name, b"x", PutMode::Replace).unwrap();
            store.get(&name, 9).unwrap();
            store.get_range(&name, 0..1).unwrap();
            store.stat(&name).unwrap();
            store.list("a", &mut |_| ControlFlow::Continue(())).unwrap();
            store.upload(1).unwrap().finish(&ObjectName::new("b").unwrap(), PutMode::Replace).unwrap();
            store.delete(&name).unwrap();
        }
        // 21 requests, of which a second's worth is free.
        assert!(start.elapsed() >= ms(1050), "{:?}", start.elapsed());
    }

    #[test]
    fn a_throttled_store_takes_its_time_in_both_directions() {
        let options = ThrottleOptions {
            upload_bytes_per_s: Some(1 << 20),
            download_bytes_per_s: Some(1 << 20),
            requests_per_s: None,
        };
        let store = ThrottleStore::new(Arc::new(SimStore::new(1)), options);
        let name = ObjectName::new("a").unwrap();
        let start = Instant::now();
        let mut upload = store.upload(0).unwrap();
        upload.write(&[0; 100 << 10]).unwrap();
        upload.finish(&name, PutMode::CreateNew).unwrap();
        assert!(start.elapsed() >= ms(90), "{:?}", start.elapsed());
        let start = Instant::now();
        for _ in 0..2 {
            store.get(&name, 1 << 20).unwrap();
            store.get_range(&name, 0..100 << 10).unwrap();
        }
        // 400 KiB, of which the time since the store was opened has paid for a part.
        assert!(start.elapsed() >= ms(200), "{:?}", start.elapsed());
    }
}

//! Keeps uploads and downloads below so many bytes per second, over all threads together.
//!
//! A token bucket that holds one second: a short burst is free, the average is not exceeded. Uploads wait
//! before they send; downloads wait after they have received, since nobody knows the length before.

use crate::{Capabilities, ObjectInfo, ObjectName, PutMode, Store, StoreResult, Upload};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rates of a throttled store (bytes per second); `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// What is sent.
    pub upload_bytes_per_s: Option<u64>,
    /// What is received.
    pub download_bytes_per_s: Option<u64>,
}

/// A store of limited speed.
pub struct ThrottleStore {
    inner: Arc<dyn Store>,
    upload: Arc<Limit>,
    download: Limit,
}

impl ThrottleStore {
    /// Puts limits around `inner`.
    pub fn new(inner: Arc<dyn Store>, options: ThrottleOptions) -> Self {
        Self {
            inner,
            upload: Arc::new(Limit::new(options.upload_bytes_per_s)),
            download: Limit::new(options.download_bytes_per_s),
        }
    }

    fn received(&self, outcome: StoreResult<Vec<u8>>) -> StoreResult<Vec<u8>> {
        if let Ok(bytes) = &outcome {
            self.download.pass(bytes.len() as u64);
        }
        outcome
    }
}

/// One direction: its rate, and since when and how far it is ahead of it.
struct Limit {
    started: Instant,
    bucket: Option<Mutex<Bucket>>,
}

impl Limit {
    fn new(bytes_per_s: Option<u64>) -> Self {
        let bucket = bytes_per_s.map(|rate| Mutex::new(Bucket::new(rate)));
        Self { started: Instant::now(), bucket }
    }

    fn pass(&self, bytes: u64) {
        let Some(bucket) = &self.bucket else { return };
        let now = self.started.elapsed();
        let time = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now, bytes);
        // Not under the lock: the next thread queues up behind the bytes, not behind the sleep.
        std::thread::sleep(time);
    }
}

/// Bytes that may pass. Pure: the time is told.
struct Bucket {
    bytes_per_s: u64,
    /// When everything granted so far will have passed at the full rate.
    paid_until: Duration,
}

impl Bucket {
    fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), paid_until: Duration::ZERO }
    }

    /// Grants `bytes` and tells how long to wait for them.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        // What was not used within the last second is lost, what is due is not forgiven.
        let oldest = now.saturating_sub(Duration::from_secs(1));
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        self.paid_until = self.paid_until.max(oldest) + cost;
        self.paid_until.saturating_sub(now)
    }
}

struct ThrottleUpload {
    inner: Box<dyn Upload>,
    limit: Arc<Limit>,
}

impl Upload for ThrottleUpload {
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.limit.pass(bytes.len() as u64);
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
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
        self.upload.pass(bytes.len() as u64);
        self.inner.put(name, bytes, mode)
    }

    fn put_shared(&self, name: &ObjectName, bytes: &Arc<Vec<u8>>, mode: PutMode) -> StoreResult<()> {
        self.upload.pass(bytes.len() as u64);
        self.inner.put_shared(name, bytes, mode)
    }

    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        let inner = self.inner.upload(len_hint_bytes)?;
        Ok(Box::new(ThrottleUpload { inner, limit: self.upload.clone() }))
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.received(self.inner.get(name, max_bytes))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.received(self.inner.get_range(name, range))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.inner.list(prefix, visit)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.inner.stat(name)
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
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
    fn a_throttled_store_takes_its_time_in_both_directions() {
        let options =
            ThrottleOptions { upload_bytes_per_s: Some(1 << 20), download_bytes_per_s: Some(1 << 20) };
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

//! A place that may be read and, for a stated reason, not be changed from here.

use crate::{
    Capabilities, ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreError, StoreResult, Upload,
};
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Passes reads on and refuses everything else with [`ErrorKind::Denied`].
pub struct ReadOnlyStore {
    inner: Arc<dyn Store>,
    why: String,
}

impl ReadOnlyStore {
    /// Puts the refusal around `inner`; `why` is what whoever tries is told.
    pub fn new(inner: Arc<dyn Store>, why: impl Into<String>) -> Self {
        Self { inner, why: why.into() }
    }

    fn refused<T>(&self, what: String) -> StoreResult<T> {
        Err(StoreError::new(ErrorKind::Denied, what).because(Refusal(self.why.clone())))
    }
}

/// The cause of an error that this program made itself: the place would have let it happen.
#[derive(Debug)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl Store for ReadOnlyStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &ObjectName, _bytes: &[u8], _mode: PutMode) -> StoreResult<()> {
        self.refused(format!("write {name}"))
    }

    fn upload(&self, _len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        self.refused("write an object".to_owned())
    }

    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.inner.get(name, max_bytes)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.inner.get_range(name, range)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.inner.list(prefix, visit)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.inner.stat(name)
    }

    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.refused(format!("delete {name}"))
    }

    fn sync(&self) -> StoreResult<()> {
        self.inner.sync()
    }

    fn look(&self) -> StoreResult<()> {
        self.inner.look()
    }

    fn end_look(&self) {
        self.inner.end_look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimStore;

    #[test]
    fn what_is_there_is_read_and_nothing_changes() {
        let sim = SimStore::new(1);
        let name = ObjectName::new("a").unwrap();
        sim.put(&name, b"x", PutMode::CreateNew).unwrap();
        let store = ReadOnlyStore::new(Arc::new(sim.clone()), "another machine writes here");
        assert_eq!(store.get(&name, 1).unwrap(), b"x");
        let refused = [
            store.put(&name, b"y", PutMode::Replace).unwrap_err(),
            store.put_shared(&name, &Arc::new(b"y".to_vec()), PutMode::CreateNew).unwrap_err(),
            store.upload(1).err().unwrap(),
            store.delete(&name).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(format!("{error:?}").contains("another machine"), "{error:?}");
        }
        assert_eq!(sim.get(&name, 1).unwrap(), b"x");
    }
}

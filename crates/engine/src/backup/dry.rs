//! A store that reads as the real one and swallows what is written: for dry runs.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use storage::{Capabilities, ObjectInfo, ObjectName, PutMode, Store, StoreResult, Upload};

/// Swallows writes.
pub(super) struct DryStore(pub(super) Arc<dyn Store>);

struct DryUpload;

impl Upload for DryUpload {
    fn write(&mut self, _bytes: &[u8]) -> StoreResult<()> {
        Ok(())
    }
    fn finish(self: Box<Self>, _name: &ObjectName, _mode: PutMode) -> StoreResult<()> {
        Ok(())
    }
}

impl Store for DryStore {
    fn location(&self) -> String {
        self.0.location()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn put(&self, _name: &ObjectName, _bytes: &[u8], _mode: PutMode) -> StoreResult<()> {
        Ok(())
    }
    fn upload(&self, _len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        Ok(Box::new(DryUpload))
    }
    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.0.get(name, max_bytes)
    }
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.0.get_range(name, range)
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.0.list(prefix, visit)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.0.stat(name)
    }
    fn delete(&self, _name: &ObjectName) -> StoreResult<()> {
        Ok(())
    }
}

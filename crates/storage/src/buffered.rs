//! An upload that gathers the object in memory and stores it in one piece at the end.
//!
//! For stores that cannot name an object last, and for decorators that must be able to send it again.
//! Costs memory of the object's size; packs are 16 MiB.

use crate::{ObjectName, PutMode, StoreResult, Upload};
use std::sync::Arc;

/// Room set aside at once; a larger hint may be a mistake (bytes).
const RESERVE_MAX_BYTES: u64 = 64 << 20;

/// Gathers bytes, then hands them to `store_it`.
pub(crate) struct BufferedUpload<F> {
    bytes: Vec<u8>,
    store_it: F,
}

impl<F> BufferedUpload<F>
where
    F: FnOnce(Arc<Vec<u8>>, &ObjectName, PutMode) -> StoreResult<()> + Send + 'static,
{
    pub(crate) fn start(len_hint_bytes: u64, store_it: F) -> Box<dyn Upload> {
        let room = usize::try_from(len_hint_bytes.min(RESERVE_MAX_BYTES)).unwrap_or(0);
        Box::new(Self { bytes: Vec::with_capacity(room), store_it })
    }
}

impl<F> Upload for BufferedUpload<F>
where
    F: FnOnce(Arc<Vec<u8>>, &ObjectName, PutMode) -> StoreResult<()> + Send,
{
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        (self.store_it)(Arc::new(self.bytes), name, mode)
    }
}

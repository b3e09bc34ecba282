//! The conformance suite on the stores that need nothing but this machine.

use std::sync::Arc;
use storage::conformance::{self, Scope};
use storage::{LocalOptions, LocalStore, RecordStore, SimStore, Store};

fn judge(store: &dyn Store) {
    let report = conformance::run(store, "maint/test-0123456789abcdef", Scope::Full);
    let broken: Vec<_> = report.broken().collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let mut left = 0;
    let mut count = |_| {
        left += 1;
        std::ops::ControlFlow::Continue(())
    };
    store.list("", &mut count).unwrap();
    assert_eq!(left, 0, "the suite removes what it stored");
}

#[test]
fn local_stores_keep_their_promises() {
    for batch_folder_sync in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let options = LocalOptions { batch_folder_sync, ..LocalOptions::default() };
        judge(&LocalStore::open(folder.path(), &options).unwrap());
    }
}

#[test]
fn a_simulated_place_without_faults_keeps_its_promises() {
    judge(&SimStore::new(1));
}

#[test]
fn a_recorded_store_keeps_its_promises() {
    judge(&RecordStore::new(Arc::new(SimStore::new(2))));
}

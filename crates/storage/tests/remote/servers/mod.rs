//! Real servers for tests: an S3 server inside of the test, others as programs when they are installed.
//!
//! A test whose part is missing says so and passes, unless `LIFEBOAT_TEST_REQUIRE=all` is set.

pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod s3;
pub(crate) mod storms;

use storage::conformance::{self, Scope};
use storage::{ObjectName, Store};

/// Runs the whole suite and tells what is broken.
pub(crate) fn judge(store: &dyn Store) {
    let report = conformance::run(store, "maint/test-0123456789abcdef", Scope::Full);
    let broken: Vec<_> = report.broken().collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// An object name.
pub(crate) fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("names in tests are well formed")
}

/// An error with all its causes, as the program would print it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        text.push_str(&format!(": {found}"));
        cause = found.source();
    }
    text
}

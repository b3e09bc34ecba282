//! The environment of the program, as a value.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

type Look = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// Where variables of the environment are looked up.
#[derive(Clone)]
pub struct Environment(Arc<Look>);

impl Environment {
    /// An environment that asks `look` for each variable.
    pub fn new(look: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Environment(Arc::new(look))
    }

    /// An environment without any variable.
    pub fn empty() -> Self {
        Environment::new(|_| None)
    }

    /// A variable; empty ones count as absent, ones that are not UTF-8 too.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.0(name)?.into_string().ok().filter(|value| !value.is_empty())
    }

    /// A path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.0(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

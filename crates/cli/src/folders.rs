//! The environment, and where it says that this machine's own files lie.
//!
//! The only place that reads the environment.

use service::environment::Environment;
use service::folders::Folders;
use std::env;
use std::path::PathBuf;

/// The environment of this process.
pub(crate) fn environment() -> Environment {
    Environment::new(|name| env::var_os(name))
}

/// The folders of this installation.
pub(crate) fn folders() -> Folders {
    Folders::of(&environment())
}

/// A variable of the environment; empty ones count as absent, ones that are not UTF-8 too.
pub(crate) fn variable(name: &str) -> Option<String> {
    environment().variable(name)
}

/// A path from the environment.
pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    environment().path(name)
}

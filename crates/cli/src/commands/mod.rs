//! One file per command: its options with their help, and what it does.

pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod dump;
pub(crate) mod excludes;
pub(crate) mod find;
pub(crate) mod forget;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod repo;
pub(crate) mod restore;
pub(crate) mod rules;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod tag;
pub(crate) mod version;
pub(crate) mod versions;

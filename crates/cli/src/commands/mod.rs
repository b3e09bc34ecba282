//! One file per command: its options with their help, and what it does.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod init;
pub(crate) mod ls;
pub(crate) mod restore;
pub(crate) mod rules;
pub(crate) mod snapshots;
pub(crate) mod version;

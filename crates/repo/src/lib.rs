//! A repository: one place that holds the snapshots of a family, opened with its keys.
//!
//! What it promises:
//! - a snapshot is published only when everything it relies on is stored and was seen to be stored
//!   ([`writer`] is the only module that knows the order of publishing);
//! - reading never writes, and works with any one object missing: what only that object held is named;
//! - nothing kept on this machine is ever needed: [`cache`] files may vanish between any two reads;
//! - no locks. Any number of machines write at once, and none can leave anything behind that stops another.
//!
//! It knows no file system: what a path *is* belongs to the crate `host`.

pub mod browse;
pub mod cache;
pub mod check;
mod error;
pub mod index;
pub mod names;
mod open;
pub mod reader;
pub mod seed;
mod slots;
pub mod snapshots;
pub mod workers;
pub mod writer;

pub use error::{RepoError, RepoResult};
pub use open::{Credential, NewRepo, OpenOptions, Repo};
pub use slots::{NewSlot, SlotInfo};

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

pub mod attest;
mod blocks;
pub mod browse;
pub mod cache;
pub mod check;
pub mod clock;
pub mod damage;
pub mod erasures;
mod error;
pub mod heads;
pub mod holds;
pub mod index;
pub mod leaf_ranges;
pub mod log;
pub mod names;
mod open;
pub mod outside;
pub mod protection;
pub mod prune;
pub mod reader;
pub mod rebuild;
pub mod removals;
pub mod repair;
pub mod reserve;
pub mod rewrite;
pub mod scrub;
pub mod seed;
pub mod single_writer;
mod slots;
pub mod snapshots;
pub mod sync;
pub mod tools;
pub mod trust;
mod unfinished;
pub mod workers;
pub mod writer;

pub use error::{RepoError, RepoResult};
pub use open::{Credential, NewRepo, OpenOptions, Repo};
pub use slots::{NewSlot, SlotInfo};

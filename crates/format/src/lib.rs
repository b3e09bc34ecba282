//! Bytes and their meaning: the lifeboat repository format, pure.
//!
//! No I/O, no clock, no randomness, no threads: whatever is random or timed enters as a value. Every
//! decoder is bounded by [`limits`] before it allocates and answers hostile bytes with an error.
//! `docs/format.md` decides; this crate follows it.
//!
//! From the inside out: [`block`]s of blobs are compressed and sealed, [`pack`]s carry blocks and a
//! directory, [`index`] segments say which pack holds a blob, [`tree`] nodes hold the entries of a
//! snapshot, [`snapshot`] records name a tree, [`gc`] and [`keep`] records say what goes and what stays, and [`config`] and key [`slot`]s open it all.
//! [`log`] records and [`erase`] records tell what was done; [`textkey`], [`words`] and [`shares`] are keys that people
//! write down.
//! Everything but packs shares one [`envelope`] with [`parity`].

pub mod block;
pub mod chunk;
pub mod codec;
pub mod config;
pub mod damage;
pub mod envelope;
pub mod erase;
mod error;
pub mod gc;
pub mod id;
pub mod index;
pub mod keep;
pub mod keys;
pub mod kind;
pub mod limits;
pub mod log;
pub mod pack;
pub mod parity;
mod record;
mod repair;
pub mod seal;
pub mod shares;
pub mod slot;
pub mod snapshot;
pub mod textkey;
pub mod tree;
pub mod wire;
pub mod words;

pub use error::{FormatError, FormatResult};

//! A model of the deletion protocol, and a search through everything that can happen in it.
//!
//! The protocol is told in docs/protocol.md. Here each actor is a list of steps, one step one request to a
//! place; any step of any actor may come next, an actor may stop for ever after any step, and a pruner or a
//! merger may die and begin anew. [`search`] visits every state that can be reached within the bounds of a
//! [`Scenario`] and looks for one in which a snapshot that somebody relies on misses something.
//!
//! The model knows no clocks. "The undo window is over", "this session is dead" and "the grace period is
//! over" are guesses that may come at any time, too early as well: safety must not rest on them.

pub mod campaign;
pub mod listing;
pub mod mender;
pub mod merger;
pub mod people;
pub mod progress;
pub mod pruner;
pub mod repairer;
pub mod scenario;
pub mod search;
pub mod sessions;
pub mod state;
pub mod trace;
pub mod turn;
pub mod variants;
pub mod writer;

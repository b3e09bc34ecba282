//! The first configuration of a machine: what is there to protect, what need not be, and how it is written.
//!
//! Finds and proposes; whoever asks the questions decides. What comes out is a `lifeboat.toml` that says no more
//! than what was answered: everything else follows from criticality and is told in comments.

mod compose;
pub mod discover;
pub mod leftovers;

pub use compose::{Answers, Meaning, NewPlace, NewSource, Trial, What, compose, name_of, policy_of};

//! Coming back: what a repository holds for a machine that has nothing else.
//!
//! [`configuration`] brings the configuration back, [`order`] says what comes first and why, [`found`] what can come
//! back, from which snapshot, how much it is and how long it takes. All of it only reads repositories; what is
//! written (files of the configuration) is never written over what is there.

pub mod configuration;
pub mod found;
pub mod order;

pub use configuration::{Stored, Written};
pub use found::{Back, measure};
pub use order::{Placed, order};

//! Helpers of the tests of several crates: never part of the program.
//!
//! Everything is seeded: equal seeds make equal worlds, so a failing test names its seed and can be run
//! again. Nothing here is clever; what it compares with are plain maps.

pub mod dice;
pub mod disk;
pub mod files;
pub mod mini;
pub mod model;
pub mod servers;
pub mod simulation;
pub mod turns;
pub mod world;

//! What makes backups happen by themselves: opening places, what is known about their snapshots, and the
//! words in which all of it is told.
//!
//! The command line, jobs and the daemon open repositories by the same code ([`open`]) and fail with the same
//! [`failure::Failure`]. This crate prints nothing, asks nobody and reads neither environment nor clock: the
//! environment enters as an [`environment::Environment`], whoever can be asked as a [`person::Person`], time
//! and randomness as values.

pub mod alarms;
pub mod audit;
pub mod catalog;
pub mod compliance;
pub mod conditions;
pub mod config;

pub mod counts;
pub mod credentials;
pub mod daemon;
pub mod damage_queue;
pub mod display;
pub mod drill;
pub mod durable;
pub mod durations;
pub mod duties;
pub mod environment;
pub mod failure;
pub mod folders;
pub mod hooks;
pub mod kit;
pub mod known;
pub mod logging;
#[cfg(feature = "remote")]
pub mod logins;
pub mod metrics;
pub mod notify;
pub mod open;
mod open_within;
pub mod page;
pub mod person;
pub mod plan;
pub mod posture;
pub mod recovery;
pub mod restore_db;
pub mod runner;
pub mod schedule;
pub mod secrets;
pub mod seen_erasures;
pub mod seen_heads;
pub mod seen_places;
pub mod setup;
pub mod signals;
pub mod sizes;
pub mod stored_config;
pub mod time;
pub mod turns;
pub mod units;
pub mod watching;
pub mod writer_state;

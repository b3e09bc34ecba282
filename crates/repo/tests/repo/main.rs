//! What a repository promises, shown on a simulated place and on a local folder.

mod attest;
mod concurrent;
mod costs;
mod crash;
mod damage;
mod differences;
mod fan_out;
mod faults;
mod garbage;
mod heal;
mod keeping;
mod listing;
mod locks;
mod matrix;
mod overtaken;
mod prune;
mod records;
mod repair;
mod reserve;
mod round_trip;
mod scrub;
mod sync;

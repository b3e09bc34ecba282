//! What a repository promises, shown on a simulated place and on a local folder.

mod concurrent;
mod costs;
mod crash;
mod damage;
mod differences;
mod faults;
mod garbage;
mod listing;
mod locks;
mod overtaken;
mod round_trip;

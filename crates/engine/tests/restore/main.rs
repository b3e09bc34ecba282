//! Restores from real (local) repositories into real folders.

mod damage;
mod existing;
mod hostile;
mod parts;
mod remote;
mod torture;
mod whole;
mod world;

//! What a repository promises, shown on a simulated place and on a local folder.

mod differences;
mod round_trip;

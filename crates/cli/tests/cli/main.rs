//! The program as its users meet it: whole outputs, exit codes, and what is on disk afterwards.

mod errors;
mod flow;
mod help;
mod json;
mod keys;
mod kills;
mod support;
mod terminal;

//! The way to a running daemon: HTTP/1 over a socket that only its user may open, and metrics on a loopback
//! address for who wants them there. Nothing else.
//!
//! A request is small, its answer JSON, metrics, or a stream of JSON lines that ends with the connection. One
//! thread per connection and few connections: an idle daemon needs neither a runtime nor its memory.

mod client;
mod http;
mod server;

pub use client::{Answer, Client};
pub use server::{Control, Lines, serve_metrics, serve_socket};

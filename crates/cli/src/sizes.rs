//! Numbers of bytes; see `service::sizes`.

pub(crate) use service::sizes::{parse, parse_memory, parse_parity, shown, shown_parity};

//! What time it is. How times are read and shown is told in `service::time`.

use format::kind::Timestamp;
pub(crate) use service::time::{calendar, clock, from_system, parse, rfc3339, shown, to_the_second};

/// The time now.
pub(crate) fn now() -> Timestamp {
    service::time::from_jiff(jiff::Timestamp::now())
}

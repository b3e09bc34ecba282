//! Untrusted names as text; see `service::display`.

pub(crate) use service::display::{DisplayName, insert_path, safe, shell_word};

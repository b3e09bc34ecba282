//! Everything that rclone reaches: `rclone:REMOTE:PATH`, with remotes from rclone's own configuration.
//!
//! Remotes that are spelt out on the spot (`:s3,access_key=...:bucket`) are refused: they carry secrets, and
//! locations end up in logs and process tables.

use std::fmt;

/// A path on a remote of rclone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcloneLocation {
    /// The remote's name in rclone's configuration.
    pub remote: String,
    /// As rclone takes it; may be empty.
    pub path: String,
}

pub(super) fn parse(rest: &str) -> Result<RcloneLocation, String> {
    let Some((remote, path)) = rest.split_once(':') else {
        return Err(format!("the path is missing: rclone:{rest}:PATH"));
    };
    if remote.is_empty() {
        return Err(
            "name a remote of rclone's configuration (`rclone listremotes` shows them); one that is \
                    spelt out on the spot would show its secrets"
                .to_owned(),
        );
    }
    // rclone's own rule for names, without the comma that would begin options.
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '@' | ' ');
    if !remote.chars().all(plain) || remote.starts_with(['-', ' ']) || remote.ends_with(' ') {
        return Err(format!("{remote:?} is no name of a remote"));
    }
    if path.chars().any(char::is_control) || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("its path must not contain . or .. or control characters".to_owned());
    }
    Ok(RcloneLocation { remote: remote.to_owned(), path: path.trim_end_matches('/').to_owned() })
}

impl fmt::Display for RcloneLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rclone:{}:{}", self.remote, self.path)
    }
}

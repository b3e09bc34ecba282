//! Getting and keeping the right to use somebody's drive: OAuth 2.0 without a browser of our own.
//!
//! A *login* is what is kept: the client's id, its secret if it has one, and the refresh token. It is
//! obtained by a code that the user types elsewhere ([`by_device`], RFC 8628), by a browser on this machine
//! that comes back to a port of ours ([`by_browser`], RFC 8252 with PKCE, RFC 7636), or by a code that the
//! user copies ([`by_pasting`]). Tokens never show in an error, a log or `Debug`. lifeboat has no client id
//! of its own: each of these services binds one to an owner who answers for it, so users bring theirs.

pub mod answers;
mod browser;
mod client;
mod device;
mod keep;
mod provider;

pub use browser::{BrowserOptions, by_browser, by_pasting};
pub use client::FormClient;
pub(crate) use client::{Granted, renew};
pub use device::{DevicePrompt, by_device};
pub use keep::{CommandLogin, FileLogin, KeepLogin};
pub use provider::Provider;

use crate::{DriveService, ErrorKind, StoreError, StoreResult};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A kept login is never longer (bytes). Microsoft's refresh tokens have about 2 KiB.
pub const LOGIN_BYTES_MAX: usize = 64 << 10;

/// Who asks for the right: the user's own registration with the service.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ClientId {
    /// The id that the service gave.
    pub id: String,
    /// Its secret, where the service wants one (Google always does, even for programs).
    pub secret: Option<String>,
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({})", self.id)
    }
}

/// The lasting right to use a drive, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// 1.
    pub version: u32,
    /// `gdrive`, `dropbox` or `onedrive`.
    pub service: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Where the token is exchanged for one that opens the drive for an hour.
    pub token_url: String,
    /// What lasts.
    pub refresh_token: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({} by {})", self.service, self.client_id)
    }
}

impl Login {
    /// Reads a login as it was kept.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for anything else; the message never quotes the text.
    pub fn decode(bytes: &[u8]) -> StoreResult<Self> {
        let wrong = |why: &str| StoreError::new(ErrorKind::Config, "read a kept login").because(why);
        if bytes.len() > LOGIN_BYTES_MAX {
            return Err(wrong("it is too long to be one"));
        }
        let login: Login = serde_json::from_slice(bytes).map_err(|error| {
            wrong(&format!("it is no login (line {}, column {})", error.line(), error.column()))
        })?;
        if login.version != 1 {
            return Err(wrong("it was written by a newer version"));
        }
        if DriveService::of_scheme(&login.service).is_none() {
            return Err(wrong("it is for a service that this version does not know"));
        }
        if login.refresh_token.is_empty() || login.client_id.is_empty() {
            return Err(wrong("its token or client id is empty"));
        }
        if !is_safe_url(&login.token_url) {
            return Err(wrong("its token_url is not https"));
        }
        Ok(login)
    }

    /// The text that is kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a login is plain text");
        text.push(b'\n');
        text
    }
}

/// Whether secrets may be sent to this URL: encrypted, or to this very machine.
pub(crate) fn is_safe_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let plain = |c: char| c.is_ascii_graphic() && c != '@' && c != '\\';
    if host.is_empty() || !url.chars().all(|c| c.is_ascii_graphic()) || !host.chars().all(plain) {
        return false;
    }
    let name = host.strip_prefix('[').map_or(host.split(':').next(), |v6| v6.split(']').next()).unwrap_or("");
    scheme == "https" || (scheme == "http" && matches!(name, "127.0.0.1" | "localhost" | "::1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            version: 1,
            service: "gdrive".into(),
            client_id: "me.apps".into(),
            client_secret: Some("kept-from-all".into()),
            token_url: "https://oauth2.example/token".into(),
            refresh_token: "never-shown".into(),
        }
    }

    #[test]
    fn a_login_is_kept_and_never_shown() {
        assert_eq!(Login::decode(&login().encode()).unwrap(), login());
        let shown =
            format!("{:?} {:?}", login(), ClientId { id: "a".into(), secret: Some("b-secret".into()) });
        assert!(
            !shown.contains("never-shown") && !shown.contains("kept-from-all") && !shown.contains("b-secret")
        );
    }

    #[test]
    fn what_is_no_login_is_told_without_quoting_it() {
        let with = |change: &dyn Fn(&mut Login)| {
            let mut login = login();
            change(&mut login);
            Login::decode(&login.encode()).unwrap_err()
        };
        let errors = [
            Login::decode(b"never-shown").unwrap_err(),
            Login::decode(&vec![b' '; LOGIN_BYTES_MAX + 1]).unwrap_err(),
            with(&|login| login.version = 2),
            with(&|login| login.service = "icloud".into()),
            with(&|login| login.refresh_token.clear()),
            with(&|login| login.token_url = "http://example.com/token".into()),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?}").contains("never-shown"), "{error:?}");
        }
    }

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for good in ["https://a/b", "http://127.0.0.1:80/x", "http://localhost", "http://[::1]:9/token"] {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in [
            "http://a/b",
            "ftp://127.0.0.1",
            "https://",
            "https://a b",
            "http://localhost@evil/",
            "http://127.0.0.1.evil/",
        ] {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }
}

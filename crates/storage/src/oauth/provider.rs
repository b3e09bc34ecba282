//! Where each service hands out rights, and which right is asked for: the smallest that does.
//!
//! Addresses and scopes are those of the services' own documentation for installed applications (Google
//! Identity, Dropbox OAuth guide, Microsoft identity platform v2.0), November 2026.

use crate::DriveService;

/// The addresses of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Whose they are.
    pub service: DriveService,
    /// Where a code for another device is asked for; `None` where the service has no such way.
    pub device_url: Option<String>,
    /// Where the browser goes.
    pub authorize_url: String,
    /// Where codes and refresh tokens are exchanged.
    pub token_url: String,
    /// What is asked for.
    pub scope: &'static str,
    /// Further words of the browser's address, without which no lasting token comes.
    pub(super) authorize_extra: &'static [(&'static str, &'static str)],
    /// The host under which the browser comes back.
    pub(super) redirect_host: &'static str,
    /// The port it comes back to, where the service wants it registered beforehand.
    pub redirect_port: Option<u16>,
    /// Whether the service shows the code to be copied, too.
    pub may_paste: bool,
}

/// Where Dropbox sends the browser back: its redirect addresses are registered letter by letter.
const DROPBOX_PORT: u16 = 53_682;

impl Provider {
    /// The addresses of a service.
    pub fn of(service: DriveService) -> Self {
        let url = |text: &str| text.to_owned();
        match service {
            // `drive.file`: only files that this client made; the rest of the drive stays out of reach.
            DriveService::Gdrive => Self {
                service,
                device_url: Some(url("https://oauth2.googleapis.com/device/code")),
                authorize_url: url("https://accounts.google.com/o/oauth2/v2/auth"),
                token_url: url("https://oauth2.googleapis.com/token"),
                scope: "https://www.googleapis.com/auth/drive.file",
                authorize_extra: &[("access_type", "offline"), ("prompt", "consent")],
                redirect_host: "127.0.0.1",
                redirect_port: None,
                may_paste: false,
            },
            DriveService::Dropbox => Self {
                service,
                device_url: None,
                authorize_url: url("https://www.dropbox.com/oauth2/authorize"),
                token_url: url("https://api.dropboxapi.com/oauth2/token"),
                scope: "files.metadata.read files.content.read files.content.write",
                authorize_extra: &[("token_access_type", "offline")],
                redirect_host: "localhost",
                redirect_port: Some(DROPBOX_PORT),
                may_paste: true,
            },
            DriveService::Onedrive => Self {
                service,
                device_url: Some(url("https://login.microsoftonline.com/common/oauth2/v2.0/devicecode")),
                authorize_url: url("https://login.microsoftonline.com/common/oauth2/v2.0/authorize"),
                token_url: url("https://login.microsoftonline.com/common/oauth2/v2.0/token"),
                scope: "offline_access Files.ReadWrite",
                authorize_extra: &[],
                redirect_host: "localhost",
                redirect_port: None,
                may_paste: false,
            },
        }
    }

    /// The same ways at another server, `BASE/device`, `BASE/authorize` and `BASE/token`: for a national
    /// cloud behind a proxy, and for tests.
    pub fn at(service: DriveService, base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let known = Self::of(service);
        Self {
            device_url: known.device_url.as_ref().map(|_| format!("{base}/device")),
            authorize_url: format!("{base}/authorize"),
            token_url: format!("{base}/token"),
            ..known
        }
    }
}

//! Folders of Google Drive, Dropbox and OneDrive: `gdrive://folder`, `dropbox://folder?login=work`.
//!
//! Whose drive it is, the login says and not the location: the same folder name means another place with
//! another login. `?login=NAME` tells several logins of one service apart.

use super::{decode, encode, folders};
use std::fmt;

/// Longest name of a login (bytes): it becomes part of a file name.
const LOGIN_NAME_MAX_BYTES: usize = 64;

/// Drives of people, reached with a token instead of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveService {
    /// Google Drive.
    Gdrive,
    /// Dropbox.
    Dropbox,
    /// OneDrive, personal or of an organisation.
    Onedrive,
}

impl DriveService {
    /// All of them.
    pub const ALL: [DriveService; 3] = [Self::Gdrive, Self::Dropbox, Self::Onedrive];

    /// The scheme in a URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Gdrive => "gdrive",
            Self::Dropbox => "dropbox",
            Self::Onedrive => "onedrive",
        }
    }

    /// Its name as people know it.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Gdrive => "Google Drive",
            Self::Dropbox => "Dropbox",
            Self::Onedrive => "OneDrive",
        }
    }

    /// The service of a scheme.
    pub fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.scheme() == scheme)
    }
}

/// A folder on somebody's drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveLocation {
    /// Whose servers.
    pub service: DriveService,
    /// Folders, without slashes at the ends; never empty.
    pub path: String,
    /// Which of several logins; `None` for the only one.
    pub login: Option<String>,
}

impl DriveLocation {
    /// The name under which the login is kept: `gdrive`, or `gdrive-work` for `?login=work`.
    pub fn login_name(&self) -> String {
        match &self.login {
            None => self.service.scheme().to_owned(),
            Some(login) => format!("{}-{login}", self.service.scheme()),
        }
    }
}

/// Whether a login may have this name.
pub fn is_login_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=LOGIN_NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

pub(super) fn parse(service: DriveService, rest: &str) -> Result<DriveLocation, String> {
    let scheme = service.scheme();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.split('/').next().is_some_and(|first| first.contains('@')) {
        return Err(format!("it must not contain a login; name one with {scheme}://FOLDER?login=NAME"));
    }
    let path = folders(&decode(path)?)?;
    if path.is_empty() {
        return Err(format!("name a folder of the drive: {scheme}://FOLDER"));
    }
    let mut login = None;
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("login", name)) if is_login_name(name) && login.is_none() => login = Some(name.to_owned()),
            Some(("login", _)) => {
                return Err("the name of a login has letters, digits, - and _, and is given once".to_owned());
            }
            _ => return Err(format!("{scheme}:// has no option {option:?}; there is login")),
        }
    }
    Ok(DriveLocation { service, path, login })
}

impl fmt::Display for DriveLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.service.scheme(), encode(&self.path).replace('@', "%40"))?;
        match &self.login {
            Some(login) => write!(f, "?login={login}"),
            None => Ok(()),
        }
    }
}

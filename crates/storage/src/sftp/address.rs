//! Where a repository lies on an SSH server: user, host, port and folder, without any secret.
//!
//! Two ways of writing are read: `sftp://user@host:port/folder` and `sftp:user@host:folder`. A folder that
//! begins with `/` counts from the root of the server, any other from the folder the login lands in; in the
//! first way of writing that one is `/~/folder`. This file resolves no names and reads no configuration.

use std::fmt;

use crate::{ErrorKind, StoreError, StoreResult};

/// The port of SSH when neither the address nor the configuration names one.
pub(super) const DEFAULT_PORT: u16 = 22;

/// A folder on an SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftpLocation {
    /// The account; `None` leaves it to the ssh configuration and the local name.
    pub user: Option<String>,
    /// Host name, address (IPv6 without brackets) or alias of the ssh configuration.
    pub host: String,
    /// The port; `None` leaves it to the ssh configuration, else 22.
    pub port: Option<u16>,
    /// The folder: absolute when it begins with `/`, else relative to the login folder. Empty is that folder.
    pub path: String,
}

impl SftpLocation {
    /// Reads `sftp://[user@]host[:port]/folder` (with `%40` and the like) or `sftp:[user@]host:folder`.
    ///
    /// A password in an address is refused: addresses end up in listings, logs and process tables.
    pub fn parse(text: &str) -> StoreResult<Self> {
        let wrong = |why: &str| StoreError::new(ErrorKind::Config, format!("read address: {why}"));
        let location = match text.strip_prefix("sftp://") {
            Some(rest) => parse_url(rest),
            None => text.strip_prefix("sftp:").ok_or("it must begin with sftp:").and_then(parse_short),
        };
        let location = location.map_err(wrong)?;
        location.check().map_err(wrong)?;
        Ok(location)
    }

    fn check(&self) -> Result<(), &'static str> {
        let plain = |text: &str| !text.chars().any(|c| c.is_control() || c.is_whitespace());
        let is_name = plain(&self.host) && !self.host.contains(['/', '\\', '@', '[', ']', '?', '#']);
        if self.host.is_empty() || self.host.starts_with('-') || !is_name {
            return Err("the host name is missing or malformed");
        }
        if self.user.as_ref().is_some_and(|user| user.is_empty() || !plain(user)) {
            return Err("the user name is empty or malformed");
        }
        if self.path.chars().any(char::is_control) {
            return Err("the folder contains control characters");
        }
        Ok(())
    }
}

impl fmt::Display for SftpLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sftp://")?;
        if let Some(user) = &self.user {
            write!(f, "{}@", encode(user).replace(':', "%3A").replace('/', "%2F"))?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let folder = encode(&self.path);
        match self.path.starts_with('/') {
            // A folder that is really called so must not be taken for the one of the login.
            true if folder.starts_with("/~") => write!(f, "/%7E{}", &folder[2..]),
            true => f.write_str(&folder),
            false => write!(f, "/~/{folder}"),
        }
    }
}

fn parse_url(rest: &str) -> Result<SftpLocation, &'static str> {
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => return Err("the folder is missing: sftp://host/folder, or sftp://host/~/folder"),
    };
    let (user, host_port) = split_user(authority)?;
    let (host, port) = split_port(host_port)?;
    let path = match path.strip_prefix("/~/") {
        Some(relative) => decode(relative)?,
        None if path == "/~" => String::new(),
        None => decode(path)?,
    };
    let user = user.map(decode).transpose()?;
    Ok(SftpLocation { user, host: host.to_ascii_lowercase(), port, path })
}

fn parse_short(rest: &str) -> Result<SftpLocation, &'static str> {
    // The user name comes before the first colon that is not inside of an IPv6 address.
    let start = rest.find(']').unwrap_or(0);
    let colon = rest[start..].find(':').ok_or("the folder is missing: sftp:host:folder")? + start;
    let (authority, path) = (&rest[..colon], &rest[colon + 1..]);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains('/') => return Err("a user name has no slash"),
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, authority),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let path = path.strip_prefix("~/").unwrap_or(path).to_owned();
    Ok(SftpLocation { user, host: host.to_ascii_lowercase(), port: None, path })
}

fn split_user(authority: &str) -> Result<(Option<&str>, &str), &'static str> {
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err("it must not contain a password"),
        Some((user, host)) => Ok((Some(user), host)),
        None => Ok((None, authority)),
    }
}

fn split_port(host_port: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match host_port.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("the bracket of the host is not closed")?;
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err("after the bracket of the host only :port may follow");
            }
            (host, port)
        }
        None => match host_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        },
    };
    let number = |port: &str| port.parse().ok().filter(|port| *port != 0);
    match port {
        Some(port) => Ok((host, Some(number(port).ok_or("the port is not a number from 1 to 65535")?))),
        None => Ok((host, None)),
    }
}

fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        bytes.push(rest.get(..2).and_then(crate::location::hex_byte).ok_or("a % needs two hex digits")?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

fn encode(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/+,=:!$&'()*;".contains(c) || !c.is_ascii();
    let escaped = |c: char| match plain(c) {
        true => c.to_string(),
        false => format!("%{:02X}", c as u32),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(user: Option<&str>, host: &str, port: Option<u16>, path: &str) -> SftpLocation {
        SftpLocation { user: user.map(str::to_owned), host: host.to_owned(), port, path: path.to_owned() }
    }

    #[test]
    fn addresses_are_read_and_written_back() {
        let cases = [
            (
                "sftp://backup@nas.lan:2222/volume1/lb",
                location(Some("backup"), "nas.lan", Some(2222), "/volume1/lb"),
            ),
            ("sftp://nas/~/rel/x", location(None, "nas", None, "rel/x")),
            ("sftp://nas/~/", location(None, "nas", None, "")),
            ("sftp://a%40b@[::1]:22/x%20y", location(Some("a@b"), "::1", Some(22), "/x y")),
            ("sftp://a%3Ab%2Fc@nas/%7E/x", location(Some("a:b/c"), "nas", None, "/~/x")),
        ];
        for (text, wanted) in cases {
            let read = SftpLocation::parse(text).unwrap();
            assert_eq!(read, wanted);
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn the_short_form_is_relative_to_the_login_folder() {
        let cases = [
            ("sftp:nas:rel/x", location(None, "nas", None, "rel/x")),
            ("sftp:me@nas:~/rel", location(Some("me"), "nas", None, "rel")),
            ("sftp:me@[fe80::1]:/abs", location(Some("me"), "fe80::1", None, "/abs")),
        ];
        for (text, wanted) in cases {
            assert_eq!(SftpLocation::parse(text).unwrap(), wanted);
        }
    }

    #[test]
    fn malformed_addresses_and_passwords_are_refused() {
        for text in [
            "nas:/x",
            "sftp://nas",
            "sftp://u:secret@nas/x",
            "sftp://nas:0/x",
            "sftp://nas:99999/x",
            "sftp://@nas/x",
            "sftp:///x",
            "sftp://-oProxyCommand=x/y",
            "sftp://nas/%zz",
            "sftp://nas/a%0ab",
            "sftp://[::1/x",
            "sftp:nas",
            "sftp:./me@nas:2222/x",
            "sftp://a?b/x",
        ] {
            let error = SftpLocation::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}

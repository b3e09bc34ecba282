//! Addresses of servers: `scheme://[user[:password]@][host[:port]][/database][?name=value&...]`.
//!
//! The password is taken out when the address is read, so that what is shown and handed to tools never has it.

use std::io;

use super::Secret;

/// The parts of an address.
#[derive(Clone, Debug, Default)]
pub struct ServerUrl {
    /// The scheme, without `://`.
    pub scheme: String,
    /// User at the server.
    pub user: Option<String>,
    /// Password, if the address had one.
    pub password: Option<Secret>,
    /// Hosts with their ports, separated by commas where there are several (PostgreSQL).
    pub hosts: Vec<(String, Option<u16>)>,
    /// Name of the database.
    pub database: Option<String>,
    /// Further settings, in order.
    pub settings: Vec<(String, String)>,
}

impl ServerUrl {
    /// Takes an address apart.
    pub fn parse(url: &str) -> io::Result<ServerUrl> {
        // The address may hold a password: it is not repeated in the message.
        let bad = |why: &str| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("this is no address of a database: {why}"))
        };
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| bad("it has no scheme like postgresql://"))?;
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, database) = rest.split_once('/').map_or((rest, ""), |(a, d)| (a, d));
        let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(l, h)| (l, h));
        let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
        let decoded = |text: &str| decode(text).ok_or_else(|| bad("a % is not followed by two hex digits"));
        let some = |text: &str| decoded(text).map(|t| Some(t).filter(|t| !t.is_empty()));
        let mut parsed = ServerUrl {
            scheme: scheme.to_ascii_lowercase(),
            user: some(user)?,
            password: password.map(decoded).transpose()?.map(Secret::new),
            hosts: Vec::new(),
            database: some(database)?,
            settings: Vec::new(),
        };
        for host in hosts.split(',').filter(|host| !host.is_empty()) {
            let (name, port) = split_port(host).ok_or_else(|| bad("a port is no number"))?;
            parsed.hosts.push((decoded(name)?, port));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            match name.as_str() {
                "password" => parsed.password = Some(Secret::new(value)),
                _ => parsed.settings.push((name, value)),
            }
        }
        Ok(parsed)
    }

    /// The address without its password.
    pub fn shown(&self) -> String {
        let mut out = format!("{}://", self.scheme);
        if let Some(user) = &self.user {
            out += &format!("{}@", encode(user));
        }
        let host = |(name, port): &(String, Option<u16>)| {
            let name = if name.contains(':') { format!("[{name}]") } else { encode(name) };
            port.map_or(name.clone(), |port| format!("{name}:{port}"))
        };
        out += &self.hosts.iter().map(host).collect::<Vec<_>>().join(",");
        if let Some(database) = &self.database {
            out += &format!("/{}", encode(database));
        } else if !self.settings.is_empty() {
            out.push('/');
        }
        let setting = |(name, value): &(String, String)| format!("{}={}", encode(name), encode(value));
        if !self.settings.is_empty() {
            out += &format!("?{}", self.settings.iter().map(setting).collect::<Vec<_>>().join("&"));
        }
        out
    }

    /// A setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, rest) = rest.split_once(']')?;
        let port = rest.strip_prefix(':').map(str::parse).transpose().ok()?;
        return Some((name, port));
    }
    match host.rsplit_once(':') {
        Some((name, port)) => Some((name, Some(port.parse().ok()?))),
        None => Some((host, None)),
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        out.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
    }
    String::from_utf8(out).ok()
}

fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_never_show_their_password() {
        let url = ServerUrl::parse("postgresql://me:s%40cret@db.lan:5433/shop?sslmode=require").unwrap();
        assert_eq!((url.user.as_deref(), url.database.as_deref()), (Some("me"), Some("shop")));
        assert_eq!(url.hosts, [("db.lan".to_string(), Some(5433))]);
        assert_eq!(url.password.as_ref().unwrap().text(), "s@cret");
        assert_eq!(url.shown(), "postgresql://me@db.lan:5433/shop?sslmode=require");
        assert!(!format!("{url:?}").contains("s@cret"));
        let local = ServerUrl::parse("postgresql:///shop?host=/run/postgresql&password=x").unwrap();
        assert_eq!((local.hosts.len(), local.setting("host")), (0, Some("/run/postgresql")));
        assert_eq!(local.shown(), "postgresql:///shop?host=/run/postgresql");
        let six = ServerUrl::parse("mysql://[::1]:3307").unwrap();
        assert_eq!(six.hosts, [("::1".to_string(), Some(3307))]);
        let several = ServerUrl::parse("postgresql://a,b:1/x").unwrap();
        assert_eq!(several.hosts.len(), 2);
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in ["shop", "pg://u:hunter2@h:port/x", "pg://u:hunter2%zz@h"] {
            let e = ServerUrl::parse(bad).unwrap_err().to_string();
            assert!(!e.contains("hunter2"), "{e}");
        }
    }
}

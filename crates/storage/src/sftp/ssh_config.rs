//! The part of `~/.ssh/config` that says how a host is reached: name, user, port, keys, agent.
//!
//! Read are `Host` (with `*`, `?` and `!`), `Match all`, `Include`, `HostName`, `User`, `Port`,
//! `IdentityFile` and `IdentityAgent`; as in OpenSSH the first value found wins and identity files add up.
//! `ProxyJump` and `ProxyCommand` are reported, not obeyed: nothing here starts a program. Other `Match`
//! blocks are skipped, since they may depend on commands. Unknown settings are not ours to judge.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{ErrorKind, StoreError, StoreResult};

/// Includes inside of includes; OpenSSH stops at 16 too.
const INCLUDE_DEPTH_MAX: usize = 16;
/// Files read in all: two that include each other twice would otherwise be read 65,536 times.
const FILES_MAX: usize = 1_000;
/// Bytes of one file at most.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the configuration says about one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HostConfig {
    pub(super) host_name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) identity_files: Vec<PathBuf>,
    pub(super) agent_socket: Option<PathBuf>,
}

/// Reads the settings for `host`. A missing file is an empty one.
pub(super) fn read(file: &Path, host: &str) -> StoreResult<HostConfig> {
    read_with(file, host, &text_of)
}

/// How the text of a file is had; `None` for one that is not there.
type TextOf<'a> = dyn Fn(&Path) -> StoreResult<Option<String>> + 'a;

/// Like [`read`], with texts from wherever the caller has them.
pub(super) fn read_with(file: &Path, host: &str, text_of: &TextOf<'_>) -> StoreResult<HostConfig> {
    // `~` is taken from the place of the file, so that no environment is asked.
    let ssh_folder = file.parent().unwrap_or(Path::new("/"));
    let home = ssh_folder.parent().unwrap_or(Path::new("/"));
    let mut reader = Reader { host, ssh_folder, home, text_of, files: 0, found: Found::default() };
    reader.file(file, true, 0)?;
    reader.finish(file)
}

fn text_of(file: &Path) -> StoreResult<Option<String>> {
    let failed = |error: std::io::Error| wrong(format!("read {}", file.display())).because(error);
    let opened = match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut text = String::new();
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    match read as u64 > FILE_BYTES_MAX {
        true => Err(wrong(format!("read {}", file.display())).because("it is too long for a configuration")),
        false => Ok(Some(text)),
    }
}

#[derive(Default)]
struct Found {
    host_name: Option<String>,
    user: Option<String>,
    port: Option<String>,
    identity_files: Vec<String>,
    identity_agent: Option<String>,
    proxy: Option<(String, String)>,
}

struct Reader<'a> {
    host: &'a str,
    ssh_folder: &'a Path,
    home: &'a Path,
    text_of: &'a TextOf<'a>,
    /// Files read so far.
    files: usize,
    found: Found,
}

impl Reader<'_> {
    fn file(&mut self, file: &Path, applies: bool, depth: usize) -> StoreResult<()> {
        self.files += 1;
        if self.files > FILES_MAX {
            return Err(wrong(format!("include {}: more than {FILES_MAX} files", file.display())));
        }
        let Some(text) = (self.text_of)(file)? else { return Ok(()) };
        let mut applies = applies;
        let outer = applies;
        for line in text.lines() {
            let Some((key, value)) = split_line(line) else { continue };
            match key.as_str() {
                "host" => applies = outer && host_matches(&words(value), self.host),
                "match" => applies = outer && value.trim().eq_ignore_ascii_case("all"),
                "include" if applies => self.include(value, depth)?,
                _ if applies => self.setting(&key, value),
                _ => {}
            }
        }
        Ok(())
    }

    fn setting(&mut self, key: &str, value: &str) {
        let found = &mut self.found;
        let first = || words(value).into_iter().next().unwrap_or_default();
        match key {
            "hostname" => found.host_name = found.host_name.take().or_else(|| Some(first())),
            "user" => found.user = found.user.take().or_else(|| Some(first())),
            "port" => found.port = found.port.take().or_else(|| Some(first())),
            "identityfile" => found.identity_files.push(first()),
            "identityagent" => found.identity_agent = found.identity_agent.take().or_else(|| Some(first())),
            "proxyjump" | "proxycommand" => {
                let proxy = || Some((key.to_owned(), value.to_owned()));
                found.proxy = found.proxy.take().or_else(proxy);
            }
            _ => {}
        }
    }

    fn include(&mut self, value: &str, depth: usize) -> StoreResult<()> {
        if depth >= INCLUDE_DEPTH_MAX {
            return Err(wrong(format!("include {value}: more than {INCLUDE_DEPTH_MAX} files deep")));
        }
        for pattern in words(value) {
            let path = match pattern.strip_prefix("~/") {
                Some(rest) => self.home.join(rest),
                None => self.ssh_folder.join(&pattern),
            };
            for file in matching_files(&path) {
                self.file(&file, true, depth + 1)?;
            }
        }
        Ok(())
    }

    fn finish(self, file: &Path) -> StoreResult<HostConfig> {
        let found = &self.found;
        let file = file.display();
        match &found.proxy {
            Some((_, value)) if value.eq_ignore_ascii_case("none") => {}
            Some((key, _)) => {
                let name = if key == "proxyjump" { "ProxyJump" } else { "ProxyCommand" };
                return Err(wrong(format!(
                    "connect to {}: {file} asks for {name}, which is not supported",
                    self.host
                )));
            }
            None => {}
        }
        let host_name = found.host_name.as_ref().map(|name| name.replace("%h", self.host));
        let host = host_name.as_deref().unwrap_or(self.host);
        let port = match &found.port {
            None => None,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => Some(port),
                _ => return Err(wrong(format!("read {file}: \"{port}\" is not a port"))),
            },
        };
        let path = |text: &String| self.path(text, host);
        Ok(HostConfig {
            identity_files: found.identity_files.iter().filter_map(path).collect(),
            agent_socket: found.identity_agent.as_ref().and_then(path),
            user: found.user.clone(),
            port,
            host_name,
        })
    }

    /// Expands `~`, `%d`, `%h`, `%r` and `%%`; `None` for `none` and for what is not known here.
    fn path(&self, text: &str, host: &str) -> Option<PathBuf> {
        if text.eq_ignore_ascii_case("none") || text.starts_with('$') || text == "SSH_AUTH_SOCK" {
            return None;
        }
        let home = self.home.to_str()?;
        let mut path = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next()? {
                    'd' => path.push_str(home),
                    'h' => path.push_str(host),
                    'r' => path.push_str(self.found.user.as_deref()?),
                    '%' => path.push('%'),
                    _ => return None,
                },
                c => path.push(c),
            }
        }
        match path.strip_prefix("~/") {
            Some(rest) => Some(self.home.join(rest)),
            None => Some(self.home.join(path)),
        }
    }
}

fn wrong(what: String) -> StoreError {
    StoreError::new(ErrorKind::Config, what)
}

/// `Key value` or `Key=value`; `None` for empty lines and comments. The key comes back in lower case.
fn split_line(line: &str) -> Option<(String, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let value = line[end..].trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    Some((line[..end].to_ascii_lowercase(), value))
}

/// The words of a value; quotes keep blanks, `#` after a blank starts a comment.
fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = value.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

fn host_matches(patterns: &[String], host: &str) -> bool {
    let mut matched = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches_wildcard(pattern, host) => return false,
            Some(_) => {}
            None => matched |= matches_wildcard(pattern, host),
        }
    }
    matched
}

/// Compares with `*` (any text) and `?` (any character), ignoring the case of ASCII letters.
pub(super) fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_ascii_lowercase().chars().collect();
    let text: Vec<char> = text.to_ascii_lowercase().chars().collect();
    // Where to go on when a later part fails: behind the last star, one character further in the text.
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((behind_star, from)) = retry {
            retry = Some((behind_star, from + 1));
            (p, t) = (behind_star, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Files an `Include` names: wildcards are allowed in the last part, the order is that of the names.
fn matching_files(path: &Path) -> Vec<PathBuf> {
    let Some(pattern) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    if !pattern.contains(['*', '?']) {
        return vec![path.to_owned()];
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // As in a shell, a star does not find hidden files.
    let visible = |name: &String| pattern.starts_with('.') || !name.starts_with('.');
    let mut names: Vec<_> = names.filter(visible).filter(|name| matches_wildcard(pattern, name)).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_config<T>(text: &str, run: impl FnOnce(&Path) -> T) -> T {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".ssh/conf.d")).unwrap();
        std::fs::write(home.path().join(".ssh/conf.d/b"), "User included\n").unwrap();
        let file = home.path().join(".ssh/config");
        std::fs::write(&file, text).unwrap();
        run(&file)
    }

    #[test]
    fn the_first_value_wins_and_identity_files_add_up() {
        let text = "# mine\nHost nas other\n  HostName = %h.lan\n  Port 2222 # ours\n\
                    IdentityFile \"~/.ssh/id nas\"\nHost *\n Port 7\n User all\n IdentityFile %d/k/%h\n\
                    IdentityAgent none\n";
        with_config(text, |file| {
            let home = file.parent().unwrap().parent().unwrap();
            let config = read(file, "nas").unwrap();
            let wanted = HostConfig {
                host_name: Some("nas.lan".to_owned()),
                user: Some("all".to_owned()),
                port: Some(2222),
                identity_files: vec![home.join(".ssh/id nas"), home.join("k/nas.lan")],
                agent_socket: None,
            };
            assert_eq!(config, wanted);
            assert_eq!(read(file, "third").unwrap().port, Some(7));
        });
    }

    #[test]
    fn includes_are_followed_and_foreign_match_blocks_skipped() {
        let text = "Match exec \"true\"\n Port 9\nMatch all\nInclude conf.d/*\n";
        with_config(text, |file| {
            let config = read(file, "nas").unwrap();
            assert_eq!((config.port, config.user.as_deref()), (None, Some("included")));
        });
    }

    #[test]
    fn files_that_include_each_other_again_and_again_come_to_an_end() {
        with_config("Include config\nInclude config\n", |file| {
            let error = read(file, "nas").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
        });
        let twice = |depth: usize| format!("Include {depth}\nInclude {depth}\n");
        let files = |file: &Path| {
            let depth = file.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0);
            Ok(Some(if depth < 14 { twice(depth + 1) } else { String::new() }))
        };
        let error = read_with(Path::new("/home/me/.ssh/0"), "nas", &files).unwrap_err();
        assert!(error.to_string().contains("more than 1000 files"), "{error}");
    }

    #[test]
    fn proxies_are_refused_in_words() {
        for (text, word) in
            [("ProxyJump gate\n", "ProxyJump"), ("Host n*\nProxyCommand nc %h\n", "ProxyCommand")]
        {
            with_config(text, |file| {
                let error = read(file, "nas").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(error.to_string().contains(word), "{error}");
            });
        }
        with_config("ProxyJump none\n", |file| assert!(read(file, "nas").is_ok()));
        with_config("Host !nas *\nProxyJump x\n", |file| assert!(read(file, "nas").is_ok()));
    }

    #[test]
    fn wildcards_match_as_in_ssh() {
        let cases = [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "ac", false),
            ("*.LAN", "nas.lan", true),
            ("a*b", "aab_", false),
        ];
        for (pattern, text, wanted) in cases {
            assert_eq!(matches_wildcard(pattern, text), wanted, "{pattern} {text}");
        }
    }
}

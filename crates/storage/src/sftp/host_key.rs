//! Whether a server is the one remembered: `known_hosts` files, read as OpenSSH does, and one of our own.
//!
//! Promises: a host with any remembered key is only trusted with one of the remembered keys, and nobody is
//! asked about it; a host without any is put to the caller, and remembered when the caller says yes; a key
//! marked `@revoked` is never trusted. Only our own file is written, atomically and for its owner alone.
//! Certificates of hosts (`@cert-authority`) are not used.

use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use super::ssh_config::matches_wildcard;
use crate::{ErrorKind, StoreError, StoreResult};

/// A server that is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyInfo {
    /// The host as connected to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The type of the key, such as `ssh-ed25519`.
    pub key_type: String,
    /// `SHA256:…`, as `ssh-keygen -l` shows it on the server.
    pub fingerprint: String,
}

/// The answer about a server that is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyDecision {
    /// It is the right one: remember its key and go on.
    Remember,
    /// Do not connect.
    Refuse,
}

/// What the files say about a key a server showed.
#[derive(Debug)]
pub(super) enum Verdict {
    Known,
    Unknown(HostKeyInfo),
    /// Another key is remembered, or this one is revoked; the text says which and where.
    Untrusted(String),
}

/// The lines of all `known_hosts` files that concern one server.
pub(super) struct KnownKeys {
    host: String,
    port: u16,
    lines: Vec<KnownKey>,
}

struct KnownKey {
    file: PathBuf,
    line: usize,
    revoked: bool,
    key: PublicKey,
}

impl KnownKeys {
    /// Reads the files. A missing one is empty; one that cannot be read is an error, since going on without
    /// it could turn a changed key into an unknown one.
    pub(super) fn load<'a>(
        files: impl Iterator<Item = &'a PathBuf>,
        host: &str,
        port: u16,
    ) -> StoreResult<Self> {
        let mut known = Self::none(host, port);
        for file in files {
            let bytes = match std::fs::read(file) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let what = format!("read known hosts {}", file.display());
                    return Err(StoreError::new(ErrorKind::Config, what).because(error));
                }
            };
            known.add(&bytes, file);
        }
        Ok(known)
    }

    /// Nothing is known of a server.
    pub(super) fn none(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, lines: Vec::new() }
    }

    /// Adds what a file says.
    pub(super) fn add(&mut self, bytes: &[u8], file: &Path) {
        let name = name_in_file(&self.host, self.port);
        let text = String::from_utf8_lossy(bytes);
        let numbered = text.lines().enumerate();
        self.lines.extend(numbered.filter_map(|(at, line)| parse_line(line, &name, file, at + 1)));
    }

    /// The types of the keys remembered, so that the server can be asked for one of these.
    pub(super) fn key_types(&self) -> Vec<Algorithm> {
        let types = self.lines.iter().filter(|line| !line.revoked).map(|line| line.key.algorithm());
        types.flat_map(signature_types).collect()
    }

    /// Judges a key the server has proven to hold.
    pub(super) fn judge(&self, key: &PublicKey) -> Verdict {
        let same = |line: &&KnownKey| line.key.key_data() == key.key_data();
        let shown = fingerprint(key);
        if let Some(line) = self.lines.iter().filter(same).find(|line| line.revoked) {
            let place = format!("{}:{}", line.file.display(), line.line);
            return Verdict::Untrusted(format!("its key {shown} is revoked in {place}"));
        }
        if self.lines.iter().any(|line| same(&line)) {
            return Verdict::Known;
        }
        let trusted = || self.lines.iter().filter(|line| !line.revoked);
        let same_type = |line: &&KnownKey| line.key.algorithm() == key.algorithm();
        match trusted().find(same_type).or_else(|| trusted().next()) {
            Some(line) => Verdict::Untrusted(format!(
                "it shows the key {shown} ({}), but {}:{} remembers {} ({})",
                key.algorithm(),
                line.file.display(),
                line.line,
                fingerprint(&line.key),
                line.key.algorithm(),
            )),
            None => Verdict::Unknown(HostKeyInfo {
                host: self.host.clone(),
                port: self.port,
                key_type: key.algorithm().to_string(),
                fingerprint: shown,
            }),
        }
    }
}

/// Adds a key to our own file: written beside it, synced, then renamed over it.
pub(super) fn remember(file: &Path, host: &str, port: u16, key: &PublicKey) -> StoreResult<()> {
    let failed = |error: std::io::Error| {
        let what = format!("remember host key in {}", file.display());
        StoreError::new(ErrorKind::Config, what).because(error)
    };
    let line = key.to_openssh().map_err(|error| failed(std::io::Error::other(error)))?;
    let mut text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(format!("{} {}\n", name_in_file(host, port), line.trim_end()).as_bytes());
    replace_file(file, &text).map_err(failed)
}

fn replace_file(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let temporary = folder.join(format!(".known-hosts-{:016x}", u64::from_be_bytes(random)));
    let written = write_private(&temporary, text).and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        // The error that matters is the one above; the leftover holds nothing secret.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn write_private(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(text)?;
    file.sync_all()
}

/// `SHA256:…`, the form people compare.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A server with an RSA key signs in one of two ways; the third, with SHA-1, is not accepted.
fn signature_types(key_type: Algorithm) -> Vec<Algorithm> {
    match key_type {
        Algorithm::Rsa { .. } => vec![
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ],
        other => vec![other],
    }
}

/// All types of keys accepted from servers, `first` of them first.
pub(super) fn accepted_key_types(first: &[Algorithm]) -> Vec<Algorithm> {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let mut types = first.to_vec();
    types.push(Algorithm::Ed25519);
    types.extend(curves.map(|curve| Algorithm::Ecdsa { curve }));
    types.extend(signature_types(Algorithm::Rsa { hash: None }));
    let mut seen = Vec::new();
    types.retain(|one| {
        let new = !seen.contains(one);
        seen.push(one.clone());
        new
    });
    types
}

/// How a server is named in the files: with its port unless that is 22.
fn name_in_file(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    match port {
        super::address::DEFAULT_PORT => host,
        port => format!("[{host}]:{port}"),
    }
}

/// Reads `[marker] hosts type key [comment]`; `None` for anything else and for other hosts.
fn parse_line(line: &str, name: &str, file: &Path, number: usize) -> Option<KnownKey> {
    let mut words = line.split_ascii_whitespace().peekable();
    let marker = words.next_if(|word| word.starts_with('@'));
    if !matches!(marker, None | Some("@revoked")) {
        return None;
    }
    let hosts = words.next().filter(|hosts| !hosts.starts_with('#'))?;
    let _key_type = words.next()?;
    let key = words.next()?;
    if !hosts_match(hosts, name) {
        return None;
    }
    let key = russh::keys::parse_public_key_base64(key).ok()?;
    Some(KnownKey { file: file.to_owned(), line: number, revoked: marker.is_some(), key })
}

fn hosts_match(hosts: &str, name: &str) -> bool {
    let mut matched = false;
    for pattern in hosts.split(',') {
        if let Some(hashed) = pattern.strip_prefix("|1|") {
            matched |= hash_matches(hashed, name).unwrap_or(false);
        } else if let Some(excluded) = pattern.strip_prefix('!') {
            if matches_wildcard(excluded, name) {
                return false;
            }
        } else {
            matched |= matches_wildcard(pattern, name);
        }
    }
    matched
}

/// `salt|hash`, both in base64, where the hash is HMAC-SHA1 of the name under the salt.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = data_encoding::BASE64.decode(salt.as_bytes()).ok()?;
    let hash = data_encoding::BASE64.decode(hash.as_bytes()).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    Some(hmac::verify(&key, name.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_A: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const KEY_B: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G2sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(base64: &str) -> PublicKey {
        russh::keys::parse_public_key_base64(base64).unwrap()
    }

    fn judge(text: &str, host: &str, port: u16, shown: &str) -> Verdict {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let files = [file.path().to_owned()];
        KnownKeys::load(files.iter(), host, port).unwrap().judge(&key(shown))
    }

    #[test]
    fn plain_ported_hashed_and_wildcard_names_are_found() {
        // The hash was made with: ssh-keygen -H on a line for example.com.
        let hashed = "|1|/LITBfm9wpbQ0WFGAhZAUPGfmeo=|Q3uFnLrp/NyGOs3aPgh8H7VillM=";
        let cases = [
            (format!("nas,10.0.0.1 ssh-ed25519 {KEY_A} c"), "NAS", 22, true),
            (format!("nas ssh-ed25519 {KEY_A}"), "nas", 2222, false),
            (format!("[nas]:2222 ssh-ed25519 {KEY_A}"), "nas", 2222, true),
            (format!("*.lan,!bad.lan ssh-ed25519 {KEY_A}"), "nas.lan", 22, true),
            (format!("*.lan,!bad.lan ssh-ed25519 {KEY_A}"), "bad.lan", 22, false),
            (format!("#nas ssh-ed25519 {KEY_A}"), "nas", 22, false),
            (format!("@cert-authority nas ssh-ed25519 {KEY_A}"), "nas", 22, false),
            (format!("{hashed} ssh-ed25519 {KEY_A}"), "nas", 22, false),
            (format!("{hashed} ssh-ed25519 {KEY_A}"), "example.com", 22, true),
        ];
        for (text, host, port, known) in cases {
            let verdict = judge(&text, host, port, KEY_A);
            assert_eq!(matches!(verdict, Verdict::Known), known, "{text}: {verdict:?}");
            assert_eq!(matches!(verdict, Verdict::Unknown(_)), !known, "{text}: {verdict:?}");
        }
    }

    #[test]
    fn a_changed_key_names_both_fingerprints_and_the_line() {
        let text = format!("# first\nnas ssh-ed25519 {KEY_B}\n");
        let Verdict::Untrusted(why) = judge(&text, "nas", 22, KEY_A) else { panic!("trusted") };
        for part in [fingerprint(&key(KEY_A)), fingerprint(&key(KEY_B)), ":2 remembers".to_owned()] {
            assert!(why.contains(&part), "{why}");
        }
    }

    #[test]
    fn a_revoked_key_is_never_trusted() {
        let text = format!("nas ssh-ed25519 {KEY_A}\n@revoked * ssh-ed25519 {KEY_A}\n");
        assert!(matches!(judge(&text, "nas", 22, KEY_A), Verdict::Untrusted(_)));
        assert!(matches!(judge(&text, "nas", 22, KEY_B), Verdict::Untrusted(_)));
    }

    #[test]
    fn remembering_keeps_the_other_lines_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/known_hosts");
        remember(&file, "nas", 22, &key(KEY_A)).unwrap();
        remember(&file, "Other", 2222, &key(KEY_B)).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("nas ssh-ed25519 {KEY_A}\n[other]:2222 ssh-ed25519 {KEY_B}\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_unreadable_file_is_an_error_and_a_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let missing = [folder.path().join("none")];
        assert!(KnownKeys::load(missing.iter(), "nas", 22).is_ok());
        let unreadable = [folder.path().to_owned()];
        assert!(KnownKeys::load(unreadable.iter(), "nas", 22).is_err());
    }
}

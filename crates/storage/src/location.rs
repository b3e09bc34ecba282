//! Where a repository lies, as people write it: a path, a URL, or restic's short form.
//!
//! Parsing is pure: no name is resolved, no folder looked at, no environment read. A location never holds
//! a secret and is refused when it is written with one, because locations end up in logs, process tables
//! and snapshots. A mistake gets an answer that says what was probably meant.

use crate::{ErrorKind, StoreError, StoreResult};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

mod drive;
mod rclone;
mod removable;

pub use drive::{DriveLocation, DriveService, is_login_name};
pub use rclone::RcloneLocation;
pub use removable::RemovableLocation;
pub(crate) use removable::is_uuid;

/// A place where a repository can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Local(PathBuf),
    /// A folder on an SSH server.
    #[cfg(feature = "sftp")]
    Sftp(crate::sftp::SftpLocation),
    /// A bucket of an object store, or a part of one.
    Bucket(BucketLocation),
    /// A folder on a WebDAV server.
    Webdav(WebdavLocation),
    /// A folder on somebody's Google Drive, Dropbox or OneDrive.
    Drive(DriveLocation),
    /// Whatever a remote of rclone reaches.
    Rclone(RcloneLocation),
    /// A folder on a drive that comes and goes.
    Removable(RemovableLocation),
}

/// Kinds of object stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketService {
    /// Amazon S3 and everything that speaks like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage; its buckets are called containers.
    Azblob,
    /// Backblaze B2 by its own protocol.
    B2,
}

impl BucketService {
    /// The scheme in a URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azblob => "azblob",
            Self::B2 => "b2",
        }
    }

    /// Options that may follow the `?` of its URLs.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &["addressing", "checksum", "endpoint", "region", "storage_class"],
            Self::Gcs => &["endpoint"],
            Self::Azblob => &["account", "endpoint"],
            Self::B2 => &["bucket-id"],
        }
    }
}

/// A bucket and the prefix of the repository in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketLocation {
    /// Whose bucket.
    pub service: BucketService,
    /// Name of the bucket or container.
    pub bucket: String,
    /// Folders in it, without slashes at the ends; may be empty.
    pub prefix: String,
    /// What followed the `?`: `endpoint`, `region`, `addressing` (`path` or `virtual`), `checksum`
    /// (`crc32c` or `md5`) and `storage_class` for S3, `endpoint` for GCS, `endpoint` and `account` for Azure, `bucket-id` for B2.
    pub options: BTreeMap<String, String>,
}

impl BucketLocation {
    /// The key of an object in the bucket.
    pub fn key_of(&self, name: &crate::ObjectName) -> String {
        match self.prefix.as_str() {
            "" => name.as_str().to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    /// The class of objects that are read rarely, if another than the bucket's own is wanted.
    pub fn storage_class(&self) -> Option<&str> {
        self.options.get("storage_class").map(String::as_str)
    }
}

/// A folder on a WebDAV server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebdavLocation {
    /// `https://host:port`, without a closing slash.
    pub server: String,
    /// Folders, without slashes at the ends; may be empty.
    pub path: String,
    /// User name, if the URL has one.
    pub user: Option<String>,
}

impl Location {
    /// Reads a location. Anything that does not look like a URL or one of restic's short forms is a path;
    /// a path that does is written `./like:this`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with a cause that says what was probably meant.
    pub fn parse(text: &str) -> StoreResult<Self> {
        parse(text).map_err(|why| {
            StoreError::new(ErrorKind::Config, format!("read repository location {:?}", without_secret(text)))
                .because(why)
        })
    }

    /// The same place with packs of contents in another class.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the place has no classes, or the word is none.
    pub fn with_storage_class(mut self, class: &str) -> StoreResult<Self> {
        let why = match &mut self {
            Self::Bucket(bucket) if bucket.service == BucketService::S3 && is_class(class) => {
                bucket.options.insert("storage_class".to_owned(), class.to_owned());
                return Ok(self);
            }
            Self::Bucket(bucket) if bucket.service == BucketService::S3 => "write it like GLACIER_IR",
            _ => "only S3 has storage classes that lifeboat can choose",
        };
        Err(StoreError::new(ErrorKind::Config, format!("use storage class {class:?} at {self}"))
            .because(why.to_owned()))
    }

    /// Like [`Location::parse`]; what is not UTF-8 is a path.
    pub fn parse_os(text: &OsStr) -> StoreResult<Self> {
        text.to_str().map_or_else(|| Ok(Self::Local(text.into())), Self::parse)
    }
}

fn parse(text: &str) -> Result<Location, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
        return match scheme {
            "file" => parse_file(rest),
            "sftp" => parse_sftp(text),
            "s3" => parse_s3_url(rest),
            "gs" | "gcs" => parse_bucket_url(BucketService::Gcs, rest),
            "azure" | "azblob" => parse_bucket_url(BucketService::Azblob, rest),
            "b2" => parse_bucket_url(BucketService::B2, rest),
            "webdav" => parse_webdav("http", rest),
            "webdavs" => parse_webdav("https", rest),
            _ => match DriveService::of_scheme(scheme) {
                Some(service) => drive::parse(service, rest).map(Location::Drive),
                None => parse_other_url(scheme, rest),
            },
        };
    }
    match text.split_once(':') {
        Some(("sftp", _)) => parse_sftp(text),
        Some(("s3", rest)) => parse_s3_short(rest),
        Some(("gs" | "gcs", rest)) => parse_bucket_short(BucketService::Gcs, rest),
        Some(("azure" | "azblob", rest)) => parse_bucket_short(BucketService::Azblob, rest),
        Some(("b2", rest)) => parse_bucket_short(BucketService::B2, rest),
        Some(("rclone", rest)) => rclone::parse(rest).map(Location::Rclone),
        Some(("removable", rest)) => removable::parse(rest).map(Location::Removable),
        Some((scheme @ ("rest" | "swift"), _)) => Err(format!("there are no {scheme}: repositories")),
        Some((host, path)) if looks_like_host(host) && path.starts_with(['/', '~']) => {
            Err(format!("did you mean sftp:{host}:{path}? a local folder of that name is written ./{text}"))
        }
        _ => Ok(Location::Local(text.into())),
    }
}

fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn looks_like_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@');
    text.len() > 1 && text.bytes().all(plain)
}

fn parse_other_url(scheme: &str, rest: &str) -> Result<Location, String> {
    let lower = scheme.to_ascii_lowercase();
    if lower != scheme && lower.len() < 9 {
        return Err(format!("schemes are in lower case: {lower}://..."));
    }
    let rest = without_secret(rest);
    Err(match scheme {
        "http" => format!("did you mean webdav://{rest} or s3:http://{rest}?"),
        "https" => format!("did you mean webdavs://{rest} or s3:https://{rest}?"),
        "dav" => format!("did you mean webdav://{rest}?"),
        "davs" => format!("did you mean webdavs://{rest}?"),
        "ssh" | "scp" => format!("did you mean sftp://{rest}?"),
        "s3a" | "s3n" | "s3s" => format!("did you mean s3://{rest}?"),
        "gcp" => format!("did you mean gcs://{rest}?"),
        "az" | "wasb" | "wasbs" => "did you mean azblob://CONTAINER/PREFIX?".to_owned(),
        "rclone" => format!("did you mean rclone:{}?", rest.replacen('/', ":", 1)),
        "removable" => format!("did you mean removable:{rest}?"),
        "drive" | "googledrive" => format!("did you mean gdrive://{rest}?"),
        _ => format!(
            "no such scheme {scheme}://; there are file, sftp, s3, gcs, azblob, b2, webdav, webdavs, gdrive, \
             dropbox, onedrive, rclone:REMOTE:PATH and removable:UUID/PATH"
        ),
    })
}

fn parse_file(rest: &str) -> Result<Location, String> {
    let path = rest.strip_prefix("localhost/").map_or_else(|| rest.to_owned(), |path| format!("/{path}"));
    if !path.starts_with('/') {
        return Err(format!("file:// needs an absolute path; did you mean {rest} or file:///{rest}?"));
    }
    Ok(Location::Local(decode(&path)?.into()))
}

#[cfg(feature = "sftp")]
fn parse_sftp(text: &str) -> Result<Location, String> {
    crate::sftp::SftpLocation::parse(text).map(Location::Sftp).map_err(|error| error.to_string())
}

#[cfg(not(feature = "sftp"))]
fn parse_sftp(_text: &str) -> Result<Location, String> {
    Err("this build was made without SFTP (cargo feature `sftp`)".to_owned())
}

fn parse_s3_url(rest: &str) -> Result<Location, String> {
    let bucket = rest.split(['/', '?']).next().unwrap_or("");
    if bucket.contains(':') || bucket.ends_with(".amazonaws.com") || bucket.contains('@') {
        let after = rest[bucket.len()..].trim_start_matches('/');
        let host = bucket.rsplit('@').next().unwrap_or(bucket);
        return Err(format!(
            "after s3:// comes the bucket, not a host; did you mean s3:https://{host}/{after} or \
             s3://BUCKET/PREFIX?endpoint=https://{host}"
        ));
    }
    parse_bucket_url(BucketService::S3, rest)
}

/// `s3:https://host/bucket/prefix`, `s3:host/bucket/prefix`.
fn parse_s3_short(rest: &str) -> Result<Location, String> {
    let (scheme, rest) = rest.split_once("://").unwrap_or(("https", rest));
    if !matches!(scheme, "http" | "https") {
        return Err(format!("after s3: comes http://, https:// or a host, not {scheme}://"));
    }
    let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() {
        return Err("the host is missing: s3:https://HOST/BUCKET/PREFIX".to_owned());
    }
    refuse_login(host, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")?;
    if rest.split(['/', '?']).next().unwrap_or("").is_empty() {
        return Err(format!("the bucket is missing: s3:{scheme}://{host}/BUCKET; did you mean s3://{host}?"));
    }
    let mut location = bucket_location(BucketService::S3, rest)?;
    if location.bucket.ends_with(".amazonaws.com") {
        return Err(format!("{:?} is a host, not a bucket", location.bucket));
    }
    if location.options.insert("endpoint".to_owned(), format!("{scheme}://{host}")).is_some() {
        return Err("the endpoint is given twice".to_owned());
    }
    Ok(Location::Bucket(location))
}

/// `gs:bucket:/path`, `azure:container:/path`, `b2:bucket:path`.
fn parse_bucket_short(service: BucketService, rest: &str) -> Result<Location, String> {
    let (bucket, path) = rest.split_once(':').unwrap_or((rest, ""));
    let path = path.trim_start_matches('/');
    let joined = match path {
        "" => bucket.to_owned(),
        path if path.starts_with('?') => format!("{bucket}{path}"),
        path => format!("{bucket}/{path}"),
    };
    bucket_location(service, &joined).map(Location::Bucket)
}

fn parse_bucket_url(service: BucketService, rest: &str) -> Result<Location, String> {
    bucket_location(service, rest).map(Location::Bucket)
}

fn bucket_location(service: BucketService, rest: &str) -> Result<BucketLocation, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let scheme = service.scheme();
    if bucket.is_empty() {
        return Err(format!("the bucket is missing: {scheme}://BUCKET/PREFIX"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'$');
    if !bucket.bytes().all(plain) {
        return Err(format!("{:?} is no name of a bucket", without_secret(bucket)));
    }
    let prefix = folders(prefix)?;
    Ok(BucketLocation { service, bucket: bucket.to_owned(), prefix, options: parse_options(service, query)? })
}

fn parse_options(service: BucketService, query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut options = BTreeMap::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if !service.options().contains(&key) {
            let known = service.options().join(", ");
            return Err(format!("{}:// has no option {key:?}; there are {known}", service.scheme()));
        }
        let value = decode(value)?;
        check_option(key, &value)?;
        if options.insert(key.to_owned(), value).is_some() {
            return Err(format!("option {key:?} is given twice"));
        }
    }
    Ok(options)
}

fn check_option(key: &str, value: &str) -> Result<(), String> {
    let one_of = |allowed: &[&str]| match allowed.contains(&value) {
        true => Ok(()),
        false => Err(format!("option {key:?} is one of {}, not {value:?}", allowed.join(", "))),
    };
    match key {
        "addressing" => one_of(&["path", "virtual"]),
        "checksum" => one_of(&["crc32c", "md5"]),
        "storage_class" if !is_class(value) => {
            Err(format!("option {key:?} is a name such as STANDARD_IA or GLACIER, not {value:?}"))
        }
        "endpoint" => match value.split_once("://") {
            Some(("http" | "https", host)) if !host.is_empty() => refuse_login(host, "the environment"),
            _ => Err(format!("the endpoint is a URL; did you mean endpoint=https://{value}?")),
        },
        _ if value.is_empty() => Err(format!("option {key:?} has no value")),
        _ => Ok(()),
    }
}

/// Services have classes of their own, so any name of that shape may be one.
fn is_class(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn parse_webdav(scheme: &str, rest: &str) -> Result<Location, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        refuse_login(authority, "LIFEBOAT_WEBDAV_USER and LIFEBOAT_WEBDAV_PASSWORD")?;
    }
    if host.is_empty() {
        return Err("the host is missing: webdavs://HOST/FOLDER".to_owned());
    }
    if host.contains(['?', '#', '\\']) || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{host:?} is no name of a host"));
    }
    if path.contains('?') {
        return Err("a WebDAV location has no options".to_owned());
    }
    let user = user.map(decode).transpose()?;
    let path = folders(&decode(path)?)?;
    Ok(Location::Webdav(WebdavLocation { server: format!("{scheme}://{host}"), path, user }))
}

/// Folders without empty parts, refusing what could climb out of them.
fn folders(path: &str) -> Result<String, String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) || path.chars().any(char::is_control) {
        return Err("its folders must not contain . or .. or control characters".to_owned());
    }
    Ok(parts.join("/"))
}

fn refuse_login(authority: &str, instead: &str) -> Result<(), String> {
    match authority.contains('@') {
        true => Err(format!("it must not contain a login; give it by {instead}")),
        false => Ok(()),
    }
}

/// The text as it may be shown: nothing of what looks like a password in it.
fn without_secret(text: &str) -> String {
    let Some(at) = text.rfind('@') else { return text.to_owned() };
    let start = text.find("://").map_or(0, |start| start + 3);
    match text.get(start..at).and_then(|login| login.find(':')) {
        Some(colon) => format!("{}:...{}", &text[..start + colon], &text[at..]),
        None => text.to_owned(),
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            bytes.push(rest.get(..2).and_then(hex_byte).ok_or("a % needs two hex digits")?);
            rest = &rest[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// The byte that two hex digits stand for.
pub(crate) fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Escapes what would end a folder or an option early.
fn encode(text: &str) -> String {
    let plain = |c: char| !c.is_control() && !matches!(c, ' ' | '%' | '?' | '&' | '#');
    let escaped = |c: char| match plain(c) {
        true => c.to_string(),
        false => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
    };
    text.chars().map(escaped).collect()
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "sftp")]
            Self::Sftp(location) => location.fmt(f),
            Self::Bucket(location) => location.fmt(f),
            Self::Webdav(location) => location.fmt(f),
            Self::Drive(location) => location.fmt(f),
            Self::Rclone(location) => location.fmt(f),
            Self::Removable(location) => location.fmt(f),
        }
    }
}

impl fmt::Display for BucketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.service.scheme(), self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        for (number, (key, value)) in self.options.iter().enumerate() {
            write!(f, "{}{key}={}", if number == 0 { '?' } else { '&' }, encode(value))?;
        }
        Ok(())
    }
}

impl fmt::Display for WebdavLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = self.server.split_once("://").unwrap_or(("https", &self.server));
        f.write_str(if scheme == "http" { "webdav://" } else { "webdavs://" })?;
        if let Some(user) = &self.user {
            let user = encode(user).replace('@', "%40").replace('/', "%2F").replace(':', "%3A");
            write!(f, "{user}@")?;
        }
        write!(f, "{host}/{}", encode(&self.path))
    }
}

#[cfg(test)]
mod tests;

//! `[machine]`, `[goals]` and `[repositories.NAME]`: who this is, what is wanted, and where copies lie.

use super::secret::Secret;
use super::values::{Interval, Parity, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Who this machine is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Machine {
    /// Its name in snapshots; the host name where this is absent.
    pub name: Option<String>,
    /// The time zone of all schedules and periods, like `Europe/Paris`; the system's where this is absent.
    pub timezone: Option<String>,
}

/// What "protected" means; `status` judges against it. What is absent follows from how bad a loss would be
/// (`criticality`).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Goals {
    /// Copies of everything; the live data counts as one.
    pub copies: Option<u32>,
    /// Different media among them.
    pub media: Option<u32>,
    /// Copies away from this building.
    pub offsite: Option<u32>,
    /// Copies that nobody can delete for a while.
    pub immutable: Option<u32>,
    /// The newest snapshot of each source in each of its repositories may be so old.
    pub max_age: Option<Interval>,
    /// Every byte is read again within this time.
    pub verified_within: Option<Interval>,
    /// Every source is restored on trial within this time.
    pub drilled_within: Option<Interval>,
}

/// A place that holds copies.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct Repository {
    /// Where it is: a folder, or a URL such as `sftp://host/folder` or `s3://bucket/folder`.
    pub url: String,
    /// Where that stands, in your words ("home", "office", "cloud-eu"); equal words are one place.
    #[serde(default)]
    pub location: Option<String>,
    /// What it is on ("external-disk", "nas", "object-store", "tape"); equal words are one kind of medium.
    #[serde(default)]
    pub medium: Option<String>,
    /// Whether it stands in another building; told from the URL where this is absent.
    #[serde(default)]
    pub offsite: Option<bool>,
    /// For disks that are not always there: their absence is waiting, not failure.
    #[serde(default)]
    pub removable: Option<Removable>,
    /// For places that refuse to delete for a while.
    #[serde(default)]
    pub immutable: Option<Immutable>,
    /// The password that unlocks it.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The key file that unlocks it. Without this and `password`, the key of this machine is used.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// How to log in to an SSH server.
    #[serde(default)]
    pub ssh: Option<Ssh>,
    /// User name of a WebDAV server.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of a WebDAV server.
    #[serde(default)]
    pub user_password: Option<Secret>,
    /// Name of the access key of an object store (or the account of Azure, the key id of B2).
    #[serde(default)]
    pub access_key: Option<Secret>,
    /// The access key itself.
    #[serde(default)]
    pub secret_key: Option<Secret>,
    /// How fast it may be used.
    #[serde(default)]
    pub limits: PlaceLimits,
    /// Storage class of new packs of contents on S3 (`GLACIER_IR`, `DEEP_ARCHIVE`); everything else stays at hand.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// How what was archived is thawed before a restore reads it.
    #[serde(default)]
    pub thaw: Option<Thaw>,
    /// Compression level of zstd for new blocks, 1 to 19; 3 where this is absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 19))]
    pub compression: Option<i32>,
    /// What share of a new pack may be damaged and still be mended, for a repository that is made from here.
    #[serde(default)]
    pub parity: Option<Parity>,
    /// For how long it is tried again when it does not answer.
    #[serde(default = "five_minutes")]
    pub retry_for: Interval,
    /// The newest snapshot of each source in it may be so old; overrides the goals.
    #[serde(default)]
    pub max_age: Option<Interval>,
}

fn five_minutes() -> Interval {
    Interval::minutes(5)
}

/// How archived packs are thawed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Thaw {
    /// The program and its arguments. It gets the names of the packs within the repository, one a line.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// How long it is waited for; three days where this is absent.
    #[serde(default)]
    pub wait: Option<Interval>,
}

/// A disk that comes and goes. By `url = "removable:UUID/FOLDER"` it is found wherever it is mounted, and mounted.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Removable {
    /// Says so when it was not there for so long.
    pub remind_after: Option<Interval>,
}

/// How a place keeps objects from being deleted.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Immutable {
    /// How.
    pub mode: ImmutableMode,
    /// For how many days.
    #[schemars(range(min = 1))]
    pub days: u32,
}

/// Ways to refuse deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImmutableMode {
    /// The object lock of S3.
    ObjectLock,
    /// Something outside of lifeboat: snapshots of the server, a write-once disk.
    Claimed,
}

/// How to log in to an SSH server, beside what `~/.ssh` says.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Ssh {
    /// Private key, tried first.
    pub key: Option<PathBuf>,
    /// What unlocks the private key.
    pub passphrase: Option<Secret>,
    /// Password of the account.
    pub password: Option<Secret>,
    /// A further file of known hosts; it is only read.
    pub known_hosts: Option<PathBuf>,
}

/// How fast a place may be used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct PlaceLimits {
    /// Bytes sent per second.
    pub upload: Option<Rate>,
    /// Bytes received per second.
    pub download: Option<Rate>,
    /// Requests per second.
    #[schemars(range(min = 1))]
    pub requests: Option<u32>,
    /// Connections at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub connections: Option<u32>,
}

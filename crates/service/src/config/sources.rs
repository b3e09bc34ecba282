//! `[sources.NAME]` and `[defaults.files]`: what is protected, and how it is read.

use super::secret::Secret;
use super::tagged::tagged;
use super::values::{Bytes, Interval, OneOrMany};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How bad it would be to lose it. Schedule, retention, number of copies and drills follow from it where
/// they are not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Criticality {
    /// Losing a month of it would be bearable.
    Low,
    /// Losing a day of it would be bearable, a week not.
    #[default]
    Normal,
    /// Losing a day of it would be bad.
    High,
}

/// What every source may say.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Common {
    /// How bad it would be to lose it.
    pub criticality: Option<Criticality>,
    /// Place in the order of recovery, 1 first; by criticality where this is absent.
    #[schemars(range(min = 1))]
    pub priority: Option<u32>,
    /// It must be back within this time (recovery time objective); drills are measured against it.
    pub rto: Option<Interval>,
    /// So much of the newest work may be lost (recovery point objective).
    pub rpo: Option<Interval>,
    /// Sources that must be back before this one.
    pub depends_on: Vec<String>,
    /// The newest snapshot in each repository may be so old; overrides the goals.
    pub max_age: Option<Interval>,
    /// Tags of its snapshots.
    pub tags: Vec<String>,
    /// What it is, for people.
    pub description: Option<String>,
    /// Fails when it holds less than this; `0` allows an empty source.
    pub min_size: Option<Bytes>,
    /// Fails when it holds so many per cent less than usual; 100 allows everything.
    #[schemars(range(min = 1, max = 100))]
    pub max_shrink: Option<u8>,
}

tagged! {
    /// What is protected.
    pub enum Source by "type" or "files" {
        /// Files and folders.
        Files(FilesSource) = "files",
        /// Databases of a PostgreSQL server.
        Postgres(PostgresSource) = "postgres",
        /// Databases of a MySQL server.
        Mysql(MysqlSource) = "mysql",
        /// Databases of a MariaDB server.
        Mariadb(MysqlSource) = "mariadb",
        /// SQLite files.
        Sqlite(SqliteSource) = "sqlite",
        /// Databases of a MongoDB server.
        Mongodb(MongodbSource) = "mongodb",
        /// A Redis server.
        Redis(RedisSource) = "redis",
        /// What a command prints.
        Command(CommandSource) = "command",
        /// What this machine needs to be built again.
        System(SystemSource) = "system",
        /// A disk, a partition or an image.
        Block(BlockSource) = "block",
    }
}

impl Source {
    /// What every source may say.
    pub fn common(&self) -> &Common {
        match self {
            Source::Files(source) => &source.common,
            Source::Postgres(source) => &source.common,
            Source::Mysql(source) | Source::Mariadb(source) => &source.common,
            Source::Sqlite(source) => &source.common,
            Source::Mongodb(source) => &source.common,
            Source::Redis(source) => &source.common,
            Source::Command(source) => &source.common,
            Source::System(source) => &source.common,
            Source::Block(source) => &source.common,
        }
    }
}

/// Ways to read a consistent state: a snapshot of the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Freeze {
    /// What the file system offers; none where it offers nothing.
    Auto,
    /// A snapshot of btrfs.
    Btrfs,
    /// A snapshot of ZFS.
    Zfs,
    /// A snapshot of LVM.
    Lvm,
    /// The live files.
    #[default]
    None,
}

/// Files and folders.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct FilesSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Files and folders: absolute, or beginning with `~`.
    pub paths: Vec<String>,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub rules: FileRules,
    /// Reads a snapshot of the file system, so that all files are of one moment.
    pub snapshot: Freeze,
    /// Compares neither inode numbers nor change times (some network file systems make them up).
    pub ignore_inode: bool,
    /// The UUID of the file system that must be mounted at each of the paths.
    pub mount_uuid: Option<String>,
    /// What looks like an attack.
    pub ransomware: Option<Ransomware>,
}

/// What is left out, in a source or, under `[defaults.files]`, in all of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct FileRules {
    /// Patterns as in gitignore; `!PATTERN` takes back. Added to those of the defaults.
    pub exclude: Vec<String>,
    /// Leaves out the contents of folders with a valid CACHEDIR.TAG.
    pub exclude_caches: Option<bool>,
    /// Leaves out the contents of folders that have one of these files.
    pub exclude_if_present: Vec<String>,
    /// Leaves out files with more bytes than this.
    pub exclude_larger_than: Option<Bytes>,
    /// Files in a folder that say what is left out there; `.lifeboatignore` where this is absent.
    pub ignore_files: Option<Vec<String>>,
    /// Stays on the file systems of the paths.
    pub one_file_system: Option<bool>,
}

/// What looks like the work of an encryptor.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Ransomware {
    /// More than this share of the files changed at once.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_changed_ratio: f64,
    /// More than this share of the changed files look encrypted.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_high_entropy_ratio: f64,
    /// Files that nobody touches: a change of one is an alarm.
    pub canaries: Vec<PathBuf>,
    /// What to do.
    pub action: SuspicionAction,
}

impl Default for Ransomware {
    fn default() -> Self {
        Ransomware {
            max_changed_ratio: 0.4,
            max_high_entropy_ratio: 0.3,
            canaries: Vec::new(),
            action: SuspicionAction::Warn,
        }
    }
}

/// What to do about a suspicion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SuspicionAction {
    /// Raise the alarm.
    #[default]
    Warn,
    /// Raise the alarm, and hold the last good snapshots.
    Hold,
}

/// Which databases.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Databases {
    /// All of the server.
    All(All),
    /// These.
    Named(Vec<String>),
}

impl Default for Databases {
    fn default() -> Self {
        Databases::All(All::All)
    }
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum All {
    /// All of them.
    All,
}

/// Databases of a PostgreSQL server.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct PostgresSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// The server: `postgresql:///?host=/run/postgresql` or `postgresql://host:5432`.
    pub url: String,
    /// The user of the database.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
    /// Which of its databases.
    pub databases: Databases,
    /// As statements, or as the server's files with the log.
    pub mode: PostgresMode,
    /// Also roles and tablespaces, which belong to the server.
    #[serde(default = "yes")]
    pub globals: bool,
    /// Options for pg_dump.
    pub options: Vec<String>,
}

fn yes() -> bool {
    true
}

/// How a PostgreSQL server is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PostgresMode {
    /// By pg_dump: restorable into any version that is not older.
    #[default]
    Logical,
    /// By pg_basebackup with the log: the whole server, as it was at one moment.
    Physical,
}

/// Databases of a MySQL or MariaDB server.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct MysqlSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// The server: `mysql://user@127.0.0.1:3306`, or `mysql:///?socket=/run/mysqld/mysqld.sock`.
    pub url: String,
    /// The user, where the URL has none.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
    /// Which of its databases.
    pub databases: Databases,
    /// Options for the dump program.
    pub options: Vec<String>,
}

/// SQLite files.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct SqliteSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// The files: absolute, or beginning with `~`; `*` stands for parts of names.
    pub paths: Vec<String>,
}

/// Databases of a MongoDB server.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct MongodbSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// The server: `mongodb://host:27017`.
    pub url: String,
    /// The user of the database.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
    /// Which of its databases.
    pub databases: Databases,
}

/// A Redis server.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct RedisSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// The server: `redis://127.0.0.1:6379`.
    pub url: String,
    /// The user of the database.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
}

/// What a command prints. If it fails there is no snapshot.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct CommandSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// The program and its arguments; no shell.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Name of what it prints, in the snapshot; the source's name where this is absent.
    pub filename: Option<String>,
    /// What takes it back on its standard input.
    pub restore_command: Vec<String>,
    /// Looks at what was stored, on its standard input, and fails where it is not whole.
    pub validate: Vec<String>,
}

/// What this machine needs to be built again.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct SystemSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// What; everything where this is absent.
    pub include: Option<Vec<SystemPart>>,
}

/// Parts of a machine's setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SystemPart {
    /// The folder /etc.
    Etc,
    /// Packages with their sources and holds.
    Packages,
    /// Services and timers.
    Units,
    /// Crontabs.
    Crontabs,
    /// Users and groups.
    Users,
    /// Partition tables, RAID, LVM and encryption.
    Partitions,
    /// What starts the system.
    Boot,
    /// Addresses, routes and names.
    Network,
}

/// A disk, a partition or an image.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct BlockSource {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// The device or the image file.
    pub device: PathBuf,
    /// Reads a snapshot of it.
    pub snapshot: Freeze,
    /// Leaves out what the file system on it does not use, where that can be told safely.
    #[serde(default = "yes")]
    pub skip_free: bool,
    /// Bytes of each piece that is compared and stored.
    pub chunk: Option<Bytes>,
}

/// What holds for all sources of a kind.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Defaults {
    /// For files.
    pub files: FileRules,
}

/// Names of sources: one, or a list.
pub type Names = OneOrMany<String>;

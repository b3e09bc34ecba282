//! `[drills.NAME]`, `[notify.NAME]`, `[alerts]`, `[daemon]` and `[plan]`: who looks, who is told, and what is
//! written down for the day it is needed.

use super::secret::Secret;
use super::tagged::tagged;
use super::values::{Bytes, Interval, OneOrMany, Rate, When};
use crate::drill::Age;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

tagged! {
    /// A test restore.
    pub enum Drill by "kind" or "files" {
        /// Files of a source.
        Files(FilesDrill) = "files",
        /// Databases of a PostgreSQL source.
        Postgres(DatabaseDrill) = "postgres",
        /// Databases of a MySQL source.
        Mysql(DatabaseDrill) = "mysql",
        /// Databases of a MariaDB source.
        Mariadb(DatabaseDrill) = "mariadb",
        /// SQLite files.
        Sqlite(DatabaseDrill) = "sqlite",
        /// The recovery kit and one surviving copy.
        Kit(KitDrill) = "kit",
    }
}

/// A test restore of files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct FilesDrill {
    /// Of which source.
    pub source: String,
    /// From which repository; `rotate` takes another one each time.
    #[serde(default = "rotate")]
    pub from: String,
    /// Of which of its snapshots.
    #[serde(default)]
    pub age: DrillAge,
    /// How much.
    #[serde(default)]
    pub sample: Sample,
    /// Paths that come back in every drill, besides the sample.
    #[serde(default)]
    pub critical: Vec<String>,
    /// What is compared.
    #[serde(default)]
    pub compare: Compare,
    /// When; follows from the criticality of the source where this is absent.
    #[serde(default)]
    pub schedule: Option<OneOrMany<When>>,
    /// It must be done within this time.
    #[serde(default)]
    pub rto: Option<Interval>,
    /// A command that judges the restored folder, which is its last argument.
    #[serde(default)]
    pub command: Vec<String>,
}

fn rotate() -> String {
    "rotate".into()
}

/// How much a drill restores.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Sample {
    /// So many files.
    pub files: u64,
    /// At most so many bytes.
    pub bytes: Bytes,
    /// Everything: a rehearsal.
    pub whole: bool,
}

impl Default for Sample {
    fn default() -> Self {
        Sample { files: 200, bytes: Bytes(2 << 30), whole: false }
    }
}

/// What a drill compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// Every byte with its hash, and with the live file where that did not change since.
    #[default]
    Hash,
    /// Names, sizes and times.
    Metadata,
}

/// Which of a source's snapshots a drill restores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrillAge {
    /// The newest, the oldest and any other in turn.
    #[default]
    Rotate,
    /// Always the newest.
    Newest,
    /// Always the oldest.
    Oldest,
    /// Any.
    Random,
}

impl DrillAge {
    /// Each of them.
    pub const ALL: [DrillAge; 4] = [DrillAge::Rotate, DrillAge::Newest, DrillAge::Oldest, DrillAge::Random];

    /// The one that is always taken; none where they take turns.
    pub fn one(self) -> Option<Age> {
        match self {
            DrillAge::Rotate => None,
            DrillAge::Newest => Some(Age::Newest),
            DrillAge::Oldest => Some(Age::Oldest),
            DrillAge::Random => Some(Age::Random),
        }
    }
}

/// A test restore of databases.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct DatabaseDrill {
    /// Of which source.
    pub source: String,
    /// From which repository; `rotate` takes another one each time.
    #[serde(default = "rotate")]
    pub from: String,
    /// A server to restore into: `scratch` starts one that is thrown away; an address is another one's, which knows the roles and
    /// is left as it was. Never the source's.
    #[serde(default = "scratch")]
    pub into: String,
    /// Of which of its snapshots; questions about today want the newest.
    #[serde(default)]
    pub age: DrillAge,
    /// Questions whose answer must be true; `NAME: QUESTION` where there are several databases.
    #[serde(default)]
    pub asserts: Vec<String>,
    /// When; follows from the criticality of the source where this is absent.
    #[serde(default)]
    pub schedule: Option<OneOrMany<When>>,
    /// It must be done within this time.
    #[serde(default)]
    pub rto: Option<Interval>,
}

fn scratch() -> String {
    "scratch".into()
}

/// A test of the recovery kit.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct KitDrill {
    /// From which repository; `rotate` takes another one each time.
    #[serde(default = "rotate")]
    pub from: String,
    /// When.
    #[serde(default)]
    pub schedule: Option<OneOrMany<When>>,
}

tagged! {
    /// Who is told.
    pub enum Notify by "type" {
        /// Mail.
        Smtp(SmtpNotify) = "smtp",
        /// An ntfy server.
        Ntfy(NtfyNotify) = "ntfy",
        /// A service that notices when nothing comes.
        Healthchecks(HealthchecksNotify) = "healthchecks",
        /// A request to a URL.
        Webhook(WebhookNotify) = "webhook",
        /// An apprise server.
        Apprise(AppriseNotify) = "apprise",
        /// A command.
        Command(CommandNotify) = "command",
    }
}

impl Notify {
    /// The address that it is told at; a command has none.
    pub fn url(&self) -> Option<&str> {
        match self {
            Notify::Smtp(smtp) => Some(&smtp.url),
            Notify::Ntfy(ntfy) => Some(&ntfy.url),
            Notify::Healthchecks(check) => Some(&check.url),
            Notify::Webhook(hook) => Some(&hook.url),
            Notify::Apprise(apprise) => Some(&apprise.url),
            Notify::Command(_) => None,
        }
    }
}

/// Mail.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct SmtpNotify {
    /// The server: `smtps://user@host:465`, `smtp://host:587` (with STARTTLS).
    pub url: String,
    /// The password of that user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Who it comes from; `lifeboat@` and the name of the machine where this is absent.
    #[serde(default)]
    pub from: Option<String>,
    /// Who gets it.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
}

/// An ntfy server.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct NtfyNotify {
    /// The topic.
    pub url: String,
    /// What allows us to write there.
    #[serde(default)]
    pub token: Option<Secret>,
}

/// A service that raises the alarm when nothing comes.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct HealthchecksNotify {
    /// The check.
    pub url: String,
    /// Runs of which jobs; all where this is absent.
    #[serde(default)]
    pub jobs: Option<Vec<String>>,
}

/// A request to a URL.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct WebhookNotify {
    /// Where to.
    pub url: String,
    /// What it says: `slack`, `discord`, `generic`, or the path of a template.
    #[serde(default = "generic")]
    pub template: String,
    /// Header lines to add.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

fn generic() -> String {
    "generic".into()
}

/// An apprise server.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub struct AppriseNotify {
    /// Where to.
    pub url: String,
    /// Those of its targets with these tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A command that gets the event as JSON on its standard input.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct CommandNotify {
    /// The program and its arguments; no shell.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// Ends it after this time.
    #[serde(default = "one_minute")]
    pub timeout: Interval,
}

fn one_minute() -> Interval {
    Interval::minutes(1)
}

/// Who is told of what: names of `[notify]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Alerts {
    /// A source's newest snapshot is too old.
    pub stale: Option<Route>,
    /// A run failed.
    pub failed: Option<Route>,
    /// Stored data is damaged.
    pub damaged: Option<Route>,
    /// A drill failed.
    pub drill_failed: Option<Route>,
    /// Something looks like an attack.
    pub suspicious: Option<Route>,
    /// What was bad is good again.
    pub recovered: Option<Route>,
    /// Everything that has no route of its own.
    pub all: Option<Route>,
    /// A report of how things are.
    pub report: Option<Report>,
}

/// Who is told, and from when on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Route {
    /// These, at once.
    To(Vec<String>),
    /// With more to say.
    With(RouteOptions),
}

impl Route {
    /// The names of who is told.
    pub fn to(&self) -> &[String] {
        match self {
            Route::To(to) => to,
            Route::With(options) => &options.to,
        }
    }
}

/// A route with more to say.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct RouteOptions {
    /// Who is told.
    pub to: Vec<String>,
    /// From so many times in a row on.
    #[serde(default = "once")]
    #[schemars(range(min = 1))]
    pub after: u32,
    /// Says it again after so long while it stays bad.
    #[serde(default)]
    pub repeat: Option<Interval>,
}

fn once() -> u32 {
    1
}

/// A report of how things are.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Report {
    /// Who gets it.
    pub to: Vec<String>,
    /// When.
    #[serde(default = "mondays")]
    pub schedule: OneOrMany<When>,
}

fn mondays() -> OneOrMany<When> {
    OneOrMany::One(When("Mon 08:00".into()))
}

/// The program that runs all this.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Daemon {
    /// Address of the metrics, on this machine itself: `127.0.0.1:PORT` or `[::1]:PORT`.
    pub listen: Option<String>,
    /// Certificate and key.
    pub tls: Option<Tls>,
    /// Serves metrics at /metrics.
    pub metrics: bool,
    /// Also writes the metrics to this file, for node_exporter.
    pub metrics_file: Option<PathBuf>,
    /// Priority for the processor: 19 gives way to everything.
    #[schemars(range(min = 0, max = 19))]
    pub nice: Option<i32>,
    /// What it may use.
    pub limits: DaemonLimits,
    /// Slower, or not at all, at these times.
    pub quiet_hours: Option<OneOrMany<QuietHours>>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Tls {
    /// The certificate, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// What the daemon may use.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct DaemonLimits {
    /// Processors.
    #[schemars(range(min = 1))]
    pub cpu: Option<u32>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Bytes read from sources per second.
    pub read: Option<Rate>,
    /// Bytes sent per second, by all runs together.
    pub upload: Option<Rate>,
    /// Bytes received per second, by all runs together.
    pub download: Option<Rate>,
}

/// Times at which less is allowed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct QuietHours {
    /// When: `Mon..Fri 09:00-18:00`.
    #[schemars(extend("format" = "window"))]
    pub window: String,
    /// Bytes sent per second then; where this is absent nothing begins.
    #[serde(default)]
    pub upload: Option<Rate>,
    /// Bytes received per second then.
    #[serde(default)]
    pub download: Option<Rate>,
}

/// What the recovery plan says besides what follows from the rest.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Plan {
    /// Whose plan it is.
    pub organisation: Option<String>,
    /// Who is called, in this order.
    pub contacts: Vec<Contact>,
    /// Where the printed kit and the keys are.
    pub keys: Option<String>,
    /// What else somebody must know.
    pub notes: Option<String>,
    /// The plan is looked through again within this time.
    pub review_every: Option<Interval>,
}

/// Somebody to call.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Contact {
    /// Their name.
    pub name: String,
    /// What they do.
    #[serde(default)]
    pub role: Option<String>,
    /// Telephone number.
    #[serde(default)]
    pub phone: Option<String>,
    /// Mail address.
    #[serde(default)]
    pub email: Option<String>,
}

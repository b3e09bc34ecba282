//! The command line as a whole: the global options, and the list of commands.
//!
//! The options of each command stand in its own file. Secrets are never arguments: they would show in
//! process lists; files, commands and the environment carry them.

use crate::commands;
use crate::logs::LogFormat;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Examples:
  lifeboat backup --init -r /mnt/disk/backup ~      make a repository and back up the home folder
  lifeboat restore latest:/home/me/docs --target .  bring a folder back into this one
  lifeboat check --read-data -r /mnt/disk/backup    prove that every byte can be read

Exit codes:
   0  ok                              10  no repository
   1  failed                          12  wrong password
   2  usage                           13  storage unreachable
   3  some source data unreadable     14  refused
   4  a goal is not met               15  no space
   5  damage found                    75  nothing done on purpose
   6  a drill failed             130/143  cancelled

Logins: LIFEBOAT_SFTP_PASSWORD, LIFEBOAT_SFTP_KEY_FILE and LIFEBOAT_SFTP_KEY_PASSPHRASE,
LIFEBOAT_WEBDAV_USER and LIFEBOAT_WEBDAV_PASSWORD, AWS_ACCESS_KEY_ID and the others of the AWS tools.";

/// Back up files, deduplicated and encrypted, and get them back
#[derive(Parser)]
#[command(name = "lifeboat", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Args, Clone)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file [default: ~/.config/lifeboat/lifeboat.toml, else /etc/lifeboat/lifeboat.toml; env:
    /// LIFEBOAT_CONFIG]
    #[arg(hide_short_help = true, short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Repository: a folder, a URL such as sftp://host/folder, s3://bucket/folder, webdavs://host/folder, or a
    /// name of the configuration
    #[arg(
        short,
        long,
        global = true,
        value_name = "PLACE",
        env = "LIFEBOAT_REPOSITORY",
        hide_env_values = true
    )]
    pub(crate) repo: Vec<OsString>,

    /// Read the password from the first line of this file [env: LIFEBOAT_PASSWORD_FILE; or the password
    /// itself in LIFEBOAT_PASSWORD]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Read the password from this command's output [env: LIFEBOAT_PASSWORD_COMMAND]
    #[arg(
        hide_short_help = true,
        long,
        global = true,
        value_name = "COMMAND",
        conflicts_with = "password_file"
    )]
    pub(crate) password_command: Option<String>,

    /// Unlock with the key in this file [env: LIFEBOAT_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_file", "password_command"])]
    pub(crate) key_file: Option<PathBuf>,

    /// Unlock with the recovery key, read from this file or asked for
    #[arg(hide_short_help = true, long, global = true, value_name = "FILE", num_args = 0..=1, require_equals = true,
          conflicts_with_all = ["password_file", "password_command", "key_file"])]
    pub(crate) recovery_key: Option<Option<PathBuf>>,

    /// Unlock with shares of the recovery key: once for each share's file; with - they are asked for
    #[arg(hide_short_help = true, long, global = true, value_name = "FILE",
          conflicts_with_all = ["password_file", "password_command", "key_file", "recovery_key"])]
    pub(crate) recovery_share: Vec<PathBuf>,

    /// Folder for files that save time [default: ~/.cache/lifeboat]
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "LIFEBOAT_CACHE_DIR",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Keep nothing on this machine that saves time
    #[arg(hide_short_help = true, long, global = true)]
    pub(crate) no_cache: bool,

    /// Trust the certificates in this PEM file, too
    #[arg(
        long,
        visible_alias = "ca",
        global = true,
        value_name = "FILE",
        env = "LIFEBOAT_CACERT",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) cacert: Option<PathBuf>,

    /// Send at most this many bytes per second (512K, 10M)
    #[arg(hide_short_help = true, long, global = true, value_name = "RATE")]
    pub(crate) limit_upload: Option<String>,

    /// Receive at most this many bytes per second
    #[arg(hide_short_help = true, long, global = true, value_name = "RATE")]
    pub(crate) limit_download: Option<String>,

    /// Send at most this many requests per second
    #[arg(hide_short_help = true, long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit_requests: Option<u32>,

    /// Memory that a backup or restore may use for speed: reading ahead, packs and ranges on their way
    /// (64M and more)
    #[arg(hide_short_help = true, long, global = true, value_name = "SIZE", default_value = "96M", env = "LIFEBOAT_MEMORY",
          value_parser = crate::sizes::parse_memory)]
    pub(crate) memory: engine::MemoryBudget,

    /// Try again for so many seconds when the storage does not answer; 30 at most where several places are named
    #[arg(hide_short_help = true, long, global = true, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) retry_for: u32,

    /// Go on although the repository shows an older state than this machine has seen, and believe it from now on
    #[arg(hide_short_help = true, long, global = true)]
    pub(crate) accept_rollback: bool,

    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more; twice: name every file
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print results as JSON lines
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Log to standard error instead of talking: lines with time, level and fields
    #[arg(
        hide_short_help = true,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "LIFEBOAT_LOG_FORMAT"
    )]
    pub(crate) log_format: Option<LogFormat>,

    /// Print without colours [env: NO_COLOR]
    #[arg(hide_short_help = true, long, global = true)]
    pub(crate) no_color: bool,

    /// Show no progress
    #[arg(hide_short_help = true, long, global = true)]
    pub(crate) no_progress: bool,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Init(commands::init::Args),
    Backup(Box<commands::backup::Args>),
    Snapshots(commands::snapshots::Args),
    Ls(commands::ls::Args),
    Find(commands::find::Args),
    Versions(commands::versions::Args),
    Cat(commands::cat::Args),
    Dump(commands::dump::Args),
    Diff(commands::diff::Args),
    Restore(Box<commands::restore::Args>),
    RestoreDb(Box<commands::restore_db::Args>),
    Check(commands::check::Args),
    Scrub(commands::scrub::Args),
    Repair(commands::repair::Args),
    Sync(commands::sync::Args),
    Copy(commands::copy::Args),
    Status(Box<commands::status::Args>),
    Log(commands::log::Args),
    Setup(Box<commands::setup::Args>),
    Run(commands::run::Args),
    Daemon(commands::daemon::Args),
    Schedule(commands::schedule::Args),
    Pause(commands::pause::Args),
    Resume(commands::pause::ResumeArgs),
    Config(commands::config::Args),
    Stats(commands::stats::Args),
    Key(commands::key::Args),
    Forget(Box<commands::forget::Args>),
    Prune(commands::prune::Args),
    Hold(commands::hold::Args),
    Trust(commands::trust::Args),
    Repo(commands::repo::Args),
    Excludes(commands::excludes::Args),
    Tag(commands::tag::Args),
    Rewrite(commands::rewrite::Args),
    Drill(commands::drill::Args),
    Report(commands::report::Args),
    Kit(commands::kit::Args),
    Plan(commands::plan::Args),
    Recover(Box<commands::recover::Args>),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
    Version(commands::version::Args),
}

impl Command {
    /// Whether a signal must not end it between two steps.
    pub(crate) fn changes_something(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Init(_)
                | Backup(_)
                | Restore(_)
                | RestoreDb(_)
                | Dump(_)
                | Key(_)
                | Forget(_)
                | Prune(_)
                | Sync(_)
                | Copy(_)
                | Hold(_)
                | Trust(_)
                | Tag(_)
                | Kit(_)
                | Report(_)
                | Rewrite(_)
                | Plan(_)
                | Drill(_)
                | Recover(_)
                | Repo(_)
                | Run(_)
                | Setup(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}

//! A server that is started for a trial and thrown away: of the same kind as the one that was dumped, in a private
//! folder, reached by a socket in it and by nothing else, with nobody's data in it.
//!
//! It ends, with its whole process group, when it is dropped; its folder is removed by whoever made it. Where root
//! starts it, it runs as an account that may do little, to which the folder then belongs.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Account, Patience, Server, mysql, postgres};

/// The kinds of servers that can be started for a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    Mariadb,
    /// MySQL.
    Mysql,
}

/// A server gets so long until it answers.
const START_TIME: Duration = Duration::from_secs(120);
/// It gets so long to end before it is killed.
const END_TIME: Duration = Duration::from_secs(10);
/// Paths of sockets end at 107 bytes; behind the folder comes `/socket/.s.PGSQL.5432`.
const FOLDER_BYTES_MAX: usize = 80;
/// Where programs of servers are.
const PROGRAM_FOLDERS: [&str; 7] =
    ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/libexec"];

/// A running server.
#[derive(Debug)]
pub struct Scratch {
    child: Child,
    kind: Kind,
    server: Server,
}

impl Scratch {
    /// Makes an empty server in a folder and starts it. `like` is the version of the server that was dumped: the
    /// same major version of PostgreSQL is taken where several are installed.
    ///
    /// # Errors
    /// The programs of the server are not here, or it does not start; the error holds the end of what it said.
    pub fn start(kind: Kind, folder: &Path, like: &str, patience: &Patience) -> io::Result<Scratch> {
        let place = Folder::prepare(kind, folder)?;
        match kind {
            Kind::Postgres => {
                let programs = Postgres::find(like)?;
                let mut command = place.command(&programs.initdb);
                command.args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]);
                command.arg("--locale=C.UTF-8").arg("--pgdata").arg(place.data());
                place.wait("initdb", command, patience)?;
                place.run_postgres(&programs, patience)
            }
            Kind::Mariadb => {
                let install = find("mariadb-install-db").or_else(|_| find("mysql_install_db"))?;
                let server = find("mariadbd").or_else(|_| find("mysqld"))?;
                let mut command = place.command(&install);
                command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
                command.arg(place.option("--datadir=", "data")).arg(place.option("--tmpdir=", "tmp"));
                place.wait("mariadb-install-db", command, patience)?;
                place.run_mysql(&server, kind, patience)
            }
            Kind::Mysql => {
                let server = find("mysqld")?;
                let version = Command::new(&server).arg("--version").output()?;
                if String::from_utf8_lossy(&version.stdout).contains("MariaDB") {
                    return Err(absent("MySQL (mysqld here is MariaDB)"));
                }
                let mut command = place.command(&server);
                command.args(["--no-defaults", "--initialize-insecure"]);
                command.arg(place.option("--datadir=", "data"));
                place.wait("mysqld --initialize-insecure", command, patience)?;
                place.run_mysql(&server, kind, patience)
            }
        }
    }

    /// Starts PostgreSQL on data files that were put into the folder `data` of `folder`, of the version of `like`.
    /// What they say about who may connect does not count.
    pub fn on_files(folder: &Path, like: &str, patience: &Patience) -> io::Result<Scratch> {
        let place = Folder::prepare(Kind::Postgres, folder)?;
        give(&place.data(), place.account)?;
        place.run_postgres(&Postgres::find(like)?, patience)
    }

    /// How it is reached.
    pub fn server(&self) -> &Server {
        &self.server
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        // PostgreSQL ends at once at SIGINT; the others at SIGTERM.
        let signal = if self.kind == Kind::Postgres { Signal::INT } else { Signal::TERM };
        kill_process_group(group, signal).ok();
        let until = Instant::now() + END_TIME;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Where a folder for a trial can be made: below `wanted`; or, where a server cannot reach a socket there or the account it
/// runs as may not pass, in a folder of ours below `/var/tmp`.
pub fn reachable(wanted: &Path) -> io::Result<PathBuf> {
    let is_short = wanted.as_os_str().len() <= FOLDER_BYTES_MAX - "drill-4194304-00112233".len();
    let lets_pass = |folder: &Path| fs::metadata(folder).is_ok_and(|m| m.permissions().mode() & 0o001 != 0);
    let passes = !rustix::process::geteuid().is_root() || wanted.ancestors().all(lets_pass);
    if is_short && passes { Ok(wanted.to_path_buf()) } else { of_this_user(Path::new("/var/tmp")) }
}

/// A folder of this user's own among those of others, which only may pass through it.
fn of_this_user(among: &Path) -> io::Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let folder = among.join(format!("lifeboat-{uid}"));
    match fs::DirBuilder::new().mode(0o711).create(&folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => {
            let found = fs::symlink_metadata(&folder)?;
            match found.is_dir() && found.uid() == uid && found.permissions().mode() & 0o022 == 0 {
                true => Ok(folder),
                false => Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("{} belongs to somebody else, or others may write there", folder.display()),
                )),
            }
        }
    }
}

fn absent(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{what} is not installed on this machine"))
}

fn find(program: &str) -> io::Result<PathBuf> {
    let mut found =
        PROGRAM_FOLDERS.iter().map(|folder| Path::new(folder).join(program)).filter(|file| file.is_file());
    found.next().ok_or_else(|| absent(program))
}

/// The programs of one version of PostgreSQL.
struct Postgres {
    initdb: PathBuf,
    postgres: PathBuf,
}

impl Postgres {
    /// The same major version, else the next newer one, else one without a folder of its own.
    fn find(like: &str) -> io::Result<Postgres> {
        let wanted = major(like);
        let mut versions: Vec<(u32, PathBuf)> = Vec::new();
        for (parent, start) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let number = name.to_str().and_then(|n| n.strip_prefix(start)?.parse::<u32>().ok());
                versions.extend(number.map(|number| (number, entry.path().join("bin"))));
            }
        }
        versions.sort();
        let fits = |(number, folder): &&(u32, PathBuf)| {
            wanted.is_none_or(|wanted| *number >= wanted) && folder.join("initdb").is_file()
        };
        let fitting = match wanted {
            Some(_) => versions.iter().find(fits),
            None => versions.iter().rfind(fits),
        };
        if let Some((_, folder)) = fitting {
            return Ok(Postgres { initdb: folder.join("initdb"), postgres: folder.join("postgres") });
        }
        let both = find("initdb").and_then(|initdb| Ok((initdb, find("postgres")?)));
        let (initdb, postgres) = both.map_err(|_| match wanted {
            Some(wanted) => absent(&format!("the server of PostgreSQL {wanted} or a newer one")),
            None => absent("the server of PostgreSQL"),
        })?;
        Ok(Postgres { initdb, postgres })
    }
}

/// `15.6 (Debian 15.6-0)` is 15.
fn major(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The folder of a server: `data`, `socket`, `tmp` and `log`.
struct Folder {
    path: PathBuf,
    account: Option<(u32, u32)>,
    log: fs::File,
}

impl Folder {
    fn prepare(kind: Kind, path: &Path) -> io::Result<Folder> {
        let account = account(kind)?;
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
        made.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        for part in ["socket", "tmp"] {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(path.join(part))?;
            give(&path.join(part), account)?;
        }
        // Files of another server say who may connect to that: here everybody who can reach the socket may.
        fs::write(path.join("rules"), "local all all trust\n")?;
        fs::write(path.join("settings"), "")?;
        let log = fs::OpenOptions::new().create(true).append(true).open(path.join("log"))?;
        for part in ["rules", "settings", "log"] {
            give(&path.join(part), account)?;
        }
        if let Some((uid, gid)) = account {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        Ok(Folder { path: path.to_path_buf(), account, log })
    }

    fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    fn option(&self, option: &str, part: &str) -> String {
        format!("{option}{}", self.path.join(part).display())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .env("LC_ALL", "C.UTF-8")
            .env("TMPDIR", self.path.join("tmp"));
        command.process_group(0);
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.stdout(self.log.try_clone()?).stderr(self.log.try_clone()?);
        command.spawn()
    }

    /// The end of what the server and its tools said.
    fn said(&self) -> String {
        let log = fs::read(self.path.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(4)..].join("; ")
    }

    /// Runs a program to its end.
    fn wait(&self, name: &str, command: Command, patience: &Patience) -> io::Result<()> {
        let mut child = self.spawn(command)?;
        loop {
            if let Some(status) = child.try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(io::Error::other(format!("{name} failed ({status}): {}", self.said()))),
                };
            }
            if patience.is_over() {
                child.kill().ok();
                child.wait()?;
                return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a server and waits until it answers.
    fn started(
        &self,
        command: Command,
        kind: Kind,
        server: Server,
        answers: impl Fn(&Server) -> io::Result<()>,
    ) -> io::Result<Scratch> {
        let mut scratch = Scratch { child: self.spawn(command)?, kind, server };
        let until = Instant::now() + START_TIME;
        loop {
            if let Some(status) = scratch.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended ({status}): {}", self.said())));
            }
            match answers(&scratch.server) {
                Ok(()) => return Ok(scratch),
                Err(_) if scratch.server.patience.is_over() => {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
                }
                Err(e) if Instant::now() > until => {
                    return Err(io::Error::other(format!(
                        "the server does not answer: {e}; {}",
                        self.said()
                    )));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn run_postgres(&self, programs: &Postgres, patience: &Patience) -> io::Result<Scratch> {
        let mut command = self.command(&programs.postgres);
        command.arg("-D").arg(self.data()).arg("-k").arg(self.path.join("socket"));
        for setting in [
            "listen_addresses=",
            "port=5432",
            "fsync=off",
            "full_page_writes=off",
            "wal_level=minimal",
            "max_wal_senders=0",
            "archive_mode=off",
            "shared_preload_libraries=",
            "ssl=off",
            "logging_collector=off",
        ] {
            command.arg("-c").arg(setting);
        }
        command.arg("-c").arg(self.option("hba_file=", "rules"));
        command.arg("-c").arg(self.option("config_file=", "settings"));
        let socket = self.path.join("socket");
        let mut server = Server::at("postgresql://postgres@/postgres")?;
        server.url.settings.push(("host".into(), socket.display().to_string()));
        server.patience = patience.clone();
        self.started(command, Kind::Postgres, server, postgres::answers)
    }

    fn run_mysql(&self, program: &Path, kind: Kind, patience: &Patience) -> io::Result<Scratch> {
        let mut command = self.command(program);
        command.args(["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]);
        for (option, part) in
            [("--datadir=", "data"), ("--tmpdir=", "tmp"), ("--socket=", "socket/s"), ("--pid-file=", "pid")]
        {
            command.arg(self.option(option, part));
        }
        let mut server = Server::at("mysql://root@localhost")?;
        server.url.settings.push(("socket".into(), self.path.join("socket/s").display().to_string()));
        server.patience = patience.clone();
        self.started(command, kind, server, mysql::answers)
    }
}

/// The account a server runs as where root starts it: its own, else one that may do nothing.
fn account(kind: Kind) -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let own = if kind == Kind::Postgres { "postgres" } else { "mysql" };
    let account = Account::named(own).or_else(|_| Account::named("nobody"))?;
    Ok(Some(account.ids()))
}

/// Gives a file, or a folder with all in it, to the account of the server, for it alone.
fn give(path: &Path, account: Option<(u32, u32)>) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if let Some((uid, gid)) = account.filter(|(uid, _)| *uid != found.uid()) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    if found.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), account)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_begin_with_their_major_number() {
        assert_eq!(major("15.6 (Debian 15.6-0+deb12u1)"), Some(15));
        assert_eq!(major("PostgreSQL 9.6"), Some(9));
        assert_eq!(major(""), None);
    }

    #[test]
    fn a_folder_too_deep_for_a_socket_is_not_used() {
        let deep = PathBuf::from("/tmp").join("x".repeat(90));
        assert!(reachable(&deep).unwrap().starts_with("/var/tmp"));
        assert_eq!(reachable(Path::new("/var/tmp")).unwrap(), Path::new("/var/tmp"));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let among = tempfile::tempdir().unwrap();
        let ours = of_this_user(among.path()).unwrap();
        assert_eq!(of_this_user(among.path()).unwrap(), ours);
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(of_this_user(among.path()).is_err());
        fs::remove_dir(&ours).unwrap();
        std::os::unix::fs::symlink("/tmp", &ours).unwrap();
        assert!(of_this_user(among.path()).is_err());
    }
}

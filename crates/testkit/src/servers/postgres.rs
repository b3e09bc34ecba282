//! A PostgreSQL server.

use super::{Running, done, find, folder, free_port, missing, unprivileged};
use std::process::{Command, Stdio};

/// A running server that listens on a socket in its folder and on a port of the loopback, where it wants a
/// password.
pub struct Postgres {
    _running: Running,
    folder: tempfile::TempDir,
    port: u16,
}

/// Password of the user `postgres` on the port.
pub const PASSWORD: &str = "s3cret:p\\ass";

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start() -> Option<Postgres> {
        let (Some(initdb), Some(_), Some(_)) = (find("initdb"), find("postgres"), find("psql")) else {
            missing("PostgreSQL (Debian: postgresql)");
            return None;
        };
        let folder = folder();
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n")).expect("the folder is ours");
        let mut command = unprivileged(initdb);
        command.args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]);
        command
            .arg("--encoding=UTF8")
            .arg("--locale=C.UTF-8")
            .arg(format!("--pwfile={}", password.display()));
        done({
            command.arg("--pgdata").arg(&data);
            command
        });
        Some(Postgres::run(folder, "data"))
    }

    /// Starts a server on a folder with data files that lies in `folder`.
    fn run(folder: tempfile::TempDir, data: &str) -> Postgres {
        let port = free_port();
        let mut command = unprivileged(find("postgres").expect("it was found before"));
        command.arg("-D").arg(folder.path().join(data)).arg("-p").arg(port.to_string());
        command.arg("-k").arg(folder.path()).args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        command.args(["-c", "wal_level=replica", "-c", "max_wal_senders=4", "-c", "shared_buffers=64MB"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running(command.spawn().expect("the server starts"));
        let ready = || {
            let mut psql = Command::new("psql");
            psql.args(["-XAtqc", "select 1", "-U", "postgres", "-d", "postgres", "-h"]).arg(folder.path());
            psql.arg("-p").arg(port.to_string()).output().is_ok_and(|o| o.status.success())
        };
        running.wait_until("PostgreSQL", ready);
        Postgres { _running: running, folder, port }
    }

    /// Starts a server on restored data files, which `put` writes into the folder it is given.
    pub fn on_files(put: impl FnOnce(&std::path::Path)) -> Postgres {
        let folder = folder();
        let data = folder.path().join("data");
        put(&data);
        give_all_away(&data);
        Postgres::run(folder, "data")
    }

    /// Its address by socket, without a password.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@/{database}?host={}&port={}", self.folder.path().display(), self.port)
    }

    /// Its address by port, without the password it wants.
    pub fn url_with_password(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements; returns what they print, a line a row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d", &self.url(database)]);
        String::from_utf8(done(psql).stdout).expect("text").trim_end().to_string()
    }

    /// A command of PostgreSQL with the way to a database in its environment.
    pub fn command(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(find(program).expect("it is installed with the server"));
        command.env("PGHOST", self.folder.path()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", database);
        command
    }
}

fn give_all_away(path: &std::path::Path) {
    super::give_away(path);
    use std::os::unix::fs::PermissionsExt;
    if path.is_dir() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
        for entry in std::fs::read_dir(path).expect("it is ours") {
            give_all_away(&entry.expect("it is ours").path());
        }
    }
}

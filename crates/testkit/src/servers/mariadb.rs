//! A MariaDB server.

use super::{Running, done, find, folder, free_port, missing, unprivileged, unprivileged_user};
use std::process::{Command, Stdio};

/// A running server that listens on a port of the loopback.
pub struct Mariadb {
    _running: Running,
    folder: tempfile::TempDir,
    port: u16,
}

/// Password of the user `backup`, who may do everything.
pub const PASSWORD: &str = "s3cret \"p\\ass#";

impl Mariadb {
    /// Makes a data folder and starts a server on it.
    pub fn start() -> Option<Mariadb> {
        let (Some(install), Some(server), Some(_)) =
            (find("mariadb-install-db"), find("mariadbd"), find("mariadb-dump"))
        else {
            missing("MariaDB (Debian: mariadb-server)");
            return None;
        };
        let folder = folder();
        let data = folder.path().join("data");
        let mut command = unprivileged(install);
        command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        command.arg(format!("--datadir={}", data.display()));
        // A server that starts removes the temporary tables of others from a shared folder.
        let scratch = format!("--tmpdir={}", folder.path().display());
        command.arg(&scratch);
        done(command);
        let port = free_port();
        let mut command = unprivileged(server);
        command.arg("--no-defaults").arg(format!("--datadir={}", data.display())).arg(&scratch);
        command.arg(format!("--socket={}", folder.path().join("socket").display()));
        command.arg(format!("--pid-file={}", folder.path().join("pid").display()));
        command.args([
            &format!("--port={port}"),
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        command.args(["--innodb-buffer-pool-size=64M", "--skip-name-resolve"]);
        command.arg(format!("--user={}", unprivileged_user()));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().expect("the server starts"));
        let mut server = Mariadb { _running: running, folder, port };
        let socket = server.folder.path().join("socket");
        server
            ._running
            .wait_until("MariaDB", || client(&socket, "select 1").output().is_ok_and(|o| o.status.success()));
        let password = PASSWORD.replace('\\', "\\\\").replace('"', "\\\"");
        for sql in [
            format!("create user backup@'127.0.0.1' identified by \"{password}\""),
            "grant all on *.* to backup@'127.0.0.1' with grant option".into(),
        ] {
            server.sql("", &sql);
        }
        Some(server)
    }

    /// Its address, without the password it wants.
    pub fn url(&self) -> String {
        format!("mysql://backup@127.0.0.1:{}", self.port)
    }

    /// Runs statements in a database; returns what they print, a line a row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = client(&self.folder.path().join("socket"), sql);
        command.arg(format!("--database={database}"));
        String::from_utf8(done(command).stdout).expect("text").trim_end().to_string()
    }
}

fn client(socket: &std::path::Path, sql: &str) -> Command {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--user=root", "--batch", "--raw", "--skip-column-names"]);
    command.arg(format!("--socket={}", socket.display())).arg(format!("--execute={sql}"));
    command
}

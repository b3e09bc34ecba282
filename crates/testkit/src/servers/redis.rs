//! A Redis server.

use super::{Running, done, find, folder, free_port, missing, unprivileged};
use std::process::{Command, Stdio};

/// A running server that listens on a port of the loopback and wants a password.
pub struct Redis {
    _running: Running,
    _folder: tempfile::TempDir,
    port: u16,
}

/// Its password.
pub const PASSWORD: &str = "s3cret-redis";

impl Redis {
    /// Starts an empty server.
    pub fn start() -> Option<Redis> {
        let (Some(server), Some(_)) = (find("redis-server"), find("redis-cli")) else {
            missing("Redis (Debian: redis-server)");
            return None;
        };
        let (folder, port) = (folder(), free_port());
        let mut command = unprivileged(server);
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--requirepass",
            PASSWORD,
        ]);
        command.arg("--dir").arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().expect("the server starts"));
        let mut server = Redis { _running: running, _folder: folder, port };
        let port = server.port;
        server._running.wait_until("Redis", || {
            cli(port).arg("ping").output().is_ok_and(|o| o.stdout.starts_with(b"PONG"))
        });
        Some(server)
    }

    /// Its address, without the password it wants.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command; returns its answer.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = cli(self.port);
        command.args(words);
        String::from_utf8_lossy(&done(command).stdout).trim_end().to_string()
    }
}

fn cli(port: u16) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string(), "--no-auth-warning"]).env("REDISCLI_AUTH", PASSWORD);
    command
}

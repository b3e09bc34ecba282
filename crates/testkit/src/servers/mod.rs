//! Database servers of the tests: real ones, started as an unprivileged user on a folder of their own.
//!
//! Each ends with the value that stands for it. Where a server is not installed, `start` gives `None` with a word
//! about it on standard error; with `LIFEBOAT_TEST_REQUIRE=all` that is a failure.

pub mod mariadb;
pub mod postgres;
pub mod redis;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A user without rights, where tests run as root.
const NOBODY: u32 = 65534;

/// Says that a part is missing here: the test is passed over, or fails where all must run.
pub fn missing(part: &str) {
    assert!(std::env::var("LIFEBOAT_TEST_REQUIRE").as_deref() != Ok("all"), "this test needs {part}");
    writeln!(std::io::stderr(), "passed over: this test needs {part}").ok();
}

/// Finds a program on the path or in the folders where systems keep servers.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [
        "/usr/sbin",
        "/sbin",
        "/usr/lib/postgresql/15/bin",
        "/usr/lib/postgresql/16/bin",
        "/usr/lib/postgresql/17/bin",
    ];
    let folders = std::env::split_paths(&path).chain(more.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A command that runs without rights, whoever runs the tests.
fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// The name of the user of [`unprivileged`].
fn unprivileged_user() -> String {
    if rustix::process::geteuid().is_root() {
        return "nobody".into();
    }
    std::env::var("USER").unwrap_or_else(|_| "nobody".into())
}

/// A folder that the user of [`unprivileged`] may use.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("lifeboat-server").tempdir().expect("a temporary folder");
    give_away(folder.path());
    folder
}

fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give its folders away");
    }
}

fn done(mut command: Command) -> Output {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stdout));
    output
}

/// A server that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Waits until the server answers.
    fn wait_until(&mut self, what: &str, answers: impl Fn() -> bool) {
        let start = Instant::now();
        while !answers() {
            let ended = self.0.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{what} ended at once: {ended:?}");
            assert!(start.elapsed() < Duration::from_secs(120), "{what} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

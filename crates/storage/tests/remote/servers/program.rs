//! Servers that are programs of their own: started on a free port, ended with the test.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program, killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts `command` with a free port and waits until it answers there.
    pub(crate) fn start(make: impl FnOnce(SocketAddr) -> Command) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = make(address);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut program = Self { child, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = program.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended at once: {ended:?}");
            assert!(start.elapsed() < Duration::from_secs(60), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is, or `None` with a word about it; with `LIFEBOAT_TEST_REQUIRE=all` it must be there.
pub(crate) fn find(program: &str, hint: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| is_program(path));
    if found.is_none() {
        let missing = format!("{program} is not installed ({hint})");
        assert!(std::env::var_os("LIFEBOAT_TEST_REQUIRE").is_none_or(|value| value != "all"), "{missing}");
        say(&format!("not run: {missing}"));
    }
    found
}

/// Past the test harness, which would hide it from whoever reads a good run.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

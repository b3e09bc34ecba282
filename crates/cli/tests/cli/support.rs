//! A machine of its own for each test: a home, a source and a repository below one temporary folder, and
//! the program run there with nothing else in its environment.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

/// The program under test.
pub(crate) const LIFEBOAT: &str = env!("CARGO_BIN_EXE_lifeboat");
/// A user without rights, where tests run as root.
const NOBODY: u32 = 65534;

pub(crate) struct Machine {
    _folder: tempfile::TempDir,
    pub(crate) root: PathBuf,
    environment: Vec<(String, String)>,
    as_nobody: bool,
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    /// Standard output, with paths, ids, times and durations replaced.
    pub(crate) out: String,
    /// Standard error, likewise.
    pub(crate) err: String,
    pub(crate) raw_out: Vec<u8>,
    pub(crate) raw_err: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Machine::below(&std::env::temp_dir())
    }

    /// A machine whose disk is in this folder.
    pub(crate) fn below(folder: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("lifeboat-test").tempdir_in(folder).unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("home")).unwrap();
        fs::create_dir_all(root.join("src/sub")).unwrap();
        fs::write(root.join("src/a"), "hello\n").unwrap();
        fs::write(root.join("src/sub/b"), "world\n").unwrap();
        Machine { _folder: folder, root, environment: Vec::new(), as_nobody: false }
    }

    /// A machine with a repository in `repo`, opened by the machine's own key file.
    pub(crate) fn with_repository() -> Self {
        let machine = Machine::new();
        assert_eq!(machine.run(&["init", "-r", "repo"]).code, 0);
        machine
    }

    /// A machine on which `src` was backed up once.
    pub(crate) fn with_snapshot() -> Self {
        let machine = Machine::with_repository();
        machine.ok(&["backup", "-r", "repo", "src"]);
        machine
    }

    /// Sets a variable for all further runs.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Runs as a user who may not read everything, whoever runs the tests.
    pub(crate) fn become_nobody(&mut self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let program = self.root.join("lifeboat");
        fs::copy(LIFEBOAT, &program).unwrap();
        self.as_nobody = true;
        give_away(&self.root);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Makes everything in `src` look as if it had last changed long ago: what changed within two seconds of
    /// a backup is read again by the next one.
    pub(crate) fn age_source(&self) {
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        for name in ["src/a", "src/sub/b", "src/sub", "src"] {
            File::open(self.path(name)).unwrap().set_modified(long_ago).unwrap();
        }
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    pub(crate) fn command(&self) -> Command {
        let program = if self.as_nobody { self.root.join("lifeboat") } else { LIFEBOAT.into() };
        self.command_of(program)
    }

    /// Another program with the machine's environment.
    pub(crate) fn command_of(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(&self.root).stdin(Stdio::null());
        command
            .env("HOME", self.root.join("home"))
            .env("TZ", "UTC")
            .env("USER", "me")
            .env("PATH", "/usr/bin:/bin");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.as_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        let output = self.command().args(args).output().unwrap();
        self.ran(output)
    }

    /// Runs with this standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        self.ran(child.wait_with_output().unwrap())
    }

    /// Runs what must succeed; returns its standard output with replacements.
    pub(crate) fn ok<A: AsRef<OsStr>>(&self, args: &[A]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        ran.out
    }

    pub(crate) fn ran(&self, output: Output) -> Ran {
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let raw_err = String::from_utf8(output.stderr).unwrap();
        Ran {
            code,
            out: self.plain(&String::from_utf8_lossy(&output.stdout)),
            err: self.plain(&raw_err),
            raw_out: output.stdout,
            raw_err,
        }
    }

    /// Replaces what differs from run to run: `ROOT`, `ID`, `TIME`, `TOOK`, `HOST`, `STORED`.
    fn plain(&self, text: &str) -> String {
        let root = self.root.to_str().unwrap();
        let host = rustix::system::uname();
        let host = format!("  {}  ", host.nodename().to_str().unwrap());
        let text = text.replace(root, "ROOT").replace(&host, "  HOST  ");
        text.lines().map(|line| plain_line(line) + "\n").collect()
    }
}

/// All files below a folder.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

fn plain_line(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        words.push(plain_word(word));
    }
    let line = words.join(" ");
    let line = line.replace("DATE CLOCK", "TIME");
    match line.find(" stored)").and_then(|end| Some((line[..end].rfind('(')?, end))) {
        Some((from, end)) => format!("{}(STORED{}", &line[..from], &line[end..]),
        None => line,
    }
}

fn plain_word(word: &str) -> String {
    let is_hex = |w: &str| w.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let core = word.trim_matches(|c: char| "(),;:".contains(c));
    let shape: String = core.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let new = match shape.as_str() {
        "9999-99-99" => "DATE",
        "99:99:99" => "CLOCK",
        "9:99" => "TOOK",
        _ if [8, 16, 32].contains(&core.len()) && is_hex(core) => "ID",
        _ => match core.rsplit_once('/') {
            Some((folder, name)) if name.split('.').next().is_some_and(|id| id.len() == 32 && is_hex(id)) => {
                let ending = name.split_once('.').map_or("", |(_, ending)| ending);
                return word.replace(core, &format!("{folder}/ID.{ending}"));
            }
            _ => return word.to_string(),
        },
    };
    word.replace(core, new)
}

/// Says that a part is missing here: the test is passed over, or fails where all must run.
pub(crate) fn missing(part: &str) {
    assert!(std::env::var("LIFEBOAT_TEST_REQUIRE").as_deref() != Ok("all"), "this test needs {part}");
    writeln!(std::io::stderr(), "passed over: this test needs {part}").ok();
}

/// Runs a tool of the system; whether it went well.
pub(crate) fn tool(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    let output = command.args(&words[1..]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    output.is_ok_and(|output| output.status.success())
}

/// Mounts an image while something works on it; whether that could be done.
pub(crate) fn mounted(image: &Path, point: &Path, work: impl FnOnce(&Path)) -> bool {
    fs::create_dir_all(point).unwrap();
    if !tool(&["mount", "-o", "loop", image.to_str().unwrap(), point.to_str().unwrap()]) {
        return false;
    }
    work(point);
    assert!(tool(&["umount", point.to_str().unwrap()]));
    true
}

//! Running the tools of a database: their secrets, their user, what they say when they fail.
//!
//! Promises: a secret is never in the arguments, never in the environment unless the tool takes it nowhere
//! else, and never on a disk: it is a nameless file in memory that only the child can open. A failure carries
//! the last lines the tool printed. Nothing here waits for a prompt.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::process::{Gid, Pid, Signal, Uid, kill_process_group};

use zeroize::Zeroizing;

use super::Patience;
use crate::owners::Owners;
use crate::stream::CommandStream;

/// A password or the like. Not shown by `Debug`, and wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes over a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Arc::new(Zeroizing::new(text.into())))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An account of this machine that a tool runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Finds an account by its name; its group is the one of the same name, else its primary one.
    pub fn named(name: &str) -> io::Result<Account> {
        let owners = Owners::of_this_machine();
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no user {name:?} here"));
        let uid = owners.user_id(name.as_bytes()).ok_or_else(unknown)?;
        let gid = primary_group(name).or_else(|| owners.group_id(name.as_bytes())).ok_or_else(unknown)?;
        Ok(Account { uid, gid })
    }

    /// The ids of its user and group.
    pub(super) fn ids(self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    fn is_this(self) -> bool {
        rustix::process::geteuid().as_raw() == self.uid
    }
}

fn primary_group(name: &str) -> Option<u32> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(3)?.parse().ok()
}

/// Where in the arguments a tool takes the path of its secret file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecretFile {
    /// In this variable.
    Variable(&'static str),
    /// Behind this option, as the first argument.
    FirstOption(&'static str),
}

/// A tool with all it needs to run.
#[derive(Clone, Debug)]
pub struct Tool {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    secret_variable: Option<(&'static str, Secret)>,
    secret_file: Option<(SecretFile, Secret)>,
    account: Option<Account>,
    patience: Patience,
}

/// Bytes of output that are taken as an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How often patience is asked whether it is over.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Lines of error output kept for the message.
const LAST_LINES: usize = 6;

impl Tool {
    /// A tool by name or path.
    pub fn new(program: impl Into<OsString>) -> Tool {
        Tool {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            secret_variable: None,
            secret_file: None,
            account: None,
            patience: Patience::default(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Tool {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Tool {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the child.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Tool {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives the child a secret in a variable, for a tool that takes it nowhere else: only its own account and
    /// root can read the environment of a process.
    pub fn secret_variable(mut self, variable: &'static str, secret: Option<Secret>) -> Tool {
        self.secret_variable = secret.map(|secret| (variable, secret));
        self
    }

    /// For how long the tool is waited for.
    pub fn patience(mut self, patience: &Patience) -> Tool {
        self.patience = patience.clone();
        self
    }

    /// Gives the child a private file with these contents, whose path it finds in a variable.
    pub fn secret_in_variable(mut self, variable: &'static str, contents: Option<Secret>) -> Tool {
        self.secret_file = contents.map(|contents| (SecretFile::Variable(variable), contents));
        self
    }

    /// Gives the child a private file with these contents, whose path stands behind its first option.
    pub fn secret_in_first_option(mut self, option: &'static str, contents: Option<Secret>) -> Tool {
        self.secret_file = contents.map(|contents| (SecretFile::FirstOption(option), contents));
        self
    }

    /// Runs it as another account, which only root may.
    pub fn account(mut self, account: Option<Account>) -> Tool {
        self.account = account.filter(|account| !account.is_this());
        self
    }

    /// The name of the program, for messages.
    pub fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(self.secret_variable.iter().map(|(name, secret)| (name, secret.text())));
        if let Some((place, contents)) = &self.secret_file {
            let file = self.secret_fd(contents)?;
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            match place {
                SecretFile::Variable(name) => {
                    command.env(name, path);
                }
                SecretFile::FirstOption(option) => {
                    command.arg(format!("{option}{path}"));
                }
            }
            // SAFETY: between fork and exec only `fcntl` is called, which is safe there. The closure owns the
            // descriptor, so that it is open, under the number in the path, until the command is dropped.
            unsafe {
                command.pre_exec(move || Ok(rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?))
            };
        }
        command.args(&self.arguments);
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid).current_dir("/");
        }
        Ok(command)
    }

    /// A file in memory that only the account of the child may open again.
    fn secret_fd(&self, contents: &Secret) -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("secret", MemfdFlags::CLOEXEC)?;
        rustix::fs::fchmod(&fd, Mode::RUSR)?;
        let mut file = File::from(fd);
        file.write_all(contents.text().as_bytes())?;
        let fd = OwnedFd::from(file);
        if let Some(account) = self.account {
            let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
            rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
        }
        Ok(fd)
    }

    fn cannot_start(&self, e: io::Error) -> io::Error {
        let name = self.name();
        match e.kind() {
            io::ErrorKind::NotFound => {
                io::Error::new(e.kind(), format!("the program {name:?} is not installed"))
            }
            kind => io::Error::new(kind, format!("cannot start {name:?}: {e}")),
        }
    }

    /// Runs it and reads its output as it comes. The reader ends well only if the tool did.
    pub fn stream(&self) -> io::Result<ToolStream> {
        let lines = LastLines::default();
        let keep = lines.clone();
        let stream = CommandStream::of(self.command()?, move |line| keep.add(line));
        let patience = self.patience.clone();
        let stream = stream.map_err(|e| self.cannot_start(e))?.giving_up_when(move || patience.is_over());
        Ok(ToolStream { name: self.name(), stream, lines })
    }

    /// Runs it and returns all it prints, which must not be more than 64 MiB.
    pub fn answer(&self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.stream()?.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer)?;
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!("{} printed more than 64 MiB", self.name())));
        }
        Ok(answer)
    }

    /// As [`Tool::answer`], as text.
    pub fn text(&self) -> io::Result<String> {
        let not_text = |_| io::Error::other(format!("{} printed what is not UTF-8", self.name()));
        String::from_utf8(self.answer()?).map_err(not_text)
    }

    /// Runs it, lets `write` write its input, and returns what it printed (at most 64 MiB of it).
    ///
    /// Fails if the tool does, or if `write` does or patience ends; then the tool is killed. A tool that ends well
    /// before it has read everything has not taken it: that is a failure, too.
    pub fn feed(&self, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Vec<u8>> {
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|e| self.cannot_start(e))?;
        let mut input = child.stdin.take().expect("the input was asked to be a pipe");
        let output = child.stdout.take().expect("the output was asked to be a pipe");
        let errors = child.stderr.take().expect("the error output was asked to be a pipe");
        let lines = LastLines::default();
        let over = AtomicBool::new(false);
        let (answer, written) = std::thread::scope(|scope| {
            let output = scope.spawn(|| drain(output, ANSWER_BYTES_MAX));
            let errors = scope.spawn(|| lines.add_all(errors));
            let group = Pid::from_child(&child);
            let (patience, over) = (&self.patience, &over);
            scope.spawn(move || kill_when_over(group, patience, over));
            let written = write(&mut input);
            if written.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
                // What was fed is not whole; nothing may be made of it.
                let _ = kill_process_group(group, Signal::KILL);
            }
            drop(input);
            let answer = output.join().unwrap_or_default();
            let _ = errors.join();
            over.store(true, Ordering::Relaxed);
            (answer, written)
        });
        let status = child.wait()?;
        match (written, status.success()) {
            (Ok(()), true) => Ok(answer),
            (_, false) if self.patience.is_over() => Err(given_up(&self.name())),
            (Err(e), true) if e.kind() == io::ErrorKind::BrokenPipe => {
                Err(io::Error::other(format!("{} ended before it had read everything", self.name())))
            }
            (Err(e), _) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
            _ => Err(lines.explain(&self.name(), &status.to_string())),
        }
    }
}

fn given_up(name: &str) -> io::Error {
    io::Error::other(format!("{name} was given up before it had ended"))
}

/// Kills a tool that hangs once nobody waits for it any longer. It is not waited for before `over` says so,
/// hence its number is its own.
fn kill_when_over(group: Pid, patience: &Patience, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if patience.is_over() {
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// A tool that looks at something while it passes, and may stop looking when it has seen enough.
pub(crate) struct Judge {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: File,
    errors: File,
    patience: Patience,
}

impl Tool {
    /// Starts it as a judge. What it prints goes to nameless files in memory, so that it never has to wait.
    pub(crate) fn judge(&self) -> io::Result<Judge> {
        let file = || Ok::<_, io::Error>(File::from(rustix::fs::memfd_create("judge", MemfdFlags::CLOEXEC)?));
        let (output, errors) = (file()?, file()?);
        let mut command = self.command()?;
        command
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(errors.try_clone()?)
            .process_group(0);
        let mut child = command.spawn().map_err(|e| self.cannot_start(e))?;
        let input = child.stdin.take();
        let patience = self.patience.clone();
        let judge = Judge { name: self.name(), child, input, output, errors, patience };
        if let Some(input) = &judge.input {
            // It is never waited for without end, see `Judge::give`.
            rustix::fs::fcntl_setfl(input, OFlags::NONBLOCK)?;
        }
        Ok(judge)
    }
}

impl Judge {
    /// Shows it some bytes.
    pub(crate) fn give(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(input) = self.input.as_mut().filter(|_| !bytes.is_empty()) {
            match input.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.input = None,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !self.patience.is_over() => {
                    let time = Timespec { tv_sec: 0, tv_nsec: ASK_EVERY.subsec_nanos().into() };
                    match poll(&mut [PollFd::new(input, PollFlags::OUT)], Some(&time)) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(e) => return Err(e.into()),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(given_up(&self.name)),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Waits for it; what it printed, if it ended well.
    pub(crate) fn verdict(mut self) -> io::Result<Vec<u8>> {
        self.input = None;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if self.patience.is_over() => return Err(given_up(&self.name)),
                None => std::thread::sleep(ASK_EVERY),
            }
        };
        let read = |file: &mut File| {
            file.rewind()?;
            let mut bytes = Vec::new();
            file.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        if status.success() {
            return read(&mut self.output);
        }
        let lines = LastLines::default();
        lines.add_all(&read(&mut self.errors)?[..]);
        Err(lines.explain(&self.name, &status.to_string()))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // Where it was waited for, its number may belong to another process.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn drain(mut output: impl Read, bytes_max: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    let _ = (&mut output).take(bytes_max).read_to_end(&mut kept);
    let _ = io::copy(&mut output, &mut io::sink());
    kept
}

/// The output of a running tool.
pub struct ToolStream {
    name: String,
    stream: CommandStream,
    lines: LastLines,
}

impl Read for ToolStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).map_err(|e| self.lines.explain(&self.name, &e.to_string()))
    }
}

/// The last lines of error output.
#[derive(Clone, Default)]
struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn add(&self, line: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line[..line.len().min(500)]).into_owned());
    }

    fn add_all(&self, errors: impl Read) {
        let errors = drain(errors, 1 << 20);
        errors.split(|b| *b == b'\n').filter(|line| !line.is_empty()).for_each(|line| self.add(line));
    }

    fn explain(&self, name: &str, why: &str) -> io::Error {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = lines.iter().map(String::as_str).collect::<Vec<_>>().join(" | ");
        let why = why.strip_prefix("the command failed: ").unwrap_or(why);
        match said.is_empty() {
            true => io::Error::other(format!("{name} failed: {why}")),
            false => io::Error::new(kind_of(&said), format!("{name} failed ({why}): {said}")),
        }
    }
}

/// How servers say that they do not let somebody in; another try hears the same.
const REFUSALS: [&str; 11] = [
    "noauth",
    "wrongpass",
    "noperm",
    "access denied",
    "authentication failed",
    "authentication required",
    "requires authentication",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied",
    "not authorized",
];

/// What kind of failure it is, by what a tool or a server said.
pub(super) fn kind_of(said: &str) -> io::ErrorKind {
    let said = said.to_ascii_lowercase();
    match REFUSALS.iter().any(|words| said.contains(words)) {
        true => io::ErrorKind::PermissionDenied,
        false => io::ErrorKind::Other,
    }
}

/// The end of a stream, kept while it passes.
pub(crate) struct Tail<R> {
    inner: R,
    last: Vec<u8>,
}

/// Bytes of the end that are kept.
const TAIL_BYTES: usize = 4096;

impl<R> Tail<R> {
    pub(crate) fn new(inner: R) -> Tail<R> {
        Tail { inner, last: Vec::new() }
    }

    /// The last non-empty line.
    pub(crate) fn last_line(&self) -> &[u8] {
        let end = self.last.trim_ascii_end();
        end.rsplit(|b| *b == b'\n').next().unwrap_or(end)
    }

    /// Whether one of the last lines begins so.
    pub(crate) fn has_line(&self, beginning: &[u8]) -> bool {
        self.last.split(|b| *b == b'\n').any(|line| line.starts_with(beginning))
    }
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        let new = &buffer[..len];
        if new.len() >= TAIL_BYTES {
            self.last.clear();
            self.last.extend_from_slice(&new[new.len() - TAIL_BYTES..]);
        } else {
            self.last.extend_from_slice(new);
            let excess = self.last.len().saturating_sub(TAIL_BYTES);
            self.last.drain(..excess);
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tool {
        Tool::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn a_failure_carries_what_the_tool_said() {
        let failed = shell("echo first; echo it hurts >&2; exit 3").answer().unwrap_err().to_string();
        assert!(failed.contains("it hurts") && failed.contains("3"), "{failed}");
        let refused = shell("echo \"Access denied for user 'me'\" >&2; exit 1").answer().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
        assert_eq!(kind_of("NOAUTH Authentication required."), io::ErrorKind::PermissionDenied);
        assert_eq!(kind_of("connection refused"), io::ErrorKind::Other);
        let absent = Tool::new("lifeboat-no-such-tool").answer().unwrap_err().to_string();
        assert_eq!(absent, "the program \"lifeboat-no-such-tool\" is not installed");
    }

    #[test]
    fn a_secret_reaches_the_child_alone_and_by_no_visible_way() {
        let secret = Some(Secret::new("tr0ub4dor"));
        let tool =
            shell("cat \"$PASSFILE\"; stat -Lc %a \"$PASSFILE\"; tr '\\0' ' ' < /proc/$$/cmdline; env")
                .secret_in_variable("PASSFILE", secret);
        let text = tool.text().unwrap();
        assert!(text.starts_with("tr0ub4dor400\n"), "{text}");
        assert_eq!(text.matches("tr0ub4dor").count(), 1, "{text}");
        assert!(!format!("{tool:?}").contains("tr0ub4dor"));
        // Every child of the tool finds it, as pg_dumpall needs it.
        let twice = shell("sh -c 'cat \"$PASSFILE\"'; cat \"$PASSFILE\"");
        let twice = twice.secret_in_variable("PASSFILE", Some(Secret::new("x")));
        assert_eq!(twice.text().unwrap(), "xx");
    }

    #[test]
    fn what_is_fed_arrives_whole_or_is_a_failure() {
        let sum = shell("wc -c").feed(&mut |input| input.write_all(&[7; 3_000_000])).unwrap();
        assert_eq!(String::from_utf8(sum).unwrap().trim(), "3000000");
        let early = shell("head -c 10 >/dev/null").feed(&mut |input| input.write_all(&[7; 3_000_000]));
        assert!(early.unwrap_err().to_string().contains("before it had read everything"));
        let cut = shell("cat >/dev/null").feed(&mut |input| {
            input.write_all(b"begin")?;
            Err(io::Error::other("the pack is damaged"))
        });
        assert!(cut.unwrap_err().to_string().contains("the pack is damaged"));
        let refused = shell("cat >/dev/null; echo no such table >&2; exit 1").feed(&mut |_| Ok(()));
        assert!(refused.unwrap_err().to_string().contains("no such table"));
    }

    #[test]
    fn a_tool_that_hangs_is_given_up() {
        let start = std::time::Instant::now();
        let hangs = shell("cat >/dev/null; sleep 600").patience(&Patience::until(|| true));
        assert!(hangs.answer().unwrap_err().to_string().contains("given up"));
        assert!(hangs.feed(&mut |_| Ok(())).unwrap_err().to_string().contains("given up"));
        assert!(start.elapsed().as_secs() < 60);
    }

    #[test]
    fn the_tail_is_the_end_however_it_is_read() {
        for step in [1, 100, 10_000] {
            let text: Vec<u8> = (0..3000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
            let mut tail = Tail::new(&text[..]);
            let mut buffer = vec![0; step];
            while tail.read(&mut buffer).unwrap() > 0 {}
            assert_eq!(tail.last_line(), b"line 2999");
            assert!(tail.has_line(b"line 2990") && !tail.has_line(b"line 1\n"));
        }
    }
}

//! The child process: started with a secret that only it knows, watched, and ended with us.
//!
//! A thread of its own starts it and stays: the kernel's "when your parent dies" means the thread that
//! forked. So whatever ends this process, a kill included, ends the child.

use super::{CONFIG, Settings};
use crate::{ErrorKind, StoreError, StoreResult};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind as IoKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Time to answer after the start. Some remotes log in first.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Time to end by itself when asked to.
const END_TIME_MAX: Duration = Duration::from_secs(3);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// So many of its last lines are kept, each no longer than this (bytes).
const LINES_KEPT: usize = 8;
const LINE_BYTES_MAX: u64 = 500;
/// rclone's words for a remote that its configuration does not have.
const UNKNOWN_REMOTE: &str = "didn't find section in config file";

/// A running `rclone serve webdav`.
pub(super) struct Child {
    id: u32,
    address: String,
    user: String,
    password: Zeroizing<String>,
    words: Words,
    ended: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// The last lines that it printed.
#[derive(Clone, Default)]
struct Words(Arc<Mutex<VecDeque<String>>>);

impl Words {
    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        while lines.len() > LINES_KEPT {
            lines.pop_front();
        }
    }

    fn last(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.back().cloned().unwrap_or_default()
    }

    /// Takes away the lines in which one of `texts` is, and tells the last of them.
    fn take(&self, texts: &[&str]) -> Option<String> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let says = |line: &String| texts.iter().any(|text| line.to_ascii_lowercase().contains(text));
        let found = lines.iter().rev().find(|line| says(line)).cloned();
        lines.retain(|line| !says(line));
        found
    }

    fn contain(&self, text: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|line| line.contains(text))
    }
}

/// Words of rclone and of the services behind it for a place without room, in lower case.
const FULL: &[&str] = &[
    "no space left",
    "quota exceeded",
    "storagequotaexceeded",
    "insufficient_space",
    "insufficient storage",
];

/// What the keeper and the reader of its words tell while it starts.
enum Event {
    Started(u32),
    NotStarted(std::io::Error),
    Listening(String),
    Silent,
}

impl Child {
    /// Starts rclone and waits until it listens.
    pub(super) fn start(settings: &Settings) -> StoreResult<Self> {
        let (user, password) = (random_word()?, random_word()?);
        let command = serve(settings, &user, &password);
        let (words, ended) = (Words::default(), Arc::new(AtomicBool::new(false)));
        let (events, heard) = channel();
        let (stop, stopped) = channel();
        let (noted, told) = (ended.clone(), words.clone());
        let keeper = std::thread::Builder::new()
            .name("lifeboat-rclone".to_owned())
            .spawn(move || keep(command, &events, &told, &stopped, &noted))
            .map_err(|error| failed(ErrorKind::Other).because(error))?;
        let mut child = Self {
            id: 0,
            address: String::new(),
            user: user.to_string(),
            password,
            words,
            ended,
            stop: Some(stop),
            keeper: Some(keeper),
        };
        child.await_address(settings, &heard)?;
        Ok(child)
    }

    fn await_address(&mut self, settings: &Settings, heard: &Receiver<Event>) -> StoreResult<()> {
        let start = Instant::now();
        loop {
            let left = START_TIME_MAX.saturating_sub(start.elapsed());
            match heard.recv_timeout(left) {
                Ok(Event::Started(id)) => self.id = id,
                Ok(Event::NotStarted(error)) => return Err(not_started(settings, error)),
                Ok(Event::Listening(address)) => {
                    self.address = address;
                    return Ok(());
                }
                Ok(Event::Silent) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(refused(settings, &self.words));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let why = format!("it does not answer after {} s", START_TIME_MAX.as_secs());
                    return Err(failed(ErrorKind::Transient).because(why));
                }
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// What it said about a place without room, since it was asked last.
    pub(super) fn said_full(&self) -> Option<String> {
        self.words.take(FULL)
    }

    /// What it said last.
    pub(super) fn last_words(&self) -> String {
        format!("rclone has ended; its last words: {}", self.words.last())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // Only a panic of its own could fail here, and there is nobody to tell.
            let _ = keeper.join();
        }
    }
}

/// Makes the folder that is to be served: not every remote makes it with the first file.
pub(super) fn make_folder(settings: &Settings) -> StoreResult<()> {
    let mut command = rclone(settings);
    command.args(["mkdir", "--ask-password=false", "--"]).arg(&settings.target);
    let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let ran = ran.map_err(|error| not_started(settings, error))?;
    if ran.status.success() {
        return Ok(());
    }
    let words = Words::default();
    String::from_utf8_lossy(&ran.stderr).lines().for_each(|line| words.add(printable(line)));
    Err(refused(settings, &words))
}

fn rclone(settings: &Settings) -> Command {
    let mut command = Command::new(&settings.program);
    if let Some(config) = &settings.config {
        command.env(CONFIG, config);
    }
    command
}

fn serve(settings: &Settings, user: &str, password: &str) -> Command {
    let mut command = rclone(settings);
    // What others store is seen at once, not after the five minutes that lists are kept otherwise, and the
    // times are the server's own.
    command.args(["serve", "webdav", "--addr", "127.0.0.1:0", "--dir-cache-time", "0s"]);
    // Trying again is our business, and takes long enough when only one of two layers does it.
    command.args(["--use-server-modtime", "--low-level-retries", "2", "--ask-password=false"]);
    command.args(["--log-level", "NOTICE", "--"]);
    command.arg(&settings.target);
    command.env("RCLONE_USER", user).env("RCLONE_PASS", password);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A Ctrl-C at the terminal is for us; the child is asked to end when we have finished.
    command.process_group(0);
    die_with_us(&mut command);
    command
}

#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command) {
    let parent = std::process::id();
    let ask_the_kernel = move || {
        // SAFETY: both are plain system calls, allowed between fork and exec.
        let (asked, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), libc::getppid()) };
        match asked {
            // The parent may have died before the kernel was asked.
            0 if u32::try_from(now).is_ok_and(|now| now == parent) => Ok(()),
            _ => Err(std::io::Error::from_raw_os_error(libc::ESRCH)),
        }
    };
    // SAFETY: the closure calls nothing but the two system calls above and allocates nothing.
    unsafe { command.pre_exec(ask_the_kernel) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_command: &mut Command) {}

/// The keeper's life: start, tell, watch, end.
fn keep(
    mut command: Command,
    events: &Sender<Event>,
    words: &Words,
    stopped: &Receiver<()>,
    ended: &AtomicBool,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // Whoever started it waits for this.
            let _ = events.send(Event::NotStarted(error));
            return;
        }
    };
    // The command holds the password in its environment.
    drop(command);
    let _ = events.send(Event::Started(child.id()));
    let printed = child.stderr.take().expect("its errors were asked for");
    let (listened, told) = (events.clone(), words.clone());
    let reader = std::thread::spawn(move || read_words(printed, &listened, &told));
    let is_stopped = loop {
        match stopped.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {
                if let Ok(Some(status)) = child.try_wait() {
                    note_end(words, status);
                    break false;
                }
            }
            _ => break true,
        }
    };
    if is_stopped {
        end(&mut child);
    }
    ended.store(true, Ordering::SeqCst);
    let _ = reader.join();
}

fn note_end(words: &Words, status: ExitStatus) {
    let last = words.last();
    words.add(if last.is_empty() { status.to_string() } else { format!("{last} ({status})") });
}

fn end(child: &mut std::process::Child) {
    if let Ok(id) = libc::pid_t::try_from(child.id()) {
        // SAFETY: the child was not waited for yet, so the number is still its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
    }
    let start = Instant::now();
    while start.elapsed() < END_TIME_MAX {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that does not listen is killed; both fail only if it has ended meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

fn read_words(printed: impl Read, events: &Sender<Event>, words: &Words) {
    let mut lines = BufReader::new(printed);
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let line = printable(&String::from_utf8_lossy(&line));
        if let Some(address) = address_in(&line) {
            let _ = events.send(Event::Listening(address));
        }
        words.add(line);
    }
    let _ = events.send(Event::Silent);
}

/// `127.0.0.1:34977` of `... WebDav Server started on http://127.0.0.1:34977/`.
fn address_in(line: &str) -> Option<String> {
    let rest = line.split_once("erver started on ")?.1;
    let rest = rest.split_once("http://127.0.0.1:")?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let port: u16 = digits.parse().ok().filter(|port| *port > 0)?;
    Some(format!("127.0.0.1:{port}"))
}

fn printable(line: &str) -> String {
    line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn failed(kind: ErrorKind) -> StoreError {
    StoreError::new(kind, "start rclone")
}

fn not_started(settings: &Settings, error: std::io::Error) -> StoreError {
    match error.kind() {
        IoKind::NotFound => {
            let why = format!("there is no program {:?} (Debian: apt install rclone)", settings.program);
            failed(ErrorKind::Config).because(why)
        }
        _ => failed(ErrorKind::Other).because(error),
    }
}

/// It ended before it listened.
fn refused(settings: &Settings, words: &Words) -> StoreError {
    if words.contain(UNKNOWN_REMOTE) {
        let remote = settings.target.split(':').next().unwrap_or_default();
        let why = format!("rclone knows no remote {remote:?}; see: rclone listremotes");
        return failed(ErrorKind::Config).because(why);
    }
    let last = words.last();
    failed(ErrorKind::Other).because(if last.is_empty() {
        "it ended without a word".to_owned()
    } else {
        last
    })
}

/// Eighteen random bytes as text.
fn random_word() -> StoreResult<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 18]);
    getrandom::fill(&mut bytes[..]).map_err(|_| StoreError::new(ErrorKind::Other, "draw random numbers"))?;
    Ok(Zeroizing::new(data_encoding::BASE64URL_NOPAD.encode(&bytes[..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_words_of_old_and_new_versions() {
        let old =
            "2026/11/25 NOTICE: Local file system at /x: WebDav Server started on http://127.0.0.1:34977/";
        let new = "2026/11/25 NOTICE: disk:x: WebDav Server started on [http://127.0.0.1:8080/]";
        assert_eq!(address_in(old).as_deref(), Some("127.0.0.1:34977"));
        assert_eq!(address_in(new).as_deref(), Some("127.0.0.1:8080"));
        for other in ["", "NOTICE: http://127.0.0.1:80/ refused", "Server started on http://127.0.0.1:99999/"]
        {
            assert_eq!(address_in(other), None, "{other}");
        }
    }
}

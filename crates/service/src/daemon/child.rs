//! A run as a process of its own: what it holds in memory ends with it, and nothing it does can end the daemon.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::Arc;

/// Longer lines are cut off.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// So much of what it says at its end is kept.
const TAIL_BYTES_MAX: usize = 8 << 10;

/// What is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What comes from it.
#[derive(Clone, Debug)]
pub enum Said {
    /// A line.
    Line(Arc<str>),
    /// It ended, and how; the end of what it complained about.
    Ended(Option<ExitStatus>, String),
}

/// How something ended that did not end well, in words: the exit code, or the signal that ended it.
pub fn in_words(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status)) {
        Some((Some(code), _)) => format!("ended with exit code {code}"),
        // "signal: 9 (SIGKILL)"
        Some((None, status)) => format!("was ended by the {}", status.to_string().replacen(':', "", 1)),
        None => "ended, and nobody knows how".to_string(),
    }
}

/// Starts it. `hear` is called from threads of its own; the last call says that it ended.
///
/// # Errors
/// What the system says.
pub fn start(launch: &Launch, hear: impl Fn(Said) + Send + 'static) -> io::Result<u32> {
    let mut process = Command::new(&launch.program)
        .args(&launch.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // The terminal's interrupt is for the daemon, which passes it on.
        .process_group(0)
        .spawn()?;
    let id = process.id();
    let complaints = process.stderr.take().expect("it was asked for");
    let tail = std::thread::spawn(move || tail(complaints));
    std::thread::spawn(move || {
        lines(&mut process, &hear);
        let status = process.wait().ok();
        hear(Said::Ended(status, tail.join().unwrap_or_default()));
    });
    Ok(id)
}

fn lines(process: &mut Process, hear: &impl Fn(Said)) {
    let mut output = BufReader::new(process.stdout.take().expect("it was asked for"));
    let mut line = Vec::new();
    while (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        hear(Said::Line(String::from_utf8_lossy(&line).trim_end().into()));
        line.clear();
    }
}

fn tail(mut complaints: impl Read) -> String {
    let (mut tail, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = complaints.read(&mut part) {
        tail.extend_from_slice(&part[..n]);
        let excess = tail.len().saturating_sub(TAIL_BYTES_MAX);
        tail.drain(..excess);
    }
    String::from_utf8_lossy(&tail).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_signal_is_named() {
        assert_eq!(in_words(Some(ExitStatus::from_raw(9))), "was ended by the signal 9 (SIGKILL)");
        assert_eq!(in_words(Some(ExitStatus::from_raw(3 << 8))), "ended with exit code 3");
    }
}

//! A command of the user: the event as JSON on its standard input, the words in its environment.

use super::{Message, NotifyError};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of its complaints that are told.
const COMPLAINT_BYTES: u64 = 300;

pub(super) fn run(words: &[String], timeout: Duration, message: &Message) -> Result<(), NotifyError> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| NotifyError::refused("the command", "it is empty"))?;
    let spawned = Command::new(program)
        .args(arguments)
        .env("LIFEBOAT_KIND", &message.kind)
        .env("LIFEBOAT_SUBJECT", &message.subject)
        .env("LIFEBOAT_TITLE", &message.title)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A group of its own, so that what it starts ends with it.
        .process_group(0)
        .spawn();
    let mut child = spawned.map_err(|e| NotifyError::refused(program, e))?;
    let input = format!("{}\n", message.event());
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input is no failure; the event is far smaller than a pipe.
        stdin.write_all(input.as_bytes()).ok();
    }
    let mut stderr = child.stderr.take().expect("it was asked for");
    let complaints = std::thread::spawn(move || {
        let mut kept = Vec::new();
        stderr.by_ref().take(COMPLAINT_BYTES).read_to_end(&mut kept).ok();
        std::io::copy(&mut stderr, &mut std::io::sink()).ok();
        kept
    });
    let ended = wait(&mut child, timeout).map_err(|e| NotifyError::refused(program, e))?;
    let Some(status) = ended else {
        kill_group(&child);
        child.wait().ok();
        return Err(NotifyError::refused(program, format!("did not end within {} s", timeout.as_secs())));
    };
    if status.success() {
        return Ok(());
    }
    // What it left running may hold the pipe open; its complaints are then not waited for.
    kill_group(&child);
    let kept = complaints.join().unwrap_or_default();
    let why = String::from_utf8_lossy(&kept).trim().lines().last().unwrap_or_default().to_string();
    Err(NotifyError::refused(program, format!("{status} {why}").trim_end()))
}

fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill_group(child: &Child) {
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
    }
}

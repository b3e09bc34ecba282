//! Asks the system's name service through the `getent` program.
//!
//! Promises: answers within a time limit or not at all; after the first that takes too long, or too many
//! questions, nobody is asked any more. Knows nothing about what the answers mean.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A disk from elsewhere can hold any number of foreign owners; each question costs a process.
const QUESTIONS_MAX: u32 = 1000;

/// Bytes of one answer; a group with many members has a long line.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Getent {
    program: PathBuf,
    database: &'static str,
    questions_left: u32,
    time_max: Duration,
}

impl Getent {
    /// Looks for the program where systems keep it; `None` if there is none.
    pub(crate) fn find(database: &'static str, time_max: Duration) -> Option<Getent> {
        let program =
            ["/usr/bin/getent", "/bin/getent"].map(Path::new).into_iter().find(|path| path.exists())?;
        Some(Getent { program: program.into(), database, questions_left: QUESTIONS_MAX, time_max })
    }

    /// Returns what the program prints for one key, `None` if it knows nothing.
    pub(crate) fn ask(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.questions_left = self.questions_left.checked_sub(1)?;
        let mut child = Command::new(&self.program)
            .arg(self.database)
            .arg(OsStr::from_bytes(key))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let answer = read_within(&mut child, self.time_max);
        if answer.is_none() {
            self.questions_left = 0;
            let _ = child.kill();
        }
        let known = child.wait().is_ok_and(|status| status.success());
        answer.filter(|_| known)
    }
}

/// Reads what the program prints until it closes its output, `None` when the time is over.
fn read_within(child: &mut Child, time_max: Duration) -> Option<Vec<u8>> {
    let end = Instant::now() + time_max;
    let mut output = child.stdout.take()?;
    let mut answer = Vec::new();
    loop {
        let left = Timespec::try_from(end.checked_duration_since(Instant::now())?).ok()?;
        let mut waiting = [PollFd::new(&output, PollFlags::IN)];
        if poll(&mut waiting, Some(&left)).ok()? == 0 {
            return None;
        }
        let mut part = [0; 4096];
        match output.read(&mut part).ok()? {
            0 => return Some(answer),
            _ if answer.len() as u64 > ANSWER_BYTES_MAX => return None,
            len => answer.extend_from_slice(&part[..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_hangs_is_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("getent");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut getent =
            Getent { program, database: "60", questions_left: 9, time_max: Duration::from_millis(50) };
        let started = Instant::now();
        assert_eq!(getent.ask(b"60"), None);
        assert_eq!(getent.ask(b"60"), None);
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(getent.questions_left, 0);
    }
}

//! Questions to a person at a terminal. Without a terminal nobody is asked and nothing waits.

use crate::error::{Exit, Failure, Outcome, local};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use zeroize::Zeroizing;

/// Whether there is a person to ask: both ends of the conversation are a terminal.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn terminal() -> Outcome<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|e| local("cannot ask: there is no terminal", e))
}

/// Turns the echo of a terminal off for as long as it lives.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn over(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // Failing here leaves a silent terminal, which no second try would mend.
        tcsetattr(self.terminal, OptionalActions::Now, &self.before).ok();
    }
}

fn read_line(terminal: &File) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(1024));
    if BufReader::new(terminal).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let len = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(len);
    Ok(line)
}

/// Asks for something that must not be seen.
pub(crate) fn secret(question: &str) -> Outcome<Zeroizing<String>> {
    let mut terminal = terminal()?;
    let mut ask = || {
        write!(terminal, "{question}: ")?;
        let silence = Silence::over(&terminal)?;
        read_line(silence.terminal)
    };
    ask().map_err(|e| local(format!("cannot ask for the {}", question.to_lowercase()), e))
}

/// Asks for a new password, twice.
pub(crate) fn new_password() -> Outcome<Zeroizing<String>> {
    let first = secret("New password")?;
    if first.is_empty() {
        return Err(Failure::usage("an empty password protects nothing"));
    }
    match secret("The same password again")? == first {
        true => Ok(first),
        false => Err(Failure::new(Exit::Usage, "the two passwords are not the same")),
    }
}

/// Asks a question whose answer is yes or no; only a whole `yes` is one.
#[cfg(feature = "sftp")]
pub(crate) fn yes(question: &str) -> Outcome<bool> {
    let mut terminal = terminal()?;
    let mut ask = || {
        write!(terminal, "{question} (yes/no): ")?;
        read_line(&terminal)
    };
    let answer = ask().map_err(|e| local("cannot ask", e))?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

//! Questions to a person at a terminal. Without a terminal nobody is asked and nothing waits.

use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
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

/// Says something to the person who is being asked.
pub(crate) fn tell(text: &str) -> Outcome<()> {
    writeln!(terminal()?, "{}", safe(text)).map_err(|e| local("cannot write to the terminal", e))
}

/// Takes every key as it is pressed, for as long as it lives: nothing is shown, and Ctrl-C is a key like
/// others, so that no signal can leave the terminal silent.
struct Keys<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Keys<'a> {
    fn of(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &raw)?;
        Ok(Keys { terminal, before })
    }

    fn next(&self) -> io::Result<u8> {
        let mut key = [0];
        let mut terminal = self.terminal;
        terminal.read_exact(&mut key)?;
        Ok(key[0])
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        // Failing here leaves a silent terminal, which no second try would mend.
        tcsetattr(self.terminal, OptionalActions::Now, &self.before).ok();
    }
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];
const CTRL_U: u8 = 21;

/// Asks and reads a line. What is typed is shown only where it is no secret; what was typed before the
/// question is no answer to it.
fn read_line(mut terminal: &File, question: &str, is_secret: bool) -> io::Result<Zeroizing<String>> {
    let keys = Keys::of(terminal)?;
    write!(terminal, "{question}")?;
    let mut line = Zeroizing::new(Vec::with_capacity(1024));
    loop {
        match keys.next()? {
            b'\n' | b'\r' => break,
            CTRL_C | CTRL_D => return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled")),
            CTRL_U => line.clear(),
            key if BACKSPACE.contains(&key) => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            key => {
                line.push(key);
                if !is_secret {
                    terminal.write_all(&[key])?;
                }
            }
        }
    }
    drop(keys);
    terminal.write_all(b"\n")?;
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("this is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_string()))
}

fn ask(question: &str, is_secret: bool) -> Outcome<Zeroizing<String>> {
    let mut terminal = terminal()?;
    read_line(&terminal, question, is_secret).map_err(|e| match e.kind() {
        io::ErrorKind::Interrupted => {
            writeln!(terminal).ok();
            Failure::new(Exit::Interrupted, "cancelled")
        }
        _ => local("cannot ask", e),
    })
}

/// Asks for something that must not be seen.
pub(crate) fn secret(question: &str) -> Outcome<Zeroizing<String>> {
    ask(&format!("{question}: "), true)
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

/// Asks for a line that may be seen.
pub(crate) fn line(question: &str) -> Outcome<String> {
    ask(question, false).map(|line| line.to_string())
}

/// Asks a question whose answer is yes or no; only a whole `yes` is one.
pub(crate) fn yes(question: &str) -> Outcome<bool> {
    let answer = ask(&format!("{question} (yes/no) [no]: "), false)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

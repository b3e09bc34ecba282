//! The program at a terminal: it asks, shows nothing of what is typed, and can be left with Ctrl-C.

use crate::support::{Machine, missing};
use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Stdio};

/// The program inside a terminal of its own, which `script` makes.
pub(crate) struct Terminal {
    child: Child,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    pub(crate) fn start(machine: &Machine, command: &str) -> Option<Self> {
        Terminal::of(machine, &format!("{} {command}", crate::support::LIFEBOAT))
    }

    /// A line of a shell inside a terminal.
    pub(crate) fn of(machine: &Machine, line: &str) -> Option<Self> {
        let mut script = machine.command_of("script");
        script.args(["-qefc", line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().ok()?;
        let screen = child.stdout.take().unwrap();
        Some(Terminal { child, screen, seen: String::new() })
    }

    /// Waits until a text is on the screen.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut byte = [0; 256];
            let len = self.screen.read(&mut byte).unwrap();
            assert_ne!(len, 0, "{text:?} never came: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&byte[..len]));
        }
    }

    /// Waits for a question, then types.
    pub(crate) fn answer(&mut self, question: &str, keys: &str) {
        self.wait_for(question);
        self.seen = self.seen.replace(question, "");
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Answers whatever is asked until it ends: the answer to the last line on the screen, if that is a question.
    pub(crate) fn converse(mut self, answer: &dyn Fn(&str) -> Option<String>) -> (i32, String) {
        loop {
            let mut bytes = [0; 4096];
            let len = self.screen.read(&mut bytes).unwrap();
            if len == 0 {
                return (self.child.wait().unwrap().code().unwrap(), self.seen);
            }
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
            let last = self.seen.rsplit(['\n', '\r']).next().unwrap_or_default();
            if let Some(keys) = last.ends_with(": ").then(|| answer(last)).flatten() {
                self.child.stdin.as_mut().unwrap().write_all(format!("{keys}\r").as_bytes()).unwrap();
                self.seen.push('\n');
            }
        }
    }

    /// Whether a text is on the screen by now.
    pub(crate) fn shows(&self, text: &str) -> bool {
        self.seen.contains(text)
    }

    pub(crate) fn end(mut self) -> (i32, String) {
        self.screen.read_to_string(&mut self.seen).unwrap();
        (self.child.wait().unwrap().code().unwrap(), self.seen)
    }
}

#[test]
fn passwords_are_asked_for_and_never_shown() {
    let machine = Machine::new();
    let Some(mut terminal) = Terminal::start(&machine, "backup --init -r repo src") else {
        return missing("script of util-linux");
    };
    terminal.answer("New password: ", "geheimt\x7fnis\r");
    terminal.answer("The same password again: ", "geheimnis\r");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(!seen.contains("geheim"), "{seen}");
    let groups = seen.split_whitespace().filter(|word| word.len() == 34 && word.split('-').count() == 7);
    let recovery_key: Vec<&str> = groups.collect();
    assert_eq!(recovery_key.len(), 2, "the recovery key is shown: {seen}");
    assert!(!machine.path("home/.config/lifeboat/keys").exists(), "and in no file");

    let mut terminal = Terminal::start(&machine, "snapshots -r repo").unwrap();
    terminal.answer("Password: ", "falsch\r");
    terminal.wait_for("that is not the password");
    terminal.answer("Password: ", "geheimnis\r");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("1 snapshot"), "{seen}");

    let mut terminal = Terminal::start(&machine, "snapshots -r repo").unwrap();
    terminal.answer("Password: ", &format!("{}\r", recovery_key.join("-").to_lowercase()));
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "the recovery key will do, too: {seen}");
}

#[test]
fn two_different_new_passwords_make_no_repository() {
    let machine = Machine::new();
    let Some(mut terminal) = Terminal::start(&machine, "init -r repo") else {
        return missing("script of util-linux");
    };
    terminal.answer("New password: ", "one\r");
    terminal.answer("The same password again: ", "two\r");
    let (code, seen) = terminal.end();
    assert_eq!(code, 2, "{seen}");
    assert_eq!(machine.run(&["snapshots", "-r", "repo"]).code, 10);
}

#[test]
fn ctrl_c_leaves_the_question() {
    let machine = Machine::new();
    let Some(mut terminal) = Terminal::start(&machine, "init -r repo") else {
        return missing("script of util-linux");
    };
    terminal.answer("New password: ", "half\x03");
    let (code, seen) = terminal.end();
    assert_eq!(code, 130, "{seen}");
    assert!(seen.contains("cancelled"), "{seen}");
}

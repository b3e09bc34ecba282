//! What a command prints, judged by another one, and given back to a third.

use std::io::{self, Read};

use super::tool::{Judge, Tool};
use super::{Files, Patience, Restore, Restored};

/// A stream that a command sees, too; it ends well only if that command does.
pub struct Judged<R> {
    inner: R,
    judge: Option<Judge>,
}

impl<R: Read> Judged<R> {
    /// Starts the judge: a program and its arguments.
    pub fn new(inner: R, judge: &[String], patience: &Patience) -> io::Result<Judged<R>> {
        Ok(Judged { inner, judge: Some(tool(judge, patience)?.judge()?) })
    }
}

impl<R: Read> Read for Judged<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        if let Some(judge) = &mut self.judge {
            judge.give(&buffer[..len])?;
        }
        if len == 0
            && !buffer.is_empty()
            && let Some(judge) = self.judge.take()
        {
            judge.verdict()?;
        }
        Ok(len)
    }
}

fn tool(command: &[String], patience: &Patience) -> io::Result<Tool> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    Ok(Tool::new(program).args(arguments).patience(patience))
}

/// Feeds what was kept under `path` to a command, which must end well.
///
/// Only the command knows what it replaces: [`Restore::replace`] says that it may.
pub fn restore(
    command: &[String],
    path: &[&str],
    files: &mut dyn Files,
    what: &Restore,
    patience: &Patience,
) -> io::Result<Restored> {
    let tool = tool(command, patience)?;
    if !what.replace {
        let why = "only the command that takes it back knows what it replaces";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    if !what.dry_run {
        tool.feed(&mut |input| files.write(path, input).map(|_| ()))?;
    }
    Ok(Restored { name: tool.name(), tables: 0, rows: None, replaced: true })
}

//! The output of a command as a source: a reader that ends well only if the command did.
//!
//! A dump that was cut off must never look like a whole one, so the end of the output is reported as the end
//! only after the command has exited with status 0; otherwise reading fails. Commands are argument lists,
//! never text for a shell. What the command prints to its standard error goes to a callback line by line.
//! Dropping the stream kills the command with everything it started in its process group.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::ahead::Ahead;

/// A longer line of error output is handed on in pieces.
const LINE_BYTES_MAX: usize = 8192;

/// What a command may print ahead; more than this is root's alone to ask for.
const PIPE_BYTES: usize = 1 << 20;

/// A running command whose standard output is read.
pub struct CommandStream {
    child: Child,
    /// `None` once it has ended.
    output: Option<Ahead>,
    messages: Option<Messages>,
    end: Option<End>,
    give_up: Option<GiveUp>,
}

/// Asked now and then while a command is silent: whether it is waited for no longer.
type GiveUp = Box<dyn Fn() -> bool + Send>;

/// How often that is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

enum End {
    Well,
    Badly(String),
}

/// The thread that passes on error output, and how to tell it that the command is over.
struct Messages {
    thread: JoinHandle<()>,
    stop: PipeWriter,
}

impl CommandStream {
    /// Starts a command: the program, then its arguments. `environment` is added to this process's own.
    /// `on_message` gets each line of its error output without the line end.
    ///
    /// Fails if the list is empty or the program cannot be started.
    pub fn start(
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
        on_message: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<CommandStream> {
        let (program, rest) = arguments
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let mut command = Command::new(program);
        command.args(rest).envs(environment.iter().map(|(name, value)| (name, value)));
        CommandStream::of(command, on_message)
    }

    /// Starts a command that is prepared but for its streams, which are set here; it gets no input.
    pub(crate) fn of(
        mut command: Command,
        on_message: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<CommandStream> {
        let (stopped, stop) = io::pipe()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let output = child.stdout.take().expect("the output was asked to be a pipe");
        let errors = child.stderr.take().expect("the error output was asked to be a pipe");
        // While a piece is hashed and stored the command goes on. Where it is not allowed it just waits more often.
        let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE_BYTES);
        // From here on dropping the stream cleans up, also if the thread cannot be started.
        let mut stream = CommandStream { child, output: None, messages: None, end: None, give_up: None };
        stream.output = Some(Ahead::read(output.into())?);
        let thread = std::thread::Builder::new().name("command-messages".into());
        let thread = thread.spawn(move || pass_on(errors, stopped, on_message))?;
        stream.messages = Some(Messages { thread, stop });
        Ok(stream)
    }

    /// Reading fails when `give_up` says so while nothing comes: a run that is cancelled or out of time must not
    /// wait for a command that hangs.
    pub fn giving_up_when(mut self, give_up: impl Fn() -> bool + Send + 'static) -> CommandStream {
        self.give_up = Some(Box::new(give_up));
        self
    }

    /// Reads what has come of the output; 0 at its end.
    fn output(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(output) = &mut self.output else { return Ok(0) };
        loop {
            if self.give_up.as_ref().is_some_and(|give_up| give_up()) {
                return Err(io::Error::other("it was given up before the command ended"));
            }
            if let Some(read) = output.take(buffer, ASK_EVERY) {
                return read;
            }
        }
    }

    /// Waits for the command after its output has ended, once.
    fn finish(&mut self) -> io::Result<()> {
        if self.end.is_none() {
            self.output = None;
            let status = self.child.wait()?;
            self.stop_messages();
            self.end = Some(if status.success() { End::Well } else { End::Badly(status.to_string()) });
        }
        match &self.end {
            Some(End::Badly(status)) => Err(io::Error::other(format!("the command failed: {status}"))),
            _ => Ok(()),
        }
    }

    fn stop_messages(&mut self) {
        if let Some(Messages { thread, stop }) = self.messages.take() {
            drop(stop);
            // A panic of the callback has been printed; it is no reason to lose the command's result.
            let _ = thread.join();
        }
    }
}

impl Read for CommandStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.end.is_none() {
            let len = self.output(buffer)?;
            if len > 0 {
                return Ok(len);
            }
        }
        self.finish().map(|()| 0)
    }
}

impl Drop for CommandStream {
    fn drop(&mut self) {
        if self.end.is_none() {
            // The command has not been waited for, so its number cannot belong to another process yet.
            if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait();
        }
        self.output = None;
        self.stop_messages();
    }
}

/// Passes lines on until the error output ends, or the command is over and nothing is left to read: something it
/// started may live on and keep the pipe open.
fn pass_on(mut errors: ChildStderr, stopped: PipeReader, mut on_message: impl FnMut(&[u8])) {
    let mut line = Vec::new();
    while wait_for(&errors, &stopped) {
        let mut part = [0; 4096];
        let Ok(len @ 1..) = errors.read(&mut part) else { break };
        for &byte in &part[..len] {
            if byte == b'\n' || line.len() == LINE_BYTES_MAX {
                on_message(&line);
                line.clear();
            }
            if byte != b'\n' {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        on_message(&line);
    }
}

/// Waits until there is something to read, and says whether there is.
pub(crate) fn wait_for(pipe: impl AsFd, stopped: impl AsFd) -> bool {
    let (pipe, stopped) = (pipe.as_fd(), stopped.as_fd());
    loop {
        let mut waiting =
            [PollFd::from_borrowed_fd(pipe, PollFlags::IN), PollFd::from_borrowed_fd(stopped, PollFlags::IN)];
        match poll(&mut waiting, None) {
            Ok(_) => return !waiting[0].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

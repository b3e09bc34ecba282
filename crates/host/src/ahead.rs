//! Reads a pipe ahead of whoever uses what comes out of it.
//!
//! A pipe holds 1 MiB at most. While a larger piece of it is cut, hashed and stored, a command that has filled the pipe would
//! stand still, and with it the server it asks. Commands write a few kilobytes at a time; being woken for each costs more
//! than it brings, so what comes within a millisecond is read at once. Promises: at most [`AHEAD_BYTES_MAX`] are held, bytes
//! come in order, an error comes after the bytes before it, and dropping ends the thread even where something keeps the
//! pipe open.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::stream::wait_for;

/// What is held at most: half a second of what a database server writes.
const AHEAD_BYTES_MAX: usize = 6 << 20;

/// What is read at once at most.
const PIECE_BYTES: usize = 512 << 10;

/// How long what a command writes is gathered before it is read; a pipe of [`GATHERING_BYTES`] and more does not fill
/// meanwhile.
const GATHERING: Duration = Duration::from_millis(1);
const GATHERING_BYTES: usize = 512 << 10;

/// What a piece costs beside its bytes, so that a command that prints single bytes stays within the limit.
const PIECE_COST_BYTES: usize = 64;

/// A pipe that a thread reads ahead.
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    /// The piece that is being given out, and how much of it was.
    piece: Vec<u8>,
    given: usize,
    thread: Option<JoinHandle<()>>,
    stop: Option<PipeWriter>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Vec<u8>>,
    held_bytes: usize,
    /// How the pipe ended; stays `None` after an error was given out, which then counts as the end.
    end: Option<io::Result<()>>,
    /// Nobody will take anything any more.
    dropped: bool,
}

impl Ahead {
    /// Begins to read. Fails if the thread cannot be started.
    pub(crate) fn read(pipe: OwnedFd) -> io::Result<Ahead> {
        let (stopped, stop) = io::pipe()?;
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let filled = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("command-output".into());
        let thread = thread.spawn(move || filled.fill(&pipe, &stopped))?;
        Ok(Ahead { shared, piece: Vec::new(), given: 0, thread: Some(thread), stop: Some(stop) })
    }

    /// What has come, or 0 at the end; `None` when nothing came for as long as `patience`.
    pub(crate) fn take(&mut self, buffer: &mut [u8], patience: Duration) -> Option<io::Result<usize>> {
        if self.given == self.piece.len() {
            match self.shared.next(patience)? {
                Ok(Some(piece)) => (self.piece, self.given) = (piece, 0),
                Ok(None) => return Some(Ok(0)),
                Err(e) => return Some(Err(e)),
            }
        }
        let rest = &self.piece[self.given..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.given += len;
        Some(Ok(len))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.changed.notify_all();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It runs nothing of the caller's; a panic in it has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: reads until the pipe ends, fails, or nobody wants more.
    fn fill(&self, pipe: &OwnedFd, stopped: &PipeReader) {
        let gathers = rustix::pipe::fcntl_getpipe_size(pipe).is_ok_and(|bytes| bytes >= GATHERING_BYTES);
        let end = loop {
            if !wait_for(pipe, stopped) {
                break Err(io::Error::other("reading was stopped"));
            }
            if gathers {
                std::thread::sleep(GATHERING);
            }
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match rustix::io::read(pipe, rustix::buffer::spare_capacity(&mut piece)) {
                Ok(0) => break Ok(()),
                Ok(len) => {
                    if len <= PIECE_BYTES / 2 {
                        piece.shrink_to_fit();
                    }
                    if !self.put(piece) {
                        return;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => break Err(e.into()),
            }
        };
        self.lock().end = Some(end);
        self.changed.notify_all();
    }

    /// Adds a piece once there is room for it. Says whether more is wanted.
    fn put(&self, piece: Vec<u8>) -> bool {
        let mut queue = self.lock();
        while queue.held_bytes >= AHEAD_BYTES_MAX && !queue.dropped {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.held_bytes += piece.len() + PIECE_COST_BYTES;
        queue.pieces.push_back(piece);
        self.changed.notify_all();
        !queue.dropped
    }

    /// The next piece, `None` inside at the end, and none at all when it takes too long.
    fn next(&self, patience: Duration) -> Option<io::Result<Option<Vec<u8>>>> {
        let empty = |queue: &mut Queue| queue.pieces.is_empty() && queue.end.is_none();
        let waited = self.changed.wait_timeout_while(self.lock(), patience, empty);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = queue.pieces.pop_front() {
            queue.held_bytes -= piece.len() + PIECE_COST_BYTES;
            self.changed.notify_all();
            return Some(Ok(Some(piece)));
        }
        match queue.end.take()? {
            Ok(()) => {
                queue.end = Some(Ok(()));
                Some(Ok(None))
            }
            Err(e) => {
                queue.end = Some(Err(io::Error::from(e.kind())));
                Some(Err(e))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SOON: Duration = Duration::from_secs(20);

    fn pipe() -> (PipeWriter, Ahead) {
        let (reader, writer) = io::pipe().unwrap();
        (writer, Ahead::read(reader.into()).unwrap())
    }

    fn rest(ahead: &mut Ahead) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            match ahead.take(&mut buffer, SOON).expect("it comes").unwrap() {
                0 => return all,
                len => all.extend_from_slice(&buffer[..len]),
            }
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_order_and_the_end_stays_the_end() {
        let (mut writer, mut ahead) = pipe();
        let text: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let copy = text.clone();
        let thread =
            std::thread::spawn(move || copy.chunks(777).for_each(|part| writer.write_all(part).unwrap()));
        assert_eq!(rest(&mut ahead), text);
        thread.join().unwrap();
        assert_eq!(ahead.take(&mut [0; 9], SOON).unwrap().unwrap(), 0);
    }

    #[test]
    fn a_few_bytes_come_at_once_and_silence_is_told() {
        let (mut writer, mut ahead) = pipe();
        writer.write_all(b"few").unwrap();
        let mut buffer = [0; 9];
        assert_eq!(ahead.take(&mut buffer, SOON).unwrap().unwrap(), 3);
        assert!(ahead.take(&mut buffer, Duration::from_millis(5)).is_none());
        drop(writer);
        assert_eq!(rest(&mut ahead), b"");
    }

    #[test]
    fn no_more_is_read_ahead_than_the_limit() {
        let (mut writer, mut ahead) = pipe();
        let (told, asked) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut written = 0;
            while writer.write_all(&[7; PIECE_BYTES]).is_ok() {
                written += PIECE_BYTES;
                told.send(written).unwrap();
            }
        });
        let mut written = 0;
        while written < AHEAD_BYTES_MAX {
            written = asked.recv_timeout(SOON).expect("so much is read ahead");
        }
        while let Ok(now) = asked.recv_timeout(Duration::from_millis(300)) {
            written = now;
        }
        // The queue, one piece in hand, and what the pipe itself holds.
        assert!(written <= AHEAD_BYTES_MAX + 2 * PIECE_BYTES + (1 << 20), "{written}");
        assert_eq!(ahead.take(&mut [0; 9], SOON).unwrap().unwrap(), 9);
        drop(ahead);
        thread.join().unwrap();
    }

    #[test]
    fn dropping_ends_the_thread_while_somebody_keeps_the_pipe_open() {
        let (writer, ahead) = pipe();
        drop(ahead);
        drop(writer);
    }
}

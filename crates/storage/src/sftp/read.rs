//! Reading: many requests in flight, answers put where they belong in whatever order they come.

use std::collections::HashMap;

use bytes::Bytes;

use super::fault::Fault;
use super::session::{Abilities, Exchange, Session};
use super::wire::{Attributes, OPEN_READ, Reply, Request, status};

/// Why bytes could not be read.
pub(super) enum ReadFault {
    /// The file ends before.
    Ended,
    Failed(Fault),
}

impl From<Fault> for ReadFault {
    fn from(fault: Fault) -> Self {
        match fault {
            fault if fault.is_status(status::EOF) => ReadFault::Ended,
            fault => ReadFault::Failed(fault),
        }
    }
}

/// An open file, closed when dropped.
pub(super) struct OpenFile<'a> {
    session: &'a Session,
    handle: Bytes,
    /// What the server told about the name, which may be a link or a folder.
    pub(super) attributes: Attributes,
}

impl<'a> OpenFile<'a> {
    /// Opens a file and asks what it is, in one round trip.
    pub(super) fn open(session: &'a Session, path: &str) -> Result<Self, Fault> {
        let mut exchange = Exchange::new();
        exchange.send(session, Request::LinkStat { path })?;
        exchange.send(session, Request::Open { path, flags: OPEN_READ })?;
        let (mut attributes, mut file, mut refused) = (None, None, None);
        while exchange.in_flight() > 0 {
            match exchange.receive(session) {
                Ok((_, Reply::Attributes(told))) => attributes = Some(told),
                Ok((_, Reply::Handle(handle))) => {
                    file = Some(Self { session, handle, attributes: Attributes::default() });
                }
                Ok(_) => return Err(Fault::Protocol("neither attributes nor a handle")),
                Err(fault) if fault.is_fatal() => return Err(fault),
                Err(fault) => refused = Some(fault),
            }
        }
        match (file, attributes, refused) {
            (_, _, Some(fault)) => Err(fault),
            (Some(mut file), Some(attributes), None) => {
                file.attributes = attributes;
                Ok(file)
            }
            _ => Err(Fault::Protocol("two answers of one kind")),
        }
    }

    /// Fills `into` with the bytes from `offset` on.
    pub(super) fn fill(&self, offset: u64, into: &mut [u8]) -> Result<(), ReadFault> {
        let mut transfer =
            Transfer { file: self, offset, into, exchange: Exchange::new(), asked: HashMap::new() };
        transfer.run()
    }
}

impl Drop for OpenFile<'_> {
    fn drop(&mut self) {
        self.session.tell(Request::Close { handle: &self.handle });
    }
}

struct Transfer<'a> {
    file: &'a OpenFile<'a>,
    offset: u64,
    into: &'a mut [u8],
    exchange: Exchange,
    /// Start and end in `into` of what each request asks for.
    asked: HashMap<u32, (usize, usize)>,
}

impl Transfer<'_> {
    fn run(&mut self) -> Result<(), ReadFault> {
        let chunk_bytes = self.file.session.abilities.read_bytes;
        let flight = Abilities::flight(chunk_bytes);
        let mut next = 0;
        loop {
            while next < self.into.len() && self.exchange.in_flight() < flight {
                let end = self.into.len().min(next + chunk_bytes);
                self.ask(next, end)?;
                next = end;
            }
            if self.exchange.in_flight() == 0 {
                return Ok(());
            }
            self.take_answer()?;
        }
    }

    fn ask(&mut self, start: usize, end: usize) -> Result<(), Fault> {
        let (handle, len_bytes) = (&self.file.handle[..], (end - start) as u32);
        let request = Request::Read { handle, offset: self.offset + start as u64, len_bytes };
        let id = self.exchange.send(self.file.session, request)?;
        self.asked.insert(id, (start, end));
        Ok(())
    }

    fn take_answer(&mut self) -> Result<(), ReadFault> {
        let (id, reply) = self.exchange.receive(self.file.session)?;
        let (start, end) = self.asked.remove(&id).ok_or(Fault::Protocol("an answer nobody asked for"))?;
        let Reply::Data(data) = reply else { return Err(Fault::Protocol("a read without data").into()) };
        if data.is_empty() || data.len() > end - start {
            return Err(Fault::Protocol("more or less data than asked for").into());
        }
        let filled = start + data.len();
        self.into[start..filled].copy_from_slice(&data);
        // Servers may answer with less than asked for.
        if filled < end {
            self.ask(filled, end)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::fake;
    use super::*;

    /// Serves a file of `len` bytes, each the low byte of its offset, in answers of at most `answer_bytes`.
    fn session(len: u64, answer_bytes: usize) -> Session {
        let abilities = Abilities { read_bytes: 100, ..Abilities::default() };
        fake::session(abilities, move |packet| {
            let (kind, id) = (packet[4], &packet[5..9]);
            let head = |kind: u8| [&[kind], id].concat();
            let field = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            match kind {
                3 => vec![[head(102), vec![0, 0, 0, 1, 7]].concat()],
                7 => vec![[head(105), vec![0; 4]].concat()],
                5 => {
                    let offset = u64::from(field(18));
                    let end = len.min(offset + u64::from(field(22)).min(answer_bytes as u64));
                    let data: Vec<u8> = (offset..end).map(|at| at as u8).collect();
                    match data.is_empty() {
                        true => vec![[head(101), vec![0, 0, 0, 1]].concat()],
                        false => vec![[head(103), (data.len() as u32).to_be_bytes().to_vec(), data].concat()],
                    }
                }
                _ => vec![],
            }
        })
    }

    #[test]
    fn short_and_disordered_answers_make_a_whole() {
        for answer_bytes in [100, 99, 50] {
            let session = session(2000, answer_bytes);
            let file = OpenFile::open(&session, "x").unwrap();
            let mut bytes = vec![0; 1990];
            assert!(file.fill(10, &mut bytes).is_ok());
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at + 10) as u8), "{answer_bytes}");
        }
    }

    #[test]
    fn a_file_that_ends_early_and_answers_that_are_too_long_are_faults() {
        let session = session(2000, 100);
        let file = OpenFile::open(&session, "x").unwrap();
        assert!(matches!(file.fill(1900, &mut [0; 200]), Err(ReadFault::Ended)));
        let abilities = Abilities { read_bytes: 2, ..Abilities::default() };
        let liar = fake::session(abilities, |packet| {
            let head = |kind: u8| [&[kind], &packet[5..9]].concat();
            match packet[4] {
                3 => vec![[head(102), vec![0; 4]].concat()],
                7 => vec![[head(105), vec![0; 4]].concat()],
                5 => vec![[head(103), vec![0, 0, 0, 3, 1, 2, 3]].concat()],
                _ => vec![],
            }
        });
        let file = OpenFile::open(&liar, "x").unwrap();
        assert!(matches!(file.fill(0, &mut [0; 2]), Err(ReadFault::Failed(Fault::Protocol(_)))));
    }
}

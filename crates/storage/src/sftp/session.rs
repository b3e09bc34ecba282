//! One SFTP session on one SSH channel, used by any number of threads at once.
//!
//! Requests of all callers go out in the order sent; a reader hands each answer to the caller that waits for
//! its id. Callers block on ordinary channels and never on the asynchronous runtime, so they may themselves
//! run inside of one. A session that lost its connection, or whose server broke the protocol, answers every
//! waiting and every later request with the reason; it never comes back to life.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::fault::Fault;
use super::wire::{self, Malformed, Reply, Request, WritePacket, status};

/// How long a server may say nothing while requests wait. Slow disks need seconds for an fsync; a dead peer
/// is found earlier, by the keep-alives of the connection.
const SILENCE_S_MAX: u64 = 300;

/// Size of reads and writes where the server does not tell its limits; every server takes it.
const CHUNK_BYTES_DEFAULT: u64 = 32 * 1024;
/// What OpenSSH allows; larger ones would only hold more memory.
const CHUNK_BYTES_MAX: u64 = 255 * 1024;
/// Bytes one caller keeps in flight: what a 1 Gbit/s line holds in 32 ms.
const FLIGHT_BYTES_MAX: u64 = 4 << 20;
/// Requests one caller keeps in flight.
const FLIGHT_REQUESTS_MAX: u64 = 64;

/// What the server can do beyond SFTP 3.
#[derive(Clone, Debug, Default)]
pub(super) struct Abilities {
    pub(super) fsync: bool,
    pub(super) hard_link: bool,
    pub(super) posix_rename: bool,
    pub(super) stat_vfs: bool,
    /// Bytes per read request.
    pub(super) read_bytes: usize,
    /// Bytes per write request.
    pub(super) write_bytes: usize,
}

impl Abilities {
    /// Requests to keep in flight at `chunk_bytes` each.
    pub(super) fn flight(chunk_bytes: usize) -> usize {
        (FLIGHT_BYTES_MAX / chunk_bytes.max(1) as u64).clamp(2, FLIGHT_REQUESTS_MAX) as usize
    }

    fn from_extensions(names: &[String]) -> Self {
        let offers = |name: &str| names.iter().any(|offered| offered == name);
        Self {
            fsync: offers("fsync@openssh.com"),
            hard_link: offers("hardlink@openssh.com"),
            posix_rename: offers("posix-rename@openssh.com"),
            stat_vfs: offers("statvfs@openssh.com"),
            read_bytes: CHUNK_BYTES_DEFAULT as usize,
            write_bytes: CHUNK_BYTES_DEFAULT as usize,
        }
    }

    fn apply_limits(&mut self, (read_bytes, write_bytes): (u64, u64)) {
        let chunk = |limit: u64| match limit {
            0 => CHUNK_BYTES_DEFAULT as usize,
            limit => limit.min(CHUNK_BYTES_MAX) as usize,
        };
        self.read_bytes = chunk(read_bytes);
        self.write_bytes = chunk(write_bytes);
    }
}

/// How a connection ended.
pub(super) struct Farewell {
    /// The server said so, in words of its own.
    pub(super) by_server: bool,
    pub(super) text: String,
}

impl Default for Farewell {
    fn default() -> Self {
        Self { by_server: false, text: "the server closed the connection".to_owned() }
    }
}

/// A live session.
pub(super) struct Session {
    /// Different for every session of the process.
    pub(super) number: u64,
    outgoing: UnboundedSender<Bytes>,
    waiting: Arc<Waiting>,
    next_id: AtomicU32,
    pub(super) abilities: Abilities,
    /// Ends the SSH connection when the session is dropped.
    _connection: Box<dyn Send + Sync>,
}

/// The id of a request, and its answer or why there is none.
type Answer = (u32, Result<Bytes, Fault>);
/// Who waits for which answer; after the end of the session, why it ended.
type Waiters = Result<HashMap<u32, Sender<Answer>>, Fault>;

struct Waiting(Mutex<Waiters>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, id: u32, sender: &Sender<Answer>) -> Result<(), Fault> {
        self.lock().as_mut().map_err(|fault| fault.clone())?.insert(id, sender.clone());
        Ok(())
    }

    fn answer(&self, id: u32, packet: Bytes) {
        let waiter = self.lock().as_mut().ok().and_then(|waiting| waiting.remove(&id));
        if let Some(waiter) = waiter {
            // A caller that gave up (an upload dropped half-way) has no use for the answer.
            let _ = waiter.send((id, Ok(packet)));
        }
    }

    /// Ends the session; the first reason given stays.
    fn end(&self, fault: Fault) {
        let mut state = self.lock();
        if let Ok(waiting) = state.as_mut() {
            for (id, waiter) in waiting.drain() {
                let _ = waiter.send((id, Err(fault.clone())));
            }
            *state = Err(fault);
        }
    }
}

impl Session {
    /// Speaks SFTP on a channel whose subsystem has been started. Runs inside of the runtime.
    ///
    /// `farewell` is filled when the server hangs up; `connection` is kept as long as the session.
    pub(super) async fn start(
        mut channel: Channel<Msg>,
        connection: Box<dyn Send + Sync>,
        farewell: Arc<Mutex<Farewell>>,
    ) -> Result<Self, Fault> {
        let mut packets = PacketBuffer::default();
        send_now(&channel, wire::init_packet()).await?;
        let version = next_packet(&mut channel, &mut packets).await?;
        let extensions = wire::decode_version(version)?;
        let mut abilities = Abilities::from_extensions(&extensions);
        if extensions.iter().any(|name| name == "limits@openssh.com") {
            send_now(&channel, Request::Limits.encode(0)).await?;
            let reply = next_packet(&mut channel, &mut packets).await?;
            if let (_, Reply::Extended(body)) = wire::decode_reply(reply)? {
                abilities.apply_limits(wire::decode_limits(body)?);
            }
        }
        let waiting = Arc::new(Waiting(Mutex::new(Ok(HashMap::new()))));
        let (outgoing, queue) = unbounded_channel();
        let (read_half, write_half) = channel.split();
        let sending = tokio::spawn(send_all(write_half, queue));
        let ended = Arc::clone(&waiting);
        tokio::spawn(async move {
            let fault = receive_all(read_half, packets, &ended, &farewell).await;
            ended.end(fault);
            // It may be waiting for a window that will never open.
            sending.abort();
        });
        let next_id = AtomicU32::new(1);
        let number = next_number();
        Ok(Self { number, outgoing, waiting, next_id, abilities, _connection: connection })
    }

    /// Whether a request has a chance.
    pub(super) fn is_alive(&self) -> bool {
        self.waiting.lock().is_ok()
    }

    /// Asks and waits for the answer; a status other than OK is a fault.
    pub(super) fn call(&self, request: Request<'_>) -> Result<Reply, Fault> {
        let mut exchange = Exchange::new();
        exchange.send(self, request)?;
        Ok(exchange.receive(self)?.1)
    }

    /// Asks and does not care for the answer.
    pub(super) fn tell(&self, request: Request<'_>) {
        // Without a connection there is nothing to tell.
        let _ = self.outgoing.send(request.encode(self.next_id()));
    }

    /// Ids wrap after 2^32 requests, long after the answer to the first.
    fn next_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// Requests of one caller that are in flight together.
pub(super) struct Exchange {
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
    in_flight: usize,
}

impl Exchange {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, in_flight: 0 }
    }

    /// Requests sent whose answers were not received yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends a request and returns its id.
    pub(super) fn send(&mut self, session: &Session, request: Request<'_>) -> Result<u32, Fault> {
        self.send_with(session, |id| request.encode(id))
    }

    /// Sends a filled write packet.
    pub(super) fn send_write(&mut self, session: &Session, packet: WritePacket) -> Result<u32, Fault> {
        self.send_with(session, |id| packet.encode(id))
    }

    fn send_with(&mut self, session: &Session, encode: impl FnOnce(u32) -> Bytes) -> Result<u32, Fault> {
        let id = session.next_id();
        session.waiting.register(id, &self.sender)?;
        self.in_flight += 1;
        if session.outgoing.send(encode(id)).is_err() {
            // The sending task ends only with the connection; the reader knows the reason better.
            session.waiting.end(Fault::Lost("the connection was closed".to_owned()));
        }
        Ok(id)
    }

    /// Waits for any answer; a status other than OK is a fault.
    pub(super) fn receive(&mut self, session: &Session) -> Result<(u32, Reply), Fault> {
        let (id, reply) = self.receive_any(session)?;
        match reply? {
            Reply::Status { code, message } if code != status::OK => Err(Fault::Status { code, message }),
            reply => Ok((id, reply)),
        }
    }

    /// Waits for any answer and tells whose it is even when the request failed.
    pub(super) fn receive_any(&mut self, session: &Session) -> Result<(u32, Result<Reply, Fault>), Fault> {
        let wait = Duration::from_secs(SILENCE_S_MAX);
        let (id, answer) = self.receiver.recv_timeout(wait).map_err(|error| {
            let fault = match error {
                RecvTimeoutError::Timeout => Fault::Silent(SILENCE_S_MAX),
                RecvTimeoutError::Disconnected => Fault::Lost("the session has ended".to_owned()),
            };
            session.waiting.end(fault.clone());
            fault
        })?;
        self.in_flight -= 1;
        let decoded = answer.and_then(|packet| Ok(wire::decode_reply(packet)?.1));
        if let Err(fault) = &decoded {
            session.waiting.end(fault.clone());
        }
        Ok((id, decoded))
    }

    /// Waits for all answers and returns the first fault, if any.
    pub(super) fn settle(&mut self, session: &Session) -> Result<(), Fault> {
        let mut result = Ok(());
        while self.in_flight > 0 {
            let (_, answer) = self.receive_any(session)?;
            let answer = match answer {
                Ok(Reply::Status { code, message }) if code != status::OK => {
                    Err(Fault::Status { code, message })
                }
                Ok(_) => Ok(()),
                Err(fault) => return Err(fault),
            };
            result = result.and(answer);
        }
        result
    }
}

fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

async fn send_now(channel: &Channel<Msg>, packet: Bytes) -> Result<(), Fault> {
    channel.data_bytes(packet).await.map_err(|error| Fault::Lost(error.to_string()))
}

async fn next_packet(channel: &mut Channel<Msg>, packets: &mut PacketBuffer) -> Result<Bytes, Fault> {
    loop {
        if let Some(packet) = packets.next()? {
            return Ok(packet);
        }
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => packets.push(&data),
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                return Err(Fault::Lost("the server closed the SFTP channel at once".to_owned()));
            }
            Some(_) => {}
        }
    }
}

async fn send_all(write_half: ChannelWriteHalf<Msg>, mut queue: UnboundedReceiver<Bytes>) {
    while let Some(packet) = queue.recv().await {
        if write_half.data_bytes(packet).await.is_err() {
            return;
        }
    }
}

/// Hands out answers until the session ends; returns why it did.
async fn receive_all(
    mut read_half: ChannelReadHalf,
    mut packets: PacketBuffer,
    waiting: &Waiting,
    farewell: &Mutex<Farewell>,
) -> Fault {
    loop {
        loop {
            match packets.next() {
                Ok(Some(packet)) => match wire::reply_id(&packet) {
                    Some(id) => waiting.answer(id, packet),
                    None => return Fault::Protocol("packet too short"),
                },
                Ok(None) => break,
                Err(malformed) => return malformed.into(),
            }
        }
        match read_half.wait().await {
            Some(ChannelMsg::Data { data }) => packets.push(&data),
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                return Fault::Lost(farewell.lock().unwrap_or_else(PoisonError::into_inner).text.clone());
            }
            Some(_) => {}
        }
    }
}

/// Cuts the byte stream of the channel into packets.
#[derive(Default)]
struct PacketBuffer(BytesMut);

impl PacketBuffer {
    fn push(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    /// The next whole packet, without its length.
    fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(head) = self.0.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        if len > wire::PACKET_BYTES_MAX {
            return Err(Malformed("packet too long"));
        }
        if self.0.len() < 4 + len {
            // One allocation for a packet that comes in several pieces.
            self.0.reserve(4 + len - self.0.len());
            return Ok(None);
        }
        let mut packet = self.0.split_to(4 + len);
        Ok(Some(packet.split_off(4).freeze()))
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! A session whose server is a function, for answers that no real server gives.

    use super::*;

    /// Answers every packet (with its length) with any number of packets (without).
    pub(in super::super) fn session(
        abilities: Abilities,
        mut serve: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Session {
        let waiting = Arc::new(Waiting(Mutex::new(Ok(HashMap::new()))));
        let (outgoing, mut queue) = unbounded_channel::<Bytes>();
        let answers = Arc::clone(&waiting);
        std::thread::spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                let mut packets = vec![first];
                packets.extend(std::iter::from_fn(|| queue.try_recv().ok()));
                // Servers may answer in any order, so this one takes the last first.
                for answer in packets.iter().rev().flat_map(|packet| serve(packet)) {
                    let answer = Bytes::from(answer);
                    answers.answer(wire::reply_id(&answer).unwrap(), answer);
                }
            }
        });
        let (number, next_id) = (next_number(), AtomicU32::new(1));
        Session { number, outgoing, waiting, next_id, abilities, _connection: Box::new(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_cut_wherever_the_stream_breaks() {
        let stream = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        for step in 1..=stream.len() {
            let mut packets = PacketBuffer::default();
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                packets.push(piece);
                while let Some(packet) = packets.next().unwrap() {
                    found.push(packet.to_vec());
                }
            }
            assert_eq!(found, [vec![7, 8], vec![], vec![9]], "{step}");
        }
    }

    #[test]
    fn a_packet_of_absurd_length_is_refused_before_it_is_awaited() {
        let mut packets = PacketBuffer::default();
        packets.push(&u32::MAX.to_be_bytes());
        assert!(packets.next().is_err());
    }

    #[test]
    fn the_end_of_a_session_reaches_those_who_wait_and_those_who_come() {
        let waiting = Waiting(Mutex::new(Ok(HashMap::new())));
        let (sender, receiver) = channel();
        waiting.register(1, &sender).unwrap();
        waiting.end(Fault::Lost("cut".to_owned()));
        waiting.end(Fault::Silent(1));
        assert!(matches!(receiver.recv().unwrap(), (1, Err(Fault::Lost(_)))));
        assert!(matches!(waiting.register(2, &sender), Err(Fault::Lost(_))));
    }

    #[test]
    fn chunks_stay_within_limits_and_flights_within_memory() {
        let mut abilities = Abilities::default();
        abilities.apply_limits((0, 1 << 30));
        assert_eq!((abilities.read_bytes, abilities.write_bytes), (32 * 1024, 255 * 1024));
        assert_eq!((Abilities::flight(32 * 1024), Abilities::flight(255 * 1024)), (64, 16));
    }
}

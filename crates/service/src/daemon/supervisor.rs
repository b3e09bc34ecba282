//! systemd's side of a service: readiness, a line of status, and signs of life.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Whoever supervises this process, if anybody does (sd_notify(3)).
#[derive(Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often a sign of life is wanted.
    pub alive_every: Option<Duration>,
}

impl Supervisor {
    /// From the values of `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub fn of(notify_socket: Option<&OsStr>, watchdog_usec: Option<&str>) -> Supervisor {
        let address = notify_socket.and_then(|path| match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            _ => SocketAddr::from_pathname(path).ok(),
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let usec: Option<u64> = watchdog_usec.and_then(|text| text.parse().ok());
        // Twice as often as is asked for.
        Supervisor { socket, alive_every: usec.map(|usec| Duration::from_micros(usec / 2)) }
    }

    /// Says something. A supervisor that does not listen is no reason to stop.
    pub fn say(&self, words: &str) {
        if let Some((socket, address)) = &self.socket {
            socket.send_to_addr(words.as_bytes(), address).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::of(Some(path.as_os_str()), Some("30000000"));
        assert_eq!(supervisor.alive_every, Some(Duration::from_secs(15)));
        supervisor.say("READY=1\nSTATUS=idle");
        let mut bytes = [0; 100];
        let n = heard.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..n], b"READY=1\nSTATUS=idle");
        Supervisor::of(None, None).say("READY=1");
    }
}

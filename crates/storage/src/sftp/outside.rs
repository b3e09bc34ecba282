//! Arbitrary bytes for all that an SSH server and this machine's SSH files can say: where the fuzz targets come
//! in. Each function panics when something is accepted that must not be. Nothing else needs them.

use super::host_key::{KnownKeys, Verdict};
use super::wire::{self, PACKET_BYTES_MAX, Reply, Space};
use super::{address::SftpLocation, ssh_config};
use bytes::Bytes;
use std::path::Path;

/// A packet of a server, read as each of the things it may be.
pub fn packet(bytes: &[u8]) {
    let packet = Bytes::copy_from_slice(&bytes[..bytes.len().min(PACKET_BYTES_MAX)]);
    _ = wire::decode_version(packet.clone());
    _ = wire::decode_limits(packet.clone());
    _ = Space::decode(packet.clone());
    if let Ok((id, reply)) = wire::decode_reply(packet.clone()) {
        assert_eq!(wire::reply_id(&packet), Some(id));
        match reply {
            Reply::Handle(part) | Reply::Data(part) | Reply::Extended(part) => {
                assert!(part.len() < packet.len());
            }
            // A name takes twelve bytes at least: a server cannot make us hold many by saying so.
            Reply::Names(names) => assert!(names.len() * 12 <= packet.len()),
            Reply::Status { .. } | Reply::Attributes(_) => {}
        }
    }
}

/// A configuration of the SSH client, which includes itself wherever it includes anything.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let file = Path::new("/home/me/.ssh/config");
    for host in ["nas", "nas.example.org"] {
        let read = |_: &Path| Ok(Some(text.to_string()));
        if let Ok(config) = ssh_config::read_with(file, host, &read) {
            assert!(config.port != Some(0));
        }
    }
}

/// A file of known hosts.
pub fn known_hosts(bytes: &[u8]) {
    const SHOWN: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let shown = russh::keys::parse_public_key_base64(SHOWN).expect("it is a key");
    for (host, port) in [("nas", 22), ("nas.example.org", 2222)] {
        let mut known = KnownKeys::none(host, port);
        known.add(bytes, Path::new("known_hosts"));
        if let Verdict::Known = known.judge(&shown) {
            assert!(!known.key_types().is_empty(), "a key that is known can be asked for");
        }
    }
}

/// The address of a folder on a server.
pub fn address(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(location) = SftpLocation::parse(text)
    {
        let shown = location.to_string();
        assert!(SftpLocation::parse(&shown).is_ok_and(|again| again == location), "{text:?} as {shown:?}");
    }
}

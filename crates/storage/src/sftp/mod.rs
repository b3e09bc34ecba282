//! A folder on any SSH server, over SFTP.
//!
//! The store brings its own SSH: it needs no `ssh` program, takes keys, agents and passwords, and starts no
//! other program on either side. Objects are files below one folder. The server must be the one remembered
//! (see [`HostKeyInfo`]); an object is synced before it gets its name, and the name is given in one step
//! that refuses to replace, where the server offers OpenSSH's extensions (since OpenSSH 6.5, 2014). Servers
//! without them get the best that SFTP 3 has: `close` instead of `fsync`, a check before a rename, and
//! [`CreateNew::BestEffort`](crate::CreateNew). Nothing is retried here; a cut connection is
//! [`ErrorKind::Transient`](crate::ErrorKind) and the next request connects anew.

mod address;
mod connect;
mod fault;
mod host_key;
mod list;
mod login;
pub mod outside;
mod place;
mod pool;
mod read;
mod secret;
mod session;
mod ssh_config;
mod store;
mod unsynced;
mod upload;
mod wire;

pub use address::SftpLocation;
pub use host_key::{HostKeyDecision, HostKeyInfo};
pub use secret::Secret;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::{Store, StoreResult};

/// The folder of unfinished uploads, below the folder of the store. Its files are no objects.
const TEMPORARY_FOLDER: &str = "tmp";

/// Asked about a server that is not known yet, in the thread that connects; it may take its time.
pub type OnUnknownHost = Arc<dyn Fn(&HostKeyInfo) -> HostKeyDecision + Send + Sync>;

/// How to log in, and whom to trust.
#[derive(Clone)]
pub struct SftpOptions {
    /// Used for the methods `password` and `keyboard-interactive`, after all keys.
    pub password: Option<Secret>,
    /// Private keys in the formats of OpenSSH, tried in this order. Missing ones are named when all fails.
    pub key_files: Vec<PathBuf>,
    /// For those of the key files that are encrypted.
    pub key_passphrase: Option<Secret>,
    /// The socket of an agent (`SSH_AUTH_SOCK`), whose keys are tried before the files.
    pub agent_socket: Option<PathBuf>,
    /// Our own file of known hosts, where accepted ones are remembered. It need not exist; while the path is
    /// empty no unknown host is accepted, because it could not be remembered.
    pub known_hosts: PathBuf,
    /// Further files of known hosts, which are only read. They need not exist.
    pub system_known_hosts: Vec<PathBuf>,
    /// Decides about servers of which no key is known. Never asked about a changed key: that is refused.
    pub on_unknown_host: OnUnknownHost,
    /// Time for each step of connecting: finding and reaching the host, agreeing on keys, starting SFTP.
    pub connect_timeout: Duration,
    /// Connections opened at most; more than one are only opened for requests at the same time.
    pub connections: usize,
    /// An OpenSSH client configuration, for names, users, ports and keys of hosts. It need not exist.
    pub ssh_config: Option<PathBuf>,
    /// Makes the folder when it is missing. Without it a missing folder is
    /// [`ErrorKind::NoSuchPlace`](crate::ErrorKind), so that an unplugged disk is noticed.
    pub create_root: bool,
    /// The user when neither address nor configuration name one; usually the local one.
    pub default_user: Option<String>,
}

impl Default for SftpOptions {
    /// Options that know no key and no password and refuse unknown hosts.
    fn default() -> Self {
        Self {
            password: None,
            key_files: Vec::new(),
            key_passphrase: None,
            agent_socket: None,
            known_hosts: PathBuf::new(),
            system_known_hosts: Vec::new(),
            on_unknown_host: Arc::new(|_| HostKeyDecision::Refuse),
            connect_timeout: Duration::from_secs(30),
            connections: 4,
            ssh_config: None,
            create_root: false,
            default_user: None,
        }
    }
}

impl SftpOptions {
    /// As the default, with a file to remember hosts in.
    pub fn new(known_hosts: PathBuf) -> Self {
        Self { known_hosts, ..Self::default() }
    }

    /// Takes what OpenSSH itself would use for the user with this home folder: configuration, known hosts,
    /// and those default keys that exist.
    pub fn use_home(&mut self, home: &Path) {
        let folder = home.join(".ssh");
        self.ssh_config = Some(folder.join("config"));
        self.system_known_hosts
            .extend([folder.join("known_hosts"), PathBuf::from("/etc/ssh/ssh_known_hosts")]);
        let defaults = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| folder.join(name));
        self.key_files.extend(defaults.into_iter().filter(|file| file.is_file()));
    }
}

/// Connects to the server, logs in and looks for the folder.
///
/// # Errors
/// [`ErrorKind::UntrustedServer`](crate::ErrorKind) and `Unauthenticated` from either side of the login,
/// `NoSuchPlace` for a missing folder, `Config` for addresses and configurations that cannot be followed,
/// `Transient` when the server cannot be reached.
pub fn open(location: &SftpLocation, options: &SftpOptions) -> StoreResult<Arc<dyn Store>> {
    let connector = connect::Connector::new(location, options)?;
    let shown = connector.location().to_string();
    let pool = pool::Pool::new(connector, options.connections);
    let place = place::Place::open(pool, shown, &location.path, options.create_root)?;
    Ok(Arc::new(store::SftpStore(Arc::new(place))))
}

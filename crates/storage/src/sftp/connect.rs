//! From an address to a live SFTP session: name, TCP, SSH, host key, login, subsystem.
//!
//! Nothing here starts a program or reads the environment; what `~/.ssh/config` asks for and cannot be done
//! is an error. The caller's answer about an unknown host is asked for between two connections, in the
//! caller's own thread, so that it may take its time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use russh::client::{self, DisconnectReason, Handle, Msg};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Preferred, SshId, cipher, compression};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::address::{DEFAULT_PORT, SftpLocation};
use super::fault::Fault;
use super::host_key::{self, HostKeyDecision, KnownKeys, Verdict};
use super::login::{Credentials, Outcome, Plan};
use super::session::{Farewell, Session};
use super::{SftpOptions, ssh_config};
use crate::{ErrorKind, StoreError, StoreResult};

/// Bytes the server may send ahead of our reading: several callers' flights.
const WINDOW_BYTES: u32 = 16 << 20;
/// Payload of one SSH packet; RFC 4253 makes everybody take this much.
const PACKET_BYTES: u32 = 32 * 1024;
/// A silent line is probed this often and given up after three unanswered probes.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Time for the login: an agent may wait for a finger on a token. OpenSSH gives 120 s as well.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(120);
/// Connections one login may take: OpenSSH refuses after six keys, and nobody has forty that fit.
const LOGIN_CONNECTIONS_MAX: usize = 8;

/// Everything needed to connect, again and again.
pub(super) struct Connector(Arc<Target>);

struct Target {
    host: String,
    port: u16,
    user: String,
    path: String,
    key_files: Vec<PathBuf>,
    agent_socket: Option<PathBuf>,
    options: SftpOptions,
}

/// Why no session came to be.
enum Refusal {
    UnknownHost(Box<PublicKey>, host_key::HostKeyInfo),
    Failed(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refusal::Failed(error)
    }
}

impl Connector {
    /// Settles user, host, port and keys; connects nowhere.
    pub(super) fn new(location: &SftpLocation, options: &SftpOptions) -> StoreResult<Self> {
        let config = match &options.ssh_config {
            Some(file) => ssh_config::read(file, &location.host)?,
            None => ssh_config::HostConfig::default(),
        };
        let user = location.user.clone().or(config.user).or_else(|| options.default_user.clone());
        let Some(user) = user else {
            let what = format!("connect to {}: the address names no user", location.host);
            return Err(StoreError::new(ErrorKind::Config, what));
        };
        let mut key_files = options.key_files.clone();
        key_files.extend(config.identity_files);
        Ok(Self(Arc::new(Target {
            host: config.host_name.unwrap_or_else(|| location.host.clone()),
            port: location.port.or(config.port).unwrap_or(DEFAULT_PORT),
            agent_socket: options.agent_socket.clone().or(config.agent_socket),
            user,
            path: location.path.clone(),
            key_files,
            options: options.clone(),
        })))
    }

    /// The place in words, as really connected to.
    pub(super) fn location(&self) -> SftpLocation {
        let target = &self.0;
        SftpLocation {
            user: Some(target.user.clone()),
            host: target.host.clone(),
            port: Some(target.port).filter(|port| *port != DEFAULT_PORT),
            path: target.path.clone(),
        }
    }

    /// Connects, logs in and starts a session. Blocks; asks about an unknown host at most once.
    pub(super) fn connect(&self) -> StoreResult<Session> {
        let attempted = match self.attempt() {
            Err(Refusal::UnknownHost(key, info)) => {
                self.settle_unknown_host(&key, &info)?;
                self.attempt()
            }
            first => first,
        };
        attempted.map_err(|refusal| match refusal {
            Refusal::Failed(error) => error,
            Refusal::UnknownHost(_, info) => {
                untrusted(&self.0, format!("its key {} is unknown", info.fingerprint))
            }
        })
    }

    fn attempt(&self) -> Result<Session, Refusal> {
        let target = Arc::clone(&self.0);
        let (sender, receiver) = mpsc::channel();
        runtime()?.spawn(async move {
            // The caller waits below and cannot be gone.
            let _ = sender.send(target.establish().await);
        });
        receiver.recv().map_err(|error| {
            let what = format!("connect to {}", self.0.host);
            Refusal::Failed(StoreError::new(ErrorKind::Other, what).because(error))
        })?
    }

    fn settle_unknown_host(&self, key: &PublicKey, info: &host_key::HostKeyInfo) -> StoreResult<()> {
        let target = &self.0;
        if target.options.known_hosts.as_os_str().is_empty() {
            return Err(untrusted(target, format!("its key {} is not known", info.fingerprint)));
        }
        match (target.options.on_unknown_host)(info) {
            HostKeyDecision::Remember => {
                host_key::remember(&target.options.known_hosts, &target.host, target.port, key)
            }
            HostKeyDecision::Refuse => Err(untrusted(
                target,
                format!("its key {} ({}) is not known and was not accepted", info.fingerprint, info.key_type),
            )),
        }
    }
}

impl Target {
    async fn establish(&self) -> Result<Session, Refusal> {
        let mut plan = Plan::prepare(Credentials {
            agent_socket: self.agent_socket.as_deref(),
            key_files: &self.key_files,
            key_passphrase: self.options.key_passphrase.as_ref(),
            password: self.options.password.as_ref(),
        })
        .await;
        let mut connections = 0;
        while connections == 0 || (plan.left() > 0 && connections < LOGIN_CONNECTIONS_MAX) {
            connections += 1;
            let left_before = plan.left();
            let mut ssh = self.open_ssh().await?;
            let login = plan.log_in(&mut ssh.handle, &self.user);
            let outcome = self.timed(LOGIN_TIME_MAX, "log in", login).await?;
            match outcome.map_err(|error| self.ssh_error("log in", error))? {
                Outcome::LoggedIn => return Ok(self.start_sftp(ssh).await?),
                Outcome::Refused(offered) => return Err(self.unauthenticated(&plan, &offered).into()),
                Outcome::HungUp => {
                    let farewell = ssh.end().await;
                    // OpenSSH says that there were too many failures; a line that breaks says nothing.
                    if !farewell.by_server || plan.left() == left_before {
                        return Err(Fault::Lost(farewell.text).at(self.doing("log in")).into());
                    }
                }
            }
        }
        Err(self.unauthenticated(&plan, "nothing, it hung up").into())
    }

    fn unauthenticated(&self, plan: &Plan<'_>, offered: &str) -> StoreError {
        let why = format!("tried {}; the server offers {offered}", plan.tried());
        let what = format!("log in as {} at {}", self.user, self.host);
        StoreError::new(ErrorKind::Unauthenticated, what).because(why)
    }

    async fn open_ssh(&self) -> Result<Ssh, Refusal> {
        let files = std::iter::once(&self.options.known_hosts).chain(&self.options.system_known_hosts);
        let known = Arc::new(KnownKeys::load(files, &self.host, self.port)?);
        let stream = self.open_tcp().await?;
        let verdict = Arc::new(Mutex::new(None));
        let farewell = Arc::new(Mutex::new(Farewell::default()));
        let config = Arc::new(ssh_settings(&known));
        let guard = Guard { known, verdict: Arc::clone(&verdict), farewell: Arc::clone(&farewell) };
        let connecting = client::connect_stream(config, stream, guard);
        match self.timed(self.options.connect_timeout, "agree on keys", connecting).await? {
            Ok(handle) => Ok(Ssh { handle, farewell }),
            Err(error) => {
                let verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
                Err(match verdict {
                    Some((Verdict::Unknown(info), key)) => Refusal::UnknownHost(Box::new(key), info),
                    Some((Verdict::Untrusted(why), _)) => untrusted(self, why).into(),
                    Some((Verdict::Known, _)) | None => self.ssh_error("connect", error).into(),
                })
            }
        }
    }

    async fn open_tcp(&self) -> StoreResult<TcpStream> {
        let limit = self.options.connect_timeout;
        let finding = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found = self.timed(limit, "find", finding).await?;
        let addresses: Vec<_> = found.map_err(|error| self.unresolved(error))?.collect();
        let mut last_error = std::io::Error::other("the name has no address");
        for address in &addresses {
            // A share for each, so that an address that leads nowhere does not use up all of the time.
            let share = limit / addresses.len() as u32;
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Requests are small and waited for; where the system refuses, things only get slower.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last_error = error,
                Err(_) => last_error = std::io::Error::from(std::io::ErrorKind::TimedOut),
            }
        }
        Err(StoreError::new(ErrorKind::Transient, self.doing("connect")).because(last_error))
    }

    fn unresolved(&self, error: std::io::Error) -> StoreError {
        // EAI_AGAIN, the answer of a machine without a network, has no kind of its own.
        let kind = match error.to_string().contains("emporary failure") {
            true => ErrorKind::Transient,
            false => ErrorKind::UnknownHost,
        };
        StoreError::new(kind, self.doing("find")).because(error)
    }

    async fn start_sftp(&self, ssh: Ssh) -> StoreResult<Session> {
        let Ssh { handle, farewell } = ssh;
        let starting = async {
            let opened = handle.channel_open_session().await;
            let mut channel = opened.map_err(|error| self.ssh_error("open a channel", error))?;
            self.request_subsystem(&mut channel).await?;
            let session = Session::start(channel, Box::new(handle), farewell).await;
            session.map_err(|fault| fault.at(self.doing("start SFTP")))
        };
        self.timed(self.options.connect_timeout, "start SFTP", starting).await?
    }

    async fn request_subsystem(&self, channel: &mut Channel<Msg>) -> StoreResult<()> {
        let asked = channel.request_subsystem(true, "sftp").await;
        asked.map_err(|error| self.ssh_error("ask for SFTP", error))?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure) => {
                    let error = StoreError::new(ErrorKind::Denied, self.doing("ask for SFTP"));
                    return Err(error.because("the server has no SFTP for this account"));
                }
                Some(ChannelMsg::Close) | None => {
                    return Err(
                        Fault::Lost("the channel was closed".to_owned()).at(self.doing("ask for SFTP"))
                    );
                }
                Some(_) => {}
            }
        }
    }

    async fn timed<T>(&self, limit: Duration, doing: &str, what: impl Future<Output = T>) -> StoreResult<T> {
        tokio::time::timeout(limit, what).await.map_err(|_| {
            let why = format!("no success within {} ms", limit.as_millis());
            StoreError::new(ErrorKind::Transient, self.doing(doing)).because(why)
        })
    }

    fn doing(&self, what: &str) -> String {
        format!("{what}: {}:{}", self.host, self.port)
    }

    fn ssh_error(&self, doing: &str, error: russh::Error) -> StoreError {
        use russh::Error;
        let kind = match &error {
            Error::NoCommonAlgo { .. } | Error::Version => ErrorKind::Config,
            Error::WrongServerSig => ErrorKind::UntrustedServer,
            Error::ChannelOpenFailure(_) | Error::RequestDenied => ErrorKind::Denied,
            Error::IO(_) | Error::HUP | Error::Disconnect | Error::SendError | Error::RecvError => {
                ErrorKind::Transient
            }
            Error::ConnectionTimeout
            | Error::KeepaliveTimeout
            | Error::InactivityTimeout
            | Error::Elapsed(_) => ErrorKind::Transient,
            _ => ErrorKind::Other,
        };
        StoreError::new(kind, self.doing(doing)).because(error)
    }
}

fn untrusted(target: &Target, why: String) -> StoreError {
    let what = format!("connect to {}:{}", target.host, target.port);
    StoreError::new(ErrorKind::UntrustedServer, what).because(why)
}

/// An encrypted connection to a server that is trusted.
struct Ssh {
    handle: Handle<Guard>,
    farewell: Arc<Mutex<Farewell>>,
}

impl Ssh {
    /// Waits for the end of a connection that is closing, and tells how it ended.
    async fn end(&mut self) -> Farewell {
        // What is still open after that long is not closing; then there is nothing to tell.
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut self.handle).await;
        std::mem::take(&mut *self.farewell.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Judges the key of the server, and remembers what it says when it hangs up.
struct Guard {
    known: Arc<KnownKeys>,
    verdict: Arc<Mutex<Option<(Verdict, PublicKey)>>>,
    farewell: Arc<Mutex<Farewell>>,
}

impl client::Handler for Guard {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let key = shown.public_key();
        let verdict = self.known.judge(&key);
        let trusted = matches!(verdict, Verdict::Known);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some((verdict, key));
        Ok(trusted)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let farewell = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                Farewell { by_server: true, text: format!("the server said: {}", info.message) }
            }
            // Our side hangs up when the server leaves no method to go on with: that is an answer, too.
            DisconnectReason::Error(error) => {
                Farewell { by_server: matches!(error, russh::Error::NoAuthMethod), text: error.to_string() }
            }
        };
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = farewell;
        Ok(())
    }
}

fn ssh_settings(known: &KnownKeys) -> client::Config {
    // A server with several keys shows the first type it finds in our list: ask for one we remember.
    let key = host_key::accepted_key_types(&known.key_types());
    let name = concat!("SSH-2.0-lifeboat_", env!("CARGO_PKG_VERSION"));
    client::Config {
        client_id: SshId::Standard(name.into()),
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES,
        channel_buffer_size: (WINDOW_BYTES / PACKET_BYTES) as usize,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        preferred: Preferred {
            key: key.into(),
            cipher: ciphers().into(),
            // What we store does not compress.
            compression: vec![compression::NONE].into(),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// AES first where the processor does it, ChaCha20 first where it does not.
fn ciphers() -> Vec<cipher::Name> {
    let mut names = vec![cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
    if !has_aes_instructions() {
        names.rotate_right(1);
    }
    names.extend([cipher::AES_128_CTR, cipher::AES_192_CTR, cipher::AES_256_CTR]);
    names
}

#[cfg(target_arch = "x86_64")]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

/// The threads all SFTP connections of the process share. A connection keeps one of them busy at most.
fn runtime() -> StoreResult<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let build = || {
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads).thread_name("sftp").enable_all().build();
        runtime.map_err(|error| error.to_string())
    };
    RUNTIME
        .get_or_init(build)
        .as_ref()
        .map_err(|why| StoreError::new(ErrorKind::Other, "start the threads for SFTP").because(why.as_str()))
}

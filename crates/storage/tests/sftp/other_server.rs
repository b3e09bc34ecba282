//! An SSH server in the test's own process, for what an unprivileged sshd cannot do: passwords.
//!
//! It knows one user, "carol", and speaks SFTP through the `sftp-server` program of OpenSSH, whose
//! extensions can be taken away to stand for other, plainer servers.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, Handler, Msg, Response, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use storage::sftp::{Secret, SftpLocation, SftpOptions};

use crate::sshd;

/// The one password.
pub(crate) const PASSWORD: &str = "correct horse";

/// How the server wants the password.
#[derive(Clone, Copy)]
pub(crate) enum Asks {
    Password,
    Interactively,
}

/// A running server.
pub(crate) struct OtherServer {
    pub(crate) folder: tempfile::TempDir,
    port: u16,
    pub(crate) wrong_passwords: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl OtherServer {
    /// Starts a server whose SFTP refuses the requests in `without`; `None` where OpenSSH is missing.
    pub(crate) fn start(asks: Asks, without: &[&str]) -> Option<Self> {
        let program = sshd::program("sftp-server")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("store")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        let method = match asks {
            Asks::Password => MethodKind::Password,
            Asks::Interactively => MethodKind::KeyboardInteractive,
        };
        let config = Arc::new(russh::server::Config {
            keys: vec![key],
            methods: MethodSet::from(&[method][..]),
            auth_rejection_time: std::time::Duration::ZERO,
            ..russh::server::Config::default()
        });
        let wrong_passwords = Arc::new(AtomicUsize::new(0));
        let without = without.join(",");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let wrong = Arc::clone(&wrong_passwords);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection {
                    program: program.clone(),
                    without: without.clone(),
                    wrong: Arc::clone(&wrong),
                    input: None,
                };
                let config = Arc::clone(&config);
                // Small answers that wait for each other would make every request take 40 ms.
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    if let Ok(session) = russh::server::run_stream(config, stream, connection).await {
                        let _ = session.await;
                    }
                });
            }
        });
        Some(Self { folder, port, wrong_passwords, _runtime: runtime })
    }

    /// The address of the folder `store`.
    pub(crate) fn location(&self) -> SftpLocation {
        let path = self.folder.path().join("store").to_str().unwrap().to_owned();
        SftpLocation {
            user: Some("carol".to_owned()),
            host: "localhost".to_owned(),
            port: Some(self.port),
            path,
        }
    }

    /// Options that work.
    pub(crate) fn working_options(&self) -> SftpOptions {
        SftpOptions { password: Some(Secret::new(PASSWORD.to_owned())), ..self.options() }
    }

    /// Options that take any host and know no password.
    pub(crate) fn options(&self) -> SftpOptions {
        let mut options = SftpOptions::new(self.folder.path().join("known_hosts"));
        options.on_unknown_host = sshd::remembering(&Arc::new(AtomicUsize::new(0)));
        options
    }
}

struct Connection {
    program: PathBuf,
    without: String,
    wrong: Arc<AtomicUsize>,
    input: Option<ChildStdin>,
}

impl Connection {
    fn judge(&self, user: &str, password: &[u8]) -> Auth {
        if user == "carol" && password == PASSWORD.as_bytes() {
            return Auth::Accept;
        }
        self.wrong.fetch_add(1, Ordering::SeqCst);
        Auth::reject()
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(self.judge(user, password.as_bytes()))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(mut response) = response else {
            let prompts = vec![("Password: ".into(), false)].into();
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        let password = response.next().unwrap_or_default();
        Ok(self.judge(user, &password))
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: russh::server::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let mut command = Command::new(&self.program);
        if !self.without.is_empty() {
            command.args(["-P", &self.without]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        self.input = child.stdin.take();
        let mut output = child.stdout.take().unwrap();
        let (handle, runtime) = (session.handle(), tokio::runtime::Handle::current());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if runtime.block_on(handle.data(channel, buffer[..len].to_vec())).is_err() {
                    break;
                }
            }
            let _ = child.wait();
        });
        session.channel_success(channel)
    }

    async fn data(
        &mut self,
        _channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some(input) = &mut self.input {
            input.write_all(data)?;
        }
        Ok(())
    }
}

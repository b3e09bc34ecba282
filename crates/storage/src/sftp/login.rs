//! Logging in: agent keys, key files, password, then the password once more as keyboard-interactive.
//!
//! A server may hang up after a few refused keys (OpenSSH: six); the plan then goes on where it was, over a
//! new connection, so that an agent full of keys does not hide the one that fits. What was tried, and why
//! something was not, ends up in the error. Secrets are held in wiped memory up to the SSH library.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet};

use super::secret::Secret;

/// Time for an agent to list its keys, for which it asks nobody.
const AGENT_TIME_MAX: Duration = Duration::from_secs(10);

type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// What a login may use.
pub(super) struct Credentials<'a> {
    pub(super) agent_socket: Option<&'a Path>,
    pub(super) key_files: &'a [PathBuf],
    pub(super) key_passphrase: Option<&'a Secret>,
    pub(super) password: Option<&'a Secret>,
}

enum Attempt {
    AgentKey(Box<AgentIdentity>),
    KeyFile(PathBuf),
    Password,
    KeyboardInteractive,
}

impl Attempt {
    fn method(&self) -> MethodKind {
        match self {
            Attempt::AgentKey(_) | Attempt::KeyFile(_) => MethodKind::PublicKey,
            Attempt::Password => MethodKind::Password,
            Attempt::KeyboardInteractive => MethodKind::KeyboardInteractive,
        }
    }

    fn describe(&self) -> String {
        match self {
            Attempt::AgentKey(identity) => {
                format!("agent key {}", super::host_key::fingerprint(&identity.public_key()))
            }
            Attempt::KeyFile(file) => format!("key file {}", file.display()),
            Attempt::Password => "password".to_owned(),
            Attempt::KeyboardInteractive => "keyboard-interactive".to_owned(),
        }
    }
}

/// What is left to try, and what was tried.
pub(super) struct Plan<'a> {
    credentials: Credentials<'a>,
    agent: Option<Agent>,
    left: VecDeque<Attempt>,
    tried: Vec<String>,
}

/// How a connection's worth of attempts ended.
pub(super) enum Outcome {
    LoggedIn,
    /// Nothing is left to try; the methods the server would still take.
    Refused(String),
    /// The server hung up; another connection may continue with the plan.
    HungUp,
}

impl<'a> Plan<'a> {
    /// Asks the agent for its keys and lines the attempts up.
    pub(super) async fn prepare(credentials: Credentials<'a>) -> Self {
        let mut plan = Self { agent: None, left: VecDeque::new(), tried: Vec::new(), credentials };
        if let Some(socket) = plan.credentials.agent_socket {
            match tokio::time::timeout(AGENT_TIME_MAX, ask_agent(socket)).await {
                Ok(Ok((agent, identities))) => plan.take_agent(agent, identities),
                Ok(Err(why)) => plan.tried.push(format!("agent {} ({why})", socket.display())),
                Err(_) => plan.tried.push(format!("agent {} (no answer)", socket.display())),
            }
        }
        plan.left.extend(plan.credentials.key_files.iter().cloned().map(Attempt::KeyFile));
        if plan.credentials.password.is_some() {
            plan.left.extend([Attempt::Password, Attempt::KeyboardInteractive]);
        }
        plan
    }

    /// Keys that are also named as key files go first: they are the ones meant.
    fn take_agent(&mut self, agent: Agent, mut identities: Vec<AgentIdentity>) {
        let named: Vec<PublicKey> =
            self.credentials.key_files.iter().filter_map(|file| public_half(file)).collect();
        let is_named = |identity: &AgentIdentity| {
            named.iter().any(|key| key.key_data() == identity.public_key().key_data())
        };
        identities.sort_by_key(|identity| !is_named(identity));
        if identities.is_empty() {
            self.tried.push("agent (it holds no key)".to_owned());
        }
        self.left.extend(identities.into_iter().map(|key| Attempt::AgentKey(Box::new(key))));
        self.agent = Some(agent);
    }

    /// How many attempts are left.
    pub(super) fn left(&self) -> usize {
        self.left.len()
    }

    /// What was tried, for the error.
    pub(super) fn tried(&self) -> String {
        match self.tried.is_empty() {
            true => "nothing: no key, agent or password is configured".to_owned(),
            false => self.tried.join(", "),
        }
    }

    /// Goes through the plan until one attempt succeeds, the server hangs up, or nothing is left.
    pub(super) async fn log_in<H: Handler>(
        &mut self,
        ssh: &mut Handle<H>,
        user: &str,
    ) -> Result<Outcome, russh::Error> {
        // The method "none" always fails at a sane server, and its answer lists the methods taken.
        let mut offered = match ssh.authenticate_none(user).await? {
            AuthResult::Success => return Ok(Outcome::LoggedIn),
            AuthResult::Failure { remaining_methods, .. } => remaining_methods,
        };
        while !ssh.is_closed() {
            let Some(attempt) = self.left.pop_front() else { return Ok(Outcome::Refused(names(&offered))) };
            if !offered.contains(&attempt.method()) {
                self.tried.push(format!("{} (not offered)", attempt.describe()));
                continue;
            }
            let described = attempt.describe();
            match self.run(attempt, ssh, user).await {
                Ok(AuthResult::Success) => return Ok(Outcome::LoggedIn),
                Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                    self.tried.push(if partial_success {
                        format!("{described} (accepted)")
                    } else {
                        described
                    });
                    offered = remaining_methods;
                }
                Err(why) => self.tried.push(format!("{described} ({why})")),
            }
        }
        Ok(Outcome::HungUp)
    }

    async fn run<H: Handler>(
        &mut self,
        attempt: Attempt,
        ssh: &mut Handle<H>,
        user: &str,
    ) -> Result<AuthResult, String> {
        let result = match attempt {
            Attempt::AgentKey(identity) => return self.run_agent_key(*identity, ssh, user).await,
            Attempt::KeyFile(file) => {
                let passphrase = self.credentials.key_passphrase.map(Secret::expose);
                let key = load_key(&file, passphrase)?;
                let hash = rsa_hash(ssh, key.algorithm().is_rsa()).await;
                let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
                ssh.authenticate_publickey(user, key).await
            }
            Attempt::Password => ssh.authenticate_password(user, self.password()).await,
            Attempt::KeyboardInteractive => {
                return run_keyboard_interactive(ssh, user, self.password()).await;
            }
        };
        result.map_err(|error| error.to_string())
    }

    fn password(&self) -> &'a str {
        self.credentials.password.map(Secret::expose).unwrap_or_default()
    }

    async fn run_agent_key<H: Handler>(
        &mut self,
        identity: AgentIdentity,
        ssh: &mut Handle<H>,
        user: &str,
    ) -> Result<AuthResult, String> {
        let agent = self.agent.as_mut().ok_or("no agent")?;
        let hash = rsa_hash(ssh, identity.public_key().algorithm().is_rsa()).await;
        let result = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                ssh.authenticate_publickey_with(user, key, hash, agent).await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                ssh.authenticate_certificate_with(user, certificate, hash, agent).await
            }
        };
        result.map_err(|error| error.to_string())
    }
}

/// Answers hidden prompts of the first round with the password. A second round asks for something that
/// is not known here (a code, a new password) and ends the attempt.
async fn run_keyboard_interactive<H: Handler>(
    ssh: &mut Handle<H>,
    user: &str,
    password: &str,
) -> Result<AuthResult, String> {
    let text = |error: russh::Error| error.to_string();
    let mut response = ssh.authenticate_keyboard_interactive_start(user, None).await.map_err(text)?;
    let mut answered = false;
    loop {
        let prompts = match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success });
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        if answered && !prompts.is_empty() {
            return Err("the server asks for more than a password".to_owned());
        }
        answered |= !prompts.is_empty();
        let answer = |echo: bool| if echo { String::new() } else { password.to_owned() };
        let answers = prompts.iter().map(|prompt| answer(prompt.echo)).collect();
        response = ssh.authenticate_keyboard_interactive_respond(answers).await.map_err(text)?;
    }
}

#[cfg(unix)]
async fn ask_agent(socket: &Path) -> Result<(Agent, Vec<AgentIdentity>), String> {
    let agent = AgentClient::connect_uds(socket).await.map_err(|error| error.to_string())?;
    let mut agent = agent.dynamic();
    let identities = agent.request_identities().await.map_err(|error| error.to_string())?;
    Ok((agent, identities))
}

#[cfg(not(unix))]
async fn ask_agent(_socket: &Path) -> Result<(Agent, Vec<AgentIdentity>), String> {
    Err("agents are only reached over Unix sockets".to_owned())
}

/// The public key beside a key file, where there is one.
fn public_half(file: &Path) -> Option<PublicKey> {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    russh::keys::load_public_key(PathBuf::from(name)).ok()
}

fn load_key(file: &Path, passphrase: Option<&str>) -> Result<russh::keys::PrivateKey, String> {
    let text = std::fs::read_to_string(file).map(Secret::new).map_err(|error| error.to_string())?;
    // A passphrase is for the keys that need one; the others are read without.
    match russh::keys::decode_secret_key(text.expose(), None) {
        Ok(key) => Ok(key),
        Err(error) => match passphrase {
            Some(passphrase) => russh::keys::decode_secret_key(text.expose(), Some(passphrase))
                .map_err(|error| format!("not readable with the passphrase given: {error}")),
            None if matches!(error, russh::keys::Error::KeyIsEncrypted) => {
                Err("it is encrypted, and no passphrase is given".to_owned())
            }
            None => Err(error.to_string()),
        },
    }
}

/// RSA keys sign with the best hash the server takes, never with SHA-1.
async fn rsa_hash<H: Handler>(ssh: &Handle<H>, is_rsa: bool) -> Option<HashAlg> {
    if !is_rsa {
        return None;
    }
    match ssh.best_supported_rsa_hash().await {
        Ok(Some(Some(hash))) => Some(hash),
        _ => Some(HashAlg::Sha512),
    }
}

fn names(methods: &MethodSet) -> String {
    let names: Vec<String> = methods.iter().map(String::from).collect();
    names.join(", ")
}

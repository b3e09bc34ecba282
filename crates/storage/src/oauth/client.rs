//! Sends forms to authorisation servers and turns their answers into a login, or an error in plain words.

use super::answers::{self, ANSWER_BYTES_MAX, TokenAnswer};
use super::{ClientId, Login, Provider};
use crate::remote::{Line, WireRequest};
use crate::{ErrorKind, RemoteOptions, StoreError, StoreResult};

/// A way to authorisation servers.
#[derive(Clone)]
pub struct FormClient {
    line: Line,
}

/// What a refresh token was exchanged for.
pub(crate) struct Granted {
    pub(crate) access_token: String,
    pub(crate) expires_in_s: u64,
    pub(crate) refresh_token: Option<String>,
}

impl FormClient {
    /// With the certificates and, in tests, the wire of `options`.
    pub fn new(options: &RemoteOptions<'_>) -> StoreResult<Self> {
        Ok(Self { line: Line::new(options)? })
    }

    /// Sends a form and waits for the answer.
    pub(super) fn send(&self, url: &str, fields: &[(&str, &str)]) -> StoreResult<(u16, Vec<u8>)> {
        let runtime = crate::remote::runtime()?;
        runtime.block_on(send(&self.line, url, fields))
    }
}

async fn send(line: &Line, url: &str, fields: &[(&str, &str)]) -> StoreResult<(u16, Vec<u8>)> {
    let what = || format!("ask {}", host_of(url));
    if !super::is_safe_url(url) {
        return Err(StoreError::new(ErrorKind::Config, what()).because("secrets are sent over https only"));
    }
    let pairs: Vec<String> =
        fields.iter().map(|(key, value)| format!("{key}={}", answers::encode(value))).collect();
    let request = WireRequest {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: vec![
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ],
        body: pairs.join("&").into_bytes(),
    };
    let answer = line.send(request, ANSWER_BYTES_MAX).await;
    let answer = answer.map_err(|why| StoreError::new(ErrorKind::Transient, what()).because(why))?;
    Ok((answer.status, answer.body))
}

/// The server's name: all of a URL that errors show.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// An answer that is none of what was hoped for.
pub(super) fn refusal(what: &str, answer: TokenAnswer) -> StoreError {
    let (kind, why) = match answer {
        TokenAnswer::Denied => (ErrorKind::Denied, "the user said no".to_owned()),
        TokenAnswer::Expired => (ErrorKind::Unauthenticated, "the code has run out".to_owned()),
        TokenAnswer::InvalidGrant => (
            ErrorKind::Unauthenticated,
            "the service does not accept the token or code (any more)".to_owned(),
        ),
        TokenAnswer::InvalidClient => {
            (ErrorKind::Unauthenticated, "the service does not know the client id or its secret".to_owned())
        }
        TokenAnswer::Busy => (ErrorKind::Transient, "the service is busy".to_owned()),
        TokenAnswer::Pending | TokenAnswer::SlowDown => {
            (ErrorKind::Other, "the service wants to be asked again, which makes no sense here".to_owned())
        }
        TokenAnswer::Other(code) => (ErrorKind::Other, format!("the service answers: {code}")),
        TokenAnswer::Granted { .. } => (ErrorKind::Other, "the service gave no lasting token".to_owned()),
    };
    StoreError::new(kind, what).because(why)
}

/// Exchanges the kept token for one that opens the drive.
pub(crate) async fn renew(line: &Line, login: &Login) -> StoreResult<Granted> {
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", login.refresh_token.as_str()),
        ("client_id", login.client_id.as_str()),
    ];
    if let Some(secret) = &login.client_secret {
        fields.push(("client_secret", secret));
    }
    let (status, body) = send(line, &login.token_url, &fields).await?;
    match answers::token(status, &body) {
        TokenAnswer::Granted { access_token, expires_in_s, refresh_token } => {
            Ok(Granted { access_token, expires_in_s, refresh_token })
        }
        other => Err(refusal("renew the login", other)),
    }
}

/// Makes a login of an answer that must bring a lasting token.
pub(super) fn login_of(provider: &Provider, client: &ClientId, answer: TokenAnswer) -> StoreResult<Login> {
    match answer {
        TokenAnswer::Granted { refresh_token: Some(refresh_token), .. } => Ok(Login {
            version: 1,
            service: provider.service.scheme().to_owned(),
            client_id: client.id.clone(),
            client_secret: client.secret.clone(),
            token_url: provider.token_url.clone(),
            refresh_token,
        }),
        other => Err(refusal("get a login", other)),
    }
}

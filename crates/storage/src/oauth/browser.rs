//! The way with a browser: it comes back to a port of ours, or shows a code that the user copies.
//!
//! PKCE binds the code to this run, the state binds the browser's answer to it; the port listens on the
//! loopback interface alone, for as long as it takes and no longer.

use super::answers::{self, Redirected, encode};
use super::client::{FormClient, login_of, refusal};
use super::{ClientId, Login, Provider};
use crate::{ErrorKind, StoreError, StoreResult, Wait};
use std::io::{BufRead, BufReader, ErrorKind as IoKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::time::Duration;
use zeroize::Zeroizing;

const WHAT: &str = "get a login by the browser";
/// A user needs no longer than this to say yes.
const PATIENCE: Duration = Duration::from_secs(600);
/// Time between two looks at the port.
const PAUSE: Duration = Duration::from_millis(100);
/// A browser that connects and says nothing is not waited for.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Longest request line (bytes).
const LINE_BYTES_MAX: u64 = 16 << 10;

/// How the browser comes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct BrowserOptions {
    /// The port to listen on; otherwise the one that the service wants registered, or any.
    pub port: Option<u16>,
}

/// What must not be guessed.
struct Secrets {
    state: String,
    verifier: Zeroizing<String>,
}

impl Secrets {
    fn draw() -> StoreResult<Self> {
        let mut bytes = Zeroizing::new([0; 64]);
        getrandom::fill(&mut bytes[..])
            .map_err(|_| StoreError::new(ErrorKind::Other, "draw random numbers"))?;
        let text = |part: &[u8]| data_encoding::BASE64URL_NOPAD.encode(part);
        Ok(Self { state: text(&bytes[..24]), verifier: Zeroizing::new(text(&bytes[24..])) })
    }

    fn challenge(&self) -> String {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.verifier.as_bytes());
        data_encoding::BASE64URL_NOPAD.encode(hash.as_ref())
    }
}

fn address(provider: &Provider, client: &ClientId, secrets: &Secrets, redirect: Option<&str>) -> String {
    let challenge = secrets.challenge();
    let mut pairs = vec![
        ("client_id", client.id.as_str()),
        ("response_type", "code"),
        ("scope", provider.scope),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if let Some(redirect) = redirect {
        pairs.extend([("redirect_uri", redirect), ("state", &secrets.state)]);
    }
    pairs.extend(provider.authorize_extra);
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
    format!("{}?{}", provider.authorize_url, pairs.join("&"))
}

fn exchange(
    forms: &FormClient,
    provider: &Provider,
    client: &ClientId,
    secrets: &Secrets,
    code: &str,
    redirect: Option<&str>,
) -> StoreResult<Login> {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", client.id.as_str()),
        ("code_verifier", secrets.verifier.as_str()),
    ];
    if let Some(secret) = &client.secret {
        fields.push(("client_secret", secret));
    }
    if let Some(redirect) = redirect {
        fields.push(("redirect_uri", redirect));
    }
    let (status, body) = forms.send(&provider.token_url, &fields)?;
    login_of(provider, client, answers::token(status, &body))
}

/// Gets a login by a browser on this machine; `tell` shows the address to open, `wait` passes the time.
///
/// # Errors
/// [`ErrorKind::Denied`] when the user says no, [`ErrorKind::Unauthenticated`] when nothing comes back in ten
/// minutes or the code is not accepted, [`ErrorKind::Config`] when the port is taken.
pub fn by_browser(
    forms: &FormClient,
    provider: &Provider,
    client: &ClientId,
    options: BrowserOptions,
    tell: &dyn Fn(&str),
    wait: &Wait,
) -> StoreResult<Login> {
    let port = options.port.or(provider.redirect_port).unwrap_or(0);
    let listen = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?.port(), listener))
    };
    let listening: std::io::Result<_> = listen();
    let (port, listener) = listening.map_err(|error| {
        StoreError::new(ErrorKind::Config, format!("listen on port {port} of this machine")).because(error)
    })?;
    let secrets = Secrets::draw()?;
    let redirect = format!("http://{}:{port}/", provider.redirect_host);
    tell(&address(provider, client, &secrets, Some(&redirect)));
    let code = await_code(&listener, &secrets.state, wait)?;
    exchange(forms, provider, client, &secrets, &code, Some(&redirect))
}

fn await_code(listener: &TcpListener, state: &str, wait: &Wait) -> StoreResult<String> {
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        match listener.accept() {
            Ok((browser, _)) => match answered(browser, state) {
                Redirected::Code(code) => return Ok(code),
                Redirected::Refused(why) if why == "access_denied" => {
                    return Err(refusal(WHAT, answers::TokenAnswer::Denied));
                }
                Redirected::Refused(why) => return Err(refusal(WHAT, answers::TokenAnswer::Other(why))),
                Redirected::Foreign | Redirected::Elsewhere => {}
            },
            Err(error)
                if matches!(
                    error.kind(),
                    IoKind::WouldBlock | IoKind::Interrupted | IoKind::ConnectionAborted
                ) =>
            {
                if wait(PAUSE) == ControlFlow::Break(()) {
                    return Err(StoreError::new(ErrorKind::Other, WHAT).because("it was given up"));
                }
                waited += PAUSE;
            }
            Err(error) => return Err(StoreError::new(ErrorKind::Other, WHAT).because(error)),
        }
    }
    let why = format!("no answer came within {} minutes", PATIENCE.as_secs() / 60);
    Err(StoreError::new(ErrorKind::Unauthenticated, WHAT).because(why))
}

/// Reads what the browser brings and tells it how that went.
fn answered(browser: TcpStream, state: &str) -> Redirected {
    let line = read_line(&browser).unwrap_or_default();
    let found = answers::redirected(&line, state);
    let (status, words) = match &found {
        Redirected::Code(_) => ("200 OK", "lifeboat may use the drive now. This page can be closed."),
        Redirected::Refused(_) => ("200 OK", "lifeboat may not use the drive. This page can be closed."),
        Redirected::Foreign => ("400 Bad Request", "This is no answer to what lifeboat asked."),
        Redirected::Elsewhere => ("404 Not Found", "There is nothing here."),
    };
    let page = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{words}",
        words.len()
    );
    // Whether the browser shows the words changes nothing.
    let _ = (&browser).write_all(page.as_bytes());
    found
}

fn read_line(browser: &TcpStream) -> std::io::Result<String> {
    browser.set_nonblocking(false)?;
    browser.set_read_timeout(Some(SILENCE_MAX))?;
    browser.set_write_timeout(Some(SILENCE_MAX))?;
    let mut lines = BufReader::new(browser.take(LINE_BYTES_MAX));
    let mut first = String::new();
    lines.read_line(&mut first)?;
    // What is left unread would make the system cut the line before the page has arrived.
    let mut rest = String::new();
    while lines.read_line(&mut rest)? > 2 {
        rest.clear();
    }
    Ok(first.trim_end().to_owned())
}

/// Gets a login by a code that the service shows and `ask` brings back; it is given the address to open.
///
/// # Errors
/// As [`by_browser`]; [`ErrorKind::Config`] at a service that shows no code.
pub fn by_pasting(
    forms: &FormClient,
    provider: &Provider,
    client: &ClientId,
    ask: &dyn Fn(&str) -> StoreResult<String>,
) -> StoreResult<Login> {
    let wrong = |why: String| StoreError::new(ErrorKind::Config, WHAT).because(why);
    if !provider.may_paste {
        return Err(wrong(format!("{} shows no code to copy", provider.service.shown())));
    }
    let secrets = Secrets::draw()?;
    let code = Zeroizing::new(ask(&address(provider, client, &secrets, None))?);
    let code = code.trim();
    if code.is_empty() || code.len() > 1_000 || !code.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("that is no code".to_owned()));
    }
    exchange(forms, provider, client, &secrets, code, None)
}

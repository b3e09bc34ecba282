//! Servers on loopback that receive: mail with and without TLS, and HTTP requests.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A self-made certificate for `localhost`.
pub(crate) struct Certificate {
    pub(crate) pem: String,
    config: Arc<ServerConfig>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(cert.der().to_vec())], key)
            .unwrap();
        Certificate { pem: cert.pem(), config: Arc::new(config) }
    }
}

/// How a mail server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// TLS from the first byte.
    Implicit,
    /// Offers STARTTLS.
    StartTls,
    /// No TLS.
    Plain,
}

/// A mail as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) encrypted: bool,
    pub(crate) login: Option<String>,
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
}

pub(crate) struct MailServer {
    pub(crate) port: u16,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl MailServer {
    pub(crate) fn start(certificate: &Certificate, speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let (kept, config) = (mails.clone(), certificate.config.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, config) = (kept.clone(), config.clone());
                thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(10))).ok();
                    serve_mail(stream, &config, speech, &kept);
                });
            }
        });
        MailServer { port, mails }
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn tls(stream: TcpStream, config: &Arc<ServerConfig>) -> Box<dyn Wire> {
    Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream))
}

fn serve_mail(stream: TcpStream, config: &Arc<ServerConfig>, speech: Speech, kept: &Mutex<Vec<Mail>>) {
    let second = stream.try_clone().unwrap();
    let mut encrypted = speech == Speech::Implicit;
    let mut wire: Box<dyn Wire> = if encrypted { tls(stream, config) } else { Box::new(stream) };
    if wire.write_all(b"220 test ESMTP\r\n").is_err() {
        return;
    }
    let mut mail = Mail { encrypted, login: None, to: Vec::new(), text: String::new() };
    while let Some(line) = read_line(&mut *wire) {
        let upper = line.to_ascii_uppercase();
        let answer: &str = if upper.starts_with("EHLO") {
            match (encrypted, speech) {
                (false, Speech::StartTls) => "250-test\r\n250 STARTTLS\r\n",
                _ => "250-test\r\n250 AUTH PLAIN\r\n",
            }
        } else if upper == "STARTTLS" {
            wire.write_all(b"220 go on\r\n").unwrap();
            wire = tls(second.try_clone().unwrap(), config);
            encrypted = true;
            continue;
        } else if let Some(login) = line.strip_prefix("AUTH PLAIN ") {
            use base64::Engine;
            let login = base64::engine::general_purpose::STANDARD.decode(login).unwrap();
            let login = String::from_utf8(login).unwrap();
            if login.ends_with("\0wrong") {
                "535 no\r\n"
            } else {
                mail.login = Some(login);
                "235 welcome\r\n"
            }
        } else if upper.starts_with("RCPT TO:") {
            mail.to.push(line[8..].trim().to_string());
            "250 ok\r\n"
        } else if upper == "DATA" {
            wire.write_all(b"354 go on\r\n").unwrap();
            let mut text = String::new();
            while let Some(line) = read_line(&mut *wire).filter(|line| line != ".") {
                text.push_str(&line);
                text.push('\n');
            }
            mail.encrypted = encrypted;
            mail.text = text;
            kept.lock().unwrap().push(mail.clone());
            "250 kept\r\n"
        } else if upper == "QUIT" {
            wire.write_all(b"221 bye\r\n").ok();
            return;
        } else {
            "250 ok\r\n"
        };
        if wire.write_all(answer.as_bytes()).and_then(|()| wire.flush()).is_err() {
            return;
        }
    }
}

fn read_line(wire: &mut dyn Wire) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match wire.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' => break,
            Ok(1) => line.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&line).trim_end_matches('\r').to_string())
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A server that keeps requests, and answers the n-th with the n-th of its statuses (then with 200).
pub(crate) struct HttpServer {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl HttpServer {
    pub(crate) fn start(statuses: &'static [u16]) -> Self {
        Self::start_with(statuses, None)
    }

    pub(crate) fn start_with(statuses: &'static [u16], certificate: Option<&Certificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, config) = (requests.clone(), certificate.map(|c| c.config.clone()));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(Duration::from_secs(10))).ok();
                let wire: Box<dyn Wire> = match &config {
                    Some(config) => tls(stream, config),
                    None => Box::new(stream),
                };
                serve_http(wire, &kept, statuses);
            }
        });
        HttpServer { port, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn serve_http(wire: Box<dyn Wire>, kept: &Mutex<Vec<Request>>, statuses: &[u16]) {
    let mut reader = BufReader::new(wire);
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        headers.push((name.to_string(), value.trim().to_string()));
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let mut request = Request { path, headers, body: String::new() };
    let length = request.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok();
    request.body = String::from_utf8_lossy(&body).into_owned();
    let mut kept = kept.lock().unwrap();
    let status = statuses.get(kept.len()).copied().unwrap_or(200);
    kept.push(request);
    let answer = format!("HTTP/1.1 {status} so\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    let wire = reader.get_mut();
    wire.write_all(answer.as_bytes()).and_then(|()| wire.flush()).ok();
}

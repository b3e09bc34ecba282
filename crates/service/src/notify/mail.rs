//! Mail by SMTP, with TLS from the first byte or by STARTTLS. Without TLS only to this machine itself.

use super::{Message, NotifyError, Post, Priority};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{SmtpTransport, Transport};
use zeroize::Zeroizing;

/// A mail server and who gets mail.
#[derive(Clone)]
pub struct Smtp {
    /// `smtps://user@host:465`, or `smtp://user@host:587`, which insists on STARTTLS.
    pub url: String,
    /// The user's password.
    pub password: Option<Zeroizing<String>>,
    /// Who it comes from.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// What the address of a server says.
struct Server {
    host: String,
    port: u16,
    implicit_tls: bool,
    user: Option<String>,
}

impl Smtp {
    fn server(&self) -> Result<Server, NotifyError> {
        let refused = |why: &str| NotifyError::refused("the mail server", why);
        let url = url::Url::parse(&self.url).map_err(|_| refused("its address cannot be read"))?;
        let implicit_tls = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(refused("its address must begin with smtps:// or smtp://")),
        };
        if url.password().is_some() {
            return Err(refused("a password does not belong into its address; use `password`"));
        }
        let host = url.host_str().ok_or_else(|| refused("its address names no host"))?.to_string();
        let user = (!url.username().is_empty()).then(|| decoded(url.username()));
        let port = url.port().unwrap_or(if implicit_tls { 465 } else { 587 });
        Ok(Server { host, port, implicit_tls, user })
    }
}

/// `user%40example.com` is how a URL writes a user with an @.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(b) = rest.next() {
        let pair = rest.clone().take(2).collect::<Vec<u8>>();
        match (b, std::str::from_utf8(&pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) if pair.len() == 2 => {
                bytes.push(byte);
                rest.nth(1);
            }
            _ => bytes.push(b),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn send(smtp: &Smtp, message: &Message, post: &Post) -> Result<(), NotifyError> {
    let server = smtp.server()?;
    let mail = compose(smtp, message)?;
    let mut builder = SmtpTransport::builder_dangerous(&server.host)
        .port(server.port)
        .timeout(Some(post.timeout))
        .hello_name(ClientId::Domain(hello(&message.machine)))
        .tls(tls(&server, post)?);
    if let (Some(user), Some(password)) = (&server.user, &smtp.password) {
        builder = builder.credentials(Credentials::new(user.clone(), password.to_string()));
    }
    let sent = builder.build().send(&mail).map(drop);
    sent.map_err(|e| match e.is_permanent() || e.is_client() || e.is_tls() {
        true => NotifyError::refused(&server.host, chain(&e)),
        false => NotifyError::transient(&server.host, chain(&e)),
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

/// A name a server accepts in its greeting.
fn hello(machine: &str) -> String {
    let name: String =
        machine.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

fn tls(server: &Server, post: &Post) -> Result<Tls, NotifyError> {
    let is_here = server.host == "localhost"
        || server.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let refused = |e: lettre::transport::smtp::Error| NotifyError::refused(&server.host, chain(&e));
    let mut parameters = TlsParameters::builder(server.host.trim_matches(['[', ']']).to_string());
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        parameters = parameters.certificate_store(CertificateStore::WebpkiRoots);
    }
    if let Some(pem) = &post.extra_roots_pem {
        parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(refused)?);
    }
    let parameters = parameters.build().map_err(refused)?;
    Ok(match (server.implicit_tls, is_here) {
        (true, _) => Tls::Wrapper(parameters),
        (false, true) => Tls::Opportunistic(parameters),
        (false, false) => Tls::Required(parameters),
    })
}

fn compose(smtp: &Smtp, message: &Message) -> Result<lettre::Message, NotifyError> {
    let mailbox = |address: &String| {
        address.parse::<Mailbox>().map_err(|e| NotifyError::refused(&format!("the address {address:?}"), e))
    };
    let mut builder = lettre::Message::builder()
        .from(mailbox(&smtp.from)?)
        .subject(one_line(&format!("[{}] {}", message.machine, message.title)))
        .date(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(message.time.max(0) as u64))
        .message_id(None);
    for address in &smtp.to {
        builder = builder.to(mailbox(address)?);
    }
    // Nobody's holiday notice should answer it.
    builder = builder.raw_header(header("Auto-Submitted", "auto-generated"));
    if message.priority == Priority::Urgent {
        builder = builder.raw_header(header("X-Priority", "1"));
    }
    let composed = match &message.html {
        Some(html) => builder.multipart(MultiPart::alternative_plain_html(message.plain(), html.clone())),
        None => {
            builder.singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(message.plain()))
        }
    };
    composed.map_err(|e| NotifyError::refused("the mail", e))
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_string())
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(url: &str) -> Smtp {
        Smtp { url: url.into(), password: None, from: "a@b.c".into(), to: vec!["d@e.f".into()] }
    }

    #[test]
    fn addresses_of_servers_are_read() {
        let server = smtp("smtps://me%40home.org@mail.example.com").server().ok().unwrap();
        assert_eq!((server.port, server.implicit_tls), (465, true));
        assert_eq!(server.user.as_deref(), Some("me@home.org"));
        let server = smtp("smtp://mail.example.com").server().ok().unwrap();
        assert_eq!((server.port, server.implicit_tls, server.user), (587, false, None));
        for bad in ["http://x", "smtp://", "mail", "smtps://u:secret@host"] {
            let refused = smtp(bad).server().err().unwrap().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn no_name_can_add_a_header() {
        let mut message = Message::test("atlas", 1_800_000_000);
        message.title = "x\r\nBcc: everyone@example.com".into();
        let mail = compose(&smtp("smtps://h"), &message).unwrap().formatted();
        let text = String::from_utf8(mail).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated"));
    }
}

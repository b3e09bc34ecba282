//! Telling people: mail, ntfy, webhooks, healthchecks, apprise, commands.
//!
//! [`send`] delivers one [`Message`] through one [`Channel`] or says why not. Who is told of what, and when
//! again, is decided in [`crate::alarms`]. Secrets live in channels and reach nothing else: errors name the
//! host, never the whole address, and [`Message::without`] takes out whatever slipped into a text.

pub mod healthchecks;
mod http;
mod mail;
mod program;
mod template;

pub use mail::Smtp;
pub use template::Template;

use crate::display::safe;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
use zeroize::Zeroizing;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Good news, reports.
    Low,
    /// Should be looked at.
    High,
    /// Data may be lost.
    Urgent,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What kind: that of the alarm, `recovered`, `report` or `test`.
    pub kind: String,
    /// What about.
    pub subject: String,
    /// One line.
    pub title: String,
    /// The rest.
    pub text: String,
    /// The command that helps, if one does.
    pub fix: String,
    /// How much it matters.
    pub priority: Priority,
    /// The machine it is about.
    pub machine: String,
    /// When, in Unix seconds.
    pub time: i64,
    /// The same as a page, for who can show one.
    pub html: Option<String>,
}

impl Message {
    /// A message to see whether messages arrive.
    pub fn test(machine: &str, time: i64) -> Self {
        Message {
            kind: "test".into(),
            subject: "test".into(),
            title: format!("lifeboat on {} can reach you", safe(machine)),
            text: "This is a test. Nothing is wrong.".into(),
            fix: String::new(),
            priority: Priority::Low,
            machine: machine.into(),
            time,
            html: None,
        }
    }

    /// The event, as programs get it.
    pub fn event(&self) -> Value {
        let time = jiff::Timestamp::from_second(self.time).map(|t| t.to_string()).unwrap_or_default();
        json!({
            "v": 1, "message_type": "alert", "time": time, "machine": self.machine, "kind": self.kind,
            "id": format!("{}:{}", self.kind, self.subject), "subject": self.subject, "title": self.title,
            "text": self.text, "fix": self.fix,
        })
    }

    /// The same with every one of these taken out.
    pub fn without(&self, secrets: &[Zeroizing<String>]) -> Self {
        let clean = |text: &str| secrets.iter().fold(text.to_string(), |text, secret| hide(&text, secret));
        Message {
            title: clean(&self.title),
            text: clean(&self.text),
            fix: clean(&self.fix),
            subject: clean(&self.subject),
            html: self.html.as_deref().map(clean),
            ..self.clone()
        }
    }

    /// Title, text and fix as plain text.
    fn plain(&self) -> String {
        let fix =
            if self.fix.is_empty() { String::new() } else { format!("\n\nWhat helps:\n  {}", self.fix) };
        format!("{}{fix}\n", self.text)
    }
}

/// Very short ones would take whole words out of texts, and are no secrets.
fn hide(text: &str, secret: &str) -> String {
    if secret.len() < 4 { text.to_string() } else { text.replace(secret, "***") }
}

/// A way to somebody.
#[derive(Clone)]
pub enum Channel {
    /// Mail.
    Smtp(Smtp),
    /// An ntfy server.
    Ntfy {
        /// The topic.
        url: String,
        /// What allows us to write there.
        token: Option<Zeroizing<String>>,
    },
    /// A request to a URL.
    Webhook {
        /// Where to.
        url: String,
        /// What it says.
        template: Template,
        /// Header lines to add.
        headers: BTreeMap<String, Zeroizing<String>>,
    },
    /// A service that raises the alarm when nothing comes.
    Healthchecks {
        /// The check.
        url: String,
    },
    /// An apprise server.
    Apprise {
        /// Where to.
        url: String,
        /// Those of its targets with these tags.
        tags: Vec<String>,
    },
    /// A command that gets the event on its standard input.
    Command {
        /// Program and arguments.
        run: Vec<String>,
        /// Ends it after this time.
        timeout: Duration,
    },
}

/// How requests and mails are made.
#[derive(Clone)]
pub struct Post {
    /// Certificates in PEM that are trusted beside the system's.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// For one attempt.
    pub timeout: Duration,
    /// How often it is tried when there is no answer, the first time counted.
    pub attempts: u32,
    /// Between two attempts.
    pub wait: Duration,
}

impl Default for Post {
    fn default() -> Self {
        let (timeout, wait) = (Duration::from_secs(15), Duration::from_secs(2));
        Post { extra_roots_pem: None, timeout, attempts: 3, wait }
    }
}

/// Why something was not delivered. Holds no secret.
#[derive(Debug, Error)]
#[error("{what}: {why}")]
pub struct NotifyError {
    /// Whom it was for: the host, or the program.
    pub what: String,
    /// Why.
    pub why: String,
    /// Whether another attempt may help.
    pub transient: bool,
}

impl NotifyError {
    fn refused(what: &str, why: impl ToString) -> Self {
        NotifyError { what: safe(what), why: safe(&why.to_string()), transient: false }
    }

    fn transient(what: &str, why: impl ToString) -> Self {
        NotifyError { what: safe(what), why: safe(&why.to_string()), transient: true }
    }
}

/// Delivers a message.
pub fn send(channel: &Channel, message: &Message, post: &Post) -> Result<(), NotifyError> {
    retrying(post, || send_once(channel, message, post))
}

/// Tries again what may help.
fn retrying(post: &Post, attempt: impl Fn() -> Result<(), NotifyError>) -> Result<(), NotifyError> {
    let mut tried = 1;
    loop {
        match attempt() {
            Err(e) if e.transient && tried < post.attempts => {
                tried += 1;
                std::thread::sleep(post.wait);
            }
            other => return other,
        }
    }
}

fn send_once(channel: &Channel, message: &Message, post: &Post) -> Result<(), NotifyError> {
    match channel {
        Channel::Smtp(smtp) => mail::send(smtp, message, post),
        Channel::Ntfy { url, token } => ntfy(url, token.as_ref(), message, post),
        Channel::Webhook { url, template, headers } => {
            let body = template.fill(message)?;
            let mut request = http::Request::json(url, body);
            request.headers.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            http::post(&request, post)
        }
        Channel::Healthchecks { url } => {
            // Only a run that went well says so (`runner::pings`): nothing else may turn a check green.
            let event = match message.kind.as_str() {
                "recovered" | "test" | "report" => healthchecks::Event::Log,
                _ => healthchecks::Event::Fail,
            };
            healthchecks::ping_once(
                url,
                event,
                None,
                &format!("{}\n\n{}", message.title, message.plain()),
                post,
            )
        }
        Channel::Apprise { url, tags } => {
            let kind = match message.priority {
                Priority::Low if message.kind == "recovered" => "success",
                Priority::Low => "info",
                Priority::High => "warning",
                Priority::Urgent => "failure",
            };
            let mut body = json!({
                "title": message.title, "body": message.plain(), "type": kind, "format": "text",
            });
            if !tags.is_empty() {
                body["tag"] = tags.join(",").into();
            }
            http::post(&http::Request::json(url, body.to_string()), post)
        }
        Channel::Command { run, timeout } => program::run(run, *timeout, message),
    }
}

fn ntfy(
    url: &str,
    token: Option<&Zeroizing<String>>,
    message: &Message,
    post: &Post,
) -> Result<(), NotifyError> {
    let (priority, tag) = match (message.priority, message.kind.as_str()) {
        (_, "recovered") => ("default", "white_check_mark"),
        (Priority::Low, _) => ("low", "information_source"),
        (Priority::High, _) => ("high", "warning"),
        (Priority::Urgent, _) => ("urgent", "rotating_light"),
    };
    let mut headers = vec![
        ("title".to_string(), Zeroizing::new(header_text(&message.title))),
        ("priority".to_string(), Zeroizing::new(priority.to_string())),
        ("tags".to_string(), Zeroizing::new(tag.to_string())),
    ];
    if let Some(token) = token {
        headers.push(("authorization".into(), Zeroizing::new(format!("Bearer {}", token.as_str()))));
    }
    // ntfy turns longer ones into attachments, which not every server allows.
    let body = http::head(&message.plain(), 4000).to_string();
    http::post(
        &http::Request { url: url.into(), content_type: "text/plain; charset=utf-8", headers, body },
        post,
    )
}

/// A header holds printable ASCII; the rest is encoded as RFC 2047 says, which ntfy reads.
fn header_text(text: &str) -> String {
    use base64::Engine;
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return text.to_string();
    }
    format!("=?UTF-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(text))
}

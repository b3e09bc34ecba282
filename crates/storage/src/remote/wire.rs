//! The line to HTTP servers: the real one, or one that a test gives.
//!
//! A given [`Wire`] sees every request exactly as it would go out, so that a whole service with its faults
//! can stand in the test process. Nothing else in lifeboat needs one.

use super::http as client;
use crate::{RemoteOptions, StoreResult};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use opendal::raw::oio::ReadStream;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;
use std::sync::Arc;

/// So many times a given wire may be sent elsewhere for one request.
const REDIRECTS_MAX: usize = 5;

/// One request, as it goes out.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What is sent along.
    pub body: Vec<u8>,
}

/// What comes back.
#[derive(Clone, Debug)]
pub struct WireAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The answer itself.
    pub body: Vec<u8>,
}

/// A stand-in for the network.
pub trait Wire: Send + Sync {
    /// Answers a request; an error is a line that was cut.
    fn exchange(&self, request: WireRequest) -> std::io::Result<WireAnswer>;
}

/// How requests go out.
#[derive(Clone)]
pub(crate) enum Line {
    Real(ReqwestTransport),
    Given(Arc<dyn Wire>),
}

impl Line {
    pub(crate) fn new(options: &RemoteOptions<'_>) -> StoreResult<Self> {
        Ok(match options.wire {
            Some(wire) => Self::Given(wire.clone()),
            None => Self::Real(ReqwestTransport::new(client::client(options.extra_roots_pem)?)),
        })
    }

    /// Sends a small request of our own; an answer beyond `max_bytes` is an error, as is a cut line.
    pub(crate) async fn send(&self, request: WireRequest, max_bytes: usize) -> Result<WireAnswer, String> {
        let request = request_of(request).map_err(|error| error.to_string())?;
        let answer = self.fetch(request).await.map_err(|error| without_url(&error))?;
        let (parts, body) = answer.into_parts();
        let body = bounded(body, max_bytes).await.map_err(|error| without_url(&error))?;
        let body = body.ok_or_else(|| format!("the answer is longer than {max_bytes} bytes"))?;
        Ok(WireAnswer { status: parts.status.as_u16(), headers: texts(&parts.headers), body })
    }
}

/// The error and its causes, without the address of the request.
fn without_url(error: &Error) -> String {
    let mut text = error.message().to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        text.push_str(&format!(": {found}"));
        cause = found.source();
    }
    text
}

/// All of a body, or `None` if it has more than `max_bytes`.
pub(super) async fn bounded(mut body: HttpBody, max_bytes: usize) -> opendal::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let part = body.read().await?;
        if part.is_empty() {
            return Ok(Some(bytes));
        }
        if bytes.len() + part.len() > max_bytes {
            return Ok(None);
        }
        part.for_each(|slice| bytes.extend_from_slice(&slice));
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn request_of(request: WireRequest) -> opendal::Result<Request<Buffer>> {
    let wrong = |error: http::Error| Error::new(ErrorKind::ConfigInvalid, error.to_string());
    let mut made = Request::builder().method(request.method.as_str()).uri(&request.url);
    for (name, value) in &request.headers {
        made = made.header(name, value);
    }
    made = made.header(header::CONTENT_LENGTH, request.body.len());
    made.body(Buffer::from(request.body)).map_err(wrong)
}

pub(super) fn answer_of(answer: WireAnswer) -> opendal::Result<Response<HttpBody>> {
    let wrong = |error: http::Error| Error::new(ErrorKind::Unexpected, error.to_string());
    let len = answer.body.len() as u64;
    let parts = stream::iter([Ok(Buffer::from(Bytes::from(answer.body)))]);
    let mut made = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        made = made.header(name, value);
    }
    made.body(HttpBody::new(parts, Some(len))).map_err(wrong)
}

async fn exchange(wire: &Arc<dyn Wire>, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
    let (parts, body) = request.into_parts();
    let mut request = WireRequest {
        method: parts.method.to_string(),
        url: parts.uri.to_string(),
        headers: texts(&parts.headers),
        body: body.to_vec(),
    };
    for _ in 0..REDIRECTS_MAX {
        let answer = wire.exchange(request.clone()).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "send http request").set_temporary().set_source(error)
        })?;
        let target = answer.headers.iter().find(|(name, _)| name == "location").map(|(_, url)| url.clone());
        match target {
            Some(url) if (300..400).contains(&answer.status) && request.method == Method::GET.as_str() => {
                // Like any client, secrets are not sent on to another server.
                request.headers.retain(|(name, _)| name != header::AUTHORIZATION.as_str());
                request.url = url;
            }
            _ => return answer_of(answer),
        }
    }
    Err(Error::new(ErrorKind::Unexpected, "the request is sent from one address to the next"))
}

impl HttpTransport for Line {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        match self {
            Self::Real(transport) => transport.fetch(request).await,
            Self::Given(wire) => exchange(wire, request).await,
        }
    }
}

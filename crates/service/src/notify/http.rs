//! One request with a body, by HTTP or HTTPS.

use super::{NotifyError, Post};
use std::io::Read;
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use zeroize::Zeroizing;

/// Bytes of an answer that are read, to say why something was refused.
const ANSWER_BYTES: u64 = 300;

/// A request to be made.
pub(super) struct Request {
    pub(super) url: String,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(String, Zeroizing<String>)>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn json(url: &str, body: String) -> Self {
        let url = url.to_string();
        Request { url, content_type: "application/json", headers: Vec::new(), body }
    }
}

/// The first bytes of a text, whole letters only.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The last bytes of a text, whole letters only.
pub(super) fn tail(text: &str, bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

/// The host of a URL: what errors may say of it.
pub(super) fn host_of(url: &str) -> String {
    let parsed = url::Url::parse(url);
    parsed.ok().and_then(|url| url.host_str().map(str::to_string)).unwrap_or_else(|| "the address".into())
}

/// Sends a request. Answers of the 200s are success; no answer, 429 and the 500s are worth another attempt.
pub(super) fn post(request: &Request, post: &Post) -> Result<(), NotifyError> {
    let host = host_of(&request.url);
    let parsed = url::Url::parse(&request.url).map_err(|e| NotifyError::refused(&host, e))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(NotifyError::refused(&host, "not an http or https address"));
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(post.timeout))
        .http_status_as_error(false)
        .tls_config(tls(post)?)
        .max_redirects(3)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut call = config.new_agent().post(&request.url).header("content-type", request.content_type);
    for (name, value) in &request.headers {
        call = call.header(name, value.as_str());
    }
    let answered = call.send(request.body.as_bytes());
    let answer = answered.map_err(|e| failure(&host, &e))?;
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let mut text = Vec::new();
    answer.into_body().into_reader().take(ANSWER_BYTES).read_to_end(&mut text).ok();
    let text = String::from_utf8_lossy(&text);
    let why = format!("answered {status} {}", text.lines().next().unwrap_or_default().trim());
    let why = why.trim_end();
    match status {
        408 | 425 | 429 | 500.. => Err(NotifyError::transient(&host, why)),
        _ => Err(NotifyError::refused(&host, why)),
    }
}

/// The error in words that do not repeat the address: it may hold a secret.
fn failure(host: &str, error: &ureq::Error) -> NotifyError {
    match error {
        ureq::Error::BadUri(_) => NotifyError::refused(host, "not an address"),
        ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            NotifyError::refused(host, "cannot be asked so")
        }
        ureq::Error::HostNotFound => NotifyError::transient(host, "there is no such host"),
        ureq::Error::Timeout(_) => NotifyError::transient(host, "no answer in time"),
        other => NotifyError::transient(host, other),
    }
}

fn tls(post: &Post) -> Result<TlsConfig, NotifyError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        TlsConfig::builder().provider(TlsProvider::Rustls).unversioned_rustls_crypto_provider(provider);
    Ok(builder.root_certs(RootCerts::Specific(Arc::new(roots(post)?))).build())
}

/// The system's roots and those given; the ones built in where the system has none.
fn roots(post: &Post) -> Result<Vec<Certificate<'static>>, NotifyError> {
    let mut roots = Vec::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        roots.push(Certificate::from_der(&certificate).to_owned());
    }
    if roots.is_empty() {
        let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        roots.extend(built_in.iter().map(|der| Certificate::from_der(der).to_owned()));
    }
    for item in post.extra_roots_pem.iter().flat_map(|pem| parse_pem(pem)) {
        match item {
            Ok(PemItem::Certificate(certificate)) => roots.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(NotifyError::refused("the extra certificates", e)),
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_letters() {
        assert_eq!((head("äöü", 3), tail("äöü", 3)), ("ä", "ü"));
        assert_eq!((head("ab", 9), tail("ab", 9), tail("", 3)), ("ab", "ab", ""));
    }

    #[test]
    fn errors_name_the_host_and_not_the_address() {
        assert_eq!(host_of("https://user:pw@hc.example.com/ping/5b1c?token=x"), "hc.example.com");
        assert_eq!(host_of("not one"), "the address");
    }
}

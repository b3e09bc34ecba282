//! The HTTP client of all remote places: TLS by rustls with aws-lc, certificates of this system.
//!
//! Where the system has no certificates at all (a bare container, a rescue disk), the roots that Mozilla
//! trusts and this program carries take their place. A server with a certificate of its own is reached
//! with a file of extra roots.

use crate::{ErrorKind, StoreError, StoreResult};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::sync::Arc;
use std::time::Duration;

/// Time to reach a server, name lookup included. Three lost first packets take 7 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time without a byte of an answer. Object stores that repair or move data pause for seconds, not minutes.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(120);
/// Kept connections are closed before the usual server does, which cuts at 60 s or later.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Makes the client; `extra_roots_pem` is trusted beside the system's roots.
pub(super) fn client(extra_roots_pem: Option<&[u8]>) -> StoreResult<reqwest::Client> {
    let wrong = |why: String| StoreError::new(ErrorKind::Config, "prepare TLS").because(why);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots(extra_roots_pem)?)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| wrong(error.to_string()))
}

fn roots(extra_pem: Option<&[u8]>) -> StoreResult<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in CertificateDer::pem_slice_iter(extra_pem.unwrap_or_default()) {
        let added = certificate.map_err(|error| error.to_string());
        let added = added.and_then(|found| roots.add(found).map_err(|error| error.to_string()));
        added.map_err(|why| {
            StoreError::new(ErrorKind::Config, "read the extra root certificates").because(why)
        })?;
    }
    Ok(roots)
}

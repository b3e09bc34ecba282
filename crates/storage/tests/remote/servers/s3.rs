//! An S3 server inside of the test process: s3s-fs, which checks signatures, behind a misbehaving door.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use storage::{Location, RemoteOptions, RemoteStore, StoreResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) const KEY_ID: &str = "LIFEBOATTEST";
pub(crate) const SECRET: &str = "not-a-secret-of-anybody";

/// How the door misbehaves.
#[derive(Default)]
pub(crate) struct Door {
    /// Replaces in spite of `If-None-Match: *`, as Garage does.
    pub(crate) ignores_if_none_match: bool,
    /// Answers 501 to requests with that condition.
    pub(crate) knows_no_if_none_match: bool,
    /// Refuses to replace and to delete, by a policy that demands `If-None-Match`.
    pub(crate) is_append_only: bool,
    /// Keeps versions, and refuses to remove one if this is `Some(true)`.
    pub(crate) versions_held: Option<bool>,
    /// Paths of objects that were stored in an archive and were not thawed.
    pub(crate) archived: Mutex<BTreeSet<String>>,
    /// So many further requests are answered with 503.
    pub(crate) busy: AtomicUsize,
    /// So many further requests are carried out, but the line is cut before the answer.
    pub(crate) cut: AtomicUsize,
    /// Methods of all requests so far.
    pub(crate) requests: Mutex<Vec<String>>,
}

/// A running server; it ends with the test process.
pub(crate) struct S3Server {
    pub(crate) endpoint: String,
    pub(crate) door: Arc<Door>,
    /// The certificate it made for itself, if it speaks TLS.
    pub(crate) certificate_pem: Option<String>,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

struct Served {
    service: S3Service,
    door: Arc<Door>,
    folder: PathBuf,
    /// s3s-fs looks and writes in two steps, so puts go one at a time, as atomic ones would.
    one_put: tokio::sync::Mutex<()>,
}

impl S3Server {
    /// Starts a server with one bucket named `bucket`.
    pub(crate) fn start(door: Door) -> Self {
        Self::start_with(door, None)
    }

    /// The same over TLS, with a certificate that nobody has signed.
    pub(crate) fn start_tls(door: Door) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        Self::start_with(door, Some(made))
    }

    fn start_with(door: Door, certificate: Option<rcgen::CertifiedKey<rcgen::KeyPair>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let door = Arc::new(door);
        let served = Arc::new(Served {
            service: builder.build(),
            door: door.clone(),
            folder: folder.path().into(),
            one_put: tokio::sync::Mutex::new(()),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap());
        let certificate_pem = certificate.as_ref().map(|made| made.cert.pem());
        runtime.spawn(accept(listener, served, certificate.map(acceptor)));
        Self { endpoint, door, certificate_pem, _folder: folder, _runtime: runtime }
    }

    pub(crate) fn location(&self, bucket: &str) -> Location {
        Location::parse(&format!("s3:{}/{bucket}/some/where", self.endpoint)).unwrap()
    }

    /// The store as the right user sees it.
    pub(crate) fn store(&self) -> RemoteStore {
        self.store_as("bucket", KEY_ID, SECRET).unwrap()
    }

    pub(crate) fn store_as(&self, bucket: &str, id: &str, secret: &str) -> StoreResult<RemoteStore> {
        let lookup = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(id.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
            _ => None,
        };
        let options = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
        RemoteStore::open(&self.location(bucket), options)
    }

    /// Methods of the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.door.requests.lock().unwrap())
    }
}

fn acceptor(made: rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, served: Arc<Served>, tls: Option<TlsAcceptor>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (served, tls) = (served.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(socket, served).await,
                // A client that does not trust the certificate hangs up; that is its good right.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        serve(stream, served).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, served: Arc<Served>) {
    let answer = service_fn(move |request| answer(served.clone(), request));
    // Errors are cut lines, some of them on purpose.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn answer(
    served: Arc<Served>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, std::io::Error> {
    let door = &served.door;
    door.requests.lock().unwrap().push(request.method().to_string());
    let short = |status| Ok(Response::builder().status(status).body(s3s::Body::empty()).unwrap());
    if take_one(&door.busy) {
        // The body is taken off the line first, as a real server would.
        let _ = request.into_body().collect().await;
        return short(StatusCode::SERVICE_UNAVAILABLE);
    }
    if let Some((status, code)) = refusal(door, &request) {
        let _ = request.into_body().collect().await;
        let text = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
        let body = s3s::Body::from(text.into_bytes());
        return Ok(Response::builder().status(status).body(body).unwrap());
    }
    if is_of_a_version(&request) {
        return short(StatusCode::NO_CONTENT);
    }
    let is_put = request.method() == Method::PUT;
    // The server behind knows one class only, so any that is named stands for an archive.
    if is_put && request.headers().contains_key("x-amz-storage-class") {
        door.archived.lock().unwrap().insert(request.uri().path().to_owned());
    }
    let is_conditional = request.headers().contains_key("if-none-match");
    if is_conditional && door.knows_no_if_none_match {
        let _ = request.into_body().collect().await;
        return short(StatusCode::NOT_IMPLEMENTED);
    }
    let _one = match is_put {
        true => Some(served.one_put.lock().await),
        false => None,
    };
    if is_conditional && door.ignores_if_none_match {
        forget(&served.folder, request.uri().path());
    }
    let answered = served.service.call(request.map(s3s::Body::from)).await;
    if take_one(&door.cut) {
        return Err(std::io::Error::other("the line is cut"));
    }
    let mut answered = answered.map_err(|error| std::io::Error::other(format!("{error:?}")))?;
    if is_put && door.versions_held.is_some() {
        answered.headers_mut().insert("x-amz-version-id", "version-1".parse().unwrap());
    }
    Ok(answered)
}

fn is_of_a_version(request: &Request<Incoming>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("versionId="))
}

/// What the bucket's rules refuse.
fn refusal(door: &Door, request: &Request<Incoming>) -> Option<(StatusCode, &'static str)> {
    let denied = Some((StatusCode::FORBIDDEN, "AccessDenied"));
    let is_new = request.headers().contains_key("if-none-match");
    match *request.method() {
        Method::GET if door.archived.lock().unwrap().contains(request.uri().path()) => {
            Some((StatusCode::FORBIDDEN, "InvalidObjectState"))
        }
        Method::DELETE if is_of_a_version(request) && door.versions_held == Some(true) => denied,
        Method::DELETE if door.is_append_only => denied,
        Method::PUT if door.is_append_only && !is_new => denied,
        _ => None,
    }
}

/// Makes room for an object, so that the server itself does not see that it is there.
fn forget(folder: &Path, path: &str) {
    let _ = std::fs::remove_file(folder.join(path.trim_start_matches('/')));
}

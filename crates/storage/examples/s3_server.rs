//! An S3 server over a folder, for trying and measuring on this machine: `s3_server FOLDER PORT [MILLISECONDS]`.
//! Every request waits so many milliseconds first, as a distant one would. The key id is `try`, the secret
//! `try-secret`; buckets are folders of FOLDER.

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, port, wait) = match &arguments[..] {
        [folder, port] => (folder, port.parse::<u16>()?, 0),
        [folder, port, wait] => (folder, port.parse::<u16>()?, wait.parse()?),
        _ => return Err("usage: s3_server FOLDER PORT [MILLISECONDS]".into()),
    };
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).map_err(|e| format!("{e:?}"))?);
    builder.set_auth(SimpleAuth::from_single("try", "try-secret"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(accept(port, Arc::new(builder.build()), Duration::from_millis(wait)))
}

async fn accept(port: u16, service: Arc<S3Service>, wait: Duration) -> Outcome<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(service.clone(), request, wait));
            // A client that hangs up is no trouble of the others.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), answer)
                .await;
        });
    }
}

async fn answer(
    service: Arc<S3Service>,
    request: Request<Incoming>,
    wait: Duration,
) -> Result<Response<s3s::Body>, std::io::Error> {
    tokio::time::sleep(wait).await;
    let answered = service.call(request.map(s3s::Body::from)).await;
    answered.map_err(|error| std::io::Error::other(format!("{error:?}")))
}

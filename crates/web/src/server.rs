//! The side of the daemon.

use crate::http::{self, Request};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// More connections at a time are not served.
const CONNECTIONS_MAX: usize = 64;
/// Nobody is waited for longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A stream without news shows a sign of life so often, which is how a listener that went away is noticed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Lines of running jobs.
pub type Lines = Receiver<Arc<str>>;

/// What the daemon lets be asked.
pub trait Control: Send + Sync + 'static {
    /// How it stands.
    fn status(&self) -> Value;
    /// Lines of all runs.
    fn events(&self) -> Option<Lines>;
    /// Lines of a duty's next run, and that it begins; an error in words.
    ///
    /// # Errors
    /// Why it does not begin.
    fn run(&self, duty: &str, subject: &str) -> Result<Lines, String>;
    /// Reads the configuration again.
    fn reload(&self);
    /// Looks around: a pause began or ended.
    fn look(&self);
    /// Metrics as Prometheus reads them; an error in words.
    ///
    /// # Errors
    /// Why there are none.
    fn metrics(&self) -> Result<String, String>;
}

/// Listens on a socket that only this user may open. Whoever calls it holds the daemon's lock, so that a socket
/// that is there was left by one that is gone.
///
/// # Errors
/// What the system says.
pub fn serve_socket(path: &Path, control: Arc<dyn Control>) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Nobody can open it between making and closing it off, as the folder is private.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    std::thread::spawn(move || {
        let open = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming().flatten() {
            let control = control.clone();
            limited(&open, move || drop(socket_connection(stream, &*control)));
        }
    });
    Ok(())
}

/// Serves metrics, and nothing else, on a loopback address.
///
/// # Errors
/// `InvalidInput` for other addresses: who may read them there is nobody's to say yet. Else what the system says.
pub fn serve_metrics(address: SocketAddr, control: Arc<dyn Control>) -> io::Result<SocketAddr> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "metrics are served on a loopback address only",
        ));
    }
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    std::thread::spawn(move || {
        let open = Arc::new(AtomicUsize::new(0));
        for mut stream in listener.incoming().flatten() {
            let control = control.clone();
            limited(&open, move || {
                stream.set_read_timeout(Some(PATIENCE)).ok();
                stream.set_write_timeout(Some(PATIENCE)).ok();
                if let Ok(request) = http::read(&mut stream) {
                    match (request.method.as_str(), request.path.as_str()) {
                        ("GET", "/metrics") => metrics(&mut stream, &*control).ok(),
                        _ => not_there(&mut stream).ok(),
                    };
                }
            });
        }
    });
    Ok(bound)
}

fn limited(open: &Arc<AtomicUsize>, serve: impl FnOnce() + Send + 'static) {
    if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
        open.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    let open = open.clone();
    std::thread::spawn(move || {
        serve();
        open.fetch_sub(1, Ordering::SeqCst);
    });
}

fn socket_connection(mut stream: UnixStream, control: &dyn Control) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match http::read(&mut stream) {
        Ok(request) => respond(&mut stream, &request, control),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            object(&mut stream, "400 Bad Request", &json!({ "message": e.to_string() }))
        }
        Err(e) => Err(e),
    }
}

fn respond(stream: &mut (impl Read + Write), request: &Request, control: &dyn Control) -> io::Result<()> {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/v1/status") => object(stream, "200 OK", &control.status()),
        ("GET", "/v1/events") => lines(stream, control.events().ok_or_else(|| "too many listen".to_string())),
        ("POST", "/v1/run") => match (request.value("duty"), request.value("subject")) {
            (Some(duty), Some(subject)) => lines(stream, control.run(duty, subject)),
            _ => object(stream, "400 Bad Request", &json!({ "message": "duty and subject are not named" })),
        },
        ("POST", "/v1/reload") => {
            control.reload();
            object(stream, "200 OK", &json!({}))
        }
        ("POST", "/v1/look") => {
            control.look();
            object(stream, "200 OK", &json!({}))
        }
        ("GET", "/metrics") => metrics(stream, control),
        _ => not_there(stream),
    }
}

fn object(stream: &mut impl Write, status: &str, value: &Value) -> io::Result<()> {
    http::answer(stream, status, "application/json")?;
    writeln!(stream, "{value}")
}

fn not_there(stream: &mut impl Write) -> io::Result<()> {
    object(stream, "404 Not Found", &json!({ "message": "there is no such thing here" }))
}

fn metrics(stream: &mut impl Write, control: &dyn Control) -> io::Result<()> {
    match control.metrics() {
        Ok(text) => {
            http::answer(stream, "200 OK", "text/plain; version=0.0.4; charset=utf-8")?;
            stream.write_all(text.as_bytes())
        }
        Err(why) => object(stream, "503 Service Unavailable", &json!({ "message": why })),
    }
}

fn lines(stream: &mut impl Write, lines: Result<Lines, String>) -> io::Result<()> {
    let lines = match lines {
        Ok(lines) => lines,
        Err(why) => return object(stream, "409 Conflict", &json!({ "message": why })),
    };
    http::answer(stream, "200 OK", "application/x-ndjson")?;
    loop {
        match lines.recv_timeout(SIGN_OF_LIFE) {
            Ok(line) => writeln!(stream, "{line}")?,
            Err(RecvTimeoutError::Timeout) => writeln!(stream)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        stream.flush()?;
    }
}

//! Server and client over a real socket.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use web::{Client, Control, Lines, serve_metrics, serve_socket};

struct Two;

impl Control for Two {
    fn status(&self) -> Value {
        json!({ "paused": false })
    }
    fn events(&self) -> Option<Lines> {
        None
    }
    fn run(&self, duty: &str, subject: &str) -> Result<Lines, String> {
        if duty != "run" {
            return Err("there is no such duty".into());
        }
        let (lines, receiver) = sync_channel(4);
        for line in [format!("first of {subject}"), "last".to_string()] {
            lines.send(line.into()).unwrap();
        }
        Ok(receiver)
    }
    fn reload(&self) {}
    fn look(&self) {}
    fn metrics(&self) -> Result<String, String> {
        Ok("lifeboat_build_info 1\n".into())
    }
}

#[test]
fn what_is_asked_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.sock");
    assert!(Client::connect(&path).unwrap().is_none());
    serve_socket(&path, Arc::new(Two)).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |method: &str, what: &str, query: &[(&str, &str)]| {
        Client::connect(&path).unwrap().unwrap().ask(method, what, query).unwrap()
    };
    assert_eq!(ask("GET", "/v1/status", &[]).object().unwrap()["paused"], false);
    let mut stream = ask("POST", "/v1/run", &[("duty", "run"), ("subject", "a & b")]);
    assert_eq!(stream.line().unwrap().as_deref(), Some("first of a & b"));
    assert_eq!(stream.line().unwrap().as_deref(), Some("last"));
    assert_eq!(stream.line().unwrap(), None);
    assert_eq!(ask("POST", "/v1/run", &[("duty", "x"), ("subject", "y")]).status, 409);
    assert_eq!(ask("POST", "/v1/run", &[]).status, 400);
    assert_eq!(ask("GET", "/v1/events", &[]).status, 409);
    assert_eq!(ask("GET", "/etc/passwd", &[]).status, 404);
}

#[test]
fn noise_is_no_request_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.sock");
    serve_socket(&path, Arc::new(Two)).unwrap();
    for noise in [&b"\r\n\r\n"[..], b"\0\xff\r\n\r\n", &[b'a'; 20000]] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(noise).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
    }
    assert_eq!(Client::connect(&path).unwrap().unwrap().ask("GET", "/v1/status", &[]).unwrap().status, 200);
}

#[test]
fn metrics_are_all_there_is_on_loopback_and_nothing_elsewhere() {
    assert!(serve_metrics("0.0.0.0:0".parse().unwrap(), Arc::new(Two)).is_err());
    let address = serve_metrics("127.0.0.1:0".parse().unwrap(), Arc::new(Two)).unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(get("/metrics").ends_with("lifeboat_build_info 1\n"));
    assert!(get("/v1/status").starts_with("HTTP/1.1 404"));
}

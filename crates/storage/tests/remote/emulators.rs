//! Azure by its emulator, where that is installed.
//!
//! For Google none was found that keeps conditions: the one on PyPI replaces in spite of them.

use crate::servers::program::{self, Program};
use crate::servers::{judge, with_causes};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::process::Command;
use std::time::SystemTime;
use storage::{CreateNewKept, ErrorKind, Location, RemoteOptions, RemoteStore, Store, probe};

/// The account that every Azurite has.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Asks Azurite for a container, which no store of ours would make. Signed as Azure wants it.
fn create_container(address: SocketAddr, container: &str) {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let headers = format!("x-ms-date:{date}\nx-ms-version:2021-12-02\n");
    let resource = format!("/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container");
    let to_sign = format!("PUT\n\n\n\n\n\n\n\n\n\n\n\n{headers}{resource}");
    let key = data_encoding::BASE64.decode(ACCOUNT_KEY.as_bytes()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    let signature = data_encoding::BASE64.encode(aws_lc_rs::hmac::sign(&key, to_sign.as_bytes()).as_ref());
    let mut line = TcpStream::connect(address).unwrap();
    write!(
        line,
        "PUT /{ACCOUNT}/{container}?restype=container HTTP/1.1\r\nhost: {address}\r\nx-ms-date: {date}\r\n\
         x-ms-version: 2021-12-02\r\nauthorization: SharedKey {ACCOUNT}:{signature}\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[test]
fn azure_keeps_its_promises_and_tells_a_wrong_key() {
    let Some(azurite) = program::find("azurite-blob", "npm install azurite") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(|address| {
        let mut command = Command::new(azurite);
        command.args(["--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort"]);
        command.arg(address.port().to_string()).arg("--location").arg(folder.path());
        command
    });
    create_container(server.address, "box");
    let endpoint = format!("http://{}/{ACCOUNT}", server.address);
    let location = format!("azblob://box/some/where?account={ACCOUNT}&endpoint={endpoint}");
    let location = Location::parse(&location).unwrap();
    let open = |key: &str| {
        let lookup = |name: &str| (name == "AZURE_ACCOUNT_KEY").then(|| key.to_owned());
        RemoteStore::open(&location, RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() })
            .unwrap()
    };
    judge(&open(ACCOUNT_KEY));
    assert_eq!(probe(&open(ACCOUNT_KEY), "maint/probe-1").unwrap().create_new, CreateNewKept::Atomic);
    let wrong = open("d3Jvbmc=").list("", &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated, "{}", with_causes(&wrong));
    assert!(!with_causes(&wrong).contains("d3Jvbmc="));
}

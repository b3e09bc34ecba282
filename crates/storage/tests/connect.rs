//! Getting a login from an authorisation server that stands on this machine and answers as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::oauth::{
    BrowserOptions, ClientId, DevicePrompt, FormClient, Login, Provider, by_browser, by_device, by_pasting,
};
use storage::{DriveService, ErrorKind, RemoteOptions, StoreResult, Wait};

const SECRET: &str = "client-not-a-secret";
const GRANTED: (u16, &str) = (
    200,
    r#"{"access_token":"access-1","token_type":"Bearer","expires_in":3599,"refresh_token":"refresh-1"}"#,
);

/// Answers forms in the given order and remembers them.
struct Server {
    base: String,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        let mut answers: VecDeque<(u16, String)> =
            answers.iter().map(|(s, t)| (*s, (*t).to_owned())).collect();
        std::thread::spawn(move || {
            for line in listener.incoming().flatten() {
                let form = read_form(&line);
                noted.lock().unwrap().push(form);
                let Some((status, text)) = answers.pop_front() else { return };
                if status != 0 {
                    let len = text.len();
                    let head =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n");
                    (&line).write_all(format!("{head}{text}").as_bytes()).unwrap();
                }
            }
        });
        Self { base, asked }
    }

    /// Path and form of every question.
    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

fn read_form(line: &TcpStream) -> (String, String) {
    let mut lines = BufReader::new(line);
    let (mut first, mut len) = (String::new(), 0);
    lines.read_line(&mut first).unwrap();
    loop {
        let mut header = String::new();
        lines.read_line(&mut header).unwrap();
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; len];
    lines.read_exact(&mut body).unwrap();
    (first.split(' ').nth(1).unwrap().to_owned(), String::from_utf8(body).unwrap())
}

fn client() -> ClientId {
    ClientId { id: "client-1".into(), secret: Some(SECRET.into()) }
}

fn forms() -> FormClient {
    FormClient::new(&RemoteOptions::default()).unwrap()
}

/// Takes no time, and remembers how much was asked for.
fn timeless() -> (Wait, Arc<Mutex<Vec<u64>>>) {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let noted = waits.clone();
    let wait: Wait = Arc::new(move |time: Duration| {
        noted.lock().unwrap().push(time.as_secs());
        ControlFlow::Continue(())
    });
    (wait, waits)
}

const CODE: &str = r#"{"device_code":"dev-1","user_code":"ABCD-EFGH","verification_url":"https://g.test/device","expires_in":60,"interval":5}"#;

fn device(answers: &[(u16, &str)]) -> (StoreResult<Login>, Server, Vec<u64>, Vec<DevicePrompt>) {
    let server = Server::start(&[&[(200, CODE)], answers].concat());
    let provider = Provider::at(DriveService::Gdrive, &server.base);
    let (wait, waits) = timeless();
    let told = Mutex::new(Vec::new());
    let login =
        by_device(&forms(), &provider, &client(), &|prompt| told.lock().unwrap().push(prompt.clone()), &wait);
    let waits = waits.lock().unwrap().clone();
    (login, server, waits, told.into_inner().unwrap())
}

const PENDING: (u16, &str) = (428, r#"{"error":"authorization_pending","error_description":"x"}"#);
const SLOW: (u16, &str) = (403, r#"{"error":"slow_down"}"#);

#[test]
fn a_code_is_shown_and_asked_about_until_the_user_has_said_yes() {
    let (login, server, waits, told) = device(&[PENDING, SLOW, (503, "<html>"), PENDING, GRANTED]);
    let login = login.unwrap();
    assert_eq!((login.service.as_str(), login.refresh_token.as_str()), ("gdrive", "refresh-1"));
    assert_eq!(login.token_url, format!("{}/token", server.base));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].code.as_str(), told[0].url.as_str()), ("ABCD-EFGH", "https://g.test/device"));
    // Slower by five seconds after "slow down" and after trouble of the server.
    assert_eq!(waits, [5, 5, 10, 15, 15]);
    let asked = server.asked();
    assert_eq!(asked[0].0, "/device");
    assert!(
        asked[0].1.contains("client_id=client-1&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fdrive.file")
    );
    assert!(asked[1].1.contains("device_code=dev-1") && asked[1].1.contains(SECRET));
}

#[test]
fn a_no_an_expired_code_and_an_unknown_client_are_told_apart() {
    type Case<'a> = (&'a [(u16, &'a str)], ErrorKind, &'a str);
    let cases: [Case<'_>; 5] = [
        (&[PENDING, (403, r#"{"error":"access_denied"}"#)], ErrorKind::Denied, "the user said no"),
        (&[(400, r#"{"error":"expired_token"}"#)], ErrorKind::Unauthenticated, "the code has run out"),
        (
            &[(401, r#"{"error":"invalid_client"}"#)],
            ErrorKind::Unauthenticated,
            "does not know the client id",
        ),
        (&[(200, r#"{"access_token":"a","token_type":"Bearer"}"#)], ErrorKind::Other, "no lasting token"),
        (&[PENDING; 20], ErrorKind::Unauthenticated, "the code has run out"),
    ];
    for (answers, kind, why) in cases {
        let (login, _, waits, _) = device(answers);
        let error = login.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(format!("{error:?}").contains(why), "{error:?}");
        assert!(!format!("{error:?}").contains(SECRET) && !format!("{error:?}").contains("dev-1"));
        assert!(waits.iter().sum::<u64>() <= 60, "asked no longer than the code is good: {waits:?}");
    }
}

#[test]
fn a_code_that_is_refused_at_once_shows_nothing() {
    let server = Server::start(&[(401, r#"{"error":"invalid_client"}"#)]);
    let provider = Provider::at(DriveService::Onedrive, &server.base);
    let shown = by_device(&forms(), &provider, &client(), &|_| panic!("there is no code"), &timeless().0);
    assert_eq!(shown.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let none = by_device(&forms(), &Provider::of(DriveService::Dropbox), &client(), &|_| {}, &timeless().0);
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_user_can_give_up() {
    let server = Server::start(&[(200, CODE)]);
    let provider = Provider::at(DriveService::Gdrive, &server.base);
    let wait: Wait = Arc::new(|_| ControlFlow::Break(()));
    assert!(by_device(&forms(), &provider, &client(), &|_| {}, &wait).is_err());
    assert_eq!(server.asked().len(), 1);
    let tell = |_: &str| {};
    assert!(by_browser(&forms(), &provider, &client(), BrowserOptions::default(), &tell, &wait).is_err());
}

/// What a browser brings back for an address that it was sent to.
type Browse = fn(redirect: &str, state: &str) -> Vec<String>;

fn browse(answers: &[(u16, &str)], browse: Browse) -> (StoreResult<Login>, Server, String, Vec<String>) {
    let server = Server::start(answers);
    let provider = Provider::at(DriveService::Gdrive, &server.base);
    let address = Arc::new(Mutex::new(String::new()));
    let pages = Arc::new(Mutex::new(Vec::new()));
    let (noted, shown) = (address.clone(), pages.clone());
    let tell = move |url: &str| {
        *noted.lock().unwrap() = url.to_owned();
        let (redirect, state) = (value(url, "redirect_uri"), value(url, "state"));
        let shown = shown.clone();
        std::thread::spawn(move || {
            for target in browse(&redirect, &state) {
                let answered = visit(&redirect, &target);
                shown.lock().unwrap().push(answered);
            }
        });
    };
    let wait: Wait = Arc::new(|time| {
        std::thread::sleep(time / 20);
        ControlFlow::Continue(())
    });
    let login = by_browser(&forms(), &provider, &client(), BrowserOptions::default(), &tell, &wait);
    std::thread::sleep(Duration::from_millis(50));
    let (address, pages) = (address.lock().unwrap().clone(), pages.lock().unwrap().clone());
    (login, server, address, pages)
}

fn value(url: &str, key: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}="))).unwrap();
    pair.replace("%3A", ":").replace("%2F", "/")
}

/// The first line that the server at `redirect` answers to a request for `target`.
fn visit(redirect: &str, target: &str) -> String {
    let host = redirect.trim_start_matches("http://").trim_end_matches('/');
    let mut line = TcpStream::connect(host).unwrap();
    write!(line, "GET {target} HTTP/1.1\r\nhost: {host}\r\nuser-agent: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[test]
fn a_browser_brings_back_a_code_that_only_this_run_can_use() {
    let (login, server, address, pages) = browse(&[GRANTED], |_, state| {
        vec!["/favicon.ico".to_owned(), format!("/?code=code-1&state={state}")]
    });
    assert_eq!(login.unwrap().refresh_token, "refresh-1");
    assert_eq!(pages, ["HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"]);
    assert!(address.starts_with(&format!("{}/authorize?client_id=client-1&response_type=code", server.base)));
    assert!(address.contains("code_challenge_method=S256") && address.contains("access_type=offline"));
    assert!(!address.contains(SECRET));
    let form = &server.asked()[0].1;
    assert!(form.contains("code=code-1") && form.contains("grant_type=authorization_code"), "{form}");
    assert_eq!(value(&format!("?{form}"), "redirect_uri"), value(&address, "redirect_uri"));
    // The challenge in the address is the hash of the word that goes with the code (RFC 7636, 4.6).
    let verifier = value(&format!("?{form}"), "code_verifier");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    assert_eq!(data_encoding::BASE64URL_NOPAD.encode(hash.as_ref()), value(&address, "code_challenge"));
    assert!(verifier.len() >= 43 && value(&address, "state").len() >= 22);
}

#[test]
fn an_answer_with_another_state_is_not_for_us() {
    let (login, server, _, pages) = browse(&[GRANTED], |_, state| {
        vec![
            "/?code=theirs&state=guessed".to_owned(),
            "/?code=theirs".to_owned(),
            "/?error=access_denied&state=guessed".to_owned(),
            format!("/?code=ours&state={state}"),
        ]
    });
    assert_eq!(login.unwrap().refresh_token, "refresh-1");
    assert_eq!(pages[..3], ["HTTP/1.1 400 Bad Request"; 3]);
    assert_eq!(server.asked().len(), 1);
    assert!(server.asked()[0].1.contains("code=ours"));
}

#[test]
fn a_no_in_the_browser_and_a_code_that_is_not_accepted_are_errors() {
    let (denied, server, _, _) = browse(&[], |_, state| vec![format!("/?error=access_denied&state={state}")]);
    assert_eq!(denied.unwrap_err().kind(), ErrorKind::Denied);
    assert!(server.asked().is_empty());
    let bad = [(400, r#"{"error":"invalid_grant"}"#)];
    let (refused, _, _, _) = browse(&bad, |_, state| vec![format!("/?code=old&state={state}")]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[test]
fn a_browser_that_never_comes_back_is_not_waited_for_for_ever() {
    let server = Server::start(&[]);
    let provider = Provider::at(DriveService::Gdrive, &server.base);
    let (wait, waits) = timeless();
    let login = by_browser(&forms(), &provider, &client(), BrowserOptions::default(), &|_| {}, &wait);
    assert_eq!(login.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(waits.lock().unwrap().len(), 6_000);
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = BrowserOptions { port: Some(taken.local_addr().unwrap().port()) };
    let provider = Provider::of(DriveService::Dropbox);
    let login =
        by_browser(&forms(), &provider, &client(), options, &|_| panic!("nothing to show"), &timeless().0);
    assert_eq!(login.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn dropbox_shows_a_code_to_copy() {
    let server = Server::start(&[GRANTED]);
    let provider = Provider::at(DriveService::Dropbox, &server.base);
    let public = ClientId { id: "app-key".into(), secret: None };
    let ask = |address: &str| -> StoreResult<String> {
        assert!(address.contains("token_access_type=offline") && !address.contains("redirect_uri"));
        Ok(" code-1\n".to_owned())
    };
    let login = by_pasting(&forms(), &provider, &public, &ask).unwrap();
    assert_eq!((login.client_secret.as_ref(), login.refresh_token.as_str()), (None, "refresh-1"));
    assert!(!server.asked()[0].1.contains("client_secret") && server.asked()[0].1.contains("code_verifier="));
    let google = by_pasting(&forms(), &Provider::of(DriveService::Gdrive), &public, &|_| panic!("not there"));
    assert_eq!(google.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn secrets_are_not_sent_without_tls_to_another_machine() {
    let provider = Provider::at(DriveService::Gdrive, "http://login.example");
    let login = by_device(&forms(), &provider, &client(), &|_| {}, &timeless().0);
    assert_eq!(login.unwrap_err().kind(), ErrorKind::Config);
}

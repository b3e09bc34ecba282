//! Google Drive, Dropbox and OneDrive, played inside of the test process by what their documentation says.
//!
//! The store speaks to them over a wire that carries every request as it would go out. They prove that our
//! side of the conversation is right, and how the places' known faults are met; that the real services
//! keep to their documentation, nobody has tried here.

pub(crate) mod dropbox;
pub(crate) mod gdrive;
pub(crate) mod onedrive;

use serde_json::{Value, json};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use storage::oauth::{KeepLogin, Login};
use storage::{
    DriveLocation, Location, RemoteOptions, RemoteStore, StoreResult, Wire, WireAnswer, WireRequest,
};

pub(crate) const TOKEN_URL: &str = "https://login.test/token";
pub(crate) const REFRESH: &str = "refresh-not-a-secret";

/// What all of the services do wrong now and then.
#[derive(Default)]
pub(crate) struct Faults {
    /// So many further requests are answered with "too fast".
    pub(crate) too_fast: AtomicUsize,
    /// So many further requests are carried out, but the answer is lost.
    pub(crate) cut: AtomicUsize,
    /// So many further requests are answered with 503.
    pub(crate) busy: AtomicUsize,
    /// Every further upload is answered with "full".
    pub(crate) full: AtomicUsize,
}

pub(crate) fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// One of the services, without its faults and its tokens.
pub(crate) trait Service: Send + Sync {
    fn answer(&self, request: &Asked) -> WireAnswer;
    fn too_fast(&self) -> WireAnswer;
    fn full(&self) -> WireAnswer;
    fn is_upload(&self, request: &Asked) -> bool;
}

/// A request, taken apart.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    fn new(request: WireRequest) -> Self {
        let rest = request.url.strip_prefix("https://").expect("everything goes over TLS");
        let (host, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        };
        Self {
            method: request.method,
            host: host.to_owned(),
            path: decode(path),
            query: query.split('&').filter(|text| !text.is_empty()).map(pair).collect(),
            headers: request.headers,
            body: request.body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn answer(status: u16, body: &Value) -> WireAnswer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    WireAnswer { status, headers, body: serde_json::to_vec(body).unwrap() }
}

/// Answers with a part of the bytes where one is asked for.
pub(crate) fn content(bytes: &[u8], range: Option<&str>) -> WireAnswer {
    let answer = |status, headers: Vec<(String, String)>, body: &[u8]| {
        let mut headers = headers;
        headers.push(("content-length".to_owned(), body.len().to_string()));
        WireAnswer { status, headers, body: body.to_vec() }
    };
    let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
        return answer(200, Vec::new(), bytes);
    };
    let (start, end) = range.split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse::<usize>().map_or(bytes.len(), |last| last.saturating_add(1).min(bytes.len()));
    if start >= bytes.len() {
        let headers = vec![("content-range".to_owned(), format!("bytes */{}", bytes.len()))];
        return if start == 0 { answer(200, Vec::new(), bytes) } else { answer(416, headers, b"") };
    }
    let shown = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    answer(206, vec![("content-range".to_owned(), shown)], &bytes[start..end])
}

/// The time of the n-th change, as these services write it.
pub(crate) fn time_of(change: usize) -> String {
    format!("2026-11-25T{:02}:{:02}:{:02}Z", change / 3600 % 24, change / 60 % 60, change % 60)
}

/// Hands out tokens, plays the faults, and lets through what is signed.
pub(crate) struct Gate {
    service: Box<dyn Service>,
    pub(crate) faults: Faults,
    /// The token that opens the service now; none opens it after it has expired.
    token: Mutex<String>,
    issued: AtomicUsize,
    /// The only refresh token that is taken, and whether each use brings a new one.
    refresh: Mutex<String>,
    pub(crate) rotates: bool,
    pub(crate) requests: Mutex<Vec<String>>,
}

impl Gate {
    pub(crate) fn new(service: impl Service + 'static, rotates: bool) -> Arc<Self> {
        Arc::new(Self {
            service: Box::new(service),
            faults: Faults::default(),
            token: Mutex::new("none yet".to_owned()),
            issued: AtomicUsize::new(0),
            refresh: Mutex::new(REFRESH.to_owned()),
            rotates,
            requests: Mutex::new(Vec::new()),
        })
    }

    /// Makes the token in use worthless, before its time.
    pub(crate) fn expire(&self) {
        *self.token.lock().unwrap() = "expired".to_owned();
    }

    /// Takes back the right itself.
    pub(crate) fn revoke(&self) {
        self.expire();
        *self.refresh.lock().unwrap() = "revoked".to_owned();
    }

    pub(crate) fn tokens_issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }

    fn hand_out(&self, asked: &Asked) -> WireAnswer {
        let form = String::from_utf8(asked.body.clone()).unwrap();
        let mut refresh = self.refresh.lock().unwrap();
        let is_right = form.contains("grant_type=refresh_token")
            && form.contains(&format!("refresh_token={refresh}"))
            && form.contains("client_id=client");
        if !is_right {
            return answer(400, &json!({"error": "invalid_grant", "error_description": "Bad Request"}));
        }
        let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
        *self.token.lock().unwrap() = format!("access-{number}");
        let mut granted =
            json!({"access_token": format!("access-{number}"), "token_type": "Bearer", "expires_in": 3599});
        if self.rotates {
            *refresh = format!("{REFRESH}-{number}");
            granted["refresh_token"] = json!(*refresh);
        }
        answer(200, &granted)
    }
}

impl Wire for Gate {
    fn exchange(&self, request: WireRequest) -> io::Result<WireAnswer> {
        self.requests.lock().unwrap().push(format!("{} {}", request.method, request.url));
        let is_token = request.url == TOKEN_URL;
        let asked = Asked::new(request);
        if take_one(&self.faults.busy) {
            return Ok(answer(503, &json!({"error": {"message": "Backend Error"}})));
        }
        if is_token {
            return Ok(self.hand_out(&asked));
        }
        let carries_its_right =
            asked.host.ends_with(".download.test") || asked.host.ends_with(".upload.test");
        match (carries_its_right, asked.header("authorization")) {
            (true, Some(_)) => panic!("the token went to {}", asked.host),
            (true, None) => {}
            (false, token) if token != Some(&format!("Bearer {}", self.token.lock().unwrap())) => {
                return Ok(answer(401, &json!({"error": {"message": "Invalid Credentials", "code": 401}})));
            }
            _ => {}
        }
        if take_one(&self.faults.too_fast) {
            return Ok(self.service.too_fast());
        }
        if self.service.is_upload(&asked) && take_one(&self.faults.full) {
            return Ok(self.service.full());
        }
        let answered = self.service.answer(&asked);
        match take_one(&self.faults.cut) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the line is cut")),
            false => Ok(answered),
        }
    }
}

/// A login in memory.
pub(crate) struct Kept(Mutex<Login>);

impl Kept {
    pub(crate) fn new(service: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Login {
            version: 1,
            service: service.to_owned(),
            client_id: "client".to_owned(),
            client_secret: Some("client-not-a-secret".to_owned()),
            token_url: TOKEN_URL.to_owned(),
            refresh_token: REFRESH.to_owned(),
        })))
    }

    pub(crate) fn refresh_token(&self) -> String {
        self.0.lock().unwrap().refresh_token.clone()
    }
}

impl KeepLogin for Kept {
    fn read(&self) -> StoreResult<Login> {
        Ok(self.0.lock().unwrap().clone())
    }
    fn keep(&self, login: &Login) -> StoreResult<()> {
        *self.0.lock().unwrap() = login.clone();
        Ok(())
    }
    fn shown(&self) -> String {
        "memory".to_owned()
    }
}

/// The store at `location`, over `gate`.
pub(crate) fn open(location: &str, gate: &Arc<Gate>, kept: &Arc<Kept>) -> StoreResult<RemoteStore> {
    let wire: Arc<dyn Wire> = gate.clone();
    let keeper = kept.clone();
    let logins = move |_: &DriveLocation| -> Option<Arc<dyn KeepLogin>> { Some(keeper.clone()) };
    let options = RemoteOptions { wire: Some(&wire), logins: Some(&logins), ..RemoteOptions::default() };
    RemoteStore::open(&Location::parse(location).unwrap(), options)
}

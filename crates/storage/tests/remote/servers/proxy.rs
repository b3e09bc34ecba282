//! A bad line to a real server: a TCP proxy that delays, cuts, answers with 503, and vanishes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the line does wrong, now.
#[derive(Default)]
pub(crate) struct Weather {
    /// Each piece of bytes takes so many milliseconds, in both directions.
    pub(crate) latency_ms: AtomicU64,
    /// So many further connections are cut after so many bytes from the client.
    pub(crate) cuts: AtomicUsize,
    pub(crate) cut_after_bytes: AtomicUsize,
    /// So many further connections are answered with 503 by a server that is too busy.
    pub(crate) busy: AtomicUsize,
    /// Nobody is there.
    pub(crate) is_gone: AtomicBool,
    /// Bytes that came through so far, in both directions.
    pub(crate) passed: AtomicUsize,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

/// The proxy; it ends with the test process.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) weather: Arc<Weather>,
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let weather = Arc::new(Weather::default());
        let shared = weather.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                std::thread::spawn(move || serve(client, server, &shared));
            }
        });
        Self { address, weather }
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.weather.connections.load(Ordering::SeqCst)
    }

    /// Cuts every line that is open now.
    pub(crate) fn cut_all(&self) {
        for stream in self.weather.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Goes away: lines are cut, and further ones end at once.
    pub(crate) fn vanish(&self) {
        self.weather.is_gone.store(true, Ordering::SeqCst);
        self.cut_all();
    }

    pub(crate) fn come_back(&self) {
        self.weather.is_gone.store(false, Ordering::SeqCst);
    }
}

fn serve(client: TcpStream, server: SocketAddr, weather: &Arc<Weather>) {
    if weather.is_gone.load(Ordering::SeqCst) {
        return;
    }
    if take_one(&weather.busy) {
        refuse(client);
        return;
    }
    let Ok(upstream) = TcpStream::connect(server) else { return };
    let cut_after = take_one(&weather.cuts).then(|| weather.cut_after_bytes.load(Ordering::SeqCst));
    {
        let mut open = weather.open.lock().unwrap();
        open.push(client.try_clone().unwrap());
        open.push(upstream.try_clone().unwrap());
    }
    let (back_from, back_to) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
    let shared = weather.clone();
    std::thread::spawn(move || pass(back_from, back_to, &shared, None));
    pass(client, upstream, weather, cut_after);
}

fn pass(mut from: TcpStream, mut to: TcpStream, weather: &Weather, cut_after: Option<usize>) {
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let latency = weather.latency_ms.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(latency));
        let len = cut_after.map_or(len, |max| len.min(max - passed));
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
        passed += len;
        weather.passed.fetch_add(len, Ordering::SeqCst);
        if cut_after == Some(passed) {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Takes one request off the line and refuses it.
fn refuse(mut client: TcpStream) {
    let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
    let mut request = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let len = text.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
            let len: usize = len.and_then(|len| len.trim().parse().ok()).unwrap_or(0);
            if request.len() >= head + 4 + len {
                break;
            }
        }
        match client.read(&mut buffer) {
            Ok(len @ 1..) => request.extend_from_slice(&buffer[..len]),
            _ => return,
        }
    }
    let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = client.write_all(answer);
}

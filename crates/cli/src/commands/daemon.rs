//! `lifeboat daemon`: runs what the configuration says by itself, and answers on its socket.

use super::status;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::{Session, machine_of};
use jiff::Timestamp;
use serde_json::{Value, json};
use service::catalog::Duty;
use service::daemon::plan::Key;
use service::daemon::supervisor::Supervisor;
use service::daemon::{Daemon, Handle, Load, Parts};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use web::{Client, Control, Lines};

/// Run everything by itself, as the configuration says
#[derive(clap::Args)]
#[command(after_help = "\
Does what is due and sleeps in between: jobs, maintenance, verification, and telling people what they must know.
What was missed while the machine slept or was off is done once. Each run is a process of its own that ends
between two steps when it is asked to; SIGTERM ends the daemon well, SIGHUP reads the configuration again.

Examples:
  lifeboat daemon                      in the foreground, as systemd starts it
  lifeboat schedule install --daemon   let systemd look after it
  lifeboat schedule show               what is due next
  lifeboat pause 2h                    nothing begins by itself for two hours")]
pub(crate) struct Args {}

/// The socket's name in the runtime folder.
const SOCKET: &str = "daemon.sock";
/// Where a service of the system has its socket.
const SYSTEM_RUNTIME: &str = "/run/lifeboat";

pub(crate) fn run(session: &Session, _: Args) -> Outcome<Exit> {
    let loaded = session.configuration()?;
    let folders = folders::folders();
    let failed = |what: &str, path: &Path| {
        let what = format!("cannot {what} {}", path.display());
        move |e: std::io::Error| local(what.clone(), e)
    };
    for folder in [&folders.state, &folders.runtime] {
        service::durable::create_private(folder).map_err(failed("make", folder))?;
    }
    let _lock = lock(&folders.state.join("daemon.lock"))?;
    let log_to = session.out.clone();
    let parts = Parts {
        program: std::env::current_exe().map_err(|e| local("cannot find this program", e))?,
        options: options(session),
        load: load(session),
        host: machine_of(&loaded.config),
        state: folders.state.clone(),
        catalog: status::open_catalog(session)?,
        clock: Box::new(Timestamp::now),
        slept: Box::new(slept),
        media: storage::removable::MediaOptions::default(),
        supervisor: supervisor(),
        log: Box::new(move |text| match log_to.json {
            true => log_to.event(&json!({ "message_type": "log", "message": text })),
            false => log_to.message(text),
        }),
    };
    if let Some(nice) = loaded.config.daemon.nice.filter(|nice| *nice > 0) {
        rustix::process::setpriority_process(None, nice).ok();
    }
    let daemon = Daemon::new(parts).map_err(Failure::usage)?;
    let control = Arc::new(Talk { handle: daemon.handle(), session: session.clone() });
    let socket = folders.runtime.join(SOCKET);
    web::serve_socket(&socket, control.clone()).map_err(failed("listen on", &socket))?;
    if let Some(address) = loaded.config.daemon.listen.as_ref().filter(|_| loaded.config.daemon.metrics) {
        let parsed = address.parse().map_err(|_| {
            Failure::usage(format!("{address:?} is no address to listen on"))
                .hint("write it like 127.0.0.1:7450")
        })?;
        let bound = web::serve_metrics(parsed, control)
            .map_err(|e| local(format!("cannot serve metrics on {address}"), e))?;
        session.out.message(format!("metrics: http://{bound}/metrics"));
    }
    listen_to_signals(&daemon.handle())?;
    daemon.run();
    std::fs::remove_file(&socket).ok();
    Ok(Exit::Ok)
}

/// Only one daemon works for this state folder. The system takes the lock back when its holder ends.
fn lock(path: &Path) -> Outcome<File> {
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = open.map_err(|e| local(format!("cannot open {}", path.display()), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(Exit::Failed, "a daemon is running already").hint("lifeboat schedule show"))
        }
        Err(TryLockError::Error(e)) => Err(local(format!("cannot lock {}", path.display()), e)),
    }
}

/// The options that every run gets from the daemon.
fn options(session: &Session) -> Vec<OsString> {
    let mut options = Vec::new();
    let mut put = |name: &str, value: Option<PathBuf>| {
        options.extend(value.into_iter().flat_map(|value| [OsString::from(name), value.into()]));
    };
    put("--config", session.configuration_path());
    put("--cache-dir", session.global.cache_dir.clone());
    put("--cacert", session.global.cacert.clone());
    put("--key-file", session.global.key_file.clone());
    put("--password-file", session.global.password_file.clone());
    if session.global.no_cache {
        options.push("--no-cache".into());
    }
    options
}

fn load(session: &Session) -> Load {
    let path = session.configuration_path();
    Box::new(move || {
        let path = path.as_ref().ok_or("there is no configuration")?;
        let loaded = service::config::load(path, &folders::folders()).map_err(|e| e.message())?;
        loaded.map(Arc::new).map_err(|broken| Failure::from(broken).message())
    })
}

/// How much longer this machine has been there than awake.
fn slept() -> Duration {
    let time = |clock| {
        let time = rustix::time::clock_gettime(clock);
        Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
    };
    time(rustix::time::ClockId::Boottime).saturating_sub(time(rustix::time::ClockId::Monotonic))
}

fn supervisor() -> Supervisor {
    let socket = folders::path_variable("NOTIFY_SOCKET");
    let watchdog = folders::variable("WATCHDOG_USEC");
    Supervisor::of(socket.as_deref().map(Path::as_os_str), watchdog.as_deref())
}

/// SIGTERM and SIGINT end it well, SIGHUP lets it read the configuration again.
fn listen_to_signals(handle: &Handle) -> Outcome<()> {
    let failed = |e| local("cannot listen to signals", e);
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        let (mut hears, tells) = UnixStream::pair().map_err(failed)?;
        signal_hook::low_level::pipe::register(signal, tells).map_err(failed)?;
        let handle = handle.clone();
        std::thread::spawn(move || {
            let mut byte = [0];
            while hears.read_exact(&mut byte).is_ok() {
                if signal == SIGHUP { handle.reload() } else { handle.stop() }
            }
        });
    }
    Ok(())
}

/// What the socket lets be asked.
struct Talk {
    handle: Handle,
    session: Session,
}

impl Control for Talk {
    fn status(&self) -> Value {
        self.handle.status()
    }

    fn events(&self) -> Option<Lines> {
        self.handle.hub.listen(None)
    }

    fn run(&self, duty: &str, subject: &str) -> Result<Lines, String> {
        let duty =
            Duty::ALL.into_iter().find(|known| known.as_str() == duty).ok_or("there is no such duty")?;
        let key = Key { duty, subject: subject.to_string() };
        // Listened to first, so that nothing of it is missed.
        let lines = self.handle.hub.listen(Some(key.clone())).ok_or("too many listen")?;
        match self.handle.ask(key) {
            true => Ok(lines),
            false => Err(format!("the daemon knows no {} {subject:?}, or is about to stop", duty.as_str())),
        }
    }

    fn reload(&self) {
        self.handle.reload();
    }

    fn look(&self) {
        self.handle.look();
    }

    fn metrics(&self) -> Result<String, String> {
        status::metrics_text(&self.session).map_err(|e| e.message())
    }
}

/// The daemon that works for this user, if one runs.
pub(super) fn client() -> Option<Client> {
    let own = folders::folders().runtime.join(SOCKET);
    let mut sockets = vec![own];
    if rustix::process::getuid().is_root() {
        sockets.push(Path::new(SYSTEM_RUNTIME).join(SOCKET));
    }
    sockets.iter().find_map(|path| Client::connect(path).ok().flatten())
}

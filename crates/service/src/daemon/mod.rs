//! What runs by itself: decides what is due, starts it as a process of its own, and watches over it.
//!
//! One loop that sleeps until something changes: a duty becomes due, a run ends, somebody asks. It wakes once a
//! minute at the latest, which is how it notices that the machine slept, that the clock was set, that the
//! configuration or a pause changed; that look costs a few system calls and no request to any repository.
//! Everything it must remember is in the catalog; so it goes on where it was after it was killed.

pub mod board;
pub mod child;
pub mod drives;
pub mod hub;
pub mod plan;
pub mod supervisor;

#[cfg(test)]
mod board_tests;

use crate::catalog::{Catalog, Duty};
use crate::conditions::PauseFile;
use crate::config::{LastGood, Loaded};
use crate::duties;
use crate::failure::Exit;
use crate::schedule::in_words;
use crate::watching;
use board::{Board, Decision, Now, Standing, Trigger, Waiting};
use child::{Launch, Said};
use drives::Drive;
use hub::Hub;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use plan::Key;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use storage::removable::MediaOptions;
use supervisor::Supervisor;

/// The version of the events of runs.
const EVENTS_VERSION: u64 = 1;
/// It looks around at least so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The clock of this machine runs on while it sleeps; a difference from here on is sleep.
const SLEPT_MIN: Duration = Duration::from_secs(5);

/// Reads the configuration again; an error in words where it cannot be used.
pub type Load = Box<dyn Fn() -> Result<Arc<Loaded>, String>>;

/// What a daemon is made of.
pub struct Parts {
    /// The program that does the work, and what comes before its arguments.
    pub program: PathBuf,
    /// Options of every run.
    pub options: Vec<OsString>,
    /// Reads the configuration.
    pub load: Load,
    /// This machine's name.
    pub host: String,
    /// Where pauses are kept.
    pub state: PathBuf,
    /// Where runs are recorded.
    pub catalog: Catalog,
    /// The time.
    pub clock: Box<dyn Fn() -> Timestamp>,
    /// How long this machine slept since it started.
    pub slept: Box<dyn Fn() -> Duration>,
    /// Where the system tells about its drives.
    pub media: MediaOptions,
    /// Whoever supervises this process.
    pub supervisor: Supervisor,
    /// Where it tells what it does.
    pub log: Box<dyn Fn(&str)>,
}

/// What reaches the loop.
enum Message {
    Said(Key, Said),
    Ask(Key, Sender<bool>),
    Reload,
    Look,
    Stop,
}

/// The way to a running daemon, for other threads.
#[derive(Clone)]
pub struct Handle {
    messages: Sender<Message>,
    /// What runs say.
    pub hub: Arc<Hub>,
    status: Arc<Mutex<Value>>,
}

impl Handle {
    /// How it stands, as of its last look.
    pub fn status(&self) -> Value {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wants something done now. False if there is no such duty.
    pub fn ask(&self, key: Key) -> bool {
        let (answer, answered) = channel();
        self.messages.send(Message::Ask(key, answer)).is_ok() && answered.recv().unwrap_or(false)
    }

    /// Lets it read the configuration again.
    pub fn reload(&self) {
        self.messages.send(Message::Reload).ok();
    }

    /// Lets it look around now.
    pub fn look(&self) {
        self.messages.send(Message::Look).ok();
    }

    /// Lets it end its runs well, and itself.
    pub fn stop(&self) {
        self.messages.send(Message::Stop).ok();
    }
}

struct Run {
    process: u32,
    began: Timestamp,
    trigger: Trigger,
    /// Its name in the catalog, from when it says so.
    id: Value,
    last: Option<Arc<str>>,
}

/// A daemon that is about to run.
pub struct Daemon {
    parts: Parts,
    loaded: Arc<Loaded>,
    /// Where the configuration that holds is kept for its runs, while the file itself cannot be used.
    held: Option<PathBuf>,
    stamp: Vec<Option<SystemTime>>,
    board: Board,
    running: BTreeMap<Key, Run>,
    /// Drives that jobs write to, and whether each was there at the last look.
    drives: BTreeMap<Drive, bool>,
    watches_drives: bool,
    messages: Receiver<Message>,
    handle: Handle,
    awake_since: Timestamp,
    slept: Duration,
    stopping: bool,
    alive: Instant,
    /// Number of the last event.
    seq: u64,
}

impl Daemon {
    /// Reads the configuration and what the catalog knows.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(parts: Parts) -> Result<Daemon, String> {
        let loaded = (parts.load)()?;
        let (sender, messages) = channel();
        let handle =
            Handle { messages: sender, hub: Arc::default(), status: Arc::new(Mutex::new(Value::Null)) };
        let (awake_since, slept) = ((parts.clock)(), (parts.slept)());
        let mut daemon = Daemon {
            stamp: stamp(&loaded),
            loaded,
            held: None,
            board: Board::default(),
            running: BTreeMap::new(),
            drives: BTreeMap::new(),
            watches_drives: false,
            messages,
            handle,
            awake_since,
            slept,
            stopping: false,
            alive: Instant::now(),
            seq: 0,
            parts,
        };
        daemon.plan();
        daemon.keep_configuration();
        Ok(daemon)
    }

    /// The way to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until it is stopped, and no run is left.
    pub fn run(mut self) {
        (self.parts.log)(&format!("watching over {} duties", self.board.plans().count()));
        self.parts.supervisor.say("READY=1");
        loop {
            let wait = self.look();
            if self.stopping && self.running.is_empty() {
                break;
            }
            match self.messages.recv_timeout(wait) {
                Ok(message) => self.take(message),
                Err(_) => continue,
            }
            // What else is there is taken before everything is decided anew.
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
        }
        self.parts.supervisor.say("STOPPING=1\nSTATUS=stopped");
        (self.parts.log)("stopped; nothing was left half done");
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Said(key, Said::Line(line)) => {
                let line = self.enveloped(&key, &line);
                self.handle.hub.tell(&key, &line, false);
                if let Some(run) = self.running.get_mut(&key) {
                    run.last = Some(line);
                }
            }
            Message::Said(key, Said::Ended(status, tail)) => self.ended(&key, status, &tail),
            Message::Ask(key, answer) => {
                let known = !self.stopping && self.board.ask(&key);
                answer.send(known).ok();
            }
            Message::Reload => self.reload(),
            Message::Look => {}
            Message::Stop => self.stop(),
        }
    }

    /// A line of a run in its envelope: the version of the events, their number, the duty and the run. What is no
    /// event stays as it is.
    fn enveloped(&mut self, key: &Key, line: &str) -> Arc<str> {
        let Ok(Value::Object(mut event)) = serde_json::from_str::<Value>(line) else { return line.into() };
        let run = self.running.get_mut(key);
        if let Some(run) = run {
            match event.get("run_id") {
                Some(id) => run.id = id.clone(),
                None => drop(event.insert("run_id".into(), run.id.clone())),
            }
        }
        self.seq += 1;
        event.insert("v".into(), EVENTS_VERSION.into());
        event.insert("seq".into(), self.seq.into());
        event.insert("duty".into(), key.duty.as_str().into());
        event.insert("subject".into(), key.subject.clone().into());
        Value::Object(event).to_string().into()
    }

    /// Looks around, begins what is due, and says how long there is nothing to do.
    fn look(&mut self) -> Duration {
        let slept = (self.parts.slept)();
        if slept.saturating_sub(self.slept) > SLEPT_MIN {
            self.awake_since = (self.parts.clock)();
            (self.parts.log)("the machine slept");
        }
        self.slept = slept;
        if stamp(&self.loaded) != self.stamp {
            self.reload();
        }
        self.look_for_drives();
        let decision = self.decide();
        for (key, trigger) in &decision.begin {
            self.begin(key, *trigger);
        }
        self.publish(&decision);
        let now = (self.parts.clock)();
        let until = decision.wake.map(|wake| wake.duration_since(now).unsigned_abs());
        let due = decision.wake.is_some_and(|wake| wake <= now);
        let wait = if due { Duration::ZERO } else { until.unwrap_or(LOOK_EVERY).min(LOOK_EVERY) };
        match self.parts.supervisor.alive_every {
            Some(every) => {
                if self.alive.elapsed() >= every {
                    self.parts.supervisor.say("WATCHDOG=1");
                    self.alive = Instant::now();
                }
                wait.min(every)
            }
            None => wait,
        }
    }

    /// A drive that came since the last look makes the jobs due that write to it.
    fn look_for_drives(&mut self) {
        for (drive, was_there) in &mut self.drives {
            let is_there = drive.is_there(&self.parts.media);
            match (*was_there, is_there) {
                (false, true) => self.board.plugged_in(&drive.key()),
                (true, false) => self.board.unplugged(&drive.key()),
                _ => {}
            }
            *was_there = is_there;
        }
    }

    fn decide(&mut self) -> Decision {
        if self.stopping {
            return Decision::default();
        }
        let zone = watching::zone(&self.loaded.config);
        let time = (self.parts.clock)();
        let now = self.now(time, &zone);
        let (config, local) = (&self.loaded.config, time.to_zoned(zone.clone()).datetime());
        self.board.decide(&now, &mut |wanted| duties::look(config, wanted, local))
    }

    fn now<'z>(&self, time: Timestamp, zone: &'z TimeZone) -> Now<'z> {
        let paused = PauseFile::of(&self.parts.state).read(time).is_some();
        Now { time, zone, awake_since: self.awake_since, paused }
    }

    /// The options of a run. While the file cannot be used, it reads what holds; only who tells people reads the file,
    /// to tell of it.
    fn options(&self, key: &Key) -> Vec<OsString> {
        let mut options = self.parts.options.clone();
        let tells = matches!(key.duty, Duty::Watch | Duty::Report);
        if let Some(held) = self.held.as_ref().filter(|_| !tells)
            && let Some(at) = options.iter().position(|word| word == "--config")
            && let Some(path) = options.get_mut(at + 1)
        {
            *path = held.into();
        }
        options
    }

    fn keep_configuration(&self) -> Option<PathBuf> {
        let kept = LastGood::of(&self.parts.state).keep(&self.loaded);
        kept.inspect_err(|e| (self.parts.log)(&format!("cannot keep the configuration that holds: {e}"))).ok()
    }

    fn begin(&mut self, key: &Key, trigger: Trigger) {
        let words = if trigger == Trigger::Retry { "schedule" } else { trigger.word() };
        let arguments = duties::arguments(key, words).into_iter().map(OsString::from);
        let launch = Launch {
            program: self.parts.program.clone(),
            arguments: self.options(key).into_iter().chain(arguments).collect(),
        };
        let (messages, of) = (self.handle.messages.clone(), key.clone());
        let began = (self.parts.clock)();
        match child::start(&launch, move |said| drop(messages.send(Message::Said(of.clone(), said)))) {
            Ok(process) => {
                (self.parts.log)(&format!("{key}: begins ({})", trigger.word()));
                self.board.begun(key);
                self.running
                    .insert(key.clone(), Run { process, began, trigger, id: Value::Null, last: None });
            }
            Err(e) => {
                let why = format!("cannot start {}: {e}", self.parts.program.display());
                (self.parts.log)(&format!("{key}: {why}"));
                self.record(key, began, Some(&why));
                self.stand(key, true);
            }
        }
    }

    fn ended(&mut self, key: &Key, status: Option<ExitStatus>, tail: &str) {
        let Some(run) = self.running.remove(key) else { return };
        self.board.ended(key);
        let code = status.and_then(|status| status.code()).unwrap_or(-1);
        let (how, complaint) = (child::in_words(status), complaint(tail));
        // A run that was killed could not record itself.
        let recorded = self.parts.catalog.duty(key.duty, &key.subject).ok().flatten();
        let recorded =
            recorded.and_then(|record| record.attempted).is_some_and(|at| at >= run.began.as_second());
        if !recorded && code != Exit::Skipped as i32 && !(self.stopping && code != 0) {
            let why = (code != 0).then(|| match (code, complaint.as_str()) {
                (_, "") => how.clone(),
                (-1, words) => format!("{how}: {words}"),
                (_, words) => words.to_string(),
            });
            self.record(key, (self.parts.clock)(), why.as_deref());
        }
        let permanent = [Exit::Usage, Exit::NoRepository, Exit::WrongPassword, Exit::Refused];
        self.stand(key, !permanent.iter().any(|exit| *exit as i32 == code));
        if code == Exit::Skipped as i32 {
            self.put_off(key);
        }
        let words = match (code, complaint.as_str()) {
            (0, _) => "ended well".to_string(),
            (75, _) => "nothing was done on purpose".to_string(),
            (_, "") => how,
            (_, complaint) => format!("{how}: {complaint}"),
        };
        (self.parts.log)(&format!("{key}: {words}"));
        let end = json!({ "message_type": "run_ended", "run_id": run.id, "code": code, "message": words });
        let end = self.enveloped(key, &end.to_string());
        self.handle.hub.tell(key, &end, true);
    }

    /// Notes how a duty stands, as the catalog has it.
    fn stand(&mut self, key: &Key, may_retry: bool) {
        let now = (self.parts.clock)();
        let record = self.parts.catalog.duty(key.duty, &key.subject).ok().flatten();
        let time = |secs: Option<i64>| secs.and_then(|secs| Timestamp::from_second(secs).ok());
        let before = self.board.standing(key).map_or(now, |standing| standing.since);
        let standing = match record {
            Some(record) => Standing {
                attempted: time(record.attempted),
                succeeded: time(record.succeeded),
                failures: record.failures,
                may_retry,
                since: time(Some(record.first_due)).unwrap_or(before),
            },
            None => Standing { attempted: None, succeeded: None, failures: 0, may_retry, since: before },
        };
        self.board.set_standing(key.clone(), standing);
    }

    /// What was skipped waits for its next time.
    fn put_off(&mut self, key: &Key) {
        let now = (self.parts.clock)();
        if let Some(standing) = self.board.standing(key).cloned() {
            self.board.set_standing(key.clone(), Standing { attempted: Some(now), ..standing });
        }
    }

    fn record(&self, key: &Key, at: Timestamp, error: Option<&str>) {
        if let Err(e) = self.parts.catalog.record_duty(key.duty, &key.subject, at.as_second(), error) {
            (self.parts.log)(&format!("{key}: cannot be recorded: {e}"));
        }
    }

    fn plan(&mut self) {
        let plans = duties::plans(&self.loaded.config, &self.parts.host);
        let keys: Vec<Key> = plans.iter().map(plan::DutyPlan::key).collect();
        self.board.set_plans(plans);
        self.plan_drives();
        let now = (self.parts.clock)().as_second();
        for key in keys {
            self.parts.catalog.expect_duty(key.duty, &key.subject, now).ok();
            self.stand(&key, true);
        }
    }

    /// What is there when it is first looked for was not plugged in just now: its jobs are caught up.
    fn plan_drives(&mut self) {
        let before = std::mem::take(&mut self.drives);
        for drive in drives::drives(&self.loaded.config) {
            let is_there = before.get(&drive).copied().unwrap_or_else(|| drive.is_there(&self.parts.media));
            self.drives.insert(drive, is_there);
        }
        if !self.drives.is_empty() && !std::mem::replace(&mut self.watches_drives, true) {
            let messages = self.handle.messages.clone();
            drives::watch(&self.parts.media, move || messages.send(Message::Look).is_ok());
        }
    }

    /// Takes the configuration as it is now; a broken one changes nothing, and is told of.
    fn reload(&mut self) {
        let was_broken = self.held.is_some();
        match (self.parts.load)() {
            Ok(loaded) => {
                self.loaded = loaded;
                self.held = None;
                self.plan();
                self.keep_configuration();
                (self.parts.log)("the configuration was read again");
            }
            Err(why) => {
                (self.parts.log)(&format!("the old configuration stays: {why}"));
                self.held = self.keep_configuration();
            }
        }
        if was_broken || self.held.is_some() {
            self.board.ask(&Key { duty: Duty::Watch, subject: String::new() });
        }
        self.stamp = stamp(&self.loaded);
    }

    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            (self.parts.log)(&format!("stopping; {} runs end between two steps", self.running.len()));
            self.parts.supervisor.say("STOPPING=1");
        }
        for run in self.running.values() {
            if let Some(process) = rustix::process::Pid::from_raw(run.process as i32) {
                // One that is gone already has its end on the way here.
                rustix::process::kill_process(process, rustix::process::Signal::TERM).ok();
            }
        }
    }

    fn publish(&self, decision: &Decision) {
        let time = (self.parts.clock)();
        let zone = watching::zone(&self.loaded.config);
        let now = self.now(time, &zone);
        let status = self.status(decision, &now);
        let line = match (self.running.keys().next(), decision.wake) {
            (Some(key), _) => format!("{key} runs"),
            (None, Some(wake)) => format!("next: {}", in_words(wake, time, &zone)),
            (None, None) => "nothing is due".to_string(),
        };
        self.parts.supervisor.say(&format!("STATUS={line}"));
        *self.handle.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Where its configuration is.
    fn configuration(&self) -> String {
        let path = &self.loaded.files[0].path;
        path.canonicalize().unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned()
    }

    fn status(&self, decision: &Decision, now: &Now<'_>) -> Value {
        let key = |key: &Key| json!({ "duty": key.duty, "subject": key.subject });
        let running = self.running.iter().map(|(of, run)| {
            let last: Option<Value> = run.last.as_ref().and_then(|line| serde_json::from_str(line).ok());
            let mut object = key(of);
            object["began"] = run.began.to_string().into();
            object["trigger"] = run.trigger.word().into();
            object["last"] = last.into();
            object
        });
        let waiting = decision.waiting.iter().map(|(of, why)| {
            let mut object = key(of);
            object["why"] = match why {
                Waiting::Busy(what) => format!("waits for {what}"),
                Waiting::Conditions(verdict) => verdict.to_string(),
                Waiting::Paused => "paused".to_string(),
            }
            .into();
            object
        });
        let next = self.board.next_times(now).into_iter().map(|(plan, time)| {
            let mut object = key(&plan.key());
            object["next"] = time.map(|time| time.to_string()).into();
            object
        });
        let pause = PauseFile::of(&self.parts.state).read(now.time);
        json!({
            "message_type": "daemon", "v": 1, "configuration": self.configuration(), "process": std::process::id(), "paused": now.paused,
            "paused_until": pause.and_then(|pause| pause.until).map(|until| until.to_string()),
            "stopping": self.stopping,
            "running": running.collect::<Vec<_>>(), "waiting": waiting.collect::<Vec<_>>(),
            "duties": next.collect::<Vec<_>>(),
        })
    }
}

/// The last thing it complained about, in one line.
fn complaint(tail: &str) -> String {
    let line = tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let object: Option<Value> = serde_json::from_str(line).ok();
    let words = object.as_ref().and_then(|object| object["message"].as_str()).unwrap_or(line);
    crate::display::safe(words).chars().take(500).collect()
}

/// What changes when a file of the configuration does.
fn stamp(loaded: &Loaded) -> Vec<Option<SystemTime>> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    let main = &loaded.files[0].path;
    // A new file in the folder changes the folder.
    let folder = main.parent().map(|folder| folder.join("conf.d"));
    loaded.files.iter().map(|file| file.path.as_path()).chain(folder.as_deref()).map(changed).collect()
}

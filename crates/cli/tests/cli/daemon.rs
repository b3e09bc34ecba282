//! The daemon as a process: it backs up by itself, can be asked, paused, killed, and replaced by timers.

use crate::support::Machine;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Everything here takes a moment; a machine under load takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

fn machine(schedule: &str, more: &str) -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    configure(&machine, schedule, more);
    machine.ok(&["init", "-r", "main"]);
    machine
}

fn configure(machine: &Machine, schedule: &str, more: &str) {
    let root = machine.root.display();
    let text = format!(
        "[machine]\nname = \"atlas\"\ntimezone = \"UTC\"\n[repositories.main]\nurl = \"{root}/main\"\n[sources.src]\npaths = [\"{root}/src\"]\n\
         [jobs.daily]\nsources = [\"src\"]\nto = [\"main\"]\nschedule = \"{schedule}\"\nretry = {{ attempts = 1 }}\n\
         [maintenance]\nschedule = []\n[verify]\nschedule = []\n{more}"
    );
    // At once and whole, as an editor does it.
    fs::write(machine.root.join("new.toml"), text).unwrap();
    fs::rename(machine.root.join("new.toml"), machine.root.join("lifeboat.toml")).unwrap();
}

fn snapshots(machine: &Machine) -> usize {
    // The configuration is kept beside the copies, as snapshots of its own.
    let ran = machine.run(&["snapshots", "-r", "main", "--tag", "source:src", "--json"]);
    serde_json::from_slice::<Value>(&ran.raw_out).unwrap().as_array().unwrap().len()
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A daemon that is killed at the end of the test.
pub(crate) struct Running<'m> {
    machine: &'m Machine,
    child: Child,
}

impl<'m> Running<'m> {
    pub(crate) fn start(machine: &'m Machine) -> Running<'m> {
        let log = fs::File::options().create(true).append(true).open(machine.root.join("log")).unwrap();
        let mut command = machine.command();
        let child =
            command.arg("daemon").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let running = Running { machine, child };
        until("it answers", || machine.run(&["schedule", "show"]).err.contains("the daemon is running"));
        running
    }

    fn log(&self) -> String {
        fs::read_to_string(self.machine.root.join("log")).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(self.machine.command_of("kill").args([name, &id]).status().unwrap().success());
    }

    pub(crate) fn ends(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it ends: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn it_backs_up_by_itself_and_stops_well() {
    let machine = machine("*:*:0/2", "");
    let mut daemon = Running::start(&machine);
    until("two snapshots", || snapshots(&machine) >= 2);
    let socket = machine.root.join("home/.local/state/lifeboat/run/daemon.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    daemon.signal("-TERM");
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    assert!(daemon.log().contains("job daily: begins (schedule)"), "{}", daemon.log());
    assert!(daemon.log().contains("nothing was left half done"), "{}", daemon.log());
    assert!(!socket.exists());
    let log = machine.run(&["log"]);
    assert_eq!(log.code, 0, "{}", log.err);
    assert_eq!(machine.run(&["check", "-r", "main", "--read-data"]).code, 0);
}

#[test]
fn run_shows_the_run_of_the_daemon_and_works_without_one() {
    let machine = machine("2199-01-01", "");
    let mut daemon = Running::start(&machine);
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("the daemon runs it"), "{}", ran.err);
    assert!(ran.out.contains("src into main: snapshot"), "{}", ran.out);
    assert!(daemon.log().contains("job daily: begins (manual)"), "{}", daemon.log());
    let json = machine.run(&["run", "daily", "--json"]);
    let objects: Vec<Value> = json
        .raw_out
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert_eq!(objects[0]["message_type"], "run_started");
    daemon.signal("-TERM");
    assert_eq!(daemon.ends(), Some(0));
    let alone = machine.run(&["run", "daily"]);
    assert_eq!(alone.code, 0, "{}", alone.err);
    assert!(!alone.err.contains("daemon"), "{}", alone.err);
    assert_eq!(snapshots(&machine), 3);
}

#[test]
fn a_failed_run_of_the_daemon_fails_here() {
    let machine = machine("2199-01-01", "");
    let _daemon = Running::start(&machine);
    fs::rename(machine.root.join("main"), machine.root.join("gone")).unwrap();
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 10, "{} {}", ran.out, ran.err);
}

#[test]
fn after_sigkill_the_next_one_goes_on() {
    let machine = machine("*:*:0/2", "");
    let mut daemon = Running::start(&machine);
    until("a snapshot", || snapshots(&machine) >= 1);
    daemon.signal("-KILL");
    assert_eq!(daemon.ends(), None);
    let before = snapshots(&machine);
    let again = Running::start(&machine);
    until("more snapshots", || snapshots(&machine) > before + 1);
    let second = machine.run(&["daemon"]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains("a daemon is running already"), "{}", second.err);
    drop(again);
    assert_eq!(machine.run(&["check", "-r", "main"]).code, 0);
}

#[test]
fn what_was_missed_while_it_was_off_is_done_once() {
    let machine = machine("*:*:0/2", "");
    let mut daemon = Running::start(&machine);
    until("a snapshot", || snapshots(&machine) >= 1);
    daemon.signal("-TERM");
    daemon.ends();
    let before = snapshots(&machine);
    // Its times pass while it is off.
    std::thread::sleep(Duration::from_secs(5));
    let daemon = Running::start(&machine);
    until("it catches up", || snapshots(&machine) > before);
    assert!(daemon.log().contains("job daily: begins (catch-up)"), "{}", daemon.log());
}

#[test]
fn a_pause_holds_until_it_is_over() {
    let machine = machine("*:*:0/2", "");
    machine.ok(&["pause", "1h"]);
    let daemon = Running::start(&machine);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(snapshots(&machine), 0, "{}", daemon.log());
    assert!(machine.ok(&["schedule", "show"]).contains("paused"));
    // What begins by itself without the daemon is held, too; what somebody starts is not.
    assert_eq!(machine.run(&["run", "daily", "--trigger", "schedule"]).code, 75);
    machine.ok(&["run", "daily"]);
    assert_eq!(snapshots(&machine), 1);
    machine.ok(&["resume"]);
    until("it goes on", || snapshots(&machine) >= 2);
}

#[test]
fn a_changed_configuration_is_read_and_a_broken_one_is_not_followed() {
    let machine = machine("2199-01-01", "");
    let daemon = Running::start(&machine);
    break_configuration(&machine);
    daemon.signal("-HUP");
    until("it complains", || daemon.log().contains("the old configuration stays"));
    configure(&machine, "*:*:0/2", "");
    daemon.signal("-HUP");
    until("it runs by the new one", || snapshots(&machine) >= 1);
}

fn break_configuration(machine: &Machine) {
    fs::write(machine.root.join("lifeboat.toml"), "[jobs.daily]\nsorces = 1\n").unwrap();
}

/// Lets everything be told into the file `told`.
const TELLS: &str =
    "[notify.me]\ntype = \"command\"\nrun = [\"sh\", \"-c\", \"cat >> $HOME/told; echo >> $HOME/told\"]\n";

/// How often what is told holds these words.
fn told(machine: &Machine, words: &str) -> usize {
    let text = fs::read_to_string(machine.root.join("home/told")).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"configuration\"") && line.contains(words)).count()
}

#[test]
fn a_broken_configuration_stops_no_run_and_is_told() {
    let machine = machine("*:*:0/2", TELLS);
    let daemon = Running::start(&machine);
    until("a snapshot", || snapshots(&machine) >= 1);
    break_configuration(&machine);
    daemon.signal("-HUP");
    until("it is told", || told(&machine, "lifeboat.toml:1:1: error: ") == 1);
    let ended = |log: String| {
        let after = log.split_once("the old configuration stays").map(|(_, after)| after.to_string());
        after.unwrap_or_default().matches("job daily: ended well").count()
    };
    until("runs go on", || ended(daemon.log()) >= 2);
    assert!(!daemon.log().contains("exit code 2"), "{}", daemon.log());
    configure(&machine, "2199-01-01", TELLS);
    daemon.signal("-HUP");
    until("it is over", || told(&machine, "recovered") == 1);
}

#[test]
fn a_timer_tells_of_a_broken_configuration_too() {
    let machine = machine("2199-01-01", TELLS);
    machine.run(&["status", "--check", "--notify"]);
    break_configuration(&machine);
    for _ in 0..2 {
        let ran = machine.run(&["status", "--check", "--notify"]);
        assert!(ran.code == 4 && ran.err.contains("jobs.daily.sources is missing"), "{}", ran.err);
        assert_eq!(told(&machine, "jobs.daily.sources is missing"), 1, "once until it is repeated");
    }
    assert_eq!(machine.run(&["status"]).code, 2);
    configure(&machine, "2199-01-01", TELLS);
    machine.run(&["status", "--check", "--notify"]);
    assert_eq!(told(&machine, "recovered"), 1);
}

#[test]
fn events_say_their_version_number_duty_and_run() {
    let machine = machine("2199-01-01", "");
    let _daemon = Running::start(&machine);
    let ran = machine.run(&["run", "daily", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let events: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_run: Vec<&Value> = events.iter().filter(|event| event["seq"].is_u64()).collect();
    assert!(of_run.len() > 2, "{}", ran.out);
    let numbers: Vec<u64> = of_run.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    let id = of_run.iter().find(|event| event["message_type"] == "run_started").unwrap()["run_id"].clone();
    assert!(id.is_string(), "{id}");
    for event in of_run {
        assert_eq!(
            (&event["v"], &event["duty"], &event["subject"]),
            (&1.into(), &"run".into(), &"daily".into())
        );
        assert_eq!(event["run_id"], id, "{event}");
    }
}

/// The value of a metric of the repository.
fn metric(machine: &Machine, name: &str) -> f64 {
    machine.ok(&["status", "--metrics", "metrics.prom"]);
    let text = fs::read_to_string(machine.root.join("metrics.prom")).unwrap();
    let start = format!("lifeboat_{name}{{repository=\"main\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    let value: f64 = line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap();
    assert!(value.is_sign_positive(), "nothing is measured below nothing: {line:?}");
    value
}

#[test]
fn a_run_counts_what_is_stored_and_learns_the_names_and_reading_by_hand_counts() {
    let machine = machine("2199-01-01", "");
    machine.ok(&["run", "daily"]);
    assert!(metric(&machine, "repository_stored_bytes") > 0.0);
    assert!(metric(&machine, "repository_free_bytes") > 0.0);
    let mut files = Vec::new();
    let mut folders = vec![machine.root.join("home")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { folders.push(entry) } else { files.push(entry) }
        }
    }
    assert!(files.iter().any(|path| path.ends_with("names.sqlite")), "the first find is quick: {files:?}");
    assert_eq!(metric(&machine, "verified_ratio"), 0.0);
    machine.ok(&["check", "-r", "main"]);
    assert_eq!(metric(&machine, "verified_ratio"), 0.0, "names and lengths prove no contents");
    machine.ok(&["check", "--read-data"]);
    assert_eq!(metric(&machine, "verified_ratio"), 1.0);
    assert!(metric(&machine, "last_verified_timestamp_seconds") > 0.0);
    let mut packs = vec![machine.root.join("main/packs")];
    let pack = loop {
        let path = packs.pop().unwrap();
        if path.is_file() {
            break path;
        }
        packs.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
    };
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&pack, bytes).unwrap();
    assert_eq!(machine.run(&["scrub", "-r", "./main"]).code, 5);
    assert_eq!(metric(&machine, "repository_damaged"), 1.0, "status knows of what scrub found");
}

#[test]
fn a_job_for_a_drive_is_started_by_the_drive() {
    let machine = machine("Mon 02:00", "");
    let text = fs::read_to_string(machine.root.join("lifeboat.toml")).unwrap();
    let drive = "[repositories.usb]\nurl = \"removable:3F1C-77AA/backup\"\n[sources.src]";
    let text = text.replace("[sources.src]", drive).replace("to = [\"main\"]", "to = [\"main\", \"usb\"]");
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.ok(&["schedule", "install", "--into", "units"]);
    let unit = machine.root.join("units/lifeboat-plugged-in-run-daily.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("WantedBy=dev-disk-by\\x2duuid-3F1C\\x2d77AA.device\n"), "{text}");
    machine.ok(&["schedule", "remove", "--into", "units"]);
    assert!(!unit.exists());
}

#[test]
fn metrics_are_served_on_loopback() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let machine =
        machine("2199-01-01", &format!("[daemon]\nlisten = \"127.0.0.1:{port}\"\nmetrics = true\n"));
    let _daemon = Running::start(&machine);
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("lifeboat_build_info{version="), "{text}");
}

#[test]
fn schedules_are_shown_in_words_and_installed_as_units() {
    let machine = machine("Mon..Fri 13:00", "");
    let shown = machine.ok(&["schedule", "show"]);
    assert!(shown.contains("job daily  on Monday to Friday at 13:00"), "{shown}");
    let next = machine.ok(&["schedule", "next", "*-*-* 02:30", "-n", "3"]);
    assert!(next.starts_with("every day at 02:30\n") && next.lines().count() == 4, "{next}");
    assert_eq!(machine.run(&["schedule", "next", "Sat..Mon"]).code, 2);
    let install = |more: &[&str]| machine.ok(&[&["schedule", "install", "--into", "units"], more].concat());
    install(&["--dry-run"]);
    assert!(!machine.root.join("units").exists());
    install(&[]);
    let timer = fs::read_to_string(machine.root.join("units/lifeboat-run-daily.timer")).unwrap();
    assert!(timer.contains("OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 13:00:00 UTC\n"), "{timer}");
    let service = fs::read_to_string(machine.root.join("units/lifeboat-run-daily.service")).unwrap();
    assert!(service.contains(" run daily --trigger schedule"), "{service}");
    fs::write(machine.root.join("units/lifeboat-other.timer"), "[Timer]\n").unwrap();
    install(&["--daemon"]);
    let names = |folder: &str| {
        let mut names: Vec<_> =
            fs::read_dir(machine.root.join(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("units"), ["lifeboat-other.timer", "lifeboat.service"]);
    // A server that lets in by account: the unit of the job that reads it may become that, and no other unit.
    let sources = "[sources.shop]\ntype = \"postgres\"\nurl = \"postgresql:///?host=/run/postgresql\"\n\
                   [sources.mail]\npaths = [\"/proc/self\"]\nsnapshot = \"btrfs\"\n\
                   [jobs.shop]\nsources = [\"shop\", \"mail\"]\nto = [\"main\"]\n";
    let text = fs::read_to_string(machine.root.join("lifeboat.toml")).unwrap();
    fs::write(machine.root.join("lifeboat.toml"), text + sources).unwrap();
    let ran = machine.run(&["schedule", "install", "--into", "units"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("mail lies on nothing now of which such a snapshot can be taken"),
        "{}",
        ran.err
    );
    if rustix::process::geteuid().is_root() {
        let service = |job: &str| {
            fs::read_to_string(machine.root.join(format!("units/lifeboat-run-{job}.service"))).unwrap()
        };
        assert!(
            service("shop").contains("=CAP_DAC_READ_SEARCH CAP_SETUID CAP_SETGID\n"),
            "{}",
            service("shop")
        );
        assert!(service("daily").contains("=CAP_DAC_READ_SEARCH\n"), "{}", service("daily"));
        assert!(ran.err.contains("the job shop may also become other users"), "{}", ran.err);
        assert!(!ran.err.contains("the job daily may"), "{}", ran.err);
    }
    // Who is to be told is told by a timer when the daemon is dead.
    let text = fs::read_to_string(machine.root.join("lifeboat.toml")).unwrap();
    let tells = format!("{text}[notify.me]\ntype = \"command\"\nrun = [\"true\"]\n");
    fs::write(machine.root.join("lifeboat.toml"), tells).unwrap();
    install(&["--daemon"]);
    assert_eq!(
        names("units"),
        ["lifeboat-other.timer", "lifeboat-watch.service", "lifeboat-watch.timer", "lifeboat.service"]
    );
    machine.ok(&["schedule", "remove", "--into", "units"]);
    assert_eq!(names("units"), ["lifeboat-other.timer"], "what others wrote stays");
}

#[test]
fn units_and_cron_go_by_the_clock_of_the_configuration_and_the_watch_may_write_its_metrics() {
    let mut machine = machine(
        "daily",
        "[daemon]\nmetrics_file = \"/srv/metrics/lifeboat.prom\"\n[notify.me]\ntype = \"command\"\nrun = [\"true\"]\n",
    );
    machine.set("TZ", "UTC");
    let file = machine.root.join("lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("timezone = \"UTC\"", "timezone = \"Europe/Paris\"")).unwrap();
    let unit = |name: &str| fs::read_to_string(machine.root.join("units").join(name)).unwrap();
    machine.ok(&["schedule", "install", "--into", "units"]);
    let timer = unit("lifeboat-run-daily.timer");
    assert!(timer.contains("OnCalendar=*-*-* 00:00:00 Europe/Paris\n"), "{timer}");
    assert!(unit("lifeboat-watch.timer").contains(" Europe/Paris\n"));
    if rustix::process::geteuid().is_root() {
        assert!(
            unit("lifeboat-watch.service").contains(" -/srv/metrics\n"),
            "{}",
            unit("lifeboat-watch.service")
        );
        assert!(!unit("lifeboat-run-daily.service").contains("/srv/metrics"));
    }
    // No crontab of anybody is touched.
    let tools = machine.root.join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("crontab"), "#!/bin/sh\necho no crontab for me >&2; exit 1\n").unwrap();
    fs::set_permissions(tools.join("crontab"), fs::Permissions::from_mode(0o755)).unwrap();
    machine.set("PATH", &format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    let ran = machine.run(&["schedule", "install", "--cron", "--dry-run"]);
    assert!(
        ran.code == 0 && ran.err.contains("the job daily is due by the clock of Europe/Paris"),
        "{}",
        ran.err
    );
    assert!(!ran.out.contains("run daily") && ran.out.contains("status --check --notify"), "{}", ran.out);
}

#[test]
fn without_systemd_nothing_is_written_and_all_is_removed() {
    let mut machine = machine("daily", "");
    let tools = machine.root.join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("systemctl"), "#!/bin/sh\necho not booted with systemd >&2; exit 1\n").unwrap();
    fs::set_permissions(tools.join("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    machine.set("PATH", &format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    machine.set("XDG_CONFIG_HOME", &machine.root.join("config").display().to_string());
    let units = machine.root.join("config/systemd/user");
    let ran = machine.run(&["schedule", "install", "--user"]);
    assert!(ran.code == 1 && ran.err.contains("--cron") && ran.err.contains("--into FOLDER"), "{}", ran.err);
    assert!(!units.exists());
    machine.ok(&["schedule", "install", "--into", &units.display().to_string()]);
    let ran = machine.run(&["schedule", "remove", "--user"]);
    assert!(ran.code == 1 && ran.err.contains("not booted with systemd"), "{}", ran.err);
    assert_eq!(fs::read_dir(&units).unwrap().count(), 0, "{}{}", ran.out, ran.err);
}

#[test]
fn sigterm_ends_a_running_backup_between_two_steps_and_it_is_done_again() {
    let script = "for i in $(seq 600); do head -c 100000 /dev/urandom; sleep 0.1; done";
    let slow = format!(
        "[sources.slow]\ntype = \"command\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n\
         [jobs.slow]\nsources = [\"slow\"]\nto = [\"main\"]\nschedule = \"*:*:0/2\"\nretry = {{ attempts = 1 }}\n"
    );
    let machine = machine("2199-01-01", &slow);
    let mut daemon = Running::start(&machine);
    until("it begins", || daemon.log().contains("job slow: begins (schedule)"));
    // It is in the middle of the stream.
    std::thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    daemon.signal("-TERM");
    assert_eq!(daemon.ends(), Some(0), "{}", daemon.log());
    assert!(begun.elapsed() < Duration::from_secs(50), "it did not wait for the end of the stream");
    assert!(daemon.log().contains("job slow: ended with exit code 1"), "{}", daemon.log());
    let of_stream = machine.ok(&["snapshots", "-r", "main", "--tag", "source:slow", "--json"]);
    assert_eq!(of_stream.trim(), "[]", "half a stream is no snapshot");
    assert_eq!(machine.run(&["check", "-r", "main"]).code, 0);
    let again = Running::start(&machine);
    until("it is done again", || again.log().contains("job slow: begins (catch-up)"));
}

//! Units of systemd and lines of cron for those who want no daemon, or one that systemd looks after.
//!
//! Pure: from duties to texts. Timers start `lifeboat run JOB`; none of it needs the daemon, and the watch
//! (`status --check --notify`) raises the alarm also when the daemon is dead.

mod rights;

use crate::catalog::Duty;
use crate::daemon::drives::Drive;
use crate::daemon::plan::{DutyPlan, Key};
use crate::duties;
use crate::schedule::Schedule;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use rights::{Ground, Rights};

/// Every file that is written begins with this line; only such files are ever removed.
pub const MARK: &str = "# Written by lifeboat schedule install; changes are lost.";
const PREFIX: &str = "lifeboat-";
const PLUGGED_IN: &str = "lifeboat-plugged-in-";
/// Where drives are mounted.
const MEDIA: [&str; 4] = ["/media", "/mnt", "/run/media", "/run/lifeboat/media"];

/// For whom units are made.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The program.
    pub program: PathBuf,
    /// The configuration file.
    pub configuration: PathBuf,
    /// Whether they are the user's own.
    pub of_user: bool,
    /// Variables that say where this installation's own files are, so that units use the same ones as you.
    pub environment: Vec<(String, String)>,
    /// The folders that runs write to: its own, and repositories on this machine.
    pub writes: Vec<PathBuf>,
    /// Whether anything on the network is needed.
    pub network: bool,
    /// Whether drives that come and go are needed.
    pub drives: bool,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The service of the daemon, which does all that is to be done.
pub fn daemon(scope: &Scope, rights: &Rights) -> Unit {
    let about = "lifeboat: backups that run by themselves";
    let body = service(scope, rights, about, &["daemon".into()], "notify");
    let target = if scope.of_user { "default.target" } else { "multi-user.target" };
    let text = format!(
        "{body}ExecReload=/bin/kill -HUP $MAINPID\nRestart=on-failure\nRestartSec=30s\nWatchdogSec=5min\nTimeoutStopSec=10min\nKillMode=mixed\n\n[Install]\nWantedBy={target}\n"
    );
    Unit { name: "lifeboat.service".into(), text }
}

/// A service and a timer for each duty, and those of the watch.
pub fn timers(scope: &Scope, plans: &[DutyPlan], rights: &dyn Fn(&Key) -> Rights) -> Vec<Unit> {
    let timed = plans.iter().filter(|plan| !plan.schedules.is_empty());
    timed.flat_map(|plan| timer(scope, plan, &rights(&plan.key()))).collect()
}

/// A service for each job that writes to drives: systemd starts it when one of them is plugged in.
pub fn plugged_in(scope: &Scope, drives: &[Drive], rights: &dyn Fn(&Key) -> Rights) -> Vec<Unit> {
    let jobs: BTreeSet<Key> = drives.iter().map(Drive::key).collect();
    let of = |key: &Key| drives.iter().filter(|drive| drive.key() == *key).collect::<Vec<_>>();
    jobs.iter().map(|key| by_drive(scope, &rights(key), key, of(key).into_iter())).collect()
}

fn by_drive<'d>(scope: &Scope, rights: &Rights, key: &Key, drives: impl Iterator<Item = &'d Drive>) -> Unit {
    let wanted: BTreeSet<String> = drives.flat_map(|drive| devices(&drive.uuid)).collect();
    let wanted: String = wanted.iter().map(|device| format!("WantedBy={device}\n")).collect();
    let arguments: Vec<String> = duties::arguments(key, "plugged-in");
    let arguments: Vec<String> = arguments.into_iter().filter(|word| !is_for_daemon(word)).collect();
    let about = format!("lifeboat: {key}, when its drive is plugged in");
    let body = service(scope, rights, &about, &arguments, "oneshot");
    // Whatever mounts drives gets a moment; where nothing does, the run is skipped.
    let text = format!(
        "{body}ExecStartPre=/bin/sleep 10\nSuccessExitStatus=3 4 75\nTimeoutStopSec=10min\n\n[Install]\n{wanted}"
    );
    let named = name(key);
    Unit { name: format!("{PLUGGED_IN}{}.service", named.trim_start_matches(PREFIX)), text }
}

/// The units by which systemd knows a drive. Windows' file systems have ids in capital letters.
fn devices(uuid: &str) -> [String; 2] {
    [uuid.to_ascii_lowercase(), uuid.to_ascii_uppercase()]
        .map(|uuid| format!("dev-disk-by\\x2duuid-{}.device", uuid.replace('-', "\\x2d")))
}

/// Whether a unit is to be enabled and not started: a drive starts it.
pub fn waits_for_drive(name: &str) -> bool {
    name.starts_with(PLUGGED_IN)
}

fn name(key: &Key) -> String {
    let word = match key.duty {
        Duty::Watch => "watch".to_string(),
        duty => format!("{}-{}", duty.as_str(), key.subject),
    };
    // What may stand in a unit's name; the rest as systemd-escape writes it.
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => (byte as char).to_string(),
        other => format!("\\x{other:02x}"),
    };
    PREFIX.to_string() + &word.bytes().map(escape).collect::<String>()
}

/// Arguments of what a timer or cron starts.
fn arguments(key: &Key) -> Vec<String> {
    match key.duty {
        Duty::Watch => ["status", "--check", "--notify"].map(String::from).to_vec(),
        _ => duties::arguments(key, "schedule").into_iter().filter(|word| !is_for_daemon(word)).collect(),
    }
}

fn is_for_daemon(word: &str) -> bool {
    matches!(word, "--json" | "--alone")
}

fn timer(scope: &Scope, plan: &DutyPlan, rights: &Rights) -> [Unit; 2] {
    let key = plan.key();
    let name = name(&key);
    let times: String = plan.schedules.iter().map(on_calendar).collect();
    let catch_up = if plan.catch_up { "true" } else { "false" };
    let text = format!(
        "{MARK}\n[Unit]\nDescription=lifeboat: when {key} is due\n\n[Timer]\n{times}RandomizedDelaySec={}\nFixedRandomDelay=true\nPersistent={catch_up}\n\n[Install]\nWantedBy=timers.target\n",
        plan.delay.as_secs().max(1)
    );
    let body = service(scope, rights, &format!("lifeboat: {key}"), &arguments(&key), "oneshot");
    // Nothing was done on purpose, or a goal is not met: told elsewhere, and no failure of the unit.
    let service = format!("{body}SuccessExitStatus=3 4 75\nTimeoutStopSec=10min\n");
    [Unit { name: format!("{name}.service"), text: service }, Unit { name: format!("{name}.timer"), text }]
}

fn on_calendar(schedule: &Schedule) -> String {
    match schedule.interval() {
        Some(every) => format!("OnBootSec=5min\nOnUnitInactiveSec={}s\n", every.as_secs()),
        None => schedule.as_calendars().iter().map(|text| format!("OnCalendar={text}\n")).collect(),
    }
}

/// A word of a command line as systemd reads it.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%$".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

fn service(scope: &Scope, rights: &Rights, description: &str, arguments: &[String], kind: &str) -> String {
    let description = description.replace('%', "%%");
    let words = [scope.program.display().to_string(), "-c".into(), scope.configuration.display().to_string()];
    let command: Vec<String> = words.iter().chain(arguments).map(|word| quoted(word)).collect();
    let order = if scope.network { "Wants=network-online.target\nAfter=network-online.target\n" } else { "" };
    let hardening = hardening(scope, rights);
    let variables = scope.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let variables: String =
        variables.map(|v| format!("Environment={}\n", quoted(&v).replace("$$", "$"))).collect();
    format!(
        "{MARK}\n[Unit]\nDescription={description}\n{order}\n[Service]\nType={kind}\nExecStart={}\n{variables}Nice=10\nIOSchedulingClass=idle\n{hardening}",
        command.join(" ")
    )
}

/// What keeps a fault in the program from reaching the rest of the machine. It reads everything, so that it can
/// save it, and writes to its own folders and repositories only.
fn hardening(scope: &Scope, rights: &Rights) -> String {
    let mut lines: Vec<String> = [
        "NoNewPrivileges=true",
        "LockPersonality=true",
        "MemoryDenyWriteExecute=true",
        "RestrictRealtime=true",
        "RestrictSUIDSGID=true",
        "RestrictNamespaces=true",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallErrorNumber=EPERM",
        "UMask=0077",
    ]
    .map(String::from)
    .to_vec();
    if scope.of_user {
        // A user's manager may not change what a service sees of the machine.
        return lines.join("\n") + "\n";
    }
    let system = [
        "AmbientCapabilities=",
        "PrivateTmp=true",
        "ProtectClock=true",
        "PrivateMounts=true",
        "ProtectHostname=true",
        "ProtectKernelLogs=true",
        "ProtectKernelModules=true",
        "ProtectKernelTunables=true",
        "ProtectControlGroups=true",
        "ProtectProc=invisible",
        "RemoveIPC=true",
        "KeyringMode=private",
    ];
    lines.extend(system.map(String::from));
    lines.extend(rights.lines(scope.drives));
    // Names of hosts are found without asking the kernel for its interfaces (AF_NETLINK).
    let families = [
        Some("AF_UNIX"),
        scope.network.then_some("AF_INET AF_INET6"),
        rights.interfaces.then_some("AF_NETLINK"),
    ];
    let families: Vec<&str> = families.into_iter().flatten().collect();
    lines.push(format!("RestrictAddressFamilies={}", families.join(" ")));
    if !scope.network {
        lines.extend((!rights.interfaces).then(|| "PrivateNetwork=true".to_string()));
        lines.push("IPAddressDeny=any".to_string());
    }
    let path = |path: &Path| quoted(&format!("-{}", path.display()));
    let media = MEDIA.iter().filter(|_| scope.drives).map(Path::new);
    let own = scope.writes.iter().map(PathBuf::as_path);
    let paths: Vec<String> = own.chain(rights.writes()).chain(media).map(path).collect();
    if !paths.is_empty() {
        lines.push(format!("ReadWritePaths={}", paths.join(" ")));
    }
    lines.join("\n") + "\n"
}

/// Lines for cron, and the duties whose schedule cron cannot say.
pub fn cron(scope: &Scope, plans: &[DutyPlan]) -> (String, Vec<Key>) {
    let (mut lines, mut impossible) = (vec![CRON_BEGIN.to_string()], Vec::new());
    for plan in plans {
        for schedule in &plan.schedules {
            let Some(fields) = schedule.as_cron() else {
                impossible.push(plan.key());
                continue;
            };
            let words =
                [scope.program.display().to_string(), "-c".into(), scope.configuration.display().to_string()];
            let command: Vec<String> = words
                .into_iter()
                .chain(["-q".into()])
                .chain(arguments(&plan.key()))
                .map(|word| shell(&word))
                .collect();
            lines.push(format!("{fields} {}", command.join(" ")));
        }
    }
    lines.push(CRON_END.to_string());
    (lines.join("\n") + "\n", impossible)
}

const CRON_BEGIN: &str = "# lifeboat schedule install: begin; changes up to the end are lost";
const CRON_END: &str = "# lifeboat schedule install: end";

/// A crontab without what `cron` wrote before, and with these lines.
pub fn in_crontab(crontab: &str, lines: &str) -> String {
    let mut own = false;
    let mut kept = String::new();
    for line in crontab.lines() {
        own |= line == CRON_BEGIN;
        if !own {
            kept += line;
            kept.push('\n');
        }
        own &= line != CRON_END;
    }
    kept + lines
}

/// A word for a shell in a crontab, where `%` ends a line.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', "'\\''").replace('%', "\\%")),
    }
}

/// Whether a unit's file was written by this program.
pub fn is_own(path: &Path) -> bool {
    let name = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lifeboat"));
    name && std::fs::read_to_string(path).is_ok_and(|text| text.starts_with(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::Wanted;
    use std::process::Command;
    use std::time::Duration;

    fn scope(of_user: bool, network: bool) -> Scope {
        Scope {
            program: "/usr/bin/true".into(),
            configuration: "/etc/lifeboat/life boat.toml".into(),
            of_user,
            environment: vec![("HOME".into(), "/home/some one".into())],
            writes: vec!["/mnt/usb disk/backup".into()],
            network,
            drives: !network,
        }
    }

    fn reading() -> Rights {
        Rights { devices: ["/dev/disk/by-id/some-disk".into()].into(), ..Rights::default() }
    }

    fn plan(subject: &str, schedules: &[&str]) -> DutyPlan {
        DutyPlan {
            duty: Duty::Run,
            subject: subject.into(),
            schedules: schedules.iter().map(|text| text.parse().unwrap()).collect(),
            delay: Duration::from_secs(60),
            catch_up: true,
            heeds_conditions: true,
            wanted: Wanted::default(),
            writes: vec![],
            attempts: 1,
            wait: Duration::ZERO,
            timeout: None,
            goal: None,
        }
    }

    fn drive() -> Drive {
        Drive { uuid: "3f1c-77aa".into(), mounts: false, job: "weekly".into() }
    }

    #[test]
    fn a_drive_starts_its_job() {
        let units = plugged_in(&scope(false, false), &[drive(), drive()], &|_| reading());
        let [unit] = &units[..] else { panic!("one unit for one job") };
        assert_eq!(unit.name, "lifeboat-plugged-in-run-weekly.service");
        assert!(waits_for_drive(&unit.name) && !waits_for_drive("lifeboat-run-weekly.service"));
        for id in ["3f1c\\x2d77aa", "3F1C\\x2d77AA"] {
            assert!(
                unit.text.contains(&format!("\nWantedBy=dev-disk-by\\x2duuid-{id}.device\n")),
                "{}",
                unit.text
            );
        }
        assert!(unit.text.contains(" run weekly --trigger plugged-in\n"), "{}", unit.text);
        assert!(unit.text.contains("\nDeviceAllow=/dev/disk/by-id/some-disk r\n"), "{}", unit.text);
        assert!(!unit.text.contains("PrivateDevices") && unit.text.contains("-/run/media"), "{}", unit.text);
    }

    fn write(units: &[Unit]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for unit in units {
            std::fs::write(folder.path().join(&unit.name), &unit.text).unwrap();
        }
        folder
    }

    #[allow(clippy::print_stderr)]
    fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
        match Command::new("systemd-analyze").env("LC_ALL", "C").args(arguments).output() {
            Ok(ran) => {
                let text = [ran.stdout, ran.stderr].concat();
                Some((ran.status.success(), String::from_utf8_lossy(&text).into_owned()))
            }
            Err(_) => {
                let required = std::env::var("LIFEBOAT_TEST_REQUIRE").is_ok_and(|value| value == "all");
                assert!(!required, "systemd-analyze is not installed");
                eprintln!("not run: systemd-analyze is not installed");
                None
            }
        }
    }

    /// The rating of services, ten times it; none where nobody can rate them.
    fn assert_rated(units: &[Unit], most: u32) -> Option<()> {
        let folder = write(units);
        let threshold = format!("--threshold={most}");
        for unit in units.iter().filter(|unit| unit.name.ends_with(".service")) {
            let path = folder.path().join(&unit.name);
            let (good, text) = analyze(&["security", "--offline=true", &threshold, path.to_str().unwrap()])?;
            assert!(good, "{}: {}", unit.name, text.lines().last().unwrap_or_default());
        }
        Some(())
    }

    #[test]
    fn services_of_the_system_are_exposed_to_two_of_ten_at_most() {
        let plans = [plan("daily", &["02:30", "every 6h"])];
        for (network, rights) in [(true, Rights::default()), (true, reading()), (false, reading())] {
            let scope = scope(false, network);
            let mut units = timers(&scope, &plans, &|_| rights.clone());
            units.push(daemon(&scope, &rights));
            units.extend(plugged_in(&scope, &[drive()], &|_| rights.clone()));
            let Some(()) = assert_rated(&units, 20) else { return };
        }
    }

    /// What they are rated when everything else is on: each right costs what it is.
    #[test]
    fn services_with_more_rights_are_exposed_to_what_these_cost() {
        let none = Rights::default;
        let home = || ["/home".into()].into();
        for (rights, most) in [
            (Rights { as_others: true, ..none() }, 22),
            (Rights { disks: true, interfaces: true, kernel: true, ..none() }, 21),
            (Rights { btrfs: ["/srv".into()].into(), ..none() }, 22),
            (Rights { btrfs: home(), ..none() }, 22),
            (Rights { btrfs: ["/".into()].into(), ..none() }, 23),
            (Rights { zfs: true, ..none() }, 23),
            (Rights { lvm: true, ..none() }, 23),
            (Rights { lvm: true, mounts: true, ..none() }, 26),
        ] {
            let unit = daemon(&scope(false, true), &rights);
            let denied = unit.text.find("SystemCallFilter=~@privileged");
            for given in ["SystemCallFilter=@setuid", "SystemCallFilter=@mount"] {
                assert!(unit.text.find(given).is_none_or(|at| Some(at) > denied), "the later one counts");
            }
            let Some(()) = assert_rated(std::slice::from_ref(&unit), most) else { return };
        }
        // Without anything distant it is little.
        let unit = daemon(&scope(false, false), &Rights { as_others: true, ..none() });
        assert_rated(std::slice::from_ref(&unit), 16);
    }

    #[test]
    fn systemd_finds_nothing_wrong_with_the_units() {
        let plans = [plan("daily", &["02:30", "0 5 1 * 1"]), plan("odd name/ä", &["every 6h"])];
        for of_user in [true, false] {
            let all = Rights {
                as_others: true,
                btrfs: ["/home".into(), "/srv".into()].into(),
                zfs: true,
                lvm: true,
                mounts: true,
                disks: true,
                ..reading()
            };
            let scope = scope(of_user, true);
            let mut units = timers(&scope, &plans, &|_| Rights::default());
            units.push(daemon(&scope, &all));
            units.extend(plugged_in(&scope, &[drive()], &|_| all.clone()));
            let folder = write(&units);
            for unit in &units {
                let path = folder.path().join(&unit.name);
                let Some((_, text)) = analyze(&["verify", "--man=no", path.to_str().unwrap()]) else {
                    return;
                };
                // Units of the machine the test runs on may have faults of their own.
                let about: Vec<&str> = text.lines().filter(|line| line.contains("lifeboat")).collect();
                let about: Vec<_> = about.iter().filter(|line| !line.contains("Failed to create")).collect();
                assert!(about.is_empty(), "{}: {about:?}", unit.name);
            }
        }
    }

    #[test]
    fn cron_gets_lines_and_what_it_cannot_say_is_told() {
        let (lines, impossible) =
            cron(&scope(true, true), &[plan("daily", &["02:30"]), plan("odd", &["*-*~1"])]);
        assert!(
            lines.contains(
                "30 2 * * * /usr/bin/true -c '/etc/lifeboat/life boat.toml' -q run daily --trigger schedule\n"
            ),
            "{lines}"
        );
        assert_eq!(impossible.len(), 1);
        let before = "MAILTO=me\n0 1 * * * other\n";
        let with = in_crontab(before, &lines);
        assert!(
            with.starts_with(before) && with.ends_with(CRON_END.to_string().as_str().trim_end())
                || with.ends_with("end\n")
        );
        assert_eq!(in_crontab(&with, &lines), with, "installing twice changes nothing");
        assert_eq!(in_crontab(&with, ""), before);
    }
}

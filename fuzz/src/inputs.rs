//! One function per outside input that is no part of the format, each fed with arbitrary bytes: what people
//! type and write into files, what servers answer, and what this machine keeps for itself.
//!
//! A function panics when something is accepted that must not be, or is not shown so that it is read again as
//! the same; crashes, overflows and exhausted memory show by themselves.

use engine::retention::{Policy, Span};
use format::id::{BlobId, SnapshotId, WriterId};
use format::snapshot::{Completeness, Mode, Snapshot, Stats};
use format::tree::Root;
use host::pattern::PatternList;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use repo::names;
use repo::snapshots::{SnapshotList, StoredSnapshot};
use service::config::load::understand;
use service::config::problem::SourceFile;
use service::config::{Loaded, lint, redact};
use service::schedule::{Schedule, upcoming};
use service::{durations, sizes};
use std::path::Path;
use std::time::Duration;
use storage::oauth::Login;
use storage::oauth::answers::{self, DeviceAnswer, Redirected, TokenAnswer};
use storage::sftp::outside as ssh;
use storage::{Location, ObjectName};

/// The text before the first NUL and what follows it.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

/// Patterns of what is left out, a line each; after a NUL the path they are asked about.
pub fn patterns(data: &[u8]) {
    let (lines, path) = halves(data);
    let path: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    for any_case in [false, true] {
        let mut list = PatternList::default();
        list.push_lines(lines, b"fuzz", any_case);
        for (bases, is_directory) in [(&[0][..], false), (&[0, path.len() as u32 / 2], true)] {
            if let Some(pattern) = list.decide(&path, bases, is_directory) {
                assert!(!pattern.text.is_empty() && !path.is_empty());
                _ = pattern.to_string();
            }
        }
    }
}

/// Lists of sources in files.
pub fn sources(data: &[u8]) {
    if let Ok(paths) = host::files_from::verbatim(data) {
        assert!(paths.iter().all(|path| !path.as_os_str().is_empty()));
    }
    if let Ok(paths) = host::files_from::raw(data) {
        assert_eq!(paths.len(), data.iter().filter(|byte| **byte == 0).count());
    }
    // Patterns are compared with a real folder; with one, so that no machine is searched.
    if !data.contains(&b'/') {
        _ = host::files_from::patterns(data, Path::new("/"));
    }
}

/// Where a repository is.
pub fn places(data: &[u8]) {
    ssh::address(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(location) = Location::parse(text) {
        let shown = location.to_string();
        match Location::parse(&shown) {
            Ok(again) => assert_eq!(again, location, "{shown}"),
            Err(e) => panic!("{shown}: {e}"),
        }
    }
}

/// The word for a snapshot.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let stored = |n: u8| StoredSnapshot {
        snapshot: snapshot(n),
        received: None,
        record_hash: [n; 32],
        forgotten: n == 0x22,
        tomb: None,
    };
    let list = SnapshotList { snapshots: [0x11, 0x12, 0x22].map(stored).into(), ..SnapshotList::default() };
    if let Ok(found) = list.find(text, |_| true) {
        let is_latest = text.starts_with("latest") && found.id.0[0] != 0x22;
        assert!(is_latest || found.id.hex().starts_with(&text.to_ascii_lowercase()), "{text:?}");
    }
}

fn snapshot(n: u8) -> Snapshot {
    let time = format::kind::Timestamp { secs: n.into(), nanos: 0 };
    Snapshot {
        id: SnapshotId([n; 16]),
        writer: WriterId([1; 16]),
        sequence: n.into(),
        previous: [0; 32],
        root: Root { id: BlobId([n; 24]), level: 0 },
        time,
        end: time,
        host: "nas".into(),
        user: "me".into(),
        sources: vec![b"/home".to_vec()],
        tags: Vec::new(),
        mode: Mode::Full,
        base: None,
        parent: None,
        completeness: Completeness::Complete,
        stats: Stats::default(),
        program: "1".into(),
        excludes: Vec::new(),
        mounts: Vec::new(),
        description: String::new(),
    }
}

/// What is to be kept.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(policy) = text.parse::<Policy>() {
        _ = (policy.is_empty(), policy.to_string());
    }
    if let Ok(span) = text.parse::<Span>() {
        assert!(span.to_string().parse::<Span>().is_ok_and(|again| again == span), "{text:?}");
        assert!(span.secs_at_most() > 0);
    }
}

/// Lengths of time, numbers of bytes, points in time.
pub fn amounts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(length) = durations::parse(text) {
        assert!(durations::parse(&durations::written(length)).is_ok_and(|again| again == length));
        _ = durations::shown(length);
    }
    if let Ok(bytes) = sizes::parse(text) {
        assert!(sizes::parse(&sizes::written(bytes)).is_ok_and(|again| again == bytes));
        _ = sizes::shown(bytes);
    }
    _ = sizes::parse_memory(text);
    if let Ok(percent) = sizes::parse_parity(text) {
        assert!(percent <= format::parity::PERCENT_MAX);
    }
    if let Ok(time) = service::time::parse(text) {
        assert!(time.nanos < 1_000_000_000);
        (_, _, _) = (service::time::shown(time), service::time::rfc3339(time), service::time::calendar(time));
    }
    if let Some(length) = service::schedule::parse_length(text) {
        assert!(!service::schedule::shown_length(length).is_empty());
    }
}

/// When something is due.
pub fn schedule(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(schedule) = text.parse::<Schedule>() else { return };
    let berlin = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
    // Before the clocks are put forward, and at the end of February.
    for begin in [1_774_700_000, 1_835_300_000] {
        let begin = Timestamp::from_second(begin).expect("it is a time");
        let times = upcoming(std::slice::from_ref(&schedule), begin, &berlin, 3);
        assert!(times.iter().all(|time| *time > begin) && times.is_sorted(), "{text:?}: {times:?}");
        // Long lists are for systemd, which takes longer lines than we do.
        for calendar in schedule.as_calendars().into_iter().filter(|text| text.len() <= 256) {
            let again: Schedule =
                calendar.parse().unwrap_or_else(|e| panic!("{text:?} as {calendar:?}: {e}"));
            assert!(again.next(begin, &berlin).is_none_or(|time| time > begin));
        }
    }
    (_, _) = (schedule.meaning(), schedule.as_cron());
}

/// `lifeboat.toml`.
pub fn toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = SourceFile { path: "lifeboat.toml".into(), text: text.to_string() };
    match understand(vec![file], Path::new("/home/me")) {
        Ok(loaded) => of_loaded(&loaded),
        Err(broken) => {
            assert!(!broken.problems.is_empty());
            for problem in &broken.problems {
                (_, _) = (problem.lines(&broken.files), problem.object(&broken.files));
            }
        }
    }
}

fn of_loaded(loaded: &Loaded) {
    let again = |text: String| {
        let file = SourceFile { path: "lifeboat.toml".into(), text };
        understand(vec![file], Path::new("/home/me"))
    };
    let shown = loaded.config.to_toml();
    assert!(again(shown.clone()).is_ok_and(|loaded| loaded.config.to_toml() == shown), "{shown}");
    let interval = |text: &str| text.parse::<Schedule>().ok().and_then(|schedule| schedule.interval());
    for problem in lint::lint(loaded, &lint::Seen::default(), interval) {
        (_, _) = (problem.lines(&loaded.files), problem.object(&loaded.files));
    }
    for text in redact::without_secrets(loaded) {
        _ = again(text);
    }
}

/// The configuration of the SSH client.
pub fn sshconfig(data: &[u8]) {
    ssh::config(data);
}

/// Files of known hosts.
pub fn knownhosts(data: &[u8]) {
    ssh::known_hosts(data);
}

/// Packets of an SFTP server.
pub fn sftp(data: &[u8]) {
    ssh::packet(data);
}

/// Names in the list of a remote place.
pub fn listed(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(name) = ObjectName::new(text) else { return };
    let path = Path::new(name.as_str());
    assert!(
        path.is_relative() && path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
    );
    if let Some((kind, id)) = names::parse_pack(&name) {
        assert_eq!(names::pack(kind, &id), name);
    }
    if let Some((session, number)) = names::parse_pending(&name) {
        assert_eq!(names::pending(&session, number), name);
    }
    let same_but_mirrored = |made: ObjectName| assert_eq!(made.as_str(), names::first_copy(&name));
    _ = names::parse_slot(&name).map(|id| same_but_mirrored(names::slot(&id)));
    _ = names::parse_snapshot(&name).map(|id| same_but_mirrored(names::snapshot(&id)));
    _ = names::parse_hold(&name).map(|id| same_but_mirrored(names::hold(&id)));
    _ = names::parse_tomb(&name).map(|id| assert_eq!(names::tomb(&id), name));
    _ = names::parse_trust(&name).map(|id| assert_eq!(names::trust(&id), name));
    _ = names::parse_pack_damage_mark(&name).map(|id| assert_eq!(names::pack_damage_mark(&id), name));
    (_, _, _) = (names::parse_condemned(&name), names::parse_removed(&name), names::parse_segment(&name));
}

/// What this machine keeps beside a repository: heads, ledgers, laid-out segments.
pub fn kept(data: &[u8]) {
    repo::outside::heads(data);
    repo::outside::ledger(data);
    repo::outside::segment(data);
}

/// Answers of authorisation servers, and logins as they are kept.
pub fn token(data: &[u8]) {
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    for status in [200, 400, 503] {
        match answers::token(status, data) {
            TokenAnswer::Granted { access_token, refresh_token, .. } => {
                assert!(
                    status == 200 && fits(&access_token) && refresh_token.is_none_or(|token| fits(&token))
                );
            }
            TokenAnswer::Other(why) => assert!(!why.chars().any(char::is_control)),
            _ => {}
        }
        if let Ok(DeviceAnswer { user_code, verification_url, interval_s, .. }) =
            answers::device(status, data)
        {
            assert!(!user_code.chars().any(char::is_control) && verification_url.starts_with("http"));
            assert!(Duration::from_secs(interval_s) >= Duration::from_secs(1));
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Redirected::Code(code) = answers::redirected(text, "state")
    {
        assert!(fits(&code));
    }
    if let Ok(login) = Login::decode(data) {
        assert!(Login::decode(&login.encode()).is_ok_and(|again| again == login));
    }
}

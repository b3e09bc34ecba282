//! Every key that is accepted is followed: some code reads it. A key that nothing reads is refused
//! (`config/later.rs`), so that no line of the file promises what does not happen.

use service::config::schema;
use std::collections::BTreeSet;
use std::path::Path;

/// Where the types are that hold the keys: naming them there is no reading.
const TYPES: [&str; 7] =
    ["jobs.rs", "later.rs", "mod.rs", "places.rs", "reference_page.rs", "sources.rs", "watch.rs"];

/// Keys whose names other things have, too, and how they are read.
const READ_AS: &[(&str, &str)] = &[
    ("DaemonLimits.upload", "limits.upload"),
    ("DaemonLimits.download", "limits.download"),
    ("PlaceLimits.upload", "limits.upload"),
    ("PlaceLimits.download", "limits.download"),
    ("QuietHours.upload", "quiet.upload"),
    ("QuietHours.download", "quiet.download"),
    ("QuietHours.window", "quiet.window"),
    ("Daemon.listen", "daemon.listen"),
    ("Daemon.metrics", "daemon.metrics"),
    ("Daemon.metrics_file", "daemon.metrics_file"),
    ("Daemon.nice", "daemon.nice"),
    ("Job.nice", ".nice.or(config.daemon.nice)"),
    ("Job.catch_up", "job.catch_up"),
    ("Job.jitter", "job.jitter"),
    ("Job.max_age", "max_age"),
    ("Job.mode", "job.mode"),
    ("Job.timeout", "job.timeout"),
    ("Job.skip_if_unchanged", "job.skip_if_unchanged"),
    ("Maintenance.schedule", "maintenance.schedule"),
    ("Maintenance.grace", "maintenance.grace"),
    ("Maintenance.undo_window", "maintenance.undo_window"),
    ("Verify.schedule", "verify.schedule"),
    ("Verify.read", "verify.read"),
    ("Machine.name", "machine.name"),
    ("Machine.timezone", "machine.timezone"),
    ("Repository.compression", ".compression"),
    ("Repository.retry_for", "repository.retry_for"),
    ("Repository.key_file", "repository.key_file"),
    ("ModeCalendar.else", ".otherwise"),
];

/// What the configuration describes for parts that are not there yet. A run of such a source fails, and `config
/// check` says so; goals for drills are not met. Whoever builds the part takes its keys out of here.
/// `Tls` hangs on `daemon.tls`, which is refused.
const DESCRIBED: &[&str] = &["Tls"];

fn code() -> String {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    for folder in ["service/src", "cli/src"] {
        read(&crates.join(folder), &mut code);
    }
    code
}

fn read(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if path.is_dir() {
            read(&path, code);
        } else if name.ends_with(".rs") && !(folder.ends_with("config") && TYPES.contains(&name.as_str())) {
            let text = std::fs::read_to_string(&path).unwrap();
            code.push_str(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}

/// The words that stand after a point, or take a field out of a struct.
fn fields(code: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut fields = BTreeSet::new();
    for (at, _) in code.match_indices(['.', '{', ',']) {
        let rest = code[at + 1..].trim_start();
        let end = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if code.as_bytes()[at] == b'.' && !after.starts_with('(')
            || matches!(after.trim_start().bytes().next(), Some(b',' | b'}'))
        {
            fields.insert(name);
        }
    }
    fields
}

#[test]
fn every_key_is_read_somewhere_or_refused() {
    let code = code();
    let (fields, schema) = (fields(&code), schema());
    let none = serde_json::Map::new();
    let types = schema["$defs"].as_object().unwrap_or(&none).iter().map(|(name, of)| (name.as_str(), of));
    let mut unread = Vec::new();
    for (name, of) in types.chain([("Config", schema)]).filter(|(name, _)| !DESCRIBED.contains(name)) {
        for key in of["properties"].as_object().unwrap_or(&none).keys() {
            let full = format!("{name}.{key}");
            let read = match READ_AS.iter().find(|(known, _)| *known == full) {
                Some((_, text)) => code.contains(text),
                // The key by which a kind is chosen is read by serde.
                None => fields.contains(key.as_str()) || matches!(key.as_str(), "type" | "kind"),
            };
            if !read {
                unread.push(full);
            }
        }
    }
    assert!(unread.is_empty(), "accepted, and read by nothing: {unread:?}");
    assert!(!fields.contains("no_such_key_anywhere"));
}

#[test]
fn a_key_of_a_later_version_is_refused() {
    for (table, line) in [("[daemon.limits]", "read = \"1M/s\""), ("[daemon.limits]", "cpu = 2")] {
        let told = super::wrong(&format!("{}\n{table}\n{line}\n", super::LEAST));
        assert!(told.contains("is not in this version"), "{told}");
    }
}

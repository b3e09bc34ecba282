//! A pause that somebody asked for: nothing begins by itself until it is over.
//!
//! It is a small file in the state folder, so that it holds for the daemon, for timers and after a restart.
//! A pause has an end unless somebody says otherwise; a file that cannot be read is no pause, because a
//! damaged file must not keep backups from running.

use crate::durable;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How long nothing begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Until then; `None` until somebody ends it.
    pub until: Option<Timestamp>,
    /// Since then.
    pub since: Timestamp,
}

impl Pause {
    /// Whether it is on.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Where a pause is kept.
#[derive(Clone, Debug)]
pub struct PauseFile(PathBuf);

impl PauseFile {
    /// The one of this state folder.
    pub fn of(state: &Path) -> PauseFile {
        PauseFile(state.join("pause.json"))
    }

    /// The pause that is on now.
    pub fn read(&self, now: Timestamp) -> Option<Pause> {
        let text = fs::read(&self.0).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        let time = |name: &str| value[name].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let endless = value["until"].is_null();
        let pause = Pause { until: time("until"), since: time("since")? };
        ((endless || pause.until.is_some()) && pause.holds(now)).then_some(pause)
    }

    /// Begins a pause, or changes the one that is on.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(&self, pause: &Pause) -> io::Result<()> {
        let until = pause.until.map(|until| until.to_string());
        let text = json!({ "since": pause.since.to_string(), "until": until }).to_string();
        durable::replace(&self.0, text.as_bytes())
    }

    /// Ends the pause; whether there was one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn end(&self) -> io::Result<bool> {
        match fs::remove_file(&self.0) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_pause_ends_by_itself_or_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let file = PauseFile::of(folder.path());
        let (begin, end) = (at("2026-11-25T10:00:00Z"), at("2026-11-25T12:00:00Z"));
        assert_eq!(file.read(begin), None);
        file.begin(&Pause { until: Some(end), since: begin }).unwrap();
        assert_eq!(file.read(begin).unwrap().until, Some(end));
        assert_eq!(file.read(end), None);
        file.begin(&Pause { until: None, since: begin }).unwrap();
        assert!(file.read(at("2036-01-01T00:00:00Z")).is_some());
        assert!(file.end().unwrap());
        assert!(!file.end().unwrap());
        assert_eq!(file.read(begin), None);
    }

    #[test]
    fn a_damaged_file_keeps_nothing_from_running() {
        let folder = tempfile::tempdir().unwrap();
        let file = PauseFile::of(folder.path());
        for text in
            ["", "{", "{}", "[]", r#"{"since":"2026-11-25T10:00:00Z","until":"soon"}"#, r#"{"until":null}"#]
        {
            fs::write(folder.path().join("pause.json"), text).unwrap();
            assert_eq!(file.read(at("2026-11-25T10:00:00Z")), None, "{text}");
        }
    }
}

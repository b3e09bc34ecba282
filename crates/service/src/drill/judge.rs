//! A command that judges what came back: the restored folder is its last argument.

use super::Asserted;
use crate::config::values::Interval;
use crate::config::{Hook, HookEvent, OnFailure};
use crate::display::shell_word;
use crate::hooks::{self, Ended};
use crate::person::Person;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// A command that judges may take so long.
const JUDGE_TIME: Duration = Duration::from_secs(3600);

/// Runs it; a status other than 0 says that what came back is not right.
pub fn command(words: &[String], folder: &Path, person: &dyn Person) -> Asserted {
    let shown: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    let run = words.iter().cloned().chain([folder.to_string_lossy().into_owned()]).collect();
    let hook = Hook {
        on: HookEvent::After,
        jobs: None,
        run,
        timeout: Interval(JUDGE_TIME),
        on_failure: OnFailure::default(),
    };
    let about = json!({"event": "drill", "folder": folder});
    let (answer, ok) = match hooks::run(&hook, &[("LIFEBOAT_EVENT", "drill".into())], &about, person) {
        Ended::Well => ("right".to_string(), true),
        Ended::NotNow => ("it said \"not now\"".to_string(), false),
        Ended::Badly(how) => (how, false),
    };
    Asserted { question: shown.join(" "), answer, ok }
}

//! Healthchecks hear of the start and the end of a job. A service that does not answer delays no run for long and
//! fails none; that it did not answer is remembered, and shows.

use super::Runner;
use super::job::JobReport;
use crate::catalog::{RunId, RunResult};
use crate::notify::Post;
use crate::notify::healthchecks::{self, Event};
use crate::watching::healthchecks_of;
use std::time::Duration;

/// A ping at the start is not waited for longer: the run is what matters.
const START_TIMEOUT: Duration = Duration::from_secs(5);

impl Runner {
    pub(super) fn ping_start(&self, job: &str, run: &RunId) {
        let post = Post { timeout: START_TIMEOUT, attempts: 1, ..self.post() };
        self.ping(job, Event::Start, run, "", &post);
    }

    /// What was skipped on purpose is neither success nor failure, and ends the measured time as a line in the log.
    pub(super) fn ping_end(&self, report: &JobReport) {
        let event = match report.result() {
            RunResult::Success => Event::Success,
            RunResult::Skipped => Event::Log,
            RunResult::Partial | RunResult::Failed | RunResult::Cancelled => Event::Fail,
        };
        let mut text = format!("{}: {}\n", report.job, report.result().as_str());
        for result in &report.results {
            let (source, repository) = (&result.source, &result.repository);
            let error = result.error.as_ref().map(|e| format!(": {e}")).unwrap_or_default();
            text.push_str(&format!("{source} in {repository}: {}{error}\n", result.result.as_str()));
        }
        report.errors.iter().for_each(|error| text.push_str(&format!("{error}\n")));
        self.ping(&report.job, event, &report.run, &text, &self.post());
    }

    fn ping(&self, job: &str, event: Event, run: &RunId, text: &str, post: &Post) {
        for (name, url) in healthchecks_of(&self.loaded.config, job) {
            let error = healthchecks::ping(url, event, Some(run), text, post).err().map(|e| e.to_string());
            if let Some(why) = &error {
                self.opener.person.warn(&format!("notifier {name} was not reached: {why}"));
            }
            self.record_notifier(name, error.as_deref());
        }
    }

    fn post(&self) -> Post {
        let extra_roots_pem = self.opener.cacert.as_ref().and_then(|path| std::fs::read(path).ok());
        Post { extra_roots_pem, ..Post::default() }
    }
}

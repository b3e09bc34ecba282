//! Where text goes: results to standard output, everything else to standard error.
//!
//! Results are buffered and written under one lock; messages first take the progress bar away. With
//! `--json` both are JSON lines and nothing else is printed.

use crate::arguments::Global;
use crate::envelope::Envelope;
use crate::error::{Failure, Outcome, local};
use crate::folders;
use indicatif::MultiProgress;
use serde_json::{Value, json};
use service::logging::TARGET;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The way to the user.
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: u8,
    /// Whether standard output is a terminal.
    pub(crate) is_terminal: bool,
    /// Whether progress is drawn.
    pub(crate) draws_progress: bool,
    /// Whether what would be said is logged instead.
    pub(crate) logs: bool,
    /// Which of several repositories objects are about; they say so in `repository`.
    about: Option<Arc<str>>,
    color: bool,
    bars: MultiProgress,
    results: Arc<Mutex<BufWriter<Stdout>>>,
    envelope: Envelope,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let errors_to_terminal = io::stderr().is_terminal();
        let dumb = folders::variable("TERM").is_some_and(|term| term == "dumb");
        let logs = crate::logs::begin(global);
        let plain = global.no_color || dumb || folders::variable("NO_COLOR").is_some();
        Output {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            is_terminal: io::stdout().is_terminal(),
            draws_progress: errors_to_terminal
                && !dumb
                && !global.quiet
                && !global.no_progress
                && !global.json
                && !logs,
            logs,
            about: None,
            color: errors_to_terminal && !plain,
            bars: MultiProgress::new(),
            results: Arc::new(Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout()))),
            envelope: Envelope::new(),
        }
    }

    /// Progress bars, above which messages are printed.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    fn results(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl Display) -> Outcome<()> {
        let write = |out: &mut BufWriter<Stdout>| {
            writeln!(out, "{text}")?;
            if self.is_terminal { out.flush() } else { Ok(()) }
        };
        // A list may have millions of lines; taking the bar away for each has its price.
        let written = match self.draws_progress {
            true => self.bars.suspend(|| write(&mut self.results())),
            false => write(&mut self.results()),
        };
        written.map_err(broken)
    }

    /// The same way, for what is about one repository.
    pub(crate) fn about(&self, repository: &str) -> Output {
        Output { about: Some(repository.into()), ..self.clone() }
    }

    /// An object of the result, on a line of its own.
    pub(crate) fn object(&self, value: &Value) -> Outcome<()> {
        match (&self.about, value) {
            (Some(repository), Value::Object(object)) if !object.contains_key("repository") => {
                let mut object = object.clone();
                object.insert("repository".into(), repository.to_string().into());
                self.line(self.envelope.around(&Value::from(object)))
            }
            _ => self.line(self.envelope.around(value)),
        }
    }

    /// A line of the result for people; nothing where objects are wanted.
    pub(crate) fn human(&self, text: impl Display) -> Outcome<()> {
        if self.json { Ok(()) } else { self.line(text) }
    }

    /// Bytes of the result.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Outcome<()> {
        self.results().write_all(bytes).map_err(broken)
    }

    /// Sends off what is buffered.
    pub(crate) fn flush(&self) -> Outcome<()> {
        self.results().flush().map_err(broken)
    }

    /// Something to know, unless quiet is wanted.
    pub(crate) fn info(&self, text: impl Display) {
        if !self.quiet && !self.json {
            self.message(text);
        }
    }

    /// Something to worry about.
    pub(crate) fn warn(&self, text: impl Display) {
        if self.logs {
            return tracing::warn!(target: TARGET, event = "warning", "{text}");
        }
        if self.json {
            self.event(&json!({"message_type": "warning", "message": text.to_string()}));
        } else {
            self.message(format!("{}: {text}", self.painted("33", "warning")));
        }
    }

    /// Something to worry about, for who wants to know all.
    pub(crate) fn detail(&self, text: impl Display) {
        if self.verbose > 0 {
            self.warn(text);
        }
    }

    /// An event beside the result, to standard error.
    pub(crate) fn event(&self, value: &Value) {
        self.message(self.envelope.around(value));
    }

    /// A line to standard error. When that is gone there is nobody to tell.
    pub(crate) fn message(&self, text: impl Display) {
        self.flush().ok();
        if self.logs {
            return tracing::info!(target: TARGET, event = "message", "{text}");
        }
        self.bars.suspend(|| writeln!(io::stderr().lock(), "{text}").ok());
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// The last words of a run that failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.logs {
            let (code, hint) = (failure.exit as i32, failure.hint_text().unwrap_or_default());
            return tracing::error!(target: TARGET, event = "exit_error", code, hint, "{}", failure.message());
        }
        if self.json {
            let code = failure.exit as i32;
            let mut object =
                json!({"message_type": "exit_error", "code": code, "message": failure.message()});
            if let Some(hint) = failure.hint_text() {
                object["hint"] = hint.into();
            }
            return self.event(&object);
        }
        for line in failure.lines() {
            let text = match line.strip_prefix("error:") {
                Some(rest) => format!("{}{rest}", self.painted("1;31", "error:")),
                None => line,
            };
            self.message(text);
        }
    }
}

fn broken(error: io::Error) -> Failure {
    local("cannot write the result to standard output", error)
}

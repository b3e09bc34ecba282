//! Commands around runs: a program and its arguments, never a shell, with an end.
//!
//! A hook learns what it is about from its environment (`LIFEBOAT_EVENT`, `_JOB`, `_RUN` and, after the job, `_RESULT`, `_ERROR`)
//! and, as JSON, on its standard input. Exit status 75 says "not now". One that takes too long is ended with
//! everything it started. What it prints goes to the person of the run.

use crate::config::Hook;
use crate::display::safe;
use crate::person::Person;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The exit status that says "not now".
const NOT_NOW: i32 = 75;
/// How often a running hook is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of a hook's output that are passed on.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well.
    Well,
    /// It said "not now".
    NotNow,
    /// Badly, and how.
    Badly(String),
}

/// Runs a hook. `variables` are added to its environment, `about` is its standard input.
pub fn run(hook: &Hook, variables: &[(&str, String)], about: &Value, person: &dyn Person) -> Ended {
    let (program, arguments) = hook.run.split_first().expect("the configuration names a program");
    let started = Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(e) => return Ended::Badly(format!("it cannot be started: {e}")),
    };
    let input = format!("{about}\n");
    let mut stdin = child.stdin.take().expect("the input is a pipe");
    let outputs: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().expect("the output is a pipe")),
        Box::new(child.stderr.take().expect("the error output is a pipe")),
    ];
    // A hook need not read what it is told, and may end before.
    let told = thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let heard: Vec<_> = outputs.into_iter().map(|output| thread::spawn(move || listen(output))).collect();
    let ended = wait(&mut child, hook.timeout.0, person);
    if matches!(ended, Ended::Well | Ended::NotNow) || child.try_wait().is_ok_and(|status| status.is_some()) {
        drop(told);
        for heard in heard {
            // Something it started may live on and keep the pipe open: that is not waited for.
            let until = Instant::now() + Duration::from_secs(1);
            while !heard.is_finished() && Instant::now() < until {
                thread::sleep(LOOK_EVERY);
            }
            if heard.is_finished()
                && let Ok(text) = heard.join()
            {
                text.lines().for_each(|line| person.info(&format!("{}: {}", safe(program), safe(line))));
            }
        }
    }
    ended
}

fn listen(mut output: Box<dyn Read + Send>) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is not there; the hook's exit status is what counts.
    output.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).ok();
    std::io::copy(&mut output, &mut std::io::sink()).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &mut Child, timeout: Duration, person: &dyn Person) -> Ended {
    let until = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ended::Well,
            Ok(Some(status)) if status.code() == Some(NOT_NOW) => return Ended::NotNow,
            Ok(Some(status)) => return Ended::Badly(status.to_string()),
            Err(e) => return Ended::Badly(e.to_string()),
            Ok(None) => {}
        }
        let why = match () {
            () if person.cancelled() => "it was cancelled",
            () if Instant::now() >= until => "it took too long",
            () => {
                thread::sleep(LOOK_EVERY);
                continue;
            }
        };
        end_group(child);
        return Ended::Badly(why.to_string());
    }
}

/// Ends the hook and what it started.
fn end_group(child: &mut Child) {
    // It was not waited for, so its number cannot belong to another process yet.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
    }
    child.wait().ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::Interval;
    use crate::config::{HookEvent, OnFailure};
    use crate::person::Nobody;

    fn hook(script: &str, timeout: u64) -> Hook {
        Hook {
            on: HookEvent::Before,
            jobs: None,
            run: ["sh", "-c", script].map(str::to_string).to_vec(),
            timeout: Interval(Duration::from_secs(timeout)),
            on_failure: OnFailure::Abort,
        }
    }

    fn run_script(script: &str, timeout: u64) -> Ended {
        let about = serde_json::json!({ "job": "daily", "filler": "x".repeat(200_000) });
        run(&hook(script, timeout), &[("LIFEBOAT_JOB", "daily".into())], &about, &Nobody)
    }

    #[test]
    fn a_hook_learns_what_it_is_about() {
        assert_eq!(run_script("test $LIFEBOAT_JOB = daily && grep -q '\"job\":\"daily\"'", 60), Ended::Well);
        assert_eq!(run_script("exit 75", 60), Ended::NotNow);
        assert!(matches!(run_script("exit 3", 60), Ended::Badly(why) if why.contains('3')));
    }

    #[test]
    fn a_hook_that_takes_too_long_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        assert_eq!(run_script(&script, 1), Ended::Badly("it took too long".into()));
        let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |text| text.contains(") Z"))
        };
        let until = Instant::now() + Duration::from_secs(20);
        while !is_gone() && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
        assert!(is_gone());
    }
}

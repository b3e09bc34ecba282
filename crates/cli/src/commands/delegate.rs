//! Lets a running daemon do what was asked for, and shows it as if it ran here.

use super::daemon;
use crate::counts::count;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::session::Session;
use crate::sizes;
use serde_json::Value;

/// Asks the daemon, if one runs with the same configuration. `None`: it is to be done here.
pub(super) fn run(session: &Session, duty: &str, subject: &str) -> Outcome<Option<Exit>> {
    let Some(of_daemon) = configuration_of_daemon() else { return Ok(None) };
    let own = session.configuration_path().and_then(|path| path.canonicalize().ok());
    if own.is_none_or(|own| own.to_string_lossy() != of_daemon) {
        return Ok(None);
    }
    let Some(client) = daemon::client() else { return Ok(None) };
    let gone = |e: std::io::Error| {
        Failure::new(Exit::Failed, "the daemon went away while its run was shown")
            .because(e)
            .hint("see what became of it with: lifeboat log")
    };
    let query = [("duty", duty), ("subject", subject)];
    let Ok(mut answer) = client.ask("POST", "/v1/run", &query) else { return Ok(None) };
    if answer.status != 200 {
        // It is about to stop, or has not read the configuration yet.
        return Ok(None);
    }
    session.out.info("the daemon runs it; Ctrl-C ends the showing, not the run");
    while let Some(line) = answer.line().map_err(gone)? {
        let Ok(object) = serde_json::from_str::<Value>(&line) else { continue };
        if object["message_type"] == "run_ended" {
            return Ok(Some(exit_of(object["code"].as_i64().unwrap_or(1))));
        }
        match session.out.json {
            true => session.out.object(&object)?,
            false => show(session, &object)?,
        }
        session.out.flush()?;
    }
    Err(gone(std::io::ErrorKind::UnexpectedEof.into()))
}

fn configuration_of_daemon() -> Option<String> {
    let status = daemon::client()?.ask("GET", "/v1/status", &[]).ok()?.object().ok()?;
    status["configuration"].as_str().map(str::to_string)
}

/// What a run says, in a line for people.
fn show(session: &Session, object: &Value) -> Outcome<()> {
    let word = |name: &str| safe(object[name].as_str().unwrap_or_default());
    let number = |name: &str| object[name].as_u64().unwrap_or(0);
    match object["message_type"].as_str() {
        Some("phase") => session.out.info(word("name")),
        Some("copy") => {
            let what = format!("{} into {}", word("source"), word("repository"));
            return session.out.line(match (object["snapshot"].as_str(), object["error"].as_str()) {
                (_, Some(error)) => format!("{what}: {}: {}", word("result"), safe(error)),
                (Some(id), None) => format!(
                    "{what}: snapshot {}, {}, {} ({} stored)",
                    safe(id.get(..8).unwrap_or(id)),
                    count(number("files"), "file"),
                    sizes::shown(number("bytes")),
                    sizes::shown(number("uploaded_bytes"))
                ),
                (None, None) => format!("{what}: nothing changed, no snapshot was made"),
            });
        }
        Some("duty") => match object["error"].as_str() {
            Some(error) => {
                session.out.warn(format!("{} of {}: {}", word("what"), word("repository"), safe(error)))
            }
            None => return session.out.line(format!("{} of {} went well", word("what"), word("repository"))),
        },
        _ => {}
    }
    Ok(())
}

fn exit_of(code: i64) -> Exit {
    use Exit::*;
    let all = [
        Ok,
        Failed,
        Usage,
        Partial,
        GoalNotMet,
        Damage,
        DrillFailed,
        NoRepository,
        WrongPassword,
        Unreachable,
        Refused,
        NoSpace,
        Skipped,
        Interrupted,
        Terminated,
    ];
    // An unknown one is a failure.
    all.into_iter().find(|exit| *exit as i64 == code).unwrap_or(Failed)
}

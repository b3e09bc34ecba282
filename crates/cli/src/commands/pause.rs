//! `lifeboat pause` and `lifeboat resume`: lets nothing begin by itself for a while.

use super::daemon;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::Session;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use service::conditions::{Pause, PauseFile};
use service::schedule::{in_words, parse_length};

/// Let nothing begin by itself for a while
#[derive(clap::Args)]
#[command(after_help = "\
Holds for the daemon and for timers, also after a restart. What runs goes on; what you start yourself runs.
A pause ends by itself; what was due meanwhile is done once then.

Examples:
  lifeboat pause              for a day
  lifeboat pause 2h
  lifeboat pause forever      until `lifeboat resume`")]
pub(crate) struct Args {
    /// For how long: 2h, 3 days, forever
    #[arg(value_name = "TIME", default_value = "1d")]
    time: String,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Let things begin by themselves again
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat resume")]
pub(crate) struct ResumeArgs {
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn file() -> PauseFile {
    PauseFile::of(&folders::folders().state)
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let now = Timestamp::now();
    let until = match args.time.as_str() {
        "forever" => None,
        text => {
            let length = parse_length(text).filter(|length| !length.is_zero());
            let until = length.and_then(|length| now.checked_add(length).ok());
            Some(until.ok_or_else(|| {
                Failure::usage(format!("{text:?} is no length of time"))
                    .hint("write it like 2h, 3d or forever")
            })?)
        }
    };
    if !args.dry_run {
        file().begin(&Pause { until, since: now }).map_err(|e| local("cannot begin the pause", e))?;
        look_again();
    }
    match session.out.json {
        true => session.out.object(&json!({
            "message_type": "pause", "until": until.map(|until| until.to_string()), "dry_run": args.dry_run,
        })),
        false => session.out.line(match until {
            Some(until) => {
                format!("nothing begins by itself until {}", in_words(until, now, &TimeZone::system()))
            }
            None => "nothing begins by itself until you say: lifeboat resume".to_string(),
        }),
    }?;
    Ok(Exit::Ok)
}

pub(crate) fn resume(session: &Session, args: ResumeArgs) -> Outcome<Exit> {
    let paused = match args.dry_run {
        true => file().read(Timestamp::now()).is_some(),
        false => file().end().map_err(|e| local("cannot end the pause", e))?,
    };
    if !args.dry_run {
        look_again();
    }
    match session.out.json {
        true => session
            .out
            .object(&json!({ "message_type": "resume", "was_paused": paused, "dry_run": args.dry_run }))?,
        false => session.out.line(match paused {
            true => "what is due begins by itself again",
            false => "there was no pause",
        })?,
    }
    Ok(Exit::Ok)
}

/// A daemon hears of it at once; without one, or when it is busy, it is seen within a minute.
fn look_again() {
    if let Some(client) = daemon::client() {
        client.ask("POST", "/v1/look", &[]).ok();
    }
}

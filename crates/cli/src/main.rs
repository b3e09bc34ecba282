//! The program `lifeboat`: reads the command line, runs one command, and says how it ended.
//!
//! The only crate that prints, asks and reads the environment. Results go to standard output, messages and
//! progress to standard error; the exit code tells programs what happened (see `error`).

mod arguments;
mod commands;
mod contents;
mod credentials;
mod display;
mod error;
mod folders;
mod output;
mod progress;
mod prompt;
mod session;
mod signals;
mod sizes;
mod snapspec;
mod time;
mod writer_state;

use arguments::{Arguments, Command};
use clap::Parser;
use error::{Exit, Failure, Outcome};
use output::Output;
use session::Session;
use signals::Cancel;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let out = Output::new(&global);
    // What only reads may end at any moment; the others end well, or at the second signal.
    let cancel =
        if command.changes_something() { Cancel::listen().unwrap_or_default() } else { Cancel::default() };
    let session = Session { global, out, cancel };
    let ended = dispatch(&session, command).and_then(|exit| session.out.flush().map(|()| exit));
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) => explain(&session, failure),
    };
    ExitCode::from(exit as u8)
}

/// Says what went wrong, unless the user wanted it to end, or nobody is listening any more.
fn explain(session: &Session, failure: Failure) -> Exit {
    if failure.exit == Exit::BrokenPipe {
        return failure.exit;
    }
    if let Some(exit) = session.cancel.exit() {
        session.out.failure(&Failure::new(exit, "cancelled; what was stored so far stays and is used again"));
        return exit;
    }
    session.out.failure(&failure);
    failure.exit
}

fn dispatch(session: &Session, command: Command) -> Outcome<Exit> {
    match command {
        Command::Init(args) => commands::init::run(session, args),
        Command::Backup(args) => commands::backup::run(session, *args),
        Command::Snapshots(args) => commands::snapshots::run(session, args),
        Command::Ls(args) => commands::ls::run(session, args),
        Command::Find(args) => commands::find::run(session, args),
        Command::Versions(args) => commands::versions::run(session, args),
        Command::Cat(args) => commands::cat::run(session, args),
        Command::Dump(args) => commands::dump::run(session, args),
        Command::Diff(args) => commands::diff::run(session, args),
        Command::Restore(args) => commands::restore::run(session, *args),
        Command::Check(args) => commands::check::run(session, args),
        Command::Stats(args) => commands::stats::run(session, args),
        Command::Key(args) => commands::key::run(session, args),
        Command::Forget(args) => commands::forget::run(session, args),
        Command::Repo(args) => commands::repo::run(session, args),
        Command::Excludes(args) => commands::excludes::run(session, args),
        Command::Tag(args) => commands::tag::run(session, args),
        Command::Completions(args) => commands::completions::run(session, args),
        Command::Man(args) => commands::man::run(session, args),
        Command::Version(args) => commands::version::run(session, args),
    }
}

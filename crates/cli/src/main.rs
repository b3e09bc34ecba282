//! The program `lifeboat`: reads the command line, runs one command, and says how it ended.
//!
//! The only crate that prints, asks and reads the environment. Results go to standard output, messages and
//! progress to standard error; the exit code tells programs what happened (see `error`).

mod allocator;
mod arguments;
mod audit;
mod commands;
mod contents;
mod counts;
mod credentials;
mod display;
mod durations;
mod envelope;
mod error;
mod folders;
mod known;
mod logs;
mod output;
mod progress;
mod prompt;
mod reached;
mod session;
mod several;
mod signals;
mod sizes;
mod snapspec;
mod thaw;
mod time;

use arguments::{Arguments, Command};
use clap::Parser;
use error::{Exit, Failure, Outcome};
use output::Output;
use session::Session;
use signals::Cancel;
use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::settle();
    let Arguments { global, command } = Arguments::parse();
    let out = Output::new(&global);
    // What only reads may end at any moment; the others end well, or at the second signal.
    let cancel =
        if command.changes_something() { Cancel::listen().unwrap_or_default() } else { Cancel::default() };
    let session = Session { global, out, cancel, loaded: Default::default() };
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
        Command::RestoreDb(args) => commands::restore_db::run(session, *args),
        Command::Check(args) => commands::check::run(session, args),
        Command::Scrub(args) => commands::scrub::run(session, args),
        Command::Copy(args) => commands::copy::run(session, args),
        Command::Sync(args) => commands::sync::run(session, args),
        Command::Setup(args) => commands::setup::run(session, *args),
        Command::Run(args) => commands::run::run(session, args),
        Command::Daemon(args) => commands::daemon::run(session, args),
        Command::Schedule(args) => commands::schedule::run(session, args),
        Command::Pause(args) => commands::pause::run(session, args),
        Command::Resume(args) => commands::pause::resume(session, args),
        Command::Config(args) => commands::config::run(session, args),
        Command::Repair(args) => commands::repair::run(session, args),
        Command::Status(args) => commands::status::run(session, *args),
        Command::Log(args) => commands::log::run(session, args),
        Command::Stats(args) => commands::stats::run(session, args),
        Command::Key(args) => commands::key::run(session, args),
        Command::Forget(args) => commands::forget::run(session, *args),
        Command::Prune(args) => commands::prune::run(session, args),
        Command::Hold(args) => commands::hold::run(session, args),
        Command::Trust(args) => commands::trust::run(session, args),
        Command::Repo(args) => commands::repo::run(session, args),
        Command::Excludes(args) => commands::excludes::run(session, args),
        Command::Tag(args) => commands::tag::run(session, args),
        Command::Drill(args) => commands::drill::run(session, args),
        Command::Rewrite(args) => commands::rewrite::run(session, args),
        Command::Report(args) => commands::report::run(session, args),
        Command::Kit(args) => commands::kit::run(session, args),
        Command::Plan(args) => commands::plan::run(session, args),
        Command::Recover(args) => commands::recover::run(session, *args),
        Command::Completions(args) => commands::completions::run(session, args),
        Command::Man(args) => commands::man::run(session, args),
        Command::Version(args) => commands::version::run(session, args),
    }
}

//! `lifeboat completions`: a script that completes commands and options in a shell.

use crate::arguments::Arguments;
use crate::error::{Exit, Outcome};
use crate::session::Session;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  lifeboat completions bash > ~/.local/share/bash-completion/completions/lifeboat")]
pub(crate) struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "lifeboat", &mut script);
    session.out.bytes(&script)?;
    Ok(Exit::Ok)
}

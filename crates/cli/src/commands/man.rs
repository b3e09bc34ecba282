//! `lifeboat man`: manual pages, one for each command, made from the help texts.

use crate::arguments::Arguments;
use crate::error::{Exit, Outcome, local};
use crate::session::Session;
use clap::CommandFactory;
use std::path::PathBuf;

/// Write manual pages into a folder
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lifeboat man ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// The folder; made if it is missing
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let failed = |e| local(format!("cannot write manual pages to {}", args.folder.display()), e);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(Arguments::command(), &args.folder).map_err(failed)?;
    session.out.info(format!("manual pages are in {}", args.folder.display()));
    Ok(Exit::Ok)
}

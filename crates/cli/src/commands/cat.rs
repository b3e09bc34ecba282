//! `lifeboat cat`: the contents of one saved file on standard output.

use crate::contents;
use crate::display::DisplayName;
use crate::error::{Exit, Failure, Outcome};
use crate::session::Session;
use crate::snapspec::{self, Filter, SnapSpec};
use format::kind::Kind;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

/// Print a file of a snapshot
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lifeboat cat latest:/etc/fstab")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id; :PATH of the file
    #[arg(value_name = "SNAPSHOT:PATH")]
    file: OsString,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let spec = SnapSpec::parse(&args.file)?;
    let list = session.snapshots(&opened.repo)?;
    let snapshot = spec.find(&list, &args.filter)?;
    let path = spec.components(snapshot);
    if path.is_empty() {
        return Err(Failure::usage("cat needs the path of a file").hint("lifeboat cat latest:/path/to/file"));
    }
    let reader = opened.reader()?;
    let entry = snapspec::entry(&reader, snapshot, &path)?;
    if entry.kind() != Kind::File {
        let name = DisplayName(&snapspec::written(&path)).to_string();
        return Err(Failure::new(Exit::Failed, format!("{name} is not a file"))
            .hint("bring folders out with: lifeboat dump SNAPSHOT:PATH --archive tar"));
    }
    contents::erased(&reader, snapshot, &path)?;
    if contents::are_lacking(&entry) {
        let name = DisplayName(&snapspec::written(&path)).to_string();
        return Err(Failure::new(Exit::Partial, format!("cannot print {name}: {}", contents::LACKING))
            .hint("look for a snapshot that has it with: lifeboat versions PATH"));
    }
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    contents::copy(&reader, &entry, &mut out)?;
    out.flush().map_err(|e| crate::error::local("cannot write the contents", e))?;
    Ok(Exit::Ok)
}

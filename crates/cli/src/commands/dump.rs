//! `lifeboat dump`: a file, or a folder as a tar or zip archive, without a place to restore into.

mod archive;
mod output;
mod tar_archive;
mod zip_archive;

use crate::contents;
use crate::display::DisplayName;
use crate::error::{Exit, Failure, Outcome};
use crate::session::Session;
use crate::snapspec::{self, Filter};
use archive::{Archive, Part};
use format::kind::Kind;
use output::Output;
use std::ffi::OsString;
use std::path::PathBuf;
use tar_archive::TarArchive;
use zip_archive::ZipArchive;

/// Write a file, or a folder as an archive
#[derive(clap::Args)]
#[command(after_help = "\
A file is written as it is, a folder as an archive whose names count from that folder. tar keeps
owners, links, devices and attributes; zip keeps files, folders and symbolic links.

Examples:
  lifeboat dump latest:/home/me/docs | tar xf - -C /tmp/docs
  lifeboat dump latest:/home/me/docs --archive zip -o docs.zip
  lifeboat dump latest:db.sql | psql mydb")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id; :PATH for a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// The part, where it does not stand behind the snapshot
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Kind of archive for folders
    #[arg(short, long, value_enum, default_value_t = Format::Tar, value_name = "FORMAT")]
    archive: Format,
    /// Write to this new file instead of standard output (-); it appears when it is whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Tar,
    Zip,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let wanted = snapspec::joined(&args.snapshot, args.path.as_deref())?;
    let (nearest, spec) = session.open_nearest(&wanted, &args.filter)?;
    let (snapshot, reader) = (&nearest.snapshot, nearest.reader.clone());
    let mut path = spec.components(snapshot);
    if path.is_empty()
        && let [only] = &snapshot.sources[..]
        && !only.starts_with(b"/")
    {
        path = vec![only.clone()]; // a snapshot of one stream is that stream
    }
    let entry = match path.is_empty() {
        true => None,
        false => Some(snapspec::entry(&reader, snapshot, &path)?),
    };
    let file = entry.as_ref().filter(|entry| entry.kind() == Kind::File);
    if let Some(other) = entry.as_ref().filter(|e| !matches!(e.kind(), Kind::File | Kind::Directory)) {
        let (name, kind) = (snapspec::written(&path), super::ls::kind_word(other.kind()));
        let what = format!("{} is neither a file nor a folder: {kind}", DisplayName(&name));
        return Err(Failure::new(Exit::Failed, what));
    }
    let to_stdout = args.output.as_ref().is_none_or(|path| path.as_os_str() == "-");
    if file.is_none() && to_stdout && session.out.is_terminal {
        return Err(Failure::usage("an archive is nothing for a terminal").hint("name a file with -o FILE"));
    }
    let erased = contents::erased(&reader, snapshot, &path)?;
    let mut out = Output::open(args.output.as_deref().filter(|_| !to_stdout))?;
    let exit = match file {
        Some(entry) => contents::copy(&reader, entry, &mut out).map(|()| Exit::Ok)?,
        None => {
            let mut archive: Box<dyn Archive + '_> = match args.archive {
                Format::Tar => Box::new(TarArchive::new(&mut out)),
                Format::Zip => Box::new(ZipArchive::new(&mut out)),
            };
            archive::fill(
                session,
                &reader,
                &Part { snapshot, folder: &path, erased: &erased },
                &mut *archive,
            )?
        }
    };
    out.finish()?;
    Ok(exit)
}

//! zip without seeking back: files, folders and symbolic links with permissions and times.

use super::archive::Archive;
use crate::contents;
use crate::error::{Exit, Failure, Outcome};
use crate::time;
use ::repo::reader::Reader;
use format::kind::Kind;
use format::tree::Entry;
use std::io::Write;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

/// From this length on a file needs the long form of its sizes.
const LARGE_FILE_BYTES: u64 = u32::MAX as u64;

pub(super) struct ZipArchive<'w> {
    zip: Option<ZipWriter<StreamWriter<&'w mut dyn Write>>>,
}

impl<'w> ZipArchive<'w> {
    pub(super) fn new(out: &'w mut dyn Write) -> Self {
        ZipArchive { zip: Some(ZipWriter::new_stream(out)) }
    }
}

fn failed(error: ZipError) -> Failure {
    match error {
        ZipError::Io(error) => crate::error::local("cannot write the archive", error),
        other => Failure::new(Exit::Failed, "cannot write the archive").because(other),
    }
}

fn options(entry: &Entry) -> SimpleFileOptions {
    let (year, month, day, hour, minute, second) = time::calendar(entry.mtime);
    let time = zip::DateTime::from_date_and_time(year, month, day, hour, minute, second);
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(u32::from(entry.class.mode))
        .last_modified_time(time.unwrap_or_default())
        .large_file(entry.size_bytes >= LARGE_FILE_BYTES)
}

impl Archive for ZipArchive<'_> {
    fn add(
        &mut self,
        reader: &Reader,
        name: &[u8],
        entry: &Entry,
        _: Option<&[u8]>,
    ) -> Outcome<Option<String>> {
        let Ok(name) = std::str::from_utf8(name) else { return Ok(Some("its name is not UTF-8".into())) };
        let zip = self.zip.as_mut().expect("entries are added before the archive is finished");
        match entry.kind() {
            // Written as `add_directory` does, a folder claims a length behind it that is not there, and unzip refuses
            // the archive.
            Kind::Directory => zip.start_file(format!("{name}/"), options(entry)).map_err(failed)?,
            Kind::Symlink => match std::str::from_utf8(&entry.target) {
                Ok(target) => zip.add_symlink(name, target, options(entry)).map_err(failed)?,
                Err(_) => return Ok(Some("its target is not UTF-8".into())),
            },
            Kind::File => {
                zip.start_file(name, options(entry)).map_err(failed)?;
                contents::copy(reader, entry, zip)?;
            }
            _ => return Ok(Some("zip has only files, folders and links".into())),
        }
        Ok(None)
    }

    fn finish(&mut self) -> Outcome<()> {
        let zip = self.zip.take().expect("an archive is finished once");
        zip.finish().map(drop).map_err(failed)
    }
}

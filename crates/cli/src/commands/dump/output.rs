//! Where a dump goes. A file appears under its name when it is whole: half of one looks like a whole one to whoever
//! comes later.

use crate::credentials;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Standard output, or a file that is not there yet.
pub(super) struct Output {
    out: BufWriter<Box<dyn Write>>,
    file: Option<Part>,
}

/// A file while it is written, and the name it gets.
struct Part {
    written: PathBuf,
    wanted: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        // After it got its name this is a second one, or nothing.
        fs::remove_file(&self.written).ok();
    }
}

impl Output {
    /// Begins to write. Fails if something has the name already.
    pub(super) fn open(path: Option<&Path>) -> Outcome<Output> {
        let buffered = |out: Box<dyn Write>| BufWriter::with_capacity(256 << 10, out);
        let Some(path) = path else {
            return Ok(Output { out: buffered(Box::new(io::stdout().lock())), file: None });
        };
        if path.symlink_metadata().is_ok() {
            return Err(taken(path));
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".part-{:08x}", u32::from_le_bytes(credentials::random()?)));
        let file = Part { written: path.with_file_name(name), wanted: path.to_path_buf() };
        let made =
            File::create_new(&file.written).map_err(|e| local(format!("cannot make {}", shown(path)), e))?;
        Ok(Output { out: buffered(Box::new(made)), file: Some(file) })
    }

    /// Everything was written: a file gets its name, unless something else got it meanwhile.
    pub(super) fn finish(mut self) -> Outcome<()> {
        self.out.flush().map_err(|e| local("cannot write the dump", e))?;
        let Some(file) = &self.file else { return Ok(()) };
        let named = match fs::hard_link(&file.written, &file.wanted) {
            // No hard links there.
            Err(e) if e.kind() != ErrorKind::AlreadyExists && file.wanted.symlink_metadata().is_err() => {
                fs::rename(&file.written, &file.wanted)
            }
            other => other,
        };
        match named {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(taken(&file.wanted)),
            other => other.map_err(|e| local(format!("cannot make {}", shown(&file.wanted)), e)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn taken(path: &Path) -> Failure {
    let what = format!("cannot make {}: it is there already", shown(path));
    Failure::new(Exit::Failed, what).hint("name a new file with -o, or remove that one first")
}

fn shown(path: &Path) -> String {
    safe(&path.display().to_string()).to_string()
}

//! Makes small files below a new folder and reads them again, and says how many files a second that was:
//! `file_speed THREADS FILES FOLDER`. The folder is removed in the end.
#![expect(clippy::print_stdout, reason = "an example that reports")]

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::attributes::read_extras_open;
use host::read::open_for_read;
use host::{Attributes, Listing, Target, TargetOptions, Timestamp, Walk, WalkOptions};

const FILES_IN_A_FOLDER: usize = 20;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().collect();
    let number = |i: usize| arguments.get(i).and_then(|n| n.parse().ok());
    let (threads, files) = (number(1).unwrap_or(2), number(2).unwrap_or(100_000usize));
    let folder = arguments.get(3).ok_or_else(|| io::Error::other("say which folder"))?;
    let target = Target::open(Path::new(folder), true, TargetOptions::default())?;
    report("made", files, || make(&target, threads, files))?;
    let top = Path::new(folder).canonicalize()?;
    report("read", files, || read(&top, threads))?;
    report("removed", files, || (0..threads).try_for_each(|i| target.remove(target.top(), &name(i))))
}

fn name(i: usize) -> Vec<u8> {
    format!("part{i:03}").into_bytes()
}

fn report(what: &str, files: usize, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let (started, cpu) = (Instant::now(), processor_time());
    work()?;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), (processor_time() - cpu).as_secs_f64());
    println!(
        "{files} files {what}: {wall:.3} s, {:.0} files/s, {cpu:.3} s of processors",
        files as f64 / wall
    );
    Ok(())
}

/// Time that all threads of this process ran, which other load on the machine hardly changes.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn make(target: &Target, threads: usize, files: usize) -> io::Result<()> {
    in_threads(threads, |i| {
        let attributes = Attributes {
            mode: 0o644,
            mtime: Timestamp { secs: 1_600_000_000, nanos: 5 },
            ..Attributes::default()
        };
        let part = target.directory(target.top(), &name(i))?;
        for folder in 0..files / threads / FILES_IN_A_FOLDER {
            let folder = target.directory(&part, format!("folder{folder}").as_bytes())?;
            for file in 0..FILES_IN_A_FOLDER {
                let mut file = target.create_file(&folder, format!("file{file}").as_bytes(), &attributes)?;
                file.file.write_all(b"a few bytes of contents\n")?;
                assert!(target.finish_file(&file, &attributes).is_empty());
            }
            target.finish_directory(&folder, &Attributes { mode: 0o755, ..attributes })?;
        }
        Ok(())
    })
}

fn read(top: &Path, threads: usize) -> io::Result<()> {
    let options = WalkOptions { threads, ..WalkOptions::default() };
    let mut walk = Walk::start(&[top.to_path_buf()], Arc::default(), options)?;
    let listings: Vec<Listing> = std::iter::from_fn(|| walk.next()).collect();
    in_threads(threads, |i| {
        let mut buffer = vec![0; 64 * 1024];
        for listing in listings.iter().filter(|l| !l.filtered).skip(i).step_by(threads) {
            for (name, stat) in listing.iter().filter(|(_, stat)| stat.kind == host::Kind::File) {
                let mut open = open_for_read(&listing.dir, name, stat)?;
                assert!(read_extras_open(&open.file).unread.is_empty());
                while open.file.read(&mut buffer)? > 0 {}
                open.stat_again()?;
            }
        }
        Ok(())
    })
}

fn in_threads(threads: usize, work: impl Fn(usize) -> io::Result<()> + Sync) -> io::Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|i| scope.spawn(move || work(i))).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}

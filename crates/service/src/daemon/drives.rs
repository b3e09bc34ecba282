//! Drives that come and go: which jobs wait for which, and noticing at once that one was plugged in.
//!
//! The kernel wakes a thread when a file system is mounted or a link appears for its id; between such events
//! nothing is looked at. Where neither can be watched, the look once a minute notices it.

use super::plan::Key;
use crate::catalog::Duty;
use crate::config::Config;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use storage::Location;
use storage::removable::{MediaOptions, Medium, look};

/// What comes with a drive (its links, its mount) comes one after the other; it is waited for so long.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// A drive that a job writes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drive {
    /// The id of its file system.
    pub uuid: String,
    /// Whether it is of use before somebody mounted it.
    pub mounts: bool,
    /// The job.
    pub job: String,
}

impl Drive {
    /// The job's name among the duties.
    pub fn key(&self) -> Key {
        Key { duty: Duty::Run, subject: self.job.clone() }
    }

    /// Whether the drive is there and of use.
    pub fn is_there(&self, options: &MediaOptions) -> bool {
        match look(&self.uuid, options) {
            Ok(Medium::Mounted(_)) => true,
            Ok(Medium::PluggedIn(_)) => self.mounts,
            Ok(Medium::Away) | Err(_) => false,
        }
    }
}

/// All of them. A job that never runs by itself (`schedule = []`) does not run by a drive either.
pub fn drives(config: &Config) -> Vec<Drive> {
    let mut drives = Vec::new();
    for (name, job) in config.jobs.iter().filter(|(_, job)| !config.schedule_of(job).is_empty()) {
        let places = job.to.iter().filter_map(|to| config.repositories.get(to));
        for place in places.filter_map(|repository| Location::parse(&repository.url).ok()) {
            if let Location::Removable(drive) = place {
                drives.push(Drive { uuid: drive.uuid, mounts: drive.mount, job: name.clone() });
            }
        }
    }
    drives
}

/// Calls `told` from a thread of its own whenever a drive may have come or gone, as long as it answers true.
pub fn watch(options: &MediaOptions, told: impl Fn() -> bool + Send + 'static) {
    let mounts = File::open(&options.mountinfo).ok().map(OwnedFd::from);
    let links = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok();
    let changes = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
    let links = links.filter(|fd| inotify::add_watch(fd, &options.by_uuid, changes).is_ok());
    if mounts.is_none() && links.is_none() {
        return;
    }
    std::thread::spawn(move || {
        loop {
            let mount = mounts.iter().map(|fd| PollFd::new(fd, PollFlags::PRI));
            let link = links.iter().map(|fd| PollFd::new(fd, PollFlags::IN));
            let mut waited: Vec<PollFd<'_>> = mount.chain(link).collect();
            match poll(&mut waited, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            }
            std::thread::sleep(SETTLES_WITHIN);
            links.iter().for_each(drain);
            if !told() {
                return;
            }
        }
    });
}

fn drain(fd: impl AsFd) {
    let mut buffer = [0u8; 4096];
    while rustix::io::read(&fd, &mut buffer).is_ok_and(|n| n > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::daemon::supervisor::Supervisor;
    use crate::daemon::{Daemon, Parts};
    use crate::environment::Environment;
    use crate::folders::Folders;
    use jiff::Timestamp;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    const ID: &str = "3f1c77aa-0000-4000-8000-5a5a5a5a5a5a";

    fn text(schedule: &str) -> String {
        format!(
            "[repositories.usb]\nurl = \"removable:{ID}/backup?mount=yes\"\n[sources.home]\npaths = [\"/home\"]\n\
             [jobs.weekly]\nsources = [\"home\"]\nto = [\"usb\"]\nschedule = {schedule}\n"
        )
    }

    fn config(schedule: &str) -> Config {
        toml::from_str(&text(schedule)).unwrap()
    }

    #[test]
    fn jobs_wait_for_their_drives_unless_they_never_run_by_themselves() {
        let expected = Drive { uuid: ID.into(), mounts: true, job: "weekly".into() };
        assert_eq!(drives(&config("\"Mon 02:00\"")), [expected]);
        assert_eq!(drives(&config("[]")), []);
    }

    #[test]
    fn a_drive_that_comes_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let options = MediaOptions { by_uuid: folder.path().into(), ..MediaOptions::default() };
        let drive = &drives(&config("\"Mon 02:00\""))[0];
        assert!(!drive.is_there(&options));
        let (tells, told) = channel();
        watch(&options, move || tells.send(()).is_ok());
        std::os::unix::fs::symlink("/dev/null", folder.path().join(ID)).unwrap();
        told.recv_timeout(Duration::from_secs(60)).expect("the kernel tells of a new link");
        assert!(drive.is_there(&options), "plugged in, and we mount it");
        assert!(!Drive { mounts: false, ..drive.clone() }.is_there(&options), "nobody mounted it");
    }

    #[test]
    fn a_daemon_starts_the_job_of_a_drive_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let (links, ran) = (folder.path().join("links"), folder.path().join("ran"));
        std::fs::create_dir(&links).unwrap();
        let script = format!("echo \"$@\" >> {}", ran.display());
        let file = folder.path().join("lifeboat.toml");
        std::fs::write(&file, text("\"2199-01-01\"")).unwrap();
        let folders = Folders::of(&Environment::empty());
        let Ok(Ok(loaded)) = crate::config::load(&file, &folders) else { panic!("it is in order") };
        let loaded = Arc::new(loaded);
        let parts = Parts {
            program: "/bin/sh".into(),
            options: ["-c", &script, "sh"].map(Into::into).to_vec(),
            load: Box::new(move || Ok(loaded.clone())),
            host: "atlas".into(),
            state: folder.path().into(),
            catalog: Catalog::in_memory().unwrap(),
            clock: Box::new(Timestamp::now),
            slept: Box::new(|| Duration::ZERO),
            media: MediaOptions { by_uuid: links.clone(), ..MediaOptions::default() },
            supervisor: Supervisor::default(),
            log: Box::new(|_| {}),
        };
        let daemon = Daemon::new(parts).unwrap();
        let handle = daemon.handle();
        let told = std::thread::spawn(move || {
            std::os::unix::fs::symlink("/dev/null", links.join(ID)).unwrap();
            let begun = Instant::now();
            let said = || std::fs::read_to_string(&ran).unwrap_or_default();
            // Sooner than the look once a minute.
            while !said().ends_with('\n') && begun.elapsed() < Duration::from_secs(45) {
                std::thread::sleep(Duration::from_millis(50));
            }
            handle.stop();
            said()
        });
        daemon.run();
        assert_eq!(told.join().unwrap(), "run weekly --json --alone --trigger plugged-in\n");
    }
}

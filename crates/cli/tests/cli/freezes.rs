//! Files as they were at one moment: snapshots of btrfs on a disk in a file.

use crate::support::{LIFEBOAT, Machine};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A btrfs file system in `disk`, with a subvolume `sub` in it; unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(machine: &Machine) -> Option<Disk> {
        let (image, point) = (machine.root.join("disk.img"), machine.root.join("disk"));
        fs::create_dir(&point).unwrap();
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let commands: [&[&str]; 3] = [
            &["mkfs.btrfs", "--quiet", image.to_str().unwrap()],
            &["mount", "-o", "loop", image.to_str().unwrap(), point.to_str().unwrap()],
            &["btrfs", "subvolume", "create", &format!("{}/sub", point.display())],
        ];
        for command in commands {
            let path = "/usr/sbin:/usr/bin:/sbin:/bin";
            let output = Command::new(command[0]).args(&command[1..]).env("PATH", path).output();
            if !output.is_ok_and(|output| output.status.success()) {
                testkit::servers::missing("btrfs-progs, a kernel with btrfs, and the right to mount");
                return None;
            }
        }
        fs::write(point.join("sub/inner"), "inner").unwrap();
        Some(Disk(point))
    }

    /// Snapshots that are there.
    fn snapshots(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".lifeboat-")).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn machine(snapshot: &str, paths: &str) -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n\
         [sources.disk]\npaths = [\"{root}/{paths}\"]\nsnapshot = \"{snapshot}\"\n\
         [jobs.daily]\nsources = [\"disk\"]\nto = [\"main\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.ok(&["init", "-r", "main"]);
    machine
}

/// Replaces a file by one with this number in it.
fn put(path: &Path, number: u32) {
    let new = path.with_extension("new");
    fs::write(&new, number.to_string()).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn all_files_are_of_one_moment_and_nothing_is_left() {
    let machine = machine("btrfs", "disk");
    let Some(disk) = Disk::new(&machine) else { return };
    let (first, last) = (disk.0.join("a"), disk.0.join("z"));
    for n in 0..400 {
        fs::write(disk.0.join(format!("m{n}")), vec![n as u8; 2000]).unwrap();
    }
    put(&first, 0);
    put(&last, 0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                put(&first, number);
                put(&last, number);
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let ran = machine.run(&["run", "daily"]);
        over.store(true, Ordering::Relaxed);
        assert_eq!(ran.code, 0, "{}", ran.err);
    });
    assert_eq!(disk.snapshots(), Vec::<String>::new());
    machine.ok(&["restore", "latest:/", "--tag", "source:disk", "--target", "back"]);
    let back = machine.root.join("back").join(disk.0.strip_prefix("/").unwrap());
    let number = |name: &str| fs::read_to_string(back.join(name)).unwrap().parse::<u32>().unwrap();
    let (first, last) = (number("a"), number("z"));
    assert!(first == last || first == last + 1, "{first} and {last} were never there together");
    assert_eq!(fs::read_to_string(back.join("sub/inner")).unwrap(), "inner");
    // The moment may be one in which the next number is written and not yet put in its place.
    let names = fs::read_dir(&back).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(names.filter(|path| path.extension().is_none()).count(), 400 + 2 + 1);

    // What did not change is known by its name, not by the path it was read under.
    let ran = machine.run(&["backup", "-s", "disk", "--json"]);
    let last = ran.raw_out.trim_ascii().rsplit(|b| *b == b'\n').next().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(last).unwrap();
    assert_eq!(summary["files_new"], 0, "{summary}");
    assert!(summary["files_changed"].as_u64().unwrap() <= 2, "{summary}");
    assert_eq!(disk.snapshots(), Vec::<String>::new());
}

#[test]
fn a_run_that_is_killed_leaves_a_snapshot_that_the_next_one_releases() {
    let machine = machine("btrfs", "disk");
    let Some(disk) = Disk::new(&machine) else { return };
    let bytes: Vec<u8> =
        (0..16_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(disk.0.join("long"), bytes).unwrap();
    let mut child =
        machine.command().args(["run", "daily"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while disk.snapshots().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "no snapshot is taken");
        assert!(child.try_wait().unwrap().is_none(), "it was too fast");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(disk.snapshots().len(), 1);
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(format!("{}{}", ran.out, ran.err).contains("released 1 snapshot"), "{}{}", ran.out, ran.err);
    assert_eq!(disk.snapshots(), Vec::<String>::new());
    let files = machine.ok(&["ls", "latest", "--tag", "source:disk", "--recursive"]);
    assert!(!files.contains(".lifeboat-"), "{files}");
}

/// Runs with no more of root's rights than the unit of the job has.
fn run_as_its_unit(machine: &Machine) -> Output {
    let unit = fs::read_to_string(machine.path("units/lifeboat-run-daily.service")).unwrap();
    let rights = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let rights: String = rights
        .split(' ')
        .map(|right| format!(",+{}", right.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let set = format!("--bounding-set=-all{rights}");
    machine.command_of("setpriv").args([&set, "--no-new-privs", LIFEBOAT, "run", "daily"]).output().unwrap()
}

#[test]
fn the_unit_of_a_job_that_takes_snapshots_has_the_rights_to_and_others_do_not() {
    let machine = machine("btrfs", "disk");
    let Some(disk) = Disk::new(&machine) else { return };
    // A user's own subvolume, in which root without its rights may not make anything.
    for name in ["", "sub"] {
        std::os::unix::fs::chown(disk.0.join(name), Some(1234), Some(1234)).unwrap();
    }
    let installed = machine.run(&["schedule", "install", "--into", "units"]);
    assert_eq!(installed.code, 0, "{}", installed.err);
    assert!(installed.err.contains("the job daily may also take snapshots of btrfs"), "{}", installed.err);
    let unit = fs::read_to_string(machine.path("units/lifeboat-run-daily.service")).unwrap();
    let writes = unit.lines().find(|line| line.starts_with("ReadWritePaths=")).unwrap();
    assert!(writes.contains(&format!("-{}", disk.0.display())), "{unit}");
    let other = fs::read_to_string(machine.path("units/lifeboat-maintenance-main.service")).unwrap();
    assert!(other.contains("CapabilityBoundingSet=CAP_DAC_READ_SEARCH\n"), "{other}");
    let ran = machine.ran(run_as_its_unit(&machine));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(disk.snapshots(), Vec::<String>::new());
    let files = machine.ok(&["ls", "latest", "--tag", "source:disk", "--recursive"]);
    assert!(files.contains("sub/inner"), "{files}");
    // Without them it cannot: what the unit is given is what it takes.
    let less = unit.replace("CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_FOWNER", "CAP_SYS_CHROOT");
    assert_ne!(less, unit);
    fs::write(machine.path("units/lifeboat-run-daily.service"), less).unwrap();
    assert_ne!(machine.ran(run_as_its_unit(&machine)).code, 0);
}

#[test]
fn what_a_file_system_cannot_do_is_refused_or_told() {
    let refused = machine("zfs", "src");
    let ran = refused.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("of which no such snapshot can be taken"), "{}", ran.err);
    let machine = machine("auto", "src");
    let ran = machine.run(&["run", "daily"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told = "no snapshot can be taken of the file system of ROOT/src (";
    assert_eq!(ran.err.matches(told).count(), 1, "{}", ran.err);
    machine.ok(&["restore", "latest", "--tag", "source:disk", "--target", "back"]);
    let back = machine.root.join("back").join(machine.root.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back.join("src/a")).unwrap(), "hello\n");
}

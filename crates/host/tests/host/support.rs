//! What several tests of this crate need: scratch folders, real programs, and a plain copy through the crate.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use host::read::{data_ranges, open_for_read};
use host::restore_file::set_length;
use host::{
    Attributes, Kind, Listing, Stat, Target, TargetDir, Unapplied, Walk, WalkOptions, Xattr, attributes,
};

/// A folder that is removed in the end, and its path without symbolic links.
pub(crate) fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

/// Says whether a real part is there. A missing one skips the test, or fails it where all are required.
pub(crate) fn present(part: &str, found: bool) -> bool {
    let required = std::env::var_os("LIFEBOAT_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(found || !required, "this test needs {part}");
    if !found {
        let _ = writeln!(std::io::stderr(), "not run: needs {part}");
    }
    found
}

pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    present(name, std::env::split_paths(&path).any(|folder| folder.join(name).exists()))
}

pub(crate) fn is_root() -> bool {
    present("root", rustix::process::geteuid().is_root())
}

/// A file system of its own, unmounted in the end.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a fresh tmpfs, or makes an image with `mkfs.KIND` and mounts that. `None` if this cannot be done here.
    pub(crate) fn fresh(kind: &str, folder: &Path) -> Option<Mounted> {
        let image = folder.with_extension("image");
        std::fs::create_dir(folder).unwrap();
        let mut mount = Command::new("mount");
        if kind == "tmpfs" {
            mount.args(["-t", "tmpfs", "none"]);
        } else {
            let mkfs = format!("mkfs.{kind}");
            if !is_root() || !has_program(&mkfs) {
                return None;
            }
            std::fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
            let made = Command::new(mkfs).arg("-q").arg(&image).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            mount.args(["-t", kind, "-o", "loop"]).arg(&image);
        }
        let mounted = mount.arg(folder).output().is_ok_and(|output| output.status.success());
        present(&format!("the right to mount {kind}"), mounted).then(|| Mounted(folder.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs a Python program and returns what it prints.
pub(crate) fn python(program: &str, arguments: &[&Path]) -> String {
    let mut child = Command::new("python3")
        .arg("-")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the python program failed");
    String::from_utf8(output.stdout).unwrap()
}

/// Copies the tree `from` into the target, every entry with all that can be read of it. Returns what could
/// not be applied, with the name of its entry.
pub(crate) fn copy_tree(from: &Path, target: &Target) -> Vec<(String, Unapplied)> {
    let options = WalkOptions { inline: true, ..WalkOptions::default() };
    let mut walk = Walk::start(&[from.to_path_buf()], Arc::default(), options).unwrap();
    let depth = from.iter().count() - 1;
    let mut copy = Copy { target, folders: vec![(Vec::new(), target.top().clone(), None)], left: Vec::new() };
    let mut links = std::collections::HashMap::new();
    while let Some(listing) = walk.next() {
        if listing.dir.depth() < depth {
            continue;
        }
        assert!(listing.faults.is_empty(), "{:?}", listing.faults);
        let below = listing.dir.components()[depth..].join(&b'/');
        let folder = copy.folders.iter().find(|(path, ..)| *path == below).unwrap().1.clone();
        for (name, stat) in listing.iter() {
            copy.entry(&listing, &folder, name, stat, &mut links);
        }
    }
    copy.finish_folders()
}

type Links = std::collections::HashMap<(u64, u64), (TargetDir, Vec<u8>, Stat)>;
type Saved = (Stat, attributes::Extras);

struct Copy<'a> {
    target: &'a Target,
    folders: Vec<(Vec<u8>, TargetDir, Option<Saved>)>,
    left: Vec<(String, Unapplied)>,
}

impl Copy<'_> {
    fn entry(&mut self, listing: &Listing, folder: &TargetDir, name: &[u8], stat: &Stat, links: &mut Links) {
        let target = self.target;
        let extras = attributes::read_extras(&listing.dir, name, stat).unwrap();
        assert!(extras.unread.is_empty(), "{:?}", extras.unread);
        if let Some((first, first_name, made)) = links.get(&(stat.device, stat.inode)) {
            return target.hard_link(first, first_name, made, folder, name).unwrap();
        }
        let wanted = wanted(stat, &extras.xattrs, &extras);
        let left = match stat.kind {
            Kind::Directory => {
                let made = target.directory(folder, name).unwrap();
                let path = made.path();
                return self.folders.push((path, made, Some((*stat, extras))));
            }
            Kind::File => {
                let source = open_for_read(&listing.dir, name, stat).unwrap();
                let file = target.create_file(folder, name, &wanted).unwrap();
                copy_contents(&source.file, &file.file, stat);
                target.finish_file(&file, &wanted)
            }
            Kind::Symlink => {
                target.symlink(folder, name, extras.link_target.as_ref().unwrap(), &wanted).unwrap()
            }
            kind => target.node(folder, name, kind, stat.device_numbers(), &wanted).unwrap(),
        };
        self.left.extend(left.into_iter().map(|left| (name.escape_ascii().to_string(), left)));
        if stat.nlink > 1 {
            let made = target.stat(folder, name).unwrap().unwrap();
            links.insert((stat.device, stat.inode), (folder.clone(), name.to_vec(), made));
        }
    }

    fn finish_folders(mut self) -> Vec<(String, Unapplied)> {
        while let Some((path, made, saved)) = self.folders.pop() {
            let Some((stat, extras)) = saved else { continue };
            let left = self.target.finish_directory(&made, &wanted(&stat, &extras.xattrs, &extras)).unwrap();
            self.left.extend(left.into_iter().map(|left| (path.escape_ascii().to_string(), left)));
        }
        self.left
    }
}

pub(crate) fn wanted<'a>(stat: &Stat, xattrs: &'a [Xattr], extras: &attributes::Extras) -> Attributes<'a> {
    Attributes {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        flags: extras.flags,
        project: extras.project,
        xattrs,
        ..Attributes::default()
    }
}

fn copy_contents(from: &std::fs::File, to: &std::fs::File, stat: &Stat) {
    use std::os::unix::fs::FileExt;
    set_length(to, stat.size_bytes).unwrap();
    let whole = 0..stat.size_bytes;
    let ranges =
        if stat.may_have_holes() { data_ranges(from, stat.size_bytes).unwrap() } else { vec![whole] };
    for range in ranges {
        let mut data = vec![0; (range.end - range.start) as usize];
        from.read_exact_at(&mut data, range.start).unwrap();
        to.write_all_at(&data, range.start).unwrap();
    }
    let mut rest = Vec::new();
    let mut from = from;
    std::io::Seek::seek(&mut from, std::io::SeekFrom::Start(stat.size_bytes)).unwrap();
    from.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the source grew");
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

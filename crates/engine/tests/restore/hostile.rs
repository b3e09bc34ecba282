//! Snapshots and targets that try to lead a restore out of its folder. Whoever has written a snapshot, or
//! stands in the target, must not reach a file outside.

use crate::world::{World, entry, inventory};
use engine::{Overwrite, Severity};
use format::kind::Kind;
use format::tree::{Content, Entry};
use repo::workers::Workers;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const CONTENTS: &[u8] = b"written by a restore";

/// A path of a hostile snapshot: its key, written with `|` for the zero byte, and what stands there.
#[derive(Clone, Copy)]
enum Thing {
    Folder(&'static str),
    File(&'static str),
    /// A symbolic link to `{victim}` or `{victim}/SECOND`.
    Link(&'static str, &'static str),
    /// A further name of the inode of group 1.
    Linked(&'static str),
    Fifo(&'static str),
}

fn key_of(text: &str) -> Vec<u8> {
    text.replace('|', "\0").into_bytes()
}

fn file(world: &World) -> Entry {
    let mut file = entry(Kind::File);
    file.size_bytes = CONTENTS.len() as u64;
    file.content = Content::Whole(world.blob_id(&world.reader(), CONTENTS));
    file
}

fn build(world: &World, things: &[Thing]) -> Vec<(Vec<u8>, Entry)> {
    let victim = world.top().join("victim").display().to_string();
    let mut entries: Vec<(Vec<u8>, Entry)> = vec![(key_of("|/"), entry(Kind::Directory))];
    for thing in things {
        entries.push(match thing {
            Thing::Folder(key) => (key_of(key), entry(Kind::Directory)),
            Thing::File(key) => (key_of(key), file(world)),
            Thing::Fifo(key) => (key_of(key), entry(Kind::Fifo)),
            Thing::Linked(key) => (key_of(key), Entry { link_group: Some([1; 8]), ..file(world) }),
            Thing::Link(key, target) => {
                let target = target.replace("{victim}", &victim).into_bytes().into();
                (key_of(key), Entry { target, ..entry(Kind::Symlink) })
            }
        });
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|a, b| a.0 == b.0);
    entries
}

/// A folder beside the target that must stay as it is.
fn make_victim(world: &World) {
    let victim = world.top().join("victim");
    fs::create_dir_all(victim.join("folder")).unwrap();
    fs::write(victim.join("file"), b"precious").unwrap();
    fs::write(victim.join("folder/inner"), b"precious, too").unwrap();
}

fn names() -> Vec<&'static str> {
    vec![
        "..",
        ".",
        "../victim",
        "../victim/file",
        "../../victim/file",
        "a/../../victim/file",
        "/",
        "//",
        "/etc/lifeboat-was-here",
        "victim/../../victim/file",
        "a/b",
        "./a",
        "a/",
        "/a",
        "...",
        "..\\victim",
        "\\..\\victim",
        "C:\\x",
        "~",
        "-rf",
        "a\nb",
        "\u{202e}gnp",
    ]
}

/// Every hostile name as a file, as a folder with a file in it, as a link and as a volume.
fn hostile_names() -> Vec<Vec<Thing>> {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let mut cases = Vec::new();
    for name in names() {
        let child = leak(format!("/||{name}"));
        let below = leak(format!("/|{name}||x"));
        cases.push(vec![Thing::File(child)]);
        cases.push(vec![Thing::Folder(child), Thing::File(below)]);
        cases.push(vec![Thing::Link(child, "{victim}"), Thing::File(below)]);
        cases.push(vec![Thing::File(leak(format!("|{name}")))]);
        cases.push(vec![Thing::Folder(leak(format!("|{name}"))), Thing::File(leak(format!("{name}||x")))]);
        cases.push(vec![Thing::File(leak(format!("|stream:{name}")))]);
        // Entries below a folder that is nowhere.
        cases.push(vec![Thing::File(below)]);
    }
    cases
}

/// Links that are to be walked through, and names of inodes that are elsewhere.
fn hostile_shapes() -> Vec<Vec<Thing>> {
    use Thing::{Fifo, File, Folder, Link, Linked};
    vec![
        vec![Link("/||a", "{victim}"), File("/|a||file")],
        vec![Link("/||a", "{victim}"), Folder("/|a||folder"), File("/|a|folder||inner")],
        vec![Link("/||a", "../victim"), File("/|a||file")],
        vec![Link("/||a", "{victim}/file"), File("/|a||x")],
        vec![Folder("/||a"), Link("/|a||b", "{victim}"), File("/|a|b||file")],
        vec![Folder("/||a"), Link("/|a||b", "../../victim"), File("/|a|b|folder||inner")],
        vec![Link("|/", "{victim}"), File("/||file")],
        vec![Link("|C:", "{victim}"), File("C:||file")],
        vec![Link("|stream:a", "{victim}"), File("stream:a||file")],
        vec![Link("/||a", "{victim}"), Linked("/||b"), Linked("/|a||file")],
        vec![Link("/||a", "{victim}"), Linked("/|a||file"), Linked("/||b")],
        vec![Link("/||a", "{victim}/file"), Linked("/||b"), Linked("/||c")],
        vec![Linked("/||../victim/file"), Linked("/||b")],
        vec![Linked("/||b"), Linked("/||../victim/new")],
        vec![Link("/||a", "{victim}"), Fifo("/|a||pipe")],
        vec![Fifo("/||../victim/pipe")],
        vec![File("/||a"), File("/|a||b")],
        vec![Fifo("/||a"), File("/|a||b")],
        vec![Link("/||a", "a"), File("/|a||b")],
        vec![Link("/||a", "."), File("/|a|..|victim||file")],
        vec![Link("/||a", "{victim}"), Link("/|a||file", "nowhere")],
    ]
}

#[test]
fn no_snapshot_reaches_beyond_the_target() {
    let world = World::new();
    make_victim(&world);
    let before = inventory(&world.top().join("victim"));
    let cases: Vec<_> = hostile_names().into_iter().chain(hostile_shapes()).collect();
    assert!(cases.len() > 60);
    for (n, things) in cases.iter().enumerate() {
        let snapshot = world.invent(build(&world, things), &[CONTENTS]);
        let target = world.top().join("target");
        let (outcome, ear) = world.restore(&snapshot, |r| {
            r.path = Vec::new();
            r.overwrite = if n % 2 == 0 { Overwrite::Always } else { Overwrite::IfChanged };
            r.delete = n % 3 == 0;
            r.workers = Workers(n % 3);
        });
        assert!(outcome.is_ok() || !target.exists(), "case {n}: {outcome:?}");
        assert_eq!(inventory(&world.top().join("victim")), before, "case {n}");
        let beside: Vec<_> =
            fs::read_dir(world.top()).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert!(
            beside
                .iter()
                .all(|name| ["repo", "source", "target", "victim"].iter().any(|known| name == known)),
            "case {n}: {beside:?}"
        );
        assert!(!Path::new("/etc/lifeboat-was-here").exists(), "case {n}");
        assert!(ear.notes.lock().unwrap().iter().all(|note| note.severity != Severity::Damage), "case {n}");
        if target.exists() {
            fs::remove_dir_all(&target).unwrap();
        }
    }
}

#[test]
fn a_name_that_is_no_name_is_told_and_the_others_are_restored() {
    let world = World::new();
    let things = [Thing::File("/||.."), Thing::File("/||a/b"), Thing::File("/||good")];
    let snapshot = world.invent(build(&world, &things), &[CONTENTS]);
    let (outcome, ear) = world.restore(&snapshot, |r| r.path = Vec::new());
    assert_eq!(outcome.unwrap().problems, 2);
    let mut told: Vec<_> = ear.problems().iter().map(|note| (note.item.clone(), note.text.clone())).collect();
    told.sort();
    assert_eq!(told[0], (b"/..".to_vec(), "\"..\" is not a file name".to_string()));
    assert_eq!(told[1].0, b"/a/b");
    assert_eq!(fs::read(world.target().join("good")).unwrap(), CONTENTS);
    assert_eq!(fs::read_dir(world.target()).unwrap().count(), 1);
}

/// Puts something into a target.
type Plant<'p> = Box<dyn Fn(&Path) + 'p>;

/// What stands in the target before the restore of `a/b/file`, `a/link` and two names of one inode.
fn planted(top: &Path) -> Vec<Plant<'_>> {
    let victim = top.join("victim");
    let to = move |at: &'static str, below: &'static str| {
        let victim = victim.clone();
        Box::new(move |target: &Path| {
            let at = target.join(at);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            symlink(victim.join(below), at).unwrap();
        }) as Plant<'_>
    };
    let hard = move |at: &'static str| {
        let victim = top.join("victim/file");
        Box::new(move |target: &Path| {
            let at = target.join(at);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::hard_link(&victim, at).unwrap();
        }) as Plant<'_>
    };
    vec![
        to("a", ""),
        to("a", "folder"),
        to("a", "nowhere"),
        to("a/b", ""),
        to("a/b", "folder"),
        to("a/b/file", "file"),
        to("a/b/file", "new"),
        to("a/first", "file"),
        to("a/second", "file"),
        to("a/first", "folder/inner"),
        to("a/link", "folder"),
        hard("a/b/file"),
        hard("a/first"),
        hard("a/second"),
    ]
}

#[test]
fn links_planted_in_the_target_lead_nowhere() {
    use Thing::{File, Folder, Link, Linked};
    let world = World::new();
    make_victim(&world);
    let before: Vec<String> = contents(&world);
    let things = [
        Folder("/||a"),
        Folder("/|a||b"),
        File("/|a|b||file"),
        Link("/|a||link", "b"),
        Linked("/|a||first"),
        Linked("/|a||second"),
    ];
    let snapshot = world.invent(build(&world, &things), &[CONTENTS]);
    for (n, plant) in planted(&world.top()).iter().enumerate() {
        for overwrite in [Overwrite::Always, Overwrite::IfChanged, Overwrite::IfNewer, Overwrite::Never] {
            let target = world.target();
            fs::create_dir(&target).unwrap();
            plant(&target);
            let (outcome, _) = world.restore(&snapshot, |r| {
                r.path = Vec::new();
                r.overwrite = overwrite;
                r.delete = n % 2 == 0;
                r.verify = n % 3 == 0;
            });
            outcome.unwrap();
            assert_eq!(contents(&world), before, "case {n}, {overwrite:?}");
            if overwrite == Overwrite::Always {
                assert_eq!(fs::read(target.join("a/b/file")).unwrap(), CONTENTS, "case {n}");
                assert_eq!(fs::read(target.join("a/second")).unwrap(), CONTENTS, "case {n}");
                assert_eq!(fs::read_link(target.join("a/link")).unwrap(), Path::new("b"));
            }
            fs::remove_dir_all(&target).unwrap();
        }
    }
}

/// The victim without its link counts, which the cases themselves change.
fn contents(world: &World) -> Vec<String> {
    let victim = world.top().join("victim");
    let described = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(victim.join(path)).unwrap();
        let bytes = fs::read(victim.join(path)).unwrap();
        format!("{path} {:o} {}.{} {}", meta.mode(), meta.mtime(), meta.mtime_nsec(), bytes.escape_ascii())
    };
    let mut names: Vec<String> =
        crate::world::files_below(&victim).iter().map(|p| p.display().to_string()).collect();
    names.sort();
    names.extend([described("file"), described("folder/inner")]);
    names
}

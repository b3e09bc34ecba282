//! Rules leave out what they say and nothing else; git is the judge of ignore files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use host::{Explanation, Kind, Rules, Walk, WalkOptions};
use proptest::prelude::*;

use crate::support::{has_program, present, scratch};

fn options() -> WalkOptions {
    WalkOptions { inline: true, report_excluded: true, ..WalkOptions::default() }
}

/// What a backup of the sources would hold below `top`, and what it would leave out with the reasons.
fn walk(top: &Path, sources: &[PathBuf], rules: Rules) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    let mut walk = Walk::start(sources, Arc::new(rules), options()).unwrap();
    let depth = top.iter().count() - 1;
    while let Some(listing) = walk.next() {
        if listing.dir.depth() < depth {
            continue;
        }
        assert!(listing.faults.is_empty(), "{:?}", listing.faults);
        assert_eq!(listing.excluded.len(), listing.excluded_count);
        let folder = listing.dir.components()[depth..].join(&b'/');
        let path = |name: &[u8]| {
            let full = if folder.is_empty() { name.to_vec() } else { [&folder, name].join(&b'/') };
            String::from_utf8(full).unwrap()
        };
        for (name, stat) in listing.iter() {
            let slash = if stat.kind == Kind::Directory { "/" } else { "" };
            kept.push(path(name) + slash);
        }
        for entry in &listing.excluded {
            left_out.push(format!("{}: {}", path(listing.excluded_name(entry)), entry.why));
        }
    }
    (kept, left_out)
}

fn plant(top: &Path, files: &[&str]) {
    for file in files {
        let path = top.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"0123456789").unwrap();
    }
}

#[test]
fn patterns_count_from_every_source_and_from_the_root() {
    let (_guard, top) = scratch();
    plant(&top, &["a/x/cache/f", "a/cache/f", "a/deep/name.tmp", "a/keep.tmp", "b/cache/f", "b/y/z"]);
    let mut rules = Rules::default();
    rules.exclude(b"/cache", "--exclude", false).unwrap();
    rules.exclude(b"*.TMP", "--iexclude", true).unwrap();
    rules.include(b"keep.*", "--include", false).unwrap();
    rules.exclude(format!("{}/*/y/", top.display()).as_bytes(), "--exclude", false).unwrap();
    let (kept, left_out) = walk(&top, &[top.join("a"), top.join("b")], rules);
    assert_eq!(kept, ["a/", "b/", "a/deep/", "a/keep.tmp", "a/x/", "a/x/cache/", "a/x/cache/f"]);
    let absolute = format!("b/y: pattern \"{}/*/y/\" (--exclude)", top.display());
    assert_eq!(
        left_out,
        [
            "a/cache: pattern \"/cache\" (--exclude)",
            "a/deep/name.tmp: pattern \"*.TMP\" (--iexclude)",
            "b/cache: pattern \"/cache\" (--exclude)",
            &absolute,
        ]
    );
}

#[test]
fn the_program_says_which_line_of_which_file_decides() {
    let (_guard, top) = scratch();
    plant(&top, &["s/a.o", "s/b.o", "s/sub/c.o", "s/sub/d.txt", "other"]);
    fs::write(top.join("s/.lifeboatignore"), "# objects\n*.o\n").unwrap();
    fs::write(top.join("s/sub/.lifeboatignore"), "!c.o\n\nd.*\n").unwrap();
    fs::write(top.join("list"), "nothing\nb.o\n").unwrap();
    let mut rules = Rules::default();
    rules.ignore_files_named(b".lifeboatignore");
    rules.exclude_file(&top.join("list"), false).unwrap();
    let explain = |path: &str| rules.explain(&[top.join("s")], &top.join(path)).unwrap().to_string();
    let t = top.display();
    assert_eq!(explain("s/a.o"), format!("left out: {t}/s/a.o: pattern \"*.o\" ({t}/s/.lifeboatignore:2)"));
    assert_eq!(explain("s/b.o"), format!("left out: {t}/s/b.o: pattern \"b.o\" ({t}/list:2)"));
    assert_eq!(explain("s/sub/c.o"), format!("saved: taken back by \"!c.o\" ({t}/s/sub/.lifeboatignore:1)"));
    assert_eq!(
        explain("s/sub/d.txt"),
        format!("left out: {t}/s/sub/d.txt: pattern \"d.*\" ({t}/s/sub/.lifeboatignore:3)")
    );
    assert_eq!(explain("s/sub"), "saved: no rule leaves it out");
    assert_eq!(explain("other"), "not saved: in none of the sources");
    assert!(rules.explain(&[top.join("s")], &top.join("gone")).is_err());
}

#[test]
fn marked_folders_keep_only_their_mark() {
    let (_guard, top) = scratch();
    plant(&top, &["real/data", "real/sub/data", "fake/data", "mark/data", "wrong/data", "right/data"]);
    fs::write(top.join("real/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n# cache").unwrap();
    fs::write(top.join("fake/CACHEDIR.TAG"), "Signature: something else").unwrap();
    fs::write(top.join("mark/.nobackup"), "").unwrap();
    fs::write(top.join("wrong/.skip"), "no").unwrap();
    fs::write(top.join("right/.skip"), "yes, please").unwrap();
    let rules = || {
        let mut rules = Rules::default();
        rules.exclude_caches();
        rules.exclude_if_present(b".nobackup").unwrap();
        rules.exclude_if_present(b".skip:yes").unwrap();
        rules
    };
    for bad in [&b""[..], b"a/b", b".", b":header"] {
        assert!(rules().exclude_if_present(bad).is_err());
    }
    let (kept, left_out) = walk(&top, std::slice::from_ref(&top), rules());
    let files: Vec<_> = kept.iter().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(
        files,
        [
            "fake/CACHEDIR.TAG",
            "fake/data",
            "mark/.nobackup",
            "real/CACHEDIR.TAG",
            "right/.skip",
            "wrong/.skip",
            "wrong/data"
        ]
    );
    assert_eq!(
        left_out,
        [
            "mark/data: the folder contains \".nobackup\"",
            "real/data: the folder contains \"CACHEDIR.TAG\"",
            "real/sub: the folder contains \"CACHEDIR.TAG\"",
            "right/data: the folder contains \".skip\"",
        ]
    );
    let explained = rules().explain(std::slice::from_ref(&top), &top.join("real/sub/data")).unwrap();
    let Explanation::Excluded { at, .. } = explained else { panic!("{explained}") };
    assert_eq!(at, top.join("real/sub"));
}

#[test]
fn large_files_are_left_out() {
    let (_guard, top) = scratch();
    plant(&top, &["ten", "sub/ten"]);
    fs::write(top.join("eleven"), b"01234567890").unwrap();
    let mut rules = Rules::default();
    rules.exclude_larger_than(10);
    let (kept, left_out) = walk(&top, std::slice::from_ref(&top), rules);
    assert_eq!(kept, ["sub/", "ten", "sub/ten"]);
    assert_eq!(left_out, ["eleven: the file has more than 10 bytes"]);
}

#[test]
fn what_must_not_be_dumped_is_left_out_on_wish() {
    if !has_program("chattr") {
        return;
    }
    let (_guard, top) = scratch();
    plant(&top, &["flagged", "plain", "folder/below", "named/below"]);
    let flagged = ["flagged", "folder", "named"].map(|name| top.join(name));
    let set = Command::new("chattr").arg("+d").args(&flagged).status().unwrap();
    if !present("a file system with inode flags", set.success()) {
        return;
    }
    let sources = [top.clone(), top.join("named")];
    let mut rules = Rules::default();
    rules.exclude_no_dump();
    let (kept, left_out) = walk(&top, &sources, rules);
    assert_eq!(kept, ["named/", "plain", "named/below"]);
    assert_eq!(left_out, ["flagged: it has the \"no dump\" flag", "folder: it has the \"no dump\" flag"]);
    assert_eq!(walk(&top, &sources, Rules::default()).0.len(), 6);
}

#[test]
fn a_source_inside_what_is_left_out_is_saved_all_the_same() {
    let (_guard, top) = scratch();
    plant(
        &top,
        &["home/.cache/junk", "home/.cache/keep/it", "home/.cache/keep/not.tmp", "home/x.tmp", "home/y"],
    );
    let rules = || {
        let mut rules = Rules::default();
        rules.exclude(b".cache", "--exclude", false).unwrap();
        rules.exclude(b"*.tmp", "--exclude", false).unwrap();
        rules
    };
    let sources = [top.join("home"), top.join("home/.cache/keep"), top.join("home/x.tmp")];
    let (kept, left_out) = walk(&top, &sources, rules());
    assert_eq!(kept, ["home/", "home/.cache/", "home/y", "home/.cache/keep/", "home/.cache/keep/it"]);
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    let explain = |path: &str| rules().explain(&sources, &top.join(path)).unwrap().to_string();
    assert_eq!(explain("home/.cache/keep/it"), "saved: no rule leaves it out");
    assert!(explain("home/.cache/junk").starts_with("left out: "));
    assert!(explain("home/x.tmp").starts_with("left out: "), "a pattern that names a source wins");
}

#[test]
fn an_ignore_file_that_cannot_be_read_leaves_nothing_out_and_is_a_fault() {
    let (_guard, top) = scratch();
    plant(&top, &["file"]);
    std::os::unix::fs::symlink("file", top.join(".lifeboatignore")).unwrap();
    let mut rules = Rules::default();
    rules.ignore_files_named(b".lifeboatignore");
    let mut walk = Walk::start(std::slice::from_ref(&top), Arc::new(rules), options()).unwrap();
    let last = std::iter::from_fn(|| walk.next()).last().unwrap();
    assert_eq!((last.entries.len(), last.faults.len()), (2, 1));
    assert_eq!(last.faults[0].name.as_deref(), Some(&b".lifeboatignore"[..]));
}

fn component() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ab]{1,2}",
        1 => Just("*".to_string()),
        1 => Just("?".to_string()),
        1 => Just("[ab]".to_string()),
        1 => Just("[!a]*".to_string()),
        1 => Just("\\a".to_string()),
        1 => Just("a*b".to_string()),
        1 => Just("[".to_string()),
    ];
    // Two stars beside other characters mean one by git's manual, but its program takes them for folders
    // after a plain beginning ("a**/b" matches "a/x/b"); they stand alone here.
    let mixed = proptest::collection::vec(part, 1..3).prop_map(|parts| parts.concat().replace("**", "*"));
    prop_oneof![6 => mixed, 1 => Just("**".to_string()), 1 => Just("***".to_string())]
}

fn line() -> impl Strategy<Value = String> {
    let body = proptest::collection::vec(component(), 1..4).prop_map(|parts| parts.join("/"));
    let before = prop_oneof![4 => Just(""), 1 => Just("/"), 2 => Just("!"), 1 => Just("!/"), 1 => Just("#"), 1 => Just("**/")];
    let after = prop_oneof![4 => Just(""), 1 => Just("/"), 1 => Just("/**"), 1 => Just("  "), 1 => Just("\r"), 1 => Just("\\ ")];
    (before, body, after).prop_map(|(before, body, after)| format!("{before}{body}{after}"))
}

type Tree = (Vec<String>, Vec<(String, Vec<String>)>);

/// Files, and ignore files with their folder.
fn tree() -> impl Strategy<Value = Tree> {
    let files = proptest::collection::vec("[ab]{1,2}(/[ab]{1,2}){0,3}", 1..25);
    let folder = prop_oneof![Just(String::new()), "[ab](/[ab]{1,2}){0,1}"];
    let ignores = proptest::collection::vec((folder, proptest::collection::vec(line(), 0..5)), 1..4);
    (files, ignores)
}

fn plant_tree(top: &Path, (files, ignores): &Tree) {
    for file in files {
        let path = top.join(file);
        if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.exists() {
            fs::write(path, b"").unwrap();
        }
    }
    for (folder, lines) in ignores {
        if fs::create_dir_all(top.join(folder)).is_ok() {
            fs::write(top.join(folder).join(".lifeboatignore"), lines.join("\n")).unwrap();
        }
    }
}

fn files_of_git(top: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--others", "-z", "--exclude-per-directory=.lifeboatignore"])
        .current_dir(top)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", top)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.map(|name| top.join(OsStr::from_bytes(name))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn ignore_files_mean_what_git_means(tree in tree()) {
        if !has_program("git") {
            return Ok(());
        }
        let (_guard, top) = scratch();
        plant_tree(&top, &tree);
        let init = Command::new("git").args(["init", "-q"]).current_dir(&top).status().unwrap();
        prop_assert!(init.success());
        let rules = || {
            let mut rules = Rules::default();
            rules.ignore_files_named(b".lifeboatignore");
            rules.exclude(b"/.git", "test", false).unwrap();
            rules
        };
        let (kept, left_out) = walk(&top, std::slice::from_ref(&top), rules());
        let files: BTreeSet<PathBuf> =
            kept.iter().filter(|path| !path.ends_with('/')).map(|path| top.join(path)).collect();
        prop_assert_eq!(&files, &files_of_git(&top));
        // The explanation must agree with what the walk did.
        let sources = std::slice::from_ref(&top);
        for path in kept {
            let explained = rules().explain(sources, &top.join(path.trim_end_matches('/'))).unwrap();
            prop_assert!(matches!(explained, Explanation::Saved | Explanation::TakenBack(_)), "{}", explained);
        }
        for line in left_out {
            let path = line.split(": ").next().unwrap();
            let explained = rules().explain(sources, &top.join(path)).unwrap().to_string();
            prop_assert_eq!(explained, format!("left out: {}/{}", top.display(), line));
        }
    }
}

//! Measures the catalog of names: `cargo run --release -p service --example names_speed FILES SNAPSHOTS FOLDER`.
//!
//! FILES paths with mostly distinct names, SNAPSHOTS points of which each changes one file in a thousand.
#![allow(clippy::print_stdout, reason = "it is there to print")]

use format::id::{BlobId, FamilyId, SnapshotId};
use format::kind::{Kind, Timestamp};
use format::tree::{Class, Content, Entry, Marks, Owner, PathKey, Root, Xattrs};
use repo::browse::Change;
use service::catalog::{NAMES_FILE, Names, Query, literal};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const FAMILY: FamilyId = FamilyId([1; 16]);

fn entry(class: &Arc<Class>, n: u64, version: u64) -> Entry {
    let time = Timestamp { secs: 1_700_000_000 + (n + version) as i64, nanos: n as u32 % 1_000_000_000 };
    Entry {
        class: class.clone(),
        mtime: time,
        ctime: time,
        inode: n,
        size_bytes: n * 37 % 1_000_000,
        link_group: None,
        rdev: 0,
        target: Box::default(),
        content: Content::None,
        marks: Marks::default(),
    }
}

fn key(n: u64, renamed: u64) -> Vec<u8> {
    let words = ["report", "IMG", "invoice", "notes", "main", "index", "draft", "scan"];
    let endings = ["txt", "jpg", "pdf", "rs", "html", "docx"];
    let name = format!(
        "{}_{:05x}_{}{}.{}",
        words[n as usize % words.len()],
        n.wrapping_mul(2654435761) % 1048576,
        n % 977,
        if renamed > 0 { format!("_v{renamed}") } else { String::new() },
        endings[n as usize % endings.len()]
    );
    let folder = format!("/\0home\0me\0area{}\0project{:04}\0part{}\0", n / 100_000, n / 1000, n / 100 % 10);
    PathKey::child(folder.as_bytes(), name.as_bytes())
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, files, snapshots, folder] = &args[..] else { panic!("FILES SNAPSHOTS FOLDER") };
    let (files, snapshots): (u64, u64) = (files.parse().unwrap(), snapshots.parse().unwrap());
    let path = Path::new(folder).join(NAMES_FILE);
    let mut names = Names::open(&path).unwrap();
    let class = Arc::new(Class {
        kind: Kind::File,
        mode: 0o644,
        owner: Owner::default(),
        flags: 0,
        project: 0,
        mount: 0,
        xattrs: Xattrs::None,
    });
    for n in 0..snapshots {
        let begun = Instant::now();
        let root = Root { id: BlobId([n as u8; 24]), level: 2 };
        let mut changed = 0u64;
        let mut fill = |point: &mut service::catalog::Point<'_>| {
            let step = if n == 0 { 1 } else { 1000 };
            for file in (n..files).step_by(step) {
                changed += 1;
                let (old, new) = (entry(&class, file, n), entry(&class, file, n + 1));
                match (n, file % 3) {
                    (0, _) => point.take(&key(file, 0), Change::Added(&old))?,
                    (_, 0) => {
                        point.take(&key(file, 0), Change::Removed(&old))?;
                        point.take(&key(file, n), Change::Added(&new))?;
                    }
                    _ => point.take(&key(file, 0), Change::Changed(&old, &new))?,
                }
            }
            Ok(())
        };
        names.add_point(&FAMILY, b"lane", &SnapshotId([n as u8; 16]), root, &mut fill).unwrap();
        if n < 3 {
            println!("point {n}: {changed} changes in {:.2} s", begun.elapsed().as_secs_f64());
        }
    }
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{} MB, {:.0} bytes per file", size >> 20, size as f64 / files as f64);
    drop(names);
    for pattern in ["report_00ab1_*", "*_00ab1_*", "IMG_0*_3.jpg", "*.kdbx", "x*"] {
        let begun = Instant::now();
        let names = Names::open(&path).unwrap();
        let parts: Vec<&str> = pattern.split('*').collect();
        let fits = |name: &[u8]| {
            let name = std::str::from_utf8(name).unwrap();
            name.starts_with(parts[0])
                && name.ends_with(parts[parts.len() - 1])
                && parts.iter().all(|p| name.contains(p))
        };
        for by_trigram in [true, false] {
            let begun = Instant::now();
            let literal = literal(pattern.as_bytes(), false).filter(|_| by_trigram);
            let query = Query {
                literals: literal.map(|l| vec![l]),
                name_fits: &fits,
                fits: &|parts, _| fits(parts.last().unwrap()),
            };
            let found = names.find(&FAMILY, &query).unwrap();
            let hits: usize = found.values().map(Vec::len).sum();
            let how = if query.literals.is_some() { "by trigrams" } else { "by scan" };
            println!(
                "{pattern}: {hits} hits in {} snapshots, {how} {:.1} ms",
                found.len(),
                begun.elapsed().as_secs_f64() * 1e3
            );
        }
        println!("  both with opening: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    }
}

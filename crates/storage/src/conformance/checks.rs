//! The single checks: each stores what it needs in its own folder and states one promise.

use super::{Bench, Failure, Scope, Tried, must, must_equal, must_fail};
use crate::{CreateNew, ErrorKind, PutMode, StoreResult};
use std::ops::ControlFlow;
use std::time::Duration;

type Check = fn(&Bench<'_>) -> Tried;

/// Promise, folder, check.
pub(super) const ALL: &[(&str, &str, Check)] = &[
    ("what was stored is read back", "read", read_back),
    ("objects may be empty or one byte long", "small", empty_and_one_byte),
    ("exactly the range asked for is read", "range", ranges),
    ("a range beyond the end is an error, not a short answer", "beyond", ranges_beyond_the_end),
    ("an object larger than allowed is refused", "limit", limits),
    ("an absent object is told as such", "absent", absent_objects),
    ("length and receive time are told", "stat", stat),
    ("a taken name is refused to a new object", "taken", create_new),
    ("replacing replaces the whole object", "replace", replace),
    ("of many new objects of one name at most one is stored, and whole", "race", race_for_one_name),
    ("many objects can be stored at the same time", "many", many_at_once),
    ("names as long as ours are kept to the last digit", "long", long_names),
    ("lists are complete and in name order", "order", list_order),
    ("lists show exactly what begins with the prefix", "prefix", list_prefix),
    ("a list ends when its visitor has seen enough", "stop", list_stops),
    ("a removed object is gone everywhere", "gone", delete),
    ("an upload has its name and bytes only when it is finished", "upload", uploads),
    ("an upload that is given up leaves nothing", "given-up", dropped_upload),
    ("a large object is kept", "large", large_object),
    ("a list of many pages is complete and in name order", "pages", pages),
];

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // Xorshift64: bytes that neither compress nor repeat.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn read_back(bench: &Bench<'_>) -> Tried {
    let (name, bytes) = (bench.name("a"), pattern(100_000, 1));
    must(bench.store.put(&name, &bytes, PutMode::CreateNew), "put")?;
    must(bench.store.sync(), "sync")?;
    must_equal(&must(bench.store.get(&name, 100_000), "get")?, &bytes, "bytes")
}

fn empty_and_one_byte(bench: &Bench<'_>) -> Tried {
    for len in [0, 1] {
        let (name, bytes) = (bench.name(&format!("len-{len}")), pattern(len, 2));
        must(bench.store.put(&name, &bytes, PutMode::CreateNew), "put")?;
        must_equal(&must(bench.store.get(&name, 1), "get")?, &bytes, "bytes")?;
        let info = must(bench.store.stat(&name), "stat")?;
        must_equal(&info.len_bytes, &(len as u64), "length")?;
        must_equal(&must(bench.store.get_range(&name, 0..len as u64), "get range")?, &bytes, "range")?;
    }
    Ok(())
}

fn ranges(bench: &Bench<'_>) -> Tried {
    let (name, bytes) = (bench.name("a"), pattern(70_000, 3));
    must(bench.store.put(&name, &bytes, PutMode::CreateNew), "put")?;
    for (start, end) in
        [(0, 1), (0, 70_000), (69_999, 70_000), (4_095, 4_097), (1, 66_000), (5, 5), (70_000, 70_000)]
    {
        let read = must(bench.store.get_range(&name, start as u64..end as u64), "get range")?;
        must_equal(&read, &bytes[start..end].to_vec(), &format!("bytes {start}..{end}"))?;
    }
    Ok(())
}

fn ranges_beyond_the_end(bench: &Bench<'_>) -> Tried {
    let name = bench.name("a");
    must(bench.store.put(&name, &pattern(1_000, 4), PutMode::CreateNew), "put")?;
    for range in [999..1_001, 1_000..1_001, 5_000..6_000, 0..1 << 40, 1_001..1_001] {
        let what = format!("reading {range:?} of 1000 bytes");
        must_fail(bench.store.get_range(&name, range), ErrorKind::Truncated, &what)?;
    }
    Ok(())
}

fn limits(bench: &Bench<'_>) -> Tried {
    let name = bench.name("a");
    must(bench.store.put(&name, &pattern(1_000, 5), PutMode::CreateNew), "put")?;
    must(bench.store.get(&name, 1_000), "get with room for it")?;
    must_fail(bench.store.get(&name, 999), ErrorKind::TooLarge, "get with less room")
}

fn absent_objects(bench: &Bench<'_>) -> Tried {
    must(bench.store.put(&bench.name("folder/a"), b"x", PutMode::CreateNew), "put")?;
    for rest in ["b", "folder/b", "other/folder/b"] {
        let name = bench.name(rest);
        must_fail(bench.store.get(&name, 10), ErrorKind::NotFound, &format!("get {rest}"))?;
        must_fail(bench.store.get_range(&name, 0..1), ErrorKind::NotFound, &format!("get range of {rest}"))?;
        must_fail(bench.store.stat(&name), ErrorKind::NotFound, &format!("stat {rest}"))?;
        must_fail(bench.store.delete(&name), ErrorKind::NotFound, &format!("delete {rest}"))?;
    }
    must_equal(&bench.list("other/")?, &Vec::new(), "list of a folder that is not there")
}

fn stat(bench: &Bench<'_>) -> Tried {
    let name = bench.name("a");
    must(bench.store.put(&name, &pattern(12_345, 6), PutMode::CreateNew), "put")?;
    let info = must(bench.store.stat(&name), "stat")?;
    must_equal(&info.name, &name, "name")?;
    must_equal(&info.len_bytes, &12_345, "length")?;
    if bench.store.capabilities().received_time {
        must_equal(&info.received.is_some(), &true, "a receive time is told by stat")?;
    }
    let mut listed = None;
    let shown = bench.store.list(name.as_str(), &mut |info| {
        listed = Some(info);
        ControlFlow::Break(())
    });
    must(shown, "list")?;
    must_equal(&listed.map(|info| (info.name, info.len_bytes)), &Some((name, 12_345)), "list")
}

fn create_new(bench: &Bench<'_>) -> Tried {
    let (name, bytes) = (bench.name("a"), pattern(5_000, 7));
    must(bench.store.put(&name, &bytes, PutMode::CreateNew), "put")?;
    must_fail(bench.store.put(&name, b"x", PutMode::CreateNew), ErrorKind::AlreadyExists, "a second put")?;
    must_fail(
        bench.store.put(&name, &bytes, PutMode::CreateNew),
        ErrorKind::AlreadyExists,
        "the same put again",
    )?;
    must_equal(&must(bench.store.get(&name, 5_000), "get")?, &bytes, "bytes")
}

fn replace(bench: &Bench<'_>) -> Tried {
    let name = bench.name("a");
    for (len, seed) in [(5_000, 8), (10, 9), (70_000, 10), (0, 11)] {
        let bytes = pattern(len, seed);
        must(bench.store.put(&name, &bytes, PutMode::Replace), "put")?;
        must_equal(&must(bench.store.get(&name, 70_000), "get")?, &bytes, "bytes")?;
    }
    must_equal(&bench.list("")?, &vec!["a".to_owned()], "list")
}

/// Sends a request again that failed for a passing reason, twice at most.
fn patiently<T>(request: impl Fn() -> StoreResult<T>) -> StoreResult<T> {
    for _ in 0..2 {
        match request() {
            Err(e) if e.kind() == ErrorKind::Transient => std::thread::sleep(Duration::from_millis(100)),
            other => return other,
        }
    }
    request()
}

fn race_for_one_name(bench: &Bench<'_>) -> Tried {
    let name = bench.name("a");
    let versions: Vec<Vec<u8>> = (0..6).map(|seed| pattern(200_000, 100 + seed)).collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let name = &name;
        let put = |bytes: &Vec<u8>| {
            let bytes = bytes.clone();
            scope.spawn(move || bench.store.put(name, &bytes, PutMode::CreateNew))
        };
        let writers: Vec<_> = versions.iter().map(put).collect();
        writers.into_iter().map(|writer| writer.join().expect("a put does not panic")).collect()
    });
    // A server may close the connections of those it refused before they had sent everything; a request that meets one
    // of these is sent again, as the program does.
    let stored = must(patiently(|| bench.store.get(&name, 200_000)), "get")?;
    let winners: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    for outcome in outcomes {
        match outcome {
            // Who was refused may meet the cut connection before the refusal.
            Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Transient) => {
                must(Err(error), "put")?
            }
            _ => {}
        }
    }
    let whole = versions.iter().position(|bytes| *bytes == stored);
    let Some(kept) = whole else {
        return Err(Failure::Broken("the stored object is none of those sent".to_owned()));
    };
    must_equal(&winners[kept], &true, "the writer of the stored object was told of its success")?;
    if bench.store.capabilities().create_new == CreateNew::BestEffort {
        return Err(Failure::NotTried("this place does not claim it"));
    }
    must_equal(&winners.iter().filter(|won| **won).count(), &1, "writers that succeeded")
}

fn many_at_once(bench: &Bench<'_>) -> Tried {
    let numbers: Vec<u64> = (0..16).collect();
    let outcomes: Vec<Tried> = std::thread::scope(|scope| {
        let put = |number: &u64| {
            let number = *number;
            scope.spawn(move || {
                let (name, bytes) = (bench.name(&format!("new/{number:02}")), pattern(50_000, number));
                must(bench.store.put(&name, &bytes, PutMode::CreateNew), "put")?;
                must_equal(&must(bench.store.get(&name, 50_000), "get")?, &bytes, "bytes")
            })
        };
        let writers: Vec<_> = numbers.iter().map(put).collect();
        writers.into_iter().map(|writer| writer.join().expect("a put does not panic")).collect()
    });
    outcomes.into_iter().collect::<Tried>()?;
    must_equal(&bench.list("new/")?.len(), &16, "objects listed")
}

fn long_names(bench: &Bench<'_>) -> Tried {
    let hex = "4f".repeat(32);
    let names =
        [format!("packs/4/{hex}"), format!("packs/4/{}e", &hex[..63]), format!("snapshots/{}", &hex[..32])];
    for rest in &names {
        must(bench.store.put(&bench.name(rest), rest.as_bytes(), PutMode::CreateNew), "put")?;
    }
    for rest in &names {
        must_equal(
            &must(bench.store.get(&bench.name(rest), 300), "get")?,
            &rest.as_bytes().to_vec(),
            "bytes",
        )?;
    }
    let mut wanted = names.to_vec();
    wanted.sort();
    must_equal(&bench.list("")?, &wanted, "list")
}

/// In an order in which nobody would list them. Folders and files whose names begin alike are the hard part.
const NAMES: [&str; 10] = ["b/1", "a.b", "c", "a/2", "a-b", "a0", "a/1/x", "b/0", "0", "a/1.x"];

fn list_order(bench: &Bench<'_>) -> Tried {
    for rest in NAMES {
        must(bench.store.put(&bench.name(rest), rest.as_bytes(), PutMode::CreateNew), "put")?;
    }
    let mut wanted: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    wanted.sort();
    must_equal(&bench.list("")?, &wanted, "list")
}

fn list_prefix(bench: &Bench<'_>) -> Tried {
    for rest in NAMES {
        must(bench.store.put(&bench.name(rest), b"", PutMode::CreateNew), "put")?;
    }
    for prefix in ["a", "a/", "a/1", "a/1/", "a-", "b/0", "b/00", "c", "c/", "x", "x/y/", "0"] {
        let mut wanted: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
        wanted.retain(|name| name.starts_with(prefix));
        wanted.sort();
        must_equal(&bench.list(prefix)?, &wanted, &format!("list of {prefix:?}"))?;
    }
    Ok(())
}

fn list_stops(bench: &Bench<'_>) -> Tried {
    for rest in ["0/a", "0/b", "1/a", "1/b"] {
        must(bench.store.put(&bench.name(rest), b"", PutMode::CreateNew), "put")?;
    }
    let mut seen = 0;
    let listed = bench.store.list(&format!("{}/", bench.folder), &mut |_| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    must(listed, "list")?;
    must_equal(&seen, &3, "objects shown")
}

fn delete(bench: &Bench<'_>) -> Tried {
    for rest in ["a", "folder/b"] {
        must(bench.store.put(&bench.name(rest), b"x", PutMode::CreateNew), "put")?;
        must(bench.store.get_range(&bench.name(rest), 0..1), "get range")?;
    }
    must(bench.store.delete(&bench.name("folder/b")), "delete")?;
    must(bench.store.sync(), "sync")?;
    must_equal(&bench.list("")?, &vec!["a".to_owned()], "list")?;
    let gone = bench.name("folder/b");
    must_fail(bench.store.get(&gone, 10), ErrorKind::NotFound, "get")?;
    must_fail(bench.store.get_range(&gone, 0..1), ErrorKind::NotFound, "get range")?;
    must_fail(bench.store.stat(&gone), ErrorKind::NotFound, "stat")?;
    must_fail(bench.store.delete(&gone), ErrorKind::NotFound, "a second delete")?;
    must(bench.store.put(&gone, b"y", PutMode::CreateNew), "put of the same name")
}

fn uploads(bench: &Bench<'_>) -> Tried {
    let (name, bytes) = (bench.name("packs/4/a"), pattern(300_000, 12));
    let mut upload = must(bench.store.upload(10), "upload")?;
    for piece in bytes.chunks(7_001) {
        must(upload.write(piece), "write")?;
    }
    must_equal(&bench.list("")?, &Vec::new(), "list before the end")?;
    must(upload.finish(&name, PutMode::CreateNew), "finish")?;
    must_equal(&must(bench.store.get(&name, 300_000), "get")?, &bytes, "bytes")?;
    let empty = must(bench.store.upload(0), "upload")?;
    must(empty.finish(&bench.name("empty"), PutMode::CreateNew), "finish of an empty upload")?;
    must_equal(&must(bench.store.get(&bench.name("empty"), 0), "get")?, &Vec::new(), "empty upload")?;
    let mut again = must(bench.store.upload(3), "upload")?;
    must(again.write(b"new"), "write")?;
    must_fail(again.finish(&name, PutMode::CreateNew), ErrorKind::AlreadyExists, "finish with a taken name")?;
    let mut again = must(bench.store.upload(3), "upload")?;
    must(again.write(b"new"), "write")?;
    must(again.finish(&name, PutMode::Replace), "finish that replaces")?;
    must_equal(&must(bench.store.get(&name, 300_000), "get")?, &b"new".to_vec(), "replaced")
}

fn dropped_upload(bench: &Bench<'_>) -> Tried {
    let mut upload = must(bench.store.upload(100), "upload")?;
    must(upload.write(&pattern(100, 13)), "write")?;
    drop(upload);
    must_equal(&bench.list("")?, &Vec::new(), "list")
}

fn large_object(bench: &Bench<'_>) -> Tried {
    if bench.scope == Scope::Quick {
        return Err(Failure::NotTried("only in the full scope"));
    }
    let (name, bytes) = (bench.name("a"), pattern(20 << 20, 14));
    let mut upload = must(bench.store.upload(bytes.len() as u64), "upload")?;
    for piece in bytes.chunks(1 << 20) {
        must(upload.write(piece), "write")?;
    }
    must(upload.finish(&name, PutMode::CreateNew), "finish")?;
    let read = must(bench.store.get(&name, 20 << 20), "get")?;
    must_equal(&(read == bytes), &true, "the bytes are equal")?;
    let part = must(bench.store.get_range(&name, 9_999_999..15_000_000), "get range")?;
    must_equal(&(part == bytes[9_999_999..15_000_000]), &true, "the bytes of a range are equal")
}

fn pages(bench: &Bench<'_>) -> Tried {
    if bench.scope == Scope::Quick {
        return Err(Failure::NotTried("only in the full scope"));
    }
    let wanted: Vec<String> = (0..1_100).map(|number| format!("{:x}/{number:04}", number % 16)).collect();
    let outcomes: Vec<Tried> = std::thread::scope(|scope| {
        let put_all = |names: &[String]| {
            let names = names.to_vec();
            scope.spawn(move || {
                names.iter().try_for_each(|rest| {
                    must(bench.store.put(&bench.name(rest), rest.as_bytes(), PutMode::CreateNew), "put")
                })
            })
        };
        let writers: Vec<_> = wanted.chunks(275).map(put_all).collect();
        writers.into_iter().map(|writer| writer.join().expect("a put does not panic")).collect()
    });
    outcomes.into_iter().collect::<Tried>()?;
    let mut wanted = wanted;
    wanted.sort();
    must_equal(&bench.list("")?, &wanted, "list")
}

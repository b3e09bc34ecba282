//! Drives of people: what they keep of the promises of a store, and how their faults are met.

use crate::drives::dropbox::Dropbox;
use crate::drives::gdrive::Drive;
use crate::drives::onedrive::OneDrive;
use crate::drives::{Gate, Kept, REFRESH, open};
use crate::servers::{judge, name, with_causes};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{
    CreateNewKept, ErrorKind, Location, PutMode, RemoteOptions, RemoteStore, RetryOptions, RetryStore, Store,
    probe,
};

fn drive() -> (Arc<Drive>, Arc<Gate>) {
    let drive = Arc::new(Drive::default());
    (drive.clone(), Gate::new(drive, false))
}

/// All three, each with a name for messages.
fn all() -> Vec<(&'static str, Arc<Gate>, Arc<Kept>)> {
    vec![
        ("gdrive", drive().1, Kept::new("gdrive")),
        ("dropbox", Gate::new(Dropbox::default(), false), Kept::new("dropbox")),
        ("onedrive", Gate::new(OneDrive::default(), true), Kept::new("onedrive")),
    ]
}

fn patient(store: RemoteStore) -> RetryStore {
    let options = RetryOptions { wait: Arc::new(|_| ControlFlow::Continue(())), ..RetryOptions::default() };
    RetryStore::new(Arc::new(store), options)
}

fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    let listed = store.list(prefix, &mut |info| {
        names.push(info.name.as_str().to_owned());
        ControlFlow::Continue(())
    });
    listed.unwrap();
    names
}

#[test]
fn google_drive_keeps_its_promises() {
    let (_, gate) = drive();
    judge(&open("gdrive://backup/laptop", &gate, &Kept::new("gdrive")).unwrap());
}

#[test]
fn dropbox_keeps_its_promises() {
    judge(
        &open("dropbox://backup/laptop", &Gate::new(Dropbox::default(), false), &Kept::new("dropbox"))
            .unwrap(),
    );
}

#[test]
fn onedrive_keeps_its_promises() {
    judge(
        &open("onedrive://backup/laptop", &Gate::new(OneDrive::default(), true), &Kept::new("onedrive"))
            .unwrap(),
    );
}

#[test]
fn only_a_drive_that_shows_at_once_what_is_new_suits_many_writers() {
    for (service, gate, kept) in all() {
        let found = probe(&open(&format!("{service}://b"), &gate, &kept).unwrap(), "maint/probe-1").unwrap();
        assert_eq!(found.suits_many_writers(), service != "gdrive", "{service}");
        assert_eq!(found.create_new, CreateNewKept::BestEffort, "{service}");
        assert!(
            found.can_replace && found.can_delete && found.received_time && found.range_reads,
            "{service}"
        );
    }
}

#[test]
fn too_fast_busy_and_cut_lines_are_outlasted_and_full_is_told() {
    for (service, gate, kept) in all() {
        let store = patient(open(&format!("{service}://b"), &gate, &kept).unwrap());
        store.put(&name("packs/4/first"), b"first", PutMode::CreateNew).unwrap();
        gate.faults.too_fast.store(4, Ordering::SeqCst);
        store.put(&name("packs/4/second"), b"second", PutMode::CreateNew).unwrap();
        gate.faults.busy.store(3, Ordering::SeqCst);
        assert_eq!(store.get(&name("packs/4/second"), 10).unwrap(), b"second", "{service}");
        gate.faults.cut.store(3, Ordering::SeqCst);
        store.put(&name("packs/4/third"), b"third", PutMode::CreateNew).unwrap();
        assert_eq!(store.get(&name("packs/4/third"), 10).unwrap(), b"third", "{service}");
        gate.faults.too_fast.store(2, Ordering::SeqCst);
        assert_eq!(
            names(&store, "packs/"),
            ["packs/4/first", "packs/4/second", "packs/4/third"],
            "{service}"
        );
        gate.faults.full.store(1, Ordering::SeqCst);
        let full = store.put(&name("packs/4/fourth"), b"fourth", PutMode::CreateNew).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{service}: {}", with_causes(&full));
    }
}

#[test]
fn a_token_that_runs_out_early_is_replaced_without_a_word() {
    for (service, gate, kept) in all() {
        let store = open(&format!("{service}://b"), &gate, &kept).unwrap();
        store.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
        assert_eq!(gate.tokens_issued(), 1, "{service}");
        gate.expire();
        assert_eq!(store.get(&name("a"), 1).unwrap(), b"x", "{service}");
        assert_eq!(gate.tokens_issued(), 2, "{service}");
    }
}

#[test]
fn a_token_that_the_service_renews_is_kept_and_one_renewed_elsewhere_is_found() {
    let (gate, kept) = (Gate::new(OneDrive::default(), true), Kept::new("onedrive"));
    let (mine, other) =
        (open("onedrive://b", &gate, &kept).unwrap(), open("onedrive://b", &gate, &kept).unwrap());
    mine.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(kept.refresh_token(), format!("{REFRESH}-1"));
    // The other one was opened with the token that is no longer taken.
    assert_eq!(other.get(&name("a"), 1).unwrap(), b"x");
    assert_eq!(kept.refresh_token(), format!("{REFRESH}-2"));
}

#[test]
fn a_right_that_was_taken_back_is_told_with_the_command_that_gets_another() {
    for (service, gate, kept) in all() {
        let store = patient(open(&format!("{service}://b"), &gate, &kept).unwrap());
        store.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
        gate.revoke();
        let refused = store.get(&name("a"), 1).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{service}: {}", with_causes(&refused));
        assert!(with_causes(&refused).contains("lifeboat repo connect"), "{}", with_causes(&refused));
        for secret in [REFRESH, "access-1", "client-not-a-secret"] {
            assert!(!with_causes(&refused).contains(secret) && !format!("{refused:?}").contains(secret));
        }
    }
}

#[test]
fn a_drive_without_a_login_says_how_to_get_one() {
    let location = Location::parse("gdrive://b?login=work").unwrap();
    let refused = RemoteStore::open(&location, RemoteOptions::default()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(
        with_causes(&refused).contains("lifeboat repo connect gdrive --login work"),
        "{}",
        with_causes(&refused)
    );
    let other = open("gdrive://b", &drive().1, &Kept::new("dropbox")).err().unwrap();
    assert!(with_causes(&other).contains("is for dropbox"), "{}", with_causes(&other));
}

#[test]
fn of_two_files_with_one_name_one_is_shown_and_both_are_removed() {
    let (drive, gate) = drive();
    let kept = Kept::new("gdrive");
    let store = open("gdrive://b", &gate, &kept).unwrap();
    store.put(&name("packs/4/4f"), b"contents", PutMode::CreateNew).unwrap();
    drive.double("4f");
    drive.double("4f");
    assert_eq!(drive.names(), ["4f", "4f", "4f"]);
    let other = open("gdrive://b", &gate, &kept).unwrap();
    assert_eq!(names(&other, ""), ["packs/4/4f"]);
    assert_eq!(other.get(&name("packs/4/4f"), 10).unwrap(), b"contents");
    other.delete(&name("packs/4/4f")).unwrap();
    assert!(drive.names().is_empty(), "{:?}", drive.names());
    assert_eq!(other.get(&name("packs/4/4f"), 10).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(names(&open("gdrive://b", &gate, &kept).unwrap(), "").is_empty());
}

#[test]
fn what_is_found_late_costs_a_double_and_loses_nothing() {
    let (drive, gate) = drive();
    let kept = Kept::new("gdrive");
    let store = patient(open("gdrive://b", &gate, &kept).unwrap());
    store.put(&name("packs/4/first"), b"first", PutMode::CreateNew).unwrap();
    drive.found_late.store(30, Ordering::SeqCst);
    // The upload is done, its answer lost, and the look beforehand does not find it.
    gate.faults.cut.store(1, Ordering::SeqCst);
    store.put(&name("packs/4/second"), b"second", PutMode::CreateNew).unwrap();
    assert_eq!(store.get(&name("packs/4/second"), 10).unwrap(), b"second");
    drive.found_late.store(0, Ordering::SeqCst);
    for _ in 0..30 {
        names(&store, "");
    }
    let fresh = open("gdrive://b", &gate, &kept).unwrap();
    assert_eq!(names(&fresh, ""), ["packs/4/first", "packs/4/second"]);
    fresh.delete(&name("packs/4/second")).unwrap();
    assert_eq!(drive.names(), ["first"]);
}

#[test]
fn what_one_machine_stored_another_may_not_see_yet() {
    let (drive, gate) = drive();
    let kept = Kept::new("gdrive");
    let (writer, reader) =
        (open("gdrive://b", &gate, &kept).unwrap(), open("gdrive://b", &gate, &kept).unwrap());
    writer.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
    drive.found_late.store(1_000, Ordering::SeqCst);
    writer.put(&name("b"), b"y", PutMode::CreateNew).unwrap();
    assert_eq!(names(&writer, ""), ["a", "b"], "a writer sees its own doing");
    assert_eq!(names(&reader, ""), ["a"], "which is why nothing seen by it proves anything");
    assert!(!writer.capabilities().list_after_write);
}

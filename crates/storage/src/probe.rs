//! Finds out what a place really keeps, with the credential in use.
//!
//! Claims are not believed: servers exist that accept the condition "only if new" and replace all the
//! same, and whether this credential may replace or delete is known to the server alone. Takes about ten
//! small requests. A place that cannot be reached is an error; a promise that is not kept is an answer.

use crate::{CreateNew, ErrorKind, ObjectName, PutMode, Store, StoreError, StoreResult};
use std::ops::ControlFlow;

/// What happens to a new object whose name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateNewKept {
    /// The place itself refused it.
    Atomic,
    /// It was refused after a look beforehand; two racing writers may both succeed.
    BestEffort,
    /// It replaced the old one silently, whatever the place claims.
    Replaces,
}

/// What a place was seen to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// An object can be read as soon as its `put` has returned.
    pub read_after_write: bool,
    /// A list shows it as soon as its `put` has returned.
    pub list_after_write: bool,
    /// What `PutMode::CreateNew` does.
    pub create_new: CreateNewKept,
    /// This credential may replace objects. `false` at append-only places.
    pub can_replace: bool,
    /// This credential may delete objects. `false` at append-only places.
    pub can_delete: bool,
    /// Objects have a receive time by the clock of the place.
    pub received_time: bool,
    /// Ranges are read exactly.
    pub range_reads: bool,
}

impl ProbeResult {
    /// Whether several machines may write here: without these two, one cannot see what another wrote.
    pub fn suits_many_writers(&self) -> bool {
        self.read_after_write && self.list_after_write
    }

    /// What was seen, as `name=value` words that a repository keeps about its place.
    pub fn words(&self) -> Vec<String> {
        let yes = |kept: bool| if kept { "yes" } else { "no" };
        let create_new = match self.create_new {
            CreateNewKept::Atomic => "atomic",
            CreateNewKept::BestEffort => "best_effort",
            CreateNewKept::Replaces => "replaces",
        };
        vec![
            format!("create_new={create_new}"),
            format!("read_after_write={}", yes(self.read_after_write)),
            format!("list_after_write={}", yes(self.list_after_write)),
            format!("replace={}", yes(self.can_replace)),
            format!("delete={}", yes(self.can_delete)),
            format!("received_time={}", yes(self.received_time)),
            format!("range_reads={}", yes(self.range_reads)),
        ]
    }
}

const FIRST: &[u8] = b"lifeboat probe, first version";
const SECOND: &[u8] = b"lifeboat probe, second";

/// Probes `store` with one object named `scratch` + `/object` (such as `maint/probe-4f...`), which is
/// removed at the end where that is allowed.
pub fn probe(store: &dyn Store, scratch: &str) -> StoreResult<ProbeResult> {
    let name = ObjectName::new(&format!("{scratch}/object"))
        .ok_or_else(|| StoreError::new(ErrorKind::Config, format!("probe below {scratch:?}")))?;
    store.put(&name, FIRST, PutMode::CreateNew)?;
    let read_after_write = read(store, &name)?.as_deref() == Some(FIRST);
    // A place that claims less than it shows here is believed: a line may remember its own doing.
    let list_after_write = is_listed(store, &name)? && store.capabilities().list_after_write;
    let range_reads = match store.get_range(&name, 9..14) {
        Ok(bytes) => bytes == FIRST[9..14],
        Err(error) if is_about_the_place(&error) => return Err(error),
        Err(_) => false,
    };
    let received_time = store.stat(&name).is_ok_and(|info| info.received.is_some());
    let create_new = try_create_new(store, &name)?;
    let can_replace = try_replace(store, &name)?;
    let can_delete = match store.delete(&name) {
        Ok(()) => read(store, &name)?.is_none(),
        Err(error) if is_about_the_place(&error) => return Err(error),
        Err(_) => false,
    };
    store.sync()?;
    Ok(ProbeResult {
        read_after_write,
        list_after_write,
        create_new,
        can_replace,
        can_delete,
        received_time,
        range_reads,
    })
}

/// Errors that say nothing about a promise, only that the place is not in reach.
fn is_about_the_place(error: &StoreError) -> bool {
    use ErrorKind::{NoSuchPlace, Transient, Unauthenticated, UntrustedServer};
    matches!(error.kind(), Transient | Unauthenticated | UntrustedServer | NoSuchPlace)
}

fn read(store: &dyn Store, name: &ObjectName) -> StoreResult<Option<Vec<u8>>> {
    match store.get(name, 1_000) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_listed(store: &dyn Store, name: &ObjectName) -> StoreResult<bool> {
    let mut is_listed = false;
    let folder = name.as_str().trim_end_matches(name.file_name());
    store.list(folder, &mut |info| {
        is_listed |= info.name == *name && info.len_bytes == FIRST.len() as u64;
        ControlFlow::Continue(())
    })?;
    Ok(is_listed)
}

fn try_create_new(store: &dyn Store, name: &ObjectName) -> StoreResult<CreateNewKept> {
    let outcome = store.put(name, SECOND, PutMode::CreateNew);
    // Read back whatever the answer was: an error does not prove that nothing was replaced.
    let is_replaced = read(store, name)?.as_deref() == Some(SECOND);
    match outcome {
        _ if is_replaced => Ok(CreateNewKept::Replaces),
        Err(error) if is_about_the_place(&error) => Err(error),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(match store.capabilities().create_new {
            CreateNew::Atomic => CreateNewKept::Atomic,
            CreateNew::BestEffort => CreateNewKept::BestEffort,
        }),
        // Refused for another reason (append-only), or accepted and thrown away: the old object stands.
        _ => Ok(CreateNewKept::Atomic),
    }
}

fn try_replace(store: &dyn Store, name: &ObjectName) -> StoreResult<bool> {
    match store.put(name, b"lifeboat probe, third", PutMode::Replace) {
        Ok(()) => Ok(read(store, name)?.as_deref() == Some(b"lifeboat probe, third".as_slice())),
        Err(error) if is_about_the_place(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Faults, SimStore};

    fn found(faults: Faults) -> ProbeResult {
        probe(&SimStore::with_faults(1, faults), "maint/probe-1").unwrap()
    }

    #[test]
    fn a_good_place_keeps_everything_and_is_left_empty() {
        let store = SimStore::new(1);
        let found = probe(&store, "maint/probe-1").unwrap();
        assert!(found.suits_many_writers() && found.can_replace && found.can_delete);
        assert!(found.received_time && found.range_reads);
        assert_eq!(found.create_new, CreateNewKept::Atomic);
        assert!(store.objects().is_empty());
        assert!(store.log().counts().total() <= 12, "{:?}", store.log().counts());
    }

    #[test]
    fn silent_replacing_is_found_out() {
        let found = found(Faults { ignores_create_new: true, ..Faults::default() });
        assert_eq!(found.create_new, CreateNewKept::Replaces);
    }

    #[test]
    fn an_append_only_place_is_found_out() {
        let found = found(Faults { append_only: true, ..Faults::default() });
        assert!(!found.can_replace && !found.can_delete);
        assert_eq!(found.create_new, CreateNewKept::Atomic);
    }

    #[test]
    fn late_lists_are_found_out() {
        let late = |seed| {
            let store = SimStore::with_faults(seed, Faults { list_delay_requests: 50, ..Faults::default() });
            !probe(&store, "maint/probe-1").unwrap().suits_many_writers()
        };
        assert!((0..20).filter(|seed| late(*seed)).count() >= 15);
    }

    #[test]
    fn a_place_out_of_reach_is_an_error() {
        let store = SimStore::with_faults(1, Faults { error_before_permille: 1000, ..Faults::default() });
        assert_eq!(probe(&store, "maint/probe-1").unwrap_err().kind(), ErrorKind::Transient);
    }
}

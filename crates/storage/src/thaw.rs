//! Objects in a cold class: which of them cannot be read now, and waiting until they can.
//!
//! Archived objects are there: they are listed, have a length, and answer a read with [`ErrorKind::Archived`]
//! until somebody has asked the place to thaw them, which takes minutes to days and costs money. Asking is
//! the business of whoever knows how (a configured command); this module finds them and waits.

use crate::{ErrorKind, ObjectName, Store, StoreError, StoreResult, Wait};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long is waited.
#[derive(Clone)]
pub struct ThawOptions {
    /// Time between two looks.
    pub look_every: Duration,
    /// After so long it is given up. Amazon's slowest class takes two days.
    pub patience: Duration,
    /// How waiting is done.
    pub wait: Wait,
}

/// Which of these objects are archived now. Costs one small read for each that is not.
///
/// # Errors
/// What reading says, except that an object is archived. One that is not there is not archived: whoever
/// reads it will hear of it.
pub fn archived(store: &dyn Store, names: &[ObjectName]) -> StoreResult<Vec<ObjectName>> {
    let (next, found, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(None));
    let look = || {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            match store.get_range(name, 0..1) {
                Err(error) if error.kind() == ErrorKind::Archived => lock(&found).push(name.clone()),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Truncated) => {}
                Err(error) => {
                    next.store(names.len(), Ordering::Relaxed);
                    lock(&failed).get_or_insert(error);
                }
                Ok(_) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = store.capabilities().parallel_requests.clamp(1, 16).min(names.len().max(1));
        (0..threads).for_each(|_| {
            scope.spawn(look);
        });
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort();
    Ok(found)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until none of these objects is archived any more. `tell` hears how many are left after each look.
/// Ending early loses nothing: what was thawed stays so for as long as was asked for.
///
/// # Errors
/// [`ErrorKind::Archived`] when patience ends, with how many are left.
pub fn await_thaw(
    store: &dyn Store,
    mut left: Vec<ObjectName>,
    options: &ThawOptions,
    tell: &mut dyn FnMut(usize),
) -> StoreResult<()> {
    let mut waited = Duration::ZERO;
    while !left.is_empty() {
        let given_up = |why: &str| {
            let what = format!("wait for {} objects to be thawed", left.len());
            Err(StoreError::new(ErrorKind::Archived, what).because(why.to_owned()))
        };
        if waited >= options.patience {
            return given_up("patience has ended; run it again later");
        }
        if (options.wait)(options.look_every) == ControlFlow::Break(()) {
            return given_up("it was given up");
        }
        waited += options.look_every;
        left = archived(store, &left)?;
        tell(left.len());
    }
    Ok(())
}

//! One writing run per repository at a time on this machine, whoever begins it: the daemon, a timer, a person.
//!
//! Nothing in a repository depends on it; two runs would only slow each other down. A turn is a lock the system
//! takes back when its holder ends, however it ends, so that none is ever left behind.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(200);

/// Turns that are held until this goes.
pub struct Turns(#[allow(dead_code)] Vec<File>);

/// Takes the turns at these repositories, waiting for others. `waits` hears once for which; `None` when `goes_on`
/// said no.
///
/// # Errors
/// What the file system says.
pub fn take(
    state: &Path,
    repositories: &[String],
    waits: &dyn Fn(&str),
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Option<Turns>> {
    let folder = state.join("turns");
    crate::durable::create_private(&folder)?;
    let mut held = Vec::new();
    // All in one order, so that two runs never wait for each other.
    for name in repositories.iter().collect::<BTreeSet<_>>() {
        // Names of the configuration hold nothing that a path could take for more than a name.
        let path = folder.join(format!("{}.lock", name.replace(['/', '\0'], "_")));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let mut told = false;
        while let Err(e) = file.try_lock() {
            match e {
                TryLockError::WouldBlock if !goes_on() => return Ok(None),
                TryLockError::WouldBlock if told => {}
                TryLockError::WouldBlock => {
                    waits(name);
                    told = true;
                }
                TryLockError::Error(e) => return Err(e),
            }
            std::thread::sleep(PAUSE);
        }
        held.push(file);
    }
    Ok(Some(Turns(held)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_turn_is_waited_for_and_comes_back_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["nas".to_string(), "usb".to_string()];
        let first = take(folder.path(), &names, &|_| (), &|| true).unwrap().unwrap();
        let waited = Cell::new(false);
        let gave_up = take(folder.path(), &names[1..], &|_| waited.set(true), &|| false).unwrap();
        assert!(gave_up.is_none() && !waited.get());
        assert!(take(folder.path(), &["other".to_string()], &|_| (), &|| false).unwrap().is_some());
        drop(first);
        assert!(take(folder.path(), &names, &|_| (), &|| false).unwrap().is_some());
    }
}

//! What the credential in use can do to a place, and whether what is stored there can be taken away.
//!
//! Nothing is believed that was not tried: an object of our own is replaced and removed. Where the place
//! keeps versions, the *version* is removed too, because replacing or removing the newest one proves nothing
//! there. A place that refuses is *proven* to be immutable for this credential, for as long as its rule
//! holds; what a configuration says of it is a claim until then.

use crate::{ErrorKind, Location, ObjectName, OpenOptions, PutMode, Store, StoreError, StoreResult};

/// What happened to an older version of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The place keeps none, or tells of none.
    NotKept,
    /// A version was removed for good: whoever has this credential can remove everything.
    Removed,
    /// Removing a version was refused.
    Held,
}

/// What this credential can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Powers {
    /// An object was replaced.
    pub can_replace: bool,
    /// An object was removed from sight.
    pub can_delete: bool,
    /// What became of a version.
    pub versions: Versions,
}

impl Powers {
    /// Whether it was seen that this credential can take nothing away that is stored.
    pub fn proves_immutable(&self) -> bool {
        match self.versions {
            Versions::Held => true,
            Versions::Removed => false,
            Versions::NotKept => !self.can_replace && !self.can_delete,
        }
    }
}

const FIRST: &[u8] = b"lifeboat powers, first version";
const SECOND: &[u8] = b"lifeboat powers, second";

/// Tries it at `location` with one object `scratch` + `/object`, which is removed at the end where that is
/// allowed.
///
/// # Errors
/// Those of opening the place, and of storing the one object.
pub fn powers(location: &Location, options: &OpenOptions<'_>, scratch: &str) -> StoreResult<Powers> {
    let name = ObjectName::new(&format!("{scratch}/object"))
        .ok_or_else(|| StoreError::new(ErrorKind::Config, format!("try out below {scratch:?}")))?;
    #[cfg(feature = "remote")]
    if matches!(location, Location::Bucket(_)) {
        let store = crate::RemoteStore::open(location, options.remote)?;
        let version = store.put_for_version(&name, FIRST)?;
        let (can_replace, can_delete) = try_both(&store, &name)?;
        let versions = match version {
            None => Versions::NotKept,
            Some(version) => store.try_to_remove_version(&name, &version)?,
        };
        return Ok(Powers { can_replace, can_delete, versions });
    }
    // Without a cache and without retries: an answer is wanted, not success.
    let store = crate::open(location, &OpenOptions { cache: None, ..options.clone() })?;
    store.put(&name, FIRST, PutMode::CreateNew)?;
    let (can_replace, can_delete) = try_both(&*store, &name)?;
    Ok(Powers { can_replace, can_delete, versions: Versions::NotKept })
}

fn try_both(store: &dyn Store, name: &ObjectName) -> StoreResult<(bool, bool)> {
    let replaced = done(store.put(name, SECOND, PutMode::Replace))?
        && store.get(name, SECOND.len() as u64 + FIRST.len() as u64)? == SECOND;
    let deleted = done(store.delete(name))?
        && matches!(store.stat(name), Err(error) if error.kind() == ErrorKind::NotFound);
    store.sync()?;
    Ok((replaced, deleted))
}

/// Whether it was done; refusals are an answer, everything about the line is an error.
pub(crate) fn done(outcome: StoreResult<()>) -> StoreResult<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Denied => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_refused_is_proven() {
        let proves = |can_replace, can_delete, versions| {
            Powers { can_replace, can_delete, versions }.proves_immutable()
        };
        assert!(proves(false, false, Versions::NotKept));
        assert!(proves(true, true, Versions::Held), "older versions stand, whatever the newest one is");
        assert!(!proves(false, false, Versions::Removed));
        assert!(!proves(true, false, Versions::NotKept) && !proves(false, true, Versions::NotKept));
    }

    #[test]
    fn a_folder_that_we_may_change_proves_nothing_and_is_left_empty() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Local(folder.path().into());
        let found = powers(&location, &OpenOptions::default(), "maint/powers-1").unwrap();
        assert_eq!(found, Powers { can_replace: true, can_delete: true, versions: Versions::NotKept });
        let store = crate::LocalStore::open(folder.path(), &crate::LocalOptions::default()).unwrap();
        let left = store.stat(&ObjectName::new("maint/powers-1/object").unwrap());
        assert_eq!(left.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

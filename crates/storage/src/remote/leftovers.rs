//! Removes what crashed writers left in the temporary folder of a WebDAV server.
//!
//! Judged by the server's own clock: an upload that has just been sent tells what time it is there. A
//! leftover costs space only, so nothing that goes wrong here is anybody's problem.

use super::{RemoteStore, TEMP_FOLDER};
use futures_util::TryStreamExt;
use std::time::{Duration, SystemTime};

/// An upload untouched for this long belongs to no running process.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes uploads that are a day older than `newest`, which was sent just now.
pub(super) fn clean(store: &RemoteStore, newest: &str) {
    let _ = store.run(|| format!("clean {TEMP_FOLDER}"), 0, clean_folder(store, newest));
}

async fn clean_folder(store: &RemoteStore, newest: &str) -> opendal::Result<()> {
    let now = store.operator.stat(newest).await?.last_modified().map(SystemTime::from);
    let Some(oldest) = now.and_then(|now| now.checked_sub(AGE_MAX)) else { return Ok(()) };
    let mut entries = store.operator.lister(&format!("{TEMP_FOLDER}/")).await?;
    while let Some(entry) = entries.try_next().await? {
        let received = entry.metadata().last_modified().map(SystemTime::from);
        if entry.metadata().is_file() && received.is_some_and(|received| received < oldest) {
            store.operator.delete(entry.path()).await?;
        }
    }
    Ok(())
}

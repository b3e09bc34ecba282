//! The log as this machine writes it: signed with a key of its own that never leaves it.
//!
//! Every administrative action is written down in the repository it happened in. A machine that cannot write
//! the record says so; the action itself is never undone for it. The machine also remembers the newest record
//! it wrote or saw, so that a log cut short at its end is found out here.

use crate::durable;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::folders::Folders;
use format::id::{RepoId, hex, unhex};
use format::keys::Key;
use format::kind::Timestamp;
use format::log::LogKind;
use format::snapshot::Snapshot;
use format::textkey;
use repo::Repo;
use repo::attest::{self, Attester};
use repo::check::Verified;
use repo::log::{Log, NewRecord, append};
use repo::prune::PruneReport;
use repo::seed::Seed;
use serde_json::{Value, json};
use std::path::PathBuf;
use zeroize::Zeroizing;

const KEY_FILE_WORD: &str = "lifeboat-machine-1";

/// Who is logged in, as the environment says, or else by number.
pub fn user(environment: &Environment) -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| environment.variable(name));
    named.unwrap_or_else(|| match rustix::process::getuid() {
        uid if uid.is_root() => "root".to_string(),
        uid => uid.as_raw().to_string(),
    })
}

/// What a record of forgotten snapshots says: which, of what and when, and why. With it the log tells what there was
/// after the snapshots themselves are gone.
pub fn forgotten<'s>(snapshots: impl Iterator<Item = &'s Snapshot>, why: &str) -> Value {
    let (mut ids, mut of) = (Vec::new(), Vec::new());
    for snapshot in snapshots {
        let source = crate::drill::SourceKey::of(snapshot).shown();
        ids.push(snapshot.id.hex());
        of.push(
            json!({"id": snapshot.id.hex(), "time": crate::time::rfc3339(snapshot.time), "source": source}),
        );
    }
    json!({"snapshots": ids, "why": why, "of": of})
}

/// What a record of a prune says; a prune that removed nothing is not worth one.
pub fn pruned(report: &PruneReport) -> Option<Value> {
    let mut body = json!({
        "snapshots_removed": report.removed_snapshots, "packs_condemned": report.condemned_packs,
        "packs_deleted": report.deleted_packs, "bytes_freed": report.deleted_bytes,
        "sessions_ended": report.ended_sessions, "packs_refused": report.refused_packs,
    });
    let is_something = body.as_object().is_some_and(|fields| fields.values().any(|n| n.as_u64() != Some(0)));
    body["damage_or_doubt"] = (!report.doubts.is_empty() || !report.damaged.is_empty()).into();
    is_something.then_some(body)
}

/// Whose word a record is.
#[derive(Clone, Debug)]
pub struct Author<'a> {
    /// The folders of this installation.
    pub folders: &'a Folders,
    /// This machine.
    pub machine: &'a str,
    /// Who is logged in.
    pub user: &'a str,
}

impl Author<'_> {
    fn key_path(&self) -> PathBuf {
        self.folders.configuration.join("machine.key")
    }

    fn head_path(&self, repo: &RepoId) -> PathBuf {
        self.folders.state.join(format!("log-{}", repo.hex()))
    }

    /// The key this machine signs with; made from `fresh` when there is none.
    pub fn signing_key(&self, fresh: [u8; 32]) -> Outcome<Key> {
        let path = self.key_path();
        match std::fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(text) => {
                let digits = text.trim().strip_prefix(KEY_FILE_WORD).unwrap_or_default();
                textkey::decode(digits).map_err(|e| {
                    let what = format!("{} is not the key of a machine", path.display());
                    Failure::new(Exit::Failed, what).because(e)
                })
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = Key::new(fresh);
                let digits = Zeroizing::new(textkey::encode(&key).replace('-', ""));
                let line = Zeroizing::new(format!("{KEY_FILE_WORD} {}\n", *digits));
                durable::write_secret(&path, line.as_bytes())?;
                Ok(key)
            }
            Err(e) => Err(local(format!("cannot read {}", path.display()), e)),
        }
    }

    /// Writes a record and remembers it.
    pub fn record(
        &self,
        repo: &Repo,
        kind: LogKind,
        subject: &str,
        body: &Value,
        time: Timestamp,
        seed: &mut Seed,
    ) -> Outcome<()> {
        let key = self.signing_key(seed.draw())?;
        let new =
            NewRecord { kind, time, machine: self.machine, user: self.user, subject, body: body.to_string() };
        let hash = append(repo, new, &key, seed)?;
        // What cannot be remembered is a check less, nothing more.
        durable::replace(&self.head_path(&repo.identity().repo), format!("{}\n", hex(&hash)).as_bytes()).ok();
        Ok(())
    }

    /// Tells the other machines what this one has read and found whole.
    pub fn attest(&self, repo: &Repo, verified: &Verified, time: Timestamp, seed: &mut Seed) -> Outcome<()> {
        let signing = self.signing_key(seed.draw())?;
        let by = Attester { machine: self.machine, user: self.user, time, signing: &signing };
        Ok(attest::put(repo, verified, &by, seed)?)
    }

    /// Whether the newest record this machine remembers is in the log; `true` where it remembers none.
    pub fn finds_its_last_record(&self, repo: &RepoId, log: &Log) -> bool {
        let Ok(text) = std::fs::read_to_string(self.head_path(repo)) else { return true };
        let mut hash = [0; 32];
        unhex(text.trim(), &mut hash).is_none() || log.holds(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn folders(root: &Path) -> Folders {
        let home = root.as_os_str().to_owned();
        Folders::of(&Environment::new(move |name| (name == "HOME").then(|| home.clone())))
    }

    #[test]
    fn the_key_of_a_machine_is_made_once_and_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let folders = folders(root.path());
        let author = Author { folders: &folders, machine: "atlas", user: "me" };
        let first = author.signing_key([1; 32]).unwrap();
        let again = author.signing_key([2; 32]).unwrap();
        assert!(first.bytes() == again.bytes() && first.bytes() == &[1; 32]);
        let mode = std::fs::metadata(author.key_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(author.key_path(), "something else").unwrap();
        assert!(author.signing_key([3; 32]).is_err(), "a damaged key is not replaced silently");
    }
}

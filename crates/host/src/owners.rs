//! Names of users and groups, as far as this machine knows them.
//!
//! Reads `/etc/passwd` and `/etc/group` itself, because a static binary has no name service. Numbers that are
//! not in there (LDAP, domain accounts) are asked of `getent` where it exists, with a time limit; answers are
//! remembered, and not knowing a name is never an error.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::getent::Getent;

/// How long `getent` may take before it is asked no more: a directory server that hangs must not stop a backup.
const GETENT_TIME_MAX: Duration = Duration::from_secs(3);

/// Names of users and groups and their numbers. Cheap to share between threads.
#[derive(Debug)]
pub struct Owners {
    users: Mutex<Names>,
    groups: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    by_id: HashMap<u32, Option<Arc<[u8]>>>,
    by_name: HashMap<Box<[u8]>, Option<u32>>,
    /// Where to ask for what the file does not tell.
    getent: Option<Getent>,
}

impl Owners {
    /// Reads the names of this machine.
    pub fn of_this_machine() -> Owners {
        let mut owners = Owners::from_files(Path::new("/etc/passwd"), Path::new("/etc/group"));
        let users = owners.users.get_mut().unwrap_or_else(PoisonError::into_inner);
        users.getent = Getent::find("passwd", GETENT_TIME_MAX);
        let groups = owners.groups.get_mut().unwrap_or_else(PoisonError::into_inner);
        groups.getent = Getent::find("group", GETENT_TIME_MAX);
        owners
    }

    /// Reads names from other files in the formats of passwd(5) and group(5), and asks nobody else: for
    /// another system's disk. A file that cannot be read knows no names.
    pub fn from_files(passwd: &Path, group: &Path) -> Owners {
        Owners { users: Mutex::new(Names::read(passwd)), groups: Mutex::new(Names::read(group)) }
    }

    /// Returns the name of a user.
    pub fn user_name(&self, uid: u32) -> Option<Arc<[u8]>> {
        lock(&self.users).name(uid)
    }

    /// Returns the name of a group.
    pub fn group_name(&self, gid: u32) -> Option<Arc<[u8]>> {
        lock(&self.groups).name(gid)
    }

    /// Returns the number of a user.
    pub fn user_id(&self, name: &[u8]) -> Option<u32> {
        lock(&self.users).id(name)
    }

    /// Returns the number of a group.
    pub fn group_id(&self, name: &[u8]) -> Option<u32> {
        lock(&self.groups).id(name)
    }
}

fn lock(names: &Mutex<Names>) -> std::sync::MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    fn read(path: &Path) -> Names {
        let mut names = Names::default();
        for line in std::fs::read(path).unwrap_or_default().split(|&byte| byte == b'\n') {
            if let Some((name, id)) = parse_line(line) {
                names.remember(name, id);
            }
        }
        names
    }

    /// The first line wins, as it does for the system.
    fn remember(&mut self, name: &[u8], id: u32) {
        self.by_id.entry(id).or_insert_with(|| Some(name.into()));
        self.by_name.entry(name.into()).or_insert(Some(id));
    }

    fn name(&mut self, id: u32) -> Option<Arc<[u8]>> {
        if let Some(known) = self.by_id.get(&id) {
            return known.clone();
        }
        self.ask(id.to_string().as_bytes());
        self.by_id.entry(id).or_insert(None).clone()
    }

    fn id(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        // A number or an option would be understood as something else than a name.
        if name.first().is_some_and(|first| !first.is_ascii_digit() && *first != b'-') && !name.contains(&0) {
            self.ask(name);
        }
        *self.by_name.entry(name.into()).or_insert(None)
    }

    fn ask(&mut self, key: &[u8]) {
        let Some(answer) = self.getent.as_mut().and_then(|getent| getent.ask(key)) else { return };
        let line = answer.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if let Some((name, id)) = parse_line(line) {
            self.remember(name, id);
        }
    }
}

/// Reads `name:password:number:...`, the common beginning of both formats.
fn parse_line(line: &[u8]) -> Option<(&[u8], u32)> {
    let mut fields = line.split(|&byte| byte == b':');
    let name = fields.next()?;
    let id = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    (!name.is_empty() && name[0] != b'#').then_some((name, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_come_from_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let (passwd, group) = (folder.path().join("passwd"), folder.path().join("group"));
        let lines = b"root:x:0:0::/root:/bin/sh\n#old:x:7:7::/:\ntoor:x:0:0::/:\nj\xf6rg:x:1000:100::/:\nbad:x:y:0::/:\n\n";
        std::fs::write(&passwd, lines).unwrap();
        std::fs::write(&group, "root:x:0:\nusers:x:100:ann,bob\n").unwrap();
        let owners = Owners::from_files(&passwd, &group);
        assert_eq!(owners.user_name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(owners.user_name(1000).as_deref(), Some(&b"j\xf6rg"[..]));
        assert_eq!(owners.user_name(7), None);
        assert_eq!(owners.user_id(b"toor"), Some(0));
        assert_eq!(owners.user_id(b"nobody here"), None);
        assert_eq!(owners.group_name(100).as_deref(), Some(&b"users"[..]));
        assert_eq!(owners.group_id(b"users"), Some(100));
        let none = Owners::from_files(Path::new("/nonexistent"), Path::new("/nonexistent"));
        assert_eq!((none.user_name(0), none.group_id(b"root")), (None, None));
    }

    #[test]
    fn this_machine_knows_root_and_does_not_invent_names() {
        let owners = Owners::of_this_machine();
        assert_eq!(owners.user_name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(owners.user_name(3_999_999_999), None);
        assert_eq!(owners.user_id(b"no such user, surely"), None);
        assert_eq!(owners.user_id(b"0"), None);
    }
}

//! A bare machine: a root of its own with the programs of an operating system, the binary, one surviving repository and
//! what is typed from the kit, and nothing else: no home, no configuration, no data.

use crate::support::LIFEBOAT;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use testkit::servers::{mariadb, postgres};

/// Mounts what belongs to the operating system below a root, and runs a command there.
const INSIDE: &str = r#"set -e
root=$1 disk=$2
shift 2
mount --rbind /dev "$root/dev"
mount --rbind /usr "$root/usr"
mount --bind "$disk" "$root/mnt/disk"
mount --rbind /proc "$root/proc"
exec chroot "$root" /usr/bin/env -i HOME=/root USER=root TZ=UTC PATH=/usr/bin:/usr/sbin "$@"
"#;

/// A root file system, and the disk that is plugged into it.
struct Bare {
    folder: tempfile::TempDir,
    disk: PathBuf,
}

impl Bare {
    /// `None` where this process may not make file systems of its own.
    fn new(disk: &Path) -> Option<Bare> {
        let folder = tempfile::Builder::new().prefix("lifeboat-bare").tempdir().unwrap();
        let root = folder.path();
        for name in ["dev", "usr", "proc", "mnt/disk", "tmp", "root", "etc", "var/tmp"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
            .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
        fs::copy(LIFEBOAT, root.join("lifeboat")).unwrap();
        let bare = Bare { folder, disk: disk.to_path_buf() };
        let tried = bare.command(&["true"]).output();
        if tried.as_ref().is_ok_and(|o| o.status.success()) {
            return Some(bare);
        }
        let why = tried.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stderr).into_owned());
        writeln!(std::io::stderr(), "passed over: no root of its own can be made here: {why}").ok();
        None
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--", "sh", "-c", INSIDE, "sh"]);
        command.arg(self.folder.path()).arg(&self.disk).args(args);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name.trim_start_matches('/'))
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Runs the program, which must end with this code; returns what it said.
    fn lifeboat(&self, code: i32, args: &[&str]) -> String {
        let Output { status, stdout, stderr } =
            self.command(&[&["/lifeboat"], args].concat()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!(status.code(), Some(code), "{args:?}\n{said}");
        said
    }
}

/// The words on the printed sheet.
fn words(kit: &str) -> String {
    let words = kit.split("IN WORDS").nth(1).unwrap().split("FIVE STEPS").next().unwrap();
    let words: Vec<&str> =
        words.split_whitespace().filter(|w| !w.bytes().any(|b| b.is_ascii_digit())).collect();
    words.join(" ")
}

#[test]
fn the_binary_one_copy_and_the_kit_bring_everything_back_in_four_commands() {
    let disk = tempfile::tempdir().unwrap();
    let Some(old) = Bare::new(disk.path()) else { return };
    let (Some(postgres), Some(mariadb)) = (postgres::Postgres::start(), mariadb::Mariadb::start()) else {
        return;
    };
    postgres.sql("postgres", "create database shop");
    postgres
        .sql("shop", "create table orders as select n, md5(n::text) as what from generate_series(1, 5000) n");
    mariadb.sql("", "create database wiki");
    mariadb.sql("wiki", "create table pages (title text); insert into pages values ('first'), ('second')");
    let configuration = format!(
        "[machine]\nname = \"atlas\"\n[repositories.disk]\nurl = \"/mnt/disk/backup\"\n\
         [sources.letters]\npaths = [\"/srv/letters\"]\n\
         [sources.shop]\ntype = \"postgres\"\nurl = \"{}\"\ndatabases = [\"shop\"]\n\
         password = {{ file = \"/srv/letters/shop\" }}\ndepends_on = [\"letters\"]\n\
         [sources.wiki]\ntype = \"mariadb\"\nurl = \"{}\"\ndatabases = [\"wiki\"]\n\
         password = {{ file = \"/srv/letters/wiki\" }}\ndepends_on = [\"letters\"]\n\
         [jobs.daily]\nsources = [\"letters\", \"shop\", \"wiki\"]\nto = [\"disk\"]\nschedule = \"daily\"\n",
        postgres.url_with_password("postgres"),
        mariadb.url()
    );
    old.write("/etc/lifeboat/lifeboat.toml", &configuration);
    old.write("/srv/letters/to/anna", "dear Anna");
    old.write("/srv/letters/shop", postgres::PASSWORD);
    old.write("/srv/letters/wiki", mariadb::PASSWORD);
    for secret in ["shop", "wiki"] {
        let path = old.path("/srv/letters").join(secret);
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    old.lifeboat(0, &["init", "-r", "disk"]);
    old.lifeboat(0, &["run", "daily"]);
    old.lifeboat(0, &["kit", "--no-program", "--text", "/root/kit.txt"]);
    let typed = words(&fs::read_to_string(old.path("/root/kit.txt")).unwrap());
    // All but the disk and the sheet burns; empty servers run again.
    drop(old);
    postgres.sql("postgres", "drop database shop");
    mariadb.sql("", "drop database wiki");

    let new = Bare::new(disk.path()).expect("there was one before");
    assert!(fs::read_dir(new.path("/root")).unwrap().next().is_none(), "the home is empty");
    assert!(
        !new.path("/etc/lifeboat").exists() && !new.path("/var/lib").exists() && !new.path("/srv").exists()
    );
    new.write("/tmp/typed", &typed);
    let said = new.lifeboat(0, &["recover", "/mnt/disk/backup", "--recovery-key=/tmp/typed"]);
    fs::remove_file(new.path("/tmp/typed")).unwrap();
    assert!(said.contains("the configuration of atlas"), "{said}");
    let order: Vec<usize> =
        ["1.  letters", "2.  shop", "3.  wiki"].iter().map(|line| said.find(line).unwrap()).collect();
    assert!(order.is_sorted(), "{said}");
    let said = new.lifeboat(0, &["recover", "/mnt/disk/backup", "--all", "--in-place"]);
    assert!(said.contains("shop is back") && said.contains("wiki is back"), "{said}");
    assert_eq!(fs::read_to_string(new.path("/etc/lifeboat/lifeboat.toml")).unwrap(), configuration);
    assert_eq!(fs::read_to_string(new.path("/srv/letters/to/anna")).unwrap(), "dear Anna");
    let mode = fs::metadata(new.path("/srv/letters/shop")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(postgres.sql("shop", "select count(*), min(length(what)) from orders"), "5000|32");
    assert_eq!(mariadb.sql("wiki", "select count(*) from pages"), "2");
    // It is protected again, and the sheet that went through the fire opens nothing any more.
    new.lifeboat(0, &["run", "daily"]);
    new.lifeboat(0, &["kit", "--no-program", "--text", "/root/kit.txt", "--retire"]);
    new.write("/tmp/typed", &typed);
    new.lifeboat(12, &["snapshots", "-r", "/mnt/disk/backup", "--recovery-key=/tmp/typed"]);
    new.lifeboat(0, &["check", "-r", "disk", "--read-data"]);
}

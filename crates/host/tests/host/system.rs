//! What a machine needs to be built again, on machines whose programs answer as real ones were seen to.

use host::produce::{Contents, Facts, Producer, Sink};
use host::system::{Part, System};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[derive(Default)]
struct Kept {
    files: BTreeMap<String, String>,
    told: Vec<String>,
}

impl Sink for Kept {
    fn file(&mut self, path: &[&str], _: Facts, contents: Contents<'_>) -> io::Result<u64> {
        let mut bytes = Vec::new();
        match contents {
            Contents::Bytes(known) => bytes.extend_from_slice(known),
            Contents::Stream(stream, _) => drop(stream.read_to_end(&mut bytes)?),
            Contents::Sparse { file, .. } => drop(file.read_to_end(&mut bytes)?),
        }
        let len = bytes.len() as u64;
        let before = self.files.insert(path.join("/"), String::from_utf8(bytes).unwrap());
        assert!(before.is_none(), "{path:?} was kept twice");
        Ok(len)
    }

    fn folder(&mut self, _: &[&str], _: Facts) -> io::Result<()> {
        Ok(())
    }

    fn tell(&mut self, item: &str, text: &str) {
        self.told.push(format!("{item}: {text}"));
    }
}

fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

const LSBLK: &str = r#"cat <<'E'
{"blockdevices": [
 {"path": "/dev/sda", "type": "disk", "fstype": null, "children": [
   {"path": "/dev/sda1", "type": "part", "fstype": "vfat"},
   {"path": "/dev/sda2", "type": "part", "fstype": "crypto_LUKS", "children": [
     {"path": "/dev/mapper/sda2_crypt", "type": "crypt", "fstype": "LVM2_member"}]}]},
 {"path": "/dev/sdb", "type": "disk", "fstype": "ext4"}]}
E"#;

#[test]
fn disks_encrypted_volumes_and_volume_groups_are_kept_as_their_tools_take_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("bin");
    let groups = folder.path().join("backup");
    std::fs::create_dir_all(&programs).unwrap();
    std::fs::create_dir_all(&groups).unwrap();
    std::fs::write(groups.join("vg0"), "vg0 { id = ... }\n").unwrap();
    program(&programs, "lsblk", LSBLK);
    let table = "case $2 in /dev/sda) echo 'label: gpt';; *) echo \"$2: does not contain a recognized partition table\" >&2; exit 1;; esac";
    program(&programs, "sfdisk", table);
    program(&programs, "cryptsetup", "echo \"LUKS header of $2\"");
    program(&programs, "vgs", "case $* in *noheadings*) echo '  vg0';; *) echo 'VG  #PV';; esac");
    program(&programs, "mdadm", "echo no permission >&2; exit 2");
    let mut system = System {
        programs: vec![programs],
        volume_groups: groups,
        ..System::here(vec![Part::Partitions], Some("atlas".into()))
    };
    let mut kept = Kept::default();
    system.produce(&mut kept).unwrap();
    let file = |name: &str| kept.files.get(name).map(String::as_str);
    assert_eq!(file("partitions/sda.sfdisk"), Some("label: gpt\n"));
    assert_eq!(file("partitions/sdb.sfdisk"), None, "a disk without a table is no failure");
    assert_eq!(file("partitions/sda2.luks.txt"), Some("LUKS header of /dev/sda2\n"));
    assert_eq!(file("partitions/vg0.vgcfg"), Some("vg0 { id = ... }\n"));
    assert!(file("absent.txt").unwrap().contains("partitions/zpool.txt\tzpool\n"));
    assert_eq!(kept.told.len(), 1, "{:?}", kept.told);
    assert!(
        kept.told[0].starts_with("partitions/mdadm.txt: not kept:") && kept.told[0].contains("no permission")
    );
    assert!(file("rebuild.sh").unwrap().contains("How to build \"atlas\" again"));
    assert!(file("about.json").unwrap().contains("\"system\""));
}

#[test]
fn a_machine_without_any_of_the_programs_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut system =
        System { programs: vec![folder.path().into()], ..System::here(vec![Part::Packages], None) };
    assert!(system.produce(&mut Kept::default()).is_err());
}

#[test]
fn paths_that_lie_in_one_another_are_named_once() {
    let paths = host::system::paths(&Part::ALL);
    assert!(paths.contains(&"/etc".into()));
    let is_inside = |path: &std::path::PathBuf| path.starts_with("/etc") && path.as_os_str() != "/etc";
    assert!(!paths.iter().any(is_inside), "{paths:?}");
    let some = host::system::paths(&[Part::Users]);
    assert!(some.contains(&"/etc/passwd".into()), "{some:?}");
}

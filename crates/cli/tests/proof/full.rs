//! A repository on a place that is really full: nothing of it can be written, everything in it can be read, and
//! space comes back.

use crate::ledger::{Entry, State};
use crate::operations::{Call, Effect, OPERATIONS};
use crate::support::{Machine, Ran, missing};
use crate::tree::bytes_below;
use crate::world::{World, memory, summary_id};
use crate::{Campaign, say};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// The exit code for a place without space.
const NO_SPACE: i32 = 15;

/// A file system of its own, gone in the end.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts one of `kind` (tmpfs, or what `mkfs` can make in an image) at the folder. `None` if that is not allowed.
    fn new(machine: &Machine, kind: &str, folder: &str, bytes: u64) -> Option<Mounted> {
        let (folder, image) = (machine.path(folder), machine.path("image"));
        fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        if kind == "tmpfs" {
            mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "none"]);
        } else {
            File::create(&image).unwrap().set_len(bytes).unwrap();
            // No blocks set aside for root: the program may run as root and must see the end of the space.
            let made = Command::new(format!("mkfs.{kind}")).args(["-q", "-m", "0"]).arg(&image).output();
            if !made.is_ok_and(|output| output.status.success()) {
                return None;
            }
            mount.args(["-t", kind, "-o", "loop"]).arg(&image);
        }
        let mounted = mount.arg(&folder).output().is_ok_and(|output| output.status.success());
        mounted.then(|| Mounted(folder))
    }

    fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.0).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Writes a file until there is no room for one more byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for step in [1 << 20, 1 << 12, 1] {
            while file.write(&vec![0x5a; step]).is_ok_and(|written| written > 0) {}
        }
        assert_eq!(self.free_bytes(), 0);
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_memory_disk_loses_nothing_and_gives_its_space_back() {
    let campaign = Campaign::from_environment();
    let mebibytes = if campaign.is_whole { 200 } else { 32 };
    fill_and_free("tmpfs", mebibytes << 20, campaign.seed);
}

#[test]
fn a_full_ext4_loses_nothing_and_gives_its_space_back() {
    fill_and_free("ext4", 32 << 20, Campaign::from_environment().seed);
}

fn fill_and_free(kind: &str, bytes: u64, seed: u64) {
    let machine = Machine::below(&memory());
    let Some(disk) = Mounted::new(&machine, kind, "disk", bytes) else {
        return missing(&format!("the right to mount {kind}"));
    };
    let mut full = Full { world: World::with_repository(seed, machine, "disk/repo"), disk };
    let saved = full.back_up_until_full(bytes);
    full.everything_but_saving_works();
    full.forgetting_and_pruning_give_the_space_back(kind, saved);
    full.each_operation_survives_the_last_byte();
}

struct Full {
    world: World,
    disk: Mounted,
}

impl Full {
    fn save(&mut self) -> Ran {
        let call = backup(&mut self.world);
        let ended = self.world.run_calls(&[(&call, None)]).remove(0);
        if ended.ran.code == 0 {
            let tree = self.world.tree.clone();
            self.world
                .ledger
                .0
                .insert(summary_id(&ended.ran), Entry { tree, state: State::Kept, lacks: false });
        }
        ended.ran
    }

    /// Backs up ever new contents until a run meets the end of the space: it says so, and says what to do.
    fn back_up_until_full(&mut self, bytes: u64) -> usize {
        loop {
            self.world.replace_most(self.disk_share(bytes));
            let ran = self.save();
            match ran.code {
                0 => continue,
                NO_SPACE => {
                    assert!(ran.raw_err.contains("free some space there"), "{}", ran.raw_err);
                    self.world.look(&[]);
                    return self.world.ledger.0.len();
                }
                code => self.world.fail(&format!("ended with {code}:\n{}", ran.raw_err)),
            }
        }
    }

    /// New contents for one backup: a tenth of the place.
    fn disk_share(&self, bytes: u64) -> usize {
        bytes as usize / 10
    }

    /// Not one byte is free: what only reads works, and what would save says why it cannot.
    fn everything_but_saving_works(&mut self) {
        self.disk.fill();
        self.world.change_source();
        assert_eq!(self.save().code, NO_SPACE);
        self.world.look(&[]);
        self.world.verify_all();
        self.world.must(&["ls", "latest"]);
    }

    /// Half of the snapshots goes, with nothing free when it begins.
    fn forgetting_and_pruning_give_the_space_back(&mut self, kind: &str, saved: usize) {
        let ids = self.in_order()[..saved / 2].to_vec();
        let forget: Vec<&str> = ["forget"].into_iter().chain(ids.iter().map(String::as_str)).collect();
        self.disk.fill();
        self.world.must(&forget);
        for id in &ids {
            self.world.ledger.set(id, State::Forgotten);
        }
        self.world.look(&[]);
        // Forgetting took the reserve; a prune puts it back, and the next one begins with nothing free again.
        self.world.must(&["prune"]);
        self.world.look(&[]);
        self.disk.fill();
        let repo = self.repo();
        let before = bytes_below(&repo);
        self.world.ledger.end_undo();
        let ran = self.prune_all();
        self.world.look(&[]);
        assert_eq!(self.world.ledger.ids(State::Leaving), Vec::<String>::new(), "{}", ran.out);
        let (after, fresh) = (bytes_below(&repo), self.world.bytes_when_new());
        assert!(
            before > fresh + fresh / 4,
            "{before} bytes are stored, {fresh} are needed: there must be something to free"
        );
        let share = 100.0 * (before - after) as f64 / (before - fresh) as f64;
        say(&format!(
            "full {kind}: {saved} snapshots, then half of them: {before} bytes became {after}; \
             a new repository takes {fresh}: {share:.1} % of what is freeable"
        ));
        assert!(share >= 90.0, "only {share} % came back");
        self.world.verify_all();
        fs::remove_file(self.disk.0.join("filler")).unwrap();
        assert_eq!(self.save().code, 0, "backups work again");
        self.world.look(&[]);
    }

    /// Snapshots, oldest first.
    fn in_order(&mut self) -> Vec<String> {
        let ran = self.world.must(&["snapshots", "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
        list.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_string()).collect()
    }

    fn repo(&self) -> PathBuf {
        self.world.machine.path(&self.world.repo)
    }

    /// A prune that is out of space says that it is to be run again; so it is, a few times.
    fn prune_all(&mut self) -> Ran {
        for _ in 0..5 {
            let ran = self.world.run(&["prune", "--undo-window", "0", "--grace", "0"]);
            match ran.code {
                0 => return ran,
                NO_SPACE => self.world.note(format!("prune met the end of the space: {}", ran.out)),
                code => self.world.fail(&format!("prune ended with {code}:\n{}", ran.raw_err)),
            }
        }
        let last = self.world.run(&["prune", "--undo-window", "0", "--grace", "0"]);
        self.world.fail(&format!("prune runs out of space again and again:\n{}{}", last.out, last.raw_err))
    }

    /// Each operation meets a place with a little room, and none: it ends with 0 or says that there is no space,
    /// and then works once there is.
    fn each_operation_survives_the_last_byte(&mut self) {
        for room in [0u64, 5_000, 20_000, 100_000, 400_000] {
            for operation in OPERATIONS {
                self.world.change_source();
                let Some(call) = Call::of(operation, &mut self.world.dice, &self.world.ledger) else {
                    continue;
                };
                let filler = self.disk.fill();
                let rest = fs::metadata(&filler).unwrap().len().saturating_sub(room);
                File::options().write(true).open(&filler).unwrap().set_len(rest).unwrap();
                let ended = self.world.run_calls(&[(&call, None)]);
                let code = ended[0].ran.code;
                let needs_room = matches!(operation.effect, Effect::Saves | Effect::Replaces);
                if code != 0 && !(code == NO_SPACE && (needs_room || operation.line.starts_with("prune"))) {
                    self.world.fail(&format!(
                        "{:?} ended with {code} in {room} bytes:\n{}",
                        call.args, ended[0].ran.raw_err
                    ));
                }
                self.world.look(&ended);
                fs::remove_file(&filler).unwrap();
                if code == NO_SPACE {
                    self.world.run_to_the_end(&call);
                }
                // It puts back the reserve that a full place takes.
                self.world.must(&["prune"]);
            }
            self.world.verify_all();
        }
    }
}

fn backup(world: &mut World) -> Call {
    Call::of(&OPERATIONS[0], &mut world.dice, &world.ledger).expect("a backup is always possible")
}

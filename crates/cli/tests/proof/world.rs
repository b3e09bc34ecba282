//! One machine with a source that goes on changing, a repository, and the test's own account of what is in it.
//!
//! After every run [`World::look`] compares what the program lists with the account: nothing acknowledged may
//! be missing, nothing may have come or gone without a run that was asked to do so, and a snapshot that a
//! killed run still managed to save must be as right as an acknowledged one.

use crate::dice::Dice;
use crate::ledger::{Entry, Ledger, State};
use crate::operations::{Call, Effect};
use crate::support::{Machine, Ran};
use crate::tree::{Tree, files_below};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Files of a new source.
const FILES: usize = 250;
/// Longest file of a new source; a few are sixteen times as long (bytes).
const FILE_BYTES_MAX: usize = 6000;
/// Where a disk is made of memory. A kill is as sudden there, and hundreds take seconds.
pub(crate) fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}

/// The exit code of a run that was killed.
pub(crate) const KILLED: i32 = 128 + 9;

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) ledger: Ledger,
    pub(crate) dice: Dice,
    /// The source as it is.
    pub(crate) tree: Tree,
    /// The repository, as it is given to the program.
    pub(crate) repo: String,
    history: Vec<String>,
    files_made: usize,
}

/// How a run of a call ended.
pub(crate) struct Ended<'a> {
    pub(crate) call: &'a Call,
    pub(crate) ran: Ran,
    pub(crate) took: Duration,
}

impl Ended<'_> {
    pub(crate) fn was_killed(&self) -> bool {
        self.ran.code == KILLED
    }
}

impl World {
    /// A machine whose disk is in `folder`, with a source and a repository.
    pub(crate) fn new(seed: u64, folder: &Path) -> World {
        World::with_repository(seed, Machine::below(folder), "repo")
    }

    /// The same with the repository in a folder that may be on another file system.
    pub(crate) fn with_repository(seed: u64, machine: Machine, repo: &str) -> World {
        let (ledger, dice, tree) = (Ledger::default(), Dice::new(seed), Tree::default());
        let (repo, history) = (repo.to_string(), vec![format!("seed {seed}")]);
        let mut world = World { machine, ledger, dice, tree, repo, history, files_made: 0 };
        for _ in 0..FILES {
            world.add_file();
        }
        std::os::unix::fs::symlink("d1/nowhere", world.source().join("link")).unwrap();
        world.tree = Tree::read(&world.source(), &Tree::default());
        world.must(&["init"]);
        world
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.machine.path("source")
    }

    fn add_file(&mut self) {
        let number = self.files_made;
        self.files_made += 1;
        let folder = self.source().join(format!("d{}/e{}", number % 7, number % 3));
        fs::create_dir_all(&folder).unwrap();
        let times = if self.dice.percent(2) { 16 } else { 1 };
        let len = self.dice.below(FILE_BYTES_MAX) * times;
        fs::write(folder.join(format!("f{number}")), self.dice.noise(len)).unwrap();
    }

    /// Puts files with so many bytes in all into the source, in place of three quarters of those from the last times.
    pub(crate) fn replace_most(&mut self, bytes: usize) {
        let folder = self.source().join("more");
        fs::create_dir_all(&folder).unwrap();
        let mut files = files_below(&folder);
        files.sort();
        for (_, path) in files.iter().enumerate().filter(|(number, _)| number % 4 != 0) {
            fs::remove_file(path).unwrap();
        }
        for _ in 0..20 {
            self.files_made += 1;
            let path = folder.join(format!("f{}", self.files_made));
            fs::write(path, self.dice.noise(bytes / 20)).unwrap();
        }
        self.tree = Tree::read(&self.source(), &self.tree);
    }

    /// Changes the source a little: new files, changed, moved and removed ones, other modes and times.
    pub(crate) fn change_source(&mut self) {
        for _ in 0..1 + self.dice.below(6) {
            self.add_file();
        }
        let files: Vec<PathBuf> =
            files_below(&self.source()).into_iter().filter(|path| !path.ends_with("link")).collect();
        for _ in 0..1 + self.dice.below(8) {
            let path = self.dice.pick(&files).expect("a source has files").clone();
            if !path.exists() {
                continue;
            }
            match self.dice.below(if files.len() > FILES { 6 } else { 4 }) {
                0 => {
                    let len = self.dice.below(FILE_BYTES_MAX);
                    fs::write(&path, self.dice.noise(len)).unwrap();
                }
                1 => {
                    let mode = if self.dice.percent(50) { 0o640 } else { 0o755 };
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
                2 => {
                    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.dice.number() >> 3);
                    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
                }
                3 => fs::rename(&path, path.with_extension("moved")).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
        }
        self.tree = Tree::read(&self.source(), &self.tree);
    }

    /// Makes every file of the source anew: nothing of older snapshots is in the next one.
    pub(crate) fn replace_source(&mut self) {
        fs::remove_dir_all(self.source()).unwrap();
        for _ in 0..FILES {
            self.add_file();
        }
        self.tree = Tree::read(&self.source(), &Tree::default());
    }

    /// Notes what happens, for the report of a failure.
    pub(crate) fn note(&mut self, line: impl Into<String>) {
        self.history.push(line.into());
    }

    /// The arguments that choose the repository, behind those of a call.
    pub(crate) fn with_repo(&self, args: &[impl AsRef<str>]) -> Vec<String> {
        let args = args.iter().map(|arg| arg.as_ref().to_string());
        args.chain(["-r".to_string(), self.repo.clone()]).collect()
    }

    /// Runs something to its end.
    pub(crate) fn run(&self, args: &[impl AsRef<str>]) -> Ran {
        self.machine.run(&self.with_repo(args))
    }

    /// Runs what must succeed.
    pub(crate) fn must(&mut self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        if ran.code != 0 {
            self.fail(&format!("{args:?} ended with {}:\n{}", ran.code, ran.raw_err));
        }
        ran
    }

    pub(crate) fn start(&self, args: &[impl AsRef<str>]) -> Child {
        let mut command = self.machine.command();
        command.args(self.with_repo(args)).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Stops the test, with the history and a copy of the machine for whoever looks into it.
    pub(crate) fn fail(&self, why: &str) -> ! {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "proof-{}-{}",
            std::process::id(),
            self.machine.root.file_name().unwrap().display()
        ));
        let copied = self.machine.command_of("cp").arg("-a").arg(&self.machine.root).arg(&copy).status();
        let kept =
            copied.map_or_else(|e| format!("no copy: {e}"), |_| format!("a copy is in {}", copy.display()));
        let last = &self.history[self.history.len().saturating_sub(30)..];
        panic!("{why}\n{}\n... the last of:\n{}\n{kept}", self.history[0], last.join("\n"));
    }

    /// Runs these at the same time, each killed after its delay if it has one.
    pub(crate) fn run_calls<'a>(&mut self, calls: &[(&'a Call, Option<Duration>)]) -> Vec<Ended<'a>> {
        let start = Instant::now();
        let mut running = Vec::new();
        for (call, delay) in calls {
            self.expect_effect(call);
            self.note(format!(
                "{} {}",
                call.args.join(" "),
                delay.map_or(String::new(), |d| format!("[kill {d:?}]"))
            ));
            running.push((*call, *delay, self.start(&call.args)));
        }
        running.sort_by_key(|(_, delay, _)| *delay);
        for (_, delay, child) in &mut running {
            if let Some(delay) = *delay {
                std::thread::sleep((start + delay).saturating_duration_since(Instant::now()));
                child.kill().unwrap();
            }
        }
        let end = |(call, _, child): (&'a Call, Option<Duration>, Child)| {
            let ran = self.machine.ran(child.wait_with_output().unwrap());
            Ended { call, ran, took: start.elapsed() }
        };
        running.into_iter().map(end).collect()
    }

    /// From the moment it is started, it may do this.
    pub(crate) fn expect_effect(&mut self, call: &Call) {
        if call.operation.effect == Effect::EndsUndo {
            self.ledger.end_undo();
        }
    }

    /// Runs a call to its end, which must be a good one.
    pub(crate) fn run_to_the_end<'a>(&mut self, call: &'a Call) -> Ended<'a> {
        let ended = self.run_calls(&[(call, None)]);
        self.must_be_good(&ended);
        self.look(&ended);
        ended.into_iter().next().expect("one was run")
    }

    /// Whether a call that did not end well has done its work all the same, so that it cannot be run again.
    pub(crate) fn is_done(&self, call: &Call) -> bool {
        let state = call.snapshot.as_ref().and_then(|id| self.ledger.state(id));
        match call.operation.effect {
            Effect::Forgets | Effect::Replaces => state != Some(State::Kept),
            Effect::BringsBack => state == Some(State::Kept),
            _ => false,
        }
    }

    /// Whatever was not killed must have ended with 0.
    pub(crate) fn must_be_good(&self, ended: &[Ended<'_>]) {
        if let Some(end) = ended.iter().find(|end| !end.was_killed() && end.ran.code != 0) {
            self.fail(&format!("{:?} ended with {}:\n{}", end.call.args, end.ran.code, end.ran.raw_err));
        }
    }

    /// Compares the list of snapshots with the account after these calls ended or were killed.
    pub(crate) fn look(&mut self, ended: &[Ended<'_>]) {
        let listed = self.listed();
        self.compare(&listed, ended);
        for id in listed.keys().filter(|id| self.ledger.state(id).is_none()).cloned().collect::<Vec<_>>() {
            self.adopt(&id, ended);
        }
        for end in ended.iter().filter(|end| end.ran.code == 0) {
            self.check_acknowledged(end, ended);
        }
    }

    /// Snapshots by id, with whether they are forgotten.
    fn listed(&mut self) -> BTreeMap<String, bool> {
        let ran = self.must(&["snapshots", "--json", "--forgotten"]);
        let list: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
        let of = |s: &serde_json::Value| {
            (s["id"].as_str().unwrap().to_string(), s["forgotten"].as_bool().unwrap())
        };
        list.as_array().unwrap().iter().map(of).collect()
    }

    fn compare(&mut self, listed: &BTreeMap<String, bool>, ended: &[Ended<'_>]) {
        let ends = ended.iter().any(|end| end.call.operation.effect == Effect::EndsUndo);
        let forgotten = if ends { State::Leaving } else { State::Forgotten };
        for (id, entry) in self.ledger.clone().0 {
            let concerned = |effect| {
                ended
                    .iter()
                    .any(|end| end.call.operation.effect == effect && end.call.snapshot.as_ref() == Some(&id))
            };
            let thins = ended.iter().any(|end| end.call.operation.effect == Effect::Thins);
            let forgets = thins || concerned(Effect::Forgets) || concerned(Effect::Replaces);
            match (entry.state, listed.get(&id)) {
                (State::Kept, Some(false)) | (State::Forgotten | State::Leaving, Some(true)) => {}
                (State::Kept, Some(true)) if forgets => self.ledger.set(&id, forgotten),
                (State::Kept, None) if forgets && ends => _ = self.ledger.0.remove(&id),
                (State::Forgotten, Some(false)) if concerned(Effect::BringsBack) => {
                    self.ledger.set(&id, State::Kept);
                }
                (State::Leaving, None) => _ = self.ledger.0.remove(&id),
                (state, found) => {
                    self.fail(&format!("snapshot {id} was {state:?}; listed as forgotten: {found:?}"))
                }
            }
        }
    }

    /// A snapshot nobody acknowledged: a killed run got far enough. It must be exactly what that run was to save.
    fn adopt(&mut self, id: &str, ended: &[Ended<'_>]) {
        // A partial one may lack the source altogether.
        let partial = ended.iter().any(|end| end.ran.code == 3);
        let spec = format!("{id}:{}", self.source().display());
        let is_empty = partial && self.run(&["ls", &spec]).code == 1;
        let old = |end: &Ended<'_>| end.call.snapshot.as_ref().and_then(|old| self.ledger.0.get(old));
        let lacks = partial || ended.iter().filter_map(old).any(|entry| entry.lacks);
        let restored = if is_empty { Tree::default() } else { self.restored(id, lacks) };
        for end in ended {
            let tree = match (end.call.operation.effect, &end.call.snapshot) {
                (Effect::Saves, _) => self.tree.clone(),
                (Effect::Replaces, Some(old)) => match self.ledger.0.get(old) {
                    Some(entry) => entry.tree.clone(),
                    None => restored.clone(), // pruned meanwhile: nothing is left to compare with
                },
                _ => continue,
            };
            if tree.differences(&restored).is_empty() {
                self.ledger.0.insert(id.to_string(), Entry { tree, state: State::Kept, lacks });
                return;
            }
            // It said that something could not be read. What it has must be right all the same.
            if end.ran.code == 3 && restored.is_part_of(&tree) {
                self.ledger.0.insert(id.to_string(), Entry { tree: restored, state: State::Kept, lacks });
                return;
            }
        }
        self.fail(&format!("snapshot {id} is not what any run was to save"));
    }

    /// What an exit code of 0 promised.
    fn check_acknowledged(&mut self, end: &Ended<'_>, all: &[Ended<'_>]) {
        let state = end.call.snapshot.as_ref().and_then(|id| self.ledger.state(id));
        let holds = match end.call.operation.effect {
            Effect::Saves => {
                let id = summary_id(&end.ran);
                self.ledger.state(&id) == Some(State::Kept)
            }
            Effect::Forgets | Effect::Replaces => state != Some(State::Kept),
            Effect::BringsBack => state == Some(State::Kept),
            // Who forgets at the same time may come too late for it.
            Effect::EndsUndo => all.len() > 1 || self.ledger.ids(State::Leaving).is_empty(),
            // Guards may keep more than a policy names.
            Effect::Keeps | Effect::Thins => true,
        };
        if !holds {
            self.fail(&format!("{:?} said yes, and it is not so: {state:?}\n{}", end.call.args, end.ran.out));
        }
    }

    /// Restores a snapshot and reads it. Where its run could not read everything, the restore ends with 3.
    fn restored(&mut self, id: &str, lacks: bool) -> Tree {
        let spec = format!("{id}:{}", self.source().display());
        let args = ["restore", "-q", &spec, "--target", "back", "--no-sync"];
        let ran = self.run(&args);
        if ran.code != 0 && !(lacks && ran.code == 3) {
            self.fail(&format!("{args:?} ended with {}:\n{}", ran.code, ran.raw_err));
        }
        let back = self.machine.path("back");
        let tree = Tree::read(&back, &self.tree);
        fs::remove_dir_all(back).unwrap();
        tree
    }

    /// Restores a snapshot that must be there and compares it with the test's own copy.
    pub(crate) fn verify(&mut self, id: &str) {
        if self.ledger.0[id].tree.is_empty() {
            return; // a partial one without even the source
        }
        let restored = self.restored(id, self.ledger.0[id].lacks);
        let differences = self.ledger.0[id].tree.differences(&restored);
        if !differences.is_empty() {
            self.fail(&format!("snapshot {id} differs:\n{}", differences.join("\n")));
        }
    }

    /// Restores everything that must be there, forgotten ones within their undo window too, and reads all data.
    pub(crate) fn verify_all(&mut self) -> usize {
        let mut ids = self.ledger.ids(State::Kept);
        ids.extend(self.ledger.ids(State::Forgotten));
        for id in &ids {
            self.verify(id);
        }
        self.must(&["check", "--read-data"]);
        ids.len()
    }
}

/// The id of the snapshot that a run says it saved.
pub(crate) fn summary_id(ran: &Ran) -> String {
    let out = String::from_utf8_lossy(&ran.raw_out);
    let mut lines = out.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let summary = lines.rfind(|line| line["message_type"] == "summary");
    let id = summary.and_then(|summary| Some(summary["snapshot_id"].as_str()?.to_string()));
    id.unwrap_or_else(|| panic!("no snapshot in the summary:\n{out}"))
}

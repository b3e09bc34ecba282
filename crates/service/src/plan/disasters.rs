//! What is done when a file is deleted, a disk dies, a laptop is stolen, an encryptor was at work, the house burnt
//! down, a password is lost, or a provider is gone.
//!
//! Each is followed from its first step to its last in one shell. What is gone with the disaster is not counted on: a
//! copy on the same disk dies with it, one in the same building burns with it.

use super::steps::{self, quoted};
use super::way::{Teller, Way, near};
use super::{Distance, Given, Plan, PlanPlace};
use crate::config::{Source, load};
use serde::Serialize;
use std::path::Path;

/// A disaster and what is done.
#[derive(Clone, Debug, Serialize)]
pub struct Disaster {
    /// Its name for programs.
    pub key: &'static str,
    /// Its name.
    pub title: &'static str,
    /// What it means here.
    pub means: String,
    /// The place that most comes back from.
    pub from: Option<String>,
    /// How long everything takes: seconds of restoring, without what people do.
    pub seconds: Option<f64>,
    /// Sources that are lost with it.
    pub lost: Vec<String>,
    /// What is done, one after the other, in one shell.
    pub steps: Vec<Instruction>,
}

/// A step.
#[derive(Clone, Debug, Serialize)]
pub struct Instruction {
    /// What is done, and why.
    pub say: String,
    /// Lines `NAME=value` whose value a person puts right before the commands are run.
    pub fill: Vec<String>,
    /// The commands.
    pub commands: Vec<String>,
}

pub(super) fn step(say: impl Into<String>, commands: Vec<String>) -> Instruction {
    Instruction { say: say.into(), fill: Vec::new(), commands }
}

pub(super) fn fill(say: impl Into<String>, lines: Vec<String>) -> Instruction {
    Instruction { say: say.into(), fill: lines, commands: Vec::new() }
}

/// What is said where no copy outlives a disaster.
fn nothing_left(why: &str) -> Instruction {
    step(format!("NOTHING IS LEFT: {why}. Add a repository that is, before this happens."), vec![])
}

/// All of them.
pub(super) fn all(given: &Given<'_>, plan: &Plan) -> Vec<Disaster> {
    let t = Teller { given, plan };
    vec![
        t.deleted_file(),
        t.dead_disk(),
        t.stolen_laptop(),
        t.ransomware(),
        t.burnt_house(),
        t.lost_password(),
        t.provider_gone(),
    ]
}

impl Teller<'_> {
    fn disaster(
        &self,
        key: &'static str,
        title: &'static str,
        means: impl Into<String>,
        way: &Way<'_>,
        steps: Vec<Instruction>,
    ) -> Disaster {
        Disaster {
            key,
            title,
            means: means.into(),
            from: way.primary.map(|place| place.name.clone()),
            seconds: way.seconds,
            lost: way.lost.clone(),
            steps,
        }
    }

    fn deleted_file(&self) -> Disaster {
        let way = self.way(|_| true, near, false);
        let mut steps = Vec::new();
        for back in &self.plan.order {
            let Some(held) = &back.from else { continue };
            let (name, place) = (quoted(&back.name), quoted(&held.repository));
            let of_it = format!("-r {place} -H {} --tag source:{name}", self.machine());
            match &self.config().sources[&back.name] {
                Source::Files(files) => {
                    let first = files.paths.first().map_or("/", String::as_str);
                    let path = load::full_path(&self.given.folders.home, first);
                    steps.push(fill(
                        format!("Something of {} is gone: say which file or folder.", back.name),
                        vec![format!("FILE={}", steps::path(Path::new(&path)))],
                    ));
                    steps.push(step(
                        "See which versions of it are kept.",
                        vec![format!("lifeboat versions {of_it} \"$FILE\"")],
                    ));
                    steps.push(step(
                        "Bring back what is missing of it, as it was at last. What is there stays as it is.",
                        vec![format!("lifeboat restore {of_it} \"latest:$FILE\" --in-place --overwrite never")],
                    ));
                    steps.push(Instruction {
                        say: "An older version goes into a folder of its own: say which snapshot, from the list above.".into(),
                        fill: vec!["SNAPSHOT=latest".into()],
                        commands: vec![format!(
                            "lifeboat restore {of_it} \"$SNAPSHOT:$FILE\" --target older-version"
                        )],
                    });
                }
                Source::Command(_) | Source::System(_) | Source::Block(_) => {}
                _ => steps.push(step(
                    format!("Something was deleted in {}: see what its newest copy holds. With --replace instead of --dry-run the \
                             whole database comes back as it was then; with --as NAME beside the one in use, where its kind can.", back.name),
                    vec![format!("lifeboat restore-db {name} -r {place} --replace --dry-run")],
                )),
            }
        }
        let means =
            "The machine and its copies are all right, a file, a folder or rows of a database are gone.";
        Disaster {
            seconds: None,
            from: None,
            ..self.disaster("deleted-file", "A deleted file", means, &way, steps)
        }
    }

    fn dead_disk(&self) -> Disaster {
        let is_left = |place: &PlanPlace| !place.is_on_same_disk;
        let way = self.way(is_left, near, true);
        let mut steps = vec![step("Put a new disk in.", vec![])];
        match way.primary {
            Some(place) => {
                self.arrive(&way, place, &mut steps);
                self.come_back(&way, place, &self.gone(is_left), &mut steps);
            }
            None => steps.push(nothing_left("no copy is on another disk")),
        }
        let means = "The disk of this machine is dead, with the copies on it.";
        self.disaster("dead-disk", "A dead disk", means, &way, steps)
    }

    fn stolen_laptop(&self) -> Disaster {
        let is_left = |place: &PlanPlace| place.distance > Distance::Disk && !place.is_on_same_disk;
        let way = self.way(is_left, near, true);
        let mut steps = Vec::new();
        if let Some(place) = way.primary {
            self.arrive(&way, place, &mut steps);
            let on_network = self.plan.places.iter().filter(|place| place.distance >= Distance::Server);
            let logins: Vec<&str> = on_network.filter_map(|place| place.login.as_deref()).collect();
            if !logins.is_empty() {
                steps.push(step(
                    format!("Change what the thief can log in with: {}.", logins.join("; ")),
                    vec![],
                ));
            }
            steps.extend(self.disown("stolen", is_left));
            self.come_back(&way, place, &self.gone(is_left), &mut steps);
        } else {
            steps.push(nothing_left("no copy is outside of this machine"));
        }
        let means =
            "This machine is in somebody else's hands, with the copies on its own disks and with its keys.";
        self.disaster("stolen-laptop", "A stolen laptop", means, &way, steps)
    }

    fn ransomware(&self) -> Disaster {
        let is_left = |_: &PlanPlace| true;
        // What is on the machine itself is switched off with it, and made new.
        let is_elsewhere = |place: &PlanPlace| place.distance > Distance::Disk && !place.is_on_same_disk;
        let way = self.way(
            is_left,
            |place| match (place.is_immutable, place.distance) {
                (true, _) => 0,
                (false, Distance::Away) => 1,
                (false, Distance::Drive) => 2,
                (false, Distance::Server) => 3,
                (false, Distance::Disk) => 4,
            },
            false,
        );
        let lifeboat = self.lifeboat();
        let mut steps = vec![step(
            "Take this machine off the network and switch it off. Do not plug a backup disk into it. Go on with another one.",
            vec![],
        )];
        if let Some(place) = way.primary {
            if !is_elsewhere(place) {
                steps.push(step(
                    format!(
                        "The only copy that is left, {}, is on this machine itself, where the program could reach it: take that disk \
                         out and read it from the other machine. A copy elsewhere would be safe from it.",
                        place.name
                    ),
                    vec![],
                ));
            }
            self.arrive(&way, place, &mut steps);
            steps.extend(self.disown("infected", is_elsewhere));
            self.open(&way, place, &mut steps);
            let hold = format!("{lifeboat} hold add attack --all -r {} --reason ransomware", place.word());
            steps.push(step(
                "Hold every snapshot there, so that no policy forgets the good ones.",
                vec![hold],
            ));
            let list = format!("{lifeboat} snapshots -r {} -H {}", place.word(), self.machine());
            steps.push(step(
                "Find the last good moment: look where suddenly much was changed. Snapshots that look wrong are passed over in any case.",
                vec![list],
            ));
            let mut commands: Vec<String> = Vec::new();
            for from in &self.plan.places {
                let groups = way.groups.iter().filter(|group| group.place.name == from.name);
                let names: Vec<String> =
                    groups.flat_map(|group| group.names.iter().map(|name| quoted(name))).collect();
                if !names.is_empty() {
                    commands.push(format!(
                        "{lifeboat} recover {} {} --machine {} --before \"$BEFORE\" --target \"$CLEAN\"",
                        from.word(),
                        names.join(" "),
                        self.machine()
                    ));
                }
            }
            steps.push(Instruction {
                say: "Bring everything back as it was before that moment, into an empty folder, and look at it: write the moment in the \
                      place of now."
                    .into(),
                fill: vec![
                    "BEFORE=$(date '+%Y-%m-%d %H:%M:%S')".into(),
                    "CLEAN=/srv/before-the-attack".into(),
                ],
                commands,
            });
            steps.push(step(
                "Only when that is right, and on a machine that was made new from scratch: bring everything back to where it was. What \
                 is not brought there is put into its place by a person, out of the folder of the step before.",
                way.groups.iter().filter_map(|group| self.back_before(group)).collect(),
            ));
            steps.push(step(
                "Then end the hold.",
                vec![format!("{lifeboat} hold release attack -r {}", place.word())],
            ));
            self.again(&way, &self.gone(is_elsewhere), &mut steps);
        }
        let means = "A program has encrypted or destroyed files, and may have reached every copy that this machine can write to.";
        self.disaster("ransomware", "Ransomware", means, &way, steps)
    }

    fn burnt_house(&self) -> Disaster {
        let is_left = |place: &PlanPlace| place.distance == Distance::Away;
        let way = self.way(is_left, near, true);
        let mut steps = Vec::new();
        match way.primary {
            Some(place) => {
                self.arrive(&way, place, &mut steps);
                self.come_back(&way, place, &self.gone(is_left), &mut steps);
            }
            None => steps.push(nothing_left("no copy is in another building")),
        }
        let means = "Everything in this building is gone: the machine, its disks, the drives, the servers, the papers.";
        self.disaster("burnt-house", "A burnt house", means, &way, steps)
    }

    fn lost_password(&self) -> Disaster {
        let way = self.way(|_| true, near, false);
        let mut steps = vec![step(
            "A machine with keys of its own needs no password, nor does one that has it where the configuration says: see whether this \
             one still opens the copies.",
            self.plan
                .places
                .iter()
                .map(|place| format!("lifeboat key list -r {}", quoted(&place.name)))
                .collect(),
        )];
        self.gather(&mut steps);
        let add = |place: &PlanPlace| format!("lifeboat key add -r {} {}", place.word(), self.unlocking());
        steps.push(step(
            format!(
                "Give the copies a new password, with {}; then it asks for the new password.",
                self.secret()
            ),
            self.plan.places.iter().map(add).collect(),
        ));
        steps.push(step(
            "Put the new password where the configuration reads it, if it reads one. The lost one is in these lists, by its kind and its \
             date: whoever finds it opens nothing any more once it is taken away with: lifeboat key remove ID",
            self.plan
                .places
                .iter()
                .map(|place| format!("lifeboat key list -r {} {}", place.word(), self.unlocking()))
                .collect(),
        ));
        steps.push(self.new_kit(
            "lifeboat",
            "If the kit is lost, too, but this machine still opens the copies: make a new one; the old one opens nothing afterwards.",
        ));
        steps.push(step(
            "If there is neither a machine that opens the copies, nor a kit, nor a password, nobody can read them, and nobody can help.",
            vec![],
        ));
        let means = "Nobody knows the password any more.";
        Disaster {
            seconds: None,
            from: None,
            ..self.disaster("lost-password", "A lost password", means, &way, steps)
        }
    }

    fn provider_gone(&self) -> Disaster {
        let mut steps = Vec::new();
        let mut lost = Vec::new();
        for (at, gone) in self.plan.places.iter().enumerate() {
            let way = self.way(|place| place.name != gone.name, near, false);
            let holds = |back: &&super::Returning| back.held().any(|held| held.repository == gone.name);
            let only: Vec<&str> = self
                .plan
                .order
                .iter()
                .filter(holds)
                .filter(|back| way.lost.contains(&back.name))
                .map(|back| back.name.as_str())
                .collect();
            lost.extend(only.iter().map(|name| format!("{name} (only in {})", gone.name)));
            let (name, new) = (quoted(&gone.name), format!("NEW_{}", at + 1));
            let key = quoted(&format!("repositories.{}.url", gone.name));
            let suggested = quoted(&format!("/srv/lifeboat-{}", gone.name));
            let mut commands = vec![format!("lifeboat config set {key} \"${new}\"")];
            let mut say = format!(
                "If {} ({}) is gone: choose a new place for it, any folder or address, and make it a copy",
                gone.name, gone.location
            );
            let sibling = way.primary.filter(|primary| {
                self.plan.order.iter().any(|back| back.held().any(|held| held.repository == primary.name))
            });
            match sibling {
                Some(primary) => {
                    let from = quoted(&primary.name);
                    say.push_str(&format!(" of {}.", primary.name));
                    commands.push(format!("lifeboat init -r {name} --copy-of {from}"));
                    commands.push(format!("lifeboat sync --from {from} --to {name}"));
                }
                None => {
                    say.push_str(" of what is on this machine; older versions are lost.");
                    commands.push(format!("lifeboat init -r {name} --recovery-key-file recovery-key.txt"));
                    commands.push("lifeboat run --all".into());
                }
            }
            if !only.is_empty() {
                say.push_str(&format!(" Old versions are lost of what was only there: {}.", only.join(", ")));
            }
            commands.push(format!("lifeboat check -r {name}"));
            steps.push(Instruction { say, fill: vec![format!("{new}={suggested}")], commands });
        }
        steps.push(step("Back up.", vec!["lifeboat run --all".into()]));
        steps.push(
            self.new_kit("lifeboat", "Make a new kit, because the old one names the place that is gone."),
        );
        Disaster {
            key: "provider-gone",
            title: "A provider is gone",
            means: "A place that holds copies is gone for good: its provider, its account, or the disk itself. The data is still here."
                .into(),
            from: None,
            seconds: None,
            lost,
            steps,
        }
    }
}

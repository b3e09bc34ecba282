//! What several disasters have in common: the way to a machine that reaches the copies, to the configuration, to
//! everything in its order, and to being protected again.

use super::PlanPlace;
use super::disasters::{Instruction, fill, step};
use super::steps::{self, called, quoted};
use super::way::{Group, How, RECOVERED, Teller, Way};
use crate::config::Source;

impl<'t> Teller<'t> {
    fn keys(&self) -> String {
        match &self.plan.keys {
            Some(keys) => format!("the printed kit ({keys})"),
            None => "the printed kit".into(),
        }
    }

    /// What opens the copies, in words.
    pub(super) fn secret(&self) -> String {
        match self.plan.shares {
            Some((needed, of)) => format!("{needed} of the {of} shares of {}", self.keys()),
            None => format!("the recovery key of {}, its words or its groups, when it asks", self.keys()),
        }
    }

    /// The options that open a copy.
    pub(super) fn unlocking(&self) -> String {
        match self.plan.shares {
            Some((needed, _)) => {
                let each = (1..=needed).map(|n| format!("--recovery-share \"$SHARE_{n}\""));
                each.collect::<Vec<_>>().join(" ")
            }
            None => "--recovery-key".into(),
        }
    }

    /// Where the key is in shares, they are gathered before anything is opened.
    pub(super) fn gather(&self, steps: &mut Vec<Instruction>) {
        let Some((needed, of)) = self.plan.shares else { return };
        steps.push(fill(
            format!(
                "Gather {needed} of the {of} shares of {}. Type the lines of each into a file of its own that nobody else \
                 can read (umask 077), and say how the files are called.",
                self.keys()
            ),
            (1..=needed).map(|n| format!("SHARE_{n}=share-{n}.txt")).collect(),
        ));
    }

    /// A new kit of the same kind, and proof that it can be read.
    pub(super) fn new_kit(&self, lifeboat: &str, why: &str) -> Instruction {
        let Some((needed, of)) = self.plan.shares else {
            return step(
                format!("{why} Print it, type part of it back, and delete the file."),
                vec![
                    format!("{lifeboat} kit --html kit.html --retire"),
                    format!("{lifeboat} kit --confirm"),
                    "rm kit.html".into(),
                ],
            );
        };
        let files = (1..=needed).map(|n| format!("--recovery-share shares/share-{n}-of-{of}.share"));
        step(
            format!(
                "{why} Print its {of} sheets, let the program read {needed} of them back, give them to those who hold them, and delete the files."
            ),
            vec![
                format!("{lifeboat} kit split --shares {of} --threshold {needed} --out shares --retire"),
                format!("{lifeboat} kit --confirm {}", files.collect::<Vec<_>>().join(" ")),
                "rm -r shares".into(),
            ],
        )
    }

    pub(super) fn machine(&self) -> String {
        quoted(self.given.machine)
    }

    pub(super) fn lifeboat(&self) -> &'static str {
        called(self.plan.program.as_ref())
    }

    /// A whole machine that came back has its program where it was.
    pub(super) fn lifeboat_after(&self, way: &Way<'_>) -> &'static str {
        if way.is_whole { "lifeboat" } else { self.lifeboat() }
    }

    /// From an empty machine to one that reaches the copies and has the program, and what opens them.
    pub(super) fn arrive(&self, way: &Way<'_>, place: &PlanPlace, steps: &mut Vec<Instruction>) {
        let reach = match (&place.login, place.distance) {
            (Some(login), _) => format!("To reach the copy {} it needs {login}.", place.name),
            (None, _) => {
                format!("The copy {} must be there as {}: plug its disk in.", place.name, place.location)
            }
        };
        steps.push(step(
            format!(
                "Take a machine with 64-bit Linux (or start one from a rescue disk), and become root. {reach}"
            ),
            vec![],
        ));
        let others = way.groups.iter().map(|group| group.place).filter(|other| other.name != place.name);
        let mut mounted: Vec<&str> = Vec::new();
        for drive in std::iter::once(place).chain(others) {
            if let Some(commands) = steps::mount(drive)
                && !mounted.contains(&&*drive.name)
            {
                mounted.push(&drive.name);
                let say = format!(
                    "Mount the drive of {}, unless the desktop has done that. It stays mounted.",
                    drive.name
                );
                steps.push(step(say, commands));
            }
        }
        let (say, commands) = steps::program(place, self.plan.program.as_ref());
        steps.push(step(say, commands));
        self.gather(steps);
    }

    /// Everything back from a copy that was reached, and copies in the place of those that are gone.
    pub(super) fn come_back(
        &self,
        way: &Way<'_>,
        place: &PlanPlace,
        gone: &[&PlanPlace],
        steps: &mut Vec<Instruction>,
    ) {
        self.whole(way, steps);
        self.open(way, place, steps);
        self.returns(way, steps);
        self.again(way, gone, steps);
    }

    /// The configuration, and keys for this machine.
    pub(super) fn open(&self, way: &Way<'_>, place: &PlanPlace, steps: &mut Vec<Instruction>) {
        steps.push(step(
            format!(
                "Open the copy with {}. This brings the configuration back and makes new keys for this machine. Look at what \
                 it says.",
                self.secret()
            ),
            vec![format!(
                "{} recover {} --machine {} {}",
                self.lifeboat_after(way),
                place.word(),
                self.machine(),
                self.unlocking()
            )],
        ));
    }

    /// Everything back, in its order.
    pub(super) fn returns(&self, way: &Way<'_>, steps: &mut Vec<Instruction>) {
        let (lifeboat, machine) = (self.lifeboat_after(way), self.machine());
        for group in way.groups.iter().filter(|group| group.how != How::System) {
            let names: Vec<String> = group.names.iter().map(|name| quoted(name)).collect();
            let (names, place) = (names.join(" "), group.place.word());
            let recover = format!("{lifeboat} recover {place} {names} --machine {machine}");
            let shown = group.names.join(", ");
            steps.push(match group.how {
                How::InPlace => {
                    let databases =
                        group.names.iter().any(|name| !matches!(self.config().sources[*name], Source::Files(_)));
                    let more = match databases {
                        true => {
                            " Its database servers must run, empty, and their passwords must be where the configuration says."
                        }
                        false => "",
                    };
                    let say = format!("Bring back {shown}, to where it was.{more}");
                    step(say, vec![format!("{recover} --in-place")])
                }
                How::Replacing => step(
                    format!("Bring back {shown}: its command takes it back, and may replace what is there."),
                    vec![format!("{recover} --in-place --replace")],
                ),
                How::Aside | How::System => {
                    let mut commands = vec![format!("{recover} --target \"$RECOVERED\"")];
                    let mut say = format!(
                        "Bring {shown} back into a folder of its own; a person has to put it where it belongs."
                    );
                    let is_system = |name: &&&str| matches!(self.config().sources[**name], Source::System(_));
                    for name in group.names.iter().filter(is_system) {
                        say.push_str(" The script says what this machine needs to be as it was.");
                        commands.push(format!("sh \"$RECOVERED\"/{}/rebuild.sh -n all", quoted(name)));
                    }
                    Instruction { say, fill: vec![RECOVERED.into()], commands }
                }
                How::Server => Instruction {
                    say: format!("Bring back the files of the server {shown}, then start it on that folder."),
                    fill: vec![RECOVERED.into()],
                    commands: vec![format!(
                        "{lifeboat} restore-db {names} -r {place} --into \"$RECOVERED\"/{names}"
                    )],
                },
            });
        }
        if !way.lost.is_empty() {
            steps.push(step(format!("LOST, there is no copy left of: {}.", way.lost.join(", ")), vec![]));
        }
    }

    /// A whole machine onto an empty disk, where that is how it comes back.
    pub(super) fn whole(&self, way: &Way<'_>, steps: &mut Vec<Instruction>) {
        let group = way.groups.iter().find(|group| group.how == How::System && way.is_whole);
        let Some(group) = group else { return };
        let recover = format!(
            "{} recover {} --machine {} {} --system --disk \"$DISK\"",
            self.lifeboat(),
            group.place.word(),
            self.machine(),
            self.unlocking()
        );
        steps.push(Instruction {
            say: "Find the new disk. All that is on it is lost: be sure.".into(),
            fill: vec!["DISK=/dev/sda".into()],
            commands: vec!["lsblk \"$DISK\"".into()],
        });
        steps.push(step(
            "See what would be done with it: partitions, file systems, files, what starts it. Read it.",
            vec![format!("{recover} --dry-run")],
        ));
        steps.push(step("Do it, then start the machine from that disk.", vec![format!("{recover} --yes")]));
    }

    /// New copies in the place of those that are gone, a first run, a new kit.
    pub(super) fn again(&self, way: &Way<'_>, gone: &[&PlanPlace], steps: &mut Vec<Instruction>) {
        let lifeboat = self.lifeboat_after(way);
        if let Some(primary) = way.primary {
            // One that everything came back from is there, wherever it stood.
            for place in gone.iter().filter(|place| place.name != primary.name) {
                let (name, from) = (quoted(&place.name), quoted(&primary.name));
                steps.push(step(
                    format!(
                        "When there is a new disk or server at {}, make the copy {} again.",
                        place.location, place.name
                    ),
                    vec![
                        format!("{lifeboat} init -r {name} --copy-of {from}"),
                        format!("{lifeboat} sync --from {from} --to {name}"),
                    ],
                ));
            }
        }
        steps.push(step("Back up again, and look whether everything is protected.", {
            vec![format!("{lifeboat} run --all"), format!("{lifeboat} status")]
        }));
        steps.push(self.new_kit(lifeboat, "The old key was used: make a new kit."));
    }

    /// Keys of a machine that is in other hands open nothing any more.
    pub(super) fn disown(&self, which: &str, is_left: impl Fn(&PlanPlace) -> bool) -> Option<Instruction> {
        let remove = |place: &PlanPlace| {
            format!(
                "{} key remove --label {} -r {} {}",
                self.lifeboat(),
                quoted(self.given.node),
                place.word(),
                self.unlocking()
            )
        };
        let commands: Vec<String> =
            self.plan.places.iter().filter(|place| is_left(place)).map(remove).collect();
        let say = format!(
            "Take the keys of the {which} machine away, and the passwords that were set on it, so that they open no copy any more. It \
             is done with {}. A password that was set elsewhere and stored on it is taken away by its id: lifeboat key list, \
             lifeboat key remove ID. A recovery key that lay on it opens copies until the new kit is made, in the last step.",
            self.secret()
        );
        (!commands.is_empty()).then(|| step(say, commands))
    }

    /// The command that brings some sources back to where they were, as they were before an attack.
    pub(super) fn back_before(&self, group: &Group<'_>) -> Option<String> {
        let how = match group.how {
            How::InPlace => "--in-place",
            How::Replacing => "--in-place --replace",
            How::Aside | How::Server | How::System => return None,
        };
        let names: Vec<String> = group.names.iter().map(|name| quoted(name)).collect();
        Some(format!(
            "{} recover {} {} --machine {} --before \"$BEFORE\" {how}",
            self.lifeboat(),
            group.place.word(),
            names.join(" "),
            self.machine()
        ))
    }

    pub(super) fn gone(&self, is_left: impl Fn(&PlanPlace) -> bool) -> Vec<&'t PlanPlace> {
        self.plan.places.iter().filter(|place| !is_left(place)).collect()
    }
}

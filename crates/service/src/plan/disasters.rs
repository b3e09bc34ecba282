//! What is done when a file is deleted, a disk dies, a laptop is stolen, an encryptor was at work, the house burnt
//! down, a password is lost, or a provider is gone.
//!
//! Each is followed from its first step to its last in one shell. What is gone with the disaster is not counted on: a
//! copy on the same disk dies with it, one in the same building burns with it.

use super::steps::{self, called, quoted};
use super::{Distance, Given, Held, Plan, PlanPlace};
use crate::config::sources::PostgresMode;
use crate::config::{Config, Source, load};
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

fn step(say: impl Into<String>, commands: Vec<String>) -> Instruction {
    Instruction { say: say.into(), fill: Vec::new(), commands }
}

fn fill(say: impl Into<String>, lines: Vec<String>) -> Instruction {
    Instruction { say: say.into(), fill: lines, commands: Vec::new() }
}

/// Everything a disaster is told from.
struct Teller<'t> {
    given: &'t Given<'t>,
    plan: &'t Plan,
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

/// Some sources that come back together.
struct Group<'t> {
    place: &'t PlanPlace,
    names: Vec<&'t str>,
    how: How,
}

/// How a source comes back by a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// To where it was.
    InPlace,
    /// By a command that replaces what is there.
    Replacing,
    /// As files into a folder, for a person.
    Aside,
    /// As the files of a server.
    Server,
    /// As a whole machine.
    System,
}

/// Where what a person has to put into its place is brought.
const RECOVERED: &str = "RECOVERED=/srv/recovered";

/// Whether files of the configuration are a whole machine, which a `system` source describes.
pub(super) fn whole_machine(config: &Config) -> bool {
    let has_root = |source: &Source| match source {
        Source::Files(files) => files.paths.iter().any(|path| path == "/"),
        _ => false,
    };
    config.sources.values().any(has_root)
}

fn how(config: &Config, name: &str) -> How {
    match &config.sources[name] {
        Source::Command(command) if command.restore_command.is_empty() => How::Aside,
        Source::Command(_) => How::Replacing,
        Source::Postgres(db) if db.mode == PostgresMode::Physical => How::Server,
        Source::System(_) if whole_machine(config) => How::System,
        Source::System(_) | Source::Block(_) => How::Aside,
        _ => How::InPlace,
    }
}

/// The command that brings one source back from a place, on a machine that has its configuration.
pub(super) fn command(config: &Config, machine: &str, name: &str, place: &PlanPlace) -> String {
    let (word, place) = (quoted(name), place.word());
    let recover = format!("lifeboat recover {place} {word} --machine {}", quoted(machine));
    match how(config, name) {
        How::InPlace => format!("{recover} --in-place"),
        How::Replacing => format!("{recover} --in-place --replace"),
        How::Aside | How::System => format!("{recover} --target /srv/recovered"),
        How::Server => format!("lifeboat restore-db {word} -r {place} --into /srv/recovered/{word}"),
    }
}

/// What comes back from where.
struct Way<'t> {
    primary: Option<&'t PlanPlace>,
    groups: Vec<Group<'t>>,
    lost: Vec<String>,
    seconds: Option<f64>,
    /// Files come back as a whole machine.
    is_whole: bool,
}

impl<'t> Teller<'t> {
    fn config(&self) -> &'t Config {
        self.given.config
    }

    /// How everything comes back from the places that are left; the smaller `rank` is, the sooner one is taken.
    /// `whole` lets files come back as a whole machine, where they are one.
    fn way(
        &self,
        is_left: impl Fn(&PlanPlace) -> bool,
        rank: impl Fn(&PlanPlace) -> u8,
        whole: bool,
    ) -> Way<'t> {
        let left = |held: &&Held| self.plan.place(&held.repository).is_some_and(&is_left);
        let mut best: Vec<(&str, Vec<&Held>)> = Vec::new();
        for back in &self.plan.order {
            let mut held: Vec<&Held> = back.held().filter(left).collect();
            held.sort_by_key(|held| {
                (held.doubt.is_some(), self.plan.place(&held.repository).map_or(u8::MAX, &rank))
            });
            best.push((&back.name, held));
        }
        // One place for most of it: its key is typed once.
        let count = |place: &&PlanPlace| {
            let first =
                best.iter().filter(|(_, held)| held.first().is_some_and(|h| h.repository == place.name));
            first.count()
        };
        let primary = self
            .plan
            .places
            .iter()
            .filter(|place| is_left(place))
            .max_by_key(|place| (count(place), std::cmp::Reverse(rank(place))));
        let described =
            |(name, held): &(&str, Vec<&Held>)| how(self.config(), name) == How::System && !held.is_empty();
        let is_whole = whole && best.iter().any(described);
        let mut way = Way { primary, groups: Vec::new(), lost: Vec::new(), seconds: None, is_whole };
        for (name, held) in best {
            let healthy =
                held.iter().find(|h| h.doubt.is_none() && primary.is_some_and(|p| p.name == h.repository));
            let Some(held) = healthy.or(held.first()) else {
                way.lost.push(name.to_string());
                continue;
            };
            let place = self.plan.place(&held.repository).expect("only known places are left");
            if let Some(catalog) = self.given.catalog
                && let Ok(takes) = super::copies::takes(catalog, &self.plan.places, name, held)
            {
                way.seconds = Some(way.seconds.unwrap_or(0.0) + takes.seconds);
            }
            // Brought back once more they would undo what was adapted to the new disk.
            if is_whole && matches!(self.config().sources[name], Source::Files(_)) {
                continue;
            }
            let how = how(self.config(), name);
            match way.groups.last_mut() {
                Some(last) if last.place.name == place.name && last.how == how && how != How::Server => {
                    last.names.push(name);
                }
                _ => way.groups.push(Group { place, names: vec![name], how }),
            }
        }
        way
    }

    fn keys(&self) -> String {
        match &self.plan.keys {
            Some(keys) => format!("the printed kit ({keys})"),
            None => "the printed kit".into(),
        }
    }

    /// What opens the copies, in words.
    fn secret(&self) -> String {
        match self.plan.shares {
            Some((needed, of)) => format!("{needed} of the {of} shares of {}", self.keys()),
            None => format!("the recovery key of {}, its words or its groups, when it asks", self.keys()),
        }
    }

    /// The options that open a copy.
    fn unlocking(&self) -> String {
        match self.plan.shares {
            Some((needed, _)) => {
                let each = (1..=needed).map(|n| format!("--recovery-share \"$SHARE_{n}\""));
                each.collect::<Vec<_>>().join(" ")
            }
            None => "--recovery-key".into(),
        }
    }

    /// Where the key is in shares, they are gathered before anything is opened.
    fn gather(&self, steps: &mut Vec<Instruction>) {
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
    fn new_kit(&self, lifeboat: &str, why: &str) -> Instruction {
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

    fn machine(&self) -> String {
        quoted(self.given.machine)
    }

    fn lifeboat(&self) -> &'static str {
        called(self.plan.program.as_ref())
    }

    /// A whole machine that came back has its program where it was.
    fn lifeboat_after(&self, way: &Way<'_>) -> &'static str {
        if way.is_whole { "lifeboat" } else { self.lifeboat() }
    }

    /// From an empty machine to one that reaches the copies and has the program, and what opens them.
    fn arrive(&self, way: &Way<'_>, place: &PlanPlace, steps: &mut Vec<Instruction>) {
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

    /// The configuration, and keys for this machine.
    fn open(&self, way: &Way<'_>, place: &PlanPlace, steps: &mut Vec<Instruction>) {
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
    fn returns(&self, way: &Way<'_>, steps: &mut Vec<Instruction>) {
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
    fn whole(&self, way: &Way<'_>, steps: &mut Vec<Instruction>) {
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
    fn again(&self, way: &Way<'_>, gone: &[&PlanPlace], steps: &mut Vec<Instruction>) {
        let lifeboat = self.lifeboat_after(way);
        if let Some(primary) = way.primary {
            for place in gone {
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
    fn disown(&self, which: &str, is_left: impl Fn(&PlanPlace) -> bool) -> Instruction {
        let remove = |place: &PlanPlace| {
            format!(
                "{} key remove --label {} -r {} {}",
                self.lifeboat(),
                quoted(self.given.node),
                place.word(),
                self.unlocking()
            )
        };
        step(
            format!(
                "Take the keys of the {which} machine away, so that they open no copy any more. It is done with {}. \
                 A password that was stored on it must be changed, too.",
                self.secret()
            ),
            self.plan.places.iter().filter(|place| is_left(place)).map(remove).collect(),
        )
    }

    fn gone(&self, is_left: impl Fn(&PlanPlace) -> bool) -> Vec<&'t PlanPlace> {
        self.plan.places.iter().filter(|place| !is_left(place)).collect()
    }

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
        if let Some(place) = way.primary {
            self.arrive(&way, place, &mut steps);
            self.whole(&way, &mut steps);
            self.open(&way, place, &mut steps);
            self.returns(&way, &mut steps);
            self.again(&way, &self.gone(is_left), &mut steps);
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
            steps.push(self.disown("stolen", is_left));
            self.whole(&way, &mut steps);
            self.open(&way, place, &mut steps);
            self.returns(&way, &mut steps);
            self.again(&way, &self.gone(is_left), &mut steps);
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
            self.arrive(&way, place, &mut steps);
            steps.push(self.disown("infected", is_elsewhere));
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

    /// The command that brings some sources back to where they were, as they were before an attack.
    fn back_before(&self, group: &Group<'_>) -> Option<String> {
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

    fn burnt_house(&self) -> Disaster {
        let is_left = |place: &PlanPlace| place.distance == Distance::Away;
        let way = self.way(is_left, near, true);
        let mut steps = Vec::new();
        match way.primary {
            Some(place) => {
                self.arrive(&way, place, &mut steps);
                self.whole(&way, &mut steps);
                self.open(&way, place, &mut steps);
                self.returns(&way, &mut steps);
                self.again(&way, &self.gone(is_left), &mut steps);
            }
            None => steps.push(step(
                "NOTHING IS LEFT: no copy is in another building. Add a repository that is, before this happens.",
                vec![],
            )),
        }
        let means = "Everything in this building is gone: the machine, its disks, the drives, the servers, the papers.";
        self.disaster("burnt-house", "A burnt house", means, &way, steps)
    }

    fn lost_password(&self) -> Disaster {
        let way = self.way(|_| true, near, false);
        let mut steps = vec![step(
            "This machine has keys of its own and needs no password: see whether it still opens the copies.",
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

fn near(place: &PlanPlace) -> u8 {
    match place.distance {
        Distance::Disk => 0,
        Distance::Drive => 1,
        Distance::Server => 2,
        Distance::Away => 3,
    }
}

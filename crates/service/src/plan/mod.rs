//! The recovery plan: what comes back in which order, from which copy, by which commands, how long it takes, who does
//! it, what is not covered, and what is done in each of seven disasters.
//!
//! It is made from the configuration, the catalog and the last drills, so it cannot say what once was meant. The time, and
//! what was found outside of every source ([`coverage`]), enter as values; besides the catalog it looks only at the disks
//! that folders are on.
//! Every command in it can be typed as it stands; what only a person knows stands in lines of the form `NAME=value`
//! before the commands that use it ([`Instruction::fill`]). [`write`](mod@write) makes text, Markdown and a page of it.

pub mod copies;
pub mod coverage;
mod disasters;
pub mod kept;
mod phases;
pub mod steps;
mod way;
pub mod write;

pub use copies::{Basis, Held, Returning, Takes};
pub use coverage::{Thing, Uncovered};
pub use disasters::{Disaster, Instruction};
pub use kept::{Kept, files};

use crate::catalog::{Catalog, CatalogResult};
use crate::config::place::location;
use crate::config::{Config, Repository};
use crate::folders::Folders;
use crate::kit::{Remembered, Standing};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use storage::Location;

/// Everything a plan is made from.
pub struct Given<'g> {
    /// What is protected.
    pub config: &'g Config,
    /// The name of this machine in snapshots.
    pub machine: &'g str,
    /// The name that the keys of this machine are labelled with.
    pub node: &'g str,
    /// The folders of this installation.
    pub folders: &'g Folders,
    /// What is known of the copies.
    pub catalog: Option<&'g Catalog>,
    /// The program beside the copies, where there is one.
    pub program: Option<&'g Program>,
    /// The recovery kit that was made last, and how it stands.
    pub kit: (Option<&'g Remembered>, Standing),
    /// What no source holds.
    pub uncovered: &'g Uncovered,
    /// When somebody last looked the plan through: Unix seconds.
    pub reviewed: Option<i64>,
    /// Now: Unix seconds.
    pub now: i64,
}

/// The program that lies beside the copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The name of its file.
    pub file: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Whether it runs without any library of the system.
    pub is_static: bool,
}

impl Program {
    /// From what a kit says of it.
    pub fn of(program: &crate::kit::Program) -> Self {
        Program {
            file: program.file.clone(),
            version: program.version.clone(),
            sha256: program.sha256.clone(),
            is_static: program.is_static,
        }
    }
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The machine that comes back.
    pub machine: String,
    /// Whose plan it is.
    pub organisation: Option<String>,
    /// When it was made: Unix seconds.
    pub made: i64,
    /// Who is called, in this order.
    pub contacts: Vec<Called>,
    /// Where the printed kit and the keys are.
    pub keys: Option<String>,
    /// How many shares of the kit's key are needed, of how many; none where one sheet has all of it.
    pub shares: Option<(u8, u8)>,
    /// What else somebody must know.
    pub notes: Option<String>,
    /// It is looked through again before this: Unix seconds.
    pub review_by: Option<i64>,
    /// Where copies lie, the nearest first.
    pub places: Vec<PlanPlace>,
    /// The program beside them.
    pub program: Option<Program>,
    /// What comes back, in this order.
    pub order: Vec<Returning>,
    /// What no source holds, and how big it is.
    pub uncovered: Uncovered,
    /// What is done in each disaster.
    pub disasters: Vec<Disaster>,
    /// What keeps this plan from being one.
    pub gaps: Vec<String>,
}

/// Somebody who is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Called {
    /// Their name.
    pub name: String,
    /// What they do.
    pub role: Option<String>,
    /// Telephone number.
    pub phone: Option<String>,
    /// Mail address.
    pub email: Option<String>,
}

/// How far away a place is: the smaller the nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// A folder of this machine.
    Disk,
    /// A drive that comes and goes.
    Drive,
    /// A server in this building.
    Server,
    /// In another building.
    Away,
}

/// A place that holds copies.
#[derive(Clone, Debug, Serialize)]
pub struct PlanPlace {
    /// Its name in the configuration.
    pub name: String,
    /// As it is given to `-r` where there is no configuration; holds no secret.
    pub location: String,
    /// Where it stands, in somebody's words.
    pub stands: Option<String>,
    /// What it is on.
    pub medium: String,
    /// How far away it is.
    pub distance: Distance,
    /// Whether it refuses to delete for a while.
    pub is_immutable: bool,
    /// What else is needed to reach it.
    pub login: Option<String>,
    /// Whether damage was found there and nothing was proven since.
    pub is_damaged: bool,
    /// Whether it is on the disk of what it holds copies of.
    pub is_on_same_disk: bool,
    #[serde(skip)]
    at: Option<Location>,
}

impl PlanPlace {
    fn of(name: &str, repository: &Repository, folders: &Folders) -> Self {
        let at = location(repository, folders).ok();
        let distance = match (&at, repository.is_offsite()) {
            (_, true) => Distance::Away,
            (Some(Location::Removable(_)), _) => Distance::Drive,
            (Some(Location::Local(_)), _) if repository.removable.is_some() => Distance::Drive,
            (Some(Location::Local(_)), _) => Distance::Disk,
            _ => Distance::Server,
        };
        PlanPlace {
            name: name.to_string(),
            location: at.as_ref().map_or_else(|| repository.url.clone(), Location::to_string),
            stands: repository.location.clone(),
            medium: repository.kind_of_medium(),
            distance,
            is_immutable: repository.immutable.is_some(),
            login: at.as_ref().and_then(|at| steps::login(at, repository.user.as_deref())),
            is_damaged: false,
            is_on_same_disk: false,
            at,
        }
    }

    /// As it is given to `-r`, quoted.
    fn word(&self) -> String {
        steps::quoted(&self.location)
    }
}

/// Makes the plan.
pub fn make(given: &Given<'_>) -> CatalogResult<Plan> {
    let config = given.config;
    let places = places(given)?;
    let order = copies::order(given, &places)?;
    let called = |c: &crate::config::Contact| Called {
        name: c.name.clone(),
        role: c.role.clone(),
        phone: c.phone.clone(),
        email: c.email.clone(),
    };
    let review = config.plan.review_every.map(|every| i64::try_from(every.0.as_secs()).unwrap_or(i64::MAX));
    let mut plan = Plan {
        machine: given.machine.to_string(),
        organisation: config.plan.organisation.clone(),
        made: given.now,
        contacts: config.plan.contacts.iter().map(called).collect(),
        keys: config.plan.keys.clone(),
        shares: given.kit.0.and_then(|kit| kit.shares),
        notes: config.plan.notes.clone(),
        review_by: review.map(|every| given.reviewed.unwrap_or(given.now).saturating_add(every)),
        places,
        program: given.program.cloned(),
        order,
        uncovered: given.uncovered.clone(),
        disasters: Vec::new(),
        gaps: Vec::new(),
    };
    for at in 0..plan.order.len() {
        let back = &plan.order[at];
        let place = back.from.as_ref().and_then(|held| plan.place(&held.repository));
        let command = place.map(|place| way::command(config, given.machine, &back.name, place));
        plan.order[at].command = command;
    }
    plan.disasters = disasters::all(given, &plan);
    plan.gaps = gaps(given, &plan);
    Ok(plan)
}

fn places(given: &Given<'_>) -> CatalogResult<Vec<PlanPlace>> {
    let mut places = Vec::new();
    for (name, repository) in &given.config.repositories {
        let mut place = PlanPlace::of(name, repository, given.folders);
        if let Some(catalog) = given.catalog {
            place.is_damaged = crate::posture::place_known(catalog, name)?.damaged.is_some();
        }
        place.is_on_same_disk = is_on_same_disk(given, &place);
        places.push(place);
    }
    places.sort_by(|a, b| (a.distance, &a.name).cmp(&(b.distance, &b.name)));
    Ok(places)
}

/// Whether a folder with copies dies with the disk of what they are copies of.
fn is_on_same_disk(given: &Given<'_>, place: &PlanPlace) -> bool {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.dev());
    let Some(Location::Local(folder)) = &place.at else { return false };
    let Some(here) = device(folder) else { return false };
    let paths = |name: &String| crate::watching::paths_of(given.config, &given.folders.home, name);
    given.config.sources.keys().flat_map(paths).any(|path| device(&path) == Some(here))
}

fn gaps(given: &Given<'_>, plan: &Plan) -> Vec<String> {
    let mut gaps = Vec::new();
    if plan.contacts.is_empty() {
        gaps.push(
            "nobody is named who does it: add [[plan.contacts]] with name, role, phone and email".into(),
        );
    }
    if plan.keys.is_none() {
        gaps.push("it is not said where the printed kit is: add plan.keys".into());
    }
    match &given.kit.1 {
        Standing::Missing => gaps.push(
            "no recovery kit was made on this machine, and every disaster needs one: lifeboat kit --html FILE".into(),
        ),
        Standing::OutOfDate | Standing::Incomplete => gaps.extend(given.kit.1.reminder().map(str::to_string)),
        Standing::Unconfirmed | Standing::Good => {}
    }
    if plan.review_by.is_some_and(|by| by < given.now) {
        gaps.push("nobody looked it through in time: read it, then lifeboat plan --reviewed".into());
    }
    for back in &plan.order {
        match &back.from {
            None => gaps.push(format!("{} has no copy anywhere", back.name)),
            Some(held) => {
                let doubt = held.doubt.as_ref();
                gaps.extend(doubt.map(|doubt| format!("{} in {}: {doubt}", back.name, held.repository)));
            }
        }
        if let (Some(rto), Some(takes)) = (back.rto_seconds, &back.takes)
            && takes.seconds > rto
        {
            gaps.push(format!("{} would not be back within its goal", back.name));
        }
    }
    for disaster in &plan.disasters {
        // What has no copy at all was named already.
        let has_none =
            |name: &&String| plan.order.iter().any(|back| back.name == **name && back.from.is_none());
        let lost: Vec<&str> = disaster.lost.iter().filter(|n| !has_none(n)).map(String::as_str).collect();
        if !lost.is_empty() {
            gaps.push(format!("{}: lost for good: {}", disaster.title, lost.join(", ")));
        }
    }
    if !plan.uncovered.things.is_empty() {
        gaps.push(format!("{} things on this machine are in no source", plan.uncovered.things.len()));
    }
    gaps
}

impl Plan {
    /// What tells one plan from another: everything but times that pass and sizes that grow a little.
    pub fn version(&self) -> String {
        let mut still = self.clone();
        still.made = 0;
        still.review_by = still.review_by.map(|_| 0);
        still.uncovered = still.uncovered.without_sizes();
        for back in &mut still.order {
            back.settle();
        }
        for disaster in &mut still.disasters {
            disaster.seconds = disaster.seconds.map(copies::magnitude);
        }
        let text = serde_json::to_string(&still).expect("a plan can be written");
        blake3::hash(text.as_bytes()).to_hex()[..32].to_string()
    }

    fn place(&self, name: &str) -> Option<&PlanPlace> {
        self.places.iter().find(|place| place.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Copy, Drill, DrillResult};
    use crate::config::load::understand;
    use crate::config::problem::SourceFile;
    use crate::environment::Environment;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_800_000_000;

    fn config(more: &str) -> Config {
        let text = format!(
            "[repositories.disk]\nurl = \"/nowhere/copies\"\n[repositories.nas]\nurl = \"sftp://me@nas.local:2222/b\"\n\
             [repositories.cloud]\nurl = \"s3://bucket/boat?endpoint=https://s3.example.org\"\n\
             [sources.home]\npaths = [\"/home/me\"]\nrto = \"1h\"\nrpo = \"1d\"\n\
             [sources.shop]\ntype = \"postgres\"\nurl = \"postgresql:///\"\nmode = \"physical\"\n\
             [sources.system]\ntype = \"system\"\n[jobs.all]\nsources = [\"home\", \"shop\", \"system\"]\n\
             to = [\"disk\", \"nas\", \"cloud\"]\n{more}"
        );
        let file = SourceFile { path: "lifeboat.toml".into(), text };
        understand(vec![file], Path::new("/")).unwrap_or_else(|b| panic!("{:?}", b.problems)).config
    }

    fn copy(source: &str, repository: &str, age: i64, good: bool) -> Copy {
        Copy {
            source: source.into(),
            repository: repository.into(),
            snapshot: format!("{repository}{age}"),
            time: NOW - age,
            made: NOW - age,
            good,
            files: 10,
            bytes: 36_000_000_000,
            verified: None,
            drilled: None,
        }
    }

    fn plan(config: &Config, catalog: &Catalog, program: Option<&Program>) -> Plan {
        let folders = Folders::of(&Environment::new(|name| (name == "HOME").then(|| "/root".into())));
        let uncovered = Uncovered::default();
        let given = Given {
            config,
            machine: "atlas\u{1b}[31m",
            node: "atlas",
            folders: &folders,
            catalog: Some(catalog),
            program,
            kit: (None, Standing::Missing),
            uncovered: &uncovered,
            reviewed: None,
            now: NOW,
        };
        make(&given).unwrap()
    }

    #[test]
    fn the_nearest_healthy_copy_is_taken_and_its_time_is_measured_or_said_to_be_guessed() {
        let (config, catalog) = (config(""), Catalog::in_memory().unwrap());
        for (repository, age, good) in [("disk", 9 * DAY, true), ("nas", 3600, true), ("cloud", 60, true)] {
            catalog.record_copy(&copy("home", repository, age, good)).unwrap();
        }
        catalog.record_copy(&copy("shop", "nas", 60, false)).unwrap();
        let made = plan(&config, &catalog, None);
        let home = made.order.iter().find(|back| back.name == "home").unwrap();
        let taken: Vec<(&str, bool)> =
            home.held().map(|held| (held.repository.as_str(), held.doubt.is_some())).collect();
        assert_eq!(
            taken,
            [("nas", false), ("cloud", false), ("disk", true)],
            "near goes before young, old comes last"
        );
        let takes = home.takes.as_ref().unwrap();
        assert_eq!((takes.basis, takes.seconds), (Basis::Guess, 36e9 / 50e6));
        let shop = made.order.iter().find(|back| back.name == "shop").unwrap();
        assert!(shop.from.as_ref().unwrap().doubt.as_ref().unwrap().contains("incomplete"));
        assert!(made.gaps.iter().any(|gap| gap.starts_with("system has no copy")));
        assert!(!made.gaps.iter().any(|gap| gap.contains("within its goal")));

        let drill = Drill {
            name: "d".into(),
            source: "home".into(),
            repository: "nas".into(),
            snapshot: None,
            at: NOW - DAY,
            seconds: 10.0,
            result: DrillResult::Passed,
            files: 3,
            bytes: 50_000_000,
            rto_seconds: None,
            detail: String::new(),
        };
        catalog.record_drill(&drill).unwrap();
        let slow = plan(&config, &catalog, None);
        let takes = |name: &str| slow.order.iter().find(|b| b.name == name).unwrap().takes.clone().unwrap();
        assert_eq!((takes("home").basis, takes("home").seconds), (Basis::Drill, 7200.0));
        assert_eq!(takes("shop").basis, Basis::DrillsThere);
        assert!(slow.gaps.iter().any(|gap| gap == "home would not be back within its goal"));
        assert_ne!(slow.version(), made.version());
    }

    #[test]
    fn what_changes_by_itself_makes_no_other_plan() {
        let (config, catalog) = (config(""), Catalog::in_memory().unwrap());
        catalog.record_copy(&copy("home", "nas", 3600, true)).unwrap();
        let before = plan(&config, &catalog, None);
        catalog
            .record_copy(&Copy { bytes: 36_000_001_000, files: 11, ..copy("home", "nas", 60, true) })
            .unwrap();
        assert_eq!(plan(&config, &catalog, None).version(), before.version());
        let more = self::config("[plan]\nkeys = \"the safe\"\n");
        assert_ne!(plan(&more, &catalog, None).version(), before.version());
        catalog.record_copy(&copy("home", "disk", 60, true)).unwrap();
        assert_ne!(plan(&config, &catalog, None).version(), before.version());
    }

    #[test]
    fn a_whole_machine_comes_back_at_once_and_its_files_not_once_more() {
        let config = config(
            "[sources.machine]\npaths = [\"/\"]\n[jobs.more]\nsources = [\"machine\"]\nto = [\"nas\"]\n",
        );
        let catalog = Catalog::in_memory().unwrap();
        for source in ["home", "shop", "system", "machine"] {
            catalog.record_copy(&copy(source, "nas", 60, true)).unwrap();
        }
        let made = plan(&config, &catalog, None);
        let commands = |key: &str| -> Vec<String> {
            let disaster = made.disasters.iter().find(|disaster| disaster.key == key).unwrap();
            disaster.steps.iter().flat_map(|step| step.commands.clone()).collect()
        };
        let dead = commands("dead-disk");
        assert!(dead.iter().any(|c| c.contains("--system --disk \"$DISK\" --dry-run")), "{dead:?}");
        assert!(dead.iter().any(|c| c.contains("restore-db shop")));
        assert!(!dead.iter().any(|c| c.contains("--in-place")), "adapted files would be undone: {dead:?}");
        // To look at them after an attack they come back as files.
        assert!(commands("ransomware").iter().any(|c| c.contains(" machine ") && c.contains("--target")));
    }

    #[test]
    fn the_program_is_fetched_from_every_kind_of_place() {
        let catalog = Catalog::in_memory().unwrap();
        let program = Program {
            file: "lifeboat-1-x86-64-ab".into(),
            version: "1".into(),
            sha256: "ab".repeat(32),
            is_static: true,
        };
        for (repository, fetch) in [
            ("disk", "cp /nowhere/copies/tools/lifeboat-1-x86-64-ab lifeboat"),
            ("nas", "scp -P 2222 me@nas.local:/b/tools/lifeboat-1-x86-64-ab lifeboat"),
            (
                "cloud",
                "aws s3 cp s3://bucket/boat/tools/lifeboat-1-x86-64-ab lifeboat --endpoint-url https://s3.example.org",
            ),
        ] {
            let only = self::config("");
            for source in ["home", "shop", "system"] {
                catalog.see_copies(source, "disk", &[]).unwrap();
                catalog.see_copies(source, "nas", &[]).unwrap();
                catalog.record_copy(&copy(source, repository, 60, true)).unwrap();
            }
            let made = plan(&only, &catalog, Some(&program));
            let dead = made.disasters.iter().find(|disaster| disaster.key == "dead-disk").unwrap();
            assert_eq!(dead.from.as_deref(), Some(repository));
            let commands: Vec<&str> =
                dead.steps.iter().flat_map(|step| &step.commands).map(String::as_str).collect();
            assert_eq!(commands[0], fetch);
            assert_eq!(commands[1], format!("echo '{}  lifeboat' | sha256sum -c", program.sha256));
            assert!(
                commands.iter().any(
                    |c| c.starts_with("./lifeboat restore-db shop") && c.ends_with("\"$RECOVERED\"/shop")
                )
            );
            assert!(commands.contains(&"sh \"$RECOVERED\"/system/rebuild.sh -n all"));
            assert!(commands.iter().all(|command| !command.contains('\u{1b}')), "{commands:?}");
        }
    }
}

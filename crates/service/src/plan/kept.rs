//! The plan as it is kept: its files beside the stored configuration, and what this machine remembers of it.

use super::coverage::{self, Machine, Uncovered};
use super::{Given, Plan, Program, make};
use crate::catalog::{Catalog, CatalogResult};
use crate::config::Config;
use crate::durable;
use crate::failure::{Outcome, local};
use crate::folders::Folders;
use crate::kit::Remembered;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What is found outside of the sources is looked for again after this time.
const LOOK_AGAIN_SECS: i64 = 24 * 3600;

/// What this machine remembers between two plans.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// When somebody last looked the plan through: Unix seconds.
    pub reviewed: Option<i64>,
    /// What was in no source when it was last looked for.
    pub uncovered: Uncovered,
    /// For which sources that was looked for.
    sources: String,
}

fn path(folders: &Folders) -> PathBuf {
    folders.state.join("plan.json")
}

impl Kept {
    /// What is remembered; nothing where that cannot be read.
    pub fn read(folders: &Folders) -> Self {
        let bytes = std::fs::read(path(folders)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep(&self, folders: &Folders) -> Outcome<()> {
        let text = serde_json::to_vec_pretty(self).expect("texts and numbers can be written");
        durable::create_private(&folders.state)
            .and_then(|()| durable::replace(&path(folders), &text))
            .map_err(|e| local("cannot remember the recovery plan", e))
    }

    /// Looks again for what no source holds, where that was not done lately or the sources are others now. Returns
    /// whether it did.
    pub fn look(&mut self, config: &Config, folders: &Folders, now: i64, time: Duration) -> bool {
        let sources = serde_json::to_string(&(&config.sources, &config.defaults)).unwrap_or_default();
        let sources = blake3::hash(sources.as_bytes()).to_hex()[..16].to_string();
        let age = now.saturating_sub(self.uncovered.looked);
        if self.sources == sources && (0..LOOK_AGAIN_SECS).contains(&age) {
            return false;
        }
        let machine = Machine::here(&folders.home);
        self.uncovered = coverage::look(config, &folders.home, &machine, now, time);
        self.sources = sources;
        true
    }
}

/// What of a machine enters a plan besides its configuration.
pub struct Facts<'f> {
    /// The name of this machine in snapshots.
    pub machine: &'f str,
    /// The name that the keys of this machine are labelled with.
    pub node: &'f str,
    /// This very program.
    pub program: Option<&'f Program>,
    /// Now: Unix seconds.
    pub now: i64,
    /// Looking for what no source holds takes no longer.
    pub time: Duration,
}

/// The program beside the copies: this very one, where it runs anywhere (then it is stored with the plan) or was
/// stored with the kit.
fn beside<'f>(facts: &Facts<'f>, kit: Option<&Remembered>) -> Option<&'f Program> {
    let of_kit = kit.and_then(|kit| kit.program.as_ref());
    facts.program.filter(|program| program.is_static || of_kit == Some(&program.file))
}

/// Makes the plan of this machine, as of now.
pub fn plan(
    config: &Config,
    folders: &Folders,
    catalog: Option<&Catalog>,
    facts: &Facts<'_>,
) -> CatalogResult<Plan> {
    let mut kept = Kept::read(folders);
    if kept.look(config, folders, facts.now, facts.time) {
        // What cannot be remembered is looked for again.
        kept.keep(folders).ok();
    }
    let kit = Remembered::read(folders);
    let standing = Remembered::standing_in(kit.as_ref(), config, folders);
    make(&Given {
        config,
        machine: facts.machine,
        node: facts.node,
        folders,
        catalog,
        program: beside(facts, kit.as_ref()),
        kit: (kit.as_ref(), standing),
        uncovered: &kept.uncovered,
        reviewed: kept.reviewed,
        now: facts.now,
    })
}

/// The plan's files, as they lie beside the stored configuration.
pub fn files(plan: &Plan) -> BTreeMap<String, String> {
    let json = serde_json::to_string_pretty(plan).expect("a plan can be written");
    let files = [("txt", plan.text()), ("md", plan.markdown()), ("html", plan.html()), ("json", json)];
    files.into_iter().map(|(ending, text)| (format!("{NAME}.{ending}"), text)).collect()
}

/// What the names of its files begin with.
pub const NAME: &str = "plan";

/// Whether a file beside the stored configuration is one of the plan.
pub fn is_one(name: &str) -> bool {
    matches!(name, "plan.txt" | "plan.md" | "plan.html" | "plan.json")
}

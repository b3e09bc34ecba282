//! What comes back from where: the sources in their order, each from the best place that is left.

use super::{Distance, Given, Held, Plan, PlanPlace, steps::quoted};
use crate::config::sources::PostgresMode;
use crate::config::{Config, Source};

/// Everything a disaster is told from.
pub(super) struct Teller<'t> {
    pub(super) given: &'t Given<'t>,
    pub(super) plan: &'t Plan,
}

/// Some sources that come back together.
pub(super) struct Group<'t> {
    pub(super) place: &'t PlanPlace,
    pub(super) names: Vec<&'t str>,
    pub(super) how: How,
}

/// How a source comes back by a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
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
pub(super) const RECOVERED: &str = "RECOVERED=/srv/recovered";

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
pub(super) struct Way<'t> {
    pub(super) primary: Option<&'t PlanPlace>,
    pub(super) groups: Vec<Group<'t>>,
    pub(super) lost: Vec<String>,
    pub(super) seconds: Option<f64>,
    /// Files come back as a whole machine.
    pub(super) is_whole: bool,
}

impl<'t> Teller<'t> {
    pub(super) fn config(&self) -> &'t Config {
        self.given.config
    }

    /// How everything comes back from the places that are left; the smaller `rank` is, the sooner one is taken.
    /// `whole` lets files come back as a whole machine, where they are one.
    pub(super) fn way(
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
}

/// The smaller, the nearer.
pub(super) fn near(place: &PlanPlace) -> u8 {
    match place.distance {
        Distance::Disk => 0,
        Distance::Drive => 1,
        Distance::Server => 2,
        Distance::Away => 3,
    }
}

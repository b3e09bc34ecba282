//! What a drill is to do: as options say, or as `[drills.NAME]` of the configuration does.

use crate::display::safe;
use crate::durations;
use crate::error::{Failure, Outcome};
use crate::session::{Session, machine_of};
use crate::sizes;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use format::snapshot::Snapshot;
use repo::leaf_ranges::LeafRange;
use service::catalog::Catalog;
use service::config::sources::Common;
use service::config::values::Interval;
use service::config::watch::{Compare, DrillAge, FilesDrill};
use service::config::{Config, Drill, Loaded};
use service::drill::database::Questions;
use service::drill::{Age, choose};
use service::open::Place;
use service::{stored_config, watching};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Hold a drill
#[derive(clap::Args)]
#[command(after_help = "\
With NAME it is as the configuration says. Otherwise, without --source, --age and --sample everything takes turns: the source that was
not drilled for the longest time, its newest, oldest and any other snapshot, and the next part of it.

Examples:
  lifeboat drill run photos
  lifeboat drill run --all
  lifeboat drill run -r /mnt/disk/backup --critical /etc --rto 2h")]
pub(super) struct Run {
    /// A drill of the configuration
    #[arg(value_name = "NAME", conflicts_with_all = ["all", "source", "host", "age", "sample", "files", "bytes", "whole", "rto", "rpo"])]
    pub(super) name: Option<String>,
    /// Every drill of the configuration, one after the other
    #[arg(long, conflicts_with_all = ["source", "host", "age", "sample", "files", "bytes", "whole", "rto", "rpo"])]
    pub(super) all: bool,
    /// Only the source of this path
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Only snapshots of this machine
    #[arg(short = 'H', long, value_name = "NAME")]
    host: Option<String>,
    /// Which of its snapshots
    #[arg(long, value_name = "AGE", value_parser = ages(), default_value = "rotate")]
    age: DrillAge,
    /// How much of a snapshot: a share such as 1% or 1/30
    #[arg(long, value_name = "SHARE", conflicts_with = "whole", value_parser = parse_share)]
    sample: Option<u64>,
    /// So many files, without --sample
    #[arg(long, value_name = "N", default_value_t = 200, conflicts_with_all = ["whole", "sample"])]
    files: u64,
    /// At most so many bytes, without --sample
    #[arg(long, value_name = "SIZE", default_value = "2G", conflicts_with_all = ["whole", "sample"])]
    bytes: String,
    /// Restore all of it: a rehearsal
    #[arg(long)]
    whole: bool,
    /// Restore this path in every drill, besides the sample
    #[arg(long, value_name = "PATH")]
    critical: Vec<OsString>,
    /// A restore of everything must take no longer
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    rto: Option<Duration>,
    /// The newest snapshot must be no older
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    rpo: Option<Duration>,
    /// Restore below this folder [default: the cache folder]
    #[arg(long, value_name = "FOLDER")]
    pub(super) scratch: Option<PathBuf>,
    /// Leave what was restored
    #[arg(long)]
    pub(super) keep: bool,
    /// Say what would be restored; restore nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// End when whoever began it ends
    #[arg(long, hide = true)]
    pub(super) alone: bool,
}

fn ages() -> impl TypedValueParser<Value = DrillAge> {
    let word = |age: DrillAge| age.one().map_or("rotate", Age::as_str);
    PossibleValuesParser::new(DrillAge::ALL.map(word)).map(move |chosen| {
        DrillAge::ALL.into_iter().find(|age| word(*age) == chosen).expect("it is one of them")
    })
}

/// `1%` is 100 parts, `1/30` is 30.
fn parse_share(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a share: write it like 1% or 1/30");
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        return match percent > 0.0 && percent <= 100.0 {
            true => Ok((100.0 / percent).round().max(1.0) as u64),
            false => Err(wrong()),
        };
    }
    let (one, of) = text.split_once('/').ok_or_else(wrong)?;
    let of: u64 = of.trim().parse().map_err(|_| wrong())?;
    if one.trim() == "1" && of > 0 { Ok(of) } else { Err(wrong()) }
}

/// How much of a snapshot is restored.
pub(super) enum Size {
    /// All of it.
    Whole,
    /// One of so many parts.
    OneOf(u64),
    /// As many parts as it takes to be no more than this.
    UpTo { files: u64, bytes: u64 },
}

impl Size {
    /// Into how many parts the leaves of a tree are cut; a leaf is never cut.
    pub(super) fn parts(&self, leaves: &[LeafRange]) -> u64 {
        match *self {
            Size::Whole => 1,
            Size::OneOf(of) => of.min(leaves.len() as u64).max(1),
            Size::UpTo { files, bytes } => choose::parts_for(leaves, files, bytes),
        }
    }
}

/// Whether a snapshot takes part.
pub(super) type Belongs = Box<dyn Fn(&Snapshot) -> bool>;

/// What a drill is to do.
pub(super) struct Wanted {
    pub(super) name: String,
    /// Its name in the configuration is its duty.
    pub(super) is_configured: bool,
    /// The source's name in the configuration.
    pub(super) source: Option<String>,
    pub(super) belongs: Belongs,
    /// The same in words, with a space before; nothing where every snapshot does.
    pub(super) filter: String,
    /// Where to restore from: the first that opens, in the order of their turns; or, where that is not known, the one
    /// whose last drill is longest ago.
    pub(super) places: Vec<(Option<String>, Place)>,
    pub(super) age: Option<Age>,
    pub(super) size: Size,
    pub(super) critical: Vec<PathBuf>,
    pub(super) rto: Option<f64>,
    pub(super) rpo: Option<f64>,
    /// Whether contents are hashed again.
    pub(super) contents: bool,
    /// Judges the restored folder.
    pub(super) command: Vec<String>,
    /// Whether the recovery kit is looked at, too.
    pub(super) is_of_kit: bool,
    /// Where databases are tried and what they are asked.
    pub(super) questions: Option<Questions>,
}

/// All drills that are to be held.
pub(super) fn all(session: &Session, args: &Run, catalog: Option<&Catalog>) -> Outcome<Vec<Wanted>> {
    let names: Vec<String> = match (&args.name, args.all) {
        (Some(name), _) => vec![name.clone()],
        (None, true) => session.configuration()?.config.drills.keys().cloned().collect(),
        (None, false) => return by_options(session, args),
    };
    let loaded = session.configuration()?;
    names.iter().map(|name| configured(session, args, &loaded, catalog, name)).collect()
}

fn by_options(session: &Session, args: &Run) -> Outcome<Vec<Wanted>> {
    let loaded = session.loaded()?;
    if let Some(loaded) = loaded.filter(|l| session.global.repo.is_empty() && !l.config.drills.is_empty()) {
        let names: Vec<String> = loaded.config.drills.keys().map(|name| safe(name).to_string()).collect();
        return Err(Failure::usage("no drill is named").hint(format!(
            "name one of the configuration: {}; or all with --all; or a repository with -r",
            names.join(", ")
        )));
    }
    // Without the slash at its end, as snapshots have it.
    let full = |path: &PathBuf| crate::snapspec::full_path(path).components().collect::<PathBuf>();
    let (host, path) = (args.host.clone(), args.source.as_ref().map(full));
    let of_path = path.as_ref().map(|path| format!(" of {}", safe(&path.display().to_string())));
    let of_host = host.as_ref().map(|host| format!(" by {}", safe(host)));
    let filter = of_path.into_iter().chain(of_host).collect();
    let belongs = move |s: &Snapshot| {
        !stored_config::is_one(s)
            && host.as_ref().is_none_or(|host| *host == s.host)
            && path.as_ref().is_none_or(|path| s.sources.iter().any(|p| p == path.as_os_str().as_bytes()))
    };
    let size = match (args.whole, args.sample) {
        (true, _) => Size::Whole,
        (_, Some(of)) => Size::OneOf(of),
        _ => Size::UpTo { files: args.files, bytes: sizes::parse(&args.bytes)? },
    };
    Ok(vec![Wanted {
        name: "sample".into(),
        is_configured: false,
        source: None,
        belongs: Box::new(belongs),
        filter,
        places: session.all_places()?,
        age: args.age.one(),
        size,
        critical: args.critical.iter().map(PathBuf::from).collect(),
        rto: args.rto.map(|rto| rto.as_secs_f64()),
        rpo: args.rpo.map(|rpo| rpo.as_secs_f64()),
        contents: true,
        command: Vec::new(),
        is_of_kit: false,
        questions: None,
    }])
}

fn configured(
    session: &Session,
    args: &Run,
    loaded: &Arc<Loaded>,
    catalog: Option<&Catalog>,
    name: &str,
) -> Outcome<Wanted> {
    let config = &loaded.config;
    let Some(drill) = config.drills.get(name) else {
        let names: Vec<String> = config.drills.keys().map(|name| safe(name).to_string()).collect();
        return Err(Failure::usage(format!("there is no drill {}", safe(name)))
            .hint(format!("the configuration has: {}", names.join(", "))));
    };
    let questions = Questions::of(drill, config).map_err(|e| e.during(format!("drill {}", safe(name))))?;
    let places = places(session, config, drill, catalog)?;
    let machine = machine_of(config);
    let critical = |paths: &[String]| {
        let given = args.critical.iter().map(PathBuf::from);
        paths.iter().map(|path| loaded.full_path(path)).chain(given).collect()
    };
    Ok(match drill {
        Drill::Files(files) => of_files(loaded, machine, name, files, places, critical(&files.critical)),
        Drill::Postgres(d) | Drill::Mysql(d) | Drill::Mariadb(d) | Drill::Sqlite(d) => Wanted {
            questions,
            age: d.age.one(),
            ..of_source(loaded, machine, name, (&d.source, d.rto), places)
        },
        _ => Wanted {
            name: name.to_string(),
            is_configured: true,
            source: None,
            belongs: Box::new(move |s| stored_config::is_one(s) && s.host == machine),
            filter: " of the configuration".into(),
            places,
            age: Some(Age::Newest),
            size: Size::Whole,
            critical: Vec::new(),
            rto: None,
            rpo: None,
            contents: true,
            command: Vec::new(),
            is_of_kit: true,
            questions: None,
        },
    })
}

fn of_files(
    loaded: &Arc<Loaded>,
    machine: String,
    name: &str,
    files: &FilesDrill,
    places: Vec<(Option<String>, Place)>,
    critical: Vec<PathBuf>,
) -> Wanted {
    Wanted {
        size: match files.sample.whole {
            true => Size::Whole,
            false => Size::UpTo { files: files.sample.files, bytes: files.sample.bytes.0 },
        },
        critical,
        contents: files.compare == Compare::Hash,
        command: files.command.clone(),
        age: files.age.one(),
        ..of_source(loaded, machine, name, (&files.source, files.rto), places)
    }
}

/// All of a source, in turn by age.
fn of_source(
    loaded: &Arc<Loaded>,
    machine: String,
    name: &str,
    (source, rto): (&String, Option<Interval>),
    places: Vec<(Option<String>, Place)>,
) -> Wanted {
    let seconds = |interval: Interval| interval.0.as_secs_f64();
    let common: &Common = loaded.config.sources[source].common();
    let (loaded, source) = (loaded.clone(), source.clone());
    let (rto, rpo) = (rto.or(common.rto).map(seconds), common.rpo.map(seconds));
    let of = Some(source.clone());
    let filter = format!(" of {}", safe(&source));
    let belongs = move |s: &Snapshot| watching::belongs(&loaded.config, &machine, &loaded.home, &source, s);
    Wanted {
        name: name.to_string(),
        is_configured: true,
        source: of,
        belongs: Box::new(belongs),
        filter,
        places,
        age: None,
        size: Size::Whole,
        critical: Vec::new(),
        rto,
        rpo,
        contents: true,
        command: Vec::new(),
        is_of_kit: false,
        questions: None,
    }
}

/// The repositories of a drill, the one first whose last drill of this source is longest ago.
fn places(
    session: &Session,
    config: &Config,
    drill: &Drill,
    catalog: Option<&Catalog>,
) -> Outcome<Vec<(Option<String>, Place)>> {
    let mut names: Vec<&str> = match (drill.from(), drill.source()) {
        ("rotate", Some(source)) => config.repositories_of(source),
        ("rotate", None) => config.repositories.keys().map(String::as_str).collect(),
        (one, _) => vec![one],
    };
    let source = drill.source().unwrap_or(KIT);
    let last = |name: &&str| {
        let newest = catalog.and_then(|catalog| catalog.drills_of(source, name, 1).ok());
        newest.and_then(|drills| drills.first().map(|drill| drill.at))
    };
    names.sort_by_key(last);
    if names.is_empty() {
        return Err(Failure::usage(format!("{} goes to no repository", safe(source)))
            .hint("add a job with it: lifeboat config edit"));
    }
    names.iter().map(|name| Ok((Some(name.to_string()), session.place_named(OsStr::new(name))?))).collect()
}

/// What the catalog calls the source of a drill of the kit.
pub(super) const KIT: &str = "kit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_write_them() {
        assert_eq!(parse_share("1%"), Ok(100));
        assert_eq!(parse_share("0.5 %"), Ok(200));
        assert_eq!(parse_share("1/30"), Ok(30));
        assert_eq!(parse_share("100%"), Ok(1));
        for wrong in ["", "0%", "101%", "2/3", "1/0", "x"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}

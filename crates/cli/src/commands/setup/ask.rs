//! The questions at a terminal. What options say already is the answer that Enter takes.

use super::{Args, LEFTOVER_BYTES_MIN, LOOK_TIME, absolute, database_source, files, homes, named, tell};
use crate::display::safe;
use crate::error::Outcome;
use crate::prompt;
use crate::session::Session;
use rustix::process::geteuid;
use service::config::Criticality;
use service::config::places::Goals;
use service::setup::discover;
use service::setup::{Answers, NewPlace, NewSource, Trial, What, leftovers, policy_of};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(super) fn all(session: &Session, args: &Args) -> Outcome<Answers> {
    let out = &session.out;
    out.message("This makes the configuration of this machine. Enter takes what stands in brackets.\n");
    let mut sources = ask_sources(session, args)?;
    args.wishes.apply(&mut sources)?;
    let mut goals = args.wishes.goals();
    for source in &mut sources {
        ask_loss(session, source, &goals)?;
    }
    ask_goals(session, &sources, &mut goals)?;
    let places = ask_places(session, args)?;
    Ok(Answers { places, sources, goals })
}

fn ask_sources(session: &Session, args: &Args) -> Outcome<Vec<NewSource>> {
    let mut sources = Vec::new();
    let homes = if args.source.is_empty() { homes() } else { args.source.clone() };
    let shown: Vec<String> = homes.iter().map(|home| safe(&home.display().to_string())).collect();
    let answer = prompt::line(&format!(
        "What is to be protected? Folders, separated by spaces [{}]: ",
        shown.join(" ")
    ))?;
    let paths: Vec<PathBuf> = match answer.trim() {
        "" => homes,
        words => words.split_whitespace().map(PathBuf::from).collect(),
    };
    let paths = absolute(&paths);
    let exclude = ask_leftovers(session, args, &paths)?;
    sources.push(NewSource { exclude, ..NewSource::new("home", files(&paths)) });
    let system = if geteuid().is_root() { discover::data_folders(Path::new("/")) } else { Vec::new() };
    for folder in system.into_iter().filter(|folder| !paths.iter().any(|path| folder.starts_with(path))) {
        let shown = safe(&folder.display().to_string());
        if prompt::yes(&format!("Protect {shown}, too?"))? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sources.push(NewSource::new(&name, files(&[folder])));
        }
    }
    let question = "Protect what this machine needs to be built again (/etc, packages, users, disk layout)?";
    if args.system || geteuid().is_root() && prompt::yes(question)? {
        sources.push(NewSource::new("system", What::System));
    }
    let (wanted, found) = super::wanted_databases(args)?;
    for database in wanted {
        sources.push(database_source(&sources, database));
    }
    for database in found {
        let (kind, url) = (database.kind, &database.url);
        if prompt::yes(&format!("A {kind} server runs here ({url}). Protect its databases?"))? {
            sources.push(database_source(&sources, database));
        }
    }
    Ok(sources)
}

fn ask_leftovers(session: &Session, args: &Args, paths: &[PathBuf]) -> Outcome<Vec<String>> {
    let mut exclude = args.exclude.clone();
    if args.keep_caches {
        return Ok(exclude);
    }
    session.out.info("looking for what programs make again ...");
    let found = leftovers::propose(paths, LEFTOVER_BYTES_MIN, LOOK_TIME);
    if found.is_empty() {
        return Ok(exclude);
    }
    session.out.message("This need not be saved, because programs make it again:");
    for (n, line) in tell::table(&found).into_iter().enumerate() {
        session.out.message(format!("  {:>2}. {line}", n + 1));
    }
    let answer = prompt::line("Leave out: all, none, or numbers [all]: ")?;
    let chosen: Vec<&str> = answer.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let is_chosen = |n: usize| match &chosen[..] {
        [] | ["all"] => true,
        ["none"] => false,
        numbers => numbers.iter().any(|number| number.parse() == Ok(n + 1)),
    };
    exclude.extend(found.into_iter().enumerate().filter(|(n, _)| is_chosen(*n)).map(|(_, p)| p.pattern));
    Ok(exclude)
}

fn ask_loss(session: &Session, source: &mut NewSource, goals: &Goals) -> Outcome<()> {
    let name = safe(&source.name).to_string();
    session.out.message(format!("\nHow bad would it be to lose the newest part of {name}?"));
    session.out.message("  1. losing a day of it would be bad");
    session.out.message("  2. losing a day would be bearable, a week not");
    session.out.message("  3. losing a month would be bearable");
    let usual = match source.criticality {
        Criticality::High => "1",
        Criticality::Normal => "2",
        Criticality::Low => "3",
    };
    source.criticality = loop {
        match prompt::line(&format!("[{usual}]: "))?.trim() {
            "" => break source.criticality,
            "1" => break Criticality::High,
            "2" => break Criticality::Normal,
            "3" => break Criticality::Low,
            _ => session.out.message("1, 2 or 3"),
        }
    };
    session.out.message("So:");
    tell::lines(source, goals)[1..].iter().for_each(|line| session.out.message(line));
    let derived = source.criticality.derived();
    let question = format!("When [{}]: ", source.schedule());
    if let Some(when) = ask(session, &question, FromStr::from_str)? {
        source.schedule = Some(when);
    }
    if let Some(keep) = ask(session, "What is kept, like 3 48h 14d 8w 12m 5y [as above]: ", policy_of)? {
        source.keep = Some(keep);
    }
    let trial = |text: &str| match text {
        "never" => Ok(Trial::Never),
        when => when.parse().map(Trial::At),
    };
    let question = format!("Restored on trial when, or never [{}]: ", derived.drill);
    if let Some(trial) = ask(session, &question, trial)? {
        source.trial = trial;
    }
    Ok(())
}

/// What is wanted of all sources: proposed is what the most important one needs.
fn ask_goals(session: &Session, sources: &[NewSource], goals: &mut Goals) -> Outcome<()> {
    let most = sources.iter().map(|source| source.criticality).max().unwrap_or_default().derived();
    let number = |least: u32| {
        move |text: &str| match text.parse::<u32>() {
            Ok(n) if (least..=20).contains(&n) => Ok(n),
            _ => Err(format!("a number from {least} to 20")),
        }
    };
    let copies = goals.copies.unwrap_or(most.copies);
    session.out.message("");
    let question = format!("How many copies, the live data counted [{copies}]: ");
    goals.copies = ask(session, &question, number(2))?.or(goals.copies);
    let offsite = goals.offsite.unwrap_or(most.offsite);
    let question = format!("How many of them in another building [{offsite}]: ");
    goals.offsite = ask(session, &question, number(0))?.or(goals.offsite);
    Ok(())
}

/// Asks until the answer can be read; `None` for Enter.
fn ask<T>(session: &Session, question: &str, read: impl Fn(&str) -> Result<T, String>) -> Outcome<Option<T>> {
    loop {
        match prompt::line(question)?.trim() {
            "" => return Ok(None),
            text => match read(text) {
                Ok(value) => return Ok(Some(value)),
                Err(e) => session.out.message(safe(&e)),
            },
        }
    }
}

fn ask_places(session: &Session, args: &Args) -> Outcome<Vec<NewPlace>> {
    let mut urls = args.to.clone();
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let disks = discover::disks(&mountinfo, Path::new("/dev/disk/by-uuid"));
    session
        .out
        .message("\nWhere do copies go? One disk here and one place in another building is the least.");
    for (n, disk) in disks.iter().enumerate() {
        let at = safe(&disk.mounted_at.display().to_string());
        session.out.message(format!("  {}. the disk at {at}", n + 1));
    }
    let kinds = if disks.is_empty() { "A folder" } else { "A number, a folder" };
    loop {
        let more = if urls.is_empty() { "" } else { ", or Enter for no more" };
        let answer = prompt::line(&format!(
            "{kinds}, or an address such as sftp://me@host/folder or s3://bucket{more}: "
        ))?;
        let answer = answer.trim();
        let by_number = answer.parse::<usize>().ok().and_then(|n| disks.get(n.checked_sub(1)?));
        match (answer, by_number) {
            ("", _) if urls.is_empty() => session
                .out
                .message("without a place there are no copies; Ctrl-C ends this, and makes nothing"),
            ("", _) => return Ok(named(urls)),
            (_, Some(disk)) => urls.push(disk.address("lifeboat")),
            (text, None) => match storage::Location::parse(text) {
                Ok(_) => urls.push(text.to_string()),
                Err(e) => session.out.message(safe(&::repo::reader::chain(&e))),
            },
        }
    }
}

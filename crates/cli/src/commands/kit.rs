//! `lifeboat kit`: the recovery kit, printed, confirmed, checked, and split into shares.
//!
//! The key on a kit is made here and never again told: it is in the file that is named (for its owner alone)
//! or on the terminal, nowhere else.

mod proof;

use crate::audit;
use crate::credentials;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::{Opened, Session, seed};
use crate::time;
use ::repo::{Credential, NewSlot, Repo};
use clap::{Args as ClapArgs, Subcommand};
use format::id::SlotId;
use format::keys::{Capability, Key};
use format::kind::Timestamp;
use format::shares::{SHARES_MAX, Share, split};
use format::slot::{ArgonCost, SlotKind};
use serde_json::json;
use service::durable::write_secret;
use service::kit::{
    AbsentPlace, Issued, Kit, KitPlace, KitSecret, OwnProgram, Program, Remembered, is_static, store_program,
};
use service::plan::steps::login;
use std::io::Read;
use std::path::{Path, PathBuf};
use storage::Location;
use zeroize::Zeroizing;

pub(crate) use proof::standing;

/// Print the recovery kit: what brings everything back when only one copy is left
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A kit holds a new recovery key of its own: one that was printed before cannot be printed again. Give -r once for each
copy, or none for all copies of the configuration; the same key opens them all. A copy of the configuration that is away, like a
drive that is not plugged in, is named on the sheet and gets the key later, with --add. The files are for their owner alone; print
them, then delete them.

Examples:
  lifeboat kit -r /mnt/usb/backup -r sftp://nas/backup --html kit.html
  lifeboat kit --html kit.html --retire          the key of older kits opens nothing afterwards
  lifeboat kit split --shares 3 --threshold 2 --out shares
  lifeboat kit --confirm                         type two groups of the printed key back
  lifeboat kit --check                           is the printed kit still right?
  lifeboat kit --add                             the printed key opens copies that were away, too

Exit code 4: there is no kit, it is not confirmed, incomplete, or out of date (--check)."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    make: Make,
    /// Write the kit as a page to print
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the kit as plain text
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Type part of the printed key back, or read it from this file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with_all = ["html", "text", "check"])]
    confirm: Option<Option<PathBuf>>,
    /// Look whether the printed kit is confirmed and up to date
    #[arg(long, conflicts_with_all = ["html", "text"])]
    check: bool,
    /// Let the printed key open the copies that it does not open yet; it is typed in, or read from this file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with_all = ["html", "text", "check", "confirm"])]
    add: Option<Option<PathBuf>>,
}

/// How a kit is made.
#[derive(ClapArgs, Clone)]
struct Make {
    /// Retire the recovery keys made before: they open nothing afterwards
    #[arg(long)]
    retire: bool,
    /// Do not store this program beside the copies
    #[arg(long)]
    no_program: bool,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Subcommand)]
enum Action {
    Split(SplitArgs),
}

/// Make a kit in shares, of which some are enough
#[derive(clap::Args)]
#[command(after_help = "\
Each share is a sheet of its own, as page and as text. Unlock with --recovery-share, once for each.

Example:
  lifeboat kit split --shares 3 --threshold 2 --out shares")]
struct SplitArgs {
    /// How many shares there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=i64::from(SHARES_MAX)))]
    shares: u8,
    /// How many of them open the copies
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=i64::from(SHARES_MAX)))]
    threshold: u8,
    /// The new folder for the sheets
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    make: Make,
}

/// A copy that is open.
struct OpenPlace {
    name: Option<String>,
    location: Location,
    login: Option<String>,
    opened: Opened,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    if let Some(file) = &args.confirm {
        return proof::confirm(session, file.as_deref());
    }
    if args.check {
        return proof::check(session);
    }
    if let Some(file) = &args.add {
        return proof::add(session, file.as_deref());
    }
    if let Some(Action::Split(split)) = &args.action {
        return make_shares(session, split);
    }
    if args.html.is_none() && args.text.is_none() && !session.out.is_terminal && !args.make.dry_run {
        return Err(Failure::usage("the kit is for a printer: name a file for it")
            .hint("lifeboat kit --html kit.html (or --text kit.txt)"));
    }
    make_whole(session, &args)
}

/// Opens every copy as its owner; and those of the configuration that are away, unless all are.
fn open_all(session: &Session) -> Outcome<(Vec<OpenPlace>, Vec<AbsentPlace>)> {
    let (mut places, mut absent, mut first) = (Vec::new(), Vec::new(), None);
    let config = session.loaded()?;
    for (name, place) in session.all_places()? {
        let repository = name.as_ref().and_then(|name| config.as_ref()?.config.repositories.get(name));
        let login = login(&place.location, repository.and_then(|repository| repository.user.as_deref()));
        let by_configuration = session.global.repo.is_empty();
        let opened = match (session.opener().open(&place), name.clone()) {
            (Ok(opened), _) => opened,
            (Err(failure), Some(name)) if by_configuration && is_away(failure.exit) => {
                session.out.warn(format!("{} is away: {}", safe(&name), failure.in_one_line()));
                absent.push(AbsentPlace { name, location: whole(place.location).to_string(), login });
                first = first.or(Some(failure));
                continue;
            }
            (Err(failure), _) => return Err(failure),
        };
        let location = whole(place.location);
        if opened.repo.capability() != Capability::Owner {
            let what = format!("this key of {} may not make other keys", safe(&location.to_string()));
            return Err(
                Failure::new(Exit::Refused, what).hint("unlock with the password, or with an owner's key")
            );
        }
        places.push(OpenPlace { name, location, login, opened });
    }
    match first {
        Some(failure) if places.is_empty() => Err(failure),
        _ => Ok((places, absent)),
    }
}

/// Whether a place may be there another time.
fn is_away(exit: Exit) -> bool {
    matches!(exit, Exit::NoRepository | Exit::Unreachable | Exit::Skipped)
}

/// A sheet is read far from the folder this program was started in.
fn whole(location: Location) -> Location {
    match location {
        Location::Local(path) => Location::Local(std::path::absolute(&path).unwrap_or(path)),
        other => other,
    }
}

impl OpenPlace {
    /// As a sheet tells of it; `slot` is the one of the kit's key.
    fn as_told(&self, slot: Option<&SlotId>) -> KitPlace {
        let repo = &self.opened.repo;
        KitPlace {
            name: self.name.clone(),
            location: self.location.to_string(),
            repository: repo.identity().repo.hex(),
            family: repo.identity().family.hex(),
            keys: repo.keys().shown_fingerprint(),
            login: self.login.clone(),
            slot: slot.map(SlotId::hex),
        }
    }
}

/// Reads this very program.
pub(crate) fn own_program() -> Outcome<OwnProgram> {
    let path = std::env::current_exe().map_err(|e| local("cannot find this program", e))?;
    let contents = std::fs::read(&path).map_err(|e| local(format!("cannot read {}", path.display()), e))?;
    let sha256 = service::page::sha256(&contents);
    let version = env!("CARGO_PKG_VERSION");
    let facts = Program {
        version: version.into(),
        file: format!("lifeboat-{version}-{}-{}", std::env::consts::ARCH.replace('_', "-"), &sha256[..8]),
        bytes: contents.len() as u64,
        is_static: is_static(&contents),
        is_stored: false,
        sha256,
    };
    Ok(OwnProgram { facts, contents })
}

/// This very program where a plan may name it: one that runs anywhere, or any that is `stored` already.
pub(crate) fn own_program_for_plans(stored: bool) -> Option<OwnProgram> {
    // Looking is cheap, hashing a large program is not.
    let begins_static = || {
        let mut begin = Vec::new();
        let file = std::fs::File::open(std::env::current_exe().ok()?).ok()?;
        file.take(64 << 10).read_to_end(&mut begin).ok()?;
        Some(is_static(&begin))
    };
    match stored || begins_static()? {
        true => own_program().ok(),
        false => None,
    }
}

/// A copy that has the new key.
struct Keyed {
    told: KitPlace,
    repo: Repo,
    slot: SlotId,
}

/// The slot of a kit's key.
fn slot_of(key: &Key, made: Timestamp) -> NewSlot {
    NewSlot {
        credential: Credential::Random(key.clone()),
        is_recovery: true,
        capability: Capability::Owner,
        cost: ArgonCost::default(),
        label: format!("kit of {}", time::shown(made)),
    }
}

/// A new key in every copy, or in none.
fn add_key(places: Vec<OpenPlace>, key: &Key, made: Timestamp) -> Outcome<Vec<Keyed>> {
    let mut done: Vec<Keyed> = Vec::new();
    for place in places {
        let mut told = place.as_told(None);
        let (mut repo, _) = place.opened.into_repo();
        match repo.add_slot(&slot_of(key, made), time::now(), &mut seed()?) {
            Ok(slot) => {
                told.slot = Some(slot.id.hex());
                done.push(Keyed { told, repo, slot: slot.id });
            }
            Err(e) => {
                // A key that opens some copies only would look as if it opened all.
                for Keyed { repo, slot, .. } in &mut done {
                    repo.remove_slot(slot, &mut seed()?).ok();
                }
                let failure = Failure::from(e);
                return Err(failure.during(format!("cannot add a key to {}", safe(&told.location))));
            }
        }
    }
    Ok(done)
}

/// Takes the other recovery keys away, once the new one is in every copy and on paper.
fn retire(session: &Session, done: &mut [Keyed]) -> Outcome<usize> {
    let mut retired = 0;
    for Keyed { told, repo, slot: new } in done {
        let old: Vec<SlotId> = repo
            .slots()?
            .into_iter()
            .filter(|slot| slot.kind == SlotKind::Recovery && slot.listed && slot.id != *new)
            .map(|slot| slot.id)
            .collect();
        for slot in old {
            repo.remove_slot(&slot, &mut seed()?)?;
            audit::record(
                session,
                repo,
                "key",
                &json!({"action": "removed", "slot": slot.hex(), "why": "a new kit was made"}),
            );
            retired += 1;
        }
        session.out.info(format!("{}: older recovery keys open nothing any more", safe(&told.location)));
    }
    Ok(retired)
}

/// The sheets of one kit: each file with its contents.
type Sheets = Vec<(PathBuf, Zeroizing<String>)>;
/// Makes the sheets of a key.
type MakeSheets<'m> = dyn Fn(&Said<'_>) -> Outcome<Sheets> + 'm;

/// What all sheets of a kit say.
struct Said<'s> {
    key: &'s Key,
    machine: &'s str,
    places: &'s [KitPlace],
    absent: &'s [AbsentPlace],
    program: &'s Program,
    contacts: &'s [String],
}

impl<'s> Said<'s> {
    fn kit(&self, secret: KitSecret<'s>) -> Kit<'s> {
        let Said { machine, places, absent, program, contacts, .. } = *self;
        Kit { machine, made: time::now(), places, absent, program, secret, contacts }
    }
}

/// Makes the key, writes the sheets, then gives the key to every copy: a key on no paper helps nobody, and a
/// sheet whose key opens nothing is taken away again.
fn issue(session: &Session, make: &Make, shares: Option<(u8, u8)>, sheets: &MakeSheets<'_>) -> Outcome<Exit> {
    let (places, absent) = open_all(session)?;
    let mut program = own_program()?;
    program.facts.is_stored = !make.no_program;
    if make.dry_run {
        for place in &places {
            session.out.line(format!("would add a recovery key to {}", safe(&place.location.to_string())))?;
        }
        return Ok(Exit::Ok);
    }
    if !make.no_program {
        if !program.facts.is_static {
            session
                .out
                .warn("this program needs libraries of the system: one that runs anywhere is built static");
        }
        places.iter().try_for_each(|place| store_program(&place.opened.repo, &program))?;
    }
    let key = credentials::random_key()?;
    let (machine, contacts) = (session.machine()?, contacts(session)?);
    let told: Vec<KitPlace> = places.iter().map(|place| place.as_told(None)).collect();
    let said = Said {
        key: &key,
        machine: &machine,
        places: &told,
        absent: &absent,
        program: &program.facts,
        contacts: &contacts,
    };
    let sheets = sheets(&said)?;
    let mut written: Vec<&Path> = Vec::new();
    let issued = write_all(&sheets, &mut written).and_then(|()| add_key(places, &key, time::now()));
    let mut done = issued.inspect_err(|_| written.iter().for_each(|path| _ = std::fs::remove_file(path)))?;
    for Keyed { repo, slot, .. } in &done {
        audit::record(
            session,
            repo,
            "kit",
            &json!({"slot": slot.hex(), "shares": shares.map(|(k, n)| json!([k, n]))}),
        );
    }
    let retired = if make.retire { retire(session, &mut done)? } else { 0 };
    let told: Vec<KitPlace> = done.into_iter().map(|keyed| keyed.told).collect();
    let issued = Issued {
        made: time::now(),
        places: &told,
        absent: &absent,
        contacts: &contacts,
        key: &key,
        shares,
        program: program.facts.is_stored.then(|| program.facts.file.clone()),
    };
    Remembered::of(&issued, credentials::random()?).keep(&folders::folders())?;
    tell(session, &sheets, &told, &absent, retired)
}

fn write_all<'s>(sheets: &'s Sheets, written: &mut Vec<&'s Path>) -> Outcome<()> {
    for (path, text) in sheets {
        write_secret(path, text.as_bytes())?;
        written.push(path);
    }
    Ok(())
}

fn tell(
    session: &Session,
    sheets: &Sheets,
    places: &[KitPlace],
    absent: &[AbsentPlace],
    retired: usize,
) -> Outcome<Exit> {
    let files: Vec<String> = sheets.iter().map(|(path, _)| path.display().to_string()).collect();
    if session.out.json {
        session.out.object(&json!({
            "message_type": "kit", "files": files, "places": places.iter().map(|p| &p.location).collect::<Vec<_>>(),
            "absent": absent.iter().map(|p| &p.location).collect::<Vec<_>>(), "retired": retired,
        }))?;
        return Ok(Exit::Ok);
    }
    for file in &files {
        session.out.line(format!("wrote {}", safe(file)))?;
    }
    session.out.line(format!(
        "its key opens {} {}",
        places.len(),
        if places.len() == 1 { "copy" } else { "copies" }
    ))?;
    for place in absent {
        session.out.line(format!(
            "it does not open {} yet, which is away: when it is there, lifeboat kit --add",
            safe(&place.name)
        ))?;
    }
    session.out.info("print it, keep it away from the copies, delete the file, then: lifeboat kit --confirm");
    Ok(Exit::Ok)
}

/// Who to ask, as the configuration says.
fn contacts(session: &Session) -> Outcome<Vec<String>> {
    let loaded = session.loaded()?;
    let all = loaded.iter().flat_map(|loaded| &loaded.config.plan.contacts);
    Ok(all.map(service::kit::contact_line).collect())
}

fn make_whole(session: &Session, args: &Args) -> Outcome<Exit> {
    issue(session, &args.make, None, &|said| {
        let kit = said.kit(KitSecret::Key(said.key));
        let mut sheets: Sheets = Vec::new();
        sheets.extend(args.html.iter().map(|path| (path.clone(), kit.html())));
        sheets.extend(args.text.iter().map(|path| (path.clone(), kit.text())));
        if sheets.is_empty() {
            // A terminal, and the person asked for no file.
            session.out.line(&*kit.text())?;
        }
        Ok(sheets)
    })
}

fn make_shares(session: &Session, args: &SplitArgs) -> Outcome<Exit> {
    if args.threshold > args.shares {
        return Err(Failure::usage(format!("{} shares can never be {}", args.shares, args.threshold)));
    }
    if args.out.exists() {
        return Err(Failure::usage(format!("{} is there already", args.out.display()))
            .hint("name a new folder with --out FOLDER"));
    }
    issue(session, &args.make, Some((args.threshold, args.shares)), &|said| {
        let shares =
            split(said.key, args.threshold, args.shares, credentials::random()?, &credentials::random()?);
        let shares: Vec<Share> = shares.expect("the numbers were checked");
        let mut sheets: Sheets = Vec::new();
        for share in &shares {
            let kit = said.kit(KitSecret::Share(share));
            let name = format!("share-{}-of-{}", share.number(), share.of());
            sheets.push((args.out.join(format!("{name}.html")), kit.html()));
            let only = Zeroizing::new(format!(
                "# share {} of {}, of {}\n{}",
                share.number(),
                share.of(),
                said.machine,
                *share.text()
            ));
            sheets.push((args.out.join(format!("{name}.share")), only));
        }
        Ok(sheets)
    })
}

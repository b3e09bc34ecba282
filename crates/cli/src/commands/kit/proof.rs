//! Proof that a kit is worth its paper: part of it typed back, what it says compared with what is there, and its
//! key given to copies that were away when it was made.

use super::{OpenPlace, open_all, slot_of};
use crate::audit;
use crate::commands::kit::own_program;
use crate::credentials;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::folders;
use crate::session::{Session, seed};
use crate::{prompt, time};
use ::repo::Credential;
use format::keys::Key;
use format::kind::Timestamp;
use serde_json::json;
use service::kit::{KitPlace, Remembered, Standing, describe, store_program};
use service::open::Place;
use std::path::Path;

fn remembered() -> Outcome<Remembered> {
    Remembered::read(&folders::folders()).ok_or_else(|| {
        Failure::new(Exit::GoalNotMet, "this machine knows of no recovery kit")
            .hint("lifeboat kit --html kit.html")
    })
}

/// Part of the key, typed back: proof that the sheet exists and can be read.
pub(super) fn confirm(session: &Session, file: Option<&Path>) -> Outcome<Exit> {
    let mut kit = remembered()?;
    let answer = match (file, kit.shares) {
        (Some(path), _) => credentials::read_secret_file(path)?,
        (None, Some((needed, _))) => {
            return confirm_shares(session, kit, needed);
        }
        (None, None) if prompt::is_possible() => {
            let question = format!("Groups {} and {} of the printed key", kit.asks[0], kit.asks[1]);
            prompt::secret(&question)?
        }
        (None, None) => {
            return Err(Failure::usage(format!(
                "there is no terminal to type at; put groups {} and {} of the key into a file",
                kit.asks[0], kit.asks[1]
            ))
            .hint("lifeboat kit --confirm=FILE"));
        }
    };
    if kit.is_answered_by(&answer) || opens_all(session, &answer) {
        return confirmed(session, &mut kit);
    }
    Err(Failure::new(Exit::WrongPassword, "this is not what the printed kit says")
        .hint("compare letter by letter; if it cannot be read, print a new one: lifeboat kit --html kit.html --retire"))
}

/// A whole key, as words, groups or shares, that opens every copy says as much.
fn opens_all(session: &Session, text: &str) -> bool {
    let Some(key) = credentials::recovery_key_of(text) else { return false };
    let Ok(places) = session.all_places() else { return false };
    !places.is_empty() && places.into_iter().all(|(_, place)| opens(session, place, &key).is_ok())
}

fn opens(session: &Session, place: Place, key: &Key) -> Outcome<()> {
    let key = key.clone();
    let place =
        Place { unlock: std::sync::Arc::new(move || Ok(Some(Credential::Random(key.clone())))), ..place };
    session.opener().open(&place).map(|_| ())
}

fn confirm_shares(session: &Session, mut kit: Remembered, needed: u8) -> Outcome<Exit> {
    let Some(Credential::Random(key)) = credentials::given(&session.global)? else {
        return Err(Failure::usage(format!("{needed} shares confirm this kit"))
            .hint("lifeboat kit --confirm -r PLACE --recovery-share FILE --recovery-share FILE"));
    };
    session.all_places()?.into_iter().try_for_each(|(_, place)| opens(session, place, &key))?;
    confirmed(session, &mut kit)
}

fn confirmed(session: &Session, kit: &mut Remembered) -> Outcome<Exit> {
    kit.confirmed = Some(time::now().secs);
    kit.keep(&folders::folders())?;
    if session.out.json {
        session.out.object(&json!({"message_type": "kit", "confirmed": true}))?;
    } else {
        session.out.line("the printed kit is confirmed")?;
    }
    Ok(Exit::Ok)
}

/// Whether what was printed still leads back.
pub(super) fn check(session: &Session) -> Outcome<Exit> {
    let kit = Remembered::read(&folders::folders());
    let (mut told, mut away, mut lacking) = (None, Vec::new(), Vec::new());
    if session.all_places().is_ok() {
        let (places, absent) = open_all(session)?;
        if let Some(kit) = &kit {
            lacking = without_program(&places, kit)?;
        }
        told = Some(places.iter().map(|place| as_it_is(place, kit.as_ref())).collect::<Outcome<Vec<_>>>()?);
        away = absent;
    }
    let is_whole = told.is_some() && away.is_empty();
    let mut standing = Remembered::standing_while(kit.as_ref(), told.as_deref(), &away);
    if let (Some(loaded), true) = (session.loaded()?, session.global.repo.is_empty()) {
        let of_configuration = Remembered::standing_in(kit.as_ref(), &loaded.config, &folders::folders());
        standing = if standing == Standing::Good { of_configuration } else { standing };
    }
    if session.out.json {
        session.out.object(&json!({
            "message_type": "kit", "standing": standing.word(), "made": kit.as_ref().map(|k| k.made),
            "confirmed": kit.as_ref().and_then(|k| k.confirmed), "copies_compared": is_whole,
            "without_program": lacking,
        }))?;
    } else {
        if let Some(kit) = &kit {
            session.out.line(format!("the recovery kit was {}", describe(kit)))?;
        }
        match standing.reminder() {
            Some(reminder) => session.out.line(reminder)?,
            None if is_whole => session.out.line("it names the copies and keys as they are now")?,
            None => {
                session.out.line("it was not compared with all copies: name those that are there with -r")?
            }
        }
        for place in &lacking {
            session
                .out
                .line(format!("the program is not beside {} any more: lifeboat kit --add", safe(place)))?;
        }
    }
    Ok(if standing == Standing::Good && lacking.is_empty() { Exit::Ok } else { Exit::GoalNotMet })
}

/// A copy as it is now.
fn as_it_is(place: &OpenPlace, kit: Option<&Remembered>) -> Outcome<KitPlace> {
    let repo = &place.opened.repo;
    let slot = kit.and_then(|kit| kit.slot_in(&repo.identity().repo));
    let slots = repo.slots()?;
    let there = slots.iter().find(|found| Some(&*found.id.hex()) == slot);
    Ok(place.as_told(there.map(|slot| &slot.id)))
}

/// The copies beside which the program of the kit does not lie.
fn without_program(places: &[OpenPlace], kit: &Remembered) -> Outcome<Vec<String>> {
    let Some(program) = &kit.program else { return Ok(Vec::new()) };
    let mut lacking = Vec::new();
    for place in places {
        let tools = ::repo::tools::tools(&place.opened.repo)?;
        if !tools.iter().any(|(file, _)| file == program) {
            lacking.push(place.location.to_string());
        }
    }
    Ok(lacking)
}

/// Gives the printed key to the copies that it does not open, and the program to those that lack it.
pub(super) fn add(session: &Session, file: Option<&Path>) -> Outcome<Exit> {
    let mut kit = remembered()?;
    let (places, absent) = open_all(session)?;
    let lacking = without_program(&places, &kit)?;
    if !lacking.is_empty() {
        let program = own_program()?;
        if kit.program.as_ref() != Some(&program.facts.file) {
            return Err(Failure::new(Exit::Failed, "the sheet names another program than this one")
                .hint("make a new kit: lifeboat kit --html kit.html --retire"));
        }
        for place in places.iter().filter(|place| lacking.contains(&place.location.to_string())) {
            store_program(&place.opened.repo, &program)?;
            session.out.line(format!("the program lies beside {}", safe(&place.location.to_string())))?;
        }
    }
    let mut waiting = Vec::new();
    for place in places {
        if as_it_is(&place, Some(&kit))?.slot.is_none() {
            waiting.push(place);
        }
    }
    if !waiting.is_empty() {
        let key = printed_key(session, file, &kit)?;
        for place in waiting {
            give(session, place, &key, &mut kit)?;
        }
    }
    kit.keep(&folders::folders())?;
    for place in &absent {
        session.out.line(format!("it does not open {} yet, which is away", safe(&place.name)))?;
    }
    Ok(if absent.is_empty() { Exit::Ok } else { Exit::GoalNotMet })
}

/// The key on the sheet: typed, read from a file, or made of shares; and it must be the one of this very kit.
fn printed_key(session: &Session, file: Option<&Path>, kit: &Remembered) -> Outcome<Key> {
    let text = match (file, credentials::given(&session.global)?) {
        (Some(path), _) => Some(credentials::read_secret_file(path)?),
        (None, Some(Credential::Random(key))) if kit.shares.is_some() => return proven(session, key, kit),
        (None, _) if kit.shares.is_none() && prompt::is_possible() => {
            Some(prompt::secret("The printed recovery key, its groups or its words")?)
        }
        (None, _) => None,
    };
    let Some(text) = text else {
        return Err(Failure::usage("the printed key is needed, and there is no terminal to type it at")
            .hint(match kit.shares {
                Some(_) => "lifeboat kit --add --recovery-share FILE --recovery-share FILE",
                None => "lifeboat kit --add=FILE",
            }));
    };
    let key = match service::kit::read(&text).and_then(|kit| kit.key) {
        Some(key) => Some(key),
        None => credentials::recovery_key_of(&text),
    };
    let key = key.ok_or_else(|| Failure::new(Exit::WrongPassword, "this is not a recovery key"))?;
    proven(session, key, kit)
}

/// A key that opens none of the copies it should is not that of the sheet.
fn proven(session: &Session, key: Key, kit: &Remembered) -> Outcome<Key> {
    let mut why = None;
    for location in kit.places() {
        let place = session.place_named(std::ffi::OsStr::new(location))?;
        match opens(session, place, &key) {
            Ok(()) => return Ok(key),
            Err(failure) => why = Some(failure),
        }
    }
    let failure = Failure::new(Exit::WrongPassword, "this is not the key of the kit that was printed last");
    Err(match why {
        Some(why) => failure.because(why.in_one_line()),
        None => failure,
    })
}

fn give(session: &Session, place: OpenPlace, key: &Key, kit: &mut Remembered) -> Outcome<()> {
    let mut told = place.as_told(None);
    let (mut repo, _) = place.opened.into_repo();
    let made = Timestamp { secs: kit.made, nanos: 0 };
    let slot = repo.add_slot(&slot_of(key, made), time::now(), &mut seed()?)?;
    audit::record(session, &repo, "kit", &json!({"slot": slot.id.hex(), "added": true}));
    told.slot = Some(slot.id.hex());
    kit.add(&told);
    session.out.line(format!("the printed key opens {}", safe(&told.location)))
}

/// How the recovery kit stands; with a configuration it must name all of its places, and whom to call.
pub(crate) fn standing(session: &Session, loaded: Option<&service::config::Loaded>) -> Standing {
    let folders = session.opener().folders;
    let kit = Remembered::read(&folders);
    match loaded {
        Some(loaded) => Remembered::standing_in(kit.as_ref(), &loaded.config, &folders),
        None => Remembered::standing(kit.as_ref(), None),
    }
}

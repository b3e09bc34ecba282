//! `lifeboat key`: the ways to unlock a repository.

use super::init::cost;
use super::snapshots::columns;
use crate::credentials::{self, write_key_file, write_recovery_file};
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::folders;
use crate::session::{Session, seed};
use crate::{prompt, time};
use ::repo::{Credential, NewSlot, Repo, SlotInfo};
use clap::{Subcommand, ValueEnum};
use format::keys::Capability;
use format::slot::SlotKind;
use serde_json::{Value, json};
use service::kit::Remembered;
use std::path::PathBuf;

/// Manage the ways to unlock a repository
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat key list
  lifeboat key add --file /etc/backup.key              a key file for unattended runs
  lifeboat key add --role maintain --file prune.key    may check and prune, never read contents
  lifeboat key passwd                                  change the password that unlocks now
  lifeboat key remove 4f21c09a")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the ways to unlock
    #[command(after_help = "\
Example:
  lifeboat key list")]
    List,
    Add(Add),
    Passwd(Passwd),
    Remove(Remove),
}

/// Add a way to unlock
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lifeboat key add --file /mnt/usb/backup.key --label usb-stick")]
struct Add {
    /// Make this key file, instead of asking for a password
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    file: Option<PathBuf>,
    /// Make a new recovery key and write it to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "new_password_file"])]
    recovery_key_file: Option<PathBuf>,
    #[command(flatten)]
    password: NewPassword,
    /// What it may do
    #[arg(long, value_enum, default_value_t = Role::Owner)]
    role: Role,
    /// A name for it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

/// Where a new password comes from.
#[derive(clap::Args)]
struct NewPassword {
    /// Read the new password from the first line of this file
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Memory that trying the password costs, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(64..=1024))]
    argon_memory: u32,
}

/// Change the password that unlocks now
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lifeboat key passwd --new-password-file ~/.new-password")]
struct Passwd {
    #[command(flatten)]
    password: NewPassword,
}

/// Remove a way to unlock
#[derive(clap::Args)]
#[command(after_help = "\
Whoever has a copy of the repository as it was can still unlock that copy.

Examples:
  lifeboat key remove 4f21c09a
  lifeboat key remove --label old-laptop --recovery-key      all that were made for a machine that is lost")]
struct Remove {
    /// Its id, or the beginning of it, as `key list` shows it
    #[arg(value_name = "ID", required_unless_present = "label")]
    id: Option<String>,
    /// All with this label, which is the name of the machine they were made for; recovery keys stay
    #[arg(long, value_name = "TEXT", conflicts_with = "id")]
    label: Option<String>,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Everything
    Owner,
    /// Check, forget and prune; names and sizes, never contents
    Maintain,
}

impl From<Role> for Capability {
    fn from(role: Role) -> Capability {
        match role {
            Role::Owner => Capability::Owner,
            Role::Maintain => Capability::Maintain,
        }
    }
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let (repo, credential) = session.open()?.into_repo();
    match args.action {
        Action::List => list(session, &repo, &credential)?,
        Action::Add(args) => add(session, repo, args)?,
        Action::Passwd(args) => passwd(session, repo, &credential, args)?,
        Action::Remove(args) => remove(session, repo, &credential, args)?,
    }
    Ok(Exit::Ok)
}

fn roles(slot: &SlotInfo) -> String {
    slot.capabilities.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(",")
}

fn object(slot: &SlotInfo, is_current: bool) -> Value {
    json!({
        "id": slot.id.hex(), "kind": slot.kind.as_str(), "roles": slot.capabilities.iter().map(|c| c.as_str()).collect::<Vec<_>>(),
        "label": slot.label, "created": time::rfc3339(slot.created), "current": is_current, "listed": slot.listed,
    })
}

/// A password is stretched once for every slot it might open, so it is only compared where there is a choice.
fn list(session: &Session, repo: &Repo, credential: &Credential) -> Outcome<()> {
    let current = repo.slot_of(credential)?.map(|slot| slot.id);
    let slots = repo.slots()?;
    let is_current = |slot: &SlotInfo| Some(slot.id) == current;
    if session.out.json {
        let all: Vec<Value> = slots.iter().map(|slot| object(slot, is_current(slot))).collect();
        return session.out.object(&all.into());
    }
    let mut rows = vec![["", "id", "kind", "role", "created", "label"].map(String::from)];
    rows.extend(slots.iter().map(|slot| {
        let mark = if is_current(slot) { "*" } else { "" };
        let label = if slot.listed {
            safe(&slot.label)
        } else {
            format!("{} (not made on purpose)", safe(&slot.label))
        };
        [mark.into(), slot.id.hex(), slot.kind.as_str().into(), roles(slot), time::shown(slot.created), label]
    }));
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))
}

fn add(session: &Session, mut repo: Repo, args: Add) -> Outcome<()> {
    let place = safe(&repo.location());
    let mut written = None;
    let credential = match (&args.file, &args.recovery_key_file) {
        (Some(path), _) => {
            let key = credentials::random_key()?;
            write_key_file(path, &key)?;
            written = Some(path);
            Credential::Random(key)
        }
        (_, Some(path)) => {
            let key = credentials::random_key()?;
            write_recovery_file(path, &key, &place)?;
            written = Some(path);
            Credential::Random(key)
        }
        _ => new_password(&args.password)?,
    };
    let new = NewSlot {
        credential,
        is_recovery: args.recovery_key_file.is_some(),
        capability: args.role.into(),
        cost: cost(args.password.argon_memory),
        label: args.label.unwrap_or_else(crate::session::host_name),
    };
    let slot = repo.add_slot(&new, time::now(), &mut seed()?).inspect_err(|_| {
        // A key that opens nothing would only mislead.
        written.map(std::fs::remove_file);
    })?;
    write_down(session, &repo, "added", &slot);
    told(session, "added", &slot, false)
}

fn new_password(from: &NewPassword) -> Outcome<Credential> {
    match &from.new_password_file {
        Some(path) => credentials::password_from_file(path),
        None if prompt::is_possible() => prompt::new_password().map(credentials::password_of),
        None => Err(Failure::usage("there is no terminal to ask for the new password")
            .hint("lifeboat key add --file FILE (or --new-password-file FILE)")),
    }
}

/// The new slot is durable before the old one goes.
fn passwd(session: &Session, mut repo: Repo, credential: &Credential, args: Passwd) -> Outcome<()> {
    let current = repo.slot_of(credential)?.filter(|slot| slot.kind == SlotKind::Password);
    let Some(current) = current else {
        return Err(Failure::usage("the repository was unlocked with a key, not with a password")
            .hint("lifeboat key add, then lifeboat key remove ID"));
    };
    let capability = current.capabilities.iter().min().copied().unwrap_or(Capability::Owner);
    let new = NewSlot {
        credential: new_password(&args.password)?,
        is_recovery: false,
        capability,
        cost: cost(args.password.argon_memory),
        label: current.label.clone(),
    };
    let mut seed = seed()?;
    let slot = repo.add_slot(&new, time::now(), &mut seed)?;
    repo.remove_slot(&current.id, &mut seed)?;
    write_down(session, &repo, "password changed", &slot);
    told(session, "changed", &slot, false)
}

fn remove(session: &Session, mut repo: Repo, credential: &Credential, args: Remove) -> Outcome<()> {
    if repo.capability() != Capability::Owner {
        return Err(Failure::new(Exit::Refused, "this key may not take keys away: it is not an owner's")
            .hint("unlock with an owner's password, key file or the recovery key"));
    }
    let slots = repo.slots()?;
    let chosen = match (&args.id, &args.label) {
        (_, Some(label)) => labelled(&slots, label),
        (id, None) => vec![identified(&slots, id.as_deref().unwrap_or_default())?],
    };
    let is_owner = |slot: &&SlotInfo| slot.capabilities.contains(&Capability::Owner);
    let owners_left =
        slots.iter().filter(is_owner).filter(|slot| !chosen.iter().any(|c| c.id == slot.id)).count();
    if owners_left == 0 {
        return Err(Failure::new(
            Exit::Refused,
            "this is the last key that may do everything: nothing could be restored without it",
        )
        .hint("add another one first: lifeboat key add"));
    }
    if let Some(current) = repo.slot_of(credential)?
        && chosen.iter().any(|slot| slot.id == current.id)
    {
        return Err(Failure::new(Exit::Refused, "this is the key that unlocks now")
            .hint("unlock with another one to remove it"));
    }
    if chosen.is_empty() {
        session.out.info("no key has this label; nothing is removed");
    }
    for slot in chosen {
        if !args.dry_run {
            repo.remove_slot(&slot.id, &mut seed()?)?;
            write_down(session, &repo, "removed", slot);
            Remembered::note_removed(&folders::folders(), &repo.identity().repo, &slot.id)?;
        }
        told(session, if args.dry_run { "would be removed" } else { "removed" }, slot, args.dry_run)?;
    }
    Ok(())
}

/// The one key whose id begins so.
fn identified<'s>(slots: &'s [SlotInfo], id: &str) -> Outcome<&'s SlotInfo> {
    let wanted = id.to_ascii_lowercase();
    let fits: Vec<&SlotInfo> = slots.iter().filter(|slot| slot.id.hex().starts_with(&wanted)).collect();
    match fits[..] {
        [one] => Ok(one),
        [] => {
            Err(Failure::new(Exit::Failed, format!("no key has the id {}", safe(id)))
                .hint("lifeboat key list"))
        }
        _ => Err(Failure::usage(format!("{} is the beginning of {} ids", safe(id), fits.len()))),
    }
}

/// The keys of a machine. A recovery key is nobody's machine.
fn labelled<'s>(slots: &'s [SlotInfo], label: &str) -> Vec<&'s SlotInfo> {
    slots.iter().filter(|slot| slot.label == label && slot.kind != SlotKind::Recovery).collect()
}

fn write_down(session: &Session, repo: &Repo, action: &str, slot: &SlotInfo) {
    let body =
        json!({"action": action, "slot": slot.id.hex(), "kind": slot.kind.as_str(), "roles": roles(slot)});
    crate::audit::record(session, repo, "key", &body);
}

fn told(session: &Session, what: &str, slot: &SlotInfo, dry_run: bool) -> Outcome<()> {
    if session.out.json {
        let mut object = object(slot, false);
        object["message_type"] = "key".into();
        object["action"] = what.into();
        object["dry_run"] = dry_run.into();
        return session.out.object(&object);
    }
    if session.out.quiet {
        return Ok(());
    }
    session.out.line(format!("{} {} ({}) {what}", slot.kind.as_str(), slot.id.hex(), roles(slot)))
}

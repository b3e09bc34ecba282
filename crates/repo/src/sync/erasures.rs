//! What was erased stays so in every copy: the lists of a place and of its sibling become one list at the target.

use crate::erasures::{Erasures, put};
use crate::error::RepoResult;
use crate::open::Repo;
use crate::seed::Seed;

/// Brings the erasures that the target lacks, and what it lacks of those it has. Returns the target's list as it is now,
/// or would be, and how many of them were new there.
pub(super) fn carry(
    source: &Repo,
    target: &Repo,
    dry_run: bool,
    seed: &mut Seed,
) -> RepoResult<(Erasures, usize)> {
    let mut there = Erasures::stored(target)?;
    let mut new = 0;
    for erasure in Erasures::read(source)?.all.into_iter().chain(target.known_erasures().iter().cloned()) {
        let known = there.all.iter_mut().find(|other| other.id == erasure.id);
        let merged = match known {
            Some(known) => match known.take_in(&erasure) {
                true => known.clone(),
                false => continue,
            },
            None => {
                new += 1;
                there.all.push(erasure.clone());
                erasure
            }
        };
        if !dry_run {
            put(target, &merged, seed)?;
        }
    }
    Ok((there, new))
}

//! Several repositories at once: those that can be opened, and those that cannot and are told.

use crate::display::safe;
use crate::error::{Failure, Outcome};
use crate::session::{Opened, Session};
use format::id::FamilyId;
use service::open::Place;

/// A repository that is open, among others.
pub(crate) struct Copy {
    /// Its name in the configuration, if it has one.
    pub(crate) name: Option<String>,
    pub(crate) place: Place,
    pub(crate) opened: Opened,
}

impl Copy {
    /// As people call it: by its name and place.
    pub(crate) fn shown(&self) -> String {
        called(self.name.as_deref(), &self.place)
    }

    pub(crate) fn family(&self) -> FamilyId {
        self.opened.repo.identity().family
    }
}

/// A place as people call it: by its name in the configuration, if it has one, and where it is.
pub(crate) fn called(name: Option<&str>, place: &Place) -> String {
    let place = place.shown();
    match name {
        Some(name) => format!("{} ({})", safe(name), safe(&place)),
        None => safe(&place).to_string(),
    }
}

/// One that could not be opened.
pub(crate) struct Missed {
    /// Its name in the configuration, if it has one.
    pub(crate) name: Option<String>,
    pub(crate) place: String,
    pub(crate) failure: Failure,
}

/// Several repositories: those that are open, one at least, and those that are not.
pub(crate) struct Reached {
    pub(crate) copies: Vec<Copy>,
    pub(crate) missed: Vec<Missed>,
}

impl Session {
    /// Opens every place of [`Session::all_places`] that can be reached.
    ///
    /// # Errors
    /// None can be.
    pub(crate) fn reach_all(&self) -> Outcome<Reached> {
        let mut reached = Reached { copies: Vec::new(), missed: Vec::new() };
        let (opener, places) = (self.opener(), self.all_places()?);
        let are_several = places.len() > 1;
        for (name, place) in places {
            match opener.open_among(&place, are_several) {
                Ok(opened) => reached.copies.push(Copy { name, place, opened }),
                Err(failure) => reached.missed.push(Missed { name, place: place.shown(), failure }),
            }
        }
        match reached.copies.is_empty() {
            true => Err(reached.missed.swap_remove(0).failure),
            false => Ok(reached),
        }
    }
}

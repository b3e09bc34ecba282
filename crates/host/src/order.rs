//! The order of the walk as a list that grows in the middle.
//!
//! Places stand in the order in which directories are handed out: a directory, then the family of its
//! subdirectories, which yields one place after the other in front of itself. The same places form a second
//! list of those that still have work, so that the next thing to do is found without searching.
//! Knows nothing about directories; all operations take constant time.

/// The number of a place.
pub(crate) type Place = u32;

/// No place.
pub(crate) const NONE: Place = u32::MAX;

/// Which of the two lists.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    /// Everything not yet handed out.
    Output = 0,
    /// Everything with work left.
    Work = 1,
}

#[derive(Clone, Copy)]
struct Links {
    before: Place,
    after: Place,
}

const UNLINKED: Links = Links { before: NONE, after: NONE };

struct Slot<T> {
    links: [Links; 2],
    value: Option<T>,
}

/// Two orders over one set of places, each holding a `T`.
pub(crate) struct Order<T> {
    slots: Vec<Slot<T>>,
    free: Vec<Place>,
    first: [Place; 2],
}

impl<T> Order<T> {
    /// Returns an order whose only place holds `value`, with work left.
    pub(crate) fn starting_with(value: T) -> Order<T> {
        let slots = vec![Slot { links: [UNLINKED; 2], value: Some(value) }];
        Order { slots, free: Vec::new(), first: [0, 0] }
    }

    pub(crate) fn first(&self, list: Of) -> Place {
        self.first[list as usize]
    }

    pub(crate) fn after(&self, list: Of, place: Place) -> Place {
        self.slots[place as usize].links[list as usize].after
    }

    pub(crate) fn get(&mut self, place: Place) -> &mut T {
        self.slots[place as usize].value.as_mut().expect("a linked place holds a value")
    }

    /// Puts a value into both lists right before `place`, which is in both.
    pub(crate) fn insert_before(&mut self, place: Place, value: T) -> Place {
        let new = self.allocate(value);
        for list in [Of::Output, Of::Work] {
            let before = self.slots[place as usize].links[list as usize].before;
            self.link(list, before, new);
            self.link(list, new, place);
        }
        new
    }

    /// Puts a value into both lists right after `place`, which is in both.
    pub(crate) fn insert_after(&mut self, place: Place, value: T) -> Place {
        let new = self.allocate(value);
        for list in [Of::Output, Of::Work] {
            let after = self.after(list, place);
            self.link(list, new, after);
            self.link(list, place, new);
        }
        new
    }

    /// Takes a place out of one list.
    pub(crate) fn unlink(&mut self, list: Of, place: Place) {
        let Links { before, after } = self.slots[place as usize].links[list as usize];
        if before == NONE {
            self.first[list as usize] = after;
        }
        self.link(list, before, after);
        self.slots[place as usize].links[list as usize] = UNLINKED;
    }

    /// Frees a place that is in no list any more and returns its value.
    pub(crate) fn release(&mut self, place: Place) -> T {
        self.free.push(place);
        self.slots[place as usize].value.take().expect("a place is released once")
    }

    fn allocate(&mut self, value: T) -> Place {
        let slot = Slot { links: [UNLINKED; 2], value: Some(value) };
        if let Some(place) = self.free.pop() {
            self.slots[place as usize] = slot;
            return place;
        }
        self.slots.push(slot);
        self.slots.len() as Place - 1
    }

    fn link(&mut self, list: Of, before: Place, after: Place) {
        if before != NONE {
            self.slots[before as usize].links[list as usize].after = after;
        } else if after != NONE {
            self.first[list as usize] = after;
        }
        if after != NONE {
            self.slots[after as usize].links[list as usize].before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(order: &mut Order<u32>, list: Of) -> Vec<u32> {
        let mut found = Vec::new();
        let mut at = order.first(list);
        while at != NONE {
            found.push(*order.get(at));
            at = order.after(list, at);
        }
        found
    }

    #[test]
    fn places_keep_their_order_in_both_lists() {
        let mut order = Order::starting_with(10);
        let ten = order.first(Of::Output);
        let twenty = order.insert_after(ten, 20);
        let fifteen = order.insert_before(twenty, 15);
        order.insert_before(ten, 5);
        assert_eq!(values(&mut order, Of::Output), [5, 10, 15, 20]);
        order.unlink(Of::Work, fifteen);
        order.unlink(Of::Work, ten);
        assert_eq!(values(&mut order, Of::Work), [5, 20]);
        assert_eq!(values(&mut order, Of::Output), [5, 10, 15, 20]);
        order.unlink(Of::Output, fifteen);
        assert_eq!(order.release(fifteen), 15);
        assert_eq!(order.insert_after(twenty, 30), fifteen, "places are used again");
        assert_eq!(values(&mut order, Of::Output), [5, 10, 20, 30]);
        assert_eq!(values(&mut order, Of::Work), [5, 20, 30]);
    }
}

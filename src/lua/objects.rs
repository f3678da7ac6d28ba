//! The native objects that Lua holds. A userdata has no more than the number of an object's place here. So the end of
//! the context drops all of them, even those whose userdata is never finalised: Lua has no finalisers for what is
//! created while its state is being closed.

use std::cell::{Cell, RefCell};
use std::mem;

use super::value::Handle;
use crate::memory::{self, OutOfMemory};

#[derive(Debug)]
enum Place {
    Taken(Handle),
    /// The next free place.
    Free(Option<u32>),
}

impl Place {
    /// Whether its object is at work: somebody has called its finaliser by hand, or the Lua state is being closed
    /// during a call.
    fn is_in_use(&self) -> bool {
        matches!(self, Self::Taken(Handle::Session(session)) if session.is_held())
    }
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    places: RefCell<Vec<Place>>,
    free: Cell<Option<u32>>,
}

impl Objects {
    /// Keeps an object. Returns its place.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn add(&self, object: Handle) -> Result<u32, OutOfMemory> {
        let mut places = self.places.borrow_mut();
        let place = if let Some(place) = self.free.get() {
            place
        } else {
            let place = u32::try_from(places.len()).map_err(|_| OutOfMemory)?;
            memory::push(&mut places, Place::Free(None))?;
            place
        };
        if let Place::Free(next) = mem::replace(&mut places[place as usize], Place::Taken(object)) {
            self.free.set(next);
        }
        Ok(place)
    }

    /// Looks at the object at this place. `look` must not come back here.
    #[inline]
    pub(super) fn with<R>(&self, place: u32, look: impl FnOnce(&Handle) -> R) -> Option<R> {
        match self.places.borrow().get(place as usize)? {
            Place::Taken(object) => Some(look(object)),
            Place::Free(_) => None,
        }
    }

    /// Takes out the object at this place. Returns `None` if it is in use, and then it is never dropped.
    pub(super) fn take(&self, place: u32) -> Option<Handle> {
        let mut places = self.places.borrow_mut();
        let taken = places.get_mut(place as usize).filter(|place| !place.is_in_use())?;
        match mem::replace(taken, Place::Free(self.free.get())) {
            Place::Taken(object) => {
                self.free.set(Some(place));
                Some(object)
            }
            before @ Place::Free(_) => {
                *taken = before;
                None
            }
        }
    }

    /// Drops everything that is not in use.
    pub(super) fn clear(&self) {
        let count = self.places.borrow().len();
        for place in 0..count as u32 {
            drop(self.take(place));
        }
    }
}

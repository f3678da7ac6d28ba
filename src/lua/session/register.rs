//! Sessions by number. The hot functions take a number, which is cheaper to check than an object. (A closure for each
//! session would be as cheap, but LuaJIT's traces would keep it alive, and with it the session.)
//!
//! A number is never reused, so an outdated one finds nothing.

use std::cell::RefCell;
use std::ptr::NonNull;

use super::{LuaSession, Reason};
use crate::memory::{self, OutOfMemory};

/// The low bits of a number are the slot; the high bits count the uses of that slot. All fit in a Lua number.
const SLOT_BITS: u32 = 20;

#[derive(Debug)]
struct Slot {
    number: u64,
    session: Option<NonNull<LuaSession>>,
}

#[derive(Debug, Default)]
pub(in crate::lua) struct Register {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

impl Register {
    /// The session with this number, if it has not been dropped.
    #[inline]
    pub(in crate::lua) fn get(&self, number: f64) -> Option<NonNull<LuaSession>> {
        let number = number as u64;
        let slots = self.slots.borrow();
        let slot = slots.get((number & ((1 << SLOT_BITS) - 1)) as usize)?;
        if slot.number == number { slot.session } else { None }
    }

    /// Assigns a number to a session.
    ///
    /// # Errors
    /// There is no memory, or there are more sessions than any process should have.
    pub(super) fn add(&self, session: &LuaSession) -> Result<f64, Reason> {
        let (mut slots, mut free) = (self.slots.borrow_mut(), self.free.borrow_mut());
        if free.is_empty() {
            let index = slots.len();
            if index >= 1 << SLOT_BITS {
                return Err("too many connections".into());
            }
            let no_memory = |error: OutOfMemory| Reason::from(error.to_string());
            // It is made here what `remove` needs.
            memory::reserve(&mut free, index + 1).map_err(no_memory)?;
            memory::push(&mut slots, Slot { number: index as u64, session: None }).map_err(no_memory)?;
            free.push(index);
        }
        let slot = free.pop().and_then(|index| slots.get_mut(index)).ok_or("too many connections")?;
        slot.number += 1 << SLOT_BITS;
        slot.session = Some(NonNull::from(session));
        Ok(slot.number as f64)
    }

    /// Forgets a session that is being dropped.
    pub(super) fn remove(&self, number: f64) {
        let index = (number as u64 & ((1 << SLOT_BITS) - 1)) as usize;
        if let Some(slot) = self.slots.borrow_mut().get_mut(index) {
            slot.session = None;
            self.free.borrow_mut().push(index);
        }
    }
}

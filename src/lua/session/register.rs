//! Sessions by number: the hot functions are given a number, which costs less to look at than an object does. (A
//! function for each session would cost as little, but LuaJIT's traces would keep it, and with it the session.)
//!
//! A number is never used twice, so one that was kept too long finds nothing.

use std::cell::RefCell;
use std::ptr::NonNull;

use super::LuaSession;

/// The bits of a number that say which slot; those above say how often that was taken before. All fit in a Lua number.
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

    /// A number for a session; `None` if there are more of them than any process has.
    pub(super) fn add(&self, session: &LuaSession) -> Option<f64> {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or(slots.len());
        if index >= 1 << SLOT_BITS {
            return None;
        }
        if index == slots.len() {
            slots.push(Slot { number: index as u64, session: None });
        }
        let slot = &mut slots[index];
        slot.number += 1 << SLOT_BITS;
        slot.session = Some(NonNull::from(session));
        Some(slot.number as f64)
    }

    /// Forgets a session, which is being dropped.
    pub(super) fn remove(&self, number: f64) {
        let index = (number as u64 & ((1 << SLOT_BITS) - 1)) as usize;
        if let Some(slot) = self.slots.borrow_mut().get_mut(index) {
            slot.session = None;
            self.free.borrow_mut().push(index);
        }
    }
}

//! The functions that take received bytes from the driver, straight from Lua's strings: as long as a user's socket or a
//! program makes them, they are not copied on their way to the session.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::hot::session;
use super::{bytes, push_number};

/// Functions in addition to those of [`FUNCTIONS`](crate::lua::FUNCTIONS).
pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] =
    &[(c"receive_data", receive_data), (c"receive_plain", receive_plain)];

/// `receive_data(session, bytes)`: takes bytes of the wire that the driver has read itself. Returns the number of
/// plaintext bytes, and whether TLS holds more.
unsafe extern "C-unwind" fn receive_data(state: *mut State) -> c_int {
    unsafe {
        let received = || session(state)?.receive(bytes(state, 2).unwrap_or_default());
        let received = catch_unwind(AssertUnwindSafe(received)).unwrap_or_default();
        let (count, more) = received.unwrap_or_default();
        push_number(state, count as f64);
        ffi::lua_pushboolean(state, more.into());
        2
    }
}

/// `receive_plain(session, bytes)`: takes bytes that are plaintext, whatever the wire carries. Returns whether there
/// was a session.
unsafe extern "C-unwind" fn receive_plain(state: *mut State) -> c_int {
    unsafe {
        let bytes = bytes(state, 2).unwrap_or_default();
        let receive = || session(state).is_some_and(|session| session.receive_plain(bytes));
        let received = catch_unwind(AssertUnwindSafe(receive)).unwrap_or(false);
        ffi::lua_pushboolean(state, received.into());
        1
    }
}

//! Userdata: the context, which all functions have as an upvalue, and the objects that it keeps
//! ([`objects`](crate::lua::objects)).
//!
//! An object's userdata is recognised by its metatable, and has the object's place. Its finaliser takes the object out.
//! The context's finaliser drops all objects that are left, and from then on every function finds no context.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::{CONTEXT, METATABLE};
use crate::lua::Context;
use crate::lua::value::Handle;

/// The contents of the context's userdata, and of an object's: nothing once it has been finalised.
type Held = Option<Rc<Context>>;
type Place = Option<u32>;

/// Pushes a userdata whose metatable is at this index. Its contents are `T`'s default: what needs to be dropped must
/// not be created before, for if an error is raised here, it would never be.
unsafe fn new_userdata<T: Default>(state: *mut State, metatable: c_int) -> *mut T {
    unsafe {
        let contents = ffi::lua_newuserdata(state, size_of::<T>()).cast::<T>();
        ptr::write(contents, T::default());
        ffi::lua_pushvalue(state, metatable);
        ffi::lua_setmetatable(state, -2);
        contents
    }
}

/// Makes the table at this index a metatable that programs cannot get at, with the finaliser on top of the stack.
pub(super) unsafe fn finish_metatable(state: *mut State, metatable: c_int) {
    unsafe {
        ffi::lua_setfield(state, metatable, c"__gc".as_ptr());
        ffi::lua_pushliteral(state, c"native object of luws");
        ffi::lua_setfield(state, metatable, c"__metatable".as_ptr());
    }
}

/// Pushes a new context.
pub(super) unsafe fn push_context(state: *mut State) {
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        let metatable = ffi::lua_gettop(state);
        ffi::lua_pushcclosure(state, collect_context, 0);
        finish_metatable(state, metatable);
        let held = new_userdata::<Held>(state, metatable);
        *held = Some(Rc::new(Context::new()));
        ffi::lua_replace(state, metatable);
    }
}

/// The finaliser of the context. The Lua state is being closed, as the registry refers to the context.
unsafe extern "C-unwind" fn collect_context(state: *mut State) -> c_int {
    unsafe {
        if let Some(held) = ffi::lua_touserdata(state, 1).cast::<Held>().as_mut() {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                if let Some(context) = held.take() {
                    context.objects.clear();
                }
            }));
        }
        0
    }
}

/// The context; `None` while the Lua state is being closed.
#[inline]
pub(super) unsafe fn context<'a>(state: *mut State) -> Option<&'a Rc<Context>> {
    // Only the debug library can change an upvalue of a C function (and it can corrupt any), so this is the userdata
    // that `push_context` has made.
    unsafe { ffi::lua_touserdata(state, CONTEXT).cast::<Held>().as_ref()?.as_ref() }
}

/// Pushes a userdata for an object. Raises an error if there is no memory; nothing needs to be dropped here.
pub(super) unsafe fn push_object(state: *mut State, object: &Handle) {
    unsafe {
        let place = new_userdata::<Place>(state, METATABLE);
        // Its finaliser finds nothing as long as it has no place.
        match context(state).map(|context| context.objects.add(object.clone())) {
            Some(Ok(added)) => *place = Some(added),
            Some(Err(_)) => {
                ffi::lua_pushliteral(state, c"not enough memory");
                ffi::lua_error(state);
            }
            None => {}
        }
    }
}

/// The finaliser of an object's userdata, which leaves it empty.
pub(super) unsafe extern "C-unwind" fn collect(state: *mut State) -> c_int {
    unsafe {
        let place = contents(state, 1).as_mut();
        if let (Some(context), Some(place)) = (context(state), place) {
            // No object of this module panics when dropped; if one did, the process would still go on.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                if let Some(object) = place.and_then(|place| context.objects.take(place)) {
                    drop(object);
                    *place = None;
                }
            }));
        }
        0
    }
}

/// The contents of the userdata at this index; null if it is not an object's. Raises nothing.
unsafe fn contents(state: *mut State, index: c_int) -> *mut Place {
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TUSERDATA || ffi::lua_getmetatable(state, index) == 0 {
            return ptr::null_mut();
        }
        let is_ours = ffi::lua_rawequal(state, -1, METATABLE) != 0;
        ffi::lua_settop(state, -2);
        if is_ours { ffi::lua_touserdata(state, index).cast() } else { ptr::null_mut() }
    }
}

/// Looks at the object at this index. `None` if it is none of ours, or has been dropped. Raises nothing.
#[inline]
pub(super) unsafe fn with_object<R>(
    state: *mut State,
    index: c_int,
    look: impl FnOnce(&Handle) -> R,
) -> Option<R> {
    unsafe {
        let place = (*contents(state, index).as_ref()?)?;
        context(state)?.objects.with(place, look)
    }
}

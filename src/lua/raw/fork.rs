//! Has each forked child told that it is one, so that reads and writes need no system call to find out.

use std::sync::Once;

use crate::net::process;

static ONCE: Once = Once::new();

/// Sees to it, once for the process, where the module is never unloaded (build.rs): the system would call a function
/// that is gone. Elsewhere each read and write asks the system.
pub(super) fn watch() {
    ONCE.call_once(|| {
        #[cfg(all(unix, not(target_vendor = "apple")))]
        {
            use std::ffi::c_int;
            type Handler = Option<extern "C" fn()>;
            unsafe extern "C" {
                fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
            }
            // Sound: POSIX has this function with this signature. The child's handler stores a number, which is allowed
            // in the child of a process with several threads.
            if unsafe { pthread_atfork(None, None, Some(process::forked)) } == 0 {
                process::will_be_told();
            }
        }
    });
}

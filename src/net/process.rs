//! Which process this is, and how many descriptors it may have. After a fork, a child has its parent's sockets as well,
//! and must leave them alone.

use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The number of this process; 0 if it must be asked for.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Whether [`forked`] is called in each child.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Why a child gets nothing from a connection that its parent has opened.
pub const NOT_OURS: &str = "the connection belongs to another process";

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// This one. Costs a system call, unless children are told that they are children.
    #[must_use]
    pub fn this() -> Self {
        match NUMBER.load(Ordering::Relaxed) {
            0 => Self::ask(),
            number => Self(number),
        }
    }

    #[cold]
    fn ask() -> Self {
        let number = process::id();
        if IS_TOLD.load(Ordering::Relaxed) {
            NUMBER.store(number, Ordering::Relaxed);
        }
        Self(number)
    }

    /// Checks that it is this one.
    ///
    /// # Errors
    /// [`NOT_OURS`].
    pub(super) fn check(self) -> io::Result<()> {
        if self == Self::this() { Ok(()) } else { Err(io::Error::other(NOT_OURS)) }
    }

    /// Its number, as a system has it.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// To be called in each child, before anything else. After [`will_be_told`], each one is relied on to do so.
pub extern "C" fn forked() {
    NUMBER.store(0, Ordering::Relaxed);
}

/// Promises that [`forked`] will be called.
pub fn will_be_told() {
    IS_TOLD.store(true, Ordering::Relaxed);
}

/// Lets the process have as many descriptors as it is allowed to. Returns how many that are.
///
/// # Errors
/// The system's.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now < most {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other() {
        let this = Process::this();
        assert_eq!(this.number(), process::id());
        assert!(this.check().is_ok());
        let other = Process(this.number() ^ 1);
        assert_eq!(other.check().unwrap_err().to_string(), NOT_OURS);
    }
}

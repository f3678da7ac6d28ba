//! Signals as bytes in a pipe: a handler that does nothing else, so that the driver can wait for signals as for
//! descriptors. Knows neither the reactor nor what a signal is to do.
//!
//! What belongs to a signal is never freed, because a handler may be at work in another thread.

use std::ffi::c_int;
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

use crate::net::pipe;
use crate::net::process::Process;

/// The pipe of a signal.
#[derive(Debug)]
struct Slot {
    signal: Signal,
    name: &'static str,
    is_taken: AtomicBool,
    /// The process that has made the pipe, and the ends of the pipe; 0 and -1 before that.
    process: AtomicU32,
    reader: AtomicI32,
    writer: AtomicI32,
}

const fn slot(signal: Signal, name: &'static str) -> Slot {
    Slot {
        signal,
        name,
        is_taken: AtomicBool::new(false),
        process: AtomicU32::new(0),
        reader: AtomicI32::new(-1),
        writer: AtomicI32::new(-1),
    }
}

/// The signals that can be watched: those that programs are sent by people and by other programs, and the one that ends
/// those whose output nobody reads.
static SLOTS: [Slot; 7] = [
    slot(Signal::SIGHUP, "HUP"),
    slot(Signal::SIGINT, "INT"),
    slot(Signal::SIGPIPE, "PIPE"),
    slot(Signal::SIGQUIT, "QUIT"),
    slot(Signal::SIGTERM, "TERM"),
    slot(Signal::SIGUSR1, "USR1"),
    slot(Signal::SIGUSR2, "USR2"),
];

/// A signal that is watched, until this is dropped.
#[derive(Debug)]
pub(in crate::lua) struct SignalWatch {
    slot: &'static Slot,
    process: Process,
    /// What was to happen at the signal before; `None` if it is ignored, and stays so.
    before: Option<SigAction>,
}

impl SignalWatch {
    /// Watches the signal of this name. A signal that the process was started to ignore (`nohup`, or `&` in a script)
    /// is still ignored.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is none of them, `AlreadyExists` if it is watched, and the system's.
    pub(in crate::lua) fn new(name: &str) -> io::Result<Self> {
        let slot = SLOTS.iter().find(|slot| slot.name == name).ok_or(io::ErrorKind::InvalidInput)?;
        if slot.is_taken.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let process = Process::this();
        slot.open(process).inspect_err(|_| slot.is_taken.store(false, Ordering::Release))?;
        let mut watch = Self { slot, process, before: None };
        // A call of the system that is at work goes on afterwards, so that nothing that is written gets lost.
        let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
        let before = set(slot.signal, &action)?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            set(slot.signal, &before)?;
        } else {
            watch.before = Some(before);
        }
        Ok(watch)
    }

    /// The descriptor that is readable once the signal has come.
    pub(in crate::lua) fn fd(&self) -> i32 {
        self.slot.reader.load(Ordering::Relaxed)
    }

    /// Returns whether the signal has come since the last call.
    pub(in crate::lua) fn take(&self) -> bool {
        self.process == Process::this() && pipe::drain(borrow(&self.slot.reader))
    }
}

impl Drop for SignalWatch {
    /// Has the signal do again what it did before.
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = set(self.slot.signal, before);
        }
        let _ = self.take();
        self.slot.is_taken.store(false, Ordering::Release);
    }
}

impl Slot {
    /// Makes the pipe, if this process has not. A fork has its parent's, which is the parent's alone.
    fn open(&self, process: Process) -> io::Result<()> {
        if self.process.load(Ordering::Relaxed) == process.number() {
            return Ok(());
        }
        let (reader, writer) = pipe::new()?;
        self.reader.store(reader.into_raw_fd(), Ordering::Relaxed);
        self.writer.store(writer.into_raw_fd(), Ordering::Relaxed);
        self.process.store(process.number(), Ordering::Release);
        Ok(())
    }
}

/// An end of a slot's pipe.
fn borrow(end: &AtomicI32) -> BorrowedFd<'static> {
    // Sound: the pipe is made before anything that calls this, and it is never closed.
    unsafe { BorrowedFd::borrow_raw(end.load(Ordering::Relaxed)) }
}

/// Sets what happens at a signal. Returns what happened before.
fn set(signal: Signal, action: &SigAction) -> io::Result<SigAction> {
    // Sound: the handler is `on_signal`, which may be called at any time, or was there before. This module is never
    // unloaded where `on_signal` could still be set (build.rs), as its Lua state drops what watches.
    Ok(unsafe { sigaction(signal, action) }?)
}

/// The handler. It does only what POSIX allows in one: it reads and sets numbers, and calls write, sigaction and raise.
extern "C" fn on_signal(number: c_int) {
    let error = Errno::last_raw();
    for slot in SLOTS.iter().filter(|slot| slot.signal as c_int == number) {
        if slot.process.load(Ordering::Acquire) == Process::this().number() {
            pipe::note(borrow(&slot.writer));
        } else {
            // A fork, in which nobody waits for it: the usual thing happens.
            let usual = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
            let _ = set(slot.signal, &usual).map(|_| raise(slot.signal));
        }
    }
    Errno::set_raw(error);
}

//! The poller as Lua sees it: descriptors are numbers, and what they stand for are tokens that the driver counts.

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::rc::Rc;

use super::options::is_true;
use super::raw::borrow_descriptor;
use super::socket::duration;
use super::value::{Handle, Reply, Value, failure};
use super::{Context, Native};
use crate::net::describe;
use crate::net::poller::{Interest, MOST, Poller, Ready};
use crate::net::process::Process;

const FOREIGN: &str = "this process is a fork, and the reactor is its parent's";

/// A poller of the process that made it.
#[derive(Debug)]
pub(super) struct LuaPoller {
    poller: Poller,
    process: Process,
    /// What has been found, and not been told yet.
    found: Vec<Ready>,
}

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // poller(): a poller; or nil and the error
    (c"poller", poller),
    // poller_fd(poller): its descriptor; -1 if there is none, and then it does not tell of room by itself
    (c"poller_fd", poller_fd),
    // poller_is_foreign(poller): nil; or, if another process has made it, of which this one is a fork, that as text
    (c"poller_is_foreign", poller_is_foreign),
    // poller_add(poller, fd, token [, read, write]): watches a descriptor; without read and write, for changes. Returns
    // true; or nil, the error, and whether it is watched already
    (c"poller_add", poller_add),
    // poller_remove(poller, fd)
    (c"poller_remove", poller_remove),
    // poller_set_writing(poller, token, writing): for pollers without edges
    (c"poller_set_writing", poller_set_writing),
    // poller_wake(poller, dial, token): reports this token once the name of the dial has been looked up, if that is
    // still to be done. Returns true; false if it has been done meanwhile, and the dial is to be advanced at once; nil
    // if the poller cannot tell
    (c"poller_wake", poller_wake),
    // poller_set_timer(poller, time): on the clock of `now`; nil for never
    (c"poller_set_timer", poller_set_timer),
];

fn poller(_: &Rc<Context>, _: &[Value]) -> Reply {
    match Poller::new() {
        Ok(poller) => {
            let made = LuaPoller { poller, process: Process::this(), found: Vec::new() };
            vec![Handle::Poller(Rc::new(RefCell::new(made))).into()]
        }
        Err(error) => failure(describe(&error)),
    }
}

/// Calls `f` with the poller that is the first argument, if this process has made it. A fork shares the descriptors of
/// its parent, and must not change what the parent watches.
fn with<R>(arguments: &[Value], f: impl FnOnce(&mut LuaPoller) -> R) -> Option<R> {
    let Some(Value::Handle(Handle::Poller(poller))) = arguments.first() else { return None };
    let mut poller = poller.try_borrow_mut().ok()?;
    (poller.process == Process::this()).then(|| f(&mut poller))
}

fn number(arguments: &[Value], index: usize) -> f64 {
    arguments.get(index).and_then(Value::number).unwrap_or(-1.0)
}

fn poller_fd(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![f64::from(with(arguments, |poller| poller.poller.fd()).unwrap_or(-1)).into()]
}

fn poller_is_foreign(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![with(arguments, |_| ()).is_none().then_some(FOREIGN).into()]
}

fn poller_add(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(fd) = borrow_descriptor(number(arguments, 1)) else {
        return failure("Bad file descriptor");
    };
    let interest = match (arguments.get(3), arguments.get(4)) {
        (Some(read), Some(write)) => Interest::Level { read: is_true(read), write: is_true(write) },
        _ => Interest::Edge,
    };
    let token = number(arguments, 2) as u64;
    match with(arguments, |poller| poller.poller.add(fd, token, interest)) {
        Some(Ok(())) => vec![true.into()],
        Some(Err(error)) => {
            let is_known = error.kind() == io::ErrorKind::AlreadyExists;
            let why = match error.kind() {
                // epoll's word for what need not be watched.
                io::ErrorKind::PermissionDenied => "it is always ready, as files are".into(),
                _ => describe(&error),
            };
            vec![Value::Nil, why.into(), is_known.into()]
        }
        None => failure(FOREIGN),
    }
}

fn poller_remove(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let Some(fd) = borrow_descriptor(number(arguments, 1)) {
        with(arguments, |poller| poller.poller.remove(fd));
    }
    vec![]
}

fn poller_set_writing(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let writing = arguments.get(2).is_some_and(is_true);
    with(arguments, |poller| poller.poller.set_writing(number(arguments, 1) as u64, writing));
    vec![]
}

fn poller_wake(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(Value::Handle(Handle::Dial(dial))) = arguments.get(1) else { return vec![] };
    let token = number(arguments, 2) as u64;
    let is_awaited = with(arguments, |poller| dial.borrow().wake(|| poller.poller.waker(token)));
    vec![is_awaited.into()]
}

fn poller_set_timer(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let time = arguments.get(1).and_then(Value::number);
    with(arguments, |poller| poller.poller.set_timer(time));
    vec![]
}

/// What a wait has come to.
pub(super) enum Waited {
    /// Nothing has happened at all, not even to the timer.
    Nothing,
    /// This many things can be told, each by [`LuaPoller::found`]. None if a signal came, or the timer has ended.
    Found(usize),
    /// The poller belongs to another process.
    Foreign,
}

impl LuaPoller {
    /// Waits for at most `seconds` (for ever, if it is not a finite number), unless something was found before and not
    /// [forgotten](Self::forget).
    pub(super) fn wait(&mut self, seconds: f64) -> Waited {
        if self.process != Process::this() {
            return Waited::Foreign;
        }
        if self.found.is_empty() {
            let timeout = seconds.is_finite().then(|| duration(&seconds.into()));
            match self.poller.wait(timeout, &mut self.found) {
                Ok(false) if self.found.is_empty() => return Waited::Nothing,
                // An error other than a signal is one that nobody could do anything about.
                Ok(_) | Err(_) => {}
            }
        }
        // Wakes may be more than that; the others are told the next time.
        Waited::Found(self.found.len().min(MOST))
    }

    /// A token, and the sum of 1 (readable), 2 (writable) and 4 (ended).
    pub(super) fn found(&self, index: usize) -> Option<(f64, u8)> {
        let ready = self.found.get(index)?;
        let happened = u8::from(ready.readable) + 2 * u8::from(ready.writable) + 4 * u8::from(ready.ended);
        Some((ready.token as f64, happened))
    }

    /// Forgets the first things that were found, because they were told.
    pub(super) fn forget(&mut self, count: usize) {
        self.found.drain(..count.min(self.found.len()));
    }
}

//! What programs need of the process around them: its standard streams, signals as descriptors, how many descriptors it
//! may have.

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::rc::Rc;

use super::raw::SignalWatch;
use super::value::{Handle, Reply, Value, failure};
use super::{Context, Native};
use crate::memory::{self, OutOfMemory};
use crate::net::{console, describe, process};

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // input_read(max): up to `max` bytes of the standard input, without waiting; "" at its end; nil and "timeout" if
    // there is nothing now; or nil and the error
    (c"input_read", input_read),
    // hold_streams(): keeps the numbers of standard streams that are closed from sockets; nil, or the error
    (c"hold_streams", hold_streams),
    // is_terminal(number): whether the standard stream of that number (0 to 2) is one
    (c"is_terminal", is_terminal),
    // raise_descriptor_limit(): lets the process have as many descriptors as it is allowed to; returns how many that
    // are, or nil and the error
    (c"raise_descriptor_limit", raise_descriptor_limit),
    // signal_watch(name): what watches "INT", "TERM" and so on; or nil, the error, and whether it is watched already
    (c"signal_watch", signal_watch),
    // signal_fd(watch): the descriptor that is readable once the signal has come, which is to be watched; -1 after the
    // end
    (c"signal_fd", signal_fd),
    // signal_take(watch): whether the signal has come since the last call
    (c"signal_take", signal_take),
    // signal_end(watch): has the signal do what it did before
    (c"signal_end", signal_end),
];

fn input_read(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let max = arguments.first().map_or(0, Value::size);
    let Ok(mut space) = memory::zeros(max) else { return failure(OutOfMemory.to_string()) };
    match console::read_input(&mut space) {
        Ok(count) => {
            space.truncate(count);
            vec![space.into()]
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => failure("timeout"),
        Err(error) => failure(describe(&error)),
    }
}

fn hold_streams(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![console::hold_streams().err().map(|error| describe(&error)).into()]
}

fn is_terminal(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let number = arguments.first().map_or(0, Value::size);
    vec![console::is_terminal(number as u8).into()]
}

fn raise_descriptor_limit(_: &Rc<Context>, _: &[Value]) -> Reply {
    match process::raise_descriptor_limit() {
        Ok(count) => vec![(count as f64).into()],
        Err(error) => failure(describe(&error)),
    }
}

fn signal_watch(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let name = arguments.first().and_then(Value::text).unwrap_or_default();
    match SignalWatch::new(&name) {
        Ok(watch) => vec![Handle::Signal(Rc::new(RefCell::new(Some(watch)))).into()],
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => failure("there is no such signal"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => failure("it is watched already"),
        Err(error) => failure(describe(&error)),
    }
}

/// Calls `f` with the watch that is the first argument, if it has not ended.
fn with<R>(arguments: &[Value], f: impl FnOnce(&SignalWatch) -> R) -> Option<R> {
    let Some(Value::Handle(Handle::Signal(watch))) = arguments.first() else { return None };
    watch.try_borrow().ok()?.as_ref().map(f)
}

fn signal_fd(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![f64::from(with(arguments, SignalWatch::fd).unwrap_or(-1)).into()]
}

fn signal_take(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![with(arguments, SignalWatch::take).unwrap_or(false).into()]
}

fn signal_end(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let Some(Value::Handle(Handle::Signal(watch))) = arguments.first() {
        watch.take();
    }
    vec![]
}

//! What the connections of a server have received and sent, all together: messages, and the bytes of their data. Knows
//! nothing of frames.

use std::cell::Cell;
use std::ffi::CStr;
use std::rc::Rc;

use super::value::{Handle, Reply, Value};
use super::{Context, Native};

#[derive(Debug, Default)]
struct Count {
    messages: Cell<u64>,
    bytes: Cell<u64>,
}

impl Count {
    fn add(&self, bytes: usize, is_complete: bool) {
        self.messages.set(self.messages.get() + u64::from(is_complete));
        self.bytes.set(self.bytes.get() + bytes as u64);
    }
}

#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: Count,
    sent: Count,
}

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // traffic(): an object that counts for the sessions that have it among their parameters
    (c"traffic", traffic),
    // traffic_counts(traffic): messages and bytes received, messages and bytes sent
    (c"traffic_counts", traffic_counts),
];

fn traffic(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![Handle::Traffic(Rc::default()).into()]
}

fn traffic_counts(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(Value::Handle(Handle::Traffic(traffic))) = arguments.first() else { return vec![] };
    let Traffic { received, sent } = traffic.as_ref();
    let counts = [&received.messages, &received.bytes, &sent.messages, &sent.bytes];
    counts.map(|count| (count.get() as f64).into()).into()
}

impl Traffic {
    /// Notes a received message, or a piece of one; `is_complete` if it ends with this.
    pub(super) fn receive(&self, bytes: usize, is_complete: bool) {
        self.received.add(bytes, is_complete);
    }

    /// The same for a message that is sent, or a fragment.
    pub(super) fn send(&self, bytes: usize, is_complete: bool) {
        self.sent.add(bytes, is_complete);
    }
}

//! Rooms: sets of connections to which one message is sent. Knows nothing of how a connection is in Lua but its number.

use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::{Rc, Weak};

use super::session::{Delivery, LuaSession};
use super::value::{Handle, Reply, Table, Value, failure};
use super::{Context, Native};
use crate::protocol::connection::SharedMessage;
use crate::protocol::frame::Opcode;

/// How many members are written to in one go, so that nobody else waits for long.
const MOST_WRITES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Room {
    members: Vec<(u64, Weak<LuaSession>)>,
    /// Where each member is, by its number.
    places: HashMap<u64, usize>,
    /// The members before this one have been written to since the last message.
    written: usize,
}

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // room(): an empty room
    (c"room", room),
    // room_add(room, session, number), room_remove(room, number): whether that has changed anything
    (c"room_add", room_add),
    (c"room_remove", room_remove),
    // room_members(room): an array of their numbers; room_size(room): how many they are
    (c"room_members", room_members),
    (c"room_size", room_size),
    // broadcast(room, opcode, data, except): queues a message for all members but the one with this number. Returns how many
    // took it, and an array of the numbers of those that have no room, if there are some
    (c"broadcast", broadcast),
    // room_flush(room): writes what was queued to some of the members. Returns whether there are more of them, and an array
    // of the numbers of those that do not take all of it, if there are some
    (c"room_flush", room_flush),
];

fn room(_: &Rc<Context>, _: &[Value]) -> Reply {
    vec![Handle::Room(Rc::default()).into()]
}

fn with<R>(arguments: &[Value], f: impl FnOnce(&mut Room) -> R) -> Option<R> {
    let Some(Value::Handle(Handle::Room(room))) = arguments.first() else { return None };
    room.try_borrow_mut().ok().map(|mut room| f(&mut room))
}

fn number(arguments: &[Value], index: usize) -> Option<u64> {
    arguments.get(index).and_then(Value::number).map(|number| number as u64)
}

fn numbers(found: &[u64]) -> Value {
    if found.is_empty() {
        return Value::Nil;
    }
    found.iter().map(|number| *number as f64).collect::<Table>().into()
}

fn room_add(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let (Some(Value::Handle(Handle::Session(session))), Some(number)) =
        (arguments.get(1), number(arguments, 2))
    else {
        return vec![false.into()];
    };
    vec![with(arguments, |room| room.add(number, session)).unwrap_or(false).into()]
}

fn room_remove(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(number) = number(arguments, 1) else { return vec![false.into()] };
    vec![with(arguments, |room| room.remove(number)).unwrap_or(false).into()]
}

fn room_members(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let found =
        with(arguments, |room| room.members.iter().map(|(number, _)| *number as f64).collect::<Table>());
    vec![found.unwrap_or_default().into()]
}

fn room_size(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![with(arguments, |room| room.members.len()).unwrap_or(0).into()]
}

fn broadcast(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let opcode = arguments.get(1).and_then(Value::number).map(|opcode| opcode as u8);
    let Some(Ok(opcode @ (Opcode::Text | Opcode::Binary))) = opcode.map(Opcode::try_from) else {
        return failure("opcode 1 or 2 expected");
    };
    let data = arguments.get(2).and_then(Value::bytes).unwrap_or_default();
    let except = number(arguments, 3);
    let told = with(arguments, |room| room.broadcast(&mut SharedMessage::new(opcode, data), except));
    let Some((count, full)) = told else { return failure("busy") };
    vec![count.into(), numbers(&full)]
}

fn room_flush(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let (more, left) = with(arguments, Room::flush).unwrap_or_default();
    vec![more.into(), numbers(&left)]
}

impl Room {
    fn add(&mut self, number: u64, session: &Rc<LuaSession>) -> bool {
        if self.places.contains_key(&number) {
            return false;
        }
        self.places.insert(number, self.members.len());
        self.members.push((number, Rc::downgrade(session)));
        true
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(place) = self.places.remove(&number) else { return false };
        self.members.swap_remove(place);
        if let Some((moved, _)) = self.members.get(place) {
            self.places.insert(*moved, place);
        }
        // The one that has moved may not have been written to.
        self.written = self.written.min(place);
        true
    }

    /// Queues a message. Returns how many took it, and who has no room.
    fn broadcast(&mut self, message: &mut SharedMessage<'_>, except: Option<u64>) -> (usize, Vec<u64>) {
        let (mut count, mut full) = (0, Vec::new());
        for (number, session) in self.members.iter().filter(|(number, _)| Some(*number) != except) {
            match session.upgrade().map(|session| session.send_shared(message)) {
                Some(Delivery::Queued) => count += 1,
                Some(Delivery::Full) => full.push(*number),
                Some(Delivery::Busy | Delivery::Over) | None => {}
            }
        }
        self.written = 0;
        (count, full)
    }

    /// Writes to some members. Returns whether there are more, and who does not take all.
    fn flush(&mut self) -> (bool, Vec<u64>) {
        let end = self.members.len().min(self.written + MOST_WRITES);
        let some = &self.members[self.written.min(end)..end];
        let is_left =
            |session: &Weak<LuaSession>| session.upgrade().is_some_and(|session| session.write_queued());
        let left = some.iter().filter(|(_, session)| is_left(session)).map(|(number, _)| *number).collect();
        self.written = end;
        (end < self.members.len(), left)
    }
}

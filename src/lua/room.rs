//! Rooms: sets of connections to which one message is sent. Knows nothing of how a connection is in Lua but its number.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::rc::{Rc, Weak};

use super::session::{Delivery, LuaSession};
use super::value::{Handle, Reply, Table, Value, failure};
use super::{Context, Native};
use crate::protocol::connection::SharedMessage;
use crate::protocol::frame::Opcode;

/// How many members are written to in one go, so that nobody else waits for long.
const MOST_WRITES: usize = 256;

/// What waits for that in one session, at most, in bytes: more is written at once, for it is there once for each
/// member.
const MOST_UNWRITTEN: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Room {
    members: Vec<(u64, Weak<LuaSession>)>,
    /// Where each member is, by its number.
    places: HashMap<u64, usize>,
    /// The members before this one have been written to since the last message to all.
    written: usize,
    /// The numbers of the members that got a message to some, and are to be written to; those of whom that is true by
    /// now.
    chosen: HashSet<u64>,
    due: Vec<u64>,
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
    // broadcast(room, opcode, data, except): queues a message for all members but the one with this number. Returns how
    // many took it, and three arrays of numbers, or nil: of those that have no room, of those that did not take it for
    // another reason, and of those that were written to already, and have not taken all of it
    (c"broadcast", broadcast),
    // multicast(room, opcode, data, numbers, compress): the same for the members that have these numbers (an array);
    // `compress` is false if nobody is to compress it
    (c"multicast", multicast),
    // room_flush(room): writes what was queued to some of the members. Returns whether there are more of them, and an
    // array of the numbers of those that do not take all of it, if there are some
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

/// The message that is given as opcode and data.
fn message(arguments: &[Value]) -> Option<SharedMessage<'_>> {
    let opcode = Opcode::try_from(arguments.get(1).and_then(Value::number)? as u8).ok()?;
    let data = arguments.get(2).and_then(Value::bytes)?;
    matches!(opcode, Opcode::Text | Opcode::Binary).then(|| SharedMessage::new(opcode, data))
}

/// Has a room do something with the message that is given.
fn tell<'a>(arguments: &'a [Value], f: impl FnOnce(&mut Room, SharedMessage<'a>) -> Told) -> Reply {
    let Some(message) = message(arguments) else { return failure("opcode 1 or 2 expected, and a string") };
    let Some(told) = with(arguments, |room| f(room, message)) else { return failure("busy") };
    vec![told.count.into(), numbers(&told.full), numbers(&told.missed), numbers(&told.left)]
}

fn broadcast(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let except = number(arguments, 3);
    tell(arguments, |room, mut message| room.broadcast(&mut message, except))
}

fn multicast(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let chosen = arguments.get(3).and_then(Value::table).map(Table::elements).unwrap_or_default();
    let chosen = chosen.into_iter().filter_map(Value::number).map(|number| number as u64);
    let is_plain = arguments.get(4).and_then(Value::boolean) == Some(false);
    tell(arguments, |room, message| {
        room.multicast(&mut if is_plain { message.uncompressed() } else { message }, chosen)
    })
}

fn room_flush(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let (more, left) = with(arguments, Room::flush).unwrap_or_default();
    vec![more.into(), numbers(&left)]
}

/// What has become of a message: how many took it; who has no room, who did not take it for another reason, and who has
/// not taken all of what was written at once.
#[derive(Debug, Default)]
struct Told {
    count: usize,
    full: Vec<u64>,
    missed: Vec<u64>,
    left: Vec<u64>,
}

impl Told {
    /// Queues a message for one session.
    fn queue(&mut self, message: &mut SharedMessage<'_>, number: u64, session: &Weak<LuaSession>) {
        let Some(session) = session.upgrade() else { return };
        match session.send_shared(message) {
            Delivery::Queued => {
                self.count += 1;
                if session.outgoing() > MOST_UNWRITTEN && session.write_queued() {
                    self.left.push(number);
                }
            }
            Delivery::Full => self.full.push(number),
            Delivery::Busy | Delivery::Over => self.missed.push(number),
        }
    }
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

    /// Queues a message for all members but one.
    fn broadcast(&mut self, message: &mut SharedMessage<'_>, except: Option<u64>) -> Told {
        let mut told = Told::default();
        for (number, session) in self.members.iter().filter(|(number, _)| Some(*number) != except) {
            told.queue(message, *number, session);
        }
        self.written = 0;
        told
    }

    /// Queues a message for some of the members.
    fn multicast(&mut self, message: &mut SharedMessage<'_>, chosen: impl Iterator<Item = u64>) -> Told {
        let mut told = Told::default();
        for number in chosen {
            if let Some((_, session)) = self.places.get(&number).and_then(|place| self.members.get(*place)) {
                told.queue(message, number, session);
                self.chosen.insert(number);
            }
        }
        told
    }

    /// Writes to some members. Returns whether there are more, and who does not take all.
    fn flush(&mut self) -> (bool, Vec<u64>) {
        if self.due.is_empty() {
            self.due.extend(self.chosen.drain());
        }
        let end = self.members.len().min(self.written + MOST_WRITES);
        let start = self.written.min(end);
        let rest = self.due.len().saturating_sub(MOST_WRITES - (end - start));
        let chosen = self.due.drain(rest..).filter_map(|number| self.members.get(*self.places.get(&number)?));
        let is_left =
            |session: &Weak<LuaSession>| session.upgrade().is_some_and(|session| session.write_queued());
        let some = self.members[start..end].iter().chain(chosen);
        let left = some.filter(|(_, session)| is_left(session)).map(|(number, _)| *number).collect();
        self.written = end;
        (end < self.members.len() || !self.due.is_empty(), left)
    }
}

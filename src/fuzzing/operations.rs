//! A fuzz target: two ends in memory send, transfer and close in any order, and each must receive what the other has
//! sent. Knows nothing of the bytes on the wire.

use std::collections::VecDeque;

use crate::protocol::close::CloseFrame;
use crate::protocol::close_code::CloseCode;
use crate::protocol::connection::{Config, Event as Received};
use crate::protocol::error::SendError;
use crate::protocol::frame::Opcode;
use crate::protocol::spare::Spares;
use crate::session::{Event, Session};

use super::pair::pair;
use super::{Choices, options};

/// Something that one end has sent and the other must receive.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Message(Opcode, Vec<u8>),
    Ping(Vec<u8>),
    Close(Option<CloseCode>),
}

/// One end, and what it has sent.
struct End {
    session: Session,
    /// Bytes that it has sent and the other end has not received.
    wire: VecDeque<u8>,
    expected: VecDeque<Item>,
    /// The message of which only some fragments were sent.
    unfinished: Option<(Opcode, Vec<u8>)>,
    closed: bool,
    pings: u32,
    /// The number of the latest ping that was answered.
    answered: u32,
}

/// The most bytes in flight, so that no input makes the target slow.
const ENOUGH: usize = 1 << 17;

/// The most operations, for the same reason.
const OPERATIONS: usize = 100;

/// The data: a byte for the connection, two bytes for each end's compression options, and then operations: a byte for
/// what and who, and a byte for how much.
///
/// # Panics
/// A promise is broken.
pub fn operations(data: &[u8]) {
    let mut choices = Choices(data);
    let setup = choices.byte();
    let wishes = [options(&mut choices), options(&mut choices)];
    let [wish, allowed] = wishes.map(|wish| (setup & 1 != 0).then_some(wish));
    let config = Config {
        max_message_size: usize::MAX,
        use_masking: true,
        fragment_size: [0, 1, 7, 1000][usize::from(setup >> 1 & 3)],
        deflate: None,
        spares: Spares::shared(),
        seed: None,
        ..Config::default()
    };
    let client = Config { deflate: wish, ..config.clone() };
    let (client, server) = pair(client, Config { deflate: allowed, ..config });
    let mut ends = [client, server].map(|session| End {
        session,
        wire: VecDeque::new(),
        expected: VecDeque::new(),
        unfinished: None,
        closed: false,
        pings: 0,
        answered: 0,
    });
    for _ in 0..OPERATIONS.min(choices.0.len() / 2) {
        let (operation, much) = (choices.byte(), choices.byte());
        if operation & 128 != 0 {
            ends.reverse();
        }
        let [here, there] = &mut ends;
        match operation & 15 {
            0 => here.send(Opcode::Text, much, true),
            1 => here.send(Opcode::Binary, much, true),
            2 => here.send(Opcode::Text, much, false),
            3 => here.send(Opcode::Binary, much, false),
            4 => here.send(Opcode::Continuation, much, false),
            5 => here.send(Opcode::Continuation, much, true),
            6 => (0..much).for_each(|_| here.ping()),
            7 if much < 16 => here.close(much),
            8..=10 => here.transfer(there, 1 << (much & 15)),
            _ => here.transfer(there, usize::from(much)),
        }
        if operation & 128 != 0 {
            ends.reverse();
        }
    }
    let [here, there] = &mut ends;
    while here.in_flight() + there.in_flight() > 0 {
        here.transfer(there, usize::MAX);
        there.transfer(here, usize::MAX);
    }
    for end in ends {
        // Only what comes after the peer's close frame is dropped.
        assert!(end.expected.is_empty(), "{:?} did not come", end.expected);
    }
}

/// Varied data whose beginning depends on `much`; texts may be cut within a character.
fn data(opcode: Opcode, much: u8) -> Vec<u8> {
    let length = match much {
        0..200 => usize::from(much),
        200..255 => usize::from(much - 190) * 50,
        255 => 65_537,
    };
    let pattern = if opcode == Opcode::Text || much & 1 == 0 {
        "aé€😀 ".as_bytes()
    } else {
        &[much, 0, 255, 0, 0]
    };
    pattern.iter().copied().cycle().skip(usize::from(much >> 5)).take(length).collect()
}

impl End {
    fn in_flight(&self) -> usize {
        self.wire.len() + self.session.outgoing_len()
    }

    fn send(&mut self, opcode: Opcode, much: u8, fin: bool) {
        if self.in_flight() > ENOUGH {
            return;
        }
        let kind = self.unfinished.as_ref().map_or(opcode, |(kind, _)| *kind);
        let data = data(kind, much);
        let result = self.session.send(opcode, &data, fin);
        let whole = match &self.unfinished {
            Some((_, before)) => [before.as_slice(), &data].concat(),
            None => data,
        };
        let wanted = if self.closed {
            Err(SendError::Closing)
        } else if self.unfinished.is_none() && opcode == Opcode::Continuation {
            Err(SendError::Opcode(0))
        } else if self.unfinished.is_some() && opcode != Opcode::Continuation {
            Err(SendError::MessageInProgress)
        } else if kind == Opcode::Text
            && std::str::from_utf8(&whole).is_err_and(|error| fin || error.error_len().is_some())
        {
            Err(SendError::TextNotUtf8)
        } else {
            Ok(())
        };
        assert_eq!(result, wanted);
        if result.is_ok() && fin {
            self.unfinished = None;
            self.expected.push_back(Item::Message(kind, whole));
        } else if result.is_ok() {
            self.unfinished = Some((kind, whole));
        }
    }

    fn ping(&mut self) {
        let payload = self.pings.to_be_bytes();
        let result = self.session.send(Opcode::Ping, &payload, true);
        assert_eq!(result, if self.closed { Err(SendError::Closing) } else { Ok(()) });
        if result.is_ok() {
            self.pings += 1;
            self.expected.push_back(Item::Ping(payload.to_vec()));
        }
    }

    fn close(&mut self, much: u8) {
        let code = CloseCode::new(3000 + u16::from(much)).filter(|_| much != 0);
        let reason = "x".repeat(usize::from(much) * 8);
        let frame = code.map_or_else(CloseFrame::default, |code| CloseFrame::new(code, &reason).unwrap());
        let result = self.session.send_close(frame);
        assert_eq!(result, if self.closed { Err(SendError::Closing) } else { Ok(()) });
        if result.is_ok() {
            self.closed = true;
            self.expected.push_back(Item::Close(code));
        }
    }

    /// Puts up to `count` bytes on the wire, and up to `count` bytes from the wire into the other end.
    fn transfer(&mut self, to: &mut Self, count: usize) {
        let wire = &mut self.wire;
        let taken = self.session.send_with(|bytes| {
            let taken = count.min(bytes.len());
            wire.extend(&bytes[..taken]);
            Ok::<_, std::convert::Infallible>(taken)
        });
        assert!(taken.is_ok());
        let arrived: Vec<u8> = self.wire.drain(..count.min(self.wire.len())).collect();
        to.session.receive(&arrived);
        while to.receive(self) {}
    }

    /// Takes an event, which must be what the other end has sent. Returns false if there is none.
    fn receive(&mut self, from: &mut Self) -> bool {
        let event = match self.session.next_event() {
            Ok(None) => return false,
            Ok(Some(Event::Received(event))) => event,
            other => panic!("{other:?}"),
        };
        let mut expected = |item: Item| assert_eq!(Some(item), from.expected.pop_front());
        match event {
            Received::Working => {}
            Received::Message { opcode, data } => expected(Item::Message(opcode, data.to_vec())),
            Received::Ping(payload) => {
                expected(Item::Ping(payload.to_vec()));
                let payload = payload.to_vec();
                // Whether a pong is sent depends on what the peer reads; after a close frame it must not be.
                let result = self.session.send_pong(&payload);
                assert!(result.is_ok() || self.closed);
            }
            Received::Pong(payload) => {
                let number = u32::from_be_bytes(payload.try_into().unwrap());
                assert!(number < self.pings && (number >= self.answered), "{number} was answered already");
                self.answered = number + 1;
            }
            Received::Close(frame) => {
                let code = frame.code();
                expected(Item::Close(code));
                self.session.reply_close();
                if !self.closed {
                    self.closed = true;
                    self.expected.push_back(Item::Close(code));
                }
                // It can send nothing more, and an unfinished message of the other end ends here.
                assert!(from.expected.is_empty());
            }
            Received::Begin(_) | Received::Piece { .. } => panic!("nobody has asked for {event:?}"),
        }
        true
    }
}

//! Whatever is sent arrives unchanged at the other end: messages of any size and kind, in any fragments, with control
//! frames between them, cut into any pieces on the way, in both directions, with all negotiated parameters.

use luws::fuzzing::collect;
use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::deflate::Options;
use luws::protocol::frame::Opcode;
use luws::session::{Event, Session};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{cases, pair, wishes};

/// The recipe for a message, so that a failure shows a line and not a megabyte.
#[derive(Clone, Debug)]
struct Message {
    kind: Kind,
    length: usize,
    seed: u32,
    /// For each fragment, its share of the remaining data in thousandths, and what is sent after it.
    fragments: Vec<(usize, Option<Control>)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    /// Bytes that compress to almost nothing.
    Even,
    /// Bytes that do not compress.
    Noise,
    /// Noise that repeats at a distance.
    Far,
}

#[derive(Clone, Debug)]
enum Control {
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Item {
    Message(Message),
    Control(Control),
}

/// What one end has sent and the other must receive.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(Opcode, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

impl Message {
    fn opcode(&self) -> Opcode {
        if matches!(self.kind, Kind::Text) { Opcode::Text } else { Opcode::Binary }
    }

    fn data(&self) -> Vec<u8> {
        let mut state = self.seed | 1;
        let noise = std::iter::repeat_with(move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        match self.kind {
            Kind::Even => vec![self.seed as u8; self.length],
            Kind::Noise => noise.take(self.length).collect(),
            Kind::Far => {
                let period: Vec<u8> =
                    noise.take([240, 258, 510, 4000, 32_000][self.seed as usize % 5]).collect();
                period.iter().copied().cycle().take(self.length).collect()
            }
            Kind::Text => {
                // Characters of one to four bytes, filled up with single-byte ones.
                let characters = ['a', 'é', '€', '😀', '\0', '\u{ffff}', ' '];
                let mut text = String::new();
                for byte in noise {
                    let next = characters[usize::from(byte) % characters.len()];
                    if text.len() + next.len_utf8() > self.length {
                        break;
                    }
                    text.push(next);
                }
                text.extend(std::iter::repeat_n('.', self.length - text.len()));
                text.into_bytes()
            }
        }
    }
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => select(vec![0, 1, 2, 124, 125, 126, 127, 128]),
        4 => 0..400_usize,
        2 => 400..5000_usize,
        1 => select(vec![65_534, 65_535, 65_536, 65_537]),
    ]
}

fn control() -> impl Strategy<Value = Control> {
    let payload = prop_oneof![vec(any::<u8>(), 0..4), vec(any::<u8>(), 125)];
    (any::<bool>(), payload)
        .prop_map(|(ping, data)| if ping { Control::Ping(data) } else { Control::Pong(data) })
}

fn item() -> impl Strategy<Value = Item> {
    let kind = select(vec![Kind::Text, Kind::Even, Kind::Noise, Kind::Far]);
    let fragments = prop_oneof![Just(vec![]), vec((0..1000_usize, proptest::option::of(control())), 1..5)];
    let message = (kind, length(), any::<u32>(), fragments)
        .prop_map(|(kind, length, seed, fragments)| Item::Message(Message { kind, length, seed, fragments }));
    prop_oneof![4 => message, 1 => control().prop_map(Item::Control)]
}

/// The sizes of the pieces that arrive, used in turn.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        1..20_usize,
        select(vec![1, 2, 3, 125, 126, 127, 1000, 1460, 16_384, 65_535, usize::MAX])
    ];
    vec(size, 1..5)
}

fn send_control(session: &mut Session, control: &Control, expected: &mut Vec<Seen>) {
    let (opcode, data) = match control {
        Control::Ping(data) => (Opcode::Ping, data),
        Control::Pong(data) => (Opcode::Pong, data),
    };
    session.send(opcode, data, true).unwrap();
    expected.push(match control {
        Control::Ping(data) => Seen::Ping(data.clone()),
        Control::Pong(data) => Seen::Pong(data.clone()),
    });
}

/// Sends the items. Returns what the other end must receive.
fn send(session: &mut Session, items: &[Item]) -> Vec<Seen> {
    let mut expected = Vec::new();
    for item in items {
        match item {
            Item::Control(control) => send_control(session, control, &mut expected),
            Item::Message(message) => {
                let (mut opcode, data) = (message.opcode(), message.data());
                let mut rest = data.as_slice();
                for (thousandths, control) in &message.fragments {
                    let (fragment, after) = rest.split_at(rest.len() * thousandths / 1000);
                    session.send(opcode, fragment, false).unwrap();
                    (opcode, rest) = (Opcode::Continuation, after);
                    if let Some(control) = control {
                        send_control(session, control, &mut expected);
                    }
                }
                session.send(opcode, rest, true).unwrap();
                expected.push(Seen::Message(message.opcode(), data));
            }
        }
    }
    expected
}

/// Feeds the bytes in pieces. Returns everything received.
fn receive(session: &mut Session, bytes: &[u8], pieces: &[usize], stream: bool) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut streamed = (Opcode::Binary, Vec::new());
    let (mut rest, mut sizes) = (bytes, pieces.iter().cycle());
    session.connection_mut().unwrap().set_announce(stream);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        rest = after;
        assert_eq!(session.receive(piece), piece.len());
        loop {
            match session.next_event().unwrap() {
                None => break,
                Some(Event::Received(Received::Working)) => {}
                Some(Event::Received(Received::Message { opcode, data })) => {
                    seen.push(Seen::Message(opcode, data.to_vec()));
                }
                Some(Event::Received(Received::Ping(data))) => seen.push(Seen::Ping(data.to_vec())),
                Some(Event::Received(Received::Pong(data))) => seen.push(Seen::Pong(data.to_vec())),
                Some(Event::Received(Received::Begin(opcode))) => {
                    streamed = (opcode, Vec::new());
                    session.connection_mut().unwrap().stream_message();
                }
                Some(Event::Received(Received::Piece { data, last })) => {
                    streamed.1.extend_from_slice(data);
                    if last {
                        seen.push(Seen::Message(streamed.0, std::mem::take(&mut streamed.1)));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    seen
}

/// The first difference, since the messages are too long to be shown.
fn difference(seen: &[Seen], expected: &[Seen]) -> Option<String> {
    let short = |item: Option<&Seen>| {
        let text = format!("{item:?}");
        text.chars().take(200).collect::<String>()
    };
    (0..seen.len().max(expected.len()))
        .find(|i| seen.get(*i) != expected.get(*i))
        .map(|i| format!("item {i} is {}, not {}", short(seen.get(i)), short(expected.get(i))))
}

#[derive(Clone, Debug)]
struct Conversation {
    wish: Option<Options>,
    fragment_size: usize,
    to_server: Vec<Item>,
    to_client: Vec<Item>,
    pieces: Vec<usize>,
    stream: bool,
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let fragment_size = select(vec![0, 0, 1, 7, 125, 126, 1000, 65_535, 65_536]);
    let items = || vec(item(), 0..5);
    (select(wishes()), fragment_size, items(), items(), pieces(), any::<bool>()).prop_map(
        |(wish, fragment_size, to_server, to_client, pieces, stream)| Conversation {
            wish,
            fragment_size,
            to_server,
            to_client,
            pieces,
            stream,
        },
    )
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_is_sent_is_what_is_received(talk in conversation()) {
        let config = Config {
            max_message_size: 65_537,
            fragment_size: talk.fragment_size,
            ..Config::default()
        };
        let (mut client, mut server) = pair(talk.wish.as_ref(), &config);
        let expected = send(&mut client, &talk.to_server);
        let seen = receive(&mut server, &collect(&mut client), &talk.pieces, talk.stream);
        prop_assert_eq!(difference(&seen, &expected), None, "to the server");
        let expected = send(&mut server, &talk.to_client);
        let seen = receive(&mut client, &collect(&mut server), &talk.pieces, talk.stream);
        prop_assert_eq!(difference(&seen, &expected), None, "to the client");
        // No bytes are left on either side.
        prop_assert_eq!((client.incoming_len(), server.incoming_len()), (0, 0));
        prop_assert_eq!((client.outgoing_len(), server.outgoing_len()), (0, 0));
    }
}

//! How the tests of the engine talk to it: hex in, events as text out.

pub(crate) use luws::protocol::Role;
use luws::protocol::buffer::Buffer;
use luws::protocol::connection::{Config, Connection, Event};
use luws::protocol::frame::{FrameHeader, Opcode};
use luws::protocol::mask;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The bytes that hex digits stand for; spaces are for the reader.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "{hex}");
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

pub(crate) fn client(config: Config) -> Connection {
    connection(Role::Client, config)
}

pub(crate) fn server(config: Config) -> Connection {
    connection(Role::Server, config)
}

fn connection(role: Role, config: Config) -> Connection {
    Connection::new(role, config, None, StdRng::seed_from_u64(1), Buffer::default(), Buffer::default())
}

/// The next event as text; empty when there is none.
pub(crate) fn next(connection: &mut Connection) -> String {
    match connection.next_event() {
        Ok(None) => String::new(),
        Ok(Some(event)) => describe(&event),
        Err(error) => format!("error {error}"),
    }
}

pub(crate) fn describe(event: &Event<'_>) -> String {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).expect("text that was delivered is UTF-8");
    match event {
        Event::Message { opcode: Opcode::Text, data } => format!("text {}", text(data)),
        Event::Message { data, .. } => format!("binary {}", hex(data)),
        Event::Begin(opcode) => format!("begin {opcode:?}"),
        Event::Piece { data, last } => format!("piece {}{}", hex(data), if *last { " last" } else { "" }),
        Event::Ping(data) => format!("ping {}", text(data)),
        Event::Pong(data) => format!("pong {}", text(data)),
        Event::Close(frame) => {
            let code = frame.code().map_or("-".to_owned(), |code| code.to_string());
            format!("close {code} {}", frame.reason())
        }
    }
}

/// Moves what `from` sends to `to`.
pub(crate) fn transfer(from: &mut Connection, to: &mut Connection) {
    let sent = from.output().as_slice().to_vec();
    from.output().clear();
    to.input().extend(&sent);
}

/// The frames in `bytes`, unmasked.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, length)) = FrameHeader::parse(bytes).unwrap() {
        let end = length + header.payload_length as usize;
        let mut payload = bytes[length..end].to_vec();
        if let Some(key) = header.masking_key {
            mask::apply(key, 0, &mut payload);
        }
        frames.push((header, payload));
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty());
    frames
}

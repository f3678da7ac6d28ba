//! The language of the engine's tests: hex in, events as text out. The in-memory pair and the ways to feed it are those
//! of the fuzz targets.

pub(crate) use luws::fuzzing::{collect, feed_every_way, open, pair, request, transfer};
pub(crate) use luws::protocol::Role;
use luws::protocol::connection::{self, Config};
use luws::protocol::frame::{FrameHeader, Lengths, Opcode};
use luws::protocol::mask;
use luws::session::{Event, Session};

/// The bytes of hex digits; spaces are ignored.
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

/// A client whose upgrade is complete. Its random numbers are the same each time.
pub(crate) fn client(config: Config) -> Session {
    pair(Config { seed: Some(1), ..config }, Config::default()).0
}

/// Feeds the bytes of hex digits.
pub(crate) fn receive(session: &mut Session, hex: &str) {
    session.receive(&bytes(hex));
}

/// The next event as text; empty if there is none.
pub(crate) fn next(session: &mut Session) -> String {
    match session.next_event() {
        Ok(None) => String::new(),
        Ok(Some(Event::Open(response))) => format!("open {}", response.status),
        Ok(Some(Event::Request(request))) => format!("request {}", request.resource),
        Ok(Some(event @ (Event::RequestHead(_) | Event::RequestBody(_) | Event::Response(_)))) => {
            format!("{event:?}")
        }
        Ok(Some(Event::Received(event))) => describe(&event),
        Err(failure) => format!("error {failure}"),
    }
}

fn describe(event: &connection::Event<'_>) -> String {
    use connection::Event;
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).expect("text that was delivered is UTF-8");
    match event {
        Event::Message { opcode: Opcode::Text, data } => format!("text {}", text(data)),
        Event::Message { data, .. } => format!("binary {}", hex(data)),
        Event::Begin(opcode) => format!("begin {opcode:?}"),
        Event::Piece { data, last } => format!("piece {}{}", hex(data), if *last { " last" } else { "" }),
        Event::Working => "working".to_owned(),
        Event::Ping(data) => format!("ping {}", text(data)),
        Event::Pong(data) => format!("pong {}", text(data)),
        Event::Close(frame) => {
            let code = frame.code().map_or("-".to_owned(), |code| code.to_string());
            format!("close {code} {}", text(frame.reason()))
        }
    }
}

/// The frames in `bytes`, unmasked.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, length)) = FrameHeader::parse(bytes, Lengths::Shortest).unwrap() {
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

//! The bodies of the fuzz targets in fuzz/: each takes arbitrary bytes and panics if the engine breaks a promise. The
//! tests share the in-memory pair and the ways to feed it.
//!
//! The bodies are part of the crate so that `cargo test` compiles them on stable Rust and runs them over their seeds
//! (tests/engine/fuzzing.rs), which are made from spec/vectors. The feature `fuzzing` is only for this; no released
//! build has it.
//!
//! The promises are the same everywhere: no panic, no endless loop, nothing after the end, and the same events and the
//! same bytes to send, however the input is cut into pieces and whether or not messages are streamed.

mod ends;
mod feeding;
mod framings;
mod operations;
mod pair;
mod parsers;

use crate::protocol::Role;
use crate::protocol::buffer::Buffer;
use crate::protocol::deflate::{NAME, Options};
use crate::protocol::extensions;
use crate::protocol::frame::{FrameHeader, Lengths, MAX_HEADER};

use ends::{Setup, client, play, set_up};
use feeding::cut;
pub use feeding::feed_every_way;
pub use framings::framing;
pub use operations::operations;
pub use pair::{collect, open, pair, request, transfer};
pub use parsers::{certificate, challenge, close_frame, header, http, json, proxy, socketio, url};

/// Takes choices off the front of the fuzzer's data; missing bytes are 0.
#[derive(Debug)]
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// One frame header: [`MAX_HEADER`] bytes are always enough, the result does not change once it is known, and a parsed
/// header is written as it was.
///
/// # Panics
/// A promise is broken.
pub fn frame_header(data: &[u8]) {
    let whole = FrameHeader::parse(data, Lengths::Shortest);
    if let Ok(Some((header, length))) = &whole {
        assert!(*length <= MAX_HEADER.min(data.len()));
        assert!(header.payload_length < 1 << 63 && header.rsv < 8);
        assert!(!header.opcode.is_control() || header.fin && header.payload_length <= 125);
        let mut written = Buffer::default();
        header.write(&mut written).expect("memory for a header");
        assert_eq!(written.as_slice(), &data[..*length]);
    }
    assert!(whole != Ok(None) || data.len() < MAX_HEADER);
    // While the header is incomplete there is no result; from then on the result stays the same.
    let mut known = false;
    for end in 0..=data.len().min(MAX_HEADER) {
        let part = FrameHeader::parse(&data[..end], Lengths::Shortest);
        assert!(part == Ok(None) && !known || part == whole, "{end} bytes: {part:?}, all: {whole:?}");
        known = part != Ok(None);
    }
}

/// A client's open connection. The data: a byte for `Setup`, a byte for how the input is cut, and what the server
/// sends.
///
/// # Panics
/// A promise is broken.
pub fn session_client(data: &[u8]) {
    session(Role::Client, data);
}

/// A server's connection, with data like [`session_client`]'s. If the highest bit of the second byte is set, the
/// connection is not open yet, and the input begins with the request.
///
/// # Panics
/// A promise is broken.
pub fn session_server(data: &[u8]) {
    session(Role::Server, data);
}

fn session(role: Role, data: &[u8]) {
    let mut choices = Choices(data);
    let setup = Setup::from_byte(choices.byte());
    let seed = choices.byte();
    let input = choices.rest();
    let begin = || set_up(role, &setup, role == Role::Client || seed < 128);
    let whole = play(begin(), &setup, &[input]);
    let pieces = play(begin(), &setup, &cut(input, seed & 127));
    assert_eq!(whole, pieces, "in pieces");
    if let Some(setup) = setup.not_streamed() {
        let session = set_up(role, &setup, role == Role::Client || seed < 128);
        assert_eq!(whole, play(session, &setup, &[input]), "not streamed");
    }
}

/// A server's answer to a client's request. The data: a byte for `Setup`, a byte for the request and how the input is
/// cut, and the answer, in which `{accept}` stands for the right hash.
///
/// # Panics
/// A promise is broken.
pub fn handshake_response(data: &[u8]) {
    let mut choices = Choices(data);
    let setup = Setup::from_byte(choices.byte());
    let choice = choices.byte();
    let answer = choices.rest();
    let mut request = request();
    if choice & 128 != 0 {
        request.offer("chat").unwrap();
        request.offer("superchat").unwrap();
    }
    let outcomes = [false, true].map(|is_cut| {
        let (session, accept) = client(&request, &setup);
        let input = replaced(answer, b"{accept}", accept.as_bytes());
        let pieces = if is_cut { cut(&input, choice & 127) } else { vec![input.as_slice()] };
        let mut outcome = play(session, &setup, &pieces);
        for (name, _) in &mut outcome.events {
            *name = name.replace(&accept, "{accept}");
            // Input that is not HTTP is shown as far as it has come.
            if let Some(at) = name.find("is not HTTP: ") {
                name.truncate(at);
            }
        }
        outcome
    });
    assert_eq!(outcomes[0], outcomes[1], "in pieces");
}

fn replaced(data: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    match data.windows(name.len()).position(|window| window == name) {
        Some(at) => [&data[..at], value, &data[at + name.len()..]].concat(),
        None => data.to_vec(),
    }
}

/// permessage-deflate parameters. The data: two bytes for the options of each end, and a header, which is read as an
/// answer and as an offer.
///
/// # Panics
/// A promise is broken.
pub fn deflate_parameters(data: &[u8]) {
    let mut choices = Choices(data);
    let wish = options(&mut choices);
    let allowed = options(&mut choices);
    // Our own ends must agree: whatever one offers, the other accepts, and the answer must not fail the first.
    let offer = extensions::parse(&wish.offer()).unwrap();
    let (_, answer) = allowed.accept(&offer).expect("every offer of ours can be met");
    let answer = extensions::parse(&answer).unwrap();
    assert!(answer.len() == 1 && answer[0].name == NAME);
    wish.agree(&answer[0]).unwrap();

    let Ok(header) = std::str::from_utf8(choices.rest()) else { return };
    let Ok(extensions) = extensions::parse(header) else { return };
    for extension in &extensions {
        let _ = wish.agree(extension);
    }
    if let Some((_, answer)) = allowed.accept(&extensions) {
        let answer = extensions::parse(&answer).unwrap();
        assert!(answer.len() == 1 && answer[0].name == NAME);
        // The answer must be valid for a client that asked for just that.
        let asked = extensions
            .iter()
            .any(|offer| offer.parameters.iter().any(|(name, _)| name.contains("client_max")));
        let told = answer[0].parameters.iter().any(|(name, _)| name == "client_max_window_bits");
        assert!(asked || !told, "a client that does not know client_max_window_bits was told");
        Options::default().agree(&answer[0]).unwrap();
    }
}

/// Options from two bytes.
fn options(choices: &mut Choices<'_>) -> Options {
    let (flags, bits) = (choices.byte(), choices.byte());
    Options {
        server_no_context_takeover: flags & 1 != 0,
        client_no_context_takeover: flags & 2 != 0,
        server_max_window_bits: (flags & 4 != 0).then_some(8 + (bits & 7)),
        client_max_window_bits: (flags & 8 != 0).then_some(8 + (bits >> 4 & 7)),
        level: u32::from(flags >> 4) % 9 + 1,
        threshold: 0,
    }
}

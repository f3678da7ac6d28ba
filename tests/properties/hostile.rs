//! Whatever a peer sends, in whatever state: no panic and no endless loop, no more memory than promised, the same
//! events however the bytes are cut, and none after the end.
//!
//! The first properties run the fuzz targets (src/fuzzing) with bytes that look like frames and heads. The others, and
//! the tests below them, count memory while a peer sends without end.

use luws::fuzzing::{self, collect, request};
use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::deflate::Options;
use luws::protocol::frame::Opcode;
use luws::session::{Event, Session, Storage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::memory::peak_of;
use crate::{cases, pair, wishes};

/// A frame as a peer might invent it; most are almost right.
fn frame(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        2 => select(vec![0x88, 0xc1, 0xc2, 0x41, 0x42]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        2 => "[a-zé€😀\\PC]{0,20}".prop_map(String::into_bytes),
        1 => (100..140_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => (any::<u8>(), 120..130_usize)
            .prop_map(|(byte, length)| [[3, 232].as_slice(), &vec![byte; length]].concat()),
        // compressed: the examples of RFC 7692 section 7.2.3, a bomb, and invalid DEFLATE
        2 => select(vec![
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            b"\xf2\x00\x11\x00\x00",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\xec\xc1\x31\x01\x00\x00\x00\xc2\xa0\xf5\x4f\x6d\x0d\x0f\xa0\x00\x00\x00",
            b"\x07\x00",
            b"\x00",
            b"\x00\x05\x00\xfa\xff\x48\x65\xff\x6c\x6f\x00",
        ]).prop_map(<[u8]>::to_vec),
    ];
    // Usually the true length; otherwise a promise of more, a wrong form, or a mask that should not be there.
    let form = prop_oneof![12 => Just(0), 1 => Just(126), 1 => Just(127), 1 => Just(1)];
    let mask = prop_oneof![20 => Just(masked), 1 => Just(!masked)];
    (first, payload, form, mask, any::<[u8; 4]>(), any::<u16>()).prop_map(
        |(first, data, form, mask, key, promise)| {
            let length = if form == 1 { usize::from(promise) } else { data.len() };
            let mut frame = vec![first];
            match (form, length) {
                (127, _) | (_, 0x1_0000..) => {
                    frame.push(127);
                    frame.extend((length as u64).to_be_bytes());
                }
                (126, _) | (_, 126..) => {
                    frame.push(126);
                    frame.extend((length as u16).to_be_bytes());
                }
                _ => frame.push(length as u8),
            }
            if mask {
                frame[1] |= 0x80;
                frame.extend(key);
                frame.extend(data.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key));
            } else {
                frame.extend(data);
            }
            frame
        },
    )
}

fn frames(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(frame(masked), 0..10).prop_map(|frames| frames.concat()),
        1 => vec(any::<u8>(), 0..200),
    ]
}

/// Lines of a head, valid and invalid.
fn head(first: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        12 => select(vec![
            "Host: h",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: {accept}",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Extensions: permessage-deflate",
            "Sec-WebSocket-Protocol: chat",
            "Connection : keep-alive,",
            " \t Upgrade",
            "",
        ]).prop_map(str::to_owned),
        1 => "Sec-WebSocket-Extensions: [a-z;,=\" 0-9]{0,30}",
        1 => "[!-~]{0,10}: ?\\PC{0,20}",
    ];
    let lines = prop_oneof![
        // The required lines, and some more
        3 => vec(line, 0..4).prop_map(|more| {
            let needed = [
                "Host: h", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
            ];
            [needed.join("\r\n"), more.join("\r\n")].join("\r\n")
        }),
        1 => vec("\\PC{0,30}", 0..5).prop_map(|lines| lines.join("\r\n")),
    ];
    // With a bare LF as the ending of no line, of all, or of the first ones
    let bare = prop_oneof![4 => Just(None), 1 => Just(Some(usize::MAX)), 1 => (0..8_usize).prop_map(Some)];
    (select(first), lines, bare, vec(any::<u8>(), 0..3)).prop_map(|(first, lines, bare, tail)| {
        let head = format!("{first}\r\n{lines}\r\n\r\n");
        let head = bare.map_or_else(|| head.clone(), |count| head.replacen("\r\n", "\n", count));
        [head.as_bytes(), &tail].concat()
    })
}

const ANSWERS: &[&str] = &[
    "HTTP/1.1 101 Switching Protocols",
    "HTTP/1.1 101",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 404 Not Found",
    "HTTP/1.0 101 X",
    "HTTP/1.1 1",
    "",
];

const REQUESTS: &[&str] =
    &["GET / HTTP/1.1", "GET /chat?x HTTP/1.1", "POST / HTTP/1.1", "GET / HTTP/1.0", "GET", ""];

/// All events of a client when the input comes in pieces of this size. With `turns` it is called as the Lua driver
/// does: the fast path for messages of the same kind, and storage that others have used in between.
fn told(wish: Option<&Options>, input: &[u8], piece: usize, turns: bool) -> Vec<String> {
    let (mut client, _) = pair(wish, &Config { max_message_size: 130, ..Config::default() });
    let mut spare = Storage { input: vec![0xaa; 4096], ..Storage::default() };
    let (mut told, mut kind) = (Vec::new(), Opcode::Text);
    for piece in input.chunks(piece) {
        if turns && client.takes_plain_input() {
            spare.input[..piece.len()].copy_from_slice(piece);
            client.receive_storage(&mut spare.input, piece.len(), piece.len());
        } else {
            if turns {
                client.borrow_input(&mut spare);
            }
            client.receive(piece);
        }
        client.borrow_message(&mut spare);
        loop {
            while turns && let Some(data) = client.short_message(kind) {
                told.push(format!("{:?}", Received::Message { opcode: kind, data }));
            }
            match client.next_event() {
                Ok(None) => break,
                Ok(Some(Event::Received(event))) => {
                    if let Received::Message { opcode, .. } = event {
                        kind = opcode;
                    }
                    told.push(format!("{event:?}"));
                }
                other => told.push(format!("{other:?}")),
            }
        }
        if turns {
            client.give_back(&mut spare);
            spare.input.fill(0xaa);
        }
    }
    told
}

fn with_choices(first: u8, second: u8, input: &[u8]) -> Vec<u8> {
    [&[first, second], input].concat()
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn frames_to_a_client(setup in any::<u8>(), cut in 0..128_u8, input in frames(false)) {
        fuzzing::session_client(&with_choices(setup, cut, &input));
    }

    #[test]
    fn frames_to_a_server(setup in any::<u8>(), cut in 0..128_u8, input in frames(true)) {
        fuzzing::session_server(&with_choices(setup, cut, &input));
    }

    #[test]
    fn answers_to_a_client(
        setup in any::<u8>(),
        cut in any::<u8>(),
        heads in vec(head(ANSWERS), 1..3),
        behind in frames(false),
    ) {
        fuzzing::handshake_response(&with_choices(setup, cut, &[heads.concat(), behind].concat()));
    }

    #[test]
    fn requests_to_a_server(
        setup in any::<u8>(),
        cut in 128..=255_u8,
        request in head(REQUESTS),
        behind in frames(true),
    ) {
        fuzzing::session_server(&with_choices(setup, cut, &[request, behind].concat()));
    }

    #[test]
    fn what_is_told_in_turns_is_the_same(input in frames(false), piece in 1..60_usize, index in any::<usize>()) {
        let wishes = wishes();
        let wish = wishes[index % wishes.len()].as_ref();
        prop_assert_eq!(told(wish, &input, piece, true), told(wish, &input, piece, false));
    }

    #[test]
    fn headers_and_parameters(input in vec(any::<u8>(), 0..20), header in "permessage-deflate; [a-z_0-9=;, \"]{0,40}") {
        fuzzing::frame_header(&input);
        fuzzing::deflate_parameters(&[input.as_slice(), header.as_bytes()].concat());
    }

    #[test]
    fn operations_on_a_pair(input in vec(any::<u8>(), 0..60)) {
        fuzzing::operations(&input);
    }
}

/// More bytes than any state may keep.
const MUCH: usize = 400_000;

/// The most bytes of a message, and what a connection may use in addition.
const LIMIT: usize = 65_535;
const BESIDE: usize = 64 * 1024;

/// Answers to a peer that does not read: 64 KiB, in a queue that may have room for twice as many bytes.
const ANSWERS_BESIDE: usize = 128 * 1024;

/// The most that a head costs: a response's may have 64 KiB, and thus 10,000 of the headers that
/// [`memory_before_the_upgrade`] makes, each of which costs some 100 bytes.
const HEAD: usize = 1024 * 1024;

/// The inflater's own memory: its window and its tables.
const INFLATER: usize = 64 * 1024;

/// The memory needed to receive `begin`, then `again` repeatedly, until there are [`MUCH`] bytes.
fn memory_for(session: &mut Session, begin: &[u8], again: &[u8], piece: usize) -> usize {
    let mut bytes = begin.to_vec();
    while bytes.len() < MUCH && !again.is_empty() {
        bytes.extend_from_slice(again);
    }
    peak_of(|| {
        for piece in bytes.chunks(piece) {
            session.receive(piece);
            loop {
                let mut pong = None;
                match session.next_event() {
                    Ok(Some(Event::Received(Received::Ping(payload)))) => pong = Some(payload.to_vec()),
                    Ok(Some(Event::Request(_))) => session.accept(None),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    // A driver stops reading then.
                    Err(_) => return,
                }
                if let Some(payload) = pong {
                    // The peer does not read the pongs.
                    let _ = session.send_pong(&payload);
                }
            }
        }
    })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn memory_of_an_open_connection(
        wish in select(wishes()),
        server in any::<bool>(),
        begin in vec(frame(false), 0..4),
        again in vec(frame(false), 1..4),
        masked in (vec(frame(true), 0..4), vec(frame(true), 1..4)),
        piece in select(vec![1000, 4096, 16_384]),
    ) {
        let config = Config { max_message_size: LIMIT, ..Config::default() };
        let (client, other) = pair(wish.as_ref(), &config);
        let (mut session, begin, again) = if server { (other, masked.0, masked.1) } else { (client, begin, again) };
        let most = LIMIT + BESIDE + ANSWERS_BESIDE + wish.map_or(0, |_| INFLATER);
        let used = memory_for(&mut session, &begin.concat(), &again.concat(), piece);
        prop_assert!(used <= most, "{used} bytes, {most} are the most");
    }

    #[test]
    fn memory_before_the_upgrade(
        server in any::<bool>(),
        begin in prop_oneof![head(ANSWERS), head(REQUESTS)],
        again in prop_oneof![head(ANSWERS), head(REQUESTS), vec(any::<u8>(), 1..50), Just(b"X: y\r\n".to_vec())],
        ended in any::<bool>(),
        piece in select(vec![1000, 4096, 16_384]),
    ) {
        let config = Config { max_message_size: LIMIT, ..Config::default() };
        let mut session =
            if server { Session::server(None, config) } else { Session::client(&request(), None, config) }.unwrap();
        collect(&mut session);
        // Without its blank line, the head goes on.
        let begin = if ended { &begin[..] } else { begin.trim_ascii_end() };
        let used = memory_for(&mut session, begin, &again, piece);
        prop_assert!(used <= HEAD, "{used} bytes");
    }
}

/// Bytes that our own server sends, as the beginning of a peer's input.
fn sent(wish: Option<&Options>, data: &[u8], fin: bool) -> Vec<u8> {
    let (_, mut server) = pair(wish, &Config::default());
    server.send(Opcode::Binary, data, fin).unwrap();
    collect(&mut server)
}

/// The name, whether it is compressed, the limit, the bytes that come first and those repeated, and the most memory.
type Case<'a> = (&'a str, bool, usize, &'a [u8], &'a [u8], usize);

#[test]
fn memory_of_what_is_meant_to_cost_much() {
    let deflate = wishes().into_iter().flatten().next();
    let ping = [b"\x89\x7d".as_slice(), &[b'?'; 125]].concat();
    let whole = sent(None, &vec![7; LIMIT], true);
    let bomb = sent(deflate.as_ref(), &vec![0; 60_000], false);
    let fragment = [b"\x00\x7e\x10\x00".as_slice(), &[7; 4096]].concat();
    let (plain, beside) = (LIMIT + BESIDE, LIMIT + BESIDE + INFLATER);
    let cases: [Case<'_>; 11] = [
        ("a promise", false, LIMIT, b"\x82\x7e\xff\xffx", b"", plain),
        ("a promise that is kept slowly", false, LIMIT, b"\x82\x7e\xff\xff", b"x", plain),
        ("empty fragments without end", false, LIMIT, b"\x02\x00", b"\x00\x00", 64 * 1024),
        ("fragments of a byte", false, LIMIT, b"\x02\x00", b"\x00\x01x", plain),
        ("many messages", false, LIMIT, b"", b"\x81\x01x", 64 * 1024),
        ("the largest messages", false, LIMIT, b"", &whole, plain),
        ("pings to an end that cannot send", false, LIMIT, b"", &ping, ANSWERS_BESIDE + 64 * 1024),
        ("a bomb", true, LIMIT, &bomb, &bomb, beside),
        ("a bomb in a small limit", true, 1000, &bomb, b"", 1000 + BESIDE + INFLATER),
        ("empty compressed messages", true, LIMIT, b"", b"\xc2\x00", beside),
        // Assembled data grows by doubling.
        ("fragments to a large limit", false, 350_000, b"\x02\x00", &fragment, 2 * 350_000 + BESIDE),
    ];
    for (name, compressed, limit, begin, again, most) in cases {
        for piece in [100, 1000, 16_384] {
            let wish = deflate.as_ref().filter(|_| compressed);
            let config = Config { max_message_size: limit, ..Config::default() };
            let (mut session, _) = pair(wish, &config);
            let used = memory_for(&mut session, begin, again, piece);
            assert!(used <= most, "{name}, {piece} bytes at once: {used} bytes, {most} are the most");
        }
    }
}

#[test]
fn memory_of_a_streamed_message_that_is_forgotten() {
    // 32 MiB of zeros, of which the first piece is taken, and the rest is forgotten.
    let deflate = wishes().into_iter().flatten().next();
    let bomb = sent(deflate.as_ref(), &vec![0; 32 << 20], true);
    for (reset, piece) in [(false, 16_384), (false, usize::MAX), (true, usize::MAX)] {
        let (mut session, _) =
            pair(deflate.as_ref(), &Config { max_message_size: LIMIT, ..Config::default() });
        session.connection_mut().unwrap().set_announce(true);
        let used = peak_of(|| {
            for (number, piece) in bomb.chunks(piece.min(bomb.len())).enumerate() {
                session.receive(piece);
                if number == 0 {
                    assert!(matches!(session.next_event(), Ok(Some(Event::Received(Received::Begin(_))))));
                    session.connection_mut().unwrap().stream_message();
                    let event = session.next_event();
                    assert!(matches!(event, Ok(Some(Event::Received(Received::Piece { last: false, .. })))));
                    let connection = session.connection_mut().unwrap();
                    if reset {
                        connection.reset();
                    } else {
                        connection.forget_message();
                    }
                }
                while session.next_event().unwrap() == Some(Event::Received(Received::Working)) {}
                assert_eq!(session.next_event(), Ok(None));
            }
        });
        let most = 3 * bomb.len() + BESIDE + INFLATER;
        assert!(used <= most, "{used} bytes, {most} are the most");
    }
}

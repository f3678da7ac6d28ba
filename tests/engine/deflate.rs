//! permessage-deflate against RFC 7692: offers, messages with all negotiated parameters, and the limits of windows and
//! messages. Answers, and the events for given bytes, are in spec/vectors.

use luws::protocol::connection::Config;
use luws::protocol::deflate::{Inflater, Options};
use luws::protocol::error::{ProtocolError, ReceiveError};
use luws::protocol::extensions;
use luws::protocol::frame::{Opcode, RSV1};
use luws::protocol::spare::Spares;
use luws::session::Session;

use crate::feeding::{self, collect, frames, next, transfer};

/// Options from a short text: s, c for the two "no context takeover", S9, C9 for the window bits.
fn options(text: &str) -> Options {
    let mut options = Options { threshold: 0, ..Options::default() };
    for word in text.split_whitespace() {
        let bits = word[1..].parse().ok();
        match &word[..1] {
            "s" => options.server_no_context_takeover = true,
            "c" => options.client_no_context_takeover = true,
            "S" => options.server_max_window_bits = bits,
            "C" => options.client_max_window_bits = bits,
            _ => panic!("{word}"),
        }
    }
    options
}

#[test]
fn an_offer_has_what_the_client_wishes_for() {
    for (wish, offer) in [
        ("", "permessage-deflate; client_max_window_bits"),
        (
            "s c",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        // RFC 7692 section 7.1.3: a second offer, for servers that cannot limit their window
        (
            "S10 C9 s",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; \
             client_max_window_bits=9, \
             permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
        ),
    ] {
        assert_eq!(options(wish).offer(), offer);
    }
}

/// Two ends that have negotiated: the client asks, the server allows.
fn pair(wish: &str, allowed: &str, limit: usize) -> (Session, Session) {
    sharing(wish, allowed, limit, &Spares::default())
}

/// The same, with these compressors.
fn sharing(wish: &str, allowed: &str, limit: usize, spares: &Spares) -> (Session, Session) {
    let end = |text| Config {
        max_message_size: limit,
        deflate: Some(options(text)),
        spares: spares.clone(),
        ..Config::default()
    };
    feeding::pair(end(wish), end(allowed))
}

/// Data that compresses well, badly, and with matches as far back as a window of 32 KiB.
fn samples() -> Vec<Vec<u8>> {
    let mut state = 1_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(length)
        .collect()
    };
    let far = |mut data: Vec<u8>, distance: usize| {
        let copy = data[data.len() - distance..][..100].to_vec();
        data.extend(copy);
        data
    };
    vec![
        Vec::new(),
        b"a".to_vec(),
        b"Hello, Hello, Hello, Hello".to_vec(),
        vec![b'x'; 70_000],
        noise(1000),
        noise(70_000),
        far(noise(240), 240),
        far(noise(300), 260),
        far(noise(1000), 510),
        far(noise(40_000), 32_000),
        (0..20_000_u32).flat_map(|i| format!("{{\"id\":{i},\"value\":{}}},", i * i).into_bytes()).collect(),
    ]
}

#[test]
fn messages_survive_every_agreement() {
    for (wish, allowed) in [
        ("", ""),
        ("s", ""),
        ("c", ""),
        ("s c", ""),
        ("", "s c"),
        ("S8 C8", ""),
        ("S9 C9", ""),
        ("S12 C10", ""),
        ("s c S8 C8", ""),
        ("", "S9 C9"),
    ] {
        let (mut client, mut server) = pair(wish, allowed, 1 << 20);
        for (round, data) in samples().iter().chain(&samples()).enumerate() {
            let expected = format!("binary {}", feeding::hex(data));
            client.send(Opcode::Binary, data, true).unwrap();
            // The same in fragments, some of them empty.
            let (first, second) = data.split_at(data.len() / 3);
            client.send(Opcode::Binary, first, false).unwrap();
            client.send(Opcode::Continuation, b"", false).unwrap();
            client.send(Opcode::Continuation, second, round % 2 == 0).unwrap();
            if round % 2 != 0 {
                client.send(Opcode::Continuation, b"", true).unwrap();
            }
            transfer(&mut client, &mut server, usize::MAX);
            for _ in 0..2 {
                assert!(next(&mut server) == expected, "{wish}/{allowed}, message {round} to the server");
            }
            server.send(Opcode::Binary, data, true).unwrap();
            transfer(&mut server, &mut client, usize::MAX);
            assert!(next(&mut client) == expected, "{wish}/{allowed}, message {round} to the client");
        }
    }
}

#[test]
fn small_windows_are_kept_to() {
    // A peer with a window of 2^8 bytes inflates with just that much memory. (Python's zlib, told to use windows of 8
    // bits, could inflate the samples.) Here the stream shows the distances: with a window of 2^8, nothing more than
    // 256 bytes back may be used.
    let near: Vec<u8> = samples()[6].clone(); // repeats 240 bytes back
    let far: Vec<u8> = samples()[7].clone(); // repeats 260 bytes back
    for (data, shrinks) in [(near, true), (far, false)] {
        let (mut client, _) = pair("C8", "", 65_535);
        client.send(Opcode::Binary, &data, true).unwrap();
        let frames = frames(&collect(&mut client));
        assert_eq!(frames[0].0.rsv == RSV1, shrinks);
        assert_eq!(frames[0].1.len() < data.len(), shrinks);
    }
}

#[test]
fn what_does_not_shrink_goes_as_it_is() {
    let (mut client, mut server) = pair("", "", 1 << 20);
    let noise = &samples()[5];
    client.send(Opcode::Binary, noise, true).unwrap();
    let sent = collect(&mut client);
    assert_eq!(sent.len(), 14 + noise.len());
    assert_eq!(frames(&sent)[0].0.rsv, 0);
    server.receive(&sent);
    next(&mut server);
    // The two windows must still agree.
    client.send(Opcode::Binary, &[noise.clone(), noise[..500].to_vec()].concat(), true).unwrap();
    client.send(Opcode::Text, &[b'x'; 500], true).unwrap();
    transfer(&mut client, &mut server, usize::MAX);
    assert!(next(&mut server).len() > 2 * noise.len());
    assert_eq!(next(&mut server), format!("text {}", "x".repeat(500)));
}

#[test]
fn the_windows_agree_after_a_forgotten_message() {
    let (mut client, mut server) = pair("", "", 1 << 20);
    let text = samples().pop().unwrap();
    server.send(Opcode::Binary, &text[..50_000], true).unwrap();
    server.send(Opcode::Binary, &text[..60_000], true).unwrap();
    let sent = collect(&mut server);
    client.receive(&sent[..100]);
    assert_eq!(next(&mut client), "");
    client.connection_mut().unwrap().forget_message();
    client.receive(&sent[100..]);
    assert_eq!(next(&mut client), format!("binary {}", feeding::hex(&text[..60_000])));
}

#[test]
fn without_context_takeover_a_message_depends_on_none_before_it_on_any_connection() {
    // Compressors and inflaters go from one connection to the next.
    let shared = Spares::shared();
    for bits in [8, 9, 15] {
        let wish = format!("s c S{bits} C{bits}");
        let sent = |data: &[u8], spares: &Spares| {
            let (mut client, mut server) = sharing(&wish, "", 1 << 20, spares);
            client.send(Opcode::Binary, data, true).unwrap();
            let wire = frames(&collect(&mut client)).remove(0).1;
            server.send(Opcode::Binary, data, true).unwrap();
            transfer(&mut server, &mut client, usize::MAX);
            assert!(next(&mut client) == format!("binary {}", feeding::hex(data)));
            wire
        };
        let alone: Vec<_> = samples().into_iter().map(|data| sent(&data, &Spares::default())).collect();
        for _ in 0..2 {
            let together: Vec<_> = samples().iter().map(|data| sent(data, &shared)).collect();
            assert!(together == alone, "{bits}");
        }
    }
    // A reference to what another connection has received is a fault.
    let data = b"a word that the second message repeats from the first";
    let (mut client, mut server) = sharing("", "", 1 << 20, &shared);
    let [first, second] = [(); 2].map(|()| {
        server.send(Opcode::Binary, data, true).unwrap();
        collect(&mut server)
    });
    client.receive(&[&first[..], &second].concat());
    assert_eq!(
        [next(&mut client), next(&mut client)],
        [(); 2].map(|()| format!("binary {}", feeding::hex(data)))
    );
    for (bytes, told) in [(&first, "binary "), (&second, "error compressed message is not valid DEFLATE")] {
        let (mut client, _) = sharing("s", "", 1 << 20, &shared);
        client.receive(bytes);
        assert!(next(&mut client).starts_with(told));
    }
}

#[test]
fn messages_under_the_threshold_are_not_compressed() {
    let deflate = Some(Options { threshold: 100, ..Options::default() });
    let config = Config { deflate, ..Config::default() };
    let (_, mut server) = feeding::pair(config.clone(), config);
    for (length, rsv) in [(99, 0), (100, RSV1)] {
        server.send(Opcode::Text, &vec![b'x'; length], true).unwrap();
        assert_eq!(frames(&collect(&mut server))[0].0.rsv, rsv);
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    // 64 MiB of zeros, compressed to 64 KiB; the limit is 100,000 bytes.
    let (mut sender, _) = pair("", "", usize::MAX);
    sender.send(Opcode::Binary, &vec![0; 64 << 20], true).unwrap();
    let frames = frames(&collect(&mut sender));
    assert!(frames[0].1.len() < 70_000);
    let limit = 100_000;
    let (parameters, _) = options("").accept(&extensions::parse("permessage-deflate").unwrap()).unwrap();
    let mut data = Vec::new();
    let error = Inflater::new(&parameters).push(&frames[0].1, &mut data, limit).unwrap_err();
    assert_eq!(error, ReceiveError::TooBig { limit, length: None });
    assert!(data.capacity() <= limit + 16 * 1024, "{}", data.capacity());

    // A message of exactly the limit is allowed.
    let (mut sender, mut receiver) = pair("", "", limit);
    sender.send(Opcode::Binary, &vec![0; limit], true).unwrap();
    sender.send(Opcode::Binary, &vec![0; limit + 1], true).unwrap();
    transfer(&mut sender, &mut receiver, usize::MAX);
    assert_eq!(next(&mut receiver).len(), "binary ".len() + 2 * limit);
    assert_eq!(next(&mut receiver), "error message too big (over 100000 bytes; see max_payload_size)");
}

/// What is found in a piece does not depend on the room that is left for its output.
#[test]
fn faults_and_ends_are_found_at_once() {
    let block = [0x0a, 0x0d, 0x57, 0x57, 0x57, 0x57, 0xb6, 0x57, 0x1a, 0x10, 0xff, 0x60];
    // "Hello" in a block marked as the last (RFC 7692 section 7.2.3.4)
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for room in 0..20 {
        let fault = Err(ProtocolError::NotDeflate.into());
        let inflated = b"UW'''#?\"".to_vec();
        assert_eq!(inflate(&block[..11], room), (Ok(()), inflated.clone()), "room for {room}");
        assert_eq!(inflate(&block, room), (fault, inflated), "a distance too far back, room for {room}");
        let hello = (Ok(()), b"HelloHello".to_vec());
        assert_eq!(inflate(&[last, last].concat(), room), hello, "room for {room}");
    }
}

/// Inflates a piece into a vector whose initial capacity is `room`.
fn inflate(piece: &[u8], room: usize) -> (Result<(), ReceiveError>, Vec<u8>) {
    let offers = extensions::parse(&options("").offer()).unwrap();
    let (parameters, _) = options("").accept(&offers).unwrap();
    let mut data = Vec::with_capacity(room);
    let result = Inflater::new(&parameters).push(piece, &mut data, usize::MAX);
    (result, data)
}

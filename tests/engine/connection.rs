//! The open connection against RFC 6455, sections 5 to 8: what is sent, what may not be sent, and how the two
//! directions end. The events for given bytes are in spec/vectors.

use crate::feeding::{bytes, client, collect, frames, hex, next, pair, receive, transfer};
use luws::protocol::close::CloseFrame;
use luws::protocol::close_code::CloseCode;
use luws::protocol::connection::Config;
use luws::protocol::error::SendError;
use luws::protocol::frame::Opcode;
use luws::session::Session;

#[test]
fn lengths_around_every_encoding_are_sent_and_received() {
    // Section 5.2: 7, 7+16 and 7+64 bits, each in its shortest form, both ways.
    for length in [0, 1, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 200_000] {
        let config = Config { max_message_size: length, ..Config::default() };
        let (mut client, mut server) = pair(config.clone(), config);
        let data: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        server.send(Opcode::Binary, &data, true).unwrap();
        let expected = 2 + if length > 65_535 {
            8
        } else if length > 125 {
            2
        } else {
            0
        };
        assert_eq!(server.outgoing_len(), expected + length);
        transfer(&mut server, &mut client, usize::MAX);
        assert_eq!(next(&mut client), format!("binary {}", hex(&data)));

        client.send(Opcode::Binary, &data, true).unwrap();
        transfer(&mut client, &mut server, usize::MAX);
        assert_eq!(next(&mut server), format!("binary {}", hex(&data)));
    }
}

#[test]
fn each_frame_has_a_masking_key_of_its_own() {
    let mut client = client(Config::default());
    for _ in 0..64 {
        client.send(Opcode::Text, b"same", true).unwrap();
    }
    let frames = frames(&collect(&mut client));
    let keys: std::collections::HashSet<_> = frames.iter().map(|(header, _)| header.masking_key).collect();
    assert_eq!(keys.len(), 64); // section 5.3
}

#[test]
fn a_message_is_written_at_once_or_queued_without_a_difference_on_the_wire() {
    let deflate = Some(luws::protocol::deflate::Options::default());
    let plain = Config::default;
    for config in [plain(), Config { fragment_size: 126, ..plain() }, Config { deflate, ..plain() }] {
        for length in [0, 1, 125, 126, 3000] {
            let data: Vec<u8> = (0..length).map(|i| b'a' + (i % 26) as u8).collect();
            let (_, mut queued) = pair(config.clone(), config.clone());
            queued.send(Opcode::Text, &data, true).unwrap();
            let expected = collect(&mut queued);
            for most in [0, 1, 3, 4, 10, expected.len(), usize::MAX] {
                let (_, mut server) = pair(config.clone(), config.clone());
                let mut wire = Vec::new();
                let write = |header: &[u8], data: &[u8]| {
                    wire = [header, data].concat();
                    wire.truncate(most);
                    wire.len()
                };
                server.send_at_once(Opcode::Text, &data, write).unwrap();
                let is_plain =
                    config.deflate.is_none() && (config.fragment_size == 0 || length <= config.fragment_size);
                assert_eq!(wire.len(), if is_plain { most.min(expected.len()) } else { 0 });
                assert_eq!(server.outgoing_len(), expected.len() - wire.len());
                assert_eq!(server.unsent_len(), if wire.len() == expected.len() { 0 } else { length });
                wire.extend(collect(&mut server));
                assert_eq!(wire, expected);
                assert_eq!(server.unsent_len(), 0);
            }
        }
    }

    // What waits goes first, a client masks a copy, and what may not be sent is not begun.
    let never = |_: &[u8], _: &[u8]| -> usize { panic!("it is not written at once") };
    let (mut client, mut server) = pair(plain(), plain());
    server.send(Opcode::Binary, b"first", true).unwrap();
    server.send_at_once(Opcode::Binary, b"second", never).unwrap();
    assert_eq!(collect(&mut server), b"\x82\x05first\x82\x06second");
    client.send_at_once(Opcode::Binary, b"data", never).unwrap();
    assert_eq!(frames(&collect(&mut client))[0].1, b"data");
    assert_eq!(server.send_at_once(Opcode::Text, b"\xff", never), Err(SendError::TextNotUtf8));
    server.send(Opcode::Text, b"a", false).unwrap();
    assert_eq!(server.send_at_once(Opcode::Text, b"b", never), Err(SendError::MessageInProgress));
    server.send_close(CloseFrame::default()).unwrap();
    assert_eq!(server.send_at_once(Opcode::Text, b"c", never), Err(SendError::Closing));
}

#[test]
fn without_masking_a_client_sends_the_payload_as_it_is() {
    let mut client = client(Config { use_masking: false, ..Config::default() });
    client.send(Opcode::Text, b"hi", true).unwrap();
    assert_eq!(collect(&mut client), b"\x81\x02hi");
}

#[test]
fn fragment_size_splits_messages() {
    let mut client = client(Config { fragment_size: 4, ..Config::default() });
    client.send(Opcode::Text, b"abcdefghij", true).unwrap();
    let frames: Vec<_> = frames(&collect(&mut client))
        .into_iter()
        .map(|(header, payload)| (header.opcode, header.fin, String::from_utf8(payload).unwrap()))
        .collect();
    assert_eq!(
        frames,
        [
            (Opcode::Text, false, "abcd".into()),
            (Opcode::Continuation, false, "efgh".into()),
            (Opcode::Continuation, true, "ij".into())
        ]
    );
}

#[test]
fn what_may_not_be_sent_is_refused_and_nothing_is_sent() {
    let long = [b'x'; 126];
    #[rustfmt::skip]
    let cases: &[(Opcode, &[u8], bool, SendError)] = &[
        (Opcode::Continuation, b"", true, SendError::Opcode(0)),
        (Opcode::Ping, &long, true, SendError::ControlTooLong(126)),
        (Opcode::Close, &long, true, SendError::ControlTooLong(126)),
        (Opcode::Close, b"", false, SendError::ControlFragmented),
        (Opcode::Pong, b"", false, SendError::ControlFragmented),
        (Opcode::Text, b"\xff", true, SendError::TextNotUtf8),
        (Opcode::Text, b"\xff", false, SendError::TextNotUtf8),
        (Opcode::Close, b"\x03", true, SendError::Close("close frame with a body of one byte".into())),
        (Opcode::Close, b"\x03\xee", true, SendError::Close("invalid close code 1006".into())),
    ];
    for (opcode, data, fin, error) in cases {
        let mut client = client(Config::default());
        assert_eq!(client.send(*opcode, data, *fin), Err(error.clone()));
        assert_eq!(client.outgoing_len(), 0);
        assert_eq!(client.send(Opcode::Text, b"goes on", true), Ok(()));
    }
}

#[test]
fn fragments_of_two_messages_do_not_mix() {
    let mut client = client(Config::default());
    client.send(Opcode::Text, "€".as_bytes().split_at(1).0, false).unwrap();
    assert_eq!(client.send(Opcode::Binary, b"", true), Err(SendError::MessageInProgress));
    client.send(Opcode::Ping, b"between", true).unwrap();
    assert_eq!(client.send(Opcode::Continuation, b"(", true), Err(SendError::TextNotUtf8));
}

#[test]
fn nothing_follows_a_close() {
    let mut client = client(Config::default());
    client.send_close(CloseFrame::new(CloseCode::NORMAL_CLOSURE, "bye").unwrap()).unwrap();
    let length = client.outgoing_len();
    assert_eq!(client.send(Opcode::Text, b"late", true), Err(SendError::Closing));
    assert_eq!(client.send(Opcode::Pong, b"", true), Err(SendError::Closing));
    assert_eq!(client.send_close(CloseFrame::default()), Err(SendError::Closing));
    assert_eq!(client.outgoing_len(), length);
    // Section 5.5.1: data may still arrive until the peer's close frame does.
    client.receive(b"\x81\x01a\x88\x02\x03\xe8");
    assert_eq!(next(&mut client), "text a");
    assert_eq!(next(&mut client), "close 1000 ");
}

#[test]
fn a_close_is_answered_with_its_code() {
    for (input, reply) in [("88 02 0fa0", "0fa0"), ("88 05 03e9 627965", "03e9"), ("88 00", "")] {
        let mut client = client(Config::default());
        receive(&mut client, input);
        next(&mut client);
        client.reply_close();
        client.reply_close(); // once is enough
        let sent = frames(&collect(&mut client));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].1, bytes(reply), "{input}");
    }
}

#[test]
fn a_forgotten_message_is_followed_to_its_end() {
    #[rustfmt::skip]
    let cases = [
        // before, after it, events
        ("81 05 4865", "6c6c6f 81 02 6f6b", "text ok"),   // within a frame, whose other bytes still come
        ("81", "01 61 81 02 6f6b", "text a"),             // no part of a message was there yet
        ("01 02 4865", "00 01 61 80 01 62 81 02 6f6b", "text ok"), // between fragments
        ("01 02 4865 00 05 61", "62636465 80 01 66 81 02 6f6b", "text ok"),
        ("02 02 8101", "80 03 810161 81 02 6f6b", "text ok"), // a payload that looks like a frame
        ("01 01 e2", "80 01 ff 81 02 6f6b", "text ok"),   // undelivered data need not be UTF-8
    ];
    for (before, after, event) in cases {
        let mut client = client(Config::default());
        receive(&mut client, before);
        assert_eq!(next(&mut client), "");
        client.connection_mut().unwrap().forget_message();
        receive(&mut client, after);
        assert_eq!(next(&mut client), event, "{before} / {after}");
    }
}

#[test]
fn reset_takes_the_next_byte_for_the_beginning_of_a_frame() {
    for before in ["81 05 4865", "81", "89 02 70", "01 02 4865", "01 02 4865 00 05 61"] {
        let mut client = client(Config::default());
        receive(&mut client, before);
        assert_eq!(next(&mut client), "");
        client.connection_mut().unwrap().reset();
        receive(&mut client, "81 02 6f6b");
        assert_eq!(next(&mut client), "text ok", "{before}");
    }
    // A complete message is not forgotten.
    let mut client = client(Config::default());
    receive(&mut client, "81 01 61 81 01 62 81 05 63");
    assert_eq!(next(&mut client), "text a");
    client.connection_mut().unwrap().reset();
    assert_eq!(next(&mut client), "text b");
    assert_eq!(next(&mut client), "");
    receive(&mut client, "81 01 64");
    assert_eq!(next(&mut client), "text d");
}

#[test]
fn a_message_that_was_announced_is_not_forgotten_but_next() {
    for reset in [false, true] {
        let mut client = client(Config::default());
        client.connection_mut().unwrap().set_announce(true);
        receive(&mut client, "81 01 61 81 01 62");
        assert_eq!(next(&mut client), "begin Text");
        if reset {
            client.connection_mut().unwrap().reset();
        } else {
            client.connection_mut().unwrap().forget_message();
        }
        // It is not announced again: calling reset at each announcement would never end.
        client.connection_mut().unwrap().stream_message();
        assert_eq!(next(&mut client), "piece 61 last");
        assert_eq!(next(&mut client), "begin Text");
        assert_eq!(next(&mut client), "text b");
    }
    // reset drops a partly received message entirely, so the next message is announced as usual.
    let mut client = client(Config::default());
    client.connection_mut().unwrap().set_announce(true);
    receive(&mut client, "81 02 61");
    assert_eq!(next(&mut client), "begin Text");
    client.connection_mut().unwrap().reset();
    receive(&mut client, "82 01 62");
    assert_eq!(next(&mut client), "begin Binary");
}

/// Takes all events. Returns the length of the data of the pieces, and what else has come.
fn pieces(session: &mut Session) -> (usize, String) {
    let mut length = 0;
    loop {
        match next(session) {
            event if event.starts_with("piece ") => {
                length += event.split(' ').nth(1).map_or(0, str::len) / 2;
            }
            other => return (length, other),
        }
    }
}

#[test]
fn the_size_limit_holds_for_all_pieces_of_a_streamed_message() {
    const LIMIT: usize = 100_000;
    let over = |has: &str| format!("error message too big (over {LIMIT} bytes{has}; see max_payload_size)");
    for (before, header, told) in [
        // In one frame: known by its header.
        (0, "82 7f 00000000000186a1", over(": it has 100001")),
        (0, "82 7f 7fffffffffffffff", over(": it has 9223372036854775807")),
        (0, "02 7f 00000000000186a1", over("")),
        // In fragments: by the header of the one with which it gets too long.
        (60_000, "80 7e 9c41", over(": it has 100001")),
        (60_000, "00 7e 9c41", over("")),
        (60_000, "80 7e 9c40", String::new()),
    ] {
        let mut client = client(Config { max_message_size: LIMIT, ..Config::default() });
        client.connection_mut().unwrap().set_streaming(true);
        if before > 0 {
            receive(&mut client, "02 7e ea60");
            client.receive(&vec![7; before]);
        }
        assert_eq!(pieces(&mut client), (before, String::new()));
        receive(&mut client, header);
        assert_eq!(pieces(&mut client), (0, told), "{header}");
    }

    // What is compressed shows its size when it is inflated. The next message may be as large again.
    let deflate = Some(luws::protocol::deflate::Options::default());
    let config = Config { max_message_size: LIMIT, deflate, ..Config::default() };
    let (mut client, mut server) = pair(config.clone(), config);
    client.connection_mut().unwrap().set_streaming(true);
    for (length, told) in [(LIMIT, String::new()), (LIMIT, String::new()), (LIMIT + 1, over(""))] {
        server.send(Opcode::Binary, &vec![0; length], true).unwrap();
        transfer(&mut server, &mut client, usize::MAX);
        let (length, last) = pieces(&mut client);
        assert!(length <= LIMIT && (length == LIMIT) == told.is_empty(), "{length}");
        assert_eq!(last, told);
    }
}

#[test]
fn reset_skips_what_has_come_of_a_frame_whose_beginning_was_taken() {
    let mut client = client(Config::default());
    client.connection_mut().unwrap().set_announce(true);
    let payload = vec![0x81; 40_000]; // which looks like frames
    client.receive(&[&bytes("82 7e 9c40")[..], &payload].concat());
    receive(&mut client, "81 01 61");
    assert_eq!(next(&mut client), "begin Binary");
    client.connection_mut().unwrap().stream_message();
    assert!(next(&mut client).starts_with("piece 8181"));
    client.connection_mut().unwrap().reset();
    assert_eq!(next(&mut client), "begin Text");
    assert_eq!(next(&mut client), "text a");
}

#[test]
fn a_message_may_have_as_many_fragments_as_bytes() {
    let count = 65_536;
    let mut client = client(Config { max_message_size: count, ..Config::default() });
    let mut input = bytes("02 00");
    for _ in 0..count - 1 {
        input.extend(bytes("00 01 61"));
    }
    input.extend(bytes("80 01 61"));
    for piece in input.chunks(1000) {
        client.receive(piece);
        let event = next(&mut client);
        assert_eq!(event.is_empty(), client.status().frames < count as u64 + 1);
    }
    assert_eq!(client.status().frames, count as u64 + 1);
}

/// How many times the caller gets control back while all input is interpreted, and the other events.
fn asked_back(session: &mut Session) -> (usize, Vec<String>) {
    let (mut times, mut told) = (0, Vec::new());
    loop {
        match next(session).as_str() {
            "" => return (times, told),
            "working" => times += 1,
            event => told.push(event[..event.len().min(12)].to_owned()),
        }
    }
}

#[test]
fn a_flood_that_makes_no_events_gives_the_caller_a_say_now_and_then() {
    // 1 MiB of empty fragments
    let mut client = client(Config::default());
    client.receive(&[0x01, 0x00]);
    client.receive(&[0x00, 0x00].repeat(512 * 1024));
    assert_eq!(asked_back(&mut client), (523, vec![]));
    client.receive(&[0x80, 0x01, b'x']);
    assert_eq!(asked_back(&mut client), (0, vec!["text x".to_owned()]));

    // RFC 7692: 64 MiB of zeros in one frame, for a message within the limit, and for a forgotten one
    for forget in [false, true] {
        let config = Config {
            max_message_size: 1 << 27,
            deflate: Some(luws::protocol::deflate::Options::default()),
            ..Config::default()
        };
        let (mut client, mut server) = pair(config.clone(), config);
        server.send(Opcode::Binary, b"", false).unwrap();
        server.send(Opcode::Continuation, &vec![0; 1 << 26], true).unwrap();
        transfer(&mut server, &mut client, usize::MAX);
        assert_eq!(next(&mut client), "working");
        if forget {
            client.connection_mut().unwrap().forget_message();
        }
        let (times, told) = asked_back(&mut client);
        assert!((60..70).contains(&times), "{times}");
        assert_eq!(told, if forget { vec![] } else { vec!["binary 00000".to_owned()] });
    }
}

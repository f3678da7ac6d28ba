//! The open connection against RFC 6455, sections 5 to 8: bytes in, events and bytes out. Every case is
//! fed in every way that a network could deliver it.

use crate::feeding::{self, Role, bytes, client, every_way, server};
use luws::protocol::close::{CloseCode, CloseFrame};
use luws::protocol::connection::Config;
use luws::protocol::error::SendError;
use luws::protocol::frame::Opcode;

/// Input in hex, and what it becomes: events as text, then the close frame that was sent, if any.
type Case = (&'static str, &'static str, &'static [&'static str], &'static str);

/// Section, input, events, and the payload of the close frame that is sent back (hex).
#[rustfmt::skip]
const FROM_A_SERVER: &[Case] = &[
    ("5.7 a text", "81 05 48656c6c6f", &["text Hello"], ""),
    ("5.7 a fragmented text", "01 03 48656c 80 02 6c6f", &["text Hello"], ""),
    ("5.7 a ping", "89 05 48656c6c6f", &["ping Hello"], ""),
    ("5.2 an empty text", "81 00", &["text "], ""),
    ("5.2 binary", "82 03 00ff80", &["binary 00ff80"], ""),
    ("5.4 an empty first fragment keeps its opcode", "01 00 80 02 6869", &["text hi"], ""),
    ("5.4 an empty last fragment", "02 02 0102 80 00", &["binary 0102"], ""),
    ("5.4 a ping between fragments", "01 01 61 89 01 70 80 01 62", &["ping p", "text ab"], ""),
    ("5.4 three fragments", "02 01 01 00 01 02 80 01 03", &["binary 010203"], ""),
    ("5.5.3 a pong that nobody asked for", "8a 01 78", &["pong x"], ""),
    ("5.5.1 close without a code", "88 00", &["close - "], ""),
    ("5.5.1 close with a code", "88 02 03e8", &["close 1000 "], ""),
    ("5.5.1 close with a reason", "88 05 03e9 627965", &["close 1001 bye"], ""),
    ("1.4 nothing behind a close", "88 00 81 01 61 89 00", &["close - "], ""),
    ("5.1 a masked frame", "81 85 37fa213d 7f9f4d5158", &["error masked frame from a server"], "03ea"),
    ("5.2 RSV1", "c1 00", &["error reserved bit set (RSV1)"], "03ea"),
    ("5.2 RSV2 and RSV3", "b1 00", &["error reserved bit set (RSV2, RSV3)"], "03ea"),
    ("5.2 opcode 3", "83 00", &["error reserved opcode 3"], "03ea"),
    ("5.2 opcode 11", "8b 00", &["error reserved opcode 11"], "03ea"),
    ("5.2 16-bit length for 125 bytes", "82 7e 007d", &["error payload length not in its shortest form"], "03ea"),
    ("5.2 64-bit length for 65535 bytes", "82 7f 000000000000ffff", &["error payload length not in its shortest form"], "03ea"),
    ("5.2 highest bit of a length", "82 7f 8000000000000000", &["error payload length of 2^63 or more"], "03ea"),
    ("5.4 continuation of nothing", "80 00", &["error continuation frame with no message to continue"], "03ea"),
    ("5.4 a message inside a message", "01 01 61 81 01 62", &["error new message inside a fragmented message"], "03ea"),
    ("5.5 a fragmented ping", "09 00", &["error fragmented control frame"], "03ea"),
    ("5.5 a ping over 125 bytes", "89 7e 007e", &["error control frame over 125 bytes"], "03ea"),
    ("5.5.1 close with one byte", "88 01 03", &["error close frame with a body of one byte"], "03ea"),
    ("7.4.1 close with 1005", "88 02 03ed", &["error invalid close code 1005"], "03ea"),
    ("7.1.6 close reason not UTF-8", "88 04 03e8 c328", &["error close reason is not valid UTF-8"], "03ef"),
    ("8.1 text not UTF-8", "81 02 c328", &["error text message is not valid UTF-8"], "03ef"),
    ("8.1 text that ends within a character", "81 02 e282", &["error text message is not valid UTF-8"], "03ef"),
    ("8.1 a character across fragments", "01 01 e2 80 02 82ac", &["text €"], ""),
    ("8.1 fails in the first fragment", "01 02 c328 80 00", &["error text message is not valid UTF-8"], "03ef"),
    ("10.4 a message over the limit", "82 7e 0081", &["error message too big (over 128 bytes)"], "03f1"),
    ("10.4 fragments over the limit", "02 01 00 80 7e 0080", &["error message too big (over 128 bytes)"], "03f1"),
    ("events before an error are delivered", "81 01 61 83 00", &["text a", "error reserved opcode 3"], "03ea"),
];

#[test]
fn client_receives() {
    for (name, input, events, close) in FROM_A_SERVER {
        every_way(Role::Client, &bytes(input), |how, outcome| {
            assert_eq!(outcome.events, *events, "{name}, {how}");
            let sent = outcome.frames_sent();
            match sent.as_slice() {
                [] => assert_eq!(*close, "", "{name}, {how}"),
                [(header, payload)] => {
                    assert_eq!(header.opcode, Opcode::Close, "{name}, {how}");
                    assert!(header.masking_key.is_some(), "section 5.1: {name}");
                    assert_eq!(payload[..2], bytes(close), "{name}, {how}");
                }
                _ => panic!("{name}, {how}: {sent:?}"),
            }
        });
    }
}

#[test]
fn server_receives() {
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("5.7 a masked text", "81 85 37fa213d 7f9f4d5158", &["text Hello"], ""),
        ("5.3 masked fragments", "01 83 37fa213d 7f9f4d 80 82 01020304 6d6d", &["text Hello"], ""),
        ("5.1 an unmasked frame", "81 00", &["error unmasked frame from a client"], "03ea"),
        ("5.5.1 a masked close", "88 82 01010101 02e9", &["close 1000 "], ""),
    ];
    for (name, input, events, close) in cases {
        every_way(Role::Server, &bytes(input), |how, outcome| {
            assert_eq!(outcome.events, *events, "{name}, {how}");
            for (header, payload) in outcome.frames_sent() {
                assert_eq!(header.masking_key, None, "section 5.1: {name}");
                assert_eq!(payload[..2], bytes(close), "{name}, {how}");
            }
        });
    }
}

#[test]
fn lengths_around_every_encoding() {
    // Section 5.2: 7, 7+16 and 7+64 bits, each in its shortest form, both ways.
    for length in [0, 1, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 200_000] {
        let config = Config { max_message_size: length, ..Config::default() };
        let mut from = server(config.clone());
        let mut to = client(config);
        let data: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        from.send(Opcode::Binary, &data, true).unwrap();
        let expected = 2 + if length > 65_535 {
            8
        } else if length > 125 {
            2
        } else {
            0
        };
        assert_eq!(from.output().len(), expected + length);
        feeding::transfer(&mut from, &mut to);
        assert_eq!(feeding::next(&mut to), format!("binary {}", feeding::hex(&data)));

        to.send(Opcode::Binary, &data, true).unwrap();
        feeding::transfer(&mut to, &mut from);
        assert_eq!(feeding::next(&mut from), format!("binary {}", feeding::hex(&data)));
    }
}

#[test]
fn each_frame_has_a_masking_key_of_its_own() {
    let mut connection = client(Config::default());
    for _ in 0..64 {
        connection.send(Opcode::Text, b"same", true).unwrap();
    }
    let frames = feeding::frames(connection.output().as_slice());
    let keys: std::collections::HashSet<_> = frames.iter().map(|(header, _)| header.masking_key).collect();
    assert_eq!(keys.len(), 64); // section 5.3
}

#[test]
fn without_masking() {
    let mut connection = client(Config { use_masking: false, ..Config::default() });
    connection.send(Opcode::Text, b"hi", true).unwrap();
    assert_eq!(connection.output().as_slice(), b"\x81\x02hi");
}

#[test]
fn fragment_size_splits_messages() {
    let mut connection = client(Config { fragment_size: 4, ..Config::default() });
    connection.send(Opcode::Text, b"abcdefghij", true).unwrap();
    let frames: Vec<_> = feeding::frames(connection.output().as_slice())
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
        (Opcode::Pong, b"", false, SendError::ControlFragmented),
        (Opcode::Text, b"\xff", true, SendError::TextNotUtf8),
        (Opcode::Text, b"\xff", false, SendError::TextNotUtf8),
        (Opcode::Close, b"\x03", true, SendError::Close("close frame with a body of one byte".into())),
        (Opcode::Close, b"\x03\xee", true, SendError::Close("invalid close code 1006".into())),
    ];
    for (opcode, data, fin, error) in cases {
        let mut connection = client(Config::default());
        assert_eq!(connection.send(*opcode, data, *fin), Err(error.clone()));
        assert_eq!(connection.output().len(), 0);
        assert_eq!(connection.send(Opcode::Text, b"goes on", true), Ok(()));
    }
}

#[test]
fn fragments_of_two_messages_do_not_mix() {
    let mut connection = client(Config::default());
    connection.send(Opcode::Text, "€".as_bytes().split_at(1).0, false).unwrap();
    assert_eq!(connection.send(Opcode::Binary, b"", true), Err(SendError::MessageInProgress));
    connection.send(Opcode::Ping, b"between", true).unwrap();
    assert_eq!(connection.send(Opcode::Continuation, b"(", true), Err(SendError::TextNotUtf8));
}

#[test]
fn nothing_follows_a_close() {
    let mut connection = client(Config::default());
    connection.send_close(CloseFrame::new(CloseCode::NORMAL, "bye").unwrap()).unwrap();
    let length = connection.output().len();
    assert_eq!(connection.send(Opcode::Text, b"late", true), Err(SendError::Closing));
    assert_eq!(connection.send(Opcode::Pong, b"", true), Err(SendError::Closing));
    assert_eq!(connection.send_close(CloseFrame::default()), Err(SendError::Closing));
    assert_eq!(connection.output().len(), length);
    // Section 5.5.1: data may still come until the peer's close frame does.
    connection.input().extend(b"\x81\x01a\x88\x02\x03\xe8");
    assert_eq!(feeding::next(&mut connection), "text a");
    assert_eq!(feeding::next(&mut connection), "close 1000 ");
}

#[test]
fn a_close_is_answered_with_its_code() {
    for (input, reply) in [("88 02 0fa0", "0fa0"), ("88 05 03e9 627965", "03e9"), ("88 00", "")] {
        let mut connection = client(Config::default());
        connection.input().extend(&bytes(input));
        feeding::next(&mut connection);
        connection.reply_close();
        connection.reply_close(); // once is enough
        let sent = feeding::frames(connection.output().as_slice());
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].1, bytes(reply), "{input}");
    }
}

#[test]
fn reset_forgets_what_came_in_part() {
    #[rustfmt::skip]
    let cases = [
        // before the reset, behind it, events behind it
        ("81 05 4865", "81 02 6f6b", "text ok"),          // a frame
        ("81", "81 02 6f6b", "text ok"),                  // a header
        ("89 02 70", "81 02 6f6b", "text ok"),            // a control frame
        ("01 02 4865", "81 02 6f6b", "text ok"),          // a message
        ("01 02 4865", "00 01 61 80 01 62 81 02 6f6b", "text ok"), // what still comes of it is skipped
        ("01 02 4865 00 05 61", "81 02 6f6b", "text ok"), // both
    ];
    for (before, behind, event) in cases {
        let mut connection = client(Config::default());
        connection.input().extend(&bytes(before));
        assert_eq!(feeding::next(&mut connection), "");
        connection.reset();
        connection.input().extend(&bytes(behind));
        assert_eq!(feeding::next(&mut connection), event, "{before} / {behind}");
    }
    // What is complete is not partial.
    let mut connection = client(Config::default());
    connection.input().extend(&bytes("81 01 61 81 01 62 81 05 63"));
    assert_eq!(feeding::next(&mut connection), "text a");
    connection.reset();
    assert_eq!(feeding::next(&mut connection), "text b");
    assert_eq!(feeding::next(&mut connection), "");
    connection.input().extend(&bytes("81 01 64"));
    assert_eq!(feeding::next(&mut connection), "text d");
}

#[test]
fn many_small_fragments_cost_no_more_than_their_bytes() {
    let count = 65_536;
    let mut connection = client(Config { max_message_size: count, ..Config::default() });
    let mut input = bytes("02 00");
    for _ in 0..count - 1 {
        input.extend(bytes("00 01 61"));
    }
    input.extend(bytes("80 01 61"));
    for piece in input.chunks(1000) {
        connection.input().extend(piece);
        let event = feeding::next(&mut connection);
        assert_eq!(event.is_empty(), connection.frames_received() < count as u64 + 1);
    }
    assert_eq!(connection.frames_received(), count as u64 + 1);
}

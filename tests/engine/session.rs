//! Sessions from the first byte to the last: hops, failures, and queries. TLS has a file of its own.

use std::convert::Infallible;

use luws::protocol::close::CloseFrame;
use luws::protocol::close_code::CloseCode;
use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::frame::Opcode;
use luws::proxy::sockproxy::{self, SockProxy};
use luws::proxy::{Negotiation, Progress, ProxyError};
use luws::session::{BytesRead, CloseState, Event, Failure, Hop, Kind, Session, Status};

use crate::feeding::{self, collect, feed_every_way, frames, hex, next, open, pair, receive, transfer};

/// A client before the upgrade.
fn client(config: Config) -> Session {
    Session::client(&feeding::request(), None, config).unwrap()
}

fn server() -> Session {
    Session::server(None, Config { max_message_size: 1 << 20, ..Config::default() }).unwrap()
}

#[test]
fn messages_go_both_ways_in_pieces_of_any_size() {
    for piece in [1, 2, 3, 7, 1000, usize::MAX] {
        let config = Config { max_message_size: 1 << 20, ..Config::default() };
        let (mut client, mut server) = (client(config), server());
        open(&mut client, &mut server, piece);
        client.send(Opcode::Text, "grüße".as_bytes(), true).unwrap();
        client.send(Opcode::Binary, &[1, 2, 3], false).unwrap();
        client.send(Opcode::Ping, b"?", true).unwrap();
        client.send(Opcode::Continuation, &[4], true).unwrap();
        transfer(&mut client, &mut server, piece);
        assert_eq!(next(&mut server), "text grüße");
        assert_eq!(next(&mut server), "ping ?");
        server.send_pong(b"?").unwrap();
        assert_eq!(next(&mut server), "binary 01020304");
        server.send_close(CloseFrame::new(CloseCode::NORMAL_CLOSURE, "done").unwrap()).unwrap();
        transfer(&mut server, &mut client, piece);
        assert_eq!(next(&mut client), "pong ?");
        assert_eq!(next(&mut client), "close 1000 done");
        client.reply_close();
        transfer(&mut client, &mut server, piece);
        assert_eq!(next(&mut server), "close 1000 ");
    }
}

#[test]
fn frames_after_the_response_wait_for_the_user() {
    let (mut client, mut server) = (client(Config::default()), server());
    transfer(&mut client, &mut server, usize::MAX);
    next(&mut server);
    server.accept(None);
    server.send(Opcode::Text, b"first", true).unwrap();
    transfer(&mut server, &mut client, usize::MAX);
    assert_eq!(next(&mut client), "open 101");
    assert_eq!(client.incoming_len(), 7);
    assert_eq!(next(&mut client), "text first");
}

#[test]
fn a_refused_request_says_why() {
    let (mut client, mut server) = (client(Config::default()), server());
    transfer(&mut client, &mut server, usize::MAX);
    next(&mut server);
    server.refuse(404, "nothing here");
    transfer(&mut server, &mut client, usize::MAX);
    let refused = Failure {
        hop: Hop::Upgrade,
        kind: Kind::Refused,
        close_code: None,
        status: None,
        text: "HTTP/1.1 404 Not Found".into(),
    };
    assert_eq!(client.next_event(), Err(refused));
    assert!(client.send(Opcode::Text, b"", true).is_err());
}

#[test]
fn a_peer_that_pings_and_never_reads_costs_no_memory() {
    // RFC 6455 section 5.5.3: it is enough to answer the most recent ping.
    let (mut client, mut server) = pair(Config::default(), Config::default());
    for i in 0..100_000 {
        client.send_pong(format!("{i}").as_bytes()).unwrap();
    }
    assert!(client.outgoing_len() < 66_000, "{}", client.outgoing_len());
    transfer(&mut client, &mut server, usize::MAX);
    let mut last = String::new();
    loop {
        match server.next_event().unwrap() {
            Some(Event::Received(Received::Pong(payload))) => {
                last = String::from_utf8(payload.to_vec()).unwrap();
            }
            other => break assert_eq!(other, None),
        }
    }
    assert_eq!(last, "99999");
}

#[test]
fn a_promise_of_too_many_bytes_fails_before_any_of_them_has_come() {
    // The header says 2^62 bytes.
    let (mut client, _) = pair(Config::default(), Config::default());
    client.receive(&[0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        next(&mut client),
        "error message too big (over 65535 bytes: it has 4611686018427387904; see max_payload_size)"
    );
}

fn sockproxy() -> Box<dyn Negotiation> {
    let options = sockproxy::Options { host: "h".into(), port: 80, notify: None, rtim: 0, pace: 0 };
    Box::new(SockProxy::new(&options).unwrap())
}

/// Takes what a session can send now, as text.
fn said(session: &mut Session) -> String {
    let mut all = Vec::new();
    let Ok(_) = session.send_with(|bytes| {
        all.extend_from_slice(bytes);
        Ok::<_, Infallible>(bytes.len())
    });
    String::from_utf8(all).unwrap()
}

#[test]
fn a_proxy_comes_first_and_alone() {
    // SockProxy's grammar: greeting, CONN, reply, and then a transparent pipe.
    let request = feed_every_way(b"OK TOGGLEDBITS-SOCKPROXY 1 2\n", None, |pieces| {
        let mut client = client(Config { seed: Some(1), ..Config::default() }).through(sockproxy());
        assert_eq!((client.sendable_len(), said(&mut client).as_str()), (0, ""));
        assert_eq!(pieces.iter().map(|piece| client.receive(piece)).sum::<usize>(), 0);
        assert_eq!(client.hop(), Hop::Proxy);
        said(&mut client)
    });
    assert_eq!(request.unwrap(), "CONN h:80 RTIM=0 PACE=0\n");
    // The bytes right after the reply are the server's.
    let head = feed_every_way(b"OK CONN 7\nHTTP/1.1 1", None, |pieces| {
        let mut client = client(Config { seed: Some(1), ..Config::default() }).through(sockproxy());
        client.receive(b"OK TOGGLEDBITS-SOCKPROXY 1 2\n");
        said(&mut client);
        assert_eq!(pieces.iter().map(|piece| client.receive(piece)).sum::<usize>(), 10);
        assert_eq!((client.hop(), client.proxy_detail()), (Hop::Upgrade, Some("7")));
        let head = said(&mut client);
        let mut server = server();
        server.receive(head.as_bytes());
        next(&mut server);
        server.accept(None);
        client.receive(&collect(&mut server)["HTTP/1.1 1".len()..]);
        assert_eq!(next(&mut client), "open 101");
        head
    });
    assert!(head.unwrap().starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn a_proxy_that_refuses_is_a_failure_of_its_hop() {
    let mut refused = client(Config::default()).through(sockproxy());
    refused.receive(b"ERR no\n");
    let (hop, kind) = (Hop::Proxy, Kind::Proxy);
    let failure = Failure { hop, kind, close_code: None, status: None, text: "no".into() };
    assert_eq!((refused.status().failed, refused.failure()), (true, Some(&failure)));
    assert_eq!(refused.next_event(), Err(failure));
    assert_eq!(refused.next_event(), Ok(None));
    assert_eq!((refused.hop(), refused.status().failed), (Hop::Proxy, true));
}

/// A proxy that gets one line and answers with one.
#[derive(Debug)]
struct Relay(&'static str, bool);

impl Negotiation for Relay {
    fn feed(&mut self, input: &[u8]) -> Result<Progress, ProxyError> {
        if !std::mem::replace(&mut self.1, true) {
            return Ok(Progress { used: 0, answer: format!("to {}\n", self.0).into_bytes(), done: false });
        }
        match input.iter().position(|byte| *byte == b'\n') {
            Some(end) if &input[..end] == b"ok" => {
                Ok(Progress { used: end + 1, done: true, ..Progress::default() })
            }
            Some(_) => Err(ProxyError::unexpected(self.name(), input)),
            None => Ok(Progress::default()),
        }
    }

    fn name(&self) -> &'static str {
        "Relay"
    }
}

#[test]
fn several_proxies_are_asked_one_through_the_other() {
    let relay = |name| Box::new(Relay(name, false));
    let mut client = client(Config::default()).through(relay("one")).through(relay("two"));
    assert_eq!(said(&mut client), "to one\n");
    assert_eq!((said(&mut client).as_str(), client.hop()), ("", Hop::Proxy));
    client.receive(b"ok\n");
    assert_eq!(said(&mut client), "to two\n");
    client.receive(b"ok\n");
    assert_eq!(client.hop(), Hop::Upgrade);
    assert!(said(&mut client).starts_with("GET / "));
    // Both answers in one packet, before the second request was written
    let mut client = self::client(Config::default()).through(relay("one")).through(relay("two"));
    client.receive(b"ok\nok\nHTTP/1.1");
    assert_eq!((client.hop(), client.incoming_len()), (Hop::Upgrade, 8));
    assert_eq!((said(&mut client), said(&mut client)), ("to one\n".into(), "to two\n".into()));
    assert!(said(&mut client).starts_with("GET / "));
}

#[test]
fn a_failure_says_its_hop_its_kind_and_the_close_code_that_was_sent() {
    let cases = [
        ("83 00", Hop::Frames, Kind::Protocol, 1002, "reserved opcode 3"),
        ("81 01 ff", Hop::Frames, Kind::Encoding, 1007, "text message is not valid UTF-8"),
        ("88 03 03e8 ff", Hop::Frames, Kind::Encoding, 1007, "close reason is not valid UTF-8"),
        (
            "82 05",
            Hop::Frames,
            Kind::TooBig,
            1009,
            "message too big (over 4 bytes: it has 5; see max_payload_size)",
        ),
    ];
    for (input, hop, kind, code, text) in cases {
        for closing in [false, true] {
            let config = Config { max_message_size: 4, ..Config::default() };
            let (mut client, _) = pair(config, Config::default());
            if closing {
                client.send_close(CloseFrame::default()).unwrap();
                collect(&mut client);
            }
            receive(&mut client, input);
            // Nothing has been interpreted yet.
            assert!(!client.status().failed);
            let close_code = CloseCode::new(code).filter(|_| !closing);
            let failure = Failure { hop, kind, close_code, status: None, text: text.into() };
            assert_eq!(client.next_event(), Err(failure.clone()));
            assert_eq!(client.next_event(), Ok(None));
            assert_eq!(client.failure(), Some(&failure));
            let sent = frames(&collect(&mut client));
            let codes: Vec<_> = sent.iter().map(|(_, payload)| hex(&payload[..2])).collect();
            assert_eq!(codes, if closing { vec![] } else { vec![format!("{code:04x}")] });
        }
    }
    for (answer, kind, text) in [
        ("HTTP/1.1 503 Busy\r\n\r\n", Kind::Refused, "HTTP/1.1 503 Busy"),
        ("SSH-2.0", Kind::Handshake, "the answer is not HTTP: \"SSH-2.0\""),
    ] {
        let mut client = client(Config::default());
        client.receive(answer.as_bytes());
        let failure = Failure { hop: Hop::Upgrade, kind, close_code: None, status: None, text: text.into() };
        assert_eq!(client.next_event(), Err(failure));
    }
}

#[test]
fn a_status_says_in_one_answer_where_a_session_stands() {
    let mut client = client(Config { seed: Some(1), ..Config::default() });
    let length = client.outgoing_len();
    let status = Status {
        hop: Hop::Upgrade,
        ended: false,
        failed: false,
        incoming: 0,
        outgoing: length,
        sendable: length,
        frames: 0,
    };
    assert_eq!(client.status(), status);
    open(&mut client, &mut server(), usize::MAX);
    receive(&mut client, "89 00 81 02 68");
    assert_eq!(next(&mut client), "ping ");
    assert_eq!(next(&mut client), "");
    // A frame of which the header and one byte were taken
    let status = Status { hop: Hop::Frames, frames: 1, outgoing: 0, sendable: 0, incoming: 0, ..status };
    assert_eq!(client.status(), status);
    assert_eq!(client.close_state(), CloseState::default());
    client.send_close(CloseFrame::new(CloseCode::GOING_AWAY, "").unwrap()).unwrap();
    let code = |frame: Option<&CloseFrame>| frame.and_then(CloseFrame::code).map(CloseCode::get);
    assert_eq!((code(client.close_state().sent), code(client.close_state().received)), (Some(1001), None));
}

#[test]
fn looking_changes_nothing() {
    let (mut client, _) = pair(Config { seed: Some(1), ..Config::default() }, Config::default());
    client.send(Opcode::Binary, &vec![0; 70_000], true).unwrap();
    client.send_pong(b"held back").unwrap();
    let status = client.status();
    for _ in 0..3 {
        let mut seen = 0;
        let Ok(_) = client.send_with(|bytes| {
            seen = bytes.len();
            Ok::<_, Infallible>(0)
        });
        assert_eq!((seen, client.status()), (status.sendable, status));
    }
    // The pong is queued only when there is room for it.
    let Ok(_) = client.send_with(|bytes| Ok::<_, Infallible>(bytes.len()));
    assert_eq!(client.outgoing_len(), 6 + "held back".len());
}

#[test]
fn without_tls_a_read_is_a_read() {
    let (mut client, _) = pair(Config::default(), Config::default());
    let mut read = |max, count| {
        let mut most = 0;
        let read = client.receive_with(max, |space| {
            most = space.len();
            Ok::<_, Infallible>(count)
        });
        (most, read)
    };
    assert_eq!(read(10, 10), (10, Ok(BytesRead { wire: 10, plain: 10, more: true })));
    assert_eq!(read(10, 9), (10, Ok(BytesRead { wire: 9, plain: 9, more: false })));
    assert_eq!(read(10, 0), (10, Ok(BytesRead::default())));
    assert_eq!(client.receive_with(10, |_| Err("timeout")), Err("timeout"));
    assert!(!client.holds_more());
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let sent = |seed| {
        let (mut client, _) = pair(Config { seed, ..Config::default() }, Config::default());
        client.send(Opcode::Text, b"hi", true).unwrap();
        let first = Session::client(&feeding::request(), None, Config { seed, ..Config::default() });
        (collect(&mut first.unwrap()), collect(&mut client))
    };
    assert_eq!(sent(Some(7)), sent(Some(7)));
    let (one, other) = (sent(Some(7)), sent(Some(8)));
    assert!(one.0 != other.0 && one.1 != other.1);
    let (one, other) = (sent(None), sent(None));
    assert!(one.0 != other.0 && one.1 != other.1);
}

#[test]
fn the_length_of_a_message_in_the_queue_is_known_beforehand() {
    let unmasked = Config { use_masking: false, ..Config::default() };
    let fragments = Config { fragment_size: 100, ..Config::default() };
    for config in [Config::default(), unmasked, fragments] {
        let (mut client, mut server) = pair(config, Config::default());
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            for session in [&mut client, &mut server] {
                let (before, expected) = (session.outgoing_len(), session.frame_len(length));
                session.send(Opcode::Binary, &vec![0; length], true).unwrap();
                let added = session.outgoing_len() - before;
                // The last fragment may be short enough for a shorter header, which is not foreseen.
                assert!(
                    added == expected || added < expected && length > 100,
                    "{length}: {added}, {expected}"
                );
                assert!(expected - added <= 2, "{length}: {added}, {expected}");
            }
        }
        let (length, before) = (client.outgoing_len(), client.sent_len());
        let Ok(_) = client.send_with(|_| Ok::<_, Infallible>(0));
        let Ok(_) = client.send_with(|_| Ok::<_, Infallible>(1000));
        assert_eq!((client.outgoing_len(), client.sent_len()), (length - 1000, before + 1000));
    }
}

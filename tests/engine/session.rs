//! Sessions from the first byte to the last: two ends in memory, talking over any pieces, plain and
//! over TLS.

use luws::protocol::close::{CloseCode, CloseFrame};
use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::frame::Opcode;
use luws::protocol::handshake::UpgradeRequest;
use luws::proxy::sockproxy::{self, SockProxy};
use luws::session::{Error, Event, Session};

use crate::feeding::describe;

fn client(config: Config) -> Session {
    let request = UpgradeRequest::new("h", "/").unwrap();
    Session::client(&request, None, config).unwrap()
}

fn server() -> Session {
    Session::server(None, Config { max_message_size: 1 << 20, ..Config::default() }).unwrap()
}

/// Moves everything that `from` has to send, `piece` bytes at a time; each read takes what it can get.
fn transfer(from: &mut Session, to: &mut Session, piece: usize) {
    while from.outgoing_len() > 0 {
        let mut taken = Vec::new();
        from.send_with(|bytes| {
            taken.extend_from_slice(&bytes[..piece.min(bytes.len())]);
            Ok::<_, ()>(taken.len())
        })
        .unwrap();
        assert_eq!(to.receive(&taken), taken.len());
    }
}

/// The next event as text; empty when there is none.
fn next(session: &mut Session) -> String {
    match session.next_event() {
        Ok(None) => String::new(),
        Ok(Some(Event::Open(response))) => format!("open {}", response.status),
        Ok(Some(Event::Request(request))) => format!("request {}", request.resource),
        Ok(Some(Event::Received(event))) => describe(&event),
        Err(error) => format!("error {error}"),
    }
}

/// A pair whose upgrade is complete.
fn open_pair(config: Config, piece: usize) -> (Session, Session) {
    let (mut client, mut server) = (client(config), server());
    transfer(&mut client, &mut server, piece);
    assert_eq!(next(&mut server), "request /");
    server.accept(None);
    transfer(&mut server, &mut client, piece);
    assert_eq!(next(&mut client), "open 101");
    (client, server)
}

#[test]
fn messages_go_both_ways_in_pieces_of_any_size() {
    for piece in [1, 2, 3, 7, 1000, usize::MAX] {
        let config = Config { max_message_size: 1 << 20, ..Config::default() };
        let (mut client, mut server) = open_pair(config, piece);
        client.send(Opcode::Text, "grüße".as_bytes(), true).unwrap();
        client.send(Opcode::Binary, &[1, 2, 3], false).unwrap();
        client.send(Opcode::Ping, b"?", true).unwrap();
        client.send(Opcode::Continuation, &[4], true).unwrap();
        transfer(&mut client, &mut server, piece);
        assert_eq!(next(&mut server), "text grüße");
        assert_eq!(next(&mut server), "ping ?");
        server.send_pong(b"?").unwrap();
        assert_eq!(next(&mut server), "binary 01020304");
        server.send_close(CloseFrame::new(CloseCode::NORMAL, "done").unwrap()).unwrap();
        transfer(&mut server, &mut client, piece);
        assert_eq!(next(&mut client), "pong ?");
        assert_eq!(next(&mut client), "close 1000 done");
        client.reply_close();
        transfer(&mut client, &mut server, piece);
        assert_eq!(next(&mut server), "close 1000 ");
    }
}

#[test]
fn frames_behind_the_response_wait_for_the_user() {
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
    assert!(matches!(client.next_event(), Err(Error::Handshake(_))));
    assert!(client.send(Opcode::Text, b"", true).is_err());
}

#[test]
fn a_peer_that_pings_and_never_reads_costs_no_memory() {
    // RFC 6455 section 5.5.3: an answer to the most recent ping is enough.
    let (mut client, mut server) = open_pair(Config::default(), usize::MAX);
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
fn a_promise_of_many_bytes_costs_no_memory() {
    // The header says 2^62 bytes: over the limit, so it fails before one of them has come.
    let (mut client, _) = open_pair(Config::default(), usize::MAX);
    client.receive(&[0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(next(&mut client), "error message too big (over 65535 bytes)");
}

#[test]
fn a_proxy_comes_first_and_alone() {
    // SockProxy's grammar: greeting, CONN, reply, and then a transparent pipe.
    let options = sockproxy::Options { host: "h".into(), port: 80, notify: None, rtim: 0, pace: 0 };
    for piece in [1, 7, usize::MAX] {
        let mut client = client(Config::default()).through(SockProxy::new(&options).unwrap());
        let mut server = server();
        let sent = |client: &mut Session| {
            let mut all = Vec::new();
            client
                .send_with(|bytes| {
                    all.extend_from_slice(bytes);
                    Ok::<_, ()>(bytes.len())
                })
                .unwrap();
            String::from_utf8(all).unwrap()
        };
        let receive = |client: &mut Session, bytes: &[u8]| {
            bytes.chunks(piece.min(bytes.len())).map(|chunk| client.receive(chunk)).sum::<usize>()
        };
        assert_eq!((client.sendable_len(), sent(&mut client).as_str()), (0, ""));
        assert_eq!(receive(&mut client, b"OK TOGGLEDBITS-SOCKPROXY 1 2\n"), 0);
        assert_eq!(sent(&mut client), "CONN h:80 RTIM=0 PACE=0\n");
        assert!(!client.is_routed());
        // What comes right behind the reply is the server's.
        assert_eq!(receive(&mut client, b"OK CONN 7\nHTTP/1.1 1"), 10);
        assert_eq!((client.is_routed(), client.proxy_pid()), (true, Some("7")));
        let head = sent(&mut client);
        assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
        server.receive(head.as_bytes());
        next(&mut server);
        server.accept(None);
        let answer = sent(&mut server).split_off("HTTP/1.1 1".len());
        assert_eq!(receive(&mut client, answer.as_bytes()), answer.len());
        assert_eq!(next(&mut client), "open 101");
    }
    let mut refused = client(Config::default()).through(SockProxy::new(&options).unwrap());
    refused.receive(b"ERR no\n");
    assert_eq!(next(&mut refused), "error no");
}

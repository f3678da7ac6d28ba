//! Sessions through an https proxy: TLS to the proxy, CONNECT inside it, and TLS to the server inside that. The
//! negotiations themselves are tested where they are (src/proxy).

use std::convert::Infallible;

use luws::protocol::buffer::Buffer;
use luws::protocol::connection::Config;
use luws::protocol::frame::Opcode;
use luws::proxy::http_connect::{self, HttpConnect};
use luws::session::{Event, Hop, Kind, Session};
use luws::tls::{Connector, Tls, TlsOptions, Verify};

use crate::certificate::acceptor;
use crate::feeding;

/// A proxy and the server behind it.
struct Proxy {
    tls: Tls,
    /// What the proxy says instead of letting the client through.
    refusal: Option<&'static str>,
    asked: String,
    plain: Buffer,
    answer: Buffer,
    server: Session,
}

fn config() -> Config {
    Config { max_message_size: 1 << 20, seed: Some(1), ..Config::default() }
}

fn connector() -> Connector {
    TlsOptions { verify: Verify::Nothing, ..TlsOptions::default() }.connector().unwrap()
}

/// A client of an https proxy, and that proxy with a server, over TLS if it is `secure`.
fn ends(secure: bool) -> (Session, Proxy) {
    let (connector, acceptor) = (connector(), acceptor());
    let options = http_connect::Options {
        host: "h".into(),
        port: 443,
        headers: Vec::new(),
        identity: None,
        retry: None,
    };
    let tls = secure.then_some((&connector, "localhost"));
    let client = Session::client(&feeding::request(), tls, config()).unwrap();
    let client =
        client.secured(&connector, "localhost").unwrap().through(Box::new(HttpConnect::new(options)));
    let server = Session::server(secure.then_some(&acceptor), config()).unwrap();
    let tls = Tls::server(&acceptor).unwrap();
    let (plain, answer) = (Buffer::default(), Buffer::default());
    (client, Proxy { tls, refusal: None, asked: String::new(), plain, answer, server })
}

fn taken(session: &mut Session) -> Vec<u8> {
    let mut all = Vec::new();
    while session.sendable_len() > 0 {
        let Ok(_) = session.send_with(|bytes| {
            all.extend_from_slice(bytes);
            Ok::<_, Infallible>(bytes.len())
        });
    }
    all
}

impl Proxy {
    fn receive(&mut self, bytes: &[u8]) {
        const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
        self.tls.receive(bytes).unwrap();
        self.tls.decrypt(&mut self.plain, usize::MAX).unwrap();
        if self.asked.is_empty() {
            let end = self.plain.as_slice().windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end else { return };
            self.asked = String::from_utf8(self.plain.as_slice()[..end].to_vec()).unwrap();
            self.plain.consume(end + 4);
            self.answer.extend(self.refusal.unwrap_or(OK).as_bytes()).unwrap();
        }
        self.server.receive(self.plain.as_slice());
        self.plain.clear();
    }

    fn taken(&mut self) -> Vec<u8> {
        self.answer.extend(&taken(&mut self.server)).unwrap();
        self.tls.encrypt(&mut self.answer, usize::MAX).unwrap();
        let mut all = Vec::new();
        let Ok(_) = self.tls.send_with(|bytes| {
            all.extend_from_slice(bytes);
            Ok::<_, Infallible>(bytes.len())
        });
        all
    }
}

/// Moves everything that there is, in pieces of this size.
fn transfer(client: &mut Session, proxy: &mut Proxy, piece: usize) {
    loop {
        let (up, down) = (taken(client), proxy.taken());
        if up.is_empty() && down.is_empty() {
            return;
        }
        up.chunks(piece).for_each(|bytes| proxy.receive(bytes));
        for bytes in down.chunks(piece) {
            client.receive(bytes);
        }
    }
}

fn open(client: &mut Session, proxy: &mut Proxy, piece: usize) {
    assert_eq!(client.hop(), Hop::Proxy);
    transfer(client, proxy, piece);
    assert!(matches!(proxy.server.next_event(), Ok(Some(Event::Request(_)))), "{:?}", client.failure());
    proxy.server.accept(None);
    transfer(client, proxy, piece);
    assert!(matches!(client.next_event(), Ok(Some(Event::Open(_)))));
}

#[test]
fn a_conversation_goes_through_tls_in_tls_in_pieces_of_any_size() {
    for secure in [true, false] {
        for piece in [1, 7, 1000, 20_000, usize::MAX] {
            let (mut client, mut proxy) = ends(secure);
            open(&mut client, &mut proxy, piece);
            assert_eq!(proxy.asked, "CONNECT h:443 HTTP/1.1\r\nHost: h:443");
            assert_eq!(client.tls_peer().is_some(), secure);
            let text = "x".repeat(if piece == 1 { 20_000 } else { 600_000 });
            client.send(Opcode::Text, text.as_bytes(), true).unwrap();
            proxy.server.send(Opcode::Text, text.as_bytes(), true).unwrap();
            transfer(&mut client, &mut proxy, piece);
            for session in [&mut client, &mut proxy.server] {
                assert!(feeding::next(session) == format!("text {text}"), "{secure}, {piece}");
            }
            assert_eq!((client.outgoing_len(), proxy.server.outgoing_len()), (0, 0));
            // Both ends of TLS are told of the end, the server's first.
            client.shutdown();
            transfer(&mut client, &mut proxy, piece);
            assert!(proxy.tls.is_ended());
            assert_eq!(proxy.server.status().ended, secure);
        }
    }
}

#[test]
fn a_read_from_the_wire_leaves_nothing_where_nobody_looks_for_it() {
    let (mut client, mut proxy) = ends(true);
    open(&mut client, &mut proxy, usize::MAX);
    for number in 0..2000 {
        proxy.server.send(Opcode::Text, format!("{number:0>100}").as_bytes(), true).unwrap();
    }
    let mut wire = proxy.taken();
    let mut count = 0;
    loop {
        let Ok(read) = client.receive_with(1000, |space| {
            let length = space.len().min(wire.len());
            space[..length].copy_from_slice(&wire[..length]);
            wire.drain(..length);
            Ok::<_, Infallible>(length)
        });
        while matches!(client.next_event(), Ok(Some(Event::Received(_)))) {
            count += 1;
        }
        if !read.more && wire.is_empty() {
            break;
        }
    }
    assert_eq!(count, 2000);
}

#[test]
fn a_failure_on_the_way_to_the_proxy_is_the_proxys() {
    let (mut client, mut proxy) = ends(true);
    proxy.refusal = Some("HTTP/1.1 403 Forbidden\r\n\r\n");
    transfer(&mut client, &mut proxy, usize::MAX);
    let failure = client.next_event().unwrap_err();
    assert_eq!(
        (failure.hop, failure.kind, &*failure.text),
        (Hop::Proxy, Kind::Denied, "HTTP/1.1 403 Forbidden")
    );

    let (mut client, _) = ends(false);
    client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let failure = client.next_event().unwrap_err();
    assert_eq!((failure.hop, failure.kind), (Hop::Proxy, Kind::Tls));
    assert!(failure.text.starts_with("TLS: wrong version number"), "{failure}");

    let (mut client, mut proxy) = ends(true);
    open(&mut client, &mut proxy, usize::MAX);
    proxy.server.send(Opcode::Text, b"last", true).unwrap();
    let bytes = proxy.taken();
    client.receive(&bytes);
    client.receive(&[0x17, 3, 3, 0, 32]);
    client.receive(&[0; 32]);
    assert_eq!(feeding::next(&mut client), "text last");
    let failure = client.next_event().unwrap_err();
    assert_eq!(failure.hop, Hop::Proxy);
    assert!(failure.text.starts_with("TLS: "), "{failure}");
}

#[test]
fn the_length_of_a_message_in_the_queue_is_never_more_than_foreseen() {
    let (mut client, mut proxy) = ends(true);
    open(&mut client, &mut proxy, usize::MAX);
    for length in [0, 1, 126, 16_000, 16_384, 65_536, 1_000_000] {
        let (before, most) = (client.outgoing_len(), client.frame_len(length));
        client.send(Opcode::Binary, &vec![0; length], true).unwrap();
        let added = client.outgoing_len() - before;
        assert!(added <= most, "{length}: {added}, {most}");
    }
}

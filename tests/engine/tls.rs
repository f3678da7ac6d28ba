//! Sessions over TLS: how much a read brings, how the wire ends, and the texts of failures. The TLS options are tested
//! in spec/tls.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::process::Command;
use std::{env, fs};

use luws::http::{Outgoing, Reply};
use luws::protocol::connection::Config;
use luws::protocol::frame::Opcode;
use luws::proxy::sockproxy::{self, SockProxy};
use luws::session::{BytesRead, Event, Hop, Kind, Session};
use luws::tls::fingerprint::Fingerprint;
use luws::tls::identity::Identity;
use luws::tls::{Acceptor, Crypto, ServerOptions, TlsOptions, Verify, Version};

use crate::certificate::{acceptor, self_signed};
use crate::feeding::{self, collect, next, open, transfer};

fn config() -> Config {
    Config { max_message_size: 1 << 20, seed: Some(1), ..Config::default() }
}

fn client(options: TlsOptions) -> Session {
    let connector = TlsOptions { verify: Verify::Nothing, ..options }.connector().unwrap();
    Session::client(&feeding::request(), Some((&connector, "localhost")), config()).unwrap()
}

fn server(acceptor: &Acceptor) -> Session {
    Session::server(Some(acceptor), config()).unwrap()
}

/// Two open ends for each TLS version, with nothing in flight.
fn pairs() -> Vec<(Session, Session)> {
    let acceptor = acceptor();
    let versions = [Version::Tls12, Version::Tls13];
    let pair = |max| {
        let mut client = client(TlsOptions { max: Some(max), ..TlsOptions::default() });
        let mut server = server(&acceptor);
        open(&mut client, &mut server, usize::MAX);
        assert_eq!((collect(&mut client), collect(&mut server)), (vec![], vec![]));
        (client, server)
    };
    versions.map(pair).into()
}

/// A wire that delivers these bytes and then ends, and counts the reads.
struct Wire {
    bytes: VecDeque<u8>,
    reads: usize,
}

impl Wire {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), reads: 0 }
    }

    /// Reads once. The space offered must have the expected size.
    fn receive(&mut self, session: &mut Session, max: usize) -> BytesRead {
        let Ok(read) = session.receive_with(max, |space| {
            assert_eq!(space.len(), max.max(17 * 1024));
            self.reads += 1;
            let count = space.len().min(self.bytes.len());
            for (target, byte) in space.iter_mut().zip(self.bytes.drain(..count)) {
                *target = byte;
            }
            Ok::<_, Infallible>(count)
        });
        read
    }
}

#[test]
fn there_is_more_as_long_as_reads_come_back_full() {
    for (mut client, mut server) in pairs() {
        server.send(Opcode::Binary, &vec![b'x'; 200_000], true).unwrap();
        let mut bytes = Vec::new();
        while server.sendable_len() > 0 {
            let Ok(_) = server.send_with(|piece| {
                bytes.extend_from_slice(piece);
                Ok::<_, Infallible>(piece.len())
            });
        }
        let mut wire = Wire::new(bytes);
        // Each of these reads is full, and TLS makes less than `max` of most of them.
        while wire.bytes.len() >= 17 * 1024 {
            assert!(wire.receive(&mut client, 17 * 1024).more);
        }
        while wire.receive(&mut client, 17 * 1024).more {}
        assert!(wire.bytes.is_empty() && next(&mut client).len() > 200_000);
    }
}

#[test]
fn a_conversation_over_tls_goes_in_pieces_of_any_size() {
    let acceptor = acceptor();
    for piece in [1, 7, 1000, usize::MAX] {
        let (mut client, mut server) = (client(TlsOptions::default()), server(&acceptor));
        assert_eq!((client.hop(), server.hop()), (Hop::Tls, Hop::Tls));
        open(&mut client, &mut server, piece);
        assert_eq!((client.hop(), server.hop()), (Hop::Frames, Hop::Frames));
        client.send(Opcode::Text, "grüße".as_bytes(), true).unwrap();
        transfer(&mut client, &mut server, piece);
        assert_eq!(next(&mut server), "text grüße");
        server.shutdown();
        transfer(&mut server, &mut client, piece);
        assert!(client.status().ended && !client.status().failed);
        assert!(client.tls_peer().is_some_and(|peer| !peer.verified && peer.certificate.is_some()));
    }
}

#[test]
fn a_read_is_bounded_by_its_plaintext() {
    for max in [1, 100, 1000, 5000, 16 * 1024, 17 * 1024, 40_000, 200_000] {
        for (mut client, mut server) in pairs() {
            // Records of any size, more than a single read takes
            for length in [1000, 50_000, 1, 20_000] {
                server.send(Opcode::Binary, &vec![7; length], true).unwrap();
            }
            let mut wire = Wire::new(collect(&mut server));
            let (mut plain, mut frames) = (0, 0);
            loop {
                let (held, reads) = (client.holds_more(), wire.reads);
                let read = wire.receive(&mut client, max);
                if read.is_end() {
                    break;
                }
                plain += read.plain;
                let is_full = read.plain == max || read.wire == max.max(17 * 1024);
                assert!(read.plain <= max && read.more == is_full, "{max}: {read:?}");
                assert!(wire.reads - reads <= 1 && (held || wire.reads == reads + 1), "{max}: {read:?}");
                // The wire is not read if enough was held.
                assert!(wire.reads > reads || read == BytesRead { wire: 0, plain: max, more: true });
                while !next(&mut client).is_empty() {
                    frames += 1;
                }
            }
            assert_eq!((plain, frames, client.holds_more()), (71_001 + 4 + 4 + 2 + 4, 4, false), "{max}");
        }
    }
}

#[test]
fn nothing_is_lost_at_the_end_of_the_wire() {
    for goodbye in [false, true] {
        for (mut client, mut server) in pairs() {
            for _ in 0..10 {
                server.send(Opcode::Text, &[b'x'; 1000], true).unwrap();
            }
            if goodbye {
                server.shutdown();
            }
            let mut wire = Wire::new(collect(&mut server));
            assert_eq!(wire.receive(&mut client, 500).plain, 500);
            assert!(client.holds_more() && wire.bytes.is_empty());
            client.receive_end();
            let mut plain = 500;
            loop {
                let read = wire.receive(&mut client, 500);
                plain += read.plain;
                assert_eq!(read.wire, 0);
                if read.is_end() {
                    break;
                }
                assert!(!client.status().ended || plain == 10_040);
            }
            let messages = std::iter::from_fn(|| Some(next(&mut client)).filter(|event| !event.is_empty()));
            assert_eq!((plain, messages.count()), (10_040, 10));
            // A wire that ends without close_notify is lost, but TLS has not failed.
            let status = client.status();
            assert_eq!((status.ended, status.failed), (goodbye, false));
        }
    }
}

/// A client that has made a request over TLS, and the server that has it.
fn asking() -> (Session, Session) {
    let connector = TlsOptions { verify: Verify::Nothing, ..TlsOptions::default() }.connector().unwrap();
    let request = Outgoing::new("GET", "localhost", "/").unwrap();
    let tls = Some((&connector, "localhost"));
    let mut client = Session::http_client(&request, b"", 100, tls, config()).unwrap();
    let mut server = Session::http_server(Some(&acceptor()), config()).unwrap();
    for _ in 0..5 {
        transfer(&mut client, &mut server, usize::MAX);
        transfer(&mut server, &mut client, usize::MAX);
    }
    assert!(server.next_event().unwrap().is_some());
    server.take_body(0).unwrap();
    assert!(server.next_event().unwrap().is_some());
    (client, server)
}

#[test]
fn no_request_follows_a_close_notify() {
    let (mut client, mut server) = asking();
    server.reply(&Reply { status: 204, headers: &[], length: 0, keeps_alive: true }, b"");
    transfer(&mut server, &mut client, usize::MAX);
    assert!(client.next_event().unwrap().is_some());
    assert!(client.can_ask());
    server.shutdown();
    transfer(&mut server, &mut client, usize::MAX);
    assert!(!client.can_ask());
}

#[test]
fn a_body_without_a_length_ends_by_a_close_notify_only() {
    for has_goodbye in [false, true] {
        let (mut client, mut server) = asking();
        server.send_body(b"HTTP/1.1 200 OK\r\n\r\nabc");
        if has_goodbye {
            server.shutdown();
        } else {
            transfer(&mut server, &mut client, usize::MAX);
            client.receive_end();
        }
        transfer(&mut server, &mut client, usize::MAX);
        let expected = has_goodbye.then(|| Event::Response(b"abc".as_slice()));
        assert_eq!(client.next_event().unwrap(), expected);
    }
}

#[test]
fn an_error_of_the_wire_comes_after_what_was_held() {
    for (mut client, mut server) in pairs() {
        server.send(Opcode::Text, &[b'x'; 996], true).unwrap();
        let mut wire = Wire::new(collect(&mut server));
        wire.receive(&mut client, 600);
        let held = client.receive_with(600, |_| Err("reset"));
        assert_eq!(held, Ok(BytesRead { wire: 0, plain: 400, more: false }));
        assert_eq!(client.receive_with(600, |_| Err("reset")), Err("reset"));
    }
}

#[test]
fn bytes_that_are_handed_over_are_taken_with_all_that_was_held() {
    for (mut client, mut server) in pairs() {
        server.send(Opcode::Text, &[b'x'; 996], true).unwrap();
        let mut wire = Wire::new(collect(&mut server));
        wire.receive(&mut client, 100);
        server.send(Opcode::Text, b"more", true).unwrap();
        assert_eq!(client.receive(&collect(&mut server)), 900 + 6);
        assert!(!client.holds_more());
    }
}

#[test]
fn a_broken_record_is_a_failure_after_what_came_before_it() {
    for (mut client, mut server) in pairs() {
        server.send(Opcode::Text, b"good", true).unwrap();
        let mut sent = collect(&mut server);
        server.send(Opcode::Text, b"broken", true).unwrap();
        sent.extend(collect(&mut server));
        *sent.last_mut().unwrap() ^= 1;
        client.receive(&sent);
        // A caller that only writes sees the failure, too.
        assert!(client.status().failed);
        assert_eq!(next(&mut client), "text good");
        let failure = client.next_event().unwrap_err();
        assert_eq!((failure.hop, failure.kind, failure.close_code), (Hop::Tls, Kind::Tls, None));
        assert_eq!(client.next_event(), Ok(None));
        assert_eq!((client.failure(), client.hop()), (Some(&failure), Hop::Frames));
    }
}

#[test]
fn another_certificate_than_the_one_asked_for_is_a_failure_before_anything_is_said() {
    let mut client = client(TlsOptions { fingerprints: vec![Fingerprint::of(b"")], ..TlsOptions::default() });
    let mut server = server(&acceptor());
    for _ in 0..3 {
        transfer(&mut client, &mut server, usize::MAX);
        transfer(&mut server, &mut client, usize::MAX);
    }
    let failure = client.next_event().unwrap_err();
    assert!(failure.text.starts_with("certificate fingerprint mismatch: it is "), "{failure}");
    assert_eq!((failure.hop, client.hop(), server.next_event()), (Hop::Tls, Hop::Tls, Ok(None)));
}

#[test]
fn tls_begins_when_the_proxy_has_agreed() {
    let options = sockproxy::Options { host: "h".into(), port: 443, notify: None, rtim: 0, pace: 0 };
    let mut client = client(TlsOptions::default()).through(Box::new(SockProxy::new(&options).unwrap()));
    assert_eq!((client.hop(), client.sendable_len()), (Hop::Proxy, 0));
    client.receive(b"OK TOGGLEDBITS-SOCKPROXY 1 2\n");
    let Ok(_) = client.send_with(|bytes| {
        assert!(bytes.starts_with(b"CONN h:443 "));
        Ok::<_, Infallible>(bytes.len())
    });
    client.receive(b"OK CONN 7\n");
    assert_eq!(client.hop(), Hop::Tls);
    open(&mut client, &mut server(&acceptor()), 100);
}

#[test]
fn the_length_of_a_message_in_the_queue_is_never_more_than_foreseen() {
    for (mut client, _) in pairs() {
        for length in [0, 1, 125, 126, 16_000, 16_384, 65_536, 1_000_000] {
            let (before, most) = (client.outgoing_len(), client.frame_len(length));
            client.send(Opcode::Binary, &vec![0; length], true).unwrap();
            let added = client.outgoing_len() - before;
            assert!(added <= most, "{length}: {added}, {most}");
            assert!(most <= added + 128 + added / 100, "{length}: {added}, {most}");
        }
    }
}

#[test]
fn without_authorities_the_systems_are_trusted_whatever_else_is_asked_for() {
    const NAME: &str = "tls::without_authorities_the_systems_are_trusted_whatever_else_is_asked_for";
    const IS_CHILD: &str = "LUWS_TESTS_AUTHORITIES";
    // They are named by the environment, which a test cannot change for itself alone.
    if env::var_os(IS_CHILD).is_none() {
        let file = env::temp_dir().join(format!("luws-authorities-{}", std::process::id()));
        let (certificate, key) = self_signed("localhost");
        let pem = [certificate.to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap()].concat();
        fs::write(&file, pem).unwrap();
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", NAME]).env(IS_CHILD, "1").env("SSL_CERT_FILE", &file);
        let output = child.output().unwrap();
        fs::remove_file(&file).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let pem = fs::read(env::var_os("SSL_CERT_FILE").unwrap()).unwrap();
    let acceptor = ServerOptions::new(Identity::from_pem(&pem, &pem).unwrap()).acceptor().unwrap();
    // The second is one that only OpenSSL has a setting for.
    for crypto in [Crypto::default(), Crypto { ciphers: Some("HIGH".into()), ..Crypto::default() }] {
        let connector = TlsOptions { crypto, ..TlsOptions::default() }.connector().unwrap();
        let mut client =
            Session::client(&feeding::request(), Some((&connector, "localhost")), config()).unwrap();
        open(&mut client, &mut server(&acceptor), usize::MAX);
        assert!(client.tls_peer().is_some_and(|peer| peer.verified));
    }
}

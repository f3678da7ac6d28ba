//! A server that answers requests of all kinds: what it takes for a request, and when it reads the next one. How each
//! head and each body is read is tested in src/http.

use luws::http::{Header, Reply};
use luws::protocol::connection::Config;
use luws::session::{Event, Session};

const UPGRADE: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn server() -> Session {
    Session::http_server(None, Config { seed: Some(1), ..Config::default() }).unwrap()
}

fn sent(session: &mut Session) -> String {
    let mut all = Vec::new();
    while session.sendable_len() > 0 {
        let Ok(_) = session.send_with(|bytes| {
            all.extend_from_slice(bytes);
            Ok::<_, std::convert::Infallible>(bytes.len())
        });
    }
    String::from_utf8(all).unwrap()
}

/// What comes next, in words.
fn next(session: &mut Session) -> String {
    match session.next_event() {
        Ok(None) => String::new(),
        Ok(Some(Event::RequestHead(request))) => format!("head {} {}", request.method, request.target),
        Ok(Some(Event::RequestBody(body))) => format!("body {}", String::from_utf8_lossy(body)),
        Ok(Some(other)) => format!("{other:?}"),
        Err(failure) => format!("fails: {}", failure.text),
    }
}

fn ok(session: &mut Session, body: &str) -> bool {
    let reply = Reply { status: 200, headers: &[], length: body.len() as u64, keeps_alive: true };
    session.reply(&reply, body.as_bytes())
}

#[test]
fn what_is_not_a_request_is_refused_with_its_status() {
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    let target = format!("GET /{}", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: 1\r\n".repeat(101));
    for (input, status) in [
        ("\x16\x03\x01", 400),
        ("GET / HTTP/1.1\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\n", 400),
        ("GET / HTTP/1.1\r\nHost : h\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n", 400),
        ("GET / HTTP/1.1\r\nno colon\r\n", 400),
        ("SSH-2.0-x\r\n", 400),
        (&long, 431),
        (&target, 414),
        (&many, 400),
        ("GET / HTTP/1.0\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ] {
        for piece in [input.len(), 1] {
            let mut session = server();
            let mut last = String::new();
            for part in input.as_bytes().chunks(piece) {
                session.receive(part);
                last += &next(&mut session);
            }
            assert!(last.starts_with("fails: "), "{input:.60?}: {last}");
            let response = sent(&mut session);
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{input:.60?}: {response}");
            assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
            session.receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!((next(&mut session), session.incoming_len()), (String::new(), 0));
        }
    }
}

#[test]
fn each_request_waits_for_the_answer_to_the_one_before() {
    let mut session = server();
    session.receive(
        b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy",
    );
    session.receive(UPGRADE.as_bytes());
    session.receive(b"\r\n\x81\x80abcd");
    assert_eq!(next(&mut session), "head GET /a");
    assert_eq!(next(&mut session), "");
    session.take_body(0).unwrap();
    assert_eq!(next(&mut session), "body ");
    assert_eq!(next(&mut session), "");
    assert_eq!(session.upgrade_problem().map(|error| error.status()), Some(426));
    assert!(ok(&mut session, "one"));
    assert_eq!(sent(&mut session), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    assert_eq!(next(&mut session), "head POST /b");
    session.take_body(2).unwrap();
    assert_eq!(next(&mut session), "body xy");
    assert!(ok(&mut session, ""));
    assert_eq!(next(&mut session), "head GET /chat?x=1");
    session.take_body(0).unwrap();
    assert_eq!(next(&mut session), "body ");
    assert_eq!(session.upgrade_problem(), None);
    sent(&mut session);
    session.accept_with(None, &[Header::new("X", b"1").unwrap()]);
    assert_eq!(
        sent(&mut session),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX: 1\r\n\r\n"
    );
    assert!(next(&mut session).contains("Message"));
}

#[test]
fn a_body_that_is_not_taken_ends_the_connection_after_the_answer() {
    for (head, most, status) in
        [("Content-Length: 5", 0, 400), ("Content-Length: 5", 4, 413), ("Transfer-Encoding: chunked", 0, 400)]
    {
        let mut session = server();
        session.receive(format!("POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\nabcde").as_bytes());
        assert_eq!(next(&mut session), "head POST /");
        assert_eq!(session.take_body(most).unwrap_err().status(), status, "{head}");
        assert!(!ok(&mut session, "no"));
        assert_eq!(sent(&mut session), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(next(&mut session), "");
    }
}

#[test]
fn chunks_that_break_the_grammar_are_refused_as_they_come() {
    let mut session = server();
    session
        .receive(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(next(&mut session), "head POST /");
    session.take_body(9).unwrap();
    assert_eq!(sent(&mut session), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(next(&mut session), "");
    session.receive(b"2\r\nabc");
    assert_eq!(next(&mut session), "fails: the chunks of the body are malformed");
    assert!(sent(&mut session).starts_with("HTTP/1.1 400 "));
}

#[test]
fn an_upgrade_that_breaks_a_rule_has_the_status_that_names_it() {
    for (before, after, status) in [
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("Connection: keep-alive, Upgrade", "Connection: close", 426),
        ("Version: 13", "Version: 8", 426),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("Host: h", "Host: h\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("Host: h", "Host: h\r\nSec-WebSocket-Extensions: a;;", 400),
    ] {
        let mut session = server();
        session.receive((UPGRADE.replace(before, after) + "\r\n").as_bytes());
        assert_eq!(next(&mut session), "head GET /chat?x=1");
        session.take_body(0).unwrap();
        assert_eq!(next(&mut session), "body ");
        assert_eq!(session.upgrade_problem().map(|error| error.status()), Some(status), "{before} {after}");
        session.accept(None); // which does nothing
        assert_eq!(sent(&mut session), "");
    }
}

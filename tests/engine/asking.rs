//! A client that makes requests: what it takes for a response, and when another request may follow. How each head and
//! each body is read is tested in src/http.

use luws::http::Outgoing;
use luws::protocol::connection::Config;
use luws::session::{Event, Session};

/// What becomes of an answer that arrives in pieces of this size, and the end after it: the status, the body, and
/// whether another request may follow.
fn answered(method: &str, answer: &[u8], piece: usize, ends: bool) -> Result<(u16, String, bool), String> {
    let request = Outgoing::new(method, "h", "/").unwrap();
    let mut session = Session::http_client(&request, b"", 10, None, Config::default()).unwrap();
    session.send_with(|bytes| Ok::<_, ()>(bytes.len())).unwrap();
    let mut pieces = answer.chunks(piece);
    loop {
        let next = pieces.next();
        session.receive(next.unwrap_or_default());
        if next.is_none() {
            if !ends {
                return Err("waiting".into());
            }
            session.receive_end();
        }
        let body = match session.next_event() {
            Ok(Some(Event::Response(body))) => Some(String::from_utf8(body.to_vec()).unwrap()),
            Ok(other) => {
                assert_eq!(other, None);
                None
            }
            Err(failure) => return Err(failure.text),
        };
        if let Some(body) = body {
            return Ok((session.response().unwrap().status, body, session.can_ask()));
        }
        if next.is_none() {
            return Err("ended".into());
        }
    }
}

#[test]
fn a_response_is_read_up_to_its_end_however_it_arrives() {
    let ok = |status, body: &str, keeps_alive| Ok((status, body.to_owned(), keeps_alive));
    let fails = |why: &str| Err(why.to_owned());
    for (method, answer, ends, expected) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, ok(200, "abc", true)),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", false, ok(204, "", true)),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, ok(200, "abc", false)),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            false,
            ok(200, "", false),
        ),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", false, ok(200, "abc", true)),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nabc",
            false,
            fails("Content-Length is not one number"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
            false,
            fails("Content-Length is not one number"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            false,
            ok(200, "a", false),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nabc",
            true,
            fails("Transfer-Encoding is not chunked"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            false,
            fails("Transfer-Encoding is not chunked"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
            fails("Transfer-Encoding is not chunked"),
        ),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc", true, ok(200, "abc", false)),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, ok(200, "", true)),
        ("GET", "HTTP/1.1 304 No\r\nTransfer-Encoding: gzip\r\n\r\n", false, ok(304, "", true)),
        ("GET", "\x15\x03\x03\x00\x02", false, fails("the answer is TLS (is it https?)")),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, ok(200, "", true)),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nabc", true, ok(200, "abc", false)),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nabc", false, fails("waiting")),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", true, fails("ended")),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\n.",
            false,
            ok(404, ".", true),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            false,
            ok(200, "abc", true),
        ),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", false, fails("the body is over 10 bytes")),
        ("GET", "HTTP/1.1 200 OK\r\n\r\n12345678901", false, fails("the body is over 10 bytes")),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n",
            false,
            fails("the body is over 10 bytes"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            false,
            fails("the chunks of the body are malformed"),
        ),
        (
            "GET",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            false,
            fails("the server switches protocols unasked"),
        ),
        ("GET", "SSH-2.0", false, fails("the answer is not HTTP: \"SSH-2.0\"")),
    ] {
        for piece in [answer.len(), 1] {
            let result = answered(method, answer.as_bytes(), piece, ends);
            // The beginning of what is not HTTP is shown as it comes.
            let is_same = match (&result, &expected) {
                (Err(why), Err(wanted)) if wanted.contains("not HTTP") => why.contains("not HTTP"),
                _ => result == expected,
            };
            assert!(is_same, "{answer:?} in pieces of {piece}: {result:?}");
        }
    }
}

#[test]
fn another_request_follows_a_complete_response_only() {
    let request = Outgoing::new("POST", "h", "/").unwrap();
    let mut session = Session::http_client(&request, b"one", 10, None, Config::default()).unwrap();
    let mut sent = Vec::new();
    let mut take = |session: &mut Session| {
        session
            .send_with(|bytes| {
                sent = bytes.to_vec();
                Ok::<_, ()>(bytes.len())
            })
            .unwrap();
        String::from_utf8_lossy(&sent).into_owned()
    };
    assert_eq!(take(&mut session), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none");
    assert!(!session.ask(&request, b"two", 10));
    session.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(!session.can_ask());
    assert!(session.next_event().unwrap().is_some());
    assert!(session.ask(&request, b"two", 10));
    assert_eq!(take(&mut session), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\ntwo");
    // What comes after a response belongs to nobody.
    session.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n");
    assert!(session.next_event().unwrap().is_some());
    assert!(!session.ask(&request, b"three", 10));
}

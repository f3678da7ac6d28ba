//! The opening handshake against RFC 6455 section 4: what each end must send, accept and refuse.

use luws::protocol::error::HandshakeError;
use luws::protocol::handshake::{
    Accepted, ClientHandshake, Header, MAX_HEAD, ServerHandshake, UpgradeRequest, refusal,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

fn request() -> UpgradeRequest {
    let mut request = UpgradeRequest::new("example.com:8080", "/chat?x=1").unwrap();
    for subprotocol in ["chat", "superchat"] {
        request.offer(subprotocol).unwrap();
    }
    request.add(Header::new("Origin", b"http://example.com").unwrap());
    request
}

fn client() -> (ClientHandshake, String) {
    let (handshake, head) = ClientHandshake::new(&request(), None, &mut StdRng::seed_from_u64(7));
    (handshake, String::from_utf8(head).unwrap())
}

/// What a right server answers to [`client`]'s request.
fn right_answer() -> String {
    let (_, head) = client();
    let (request, _) = ServerHandshake::default().parse(head.as_bytes()).unwrap().unwrap();
    String::from_utf8(request.acceptance(Some("chat"), None).0).unwrap()
}

fn outcome(answer: &str) -> Result<Option<Accepted>, String> {
    client().0.parse(answer.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn the_request_has_everything_that_section_4_1_wants() {
    let (_, head) = client();
    assert!(head.starts_with("GET /chat?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    for line in [
        "Host: example.com:8080",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Origin: http://example.com",
    ] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {head}");
    }
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert_eq!((key.len(), &key[22..]), (24, "==")); // 16 bytes in base64
    let mut other = StdRng::seed_from_u64(8);
    let (_, another) = ClientHandshake::new(&request(), None, &mut other);
    assert!(!String::from_utf8(another).unwrap().contains(key));
}

#[test]
fn the_example_of_section_1_3() {
    let head = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
                Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let (request, length) = ServerHandshake::default().parse(head.as_bytes()).unwrap().unwrap();
    assert_eq!((length, request.resource.as_str()), (head.len(), "/chat"));
    assert_eq!(request.subprotocols, ["chat", "superchat"]);
    let answer = String::from_utf8(request.acceptance(Some("chat"), None).0).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "));
    assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    assert!(answer.contains("\r\nSec-WebSocket-Protocol: chat\r\n"), "{answer}");
}

#[test]
fn a_right_answer_is_accepted_however_it_arrives() {
    let mut answer = right_answer().into_bytes();
    let length = answer.len();
    answer.extend(b"\x81\x02hi"); // frames may follow at once
    let accepted = client().0.parse(&answer).unwrap().unwrap();
    assert_eq!((accepted.response.status, accepted.length), (101, length));
    assert_eq!(accepted.response.subprotocol().as_deref(), Some("chat"));
    assert_eq!(accepted.compression, None);
    let (mut handshake, _) = client();
    for end in 0..length {
        assert_eq!(handshake.parse(&answer[..end]), Ok(None), "after {end} bytes");
    }
    assert_eq!(handshake.parse(&answer[..length]).unwrap().unwrap().length, length);
}

#[test]
fn informational_responses_are_skipped() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let answer = format!("{hint}{hint}{}", right_answer());
    let (mut handshake, _) = client();
    for end in 0..answer.len() {
        assert_eq!(handshake.parse(&answer.as_bytes()[..end]), Ok(None), "after {end} bytes");
    }
    assert_eq!(handshake.parse(answer.as_bytes()).unwrap().unwrap().length, answer.len());
}

#[test]
fn answers_that_differ_in_form_only() {
    for (from, to) in [
        ("Upgrade: websocket", "upgrade:WebSocket"),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade"),
        ("Connection: Upgrade", "connection: x\r\nConnection: Upgrade"),
        ("101 Switching Protocols", "101 "),
        ("101 Switching Protocols", "101"),
        ("Sec-WebSocket-Accept: ", "SEC-WEBSOCKET-ACCEPT:   "),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions:\r\n\r\n"),
    ] {
        let answer = right_answer().replacen(from, to, 1);
        assert!(matches!(outcome(&answer), Ok(Some(_))), "{answer}");
    }
}

#[test]
fn answers_that_must_fail_the_connection() {
    let many = format!("\r\n{}\r\n", "X: y\r\n".repeat(101));
    let long = format!("\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD));
    #[rustfmt::skip]
    let cases: &[(&str, &str, &str)] = &[
        ("101 Switching Protocols", "200 OK", "HTTP/1.1 200 OK"),
        ("101 Switching Protocols", "404 Not Found", "HTTP/1.1 404 Not Found"),
        ("101 Switching Protocols", "301 Moved", "HTTP/1.1 301 Moved"),
        ("HTTP/1.1 101", "HTTP/1.0 101", "the response is not HTTP/1.1"),
        ("HTTP/1.1 101 Switching Protocols", "HTTP/1.0 401 Unauthorized", "HTTP/1.0 401 Unauthorized"),
        ("HTTP/1.1 101", "HTTP/2 101", "the answer is not HTTP: \"HTTP/2 101 Switching Protocols\""),
        ("HTTP/1.1 101 Switching Protocols", "SSH-2.0-OpenSSH", "the answer is not HTTP: \"SSH-2.0-OpenSSH\""),
        ("Upgrade: websocket\r\n", "", "the response has no \"Upgrade: websocket\""),
        ("Upgrade: websocket", "Upgrade: h2c", "the response has no \"Upgrade: websocket\""),
        ("Connection: Upgrade\r\n", "", "the response has no \"Connection: Upgrade\""),
        ("Connection: Upgrade", "Connection: close", "the response has no \"Connection: Upgrade\""),
        ("Sec-WebSocket-Accept", "X-Accept", "the response has no Sec-WebSocket-Accept"),
        ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: A", "Sec-WebSocket-Accept does not match the request's key"),
        ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x\r\nSec-WebSocket-Accept: ", "more than one Sec-WebSocket-Accept header"),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "the server selected an extension that was not offered: permessage-deflate"),
        ("Protocol: chat", "Protocol: other", "the server selected a subprotocol that was not offered: other"),
        ("Protocol: chat", "Protocol: Chat", "the server selected a subprotocol that was not offered: Chat"),
        ("Protocol: chat", "Protocol: chat, superchat", "the server selected a subprotocol that was not offered: chat, superchat"),
        ("\r\n\r\n", &many, "over 100 headers"),
        ("\r\n\r\n", &long, "the head is over 16384 bytes"),
        ("\r\n\r\n", "\r\nbad header\r\n\r\n", "invalid header name"),
    ];
    for (from, to, error) in cases {
        let answer = right_answer().replacen(from, to, 1);
        assert_eq!(outcome(&answer).map(|_| ()), Err((*error).to_owned()), "{to}");
    }
}

#[test]
fn another_service_is_found_out_at_its_first_byte() {
    assert!(matches!(client().0.parse(b"2"), Err(HandshakeError::Invalid(_))));
    assert!(matches!(client().0.parse(b"\x15\x03\x01"), Err(HandshakeError::Invalid(_))));
}

#[test]
fn requests_that_a_server_must_refuse() {
    let (_, head) = client();
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    #[rustfmt::skip]
    let cases: &[(&str, &str, u16)] = &[
        // section 4.2.1 and 4.2.2
        ("GET ", "POST ", 405),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("Host: example.com:8080\r\n", "", 400),
        ("Upgrade: websocket\r\n", "", 426),
        ("Connection: Upgrade", "Connection: close", 426),
        ("Version: 13", "Version: 8", 426),
        (key, "c2hvcnQ=", 400),
        (key, "not base64", 400),
        ("GET /chat?x=1 ", "GET ", 400),
        ("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD)), 431),
    ];
    for (from, to, expected) in cases {
        let request = head.replacen(from, to, 1);
        match ServerHandshake::default().parse(request.as_bytes()) {
            Err(HandshakeError::BadRequest { status, message }) => {
                assert_eq!(status, *expected, "{from} -> {to}");
                let answer = String::from_utf8(refusal(status, &message)).unwrap();
                assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
                assert_eq!(answer.contains("Sec-WebSocket-Version: 13\r\n"), *expected == 426);
            }
            other => panic!("{from} -> {to}: {other:?}"),
        }
    }
}

#[test]
fn headers_cannot_smuggle_in_others() {
    for (name, value, ok) in [
        ("X-Key", "value", true),
        ("X-Key", "", true),
        ("X-Key", "tab\there", true),
        ("X-Key", "ümlaut", true),
        ("X Key", "value", false),
        ("", "value", false),
        ("X:", "value", false),
        ("X-Key\r\nEvil", "value", false),
        ("X-Key", "value\r\nEvil: 1", false),
        ("X-Key", "value\n", false),
        ("X-Key", "nul\0", false),
    ] {
        assert_eq!(Header::new(name, value.as_bytes()).is_ok(), ok, "{name:?}: {value:?}");
    }
}

#[test]
fn of_a_refusals_body_is_shown_what_the_server_means_by_it() {
    // RFC 9112 sections 6 and 7.1: the lines of the head, what came behind it, the body, and whether that is all.
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (head, received, body, complete) in [
        ("", "", "", false),
        ("", "abc", "abc", false),
        ("Content-Length: 3\r\n", "ab", "ab", false),
        ("Content-Length: 3\r\n", "abc", "abc", true),
        ("Content-Length: 3\r\n", "abcd", "abc", true),
        ("Content-Length: 0\r\n", "", "", true),
        ("Content-Length: x\r\n", "abc", "abc", false),
        (chunked, "", "", false),
        (chunked, "3", "", false),
        (chunked, "3\r\n", "", false),
        (chunked, "3\r\nab", "ab", false),
        (chunked, "3\r\nabc", "abc", false),
        (chunked, "3\r\nabc\r", "abc", false),
        (chunked, "3\r\nabc\r\n", "abc", false),
        (chunked, "3\r\nabc\r\n2;x=y\r\nde\r\n", "abcde", false),
        (chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", true),
        (chunked, "3\r\nabc\r\nnonsense\r\n", "abc", true),
        (chunked, "ffffffffffffffff\r\nabc", "abc", false),
        ("Transfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n", "2\r\nab\r\n0\r\n\r\n", "ab", true),
    ] {
        let answer = format!("HTTP/1.1 401 Unauthorized\r\n{head}\r\n{received}");
        let mut handshake = client().0;
        let Err(HandshakeError::Refused(response)) = handshake.parse(answer.as_bytes()) else {
            panic!("{head:?} is not taken for a refusal")
        };
        let behind = &answer.as_bytes()[handshake.body_start()..];
        assert_eq!(response.body(behind), (body.into(), complete), "{head:?} {received:?}");
    }
    let mut handshake = client().0;
    let Err(HandshakeError::Refused(response)) = handshake.parse(b"HTTP/1.1 204 No Content\r\n\r\n") else {
        panic!("204 is not taken for a refusal")
    };
    assert_eq!(response.body(b""), (Vec::new(), true));
}

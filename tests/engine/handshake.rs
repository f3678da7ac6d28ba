//! The opening handshake against RFC 6455 section 4: the client's request. What each end must accept and refuse is in
//! spec/vectors.

use luws::http::Header;
use luws::protocol::error::{HandshakeError, InvalidResponse, UpgradeRequestError};
use luws::protocol::handshake::{ClientHandshake, UpgradeRequest};
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
fn another_service_is_found_out_at_its_first_byte() {
    for first in [&b"2"[..], b"\x15\x03\x01"] {
        let error = client().0.parse(first).unwrap_err();
        assert!(matches!(error, HandshakeError::Response(InvalidResponse::Http(_))), "{error:?}");
    }
}

#[test]
fn what_cannot_stand_in_a_request_is_refused() {
    use UpgradeRequestError::{Host, Resource, Subprotocol};
    for (host, resource, subprotocol, expected) in [
        ("h", "/", "chat", Ok(())),
        ("", "/", "chat", Err(Host(String::new()))),
        ("a b", "/", "chat", Err(Host("a b".into()))),
        ("h", "chat", "chat", Err(Resource("chat".into()))),
        ("h", "/\r\nEvil: 1", "chat", Err(Resource("/\r\nEvil: 1".into()))),
        ("h", "/", "a,b", Err(Subprotocol("a,b".into()))),
        ("h", "/", "", Err(Subprotocol(String::new()))),
    ] {
        let request = UpgradeRequest::new(host, resource).and_then(|mut request| request.offer(subprotocol));
        assert_eq!(request, expected);
    }
}

//! Fuzz targets for parsers that are not part of an open connection: URLs, heads and bodies of HTTP, headers to be
//! sent, challenges, close frames, answers of proxies, certificates, JSON, packets of Socket.IO. Knows nothing of
//! sessions.

use std::iter;

use crate::http::auth::{self, Challenge, Credentials, Tried};
use crate::http::{Header, Headers, RequestReader, ResponseReader};
use crate::json::Document;
use crate::protocol::close::CloseFrame;
use crate::protocol::error::ProtocolError;
use crate::protocol::frame::MAX_CONTROL_PAYLOAD;
use crate::protocol::handshake::UpgradeRequest;
use crate::proxy::address::Address;
use crate::proxy::http_connect::{self, HttpConnect, Identity};
use crate::proxy::sockproxy::{self, SockProxy};
use crate::proxy::socks::{self, Host, Socks, Version};
use crate::proxy::{Negotiation, ProxyError, Retry};
use crate::socketio::{self, Packet};
use crate::tls::certificate::{Certificate, read_pem};
use crate::tls::fingerprint::Fingerprint;
use crate::url::Target;

use super::Choices;
use super::feeding::cut;

/// A URL, of a server or of a proxy, absolute or as a redirect has it: it can be requested, and its parts make a URL
/// that means the same.
///
/// # Panics
/// A promise is broken.
pub fn url(data: &[u8]) {
    if let Ok(address) = Address::parse(data) {
        let host =
            if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
        let again = Address::parse(format!("{}://{host}:{}", address.kind.scheme(), address.port).as_bytes());
        assert_eq!(again, Ok(Address { user: None, password: None, zone: None, ..address }));
    }
    let here = Target::parse("ws://me:x@[fe80::1%25eth0]:81/a/b?c").expect("a URL");
    for target in [Target::parse(data), here.follow(data)].into_iter().flatten() {
        requested(&target);
    }
}

fn requested(target: &Target) {
    UpgradeRequest::new(&target.host_header, &target.resource).expect("a request for it");
    if let Some(authorization) = &target.authorization {
        Header::new("Authorization", authorization.as_bytes()).expect("a header for it");
    }
    assert_eq!(Target::parse(target.url()), Ok(Target { authorization: None, ..target.clone() }));
}

/// Heads in a row, and the body of the last one. The data: a byte for how the input is cut, and the input, which is
/// read as responses and as requests.
///
/// # Panics
/// A promise is broken.
pub fn http(data: &[u8]) {
    let mut choices = Choices(data);
    let seed = choices.byte();
    let input = choices.rest();
    let pieces = cut(input, seed);
    assert_eq!(responses(&[input]), responses(&pieces));
    assert_eq!(requests(&[input]), requests(&pieces));
}

/// What the input says, head by head and then the body, as far as that is known with each piece.
fn responses(pieces: &[&[u8]]) -> Vec<String> {
    let (mut input, mut start, mut said) = (Vec::new(), 0, Vec::new());
    let mut reader = ResponseReader::default();
    let mut last = None;
    let mut body = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match reader.read(&input[start..]) {
                Ok(Some((response, length))) => {
                    assert!(length <= input.len() - start);
                    start += length;
                    said.push(format!("{response:?}"));
                    last = Some((response, start));
                    body.clear();
                }
                Ok(None) => break,
                // Input that is not HTTP is shown as far as it has come.
                Err(_) if last.is_some() => break,
                Err(_) => return vec!["invalid".to_owned()],
            }
        }
        // What has come of a body stays as it is.
        if let Some((response, start)) = &last {
            let so_far = response.body(&input[*start..], false, usize::MAX);
            assert!(so_far.bytes.starts_with(&body));
            body = so_far.bytes;
        }
    }
    if let Some((response, start)) = &last {
        said.push(format!("{:?}", response.body(&input[*start..], true, usize::MAX)));
    }
    said
}

fn requests(pieces: &[&[u8]]) -> Vec<String> {
    let (mut input, mut start, mut said) = (Vec::new(), 0, Vec::new());
    let mut reader = RequestReader::default();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match reader.read(&input[start..]) {
                Ok(Some((request, length))) => {
                    start += length;
                    said.push(format!("{request:?}"));
                }
                Ok(None) => break,
                Err(why) => {
                    said.push(format!("{why:?}"));
                    return said;
                }
            }
        }
    }
    said
}

/// A header to be sent, as name and value with a colon between them: it is read as this one header and no other.
///
/// # Panics
/// A promise is broken.
pub fn header(data: &[u8]) {
    let colon = data.iter().position(|byte| *byte == b':').unwrap_or(data.len());
    let (name, value) = (String::from_utf8_lossy(&data[..colon]), data.get(colon + 1..).unwrap_or_default());
    let Ok(header) = Header::new(&name, value) else { return };
    let head = [b"GET / HTTP/1.1\r\n", header.line().as_slice(), b"\r\n"].concat();
    let read = RequestReader::default().read(&head);
    let Ok(Some((request, length))) = read else {
        assert!(data.len() > 10_000, "{read:?}");
        return;
    };
    assert_eq!(length, head.len());
    let [(read_name, read_value)] = request.headers.0.as_slice() else { panic!("{request:?}") };
    assert_eq!((read_name.as_str(), read_value.trim_ascii()), (&*name, value.trim_ascii()));
}

/// The challenges of a refusal, a field in each line: the answer is a header, and repeats what its challenge says.
///
/// # Panics
/// A promise is broken.
pub fn challenge(data: &[u8]) {
    let fields = data.split(|byte| *byte == b'\n').filter(|value| Header::new("a", value).is_ok());
    let headers = Headers(fields.map(|value| ("a".to_owned(), value.to_vec())).collect());
    let challenges = Challenge::all(&headers, "A");
    assert!(auth::schemes(&challenges).is_ascii());
    let request = auth::Request { method: "GET", uri: "/", cnonce: "c" };
    let credentials = Credentials::new(b"us\"er", b"pass").unwrap();
    for tried in [Tried::Nothing, Tried::Basic, Tried::Digest, Tried::FreshDigest] {
        let Some((value, next)) = credentials.answer(&challenges, None, tried, &request) else { continue };
        Header::new("Authorization", &value).expect("a header for it");
        let answer = Headers(vec![("a".to_owned(), value)]);
        let [answer] = &Challenge::all(&answer, "a")[..] else { panic!("{answer:?}") };
        if next == Tried::Basic {
            assert!(answer.is("Basic") && challenges.iter().any(|challenge| challenge.is("Basic")));
            continue;
        }
        assert_eq!(answer.get("username"), Some(&b"us\"er"[..]));
        let repeats = |name| move |challenge: &&Challenge| challenge.get(name) == answer.get(name);
        let digests = challenges.iter().filter(|challenge| challenge.is("Digest"));
        let same = digests.filter(repeats("realm")).filter(repeats("nonce")).find(repeats("opaque"));
        assert!(same.is_some(), "{answer:?} for {challenges:?}");
    }
}

/// The body of a close frame: a valid one is written as it was, and its code and reason can be sent.
///
/// # Panics
/// A promise is broken.
pub fn close_frame(data: &[u8]) {
    match CloseFrame::parse(data, true) {
        Ok(frame) => {
            // A valid one is the same to who takes any bytes for a reason.
            assert_eq!(CloseFrame::parse(data, false).as_ref(), Ok(&frame));
            assert_eq!(frame.payload(), data);
            assert!(frame.code().is_some() || data.is_empty());
            if let Some(code) = frame.code() {
                assert!(matches!(code.get(), 1000..=1003 | 1007..=1014 | 3000..=4999));
                assert_eq!(CloseFrame::new(code, frame.reason()), Ok(frame));
            }
        }
        Err(ProtocolError::ControlTooLong) => assert!(data.len() > MAX_CONTROL_PAYLOAD),
        Err(_) => {
            let _ = CloseFrame::parse(data, false);
            assert!(!data.is_empty() && data.len() <= MAX_CONTROL_PAYLOAD);
        }
    }
}

/// A JSON text: what it is written as is read as the same, and written as the same again.
///
/// # Panics
/// A promise is broken.
pub fn json(data: &[u8]) {
    let Ok(document) = Document::parse(data) else { return };
    let written = document.write().expect("memory for as much again");
    let again = Document::parse(&written).unwrap_or_else(|why| panic!("{why}: {written:?}"));
    assert_eq!(again.write().as_ref(), Ok(&written));
}

/// The text of a packet of Socket.IO: what it is written as is read as the same, and written as the same again.
///
/// # Panics
/// A promise is broken.
pub fn socketio(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    // What was read has placeholders, which cannot be sent together with binary values.
    let packet = Packet { attachments: 0, ..packet };
    let written = written(&packet);
    let again = Packet::parse(&written).unwrap_or_else(|why| panic!("{why}: {written:?}"));
    assert_eq!((again.kind, again.namespace, again.id), (packet.kind, packet.namespace, packet.id));
    assert_eq!(self::written(&again), written);
}

fn written(packet: &Packet<'_>) -> Vec<u8> {
    let (mut text, mut order) = (Vec::new(), Vec::new());
    socketio::write(packet, &mut text, &mut order).expect("it can be written");
    assert!(order.is_empty());
    text
}

/// The answers of a proxy. The data: a byte for how the input is cut, one for the kind of proxy, and the answers.
///
/// # Panics
/// A promise is broken.
pub fn proxy(data: &[u8]) {
    let mut choices = Choices(data);
    let (seed, kind) = (choices.byte(), choices.byte());
    let input = choices.rest();
    let negotiate = |pieces: &[&[u8]]| negotiation(&mut *made(kind), pieces);
    assert_eq!(negotiate(&[input]), negotiate(&cut(input, seed)));
}

/// A negotiation of this kind, which has not begun.
fn made(kind: u8) -> Box<dyn Negotiation> {
    let (host, port) = ("h".to_owned(), 80);
    let (user, password) = (b"me".to_vec(), b"secret".to_vec());
    let version = match kind % 4 {
        0 => {
            let options = sockproxy::Options { host, port, notify: None, rtim: 0, pace: 0 };
            return Box::new(SockProxy::new(&options).unwrap());
        }
        1 => {
            let credentials = Credentials::new(&user, &password).unwrap();
            let identity =
                Identity { credentials, only: None, at_once: kind & 4 != 0, cnonce: "c".to_owned() };
            let (identity, headers) = (Some(identity), Vec::new());
            let options = http_connect::Options { host, port, headers, identity, retry: None };
            return Box::new(HttpConnect::new(options));
        }
        2 => Version::Socks4,
        _ => Version::Socks5,
    };
    let options =
        socks::Options { version, host: Host::Name(host), port, credentials: Some((user, password)) };
    Box::new(Socks::new(options).unwrap())
}

/// The outcome of a negotiation.
#[derive(Debug, PartialEq, Eq)]
struct Negotiated {
    /// Why it has failed, or that it is done; `None` while it waits.
    end: Option<Result<(), ProxyError>>,
    sent: Vec<u8>,
    detail: Option<String>,
    /// What is to be said over another connection.
    retry: Option<Retry>,
    /// What is left for the next hop.
    rest: Vec<u8>,
}

fn negotiation(proxy: &mut dyn Negotiation, pieces: &[&[u8]]) -> Negotiated {
    let (mut input, mut sent, mut end) = (Vec::new(), Vec::new(), None);
    // Some speak first.
    for piece in iter::once(&&[][..]).chain(pieces) {
        input.extend_from_slice(piece);
        while end.is_none() {
            match proxy.feed(&input) {
                Ok(progress) => {
                    assert!(progress.used <= input.len());
                    let waits = progress.used == 0 && progress.answer.is_empty() && !progress.done;
                    input.drain(..progress.used);
                    sent.extend(progress.answer);
                    end = progress.done.then_some(Ok(()));
                    if waits {
                        break;
                    }
                }
                // It is shown as far as it has come.
                Err(ProxyError::Unexpected { proxy, .. }) => {
                    end = Some(Err(ProxyError::Unexpected { proxy, start: String::new() }));
                }
                Err(ProxyError::NotHttp(_)) => end = Some(Err(ProxyError::Unsupported("not HTTP"))),
                Err(error) => end = Some(Err(error)),
            }
        }
    }
    let rest = if end == Some(Ok(())) { input } else { Vec::new() };
    Negotiated { end, sent, detail: proxy.detail().map(str::to_owned), retry: proxy.retry().cloned(), rest }
}

/// A peer's certificate in DER; a file of certificates in PEM; the text of a fingerprint.
///
/// # Panics
/// A promise is broken.
pub fn certificate(data: &[u8]) {
    let certificate = Certificate::read(data);
    assert!(certificate.is_one_of(&[Fingerprint::of(data)]));
    // A certificate that can be read in full has a key, which can be read by itself.
    assert!(certificate.subject.is_none() || certificate.public_key.is_some());
    assert_eq!(certificate.subject.is_some(), certificate.not_after.is_some());
    if let Ok(certificates) = read_pem(data) {
        assert!(!certificates.is_empty());
    }
    if let Ok(fingerprint) = Fingerprint::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(Fingerprint::parse(&fingerprint.to_hex()), Ok(fingerprint));
        assert_eq!(Fingerprint::parse(&fingerprint.to_base64()), Ok(fingerprint));
    }
}

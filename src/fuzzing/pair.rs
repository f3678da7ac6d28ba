//! Two ends in memory: one receives what the other sends, in pieces of any size. Knows nothing of sockets or time.

use std::convert::Infallible;

use crate::protocol::connection::Config;
use crate::protocol::handshake::UpgradeRequest;
use crate::session::{Event, Session};

/// A request that any of our servers accepts.
///
/// # Panics
/// Never.
#[must_use]
pub fn request() -> UpgradeRequest {
    UpgradeRequest::new("h", "/").unwrap()
}

/// Two ends whose upgrade is complete.
///
/// # Panics
/// The upgrade does not complete.
#[must_use]
pub fn pair(client: Config, server: Config) -> (Session, Session) {
    let mut client = Session::client(&request(), None, client).unwrap();
    let mut server = Session::server(None, server).unwrap();
    open(&mut client, &mut server, usize::MAX);
    (client, server)
}

/// Completes the upgrade of two ends, and TLS before it, in pieces of `piece` bytes.
///
/// # Panics
/// The upgrade does not complete.
pub fn open(client: &mut Session, server: &mut Session, piece: usize) {
    for _ in 0..10 {
        transfer(client, server, piece);
        match server.next_event() {
            Ok(Some(Event::Request(_))) => server.accept(None),
            other => assert_eq!(other, Ok(None)),
        }
        transfer(server, client, piece);
        match client.next_event() {
            Ok(Some(Event::Open(_))) => return,
            other => assert_eq!(other, Ok(None)),
        }
    }
    panic!("not open: {:?}, {:?}", client.status(), server.status());
}

/// Takes everything that a session has to send.
///
/// # Panics
/// Some of it cannot be sent yet.
pub fn collect(session: &mut Session) -> Vec<u8> {
    let mut sent = Vec::new();
    while session.outgoing_len() > 0 {
        let before = sent.len();
        let Ok(_) = session.send_with(|bytes| {
            sent.extend_from_slice(bytes);
            Ok::<_, Infallible>(bytes.len())
        });
        assert!(sent.len() > before, "{:?}", session.status());
    }
    sent
}

/// Moves what `from` can send to `to`, at most `piece` bytes at a time.
pub fn transfer(from: &mut Session, to: &mut Session, piece: usize) {
    let mut taken = Vec::new();
    while from.sendable_len() > 0 {
        let Ok(_) = from.send_with(|bytes| {
            taken.extend_from_slice(&bytes[..piece.min(bytes.len())]);
            Ok::<_, Infallible>(taken.len())
        });
        to.receive(&taken);
        taken.clear();
    }
}

//! Conversations in which one large allocation is refused, each one in turn: nothing but an error follows. What was
//! sent without an error arrives once and in order, and what is received is the beginning of what was sent.

#![cfg(not(any(windows, target_vendor = "apple")))] // where OpenSSL can make certificates

mod allocator;
#[path = "../engine/certificate.rs"]
mod certificate;

use std::convert::Infallible;
use std::panic;

use luws::fuzzing::{collect, open, request};
use luws::http::coding::gzip;
use luws::memory::OutOfMemory;
use luws::protocol::close_code::CloseCode;
use luws::protocol::connection::{Config, Event, SharedMessage};
use luws::protocol::deflate::Options;
use luws::protocol::error::SendError;
use luws::protocol::frame::Opcode;
use luws::protocol::spare::Spares;
use luws::session::{self, Kind, Session, Storage};
use luws::tls::{TlsOptions, Verify};

use allocator::{choose, counted, was_refused};

/// A text that compresses to about half its length.
fn text(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"0123456789abcdef"[(state >> 28) as usize]
    };
    (0..length).map(|_| next()).collect()
}

/// Messages: the lengths of their fragments.
const MESSAGES: &[&[usize]] =
    &[&[30_000], &[10], &[12_000, 20_000, 0, 5], &[80_000], &[5_000, 40_000], &[3], &[4_000]];

/// A session, and whether its allocations count.
struct End {
    session: Session,
    ours: bool,
    /// The messages that were sent, whole.
    sent: Vec<Vec<u8>>,
    /// The messages that were received, and what came after them.
    received: Vec<Vec<u8>>,
    closed: Option<u16>,
    failed: Option<Kind>,
}

impl End {
    fn new(session: Session, ours: bool) -> Self {
        Self { session, ours, sent: Vec::new(), received: Vec::new(), closed: None, failed: None }
    }

    fn send(&mut self, opcode: Opcode, data: &[u8], fin: bool) -> Result<(), SendError> {
        counted(self.ours, || self.session.send(opcode, data, fin))
    }

    /// Sends all messages, as far as the session lives.
    fn send_all(&mut self) {
        for lengths in MESSAGES {
            let mut message = Vec::new();
            let mut opcode = Opcode::Text;
            for (index, &length) in lengths.iter().enumerate() {
                let (data, fin) = (text(length), index + 1 == lengths.len());
                let mut result = self.send(opcode, &data, fin);
                if result == Err(SendError::OutOfMemory) {
                    // Nothing has happened, so that it can be tried again.
                    result = self.send(opcode, &data, fin);
                }
                assert_eq!(result, Ok(()));
                message.extend(data);
                opcode = Opcode::Continuation;
            }
            self.sent.push(message);
        }
    }

    /// Takes all events.
    fn take_all(&mut self) {
        loop {
            let (session, ours) = (&mut self.session, self.ours);
            let event = counted(ours, || session.next_event());
            match event {
                Ok(None) => return,
                Ok(Some(session::Event::Received(event))) => match event {
                    Event::Message { data, .. } => self.received.push(data.to_vec()),
                    Event::Begin(_) => {
                        self.received.push(Vec::new());
                        assert!(self.session.connection_mut().unwrap().stream_message());
                    }
                    Event::Piece { data, .. } => self.received.last_mut().unwrap().extend_from_slice(data),
                    Event::Close(frame) => self.closed = frame.code().map(CloseCode::get),
                    _ => {}
                },
                Ok(Some(_)) => {}
                Err(failure) => {
                    assert_eq!((self.failed, failure.text.as_str()), (None, "not enough memory"));
                    self.failed = Some(failure.kind);
                }
            }
        }
    }

    /// Moves everything that can be sent to the other end, and takes the events there.
    fn transfer(&mut self, to: &mut Self, piece: usize) {
        while self.session.sendable_len() > 0 {
            let mut taken = Vec::new();
            let Ok(_) = counted(self.ours, || {
                self.session.send_with(|bytes| {
                    counted(false, || taken.extend_from_slice(&bytes[..piece.min(bytes.len())]));
                    Ok::<_, Infallible>(taken.len())
                })
            });
            counted(to.ours, || to.session.receive(&taken));
            to.take_all();
        }
    }
}

/// How the ends talk.
#[derive(Clone, Copy, Debug)]
struct Way {
    tls: bool,
    deflates: bool,
    /// Messages are sent in fragments of this size.
    fragment_size: usize,
    /// Messages are received in pieces, as they come.
    streams: bool,
    /// How many bytes the wire takes at once.
    piece: usize,
}

impl Way {
    const USUAL: Self = Self { tls: false, deflates: false, fragment_size: 0, streams: false, piece: 20_000 };

    /// Two ends whose upgrade is complete; the allocations of the first one count.
    fn pair(self) -> (End, End) {
        let deflate = self.deflates.then(|| Options { level: 1, ..Options::default() });
        let config = Config {
            max_message_size: 1 << 20,
            fragment_size: self.fragment_size,
            deflate,
            seed: Some(1),
            ..Config::default()
        };
        let (mut client, mut server) = if self.tls {
            let acceptor = certificate::acceptor();
            let connector =
                TlsOptions { verify: Verify::Nothing, ..TlsOptions::default() }.connector().unwrap();
            let tls = Some((&connector, "localhost"));
            let client = Session::client(&request(), tls, config.clone()).unwrap();
            (client, Session::server(Some(&acceptor), config).unwrap())
        } else {
            luws::fuzzing::pair(config.clone(), config)
        };
        if self.tls {
            open(&mut client, &mut server, usize::MAX);
        }
        client.connection_mut().unwrap().set_announce(self.streams);
        (End::new(client, true), End::new(server, false))
    }
}

/// Has both ends send everything, while one allocation of the first end is refused. Returns whether it came.
fn converse(way: Way, number: usize) -> bool {
    let (mut ours, mut other) = way.pair();
    choose(number);
    other.send_all();
    other.transfer(&mut ours, way.piece);
    if ours.failed.is_none() {
        assert_eq!(ours.received, other.sent);
        ours.send_all();
    }
    ours.transfer(&mut other, way.piece);
    if was_refused() {
        ours.take_all(); // what has failed since
    }
    // No end has got what was not sent, nor anything twice or in another order.
    let begins_alike = |received: &[Vec<u8>], sent: &[Vec<u8>], is_over: bool| {
        let whole = received.len() - usize::from(is_over && way.streams && !received.is_empty());
        assert!(sent.starts_with(&received[..whole]));
        assert!(received[whole..].iter().all(|last| sent[whole].starts_with(last)));
    };
    begins_alike(&ours.received, &other.sent, ours.failed.is_some());
    begins_alike(&other.received, &ours.sent, false);
    match ours.failed {
        None => assert_eq!((other.received.len(), other.closed), (ours.sent.len(), None)),
        Some(kind) => {
            assert_eq!((kind, ours.session.incoming_len()), (Kind::Memory, 0));
            assert!(other.closed == Some(1009) || way.tls, "{:?}", other.closed);
        }
    }
    was_refused()
}

/// zlib-rs panics for want of memory. That is caught, and need not be printed each time.
fn hide_panics_of_zlib() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|place| place.file().contains("zlib-rs")) {
            usual(info);
        }
    }));
}

#[test]
fn a_refused_allocation_is_an_error_and_nothing_else() {
    hide_panics_of_zlib();
    let ways = [
        Way::USUAL,
        Way { piece: usize::MAX, ..Way::USUAL },
        Way { fragment_size: 1000, ..Way::USUAL },
        Way { streams: true, ..Way::USUAL },
        Way { deflates: true, ..Way::USUAL },
        Way { deflates: true, fragment_size: 5000, ..Way::USUAL },
        Way { deflates: true, streams: true, ..Way::USUAL },
        Way { tls: true, ..Way::USUAL },
        Way { tls: true, deflates: true, ..Way::USUAL },
    ];
    for way in ways {
        let refused = (0..1000).take_while(|number| converse(way, *number)).count();
        assert!((5..1000).contains(&refused), "{way:?}: {refused}");
    }
}

#[test]
fn a_queue_that_finds_no_smaller_storage_keeps_what_it_has() {
    let (mut ours, mut other) = Way::USUAL.pair();
    let mut spare = Storage { input: vec![0; 65_536], ..Storage::default() };
    ours.session.borrow_input(&mut spare);
    other.session.send(Opcode::Binary, &[7; 10_000], true).unwrap();
    ours.session.receive(&collect(&mut other.session));
    choose(0);
    counted(true, || ours.session.give_back(&mut spare));
    assert!(was_refused());
    ours.take_all();
    assert_eq!(ours.received, [vec![7; 10_000]]);
}

#[test]
fn members_for_whom_no_frames_could_be_kept_make_their_own() {
    let data = text(10_000);
    let refused = (0..100).take_while(|number| {
        let [mut first, mut second] = [(); 2].map(|()| Way::USUAL.pair().1.session);
        let mut message = SharedMessage::new(Opcode::Text, &data);
        choose(*number);
        // The queue makes do with less room than it would have liked.
        assert_eq!(counted(true, || first.send_shared(&mut message)), Ok(()));
        second.send_shared(&mut message).unwrap();
        assert_eq!(collect(&mut first), collect(&mut second));
        was_refused()
    });
    assert!((2..100).contains(&refused.count()));
}

#[test]
fn without_context_takeover_all_connections_use_the_same_memory() {
    let deflate =
        Options { client_no_context_takeover: true, server_no_context_takeover: true, ..Options::default() };
    let config = Config { deflate: Some(deflate), spares: Spares::shared(), ..Config::default() };
    let mut ends = [(); 3].map(|()| {
        let (client, server) = luws::fuzzing::pair(config.clone(), config.clone());
        (End::new(client, true), End::new(server, true))
    });
    for number in 0..10 {
        for (client, server) in &mut ends {
            // What each needs for a message beside that is made with its first one.
            choose(if number == 0 { usize::MAX } else { 0 });
            for _ in 0..2 {
                client.send(Opcode::Text, &text(3000), true).unwrap();
                client.transfer(server, usize::MAX);
            }
            assert_eq!((server.received.len(), was_refused()), (2 * number + 2, false));
        }
    }
}

#[test]
fn a_refused_allocation_is_an_error_of_gzip() {
    hide_panics_of_zlib();
    let data = text(200_000);
    let refused = (0..100).take_while(|number| {
        choose(*number);
        let compressed = counted(true, || gzip(&data));
        assert!(compressed.is_ok() || compressed == Err(OutOfMemory));
        was_refused()
    });
    assert!((5..100).contains(&refused.count()));
}

//! Puts one end of a connection into the state that a fuzz target starts from, feeds it bytes, and answers its events
//! as a driver would. Knows no particular input.

use crate::http::response::MAX_HEAD;
use crate::protocol::Role;
use crate::protocol::close::CloseFrame;
use crate::protocol::close_code::CloseCode;
use crate::protocol::connection::{Config, Event as Received};
use crate::protocol::deflate::Options;
use crate::protocol::frame::{FrameHeader, Lengths, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};
use crate::protocol::handshake::{self, ServerHandshake, UpgradeRequest};
use crate::protocol::spare::Spares;
use crate::session::{Event, Session};

use super::pair::{collect, pair, request};

/// The settings of a connection, from a byte: the negotiated compression (bits 0 to 2), the message size limit (3 and
/// 4), whether a close frame was already sent (5), whether messages are streamed (6).
#[derive(Clone, Debug)]
pub(super) struct Setup {
    deflate: Option<Options>,
    limit: usize,
    closing: bool,
    stream: bool,
}

impl Setup {
    pub(super) fn from_byte(byte: u8) -> Self {
        let takeover = Options { threshold: 0, ..Options::default() };
        let deflate = match byte & 7 {
            0 | 1 => None,
            2 | 3 => Some(takeover),
            4 => Some(Options { server_no_context_takeover: true, ..takeover }),
            5 => Some(Options { client_no_context_takeover: true, ..takeover }),
            6 => {
                Some(Options { server_max_window_bits: Some(8), client_max_window_bits: Some(8), ..takeover })
            }
            _ => Some(Options {
                server_max_window_bits: Some(10),
                client_no_context_takeover: true,
                ..takeover
            }),
        };
        let limit = [65_535, 128, 1000, 0][usize::from(byte >> 3 & 3)];
        Self { deflate, limit, closing: byte & 32 != 0, stream: byte & 64 != 0 }
    }

    /// The same settings without streaming and without a size limit; `None` if there was no streaming.
    pub(super) fn not_streamed(&self) -> Option<Self> {
        self.stream.then(|| Self { stream: false, limit: usize::MAX, ..self.clone() })
    }

    /// What the client asks for in permessage-deflate.
    pub(super) fn wish(&self) -> Option<Options> {
        self.deflate.clone()
    }

    fn config(&self) -> Config {
        Config {
            max_message_size: self.limit,
            // What is sent is compared, so it must not be masked.
            use_masking: false,
            deflate: self.deflate.as_ref().map(|_| Options::default()),
            spares: Spares::shared(),
            ..Config::default()
        }
    }
}

/// One end, open or before the upgrade.
pub(super) fn set_up(role: Role, setup: &Setup, open: bool) -> Session {
    if !open {
        return match role {
            Role::Client => Session::client(&request(), None, setup.config()).unwrap(),
            Role::Server => Session::server(None, setup.config()).unwrap(),
        };
    }
    let client = Config { deflate: setup.wish(), ..setup.config() };
    let (client, server) = pair(client, setup.config());
    let mut session = if role == Role::Client { client } else { server };
    if setup.closing {
        session.send_close(CloseFrame::new(CloseCode::NORMAL_CLOSURE, "").unwrap()).unwrap();
    }
    session
}

/// A client that has sent its request, and the accept hash that it expects.
pub(super) fn client(request: &UpgradeRequest, setup: &Setup) -> (Session, String) {
    let config = Config { deflate: setup.wish(), ..setup.config() };
    let mut session = Session::client(request, None, config).unwrap();
    let (request, _) = ServerHandshake::default().parse(&collect(&mut session)).unwrap().unwrap();
    let (answer, _) = request.acceptance(None, None, &[]);
    let answer = String::from_utf8(answer).unwrap();
    let accept = answer.split("Sec-WebSocket-Accept: ").nth(1).unwrap();
    (session, accept.split("\r\n").next().unwrap().to_owned())
}

/// The events of an input, and the bytes sent in reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The name and the data of each event.
    pub(super) events: Vec<(String, Vec<u8>)>,
    pub(super) sent: Vec<u8>,
}

/// The answer to an event.
enum Reply {
    Nothing,
    Accept,
    Stream,
    Pong(Vec<u8>),
    Close,
    /// The session has failed: nothing may come after it.
    Failed,
}

/// Feeds the pieces to a session, and answers its events as a driver would.
pub(super) fn play(mut session: Session, setup: &Setup, pieces: &[&[u8]]) -> Outcome {
    let mut outcome = Outcome { events: Vec::new(), sent: collect(&mut session) };
    let (mut over, mut fed) = (false, 0);
    // The message being streamed.
    let mut streamed = (String::new(), Vec::new());
    for piece in pieces {
        fed += piece.len();
        assert_eq!(session.receive(piece), piece.len());
        loop {
            if let Some(connection) = session.connection_mut() {
                connection.set_announce(setup.stream);
            }
            let (name, data, reply) = match session.next_event() {
                Ok(None) => break,
                Ok(Some(Event::Received(Received::Piece { data, last }))) => {
                    assert!(!over && (last || !data.is_empty()));
                    streamed.1.extend_from_slice(data);
                    if last {
                        outcome.events.push(std::mem::take(&mut streamed));
                    }
                    continue;
                }
                // How often it comes depends on how the input is cut, and on where a message goes.
                Ok(Some(Event::Received(Received::Working))) => {
                    assert!(!over);
                    continue;
                }
                Ok(Some(event)) => {
                    assert!(!over, "{event:?} after the end");
                    seen(&event, setup)
                }
                Err(error) => {
                    assert!(!over, "{error:?} after the end");
                    (error.text, Vec::new(), Reply::Failed)
                }
            };
            if let Reply::Stream = reply {
                assert!(session.connection_mut().unwrap().stream_message());
                streamed = (name, Vec::new());
                continue;
            }
            outcome.events.push((name, data));
            // Even an empty frame has two bytes.
            assert!(outcome.events.len() <= fed / 2 + 2);
            match reply {
                Reply::Nothing | Reply::Stream => {}
                Reply::Accept => session.accept(None),
                Reply::Pong(payload) => drop(session.send_pong(&payload)),
                Reply::Close => {
                    over = true;
                    session.reply_close();
                }
                Reply::Failed => over = true,
            }
        }
        outcome.sent.extend(collect(&mut session));
        let left = session.incoming_len();
        if session.connection().is_some() {
            // The beginning of a header or of a control frame; the payload of a message is in the assembler.
            let most = if over { 0 } else { MAX_HEADER + MAX_CONTROL_PAYLOAD };
            assert!(left <= most, "{left} bytes are left");
        } else {
            assert!(over || left <= 2 * MAX_HEAD, "{left} bytes are left");
        }
    }
    if session.connection().is_some() {
        check_frames(&outcome.sent);
    }
    outcome
}

fn seen(event: &Event<'_>, setup: &Setup) -> (String, Vec<u8>, Reply) {
    match event {
        Event::Open(response) => {
            let name = format!("open {} {:?}", response.status, handshake::subprotocol(response));
            (name, Vec::new(), Reply::Nothing)
        }
        Event::Request(request) => (format!("{request:?}"), Vec::new(), Reply::Accept),
        Event::RequestHead(_) | Event::RequestBody(_) => panic!("this server takes upgrades only"),
        Event::Response(_) => panic!("this client asks for upgrades only"),
        Event::Received(event) => match event {
            Received::Message { opcode, data } => {
                assert!(data.len() <= setup.limit);
                assert!(*opcode == Opcode::Binary || std::str::from_utf8(data).is_ok());
                (format!("{opcode:?}"), data.to_vec(), Reply::Nothing)
            }
            Received::Ping(data) => {
                assert!(data.len() <= MAX_CONTROL_PAYLOAD);
                ("ping".to_owned(), data.to_vec(), Reply::Pong(data.to_vec()))
            }
            Received::Pong(data) => {
                assert!(data.len() <= MAX_CONTROL_PAYLOAD);
                ("pong".to_owned(), data.to_vec(), Reply::Nothing)
            }
            Received::Close(frame) => ("close".to_owned(), frame.payload(), Reply::Close),
            Received::Begin(opcode) => {
                assert!(setup.stream);
                (format!("{opcode:?}"), Vec::new(), Reply::Stream)
            }
            Received::Working | Received::Piece { .. } => panic!("a part of nothing"),
        },
    }
}

/// Checks that whole frames are sent, and that nothing follows a close frame (section 5.5.1).
fn check_frames(sent: &[u8]) {
    let head =
        sent.windows(4).position(|window| window == b"\r\n\r\n").filter(|_| sent.starts_with(b"HTTP/"));
    let mut rest = &sent[head.map_or(0, |at| at + 4)..];
    while !rest.is_empty() {
        let (header, length) = FrameHeader::parse(rest, Lengths::Shortest).unwrap().expect("a whole header");
        rest = &rest[length + header.payload_length as usize..];
        assert!(header.opcode.is_control());
        assert!(header.opcode != Opcode::Close || rest.is_empty(), "{rest:?} after a close frame");
    }
}

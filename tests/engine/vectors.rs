//! Runs the vectors of spec/vectors in every way that a network could deliver them: whole, byte by byte, cut in two at
//! every position, and with more bytes after the end.

pub(crate) mod format;

use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::deflate::Options;
use luws::protocol::frame::Opcode;
use luws::protocol::handshake::{self, UpgradeRequest};
use luws::session::{Event, Failure, Hop, Session};

use crate::feeding::{self, Role, collect, feed_every_way, hex};
use format::{KEY, Vector, accept};

/// An end, and the events and bytes it has produced.
struct Player {
    role: Role,
    session: Session,
    /// The key of the request.
    key: String,
    events: Vec<String>,
    sent: Vec<u8>,
}

impl Player {
    /// The state in which the vector begins: open, or before the upgrade.
    fn new(vector: &Vector, role: Role) -> Self {
        let wish = if vector.upgrade { &vector.wish } else { &vector.deflate };
        let deflate = wish.as_deref().map(options);
        let config = Config {
            max_message_size: vector.limit,
            validate_utf8: vector.validate_utf8,
            allow_long_lengths: vector.allow_long_lengths,
            ..Config::default()
        };
        let session = match role {
            Role::Client => {
                let mut request = UpgradeRequest::new("server.example.com", "/chat").unwrap();
                for subprotocol in &vector.subprotocols {
                    request.offer(subprotocol).unwrap();
                }
                // The answer decides on the parameters, so the offer must allow any.
                let deflate = deflate.map(|wish| if vector.upgrade { wish } else { Options::default() });
                Session::client(&request, None, Config { deflate, seed: Some(1), ..config })
            }
            Role::Server => Session::server(None, Config { deflate, ..config }),
        };
        let (key, events, sent) = (KEY.into(), Vec::new(), Vec::new());
        let mut player = Self { role, session: session.unwrap(), key, events, sent };
        if role == Role::Client {
            player.collect();
            let request = String::from_utf8(std::mem::take(&mut player.sent)).unwrap();
            let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
            player.key = key.split("\r\n").next().unwrap().into();
        }
        if !vector.upgrade {
            player.upgrade(vector.deflate.as_deref());
        }
        player
    }

    /// Completes the usual upgrade.
    fn upgrade(&mut self, deflate: Option<&str>) {
        let extensions = deflate.map(|header| format!("Sec-WebSocket-Extensions: {header}\r\n"));
        let extensions = extensions.unwrap_or_default();
        let (head, event) = match self.role {
            Role::Client => (
                format!(
                    "HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n{extensions}\r\n",
                    accept(&self.key)
                ),
                "open ",
            ),
            Role::Server => (
                format!(
                    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
                ),
                "request /",
            ),
        };
        self.feed(head.as_bytes());
        assert_eq!(self.events, [event]);
        self.events.clear();
        let answer = String::from_utf8(std::mem::take(&mut self.sent)).unwrap();
        assert!(self.role == Role::Client || answer.contains(&extensions), "{answer}");
    }

    fn feed(&mut self, piece: &[u8]) {
        assert_eq!(self.session.receive(piece), piece.len());
        while self.step() {}
        self.collect();
        // Any bytes left are the beginning of a header or a control frame.
        assert!(self.session.connection().is_none() || self.session.incoming_len() < 14 + 125);
    }

    /// Takes the next event and answers it; false if there is none.
    fn step(&mut self) -> bool {
        let (text, reply) = match self.session.next_event() {
            Ok(None) => return false,
            Ok(Some(event)) => seen(&event),
            Err(failure) => {
                self.collect();
                (self.failed(&failure), Reply::Nothing)
            }
        };
        self.events.push(text);
        match reply {
            Reply::Nothing => {}
            Reply::Pong(payload) => self.session.send_pong(&payload).unwrap(),
            Reply::Close => self.session.reply_close(),
            Reply::Accept(subprotocol) => self.session.accept(subprotocol.as_deref()),
        }
        true
    }

    /// Formats a failure as the vectors do.
    fn failed(&self, failure: &Failure) -> String {
        match (failure.hop, self.role) {
            (Hop::Frames, _) => {
                format!("error {} {failure}", failure.close_code.expect("nothing was sent before"))
            }
            (_, Role::Client) => format!("fails {failure}"),
            // The status is the refusal's.
            (_, Role::Server) => {
                let status = self.sent.strip_prefix(b"HTTP/1.1 ").expect("an answer");
                format!("fails {} {failure}", str::from_utf8(&status[..3]).unwrap())
            }
        }
    }

    /// Takes the bytes to be sent.
    fn collect(&mut self) {
        self.sent.extend(collect(&mut self.session));
    }
}

/// Options with the parameters of a header, and without a threshold.
fn options(header: &str) -> Options {
    let mut options = Options { threshold: 0, ..Options::default() };
    for parameter in header.split("; ").skip(1) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "server_no_context_takeover" => options.server_no_context_takeover = true,
            "client_no_context_takeover" => options.client_no_context_takeover = true,
            "server_max_window_bits" => options.server_max_window_bits = value.parse().ok(),
            "client_max_window_bits" => options.client_max_window_bits = value.parse().ok(),
            _ => panic!("{header}"),
        }
    }
    options
}

/// The answer to an event.
enum Reply {
    Nothing,
    Pong(Vec<u8>),
    Close,
    Accept(Option<String>),
}

/// Formats an event as the vectors do.
fn seen(event: &Event<'_>) -> (String, Reply) {
    match event {
        Event::Open(response) => {
            (format!("open {}", handshake::subprotocol(response).unwrap_or_default()), Reply::Nothing)
        }
        Event::Request(request) => {
            (format!("request {}", request.resource), Reply::Accept(request.subprotocols.first().cloned()))
        }
        Event::RequestHead(_) | Event::RequestBody(_) | Event::Response(_) => {
            (format!("{event:?}"), Reply::Nothing)
        }
        Event::Received(event) => match event {
            Received::Message { opcode: Opcode::Text, data } => {
                let event = std::str::from_utf8(data)
                    .map_or_else(|_| format!("raw {}", hex(data)), |text| format!("text {text}"));
                (event, Reply::Nothing)
            }
            Received::Message { data, .. } => (format!("binary {}", hex(data)), Reply::Nothing),
            Received::Ping(data) => (format!("ping {}", hex(data)), Reply::Pong(data.to_vec())),
            Received::Pong(data) => (format!("pong {}", hex(data)), Reply::Nothing),
            Received::Working | Received::Begin(_) | Received::Piece { .. } => {
                panic!("nobody has asked for {event:?}")
            }
            Received::Close(frame) => {
                let code = frame.code().map(|code| code.to_string()).unwrap_or_default();
                let space = if frame.reason().is_empty() { "" } else { " " };
                (format!("close {code}{space}{}", str::from_utf8(frame.reason()).unwrap()), Reply::Close)
            }
        },
    }
}

/// The frames that must be sent in reply to the events, unmasked.
fn answers(events: &[String]) -> Vec<u8> {
    let mut frames = Vec::new();
    for event in events {
        let mut words = event.splitn(3, ' ');
        let (word, mut next) = (words.next(), || words.next().unwrap_or_default());
        let code = |code: &str| code.parse::<u16>().map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        let (opcode, payload) = match word {
            Some("ping") => (Opcode::Pong, feeding::bytes(next())),
            Some("close") => (Opcode::Close, code(next())),
            Some("error") => (Opcode::Close, [code(next()).as_slice(), next().as_bytes()].concat()),
            _ => continue,
        };
        frames.extend([0x80 | opcode as u8, payload.len() as u8]);
        frames.extend(payload);
    }
    frames
}

/// Feeds a vector's input in these pieces. Returns the events, and the bytes sent.
fn played(vector: &Vector, role: Role, pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let mut player = Player::new(vector, role);
    for piece in pieces {
        player.feed(piece);
    }
    // The part that `*` stands for may differ.
    for (event, wanted) in player.events.iter_mut().zip(&vector.events) {
        if wanted.starts_with("fails ")
            && wanted.strip_suffix('*').is_some_and(|start| event.starts_with(start))
        {
            event.clone_from(wanted);
        }
    }
    (player.events, player.sent)
}

/// Runs a vector in every way.
fn outcome(vector: &Vector, role: Role) -> Result<(), String> {
    let input = vector.input(role, &Player::new(vector, role).key);
    let tail = vector.is_ended().then(|| more(role));
    let (events, sent) = feed_every_way(&input, tail.as_deref(), |pieces| played(vector, role, pieces))?;
    if events != vector.events {
        return Err(format!("events {events:#?}, not {:#?}", vector.events));
    }
    let mut sent = sent.as_slice();
    if vector.upgrade && role == Role::Server && !events.is_empty() {
        let end = sent.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no head was sent")? + 4;
        let head = std::str::from_utf8(&sent[..end]).map_err(|error| error.to_string())?;
        let status = events[0].strip_prefix("fails ").map_or("101", |text| &text[..3]);
        if !head.starts_with(&format!("HTTP/1.1 {status} ")) {
            return Err(format!("not status {status}: {head}"));
        }
        if let Some(line) = vector.head(KEY).find(|line| !head.lines().any(|sent| sent == line)) {
            return Err(format!("no {line} in {head}"));
        }
        // A refusal has a body, which is not checked.
        sent = if status == "101" { &sent[end..] } else { &[] };
    }
    let mut unmasked = Vec::new();
    for (header, payload) in feeding::frames(sent) {
        if header.masking_key.is_some() != (role == Role::Client) {
            return Err("the wrong end masks".into()); // section 5.1
        }
        unmasked.extend([0x80 | header.opcode as u8, payload.len() as u8]);
        unmasked.extend(payload);
    }
    let wanted = answers(&events);
    if unmasked != wanted || vector.sends.as_ref().is_some_and(|sends| *sends != wanted) {
        return Err(format!("sent {}, not {} ({:?})", hex(&unmasked), hex(&wanted), vector.sends));
    }
    Ok(())
}

/// Bytes to follow the end: everything that would be an event or an error by itself.
fn more(role: Role) -> Vec<u8> {
    let frames = match role {
        Role::Client => "81 01 78 89 00 88 02 03e8",
        Role::Server => "81 81 00000000 78 89 80 00000000 88 82 00000000 03e8",
    };
    let head = b"HTTP/1.1 101\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    [feeding::bytes(frames).as_slice(), head, &[0xff; 300]].concat()
}

#[test]
fn every_vector_comes_out_as_it_says_however_it_arrives() {
    let vectors = format::all();
    let games = vectors.iter().flat_map(|vector| vector.roles().into_iter().map(move |role| (vector, role)));
    let wrong: Vec<_> = games
        .filter_map(|(vector, role)| {
            let why = outcome(vector, role).err()?;
            Some(format!("{}, as {role:?}: {why}", vector.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{} vectors\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_vector_has_a_name_of_its_own() {
    let vectors = format::all();
    let names: std::collections::HashSet<_> = vectors.iter().map(|vector| &vector.name).collect();
    assert_eq!(names.len(), vectors.len());
}

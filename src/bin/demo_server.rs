//! A small WebSocket server on the engine's server role, for the demo and the specs:
//! a thread for each connection, blocking sockets, nothing else. `HELP` says what it can do.
//!
//! With `spin=1` in its query, any path asks the socket without pause instead of waiting for it, which takes a
//! processor and spares the client the time of waking the server up. It is for measurements.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, fs, iter, process, thread};

use luws::protocol::close::CloseFrame;
use luws::protocol::close_code::CloseCode;
use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::deflate;
use luws::protocol::frame::Opcode;
use luws::session::{Event, Session};
use luws::tls::identity::Identity;
use luws::tls::{Acceptor, ServerOptions};
use url::form_urlencoded;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Messages up to this size are taken, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Size of a read, and of the buffer for writing, in bytes.
const PIECE: usize = 64 * 1024;

/// The same sizes for a flood whose frames are made only once: large enough that system calls do not matter.
const BURST: usize = 256 * 1024;

/// The contents of a flood's text messages.
const ASCII: &str = "The quick brown fox jumps over the lazy dog. ";
const UNICODE: &str = "Съешь ещё этих мягких булок. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. 🌡️ 21 °C 💧 40 % ";

const HELP: &str = "\
A WebSocket server to try clients with. It compresses for clients that offer it.

usage: luws-demo-server [OPTION]...

  --port N              listen on 127.0.0.1:N for ws (by default on a free port)
  --cert PEM --key PEM  speak wss as well, with this certificate and its key
  --tls-port N          ... on 127.0.0.1:N (by default on a free port)
  --ready FILE          write the ports to FILE and not to standard output, as the lines
                        `ws PORT` and `wss PORT`, once connections are accepted
  --until-stdin-closes  end when standard input ends
  --help                print this text

paths:
  /echo                   sends every message back
  /flood?size=S&count=N   sends N binary messages of S bytes (1000 of 1024), then closes
    &text=ascii           ... text messages with characters of one byte
    &text=unicode         ... text messages with characters of one to four bytes
    &fragment=F           ... in fragments of F bytes
  /sink?count=N           takes N messages (1), says in a text message how many bytes they had,
                          then closes
  /drain                  reads whatever comes and drops it
  /close?code=C&reason=R  closes at once with that code (1000) and reason
";

fn main() {
    if let Err(error) = run() {
        eprintln!("luws-demo-server: {error}");
        process::exit(1);
    }
}

fn run() -> Outcome<()> {
    let mut options = HashMap::new();
    let mut arguments = env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = match name.as_str() {
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            "--until-stdin-closes" => String::new(),
            "--port" | "--tls-port" | "--cert" | "--key" | "--ready" => {
                arguments.next().ok_or_else(|| format!("{name} needs a value"))?
            }
            _ => return Err(format!("unknown argument {name}; --help lists what there is").into()),
        };
        options.insert(name, value);
    }
    let bind = |name: &str| -> Outcome<TcpListener> {
        let port = options.get(name).map_or("0", String::as_str);
        let number = port.parse::<u16>().map_err(|_| format!("{name} {port}: not a port (0 to 65535)"))?;
        TcpListener::bind(("127.0.0.1", number))
            .map_err(|error| format!("cannot listen on 127.0.0.1:{port}: {error}").into())
    };

    let plain = bind("--port")?;
    let mut ready = format!("ws {}\n", plain.local_addr()?.port());
    thread::spawn(move || listen(&plain, None));
    if let (Some(cert), Some(key)) = (options.get("--cert"), options.get("--key")) {
        let identity = Identity::from_pem(&fs::read(cert)?, &fs::read(key)?)?;
        let acceptor = ServerOptions::new(identity).acceptor().map_err(|(error, _)| error)?;
        let secure = bind("--tls-port")?;
        ready += &format!("wss {}\n", secure.local_addr()?.port());
        thread::spawn(move || listen(&secure, Some(&acceptor)));
    }
    match options.get("--ready") {
        Some(file) => {
            // A reader of the file must not see half of it.
            let unfinished = format!("{file}.part");
            fs::write(&unfinished, ready)?;
            fs::rename(unfinished, file)?;
        }
        None => print!("{ready}"),
    }
    if options.contains_key("--until-stdin-closes") {
        // The parent process holds the other end, and closes it by exiting, too.
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return Ok(());
    }
    loop {
        thread::park();
    }
}

fn listen(listener: &TcpListener, acceptor: Option<&Acceptor>) {
    for stream in listener.incoming().flatten() {
        let acceptor = acceptor.cloned();
        thread::spawn(move || {
            // A broken connection is the client's concern.
            let _ = serve(stream, acceptor.as_ref());
        });
    }
}

fn serve(stream: TcpStream, acceptor: Option<&Acceptor>) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let deflate = Some(deflate::Options { threshold: 0, ..deflate::Options::default() });
    let config = Config { max_message_size: MAX_MESSAGE, deflate, ..Config::default() };
    let stream = Stream { socket: stream, spins: false };
    let mut peer = Peer { stream, session: Session::server(acceptor, config)?, may_compress: false };
    let Some((path, query)) = peer.request()? else { return Ok(()) };
    let number = |name: &str, default| query.get(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    if !["/echo", "/flood", "/sink", "/drain", "/close"].contains(&path.as_str()) {
        peer.session.refuse(404, "no such path: /echo, /flood, /sink, /drain, /close");
        return peer.flush();
    }
    peer.stream.spin(number("spin", 0) == 1)?;
    peer.session.accept(None);
    match path.as_str() {
        "/flood" => {
            let size = (number("size", 1024) as usize).min(MAX_MESSAGE);
            let fragment = number("fragment", u64::MAX) as usize;
            let message = match query.get("text").map(String::as_str) {
                None => {
                    Message { opcode: Opcode::Binary, data: (0..size).map(|i| i as u8).collect(), fragment }
                }
                Some("unicode") => Message::text(UNICODE, size, fragment),
                Some(_) => Message::text(ASCII, size, fragment),
            };
            peer.flood(&message, number("count", 1000))?;
        }
        "/drain" => return peer.drain(),
        "/close" => {
            let code = CloseCode::try_from(number("code", 1000) as u16)?;
            let reason = query.get("reason").map_or("", String::as_str);
            peer.session.send_close(CloseFrame::new(code, reason)?)?;
        }
        _ => {}
    }
    let sink = (path == "/sink").then(|| number("count", 1));
    peer.run(sink)
}

/// A socket that blocks, or one that is polled until it has something.
struct Stream {
    socket: TcpStream,
    spins: bool,
}

impl Stream {
    fn spin(&mut self, spins: bool) -> io::Result<()> {
        self.spins = spins;
        self.socket.set_nonblocking(spins)
    }

    fn again(&self, result: &io::Result<usize>) -> bool {
        self.spins && result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Read for Stream {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = self.socket.read(space);
            if !self.again(&result) {
                return result;
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let result = self.socket.write(bytes);
            if !self.again(&result) {
                return result;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The messages of a flood.
struct Message {
    opcode: Opcode,
    data: Vec<u8>,
    fragment: usize,
}

impl Message {
    /// `words` repeated up to `size` bytes, with spaces where a character would be cut.
    fn text(words: &str, size: usize, fragment: usize) -> Self {
        let mut text = words.repeat(size / words.len() + 1);
        let end = (0..=size).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.extend(iter::repeat_n(' ', size - end));
        Self { opcode: Opcode::Text, data: text.into_bytes(), fragment }
    }

    fn send(&self, session: &mut Session) -> Outcome<()> {
        let (mut opcode, mut rest) = (self.opcode, &self.data[..]);
        loop {
            let (piece, after) = rest.split_at(rest.len().min(self.fragment.max(1)));
            session.send(opcode, piece, after.is_empty())?;
            if after.is_empty() {
                return Ok(());
            }
            (opcode, rest) = (Opcode::Continuation, after);
        }
    }
}

struct Peer {
    stream: Stream,
    session: Session,
    /// Whether the client has offered extensions.
    may_compress: bool,
}

impl Peer {
    /// The path and the query of the request, once it has come.
    fn request(&mut self) -> Outcome<Option<(String, HashMap<String, String>)>> {
        loop {
            match self.session.next_event() {
                Ok(Some(Event::Request(request))) => {
                    self.may_compress = request.headers.list("sec-websocket-extensions").next().is_some();
                    let (path, query) = request.resource.split_once('?').unwrap_or((&request.resource, ""));
                    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                    return Ok(Some((path.to_owned(), query)));
                }
                Ok(_) => {}
                Err(error) => {
                    self.flush()?;
                    return Err(error.into());
                }
            }
            self.flush()?;
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Serves until the connection is over: echoes, or takes as many messages as `sink` says.
    fn run(&mut self, sink: Option<u64>) -> Outcome<()> {
        let mut data = Vec::new();
        let (mut messages, mut bytes) = (0, 0);
        loop {
            let opcode = match self.session.next_event() {
                Ok(Some(Event::Received(event))) => {
                    let (opcode, payload) = match event {
                        Received::Message { opcode, data } => (opcode, data),
                        Received::Ping(payload) => (Opcode::Ping, payload),
                        Received::Pong(payload) => (Opcode::Pong, payload),
                        Received::Close(_) => (Opcode::Close, &[][..]),
                        // Not requested.
                        Received::Working | Received::Begin(_) | Received::Piece { .. } => continue,
                    };
                    data.clear();
                    data.extend_from_slice(payload);
                    opcode
                }
                Ok(_) => {
                    self.flush()?;
                    if self.read()? {
                        continue;
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.finish()?;
                    return Err(error.into());
                }
            };
            match (opcode, sink) {
                (Opcode::Close, _) => {
                    self.session.reply_close();
                    return self.finish();
                }
                (Opcode::Ping, _) => self.session.send_pong(&data)?,
                (Opcode::Pong, _) => {}
                (opcode, None) => self.session.send(opcode, &data, true)?,
                (_, Some(count)) => {
                    messages += 1;
                    bytes += data.len();
                    if messages == count {
                        let report = format!("{messages} messages, {bytes} bytes");
                        self.session.send(Opcode::Text, report.as_bytes(), true)?;
                        self.session.send_close(CloseFrame::new(CloseCode::NORMAL_CLOSURE, "")?)?;
                    }
                }
            }
            if self.session.outgoing_len() >= PIECE {
                self.flush()?;
            }
        }
    }

    fn flood(&mut self, message: &Message, count: u64) -> Outcome<()> {
        self.flush()?; // the response
        if !self.may_compress && self.session.tls_peer().is_none() {
            // Each message consists of the same bytes.
            self.repeat(message, count)?;
        } else {
            for _ in 0..count {
                message.send(&mut self.session)?;
                if self.session.outgoing_len() >= PIECE {
                    self.flush()?;
                }
            }
        }
        self.session.send_close(CloseFrame::new(CloseCode::NORMAL_CLOSURE, "")?)?;
        self.flush()
    }

    /// A flood that no client can outrun: the frames are made once.
    fn repeat(&mut self, message: &Message, count: u64) -> Outcome<()> {
        let mut frames = Vec::new();
        let mut held = 0;
        while held < count && (held == 0 || frames.len() < BURST) {
            message.send(&mut self.session)?;
            while self.session.outgoing_len() > 0 {
                self.session.send_with(|bytes| {
                    frames.extend_from_slice(bytes);
                    io::Result::Ok(bytes.len())
                })?;
            }
            held += 1;
        }
        let mut left = count;
        while left > 0 {
            let now = left.min(held);
            self.stream.write_all(&frames[..frames.len() / held as usize * now as usize])?;
            left -= now;
        }
        Ok(())
    }

    fn drain(&mut self) -> Outcome<()> {
        self.flush()?;
        let mut space = vec![0; BURST];
        while self.stream.read(&mut space)? > 0 {}
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        while self.session.outgoing_len() > 0 {
            if self.session.send_with(|bytes| self.stream.write(bytes))? == 0 {
                return Err("the client takes no more".into());
            }
        }
        Ok(())
    }

    /// Reads once; `false` at the end.
    fn read(&mut self) -> Outcome<bool> {
        // The socket blocks, and must not block while a reply that the client waits for is still held.
        let held = self.session.holds_more();
        let received = self.session.receive_with(PIECE, |space| {
            if held { Err(io::ErrorKind::WouldBlock.into()) } else { self.stream.read(space) }
        });
        let received = match received {
            Err(error) if held && error.kind() == io::ErrorKind::WouldBlock => {
                // Only part of a record.
                self.session.receive_with(PIECE, |space| self.stream.read(space))?
            }
            received => received?,
        };
        if received.is_end() {
            self.session.receive_end();
        }
        Ok(!received.is_end())
    }

    /// The server closes the TCP connection first (RFC 6455 section 7.1.1). What the client is still sending is read,
    /// so that the connection is not reset before the client has read the close frame.
    fn finish(&mut self) -> Outcome<()> {
        self.session.shutdown();
        self.flush()?;
        self.stream.spin(false)?;
        self.stream.socket.shutdown(std::net::Shutdown::Write)?;
        self.stream.socket.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
        while self.read()? {
            while let Ok(Some(_)) = self.session.next_event() {}
        }
        Ok(())
    }
}

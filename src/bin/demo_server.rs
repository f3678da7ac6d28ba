//! A small WebSocket server on the engine's server role, for the demo and the specs:
//! a thread for each connection, blocking sockets, nothing else.
//!
//! ```text
//! luws-demo-server [--port N] [--tls-port N] [--cert PEM --key PEM] [--ready FILE] [--until-stdin-closes]
//! ```
//!
//! Compresses for clients that offer it. Listens on 127.0.0.1, by default on free ports, and says on which by the
//! lines `ws PORT` and (with a certificate) `wss PORT`, in FILE or else on standard output.
//!
//! | path | what it does |
//! |---|---|
//! | `/echo` | sends every message back with its own opcode |
//! | `/flood?size=S&count=N` | sends N binary messages of S bytes, then closes |
//! | `/sink?count=N` | takes N messages, says in a text how many bytes they had, then closes |
//! | `/close?code=C&reason=R` | closes at once with that code and reason |

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, fs, process, thread};

use luws::protocol::close::CloseFrame;
use luws::protocol::close_code::CloseCode;
use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::deflate;
use luws::protocol::frame::Opcode;
use luws::session::{Event, Session};
use luws::tls::Acceptor;
use luws::tls::identity::Identity;
use url::form_urlencoded;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Messages up to this size are taken, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Bytes that are read at once, and bytes that are gathered before they are written.
const PIECE: usize = 64 * 1024;

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
            "--until-stdin-closes" => String::new(),
            "--port" | "--tls-port" | "--cert" | "--key" | "--ready" => {
                arguments.next().ok_or_else(|| format!("{name} needs a value"))?
            }
            _ => return Err(format!("unknown argument {name}").into()),
        };
        options.insert(name, value);
    }
    let port = |name| options.get(name).map_or(Ok(0), |port: &String| port.parse::<u16>());

    let plain = TcpListener::bind(("127.0.0.1", port("--port")?))?;
    let mut ready = format!("ws {}\n", plain.local_addr()?.port());
    thread::spawn(move || listen(&plain, None));
    if let (Some(cert), Some(key)) = (options.get("--cert"), options.get("--key")) {
        let acceptor = Acceptor::new(&Identity::from_pem(&fs::read(cert)?, &fs::read(key)?)?)?;
        let secure = TcpListener::bind(("127.0.0.1", port("--tls-port")?))?;
        ready += &format!("wss {}\n", secure.local_addr()?.port());
        thread::spawn(move || listen(&secure, Some(&acceptor)));
    }
    match options.get("--ready") {
        Some(file) => {
            // Whoever waits for the file must not see half of it.
            let unfinished = format!("{file}.part");
            fs::write(&unfinished, ready)?;
            fs::rename(unfinished, file)?;
        }
        None => print!("{ready}"),
    }
    if options.contains_key("--until-stdin-closes") {
        // Whoever has started the server holds the other end, and lets go of it by dying, too.
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
            // A connection that breaks is the client's concern.
            let _ = serve(stream, acceptor.as_ref());
        });
    }
}

fn serve(stream: TcpStream, acceptor: Option<&Acceptor>) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let deflate = Some(deflate::Options { threshold: 0, ..deflate::Options::default() });
    let config = Config { max_message_size: MAX_MESSAGE, deflate, ..Config::default() };
    let mut peer = Peer { stream, session: Session::server(acceptor, config)? };
    let Some((path, query)) = peer.request()? else { return Ok(()) };
    let number = |name: &str, default| query.get(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    if !["/echo", "/flood", "/sink", "/close"].contains(&path.as_str()) {
        peer.session.refuse(404, "no such path: /echo, /flood, /sink, /close");
        return peer.flush();
    }
    peer.session.accept(None);
    match path.as_str() {
        "/flood" => peer.flood(number("size", 1024) as usize, number("count", 1000))?,
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

struct Peer {
    stream: TcpStream,
    session: Session,
}

impl Peer {
    /// The path and the query of the request, once it has come.
    fn request(&mut self) -> Outcome<Option<(String, HashMap<String, String>)>> {
        loop {
            match self.session.next_event() {
                Ok(Some(Event::Request(request))) => {
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
                        // Not asked for.
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

    fn flood(&mut self, size: usize, count: u64) -> Outcome<()> {
        let data: Vec<u8> = (0..size.min(MAX_MESSAGE)).map(|i| i as u8).collect();
        for _ in 0..count {
            self.session.send(Opcode::Binary, &data, true)?;
            if self.session.outgoing_len() >= PIECE {
                self.flush()?;
            }
        }
        self.session.send_close(CloseFrame::new(CloseCode::NORMAL_CLOSURE, "")?)?;
        self.flush()
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
        // The socket blocks, and must not while something is held that the client waits for an answer to.
        let held = self.session.holds_more();
        let received = self.session.receive_with(PIECE, |space| {
            if held { Err(io::ErrorKind::WouldBlock.into()) } else { self.stream.read(space) }
        });
        let received = match received {
            Err(error) if held && error.kind() == io::ErrorKind::WouldBlock => {
                // Part of a record only.
                self.session.receive_with(PIECE, |space| self.stream.read(space))?
            }
            received => received?,
        };
        if received.is_end() {
            self.session.receive_end();
        }
        Ok(!received.is_end())
    }

    /// The server is the first to close (RFC 6455 section 7.1.1); what the client has still sent is
    /// read, lest the connection be reset before the client has read the close frame.
    fn finish(&mut self) -> Outcome<()> {
        self.session.shutdown();
        self.flush()?;
        self.stream.shutdown(std::net::Shutdown::Write)?;
        self.stream.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
        while self.read()? {
            while let Ok(Some(_)) = self.session.next_event() {}
        }
        Ok(())
    }
}

//! A WebSocket client in Rust on a blocking socket: the engine of luws by itself, without Lua.
//!
//!     cargo run --example blocking_client ws://127.0.0.1:8080/echo hello "good bye"
//!
//! It sends each word as a text message, prints what comes back, and closes. Every program on the engine has this
//! shape: `send` and what came from the wire go into the session; its owner takes events, and writes what is to be
//! sent.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use luws::protocol::close::CloseFrame;
use luws::protocol::close_code::CloseCode;
use luws::protocol::connection::{Config, Event as Received};
use luws::protocol::frame::Opcode;
use luws::protocol::handshake::UpgradeRequest;
use luws::session::{Event, Session};
use luws::tls::TlsOptions;
use luws::url::Target;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most plaintext of one read, in bytes.
const PIECE: usize = 16 * 1024;

/// A connection that is open.
pub(crate) struct Client {
    socket: TcpStream,
    session: Session,
}

impl Client {
    /// Opens a connection, and returns when the server has accepted it. Servers of wss are verified.
    pub(crate) fn open(url: &str) -> Outcome<Self> {
        let target = Target::parse(url)?;
        let request = UpgradeRequest::new(&target.host_header, &target.resource)?;
        let connector = target.secure.then(|| TlsOptions::default().connector()).transpose()?;
        let tls = connector.as_ref().map(|connector| (connector, target.host.as_str()));
        let session = Session::client(&request, tls, Config::default())?;
        let socket = TcpStream::connect((target.host.as_str(), target.port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { socket, session };
        loop {
            match client.session.next_event() {
                Ok(Some(Event::Open(_))) => return Ok(client),
                Ok(Some(_)) => {}
                Ok(None) => client.exchange()?,
                Err(failure) => return client.fail(failure),
            }
        }
    }

    pub(crate) fn send(&mut self, text: &str) -> Outcome<()> {
        self.session.send(Opcode::Text, text.as_bytes(), true)?;
        self.flush()
    }

    /// Returns the next message; `None` when the server has closed. Pings and close frames are answered.
    pub(crate) fn receive(&mut self) -> Outcome<Option<Vec<u8>>> {
        loop {
            match self.session.next_event() {
                Ok(Some(Event::Received(event))) => match event {
                    Received::Message { data, .. } => return Ok(Some(data.to_vec())),
                    Received::Ping(payload) => {
                        let payload = payload.to_vec(); // it is borrowed from the session
                        self.session.send_pong(&payload)?;
                    }
                    Received::Close(_) => {
                        self.session.reply_close();
                        self.session.shutdown(); // of TLS
                        self.flush()?;
                        return Ok(None);
                    }
                    _ => {}
                },
                Ok(Some(_)) => {}
                Ok(None) => self.exchange()?,
                Err(failure) => return self.fail(failure),
            }
        }
    }

    /// Closes the connection. `receive` returns what still comes, and then `None`.
    pub(crate) fn close(&mut self) -> Outcome<()> {
        self.session.send_close(CloseFrame::new(CloseCode::NORMAL_CLOSURE, "")?)?;
        self.flush()
    }

    /// Writes what is to be sent, and reads once.
    fn exchange(&mut self) -> Outcome<()> {
        self.flush()?;
        if self.session.receive_with(PIECE, |space| self.socket.read(space))?.is_end() {
            self.session.receive_end();
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        while self.session.sendable_len() > 0 {
            self.session.send_with(|bytes| self.socket.write(bytes))?;
        }
        Ok(())
    }

    /// Tells the server what it has done wrong, if it is to be told.
    fn fail<T>(&mut self, failure: impl Error + 'static) -> Outcome<T> {
        let _ = self.flush();
        Err(failure.into())
    }
}

#[allow(dead_code, reason = "tests take the client from here")]
fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: blocking_client URL [TEXT]...")?;
    let mut client = Client::open(&url)?;
    for text in arguments {
        client.send(&text)?;
        let Some(reply) = client.receive()? else { break };
        println!("{}", String::from_utf8_lossy(&reply));
    }
    client.close()?;
    while client.receive()?.is_some() {}
    Ok(())
}

//! A baseline without a WebSocket client: it moves bytes over a socket, or OpenSSL on it, and counts frames by their
//! size.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};

use super::{Arguments, Client, Outcome};

/// The most bytes that one read takes: the size of a TLS record.
const RECORD: usize = 16 * 1024;

struct Raw<Stream> {
    stream: Stream,
    buffer: Vec<u8>,
    /// The frame to send.
    frame: Vec<u8>,
    /// The size of a received frame in bytes.
    size: u64,
    received: u64,
}

pub(crate) fn connect(arguments: &Arguments) -> Outcome<Box<dyn Client>> {
    let (host, path) = split(&arguments.url)?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    upgrade(&mut stream, host, path)?;
    stream.set_nonblocking(true)?;
    Ok(Raw::boxed(stream, arguments))
}

pub(crate) fn connect_tls(arguments: &Arguments) -> Outcome<Box<dyn Client>> {
    let (host, path) = split(&arguments.url)?;
    let stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    let mut stream = connector.build().connect("localhost", stream)?;
    upgrade(&mut stream, host, path)?;
    stream.get_ref().set_nonblocking(true)?;
    Ok(Raw::boxed(stream, arguments))
}

fn split(url: &str) -> Outcome<(&str, &str)> {
    let (_, rest) = url.split_once("://").ok_or("no URL")?;
    Ok(rest.split_at(rest.find('/').ok_or("no path")?))
}

/// Reads the response byte by byte, because frames may come with it.
fn upgrade(stream: &mut (impl Read + Write), host: &str, path: &str) -> io::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(())
}

impl<Stream: Read + Write + 'static> Raw<Stream> {
    fn boxed(stream: Stream, arguments: &Arguments) -> Box<dyn Client> {
        let mut frame = vec![0x81];
        let message = arguments.message();
        match message.len() {
            size @ ..126 => frame.push(0x80 | size as u8),
            size @ ..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((size as u16).to_be_bytes());
            }
            size => {
                frame.push(0x80 | 127);
                frame.extend((size as u64).to_be_bytes());
            }
        }
        let size = arguments.number("size") + frame.len() as u64;
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(message.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        Box::new(Self { stream, buffer: vec![0; RECORD], frame, size, received: 0 })
    }
}

impl<Stream: Read + Write> Client for Raw<Stream> {
    fn receive(&mut self) -> Outcome<(u64, u64)> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Err("the server has closed the connection".into()),
            Ok(count) => {
                let before = self.received / self.size;
                self.received += count as u64;
                Ok((self.received / self.size - before, count as u64))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, 0)),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self) -> Outcome<()> {
        Ok(self.stream.write_all(&self.frame)?)
    }
}

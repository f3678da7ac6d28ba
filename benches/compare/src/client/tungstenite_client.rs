//! tungstenite on a non-blocking socket, with rustls for wss. Its configuration is the default one, except that
//! messages and frames may have any size.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, Utf8Bytes, WebSocket};

use super::{Arguments, Client, Outcome};

struct Tungstenite<Stream> {
    socket: WebSocket<Stream>,
    descriptor: RawFd,
    message: Utf8Bytes,
}

pub(crate) fn connect(arguments: &Arguments) -> Outcome<Box<dyn Client>> {
    let address = arguments.url.split('/').nth(2).ok_or("no URL")?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    if arguments.url.starts_with("ws:") {
        return open(arguments, stream, |stream| stream);
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(arguments.text("ca"))? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    open(arguments, StreamOwned::new(session, stream), |stream| &stream.sock)
}

fn open<Stream: Read + Write + 'static>(
    arguments: &Arguments,
    stream: Stream,
    tcp: fn(&Stream) -> &TcpStream,
) -> Outcome<Box<dyn Client>> {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let opened = tungstenite::client::client_with_config(&arguments.url, stream, Some(config));
    let (socket, _) = opened.map_err(|error| error.to_string())?;
    let tcp = tcp(socket.get_ref());
    tcp.set_nonblocking(true)?;
    let descriptor = tcp.as_raw_fd();
    Ok(Box::new(Tungstenite { socket, descriptor, message: arguments.message().into() }))
}

impl<Stream: Read + Write> Client for Tungstenite<Stream> {
    fn receive(&mut self) -> Outcome<(u64, u64)> {
        match self.socket.read() {
            Ok(message) => Ok((1, message.len() as u64)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, 0)),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self) -> Outcome<()> {
        match self.socket.send(Message::Text(self.message.clone())) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => self.flush(),
            result => Ok(result?),
        }
    }
}

impl<Stream: Read + Write> Tungstenite<Stream> {
    /// Sends the rest of a message for which there was no room.
    fn flush(&mut self) -> Outcome<()> {
        loop {
            let mut wait = libc::pollfd { fd: self.descriptor, events: libc::POLLOUT, revents: 0 };
            unsafe { libc::poll(&raw mut wait, 1, 5000) };
            match self.socket.flush() {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Ok(result?),
            }
        }
    }
}

//! The least that a WebSocket server could do: one thread, one buffer, no checks, and messages that fit into one read.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use tungstenite::handshake::derive_accept_key;

use crate::Outcome;
use crate::epoll::Epoll;

const LISTENER: usize = usize::MAX;
const INPUT: usize = usize::MAX - 1;

struct Peer {
    stream: TcpStream,
    is_open: bool,
    /// What is left of an incomplete request or frame.
    rest: Vec<u8>,
}

pub fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new()?;
    epoll.add(&listener, LISTENER, false)?;
    epoll.add(&io::stdin(), INPUT, false)?;
    println!("{}", listener.local_addr()?.port());
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        for token in epoll.wait(-1)? {
            if token == INPUT {
                return Ok(());
            }
            if token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    epoll.add(&stream, peers.len(), false)?;
                    peers.push(Some(Peer { stream, is_open: false, rest: Vec::new() }));
                }
            } else if let Some(peer) = &mut peers[token]
                && !advance(peer, &mut buffer)
            {
                peers[token] = None;
            }
        }
    }
}

/// Reads once, and answers all that has come. Returns whether the connection goes on.
fn advance(peer: &mut Peer, buffer: &mut [u8]) -> bool {
    let kept = peer.rest.len();
    buffer[..kept].copy_from_slice(&peer.rest);
    peer.rest.clear();
    let count = match peer.stream.read(&mut buffer[kept..]) {
        Ok(0) => return false,
        Ok(count) => kept + count,
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    let bytes = &mut buffer[..count];
    if peer.is_open {
        let (taken, mut answer) = (echo(bytes), 0);
        let mut at = 0;
        // The echoes are written over what has come, four bytes shorter each.
        while at < taken {
            let header = if bytes[at + 1] & 127 == 126 { 4 } else { 2 };
            let length = length(bytes, at);
            bytes[at + 1] &= 127;
            bytes.copy_within(at..at + header, answer);
            bytes.copy_within(at + header + 4..at + header + 4 + length, answer + header);
            answer += header + length;
            at += header + 4 + length;
        }
        peer.rest.extend_from_slice(&bytes[taken..]);
        return answer == 0 || peer.stream.write_all(&bytes[..answer]).is_ok();
    }
    if !bytes.ends_with(b"\r\n\r\n") {
        peer.rest.extend_from_slice(bytes);
        return true;
    }
    peer.is_open = true;
    peer.stream.write_all(response(bytes).as_bytes()).is_ok()
}

/// The response that accepts an upgrade request.
pub fn response(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

/// The length of the data of the frame that begins there.
fn length(bytes: &[u8], at: usize) -> usize {
    match bytes[at + 1] & 127 {
        126 => usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]),
        length => length.into(),
    }
}

/// Unmasks all complete frames. Returns how many bytes they are.
fn echo(bytes: &mut [u8]) -> usize {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let header = if bytes[at + 1] & 127 == 126 { 4 } else { 2 };
        let length = length(bytes, at);
        let data = at + header + 4;
        if data + length > bytes.len() {
            break;
        }
        let key = [bytes[data - 4], bytes[data - 3], bytes[data - 2], bytes[data - 1]];
        for (i, byte) in bytes[data..data + length].iter_mut().enumerate() {
            *byte ^= key[i % 4];
        }
        at = data + length;
    }
    at
}

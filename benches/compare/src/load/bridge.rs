//! The least that a bridge could do: two threads for each client, a buffer for each direction, and no checks. What a
//! read has brought is written at once; one from the peer becomes a binary message.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::Outcome;
use crate::client::head;
use crate::floor::response;

const READ: usize = 64 * 1024;

/// The longest header, without a mask.
const HEADER: usize = 10;

pub fn serve(port: u16, peer: u16) -> Outcome<()> {
    for client in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming() {
        let client = client?;
        thread::spawn(move || join(&client, peer));
    }
    Ok(())
}

/// Connects a client to the peer, and carries its messages.
fn join(mut client: &TcpStream, port: u16) -> io::Result<()> {
    client.set_nodelay(true)?;
    let head = head(client)?;
    let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    peer.set_nodelay(true)?;
    client.write_all(response(&head).as_bytes())?;
    let ends = (peer.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = down(&ends.0, &ends.1);
        ends.1.shutdown(Shutdown::Both)
    });
    let _ = up(client, &peer);
    peer.shutdown(Shutdown::Both)
}

/// From the peer to the client. The header is put before what was read.
fn down(mut peer: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; HEADER + READ];
    loop {
        let length = peer.read(&mut buffer[HEADER..])?;
        let mut header = vec![0x82];
        match length {
            0 => return Ok(()),
            1..126 => header.push(length as u8),
            126..0x1_0000 => header.extend([126, (length >> 8) as u8, length as u8]),
            _ => {
                header.push(127);
                header.extend((length as u64).to_be_bytes());
            }
        }
        let start = HEADER - header.len();
        buffer[start..HEADER].copy_from_slice(&header);
        client.write_all(&buffer[start..HEADER + length])?;
    }
}

/// From the client to the peer. Takes the frames apart that were read, and writes their data where it is.
fn up(mut client: &TcpStream, mut peer: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 4 * READ];
    let (mut held, mut left, mut key) = (0, 0, [0; 4]);
    loop {
        match client.read(&mut buffer[held..])? {
            0 => return Ok(()),
            count => held += count,
        }
        let mut at = 0;
        loop {
            if left == 0 {
                let bytes = &buffer[at..held];
                let long = match bytes.get(1).map(|length| length & 127) {
                    Some(126) => 2,
                    Some(127) => 8,
                    _ => 0,
                };
                if bytes.len() < 6 + long {
                    break;
                }
                left = match long {
                    0 => usize::from(bytes[1] & 127),
                    _ => bytes[2..2 + long].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                };
                key.copy_from_slice(&bytes[2 + long..6 + long]);
                at += 6 + long;
            }
            let count = left.min(held - at);
            if count == 0 {
                break;
            }
            let data = &mut buffer[at..at + count];
            unmask(data, key);
            peer.write_all(data)?;
            key.rotate_left(count % 4);
            at += count;
            left -= count;
        }
        buffer.copy_within(at..held, 0);
        held -= at;
    }
}

fn unmask(data: &mut [u8], key: [u8; 4]) {
    let mut words = data.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, mask) in word.iter_mut().zip(key) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= mask;
    }
}

//! The clients, all in one thread, except that `ask` has another read for the others. They check lengths only.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::epoll::Epoll;

/// The most connections that are being opened at a time; no server's queue is shorter.
const AT_A_TIME: usize = 100;

/// Nothing that is measured here takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

const REQUEST: &[u8] =
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A masked message.
pub fn frame(opcode: u8, data: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![0x80 | opcode];
    match data.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => bytes.extend([0x80 | 126, (length >> 8) as u8, length as u8]),
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    bytes.extend(data.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Connects, and sends a request; the response is not read.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_nodelay(true)?;
    (&stream).write_all(REQUEST)?;
    Ok(stream)
}

/// Reads the head of the response, which is to accept the upgrade.
pub fn read_head(stream: &TcpStream) -> Outcome<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = head(stream)?;
    if head.starts_with(b"HTTP/1.1 101 ") { Ok(()) } else { Err(String::from_utf8_lossy(&head).into()) }
}

/// Reads the head of a request or a response, and nothing after it.
pub fn head(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

/// Opens connections, some at a time.
fn open(port: u16, count: usize) -> Outcome<Vec<TcpStream>> {
    let mut all = Vec::new();
    while all.len() < count {
        let some =
            (0..AT_A_TIME.min(count - all.len())).map(|_| connect(port)).collect::<Result<Vec<_>, _>>()?;
        for stream in some {
            read_head(&stream)?;
            all.push(stream);
        }
    }
    Ok(all)
}

/// Waits until the standard input has ended.
fn wait_for_end() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

pub fn open_many(port: u16, count: usize) -> Outcome<()> {
    let began = Instant::now();
    let all = open(port, count)?;
    println!("{:.0}", count as f64 / began.elapsed().as_secs_f64());
    wait_for_end()?;
    drop(all);
    Ok(())
}

pub fn echo(port: u16, connections: usize, size: usize, seconds: f64) -> Outcome<()> {
    let message = frame(2, &vec![b'x'; size]);
    let echoed = message.len() - 4;
    let epoll = Epoll::new()?;
    let mut peers: Vec<_> = open(port, connections)?.into_iter().map(|stream| (stream, 0)).collect();
    for (i, (stream, _)) in peers.iter_mut().enumerate() {
        stream.set_nonblocking(true)?;
        epoll.add(stream, i, false)?;
        stream.write_all(&message)?;
    }
    let warm = Duration::from_secs_f64(seconds / 4.0);
    let (mut began, mut count, mut is_warm) = (Instant::now(), 0_u64, false);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let elapsed = began.elapsed();
        if !is_warm && elapsed >= warm {
            (began, count, is_warm) = (Instant::now(), 0, true);
        } else if elapsed.as_secs_f64() >= seconds {
            println!("{:.0}", count as f64 / elapsed.as_secs_f64());
            return Ok(());
        }
        for token in epoll.wait(1000)? {
            let (stream, came) = &mut peers[token];
            match stream.read(&mut buffer)? {
                0 => return Err("the server has closed a connection".into()),
                bytes => *came += bytes,
            }
            while *came >= echoed {
                *came -= echoed;
                count += 1;
                stream.write_all(&message)?;
            }
        }
    }
}

/// Has one of many connections send a text, and prints the text that each answer begins with, as text messages; the
/// others only receive. The answers have at most 125 bytes, and come to the one that asks.
pub fn ask(port: u16, connections: usize, text: &str, times: usize) -> Outcome<()> {
    let mut all = open(port, connections)?;
    let mut asking = all.remove(0);
    let others = std::thread::spawn(move || drain(&all));
    asking.set_read_timeout(Some(PATIENCE))?;
    for _ in 0..times {
        asking.write_all(&frame(1, text.as_bytes()))?;
        loop {
            let mut header = [0; 2];
            asking.read_exact(&mut header)?;
            let length = match header[1] {
                126 => {
                    let mut long = [0; 2];
                    asking.read_exact(&mut long)?;
                    u16::from_be_bytes(long).into()
                }
                short => usize::from(short),
            };
            let mut data = vec![0; length];
            asking.read_exact(&mut data)?;
            if header[0] == 0x81 {
                println!("{}", String::from_utf8_lossy(&data));
                break;
            }
        }
    }
    drop(asking);
    match others.join() {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err("the thread that reads has failed".into()),
    }
}

/// Reads all that comes, until a second passes in which nothing does.
fn drain(all: &[TcpStream]) -> io::Result<()> {
    let epoll = Epoll::new()?;
    for (i, stream) in all.iter().enumerate() {
        stream.set_nonblocking(true)?;
        epoll.add(stream, i, false)?;
    }
    let mut buffer = vec![0; 1 << 16];
    loop {
        let ready = epoll.wait(1000)?;
        if ready.is_empty() {
            return Ok(());
        }
        for token in ready {
            if (&all[token]).read(&mut buffer)? == 0 {
                return Ok(());
            }
        }
    }
}

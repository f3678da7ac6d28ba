//! What bridges are measured with: clients, and the peer that the bridge connects them to, in one process.
//!
//! Prints the port at which the peer listens, and reads that of the bridge from its input. Each line after that is a
//! command, and is answered by a line:
//!
//! ```text
//! up SIZE COUNT     sends messages to the peer: the seconds until it has them
//! down SIZE COUNT   has the peer send as much: the seconds until the client has it
//! echo SIZE COUNT   sends messages to the peer, which sends them back: the median of the microseconds that it takes
//! open COUNT        opens more connections, over each of which a message is echoed; they last: how many there are
//! stall             opens one whose client never reads, and has the peer send until it cannot: how many bytes it could
//! ```

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::{PATIENCE, connect, frame, read_head};

/// A write that has waited for this long cannot go on.
const STUCK: Duration = Duration::from_millis(300);

/// What is sent is no UTF-8.
const BYTE: u8 = 0xff;

/// Both ends of a connection through the bridge.
struct Pair {
    client: TcpStream,
    peer: TcpStream,
    /// What has come of the header of a frame to the client, and how much of the frame's data is still to come.
    head: Vec<u8>,
    left: usize,
    buffer: Vec<u8>,
}

impl Pair {
    fn open(listener: &TcpListener, port: u16) -> Outcome<Self> {
        let client = connect(port)?;
        let (peer, _) = listener.accept()?;
        peer.set_nodelay(true)?;
        peer.set_read_timeout(Some(PATIENCE))?;
        read_head(&client)?;
        Ok(Self { client, peer, head: Vec::new(), left: 0, buffer: Vec::new() })
    }

    fn up(&mut self, size: usize, count: usize) -> Outcome<()> {
        let (message, mut client) = (frame(2, &vec![BYTE; size]), self.client.try_clone()?);
        let sending = thread::spawn(move || (0..count).try_for_each(|_| client.write_all(&message)));
        let mut left = size * count;
        while left > 0 {
            left -= self.read_as_peer(left)?;
        }
        sending.join().map_err(|_| "the thread that sends has failed")??;
        Ok(())
    }

    fn down(&mut self, size: usize, count: usize) -> Outcome<()> {
        let (message, mut peer) = (vec![BYTE; size], self.peer.try_clone()?);
        let sending = thread::spawn(move || (0..count).try_for_each(|_| peer.write_all(&message)));
        self.read_as_client(size * count)?;
        sending.join().map_err(|_| "the thread that sends has failed")??;
        Ok(())
    }

    fn echo(&mut self, message: &[u8], size: usize) -> Outcome<Duration> {
        let began = Instant::now();
        self.client.write_all(message)?;
        let mut came = 0;
        while came < size {
            let count = self.read_as_peer(size - came)?;
            self.peer.write_all(&self.buffer[..count])?;
            came += count;
        }
        self.read_as_client(size)?;
        Ok(began.elapsed())
    }

    fn read_as_peer(&mut self, most: usize) -> Outcome<usize> {
        self.buffer.resize(256 * 1024, 0);
        let most = most.min(self.buffer.len());
        some(self.peer.read(&mut self.buffer[..most])?)
    }

    /// Reads frames until so much data has come.
    fn read_as_client(&mut self, size: usize) -> Outcome<()> {
        self.buffer.resize(256 * 1024, 0);
        let mut came = 0;
        while came < size {
            let count = some(self.client.read(&mut self.buffer)?)?;
            let mut at = 0;
            while at < count {
                let part = self.left.min(count - at);
                (came, self.left, at) = (came + part, self.left - part, at + part);
                if at < count {
                    self.take_head(self.buffer[at]);
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes the next byte of a header, which has no mask.
    fn take_head(&mut self, byte: u8) {
        self.head.push(byte);
        let long = match self.head.get(1) {
            None => return,
            Some(126) => 2,
            Some(127) => 8,
            Some(_) => 0,
        };
        if self.head.len() == 2 + long {
            let length = if long == 0 { &self.head[1..] } else { &self.head[2..] };
            self.left = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            self.head.clear();
        }
    }

    /// Has the peer send until it cannot. Returns how many bytes it could.
    fn stall(&mut self) -> Outcome<usize> {
        self.peer.set_write_timeout(Some(STUCK))?;
        let (data, mut sent) = (vec![BYTE; 64 * 1024], 0);
        loop {
            match self.peer.write(&data) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// An end of the connection that has ended is an error.
fn some(count: usize) -> Outcome<usize> {
    if count == 0 { Err("the bridge has closed a connection".into()) } else { Ok(count) }
}

fn seconds(work: impl FnOnce() -> Outcome<()>) -> Outcome<String> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64().to_string())
}

fn echo(pair: &mut Pair, size: usize, count: usize) -> Outcome<f64> {
    let message = frame(2, &vec![BYTE; size]);
    let mut times = (0..count).map(|_| pair.echo(&message, size)).collect::<Outcome<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[count / 2].as_secs_f64() * 1e6)
}

pub fn run() -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let mut lines = io::stdin().lock().lines();
    let port = lines.next().ok_or("the bridge has no port")??.parse()?;
    let mut all = vec![Pair::open(&listener, port)?];
    for line in lines {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["up", size, count] => seconds(|| all[0].up(size.parse()?, count.parse()?))?,
            ["down", size, count] => seconds(|| all[0].down(size.parse()?, count.parse()?))?,
            ["echo", size, count] => echo(&mut all[0], size.parse()?, count.parse()?)?.to_string(),
            ["open", count] => {
                for _ in 0..count.parse()? {
                    let mut pair = Pair::open(&listener, port)?;
                    echo(&mut pair, 64, 1)?;
                    pair.buffer = Vec::new();
                    all.push(pair);
                }
                all.len().to_string()
            }
            ["stall"] => {
                all.push(Pair::open(&listener, port)?);
                all.last_mut().map_or(Ok(0), Pair::stall)?.to_string()
            }
            _ => return Err(format!("there is no command {line}").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

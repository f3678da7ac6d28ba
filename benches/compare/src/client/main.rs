//! Clients in Rust to compare luws with. Each run takes one measurement:
//!
//! ```text
//! luws-bench-client CLIENT receive|poll|send|echo URL [NAME=VALUE]...
//! ```
//!
//! | CLIENT | description |
//! |---|---|
//! | `tungstenite` | a WebSocket client without Lua; with rustls for wss, trusting the authorities in file `ca` |
//! | `raw` | the socket; the frames to send are made in advance, and received bytes are only counted |
//! | `openssl` | the same as `raw`, with OpenSSL on the socket, in reads of one TLS record |
//!
//! `size`, `count` and `warmup`, and the line that it prints, are the same as in `client.lua`.

mod raw;
mod tungstenite_client;

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};
use std::{env, mem, thread};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long a client sleeps when it has outrun the server. Asking again at once would cost processor time, and a fast
/// client more of it than a slow one.
const NAP: Duration = Duration::from_micros(100);

/// A client with a connection to the server. Only `send` may block.
trait Client {
    /// Receives what has arrived. Returns how many messages are complete now, and how many bytes arrived.
    fn receive(&mut self) -> Outcome<(u64, u64)>;
    /// Sends the message that the client was opened with.
    fn send(&mut self) -> Outcome<()>;
}

struct Arguments {
    kind: String,
    url: String,
    options: HashMap<String, String>,
}

impl Arguments {
    fn number(&self, name: &str) -> u64 {
        self.options.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    fn text(&self, name: &str) -> &str {
        self.options.get(name).map_or("", String::as_str)
    }

    /// Returns the message to send, in ASCII.
    fn message(&self) -> String {
        "The quick brown fox jumps over the lazy dog. "
            .chars()
            .cycle()
            .take(self.number("size") as usize)
            .collect()
    }
}

fn main() -> Outcome<()> {
    let mut words = env::args().skip(1);
    let mut word = || words.next().ok_or("usage: luws-bench-client CLIENT KIND URL [NAME=VALUE]...");
    let (client, kind, url) = (word()?, word()?, word()?);
    let options = words
        .filter_map(|option| {
            Some(option.split_once('=')?).map(|(name, value)| (name.to_owned(), value.to_owned()))
        })
        .collect();
    let arguments = Arguments { kind, url, options };
    let connect: fn(&Arguments) -> Outcome<Box<dyn Client>> = match client.as_str() {
        "tungstenite" => tungstenite_client::connect,
        "raw" => raw::connect,
        "openssl" => raw::connect_tls,
        _ => return Err(format!("no such client: {client}").into()),
    };
    let mut client = connect(&arguments)?;
    let (count, warmup) = (arguments.number("count"), arguments.number("warmup"));
    let mut meter = Meter::default();
    match arguments.kind.as_str() {
        "receive" => receive(&mut *client, count, warmup, &mut meter)?,
        "poll" => repeat(count, warmup, &mut meter, || client.receive().map(drop))?,
        "send" => repeat(count, warmup, &mut meter, || client.send())?,
        "echo" => {
            let mut laps = Vec::new();
            repeat(count, warmup, &mut meter, || {
                let start = Instant::now();
                client.send()?;
                while client.receive()?.0 == 0 {}
                laps.push(start.elapsed());
                Ok(())
            })?;
            meter.laps = laps.split_off(warmup as usize);
        }
        kind => return Err(format!("no such measurement: {kind}").into()),
    }
    meter.print();
    Ok(())
}

fn repeat(count: u64, warmup: u64, meter: &mut Meter, mut turn: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    for _ in 0..warmup {
        turn()?;
    }
    meter.start();
    for _ in 0..count {
        turn()?;
    }
    meter.stop(count);
    Ok(())
}

fn receive(client: &mut dyn Client, count: u64, warmup: u64, meter: &mut Meter) -> Outcome<()> {
    let mut messages = 0;
    let mut until = |wanted: u64, idle: &mut u64| -> Outcome<u64> {
        while messages < wanted {
            let (complete, bytes) = client.receive()?;
            messages += complete;
            if bytes == 0 {
                *idle += 1;
                thread::sleep(NAP);
            }
        }
        Ok(messages)
    };
    let warm = until(warmup, &mut 0)?;
    meter.start();
    let done = until(warmup + count, &mut meter.idle)?;
    meter.stop(done - warm);
    Ok(())
}

/// The measurement.
#[derive(Default)]
struct Meter {
    cpu: f64,
    wall: Option<Instant>,
    seconds: f64,
    count: u64,
    idle: u64,
    laps: Vec<Duration>,
}

impl Meter {
    fn start(&mut self) {
        self.cpu = cpu();
        self.wall = Some(Instant::now());
    }

    fn stop(&mut self, count: u64) {
        self.cpu = cpu() - self.cpu;
        self.seconds = self.wall.map_or(0.0, |start| start.elapsed().as_secs_f64());
        self.count = count;
    }

    fn print(mut self) {
        let per = self.count.max(1) as f64;
        self.laps.sort_unstable();
        let median = self.laps.get(self.laps.len() / 2).map_or(0.0, Duration::as_secs_f64);
        println!(
            "cpu={:e} wall={:e} p50={median:e} idle={} count={}",
            self.cpu / per,
            self.seconds / per,
            self.idle,
            self.count
        );
    }
}

/// Returns the processor time of this process in seconds, like Lua's `os.clock`.
fn cpu() -> f64 {
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

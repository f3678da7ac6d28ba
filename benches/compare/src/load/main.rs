//! What servers and bridges are measured with: clients that do as little as they can, and the least that a server or a
//! bridge could do.
//!
//! ```text
//! luws-bench-load floor                                echoes on a free port, which it prints, until its input ends
//! luws-bench-load echo PORT CONNECTIONS SIZE SECONDS   how many messages are echoed in a second
//! luws-bench-load open PORT CONNECTIONS                how many are opened in a second; they last until its input ends
//! luws-bench-load ask PORT CONNECTIONS TEXT TIMES      the answers to a text that one of the connections sends
//! luws-bench-load bridge PORT PEER                     listens at a port, and bridges to the peer at another
//! luws-bench-load through                              both ends of connections through a bridge: see through.rs
//! ```
//!
//! All of it needs Linux (epoll), and checks as little as it can.

mod bridge;
mod client;
mod epoll;
mod floor;
mod through;

use std::error::Error;
use std::process::ExitCode;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn run() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["floor"] => floor::serve(),
        ["bridge", port, peer] => bridge::serve(port.parse()?, peer.parse()?),
        ["through"] => through::run(),
        ["echo", port, connections, size, seconds] => {
            client::echo(port.parse()?, connections.parse()?, size.parse()?, seconds.parse()?)
        }
        ["open", port, connections] => client::open_many(port.parse()?, connections.parse()?),
        ["ask", port, connections, text, times] => {
            client::ask(port.parse()?, connections.parse()?, text, times.parse()?)
        }
        _ => Err(
            "usage: luws-bench-load floor | echo PORT N SIZE SECONDS | open PORT N | ask PORT N TEXT TIMES | \
            bridge PORT PEER | through"
                .into(),
        ),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("luws-bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

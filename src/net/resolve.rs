//! Resolves names without blocking the caller: the system's resolver has no time-out, so it runs in its own thread.
//!
//! The thread shares only a channel with the rest, and ends when the resolver returns. If nobody is waiting for the
//! answer by then, it is dropped; the library stays loaded for the thread (`build.rs`: nodelete).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

type Answer = io::Result<Vec<SocketAddr>>;

/// A lookup in progress.
#[derive(Debug)]
pub struct Lookup(Receiver<Answer>);

impl Lookup {
    /// Begins to look up `host`. An address needs no lookup, but is answered in the same way.
    #[must_use]
    pub fn start(host: &str, port: u16) -> Self {
        let (sender, receiver) = sync_channel(1);
        if let Ok(address) = host.parse::<IpAddr>() {
            let _ = sender.send(Ok(vec![SocketAddr::new(address, port)]));
            return Self(receiver);
        }
        let name = host.to_owned();
        let at_work = sender.clone();
        let look_up = move || {
            let answer = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // The receiver may have given up.
            let _ = at_work.send(answer);
        };
        if let Err(error) = thread::Builder::new().name("luws-resolve".into()).spawn(look_up) {
            let _ = sender.send(Err(error));
        }
        Self(receiver)
    }

    /// The addresses, in the order in which to try them. Waits for at most `wait`, and returns `None` if they are not
    /// there yet.
    #[must_use]
    pub fn poll(&self, wait: Duration) -> Option<Answer> {
        let lost = || Some(Err(io::Error::other("the resolver's thread ended")));
        if wait.is_zero() {
            return match self.0.try_recv() {
                Ok(answer) => Some(answer),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => lost(),
            };
        }
        match self.0.recv_timeout(wait) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => lost(),
        }
    }
}

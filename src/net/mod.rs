//! Sockets: from names to addresses, from addresses to non-blocking sockets, listeners; and the clocks. Knows nothing
//! of WebSocket.
//!
//! ```
//! use std::time::Duration;
//!
//! use luws::net::listen::{Listener, Place, Settings};
//! use luws::net::tcp::{Dial, Progress};
//!
//! let settings = Settings { backlog: 1, reuseport: false, mode: None };
//! let listener = Listener::tcp("127.0.0.1", 0, settings)?.remove(0);
//! let Place::Ip(address) = listener.place()? else { unreachable!() };
//! let mut dial = Dial::start("127.0.0.1", address.port());
//! let Progress::Connected(socket) = dial.advance(Duration::from_secs(10)) else { panic!("not connected") };
//! assert_eq!(socket.peer()?, address);
//! # Ok::<_, std::io::Error>(())
//! ```

pub mod console;
pub mod datagram;
pub mod listen;
pub mod pipe;
pub mod poller;
pub mod process;
pub mod resolve;
pub mod tcp;

use std::io;

use rustix::time::{ClockId, clock_gettime};

/// The text of an error: LuaSocket's if it has one, otherwise the system's. "timeout" means: not now.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::WouldBlock => "timeout".into(),
        // The system has given up on a peer that does not answer.
        io::ErrorKind::TimedOut => "timed out".into(),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => "closed".into(),
        // In Lua's words.
        io::ErrorKind::OutOfMemory => "not enough memory".into(),
        io::ErrorKind::AddrInUse => "address already in use".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            text.split(" (os error").next().unwrap_or(text).to_owned()
        }
    }
}

/// Seconds on a monotonic clock.
#[must_use]
pub fn clock() -> f64 {
    seconds(ClockId::Monotonic)
}

/// Seconds on the same clock, but with a resolution of some milliseconds, and almost free to read.
#[must_use]
pub fn coarse_clock() -> f64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
    seconds(CLOCK)
}

#[inline]
fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

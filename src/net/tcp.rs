//! A non-blocking TCP socket: connects, reads, writes and waits. The caller decides on time-outs.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::poller::Waker;
use super::process::Process;
use super::resolve::Lookup;

/// If an address has not answered for this long, the next one is tried in parallel (RFC 8305 section 5), so that an
/// unreachable address family does not use up the deadline.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Keepalive probes begin after this long without any data.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Has a write never raise SIGPIPE. Where there is no such flag, it is an option of the socket, which is set.
#[cfg(not(target_vendor = "apple"))]
pub(super) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(super) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// The address of an end of a connection.
pub type Address = SocketAddr;

/// A connection being made: the lookup, then attempts at the name's addresses. See [`net`](super) for an example.
#[derive(Debug)]
pub struct Dial {
    lookup: Option<Lookup>,
    /// No attempt begins until it is let go on.
    held: bool,
    untried: VecDeque<SocketAddr>,
    attempts: Vec<Socket>,
    next_attempt: Option<Instant>,
    /// The descriptors of the attempts that nobody has asked for yet.
    fresh: Vec<i32>,
    last_error: Option<io::Error>,
    /// The process that has begun it.
    process: Process,
}

/// The progress of a [`Dial`].
#[derive(Debug)]
pub enum Progress {
    Connected(TcpSocket),
    Pending,
    /// No address could be reached. Holds the last error.
    Failed(io::Error),
}

impl Dial {
    /// Begins to connect to a name or an address. Never blocks.
    #[must_use]
    pub fn start(host: &str, port: u16) -> Self {
        Self {
            lookup: Some(Lookup::start(host, port)),
            held: false,
            untried: VecDeque::new(),
            attempts: Vec::new(),
            next_attempt: None,
            fresh: Vec::new(),
            last_error: None,
            process: Process::this(),
        }
    }

    /// Advances for at most `wait`, or until a signal comes; zero means without waiting.
    pub fn advance(&mut self, wait: Duration) -> Progress {
        // A time that cannot be represented never comes.
        let deadline = Instant::now().checked_add(wait);
        loop {
            let left =
                || deadline.map_or(wait, |deadline| deadline.saturating_duration_since(Instant::now()));
            if let Some(lookup) = &mut self.lookup {
                match lookup.poll(left()) {
                    None => return Progress::Pending,
                    Some(Err(error)) => return Progress::Failed(error),
                    Some(Ok(addresses)) => self.untried.extend(addresses),
                }
                self.lookup = None;
            }
            if self.held && !self.untried.is_empty() {
                return Progress::Pending;
            }
            self.begin_attempts();
            if self.attempts.is_empty() {
                let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                return Progress::Failed(self.last_error.take().unwrap_or_else(unknown));
            }
            match self.await_attempts(left()) {
                Ok(Some(socket)) => {
                    self.cancel();
                    return Progress::Connected(socket);
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Progress::Pending,
                Err(error) => {
                    // Others may have ended, too, or the next address is tried at once.
                    self.last_error = Some(error);
                    continue;
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Progress::Pending;
            }
        }
    }

    /// Whether the lookup of the name has yet to begin, because as many others as may be are at work.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.lookup.as_ref().is_some_and(Lookup::is_queued)
    }

    /// Begins no attempt before [`go_on`](Self::go_on) is called.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Lets a dial go on that was held.
    pub fn go_on(&mut self) {
        self.held = false;
    }

    /// The addresses that are still to be tried, once the name has been looked up.
    #[must_use]
    pub fn untried(&self) -> Option<impl Iterator<Item = IpAddr>> {
        self.lookup.is_none().then(|| self.untried.iter().map(SocketAddr::ip))
    }

    /// Tries only those of the addresses that are `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(IpAddr) -> bool) {
        self.untried.retain(|address| wanted(address.ip()));
    }

    /// The descriptors of the attempts that were begun since the last call. Each becomes writable when it ends.
    pub fn take_descriptors(&mut self) -> Vec<i32> {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.retain(|fd| self.attempts.iter().any(|socket| socket.as_raw_fd() == *fd));
        fresh
    }

    /// After which time it is to be advanced although no attempt has ended; `None` for no time.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let time = self.next_attempt.filter(|_| !self.untried.is_empty())?;
        Some(time.saturating_duration_since(Instant::now()))
    }

    /// Has `waker` called once the name has been looked up, if that is still to be done. Returns false if it has been
    /// done meanwhile, and this is to be [advanced](Self::advance) at once.
    pub fn wake(&self, waker: impl FnOnce() -> Waker) -> bool {
        self.lookup.as_ref().is_none_or(|lookup| lookup.wake(waker))
    }

    /// Gives up, and closes all unfinished attempts.
    pub fn cancel(&mut self) {
        self.attempts.clear();
        self.untried.clear();
        self.lookup = None;
    }

    /// Begins the next attempt, if it is time. Afterwards there is an attempt unless no address is left.
    fn begin_attempts(&mut self) {
        while self.attempts.is_empty() || self.next_attempt.is_some_and(|time| time <= Instant::now()) {
            let Some(address) = self.untried.pop_front() else {
                self.next_attempt = None;
                return;
            };
            match begin(address) {
                Ok(socket) => {
                    self.fresh.push(socket.as_raw_fd());
                    self.attempts.push(socket);
                    self.next_attempt = Some(Instant::now() + ATTEMPT_DELAY);
                }
                Err(error) => self.last_error = Some(error),
            }
        }
    }

    /// Waits until an attempt ends, or until it is time for the next one.
    fn await_attempts(&mut self, left: Duration) -> io::Result<Option<TcpSocket>> {
        let wait = match self.next_attempt {
            Some(time) if !self.untried.is_empty() => {
                left.min(time.saturating_duration_since(Instant::now()))
            }
            _ => left,
        };
        let mut polled: Vec<_> =
            self.attempts.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
        let waited = wait_for(&mut polled, Some(wait));
        let ended = polled.iter().position(|fd| !fd.revents().is_empty());
        drop(polled);
        if let Err(error) = waited {
            if error.kind() != io::ErrorKind::Interrupted {
                self.attempts.clear(); // nobody would ever learn what becomes of them
            }
            return Err(error);
        }
        let Some(index) = ended else { return Ok(None) };
        let socket = self.attempts.swap_remove(index);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        Ok(Some(TcpSocket { stream: socket.into(), process: self.process }))
    }
}

/// Begins to connect to one address.
fn begin(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    // In one system call where the system supports it.
    #[cfg(any(target_os = "android", target_os = "freebsd", target_os = "linux"))]
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    #[cfg(not(any(target_os = "android", target_os = "freebsd", target_os = "linux")))]
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(not(any(target_os = "android", target_os = "freebsd", target_os = "linux")))]
    socket.set_nonblocking(true)?;
    let socket = not_standard(socket)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok(socket),
        Err(error) if in_progress(&error) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Moves a socket away from the numbers of standard input, output and error. It gets one of them in a process that has
/// closed them, and then everything that is printed there would go to the peer.
pub(super) fn not_standard(socket: Socket) -> io::Result<Socket> {
    const FIRST_OTHER: i32 = 3;
    if socket.as_raw_fd() >= FIRST_OTHER {
        return Ok(socket);
    }
    Ok(fcntl_dupfd_cloexec(&socket, FIRST_OTHER)?.into())
}

fn in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

/// A connected socket. Reading and writing never block. A forked child can close its copy, and nothing else: what it
/// reads, its parent would miss, and what it writes would come between its parent's bytes.
#[derive(Debug)]
pub struct TcpSocket {
    stream: TcpStream,
    /// The process that it belongs to.
    process: Process,
}

impl TcpSocket {
    /// A socket that a listener has accepted. It may be of any family: nothing here needs TCP, but for the options of
    /// TCP, which others refuse.
    pub(super) fn accepted(socket: OwnedFd) -> Self {
        let stream = TcpStream::from(socket);
        // Both matter to TCP only.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        Self { stream, process: Process::this() }
    }

    /// Connects to a unix domain socket. Never blocks.
    ///
    /// # Errors
    /// `WouldBlock` if too many others wait there; this is to be tried again. And the system's errors.
    pub fn unix(path: &str) -> io::Result<Self> {
        let socket = not_standard(Socket::new(Domain::UNIX, Type::STREAM, None)?)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Self { stream: socket.into(), process: Process::this() })
    }

    /// Reads what there is; `Ok(0)` if the peer has ended its side.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing to read, and the system's errors.
    pub fn read(&self, target: &mut [u8]) -> io::Result<usize> {
        self.process.check()?;
        retry(|| (&self.stream).read(target))
    }

    /// Writes what there is room for. Never raises SIGPIPE.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, and the system's errors.
    pub fn write(&self, source: &[u8]) -> io::Result<usize> {
        self.process.check()?;
        retry(|| (&self.stream).write(source))
    }

    /// The same for what is in several places, in this order.
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub fn write_parts(&self, sources: &[IoSlice<'_>]) -> io::Result<usize> {
        self.process.check()?;
        retry(|| Ok(sendmsg(&self.stream, sources, &mut SendAncillaryBuffer::default(), NO_SIGNAL)?))
    }

    /// Waits until the socket is readable (or has ended) or writable, for at most `timeout`; `None` for no limit.
    /// Returns whether it is.
    ///
    /// # Errors
    /// `Interrupted` if a signal came, and the system's errors.
    pub fn wait(&self, read: bool, write: bool, timeout: Option<Duration>) -> io::Result<bool> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        wait_for(&mut [PollFd::new(&self.stream, flags)], timeout)
    }

    /// Tells the peer that nothing more will be sent.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.process.check()?;
        self.stream.shutdown(Shutdown::Write)
    }

    /// Ends both directions.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn shutdown(&self) -> io::Result<()> {
        self.process.check()?;
        self.stream.shutdown(Shutdown::Both)
    }

    /// Turns Nagle's algorithm off or on.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.stream.set_nodelay(on)
    }

    /// Turns keepalive probes on or off.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        SockRef::from(&self.stream).set_keepalive(on)
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn peer(&self) -> io::Result<Address> {
        self.stream.peer_addr()
    }

    /// Our own address.
    ///
    /// # Errors
    /// Returns the system's errors.
    pub fn local(&self) -> io::Result<Address> {
        self.stream.local_addr()
    }

    /// The descriptor's number, for an event loop.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.stream.as_raw_fd()
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn retry(mut operation: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sleeps for this time, or until a signal comes. Returns whether no signal came.
#[must_use]
pub fn sleep(time: Duration) -> bool {
    wait_for(&mut [], Some(time)).is_ok()
}

/// poll(2) for at most `timeout`, or until a signal comes.
fn wait_for(polled: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<bool> {
    // A time that cannot be represented never comes.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    Ok(poll(polled, timeout.as_ref())? > 0)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn an_attempt_that_fails_does_not_hide_another_that_has_succeeded() {
        // A datagram that nobody takes leaves the same error as a refused connection.
        let failed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        failed.connect(gone).unwrap();
        failed.send(b"x").unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let connected = begin(listener.local_addr().unwrap()).unwrap();
        wait_for(&mut [PollFd::new(&connected, PollFlags::OUT)], None).unwrap();
        let mut dial = Dial::start("127.0.0.1", 1);
        dial.lookup = None;
        dial.attempts = vec![failed.into(), connected];
        assert!(matches!(dial.advance(Duration::ZERO), Progress::Connected(_)));
    }
}

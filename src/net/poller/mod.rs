//! One descriptor for many: it becomes readable when something happens to one of the descriptors that it watches, when
//! its timer ends, or when another thread wakes it. Knows nothing of what the descriptors are.
//!
//! The caller owns the descriptors. One that is closed is no longer watched; a `BorrowedFd<'static>` only says that
//! nobody reads or writes here.
//!
//! On Linux this is epoll with an eventfd and a timerfd. Elsewhere poll(2) does the waiting; then there is no
//! descriptor that an outer event loop could watch.
//!
//! ```
//! use std::time::Duration;
//!
//! use luws::net::poller::Poller;
//!
//! let mut poller = Poller::new()?;
//! let waker = poller.waker(7);
//! std::thread::spawn(move || waker.wake());
//! let mut ready = Vec::new();
//! poller.wait(Some(Duration::from_secs(10)), &mut ready)?;
//! assert_eq!(ready[0].token, 7);
//! # Ok::<_, std::io::Error>(())
//! ```

#[cfg(any(target_os = "android", target_os = "linux"))]
mod epoll;
#[cfg(any(test, not(any(target_os = "android", target_os = "linux"))))]
#[cfg_attr(
    any(target_os = "android", target_os = "linux"),
    expect(unreachable_pub, reason = "here it is only tested")
)]
mod poll;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(any(target_os = "android", target_os = "linux"))]
pub use epoll::Poller;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub use poll::Poller;

/// The most things that one [`Poller::wait`] reports; the others are reported by the next.
pub const MOST: usize = 64;

/// What to watch a descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Whether it is readable or writable; told again and again while it is so.
    Level { read: bool, write: bool },
    /// Both, but only what changes: new bytes, room where there was none, an end. Where the system cannot do that, it
    /// is [`Level`](Self::Level), and [`Poller::set_writing`] says whether room is of interest.
    Edge,
}

/// Something that has happened to what this token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// The peer has ended its side, or there is an error.
    pub ended: bool,
}

/// Wakes a [`Poller`] from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    token: u64,
    wakes: Wakes,
}

impl Waker {
    /// Has the poller report this waker's token as ready. Never blocks.
    pub fn wake(&self) {
        self.wakes.tokens().push(self.token);
        // The counter cannot overflow, and a wake that is there already is enough.
        let _ = rustix::io::write(&self.wakes.event, &1_u64.to_ne_bytes());
    }
}

/// The tokens for which a thread has called, and the descriptor that shows that there are any.
#[derive(Clone, Debug)]
struct Wakes {
    tokens: Arc<Mutex<Vec<u64>>>,
    event: Arc<OwnedFd>,
}

impl Wakes {
    fn new(event: OwnedFd) -> Self {
        Self { tokens: Arc::default(), event: Arc::new(event) }
    }

    fn waker(&self, token: u64) -> Waker {
        Waker { token, wakes: self.clone() }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        // A thread that panicked while it held the lock has left a vector all the same.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what has been called for.
    fn take(&self, from: impl AsFd, into: &mut Vec<Ready>) {
        let mut counter = [0; 8];
        let _ = rustix::io::read(from, &mut counter);
        let taken = std::mem::take(&mut *self.tokens());
        into.extend(taken.into_iter().map(|token| Ready {
            token,
            readable: false,
            writable: false,
            ended: false,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::BorrowedFd;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::{Interest, Ready};
    use crate::net::clock;

    /// The promises of both pollers. Sockets are leaked, so that they may be borrowed for ever.
    macro_rules! promises {
        ($name:ident, $poller:path) => {
            mod $name {
                use super::*;
                use $poller as Poller;

                fn pair() -> (&'static TcpStream, &'static TcpStream) {
                    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    let far = listener.accept().unwrap().0;
                    near.set_nonblocking(true).unwrap();
                    (Box::leak(Box::new(near)), Box::leak(Box::new(far)))
                }

                fn borrow(socket: &'static TcpStream) -> BorrowedFd<'static> {
                    std::os::fd::AsFd::as_fd(socket)
                }

                fn wait(poller: &mut Poller, milliseconds: u64) -> Vec<Ready> {
                    let mut ready = Vec::new();
                    poller.wait(Some(Duration::from_millis(milliseconds)), &mut ready).unwrap();
                    ready
                }

                #[test]
                fn what_is_readable_is_told_again_and_again() {
                    let (near, mut far) = pair();
                    let mut poller = Poller::new().unwrap();
                    poller.add(borrow(near), 7, Interest::Level { read: true, write: false }).unwrap();
                    assert_eq!(wait(&mut poller, 0), []);
                    far.write_all(b"x").unwrap();
                    let told = Ready { token: 7, readable: true, writable: false, ended: false };
                    assert_eq!(wait(&mut poller, 1000), [told]);
                    assert_eq!(wait(&mut poller, 1000), [told]);
                    let error = poller.add(borrow(near), 8, Interest::Edge).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
                    poller.remove(borrow(near));
                    assert_eq!(wait(&mut poller, 0), []);
                }

                /// By how much the end of a wait for 1.2 ms is late.
                fn lateness(poller: &mut Poller) -> Duration {
                    let deadline = Instant::now() + Duration::from_micros(1200);
                    loop {
                        let left = deadline.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return deadline.elapsed();
                        }
                        poller.wait(Some(left), &mut Vec::new()).unwrap();
                    }
                }

                #[test]
                fn waits_are_not_rounded_up_to_milliseconds() {
                    let mut poller = Poller::new().unwrap();
                    // A busy machine has some late, but rounding would have all.
                    assert!((0..200).any(|_| lateness(&mut poller) < Duration::from_micros(500)));
                }

                #[test]
                fn changes_are_told() {
                    let (mut near, mut far) = pair();
                    let mut poller = Poller::new().unwrap();
                    poller.add(borrow(near), 1, Interest::Edge).unwrap();
                    assert!(wait(&mut poller, 1000)[0].writable);
                    poller.set_writing(1, false);
                    assert_eq!(wait(&mut poller, 0), []);
                    far.write_all(b"x").unwrap();
                    assert!(wait(&mut poller, 1000)[0].readable);
                    near.read_exact(&mut [0]).unwrap();
                    poller.set_writing(1, true);
                    while near.write(&[0; 4096]).is_ok() {}
                    let _ = wait(&mut poller, 0);
                    let reader = thread::spawn(move || {
                        let mut all = [0; 4096];
                        while far.read(&mut all).is_ok_and(|count| count > 0) {}
                    });
                    assert!(wait(&mut poller, 10_000).iter().any(|ready| ready.writable));
                    near.shutdown(std::net::Shutdown::Both).unwrap();
                    assert!(wait(&mut poller, 10_000).iter().any(|ready| ready.ended));
                    reader.join().unwrap();
                }

                #[test]
                fn another_thread_wakes_it_and_so_does_its_timer() {
                    let mut poller = Poller::new().unwrap();
                    let waker = poller.waker(3);
                    let thread = thread::spawn(move || waker.wake());
                    let told = Ready { token: 3, readable: false, writable: false, ended: false };
                    assert_eq!(wait(&mut poller, 10_000), [told]);
                    thread.join().unwrap();
                    assert_eq!(wait(&mut poller, 0), []);
                    let begun = Instant::now();
                    poller.set_timer(Some(clock() + 0.02));
                    assert_eq!(wait(&mut poller, 10_000), []);
                    assert!(begun.elapsed() >= Duration::from_millis(20));
                    assert!(begun.elapsed() < Duration::from_secs(5));
                    poller.set_timer(Some(clock() - 1.0));
                    assert_eq!(wait(&mut poller, 10_000), []);
                    poller.set_timer(Some(clock() + 3600.0));
                    poller.set_timer(None);
                    assert_eq!(wait(&mut poller, 1), []);
                }

                #[test]
                fn more_than_a_wait_can_report_have_their_turn() {
                    let mut poller = Poller::new().unwrap();
                    let sockets: Vec<_> = (0..100).map(|_| pair()).collect();
                    for (token, (near, _)) in (0..).zip(&sockets) {
                        poller
                            .add(borrow(near), token, Interest::Level { read: true, write: false })
                            .unwrap();
                    }
                    for (_, far) in &sockets {
                        (&**far).write_all(b"x").unwrap();
                    }
                    let mut seen: Vec<_> =
                        (0..4).flat_map(|_| wait(&mut poller, 1000)).map(|ready| ready.token).collect();
                    seen.sort_unstable();
                    seen.dedup();
                    assert_eq!(seen.len(), 100);
                    assert_eq!(poller.fd() >= 0, stringify!($name) == "epoll");
                }
            }
        };
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    promises!(epoll, crate::net::poller::epoll::Poller);
    promises!(poll, crate::net::poller::poll::Poller);
}

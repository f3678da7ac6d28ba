//! The poller of other systems: poll(2) over a list, so a wait costs time for each descriptor. A pipe tells of wakes,
//! and the timer is the time-out of the wait.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::pipe::pipe;

use super::{Interest, MOST, Ready, Waker, Wakes};
use crate::net::clock;

#[derive(Debug)]
struct Watched {
    fd: BorrowedFd<'static>,
    token: u64,
    read: bool,
    write: bool,
}

/// Watches descriptors. See the [module](super) for an example.
#[derive(Debug)]
pub struct Poller {
    watched: Vec<Watched>,
    wakes: Wakes,
    woken: OwnedFd,
    timer: Option<f64>,
    /// Where the next report begins, so that everything has its turn.
    first: usize,
}

impl Poller {
    /// # Errors
    /// The system's, if there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (woken, event) = pipe()?;
        ioctl_fionbio(&woken, true)?;
        ioctl_fionbio(&event, true)?;
        Ok(Self { watched: Vec::new(), wakes: Wakes::new(event), woken, timer: None, first: 0 })
    }

    /// There is no descriptor that shows what has happened.
    #[must_use]
    #[expect(clippy::unused_self, reason = "the other poller has one")]
    pub fn fd(&self) -> i32 {
        -1
    }

    /// Wakes the poller, from any thread, and has it report this token.
    #[must_use]
    pub fn waker(&self, token: u64) -> Waker {
        self.wakes.waker(token)
    }

    /// Watches a descriptor until it is closed or removed.
    ///
    /// # Errors
    /// `AlreadyExists` if it is watched.
    pub fn add(&mut self, fd: BorrowedFd<'static>, token: u64, interest: Interest) -> io::Result<()> {
        if self.watched.iter().any(|watched| watched.fd.as_raw_fd() == fd.as_raw_fd()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (read, write) = match interest {
            Interest::Edge => (true, true),
            Interest::Level { read, write } => (read, write),
        };
        self.watched.push(Watched { fd, token, read, write });
        Ok(())
    }

    /// Stops watching a descriptor. One that is not watched does no harm.
    pub fn remove(&mut self, fd: BorrowedFd<'static>) {
        self.watched.retain(|watched| watched.fd.as_raw_fd() != fd.as_raw_fd());
    }

    /// Whether room is of interest to this token.
    pub fn set_writing(&mut self, token: u64, writing: bool) {
        for watched in self.watched.iter_mut().filter(|watched| watched.token == token) {
            watched.write = writing;
        }
    }

    /// Has waits end at this time, in seconds on [`clock`]; `None` for never.
    pub fn set_timer(&mut self, time: Option<f64>) {
        self.timer = time;
    }

    /// Waits for at most `timeout` (`None` for no limit) until something happens, and appends it to `into`. Returns
    /// whether the timer has ended.
    ///
    /// # Errors
    /// `Interrupted` if a signal came, and the system's errors.
    pub fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Ready>) -> io::Result<bool> {
        let until_timer = self
            .timer
            .map(|time| Duration::try_from_secs_f64((time - clock()).max(0.0)).unwrap_or(Duration::MAX));
        let timeout = [timeout, until_timer].into_iter().flatten().min();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut polled = vec![PollFd::new(&self.woken, PollFlags::IN)];
        polled.extend(self.watched.iter().map(|watched| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, watched.read);
            flags.set(PollFlags::OUT, watched.write);
            PollFd::from_borrowed_fd(watched.fd, flags)
        }));
        poll(&mut polled, timeout.as_ref())?;
        let found: Vec<_> = polled.iter().map(PollFd::revents).collect();
        let has_timer_ended = self.timer.is_some_and(|time| time <= clock());
        if has_timer_ended {
            self.timer = None;
        }
        if !found[0].is_empty() {
            self.wakes.take(&self.woken, into);
        }
        let count = self.watched.len();
        let order = (0..count).map(|index| (index + self.first) % count);
        let happened: Vec<_> = order.filter(|index| !found[index + 1].is_empty()).take(MOST).collect();
        self.first = happened.last().map_or(0, |last| last + 1);
        for index in &happened {
            let flags = found[index + 1];
            into.push(Ready {
                token: self.watched[*index].token,
                readable: flags.contains(PollFlags::IN),
                writable: flags.contains(PollFlags::OUT),
                ended: flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
            });
        }
        // What was closed is not watched any more, as with epoll.
        let mut index = 0;
        self.watched.retain(|_| {
            index += 1;
            !found[index].contains(PollFlags::NVAL)
        });
        Ok(has_timer_ended)
    }
}

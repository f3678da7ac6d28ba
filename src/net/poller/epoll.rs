//! The poller of Linux: epoll, in whose set an eventfd tells of wakes and a timerfd of the time.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::{Interest, MOST, Ready, Waker, Wakes};

/// The tokens of the poller's own descriptors. No caller counts that far.
const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// What epoll_wait(2) counts in.
const MILLISECOND: Duration = Duration::from_millis(1);

/// Watches descriptors. See the [module](super) for an example.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    wakes: Wakes,
    timer: OwnedFd,
}

impl Poller {
    /// # Errors
    /// The system's, if there is no descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        let poller = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            wakes: Wakes::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            timer: timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?,
        };
        epoll::add(&poller.epoll, &*poller.wakes.event, EventData::new_u64(WAKE), EventFlags::IN)?;
        epoll::add(&poller.epoll, &poller.timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(poller)
    }

    /// The descriptor that shows that something has happened; -1 where there is none.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.epoll.as_raw_fd()
    }

    /// Wakes the poller, from any thread, and has it report this token.
    #[must_use]
    pub fn waker(&self, token: u64) -> Waker {
        self.wakes.waker(token)
    }

    /// Watches a descriptor until it is closed or removed.
    ///
    /// # Errors
    /// The system's: `AlreadyExists` if it is watched, `PermissionDenied` for what cannot be watched, such as a file.
    pub fn add(&mut self, fd: BorrowedFd<'static>, token: u64, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Edge => EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
            Interest::Level { read, write } => {
                let mut flags = EventFlags::empty();
                flags.set(EventFlags::IN | EventFlags::RDHUP, read);
                flags.set(EventFlags::OUT, write);
                flags
            }
        };
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Stops watching a descriptor. One that is not watched, or is closed, does no harm.
    pub fn remove(&mut self, fd: BorrowedFd<'static>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Does nothing: edges tell of room.
    pub fn set_writing(&mut self, _token: u64, _writing: bool) {}

    /// Has the descriptor become readable at this time, in seconds on [`clock`](crate::net::clock); `None` for never.
    pub fn set_timer(&mut self, time: Option<f64>) {
        // Zero would turn the timer off, and a time that cannot be represented never comes.
        let time = time.map(|time| Duration::try_from_secs_f64(time.max(1e-9)).unwrap_or(Duration::MAX));
        let value =
            time.and_then(|time| Timespec::try_from(time).ok()).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::ABSTIME,
            &Itimerspec { it_interval: interval, it_value: value },
        );
    }

    /// Waits for at most `timeout` (`None` for no limit) until something happens, and appends it to `into`. Returns
    /// whether the timer has ended.
    ///
    /// epoll_wait(2) takes whole milliseconds, and timers would be late by what is rounded up. So a wait may end less
    /// than a millisecond early; the next one, for what is left, is poll(2)'s, which takes nanoseconds here.
    ///
    /// # Errors
    /// `Interrupted` if a signal came, and the system's errors.
    pub fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Ready>) -> io::Result<bool> {
        if let Some(left) = timeout.filter(|left| !left.is_zero() && *left < MILLISECOND) {
            poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Timespec::try_from(left).ok().as_ref())?;
        }
        let timeout = timeout.map(|left| Duration::new(left.as_secs(), left.subsec_millis() * 1_000_000));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut space = [const { MaybeUninit::uninit() }; MOST];
        let (events, _) = epoll::wait(&self.epoll, &mut space, timeout.as_ref())?;
        let mut has_timer_ended = false;
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == WAKE {
                self.wakes.take(&*self.wakes.event, into);
            } else if token == TIMER {
                let mut count = [0; 8];
                let _ = rustix::io::read(&self.timer, &mut count);
                has_timer_ended = true;
            } else {
                into.push(Ready {
                    token,
                    readable: flags.contains(EventFlags::IN),
                    writable: flags.contains(EventFlags::OUT),
                    ended: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
                });
            }
        }
        Ok(has_timer_ended)
    }
}

//! epoll(7), as far as it is needed here.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Tells when there is something to read at `fd`; with `changes`, once for each change, also in writing.
    pub fn add(&self, fd: &impl AsRawFd, token: usize, changes: bool) -> io::Result<()> {
        let flags = if changes { libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET } else { libc::EPOLLIN };
        let mut event = libc::epoll_event { events: flags as u32, u64: token as u64 };
        // SAFETY: both descriptors are open, and the event lives for the call.
        let done = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until something happens, and returns the tokens of those to whom it has.
    pub fn wait(&self, milliseconds: i32) -> io::Result<Vec<usize>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count = unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, milliseconds)
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(events[..count as usize].iter().map(|event| event.u64 as usize).collect())
    }
}

//! The standard streams of a program: reading what is there without waiting, and whether somebody sits at the other
//! end.

use std::fs::File;
use std::io::{self, IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Reads what there is of the standard input. 0 is its end.
///
/// The stream itself is not made non-blocking: others may have it, such as the shell that gets the terminal back. So it
/// is asked whether there is something; nobody else must read from it in between.
///
/// # Errors
/// `WouldBlock` if there is nothing now, and the system's.
pub fn read_input(space: &mut [u8]) -> io::Result<usize> {
    let input = stdin();
    let mut asked = [PollFd::new(&input, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut asked, Some(&now))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(rustix::io::read(input.as_fd(), space)?)
}

/// Keeps the numbers of standard streams that are closed from sockets, which would get what is printed. Reading from
/// such a stream finds its end, and writing to it fails, as before.
///
/// # Errors
/// The system's.
pub fn hold_streams() -> io::Result<()> {
    loop {
        // The system gives it the lowest number that is free.
        let nothing = File::open("/dev/null")?;
        if nothing.as_raw_fd() > 2 {
            return Ok(());
        }
        let _ = nothing.into_raw_fd(); // stays open
    }
}

/// Whether a standard stream (0 to 2) is a terminal.
#[must_use]
pub fn is_terminal(number: u8) -> bool {
    match number {
        0 => stdin().is_terminal(),
        1 => stdout().is_terminal(),
        2 => stderr().is_terminal(),
        _ => false,
    }
}

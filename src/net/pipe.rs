//! A pipe that wakes whoever waits for its reading end. Knows nothing of what it wakes them for.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, ioctl_fionbio};

/// Both ends of a new pipe, neither of which ever waits.
///
/// # Errors
/// The system's, if there is no descriptor left.
pub fn new() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    ioctl_fionbio(&reader, true)?;
    ioctl_fionbio(&writer, true)?;
    Ok((reader, writer))
}

/// Makes the reading end readable. May be called in a handler of a signal.
pub fn note(writer: BorrowedFd<'_>) {
    // If the pipe is full, it is readable.
    let _ = rustix::io::write(writer, &[0]);
}

/// Makes the reading end not readable again. Returns whether it was.
#[must_use]
pub fn drain(reader: BorrowedFd<'_>) -> bool {
    let (mut space, mut was_readable) = ([0; 64], false);
    loop {
        match rustix::io::read(reader, &mut space) {
            Ok(count) if count > 0 => was_readable = true,
            Err(Errno::INTR) => {}
            _ => return was_readable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn notes_are_taken_together_and_too_many_of_them_do_no_harm() {
        let (reader, writer) = new().unwrap();
        assert!(!drain(reader.as_fd()));
        note(writer.as_fd());
        assert!(drain(reader.as_fd()) && !drain(reader.as_fd()));
        for _ in 0..100_000 {
            note(writer.as_fd());
        }
        assert!(drain(reader.as_fd()) && !drain(reader.as_fd()));
    }
}

//! Finds the blank line that ends a head, and enforces the limit on its length. Knows nothing of what the lines say.

/// The line endings that are accepted (RFC 9112 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// CR LF only.
    Strict,
    /// LF with or without a CR before it.
    Lenient,
}

/// The head is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Looks for the end of a head that arrives in pieces. Bytes are not searched twice, so a head that trickles in costs
/// no more than one that arrives at once.
#[derive(Debug)]
pub(super) struct HeadFinder {
    line_ends: LineEnds,
    /// The maximum length of a head, in bytes.
    limit: usize,
    /// How much of the input was searched.
    searched: usize,
}

impl HeadFinder {
    pub(super) fn new(line_ends: LineEnds, limit: usize) -> Self {
        Self { line_ends, limit, searched: 0 }
    }

    /// The length of the head at the start of `input`, including its blank line; `None` if that has not come yet.
    /// `input` is the previous call's with the bytes received since. After a head was found, the next call looks for
    /// another one.
    ///
    /// # Errors
    /// The head is over the limit.
    pub(super) fn find(&mut self, input: &[u8]) -> Result<Option<usize>, TooLong> {
        let from = self.searched.saturating_sub(3).min(input.len());
        let end = match self.line_ends {
            LineEnds::Strict => input[from..].windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4),
            LineEnds::Lenient => blank_line(&input[from..]),
        };
        let end = end.map(|at| from + at);
        if end.unwrap_or(input.len()) > self.limit {
            return Err(TooLong);
        }
        self.searched = if end.is_some() { 0 } else { input.len() };
        Ok(end)
    }
}

/// Where the first blank line ends, whichever line endings are used.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    let mut line_ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    line_ends.find_map(|at| match bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_where_its_blank_line_does_however_it_arrives() {
        for (input, strict, lenient) in [
            ("a\r\nb\r\n\r\nrest", Some(8), Some(8)),
            ("a\nb\n\nrest", None, Some(5)),
            ("a\r\nb\n\r\nrest", None, Some(7)),
            ("a\r\nb\r\n\nrest", None, Some(7)),
            ("a\r\n b\r\n \r\n\r\n", Some(12), Some(12)), // a line of spaces is not blank (section 5.2)
            ("a\r\n\r", None, None),
        ] {
            for (line_ends, expected) in [(LineEnds::Strict, strict), (LineEnds::Lenient, lenient)] {
                assert_eq!(HeadFinder::new(line_ends, 99).find(input.as_bytes()), Ok(expected), "{input:?}");
                let mut finder = HeadFinder::new(line_ends, 99);
                let found = (0..=input.len()).find_map(|end| finder.find(&input.as_bytes()[..end]).unwrap());
                assert_eq!(found, expected, "{input:?}, byte by byte");
            }
        }
    }

    #[test]
    fn the_limit_holds_for_a_head_with_and_without_its_end() {
        for line_ends in [LineEnds::Strict, LineEnds::Lenient] {
            assert_eq!(HeadFinder::new(line_ends, 6).find(b"ab\r\n\r\nrest"), Ok(Some(6)));
            assert_eq!(HeadFinder::new(line_ends, 5).find(b"ab\r\n\r\n"), Err(TooLong));
            assert_eq!(HeadFinder::new(line_ends, 6).find(b"abcdef"), Ok(None));
            assert_eq!(HeadFinder::new(line_ends, 6).find(b"abcdefg"), Err(TooLong));
        }
    }
}

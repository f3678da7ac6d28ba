//! Finds the blank line that ends a head, and enforces the limit on its length. Until then it gives out the lines as
//! they come, so that a fault in one is reported at once and not by a time-out. Knows nothing of what the lines say.

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

/// Gives out the lines of a head that arrives in pieces, each of them once.
#[derive(Debug, Default)]
pub(super) struct FreshLines {
    /// The number of lines that were given out, and their length.
    count: usize,
    length: usize,
    /// How much of the input was searched.
    searched: usize,
}

impl FreshLines {
    /// The lines that are complete now and were not before, and the number of those before them. Has the beginning of
    /// the next line, too, if there is a control character in it, which no line may have. `input` is the previous
    /// call's with the bytes received since.
    pub(super) fn take<'a>(&mut self, input: &'a [u8]) -> (usize, &'a [u8]) {
        let (count, start, searched) = (self.count, self.length, self.searched);
        let fresh = input[searched..].iter().enumerate();
        for (at, _) in fresh.filter(|(_, byte)| **byte == b'\n') {
            (self.count, self.length) = (self.count + 1, searched + at + 1);
        }
        self.searched = input.len();
        let begun = &input[self.length.max(searched)..];
        let is_control = |byte: &u8| byte.is_ascii_control() && !b"\t\r".contains(byte);
        let end = if begun.iter().any(is_control) { input.len() } else { self.length };
        (count, &input[start..end])
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
    fn lines_are_given_out_once_and_a_control_character_before_its_line_ends() {
        let mut lines = FreshLines::default();
        for (input, count, expected) in [
            ("a", 0, ""),
            ("a\r", 0, ""),
            ("a\r\nb\r\nc", 0, "a\r\nb\r\n"),
            ("a\r\nb\r\nc\t", 2, ""),
            ("a\r\nb\r\nc\t\n", 2, "c\t\n"),
            ("a\r\nb\r\nc\t\nd\0e", 3, "d\0e"),
        ] {
            assert_eq!(lines.take(input.as_bytes()), (count, expected.as_bytes()), "{input:?}");
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

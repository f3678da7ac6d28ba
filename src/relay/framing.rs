//! Cuts what a peer sends into messages, however its bytes were cut by the network. The caller puts them into
//! [`Framer::input`] and takes messages until there is none.

use super::error::FramingError;
use super::json::Scanner;
use super::rule::{Found, Rule, Sort};
use crate::protocol::buffer::Buffer;
use crate::protocol::frame::Opcode;
use crate::protocol::utf8;

/// A message: [`Opcode::Text`] or [`Opcode::Binary`], and its bytes. A text is UTF-8.
pub type Message<'a> = (Opcode, &'a [u8]);

/// One direction of a connection to a peer. No byte is looked at twice, but for those that could be the beginning of a
/// separator.
///
/// ```
/// use luws::relay::Rule;
/// use luws::relay::framing::Framer;
///
/// let mut framer = Framer::new(Rule::Fixed(3), 100);
/// framer.input().extend(b"abcd")?;
/// assert_eq!(framer.next_message().unwrap().map(|(_, data)| data), Some(&b"abc"[..]));
/// assert_eq!(framer.next_message().unwrap(), None); // more is needed
/// # Ok::<_, luws::memory::OutOfMemory>(())
/// ```
#[derive(Debug)]
pub struct Framer {
    rule: Rule,
    /// The state of [`Rule::Json`].
    scanner: Scanner,
    /// How many of the bytes held are known to have no separator in them.
    searched: usize,
    held: Buffer,
    /// The length of the last message, which is still at the front of `held`.
    lent: usize,
    limit: usize,
}

impl Framer {
    /// `limit` is the most bytes that a message may have; where a rule takes what there is, it is cut there.
    #[must_use]
    pub fn new(rule: Rule, limit: usize) -> Self {
        Self { rule, scanner: Scanner::default(), searched: 0, held: Buffer::default(), lent: 0, limit }
    }

    /// Where the peer's bytes go.
    pub fn input(&mut self) -> &mut Buffer {
        self.release();
        &mut self.held
    }

    /// The bytes that no message has had yet.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        &self.held.as_slice()[self.lent..]
    }

    /// The next message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// See [`FramingError`]; the stream is of no further use.
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, FramingError> {
        self.release();
        if self.held.is_empty() {
            return Ok(None);
        }
        let held = self.held.len();
        let (length, sort) =
            match self.rule.find(self.held.as_slice(), &mut self.searched, &mut self.scanner)? {
                Found::Message(length, sort) => (length, Some(sort)),
                Found::AsMuchAsThereIs(sort) => (held.min(self.limit), Some(sort)),
                Found::Nothing => (held, None),
            };
        if length > self.limit {
            return Err(FramingError::TooLong { limit: self.limit });
        }
        Ok(sort.filter(|_| length <= held).map(|sort| self.lend(length, sort)))
    }

    /// What is left at the end of the stream, or of a datagram, once [`next_message`](Self::next_message) has nothing
    /// more: one last message. The next byte begins another one.
    pub fn last(&mut self) -> Option<Message<'_>> {
        self.release();
        let sort = self.rule.sort_of_rest(&self.scanner);
        let length = self.held.len();
        (length > 0).then(|| self.lend(length, sort))
    }

    /// The message that an empty datagram is; `None` where messages have a form that no byte cannot have.
    #[must_use]
    pub fn empty(&self) -> Option<Message<'static>> {
        let Rule::AtOnce(sort) = self.rule else { return None };
        Some((sort.opcode(b""), b""))
    }

    /// The first bytes of what is held, as a message: for an owner who has found one there. A text that is not UTF-8 is
    /// binary.
    pub fn take(&mut self, length: usize, is_text: bool) -> Message<'_> {
        self.lend(length, if is_text { Sort::ByContent } else { Sort::Binary })
    }

    /// Lends the first bytes of what is held as a message.
    fn lend(&mut self, length: usize, sort: Sort) -> Message<'_> {
        self.release();
        self.lent = length.min(self.held.len());
        let message = &self.held.as_slice()[..self.lent];
        (sort.opcode(message), message)
    }

    /// Drops the message that was lent.
    fn release(&mut self) {
        if self.lent > 0 {
            self.held.consume(self.lent);
            (self.lent, self.searched) = (0, 0);
            self.scanner = Scanner::default();
        }
    }
}

impl Sort {
    fn opcode(self, message: &[u8]) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::ByContent if utf8::is_text(message) => Opcode::Text,
            Self::ByContent | Self::Binary => Opcode::Binary,
        }
    }
}

//! Finds the end of a JSON value (RFC 8259) whose bytes come one after the other. It is strict about the grammar; that
//! strings are UTF-8 is for the caller to check.

use crate::memory::{self, OutOfMemory};

/// The result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// More bytes are needed.
    Unfinished,
    /// A value ends here, with the white space before it.
    Value(usize),
    NotJson,
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A value, after white space.
    #[default]
    Value,
    /// The first element of an array, or its end.
    Element,
    /// The first member of an object, or its end.
    Member,
    /// The name of a member.
    Name,
    /// The colon after a name.
    Colon,
    /// A comma, or the end of an array or an object.
    After,
    String,
    Escape,
    /// So many digits of `\uXXXX`.
    Hex(u8),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    Number(Number),
}

/// Where in a number (RFC 8259 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    /// A zero, after which there are no more digits of the integer.
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// What a byte has done to a value.
enum Step {
    Goes,
    /// It was its last one.
    Ends,
    /// It does not belong to it any more.
    EndedBefore,
    Wrong,
}

#[derive(Debug, Default)]
pub(super) struct Scanner {
    scanned: usize,
    state: State,
    inside: Vec<Container>,
    /// The string that is being read is the name of a member.
    is_name: bool,
}

impl Scanner {
    /// Goes on with a value, whose bytes are all of `held`. After a result other than `Unfinished` another scanner is
    /// needed.
    pub(super) fn scan(&mut self, held: &[u8]) -> Result<Scanned, OutOfMemory> {
        while let Some(&octet) = held.get(self.scanned) {
            match self.step(octet)? {
                Step::Goes => self.scanned += 1,
                Step::Ends => return Ok(Scanned::Value(self.scanned + 1)),
                Step::EndedBefore => return Ok(Scanned::Value(self.scanned)),
                Step::Wrong => return Ok(Scanned::NotJson),
            }
        }
        Ok(Scanned::Unfinished)
    }

    /// Whether what was scanned is a number, which nothing but what follows it could end.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.state, State::Number(number) if number.is_complete()) && self.inside.is_empty()
    }

    fn step(&mut self, octet: u8) -> Result<Step, OutOfMemory> {
        let is_space = matches!(octet, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            State::String => self.string(octet),
            State::Escape => match octet {
                b'u' => self.to(State::Hex(4)),
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.to(State::String),
                _ => Ok(Step::Wrong),
            },
            State::Hex(_) if !octet.is_ascii_hexdigit() => Ok(Step::Wrong),
            State::Hex(1) => self.to(State::String),
            State::Hex(left) => self.to(State::Hex(left - 1)),
            State::Word(rest) => match rest.split_first() {
                Some((&first, rest)) if first == octet && rest.is_empty() => Ok(self.value_ends()),
                Some((&first, rest)) if first == octet => self.to(State::Word(rest)),
                _ => Ok(Step::Wrong),
            },
            State::Number(number) => match number.after(octet) {
                Some(number) => self.to(State::Number(number)),
                None if !number.is_complete() => Ok(Step::Wrong),
                None if self.inside.is_empty() => Ok(Step::EndedBefore),
                None => {
                    self.state = State::After;
                    self.step(octet)
                }
            },
            _ if is_space => Ok(Step::Goes),
            State::Element if octet == b']' => Ok(self.container_ends(Container::Array)),
            State::Value | State::Element => self.begin(octet),
            State::Member if octet == b'}' => Ok(self.container_ends(Container::Object)),
            State::Member | State::Name if octet == b'"' => {
                self.is_name = true;
                self.to(State::String)
            }
            State::Colon if octet == b':' => self.to(State::Value),
            State::After => match (octet, self.inside.last()) {
                (b',', Some(Container::Array)) => self.to(State::Value),
                (b',', Some(Container::Object)) => self.to(State::Name),
                (b']', _) => Ok(self.container_ends(Container::Array)),
                (b'}', _) => Ok(self.container_ends(Container::Object)),
                _ => Ok(Step::Wrong),
            },
            State::Member | State::Name | State::Colon => Ok(Step::Wrong),
        }
    }

    fn to(&mut self, state: State) -> Result<Step, OutOfMemory> {
        self.state = state;
        Ok(Step::Goes)
    }

    /// The first byte of a value.
    fn begin(&mut self, octet: u8) -> Result<Step, OutOfMemory> {
        match octet {
            b'[' => {
                memory::push(&mut self.inside, Container::Array)?;
                self.to(State::Element)
            }
            b'{' => {
                memory::push(&mut self.inside, Container::Object)?;
                self.to(State::Member)
            }
            b'"' => {
                self.is_name = false;
                self.to(State::String)
            }
            b't' => self.to(State::Word(b"rue")),
            b'f' => self.to(State::Word(b"alse")),
            b'n' => self.to(State::Word(b"ull")),
            b'-' => self.to(State::Number(Number::Minus)),
            b'0' => self.to(State::Number(Number::Zero)),
            b'1'..=b'9' => self.to(State::Number(Number::Integer)),
            _ => Ok(Step::Wrong),
        }
    }

    fn string(&mut self, octet: u8) -> Result<Step, OutOfMemory> {
        match octet {
            b'"' if self.is_name => self.to(State::Colon),
            b'"' => Ok(self.value_ends()),
            b'\\' => self.to(State::Escape),
            0..=0x1f => Ok(Step::Wrong),
            _ => Ok(Step::Goes),
        }
    }

    fn container_ends(&mut self, container: Container) -> Step {
        if self.inside.pop() == Some(container) { self.value_ends() } else { Step::Wrong }
    }

    fn value_ends(&mut self) -> Step {
        self.state = State::After;
        if self.inside.is_empty() { Step::Ends } else { Step::Goes }
    }
}

impl Number {
    fn is_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }

    /// Where the number is after one more byte; `None` if that cannot belong to it.
    fn after(self, octet: u8) -> Option<Self> {
        let is_digit = octet.is_ascii_digit();
        match self {
            Self::Minus if octet == b'0' => Some(Self::Zero),
            Self::Minus | Self::Integer if is_digit => Some(Self::Integer),
            Self::Zero | Self::Integer if octet == b'.' => Some(Self::Point),
            Self::Point | Self::Fraction if is_digit => Some(Self::Fraction),
            Self::Zero | Self::Integer | Self::Fraction if matches!(octet, b'e' | b'E') => Some(Self::E),
            Self::E if matches!(octet, b'+' | b'-') => Some(Self::Sign),
            Self::E | Self::Sign | Self::Exponent if is_digit => Some(Self::Exponent),
            _ => None,
        }
    }
}

//! JSON (RFC 8259) as a list of tokens, which is read from text or built piece by piece, and written as text. Knows
//! nothing of who makes values out of it.
//!
//! A document is flat, so neither making nor dropping it takes more of the stack or more allocations than its depth.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::mem;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::memory::{self, OutOfMemory};

/// Arrays and objects may be nested this deeply.
pub const DEEPEST: usize = 512;

/// What is wrong with a document that is nested more deeply.
pub const TOO_DEEP: &str = "nested deeper than 512 levels";

/// Texts of this size, in bytes, are large enough that there may be no memory for what the parser keeps of them.
const LARGE: usize = 64 * 1024;

/// A value, or the beginning of one. After an array follow its elements; after an object, its members, each as a text
/// and a value.
///
/// ```
/// use luws::json::{Document, Token};
///
/// let document = Document::parse(b"[true]").unwrap();
/// assert_eq!((document.token(0), document.token(1)), (Token::Array(1, 2), Token::Boolean(true)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token {
    Null,
    Boolean(bool),
    /// A number that was written without a fraction and an exponent, if it fits.
    Integer(i64),
    Number(f64),
    /// Where the text is (see [`Document::text`]).
    Text(usize, usize),
    /// How many elements there are, and the place of the token after the last.
    Array(usize, usize),
    /// How many members there are, and the place of the token after the last.
    Object(usize, usize),
    /// A value that JSON does not have, by a number: see [`Document::write_with`]. It is never read.
    Foreign(usize),
}

/// One value.
///
/// ```
/// use luws::json::Document;
///
/// let document = Document::parse(br#"{ "a": [1, 2.5, null] }"#).unwrap();
/// assert_eq!(document.write().unwrap(), br#"{"a":[1,2.5,null]}"#);
/// ```
#[derive(Debug, Default)]
pub struct Document {
    tokens: Vec<Token>,
    texts: String,
}

impl Document {
    /// Reads a text. Of escaped surrogates, those without their other half become U+FFFD.
    ///
    /// # Errors
    /// What is wrong with the text, and where; or there is no memory.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = with_whole_surrogates(text).map_err(|error| error.to_string())?;
        if text.len() >= LARGE {
            memory::probe(text.len()).map_err(|error| error.to_string())?;
        }
        let mut document = Self::default();
        let mut parser = serde_json::Deserializer::from_slice(&text);
        parser.disable_recursion_limit(); // `Value` has its own
        Value { document: &mut document, depth: 0 }
            .deserialize(&mut parser)
            .and_then(|()| parser.end())
            .map_err(|error| error.to_string())?;
        Ok(document)
    }

    /// The token at a place; null where there is none.
    #[must_use]
    pub fn token(&self, place: usize) -> Token {
        self.tokens.get(place).copied().unwrap_or(Token::Null)
    }

    /// The text of a [`Token::Text`].
    #[must_use]
    pub fn text(&self, start: usize, end: usize) -> &str {
        self.texts.get(start..end).unwrap_or_default()
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Adds a token, which may be the beginning of an array or an object: see [`end_array`](Self::end_array)
    /// and [`end_object`](Self::end_object).
    ///
    /// # Errors
    /// There is no memory.
    pub fn push(&mut self, token: Token) -> Result<usize, OutOfMemory> {
        memory::push(&mut self.tokens, token)?;
        Ok(self.tokens.len() - 1)
    }

    /// Adds a text.
    ///
    /// # Errors
    /// There is no memory.
    pub fn push_text(&mut self, text: &str) -> Result<Token, OutOfMemory> {
        let start = self.texts.len();
        self.texts.try_reserve(text.len())?;
        self.texts.push_str(text);
        let token = Token::Text(start, self.texts.len());
        self.push(token)?;
        Ok(token)
    }

    /// Ends an array of that number of elements, which began at a place.
    pub fn end_array(&mut self, place: usize, count: usize) {
        let end = self.tokens.len();
        if let Some(token) = self.tokens.get_mut(place) {
            *token = Token::Array(count, end);
        }
    }

    /// Ends an object of that number of members, which began at a place.
    pub fn end_object(&mut self, place: usize, count: usize) {
        let end = self.tokens.len();
        if let Some(token) = self.tokens.get_mut(place) {
            *token = Token::Object(count, end);
        }
    }

    /// Writes the document as text, without spaces, the members of each object in the order of their names' bytes. NaN
    /// and the infinities are null.
    ///
    /// # Errors
    /// There is no memory.
    pub fn write(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut text = Vec::new();
        self.write_with(&mut text, |_, text| memory::extend(text, b"null"))?;
        Ok(text)
    }

    /// Writes the document after what the text has already. `foreign` writes the values that JSON does not have, in the
    /// order in which they appear.
    ///
    /// # Errors
    /// There is no memory.
    pub fn write_with(
        &self,
        text: &mut Vec<u8>,
        mut foreign: impl FnMut(usize, &mut Vec<u8>) -> Result<(), OutOfMemory>,
    ) -> Result<(), OutOfMemory> {
        let mut out = Output(mem::take(text));
        let written = self.write_value(0, &mut out, &mut foreign);
        *text = out.0;
        written
    }

    /// The place after the value at a place.
    #[must_use]
    pub fn after(&self, place: usize) -> usize {
        match self.token(place) {
            Token::Array(_, end) | Token::Object(_, end) => end,
            _ => place + 1,
        }
    }

    fn write_value(
        &self,
        place: usize,
        out: &mut Output,
        foreign: &mut impl FnMut(usize, &mut Vec<u8>) -> Result<(), OutOfMemory>,
    ) -> Result<(), OutOfMemory> {
        match self.token(place) {
            Token::Null => out.put(b"null"),
            Token::Boolean(value) => out.put(if value { b"true" } else { b"false" }),
            Token::Integer(value) => out.write(&value),
            Token::Number(value) => out.number(value),
            Token::Text(start, end) => out.write(self.text(start, end)),
            Token::Foreign(number) => foreign(number, &mut out.0),
            Token::Array(_, end) => {
                let mut element = place + 1;
                out.put(b"[")?;
                while element < end {
                    if element > place + 1 {
                        out.put(b",")?;
                    }
                    self.write_value(element, out, foreign)?;
                    element = self.after(element);
                }
                out.put(b"]")
            }
            Token::Object(_, end) => {
                out.put(b"{")?;
                for (index, (name, value)) in self.members(place, end)?.into_iter().enumerate() {
                    if index > 0 {
                        out.put(b",")?;
                    }
                    out.write(name)?;
                    out.put(b":")?;
                    self.write_value(value, out, foreign)?;
                }
                out.put(b"}")
            }
        }
    }

    /// The members of an object, sorted: their names, and the places of their values.
    fn members(&self, place: usize, end: usize) -> Result<Vec<(&str, usize)>, OutOfMemory> {
        let (mut members, mut name) = (Vec::new(), place + 1);
        while name < end {
            if let Token::Text(start, end) = self.token(name) {
                memory::push(&mut members, (self.text(start, end), name + 1))?;
            }
            name = self.after(name + 1);
        }
        members.sort_unstable_by_key(|(name, place)| (*name, *place));
        Ok(members)
    }
}

/// Text whose growth can fail.
struct Output(Vec<u8>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        memory::extend(&mut self.0, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        memory::extend(&mut self.0, bytes)
    }

    /// Writes a string or a number; neither fails but for want of memory.
    fn write<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), OutOfMemory> {
        serde_json::to_writer(&mut *self, value).map_err(|_| OutOfMemory)
    }

    /// Writes whole numbers without a fraction, others in the shortest form that reads back the same.
    fn number(&mut self, value: f64) -> Result<(), OutOfMemory> {
        const WHOLE: f64 = 9_007_199_254_740_992.0; // 2^53: from here on not all whole numbers exist
        if value.fract() == 0.0 && value.abs() <= WHOLE {
            return self.write(&(value as i64));
        }
        self.write(&value)
    }
}

/// Reads one value into a document.
struct Value<'a> {
    document: &'a mut Document,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn push<E: de::Error>(self, token: Token) -> Result<(), E> {
        self.document.push(token).map(drop).map_err(E::custom)
    }

    fn begin<E: de::Error>(&mut self, token: Token) -> Result<usize, E> {
        if self.depth >= DEEPEST {
            return Err(E::custom(TOO_DEEP));
        }
        self.document.push(token).map_err(E::custom)
    }

    /// What reads an element, or the value of a member.
    fn within(&mut self) -> Value<'_> {
        Value { document: &mut *self.document, depth: self.depth + 1 }
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.push(Token::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.push(Token::Boolean(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.push(Token::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        let token = i64::try_from(value).map_or(Token::Number(value as f64), Token::Integer);
        self.push(token)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.push(Token::Number(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.document.push_text(text).map(drop).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let (place, mut count) = (self.begin(Token::Array(0, 0))?, 0);
        while elements.next_element_seed(self.within())?.is_some() {
            count += 1;
        }
        self.document.end_array(place, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let (place, mut count) = (self.begin(Token::Object(0, 0))?, 0);
        // A name is always a string, so it is read as any other.
        while members.next_key_seed(self.within())?.is_some() {
            members.next_value_seed(self.within())?;
            count += 1;
        }
        self.document.end_object(place, count);
        Ok(())
    }
}

const ESCAPE: usize = "\\uXXXX".len();

/// The number of an escape `\uXXXX` that begins here, if one does.
fn escaped(text: &[u8]) -> Option<u32> {
    let digits = text.get(..ESCAPE)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// The text with escapes of U+FFFD in place of surrogates without their other half, which the parser would refuse.
fn with_whole_surrogates(text: &[u8]) -> Result<Cow<'_, [u8]>, OutOfMemory> {
    let mut text = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        at += match escaped(&text[at..]) {
            Some(0xD800..0xDC00) if matches!(escaped(&text[at + ESCAPE..]), Some(0xDC00..0xE000)) => {
                2 * ESCAPE
            }
            Some(0xD800..0xE000) => {
                if let Cow::Borrowed(bytes) = text {
                    text = Cow::Owned(memory::copy(bytes)?);
                }
                text.to_mut()[at..at + ESCAPE].copy_from_slice(b"\\ufffd");
                ESCAPE
            }
            _ => 2,
        };
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text is when it is read and written again.
    fn again(text: &str) -> Result<String, String> {
        let written = Document::parse(text.as_bytes())?.write().map_err(|error| error.to_string())?;
        Ok(String::from_utf8(written).expect("JSON is UTF-8"))
    }

    #[test]
    fn what_is_read_is_written_the_same_with_sorted_members() {
        for (text, expected) in [
            (" null ", "null"),
            ("[true,false]", "[true,false]"),
            (r#"{"b":1,"a":{"d":[],"c":{}}}"#, r#"{"a":{"c":{},"d":[]},"b":1}"#),
            ("[0,-1,9007199254740993,-9223372036854775808]", "[0,-1,9007199254740993,-9223372036854775808]"),
            ("[1.0,1.5,-0.0,1e2,1e300,5e-324]", "[1,1.5,0,100,1e+300,5e-324]"),
            ("[0.1,123456789.125,18446744073709551615]", "[0.1,123456789.125,1.8446744073709552e+19]"),
            (r#""\u00e9\n\ud83d\ude00\/""#, "\"\u{e9}\\n\u{1f600}/\""),
            (
                r#"["\ud800","\udc00\ud800","\\ud800","\ud800\u0041"]"#,
                "[\"\u{fffd}\",\"\u{fffd}\u{fffd}\",\"\\\\ud800\",\"\u{fffd}A\"]",
            ),
        ] {
            assert_eq!(again(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("[1,\n 2,]", "trailing comma at line 2 column 4"),
            ("[1] x", "trailing characters at line 1 column 5"),
            ("{\"a\" 1}", "expected `:` at line 1 column 6"),
            ("1e999", "number out of range at line 1 column 5"),
            ("\"\\x\"", "invalid escape at line 1 column 3"),
        ] {
            assert_eq!(again(text).unwrap_err(), expected, "{text}");
        }
        let invalid = Document::parse(b"\"\xff\"").unwrap_err();
        assert_eq!(invalid, "invalid unicode code point at line 1 column 2");
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(again(&nested(DEEPEST)), Ok(nested(DEEPEST)));
        let why = again(&nested(DEEPEST + 1)).unwrap_err();
        assert_eq!(why, "nested deeper than 512 levels at line 1 column 514");
    }
}

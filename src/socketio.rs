//! Packets of Socket.IO 5: the text of one is read into its parts and made of them, binary values are placeholders in
//! it. Knows nothing of connections, nor of who makes values out of a packet.
//!
//! A packet is `<type>[<n>-][/<namespace>,][<id>][<JSON>]`, which n messages of bytes follow.

use crate::json::{Document, Token};
use crate::memory::{self, OutOfMemory};

/// A packet has at most this many binary values.
pub const MOST_ATTACHMENTS: usize = 1000;

/// An event, or an answer, has at most this many arguments.
pub const MOST_ARGUMENTS: usize = 1000;

/// Identifiers that a JavaScript program can tell from their neighbours are below this.
const MOST_ID: u64 = 1 << 53;

/// Names that no event of a program may have.
pub const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// What the number of a kind is raised by if there are binary values.
const BINARY: u8 = 3;

const PLACEHOLDER: &str = "_placeholder";

/// What a packet is. Whether it has binary values is told apart from that.
///
/// See [`Packet`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Connect, Self::Disconnect, Self::Event, Self::Ack, Self::ConnectError];

    /// The kind of this number, which is that of packets without binary values.
    #[must_use]
    pub fn new(number: usize) -> Option<Self> {
        Self::ALL.get(number).copied()
    }

    /// The number of the kind.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether its value is a list of arguments, in which binary values may be.
    #[must_use]
    pub fn has_arguments(self) -> bool {
        matches!(self, Self::Event | Self::Ack)
    }
}

/// A packet without its binary values.
///
/// ```
/// use luws::socketio::{Kind, Packet};
///
/// let packet = Packet::parse(br#"2/chat,7["say","hi"]"#)?;
/// assert!(matches!(packet.kind, Kind::Event));
/// assert_eq!((packet.namespace, packet.id), (&b"/chat"[..], Some(7)));
/// # Ok::<_, String>(())
/// ```
#[derive(Debug)]
pub struct Packet<'a> {
    pub kind: Kind,
    /// How many messages of bytes follow.
    pub attachments: usize,
    /// It begins with a slash.
    pub namespace: &'a [u8],
    pub id: Option<u64>,
    /// For events and answers, an array.
    pub data: Option<Document>,
}

impl<'a> Packet<'a> {
    /// Reads the text of a packet.
    ///
    /// # Errors
    /// Which rule of the protocol it breaks; or there is no memory.
    pub fn parse(text: &'a [u8]) -> Result<Self, String> {
        let mut rest = Rest(text);
        let (kind, is_binary) = rest.kind()?;
        let attachments = if is_binary { rest.attachments()? } else { 0 };
        let namespace = rest.namespace();
        let id = rest.id()?;
        let data = if rest.0.is_empty() { None } else { Some(Document::parse(rest.0)?) };
        check(kind, data.as_ref())?;
        if let Some(data) = &data
            && is_binary
        {
            check_placeholders(data, attachments)?;
        }
        Ok(Self { kind, attachments, namespace, id, data })
    }
}

/// What of the text is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn kind(&mut self) -> Result<(Kind, bool), &'static str> {
        let (kind, is_binary) = match self.0.first() {
            Some(b'5') => (Kind::Event, true),
            Some(b'6') => (Kind::Ack, true),
            Some(digit @ b'0'..=b'4') => {
                (Kind::new(usize::from(digit - b'0')).ok_or("unknown packet type")?, false)
            }
            _ => return Err("unknown packet type"),
        };
        self.0 = &self.0[1..];
        Ok((kind, is_binary))
    }

    /// Takes the digits that come next. Nothing if there are none.
    fn number(&mut self) -> Option<Result<u64, ()>> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty())?;
        Some(digits.parse().map_err(|_| ()))
    }

    fn attachments(&mut self) -> Result<usize, &'static str> {
        const WRONG: &str = "illegal number of attachments";
        let number = self.number().ok_or(WRONG)?.map_err(|()| "too many attachments")?;
        self.0 = self.0.strip_prefix(b"-").ok_or(WRONG)?;
        match usize::try_from(number) {
            Ok(0) => Err(WRONG),
            Ok(number @ ..=MOST_ATTACHMENTS) => Ok(number),
            _ => Err("too many attachments"),
        }
    }

    fn namespace(&mut self) -> &'a [u8] {
        if self.0.first() != Some(&b'/') {
            return b"/";
        }
        let length = self.0.iter().position(|byte| *byte == b',').unwrap_or(self.0.len());
        let (namespace, rest) = self.0.split_at(length);
        self.0 = rest.strip_prefix(b",").unwrap_or(rest);
        namespace
    }

    fn id(&mut self) -> Result<Option<u64>, &'static str> {
        match self.number() {
            None => Ok(None),
            Some(Ok(id @ ..=MOST_ID)) => Ok(Some(id)),
            Some(_) => Err("illegal id"),
        }
    }
}

/// Checks whether a packet of the kind may have this value.
fn check(kind: Kind, data: Option<&Document>) -> Result<(), &'static str> {
    const WRONG: Result<(), &str> = Err("invalid payload");
    let Some(data) = data else {
        return if matches!(kind, Kind::Connect | Kind::Disconnect) { Ok(()) } else { WRONG };
    };
    match (kind, data.token(0)) {
        (Kind::Connect | Kind::ConnectError, Token::Object(..)) | (Kind::ConnectError, Token::Text(..)) => {
            Ok(())
        }
        (Kind::Event | Kind::Ack, Token::Array(count, _)) if count > MOST_ARGUMENTS => {
            Err("more than 1000 arguments")
        }
        (Kind::Ack, Token::Array(..)) => Ok(()),
        (Kind::Event, Token::Array(1.., _)) => match data.token(1) {
            Token::Integer(_) | Token::Number(_) => Ok(()),
            Token::Text(start, end) if !RESERVED.contains(&data.text(start, end)) => Ok(()),
            _ => WRONG,
        },
        _ => WRONG,
    }
}

/// The number of the binary value that an object at this place stands for, or that it is none. Nothing if the object
/// does not stand for one.
#[must_use]
pub fn placeholder(document: &Document, place: usize) -> Option<Result<usize, ()>> {
    let Token::Object(_, end) = document.token(place) else { return None };
    let (mut is_placeholder, mut number) = (false, Err(()));
    let mut name = place + 1;
    while name < end {
        if let Token::Text(start, end) = document.token(name) {
            let value = document.token(name + 1);
            match document.text(start, end) {
                PLACEHOLDER => is_placeholder = value == Token::Boolean(true),
                "num" => number = number_of(value),
                _ => {}
            }
        }
        name = document.after(name + 1);
    }
    is_placeholder.then_some(number)
}

fn number_of(value: Token) -> Result<usize, ()> {
    match value {
        Token::Integer(number) => usize::try_from(number).map_err(|_| ()),
        Token::Number(number) if number == 0.0 || number >= 1.0 && number.fract() == 0.0 => {
            Ok(number as usize)
        }
        _ => Err(()),
    }
}

/// The places of all objects that stand for a binary value, with its number.
fn placeholders(document: &Document) -> impl Iterator<Item = Result<usize, ()>> {
    (0..document.len()).filter_map(|place| placeholder(document, place))
}

fn check_placeholders(document: &Document, attachments: usize) -> Result<(), &'static str> {
    let is_known = |number: Result<usize, ()>| number.is_ok_and(|number| number < attachments);
    if placeholders(document).all(is_known) { Ok(()) } else { Err("illegal attachments") }
}

/// Writes the text of a packet. Of the document's foreign values, each becomes a placeholder; their numbers are added
/// to `order`, in the order in which they are to follow the text.
///
/// # Errors
/// The packet cannot be told from one with more binary values; or there is no memory.
pub fn write(packet: &Packet<'_>, text: &mut Vec<u8>, order: &mut Vec<usize>) -> Result<(), String> {
    if let Some(data) = &packet.data
        && packet.attachments > 0
        && placeholders(data).next().is_some()
    {
        return Err(
            "an object with _placeholder = true cannot be sent together with binary values".to_owned()
        );
    }
    write_all(packet, text, order).map_err(|error| error.to_string())
}

fn write_all(packet: &Packet<'_>, text: &mut Vec<u8>, order: &mut Vec<usize>) -> Result<(), OutOfMemory> {
    if packet.attachments > 0 {
        let kind = b'0' + packet.kind.number() + BINARY;
        memory::extend(text, &[kind])?;
        memory::extend(text, format!("{}-", packet.attachments).as_bytes())?;
    } else {
        memory::extend(text, &[b'0' + packet.kind.number()])?;
    }
    if packet.namespace != b"/" {
        memory::extend(text, packet.namespace)?;
        memory::extend(text, b",")?;
    }
    if let Some(id) = packet.id {
        memory::extend(text, id.to_string().as_bytes())?;
    }
    let Some(data) = &packet.data else { return Ok(()) };
    data.write_with(text, |number, text| {
        memory::extend(text, format!("{{\"{PLACEHOLDER}\":true,\"num\":{}}}", order.len()).as_bytes())?;
        memory::push(order, number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a packet in a line, or what is wrong with it.
    fn read(text: &str) -> String {
        match Packet::parse(text.as_bytes()) {
            Ok(packet) => {
                let namespace = String::from_utf8_lossy(packet.namespace);
                let id = packet.id.map_or(String::new(), |id| id.to_string());
                let data = packet.data.map_or(Vec::new(), |data| data.write().unwrap());
                let data = String::from_utf8(data).unwrap();
                format!("{:?} {} {namespace} {id} {data}", packet.kind, packet.attachments)
            }
            Err(why) => why,
        }
    }

    #[test]
    fn each_row_of_the_grammar_is_read() {
        for (text, expected) in [
            ("0", "Connect 0 /  "),
            (r#"0{"token":"x"}"#, r#"Connect 0 /  {"token":"x"}"#),
            ("0/x", "Connect 0 /x  "),
            ("0/x,", "Connect 0 /x  "),
            ("0/adm?token=x,", "Connect 0 /adm?token=x  "),
            (r#"0/x,{"sid":"1"}"#, r#"Connect 0 /x  {"sid":"1"}"#),
            ("1", "Disconnect 0 /  "),
            ("1/adm,", "Disconnect 0 /adm  "),
            (r#"2["m",1]"#, r#"Event 0 /  ["m",1]"#),
            (r#"2/adm,7["m"]"#, r#"Event 0 /adm 7 ["m"]"#),
            ("2[5]", "Event 0 /  [5]"),
            (r#"29007199254740992["m"]"#, r#"Event 0 / 9007199254740992 ["m"]"#),
            ("3/adm,7[]", "Ack 0 /adm 7 []"),
            ("3[]", "Ack 0 /  []"),
            (r#"4{"message":"no","data":{}}"#, r#"ConnectError 0 /  {"data":{},"message":"no"}"#),
            (r#"4"no""#, r#"ConnectError 0 /  "no""#),
            (
                r#"51-["m",{"_placeholder":true,"num":0}]"#,
                r#"Event 1 /  ["m",{"_placeholder":true,"num":0}]"#,
            ),
            (r#"52-/a,3["m"]"#, r#"Event 2 /a 3 ["m"]"#),
            (r#"61-/a,3[{"_placeholder":true,"num":0}]"#, r#"Ack 1 /a 3 [{"_placeholder":true,"num":0}]"#),
            // Not a placeholder, as the packet has no binary values.
            (r#"2["m",{"_placeholder":true,"num":9}]"#, r#"Event 0 /  ["m",{"_placeholder":true,"num":9}]"#),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn each_breach_of_the_grammar_is_named() {
        const PAYLOAD: &str = "invalid payload";
        const NUMBER: &str = "illegal number of attachments";
        for (text, expected) in [
            ("", "unknown packet type"),
            ("7", "unknown packet type"),
            ("x", "unknown packet type"),
            ("5[\"m\"]", NUMBER),
            ("5-[\"m\"]", NUMBER),
            ("50-[\"m\"]", NUMBER),
            ("51[\"m\"]", NUMBER),
            ("51001-[\"m\"]", "too many attachments"),
            ("599999999999999999999999-[\"m\"]", "too many attachments"),
            ("29007199254740993[\"m\"]", "illegal id"),
            ("299999999999999999999999[\"m\"]", "illegal id"),
            ("0[]", PAYLOAD),
            ("0\"x\"", PAYLOAD),
            ("0null", PAYLOAD),
            ("1{}", PAYLOAD),
            ("2", PAYLOAD),
            ("2{}", PAYLOAD),
            ("2[]", PAYLOAD),
            ("2[null]", PAYLOAD),
            ("2[{}]", PAYLOAD),
            ("2[\"connect\"]", PAYLOAD),
            ("2[\"disconnecting\"]", PAYLOAD),
            ("3", PAYLOAD),
            ("3{}", PAYLOAD),
            ("4", PAYLOAD),
            ("4[]", PAYLOAD),
            ("2-1[\"m\"]", "trailing characters at line 1 column 3"),
            ("2[\"m\"", "EOF while parsing a list at line 1 column 4"),
            ("2[\"m\"]]", "trailing characters at line 1 column 6"),
            (r#"51-["m",{"_placeholder":true,"num":1}]"#, "illegal attachments"),
            (r#"51-["m",{"_placeholder":true,"num":-1}]"#, "illegal attachments"),
            (r#"51-["m",{"_placeholder":true,"num":0.5}]"#, "illegal attachments"),
            (r#"51-["m",{"_placeholder":true,"num":"0"}]"#, "illegal attachments"),
            (r#"51-["m",[[{"_placeholder":true}]]]"#, "illegal attachments"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        let many = format!("3[{}1]", "1,".repeat(MOST_ARGUMENTS));
        assert_eq!(read(&many), "more than 1000 arguments");
    }

    #[test]
    fn placeholders_are_numbered_as_they_appear_in_the_text() {
        let mut data = Document::default();
        let array = data.push(Token::Null).unwrap();
        data.push_text("m").unwrap();
        let object = data.push(Token::Null).unwrap();
        for (name, number) in [("b", 0), ("a", 1)] {
            data.push_text(name).unwrap();
            data.push(Token::Foreign(number)).unwrap();
        }
        data.end_object(object, 2);
        data.push(Token::Foreign(2)).unwrap();
        data.end_array(array, 3);
        let packet =
            Packet { kind: Kind::Event, attachments: 3, namespace: b"/x", id: Some(7), data: Some(data) };
        let (mut text, mut order) = (Vec::new(), Vec::new());
        write(&packet, &mut text, &mut order).unwrap();
        let expected = concat!(
            r#"53-/x,7["m",{"a":{"_placeholder":true,"num":0},"b":{"_placeholder":true,"num":1}},"#,
            r#"{"_placeholder":true,"num":2}]"#,
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(order, [1, 0, 2]);
    }
}

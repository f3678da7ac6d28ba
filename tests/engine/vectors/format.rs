//! Reads the files of spec/vectors, whose README explains the format. Knows nothing of the engine but its roles.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

use crate::feeding::{self, Role};

/// The key in `{GET}`, from RFC 6455 section 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const REQUEST: [&str; 6] = [
    "GET /chat HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

const ANSWER: [&str; 4] = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Accept: {accept}",
];

#[derive(Debug)]
enum Input {
    Line(String),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
pub(crate) struct Vector {
    /// Begins with the name of its file.
    pub(crate) name: String,
    role: Option<Role>,
    pub(crate) limit: usize,
    pub(crate) validate_utf8: bool,
    pub(crate) allow_long_lengths: bool,
    pub(crate) deflate: Option<String>,
    /// Whether it begins before the upgrade.
    pub(crate) upgrade: bool,
    pub(crate) subprotocols: Vec<String>,
    pub(crate) wish: Option<String>,
    input: Vec<Input>,
    /// The event lines, with all bytes written out and texts as text.
    pub(crate) events: Vec<String>,
    pub(crate) sends: Option<Vec<u8>>,
    /// Lines that the sent head must have.
    head: Vec<String>,
}

/// Every vector of every file.
pub(crate) fn all() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/vectors");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    let mut vectors: Vec<Vector> = Vec::new();
    for path in files {
        let (text, file) = (fs::read_to_string(&path).unwrap(), path.file_name().unwrap().display());
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix("  ") {
                None => vectors.push(Vector::new(format!("{file}: {line}"))),
                Some(line) => vectors.last_mut().unwrap().add(line),
            }
        }
    }
    vectors
}

impl Vector {
    fn new(name: String) -> Self {
        Self {
            name,
            role: None,
            limit: 65_535,
            validate_utf8: true,
            allow_long_lengths: false,
            deflate: None,
            upgrade: false,
            subprotocols: Vec::new(),
            wish: None,
            input: Vec::new(),
            events: Vec::new(),
            sends: None,
            head: Vec::new(),
        }
    }

    fn add(&mut self, line: &str) {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "role" => {
                let role = if value == "client" { Role::Client } else { Role::Server };
                assert!(self.role.replace(role).is_none() && (role == Role::Client || value == "server"));
            }
            "limit" => self.limit = value.parse().unwrap(),
            "validate_utf8" => self.validate_utf8 = value.parse().unwrap(),
            "allow_long_lengths" => self.allow_long_lengths = value.parse().unwrap(),
            "deflate" => self.deflate = Some(value.into()),
            "upgrade" => self.upgrade = true,
            "subprotocols" => self.subprotocols = value.split(", ").map(String::from).collect(),
            "wish" => self.wish = Some(value.into()),
            "in" => self.input.push(Input::Bytes(bytes(value))),
            ">" => {
                self.upgrade = true;
                self.input.extend(lines(value).into_iter().map(Input::Line));
            }
            "<" => self.head.extend(lines(value)),
            "utf8" => self.events.push(format!("text {}", String::from_utf8(bytes(value)).unwrap())),
            "binary" | "raw" | "ping" | "pong" => {
                self.events.push(format!("{word} {}", feeding::hex(&bytes(value))));
            }
            "text" | "close" | "error" | "fails" | "open" | "request" => {
                self.events.push(format!("{word} {value}"));
            }
            "sends" => self.sends = Some(bytes(value)),
            _ => panic!("{}: {line}", self.name),
        }
    }

    /// The ends that it applies to.
    pub(crate) fn roles(&self) -> Vec<Role> {
        self.role.map_or(vec![Role::Client, Role::Server], |role| vec![role])
    }

    /// The input; `key` is the key of the client's request.
    pub(crate) fn input(&self, role: Role, key: &str) -> Vec<u8> {
        let mask = self.role.is_none() && role == Role::Server;
        let mut whole = Vec::new();
        for input in &self.input {
            match input {
                Input::Line(line) => whole.extend(format!("{}\r\n", filled(line, key)).bytes()),
                Input::Bytes(bytes) if mask => whole.extend(masked(bytes)),
                Input::Bytes(bytes) => whole.extend(bytes),
            }
        }
        whole
    }

    /// The lines that the sent head must have; `key` is the key of the request.
    pub(crate) fn head(&self, key: &str) -> impl Iterator<Item = String> {
        self.head.iter().map(move |line| filled(line, key))
    }

    /// Whether bytes after the end must have no effect.
    pub(crate) fn is_ended(&self) -> bool {
        let last = self.events.last().map_or("", |event| event.split(' ').next().unwrap_or_default());
        ["close", "error", "fails"].contains(&last)
    }
}

/// Groups of bytes such as `0102`, or repeated as in `0102*3`.
fn bytes(text: &str) -> Vec<u8> {
    let groups = text.split_whitespace().map(|group| match group.split_once('*') {
        Some((group, count)) => feeding::bytes(group).repeat(count.parse().unwrap()),
        None => feeding::bytes(group),
    });
    groups.collect::<Vec<_>>().concat()
}

/// A line, or the usual lines that a name in braces stands for.
fn lines(text: &str) -> Vec<String> {
    let Some(named) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return vec![text.into()];
    };
    let (name, without) = named.split_once(" without ").unwrap_or((named, "\n"));
    let usual: &[_] = match name {
        "101" => &ANSWER,
        "GET" => &REQUEST,
        _ => return vec![text.into()],
    };
    usual.iter().filter(|line| !line.starts_with(without)).map(|line| (*line).into()).collect()
}

fn filled(line: &str, key: &str) -> String {
    line.replace("{accept}", &accept(key))
        .replace("{key}", key)
        .replace("{space}", " ")
        .replace("{tab}", "\t")
}

/// Section 4.2.2 item 5.4, implemented again because the engine's own version is under test.
pub(crate) fn accept(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finalize())
}

/// The frame with a mask. Any fault in it is kept.
fn masked(frame: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let header = match frame[1] & 127 {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut masked = frame.to_vec();
    masked[1] |= 0x80;
    for (octet, key) in masked[header..].iter_mut().zip(MASK.iter().cycle()) {
        *octet ^= key;
    }
    masked.splice(header..header, MASK);
    masked
}

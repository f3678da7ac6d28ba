//! permessage-deflate (RFC 7692): its negotiation, and the two directions of compression.
//!
//! DEFLATE itself is the `flate2` crate's. Knows no frames: a message's bytes go in, a message's bytes come
//! out, and who sets RSV1 on what is for [`connection`](super::connection) to do.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::error::ProtocolError;
use super::extensions::Extension;

/// The extension's registered name (section 7).
pub const NAME: &str = "permessage-deflate";

/// What ends every message before it is compressed away, and is to be put back (sections 7.2.1 and 7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Output is made room for in pieces of this size, so that a message which inflates to more than its limit
/// costs no more than the limit and one piece.
const PIECE: usize = 16 * 1024;

/// The window sizes that section 7.1.2 allows, as base-2 logarithms.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// What a client wishes for, or a server allows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The server is to forget its window after each message, which saves it memory.
    pub server_no_context_takeover: bool,
    /// The client will forget its window after each message.
    pub client_no_context_takeover: bool,
    /// The largest window that the server may use, 8 to 15.
    pub server_max_window_bits: Option<u8>,
    /// The largest window that the client will use, 8 to 15.
    pub client_max_window_bits: Option<u8>,
    /// How hard to compress, 1 (fastest) to 9 (smallest).
    pub level: u32,
    /// Messages of fewer bytes are sent as they are.
    pub threshold: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: None,
            client_max_window_bits: None,
            level: 6,
            threshold: 128,
        }
    }
}

/// The parameter client_max_window_bits, which may stand without a value (section 7.1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClientBits {
    #[default]
    Absent,
    /// The client can be told a size, but names none of its own.
    NoValue,
    Bits(u8),
}

impl From<Option<u8>> for ClientBits {
    fn from(bits: Option<u8>) -> Self {
        bits.map_or(Self::NoValue, Self::Bits)
    }
}

/// The parameters of section 7.1, as they stand in an offer or an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: ClientBits,
}

impl Parameters {
    /// # Errors
    /// What sections 7.1 and 7 forbid: unknown parameters, the same one twice, a value that is not allowed.
    fn parse(extension: &Extension) -> Result<Self, String> {
        let mut parameters = Self::default();
        for (name, value) in &extension.parameters {
            let bits = || -> Result<Option<u8>, String> {
                let Some(value) = value else { return Ok(None) };
                let number = value.parse().ok().filter(|bits| WINDOW_BITS.contains(bits));
                // No leading zeros (section 7.1.2.1).
                match number.filter(|bits: &u8| bits.to_string() == *value) {
                    Some(bits) => Ok(Some(bits)),
                    None => Err(format!("{name} is {value}, not 8 to 15")),
                }
            };
            let seen = match name.as_str() {
                "server_no_context_takeover" => {
                    flag(name, value.as_deref())?;
                    std::mem::replace(&mut parameters.server_no_context_takeover, true)
                }
                "client_no_context_takeover" => {
                    flag(name, value.as_deref())?;
                    std::mem::replace(&mut parameters.client_no_context_takeover, true)
                }
                "server_max_window_bits" => {
                    let bits = bits()?.ok_or("server_max_window_bits has no value")?;
                    parameters.server_max_window_bits.replace(bits).is_some()
                }
                "client_max_window_bits" => {
                    let bits = bits()?.into();
                    let before = std::mem::replace(&mut parameters.client_max_window_bits, bits);
                    before != ClientBits::Absent
                }
                _ => return Err(format!("unknown parameter {name}")),
            };
            if seen {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(parameters)
    }

    fn header(self) -> String {
        let mut header = NAME.to_owned();
        if self.server_no_context_takeover {
            header += "; server_no_context_takeover";
        }
        if self.client_no_context_takeover {
            header += "; client_no_context_takeover";
        }
        if let Some(bits) = self.server_max_window_bits {
            header += &format!("; server_max_window_bits={bits}");
        }
        match self.client_max_window_bits {
            ClientBits::Bits(bits) => header += &format!("; client_max_window_bits={bits}"),
            ClientBits::NoValue => header += "; client_max_window_bits",
            ClientBits::Absent => {}
        }
        header
    }
}

fn flag(name: &str, value: Option<&str>) -> Result<(), String> {
    match value {
        None => Ok(()),
        Some(value) => Err(format!("{name} has a value ({value})")),
    }
}

/// What both ends have agreed upon, from the view of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The window that we may use for what we send, and whether we keep it between messages.
    own_window_bits: u8,
    own_takeover: bool,
    /// Whether the peer keeps its window between messages. Ours for what it sends is always the largest.
    peer_takeover: bool,
    level: u32,
    threshold: usize,
}

impl Options {
    /// The client's offer (section 7.1), as the value of a header.
    #[must_use]
    pub fn offer(&self) -> String {
        Parameters {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: self.server_max_window_bits,
            // Without it a server could not ask for less (section 7.1.2.2).
            client_max_window_bits: self.client_max_window_bits.into(),
        }
        .header()
    }

    /// The client's view of the server's answer to [`offer`](Self::offer).
    ///
    /// # Errors
    /// The answer is malformed, or is none to the offer: the connection must fail (section 7.1).
    pub fn agree(&self, answer: &Extension) -> Result<Agreement, String> {
        let answer = Parameters::parse(answer)?;
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err("server_no_context_takeover was asked for and is missing".into());
        }
        match (self.server_max_window_bits, answer.server_max_window_bits) {
            (Some(asked), Some(bits)) if bits > asked => {
                return Err(format!("server_max_window_bits is {bits}, over the {asked} that was asked for"));
            }
            (Some(_), None) => return Err("server_max_window_bits was asked for and is missing".into()),
            _ => {}
        }
        let own = self.client_max_window_bits.unwrap_or(15);
        let own_window_bits = match answer.client_max_window_bits {
            ClientBits::Absent => own,
            ClientBits::NoValue => return Err("client_max_window_bits has no value".into()),
            ClientBits::Bits(bits) if bits > own => {
                return Err(format!("client_max_window_bits is {bits}, over the {own} that was offered"));
            }
            ClientBits::Bits(bits) => bits,
        };
        Ok(Agreement {
            own_window_bits,
            own_takeover: !(self.client_no_context_takeover || answer.client_no_context_takeover),
            peer_takeover: !answer.server_no_context_takeover,
            level: self.level,
            threshold: self.threshold,
        })
    }

    /// The server's choice among a client's offers, the first that it can meet, and its answer as the value
    /// of a header. An offer that breaks the rules is passed over (section 7).
    #[must_use]
    pub fn accept(&self, offers: &[Extension]) -> Option<(Agreement, String)> {
        offers.iter().filter(|offer| offer.name == NAME).find_map(|offer| {
            let offer = Parameters::parse(offer).ok()?;
            let smaller = |a: Option<u8>, b: Option<u8>| a.into_iter().chain(b).min();
            let answer = Parameters {
                server_no_context_takeover: self.server_no_context_takeover
                    || offer.server_no_context_takeover,
                client_no_context_takeover: self.client_no_context_takeover
                    || offer.client_no_context_takeover,
                server_max_window_bits: smaller(self.server_max_window_bits, offer.server_max_window_bits),
                // Only a client that has said so can be told (section 7.1.2.2).
                client_max_window_bits: match (offer.client_max_window_bits, self.client_max_window_bits) {
                    (ClientBits::Bits(bits), allowed) => ClientBits::Bits(allowed.unwrap_or(15).min(bits)),
                    (ClientBits::NoValue, Some(allowed)) => ClientBits::Bits(allowed),
                    _ => ClientBits::Absent,
                },
            };
            let agreement = Agreement {
                own_window_bits: answer.server_max_window_bits.unwrap_or(15),
                own_takeover: !answer.server_no_context_takeover,
                peer_takeover: !answer.client_no_context_takeover,
                level: self.level,
                threshold: self.threshold,
            };
            Some((agreement, answer.header()))
        })
    }
}

/// The sending direction.
#[derive(Debug)]
pub struct Deflater {
    agreement: Agreement,
    /// Made when it is first needed.
    compress: Option<Compress>,
    output: Vec<u8>,
}

impl Deflater {
    #[must_use]
    pub fn new(agreement: Agreement) -> Self {
        Self { agreement, compress: None, output: Vec::new() }
    }

    /// Whether a message that begins with a fragment of `length` bytes (and ends with it, if `fin`) is worth
    /// compressing.
    #[must_use]
    pub fn wants(&self, length: usize, fin: bool) -> bool {
        !fin || length >= self.agreement.threshold.max(1)
    }

    /// Compresses a whole message; `None` if that would not make it smaller, and it must be sent as it is.
    pub fn message(&mut self, data: &[u8]) -> Option<&[u8]> {
        self.compress(data, true);
        if self.output.len() >= data.len() {
            // The peer will not see what our window has now.
            if let Some(compress) = &mut self.compress {
                compress.reset();
            }
            return None;
        }
        Some(&self.output)
    }

    /// Compresses a fragment; each can be inflated as soon as it has come.
    pub fn fragment(&mut self, data: &[u8], fin: bool) -> &[u8] {
        self.compress(data, fin);
        &self.output
    }

    fn compress(&mut self, data: &[u8], fin: bool) {
        let agreement = &self.agreement;
        let compress = self.compress.get_or_insert_with(|| {
            // zlib knows no window of 256 bytes. With one of 512 it looks back for at most 250 bytes
            // (it keeps 262 of look-ahead out of the window), so the peer's 256 are enough.
            let bits = agreement.own_window_bits.max(9);
            Compress::new_with_window_bits(Compression::new(agreement.level), false, bits)
        });
        self.output.clear();
        self.output.shrink_to(PIECE);
        let before = compress.total_in();
        loop {
            self.output.reserve(PIECE.min(data.len() + 64));
            let taken = (compress.total_in() - before) as usize;
            // It cannot fail: it has no dictionary to miss, and its state is its own.
            let result = compress.compress_vec(&data[taken..], &mut self.output, FlushCompress::Sync);
            if result.is_err() || self.output.len() < self.output.capacity() {
                break;
            }
        }
        if fin {
            let length = self.output.len();
            if self.output.ends_with(&TAIL) {
                self.output.truncate(length - TAIL.len());
            }
            if self.output.is_empty() {
                self.output.push(0); // section 7.2.3.6
            }
            if !self.agreement.own_takeover {
                self.compress = None; // and its memory is free until the next message
            }
        }
    }
}

/// The receiving direction.
#[derive(Debug)]
pub struct Inflater {
    peer_takeover: bool,
    /// Made when it is first needed.
    decompress: Option<Decompress>,
    /// What has come so far ended with a block that said that it was the last.
    ended: bool,
}

impl Inflater {
    #[must_use]
    pub fn new(agreement: &Agreement) -> Self {
        Self { peer_takeover: agreement.peer_takeover, decompress: None, ended: false }
    }

    /// Inflates the next piece of a message, appending to `data`, which may grow to `limit` bytes.
    ///
    /// # Errors
    /// 1009 above the limit, 1007 for what is not DEFLATE.
    pub fn push(&mut self, piece: &[u8], data: &mut Vec<u8>, limit: usize) -> Result<(), ProtocolError> {
        let decompress = self.decompress.get_or_insert_with(|| Decompress::new(false));
        let mut rest = piece;
        while !rest.is_empty() {
            make_room(data, limit);
            let before = decompress.total_in();
            let status = decompress.decompress_vec(rest, data, FlushDecompress::Sync);
            if data.len() > limit {
                return Err(ProtocolError::too_big(limit));
            }
            rest = &rest[(decompress.total_in() - before) as usize..];
            self.ended = matches!(status, Ok(Status::StreamEnd));
            let stuck = !rest.is_empty() && data.len() < data.capacity();
            match status {
                // Section 7.2.3.4 allows such a block; what follows it begins anew.
                Ok(Status::StreamEnd) => decompress.reset(false),
                Ok(_) if !stuck => {}
                _ => return Err(ProtocolError::not_deflate()),
            }
            // All was taken, but not all that it has become may have found room.
            while rest.is_empty() && !self.ended && data.len() == data.capacity() {
                make_room(data, limit);
                // Without input it may say that it can do nothing; that is what we want to know.
                let _ = decompress.decompress_vec(&[], data, FlushDecompress::Sync);
                if data.len() > limit {
                    return Err(ProtocolError::too_big(limit));
                }
            }
        }
        Ok(())
    }

    /// Ends a message.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self, data: &mut Vec<u8>, limit: usize) -> Result<(), ProtocolError> {
        if !std::mem::take(&mut self.ended) {
            self.push(&TAIL, data, limit)?;
        }
        self.forget();
        Ok(())
    }

    /// Between messages: without takeover there is nothing to remember.
    pub fn forget(&mut self) {
        if !self.peer_takeover {
            self.decompress = None;
        }
    }
}

/// Makes room behind `data`: at least a byte, at most up to one above the limit, which shows that a message is
/// over it. Doubling keeps the cost linear.
fn make_room(data: &mut Vec<u8>, limit: usize) {
    if data.len() == data.capacity() {
        let most = limit.saturating_sub(data.len()).saturating_add(1);
        data.reserve_exact(data.len().max(PIECE).min(most));
    }
}

//! permessage-deflate (RFC 7692): its negotiation, and the two directions of compression.
//!
//! The `flate2` crate implements DEFLATE. Knows nothing of frames: message bytes go in and come out, and RSV1 is
//! handled elsewhere.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::error::{ParametersError, ProtocolError, ReceiveError};
use super::extensions::Extension;
use super::spare::{self, Spares};
use crate::memory::{self, OutOfMemory};

/// The extension's registered name (section 7).
pub const NAME: &str = "permessage-deflate";

/// The bytes that the sender strips from the end of each compressed message and the receiver restores (sections 7.2.1
/// and 7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Output space is allocated in pieces of this size, so that a message that inflates beyond its limit costs no more
/// than the limit and one piece.
const PIECE: usize = 16 * 1024;

/// The window sizes that section 7.1.2 allows, as base-2 logarithms.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// What a client asks for, or what a server allows.
///
/// ```
/// use luws::protocol::deflate::{Deflater, Inflater, Options};
/// use luws::protocol::extensions;
///
/// let options = Options::default();
/// let offers = extensions::parse(&options.offer()).unwrap();
/// let (parameters, _answer) = options.accept(&offers).unwrap();
/// let mut packed = Deflater::new(parameters.clone()).message(&[b'a'; 1000]).unwrap().unwrap().to_vec();
/// assert!(packed.len() < 20);
///
/// let mut text = Vec::new();
/// let mut inflater = Inflater::new(&parameters);
/// inflater.push(&packed, &mut text, 1000).unwrap();
/// inflater.finish(&mut text, 1000).unwrap();
/// assert_eq!(text, [b'a'; 1000]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Asks the server to forget its window after each message, which saves it memory.
    pub server_no_context_takeover: bool,
    /// The client will forget its window after each message.
    pub client_no_context_takeover: bool,
    /// The largest window that the server may use, 8 to 15. A server that accepts the client's second offer may use
    /// any.
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

/// The parameter client_max_window_bits, whose value is optional (section 7.1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClientBits {
    #[default]
    Absent,
    /// The client accepts a size from the server, but proposes none.
    NoValue,
    Bits(u8),
}

impl From<Option<u8>> for ClientBits {
    fn from(bits: Option<u8>) -> Self {
        bits.map_or(Self::NoValue, Self::Bits)
    }
}

/// The parameters of section 7.1 in an offer or an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: ClientBits,
}

impl Parameters {
    /// Reads the parameters.
    ///
    /// # Errors
    /// Sections 7 and 7.1 forbid unknown parameters, duplicates, and invalid values.
    fn parse(extension: &Extension) -> Result<Self, ParametersError> {
        let mut parameters = Self::default();
        for (name, value) in &extension.parameters {
            let bits = || {
                let Some(value) = value else { return Ok(None) };
                let number = value.parse().ok().filter(|bits| WINDOW_BITS.contains(bits));
                // Section 7.1.2.1 forbids leading zeros.
                match number.filter(|bits: &u8| bits.to_string() == *value) {
                    Some(bits) => Ok(Some(bits)),
                    None => Err(ParametersError::WindowBits { name: name.clone(), value: value.clone() }),
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
                    let bits = bits()?.ok_or(ParametersError::MissingValue("server_max_window_bits"))?;
                    parameters.server_max_window_bits.replace(bits).is_some()
                }
                "client_max_window_bits" => {
                    let bits = bits()?.into();
                    let before = std::mem::replace(&mut parameters.client_max_window_bits, bits);
                    before != ClientBits::Absent
                }
                _ => return Err(ParametersError::Unknown(name.clone())),
            };
            if seen {
                return Err(ParametersError::Twice(name.clone()));
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

fn flag(name: &str, value: Option<&str>) -> Result<(), ParametersError> {
    match value {
        None => Ok(()),
        Some(value) => {
            Err(ParametersError::UnexpectedValue { name: name.to_owned(), value: value.to_owned() })
        }
    }
}

/// The result of the negotiation, as one end sees it.
///
/// See [`Options`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedParameters {
    /// The window that we may use when sending, and whether we keep it between messages.
    own_window_bits: u8,
    own_takeover: bool,
    /// Whether the peer keeps its window between messages. Ours for receiving always has the maximum size.
    peer_takeover: bool,
    level: u32,
    threshold: usize,
}

impl Options {
    /// The client's offers (section 7.1), as the value of a header: what it asks for, and for servers that cannot limit
    /// their window (section 7.1.2.1) the same without that, as in section 7.1.3.
    #[must_use]
    pub fn offer(&self) -> String {
        let wish = Parameters {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: self.server_max_window_bits,
            // Without it a server could not ask for a smaller window (section 7.1.2.2).
            client_max_window_bits: self.client_max_window_bits.into(),
        };
        match self.server_max_window_bits {
            None => wish.header(),
            Some(_) => wish.header() + ", " + &Parameters { server_max_window_bits: None, ..wish }.header(),
        }
    }

    /// The client's check of the server's answer to [`offer`](Self::offer). As one of the offers does not limit the
    /// server's window, the answer may have any.
    ///
    /// # Errors
    /// The answer is malformed, or does not match the offer: the connection must fail (section 7.1).
    pub fn agree(&self, answer: &Extension) -> Result<NegotiatedParameters, ParametersError> {
        let answer = Parameters::parse(answer)?;
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(ParametersError::Missing("server_no_context_takeover"));
        }
        let own = self.client_max_window_bits.unwrap_or(15);
        let own_window_bits = match answer.client_max_window_bits {
            ClientBits::Absent => own,
            ClientBits::NoValue => return Err(ParametersError::MissingValue("client_max_window_bits")),
            ClientBits::Bits(bits) if bits > own => {
                return Err(ParametersError::AboveOffered { bits, offered: own });
            }
            ClientBits::Bits(bits) => bits,
        };
        Ok(NegotiatedParameters {
            own_window_bits,
            own_takeover: !(self.client_no_context_takeover || answer.client_no_context_takeover),
            peer_takeover: !answer.server_no_context_takeover,
            level: self.level,
            threshold: self.threshold,
        })
    }

    /// The server's choice among a client's offers (the first acceptable one), and its answer as the value of a header.
    /// An invalid offer is skipped (section 7).
    #[must_use]
    pub fn accept(&self, offers: &[Extension]) -> Option<(NegotiatedParameters, String)> {
        offers.iter().filter(|offer| offer.name == NAME).find_map(|offer| {
            let offer = Parameters::parse(offer).ok()?;
            let smaller = |a: Option<u8>, b: Option<u8>| a.into_iter().chain(b).min();
            let answer = Parameters {
                server_no_context_takeover: self.server_no_context_takeover
                    || offer.server_no_context_takeover,
                client_no_context_takeover: self.client_no_context_takeover
                    || offer.client_no_context_takeover,
                server_max_window_bits: smaller(self.server_max_window_bits, offer.server_max_window_bits),
                // Allowed only if the client has offered it (section 7.1.2.2).
                client_max_window_bits: match (offer.client_max_window_bits, self.client_max_window_bits) {
                    (ClientBits::Bits(bits), allowed) => ClientBits::Bits(allowed.unwrap_or(15).min(bits)),
                    (ClientBits::NoValue, Some(allowed)) => ClientBits::Bits(allowed),
                    _ => ClientBits::Absent,
                },
            };
            let parameters = NegotiatedParameters {
                own_window_bits: answer.server_max_window_bits.unwrap_or(15),
                own_takeover: !answer.server_no_context_takeover,
                peer_takeover: !answer.client_no_context_takeover,
                level: self.level,
                threshold: self.threshold,
            };
            Some((parameters, answer.header()))
        })
    }
}

/// The sending direction.
///
/// See [`Options`] for an example.
#[derive(Debug)]
pub struct Deflater {
    parameters: NegotiatedParameters,
    /// There when first needed; without context takeover, only during a message.
    compress: Option<Compress>,
    spares: Spares,
    output: Vec<u8>,
}

impl Deflater {
    #[must_use]
    pub fn new(parameters: NegotiatedParameters) -> Self {
        Self { parameters, compress: None, spares: Spares::default(), output: Vec::new() }
    }

    /// The same, with compressors of these.
    #[must_use]
    pub fn sharing(self, spares: &Spares) -> Self {
        Self { spares: spares.clone(), ..self }
    }

    /// The bits of the window, if what a message is compressed to does not depend on the messages before it.
    #[must_use]
    pub fn independent_window(&self) -> Option<u8> {
        (!self.parameters.own_takeover).then_some(self.parameters.own_window_bits)
    }

    /// Whether a message that begins with a fragment of `length` bytes (and ends with it, if `fin`) should be
    /// compressed.
    #[must_use]
    pub fn wants(&self, length: usize, fin: bool) -> bool {
        !fin || length >= self.parameters.threshold.max(1)
    }

    /// Compresses a whole message; `None` if that does not make it smaller, so that it must be sent as it is.
    ///
    /// # Errors
    /// There is no memory.
    pub fn message(&mut self, data: &[u8]) -> Result<Option<&[u8]>, OutOfMemory> {
        self.compress(data, true)?;
        if self.output.len() >= data.len() {
            // The peer will not see the data that is now in our window.
            if let Some(compress) = &mut self.compress {
                compress.reset();
            }
            return Ok(None);
        }
        Ok(Some(&self.output))
    }

    /// Compresses a fragment. Each fragment can be inflated as soon as it arrives.
    ///
    /// # Errors
    /// There is no memory.
    pub fn fragment(&mut self, data: &[u8], fin: bool) -> Result<&[u8], OutOfMemory> {
        self.compress(data, fin)?;
        Ok(&self.output)
    }

    /// Forgets the data that were compressed last, which the peer will not see, and all before them. Frees all memory.
    pub fn forget(&mut self) {
        // A reset does not do: if the data were not compressed to their end, zlib-rs panics after it.
        self.compress = None;
        self.output = Vec::new();
    }

    /// Compresses to `output`. If that fails, nothing is left of `data`.
    fn compress(&mut self, data: &[u8], fin: bool) -> Result<(), OutOfMemory> {
        let result = self.try_compress(data, fin);
        if result.is_err() {
            self.forget();
        }
        result
    }

    fn try_compress(&mut self, data: &[u8], fin: bool) -> Result<(), OutOfMemory> {
        let kind = self.kind();
        let compress = match &mut self.compress {
            Some(compress) => compress,
            none => none.insert(self.spares.compressor(kind)?),
        };
        self.output.clear();
        self.output.shrink_to(PIECE);
        let before = compress.total_in();
        loop {
            memory::reserve(&mut self.output, PIECE.min(data.len() + 64))?;
            let taken = (compress.total_in() - before) as usize;
            // It cannot fail: there is no missing dictionary and no invalid state.
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
            if let Some(compress) = self.compress.take_if(|_| !self.parameters.own_takeover) {
                self.spares.keep_compressor(kind, compress);
            }
        }
        Ok(())
    }

    fn kind(&self) -> spare::Kind {
        // zlib has no window of 256 bytes. With 512 it looks back at most 250 bytes (it keeps 262 bytes of the window
        // for look-ahead), so the peer's 256 are enough.
        (self.parameters.level, self.parameters.own_window_bits.max(9))
    }
}

/// The receiving direction.
///
/// See [`Options`] for an example.
#[derive(Debug)]
pub struct Inflater {
    peer_takeover: bool,
    /// There when first needed; without context takeover, only during a message.
    decompress: Option<Decompress>,
    spares: Spares,
    /// The input so far ended with a block marked as the last.
    ended: bool,
}

impl Inflater {
    #[must_use]
    pub fn new(parameters: &NegotiatedParameters) -> Self {
        let peer_takeover = parameters.peer_takeover;
        Self { peer_takeover, decompress: None, spares: Spares::default(), ended: false }
    }

    /// The same, with inflaters of these.
    #[must_use]
    pub fn sharing(self, spares: &Spares) -> Self {
        Self { spares: spares.clone(), ..self }
    }

    /// Inflates the next piece of a message and appends it to `data`, which may grow to `limit` bytes.
    ///
    /// # Errors
    /// 1009 above the limit or without memory, 1007 if it is not DEFLATE.
    pub fn push(&mut self, piece: &[u8], data: &mut Vec<u8>, limit: usize) -> Result<(), ReceiveError> {
        let decompress = match &mut self.decompress {
            Some(decompress) => decompress,
            none => none.insert(self.spares.inflater()?),
        };
        let mut rest = piece;
        let mut is_inflated = rest.is_empty();
        while !is_inflated {
            make_room(data, limit)?;
            let before = decompress.total_in();
            let status = decompress.decompress_vec(rest, data, FlushDecompress::Sync);
            if data.len() > limit {
                return Err(ReceiveError::TooBig { limit, length: None });
            }
            rest = &rest[(decompress.total_in() - before) as usize..];
            self.ended = matches!(status, Ok(Status::StreamEnd));
            // Where all input was taken and the room is used up, more output may be waiting, or a fault.
            let has_room = data.len() < data.capacity();
            is_inflated = rest.is_empty() && (self.ended || has_room);
            match status {
                // Section 7.2.3.4 allows such a block; a new stream follows it.
                Ok(Status::StreamEnd) => decompress.reset(false),
                Ok(_) if is_inflated || !has_room => {}
                _ => return Err(ProtocolError::NotDeflate.into()),
            }
        }
        Ok(())
    }

    /// Ends a message.
    ///
    /// # Errors
    /// See [`push`](Self::push).
    pub fn finish(&mut self, data: &mut Vec<u8>, limit: usize) -> Result<(), ReceiveError> {
        if !std::mem::take(&mut self.ended) {
            self.push(&TAIL, data, limit)?;
        }
        if let Some(decompress) = self.decompress.take_if(|_| !self.peer_takeover) {
            self.spares.keep_inflater(decompress);
        }
        Ok(())
    }

    /// Ends a message that was not inflated to its end, and the use of the window, if the peer does not keep its own.
    pub fn forget(&mut self) {
        if !self.peer_takeover {
            self.decompress = None;
        }
    }
}

/// Makes room in `data`: at least one byte, and at most one byte above the limit, which shows that a message exceeds
/// it. Doubling keeps the cost linear.
fn make_room(data: &mut Vec<u8>, limit: usize) -> Result<(), OutOfMemory> {
    if data.len() == data.capacity() {
        let most = limit.saturating_sub(data.len()).saturating_add(1);
        let length = data.len();
        memory::reserve_exact(data, length.max(PIECE).min(most))
            .or_else(|_| memory::reserve_exact(data, PIECE.min(most)))?;
    }
    Ok(())
}

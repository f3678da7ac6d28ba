//! What a server's hello says of a connection (RFC 8446 section 4.1.3): the version of TLS and the cipher, which
//! `native-tls` does not tell. A hello is never encrypted, so it is read from the wire. It is for people to look at:
//! the library decides what is accepted.

/// Records that hold handshakes, and the message that is a server's hello.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;

/// The extension in which TLS 1.3 says which version it is (section 4.2.1).
const SUPPORTED_VERSIONS: u16 = 43;

/// No hello is larger. Its largest part is a key of some 1,200 bytes.
const MOST: usize = 4096;

/// The version and the cipher of a connection, as the registries number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    version: u16,
    cipher: u16,
}

/// Reads the beginning of what a server sends.
#[derive(Debug, Default)]
pub(super) struct Hello {
    /// What has come, until enough of it has.
    bytes: Vec<u8>,
    is_over: bool,
    found: Option<Agreement>,
}

impl Hello {
    /// Looks at the next bytes of the wire.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        let room = MOST - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.found = message(&self.bytes).and_then(|message| read(&message));
        let is_other = self.bytes.first().is_some_and(|first| *first != HANDSHAKE);
        if self.found.is_some() || is_other || self.bytes.len() == MOST {
            self.is_over = true;
            self.bytes = Vec::new();
        }
    }

    /// What was found in it.
    pub(super) fn agreement(&self) -> Option<Agreement> {
        self.found
    }
}

/// Takes this many bytes from the beginning.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &mut &[u8], size: usize) -> Option<usize> {
    Some(take(bytes, size)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// The body of the first message, if that is a server's hello and all of it has come. It may be in several records.
fn message(mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut handshake = Vec::new();
    loop {
        if let Some((kind, mut rest)) = handshake.split_first()
            && let Some(length) = number(&mut rest, 3)
            && let Some(body) = take(&mut rest, length)
        {
            return (*kind == SERVER_HELLO).then(|| body.to_vec());
        }
        let [HANDSHAKE, _, _] = take(&mut wire, 3)? else { return None };
        let length = number(&mut wire, 2)?;
        handshake.extend_from_slice(take(&mut wire, length)?);
    }
}

fn read(mut hello: &[u8]) -> Option<Agreement> {
    let mut version = number(&mut hello, 2)?;
    take(&mut hello, 32)?; // random
    let length = number(&mut hello, 1)?;
    take(&mut hello, length)?; // session
    let cipher = number(&mut hello, 2)?;
    take(&mut hello, 1)?; // compression
    // Older servers have no extensions.
    let length = number(&mut hello, 2).unwrap_or(0);
    let mut extensions = take(&mut hello, length)?;
    while !extensions.is_empty() {
        let kind = number(&mut extensions, 2)?;
        let length = number(&mut extensions, 2)?;
        let mut data = take(&mut extensions, length)?;
        if kind == usize::from(SUPPORTED_VERSIONS) {
            version = number(&mut data, 2)?;
        }
    }
    Some(Agreement { version: version as u16, cipher: cipher as u16 })
}

/// OpenSSL's names of the ciphers that are in use, by their numbers.
const CIPHERS: &[(u16, &str)] = &[
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256"),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384"),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305"),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (0xccaa, "DHE-RSA-CHACHA20-POLY1305"),
    (0x009e, "DHE-RSA-AES128-GCM-SHA256"),
    (0x009f, "DHE-RSA-AES256-GCM-SHA384"),
    (0x009c, "AES128-GCM-SHA256"),
    (0x009d, "AES256-GCM-SHA384"),
    (0xc009, "ECDHE-ECDSA-AES128-SHA"),
    (0xc00a, "ECDHE-ECDSA-AES256-SHA"),
    (0xc013, "ECDHE-RSA-AES128-SHA"),
    (0xc014, "ECDHE-RSA-AES256-SHA"),
    (0xc027, "ECDHE-RSA-AES128-SHA256"),
    (0xc028, "ECDHE-RSA-AES256-SHA384"),
    (0x0033, "DHE-RSA-AES128-SHA"),
    (0x0039, "DHE-RSA-AES256-SHA"),
    (0x002f, "AES128-SHA"),
    (0x0035, "AES256-SHA"),
    (0x003c, "AES128-SHA256"),
    (0x003d, "AES256-SHA256"),
    (0x000a, "DES-CBC3-SHA"),
];

impl Agreement {
    /// The version as OpenSSL and LuaSec call it, such as `TLSv1.3`; its number, if it is none of theirs.
    #[must_use]
    pub fn version(self) -> String {
        match self.version {
            0x0301 => "TLSv1".into(),
            0x0302..=0x0304 => format!("TLSv1.{}", self.version - 0x0301),
            other => format!("0x{other:04x}"),
        }
    }

    /// The cipher as OpenSSL calls it; its number, if it is an unusual one.
    #[must_use]
    pub fn cipher(self) -> String {
        let known = CIPHERS.iter().find(|(number, _)| *number == self.cipher);
        known.map_or_else(|| format!("0x{:04x}", self.cipher), |(_, name)| (*name).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello with this version, cipher and extensions, in records of at most `most` bytes.
    fn wire(version: u16, cipher: u16, extensions: &[u8], most: usize) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.extend([4, 1, 2, 3, 4]);
        body.extend(cipher.to_be_bytes());
        body.push(0);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![SERVER_HELLO, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
            .chunks(most)
            .flat_map(|piece| [&[HANDSHAKE, 3, 3][..], &(piece.len() as u16).to_be_bytes(), piece].concat())
            .collect()
    }

    fn seen(wire: &[u8], piece: usize) -> Option<(String, String)> {
        let mut hello = Hello::default();
        wire.chunks(piece).for_each(|bytes| hello.see(bytes));
        hello.agreement().map(|found| (found.version(), found.cipher()))
    }

    #[test]
    fn the_version_and_the_cipher_are_found_however_they_come() {
        let tls13 = [0, 51, 0, 2, 0, 29, 0, 43, 0, 2, 3, 4];
        for (version, cipher, extensions, expected) in [
            (0x0303, 0x1301, &tls13[..], ("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
            (0x0303, 0xc030, &[], ("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384")),
            (0x0301, 0x002f, &[], ("TLSv1", "AES128-SHA")),
            (0x7f01, 0xabcd, &[], ("0x7f01", "0xabcd")),
        ] {
            for most in [1, 5, 40, 1000] {
                let mut wire = wire(version, cipher, extensions, most);
                wire.extend([23, 3, 3, 0, 1, 0]);
                for piece in [1, 7, 5000] {
                    assert_eq!(seen(&wire, piece), Some((expected.0.into(), expected.1.into())));
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_in_anything_else() {
        let good = wire(0x0303, 0x1301, &[], 1000);
        let client = [&[HANDSHAKE, 3, 1, 0, 5, 1, 0, 0, 1, 0][..], &good].concat();
        let endless = [&[HANDSHAKE, 3, 3, 255, 255][..], &[SERVER_HELLO].repeat(100_000)].concat();
        let empty = [HANDSHAKE, 3, 3, 0, 0].repeat(10_000);
        for wire in
            [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[21, 3, 3, 0, 2, 2, 40], &client, &endless, &empty]
        {
            assert_eq!((seen(wire, 1), seen(wire, 100_000)), (None, None));
        }
        for length in 0..good.len() {
            assert_eq!(seen(&good[..length], 1000), None);
            let mut wrong = good.clone();
            wrong[length] ^= 0xff;
            seen(&wrong, 1000);
        }
    }
}

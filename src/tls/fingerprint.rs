//! SHA-256 fingerprints, which identify a peer without any authority: of a certificate, or of its public key, which a
//! renewed certificate may keep.
//!
//! There are two notations: `AA:BB:...` as `openssl x509 -fingerprint` prints it, and `sha256/BASE64` as used for pins
//! (RFC 7469 section 2.1.1, curl).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const LENGTH: usize = 32;

/// The hash, of a certificate or of a public key.
///
/// ```
/// use luws::tls::fingerprint::Fingerprint;
///
/// let fingerprint = Fingerprint::of(b"a certificate in DER");
/// assert_eq!(Fingerprint::parse(&fingerprint.to_hex()), Ok(fingerprint));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; LENGTH]);

/// Why a text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FingerprintError {
    Base64,
    Base64Length,
    Algorithm,
    Pairs,
    Length,
    Digits,
}

impl fmt::Display for FingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base64 => "not valid base64 after sha256/",
            Self::Base64Length => "not 32 bytes of base64 after sha256/",
            Self::Algorithm => "not a SHA-256 fingerprint",
            Self::Pairs => "not pairs of hexadecimal digits between colons",
            Self::Length => "neither 32 pairs of hexadecimal digits (SHA-256) nor sha256/BASE64",
            Self::Digits => "not hexadecimal digits",
        })
    }
}

impl std::error::Error for FingerprintError {}

impl Fingerprint {
    /// The fingerprint of a certificate or of a public key (`SubjectPublicKeyInfo`), both in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Reads `AA:BB:...` (in any case, with or without the colons, also after the `sha256 Fingerprint=` that openssl
    /// prints) or `sha256/BASE64`.
    ///
    /// # Errors
    /// See [`FingerprintError`].
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        let text = text.trim();
        if let Some(encoded) = text.strip_prefix("sha256/") {
            // curl writes two slashes. 32 bytes become 44 characters, and the first of these may be a slash as well.
            let encoded = encoded.strip_prefix('/').filter(|rest| rest.len() == 44).unwrap_or(encoded);
            let bytes = STANDARD.decode(encoded).map_err(|_| FingerprintError::Base64)?;
            return Ok(Self(bytes.try_into().map_err(|_| FingerprintError::Base64Length)?));
        }
        let digits = match text.split_once('=') {
            Some((algorithm, _)) if !algorithm.to_ascii_lowercase().starts_with("sha256") => {
                return Err(FingerprintError::Algorithm);
            }
            Some((_, digits)) => digits,
            None => text,
        };
        let digits: Vec<u8> = if digits.contains(':') {
            if digits.split(':').any(|pair| pair.len() != 2) {
                return Err(FingerprintError::Pairs);
            }
            digits.bytes().filter(|c| *c != b':').collect()
        } else {
            digits.bytes().collect()
        };
        let mut hash = [0; LENGTH];
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != LENGTH || !rest.is_empty() {
            // A SHA-1 fingerprint has 20 pairs, and the text says what is needed instead.
            return Err(FingerprintError::Length);
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or(FingerprintError::Digits);
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Ok(Self(hash))
    }

    /// Formats it as `AA:BB:...`, the usual form for a certificate's.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.map(|byte| format!("{byte:02X}")).join(":")
    }

    /// Formats it as `sha256/BASE64`, the usual form for a public key's.
    #[must_use]
    pub fn to_base64(&self) -> String {
        format!("sha256/{}", STANDARD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str =
        "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";
    const BASE64: &str = "sha256/ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

    #[test]
    fn every_way_of_writing_one_is_the_same_fingerprint() {
        let abc = Fingerprint::of(b"abc"); // FIPS 180-2 appendix B.1
        assert_eq!((abc.to_hex().as_str(), abc.to_base64().as_str()), (HEX, BASE64));
        for text in [
            HEX.to_owned(),
            HEX.to_lowercase(),
            HEX.replace(':', ""),
            BASE64.to_owned(),
            BASE64.replacen('/', "//", 1),
            format!(" {HEX}\n"),
            format!("sha256 Fingerprint={HEX}"),
            format!("SHA256 Fingerprint={HEX}"),
        ] {
            assert_eq!(Fingerprint::parse(&text), Ok(abc), "{text}");
        }
    }

    #[test]
    fn what_is_no_fingerprint_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "neither"),
            ("sha256/", "not 32 bytes"),
            ("sha256/ungWv48B", "not 32 bytes"),
            ("sha256/ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0", "base64"),
            ("sha256/!", "base64"),
            (&HEX[..59], "neither"),
            (&HEX[3..], "neither"),
            (&HEX.replacen(':', "", 1), "pairs"),
            (&HEX.replacen('B', "G", 1), "hexadecimal"),
            (&HEX.replacen("BA", "é", 1), "hexadecimal"),
            (&format!("SHA1 Fingerprint={HEX}"), "not a SHA-256"),
            ("sha1/ungWv48Bz+pBQUDeXa4iI7ADYaM=", "not a SHA-256"),
        ] {
            let refused = Fingerprint::parse(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}

//! The texts of TLS failures, and how OpenSSL reports them. Knows nothing of connections.

use std::fmt;

use super::fingerprint::Fingerprint;
use crate::memory::OutOfMemory;

/// Why TLS failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// No certificate can match this host.
    Host(String),
    /// The handshake failed. Holds the library's words.
    Handshake(String),
    /// The peer has another certificate than those asked for. Holds the fingerprints of its certificate.
    Fingerprint { certificate: Fingerprint, public_key: Option<Fingerprint> },
    /// The peer must be identified by its certificate, and has none.
    NoCertificate,
    /// The peer asks for answers (key updates) without end, and does not read them.
    TooManyAnswers,
    /// The connection failed after the handshake. Holds the library's words.
    Connection(String),
    /// There is no memory, for us or for the library.
    OutOfMemory,
}

impl From<OutOfMemory> for TlsError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl TlsError {
    /// An error of the library after the handshake.
    pub(super) fn of_connection(error: impl fmt::Display) -> Self {
        let why = reason(error);
        if is_out_of_memory(&why) { Self::OutOfMemory } else { Self::Connection(why) }
    }

    /// An error of the handshake; `verifies` says whether the library was to verify the peer's certificate.
    pub(super) fn of_handshake(error: impl fmt::Display, verifies: bool) -> Self {
        let said = error.to_string();
        let mut why = reason(&said);
        if is_out_of_memory(&why) {
            return Self::OutOfMemory;
        }
        // OpenSSL's error for HTTP and other plaintext.
        if why == "wrong version number" {
            why.push_str(": the peer does not seem to speak TLS (is it ws?)");
        }
        // The library's text ends, in parentheses, with what is wrong with the certificate, even if it was not to be
        // verified.
        let judgement = said.rfind(" (").map(|at| &said[at..]).filter(|text| text.ends_with(')'));
        if verifies
            && let Some(judgement) = judgement
            && !why.ends_with(judgement)
        {
            why.push_str(judgement);
        }
        Self::Handshake(why)
    }
}

/// OpenSSL's words for a certificate that is not valid at this time.
const UNTIMELY: [&str; 2] = ["(certificate has expired)", "(certificate is not yet valid)"];

/// OpenSSL's words where a certificate is not accepted; and what a peer says that does not accept ours, as an alert
/// (RFC 8446 section 6.2).
const NOT_ACCEPTED: [&str; 2] = ["certificate verify failed", "unknown ca"];

impl TlsError {
    /// Whether the peer's certificate has expired or is not valid yet, by our clock.
    #[must_use]
    pub fn is_untimely(&self) -> bool {
        matches!(self, Self::Handshake(why) if UNTIMELY.iter().any(|words| why.contains(words)))
    }

    /// Whether a certificate is not accepted, ours or the peer's, so that another attempt would hardly go better.
    #[must_use]
    pub fn is_of_certificate(&self) -> bool {
        match self {
            Self::Host(_) | Self::Fingerprint { .. } | Self::NoCertificate => true,
            Self::Handshake(why) | Self::Connection(why) => {
                let is_alert = why.contains("alert") && why.contains("certificate");
                is_alert || NOT_ACCEPTED.iter().any(|words| why.contains(words))
            }
            Self::TooManyAnswers | Self::OutOfMemory => false,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "no certificate can match the host {host:?}"),
            Self::Handshake(why) | Self::Connection(why) => f.write_str(why),
            Self::Fingerprint { certificate, public_key } => {
                write!(f, "certificate fingerprint mismatch: it is {}", certificate.to_hex())?;
                match public_key {
                    Some(key) => write!(f, ", that of its public key {}", key.to_base64()),
                    None => Ok(()),
                }
            }
            Self::NoCertificate => f.write_str("the peer has no certificate, so no fingerprint either"),
            Self::OutOfMemory => OutOfMemory.fmt(f),
            Self::TooManyAnswers => f.write_str("the peer asks for more answers than it reads"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Which of the options is at fault, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// The client's certificate.
    Certificate(String),
    Key(String),
    /// The key is encrypted, and cannot be decrypted here.
    EncryptedKey,
    /// The password of the PKCS#12 archive is wrong.
    Password,
    /// What [`Crypto`](super::Crypto) says cannot be done. `name` is LuaSec's.
    Crypto {
        name: &'static str,
        why: String,
    },
    Other(String),
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate(why) | Self::Key(why) | Self::Crypto { why, .. } | Self::Other(why) => why,
            Self::EncryptedKey => "the key is encrypted",
            Self::Password => "wrong password",
        })
    }
}

impl std::error::Error for OptionsError {}

/// Whether a reason is that there is no memory.
fn is_out_of_memory(reason: &str) -> bool {
    reason == OutOfMemory.to_string()
}

/// Clears OpenSSL's error queue, which belongs to the thread. OpenSSL reports errors it finds there as its own, and
/// other users of OpenSSL in this process (LuaSec, in other plugins) leave some there.
pub(super) fn clear_error_queue() {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    drop(openssl::error::ErrorStack::get());
}

/// The library's text of an error without the places in OpenSSL's code. OpenSSL's errors have the form
/// `error:CODE:LIBRARY:FUNCTION:REASON:FILE:LINE:DATA`, and one text may hold several.
pub(super) fn reason(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let begins = text.match_indices("error:").filter_map(|(at, word)| {
        let (code, fields) = text[at + word.len()..].split_once(':')?;
        // Reasons may contain this word, too.
        let is_code = !code.is_empty() && code.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_code.then_some(fields)
    });
    let mut reasons: Vec<_> = begins.filter_map(|fields| fields.split(':').nth(2)).collect();
    reasons.dedup();
    // OpenSSL's words, or those of Rust's `io::Error`, which our pipe has returned to the library.
    if ["malloc failure", "out of memory"].iter().any(|words| text.contains(words)) {
        return OutOfMemory.to_string();
    }
    if reasons.is_empty() { text } else { reasons.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::{TlsError, reason};

    #[test]
    fn failures_of_certificates_are_told_from_others() {
        let handshake = |why: &str| TlsError::Handshake(why.into());
        for (error, untimely, of_certificate) in [
            (handshake("certificate verify failed (certificate has expired)"), true, true),
            (handshake("certificate verify failed (certificate is not yet valid)"), true, true),
            (handshake("certificate verify failed (hostname mismatch)"), false, true),
            (handshake("certificate verify failed (self-signed certificate)"), false, true),
            (handshake("tlsv13 alert certificate required"), false, true),
            (handshake("tlsv1 alert unknown ca"), false, true),
            (
                handshake("wrong version number: the peer does not seem to speak TLS (is it ws?)"),
                false,
                false,
            ),
            (handshake("tlsv1 alert internal error"), false, false),
            (TlsError::Connection("sslv3 alert certificate expired".into()), false, true),
            (TlsError::Connection("unexpected EOF".into()), false, false),
            (TlsError::Host("a".into()), false, true),
            (TlsError::NoCertificate, false, true),
            (TlsError::OutOfMemory, false, false),
        ] {
            assert_eq!(
                (error.is_untimely(), error.is_of_certificate()),
                (untimely, of_certificate),
                "{error}"
            );
        }
    }

    #[test]
    fn of_openssls_errors_the_reasons_are_shown() {
        for (text, expected) in [
            ("unexpected EOF", "unexpected EOF"),
            ("out of memory", "not enough memory"),
            ("error:8DF000C0:SSL routines:SSL_new:malloc failure:../ssl/ssl_lib.c:1:", "not enough memory"),
            ("error: no error of that form", "error: no error of that form"),
            (
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:\
                 ../ssl/statem/statem_clnt.c:1890: (hostname mismatch)",
                "certificate verify failed",
            ),
            (
                "error:0A000438:SSL routines:ssl3_read_bytes:tlsv1 alert internal error:../ssl/record/rec_layer_s3.c:\
                 1586:SSL alert number 80",
                "tlsv1 alert internal error",
            ),
            (
                "error:068000A8:asn1 encoding routines:asn1_check_tlen:wrong tag:a.c:1:, \
                 error:0688010A:asn1 encoding routines:asn1_d2i_ex_primitive:nested asn1 error:b.c:2:Type=X509",
                "wrong tag; nested asn1 error",
            ),
        ] {
            assert_eq!(reason(text), expected);
        }
    }
}

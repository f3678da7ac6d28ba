//! What the TLS library says of its failures, in words for those who use it.

use std::fmt;

/// TLS failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl TlsError {
    /// Of our own.
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// Of the library.
    pub(super) fn of(error: impl fmt::Display) -> Self {
        Self(reason(error))
    }

    /// Of a handshake that failed; `verifies`: whether the library was to verify the peer's certificate.
    pub(super) fn of_handshake(error: &native_tls::Error, verifies: bool) -> Self {
        let (mut why, said) = (reason(error), error.to_string());
        // What OpenSSL makes of HTTP and the like.
        if why == "wrong version number" {
            why.push_str(" (the peer does not seem to speak TLS)");
        }
        // The library says last, in parentheses, what is wrong with the certificate, even if nobody asked.
        let judgement = said.rfind(" (").map(|at| &said[at..]).filter(|text| text.ends_with(')'));
        if verifies
            && let Some(judgement) = judgement
            && !why.ends_with(judgement)
        {
            why.push_str(judgement);
        }
        Self(why)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// OpenSSL keeps its errors in a queue of the thread, and takes what it finds there for its own. Other users of
/// it in this process (LuaSec, in other plugins) leave some there.
pub(super) fn forget_errors_of_others() {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    drop(openssl::error::ErrorStack::get());
}

/// What the library says of an error, without the places in the code of OpenSSL, whose errors come as
/// `error:CODE:LIBRARY:FUNCTION:REASON:FILE:LINE:DATA`, and several of them in one text.
pub(super) fn reason(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let begins = text.match_indices("error:").filter_map(|(at, word)| {
        let (code, fields) = text[at + word.len()..].split_once(':')?;
        // Reasons have this word in them, too.
        let is_code = !code.is_empty() && code.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_code.then_some(fields)
    });
    let mut reasons: Vec<_> = begins.filter_map(|fields| fields.split(':').nth(2)).collect();
    reasons.dedup();
    if reasons.is_empty() { text } else { reasons.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn of_openssls_errors_the_reasons_are_shown() {
        for (text, expected) in [
            ("unexpected EOF", "unexpected EOF"),
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

//! Reads the options that OpenSSL alone knows: ciphers, curves, and servers without secure renegotiation.

use super::{Refusal, strings};
use crate::lua::value::Table;
use crate::tls::Crypto;

/// LuaSec's `options` that are read here.
pub(super) const OPTIONS: [&str; 2] = ["legacy_server_connect", "allow_unsafe_legacy_renegotiation"];

/// What the options ask for; `words` are those of `options`.
///
/// # Errors
/// Names the option that cannot be passed on. Whether the library accepts it shows later.
pub(super) fn crypto(table: &Table, words: &[String]) -> Result<Crypto, Refusal> {
    // As in LuaSec, `curveslist` goes first.
    let mut groups = None;
    for name in ["curve", "curveslist"] {
        if let Some(list) = list(table, name)? {
            groups = Some((name, list));
        }
    }
    let [legacy_server_connect, unsafe_legacy_renegotiation] =
        OPTIONS.map(|name| words.iter().any(|word| word == name));
    Ok(Crypto {
        ciphers: list(table, "ciphers")?,
        ciphersuites: list(table, "ciphersuites")?,
        groups,
        legacy_server_connect,
        unsafe_legacy_renegotiation,
    })
}

fn list(table: &Table, name: &str) -> Result<Option<String>, Refusal> {
    let Some(list) = strings(table, name)?.into_iter().next() else { return Ok(None) };
    // OpenSSL's strings are text without a NUL.
    match String::from_utf8(list) {
        Ok(text) if !text.contains('\0') => Ok(Some(text)),
        Ok(_) => Err(format!("bad option 'ssl_{name}' (it has a NUL in it)")),
        Err(_) => Err(format!("bad option 'ssl_{name}' (it is not valid UTF-8)")),
    }
}

/// The error for what OpenSSL refuses.
pub(super) fn refused(table: &Table, name: &str, why: &str) -> Refusal {
    let value = strings(table, name).unwrap_or_default().join(&b',');
    super::refused(name, why, &String::from_utf8_lossy(&value))
}

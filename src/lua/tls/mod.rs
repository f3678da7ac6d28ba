//! Reads the TLS options, which have LuaSec's names and values.
//!
//! Harmless values are accepted. An option whose restriction luws could not enforce is refused, with a string that
//! names it. The driver has already checked the names and types of the options.

mod authorities;
mod connectors;
mod crypto;
mod files;
mod server;

use super::Context;
use super::value::{Table, Value};
use crate::tls::fingerprint::Fingerprint;
use crate::tls::{Agreement, Connector, Peer, TlsOptions, Verify, Version};
use crate::url::domain;

pub(super) use authorities::Files;
pub(super) use connectors::{Connectors, Fault};
pub(super) use server::acceptor;

/// LuaSec's names for the versions, oldest first.
const VERSIONS: [(&str, Version); 4] = [
    ("tlsv1", Version::Tls10),
    ("tlsv1_1", Version::Tls11),
    ("tlsv1_2", Version::Tls12),
    ("tlsv1_3", Version::Tls13),
];

/// The [`VERSIONS`] that are allowed by default.
const DEFAULT_VERSIONS: [bool; 4] = [false, false, true, true];

/// LuaSec's `options` that luws always has, that only permit something, or that do not concern a client.
const HARMLESS: &[&str] = &[
    "all",
    "allow_client_renegotiation",
    "allow_no_dhe_kex",
    "cipher_server_preference",
    "cisco_anyconnect",
    "cookie_exchange",
    "cryptopro_tlsext_bug",
    "disable_tlsext_ca_names",
    "dont_insert_empty_fragments",
    "enable_ktls",
    "enable_middlebox_compat",
    "ephemeral_rsa",
    "ignore_unexpected_eof",
    "microsoft_big_sslv3_buffer",
    "microsoft_sess_id_bug",
    "msie_sslv2_rsa_padding",
    "netscape_ca_dn_bug",
    "netscape_challenge_bug",
    "netscape_demo_cipher_change_bug",
    "netscape_reuse_cipher_change_bug",
    "no_anti_replay",
    "no_compression",
    "no_dtls_mask",
    "no_dtlsv1",
    "no_dtlsv1_2",
    "no_query_mtu",
    "no_session_resumption_on_renegotiation",
    "no_sslv2",
    "no_sslv3",
    "no_ticket",
    "pkcs1_check_1",
    "pkcs1_check_2",
    "prioritize_chacha",
    "safari_ecdhe_ecdsa_bug",
    "single_dh_use",
    "single_ecdh_use",
    "ssleay_080_client_dh_bug",
    "sslref2_reuse_cert_type_bug",
    "tls_block_padding_bug",
    "tls_d5_bug",
    "tls_rollback_bug",
    "tlsext_padding",
];

/// The most bytes of ALPN names, which must fit into the ClientHello.
const LONGEST_ALPN: usize = 16 * 1024;

/// An error about an option: a sentence that names it.
type Refusal = String;

/// The result of reading a connection's options.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) options: TlsOptions,
    /// The name to send and to find in the certificate, if it is not the URL's host.
    pub(super) server_name: Option<String>,
}

/// The connector of a TLS client with the options in the table, and the server's name, if they have one.
///
/// # Errors
/// See [`wanted`], and what the library says of the options.
pub(super) fn connector(context: &Context, table: &Table) -> Result<(Connector, Option<String>), Fault> {
    let wanted = wanted(context, table, true)?;
    Ok((context.connector(wanted.options, table)?, wanted.server_name))
}

/// Reads the options of a TLS client from a table with LuaSec's own names. For ws URLs (`secure` is false) they are
/// checked too, since a plugin may set them for both, and only a fingerprint is refused.
///
/// # Errors
/// Names the option, as it is spelt for `wsopen`, and the value.
pub(super) fn wanted(context: &Context, table: &Table, secure: bool) -> Result<Wanted, Fault> {
    for word in words(table, "mode")? {
        match word.as_str() {
            "client" => {}
            "server" => return Err(refused("mode", "a WebSocket client is a TLS client", &word).into()),
            _ => return Err(refused("mode", "invalid mode", &word).into()),
        }
    }
    let settings = words(table, "options")?;
    let (min, max) = versions(&words(table, "protocol")?, &settings)?;
    let mut fingerprints = Vec::new();
    for text in strings(table, "fingerprint")? {
        let text = String::from_utf8_lossy(&text);
        if !secure {
            return Err(refused("fingerprint", "over ws there is no certificate", &text).into());
        }
        fingerprints
            .push(Fingerprint::parse(&text).map_err(|why| refused("fingerprint", &why.to_string(), &text))?);
    }
    let options = TlsOptions {
        min,
        max,
        verify: verify(table)?,
        authorities: authorities::named(context, table)?,
        fingerprints,
        identity: files::identity(table)?,
        alpn: alpn(table)?,
        sni: flag(table, "sni") != Some(false),
        crypto: crypto::crypto(table, &settings)?,
    };
    if !secure {
        connectors::check(&options.crypto, table)?;
    }
    Ok(Wanted { options, server_name: server_name(table)? })
}

fn verify(table: &Table) -> Result<Verify, Refusal> {
    let mut verify = Verify::Nothing;
    for word in words(table, "verify")? {
        match word.as_str() {
            "none" => {}
            "peer" | "fail_if_no_peer_cert" | "client_once" => verify = Verify::ChainAndHost,
            _ => return Err(refused("verify", "invalid verify option", &word)),
        }
    }
    match (verify, flag(table, "verify_hostname")) {
        (Verify::Nothing, Some(true)) => {
            Err(refused("verify_hostname", "it requires ssl_verify = \"peer\"", "true"))
        }
        (Verify::ChainAndHost, Some(false)) => Ok(Verify::Chain),
        (verify, _) => Ok(verify),
    }
}

/// The oldest and the newest version that `protocol` asks for and `options` leave.
fn versions(protocol: &[String], options: &[String]) -> Result<(Version, Option<Version>), Refusal> {
    let mut allowed = if protocol.is_empty() { DEFAULT_VERSIONS } else { [false; VERSIONS.len()] };
    for word in protocol {
        let named = match word.as_str() {
            "any" | "all" | "sslv23" => DEFAULT_VERSIONS,
            _ => VERSIONS.map(|(name, _)| name == word),
        };
        if !named.contains(&true) {
            return Err(refused("protocol", "invalid protocol", word));
        }
        allowed = std::array::from_fn(|version| allowed[version] || named[version]);
    }
    range(allowed).map_err(|why| refused("protocol", why, &protocol.join(",")))?;
    for word in options {
        let excluded =
            word.strip_prefix("no_").and_then(|v| VERSIONS.iter().position(|(name, _)| *name == v));
        match excluded {
            Some(index) => allowed[index] = false,
            None if HARMLESS.contains(&word.as_str()) || crypto::OPTIONS.contains(&word.as_str()) => {}
            None => return Err(refused("options", "invalid option", word)),
        }
    }
    let (first, last) = range(allowed).map_err(|why| refused("options", why, &options.join(",")))?;
    // If the newest version is allowed, so are versions that do not exist yet.
    let newest = if allowed == DEFAULT_VERSIONS { None } else { Some(VERSIONS[last].1) };
    Ok((VERSIONS[first].1, newest))
}

/// The first and the last of the allowed versions, since the library takes a range.
fn range(allowed: [bool; VERSIONS.len()]) -> Result<(usize, usize), &'static str> {
    let first = allowed.iter().position(|is| *is).ok_or("no TLS version is left")?;
    let last = allowed.iter().rposition(|is| *is).unwrap_or(first);
    if allowed[first..=last].contains(&false) {
        return Err("the TLS versions left are not contiguous");
    }
    Ok((first, last))
}

fn alpn(table: &Table) -> Result<Vec<String>, Refusal> {
    let (mut names, mut length) = (Vec::new(), 0);
    for name in strings(table, "alpn")? {
        let wrong = |why| refused("alpn", why, &String::from_utf8_lossy(&name));
        // The TLS library accepts only UTF-8, although the RFC allows any bytes.
        let text = std::str::from_utf8(&name).map_err(|_| wrong("not valid UTF-8"))?.to_owned();
        if !(1..=255).contains(&text.len()) {
            return Err(wrong("a name has 1 to 255 bytes"));
        }
        length += text.len() + 1;
        if length > LONGEST_ALPN {
            return Err(wrong("too many names"));
        }
        names.push(text);
    }
    Ok(names)
}

fn server_name(table: &Table) -> Result<Option<String>, Refusal> {
    if flag(table, "sni").is_some() {
        return Ok(None);
    }
    let Some(name) = strings(table, "sni")?.into_iter().next() else { return Ok(None) };
    // RFC 6066 section 3: a DNS name, not an address.
    let text = String::from_utf8_lossy(&name);
    domain(&text).map(Some).ok_or_else(|| refused("sni", "not the name of a host", &text))
}

/// The strings of an option, which is a string or an array of strings.
fn strings(table: &Table, name: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    let wrong = || format!("bad option 'ssl_{name}' (string or array of strings expected)");
    match table.get(name) {
        Value::Nil => Ok(Vec::new()),
        Value::Bytes(text) => Ok(vec![text.clone()]),
        Value::Table(array) => {
            let elements = array.elements().into_iter();
            elements.map(|element| element.bytes().map(<[u8]>::to_vec).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// The words of an option. As in LuWS, a string may hold several, separated by commas.
fn words(table: &Table, name: &str) -> Result<Vec<String>, Refusal> {
    let strings = strings(table, name)?;
    let words = strings.iter().flat_map(|text| {
        String::from_utf8_lossy(text).split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    });
    Ok(words.collect())
}

/// The value of a boolean option.
fn flag(table: &Table, name: &str) -> Option<bool> {
    table.get(name).boolean()
}

fn refused(name: &str, why: &str, value: &str) -> Refusal {
    format!("bad option 'ssl_{name}': {why} ({value})")
}

/// The table for `conn.tls`.
pub(super) fn peer(peer: Peer) -> Table {
    let mut table = Table::default();
    table.set("verified", peer.verified);
    table.set("alpn", peer.alpn);
    table.set("version", peer.agreement.map(Agreement::version));
    table.set("cipher", peer.agreement.map(Agreement::cipher));
    if let Some(certificate) = peer.certificate {
        table.set("fingerprint", certificate.fingerprint.to_hex());
        table.set("public_key", certificate.public_key.map(|key| key.to_base64()));
        table.set("subject", certificate.subject);
        table.set("issuer", certificate.issuer);
        table.set("not_after", certificate.not_after.map(|time| time as f64));
    }
    table
}

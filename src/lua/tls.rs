//! The TLS options from LuaSec's words for them, and the files that they name.
//!
//! The rule: what is harmless is accepted; what would fail to give a restriction that was asked for is refused, with a
//! string that names the option. The driver has checked which options there are, and their types.

use std::fs;
use std::path::Path;

use mlua::{Lua, LuaString, Result as LuaResult, Table, Value};

use crate::net::describe;
use crate::tls::certificate;
use crate::tls::fingerprint::Fingerprint;
use crate::tls::identity::{self, Identity, IdentityError};
use crate::tls::{Connector, OptionsError, Peer, TlsOptions, Verify, Version};
use crate::url::domain;

/// LuaSec's names of the versions, oldest first.
const VERSIONS: [(&str, Version); 4] = [
    ("tlsv1", Version::Tls10),
    ("tlsv1_1", Version::Tls11),
    ("tlsv1_2", Version::Tls12),
    ("tlsv1_3", Version::Tls13),
];

/// Which of [`VERSIONS`] are allowed where nothing else was asked for.
const DEFAULT_VERSIONS: [bool; 4] = [false, false, true, true];

/// LuaSec's `options` that are so anyway, are permissions that need not be used, or mean nothing to a client.
const HARMLESS: &[&str] = &[
    "all",
    "allow_no_dhe_kex",
    "allow_unsafe_legacy_renegotiation",
    "cipher_server_preference",
    "cisco_anyconnect",
    "cookie_exchange",
    "cryptopro_tlsext_bug",
    "dont_insert_empty_fragments",
    "enable_middlebox_compat",
    "ephemeral_rsa",
    "ignore_unexpected_eof",
    "legacy_server_connect",
    "microsoft_big_sslv3_buffer",
    "microsoft_sess_id_bug",
    "msie_sslv2_rsa_padding",
    "netscape_ca_dn_bug",
    "netscape_challenge_bug",
    "netscape_demo_cipher_change_bug",
    "netscape_reuse_cipher_change_bug",
    "no_anti_replay",
    "no_compression",
    "no_dtlsv1",
    "no_dtlsv1_2",
    "no_query_mtu",
    "no_session_resumption_on_renegotiation",
    "no_sslv2",
    "no_sslv3",
    "no_ticket",
    "prioritize_chacha",
    "safari_ecdhe_ecdsa_bug",
    "single_dh_use",
    "single_ecdh_use",
    "ssleay_080_client_dh_bug",
    "sslref2_reuse_cert_type_bug",
    "tls_block_padding_bug",
    "tls_d5_bug",
    "tls_rollback_bug",
];

/// What is wrong with an option, in a sentence that names it.
type Refusal = String;

/// What the options of a connection come to.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) options: TlsOptions,
    /// Where not the URL's host: the name to send and to find in the certificate.
    pub(super) server_name: Option<String>,
}

/// The options of a TLS client from a table with LuaSec's own names.
///
/// # Errors
/// Names the option, as it is spelt for `wsopen`, and the value.
pub(super) fn wanted(table: &Table) -> Result<Wanted, Refusal> {
    for word in words(table, "mode") {
        match word.as_str() {
            "client" => {}
            "server" => return Err(refused("mode", "a WebSocket client is a TLS client", &word)),
            _ => return Err(refused("mode", &format!("invalid mode ({word})"), "client")),
        }
    }
    let (min, max) = versions(&words(table, "protocol"), &words(table, "options"))?;
    let fingerprints = words(table, "fingerprint")
        .into_iter()
        .map(|text| Fingerprint::parse(&text).map_err(|why| refused("fingerprint", why, &text)));
    let options = TlsOptions {
        min,
        max,
        verify: verify(table)?,
        authorities: authorities(table)?,
        fingerprints: fingerprints.collect::<Result<_, _>>()?,
        identity: identity(table)?,
        alpn: alpn(table)?,
        sni: flag(table, "sni"),
    };
    Ok(Wanted { options, server_name: server_name(table)? })
}

/// Makes the connector; what is wrong names the options that it follows from.
///
/// # Errors
/// Names the option.
pub(super) fn connector(options: &TlsOptions, table: &Table) -> Result<Connector, Refusal> {
    options.connector().map_err(|error| match error {
        OptionsError::Authorities(why) => {
            let name = if text(table, "cafile").is_some() { "cafile" } else { "capath" };
            refused(name, &format!("a certificate in it is not valid: {why}"), &words(table, name).join(", "))
        }
        OptionsError::Identity(why) => {
            let name = if text(table, "key").is_some() { "key" } else { "certificate" };
            let file = text(table, name).unwrap_or_default();
            // OpenSSL's words for what people meet.
            let why = match why.as_str() {
                "mac verify failure" => "wrong ssl_password",
                "key values mismatch" => "not the key of the certificate in ssl_certificate",
                why if why.contains("unsupported") => {
                    "it is encrypted in a way that is no longer supported; \
                     make it anew by 'openssl pkcs12 -legacy' to PEM and 'openssl pkcs12 -export' from that"
                }
                why => why,
            };
            refused(name, why, &file)
        }
        OptionsError::Other(why) => why,
    })
}

fn verify(table: &Table) -> Result<Verify, Refusal> {
    let mut verify = Verify::Nothing;
    for word in words(table, "verify") {
        match word.as_str() {
            "none" => {}
            "peer" | "fail_if_no_peer_cert" | "client_once" => verify = Verify::ChainAndHost,
            _ => return Err(refused("verify", "invalid verify option", &word)),
        }
    }
    Ok(if verify == Verify::ChainAndHost && !flag(table, "verify_hostname") { Verify::Chain } else { verify })
}

/// The oldest and the newest version that `protocol` asks for and `options` leave.
fn versions(protocol: &[String], options: &[String]) -> Result<(Version, Option<Version>), Refusal> {
    let mut allowed = [false; VERSIONS.len()];
    for word in protocol {
        let named = match word.as_str() {
            "any" | "all" | "sslv23" => DEFAULT_VERSIONS,
            _ => VERSIONS.map(|(name, _)| name == word),
        };
        if named == [false; VERSIONS.len()] {
            return Err(refused("protocol", "invalid protocol", word));
        }
        allowed = std::array::from_fn(|version| allowed[version] || named[version]);
    }
    for word in options {
        let excluded =
            word.strip_prefix("no_").and_then(|v| VERSIONS.iter().position(|(name, _)| *name == v));
        match excluded {
            Some(index) => allowed[index] = false,
            None if HARMLESS.contains(&word.as_str()) => {}
            None => return Err(refused("options", "invalid option", word)),
        }
    }
    let (Some(first), Some(last)) = (allowed.iter().position(|a| *a), allowed.iter().rposition(|a| *a))
    else {
        return Err(refused("options", "no TLS version is left", &options.join(",")));
    };
    if allowed[first..=last].contains(&false) {
        return Err(refused("options", "the TLS versions left are not contiguous", &options.join(",")));
    }
    // Where the newest is not ruled out, nor is one that does not exist yet.
    let newest = if allowed == DEFAULT_VERSIONS { None } else { Some(VERSIONS[last].1) };
    Ok((VERSIONS[first].1, newest))
}

/// The certificates of `cafile` and of all files in the folder `capath`; `None` if neither is given.
fn authorities(table: &Table) -> Result<Option<Vec<Vec<u8>>>, Refusal> {
    let mut all = None;
    for file in words(table, "cafile") {
        let text = read("cafile", &file)?;
        let certificates = certificate::read_pem(&text).map_err(|why| refused("cafile", &why, &file))?;
        all.get_or_insert_with(Vec::new).extend(certificates);
    }
    if let Some(folder) = text(table, "capath") {
        let entries = fs::read_dir(&folder).map_err(|error| refused("capath", &describe(&error), &folder))?;
        let found = all.get_or_insert_with(Vec::new);
        let before = found.len();
        for entry in entries.flatten() {
            // The folder may hold other things, and each certificate twice: the second time by its hash.
            if let Ok(text) = regular(&entry.path()) {
                found.extend(certificate::read_pem(&text).unwrap_or_default());
            }
        }
        if found.len() == before {
            return Err(refused("capath", "no PEM certificate in it", &folder));
        }
        // The order of a folder means nothing, and may change.
        found[before..].sort_unstable();
        found.dedup();
    }
    Ok(all)
}

fn identity(table: &Table) -> Result<Option<Identity>, Refusal> {
    let (certificate, key) = (text(table, "certificate"), text(table, "key"));
    let Some(certificate) = certificate else {
        return match key {
            Some(key) => Err(refused("key", "ssl_certificate is missing", &key)),
            None => Ok(None),
        };
    };
    let chain = read("certificate", &certificate)?;
    if identity::is_archive(&chain) {
        return match key {
            Some(key) => Err(refused("key", "ssl_certificate is PKCS#12, which has the key inside", &key)),
            None => Ok(Some(Identity::from_pkcs12(chain, text(table, "password").unwrap_or_default()))),
        };
    }
    let key = key.ok_or_else(|| refused("certificate", "ssl_key is missing", &certificate))?;
    let identity = Identity::from_pem(&chain, &read("key", &key)?);
    identity.map(Some).map_err(|error| match error {
        IdentityError::NoCertificate => refused("certificate", &error.to_string(), &certificate),
        IdentityError::EncryptedKey => {
            let line = format!("{error}; decrypt it by: openssl pkcs8 -topk8 -nocrypt -in {key} -out FILE");
            refused("key", &line, &key)
        }
        IdentityError::NoKey | IdentityError::BadKey(_) => refused("key", &error.to_string(), &key),
    })
}

fn alpn(table: &Table) -> Result<Vec<String>, Refusal> {
    let names = words(table, "alpn");
    match names.iter().find(|name| !(1..=255).contains(&name.len())) {
        Some(name) => Err(refused("alpn", "a name has 1 to 255 bytes", name)),
        None => Ok(names),
    }
}

fn server_name(table: &Table) -> Result<Option<String>, Refusal> {
    let Some(name) = text(table, "sni") else { return Ok(None) };
    // RFC 6066 section 3: a DNS name and no address.
    domain(&name).map(Some).ok_or_else(|| refused("sni", "not the name of a host", &name))
}

fn read(option: &str, file: &str) -> Result<Vec<u8>, Refusal> {
    regular(Path::new(file)).map_err(|why| refused(option, &why, file))
}

/// The contents of a file that has an end and needs no waiting for.
fn regular(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| describe(&error))?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    fs::read(path).map_err(|error| describe(&error))
}

/// The words of an option: a string (the original also had several in one, separated by commas), or an array.
fn words(table: &Table, name: &str) -> Vec<String> {
    let of_commas = ["mode", "protocol", "options", "verify"].contains(&name);
    match table.get(name) {
        Ok(Value::String(text)) if of_commas => {
            text.to_string_lossy().split(',').map(|word| word.trim().to_owned()).collect()
        }
        Ok(Value::String(text)) => vec![text.to_string_lossy()],
        Ok(Value::Table(array)) => {
            array.sequence_values::<LuaString>().flatten().map(|word| word.to_string_lossy()).collect()
        }
        _ => Vec::new(),
    }
}

fn text(table: &Table, name: &str) -> Option<String> {
    match table.get(name) {
        Ok(Value::String(text)) => Some(text.to_string_lossy()),
        _ => None,
    }
}

/// Whether an option was not switched off.
fn flag(table: &Table, name: &str) -> bool {
    !matches!(table.get(name), Ok(Value::Boolean(false)))
}

fn refused(name: &str, why: &str, value: &str) -> Refusal {
    format!("bad option 'ssl_{name}': {why} ({value})")
}

/// What `conn.tls` is.
pub(super) fn peer(lua: &Lua, peer: Peer) -> LuaResult<Table> {
    let table = lua.create_table()?;
    table.set("verified", peer.verified)?;
    table.set("alpn", peer.alpn)?;
    if let Some(certificate) = peer.certificate {
        table.set("fingerprint", certificate.fingerprint.to_hex())?;
        table.set("public_key", certificate.public_key.map(|key| key.to_base64()))?;
        table.set("subject", certificate.subject)?;
        table.set("issuer", certificate.issuer)?;
        table.set("not_after", certificate.not_after)?;
    }
    Ok(table)
}

//! The TLS options from LuaSec's words for them, and the files that they name.
//!
//! The rule: what is harmless is accepted; what would fail to give a restriction that was asked for is refused, with a
//! string that names the option. The driver has checked which options there are, and their types.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mlua::{Lua, LuaString, Result as LuaResult, Table, Value};

use super::session::Fault;
use crate::net::describe;
use crate::tls::certificate;
use crate::tls::fingerprint::Fingerprint;
use crate::tls::identity::{self, Form, Identity, IdentityError};
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
    "allow_client_renegotiation",
    "allow_no_dhe_kex",
    "allow_unsafe_legacy_renegotiation",
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

/// The most bytes of a file that is read whole: authorities of whole countries are a few hundred thousand.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// The most bytes of names that are offered; what holds them in a ClientHello has no more room.
const LONGEST_ALPN: usize = 16 * 1024;

/// What is wrong with an option, in a sentence that names it.
type Refusal = String;

/// What the options of a connection come to.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) options: TlsOptions,
    /// Where not the URL's host: the name to send and to find in the certificate.
    pub(super) server_name: Option<String>,
}

/// The options of a TLS client from a table with LuaSec's own names. They are read for ws as well (`secure` is false),
/// where the same plugin may set them and none but a fingerprint is missed.
///
/// # Errors
/// Names the option, as it is spelt for `wsopen`, and the value.
pub(super) fn wanted(lua: &Lua, table: &Table, secure: bool) -> Result<Wanted, Refusal> {
    for word in words(table, "mode")? {
        match word.as_str() {
            "client" => {}
            "server" => return Err(refused("mode", "a WebSocket client is a TLS client", &word)),
            _ => return Err(refused("mode", "invalid mode", &word)),
        }
    }
    let (min, max) = versions(&words(table, "protocol")?, &words(table, "options")?)?;
    let mut fingerprints = Vec::new();
    for text in strings(table, "fingerprint")? {
        let text = text.to_string_lossy();
        if !secure {
            return Err(refused("fingerprint", "over ws there is no certificate", &text));
        }
        fingerprints.push(Fingerprint::parse(&text).map_err(|why| refused("fingerprint", why, &text))?);
    }
    let options = TlsOptions {
        min,
        max,
        verify: verify(table)?,
        authorities: authorities(lua, table)?,
        fingerprints,
        identity: identity(table)?,
        alpn: alpn(table)?,
        sni: flag(table, "sni") != Some(false),
    };
    Ok(Wanted { options, server_name: server_name(table)? })
}

/// Makes the connector.
///
/// # Errors
/// Names the option that it follows from, if it follows from one.
pub(super) fn connector(options: &TlsOptions, table: &Table) -> Result<Connector, Fault> {
    // The bindings of OpenSSL panic over what they cannot take from the environment.
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
            return Err(Fault::Tls(format!("the environment variable {name} is not valid UTF-8")));
        }
    }
    let made = catch_unwind(AssertUnwindSafe(|| options.connector()));
    made.unwrap_or_else(|_| Err(OptionsError::Other("the TLS library cannot be set up".into()))).map_err(
        |error| {
            let shown = |name| path(table, name).map(|path| path.display().to_string()).unwrap_or_default();
            match error {
                OptionsError::Certificate(why) => refused("certificate", &why, &shown("certificate")).into(),
                OptionsError::Key(why) => refused("key", &why, &shown("key")).into(),
                OptionsError::Other(why) => Fault::Tls(why),
            }
        },
    )
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
            Err(refused("verify_hostname", "that goes with ssl_verify = \"peer\"", "true"))
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
            None if HARMLESS.contains(&word.as_str()) => {}
            None => return Err(refused("options", "invalid option", word)),
        }
    }
    let (first, last) = range(allowed).map_err(|why| refused("options", why, &options.join(",")))?;
    // Where the newest is not ruled out, nor is one that does not exist yet.
    let newest = if allowed == DEFAULT_VERSIONS { None } else { Some(VERSIONS[last].1) };
    Ok((VERSIONS[first].1, newest))
}

/// The first and the last version of those that are allowed; the library takes a range.
fn range(allowed: [bool; VERSIONS.len()]) -> Result<(usize, usize), &'static str> {
    let first = allowed.iter().position(|is| *is).ok_or("no TLS version is left")?;
    let last = allowed.iter().rposition(|is| *is).unwrap_or(first);
    if allowed[first..=last].contains(&false) {
        return Err("the TLS versions left are not contiguous");
    }
    Ok((first, last))
}

/// The certificates of `cafile` and of all files in the folder `capath`; `None` if neither is given.
fn authorities(lua: &Lua, table: &Table) -> Result<Option<Vec<Vec<u8>>>, Refusal> {
    let mut all = None;
    for file in strings(table, "cafile")? {
        let file = as_path(&file);
        let certificates = certificates(lua, &file);
        all.get_or_insert_with(Vec::new)
            .extend(certificates.map_err(|why| wrong_file("cafile", &why, &file))?);
    }
    if let Some(folder) = path(table, "capath") {
        let wrong = |why: &str| wrong_file("capath", why, &folder);
        let found = all.get_or_insert_with(Vec::new);
        let before = found.len();
        for entry in fs::read_dir(&folder).map_err(|error| wrong(&describe(&error)))?.flatten() {
            // The folder may hold other things, and each certificate twice: the second time by its hash.
            found.extend(certificates(lua, &entry.path()).unwrap_or_default());
        }
        if found.len() == before {
            return Err(wrong("no PEM certificate in it"));
        }
        // The order of a folder means nothing, and may change.
        found[before..].sort_unstable();
        found.dedup();
    }
    Ok(all)
}

/// The authorities' files of a Lua state as they were last read: their text, and the certificates in it. To check those
/// is dear (0.1 ms each), and a program that reconnects names the same files again.
#[derive(Default)]
pub(super) struct Files(HashMap<PathBuf, (Vec<u8>, Vec<Vec<u8>>)>);

impl Files {
    /// More files than this are not remembered.
    const MOST: usize = 1000;
}

/// The certificates in a file, which is read each time, for it may have changed.
fn certificates(lua: &Lua, path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let text = read(path)?;
    let Some(mut files) = lua.app_data_mut::<Files>() else { return certificate::read_pem(&text) };
    if let Some((before, certificates)) = files.0.get(path)
        && *before == text
    {
        return Ok(certificates.clone());
    }
    let certificates = certificate::read_pem(&text)?;
    if files.0.len() >= Files::MOST {
        files.0.clear();
    }
    files.0.insert(path.to_owned(), (text, certificates.clone()));
    Ok(certificates)
}

fn identity(table: &Table) -> Result<Option<Identity>, Refusal> {
    let (certificate, key) = (path(table, "certificate"), path(table, "key"));
    let Some(certificate) = certificate else {
        return match key {
            Some(key) => Err(wrong_file("key", "ssl_certificate is missing", &key)),
            None => Ok(None),
        };
    };
    let of_certificate = |why: &str| wrong_file("certificate", why, &certificate);
    let chain = read(&certificate).map_err(|why| of_certificate(&why))?;
    match identity::form(&chain) {
        Form::Pem => {}
        Form::Archive if let Some(key) = key => {
            return Err(wrong_file("key", "ssl_certificate is PKCS#12, which has the key in it", &key));
        }
        Form::Archive => return Ok(Some(Identity::from_pkcs12(chain, password(table)?))),
        Form::Certificate => {
            let line = format!("openssl x509 -inform der -in {} -out FILE", quoted(&certificate));
            return Err(of_certificate(&format!("it is DER and not PEM; convert it by: {line}")));
        }
    }
    let Some(key) = key else { return Err(of_certificate("ssl_key is missing")) };
    let of_key = |why: &str| wrong_file("key", why, &key);
    let identity = Identity::from_pem(&chain, &read(&key).map_err(|why| of_key(&why))?);
    identity.map(Some).map_err(|error| match error {
        IdentityError::Certificate(why) => of_certificate(&why),
        IdentityError::Key(why) => of_key(&why),
        IdentityError::EncryptedKey => {
            let line = format!("openssl pkcs8 -topk8 -nocrypt -in {} -out FILE", quoted(&key));
            of_key(&format!("the key is encrypted; decrypt it by: {line}"))
        }
    })
}

/// The password, which is in no message.
fn password(table: &Table) -> Result<String, Refusal> {
    let Some(password) = strings(table, "password")?.into_iter().next() else { return Ok(String::new()) };
    match password.to_str() {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) => Err("bad option 'ssl_password' (it has a NUL in it)".into()),
        Err(_) => Err("bad option 'ssl_password' (it is not valid UTF-8)".into()),
    }
}

fn alpn(table: &Table) -> Result<Vec<String>, Refusal> {
    let (mut names, mut length) = (Vec::new(), 0);
    for name in strings(table, "alpn")? {
        let wrong = |why| refused("alpn", why, &name.to_string_lossy());
        // The library takes no other bytes, though the RFC would.
        let text = name.to_str().map_err(|_| wrong("not valid UTF-8"))?.to_owned();
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
    // RFC 6066 section 3: a DNS name and no address.
    let text = name.to_string_lossy();
    domain(&text).map(Some).ok_or_else(|| refused("sni", "not the name of a host", &text))
}

/// The contents of a file that has an end and needs no waiting for.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| describe(&error))?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    let mut contents = Vec::new();
    let file = fs::File::open(path).map_err(|error| describe(&error))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut contents).map_err(|error| describe(&error))?;
    if contents.len() as u64 > LARGEST_FILE {
        return Err(format!("over {LARGEST_FILE} bytes"));
    }
    Ok(contents)
}

/// The strings of an option: one, or an array of them.
fn strings(table: &Table, name: &str) -> Result<Vec<LuaString>, Refusal> {
    let wrong = || format!("bad option 'ssl_{name}' (string or array of strings expected)");
    match table.get(name) {
        Ok(Value::Nil) => Ok(Vec::new()),
        Ok(Value::String(text)) => Ok(vec![text]),
        Ok(Value::Table(array)) => array
            .sequence_values()
            .map(|item| match item {
                Ok(Value::String(text)) => Ok(text),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

/// The words of an option: the original had several in one string as well, separated by commas.
fn words(table: &Table, name: &str) -> Result<Vec<String>, Refusal> {
    let strings = strings(table, name)?;
    let words = strings.iter().flat_map(|text| {
        text.to_string_lossy().split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    });
    Ok(words.collect())
}

/// An option that was switched on or off.
fn flag(table: &Table, name: &str) -> Option<bool> {
    match table.get(name) {
        Ok(Value::Boolean(on)) => Some(on),
        _ => None,
    }
}

fn path(table: &Table, name: &str) -> Option<PathBuf> {
    match table.get(name) {
        Ok(Value::String(text)) => Some(as_path(&text)),
        _ => None,
    }
}

/// The name of a file, which on Unix is any bytes.
fn as_path(text: &LuaString) -> PathBuf {
    #[cfg(unix)]
    return PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(
        text.as_bytes().to_vec(),
    ));
    #[cfg(not(unix))]
    text.to_string_lossy().into()
}

/// A file's name for a line of shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn wrong_file(name: &str, why: &str, path: &Path) -> Refusal {
    refused(name, why, &path.display().to_string())
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

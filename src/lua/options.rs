//! Options from Lua tables: those of compression and of SockProxy, and LuaSec's words for TLS as far as they can be kept.
//!
//! The rule for the latter: what is harmless is accepted; what would fail to give a restriction that was asked for
//! is refused, with a string that names the option.

use crate::protocol::deflate;
use crate::proxy::sockproxy;
use crate::tls::{TlsOptions, Version};
use mlua::{Result as LuaResult, Table, Value};

/// A size in bytes that Lua may hold as a float (`math.huge` is as much as there is).
pub(super) fn field(table: &Table, name: &str) -> LuaResult<usize> {
    // Rust's conversion saturates, and makes 0 of what is negative or not a number.
    Ok(table.get::<f64>(name)? as usize)
}

/// The options of permessage-deflate from a table that the driver has checked and completed.
pub(super) fn deflate(table: &Table) -> LuaResult<deflate::Options> {
    Ok(deflate::Options {
        server_no_context_takeover: table.get("server_no_context_takeover")?,
        client_no_context_takeover: table.get("client_no_context_takeover")?,
        server_max_window_bits: table.get("server_max_window_bits")?,
        client_max_window_bits: table.get("client_max_window_bits")?,
        level: table.get("level")?,
        threshold: field(table, "threshold")?,
    })
}

/// What is asked of SockProxy, from a table that the driver has checked and completed.
pub(super) fn sockproxy(table: &Table) -> LuaResult<sockproxy::Options> {
    let device = table.get::<Option<String>>("device")?;
    let notify = match device {
        Some(device) => Some(sockproxy::Notify {
            device,
            service: table.get("service")?,
            action: table.get("action")?,
            pid: table.get("pid")?,
        }),
        None => None,
    };
    Ok(sockproxy::Options {
        host: table.get("target_host")?,
        port: table.get("target_port")?,
        notify,
        rtim: field(table, "rtim")? as u64,
        pace: field(table, "pace")? as u64,
    })
}

/// LuaSec's names of the versions, oldest first.
const VERSIONS: [(&str, Version); 4] = [
    ("tlsv1", Version::Tls10),
    ("tlsv1_1", Version::Tls11),
    ("tlsv1_2", Version::Tls12),
    ("tlsv1_3", Version::Tls13),
];

/// Which of [`VERSIONS`] are allowed where nothing else was asked for.
const DEFAULT_VERSIONS: [bool; 4] = [false, false, true, true];

/// LuaSec's `options` that are so anyway, or mean nothing to a client.
const HARMLESS: &[&str] = &[
    "all",
    "allow_unsafe_legacy_renegotiation",
    "cipher_server_preference",
    "ephemeral_rsa",
    "legacy_server_connect",
    "no_compression",
    "no_query_mtu",
    "no_session_resumption_on_renegotiation",
    "no_sslv2",
    "no_sslv3",
    "no_ticket",
    "single_dh_use",
    "single_ecdh_use",
    "tls_rollback_bug",
];

/// The options of a TLS client from a table with LuaSec's own names: `protocol`, `verify`, `mode`,
/// `options`, `cafile`.
///
/// # Errors
/// Names the option, as it is spelt for `wsopen`, and the value.
pub(super) fn tls(table: &Table) -> Result<TlsOptions, String> {
    for word in words(table, "mode")? {
        if word != "client" {
            return Err(refused("mode", &word, "a WebSocket client is a TLS client"));
        }
    }
    let mut tls = TlsOptions { verify: false, ..TlsOptions::default() };
    (tls.min, tls.max) = versions(&words(table, "protocol")?, &words(table, "options")?)?;
    for word in words(table, "verify")? {
        match word.as_str() {
            "none" => {}
            "peer" | "fail_if_no_peer_cert" | "client_once" => tls.verify = true,
            _ => return Err(refused("verify", &word, "invalid verify option")),
        }
    }
    for file in words(table, "cafile")? {
        let pem = std::fs::read(&file).map_err(|error| refused("cafile", &file, &error.to_string()))?;
        tls.ca.get_or_insert_default().extend(pem);
    }
    Ok(tls)
}

/// The oldest and the newest version that `protocol` asks for and `options` leave.
fn versions(protocol: &[String], options: &[String]) -> Result<(Version, Option<Version>), String> {
    let mut allowed = DEFAULT_VERSIONS;
    for word in protocol {
        if ["any", "all", "sslv23"].contains(&word.as_str()) {
            continue;
        }
        if !VERSIONS.iter().any(|(name, _)| name == word) {
            return Err(refused("protocol", word, "invalid protocol"));
        }
        allowed = VERSIONS.map(|(name, _)| name == word);
    }
    for word in options {
        let excluded =
            word.strip_prefix("no_").and_then(|v| VERSIONS.iter().position(|(name, _)| *name == v));
        match excluded {
            Some(index) => allowed[index] = false,
            None if HARMLESS.contains(&word.as_str()) => {}
            None => return Err(refused("options", word, "invalid option")),
        }
    }
    let (Some(first), Some(last)) = (allowed.iter().position(|a| *a), allowed.iter().rposition(|a| *a))
    else {
        return Err(refused("options", &options.join(","), "no TLS version is left"));
    };
    if allowed[first..=last].contains(&false) {
        return Err(refused("options", &options.join(","), "the TLS versions left are not contiguous"));
    }
    // Where the newest is not ruled out, nor is one that does not exist yet.
    let newest = if allowed == DEFAULT_VERSIONS { None } else { Some(VERSIONS[last].1) };
    Ok((VERSIONS[first].1, newest))
}

/// The words of an option: a string (the original also had several in one, separated by commas), or
/// an array of strings.
fn words(table: &Table, name: &str) -> Result<Vec<String>, String> {
    let wrong = |value: &Value| {
        format!("bad option 'ssl_{name}' (string or array of strings expected, got {})", value.type_name())
    };
    let value = table.get::<Value>(name).unwrap_or(Value::Nil);
    match &value {
        Value::Nil => Ok(Vec::new()),
        Value::String(text) if name == "cafile" => Ok(vec![text.to_string_lossy()]),
        Value::String(text) => {
            Ok(text.to_string_lossy().split(',').map(|word| word.trim().to_owned()).collect())
        }
        Value::Table(array) => array
            .sequence_values::<Value>()
            .map(|item| match item {
                Ok(Value::String(text)) => Ok(text.to_string_lossy()),
                other => Err(wrong(&other.unwrap_or(Value::Nil))),
            })
            .collect(),
        other => Err(wrong(other)),
    }
}

fn refused(name: &str, value: &str, why: &str) -> String {
    format!("bad option 'ssl_{name}': {why} ({value})")
}

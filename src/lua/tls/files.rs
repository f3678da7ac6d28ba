//! Reads the files that the TLS options name: the client's certificate and key. What all such files have in common is
//! here as well.

use std::path::{Path, PathBuf};

use super::{Refusal, refused, strings};
use crate::lua::files::{as_path, contents};
use crate::lua::value::Table;
use crate::tls::OptionsError;
use crate::tls::identity::{self, Form, Identity};

/// The maximum size of a file, in bytes. The authorities of a whole system are a few hundred thousand bytes.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

pub(super) fn identity(table: &Table) -> Result<Option<Identity>, Refusal> {
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
            return Err(of_certificate(&format!("it is DER and not PEM; convert it with: {line}")));
        }
    }
    let Some(key) = key else { return Err(of_certificate("ssl_key is missing")) };
    let text = read(&key).map_err(|why| wrong_file("key", &why, &key))?;
    Identity::from_pem(&chain, &text).map(Some).map_err(|error| wrong_identity(table, &error))
}

/// The error for the files of an identity, naming the option.
pub(super) fn wrong_identity(table: &Table, error: &OptionsError) -> Refusal {
    let key = path(table, "key").unwrap_or_default();
    let certificate = path(table, "certificate").unwrap_or_default();
    match error {
        OptionsError::Key(why) => wrong_file("key", why, &key),
        OptionsError::EncryptedKey => {
            let line = format!("openssl pkcs8 -topk8 -nocrypt -in {} -out FILE", quoted(&key));
            wrong_file("key", &format!("the key is encrypted; decrypt it with: {line}"), &key)
        }
        OptionsError::Password => wrong_file("certificate", "wrong ssl_password", &certificate),
        OptionsError::Certificate(why) | OptionsError::Other(why) => {
            wrong_file("certificate", why, &certificate)
        }
        OptionsError::Crypto { name, why } => super::crypto::refused(table, name, why),
    }
}

/// The password, which must not appear in any message.
fn password(table: &Table) -> Result<String, Refusal> {
    let Some(password) = strings(table, "password")?.into_iter().next() else { return Ok(String::new()) };
    match String::from_utf8(password) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => Err("bad option 'ssl_password' (it has a NUL in it)".into()),
        Err(_) => Err("bad option 'ssl_password' (it is not valid UTF-8)".into()),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    contents(path, LARGEST_FILE)
}

pub(super) fn path(table: &Table, name: &str) -> Option<PathBuf> {
    table.get(name).bytes().map(as_path)
}

/// A file name, quoted for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

pub(super) fn wrong_file(name: &str, why: &str, path: &Path) -> Refusal {
    refused(name, why, &path.display().to_string())
}

//! The identity of a client or a server: its certificate, the intermediate certificates up to an authority, and its
//! private key.
//!
//! The TLS library takes keys in PKCS#8 only; the older forms contain the same key and are wrapped here. Reads no
//! files.

use std::fmt;

#[cfg(not(any(windows, target_vendor = "apple")))]
use openssl::{
    pkcs12::Pkcs12,
    pkey::{PKey, Private},
    x509::X509,
};
use pem::Pem;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{AnyRef, Decode, Encode};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::EcPrivateKey;

use super::certificate::read_pem;
use super::error::{OptionsError, reason};

/// A certificate and its key. Its debug form shows neither.
///
/// See [`ServerOptions`](super::ServerOptions) for an example.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    /// PEM: the certificates, our own first, and the key in PKCS#8.
    Pem { chain: String, key: String },
    /// PKCS#12.
    Archive { der: Vec<u8>, password: String },
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The format of a certificate file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text, whether or not a certificate is in it.
    Pem,
    /// PKCS#12, which includes the key.
    Archive,
    /// A certificate in DER.
    Certificate,
}

/// Detects the format of a file: DER starts with a SEQUENCE, PEM is text with a BEGIN line.
#[must_use]
pub fn form(bytes: &[u8]) -> Form {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const SEQUENCE: u8 = 0x30;
    if bytes.first() != Some(&SEQUENCE) || bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Form::Pem;
    }
    // The first byte of a long length says how many bytes follow. The first field of a certificate is a sequence, that
    // of PKCS#12 a version.
    let length_bytes = bytes.get(1).map_or(0, |b| if b & 0x80 == 0 { 0 } else { usize::from(b & 0x7f) });
    if bytes.get(2 + length_bytes) == Some(&SEQUENCE) { Form::Certificate } else { Form::Archive }
}

impl Identity {
    /// Takes PEM: the certificates in one text (our own first), and the key in the other, which may be the same.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, OptionsError> {
        let chain = read_pem(certificates);
        let chain = chain.map_err(|error| OptionsError::Certificate(error.to_string()))?;
        let blocks: Vec<_> = chain.into_iter().map(|der| Pem::new("CERTIFICATE", der)).collect();
        let none = || OptionsError::Key("no PEM private key in it".into());
        let keys = pem::parse_many(key).map_err(|_| none())?;
        let key = keys.iter().find(|block| block.tag().ends_with("PRIVATE KEY")).ok_or_else(none)?;
        Ok(Self(Source::Pem { chain: pem::encode_many(&blocks), key: pkcs8(key)? }))
    }

    /// Takes PKCS#12. The password ends at its first NUL.
    #[must_use]
    pub fn from_pkcs12(der: Vec<u8>, password: String) -> Self {
        Self(Source::Archive { der, password })
    }

    /// The identity for `native-tls`.
    ///
    /// # Errors
    /// The certificate or the key is not valid. Holds why. For PKCS#12, all errors but the password are the
    /// certificate's.
    pub(super) fn to_native(&self) -> Result<native_tls::Identity, OptionsError> {
        match &self.0 {
            Source::Pem { chain, key } => {
                let identity = native_tls::Identity::from_pkcs8(chain.as_bytes(), key.as_bytes());
                let identity = identity.map_err(invalid_key)?;
                if !belong_together(chain, key) {
                    return Err(OptionsError::Key("not the key of the certificate".into()));
                }
                Ok(identity)
            }
            Source::Archive { der, password } => {
                native_tls::Identity::from_pkcs12(der, password).map_err(invalid_archive)
            }
        }
    }

    /// The identity for OpenSSL: the key, the certificate, and the intermediate certificates.
    ///
    /// # Errors
    /// The same.
    #[cfg(not(any(windows, target_vendor = "apple")))]
    pub(super) fn to_openssl(&self) -> Result<(PKey<Private>, X509, Vec<X509>), OptionsError> {
        match &self.0 {
            Source::Pem { chain, key: text } => {
                let key = PKey::private_key_from_pem(text.as_bytes()).map_err(invalid_key)?;
                let mut certificates =
                    X509::stack_from_pem(chain.as_bytes()).map_err(invalid_key)?.into_iter();
                let certificate = certificates.next().ok_or_else(no_certificate)?;
                if !belong_together(chain, text) {
                    return Err(OptionsError::Key("not the key of the certificate".into()));
                }
                Ok((key, certificate, certificates.collect()))
            }
            Source::Archive { der, password } => {
                let archive = Pkcs12::from_der(der).and_then(|archive| archive.parse2(password));
                let archive = archive.map_err(invalid_archive)?;
                let (Some(key), Some(certificate)) = (archive.pkey, archive.cert) else {
                    return Err(no_certificate());
                };
                // OpenSSL lists them in reverse.
                Ok((key, certificate, archive.ca.into_iter().flatten().rev().collect()))
            }
        }
    }
}

fn invalid_key(error: impl fmt::Display) -> OptionsError {
    match reason(error).as_str() {
        // OpenSSL's word for a key that it cannot read.
        why if why.contains("unsupported") => OptionsError::Key("not a valid private key".into()),
        why => OptionsError::Key(format!("not a valid private key: {why}")),
    }
}

fn invalid_archive(error: impl fmt::Display) -> OptionsError {
    match reason(error).as_str() {
        "mac verify failure" => OptionsError::Password,
        // Old archives are encrypted with RC2 by default.
        why if why.contains("unsupported") => OptionsError::Certificate(
            "it is encrypted in a way that is no longer supported; convert it to PEM with 'openssl pkcs12 -legacy', \
             and that back with 'openssl pkcs12 -export'"
                .into(),
        ),
        // native-tls's word
        why if why.contains("at least one certificate") => no_certificate(),
        why => OptionsError::Certificate(format!("not valid PKCS#12: {why}")),
    }
}

fn no_certificate() -> OptionsError {
    OptionsError::Certificate("no certificate with its key in it".into())
}

/// Whether the key is the certificate's, as far as that can be checked. The library itself accepts a key of another
/// kind, and then has no certificate to send.
fn belong_together(chain: &str, key: &str) -> bool {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    {
        let public = X509::from_pem(chain.as_bytes()).and_then(|certificate| certificate.public_key());
        let private = PKey::private_key_from_pem(key.as_bytes());
        // If one cannot be read, the library will report it.
        if let (Ok(public), Ok(private)) = (public, private) {
            return private.public_eq(&public);
        }
    }
    true
}

/// A private key as PEM in PKCS#8 (RFC 5958).
fn pkcs8(key: &Pem) -> Result<String, OptionsError> {
    // RFC 1421 section 4.6.1.1: the header that marks encrypted keys in the traditional forms
    if key.headers().get("Proc-Type").is_some_and(|value| value.contains("ENCRYPTED")) {
        return Err(OptionsError::EncryptedKey);
    }
    let wrapped = match key.tag() {
        "PRIVATE KEY" => key.contents().to_vec(),
        "ENCRYPTED PRIVATE KEY" => return Err(OptionsError::EncryptedKey),
        "RSA PRIVATE KEY" => {
            // RFC 3279 section 2.3.1: the parameters are NULL.
            wrap(key.contents(), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"), AnyRef::NULL)
                .ok_or_else(|| OptionsError::Key("not a valid RSA private key (PKCS#1)".into()))?
        }
        "EC PRIVATE KEY" => elliptic(key.contents()).ok_or_else(|| {
            OptionsError::Key("not a valid EC private key (SEC1) with a named curve".into())
        })?,
        other => {
            return Err(OptionsError::Key(format!("the key is neither PKCS#8, RSA nor EC but {other}")));
        }
    };
    Ok(pem::encode(&Pem::new("PRIVATE KEY", wrapped)))
}

/// Wraps a SEC1 key (RFC 5915). Its curve is named inside, and PKCS#8 needs it outside (RFC 5480 section 2.1.1).
fn elliptic(key: &[u8]) -> Option<Vec<u8>> {
    let curve = EcPrivateKey::from_der(key).ok()?.parameters?.named_curve()?;
    wrap(key, ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"), AnyRef::from(&curve))
}

fn wrap(key: &[u8], oid: ObjectIdentifier, parameters: AnyRef<'_>) -> Option<Vec<u8>> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(parameters) };
    PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key).ok()?).to_der().ok()
}

//! Who a client says that it is: a certificate, what leads from it to an authority, and its private key.
//!
//! The TLS library takes keys in PKCS#8 only; the older forms hold the same key and are wrapped here.

use std::fmt;

use pem::Pem;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{AnyRef, Decode, Encode};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::EcPrivateKey;

use super::certificate::is_certificate;
use super::reason;

/// A certificate and its key. Its debug form shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// PEM: the certificates, the client's own first; its key in PKCS#8.
    Pem { chain: String, key: String },
    /// PKCS#12.
    Archive { der: Vec<u8>, password: String },
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why there is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    NoCertificate,
    NoKey,
    /// The key needs a password.
    EncryptedKey,
    /// The key cannot be read: what it should have been.
    BadKey(&'static str),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no PEM certificate in it"),
            Self::NoKey => f.write_str("no PEM private key in it"),
            Self::EncryptedKey => f.write_str("the key is encrypted"),
            Self::BadKey(form) => write!(f, "the key is no valid {form}"),
        }
    }
}

impl std::error::Error for IdentityError {}

/// Whether a file is PKCS#12 and not PEM, which is text: DER begins with a SEQUENCE.
#[must_use]
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x30])
}

impl Identity {
    /// From PEM: the certificates in one text (the client's own first), the key in the other, which may be the same.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let blocks = pem::parse_many(certificates).map_err(|_| IdentityError::NoCertificate)?;
        let chain: Vec<_> = blocks.into_iter().filter(is_certificate).collect();
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        let blocks = pem::parse_many(key).map_err(|_| IdentityError::NoKey)?;
        let key =
            blocks.iter().find(|block| block.tag().ends_with("PRIVATE KEY")).ok_or(IdentityError::NoKey)?;
        Ok(Self(Form::Pem { chain: pem::encode_many(&chain), key: pkcs8(key)? }))
    }

    /// From PKCS#12.
    #[must_use]
    pub fn from_pkcs12(der: Vec<u8>, password: String) -> Self {
        Self(Form::Archive { der, password })
    }

    /// In the library's form.
    ///
    /// # Errors
    /// The library's.
    pub(super) fn to_native(&self) -> Result<native_tls::Identity, String> {
        let identity = match &self.0 {
            Form::Pem { chain, key } if !belong_together(chain, key) => return Err(STRANGERS.into()),
            Form::Pem { chain, key } => native_tls::Identity::from_pkcs8(chain.as_bytes(), key.as_bytes()),
            Form::Archive { der, password } => native_tls::Identity::from_pkcs12(der, password),
        };
        identity.map_err(reason)
    }
}

/// OpenSSL's words for a key and a certificate that are not of each other.
const STRANGERS: &str = "key values mismatch";

/// Whether a key is the certificate's, as far as can be said: the library itself does not mind a key of another kind
/// (and then has no certificate to send).
fn belong_together(chain: &str, key: &str) -> bool {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    {
        use openssl::{pkey::PKey, x509::X509};
        let public = X509::from_pem(chain.as_bytes()).and_then(|certificate| certificate.public_key());
        let private = PKey::private_key_from_pem(key.as_bytes());
        // What cannot be read the library will say.
        if let (Ok(public), Ok(private)) = (public, private) {
            return private.public_eq(&public);
        }
    }
    true
}

/// A private key as PEM in PKCS#8 (RFC 5958).
fn pkcs8(key: &Pem) -> Result<String, IdentityError> {
    // RFC 1421 section 4.6.1.1: so the traditional forms say that they are encrypted.
    if key.headers().get("Proc-Type").is_some_and(|value| value.contains("ENCRYPTED")) {
        return Err(IdentityError::EncryptedKey);
    }
    let wrapped = match key.tag() {
        "PRIVATE KEY" => key.contents().to_vec(),
        "ENCRYPTED PRIVATE KEY" => return Err(IdentityError::EncryptedKey),
        "RSA PRIVATE KEY" => {
            // RFC 3279 section 2.3.1: the parameters are NULL.
            wrap(key.contents(), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"), AnyRef::NULL)
                .ok_or(IdentityError::BadKey("RSA private key (PKCS#1)"))?
        }
        "EC PRIVATE KEY" => elliptic(key.contents()).ok_or(IdentityError::BadKey("EC private key (SEC1)"))?,
        _ => return Err(IdentityError::BadKey("PKCS#8, RSA or EC private key")),
    };
    Ok(pem::encode(&Pem::new("PRIVATE KEY", wrapped)))
}

/// A key in SEC1 (RFC 5915), which names its curve inside; outside is where PKCS#8 has it (RFC 5480 section 2.1.1).
fn elliptic(key: &[u8]) -> Option<Vec<u8>> {
    let curve = EcPrivateKey::from_der(key).ok()?.parameters?.named_curve()?;
    wrap(key, ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"), AnyRef::from(&curve))
}

fn wrap(key: &[u8], oid: ObjectIdentifier, parameters: AnyRef<'_>) -> Option<Vec<u8>> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(parameters) };
    PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key).ok()?).to_der().ok()
}

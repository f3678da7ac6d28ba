//! Reads certificates in DER and PEM. Does not judge whether one can be trusted; the TLS library does.

use std::fmt;

use pem::Pem;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{AnyRef, Decode, Encode, SliceReader, Tagged};

use super::error::reason;
use super::fingerprint::Fingerprint;

/// The peer's own certificate, as far as it can be read: a home hub's may not follow the rules.
///
/// ```
/// use luws::tls::certificate::{Certificate, read_pem};
///
/// fn names(pem: &[u8]) -> Vec<String> {
///     let chain = read_pem(pem).unwrap_or_default();
///     chain.iter().filter_map(|der| Certificate::read(der).subject).collect()
/// }
/// assert!(names(b"no certificate").is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The fingerprint of the whole certificate.
    pub fingerprint: Fingerprint,
    /// The fingerprint of its public key.
    pub public_key: Option<Fingerprint>,
    /// Distinguished names, in the format of RFC 4514.
    pub subject: Option<String>,
    pub issuer: Option<String>,
    /// When it expires, in seconds since 1970.
    pub not_after: Option<u64>,
}

impl Certificate {
    #[must_use]
    pub fn read(der: &[u8]) -> Self {
        let certificate = CertificateInner::<Raw>::from_der(der).ok();
        let said = certificate.as_ref().map(CertificateInner::tbs_certificate);
        Self {
            fingerprint: Fingerprint::of(der),
            public_key: public_key(der).map(|key| Fingerprint::of(&key)),
            subject: said.map(|said| said.subject().to_string()),
            issuer: said.map(|said| said.issuer().to_string()),
            not_after: said.map(|said| said.validity().not_after.to_unix_duration().as_secs()),
        }
    }

    /// Whether one of these fingerprints is the certificate's or its public key's.
    #[must_use]
    pub fn is_one_of(&self, fingerprints: &[Fingerprint]) -> bool {
        fingerprints.iter().any(|f| *f == self.fingerprint || Some(*f) == self.public_key)
    }
}

/// The public key of a certificate (`SubjectPublicKeyInfo`), in DER. Parses only as much of RFC 5280 section 4.1 as
/// needed, because other fields may break rules that do not matter here.
fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = AnyRef::from_der(der).ok()?;
    let said = AnyRef::from_der_partial(certificate.value()).ok()?.0;
    let mut fields = SliceReader::new(said.value()).ok()?;
    // The version is present from version 2 on; then come serial number, signature, issuer, validity, subject.
    let first = AnyRef::decode(&mut fields).ok()?;
    let before = if first.tag().is_context_specific() { 5 } else { 4 };
    for _ in 0..before {
        AnyRef::decode(&mut fields).ok()?;
    }
    AnyRef::decode(&mut fields).ok()?.to_der().ok()
}

/// Why a PEM file has no valid certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemError {
    Syntax(String),
    /// One of the certificates is not valid.
    Certificate(String),
    NoCertificate,
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => write!(f, "not valid PEM: {why}"),
            Self::Certificate(why) => write!(f, "a certificate in it is not valid: {why}"),
            Self::NoCertificate => f.write_str("no PEM certificate in it"),
        }
    }
}

impl std::error::Error for PemError {}

/// The certificates in a PEM file, in DER and in the file's order. Other blocks are ignored.
///
/// # Errors
/// See [`PemError`].
pub fn read_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let blocks = pem::parse_many(text).map_err(|error| PemError::Syntax(error.to_string()))?;
    // There are two labels for certificates.
    let certificates = blocks.into_iter().filter(|b| ["CERTIFICATE", "X509 CERTIFICATE"].contains(&b.tag()));
    let ders: Vec<_> = certificates.map(Pem::into_contents).collect();
    for der in &ders {
        native_tls::Certificate::from_der(der).map_err(|error| PemError::Certificate(reason(error)))?;
    }
    if ders.is_empty() { Err(PemError::NoCertificate) } else { Ok(ders) }
}

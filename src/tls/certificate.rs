//! Certificates, in DER and in PEM: what they say. Does not judge whether one can be trusted; the TLS library
//! does.

use std::fmt;

use pem::Pem;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{AnyRef, Decode, Encode, SliceReader, Tagged};

use super::error::reason;
use super::fingerprint::Fingerprint;

/// The peer's own certificate, as far as it can be read: a hub's may be older than the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Of the whole certificate.
    pub fingerprint: Fingerprint,
    /// Of the public key in it.
    pub public_key: Option<Fingerprint>,
    /// Distinguished names as RFC 4514 writes them.
    pub subject: Option<String>,
    pub issuer: Option<String>,
    /// The end of its time, in seconds since 1970.
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

    /// Whether one of these is the certificate's or its public key's.
    #[must_use]
    pub fn is_one_of(&self, fingerprints: &[Fingerprint]) -> bool {
        fingerprints.iter().any(|f| *f == self.fingerprint || Some(*f) == self.public_key)
    }
}

/// The public key of a certificate (`SubjectPublicKeyInfo`), in DER: RFC 5280 section 4.1 as far as it takes to get
/// there, for what is in the other fields may break rules that do not matter for this.
fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = AnyRef::from_der(der).ok()?;
    let said = AnyRef::from_der_partial(certificate.value()).ok()?.0;
    let mut fields = SliceReader::new(said.value()).ok()?;
    // The version stands there from 2 on; then serial number, signature, issuer, validity, subject.
    let first = AnyRef::decode(&mut fields).ok()?;
    let before = if first.tag().is_context_specific() { 5 } else { 4 };
    for _ in 0..before {
        AnyRef::decode(&mut fields).ok()?;
    }
    AnyRef::decode(&mut fields).ok()?.to_der().ok()
}

/// What is wrong with a PEM file that should have certificates in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemError {
    Syntax(String),
    /// One of them is not valid.
    Certificate(String),
    NoCertificate,
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => write!(f, "no valid PEM: {why}"),
            Self::Certificate(why) => write!(f, "a certificate in it is not valid: {why}"),
            Self::NoCertificate => f.write_str("no PEM certificate in it"),
        }
    }
}

impl std::error::Error for PemError {}

/// The certificates in a PEM file, in DER and in the file's order; what else is in it is passed over.
///
/// # Errors
/// See [`PemError`].
pub fn read_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let blocks = pem::parse_many(text).map_err(|error| PemError::Syntax(error.to_string()))?;
    // There are two names for one.
    let certificates = blocks.into_iter().filter(|b| ["CERTIFICATE", "X509 CERTIFICATE"].contains(&b.tag()));
    let ders: Vec<_> = certificates.map(Pem::into_contents).collect();
    for der in &ders {
        native_tls::Certificate::from_der(der).map_err(|error| PemError::Certificate(reason(error)))?;
    }
    if ders.is_empty() { Err(PemError::NoCertificate) } else { Ok(ders) }
}

//! What a certificate says, in DER and in PEM. Whether it can be trusted is the TLS library's affair.

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

/// The certificates in a PEM file, in DER and in the file's order; what else is in it is passed over.
///
/// # Errors
/// There is none, or one is not valid.
pub fn read_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let blocks = pem::parse_many(text).map_err(|error| format!("no valid PEM: {error}"))?;
    // There are two names for one.
    let certificates = blocks.into_iter().filter(|b| ["CERTIFICATE", "X509 CERTIFICATE"].contains(&b.tag()));
    let ders: Vec<_> = certificates.map(Pem::into_contents).collect();
    for der in &ders {
        native_tls::Certificate::from_der(der)
            .map_err(|error| format!("a certificate in it is not valid: {}", reason(error)))?;
    }
    if ders.is_empty() { Err("no PEM certificate in it".into()) } else { Ok(ders) }
}

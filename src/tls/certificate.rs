//! What a certificate says, in DER and in PEM. Whether it can be trusted is the TLS library's affair.

use pem::Pem;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode, Encode};

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
        let public_key = said.and_then(|said| said.subject_public_key_info().to_der().ok());
        Self {
            fingerprint: Fingerprint::of(der),
            public_key: public_key.map(|der| Fingerprint::of(&der)),
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

/// The certificates in a PEM file, in DER and in the file's order; what else is in it is passed over.
///
/// # Errors
/// There is none, or the file is damaged.
pub fn read_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let blocks = pem::parse_many(text).map_err(|error| format!("no valid PEM: {error}"))?;
    let certificates = blocks.into_iter().filter(is_certificate);
    let ders: Vec<_> = certificates.map(Pem::into_contents).collect();
    if ders.is_empty() { Err("no PEM certificate in it".into()) } else { Ok(ders) }
}

/// Whether a block of a PEM file is a certificate, by the two names that there are for it.
pub(super) fn is_certificate(block: &Pem) -> bool {
    ["CERTIFICATE", "X509 CERTIFICATE"].contains(&block.tag())
}

//! The options of a client's TLS, and the connector that is made of them: the options of the `native-tls`
//! crate, and the fingerprints, which it does not know. Reads no files.

use native_tls::{Protocol, TlsConnector};

use super::error::{OptionsError, clear_error_queue, reason};
use super::fingerprint::Fingerprint;
use super::identity::Identity;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::Tls10 => Self::Tlsv10,
            Version::Tls11 => Self::Tlsv11,
            Version::Tls12 => Self::Tlsv12,
            Version::Tls13 => Self::Tlsv13,
        }
    }
}

/// The checks of the peer's certificate by authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    Nothing,
    /// An authority that is trusted has signed it.
    Chain,
    /// That, and it is for this host (RFC 6125).
    ChainAndHost,
}

/// What a client wants of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The oldest version of the protocol that is allowed.
    pub min: Version,
    /// The newest; `None`: whatever the library knows.
    pub max: Option<Version>,
    pub verify: Verify,
    /// The authorities that are trusted, certificates in DER; `None`: the system's.
    pub authorities: Option<Vec<Vec<u8>>>,
    /// If there are any, the peer's certificate or its public key must have one of them.
    pub fingerprints: Vec<Fingerprint>,
    pub identity: Option<Identity>,
    /// Application protocols to offer, the preferred one first (RFC 7301).
    pub alpn: Vec<String>,
    /// Whether the host's name is sent (RFC 6066 section 3); an address never is.
    pub sni: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            min: Version::Tls12,
            max: None,
            verify: Verify::ChainAndHost,
            authorities: None,
            fingerprints: Vec::new(),
            identity: None,
            alpn: Vec::new(),
            sni: true,
        }
    }
}

impl TlsOptions {
    /// What connections are made with. Making one is expensive, for the library reads all of the system's
    /// certificates (50 ms were seen); it can be used again and again.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn connector(&self) -> Result<Connector, OptionsError> {
        clear_error_queue();
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(self.min.into())).max_protocol_version(self.max.map(Into::into));
        // The first of these turns the check of the name off as well. SNI stays on.
        builder.danger_accept_invalid_certs(self.verify == Verify::Nothing);
        builder.danger_accept_invalid_hostnames(self.verify != Verify::ChainAndHost);
        builder.use_sni(self.sni);
        // Who trusts nobody, or others, need not keep the system's authorities.
        builder.disable_built_in_roots(self.verify == Verify::Nothing || self.authorities.is_some());
        if let Some(authorities) = &self.authorities {
            for der in authorities {
                let certificate = native_tls::Certificate::from_der(der)
                    .map_err(|error| OptionsError::Other(reason(error)))?;
                builder.add_root_certificate(certificate);
            }
        }
        if let Some(identity) = &self.identity {
            builder.identity(identity.to_native()?);
        }
        if !self.alpn.is_empty() {
            builder.request_alpns(&self.alpn.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let native = builder.build().map_err(|error| match self.identity {
            // There is nothing else that can fail: that a certificate is too weak for this library is found here.
            Some(_) => OptionsError::Certificate(reason(error)),
            None => OptionsError::Other(reason(error)),
        })?;
        let verifies = self.verify != Verify::Nothing;
        Ok(Connector { native, verifies, fingerprints: self.fingerprints.as_slice().into() })
    }
}

/// What connections of a client are made with; see [`TlsOptions::connector`]. Copies are cheap.
#[derive(Clone, Debug)]
pub struct Connector {
    pub(super) native: TlsConnector,
    /// Whether the library verifies the peer's certificate.
    pub(super) verifies: bool,
    pub(super) fingerprints: std::rc::Rc<[Fingerprint]>,
}

//! The TLS options of a client, and the connector made from them: the options of the `native-tls` crate, and the
//! fingerprints, which that does not know. Reads no files.

use native_tls::{Protocol, TlsConnector};

use super::error::{OptionsError, clear_error_queue, reason};
use super::fingerprint::Fingerprint;
use super::identity::Identity;

/// A version of TLS.
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

/// How authorities verify the peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    Nothing,
    /// A trusted authority has signed it.
    Chain,
    /// A trusted authority has signed it, and it is for this host (RFC 6125).
    ChainAndHost,
}

/// The TLS options of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The oldest allowed version.
    pub min: Version,
    /// The newest allowed version; `None` for the library's newest.
    pub max: Option<Version>,
    pub verify: Verify,
    /// The trusted authorities as certificates in DER; `None` for the system's.
    pub authorities: Option<Vec<Vec<u8>>>,
    /// If there are any, the peer's certificate or its public key must match one of them.
    pub fingerprints: Vec<Fingerprint>,
    pub identity: Option<Identity>,
    /// Application protocols to offer, the preferred one first (RFC 7301).
    pub alpn: Vec<String>,
    /// Whether the host's name is sent (RFC 6066 section 3); an address is never sent.
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
    /// Makes the connector for these options. This is expensive, because the library reads all of the system's
    /// certificates (50 ms were measured), but a connector can be reused.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn connector(&self) -> Result<Connector, OptionsError> {
        clear_error_queue();
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(self.min.into())).max_protocol_version(self.max.map(Into::into));
        // Accepting invalid certificates turns off the check of the name as well. SNI stays on.
        builder.danger_accept_invalid_certs(self.verify == Verify::Nothing);
        builder.danger_accept_invalid_hostnames(self.verify != Verify::ChainAndHost);
        builder.use_sni(self.sni);
        // Without verification, or with other authorities, the system's are not needed.
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
            // Nothing else can fail here: the library has found the certificate too weak.
            Some(_) => OptionsError::Certificate(reason(error)),
            None => OptionsError::Other(reason(error)),
        })?;
        let verifies = self.verify != Verify::Nothing;
        Ok(Connector { native, verifies, fingerprints: self.fingerprints.as_slice().into() })
    }
}

/// Makes a client's TLS connections; see [`TlsOptions::connector`]. Copies are cheap.
#[derive(Clone, Debug)]
pub struct Connector {
    pub(super) native: TlsConnector,
    /// Whether the library verifies the peer's certificate.
    pub(super) verifies: bool,
    pub(super) fingerprints: std::rc::Rc<[Fingerprint]>,
}

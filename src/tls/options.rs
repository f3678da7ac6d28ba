//! The TLS options of a client. What a library below makes of them is in `library`. Reads no files.

use std::rc::Rc;

use super::fingerprint::Fingerprint;
use super::identity::Identity;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
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

/// What a client offers and puts up with, in OpenSSL's words, as far as it is not the library's own choice. Strings have
/// no NUL in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crypto {
    /// The cipher list for TLS 1.2 and older. It may set the security level (`@SECLEVEL=0`).
    pub ciphers: Option<String>,
    /// The cipher suites of TLS 1.3.
    pub ciphersuites: Option<String>,
    /// The groups for key exchange (curves), and the name of the option that they come from.
    pub groups: Option<(&'static str, String)>,
    /// Servers may lack secure renegotiation (RFC 5746).
    pub legacy_server_connect: bool,
    /// They may, and renegotiate nevertheless.
    pub unsafe_legacy_renegotiation: bool,
}

impl Crypto {
    /// Whether there is anything that only OpenSSL has a setting for.
    #[must_use]
    pub fn is_special(&self) -> bool {
        *self != Self::default()
    }

    /// LuaSec's names for what is set.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let options = self.legacy_server_connect || self.unsafe_legacy_renegotiation;
        let names = [
            self.ciphers.is_some().then_some("ciphers"),
            self.ciphersuites.is_some().then_some("ciphersuites"),
            self.groups.as_ref().map(|(name, _)| *name),
            options.then_some("options"),
        ];
        names.into_iter().flatten()
    }
}

/// The TLS options of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The oldest allowed version.
    pub min: Version,
    /// The newest allowed version; `None` for the library's newest.
    pub max: Option<Version>,
    pub verify: Verify,
    /// The trusted authorities as certificates in DER; `None` for the system's, where the library knows them by itself
    /// ([`roots`](super::roots)).
    pub authorities: Option<Vec<Rc<[u8]>>>,
    /// If there are any, the peer's certificate or its public key must match one of them.
    pub fingerprints: Vec<Fingerprint>,
    pub identity: Option<Identity>,
    /// Application protocols to offer, the preferred one first (RFC 7301).
    pub alpn: Vec<String>,
    /// Whether the host's name is sent (RFC 6066 section 3); an address is never sent.
    pub sni: bool,
    pub crypto: Crypto,
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
            crypto: Crypto::default(),
        }
    }
}

impl TlsOptions {
    /// Whether TLS 1.0 or 1.1 is allowed.
    pub(super) fn allows_old_versions(&self) -> bool {
        self.min < Version::Tls12
    }
}

//! The TLS options of clients and servers. What a library below makes of them is in `library`. Reads no files.

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

/// What a client or a server offers and puts up with, in OpenSSL's words, as far as it is not the library's own choice.
/// Strings have no NUL in them.
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
///
/// ```
/// use luws::tls::{TlsOptions, Version};
///
/// let connector = TlsOptions { min: Version::Tls13, ..TlsOptions::default() }.connector()?;
/// # Ok::<_, luws::tls::OptionsError>(())
/// ```
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

/// What a server asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Nothing; they send no certificate.
    Anonymous,
    /// A certificate that a trusted authority has signed, if they have one at all.
    Known,
    /// Such a certificate.
    Identified,
}

/// The TLS options of a server.
///
/// ```no_run
/// use luws::protocol::connection::Config;
/// use luws::session::Session;
/// use luws::tls::ServerOptions;
/// use luws::tls::identity::Identity;
///
/// let identity = Identity::from_pem(&std::fs::read("server.pem")?, &std::fs::read("server.key")?)?;
/// let acceptor = ServerOptions::new(identity).acceptor().map_err(|(error, _)| error)?;
/// let session = Session::server(Some(&acceptor), Config::default())?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The oldest allowed version.
    pub min: Version,
    /// The newest allowed version; `None` for the library's newest.
    pub max: Option<Version>,
    pub identity: Identity,
    /// Other identities for clients that ask for these names (RFC 6066 section 3). A name is that of a host; or it
    /// begins with `*.`, which stands for one label. An exact name goes before one with a star.
    pub named: Vec<(String, Identity)>,
    pub clients: Clients,
    /// The authorities that are trusted to sign clients' certificates, in DER.
    pub authorities: Vec<Rc<[u8]>>,
    /// Application protocols, the preferred one first (RFC 7301). If there are any, a client that offers protocols must
    /// offer one of these.
    pub alpn: Vec<String>,
    pub crypto: Crypto,
}

impl ServerOptions {
    /// A server with this identity, for the versions that are secure today, whose clients are anonymous.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            min: Version::Tls12,
            max: None,
            identity,
            named: Vec::new(),
            clients: Clients::Anonymous,
            authorities: Vec::new(),
            alpn: Vec::new(),
            crypto: Crypto::default(),
        }
    }

    /// Whether TLS 1.0 or 1.1 is allowed.
    pub(super) fn allows_old_versions(&self) -> bool {
        self.min < Version::Tls12
    }

    /// The option, in LuaSec's words, that `native-tls` has no function for.
    #[cfg(any(windows, target_vendor = "apple"))]
    pub(super) fn special(&self) -> Option<&'static str> {
        let others = [
            (!self.named.is_empty(), "certificates"),
            (self.clients != Clients::Anonymous, "verify"),
            (!self.alpn.is_empty(), "alpn"),
            (self.allows_old_versions(), "protocol"),
        ];
        self.crypto.names().next().or(others.into_iter().find_map(|(is, name)| is.then_some(name)))
    }

    /// The identity for a client that asks for this name: its place in [`named`](Self::named).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        find(self.named.iter().map(|(name, _)| name.as_str()), name)
    }
}

/// The place of the pattern that is for this name.
pub(super) fn find<'a>(patterns: impl Iterator<Item = &'a str> + Clone, name: &str) -> Option<usize> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let rest = name.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, rest)| rest);
    let is_exact = |pattern: &str| pattern.eq_ignore_ascii_case(name);
    let is_wild = |pattern: &str| {
        pattern.strip_prefix("*.").zip(rest).is_some_and(|(domain, rest)| domain.eq_ignore_ascii_case(rest))
    };
    patterns.clone().position(is_exact).or_else(|| patterns.clone().position(is_wild))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn names_find_their_pattern_the_exact_one_first() {
        let patterns = ["*.example.com", "a.example.com", "example.com", "*.com"];
        for (name, expected) in [
            ("example.com", Some(2)),
            ("EXAMPLE.com.", Some(2)),
            ("a.example.com", Some(1)),
            ("b.Example.com", Some(0)),
            ("c.b.example.com", None), // a star is one label (RFC 6125 section 6.4.3)
            ("other.com", Some(3)),
            ("com", None),
            (".com", None),
            ("", None),
        ] {
            assert_eq!(find(patterns.iter().copied(), name), expected, "{name}");
        }
    }
}

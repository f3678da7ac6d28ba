//! Reads the URL of a proxy: `[scheme://][user:password@]host[:port][/]`. Knows no protocol, and looks nothing up.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::url::{is_name, split_zone};

/// The kinds of proxies, by the scheme of their URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http,
    /// Over TLS.
    Https,
    /// Names are looked up here.
    Socks4,
    /// The proxy looks names up.
    Socks4a,
    /// Names are looked up here.
    Socks5,
    /// The proxy looks names up.
    Socks5h,
}

/// The schemes, and their default ports.
const SCHEMES: [(&str, Kind, u16); 6] = [
    ("http", Kind::Http, 80),
    ("https", Kind::Https, 443),
    ("socks4", Kind::Socks4, 1080),
    ("socks4a", Kind::Socks4a, 1080),
    ("socks5", Kind::Socks5, 1080),
    ("socks5h", Kind::Socks5h, 1080),
];

impl Kind {
    /// The kind with this scheme, in lower case.
    #[must_use]
    pub fn of_scheme(scheme: &str) -> Option<Self> {
        SCHEMES.iter().find(|(name, ..)| *name == scheme).map(|(_, kind, _)| *kind)
    }

    #[must_use]
    pub fn scheme(self) -> &'static str {
        SCHEMES.iter().find(|(_, kind, _)| *kind == self).map_or("", |(name, ..)| name)
    }
}

/// Where a proxy is, and who we are to it. A value that exists is valid.
///
/// ```
/// use luws::proxy::address::{Address, Kind};
///
/// let address = Address::parse(b"socks5h://user:pass%20word@127.0.0.1:1080")?;
/// assert_eq!((address.kind, address.port), (Kind::Socks5h, 1080));
/// assert_eq!(address.password.as_deref(), Some(&b"pass word"[..]));
/// # Ok::<_, luws::proxy::address::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub kind: Kind,
    /// A name (IDN as ASCII), an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// The zone of an IPv6 address (RFC 6874).
    pub zone: Option<String>,
    pub port: u16,
    /// Percent-decoded, as is the password.
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.kind.scheme(), self.host, self.port)
    }
}

/// Why a text is not the URL of a proxy. Does not repeat the text, because it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    NotText,
    Scheme,
    ControlCharacter,
    NoHost,
    HostName,
    Zone,
    /// There is a path other than `/`, a query or a fragment.
    Path,
    /// The parser's words.
    Syntax(String),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotText => "the URL is not UTF-8",
            Self::Scheme => "the scheme of the URL is not http, https, socks4, socks4a, socks5 or socks5h",
            Self::ControlCharacter => "the URL has a control character in it",
            Self::NoHost => "the URL has no host",
            Self::HostName => "the URL's host is not a valid host name",
            Self::Zone => "the URL's zone is not that of an IPv6 address",
            Self::Path => "the URL of a proxy has no path, no query and no fragment",
            Self::Syntax(why) => return write!(f, "the URL is not valid: {why}"),
        })
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Without a scheme it is an HTTP proxy, as for curl.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(url: &[u8]) -> Result<Self, AddressError> {
        let text = std::str::from_utf8(url).map_err(|_| AddressError::NotText)?;
        // The parser would silently drop tabs and line endings.
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(AddressError::ControlCharacter);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        let found = SCHEMES.iter().find(|(name, ..)| *name == scheme);
        let (_, kind, default_port) = *found.ok_or(AddressError::Scheme)?;
        // The parser would take the first part of the path as the host.
        if rest.is_empty() || rest.starts_with(['/', '\\']) {
            return Err(AddressError::NoHost);
        }
        // The parser knows names and addresses in some schemes only, and leaves out a port that is a scheme's default.
        let text = format!("http://{rest}");
        let (zone, without) = split_zone(&text).map_err(|_| AddressError::Zone)?;
        let text = without.unwrap_or(text);
        let parse = |text: &str| Url::parse(text).map_err(|error| AddressError::Syntax(error.to_string()));
        let url = parse(&text)?;
        let port = url.port().or(parse(&text.replacen("http", "https", 1))?.port());
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(name)) if !is_name(name) => return Err(AddressError::HostName),
            Some(host) => host.to_string(),
            None => return Err(AddressError::NoHost),
        };
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Path);
        }
        let is_given = !url.username().is_empty() || url.password().is_some();
        let decoded = |text| percent_decode_str(text).collect();
        Ok(Self {
            kind,
            host,
            zone,
            port: port.unwrap_or(default_port),
            user: is_given.then(|| decoded(url.username())),
            password: url.password().map(decoded),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError, Kind};

    #[test]
    fn the_parts_of_a_url() {
        for (url, kind, host, port, user) in [
            ("http://proxy.test:3128", Kind::Http, "proxy.test", 3128, None),
            ("proxy.test:3128", Kind::Http, "proxy.test", 3128, None),
            ("proxy.test", Kind::Http, "proxy.test", 80, None),
            ("me:it@proxy.test:8080/", Kind::Http, "proxy.test", 8080, Some(("me", Some("it")))),
            ("https://proxy.test", Kind::Https, "proxy.test", 443, None),
            ("https://proxy.test:80/", Kind::Https, "proxy.test", 80, None),
            ("SOCKS5://Proxy.TEST", Kind::Socks5, "proxy.test", 1080, None),
            ("socks5h://127.0.0.1:9050", Kind::Socks5h, "127.0.0.1", 9050, None),
            ("socks4://a:80", Kind::Socks4, "a", 80, None),
            ("socks4a://me@a:443", Kind::Socks4a, "a", 443, Some(("me", None))),
            ("socks5://[::1]:9050", Kind::Socks5, "::1", 9050, None),
            ("socks5://:@h", Kind::Socks5, "h", 1080, None),
            ("socks5://:p@h", Kind::Socks5, "h", 1080, Some(("", Some("p")))),
            ("http://a%40b:c%3Ad%2F%C3%BC@h", Kind::Http, "h", 80, Some(("a@b", Some("c:d/\u{fc}")))),
            ("http://\u{fc}:\u{e9}@h", Kind::Http, "h", 80, Some(("\u{fc}", Some("\u{e9}")))),
            ("http://b\u{fc}cher.example", Kind::Http, "xn--bcher-kva.example", 80, None),
        ] {
            let address = Address::parse(url.as_bytes()).unwrap();
            assert_eq!((address.kind, &*address.host, address.port), (kind, host, port), "{url}");
            let (name, password) = user.unzip();
            assert_eq!(address.user.as_deref(), name.map(str::as_bytes), "{url}");
            assert_eq!(address.password.as_deref(), password.flatten().map(str::as_bytes), "{url}");
        }
        let zoned = Address::parse(b"http://me:x@[fe80::1%25eth0]:3128").unwrap();
        assert_eq!((&*zoned.host, zoned.zone.as_deref(), zoned.port), ("fe80::1", Some("eth0"), 3128));
        assert_eq!(format!("{zoned:?}"), "http://fe80::1:3128");
    }

    #[test]
    fn what_is_not_the_url_of_a_proxy_is_refused_without_repeating_it() {
        for (url, error) in [
            ("ftp://proxy.test", AddressError::Scheme),
            ("socks://proxy.test", AddressError::Scheme),
            ("ws://proxy.test", AddressError::Scheme),
            ("://proxy.test", AddressError::Scheme),
            ("", AddressError::NoHost),
            ("http://", AddressError::NoHost),
            ("http:///proxy.test", AddressError::NoHost),
            ("http://proxy.test/path", AddressError::Path),
            ("http://proxy.test/?", AddressError::Path),
            ("http://proxy.test?a", AddressError::Path),
            ("http://proxy.test#a", AddressError::Path),
            ("http://proxy.test\n", AddressError::ControlCharacter),
            ("http://a.b.\u{e9}..x", AddressError::HostName),
            ("http://*.test", AddressError::HostName),
            ("http://[127.0.0.1%25eth0]", AddressError::Zone),
        ] {
            assert_eq!(Address::parse(url.as_bytes()), Err(error), "{url}");
        }
        for url in ["http://h:99999", "http://h:x", "http://me:secret@ho st", "http://[::1"] {
            let Err(error) = Address::parse(url.as_bytes()) else { panic!("{url}") };
            assert!(
                matches!(error, AddressError::Syntax(_)) && !error.to_string().contains("secret"),
                "{url}"
            );
        }
        assert_eq!(Address::parse(b"http://\xff"), Err(AddressError::NotText));
    }
}

//! Takes a ws or wss URL apart into what is needed to open it (RFC 6455 section 3), and says where a redirect leads.
//!
//! The `url` crate implements the URL grammar. Knows nothing of sockets: names are not looked up here.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use url::{Host, Url};

/// Where a WebSocket is, and which resource to request. A value that exists is valid.
///
/// ```
/// use luws::url::Target;
///
/// let target = Target::parse("wss://example.com/chat?room=1")?;
/// assert_eq!((target.secure, target.port, target.resource.as_str()), (true, 443, "/chat?room=1"));
/// # Ok::<_, luws::url::UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether to use TLS (`wss`).
    pub secure: bool,
    /// A name (IDN as ASCII), an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// The zone of an IPv6 address (RFC 6874): the interface through which to reach it. It means something on this
    /// machine only, so the server is not told.
    pub zone: Option<String>,
    /// The port; 80 or 443 by default.
    pub port: u16,
    /// Path and query for the request line; at least `/`.
    pub resource: String,
    /// The value of the Host header (section 4.1, item 4).
    pub host_header: String,
    /// The value of an Authorization header for the URL's user and password, if it has them.
    pub authorization: Option<String>,
}

/// Why a text is not a WebSocket URL. Does not repeat the text, because it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Neither ws nor wss, nor one that is taken for them.
    Scheme,
    /// The same, where http and https are usual.
    HttpScheme,
    ControlCharacter,
    NoHost,
    /// Not a valid DNS name (RFC 1035 section 2.3.4).
    HostName,
    /// Not an IPv6 address, or not a name of an interface.
    Zone,
    /// Forbidden by RFC 6455 section 3.
    Fragment,
    /// The parser's words.
    Syntax(String),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "it does not begin with ws:// or wss://",
            Self::HttpScheme => "it does not begin with http:// or https://",
            Self::ControlCharacter => "it has a control character in it",
            Self::NoHost => "it has no host",
            Self::HostName => "its host is not a valid host name",
            Self::Zone => "its zone is not that of an IPv6 address",
            Self::Fragment => "it has a fragment (#), which a WebSocket URL cannot have",
            Self::Syntax(why) => why,
        })
    }
}

impl std::error::Error for UrlError {}

impl Target {
    /// The target of a ws or wss URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(url: impl AsRef<[u8]>) -> Result<Self, UrlError> {
        Self::parse_text(&text_of(url.as_ref()), |scheme| match scheme {
            "ws" => Some(false),
            "wss" => Some(true),
            _ => None,
        })
    }

    /// The same, where http stands for ws and https for wss: in the Location of a redirect, or for a cookie.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse_http(url: impl AsRef<[u8]>) -> Result<Self, UrlError> {
        Self::parse_text(&text_of(url.as_ref()), |scheme| match scheme {
            "ws" | "http" => Some(false),
            "wss" | "https" => Some(true),
            _ => None,
        })
    }

    /// The URL, without user and password.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        let host = match (&self.zone, self.host_header.strip_prefix('[').and_then(|h| h.split_once(']'))) {
            (Some(zone), Some((address, port))) => format!("[{address}%25{zone}]{port}"),
            _ => self.host_header.clone(),
        };
        format!("{scheme}://{host}{}", self.resource)
    }

    /// Where a redirect leads whose Location is this, absolute or relative to this URL (RFC 9110 section 10.2.2, RFC
    /// 3986 section 5). Its fragment means nothing for a WebSocket, and its user and password are not the program's.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn follow(&self, location: impl AsRef<[u8]>) -> Result<Self, UrlError> {
        let location = text_of(location.as_ref());
        let location = location.split('#').next().unwrap_or_default();
        if location.bytes().any(|b| b.is_ascii_control()) {
            return Err(UrlError::ControlCharacter);
        }
        let mut target = if has_authority(location) {
            Self::parse_http(location)?
        } else {
            let here = Self { zone: None, ..self.clone() }.url();
            let joined = Url::parse(&here).and_then(|here| here.join(location));
            Self::parse_http(joined.map_err(|error| UrlError::Syntax(error.to_string()))?.as_str())?
        };
        target.authorization = None;
        if target.zone.is_none() && target.host == self.host {
            target.zone.clone_from(&self.zone);
        }
        Ok(target)
    }

    fn parse_text(text: &str, is_secure: impl Fn(&str) -> Option<bool>) -> Result<Self, UrlError> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let Some(secure) = scheme.as_deref().and_then(is_secure) else { return Err(UrlError::Scheme) };
        // The parser would silently drop tabs and line endings.
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(UrlError::ControlCharacter);
        }
        // The parser would take the first part of the path as the host.
        if scheme.is_some_and(|scheme| text[scheme.len() + 3..].starts_with(['/', '\\'])) {
            return Err(UrlError::NoHost);
        }
        let (zone, without) = split_zone(text)?;
        let text = without.as_deref().unwrap_or(text);
        let url = Url::parse(text).map_err(|error| UrlError::Syntax(error.to_string()))?;
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(UrlError::NoHost),
        };
        if matches!(url.host(), Some(Host::Domain(name)) if !is_name(name)) {
            return Err(UrlError::HostName);
        }
        let bracketed = url.host_str().unwrap_or_default();
        let resource = match text.split_once('?') {
            Some((_, query)) => format!("{}?{}", url.path(), visible(query)),
            None => url.path().to_owned(),
        };
        Ok(Self {
            secure,
            port: url.port_or_known_default().unwrap_or(if secure { 443 } else { 80 }),
            host_header: match url.port() {
                Some(port) => format!("{bracketed}:{port}"),
                None => bracketed.to_owned(),
            },
            authorization: authorization(&url),
            zone,
            host,
            resource,
        })
    }
}

/// A URL as text. Bytes that are not UTF-8 are percent-encoded (RFC 3986 section 2.1).
fn text_of(url: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(url) {
        Ok(text) => text.into(),
        Err(_) => percent_encode(url, NOT_ASCII).to_string().into(),
    }
}

/// Whether a reference begins with a scheme and `://`, and so is a URL of its own.
fn has_authority(reference: &str) -> bool {
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    reference.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// The DNS name of a host (IDN as ASCII); `None` if the text is not one, or is an address.
#[must_use]
pub fn domain(text: &str) -> Option<String> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) if is_name(&name) => Some(name),
        _ => None,
    }
}

/// The zone of the address in a URL, and the URL without it: `[fe80::1%25eth0]` (RFC 6874), or as people write it,
/// `[fe80::1%eth0]`. The parser knows no zones.
pub(crate) fn split_zone(text: &str) -> Result<(Option<String>, Option<String>), UrlError> {
    let begin = text.find("://").map_or(0, |at| at + 3);
    let end = text[begin..].find(['/', '?', '#']).map_or(text.len(), |at| begin + at);
    let host = text[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    let Some(inside) = text[host..end].strip_prefix('[') else { return Ok((None, None)) };
    let Some((inside, after)) = inside.split_once(']') else { return Ok((None, None)) };
    let Some((address, zone)) = inside.split_once('%') else { return Ok((None, None)) };
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_address = matches!(Host::parse(&format!("[{address}]")), Ok(Host::Ipv6(_)));
    if zone.is_empty() || !zone.bytes().all(fits) || !is_address {
        return Err(UrlError::Zone);
    }
    let without = format!("{}[{address}]{after}{}", &text[..host], &text[end..]);
    Ok((Some(zone.to_owned()), Some(without)))
}

/// Whether a host that the parser accepts is a DNS name (RFC 1035 section 2.3.4). TLS libraries treat some others as
/// patterns: an empty one or one with a leading dot would match certificates of other hosts.
pub(crate) fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let fits = |label: &str| (1..=63).contains(&label.len()) && !label.contains('*');
    labels.len() <= 253 && labels.split('.').all(fits)
}

/// The query as given (the parser would escape more than necessary), with characters escaped that cannot be in a
/// request line.
fn visible(query: &str) -> String {
    percent_encode(query.as_bytes(), NOT_VISIBLE).to_string()
}

const NOT_VISIBLE: &AsciiSet = &CONTROLS.add(b' ');

/// No ASCII character; others are always escaped.
const NOT_ASCII: &AsciiSet = &AsciiSet::EMPTY;

/// RFC 7617: user and password, decoded, joined by a colon, in base64
fn authorization(url: &Url) -> Option<String> {
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password.unwrap_or_default()));
    Some(format!("Basic {}", BASE64.encode(credentials)))
}

#[cfg(test)]
mod tests {
    use super::{Target, UrlError, domain};

    #[test]
    fn zones_of_addresses() {
        for (url, host, zone, header) in [
            ("ws://[fe80::1%25eth0]/a", "fe80::1", "eth0", "[fe80::1]"),
            ("wss://me:x@[FE80::1%wlan0.1]:81/?%25", "fe80::1", "wlan0.1", "[fe80::1]:81"),
            ("ws://[fe80::1%25]", "fe80::1", "25", "[fe80::1]"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.zone.as_deref()), (host, Some(zone)), "{url}");
            assert_eq!(target.host_header, header, "{url}");
        }
        assert_eq!(Target::parse("wss://me:x@[fe80::1%1]/?%25").unwrap().resource, "/?%25");
        assert_eq!(Target::parse("ws://[fe80::1]/%25").unwrap().zone, None);
        for url in
            ["ws://[fe80::1%]/", "ws://[fe80::1%25et h]/", "ws://[127.0.0.1%25eth0]/", "ws://[%25eth0]/"]
        {
            assert_eq!(Target::parse(url), Err(UrlError::Zone), "{url}");
        }
    }

    #[test]
    fn names_of_hosts() {
        let (label, long) = ("x".repeat(63), format!("{}.", "x".repeat(63)).repeat(3) + &"y".repeat(61));
        for (text, name) in [
            ("Host.example", Some("host.example")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("host.", Some("host.")),
            ("a_b.example", Some("a_b.example")),
            (label.as_str(), Some(label.as_str())),
            (long.as_str(), Some(long.as_str())),
        ] {
            assert_eq!(domain(text).as_deref(), name, "{text}");
        }
        let (label, long) = (format!("{label}x"), format!("{long}y"));
        for text in [
            "",
            ".",
            "a..b",
            "two words",
            "127.0.0.1",
            "[::1]",
            "::1",
            "a/b",
            "a:1",
            ".a",
            "*.a",
            "a*.b",
            label.as_str(),
            long.as_str(),
        ] {
            assert_eq!(domain(text), None, "{text}");
        }
    }

    #[test]
    fn urls() {
        #[rustfmt::skip]
        let cases = [
            // URL, TLS, host, port, resource, Host header (RFC 6455 sections 3 and 4.1)
            ("ws://host", false, "host", 80, "/", "host"),
            ("wss://host", true, "host", 443, "/", "host"),
            ("WS://Host:8080/a/b?c=d&e", false, "host", 8080, "/a/b?c=d&e", "host:8080"),
            ("ws://host:80/", false, "host", 80, "/", "host"),
            ("wss://host:80/", true, "host", 80, "/", "host:80"),
            ("ws://host?x=1", false, "host", 80, "/?x=1", "host"),
            ("ws://host/?x='a'&y=\"b c\"&z=%41ü", false, "host", 80, "/?x='a'&y=\"b%20c\"&z=%41%C3%BC", "host"),
            ("ws://[::1]:9/x", false, "::1", 9, "/x", "[::1]:9"),
            ("wss://[2001:DB8::7]/", true, "2001:db8::7", 443, "/", "[2001:db8::7]"),
            ("ws://192.168.0.1/a%20b", false, "192.168.0.1", 80, "/a%20b", "192.168.0.1"),
            ("ws://host/a b", false, "host", 80, "/a%20b", "host"),
            ("ws://bücher.example/ü", false, "xn--bcher-kva.example", 80, "/%C3%BC", "xn--bcher-kva.example"),
        ];
        for (url, secure, host, port, resource, host_header) in cases {
            let target = Target::parse(url).expect(url);
            let seen = (target.secure, &*target.host, target.port, &*target.resource, &*target.host_header);
            assert_eq!(seen, (secure, host, port, resource, host_header), "{url}");
            assert_eq!(target.authorization, None, "{url}");
        }
    }

    #[test]
    fn credentials_become_basic_authorization() {
        let authorization = |url| Target::parse(url).unwrap().authorization;
        assert_eq!(authorization("ws://user:pw@host/").as_deref(), Some("Basic dXNlcjpwdw=="));
        assert_eq!(authorization("ws://us%40er:p%3Aw@host/").as_deref(), Some("Basic dXNAZXI6cDp3"));
        assert_eq!(authorization("ws://user@host/").as_deref(), Some("Basic dXNlcjo="));
        assert_eq!(Target::parse("ws://user:pw@host/").unwrap().host_header, "host");
    }

    #[test]
    fn what_is_not_a_websocket_url() {
        for (url, why) in [
            ("", "it does not begin with ws:// or wss://"),
            ("http://host/", "it does not begin with ws:// or wss://"),
            ("ws:host", "it does not begin with ws:// or wss://"),
            ("host:80", "it does not begin with ws:// or wss://"),
            ("ws://", "empty host"),
            ("ws:///host", "it has no host"),
            ("ws://\\host", "it has no host"),
            ("wss://./", "its host is not a valid host name"),
            ("ws://.host/", "its host is not a valid host name"),
            ("wss://*.host/", "its host is not a valid host name"),
            ("ws://host:99999/", "invalid port number"),
            ("ws://[::1/", "invalid IPv6 address"),
            ("ws://host/#part", "it has a fragment (#), which a WebSocket URL cannot have"),
            ("ws://host/\r\nX: y", "it has a control character in it"),
        ] {
            let refused = Target::parse(url).map_err(|error| error.to_string());
            assert_eq!(refused, Err(why.to_owned()), "{url}");
        }
    }
}

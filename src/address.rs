//! URLs as the constructor of a WebSocket object takes them (the WHATWG's WebSockets and URL standards), which is more
//! than `wsopen` does.

use url::Url;

use crate::url::UrlError;

/// A URL: http and https stand for ws and wss, and it may be relative.
///
/// ```
/// use luws::address::Address;
///
/// let address = Address::parse("/chat", Some("https://example.com/page"))?;
/// assert_eq!(address.url, "wss://example.com/chat");
/// # Ok::<_, luws::url::UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The serialized URL.
    pub url: String,
    /// Its origin: scheme, host, and the port unless it is the default.
    pub origin: String,
    /// The URL to open: an empty query is not part of the resource name (RFC 6455 section 3).
    pub target: String,
}

impl Address {
    /// # Errors
    /// [`UrlError::Syntax`], also for a base URL that is not one; [`UrlError::Scheme`]; [`UrlError::Fragment`].
    pub fn parse(text: &str, base: Option<&str>) -> Result<Self, UrlError> {
        let syntax = |error: url::ParseError| UrlError::Syntax(error.to_string());
        let base = base.map(Url::parse).transpose().map_err(syntax)?;
        let mut url = Url::options().base_url(base.as_ref()).parse(text).map_err(syntax)?;
        let scheme = match url.scheme() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            _ => return Err(UrlError::Scheme),
        };
        url.set_scheme(scheme).map_err(|()| UrlError::Scheme)?;
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let (serialized, origin) = (url.to_string(), url.origin().ascii_serialization());
        if url.query() == Some("") {
            url.set_query(None);
        }
        Ok(Self { url: serialized, origin, target: url.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_of_websocket_objects() {
        #[rustfmt::skip]
        let cases = [
            // URL, base, serialized, origin, to be opened (WHATWG URL, WebSockets)
            ("ws://Host", None, "ws://host/", "ws://host", "ws://host/"),
            ("HTTPS://u:p@host:443/a?", None, "wss://u:p@host/a?", "wss://host", "wss://u:p@host/a"),
            ("http://host:8080/?a?", None, "ws://host:8080/?a?", "ws://host:8080", "ws://host:8080/?a?"),
            (" ws://h\tost\\a/../b c\n", None, "ws://host/b%20c", "ws://host", "ws://host/b%20c"),
            ("/b?x='1'", Some("https://host/a/c"), "wss://host/b?x=%271%27", "wss://host", "wss://host/b?x=%271%27"),
            ("ws://0x7f.1", None, "ws://127.0.0.1/", "ws://127.0.0.1", "ws://127.0.0.1/"),
        ];
        for (text, base, url, origin, target) in cases {
            let address = Address::parse(text, base).expect(text);
            assert_eq!((&*address.url, &*address.origin, &*address.target), (url, origin, target), "{text}");
        }
        for (text, base) in [
            ("chat", None),
            ("chat", Some("about:blank")),
            ("ws://", None),
            ("ftp://host/", None),
            ("ws://host/#", None),
            ("ws://ho st/", None),
            ("ws://host:65536/", None),
            ("ws://256.1.1.1/", None),
        ] {
            assert!(Address::parse(text, base).is_err(), "{text}");
        }
    }
}

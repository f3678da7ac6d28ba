//! Where a redirect leads, and URLs that are taken for those of ws and wss.

use luws::url::{Target, UrlError};

#[test]
fn a_url_is_that_of_its_target() {
    for url in ["ws://host/", "wss://host:81/a?b=%20", "ws://[::1]:9/x", "ws://[fe80::1%25eth0]:8/"] {
        assert_eq!(Target::parse(url).unwrap().url(), url);
    }
    assert_eq!(Target::parse("WS://me:pw@Host:80/a b").unwrap().url(), "ws://host/a%20b");
}

#[test]
fn where_a_redirect_leads() {
    for (from, location, to) in [
        // RFC 3986 section 5.4
        ("ws://a/b/c/d?q", "g", "ws://a/b/c/g"),
        ("ws://a/b/c/d?q", "../g?y", "ws://a/b/g?y"),
        ("ws://a/b/c/d?q", "/g", "ws://a/g"),
        ("wss://a/b/c/d?q", "//g", "wss://g/"),
        ("ws://a/b/c/d?q", "?y", "ws://a/b/c/d?y"),
        ("ws://a/b/c/d?q", "", "ws://a/b/c/d?q"),
        ("ws://a/b/c/d?q", "../../../../g", "ws://a/g"),
        ("ws://a:81/b", "/c?u=http://x/", "ws://a:81/c?u=http://x/"),
        // what stands for ws and wss, in any case
        ("ws://a/", "http://b:80/c", "ws://b/c"),
        ("ws://a/", "HTTPS://B:444/c d", "wss://b:444/c%20d"),
        ("wss://a/", "ws://b", "ws://b/"),
        // neither fragments nor users
        ("ws://a/", "/c#part", "ws://a/c"),
        ("ws://me:x@a/", "http://you:y@b/#part", "ws://b/"),
        // the zone of an address means something here only
        ("ws://[fe80::1%25eth0]:81/", "/c", "ws://[fe80::1%25eth0]:81/c"),
        ("ws://[fe80::1%25eth0]/", "http://[fe80::1]/c", "ws://[fe80::1%25eth0]/c"),
        ("ws://[fe80::1%25eth0]/", "http://[fe80::2]/c", "ws://[fe80::2]/c"),
    ] {
        let target = Target::parse(from).unwrap().follow(location).expect(location);
        assert_eq!((target.url().as_str(), target.authorization), (to, None), "{from}: {location}");
    }
    let latin = Target::parse("ws://a/").unwrap().follow(b"/caf\xe9").unwrap();
    assert_eq!(latin.resource, "/caf%E9");
    for (location, why) in [
        ("ftp://b/", UrlError::Scheme),
        ("mailto:me@b", UrlError::Scheme),
        ("http:///b", UrlError::NoHost),
        ("http://*.b/", UrlError::HostName),
        ("//*.b/", UrlError::HostName),
        ("/a\tb", UrlError::ControlCharacter),
        ("http://b:99999/", UrlError::Syntax("invalid port number".into())),
    ] {
        assert_eq!(Target::parse("ws://a/").unwrap().follow(location), Err(why), "{location}");
    }
}

#[test]
fn http_stands_for_ws_only_where_it_is_said() {
    for (url, secure) in [("http://a/", false), ("https://a/", true), ("ws://a/", false), ("wss://a/", true)]
    {
        assert_eq!(Target::parse_http(url).map(|target| target.secure), Ok(secure));
    }
    assert_eq!(Target::parse("https://a/"), Err(UrlError::Scheme));
    assert_eq!(Target::parse_http("ftp://a/"), Err(UrlError::Scheme));
}

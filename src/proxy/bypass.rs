//! The rules of the variable `no_proxy`: which servers are reached without a proxy. Names are compared as written,
//! nothing is looked up.

use core::net::IpAddr;

/// Whether a list in the form of `no_proxy` names this server: `host` is a name or an address without brackets.
///
/// The elements are separated by commas or spaces. `*` is every host; a name is itself and all names below it, with or
/// without a dot in front; an address is itself, and with `/n` all addresses of that network; each may have a port.
#[must_use]
pub fn bypasses(list: &str, host: &str, port: u16) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let elements = list.split([',', ' ', '\t']).filter(|element| !element.is_empty());
    elements.into_iter().any(|element| {
        let (named, only) = split_port(element);
        only.is_none_or(|only| only == port.to_string())
            && match host.parse() {
                _ if named == "*" => true,
                Ok(address) => contains(named, address),
                Err(_) => is_below(named, host),
            }
    })
}

/// An element without brackets and port, and the port if it has one.
fn split_port(element: &str) -> (&str, Option<&str>) {
    if let Some(inside) = element.strip_prefix('[')
        && let Some((address, after)) = inside.split_once(']')
    {
        return (address, after.strip_prefix(':'));
    }
    match element.split_once(':') {
        // More than one colon is an IPv6 address.
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        _ => (element, None),
    }
}

/// Whether an address is this one, or in this network (`a.b.c.d/n`).
fn contains(named: &str, address: IpAddr) -> bool {
    let (base, bits) = named.split_once('/').map_or((named, None), |(base, bits)| (base, Some(bits)));
    let same_bits = |a: u128, b: u128, width: u32| {
        let bits = bits.map_or(Some(width), |bits| bits.parse().ok().filter(|bits| *bits <= width));
        bits.is_some_and(|bits| (a ^ b).checked_shr(width - bits).unwrap_or(0) == 0)
    };
    match (base.parse(), address) {
        (Ok(IpAddr::V4(base)), IpAddr::V4(address)) => {
            same_bits(u32::from(base).into(), u32::from(address).into(), 32)
        }
        (Ok(IpAddr::V6(base)), IpAddr::V6(address)) => same_bits(base.into(), address.into(), 128),
        _ => false,
    }
}

/// Whether a name is this one or below it.
fn is_below(named: &str, host: &str) -> bool {
    let named = named.trim_matches('.');
    let Some(at) = host.len().checked_sub(named.len()).filter(|_| !named.is_empty()) else { return false };
    let (before, end) = host.as_bytes().split_at(at);
    end.eq_ignore_ascii_case(named.as_bytes()) && (before.is_empty() || before.ends_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::bypasses;

    #[test]
    fn no_proxy_names_servers_as_it_does_elsewhere() {
        for (list, host, expected) in [
            ("", "example.com", false),
            ("*", "example.com", true),
            ("*", "::1", true),
            ("example.com", "example.com", true),
            ("example.com", "a.b.example.com", true),
            (".example.com", "example.com", true),
            (".example.com", "a.example.com", true),
            ("ample.com", "example.com", false),
            ("EXAMPLE.Com", "example.com", true),
            ("example.com.", "example.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "example.org", false),
            ("a.example.com", "example.com", false),
            (".", "example.com", false),
            ("other, example.com ,more", "example.com", true),
            ("other example.com", "example.com", true),
            (" ,, ", "example.com", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.1", "127.0.0.1", false),
            ("27.0.0.1", "127.0.0.1", false),
            ("::1", "::1", true),
            ("[::1]", "::1", true),
            ("0:0::1", "::1", true),
            ("[::1]:443", "::1", true),
            ("[::1]:80", "::1", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.0/31", "10.1.2.2", false),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("10.0.0.0/", "10.0.0.0", false),
            ("fe80::/10", "febf::1", true),
            ("fe80::/10", "fec0::1", false),
            ("::/0", "fec0::1", true),
            ("::/0", "10.0.0.1", false),
            ("::1/128", "::1", true),
            ("10.0.0.0/8", "10.example.com", false),
            ("example.com:443", "a.example.com", true),
            ("example.com:80", "example.com", false),
            ("127.0.0.1:443", "127.0.0.1", true),
            ("127.0.0.1:80", "127.0.0.1", false),
            ("*:80", "example.com", false),
            ("localhost", "127.0.0.1", false),
        ] {
            assert_eq!(bypasses(list, host, 443), expected, "{list:?} {host}");
        }
    }
}

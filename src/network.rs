//! Networks of IP addresses, such as 10.0.0.0/8 and fd00::/8 (RFC 4632 section 3.1, RFC 4291 section 2.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of one family that begin with the same bits. An IPv4 address in the notation of IPv6 is one of IPv4.
///
/// ```
/// use luws::network::Network;
///
/// let private = Network::parse("10.0.0.0/8").unwrap();
/// assert!(private.contains("10.1.2.3".parse().unwrap()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// What its addresses begin with, as an address of IPv6 is: those of IPv4 begin with ::ffff there.
    first: u128,
    /// How many bits of an address come after that.
    rest: u32,
}

/// How many bits of an address of IPv4 in the notation of IPv6 are that address.
const IPV4: u32 = 32;

fn number(address: IpAddr) -> u128 {
    u128::from(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    })
}

impl Network {
    /// Reads an address and the length of the prefix, in bits. What comes after the prefix does not count.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { IPV4 } else { Ipv6Addr::BITS };
        let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
        let rest = bits.checked_sub(length.parse().ok().filter(|_| is_number)?)?;
        Some(Self { first: Self::prefix(number(address), rest), rest })
    }

    /// Whether this is one of its addresses.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let begins_as_ipv4 = Self::prefix(self.first, IPV4) == number(Ipv4Addr::UNSPECIFIED.into());
        let is_of_family = address.to_canonical().is_ipv4() == (begins_as_ipv4 && self.rest <= IPV4);
        is_of_family && Self::prefix(number(address), self.rest) == self.first
    }

    /// The address without its last bits.
    fn prefix(address: u128, rest: u32) -> u128 {
        address & u128::MAX.checked_shl(rest).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn addresses_of_networks() {
        #[rustfmt::skip]
        let cases = [
            ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.0", false), ("10.9.9.9/8", "10.0.0.0", true),
            ("192.0.2.128/25", "192.0.2.128", true), ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.1/32", "192.0.2.1", true), ("192.0.2.1/32", "192.0.2.0", false),
            ("0.0.0.0/0", "192.0.2.1", true), ("0.0.0.0/0", "::1", false), ("::/0", "192.0.2.1", false),
            ("::/0", "2001:db8::1", true), ("::/0", "::ffff:192.0.2.1", false),
            ("fd00::/8", "fdff::1", true), ("fd00::/8", "fe00::1", false), ("2001:db8::1/128", "2001:db8::1", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true), ("::ffff:10.0.0.0/104", "10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "11.0.0.1", false), ("::ffff:0:0/96", "11.0.0.1", true),
        ];
        for (network, address, contains) in cases {
            let found = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(contains, found, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "host/8",
            "::/-1",
            "::/+1",
        ] {
            assert_eq!(None, Network::parse(text), "{text}");
        }
        assert_eq!(None, Network::parse("fe80::%1/64"));
    }
}

//! SOCKS5 (RFC 1928, with user and password of RFC 1929), SOCKS4 and SOCKS4A. Knows nothing of look-ups: whoever wants
//! a name to be looked up here passes its address.
//!
//! ```text
//! SOCKS5   05 count methods         05 method             00: none, 02: user and password, FF: none of them
//!          01 length user length password   01 status     00: accepted
//!          05 01 00 type address port       05 reply 00 type address port
//! SOCKS4   04 01 port address user 00 [name 00]           00 reply port address
//! ```

use std::fmt;

use super::{Negotiation, Progress, ProxyError, SocksError};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Socks4,
    Socks5,
}

impl Version {
    /// The name of the version, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Socks4 => "SOCKS4",
            Self::Socks5 => "SOCKS5",
        }
    }
}

/// Where the proxy is to connect to.
///
/// ```
/// use luws::proxy::socks::Host;
///
/// assert_eq!(Host::new("192.0.2.1"), Host::V4([192, 0, 2, 1]));
/// assert_eq!(Host::new("example.com"), Host::Name("example.com".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    V4([u8; 4]),
    V6([u8; 16]),
    /// The proxy looks it up.
    Name(String),
}

impl Host {
    /// An address without brackets, or a name.
    #[must_use]
    pub fn new(host: &str) -> Self {
        match host.parse() {
            Ok(core::net::IpAddr::V4(address)) => Self::V4(address.octets()),
            Ok(core::net::IpAddr::V6(address)) => Self::V6(address.octets()),
            Err(_) => Self::Name(host.to_owned()),
        }
    }
}

/// A request to a SOCKS proxy.
///
/// See [`Socks`] for an example.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    pub version: Version,
    pub host: Host,
    pub port: u16,
    /// The user and the password, of at most [`LONGEST`] bytes each. SOCKS4 has no password, and no NUL in the user.
    pub credentials: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}:{}", self.version.name(), self.host, self.port)
    }
}

/// The longest name, user or password, in bytes.
pub const LONGEST: usize = 255;

const NO_AUTHENTICATION: u8 = 0x00;
const USER_AND_PASSWORD: u8 = 0x02;
const NONE_ACCEPTABLE: u8 = 0xff;

const CONNECT: u8 = 0x01;

/// The reply of SOCKS4 that grants the request.
const GRANTED: u8 = 0x5a;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    Method,
    Authentication,
    Reply,
}

/// The negotiation with a SOCKS proxy.
///
/// ```
/// use luws::proxy::Negotiation;
/// use luws::proxy::socks::{Host, Options, Socks, Version};
///
/// let options = Options { version: Version::Socks5, host: Host::new("example.com"), port: 80, credentials: None };
/// assert_eq!(Socks::new(options)?.feed(b"")?.answer, [5, 1, 0]); // RFC 1928 section 3
/// # Ok::<_, luws::proxy::ProxyError>(())
/// ```
#[derive(Debug)]
pub struct Socks {
    options: Options,
    step: Step,
}

impl Socks {
    /// Checks that the protocol can express the request.
    ///
    /// # Errors
    /// [`ProxyError::Socks`]
    pub fn new(options: Options) -> Result<Self, ProxyError> {
        let is_socks4 = options.version == Version::Socks4;
        let wrong = match (&options.host, &options.credentials) {
            (Host::Name(name), _) if name.len() > LONGEST => SocksError::LongName,
            (Host::V6(_), _) if is_socks4 => SocksError::NoIpv6,
            (_, Some((user, password))) if user.len().max(password.len()) > LONGEST => {
                SocksError::LongCredentials
            }
            (_, Some((user, _))) if is_socks4 && user.contains(&0) => SocksError::NulInUser,
            _ => return Ok(Self { options, step: Step::Start }),
        };
        Err(ProxyError::Socks(options.version.name(), wrong))
    }

    fn error(&self, error: SocksError) -> ProxyError {
        ProxyError::Socks(self.options.version.name(), error)
    }

    /// The first bytes: the methods of SOCKS5, or the request of SOCKS4.
    fn start(&mut self) -> Vec<u8> {
        if self.options.version == Version::Socks4 {
            self.step = Step::Reply;
            return self.socks4();
        }
        self.step = Step::Method;
        match self.options.credentials {
            Some(_) => vec![0x05, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
            None => vec![0x05, 1, NO_AUTHENTICATION],
        }
    }

    fn socks4(&self) -> Vec<u8> {
        let mut request = vec![0x04, CONNECT];
        request.extend(self.options.port.to_be_bytes());
        request.extend(match self.options.host {
            Host::V4(address) => address,
            // An address that cannot be stands for the name after the user.
            _ => [0, 0, 0, 1],
        });
        request.extend(self.options.credentials.iter().flat_map(|(user, _)| user));
        request.push(0);
        if let Host::Name(name) = &self.options.host {
            request.extend(name.as_bytes());
            request.push(0);
        }
        request
    }

    fn socks5(&mut self) -> Vec<u8> {
        self.step = Step::Reply;
        let mut request = vec![0x05, CONNECT, 0x00];
        match &self.options.host {
            Host::V4(address) => request.extend([&[0x01][..], address].concat()),
            Host::Name(name) => request.extend([&[0x03, name.len() as u8], name.as_bytes()].concat()),
            Host::V6(address) => request.extend([&[0x04][..], address].concat()),
        }
        request.extend(self.options.port.to_be_bytes());
        request
    }

    fn method(&mut self, method: u8) -> Result<Vec<u8>, ProxyError> {
        match (method, &self.options.credentials) {
            (NO_AUTHENTICATION, _) => Ok(self.socks5()),
            (USER_AND_PASSWORD, Some((user, password))) => {
                self.step = Step::Authentication;
                Ok([&[0x01, user.len() as u8], user.as_slice(), &[password.len() as u8], password].concat())
            }
            (NONE_ACCEPTABLE, _) => Err(self.error(SocksError::NoMethod)),
            _ => Err(self.error(SocksError::Method(method))),
        }
    }

    /// Takes the reply to the request, as soon as it is known what it says: a proxy that refuses may send only the
    /// beginning of it.
    fn reply(&self, input: &[u8]) -> Result<Progress, ProxyError> {
        let (granted, length) = match (self.options.version, input) {
            (_, [] | [_]) => return Ok(Progress::default()),
            (Version::Socks4, _) => (GRANTED, 8),
            (Version::Socks5, [_, 0, _, kind, rest @ ..]) => {
                let address = match (kind, rest.first()) {
                    (0x01, _) => 4,
                    (0x03, None) => return Ok(Progress::default()),
                    (0x03, Some(length)) => 1 + usize::from(*length),
                    (0x04, _) => 16,
                    _ => return Err(self.error(SocksError::AddressType(*kind))),
                };
                (0, 4 + address + 2)
            }
            // Not yet complete, unless it is a refusal.
            (Version::Socks5, _) => (0, usize::MAX),
        };
        if input[1] != granted {
            return Err(self.error(match self.options.version {
                Version::Socks4 => SocksError::Reply4(input[1]),
                Version::Socks5 => SocksError::Reply5(input[1]),
            }));
        }
        if input.len() < length {
            return Ok(Progress::default());
        }
        Ok(Progress { used: length, answer: Vec::new(), done: true })
    }
}

impl Negotiation for Socks {
    fn feed(&mut self, input: &[u8]) -> Result<Progress, ProxyError> {
        let first = match (self.step, self.options.version) {
            (Step::Start, _) => {
                return Ok(Progress { used: 0, answer: self.start(), done: false });
            }
            // Some proxies answer with another version than the 01 of RFC 1929.
            (Step::Authentication, _) => None,
            (_, Version::Socks4) => Some(0x00),
            (_, Version::Socks5) => Some(0x05),
        };
        if first.is_some_and(|first| input.first().is_some_and(|byte| *byte != first)) {
            return Err(self.error(SocksError::NotSocks));
        }
        let answer = match (self.step, input) {
            (Step::Reply, _) => return self.reply(input),
            (_, [] | [_]) => return Ok(Progress::default()),
            (Step::Authentication, [_, 0, ..]) => self.socks5(),
            (Step::Authentication, _) => return Err(self.error(SocksError::Rejected)),
            (_, [_, method, ..]) => self.method(*method)?,
        };
        Ok(Progress { used: 2, answer, done: false })
    }

    fn name(&self) -> &'static str {
        self.options.version.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said to the proxy, answer by answer, and then the bytes that are left or why it failed.
    type Talk = (Vec<Vec<u8>>, Result<Vec<u8>, String>);

    fn options(version: Version, host: &str, user: Option<(&str, &str)>) -> Options {
        let credentials = user.map(|(user, password)| (user.into(), password.into()));
        Options { version, host: Host::new(host), port: 443, credentials }
    }

    /// Feeds the proxy's bytes, cut in two at `cut`, or one by one.
    fn talk(options: &Options, input: &[u8], cut: Option<usize>) -> Talk {
        let mut socks = Socks::new(options.clone()).unwrap();
        let pieces: Vec<_> = match cut {
            Some(at) => vec![&[][..], &input[..at], &input[at..]],
            None => std::iter::once(&[][..]).chain(input.chunks(1)).collect(),
        };
        let (mut said, mut rest, mut is_done) = (Vec::new(), Vec::new(), false);
        for piece in pieces {
            rest.extend_from_slice(piece);
            while !is_done {
                match socks.feed(&rest) {
                    Ok(progress) if progress == Progress::default() => break,
                    Ok(progress) => {
                        rest.drain(..progress.used);
                        is_done = progress.done;
                        said.extend((!progress.answer.is_empty()).then_some(progress.answer));
                    }
                    Err(error) => return (said, Err(error.to_string())),
                }
            }
        }
        (said, if is_done { Ok(rest) } else { Err("it waits".into()) })
    }

    fn assert_talk(options: &Options, input: &[u8], said: &[&[u8]], end: &Result<Vec<u8>, String>) {
        for cut in (0..=input.len()).map(Some).chain([None]) {
            let (found, result) = talk(options, input, cut);
            assert_eq!(found, said, "{options:?}, {input:02x?} cut at {cut:?}");
            assert_eq!(&result, end, "{options:?}, {input:02x?} cut at {cut:?}");
        }
    }

    #[test]
    fn a_tunnel_is_asked_for_and_the_bytes_after_it_are_the_servers() {
        use Version::{Socks4, Socks5};
        let me = Some(("m\u{fc}", "p:w"));
        let (none, both): (&[u8], &[u8]) = (b"\x05\x01\x00", b"\x05\x02\x00\x02");
        let auth = "\x01\x03m\u{fc}\x03p:w".as_bytes();
        let to_name: &[u8] = b"\x05\x01\x00\x03\x06a.test\x01\xbb";
        let four: &[u8] = b"\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50";
        let six = [&b"\x05\x00\x00\x04"[..], &[7; 16], b"\x00\x50"].concat();
        for (version, host, user, input, said) in [
            (Socks5, "a.test", None, &[b"\x05\x00", four][..], &[none, to_name][..]),
            (Socks5, "a.test", me, &[b"\x05\x00", four], &[both, to_name]),
            (Socks5, "a.test", me, &[b"\x05\x02", b"\x01\x00", four], &[both, auth, to_name]),
            (Socks5, "a.test", me, &[b"\x05\x02", b"\x05\x00", four], &[both, auth, to_name]),
            (
                Socks5,
                "a.test",
                Some(("", "")),
                &[b"\x05\x02", b"\x01\x00", four],
                &[both, b"\x01\0\0", to_name],
            ),
            (Socks5, "a.test", None, &[b"\x05\x00", b"\x05\x00\xff\x03\x02hi\x00\x50"], &[none, to_name]),
            (Socks5, "a.test", None, &[b"\x05\x00", b"\x05\x00\x00\x03\x00\x00\x50"], &[none, to_name]),
            (
                Socks5,
                "1.2.3.4",
                None,
                &[b"\x05\x00", &six],
                &[none, b"\x05\x01\x00\x01\x01\x02\x03\x04\x01\xbb"],
            ),
            (
                Socks5,
                "::1",
                None,
                &[b"\x05\x00", four],
                &[none, b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb"],
            ),
            (
                Socks4,
                "1.2.3.4",
                None,
                &[b"\0\x5a\x01\xbb\x01\x02\x03\x04"],
                &[b"\x04\x01\x01\xbb\x01\x02\x03\x04\0"],
            ),
            (
                Socks4,
                "a.test",
                Some(("me", "")),
                &[b"\0\x5a\x01\xbb\x01\x02\x03\x04"],
                &[b"\x04\x01\x01\xbb\0\0\0\x01me\0a.test\0"],
            ),
        ] {
            for rest in [&b""[..], b"\x05HTTP"] {
                let input = [&input.concat(), rest].concat();
                assert_talk(&options(version, host, user), &input, said, &Ok(rest.to_vec()));
            }
        }
    }

    #[test]
    fn every_refusal_is_an_error_with_its_own_text() {
        use Version::{Socks4, Socks5};
        for (version, input, why) in [
            (Socks5, &b"\x05\xff"[..], "SOCKS5: no acceptable authentication method"),
            (Socks5, b"\x05\x80", "SOCKS5: unexpected authentication method 128"),
            (Socks5, b"\x05\x01", "SOCKS5: unexpected authentication method 1"),
            (Socks5, b"\x04\x00", "not a SOCKS5 proxy"),
            (Socks5, b"SSH-2.0", "not a SOCKS5 proxy"),
            (Socks5, b"\x05\x02\x01\x01", "SOCKS5: authentication rejected"),
            (Socks5, b"\x05\x02\x01\xff", "SOCKS5: authentication rejected"),
            (Socks5, b"\x05\x00\x01\x00", "not a SOCKS5 proxy"),
            (Socks5, b"\x05\x00\x05\x01", "SOCKS5: general SOCKS server failure (reply 1)"),
            (Socks5, b"\x05\x00\x05\x02\x00", "SOCKS5: connection not allowed by ruleset (reply 2)"),
            (Socks5, b"\x05\x00\x05\x03\x00\x01", "SOCKS5: network unreachable (reply 3)"),
            (Socks5, b"\x05\x00\x05\x04\x00\x01\0\0\0\0\0\0", "SOCKS5: host unreachable (reply 4)"),
            (Socks5, b"\x05\x00\x05\x05", "SOCKS5: connection refused (reply 5)"),
            (Socks5, b"\x05\x00\x05\x06", "SOCKS5: TTL expired (reply 6)"),
            (Socks5, b"\x05\x00\x05\x07", "SOCKS5: command not supported (reply 7)"),
            (Socks5, b"\x05\x00\x05\x08", "SOCKS5: address type not supported (reply 8)"),
            (Socks5, b"\x05\x00\x05\x09", "SOCKS5: unknown error (reply 9)"),
            (Socks5, b"\x05\x00\x05\xf0", "SOCKS5: onion service descriptor not found (reply 0xF0)"),
            (Socks5, b"\x05\x00\x05\xf7", "SOCKS5: onion service introduction timed out (reply 0xF7)"),
            (Socks5, b"\x05\x00\x05\xf8", "SOCKS5: unknown error (reply 0xF8)"),
            (Socks5, b"\x05\x00\x05\x00\x00\x02", "SOCKS5: unexpected address type 2"),
            (Socks4, b"\x00\x5b", "SOCKS4: request rejected or failed (reply 91)"),
            (
                Socks4,
                b"\x00\x5c\0\0\0\0\0\0",
                "SOCKS4: request rejected: it cannot reach identd here (reply 92)",
            ),
            (Socks4, b"\x00\x5d", "SOCKS4: request rejected: identd here names another user (reply 93)"),
            (Socks4, b"\x00\x00", "SOCKS4: unknown error (reply 0)"),
            (Socks4, b"\x04\x5a", "not a SOCKS4 proxy"),
            (Socks4, b"HTTP/1.0", "not a SOCKS4 proxy"),
        ] {
            for cut in (0..=input.len()).map(Some).chain([None]) {
                let (_, result) = talk(&options(version, "1.2.3.4", Some(("me", "it"))), input, cut);
                assert_eq!(result, Err(why.to_owned()), "{input:02x?} cut at {cut:?}");
            }
        }
    }

    #[test]
    fn an_answer_is_waited_for_until_it_is_complete() {
        let four = b"\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50";
        let name = b"\x05\x00\x00\x03\x02hi\x00\x50";
        for reply in [&four[..], name] {
            for end in 0..reply.len() {
                let input = [b"\x05\x00", &reply[..end]].concat();
                let (_, result) = talk(&options(Version::Socks5, "h", None), &input, None);
                assert_eq!(result, Err("it waits".into()), "{input:02x?}");
            }
        }
        let (_, result) = talk(&options(Version::Socks4, "h", None), b"\0\x5a\0\0\0\0\0", None);
        assert_eq!(result, Err("it waits".into()));
    }

    #[test]
    fn what_the_protocol_cannot_express_fails_before_anything_is_sent() {
        use Version::{Socks4, Socks5};
        let long = "x".repeat(LONGEST + 1);
        for (version, host, user, why) in [
            (Socks4, "::1", None, "SOCKS4: no IPv6 addresses"),
            (Socks5, &*long, None, "SOCKS5: host name longer than 255 bytes"),
            (Socks4, &long, None, "SOCKS4: host name longer than 255 bytes"),
            (Socks5, "h", Some((&*long, "")), "SOCKS5: user or password longer than 255 bytes"),
            (Socks5, "h", Some(("", &*long)), "SOCKS5: user or password longer than 255 bytes"),
            (Socks4, "h", Some((&long, "")), "SOCKS4: user or password longer than 255 bytes"),
            (Socks4, "h", Some(("me\0other.test", "")), "SOCKS4: user with a NUL in it"),
        ] {
            let result = Socks::new(options(version, host, user)).map(|_| ());
            assert_eq!(result.map_err(|error| error.to_string()), Err(why.to_owned()));
        }
        let most = &long[..LONGEST];
        assert!(Socks::new(options(Socks5, most, Some((most, most)))).is_ok());
        assert!(Socks::new(options(Socks5, "h", Some(("a\0b", "c\0d")))).is_ok());
    }

    #[test]
    fn options_do_not_show_their_password() {
        let shown = format!("{:?}", options(Version::Socks5, "h", Some(("me", "secret"))));
        assert_eq!(shown, "SOCKS5 Name(\"h\"):443");
    }
}

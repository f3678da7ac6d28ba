//! The Digest scheme (RFC 7616, and RFC 2617 for servers that know no `qop`): reads a challenge and computes the
//! answer. Knows nothing of other schemes.
//!
//! Each nonce is used once, so the nonce count is always 1. The cnonce is the caller's.

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};

use super::challenge::Challenge;
use super::credentials::{Credentials, Request};

/// The hash functions, better ones last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

impl Hash {
    /// The hash of these parts with colons between them, in hexadecimal digits.
    fn of(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(joined)),
            Self::Sha256 => hex(&Sha256::digest(joined)),
            Self::Sha512_256 => hex(&Sha512_256::digest(joined)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The names of the algorithms (section 6.1). With this end, the first hash belongs to a session.
const ALGORITHMS: [(&str, Hash); 6] = [
    ("MD5", Hash::Md5),
    ("MD5-sess", Hash::Md5),
    ("SHA-256", Hash::Sha256),
    ("SHA-256-sess", Hash::Sha256),
    ("SHA-512-256", Hash::Sha512_256),
    ("SHA-512-256-sess", Hash::Sha512_256),
];
const SESSION: &str = "-sess";

/// A challenge that can be answered.
///
/// ```
/// use luws::http::Headers;
/// use luws::http::auth::{Challenge, Credentials, Digest, Request};
///
/// let headers = Headers(vec![("WWW-Authenticate".into(), br#"Digest realm="hub", nonce="n", qop="auth""#.to_vec())]);
/// let digest = Digest::read(&Challenge::all(&headers, "WWW-Authenticate")[0]).unwrap();
/// let request = Request { method: "GET", uri: "/", cnonce: "0a4f113b" };
/// let answer = digest.answer(&Credentials::new(b"user", b"password")?, &request);
/// assert!(answer.starts_with(b"Digest username=\"user\""));
/// # Ok::<_, luws::http::auth::CredentialsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    /// The name as it is to be repeated; `None` if the challenge names none, which means MD5.
    algorithm: Option<&'static str>,
    hash: Hash,
    /// Whether the quality of protection is `auth`; the older form has none.
    has_qop: bool,
    is_stale: bool,
    /// Whether the user's name is to be hashed, too, so that nobody on the way reads it (section 3.4.4).
    hides_user: bool,
}

impl Digest {
    /// Reads a challenge; `None` if it is of another scheme, has no nonce or realm, or asks for what is not supported:
    /// other hashes, or `auth-int` alone.
    #[must_use]
    pub fn read(challenge: &Challenge) -> Option<Self> {
        if !challenge.is("Digest") {
            return None;
        }
        let copy = |name| challenge.get(name).map(<[u8]>::to_vec);
        let is = |value: &[u8], word: &str| value.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
        let named = challenge.get("algorithm").map(|name| ALGORITHMS.iter().find(|known| is(name, known.0)));
        let (name, hash) = *named.unwrap_or(ALGORITHMS.first())?;
        let has_qop = match challenge.get("qop") {
            None => false,
            Some(list) if list.split(|byte| *byte == b',').any(|word| is(word, "auth")) => true,
            Some(_) => return None,
        };
        Some(Self {
            realm: copy("realm")?,
            nonce: copy("nonce")?,
            opaque: copy("opaque"),
            algorithm: named.map(|_| name),
            hash,
            has_qop,
            is_stale: challenge.get("stale").is_some_and(|value| is(value, "true")),
            hides_user: challenge.get("userhash").is_some_and(|value| is(value, "true")),
        })
    }

    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether the last answer was refused for its nonce alone: user and password were right.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// The value of `Authorization` or `Proxy-Authorization` (section 3.4).
    #[must_use]
    pub fn answer(&self, credentials: &Credentials, request: &Request<'_>) -> Vec<u8> {
        const COUNT: &str = "00000001";
        let (method, uri, cnonce) =
            (request.method.as_bytes(), request.uri.as_bytes(), request.cnonce.as_bytes());
        let is_session = self.algorithm.is_some_and(|name| name.ends_with(SESSION));
        let mut a1 = self.hash.of(&[&credentials.user, &self.realm, &credentials.password]);
        if is_session {
            a1 = self.hash.of(&[a1.as_bytes(), &self.nonce, cnonce]);
        }
        let a2 = self.hash.of(&[method, uri]);
        let (a1, a2) = (a1.as_bytes(), a2.as_bytes());
        let response = if self.has_qop {
            self.hash.of(&[a1, &self.nonce, COUNT.as_bytes(), cnonce, b"auth", a2])
        } else {
            self.hash.of(&[a1, &self.nonce, a2])
        };
        let hidden = self.hides_user.then(|| self.hash.of(&[&credentials.user, &self.realm]));
        let mut fields = vec![
            quoted("username", hidden.as_ref().map_or(&credentials.user, |hash| hash.as_bytes())),
            quoted("realm", &self.realm),
            quoted("nonce", &self.nonce),
            quoted("uri", uri),
            quoted("response", response.as_bytes()),
        ];
        fields.extend(self.algorithm.map(|name| format!("algorithm={name}").into_bytes()));
        if self.has_qop {
            fields.push(format!("qop=auth, nc={COUNT}").into_bytes());
        }
        if self.has_qop || is_session {
            fields.push(quoted("cnonce", cnonce));
        }
        fields.extend(self.opaque.as_ref().map(|opaque| quoted("opaque", opaque)));
        fields.extend(hidden.map(|_| b"userhash=true".to_vec()));
        [b"Digest ", fields.join(&b", "[..]).as_slice()].concat()
    }
}

/// A parameter whose value is a quoted string (RFC 9110 section 5.6.4).
fn quoted(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = format!("{name}=\"").into_bytes();
    for byte in value {
        if b"\"\\".contains(byte) {
            field.push(b'\\');
        }
        field.push(*byte);
    }
    field.push(b'"');
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Headers;

    fn read(field: &str) -> Option<Digest> {
        let headers = Headers(vec![("a".to_owned(), field.as_bytes().to_vec())]);
        Digest::read(&Challenge::all(&headers, "a")[0])
    }

    fn answer(field: &str, user: &str, password: &str, request: &Request<'_>) -> String {
        let credentials = Credentials::new(user.as_bytes(), password.as_bytes()).unwrap();
        String::from_utf8(read(field).unwrap().answer(&credentials, request)).unwrap()
    }

    const RFC_7616: Request<'_> = Request {
        method: "GET",
        uri: "/dir/index.html",
        cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    };

    #[test]
    fn answers_are_those_of_the_rfcs() {
        // RFC 7616 section 3.9.1
        let challenge = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=ALGORITHM, \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
            opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = challenge.replace("ALGORITHM", algorithm);
            let expected = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", \
                 response=\"{response}\", algorithm={algorithm}, qop=auth, nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            assert_eq!(answer(&challenge, "Mufasa", "Circle of Life", &RFC_7616), expected);
        }
        // RFC 7616 section 3.9.2, with the hashes of its erratum 4897
        let challenge = "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
            nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", \
            opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\", charset=UTF-8, userhash=true";
        let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";
        let request = Request { uri: "/doe.json", cnonce, ..RFC_7616 };
        let expected = "Digest username=\"793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b\", \
            realm=\"api@example.org\", nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", uri=\"/doe.json\", \
            response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\", algorithm=SHA-512-256, \
            qop=auth, nc=00000001, cnonce=\"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v\", \
            opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\", userhash=true";
        assert_eq!(answer(challenge, "J\u{e4}s\u{f8}n Doe", "Secret, or not?", &request), expected);
        // RFC 2617 section 3.5
        let challenge = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let request = Request { cnonce: "0a4f113b", ..RFC_7616 };
        let found = answer(challenge, "Mufasa", "Circle Of Life", &request);
        assert!(found.contains("response=\"6629fae49393a05397450978507c4ef1\", qop=auth"), "{found}");
        // RFC 2069 section 2.4, with the response of its erratum 749
        let challenge = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
            opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let found = answer(challenge, "Mufasa", "CircleOfLife", &RFC_7616);
        let end =
            "response=\"1949323746fe6a43ef61f9606e7febea\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        assert!(found.ends_with(end), "{found}");
    }

    #[test]
    fn answers_of_sessions_and_for_proxies_are_those_of_other_implementations() {
        let request = Request { method: "CONNECT", uri: "host:443", cnonce: "xyz" };
        // The responses were computed by Python's hashlib.
        for (asked, response, rest) in [
            (
                "algorithm=MD5-sess, qop=auth",
                "97b1354daffcac5d551e2b54f12e9220",
                ", algorithm=MD5-sess, qop=auth, nc=00000001, cnonce=\"xyz\"",
            ),
            (
                "algorithm=sha-256-SESS, qop=\"auth\"",
                "7412c3949aab9e3f872f3dbb4d8d31f993bdd94c8b99e309f6a11dac723f2eb4",
                ", algorithm=SHA-256-sess, qop=auth, nc=00000001, cnonce=\"xyz\"",
            ),
            ("qop=auth", "0480bc3d3a718064458885a6d8b3d3e2", ", qop=auth, nc=00000001, cnonce=\"xyz\""),
            ("", "6778432600affb9ce30c9e2ca569159d", ""),
        ] {
            let challenge = format!("Digest realm=\"a \\\"b\\\"\", nonce=n, {asked}");
            let begin =
                "Digest username=\"\u{fc}\\\\\", realm=\"a \\\"b\\\"\", nonce=\"n\", uri=\"host:443\"";
            let expected = format!("{begin}, response=\"{response}\"{rest}");
            assert_eq!(answer(&challenge, "\u{fc}\\", "p:w", &request), expected, "{asked}");
        }
    }

    #[test]
    fn what_cannot_be_answered_is_not_read() {
        for (field, can_be) in [
            ("Digest realm=r, nonce=n", true),
            ("DIGEST realm=\"\", nonce=\"\"", true),
            ("Digest realm=r, nonce=n, qop=\"auth-int , AUTH\"", true),
            ("Digest realm=r, nonce=n, algorithm=\"md5\"", true),
            ("Digest realm=r, nonce=n, algorithm=SHA-512-256", true),
            ("Digest realm=r, nonce=n, algorithm=SHA-512", false),
            ("Digest realm=r, nonce=n, algorithm=token", false),
            ("Digest realm=r, nonce=n, qop=auth-int", false),
            ("Digest realm=r, nonce=n, qop=\"\"", false),
            ("Digest realm=r", false),
            ("Digest nonce=n", false),
            ("Basic realm=r, nonce=n", false),
        ] {
            assert_eq!(read(field).is_some(), can_be, "{field}");
        }
        for (stale, is) in [("true", true), ("\"TRUE\"", true), ("false", false), ("\"\"", false)] {
            assert_eq!(read(&format!("Digest realm=r, nonce=n, stale={stale}")).unwrap().is_stale(), is);
        }
    }
}

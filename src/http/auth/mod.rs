//! Authentication in HTTP (RFC 9110 section 11): reads challenges and writes the answers, for `Authorization` and
//! `Proxy-Authorization` alike. The schemes are Basic (RFC 7617), Bearer (RFC 6750) and Digest (RFC 7616).
//!
//! Knows neither requests nor connections: its user sends them, and tells what was tried before.

mod challenge;
mod credentials;
mod digest;
mod hiding;

pub use challenge::Challenge;
pub use credentials::{Credentials, CredentialsError, Request, bearer, same};
pub use digest::{Digest, Hash};
pub use hiding::{hidden_in, hidden_in_message, secrets_of};

/// The schemes that user and password can be sent with.
///
/// ```
/// use luws::http::auth::Scheme;
///
/// assert_eq!(Scheme::named("digest"), Some(Scheme::Digest));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Basic,
    Digest,
}

impl Scheme {
    /// The scheme of this name, in lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "basic" => Some(Self::Basic),
            "digest" => Some(Self::Digest),
            _ => None,
        }
    }
}

/// What was sent before a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tried {
    #[default]
    Nothing,
    Basic,
    Digest,
    /// Digest a second time, because the nonce of the first was stale.
    FreshDigest,
}

impl Credentials {
    /// The answer to a refusal with these challenges, as the value of a header and what has been tried then; `None` if
    /// the refusal is final. The best Digest is preferred to Basic, unless `only` one scheme is wanted. After Digest
    /// nothing else is tried, as that would give the password to whoever has just refused its hash.
    #[must_use]
    pub fn answer(
        &self,
        challenges: &[Challenge],
        only: Option<Scheme>,
        tried: Tried,
        request: &Request<'_>,
    ) -> Option<(Vec<u8>, Tried)> {
        let mut digests: Vec<_> = challenges.iter().filter_map(Digest::read).collect();
        digests.sort_by_key(|digest| std::cmp::Reverse(digest.hash()));
        let next = match (digests.first().filter(|_| only != Some(Scheme::Basic)), tried) {
            (Some(_), Tried::Nothing | Tried::Basic) => Tried::Digest,
            (Some(digest), Tried::Digest) if digest.is_stale() => Tried::FreshDigest,
            (None, Tried::Nothing) if only != Some(Scheme::Digest) => {
                let is_asked_for = challenges.iter().any(|challenge| challenge.is("Basic"));
                return Some((self.basic().ok().filter(|_| is_asked_for)?, Tried::Basic));
            }
            _ => return None,
        };
        digests.first().map(|digest| (digest.answer(self, request), next))
    }
}

/// The schemes of challenges, each once, for messages: `Negotiate, NTLM`.
#[must_use]
pub fn schemes(challenges: &[Challenge]) -> String {
    const MOST: usize = 8;
    const LONGEST: usize = 40;
    let mut names: Vec<&str> = Vec::new();
    for challenge in challenges {
        let name = &challenge.scheme[..challenge.scheme.len().min(LONGEST)];
        if names.len() < MOST && !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Headers;

    const REQUEST: Request<'_> = Request { method: "CONNECT", uri: "host:443", cnonce: "xyz" };

    fn challenges(field: &str) -> Vec<Challenge> {
        Challenge::all(&Headers(vec![("a".to_owned(), field.as_bytes().to_vec())]), "a")
    }

    #[test]
    fn the_best_scheme_is_chosen_and_each_is_tried_once() {
        use Scheme::{Basic, Digest};
        const MD5: &str = "Digest realm=r, nonce=m, qop=auth";
        const SHA_256: &str = "Digest realm=r, nonce=s, algorithm=SHA-256";
        const SHA_512: &str = "Digest realm=r, nonce=t, algorithm=SHA-512-256";
        const UNKNOWN: &str = "Digest realm=r, nonce=u, algorithm=SHA-512";
        const STALE: &str = "Digest realm=r, nonce=f, stale=true";
        for (field, only, tried, expected) in [
            ("Basic realm=r", None, Tried::Nothing, Some(("Basic", Tried::Basic))),
            ("Basic realm=r", Some(Basic), Tried::Nothing, Some(("Basic", Tried::Basic))),
            ("Basic realm=r", Some(Digest), Tried::Nothing, None),
            ("Basic realm=r", None, Tried::Basic, None),
            (MD5, None, Tried::Nothing, Some(("nonce=\"m\"", Tried::Digest))),
            (MD5, None, Tried::Basic, Some(("nonce=\"m\"", Tried::Digest))),
            (MD5, Some(Basic), Tried::Nothing, None),
            (MD5, Some(Digest), Tried::Digest, None),
            (
                &format!("Basic realm=r, {MD5}, {SHA_256}"),
                None,
                Tried::Nothing,
                Some(("\"s\"", Tried::Digest)),
            ),
            (&format!("{SHA_512}, {SHA_256}"), None, Tried::Nothing, Some(("\"t\"", Tried::Digest))),
            (&format!("{SHA_256}, Basic, {MD5}"), None, Tried::Nothing, Some(("\"s\"", Tried::Digest))),
            (&format!("Basic realm=r, {MD5}"), Some(Basic), Tried::Nothing, Some(("Basic", Tried::Basic))),
            (&format!("Basic realm=r, {MD5}"), None, Tried::Digest, None), // not Basic after Digest
            ("Basic realm=r", None, Tried::Digest, None),
            (&format!("{UNKNOWN}, Basic"), None, Tried::Nothing, Some(("Basic", Tried::Basic))),
            (&format!("{UNKNOWN}, {MD5}"), None, Tried::Nothing, Some(("\"m\"", Tried::Digest))),
            (UNKNOWN, None, Tried::Nothing, None),
            (STALE, None, Tried::Nothing, Some(("\"f\"", Tried::Digest))),
            (STALE, None, Tried::Digest, Some(("\"f\"", Tried::FreshDigest))),
            (STALE, None, Tried::FreshDigest, None),
            ("Negotiate, NTLM", None, Tried::Nothing, None),
            ("", None, Tried::Nothing, None),
        ] {
            let credentials = Credentials::new(b"me", b"secret").unwrap();
            let found = credentials.answer(&challenges(field), only, tried, &REQUEST);
            let says = |(value, now): &(Vec<u8>, Tried)| {
                let (part, after) = expected.unwrap_or(("nothing", Tried::Nothing));
                String::from_utf8_lossy(value).contains(part) && *now == after
            };
            assert_eq!(found.as_ref().map(says), expected.map(|_| true), "{field} {tried:?}: {found:?}");
        }
    }

    #[test]
    fn a_user_that_basic_cannot_express_is_not_sent() {
        let credentials = Credentials::new(b"a:b", b"c").unwrap();
        assert_eq!(credentials.answer(&challenges("Basic realm=r"), None, Tried::Nothing, &REQUEST), None);
    }

    #[test]
    fn schemes_are_named_once_and_not_without_end() {
        for (field, expected) in [
            ("Negotiate, NTLM, negotiate", "Negotiate, NTLM"),
            ("", ""),
            ("a, b, c, d, e, f, g, h, i", "a, b, c, d, e, f, g, h"),
            (&"x".repeat(41), &"x".repeat(40)),
        ] {
            assert_eq!(schemes(&challenges(field)), expected);
        }
    }
}

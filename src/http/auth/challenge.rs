//! Reads the challenges in `WWW-Authenticate` and `Proxy-Authenticate` (RFC 9110 section 11.6.1). Knows no scheme.
//!
//! Commas separate both challenges and the parameters of one, so a name is a parameter only if a `=` follows it. The
//! reader is lenient: what is not in the grammar is skipped up to the next comma, and does not hide the challenges
//! around it.

use crate::http::headers::Headers;

/// The most challenges of a head, and the most parameters of a challenge, that are read. The others are ignored.
const MOST: usize = 32;

/// One challenge: a scheme, and what it asks for.
///
/// ```
/// use luws::http::Headers;
/// use luws::http::auth::Challenge;
///
/// let headers = Headers(vec![("WWW-Authenticate".into(), b"Basic realm=\"hub\"".to_vec())]);
/// let challenges = Challenge::all(&headers, "WWW-Authenticate");
/// assert!(challenges[0].is("basic"));
/// assert_eq!(challenges[0].get("realm"), Some(&b"hub"[..]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// As sent; see [`is`](Self::is).
    pub scheme: String,
    /// In order, without the quotes and the backslashes of quoted strings.
    pub parameters: Vec<(String, Vec<u8>)>,
}

impl Challenge {
    /// The challenges in all fields of this name, in order.
    #[must_use]
    pub fn all(headers: &Headers, name: &str) -> Vec<Self> {
        let mut challenges = Vec::new();
        for value in headers.all(name) {
            read(value, &mut challenges);
        }
        challenges
    }

    /// Whether the challenge is of this scheme. Case does not matter.
    #[must_use]
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The first parameter of this name. Case does not matter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    }
}

/// Adds the challenges in one field.
fn read(value: &[u8], challenges: &mut Vec<Challenge>) {
    let mut rest = Rest(value);
    // A parameter before the first scheme belongs to nothing, not even to the challenge of the field before.
    let mut has_scheme = false;
    loop {
        rest.skip(|byte| byte == b',' || is_space(byte));
        if rest.0.is_empty() {
            return;
        }
        let name = rest.take(is_of_token);
        if name.is_empty() {
            rest.skip_element();
            continue;
        }
        if let Some(value) = rest.value() {
            if let Some(challenge) = challenges.last_mut().filter(|_| has_scheme)
                && challenge.parameters.len() < MOST
            {
                challenge.parameters.push((text(name), value));
            }
            continue;
        }
        if challenges.len() == MOST {
            return;
        }
        challenges.push(Challenge { scheme: text(name), parameters: Vec::new() });
        has_scheme = true;
        rest.skip_token68();
    }
}

/// A token, which is ASCII.
fn text(token: &[u8]) -> String {
    String::from_utf8_lossy(token).into_owned()
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// RFC 9110 section 5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What is still to be read of a field.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !fits(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn skip(&mut self, fits: impl Fn(u8) -> bool) {
        self.take(fits);
    }

    /// Skips what cannot be read, up to a comma.
    fn skip_element(&mut self) {
        self.skip(|byte| byte != b',');
    }

    /// The value after a name, if a `=` and a value follow: a token or a quoted string. Otherwise nothing is read. A
    /// value that is neither, though it should be quoted, ends at a comma.
    fn value(&mut self) -> Option<Vec<u8>> {
        let mut rest = *self;
        rest.skip(is_space);
        rest.0 = rest.0.strip_prefix(b"=")?;
        rest.skip(is_space);
        let value = match rest.0.first() {
            Some(b'"') => rest.quoted(),
            // This is the padding of a token68.
            None | Some(b',' | b'=') => return None,
            Some(_) => rest.take(|byte| byte != b',').trim_ascii_end().to_vec(),
        };
        *self = rest;
        Some(value)
    }

    /// A quoted string (RFC 9110 section 5.6.4); one without its end goes up to the end of the field.
    fn quoted(&mut self) -> Vec<u8> {
        let mut value = Vec::new();
        let mut bytes = self.0.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return value;
                }
                b'\\' => value.extend(bytes.next().map(|(_, escaped)| *escaped)),
                _ => value.push(*byte),
            }
        }
        self.0 = b"";
        value
    }

    /// Skips the token68 after a scheme (RFC 9110 section 11.2), if it is one and not the name of a parameter.
    fn skip_token68(&mut self) {
        let mut rest = *self;
        rest.skip(is_space);
        rest.skip(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        rest.skip(|byte| byte == b'=');
        rest.skip(is_space);
        if rest.0.first().is_none_or(|byte| *byte == b',') {
            *self = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The challenges as `scheme name=value name=value; scheme`.
    fn shown(fields: &[&str]) -> String {
        let fields = fields.iter().map(|value| ("Www-Authenticate".to_owned(), value.as_bytes().to_vec()));
        let challenges = Challenge::all(&Headers(fields.collect()), "WWW-Authenticate");
        let shown = challenges.iter().map(|challenge| {
            let parameters = challenge.parameters.iter();
            let parameters =
                parameters.map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value)));
            challenge.scheme.clone() + &parameters.collect::<String>()
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn challenges_are_found_in_one_field_and_in_several() {
        for (fields, expected) in [
            (&[][..], ""),
            (&["Basic realm=\"a\""], "Basic realm=a"),
            (&["Basic realm=\"a\"", "Digest nonce=n"], "Basic realm=a; Digest nonce=n"),
            (&["Basic realm=\"a\", Digest nonce=n, qop=auth"], "Basic realm=a; Digest nonce=n qop=auth"),
            // RFC 9110 section 11.6.1
            (
                &["Basic realm=\"simple\", Newauth realm=\"apps\", type=1,title=\"Login to \\\"apps\\\"\""],
                "Basic realm=simple; Newauth realm=apps type=1 title=Login to \"apps\"",
            ),
            (&["Negotiate, NTLM"], "Negotiate; NTLM"),
            (&["Negotiate,NTLM,,Basic realm=x,"], "Negotiate; NTLM; Basic realm=x"),
            (&["NTLM TlRMTVNTUAAC==, Basic realm=x"], "NTLM; Basic realm=x"),
            (&["NTLM TlRMTVNTUAAC/+ , Basic realm=x"], "NTLM; Basic realm=x"),
            (&["Digest qop=\"auth,auth-int\", nonce=\"a,b=c\""], "Digest qop=auth,auth-int nonce=a,b=c"),
            (&["dIGEST\tREALM = \"a\" , Nonce= b"], "dIGEST REALM=a Nonce=b"),
            (&["Digest , realm=a"], "Digest realm=a"),
            (&["Digest realm=\"\""], "Digest realm="),
            (&["Digest realm=\"\u{fc} \\\\ \\\"\""], "Digest realm=\u{fc} \\ \""),
        ] {
            assert_eq!(shown(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_grammar_hides_nothing_else() {
        for (field, expected) in [
            ("", ""),
            (" , ,", ""),
            ("realm=a, Basic realm=b", "Basic realm=b"), // a parameter of nothing
            ("Basic realm=a b, Digest nonce=n", "Basic realm=a b; Digest nonce=n"),
            ("(comment), Basic realm=b", "Basic realm=b"),
            ("Basic realm=\"a, Digest nonce=n", "Basic realm=a, Digest nonce=n"), // the quotes never end
            ("Basic realm=\"a\\", "Basic realm=a"),
            ("Basic realm=\"a\"b, Digest nonce=n", "Basic realm=a; b; Digest nonce=n"),
            ("Basic realm=, Digest nonce=n", "Basic; Digest nonce=n"),
            ("Basic =, Digest nonce=n", "Basic; Digest nonce=n"),
        ] {
            assert_eq!(shown(&[field]), expected, "{field:?}");
        }
    }

    #[test]
    fn at_most_32_challenges_and_parameters_are_read() {
        let many = "Basic, ".repeat(MOST + 1);
        assert_eq!(shown(&[&many]).matches("Basic").count(), MOST);
        let many = format!("Digest {}", "a=b, ".repeat(MOST + 1));
        assert_eq!(shown(&[&many]).matches("a=b").count(), MOST);
    }

    #[test]
    fn names_are_found_in_any_case_and_the_first_one_counts() {
        let fields = vec![("a".to_owned(), b"Digest Realm=1, realm=2".to_vec())];
        let challenges = Challenge::all(&Headers(fields), "A");
        assert!(challenges[0].is("DIGEST") && !challenges[0].is("Basic"));
        assert_eq!((challenges[0].get("REALM"), challenges[0].get("x")), (Some(&b"1"[..]), None));
    }
}

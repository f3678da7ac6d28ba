//! What is known to one side only: a user and a password, or a token. Knows no challenge.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

/// A user and a password, in bytes: UTF-8, as a rule. They are not shown by `Debug`.
///
/// ```
/// use luws::http::auth::Credentials;
///
/// let credentials = Credentials::new(b"Aladdin", b"open sesame")?;
/// assert_eq!(credentials.basic()?, b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="); // RFC 7617 section 2
/// # Ok::<_, luws::http::auth::CredentialsError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Why credentials cannot be used. Does not repeat them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// The user or the password has a control character in it (RFC 7617 section 2).
    Control,
    /// The user has a colon in it, which would end it there (RFC 7617 section 2).
    Colon,
    /// The token is not a b64token (RFC 6750 section 2.1).
    Token,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "a user or a password cannot have control characters in it",
            Self::Colon => "a user cannot have a colon in it",
            Self::Token => "a token consists of letters, digits and -._~+/, with = at its end only",
        })
    }
}

impl std::error::Error for CredentialsError {}

/// The request that is to be authenticated.
///
/// See [`Digest`](super::Digest) for an example.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Exactly as in the request line.
    pub uri: &'a str,
    /// Unpredictable letters and digits, for Digest.
    pub cnonce: &'a str,
}

impl Credentials {
    /// # Errors
    /// See [`CredentialsError`]; a colon in the user is not looked for here, as not every use of it is HTTP's.
    pub fn new(user: &[u8], password: &[u8]) -> Result<Self, CredentialsError> {
        if user.iter().chain(password).any(u8::is_ascii_control) {
            return Err(CredentialsError::Control);
        }
        Ok(Self { user: user.to_vec(), password: password.to_vec() })
    }

    /// The value of a header for Basic.
    ///
    /// # Errors
    /// [`CredentialsError::Colon`]
    pub fn basic(&self) -> Result<Vec<u8>, CredentialsError> {
        if self.user.contains(&b':') {
            return Err(CredentialsError::Colon);
        }
        let pair = [self.user.as_slice(), b":", &self.password].concat();
        Ok(format!("Basic {}", BASE64.encode(pair)).into_bytes())
    }

    /// What nobody else is to read: the password, and what Basic makes of it.
    #[must_use]
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        let basic = self.basic().unwrap_or_default();
        vec![basic.strip_prefix(b"Basic ").unwrap_or_default().to_vec(), self.password.clone()]
    }
}

/// Returns whether two secrets are the same. How long that takes tells nothing of where they differ, nor how long the
/// known one is.
#[must_use]
pub fn same(given: &[u8], known: &[u8]) -> bool {
    let (given, known) = (Sha256::digest(given), Sha256::digest(known));
    let differs = given.iter().zip(known).fold(0, |differs, (a, b)| differs | (a ^ b));
    std::hint::black_box(differs) == 0
}

/// The value of a header for Bearer.
///
/// # Errors
/// [`CredentialsError::Token`]
pub fn bearer(token: &[u8]) -> Result<Vec<u8>, CredentialsError> {
    let end = token.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1);
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    if end == 0 || !token[..end].iter().all(fits) {
        return Err(CredentialsError::Token);
    }
    Ok([b"Bearer ", token].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_base64_of_user_and_password() {
        // RFC 7617 sections 2 and 2.1
        for (user, password, expected) in [
            ("Aladdin", "open sesame", Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("test", "123\u{a3}", Ok("Basic dGVzdDoxMjPCow==")),
            ("", "", Ok("Basic Og==")),
            ("a", "b:c", Ok("Basic YTpiOmM=")),
            ("a:b", "c", Err(CredentialsError::Colon)),
        ] {
            let credentials = Credentials::new(user.as_bytes(), password.as_bytes()).unwrap();
            assert_eq!(credentials.basic(), expected.map(|value| value.as_bytes().to_vec()), "{user}");
            assert_eq!(format!("{credentials:?}"), "Credentials");
        }
        for (user, password) in [("a\n", ""), ("", "\0"), ("\x7f", "")] {
            let result = Credentials::new(user.as_bytes(), password.as_bytes());
            assert_eq!(result, Err(CredentialsError::Control), "{user:?} {password:?}");
        }
    }

    #[test]
    fn secrets_are_the_same_only_if_all_of_them_is() {
        for (given, known, expected) in
            [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false), ("ab", "", false)]
        {
            assert_eq!(same(given.as_bytes(), known.as_bytes()), expected, "{given} {known}");
        }
    }

    #[test]
    fn a_bearer_token_is_in_its_grammar() {
        for (token, is_valid) in [
            ("mF_9.B5f-4.1JqM", true),
            ("a~+/==", true),
            ("", false),
            ("=", false),
            ("a=b", false),
            ("a b", false),
            ("a\r\nX: y", false),
            ("\u{fc}", false),
        ] {
            let expected = is_valid.then(|| format!("Bearer {token}").into_bytes());
            assert_eq!(bearer(token.as_bytes()).ok(), expected, "{token:?}");
        }
    }

    #[test]
    fn what_is_secret_is_the_password_in_both_forms() {
        let credentials = Credentials::new(b"Aladdin", b"open sesame").unwrap();
        assert_eq!(credentials.secrets(), [&b"QWxhZGRpbjpvcGVuIHNlc2FtZQ=="[..], b"open sesame"]);
        assert_eq!(Credentials::new(b"a:b", b"c").unwrap().secrets(), [&b""[..], b"c"]);
    }
}

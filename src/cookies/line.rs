//! Takes the value of a Set-Cookie header apart (RFC 6265 section 5.2). Knows nothing of who has sent it.

use super::cookie::CookieError;
use crate::http::date;
use crate::memory;

/// The maximum size of a name and its value together, and of the value of an attribute, in bytes (6265bis section 5.5).
const LARGEST: usize = 4096;
const LARGEST_ATTRIBUTE: usize = 1024;

/// The longest that a cookie may be kept, in seconds: 400 days (6265bis section 5.5).
const LONGEST: i64 = 400 * 86_400;

/// A cookie as a server words it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// In lower case and without a dot at its beginning; never empty.
    pub(super) domain: Option<String>,
    /// Begins with `/`.
    pub(super) path: Option<Vec<u8>>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    /// In seconds since 1970; `None`: at the end of the session.
    pub(super) expires: Option<i64>,
}

impl Line {
    /// The cookie in this line, which has come at the time `now`. Unknown attributes and those that make no sense are
    /// ignored; of several, the last one counts.
    ///
    /// # Errors
    /// It is not a cookie, or none that is kept.
    pub(super) fn parse(line: &[u8], now: i64) -> Result<Self, CookieError> {
        let mut parts = line.split(|byte| *byte == b';');
        let (name, value) = pair(parts.next().unwrap_or_default());
        let value = value.filter(|_| !name.is_empty()).ok_or(CookieError::NoName)?;
        check(name, value)?;
        let mut cookie = Self {
            name: memory::copy(name)?,
            value: memory::copy(value)?,
            domain: None,
            path: None,
            secure: false,
            http_only: false,
            expires: None,
        };
        let (mut expires, mut max_age) = (None, None);
        for (name, value) in parts.map(pair) {
            let value = value.unwrap_or_default();
            if value.len() > LARGEST_ATTRIBUTE || value.iter().any(u8::is_ascii_control) {
                continue;
            }
            match &name.to_ascii_lowercase()[..] {
                b"expires" => expires = date::parse(value).or(expires),
                b"max-age" => max_age = seconds(value).or(max_age),
                b"domain" => cookie.domain = domain(value),
                b"path" => cookie.path = value.starts_with(b"/").then(|| value.to_vec()),
                b"secure" => cookie.secure = true,
                b"httponly" => cookie.http_only = true,
                _ => {}
            }
        }
        let expires = max_age.map(|age| now.saturating_add(age)).or(expires);
        cookie.expires = expires.map(|time| time.min(now.saturating_add(LONGEST)));
        Ok(cookie)
    }
}

/// Checks a name and its value, which have to be part of a Cookie header.
///
/// # Errors
/// They cannot be.
pub(super) fn check(name: &[u8], value: &[u8]) -> Result<(), CookieError> {
    if name.is_empty() {
        return Err(CookieError::NoName);
    }
    if name.len() + value.len() > LARGEST {
        return Err(CookieError::TooLarge);
    }
    if name.iter().chain(value).any(u8::is_ascii_control) {
        return Err(CookieError::ControlCharacter);
    }
    Ok(())
}

/// The parts before and after the first `=`.
fn pair(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (text[..at].trim_ascii(), Some(text[at + 1..].trim_ascii())),
        None => (text.trim_ascii(), None),
    }
}

/// The value of Max-Age; one that does not fit is as large as fits.
fn seconds(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (sign, most) = if digits.len() < value.len() { (-1, i64::MIN) } else { (1, i64::MAX) };
    let value = digits
        .iter()
        .try_fold(0_i64, |sum, digit| sum.checked_mul(10)?.checked_add(sign * i64::from(digit - b'0')));
    Some(value.unwrap_or(most))
}

fn domain(value: &[u8]) -> Option<String> {
    let value = value.strip_prefix(b".").unwrap_or(value);
    (!value.is_empty()).then(|| String::from_utf8_lossy(value).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    #[test]
    fn names_and_values() {
        for (line, name, value) in [
            ("a=b", "a", "b"),
            ("a=", "a", ""),
            ("  a b =\t c d  ; x", "a b", "c d"),
            ("a=b=c", "a", "b=c"),
            ("a=\"b, c\"", "a", "\"b, c\""),
            ("a=\u{fc}", "a", "\u{fc}"),
        ] {
            let cookie = Line::parse(line.as_bytes(), NOW).expect(line);
            assert_eq!((&*cookie.name, &*cookie.value), (name.as_bytes(), value.as_bytes()), "{line}");
        }
        let large = "x".repeat(LARGEST - 1);
        assert!(Line::parse(format!("a={large}").as_bytes(), NOW).is_ok());
        for (line, why) in [
            ("", CookieError::NoName),
            ("a", CookieError::NoName),
            ("=b", CookieError::NoName),
            ("a; b=c", CookieError::NoName),
            ("a=b\0c", CookieError::ControlCharacter),
            ("a=b\tc", CookieError::ControlCharacter),
            ("a\u{7f}=b", CookieError::ControlCharacter),
            (&format!("ab={large}"), CookieError::TooLarge),
        ] {
            assert_eq!(Line::parse(line.as_bytes(), NOW), Err(why), "{line:?}");
        }
    }

    #[test]
    fn when_a_cookie_expires() {
        let most = NOW + LONGEST;
        for (attributes, expires) in [
            ("", None),
            ("max-age=60", Some(NOW + 60)),
            ("Max-Age=0", Some(NOW)),
            ("Max-Age=-5", Some(NOW - 5)),
            ("Max-Age=99999999999999999999", Some(most)),
            ("Max-Age=-99999999999999999999", Some(i64::MIN + NOW)),
            ("Expires=Sun, 09 Sep 2001 01:46:50 GMT", Some(NOW + 10)),
            ("Expires=Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Expires=Fri, 31 Dec 9999 23:59:59 GMT", Some(most)),
            ("Max-Age=60; Expires=Sun, 06 Nov 1994 08:49:37 GMT", Some(NOW + 60)),
            ("Max-Age=60; Max-Age=70", Some(NOW + 70)),
            ("Max-Age=60; Max-Age=soon", Some(NOW + 60)),
            ("Max-Age=1.5", None),
            ("Max-Age=", None),
            ("Expires=never", None),
        ] {
            let cookie = Line::parse(format!("a=b; {attributes}").as_bytes(), NOW).unwrap();
            assert_eq!(cookie.expires, expires, "{attributes}");
        }
    }

    #[test]
    fn the_other_attributes() {
        for (attributes, domain, path, secure, http_only) in [
            ("", None, None, false, false),
            ("SECURE; httponly; SameSite=Lax; Priority", None, None, true, true),
            ("secure=no", None, None, true, false),
            ("Domain=.Example.COM ; Path = /a b", Some("example.com"), Some("/a b"), false, false),
            ("Domain=one.test; Domain=two.test", Some("two.test"), None, false, false),
            ("Domain=one.test; Domain=", None, None, false, false),
            ("Path=a", None, None, false, false),
            ("Path=/a; Path=", None, None, false, false),
            ("Path=/a\tb", None, None, false, false),
        ] {
            let cookie = Line::parse(format!("a=b; {attributes}").as_bytes(), NOW).unwrap();
            let path = path.map(|path| path.as_bytes().to_vec());
            assert_eq!(cookie.domain.as_deref(), domain, "{attributes}");
            assert_eq!(cookie.path, path, "{attributes}");
            assert_eq!((cookie.secure, cookie.http_only), (secure, http_only), "{attributes}");
        }
        let path = format!("a=b; Path=/{}", "x".repeat(LARGEST_ATTRIBUTE));
        assert_eq!(Line::parse(path.as_bytes(), NOW).unwrap().path, None);
    }
}

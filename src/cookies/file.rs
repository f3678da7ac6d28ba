//! Netscape's format of cookie files, as curl reads and writes it: a line for each cookie, with seven fields and a tab
//! between them.

use std::fmt;

use super::cookie::Cookie;
use super::line;
use crate::memory::{self, OutOfMemory};

const HEAD: &[u8] = b"# Netscape HTTP Cookie File\n";

/// What goes before the domain of a cookie that scripts of a web page may not see; to others such a line is a comment.
const HTTP_ONLY: &[u8] = b"#HttpOnly_";

/// Why a text is not that of a cookie file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The line with this number is not a cookie.
    Line(usize),
    OutOfMemory,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number} is not that of a cookie"),
            Self::OutOfMemory => OutOfMemory.fmt(f),
        }
    }
}

impl std::error::Error for FileError {}

impl From<OutOfMemory> for FileError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// The cookies as a text.
pub(super) fn encode<'a>(cookies: impl Iterator<Item = &'a Cookie>) -> Result<Vec<u8>, OutOfMemory> {
    let mut text = memory::copy(HEAD)?;
    let word = |is: bool| if is { &b"TRUE"[..] } else { b"FALSE" };
    for cookie in cookies {
        let expires = cookie.expires.unwrap_or(0).to_string();
        let fields: [&[u8]; 14] = [
            if cookie.http_only { HTTP_ONLY } else { b"" },
            if cookie.host_only { b"" } else { b"." },
            cookie.domain.as_bytes(),
            b"\t",
            word(!cookie.host_only),
            b"\t",
            &cookie.path,
            b"\t",
            word(cookie.secure),
            b"\t",
            expires.as_bytes(),
            b"\t",
            &cookie.name,
            b"\t",
        ];
        for field in fields.into_iter().chain([&cookie.value[..], b"\n"]) {
            memory::extend(&mut text, field)?;
        }
    }
    Ok(text)
}

/// The cookies in a text, without those that no jar keeps.
pub(super) fn decode(text: &[u8]) -> Result<Vec<Cookie>, FileError> {
    let mut cookies = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (http_only, line) = match line.strip_prefix(HTTP_ONLY) {
            Some(line) => (true, line),
            None if line.starts_with(b"#") || line.trim_ascii().is_empty() => continue,
            None => (false, line),
        };
        let mut cookie = cookie(line)?.ok_or(FileError::Line(number + 1))?;
        cookie.http_only = http_only;
        if line::check(&cookie.name, &cookie.value).is_ok() {
            memory::push(&mut cookies, cookie)?;
        }
    }
    Ok(cookies)
}

/// The cookie in a line; `None` if the line has not the right fields.
fn cookie(line: &[u8]) -> Result<Option<Cookie>, OutOfMemory> {
    let mut fields = line.splitn(7, |byte| *byte == b'\t');
    let mut next = || fields.next();
    let (Some(domain), Some(others), Some(path), Some(secure), Some(expires), Some(name)) =
        (next(), next(), next(), next(), next(), next())
    else {
        return Ok(None);
    };
    let value = next().unwrap_or_default(); // some programs leave the last tab out
    let domain = std::str::from_utf8(domain.strip_prefix(b".").unwrap_or(domain)).unwrap_or_default();
    let domain = domain.to_ascii_lowercase();
    // Some programs write fractions of a second.
    let expires = std::str::from_utf8(expires).ok().and_then(|text| text.parse::<f64>().ok());
    let expires = expires.filter(|time| time.is_finite()).map(|time| time as i64);
    let (Some(others), Some(secure), Some(expires)) = (flag(others), flag(secure), expires) else {
        return Ok(None);
    };
    if domain.is_empty() || !path.starts_with(b"/") {
        return Ok(None);
    }
    Ok(Some(Cookie {
        name: memory::copy(name)?,
        value: memory::copy(value)?,
        domain,
        host_only: !others,
        path: memory::copy(path)?,
        secure,
        http_only: false,
        expires: (expires != 0).then_some(expires),
        used: 0,
    }))
}

fn flag(field: &[u8]) -> Option<bool> {
    if field.eq_ignore_ascii_case(b"TRUE") {
        return Some(true);
    }
    field.eq_ignore_ascii_case(b"FALSE").then_some(false)
}

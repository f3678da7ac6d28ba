//! A cookie that is kept, and whom it is for. Knows nothing of how it has come, or what else is kept.

use std::fmt;

use crate::memory::OutOfMemory;
use crate::url::{Target, domain};

/// Why a cookie is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieError {
    /// It is not of the form NAME=VALUE.
    NoName,
    /// Name and value are over 4096 bytes.
    TooLarge,
    ControlCharacter,
    /// Its domain is not that of the host, nor above it; or one that hosts of others share.
    Domain,
    /// `Secure`, over ws.
    Secure,
    /// Over ws, and would take the place of one that is `Secure`.
    Shadows,
    /// Its name begins with `__Secure-` or `__Host-`, and it is not what that promises.
    Prefix,
    OutOfMemory,
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoName => "it has no name",
            Self::TooLarge => "it is over 4096 bytes",
            Self::ControlCharacter => "it has a control character in it",
            Self::Domain => "its domain is not one of the host's",
            Self::Secure => "it is Secure, and ws is not",
            Self::Shadows => "it would take the place of one that is Secure",
            Self::Prefix => "it is not what the prefix of its name promises",
            Self::OutOfMemory => return OutOfMemory.fmt(f),
        })
    }
}

impl std::error::Error for CookieError {}

impl From<OutOfMemory> for CookieError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// A cookie that is kept.
#[derive(Debug)]
pub(super) struct Cookie {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// A name or an address, in lower case.
    pub(super) domain: String,
    /// Whether it is for this host only, and not for those below it.
    pub(super) host_only: bool,
    pub(super) path: Vec<u8>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    /// In seconds since 1970; `None`: when the program ends.
    pub(super) expires: Option<i64>,
    /// When it was used last, counted in uses.
    pub(super) used: u64,
}

impl Cookie {
    pub(super) fn is_over(&self, now: i64) -> bool {
        self.expires.is_some_and(|time| time <= now)
    }

    /// Whether it is sent with a request to this target (RFC 6265 section 5.4).
    pub(super) fn is_for(&self, target: &Target) -> bool {
        let is_domain =
            if self.host_only { self.domain == target.host } else { covers(&self.domain, &target.host) };
        is_domain && path_covers(&self.path, path_of(target)) && (target.secure || !self.secure)
    }

    /// Whether both are the same cookie, with other values.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.domain == other.domain && self.path == other.path
    }

    /// Whether a cookie that has come over ws would be taken for this one (6265bis section 5.7, step 16).
    pub(super) fn is_shadowed_by(&self, other: &Self) -> bool {
        self.secure
            && self.name == other.name
            && (covers(&self.domain, &other.domain) || covers(&other.domain, &self.domain))
            && path_covers(&self.path, &other.path)
    }
}

/// Whether a host is this domain or below it (RFC 6265 section 5.1.3).
pub(super) fn covers(wanted: &str, host: &str) -> bool {
    if wanted == host {
        return true;
    }
    host.strip_suffix(wanted).is_some_and(|before| before.ends_with('.')) && domain(host).is_some()
}

/// Whether a path is this one or below it (RFC 6265 section 5.1.4).
fn path_covers(wanted: &[u8], path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(wanted) else { return false };
    rest.is_empty() || wanted.ends_with(b"/") || rest.starts_with(b"/")
}

/// The path of a target, without the query.
pub(super) fn path_of(target: &Target) -> &[u8] {
    target.resource.split('?').next().unwrap_or_default().as_bytes()
}

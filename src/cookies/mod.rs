//! A jar of cookies (RFC 6265, with the rules that 6265bis has added since): keeps what servers set, and says what to
//! send to which URL. For it, ws is http and wss is https. Is told the time, and does no I/O.
//!
//! Written here because the crate for it, `cookie_store`, asks the system's clock, keeps any number of cookies, and
//! leaves the lenient dates, the rules about `Secure` and the prefixes of names to its user.

mod cookie;
mod file;
mod line;

pub use cookie::CookieError;
pub use file::FileError;

use cookie::{Cookie, covers, path_of};
use line::Line;

use crate::memory::{self, OutOfMemory};
use crate::url::{Target, domain};

/// The most cookies of a domain, and in all (RFC 6265 section 6.1 asks for at least as many). After that, those go that
/// have not been used for the longest time.
pub const MOST_OF_DOMAIN: usize = 50;
pub const MOST: usize = 3000;

/// Cookies, in the order in which they were first set.
///
/// ```
/// use luws::cookies::Jar;
/// use luws::url::Target;
///
/// let (target, now) = (Target::parse("wss://example.com/").unwrap(), 0);
/// let mut jar = Jar::default();
/// jar.set(&target, b"session=42; Secure; Max-Age=60", now).unwrap();
/// assert_eq!(jar.header(&target, now).unwrap().as_deref(), Some(&b"session=42"[..]));
/// assert_eq!(jar.header(&target, now + 61).unwrap(), None);
/// ```
#[derive(Debug, Default)]
pub struct Jar {
    cookies: Vec<Cookie>,
    /// How many uses there have been.
    uses: u64,
}

impl Jar {
    /// Keeps a cookie that has come from this target in a Set-Cookie header with this value, at the time `now` (in
    /// seconds since 1970). One that is over takes away the same one from before.
    ///
    /// # Errors
    /// See [`CookieError`]. Nothing has changed.
    pub fn set(&mut self, target: &Target, line: &[u8], now: i64) -> Result<(), CookieError> {
        let line = Line::parse(line, now)?;
        if line.secure && !target.secure {
            return Err(CookieError::Secure);
        }
        if !keeps_promise(&line) {
            return Err(CookieError::Prefix);
        }
        let (domain, host_only) = match &line.domain {
            Some(domain) => scope(domain, &target.host).ok_or(CookieError::Domain)?,
            None => (target.host.clone(), true),
        };
        let path = line.path.unwrap_or_else(|| default_path(path_of(target)).to_vec());
        let Line { name, value, secure, http_only, expires, .. } = line;
        let cookie = Cookie { name, value, domain, host_only, path, secure, http_only, expires, used: 0 };
        if !target.secure && self.cookies.iter().any(|kept| kept.is_shadowed_by(&cookie)) {
            return Err(CookieError::Shadows);
        }
        Ok(self.put(cookie, now)?)
    }

    /// How many cookies there are, with those whose time is over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cookies.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    /// The value of the Cookie header for a request to this target; `None` if there is no cookie for it.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn header(&mut self, target: &Target, now: i64) -> Result<Option<Vec<u8>>, OutOfMemory> {
        self.cookies.retain(|cookie| !cookie.is_over(now));
        self.uses += 1;
        let mut found = Vec::new();
        for cookie in self.cookies.iter_mut().filter(|cookie| cookie.is_for(target)) {
            cookie.used = self.uses;
            memory::push(&mut found, &*cookie)?;
        }
        found.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len())); // stable: the older ones first
        let mut value = Vec::new();
        for cookie in &found {
            let before: &[u8] = if value.is_empty() { b"" } else { b"; " };
            for part in [before, &cookie.name, b"=", &cookie.value] {
                memory::extend(&mut value, part)?;
            }
        }
        Ok((!found.is_empty()).then_some(value))
    }

    /// The cookies in Netscape's format, which curl has, too. Those that end with the session are among them.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn encode(&self, now: i64) -> Result<Vec<u8>, OutOfMemory> {
        file::encode(self.cookies.iter().filter(|cookie| !cookie.is_over(now)))
    }

    /// Adds the cookies of a text in that format.
    ///
    /// # Errors
    /// The text is not in that format. Nothing has changed then.
    pub fn decode(&mut self, text: &[u8], now: i64) -> Result<(), FileError> {
        for cookie in file::decode(text)? {
            self.put(cookie, now)?;
        }
        Ok(())
    }

    fn put(&mut self, mut cookie: Cookie, now: i64) -> Result<(), OutOfMemory> {
        self.uses += 1;
        cookie.used = self.uses;
        let before = self.cookies.iter().position(|kept| kept.is_same(&cookie));
        match before {
            Some(at) if cookie.is_over(now) => drop(self.cookies.remove(at)),
            Some(at) => self.cookies[at] = cookie,
            None if cookie.is_over(now) => {}
            None => {
                let domain = cookie.domain.clone();
                memory::push(&mut self.cookies, cookie)?;
                self.limit(MOST_OF_DOMAIN, now, |cookie| cookie.domain == domain);
                if self.cookies.len() > MOST {
                    self.limit(MOST, now, |_| true);
                }
            }
        }
        Ok(())
    }

    /// Lets go of cookies until there are at most so many of a kind.
    fn limit(&mut self, most: usize, now: i64, is_one: impl Fn(&Cookie) -> bool) {
        if self.cookies.iter().filter(|cookie| is_one(cookie)).count() <= most {
            return;
        }
        self.cookies.retain(|cookie| !cookie.is_over(now));
        while self.cookies.iter().filter(|cookie| is_one(cookie)).count() > most {
            let ones = self.cookies.iter().enumerate().filter(|(_, cookie)| is_one(cookie));
            let Some((at, _)) = ones.min_by_key(|(_, cookie)| cookie.used) else { return };
            self.cookies.remove(at);
        }
    }
}

/// The domain of a cookie and whether it is for that host only, if a host may set a cookie for this domain. Domains of
/// one label are refused, as they would be everybody's; which others are, only a list of public suffixes could tell.
fn scope(wanted: &str, host: &str) -> Option<(String, bool)> {
    let has_labels = |name: &str| name.trim_end_matches('.').contains('.');
    if wanted == host {
        return Some((wanted.to_owned(), !domain(host).is_some_and(|name| has_labels(&name))));
    }
    let wanted = domain(wanted)?;
    (has_labels(&wanted) && covers(&wanted, host)).then_some((wanted, false))
}

/// The path of a cookie that names none (RFC 6265 section 5.1.4).
fn default_path(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) if at > 0 => &path[..at],
        _ => b"/",
    }
}

/// Whether a cookie is what its name promises (6265bis section 4.1.3).
fn keeps_promise(line: &Line) -> bool {
    let begins =
        |prefix: &[u8]| line.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is_hosts = line.domain.is_none() && line.path.as_deref() == Some(b"/");
    !(begins(b"__Secure-") || begins(b"__Host-")) || line.secure && (is_hosts || !begins(b"__Host-"))
}

//! SockProxy, a plugin of Luup systems that runs an action of another plugin when data arrives for it.
//!
//! ```text
//! greeting = "OK TOGGLEDBITS-SOCKPROXY" anything LF
//! CONN     = "CONN " host ":" port *( SP key "=" value ) LF
//! reply    = "OK CONN" anything LF, then a transparent pipe in both directions
//! errors   = "ERR " text LF
//! ```
//!
//! Nothing may be sent between `CONN` and its reply: SockProxy would read it as options. Knows nothing of WebSocket or
//! TLS.

use super::{Negotiation, Progress, ProxyError};
use crate::text::shown;

const NAME: &str = "SockProxy";

/// The maximum length of a line, in bytes.
const MAX_LINE: usize = 1024;

const GREETING: &str = "OK TOGGLEDBITS-SOCKPROXY";

/// The action that SockProxy runs when data arrives: its device, service and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    pub device: String,
    pub service: String,
    pub action: String,
    /// Passed to the action; `None` for SockProxy's own number of the connection.
    pub pid: Option<String>,
}

/// A request to SockProxy.
///
/// See [`SockProxy`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The server's name or IPv4 address; the grammar has no room for an IPv6 address.
    pub host: String,
    pub port: u16,
    pub notify: Option<Notify>,
    /// SockProxy gives up after this many milliseconds without data in either direction; 0 for never.
    pub rtim: u64,
    /// The minimum number of seconds between notifications.
    pub pace: u64,
}

impl Options {
    /// The request; fails if the grammar cannot express it.
    fn request(&self) -> Result<String, ProxyError> {
        if self.host.contains(':') {
            return Err(ProxyError::Unsupported("it cannot connect to an IPv6 address"));
        }
        let mut words = vec![format!("CONN {}:{}", self.host, self.port)];
        if let Some(notify) = &self.notify {
            let pid = notify.pid.as_ref().map_or(String::new(), |pid| format!("/{pid}"));
            words.push(format!("NTFY={}/{}/{}{pid}", notify.device, notify.service, notify.action));
        }
        words.push(format!("RTIM={}", self.rtim));
        words.push(format!("PACE={}", self.pace));
        if words[1..].iter().any(|word| word.contains(char::is_whitespace) || word.contains(char::is_control))
            || self.host.contains(char::is_whitespace)
        {
            return Err(ProxyError::Unsupported("its options cannot have spaces in them"));
        }
        Ok(words.join(" ") + "\n")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    Reply,
}

/// The negotiation with SockProxy.
///
/// ```
/// use luws::proxy::Negotiation;
/// use luws::proxy::sockproxy::{Options, SockProxy};
///
/// let options = Options { host: "192.0.2.1".into(), port: 80, notify: None, rtim: 0, pace: 0 };
/// let mut proxy = SockProxy::new(&options)?;
/// assert_eq!(proxy.feed(b"")?.answer, b""); // it speaks first
/// assert_eq!(proxy.feed(b"OK TOGGLEDBITS-SOCKPROXY 1 42 CONN\n")?.answer, b"CONN 192.0.2.1:80 RTIM=0 PACE=0\n");
/// # Ok::<_, luws::proxy::ProxyError>(())
/// ```
#[derive(Debug)]
pub struct SockProxy {
    step: Step,
    request: String,
    /// SockProxy's identifier of this connection, once the negotiation is done.
    pid: Option<String>,
}

impl SockProxy {
    /// Prepares the request.
    ///
    /// # Errors
    /// [`ProxyError::Unsupported`] if SockProxy's grammar cannot express the options.
    pub fn new(options: &Options) -> Result<Self, ProxyError> {
        Ok(Self { step: Step::Greeting, request: options.request()?, pid: None })
    }
}

impl Negotiation for SockProxy {
    fn feed(&mut self, input: &[u8]) -> Result<Progress, ProxyError> {
        // The same rules hold for a line and for its beginning, so that it does not matter how the bytes arrive.
        let end = input.iter().take(MAX_LINE + 1).position(|b| *b == b'\n');
        let expected = if self.step == Step::Greeting { GREETING } else { "OK CONN" };
        let start = &input[..end.unwrap_or(input.len())];
        let begins = |text: &str| start.iter().zip(text.as_bytes()).all(|(a, b)| a == b);
        if !begins(expected) && !begins("ERR ") || end.is_none() && input.len() > MAX_LINE {
            return Err(ProxyError::unexpected(NAME, start.trim_ascii_end()));
        }
        let Some(end) = end else { return Ok(Progress::default()) };
        let (line, used) = (start.trim_ascii_end(), end + 1);
        match self.step {
            Step::Greeting if line.starts_with(GREETING.as_bytes()) => {
                self.step = Step::Reply;
                let answer = std::mem::take(&mut self.request).into_bytes();
                Ok(Progress { used, answer, done: false })
            }
            Step::Reply if line == b"OK CONN" || line.starts_with(b"OK CONN ") => {
                let pid = line[b"OK CONN".len()..].trim_ascii();
                self.pid = Some(String::from_utf8_lossy(pid).into_owned()).filter(|pid| !pid.is_empty());
                Ok(Progress { used, answer: Vec::new(), done: true })
            }
            _ if line.starts_with(b"ERR ") => Err(ProxyError::Refused(shown(&line[b"ERR ".len()..]))),
            _ => Err(ProxyError::unexpected(NAME, line)),
        }
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn detail(&self) -> Option<&str> {
        self.pid.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let notify =
            Notify { device: "12".into(), service: "urn:me".into(), action: "Receive".into(), pid: None };
        Options { host: "hub.local".into(), port: 80, notify: Some(notify), rtim: 0, pace: 0 }
    }

    #[test]
    fn a_greeting_is_answered_with_the_request_and_the_reply_ends_it() {
        let input = b"OK TOGGLEDBITS-SOCKPROXY 21350 4711\nOK CONN 7\nHTTP";
        let mut proxy = SockProxy::new(&options()).unwrap();
        for end in 0..35 {
            assert_eq!(proxy.feed(&input[..end]), Ok(Progress::default()), "after {end} bytes");
        }
        let answer = b"CONN hub.local:80 NTFY=12/urn:me/Receive RTIM=0 PACE=0\n".to_vec();
        assert_eq!(proxy.feed(input), Ok(Progress { used: 36, answer, done: false }));
        assert_eq!(proxy.feed(&input[36..40]), Ok(Progress::default()));
        assert_eq!(proxy.detail(), None);
        assert_eq!(proxy.feed(&input[36..]), Ok(Progress { used: 10, answer: Vec::new(), done: true }));
        assert_eq!(proxy.detail(), Some("7"));
    }

    #[test]
    fn a_request_has_what_is_asked_for_or_says_what_it_cannot_have() {
        let request = |options: Options| options.request().map_err(|error| error.to_string());
        let plain = Options { notify: None, rtim: 5000, pace: 2, ..options() };
        assert_eq!(request(plain), Ok("CONN hub.local:80 RTIM=5000 PACE=2\n".into()));
        let mut named = options();
        named.notify.as_mut().unwrap().pid = Some("mine".into());
        assert_eq!(
            request(named.clone()),
            Ok("CONN hub.local:80 NTFY=12/urn:me/Receive/mine RTIM=0 PACE=0\n".into())
        );
        named.notify.as_mut().unwrap().service = "a b".into();
        assert_eq!(request(named), Err("its options cannot have spaces in them".into()));
        let six = Options { host: "::1".into(), ..options() };
        assert_eq!(request(six), Err("it cannot connect to an IPv6 address".into()));
    }

    #[test]
    fn a_line_has_at_most_1024_bytes_even_if_its_end_is_there() {
        for (length, is_read) in [(MAX_LINE, true), (MAX_LINE + 1, false)] {
            let mut greeting = format!("{GREETING:x<length$}\n").into_bytes();
            let mut proxy = SockProxy::new(&options()).unwrap();
            assert_eq!(proxy.feed(&greeting).is_ok(), is_read, "{length}");
            let mut proxy = SockProxy::new(&options()).unwrap();
            greeting.pop();
            assert_eq!(proxy.feed(&greeting).is_ok(), is_read, "{length} without its end");
        }
    }

    #[test]
    fn other_services_and_refusals_are_errors_with_their_own_words() {
        for (first, second, why) in [
            ("HTTP/1.1 400 Bad Request\r\n", "", "this is not SockProxy: \"HTTP/1.1 400 Bad Request\""),
            ("SSH-2.0", "", "this is not SockProxy: \"SSH-2.0\""),
            ("ERR TOOMANY connections\n", "", "TOOMANY connections"),
            ("ERR \x1b[2Jgone\tor \u{9b}\n", "", "\\x1b[2Jgone\\tor \\xc2\\x9b"),
            ("OK TOGGLEDBITS-SOCKPROXY 1 2\n", "ERR CONN refused\n", "CONN refused"),
            ("OK TOGGLEDBITS-SOCKPROXY 1 2\n", "what\n", "this is not SockProxy: \"what\""),
            (
                " OK TOGGLEDBITS-SOCKPROXY 1 2\n",
                "",
                "this is not SockProxy: \" OK TOGGLEDBITS-SOCKPROXY 1 2\"",
            ),
        ] {
            let mut proxy = SockProxy::new(&options()).unwrap();
            let mut result = proxy.feed(first.as_bytes()).map(|_| ());
            if result.is_ok() {
                result = proxy.feed(second.as_bytes()).map(|_| ());
            }
            assert_eq!(result.map_err(|error| error.to_string()), Err(why.to_owned()));
        }
    }
}

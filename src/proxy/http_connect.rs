//! HTTP CONNECT (RFC 9110 section 9.3.6): asks an HTTP proxy for a tunnel, and authenticates if it must. Knows nothing
//! of TLS to the proxy, which is a hop of its own.
//!
//! Nothing goes to the proxy but where to connect to, the headers that were given for it, and Proxy-Authorization.
//! After a 407 the request is repeated over the same connection if its body ends, or else over another one
//! ([`Negotiation::retry`]).

use std::fmt;

use super::{Negotiation, Progress, ProxyError, Retry};
use crate::http::auth::{self, Challenge, Credentials, Scheme, Tried};
use crate::http::body::Framing;
use crate::http::skip::Skipper;
use crate::http::{Header, Response, ResponseError, ResponseReader};
use crate::text::shown;

/// Who we are to the proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub credentials: Credentials,
    /// The only scheme that is wanted, if there is one.
    pub only: Option<Scheme>,
    /// Whether the first request has Basic in it, unasked.
    pub at_once: bool,
    /// Unpredictable letters and digits, for Digest.
    pub cnonce: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity {:?}", self.only)
    }
}

/// A request to an HTTP proxy.
///
/// See [`Negotiation`] for an example.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The server's name, or its address without brackets.
    pub host: String,
    pub port: u16,
    pub headers: Vec<Header>,
    pub identity: Option<Identity>,
    /// What the negotiation before this one has learnt.
    pub retry: Option<Retry>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CONNECT {}:{}", self.host, self.port)
    }
}

#[derive(Debug)]
enum Step {
    /// The request is to be sent.
    Request,
    /// The head of an answer is to come.
    Head,
    /// The body of a 407 is to end.
    Body(Skipper),
}

/// The negotiation with an HTTP proxy.
///
/// See [`Negotiation`] for an example.
pub struct HttpConnect {
    options: Options,
    /// The target of the request.
    authority: String,
    step: Step,
    reader: ResponseReader,
    /// What was sent last.
    sent: Retry,
    /// What is to be sent next.
    retry: Option<Retry>,
}

impl fmt::Debug for HttpConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.options, self.step)
    }
}

impl HttpConnect {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let host = &options.host;
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = format!("{bracketed}:{}", options.port);
        let at_once = options.identity.as_ref().filter(|identity| identity.at_once);
        let basic = at_once.and_then(|identity| identity.credentials.basic().ok());
        let first =
            options.retry.clone().or(basic.map(|authorization| Retry { authorization, tried: Tried::Basic }));
        let sent = first.unwrap_or(Retry { authorization: Vec::new(), tried: Tried::Nothing });
        Self { options, authority, step: Step::Request, reader: ResponseReader::default(), sent, retry: None }
    }

    fn request(&self) -> Vec<u8> {
        let authority = &self.authority;
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        request.extend(self.options.headers.iter().flat_map(Header::line));
        if !self.sent.authorization.is_empty() {
            request.extend([b"Proxy-Authorization: ", self.sent.authorization.as_slice(), b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        request
    }

    /// Decides about an answer whose head has come.
    fn decide(&mut self, response: &Response) -> Result<bool, ProxyError> {
        match response.status {
            // Interim (RFC 9110 section 15.2); 101 is not, and makes no sense here.
            100 | 102..=199 => Ok(false),
            200..=299 => Ok(true),
            407 => self.authenticate(response).map(|()| false),
            _ => Err(self.refusal(response, &[])),
        }
    }

    fn authenticate(&mut self, response: &Response) -> Result<(), ProxyError> {
        let challenges = Challenge::all(&response.headers, "Proxy-Authenticate");
        let answer = self.options.identity.as_ref().and_then(|identity| {
            let request = auth::Request { method: "CONNECT", uri: &self.authority, cnonce: &identity.cnonce };
            identity.credentials.answer(&challenges, identity.only, self.sent.tried, &request)
        });
        // A header that cannot be sent has words of the proxy in it that it may not send either.
        let answer = answer.filter(|(value, _)| Header::new("Proxy-Authorization", value).is_ok());
        let Some((authorization, tried)) = answer else { return Err(self.refusal(response, &challenges)) };
        self.retry = Some(Retry { authorization, tried });
        let says_close = |name| response.headers.lists(name, "close");
        let ends = response.version == 0 || says_close("Connection") || says_close("Proxy-Connection");
        let framing = Framing::of_response(response.status, &response.headers);
        self.step = match framing.map(Skipper::new) {
            Some(Ok(skipper)) if !ends => Step::Body(skipper),
            _ => return Err(ProxyError::Again),
        };
        Ok(())
    }

    fn refusal(&self, response: &Response, challenges: &[Challenge]) -> ProxyError {
        // The proxy knows our password, and could repeat it.
        let line = auth::hidden_in_message(&shown(response.status_line().as_bytes()), &self.secrets());
        let schemes = auth::hidden_in(&auth::schemes(challenges), &self.secrets());
        ProxyError::Status { status: response.status, line, schemes }
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        self.options.identity.as_ref().map(|identity| identity.credentials.secrets()).unwrap_or_default()
    }

    fn unreadable(&self, error: ResponseError) -> ProxyError {
        ProxyError::NotHttp(match error {
            ResponseError::NotHttp(start) => ResponseError::NotHttp(auth::hidden_in(&start, &self.secrets())),
            error => error,
        })
    }
}

impl Negotiation for HttpConnect {
    fn feed(&mut self, input: &[u8]) -> Result<Progress, ProxyError> {
        match &mut self.step {
            Step::Request => {
                self.step = Step::Head;
                Ok(Progress { used: 0, answer: self.request(), done: false })
            }
            Step::Head if input.is_empty() => Ok(Progress::default()),
            Step::Head => {
                self.retry = None;
                let read = self.reader.read(input).map_err(|error| self.unreadable(error))?;
                let Some((response, used)) = read else { return Ok(Progress::default()) };
                let done = self.decide(&response)?;
                Ok(Progress { used, answer: Vec::new(), done })
            }
            Step::Body(skipper) => {
                let (used, is_over) = skipper.skip(input).map_err(|_| ProxyError::Again)?;
                if !is_over {
                    return Ok(Progress { used, ..Progress::default() });
                }
                if let Some(retry) = &self.retry {
                    self.sent.clone_from(retry);
                }
                self.step = Step::Head;
                Ok(Progress { used, answer: self.request(), done: false })
            }
        }
    }

    fn name(&self) -> &'static str {
        "HTTP"
    }

    fn retry(&self) -> Option<&Retry> {
        self.retry.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
    const PLAIN: &str = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
    /// With the user "me" and the password "secret".
    const BASIC: &str = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\
                         Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n";
    const ASK_DIGEST: &str =
        "HTTP/1.1 407 X\r\nProxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n";
    const ASK_AGAIN: &str = "HTTP/1.1 407 X\r\nProxy-Authenticate: Digest realm=r, nonce=m, stale=true\r\n";
    const ASK_BASIC: &str = "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"r\"\r\n";

    fn options(identity: Option<(Option<Scheme>, bool)>) -> Options {
        let credentials = Credentials::new(b"me", b"secret").unwrap();
        let identity =
            identity.map(|(only, at_once)| Identity { credentials, only, at_once, cnonce: "xyz".to_owned() });
        Options { host: "a.test".into(), port: 443, headers: Vec::new(), identity, retry: None }
    }

    /// What is said to the proxy, request by request; the bytes left at the end, or why it failed; and what is to be
    /// tried over another connection.
    type Talk = (Vec<String>, Result<String, String>, Option<Tried>);

    /// Feeds the proxy's bytes, cut in two at `cut`, or one by one.
    fn talk(options: &Options, input: &str, cut: Option<usize>) -> Talk {
        let mut proxy = HttpConnect::new(options.clone());
        let input = input.as_bytes();
        let pieces: Vec<_> = match cut {
            Some(at) => vec![&[][..], &input[..at], &input[at..]],
            None => std::iter::once(&[][..]).chain(input.chunks(1)).collect(),
        };
        let (mut said, mut rest, mut end) = (Vec::new(), Vec::new(), Err("it waits".to_owned()));
        for piece in pieces {
            rest.extend_from_slice(piece);
            while end == Err("it waits".into()) {
                match proxy.feed(&rest) {
                    Ok(progress) if progress == Progress::default() => break,
                    Ok(progress) => {
                        rest.drain(..progress.used);
                        if !progress.answer.is_empty() {
                            said.push(String::from_utf8(progress.answer).unwrap());
                        }
                        if progress.done {
                            end = Ok(());
                        }
                    }
                    Err(error) => end = Err(error.to_string()),
                }
            }
        }
        let retry = proxy.retry().map(|retry| retry.tried);
        (said, end.map(|()| String::from_utf8(rest).unwrap()), retry)
    }

    fn every_way(options: &Options, input: &str) -> Talk {
        let whole = talk(options, input, Some(0));
        for cut in (1..=input.len()).map(Some).chain([None]) {
            assert_eq!(talk(options, input, cut), whole, "{input:?} cut at {cut:?}");
        }
        whole
    }

    #[test]
    fn any_2xx_opens_the_tunnel_and_the_next_byte_is_the_servers() {
        for answer in [
            OK,
            "HTTP/1.0 200\r\n\r\n",
            "HTTP/1.1 299 Fine\r\n\r\n",
            "HTTP/1.1 200 OK\nVia: x\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(4096)),
        ] {
            for rest in ["", "HTTP/1.1 404"] {
                let (said, end, retry) = every_way(&options(None), &[answer, rest].concat());
                assert_eq!(
                    (said, end, retry),
                    (vec![PLAIN.to_owned()], Ok(rest.to_owned()), None),
                    "{answer}"
                );
            }
        }
    }

    #[test]
    fn the_request_has_the_port_the_brackets_and_the_headers_for_the_proxy() {
        let headers = vec![Header::new("User-Agent", b"me/1").unwrap()];
        let (said, ..) = talk(&Options { headers, port: 80, ..options(None) }, "", None);
        assert_eq!(said, ["CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\nUser-Agent: me/1\r\n\r\n"]);
        let (said, ..) = talk(&Options { host: "::1".into(), ..options(None) }, "", None);
        assert_eq!(said, ["CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"]);
    }

    #[test]
    fn everything_else_is_an_error_with_the_status_line() {
        for (identity, answer, why) in [
            (None, "HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 403 Forbidden"),
            (None, "HTTP/1.0 502\r\nX: y\r\n\r\nbody", "HTTP/1.0 502"),
            (None, "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "HTTP/1.1 302 Found"),
            (None, "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 101 Switching Protocols"),
            (None, "HTTP/1.1 407 X\r\n\r\n", "HTTP/1.1 407 X"),
            (None, &format!("{ASK_BASIC}\r\n"), "HTTP/1.1 407 X (Basic)"),
            (Some((None, true)), "HTTP/1.1 403 bWU6c2VjcmV0 or secret\r\n\r\n", "HTTP/1.1 403 *** or ***"),
            (Some((None, true)), "secret\r\n", "not an HTTP proxy: \"s\""),
            (
                Some((None, false)),
                "HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM, secret\r\n\r\n",
                "HTTP/1.1 407 X (Negotiate, NTLM, ***)",
            ),
            (Some((Some(Scheme::Digest), false)), &format!("{ASK_BASIC}\r\n"), "HTTP/1.1 407 X (Basic)"),
            (Some((Some(Scheme::Basic), true)), &format!("{ASK_DIGEST}\r\n"), "HTTP/1.1 407 X (Digest)"),
            (None, "\x15\x03\x01", "not an HTTP proxy: it speaks TLS (is it https?)"),
            (None, "HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "HTTP: invalid header name"),
        ] {
            let (_, end, retry) = talk(&options(identity), answer, None);
            assert_eq!((end, retry), (Err(why.to_owned()), None), "{answer}");
        }
        let (_, end, _) = talk(&options(None), "SSH-2.0-OpenSSH\r\n", Some(0));
        assert_eq!(end, Err("not an HTTP proxy: \"SSH-2.0-OpenSSH\"".into()));
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(20_000));
        let (_, end, _) = talk(&options(None), &endless, Some(0));
        assert_eq!(end, Err("HTTP: the head is over 65536 bytes".into()));
    }

    #[test]
    fn a_407_is_answered_over_the_same_connection_after_its_body() {
        for body in [
            "Content-Length: 0\r\n\r\n",
            "Content-Length: 4\r\n\r\nbody",
            "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ] {
            let input = [ASK_BASIC, body, OK, "rest"].concat();
            let (said, end, retry) = every_way(&options(Some((None, false))), &input);
            assert_eq!((said, end, retry), (vec![PLAIN.into(), BASIC.into()], Ok("rest".into()), None));

            let input = [ASK_DIGEST, body, ASK_AGAIN, body, OK].concat();
            let (said, end, retry) = every_way(&options(Some((None, true))), &input);
            assert_eq!((&*said[0], end, retry), (BASIC, Ok(String::new()), None));
            // Computed by Python's hashlib
            assert!(
                said[1].contains("response=\"111743606eca41228c41b97d51da8807\", qop=auth, nc=00000001"),
                "{}",
                said[1]
            );
            assert!(said[2].contains(
                "nonce=\"m\", uri=\"a.test:443\", response=\"e2b082a671e3223f5e8141b5995d0d05\"\r\n"
            ));
            assert_eq!(said.len(), 3);
        }
    }

    #[test]
    fn a_refused_answer_is_final() {
        let body = "Content-Length: 0\r\n\r\n";
        for (identity, answers, requests, why) in [
            (Some((None, true)), vec![ASK_BASIC], 1, "HTTP/1.1 407 X (Basic)"),
            (Some((None, false)), vec![ASK_BASIC; 2], 2, "HTTP/1.1 407 X (Basic)"),
            (Some((None, false)), vec![ASK_DIGEST; 2], 2, "HTTP/1.1 407 X (Digest)"),
            (Some((None, false)), vec![ASK_DIGEST, ASK_BASIC], 2, "HTTP/1.1 407 X (Basic)"),
            (Some((None, false)), vec![ASK_AGAIN; 3], 3, "HTTP/1.1 407 X (Digest)"),
            (Some((None, true)), vec![ASK_AGAIN; 3], 3, "HTTP/1.1 407 X (Digest)"),
        ] {
            let input: String = answers.iter().flat_map(|answer| [answer, body]).collect();
            let (said, end, retry) = every_way(&options(identity), &input);
            assert_eq!((said.len(), end, retry), (requests, Err(why.to_owned()), None), "{answers:?}");
        }
    }

    #[test]
    fn what_cannot_go_on_over_this_connection_is_for_another_one() {
        let long = format!("Content-Length: {}\r\n\r\n", 1 << 20);
        for end in [
            "Connection: close\r\nContent-Length: 0\r\n\r\n",
            "Proxy-Connection: Close\r\nContent-Length: 0\r\n\r\n",
            "\r\nuntil the end",
            "Transfer-Encoding: chunked\r\n\r\nnot a size\r\n",
            &long,
        ] {
            let (said, result, retry) = every_way(&options(Some((None, false))), &[ASK_DIGEST, end].concat());
            assert_eq!((said.len(), retry), (1, Some(Tried::Digest)), "{end}");
            assert_eq!(result, Err("the proxy closed the connection".into()), "{end}");
        }
        let old = ASK_BASIC.replace("1.1", "1.0") + "Content-Length: 0\r\n\r\n";
        assert_eq!(talk(&options(Some((None, false))), &old, None).2, Some(Tried::Basic));
        // The connection may also end in the body, or instead of an answer to the second request.
        for part in ["Content-Length: 4\r\n\r\nbo", "Content-Length: 4\r\n\r\nbody"] {
            let (_, end, retry) = talk(&options(Some((None, false))), &[ASK_DIGEST, part].concat(), None);
            assert_eq!((end, retry), (Err("it waits".into()), Some(Tried::Digest)), "{part}");
        }
        // The other connection begins with it.
        let mut proxy = HttpConnect::new(options(Some((None, false))));
        proxy.feed(b"").unwrap();
        assert_eq!(proxy.feed([ASK_DIGEST, "\r\n"].concat().as_bytes()), Err(ProxyError::Again));
        let again = Options { retry: proxy.retry().cloned(), ..options(Some((None, false))) };
        let (said, end, retry) = every_way(&again, &[ASK_DIGEST, "\r\n"].concat());
        assert!(said[0].contains("Proxy-Authorization: Digest username=\"me\""), "{}", said[0]);
        assert_eq!((end, retry), (Err("HTTP/1.1 407 X (Digest)".into()), None));
    }

    #[test]
    fn nothing_shows_the_password() {
        let proxy = HttpConnect::new(options(Some((None, true))));
        assert_eq!(format!("{proxy:?}"), "CONNECT a.test:443 Request");
    }
}

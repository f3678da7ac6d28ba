//! The head of a response that a server sends (RFC 9112 section 4). Knows no particular status, except by the names
//! that RFC 9110 gives them, and those that have no body.

use super::headers::Header;

/// The head of a response, and how its body is announced.
///
/// ```
/// use luws::http::Reply;
///
/// let reply = Reply { status: 404, headers: &[], length: 0, keeps_alive: true };
/// assert!(reply.head().starts_with(b"HTTP/1.1 404 Not Found\r\n"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    pub status: u16,
    /// The headers, without Connection and Content-Length.
    pub headers: &'a [Header],
    /// The length of the body in bytes.
    pub length: u64,
    /// Whether the connection goes on after the response.
    pub keeps_alive: bool,
}

impl Reply<'_> {
    /// The head, up to its blank line.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        for header in self.headers {
            head.extend(header.line());
        }
        // A header that concerns one hop is named in Connection (RFC 9110 sections 7.6.1 and 7.8).
        let has_upgrade = self.headers.iter().any(|header| header.is("Upgrade"));
        let connection = match (has_upgrade, self.keeps_alive) {
            (true, true) => "Connection: Upgrade\r\n",
            (true, false) => "Connection: Upgrade, close\r\n",
            (false, true) => "",
            (false, false) => "Connection: close\r\n",
        };
        head.extend_from_slice(connection.as_bytes());
        if has_body(self.status) {
            head.extend_from_slice(format!("Content-Length: {}\r\n", self.length).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// Whether responses with this status have a body (RFC 9110 section 6.4.1).
#[must_use]
pub fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The reason phrase of a status (RFC 9110 section 15); that of its class, if it is none of the usual ones.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => match status / 100 {
            2 => "Success",
            3 => "Redirection",
            5 => "Server Error",
            _ => "Refused",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_the_body_is_and_whether_the_connection_goes_on() {
        let headers = [Header::new("X", b"1").unwrap()];
        let upgrade = [Header::new("upgrade", b"websocket").unwrap()];
        for (status, headers, keeps_alive, expected) in [
            (200, &headers[..], true, "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 5\r\n\r\n"),
            (200, &[], false, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"),
            (204, &[], true, "HTTP/1.1 204 No Content\r\n\r\n"),
            (
                426,
                &upgrade,
                true,
                "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\nConnection: Upgrade\r\n\
                 Content-Length: 5\r\n\r\n",
            ),
            (
                426,
                &upgrade,
                false,
                "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\nConnection: Upgrade, close\r\n\
                 Content-Length: 5\r\n\r\n",
            ),
            (299, &[], true, "HTTP/1.1 299 Success\r\nContent-Length: 5\r\n\r\n"),
        ] {
            let reply = Reply { status, headers, length: 5, keeps_alive };
            assert_eq!(String::from_utf8(reply.head()).unwrap(), expected);
        }
    }
}

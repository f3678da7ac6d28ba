//! HTTP/1.1 against RFC 9112: what the lenient reader of responses accepts, what the strict reader of requests refuses,
//! and where bodies end. Upgrade heads are in spec/vectors.

use luws::http::request::MAX_HEADERS;
use luws::http::{Body, RequestError, RequestReader, ResponseError, ResponseReader};

use crate::feeding::feed_every_way;

/// The status line and the headers of a response as lines, and the length of the head.
fn response(input: &[u8], tail: &[u8]) -> Result<Option<(String, usize)>, ResponseError> {
    let read = |pieces: &[&[u8]]| {
        let (mut reader, mut input) = (ResponseReader::default(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            if let Some((response, length)) = reader.read(&input)? {
                let headers = response.headers.0.iter();
                let lines =
                    headers.map(|(name, value)| format!("|{name}: {}", String::from_utf8_lossy(value)));
                return Ok(Some((response.status_line() + &lines.collect::<String>(), length)));
            }
        }
        Ok(None)
    };
    feed_every_way(input, Some(tail).filter(|tail| !tail.is_empty()), read).unwrap()
}

#[test]
fn a_response_is_read_in_every_form_that_a_client_may_take() {
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK|A: b"),
        ("HTTP/1.0 200\r\n\r\n", "HTTP/1.0 200"),
        ("HTTP/1.1 200 \r\nA:\r\n\r\n", "HTTP/1.1 200|A: "),
        // Section 2.2: LF alone
        ("HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200 OK|A: b"),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", "HTTP/1.1 200 OK|A: b"),
        // Section 4: words of the status line
        ("HTTP/1.1   200   Not  so\r\n\r\n", "HTTP/1.1 200 Not  so"),
        // Section 5.1: spaces around the colon and the value
        ("HTTP/1.1 200\r\nA \t:\t b \r\n\r\n", "HTTP/1.1 200|A: b"),
        // Section 5.2: folds
        ("HTTP/1.1 200\r\nA: b\r\n  c\r\n\td\r\nE: f\r\n\r\n", "HTTP/1.1 200|A: b c d|E: f"),
        ("HTTP/1.1 200\nA:\n b\n\n", "HTTP/1.1 200|A: b"),
        // As browsers do: empty lines first, and HTTP in lower case
        ("\r\n\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK"),
        ("http/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK|A: b"),
    ] {
        let read = response(head.as_bytes(), b"HTTP/1.1 404 x\r\n\r\n");
        assert_eq!(read, Ok(Some((expected.to_owned(), head.len()))), "{head:?}");
    }
}

#[test]
fn what_no_client_may_take_for_a_response_is_refused() {
    let not_http = |start: &str| ResponseError::NotHttp(start.into());
    let malformed = |why: &str| ResponseError::Malformed(why.into());
    for (head, expected) in [
        ("HTTP/1.1 2OO OK\r\n\r\n", malformed("invalid response status")),
        ("HTTP/1.1 200\r\nA\r\n\r\n", malformed("invalid header name")),
        ("HTTP/1.1 200\r\n A: b\r\n\r\n", malformed("invalid header name")),
        ("HTTP/1.1 200\r\nA: b\rC: d\r\n\r\n", malformed("invalid header value")),
        ("HTTP/1.1 200\r\nA: \0\r\n\r\n", malformed("invalid header value")),
    ] {
        assert_eq!(response(head.as_bytes(), b""), Err(expected), "{head:?}");
    }
    // Detected when its line has come or shows a control character, whatever would follow
    for (start, expected) in [
        ("HTTP/1.1 2OO OK\r\n", malformed("invalid response status")),
        ("HTTP/1.1 200 \x1b[2J", malformed("invalid response status")),
        ("HTTP/1.1 200 OK\r\nA\r\n", malformed("invalid header name")),
        ("HTTP/1.1 200 OK\r\nA: b\r\nC: \0", malformed("invalid header value")),
    ] {
        assert_eq!(response(start.as_bytes(), b"\r\n\r\n"), Err(expected), "{start:?}");
    }
    // Detected at the first byte; the text shows as much as has arrived.
    for (input, expected) in [("2", not_http("2")), ("\x15\x03\x03", ResponseError::Tls)] {
        assert_eq!(ResponseReader::default().read(input.as_bytes()), Err(expected));
    }
}

#[test]
fn a_request_is_read_in_its_one_form_only() {
    let read = |head: &str| {
        let read = feed_every_way(head.as_bytes(), None, |pieces| {
            let (mut reader, mut input) = (RequestReader::default(), Vec::new());
            for piece in pieces {
                input.extend_from_slice(piece);
                if let Some((request, length)) = reader.read(&input)? {
                    return Ok(Some((format!("{} {}", request.method, request.target), length)));
                }
            }
            Ok(None)
        });
        read.unwrap()
    };
    let head = "GET /a?b HTTP/1.1\r\nA: b\r\n\r\n";
    assert_eq!(read(head), Ok(Some(("GET /a?b".to_owned(), head.len()))));
    let malformed = |why: &str| Err(RequestError::Malformed(why.into()));
    for (head, expected) in [
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(("GET /".to_owned(), 22)))), // section 2.2
        ("GET / HTTP/1.1\nA: b\n\n", malformed("a line does not end with CR LF")),
        ("GET / HTTP/1.1\nA: b\r\n\r\n", malformed("a line does not end with CR LF")),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", malformed("invalid header name")),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", malformed("invalid header name")),
        ("GET  / HTTP/1.1\r\n\r\n", malformed("invalid token")),
        ("\r\n\r\n", Ok(None)),
        ("\x16\x03\x01\r\n\r\n", Err(RequestError::Tls)),
    ] {
        assert_eq!(read(head), expected, "{head:?}");
    }
    // What comes first is the fault, also in pieces: headers are counted from the first one.
    for (count, after, expected) in [
        (MAX_HEADERS, "", Ok(())),
        (MAX_HEADERS + 1, "", Err("too many headers")),
        (MAX_HEADERS + 1, "A : b\r\n", Err("too many headers")),
        (MAX_HEADERS - 1, "A : b\r\n", Err("invalid header name")),
    ] {
        let head = format!("GET / HTTP/1.1\r\n{}{after}\r\n", "A: b\r\n".repeat(count));
        let expected = expected.map(|()| Some(("GET /".to_owned(), head.len())));
        assert_eq!(read(&head), expected.or_else(malformed), "{count} {after:?}");
    }
}

#[test]
fn what_cannot_become_a_request_is_refused_at_once() {
    let malformed = |why: &str| RequestError::Malformed(why.into());
    for (start, expected) in [
        ("\x16", RequestError::Tls),
        ("\u{80}\x2e\x01\x03\x01\0", malformed("invalid token")), // the hello of SSL 2
        ("GET / HTTP/1.1\n", malformed("a line does not end with CR LF")),
        ("GET / HTTP/1.1\r\nA: b\n", malformed("a line does not end with CR LF")),
        ("GET / HTTP/1.1\r\nA: b\r\nC : d\r\n", malformed("invalid header name")),
        ("\r\n220 mail\r\n", malformed("invalid token")),
    ] {
        let bytes: Vec<u8> = start.chars().map(|c| c as u8).collect();
        let read = feed_every_way(&bytes, None, |pieces| {
            let (mut reader, mut input) = (RequestReader::default(), Vec::new());
            for piece in pieces {
                input.extend_from_slice(piece);
                reader.read(&input)?;
            }
            Ok(())
        });
        assert_eq!(read.unwrap(), Err(expected), "{start:?}");
    }
}

#[test]
fn a_body_ends_where_its_head_says() {
    // Sections 6 and 7.1: lines of the head, bytes after it, the body, and whether it is complete
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (head, received, body, complete) in [
        ("", "", "", false),
        ("", "abc", "abc", false),
        ("Content-Length: 3\r\n", "ab", "ab", false),
        ("Content-Length: 3\r\n", "abc", "abc", true),
        ("Content-Length: 3\r\n", "abcd", "abc", true),
        ("Content-Length: 0\r\n", "", "", true),
        ("Content-Length: x\r\n", "abc", "abc", false),
        (chunked, "", "", false),
        (chunked, "3", "", false),
        (chunked, "3\r\n", "", false),
        (chunked, "3\r\nab", "ab", false),
        (chunked, "3\r\nabc", "abc", false),
        (chunked, "3\r\nabc\r", "abc", false),
        (chunked, "3\r\nabc\r\n", "abc", false),
        (chunked, "3\r\nabc\r\n2;x=y\r\nde\r\n", "abcde", false),
        (chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", true),
        (chunked, "3\r\nabc\r\nnonsense\r\n", "abc", true),
        (chunked, "ffffffffffffffff\r\nabc", "abc", false),
        ("Transfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n", "2\r\nab\r\n0\r\n\r\n", "ab", true),
    ] {
        let head = format!("HTTP/1.1 401 Unauthorized\r\n{head}\r\n");
        let (response, _) = ResponseReader::default().read(head.as_bytes()).unwrap().unwrap();
        let expected = Body { bytes: body.into(), complete };
        assert_eq!(response.body(received.as_bytes(), false, 4096), expected, "{head:?} {received:?}");
        // The end of the connection ends the body only if the head does not give a length.
        let until_end =
            !head.contains("Content-Length: ") && !head.contains("chunked") || head.contains(": x");
        let expected = Body { complete: complete || until_end, ..expected };
        assert_eq!(response.body(received.as_bytes(), true, 4096), expected, "{head:?} {received:?}, ended");
    }
    // No more of it is copied than is wanted.
    for (head, received, complete) in [
        ("", "abcd", false),
        ("Content-Length: 4\r\n", "abcd", true),
        (chunked, "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", true),
    ] {
        let head = format!("HTTP/1.1 401 Unauthorized\r\n{head}\r\n");
        let (response, _) = ResponseReader::default().read(head.as_bytes()).unwrap().unwrap();
        let expected = Body { bytes: b"ab".into(), complete };
        assert_eq!(response.body(received.as_bytes(), false, 2), expected, "{head:?}");
    }
    // Section 6.3: these have no body, whatever their headers say.
    for status in [204, 304] {
        let head = format!("HTTP/1.1 {status} x\r\n{chunked}\r\n");
        let (response, _) = ResponseReader::default().read(head.as_bytes()).unwrap().unwrap();
        assert_eq!(response.body(b"", false, 4096), Body { bytes: Vec::new(), complete: true });
    }
}

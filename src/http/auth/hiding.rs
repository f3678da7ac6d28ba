//! Takes secrets out of what a peer has said: it knows some of them, and could repeat them to whoever reads the log.
//! Knows nothing of where the words come from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::text::excerpt;

/// Shorter secrets are found in many words, and what is left of such a word would tell the rest.
const SHORTEST: usize = 4;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// The secrets in the value of a header such as Authorization: what comes after the scheme, and the password in it.
#[must_use]
pub fn secrets_of(value: &[u8]) -> Vec<Vec<u8>> {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ');
    let (scheme, token) = end.map_or((&b""[..], value), |end| (&value[..end], value[end..].trim_ascii()));
    let mut secrets = vec![token.to_vec()];
    if scheme.eq_ignore_ascii_case(b"Basic")
        && let Ok(pair) = BASE64.decode(token)
        && let Some(colon) = pair.iter().position(|byte| *byte == b':')
    {
        secrets.push(pair[colon + 1..].to_vec());
    }
    secrets
}

/// A peer's words without the secrets. Of a short one, the whole word is hidden.
#[must_use]
pub fn hidden_in(words: &str, secrets: &[Vec<u8>]) -> String {
    let mut words = words.to_owned();
    for secret in secrets {
        let literal = String::from_utf8_lossy(secret).into_owned();
        let escaped = excerpt(secret, usize::MAX); // as our own texts have it
        for form in [&literal, &escaped] {
            if form.len() < SHORTEST {
                words = without_words(&words, form);
            } else {
                words = without_start(&words.replace(form, HIDDEN), form);
            }
        }
    }
    words
}

/// The same for one of our own messages, of which only the end is a peer's: what follows the status of a response, or
/// else a quotation mark or a colon, whichever comes first.
#[must_use]
pub fn hidden_in_message(text: &str, secrets: &[Vec<u8>]) -> String {
    let others = ["\"", ": "].iter().filter_map(|mark| text.find(mark).map(|at| at + mark.len())).min();
    let start = status_end(text).or(others).unwrap_or(text.len());
    let (own, words) = text.split_at(start);
    own.to_owned() + &hidden_in(words, secrets)
}

/// Where the first status of a response ends, as in `HTTP/1.1 404`.
fn status_end(text: &str) -> Option<usize> {
    text.match_indices("HTTP/").map(|(at, _)| at).find_map(|at| {
        let shape = b"HTTP/0.0 000";
        let found = text.as_bytes().get(at..at + shape.len())?;
        let is_like =
            |(byte, like): (&u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == like };
        found.iter().zip(shape).all(is_like).then_some(at + shape.len())
    })
}

/// The text without the words that have this secret in them, if it is not empty.
fn without_words(text: &str, secret: &str) -> String {
    let is_between = |c: char| c.is_whitespace() || "\"()".contains(c);
    let (mut rest, mut left) = (text, String::new());
    while let Some(at) = rest.find(secret).filter(|_| !secret.is_empty()) {
        let before = rest[..at].char_indices().rfind(|(_, c)| is_between(*c));
        let start = before.map_or(0, |(place, c)| place + c.len_utf8());
        let end = at + secret.len();
        let end = rest[end..].find(is_between).map_or(rest.len(), |after| end + after);
        left = left + &rest[..start] + HIDDEN;
        rest = &rest[end..];
    }
    left + rest
}

/// The text without the start of a secret at its end, where a long text was cut off.
fn without_start(text: &str, secret: &str) -> String {
    let end = text.trim_end_matches(['"', ')', '.']).len();
    let starts = secret.char_indices().map(|(at, _)| &secret[..at]).filter(|start| start.len() >= SHORTEST);
    match starts.rev().find(|start| text[..end].ends_with(start)) {
        Some(start) => [&text[..end - start.len()], HIDDEN, &text[end..]].concat(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(secret: &str) -> Vec<Vec<u8>> {
        vec![secret.as_bytes().to_vec()]
    }

    #[test]
    fn a_secret_is_hidden_in_a_peers_words() {
        for (secret, words, expected) in [
            ("open sesame", "so open sesame?", "so ***?"),
            ("secret", "secretsecret", "******"),
            ("p\u{e4}ssword", "it is p\\xc3\\xa4ssword", "it is ***"),
            ("p\u{e4}ssword", "it is p\u{e4}ssword", "it is ***"),
            // one that was cut off
            ("secret", "HTTP/1.1 400 secre...", "HTTP/1.1 400 ***..."),
            ("secret", "\"x secr\"", "\"x ***\""),
            ("secret", "sec", "sec"),
            // a short one
            ("abc", "it is abc. Or xabcy (abc) \"abc\"", "it is *** Or *** (***) \"***\""),
            ("a", "a b ab c", "*** b *** c"),
            ("a b", "x a b y", "x *** y"),
            ("abc", "x\u{a0}abc\u{3000}y", "x\u{a0}***\u{3000}y"), // spaces of several bytes
            ("\u{e4}", "x \\xc3\\xa4", "x ***"),
            ("", "x", "x"),
        ] {
            assert_eq!(hidden_in(words, &secrets(secret)), expected, "{secret}");
        }
    }

    #[test]
    fn our_own_words_stay() {
        for (secret, text, expected) in [
            ("up", "upgrade failed; HTTP/1.1 401 up", "upgrade failed; HTTP/1.1 401 ***"),
            ("401", "upgrade failed; HTTP/1.1 401 No", "upgrade failed; HTTP/1.1 401 No"),
            ("failed", "upgrade failed; HTTP/1.1 401 failed", "upgrade failed; HTTP/1.1 401 ***"),
            ("not", "not an HTTP proxy: \"not me\"", "not an HTTP proxy: \"*** me\""),
            ("out", "timeout", "timeout"),
            ("chat", "a subprotocol that was not offered: chat", "a subprotocol that was not offered: ***"),
            ("HTTP/1", "is it HTTP/1.x? HTTP/1", "is it HTTP/1.x? HTTP/1"),
        ] {
            assert_eq!(hidden_in_message(text, &secrets(secret)), expected, "{secret}");
        }
    }

    #[test]
    fn the_secrets_of_a_header_are_the_token_and_the_password() {
        for (value, expected) in [
            ("Basic bWU6c2VjcmV0", &["bWU6c2VjcmV0", "secret"][..]),
            (" basic  bWU6 ", &["bWU6", ""]),
            ("Basic ???", &["???"]),
            ("Bearer abc.def", &["abc.def"]),
            ("token", &["token"]),
            ("", &[""]),
        ] {
            let expected: Vec<_> = expected.iter().map(|secret| secret.as_bytes().to_vec()).collect();
            assert_eq!(secrets_of(value.as_bytes()), expected, "{value}");
        }
    }
}

//! What a peer has said, for the errors and the log of its reader: on one line, without control characters, and not too
//! long. Knows nothing of where it comes from.

use std::ascii;

/// The maximum length of a text in an error, in bytes before escaping.
const MOST: usize = 500;

/// The bytes as visible ASCII: all others are escaped, as in `\n` and `\xff`. A long text is cut off, and ends in
/// `...`. Applied again, it escapes nothing more.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let end = if bytes.len() > MOST { "..." } else { "" };
    excerpt(bytes, MOST) + end
}

/// At most `most` of these bytes, in the same form.
#[must_use]
pub fn excerpt(bytes: &[u8], most: usize) -> String {
    let shown = bytes.iter().take(most).flat_map(|byte| match byte {
        b' '..=b'~' => vec![*byte],
        _ => ascii::escape_default(*byte).collect(),
    });
    shown.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_of_visible_ascii() {
        for (bytes, text) in [
            (&b"plain \"text\" \\ it's"[..], "plain \"text\" \\ it's"),
            (b"a\r\nb\tc", "a\\r\\nb\\tc"),
            (b"\x1b[2J\0\x7f", "\\x1b[2J\\x00\\x7f"),
            ("ü\u{9b}\u{202e}".as_bytes(), "\\xc3\\xbc\\xc2\\x9b\\xe2\\x80\\xae"),
        ] {
            assert_eq!(shown(bytes), text);
            assert_eq!(shown(text.as_bytes()), text);
        }
        assert_eq!(excerpt(b"a\nbc", 3), "a\\nb");
    }

    #[test]
    fn a_long_text_is_cut_off() {
        assert_eq!(shown(&[b'x'; MOST]), "x".repeat(MOST));
        assert_eq!(shown(&[b'x'; MOST + 1]), "x".repeat(MOST) + "...");
    }
}

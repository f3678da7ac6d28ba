//! Dates as HTTP has them (RFC 9110 section 5.6.7).

use std::time::UNIX_EPOCH;

/// A date in seconds since 1970; `None` if it is not one, or is before that.
#[must_use]
pub fn seconds(text: &str) -> Option<f64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn dates_of_all_three_forms_are_read() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777.0)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777.0)),
            (" Sun Nov  6 08:49:37 1994 ", Some(784_111_777.0)),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}

//! The Sec-WebSocket-Extensions header (RFC 6455 section 9.1): a list of names with parameters. Knows no particular
//! extension.

use std::fmt;

use crate::http::is_token;
use crate::text::shown;

/// One element of the list, as in `name; parameter; other=value`.
///
/// ```
/// use luws::protocol::extensions;
///
/// let offers = extensions::parse("permessage-deflate; client_max_window_bits, other")?;
/// assert_eq!(offers.len(), 2);
/// # Ok::<_, extensions::ExtensionsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub name: String,
    /// In order; the value of `parameter="value"` has no quotes.
    pub parameters: Vec<(String, Option<String>)>,
}

/// Why a header breaks the grammar of section 9.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtensionsError {
    NotToken(String),
    UnfinishedQuotedString,
}

impl fmt::Display for ExtensionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotToken(text) => write!(f, "\"{}\" is not a token", shown(text.as_bytes())),
            Self::UnfinishedQuotedString => f.write_str("unfinished quoted string"),
        }
    }
}

impl std::error::Error for ExtensionsError {}

/// Reads the value of a header, or of several lines joined by commas.
///
/// # Errors
/// See [`ExtensionsError`].
pub fn parse(header: &str) -> Result<Vec<Extension>, ExtensionsError> {
    let mut extensions = Vec::new();
    for element in split(header, ',')? {
        let element = element.trim();
        if element.is_empty() {
            continue; // RFC 9110 section 5.6.1.2
        }
        let mut parts = split(element, ';')?.into_iter().map(str::trim);
        let name = token(parts.next().unwrap_or_default())?;
        let parameters = parts.map(parameter).collect::<Result<_, _>>()?;
        extensions.push(Extension { name, parameters });
    }
    Ok(extensions)
}

fn parameter(text: &str) -> Result<(String, Option<String>), ExtensionsError> {
    let Some((name, value)) = text.split_once('=') else { return Ok((token(text)?, None)) };
    let value = value.trim();
    let value = match value.strip_prefix('"') {
        // Without quotes and escapes, the value must be a token.
        Some(quoted) => {
            quoted.strip_suffix('"').ok_or(ExtensionsError::UnfinishedQuotedString)?.replace('\\', "")
        }
        None => value.to_owned(),
    };
    Ok((token(name.trim())?, Some(token(&value)?)))
}

fn token(text: &str) -> Result<String, ExtensionsError> {
    if is_token(text) { Ok(text.to_owned()) } else { Err(ExtensionsError::NotToken(text.to_owned())) }
}

/// Splits at a separator, but not within quotes.
fn split(text: &str, separator: char) -> Result<Vec<&str>, ExtensionsError> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        } else if c == separator && !quoted {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    if quoted {
        return Err(ExtensionsError::UnfinishedQuotedString);
    }
    parts.push(&text[start..]);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats the list as text again, parameters in brackets.
    fn parsed(header: &str) -> Result<String, String> {
        let shown = parse(header).map_err(|error| error.to_string())?.into_iter().map(|extension| {
            let parameters = extension.parameters.into_iter().map(|(name, value)| match value {
                Some(value) => format!("[{name}={value}]"),
                None => format!("[{name}]"),
            });
            extension.name + &parameters.collect::<String>()
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_list_is_read_by_the_grammar_of_section_9_1() {
        for (header, expected) in [
            ("", Ok("")),
            ("foo", Ok("foo")),
            ("foo, bar; baz=2", Ok("foo bar[baz=2]")), // RFC 6455 section 9.1
            (" foo ;a; b = 1 ,, bar ", Ok("foo[a][b=1] bar")),
            ("foo; a=\"10\"; b", Ok("foo[a=10][b]")),
            ("foo; a=\"1\\0\"", Ok("foo[a=10]")),
            ("foo; a=\"1,2\"", Err("\"1,2\" is not a token")),
            ("foo; a=\"1", Err("unfinished quoted string")),
            ("foo; a=", Err("\"\" is not a token")),
            ("foo;", Err("\"\" is not a token")),
            ("a b", Err("\"a b\" is not a token")),
            ("=1", Err("\"=1\" is not a token")),
        ] {
            assert_eq!(parsed(header), expected.map(str::to_owned).map_err(str::to_owned), "{header}");
        }
    }
}

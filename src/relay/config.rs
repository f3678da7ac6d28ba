//! Reads the names of framing functions and their configuration, as websocksy has them.

use memchr::memmem::Finder;

use super::rule::{Endian, Rule, Sort};
use crate::text::shown;

const KNOWN: &str = "auto, binary, separator, newline, fixedlength, dynamic32 and json are known";

impl Rule {
    /// The rule of a framing function and its configuration, if it is given one. Those that need none ignore it.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn parse(name: &str, config: Option<&[u8]>) -> Result<Self, String> {
        let rule = match name {
            "auto" => Ok(Self::AtOnce(Sort::ByContent)),
            "binary" => Ok(Self::AtOnce(Sort::Binary)),
            "json" => Ok(Self::Json),
            "separator" => separator(config.unwrap_or_default()),
            "newline" => newline(config.unwrap_or(b"crlf")),
            "fixedlength" => fixed(config.unwrap_or_default()),
            "dynamic32" => dynamic(config.unwrap_or_default()),
            _ => return Err(format!("unknown framing '{}' ({KNOWN})", shown(name.as_bytes()))),
        };
        rule.map_err(|wrong| format!("bad configuration of the framing {name}: {wrong}"))
    }
}

fn by(separator: &[u8], sort: Sort) -> Rule {
    Rule::Separator(Box::new(Finder::new(separator).into_owned()), sort)
}

fn separator(config: &[u8]) -> Result<Rule, String> {
    let mut separator = Vec::new();
    let mut rest = config;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            separator.push(first);
            continue;
        }
        let (octet, after) = escaped(rest)?;
        separator.push(octet);
        rest = after;
    }
    if separator.is_empty() {
        return Err("the bytes that separate messages are missing".into());
    }
    Ok(by(&separator, Sort::Binary))
}

/// The byte that stands after a backslash, and what follows it.
fn escaped(text: &[u8]) -> Result<(u8, &[u8]), String> {
    let (octet, length) = match text {
        [b'r', ..] => (b'\r', 1),
        [b't', ..] => (b'\t', 1),
        [b'n', ..] => (b'\n', 1),
        [b'0', ..] => (0, 1),
        [b'f', ..] => (0x0c, 1),
        [b'\\', ..] => (b'\\', 1),
        [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            let digits = [*high, *low];
            let number = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
            (number.unwrap_or_default(), 3)
        }
        [b'x', ..] => return Err("\\x needs two hexadecimal digits".into()),
        [other, ..] => return Err(format!("unknown escape '\\{}'", shown(&[*other]))),
        [] => return Err("a backslash at the end".into()),
    };
    Ok((octet, &text[length..]))
}

fn newline(config: &[u8]) -> Result<Rule, String> {
    let separator: &[u8] = match config {
        b"crlf" => b"\r\n",
        b"lfcr" => b"\n\r",
        b"lf" => b"\n",
        b"cr" => b"\r",
        other => return Err(format!("crlf, lfcr, lf or cr expected, got '{}'", shown(other))),
    };
    Ok(by(separator, Sort::ByContent))
}

/// A number in one of C's notations: decimal, 0x and hexadecimal, 0 and octal.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // The standard library would take a sign.
    let is_plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)
}

fn fixed(config: &[u8]) -> Result<Rule, String> {
    match number(config).and_then(|length| usize::try_from(length).ok()) {
        Some(0) => Ok(Rule::AtOnce(Sort::Binary)),
        Some(length) => Ok(Rule::Fixed(length)),
        None => Err(format!("a number of bytes expected, got '{}'", shown(config))),
    }
}

fn dynamic(config: &[u8]) -> Result<Rule, String> {
    let (mut offset, mut extra, mut endian) = (0, 0, Endian::Little);
    for option in config.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
        let wrong = |what: &str| Err(format!("{what} expected, got '{}'", shown(option)));
        match option.iter().position(|octet| *octet == b'=').map(|at| option.split_at(at)) {
            Some((b"offset", value)) => match number(&value[1..]).and_then(|value| u32::try_from(value).ok())
            {
                Some(value) => offset = value as usize,
                None => return wrong("offset=NUMBER"),
            },
            Some((b"static", value)) => {
                let (sign, digits) =
                    value[1..].strip_prefix(b"-").map_or((1, &value[1..]), |rest| (-1, rest));
                match number(digits).and_then(|value| i64::try_from(value).ok()) {
                    Some(value) => extra = sign * value,
                    None => return wrong("static=NUMBER"),
                }
            }
            Some((b"endian", b"=big")) => endian = Endian::Big,
            Some((b"endian", b"=little")) => endian = Endian::Little,
            Some((b"endian", _)) => return wrong("endian=big or endian=little"),
            None if option.is_empty() && config.is_empty() => {}
            _ => return wrong("offset=NUMBER, static=NUMBER or endian=big|little"),
        }
    }
    Ok(Rule::Dynamic { offset, extra, endian })
}

//! How the bytes of a bridge's peer become messages, whatever the network cuts them into.

use luws::fuzzing::feed_every_way;
use luws::protocol::frame::Opcode;
use luws::relay::framing::Framer;
use luws::relay::{FramingError, Rule};

const LIMIT: usize = 1024;

/// Messages as text: `t` or `b` for their kind, and their bytes. What ends the stream comes last.
fn play(name: &str, config: Option<&[u8]>, pieces: &[&[u8]]) -> Vec<String> {
    let mut framer = Framer::new(Rule::parse(name, config).unwrap(), LIMIT);
    let mut told = Vec::new();
    let shown = |(opcode, message): (Opcode, &[u8])| {
        format!("{} {}", if opcode == Opcode::Text { "t" } else { "b" }, message.escape_ascii())
    };
    for piece in pieces {
        framer.input().extend(piece).unwrap();
        loop {
            match framer.next_message() {
                Ok(Some(message)) => told.push(shown(message)),
                Ok(None) => break,
                Err(error) => {
                    told.push(error.to_string());
                    return told;
                }
            }
        }
    }
    told.extend(framer.last().map(shown));
    assert!(framer.held().is_empty() && framer.last().is_none());
    told
}

/// The framing, its configuration, the stream, and the messages.
type Case = (&'static str, Option<&'static [u8]>, &'static [u8], &'static [&'static str]);

const TOO_LONG: &str = "a message of the peer is longer than 1024 bytes";

/// Those whose messages do not depend on how the stream was cut.
const CASES: &[Case] = &[
    // Separators
    ("separator", Some(b";"), b"a;bc;;d", &["b a;", "b bc;", "b ;", "b d"]),
    ("separator", Some(b"\\r\\n"), b"a\rb\nc\r\nd\r", &["b a\\rb\\nc\\r\\n", "b d\\r"]),
    (
        "separator",
        Some(b"\\t\\0\\f\\\\\\x41\\xfe"),
        b"x\t\0\x0c\\A\xfey",
        &["b x\\t\\x00\\x0c\\\\A\\xfe", "b y"],
    ),
    ("separator", Some(b"\0"), b"\0a\0", &["b \\x00", "b a\\x00"]),
    ("separator", Some(b"aab"), b"aaaabaab", &["b aaaab", "b aab"]),
    // Lines
    (
        "newline",
        None,
        b"a\r\n\xc3\xbc\r\n\xff\r\nb\r\n",
        &["t a\\r\\n", "t \\xc3\\xbc\\r\\n", "b \\xff\\r\\n", "t b\\r\\n"],
    ),
    (
        "newline",
        Some(b"lf"),
        b"\xc0\xaf\n\xed\xa0\x80\n\xf4\x90\x80\x80\na\xff",
        &["b \\xc0\\xaf\\n", "b \\xed\\xa0\\x80\\n", "b \\xf4\\x90\\x80\\x80\\n", "b a\\xff"],
    ),
    ("newline", Some(b"lfcr"), b"a\n\rb", &["t a\\n\\r", "t b"]),
    ("newline", Some(b"cr"), b"a\rb\n\r", &["t a\\r", "t b\\n\\r"]),
    // Lengths
    ("fixedlength", Some(b"3"), b"abcdefg", &["b abc", "b def", "b g"]),
    ("fixedlength", Some(b"0x2"), b"abc", &["b ab", "b c"]),
    ("fixedlength", Some(b"02"), b"ab", &["b ab"]),
    ("fixedlength", Some(b"18446744073709551615"), b"ab", &[TOO_LONG]),
    (
        "dynamic32",
        None,
        b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c\x09",
        &["b \\x02\\x00\\x00\\x00ab", "b \\x00\\x00\\x00\\x00", "b \\x01\\x00\\x00\\x00c", "b \\t"],
    ),
    (
        "dynamic32",
        Some(b"offset=1,static=2,endian=big"),
        b"x\0\0\0\x01abcy\0\0\0\0de",
        &["b x\\x00\\x00\\x00\\x01abc", "b y\\x00\\x00\\x00\\x00de"],
    ),
    ("dynamic32", Some(b"static=-4"), b"\x05\0\0\0a", &["b \\x05\\x00\\x00\\x00a"]),
    ("dynamic32", Some(b"static=-4"), b"\0\0\0\0a", &["the peer gives a message a length below one byte"]),
    ("dynamic32", None, b"\xff\xff\xff\xff", &[TOO_LONG]),
    ("dynamic32", Some(b"offset=2000"), &[b'x'; 1025], &[TOO_LONG]),
    // JSON
    (
        "json",
        None,
        br#"{"a":[1,-2.5e+3,true]} ["x\\","\"",null]"y""#,
        &[r#"t {\"a\":[1,-2.5e+3,true]}"#, r#"t  [\"x\\\\\",\"\\\"\",null]"#, r#"t \"y\""#],
    ),
    (
        "json",
        None,
        b"{\n  \"a\" : 1\n}\n[\t1\n,\t2 ]",
        &["t {\\n  \\\"a\\\" : 1\\n}", "t \\n[\\t1\\n,\\t2 ]"],
    ),
    ("json", None, "[\"\u{fc}\u{1f600}\"]".as_bytes(), &["t [\\\"\\xc3\\xbc\\xf0\\x9f\\x98\\x80\\\"]"]),
    ("json", None, b"12 3.5e1,", &["t 12", "t  3.5e1", "b ,"]),
    ("json", None, b"10-0", &["t 10", "t -0"]),
    ("json", None, b"truefalse null", &["t true", "t false", "t  null"]),
    ("json", None, b"[1,2", &["b [1,2"]),
    ("json", None, b"1e", &["b 1e"]),
    ("json", None, b" ", &["b  "]),
    ("json", None, br#""\ud83d\uDE00\/""#, &[r#"t \"\\ud83d\\uDE00\\/\""#]),
];

#[test]
fn messages_are_the_same_however_the_stream_is_cut() {
    for (name, config, stream, messages) in CASES {
        let told = feed_every_way(stream, None, |pieces| play(name, *config, pieces));
        assert_eq!(told.unwrap_or_else(|why| panic!("{name} {config:?}: {why}")), *messages);
    }
}

/// The framing, its configuration, what each read brings, and the messages.
type Reads<'a> = (&'a str, Option<&'a [u8]>, &'a [&'a [u8]], &'a [&'a str]);

#[test]
fn what_was_read_at_once_is_a_message() {
    let cases: [Reads<'_>; 7] = [
        (
            "auto",
            None,
            &[b"a", b"\xff", b"b", "\u{20ac}".as_bytes()],
            &["t a", "b \\xff", "t b", "t \\xe2\\x82\\xac"],
        ),
        (
            "auto",
            None,
            &[b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"],
            &["b \\xc0\\xaf", "b \\xed\\xa0\\x80", "b \\xf4\\x90\\x80\\x80"],
        ),
        ("binary", Some(b"ignored"), &[b"a", b"b\0"], &["b a", "b b\\x00"]),
        ("fixedlength", Some(b"0"), &[b"abc", b"d"], &["b abc", "b d"]),
        // What is no JSON, with all that is there; after it JSON may follow
        ("json", None, &[b"1 x2", b" [3]"], &["t 1", "b  x2", "t  [3]"]),
        (
            "json",
            None,
            &[b"[1}", b"\"\xff\"", b"\"\n\"", b"{}"],
            &["b [1}", "b \\\"\\xff\\\"", "b \\\"\\n\\\"", "t {}"],
        ),
        (
            "json",
            None,
            &[b"\"\\", b"x\"", b"\"\\u12g4\"", b"{1", b"{\"a\",", b"-x"],
            &["b \\\"\\\\x\\\"", "b \\\"\\\\u12g4\\\"", "b {1", "b {\\\"a\\\",", "b -x"],
        ),
    ];
    for (name, config, pieces, messages) in cases {
        assert_eq!(play(name, config, pieces), messages, "{name}");
    }
}

#[test]
fn a_message_may_be_as_long_as_the_limit_says() {
    let line = |length: usize| [&vec![b'x'; length - 1][..], b"\n"].concat();
    let lf: Option<&[u8]> = Some(b"lf");
    assert_eq!(play("newline", lf, &[&line(LIMIT)])[0].len(), LIMIT + "t \\n".len() - 1);
    for pieces in [vec![line(LIMIT + 1)], vec![vec![b'x'; LIMIT], b"xx".to_vec()]] {
        let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
        assert_eq!(play("newline", lf, &pieces), [TOO_LONG]);
    }
    let nested = vec![b'['; LIMIT + 1];
    assert_eq!(play("json", None, &[&nested]), [TOO_LONG]);
    // What is taken as it comes is cut.
    let told = play("binary", None, &[&[b'x'; 2 * LIMIT + 1]]);
    assert_eq!(told.iter().map(String::len).collect::<Vec<_>>(), [LIMIT + 2, LIMIT + 2, 1 + 2]);
}

#[test]
fn a_long_message_that_comes_byte_by_byte_is_searched_once() {
    // A rescan of a megabyte for each of its bytes would take hours.
    for (name, config) in [("newline", None), ("separator", Some(&b"ab"[..])), ("json", None)] {
        let mut framer = Framer::new(Rule::parse(name, config).unwrap(), 1 << 20);
        framer.input().extend(b"\"").unwrap();
        for _ in 1..1 << 20 {
            framer.input().extend(b"a").unwrap();
            assert_eq!(framer.next_message(), Ok(None));
        }
        framer.input().extend(b"a").unwrap();
        assert_eq!(framer.next_message(), Err(FramingError::TooLong { limit: 1 << 20 }));
    }
}

#[test]
fn an_empty_datagram_is_a_message_where_one_can_be_empty() {
    let empty = |name, config: Option<&[u8]>| Framer::new(Rule::parse(name, config).unwrap(), LIMIT).empty();
    assert_eq!(empty("auto", None), Some((Opcode::Text, &b""[..])));
    assert_eq!(empty("binary", None), Some((Opcode::Binary, &b""[..])));
    for (name, config) in [("newline", None), ("fixedlength", Some(&b"2"[..])), ("json", None)] {
        assert_eq!(empty(name, config), None);
    }
}

#[test]
fn a_wrong_configuration_is_an_error_that_says_what_is_wrong() {
    let cases: [(&str, Option<&[u8]>, &str); 20] = [
        ("separator", None, "the bytes that separate messages are missing"),
        ("separator", Some(b""), "the bytes that separate messages are missing"),
        ("separator", Some(b"a\\"), "a backslash at the end"),
        ("separator", Some(b"\\x4"), "\\x needs two hexadecimal digits"),
        ("separator", Some(b"\\xg1"), "\\x needs two hexadecimal digits"),
        ("separator", Some(b"\\q"), "unknown escape '\\q'"),
        ("newline", Some(b"CRLF"), "crlf, lfcr, lf or cr expected, got 'CRLF'"),
        ("fixedlength", None, "a number of bytes expected, got ''"),
        ("fixedlength", Some(b"-1"), "a number of bytes expected, got '-1'"),
        ("fixedlength", Some(b"+1"), "a number of bytes expected, got '+1'"),
        ("fixedlength", Some(b"12x"), "a number of bytes expected, got '12x'"),
        ("fixedlength", Some(b"08"), "a number of bytes expected, got '08'"),
        (
            "fixedlength",
            Some(b"18446744073709551616"),
            "a number of bytes expected, got '18446744073709551616'",
        ),
        (
            "dynamic32",
            Some(b"offset"),
            "offset=NUMBER, static=NUMBER or endian=big|little expected, got 'offset'",
        ),
        (
            "dynamic32",
            Some(b"offset=1,"),
            "offset=NUMBER, static=NUMBER or endian=big|little expected, got ''",
        ),
        ("dynamic32", Some(b"offset=-1"), "offset=NUMBER expected, got 'offset=-1'"),
        ("dynamic32", Some(b"offset=4294967296"), "offset=NUMBER expected, got 'offset=4294967296'"),
        ("dynamic32", Some(b"static=--1"), "static=NUMBER expected, got 'static=--1'"),
        ("dynamic32", Some(b"endian=middle"), "endian=big or endian=little expected, got 'endian=middle'"),
        (
            "dynamic32",
            Some(b"size=1"),
            "offset=NUMBER, static=NUMBER or endian=big|little expected, got 'size=1'",
        ),
    ];
    for name in ["base64", "Auto", ""] {
        let known = "auto, binary, separator, newline, fixedlength, dynamic32 and json are known";
        assert_eq!(Rule::parse(name, None).unwrap_err(), format!("unknown framing '{name}' ({known})"));
    }
    for (name, config, text) in cases {
        let told = Rule::parse(name, config).unwrap_err();
        assert_eq!(told, format!("bad configuration of the framing {name}: {text}"));
    }
}

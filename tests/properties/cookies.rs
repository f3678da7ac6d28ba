//! Jars of cookies, with anything that servers and files may say: what is kept is bounded, can be sent, and is the same
//! after it was written to a file and read again.

use luws::cookies::{Jar, MOST_OF_DOMAIN};
use luws::http::Header;
use luws::url::Target;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;

const NOW: i64 = 1_000_000_000;

const HOSTS: [&str; 5] =
    ["ws://a.test/b/c", "wss://x.a.test/b", "ws://127.0.0.1", "wss://[::1]/b?d/e", "wss://test"];

/// Lines that look like cookies more often than chance would have it, and others.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "a",
        "=",
        "=b",
        ";",
        "; ",
        "Path=/",
        "/b",
        "Domain=",
        ".a.test",
        "a.test",
        "127.0.0.1",
        "Secure",
        "Max-Age=",
        "-1",
        "9",
        "99999999999999999999",
        "Expires=",
        "09 Sep 2001 01:46:50",
        "__Host-a",
        "__Secure-",
        "\t",
        "\0",
        "HttpOnly",
        "\u{fc}",
    ]);
    let likely = vec(words, 0..12).prop_map(|words| words.concat().into_bytes());
    prop_oneof![4 => likely, 1 => vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn what_is_kept_can_be_sent_and_written(lines in vec((0..HOSTS.len(), line(), 0..20_i64), 0..60)) {
        let targets = HOSTS.map(|url| Target::parse(url).unwrap());
        let mut jar = Jar::default();
        for (host, line, later) in &lines {
            // Whether it is kept is for others to say.
            let _ = jar.set(&targets[*host], line, NOW + later);
        }
        let text = jar.encode(NOW).unwrap();
        let mut copy = Jar::default();
        prop_assert_eq!(copy.decode(&text, NOW), Ok(()));
        prop_assert_eq!(copy.encode(NOW).unwrap(), text);
        for target in &targets {
            let value = jar.header(target, NOW).unwrap();
            prop_assert_eq!(&copy.header(target, NOW).unwrap(), &value);
            if let Some(value) = value {
                prop_assert!(Header::new("Cookie", &value).is_ok());
                prop_assert!(value.split(|byte| *byte == b';').count() <= 3 * MOST_OF_DOMAIN);
            }
        }
    }

    #[test]
    fn a_file_can_be_anything(text in vec(any::<u8>(), 0..200), lines in vec(line(), 0..9)) {
        let mut jar = Jar::default();
        for text in [text, lines.join(&b"\t"[..])] {
            if jar.decode(&text, NOW).is_err() {
                prop_assert!(jar.is_empty());
            }
        }
    }
}

//! Jars of cookies (RFC 6265, 6265bis): each rule, by what is sent afterwards.

use luws::cookies::{CookieError, FileError, Jar, MOST, MOST_OF_DOMAIN};
use luws::url::Target;

const NOW: i64 = 1_000_000_000;

fn target(url: &str) -> Target {
    Target::parse_http(url).expect(url)
}

fn sent(jar: &mut Jar, url: &str, now: i64) -> String {
    String::from_utf8(jar.header(&target(url), now).unwrap().unwrap_or_default()).unwrap()
}

/// A jar into which these cookies were put.
fn jar_of(lines: &[(&str, &str)]) -> Jar {
    let mut jar = Jar::default();
    for (url, line) in lines {
        jar.set(&target(url), line.as_bytes(), NOW).expect(line);
    }
    jar
}

#[test]
fn a_cookie_goes_to_the_hosts_that_it_is_for() {
    for (from, attributes, to, is_sent) in [
        // host-only
        ("ws://a.test/", "", "ws://a.test/", true),
        ("ws://a.test/", "", "wss://a.test:81/", true),
        ("ws://a.test/", "", "http://a.test/", true),
        ("ws://a.test/", "", "ws://b.a.test/", false),
        ("ws://a.test/", "", "ws://test/", false),
        // a domain and what is below it, by whole labels
        ("ws://b.a.test/", "; Domain=a.test", "ws://a.test/", true),
        ("ws://b.a.test/", "; Domain=.A.test", "ws://c.a.test/", true),
        ("ws://a.test/", "; Domain=a.test", "ws://c.b.a.test/", true),
        ("ws://a.test/", "; Domain=a.test", "ws://ba.test/", false),
        ("ws://b.bücher.test/", "; Domain=bücher.test", "ws://xn--bcher-kva.test/", true),
        // addresses are not domains
        ("ws://127.0.0.1/", "; Domain=127.0.0.1", "ws://127.0.0.1/", true),
        ("ws://127.0.0.1/", "", "ws://127.0.0.1/", true),
        ("ws://[::1]/", "", "ws://[::1]:81/", true),
        // a label alone is nobody's but its host's
        ("ws://localhost/", "; Domain=localhost", "ws://localhost/", true),
        ("ws://localhost/", "; Domain=localhost", "ws://a.localhost/", false),
    ] {
        let mut jar = Jar::default();
        jar.set(&target(from), format!("a=b{attributes}").as_bytes(), NOW).expect(from);
        assert_eq!(sent(&mut jar, to, NOW) == "a=b", is_sent, "{from}{attributes}: {to}");
    }
}

#[test]
fn a_cookie_goes_to_the_paths_that_it_is_for() {
    for (from, attributes, to, is_sent) in [
        ("ws://a.test", "", "/b", true),
        ("ws://a.test/b", "", "/", true),
        ("ws://a.test/b/c", "", "/b", true),
        ("ws://a.test/b/c?d/e", "", "/b/x?y", true),
        ("ws://a.test/b/c", "", "/", false),
        ("ws://a.test/b/c", "", "/bc", false),
        ("ws://a.test/", "; Path=/b", "/b", true),
        ("ws://a.test/", "; Path=/b", "/b/c", true),
        ("ws://a.test/", "; Path=/b", "/b?c", true),
        ("ws://a.test/", "; Path=/b", "/bc", false),
        ("ws://a.test/", "; Path=/b", "/B", false),
        ("ws://a.test/", "; Path=/b/", "/b/c", true),
        ("ws://a.test/", "; Path=/b/", "/b", false),
        ("ws://a.test/b/c", "; Path=b", "/b", true), // not a path
    ] {
        let mut jar = Jar::default();
        jar.set(&target(from), format!("a=b{attributes}").as_bytes(), NOW).expect(from);
        assert_eq!(
            sent(&mut jar, &format!("ws://a.test{to}"), NOW) == "a=b",
            is_sent,
            "{from}{attributes}: {to}"
        );
    }
}

#[test]
fn cookies_that_a_host_may_not_set() {
    for (url, line, why) in [
        ("ws://a.test/", "a=b; Domain=b.test", CookieError::Domain),
        ("ws://a.test/", "a=b; Domain=b.a.test", CookieError::Domain),
        ("ws://ba.test/", "a=b; Domain=a.test", CookieError::Domain),
        ("ws://a.test/", "a=b; Domain=test", CookieError::Domain),
        ("ws://a.test/", "a=b; Domain=test.", CookieError::Domain),
        ("ws://a.test/", "a=b; Domain=..", CookieError::Domain),
        ("ws://127.0.0.1/", "a=b; Domain=0.0.1", CookieError::Domain),
        ("ws://127.0.0.1/", "a=b; Domain=127.0.0.2", CookieError::Domain),
        ("ws://a.test/", "a=b; Secure", CookieError::Secure),
        ("http://a.test/", "a=b; Secure", CookieError::Secure),
        ("ws://a.test/", "__Secure-a=b", CookieError::Prefix),
        ("wss://a.test/", "__secure-a=b", CookieError::Prefix),
        ("wss://a.test/", "__Host-a=b; Secure", CookieError::Prefix),
        ("wss://a.test/", "__Host-a=b; Secure; Path=/a", CookieError::Prefix),
        ("wss://a.test/", "__Host-a=b; Secure; Path=/; Domain=a.test", CookieError::Prefix),
        ("wss://a.test/", "__HOST-a=b; Path=/", CookieError::Prefix),
        ("ws://a.test/", "a", CookieError::NoName),
    ] {
        let mut jar = Jar::default();
        assert_eq!(jar.set(&target(url), line.as_bytes(), NOW), Err(why), "{url}: {line}");
        assert!(jar.is_empty());
    }
    let mut jar = jar_of(&[
        ("wss://a.test/", "__Secure-a=1; Secure; Domain=a.test"),
        ("wss://a.test/", "__Host-a=2; Secure; Path=/"),
    ]);
    assert_eq!(sent(&mut jar, "wss://a.test/", NOW), "__Secure-a=1; __Host-a=2");
}

#[test]
fn a_secure_cookie_goes_over_wss_only_and_ws_cannot_replace_it() {
    let mut jar =
        jar_of(&[("wss://b.a.test/c/d", "a=safe; Secure; Domain=a.test"), ("wss://b.a.test/", "b=c")]);
    assert_eq!(sent(&mut jar, "wss://b.a.test/c/", NOW), "a=safe; b=c");
    assert_eq!(sent(&mut jar, "ws://b.a.test/c/", NOW), "b=c");
    for (url, line, is_kept) in [
        ("ws://b.a.test/", "a=x; Path=/c", false),
        ("ws://b.a.test/", "a=x; Path=/c/d", false),
        ("ws://a.test/", "a=x; Path=/c; Max-Age=0", false),
        ("ws://c.b.a.test/", "a=x; Path=/c", false),
        ("ws://b.a.test/", "a=x; Path=/", true), // sent after the other one
        ("ws://b.a.test/", "A=x; Path=/c", true),
        ("wss://b.a.test/", "a=new; Path=/c; Domain=a.test", true),
    ] {
        let set = jar.set(&target(url), line.as_bytes(), NOW);
        assert_eq!(set, if is_kept { Ok(()) } else { Err(CookieError::Shadows) }, "{url}: {line}");
    }
    assert_eq!(sent(&mut jar, "wss://b.a.test/c", NOW), "a=new; A=x; b=c; a=x");
}

#[test]
fn the_longer_path_comes_first_then_the_older_cookie() {
    let mut jar = jar_of(&[
        ("ws://a.test/", "one=1; Path=/"),
        ("ws://a.test/", "two=2; Path=/b"),
        ("ws://a.test/", "three=3; Path=/b/c"),
        ("ws://a.test/", "four=4; Path=/"),
        ("ws://a.test/", "two=2; Path=/x"),
        ("ws://a.test/", "one=new; Path=/"), // keeps its place
    ]);
    assert_eq!(sent(&mut jar, "ws://a.test/b/c", NOW), "three=3; two=2; one=new; four=4");
}

#[test]
fn a_cookie_is_over_when_its_time_is() {
    let mut jar = jar_of(&[
        ("ws://a.test/", "a=1; Max-Age=10"),
        ("ws://a.test/", "b=2; Expires=Sun, 09 Sep 2001 01:46:45 GMT"), // in 5 seconds
        ("ws://a.test/", "c=3"),
        ("ws://a.test/", "d=4; Max-Age=0"),
        ("ws://a.test/", "e=5; Max-Age=999999999"),
    ]);
    assert_eq!(sent(&mut jar, "ws://a.test/", NOW), "a=1; b=2; c=3; e=5");
    assert_eq!(sent(&mut jar, "ws://a.test/", NOW + 5), "a=1; c=3; e=5");
    assert_eq!(sent(&mut jar, "ws://a.test/", NOW + 10), "c=3; e=5");
    assert_eq!(sent(&mut jar, "ws://a.test/", NOW + 400 * 86_400), "c=3");
    let mut jar = jar_of(&[("ws://a.test/", "a=1"), ("ws://a.test/", "b=2")]);
    jar.set(&target("ws://a.test/"), b"a=; Max-Age=-1", NOW).unwrap();
    assert_eq!(sent(&mut jar, "ws://a.test/", NOW), "b=2");
}

#[test]
fn fifty_cookies_of_a_domain_are_kept_and_the_longest_unused_goes_first() {
    let mut jar = Jar::default();
    jar.set(&target("ws://b.test/"), b"other=1", NOW).unwrap();
    for i in 0..MOST_OF_DOMAIN {
        jar.set(&target("ws://a.test/"), format!("c{i}=1; Path=/{i}").as_bytes(), NOW).unwrap();
    }
    assert_eq!(sent(&mut jar, "ws://a.test/0", NOW), "c0=1");
    jar.set(&target("ws://a.test/"), b"new=1; Path=/new", NOW).unwrap();
    assert_eq!(jar.len(), MOST_OF_DOMAIN + 1);
    for (path, expected) in [("0", "c0=1"), ("1", ""), ("2", "c2=1"), ("new", "new=1")] {
        assert_eq!(sent(&mut jar, &format!("ws://a.test/{path}"), NOW), expected);
    }
    assert_eq!(sent(&mut jar, "ws://b.test/", NOW), "other=1");
}

#[test]
fn a_flood_takes_the_place_of_old_cookies_and_those_that_are_over_go_first() {
    let mut jar = Jar::default();
    jar.set(&target("ws://kept.test/"), b"a=1", NOW).unwrap();
    jar.set(&target("ws://short.test/"), b"a=1; Max-Age=5", NOW).unwrap();
    for i in 2..MOST {
        jar.set(&target(&format!("ws://{i}.test/")), b"a=1", NOW).unwrap();
    }
    jar.set(&target("ws://new.test/"), b"a=1", NOW + 5).unwrap();
    assert_eq!(jar.len(), MOST);
    assert_eq!(sent(&mut jar, "ws://kept.test/", NOW), "a=1");
    for i in 0..200 {
        jar.set(&target(&format!("ws://x{i}.test/")), b"a=1", NOW).unwrap();
    }
    assert_eq!(jar.len(), MOST);
    assert_eq!(sent(&mut jar, "ws://kept.test/", NOW), "a=1");
    assert_eq!(sent(&mut jar, "ws://2.test/", NOW), "");
}

#[test]
fn a_file_has_the_same_cookies() {
    let mut jar = jar_of(&[
        ("wss://a.test/", "one=1; Secure; HttpOnly; Domain=a.test; Path=/b"),
        ("ws://a.test/", "two=; Max-Age=10"),
        ("ws://a.test/", "over=1; Max-Age=5"),
        ("ws://[::1]/", "three=a b=c"),
    ]);
    let text = String::from_utf8(jar.encode(NOW + 5).unwrap()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "# Netscape HTTP Cookie File",
            "#HttpOnly_.a.test\tTRUE\t/b\tTRUE\t0\tone\t1",
            "a.test\tFALSE\t/\tFALSE\t1000000010\ttwo\t",
            "::1\tFALSE\t/\tFALSE\t0\tthree\ta b=c",
        ]
    );
    let mut copy = Jar::default();
    copy.decode(text.as_bytes(), NOW).unwrap();
    assert_eq!(String::from_utf8(copy.encode(NOW).unwrap()).unwrap(), text);
    for url in ["wss://x.a.test/b", "wss://a.test/b", "ws://a.test/b", "ws://[::1]/"] {
        assert_eq!(sent(&mut copy, url, NOW + 5), sent(&mut jar, url, NOW + 5), "{url}");
    }
}

#[test]
fn files_of_other_programs_are_read() {
    let text = "# comment\r\n\r\n  \n.A.test\ttrue\t/\tfalse\t0\ta\t1\r\nb.test\tFALSE\t/\tFALSE\t2000000000\tb\n\
        b.test\tFALSE\t/\tFALSE\t5\tover\t1\nb.test\tFALSE\t/\tFALSE\t0\t\tnameless\n\
        b.test\tFALSE\t/\tFALSE\t0\tx\ty\tz";
    let mut jar = Jar::default();
    assert_eq!(jar.decode(text.as_bytes(), NOW), Ok(()));
    assert_eq!(sent(&mut jar, "ws://x.a.test/", NOW), "a=1");
    assert_eq!(sent(&mut jar, "ws://b.test/", NOW), "b="); // a tab cannot be sent
}

#[test]
fn a_text_that_is_not_a_cookie_file_changes_nothing() {
    let good = "a.test\tFALSE\t/\tFALSE\t0\ta\t1\n";
    for line in [
        "hello",
        "a.test FALSE / FALSE 0 a 1",
        "a.test\tFALSE\t/\tFALSE\t0",
        "a.test\tmaybe\t/\tFALSE\t0\ta\t1",
        "a.test\tFALSE\t/\tmaybe\t0\ta\t1",
        "a.test\tFALSE\t/\tFALSE\tsoon\ta\t1",
        "a.test\tFALSE\tb\tFALSE\t0\ta\t1",
        "\tFALSE\t/\tFALSE\t0\ta\t1",
        "\u{fffd}\0",
    ] {
        let mut jar = Jar::default();
        let result = jar.decode(format!("{good}{line}\n{good}").as_bytes(), NOW);
        assert_eq!(result, Err(FileError::Line(2)), "{line}");
        assert!(jar.is_empty());
    }
}

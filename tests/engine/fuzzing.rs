//! Runs the bodies of the fuzz targets over their seeds in every `cargo test`, and makes the seeds from the vectors.
//! `make fuzz` writes them where cargo-fuzz looks for them.

use std::fs;
use std::path::Path;

use luws::fuzzing;
use luws::tls::certificate::read_pem;
use luws::tls::fingerprint::Fingerprint;

use crate::feeding::Role;
use crate::vectors::format::{self, KEY, Vector};

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

const TARGETS: [Target; 16] = [
    ("frame_header", fuzzing::frame_header, headers),
    ("session_client", fuzzing::session_client, || sessions(Role::Client)),
    ("session_server", fuzzing::session_server, || sessions(Role::Server)),
    ("handshake_response", fuzzing::handshake_response, responses),
    ("deflate_parameters", fuzzing::deflate_parameters, parameters),
    ("operations", fuzzing::operations, operations),
    ("url", fuzzing::url, || lines(URLS)),
    ("http", fuzzing::http, heads),
    ("header", fuzzing::header, || lines(HEADERS)),
    ("challenge", fuzzing::challenge, challenges),
    ("close_frame", fuzzing::close_frame, close_frames),
    ("proxy", fuzzing::proxy, proxies),
    ("certificate", fuzzing::certificate, certificates),
    ("json", fuzzing::json, || lines(JSON)),
    ("framing", fuzzing::framing, streams),
    ("socketio", fuzzing::socketio, || lines(SOCKETIO)),
];

/// A URL in each line.
const URLS: &str = "\
ws://host
wss://host
ws://host:8080/path?query
wss://user:pass%3Aword@host/
ws://user@host
ws://:@host
ws://[::1]:80/a
wss://[fe80::1]/
ws://127.0.0.1
ws://0x7f.1/
ws://1.2.3
ws://h\u{f6}st.example/\u{fc}?\u{fc}
ws://XN--HST-SNA.example
ws://a.b.c.:443/
WSS://HOST:443/%41%zz/../x
ws://host/a b?c d
ws://host?q
ws://host/?
ws://host/#fragment
ws://host:0/
ws://host:99999/
ws://host:/
ws:///host
ws://\\host
ws://*.host/
ws://.host/
ws://
http://host/
https://me:pass%3Aword@proxy:80/
socks5h://[::1]:9050
socks4a://me@proxy
SOCKS5://\u{fc}:\u{e9}@h\u{f6}st
me:pass@proxy:3128
ws:host
ws://ho st/
ws://host/\t
ws://host/?\"<>'`{}|^\\";

/// A header in each line, as the target reads it.
const HEADERS: &str = "\
X-Key:value
X-Key: value with spaces 
X-Key:
:value
X Key:value
X-Key\tX:value
X-Key:\ttab
X-Key:a:b
Host:h
!#$%&'*+-.^_`|~:all
X-Key:\u{fc}
\u{fc}:value
Content-Length:5
Transfer-Encoding:chunked
Connection:close
Cookie:a=b; c=d
Authorization:Basic dXNlcjpwYXNz
Origin:http://host
User-Agent:luws/1.0 (x)
Sec-WebSocket-Key:x
Upgrade:h2c
X-1:\"quoted\"
X-2:(comment)
X-3:a,b,c
X-4:\u{1}
X-5:\u{7f}
X-6:\u{0}
X-7:\rY: z
X-8:\u{85}
X-9:   
X-10:x\u{a0}
-:-
{}:x
X";

/// Challenges, each with each other, in one field and in two.
fn challenges() -> Vec<Vec<u8>> {
    let fields = [
        "Basic realm=\"a\"",
        "Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\", opaque=\"o\"",
        "Digest realm=\"a \\\"b\\\"\", nonce=\"\u{fc},=\", algorithm=SHA-256, stale=true",
        "Digest realm=r, nonce=n, algorithm=MD5-sess, qop=auth-int",
        "NTLM TlRMTVNTUAAC==, Negotiate",
        "realm=\"no scheme\", Basic =, (x), \"",
    ];
    let pairs = fields.iter().flat_map(|first| fields.map(|second| (*first, second)));
    pairs
        .flat_map(|(first, second)| [format!("{first}, {second}"), format!("{first}\n{second}")])
        .map(String::into_bytes)
        .collect()
}

/// A packet in each line.
const SOCKETIO: &str = r#"0
0/adm?token=x,{"token":"x"}
1/adm,
2["m",1,null,[],{}]
2/adm,7["m"]
29007199254740993["m"]
3/adm,7[]
4{"message":"no","data":{}}
51-["m",{"_placeholder":true,"num":0}]
52-/a,7["m",{"_placeholder":true,"num":1},[{"num":0,"_placeholder":true}]]
61-0[{"_placeholder":true,"num":1}]
51-["m",{"_placeholder":true,"num":0,"num":-1}]
51-["m",{"_placeholder":false,"num":9},{"_placeholder":1},{"num":0}]
51-["m",{"_placeholder":true,"num":0.0}]
5999999999999999999999-["m"]
0/
0/,
0,
0[]
1{}
2[]
2{}
2[null]
2/adm,07["m"]
2/ü,["ü"]
2["m"
2["m"]]
2-7["m"]
3
4
4"no"
4{}
50-["m"]
51001-["m"]
2[5,-1.5e3,"\u00e9"]
44
3[[[[]]]]
6"
2["connect"]
7"#;

/// A JSON text in each line.
const JSON: &str = r#"null
 [true, false, 0, -0, 1.5, 1e5, 1E-400, 9007199254740993, -9223372036854775808, 18446744073709551615, 1e308]
{"b":{"":[]},"a":{},"a":[[]]}
"\u00e9\ud83d\ude00\ud800\\ud800\n\/"
["\ud83d","\ude00\ud83d"]
[1,
{"a" 1}
[[[[[[[[[[[[]]]]]]]]]]]]
5E4444
01
"\x"
'a'
{"a":1,"a":{"b":null}}
{"a":1,}
[]]
1.7976931348623157e308
4.35e-5
+1
NaN
"
{}
true false
{"":""}
[[],[[]],{}]
-
-1e-5
1.
.5
{"a":[{"b":[{"c":null}]}]}
"\u0000\u001f\u007f\u2028"
"	"
[,]
{,}
\ud800
[1] 2"#;

fn lines(text: &str) -> Vec<Vec<u8>> {
    text.split('\n').map(|line| line.as_bytes().to_vec()).collect()
}

fn vectors(role: Role) -> impl Iterator<Item = Vector> {
    format::all().into_iter().filter(move |vector| vector.roles().contains(&role))
}

fn headers() -> Vec<Vec<u8>> {
    let of = |role| vectors(role).filter(|vector| !vector.upgrade).map(move |vector| vector.input(role, KEY));
    of(Role::Client).chain(of(Role::Server)).map(|input| input[..input.len().min(14)].to_vec()).collect()
}

/// The first byte of a session target's data, for a vector.
fn setup(vector: &Vector) -> u8 {
    let limit = match vector.limit {
        128 => 1,
        1000 => 2,
        0 => 3,
        _ => 0,
    };
    let agreed = match vector.wish.as_deref().or(vector.deflate.as_deref()) {
        None => 0,
        Some(header) if header.contains("server_no_context_takeover") => 4,
        Some(header) if header.contains("server_max_window_bits") => 7,
        Some(_) => 2,
    };
    limit << 3 | agreed
}

fn sessions(role: Role) -> Vec<Vec<u8>> {
    let wanted = vectors(role).filter(|vector| role == Role::Server || !vector.upgrade);
    let seed = |vector: Vector| {
        let cut = if vector.upgrade { 128 + 7 } else { 3 };
        [&[setup(&vector), cut], vector.input(role, KEY).as_slice()].concat()
    };
    wanted.map(seed).filter(|seed| seed.len() < 4096).collect()
}

fn responses() -> Vec<Vec<u8>> {
    let seed = |vector: Vector| {
        let choice = if vector.subprotocols.is_empty() { 7 } else { 128 + 7 };
        // The engine's key will be a different one.
        let input = String::from_utf8_lossy(&vector.input(Role::Client, KEY)).into_owned();
        let input = input.replace(&format::accept(KEY), "{accept}");
        [&[setup(&vector), choice], input.as_bytes()].concat()
    };
    vectors(Role::Client).filter(|vector| vector.upgrade).map(seed).collect()
}

fn parameters() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for role in [Role::Client, Role::Server] {
        for vector in vectors(role) {
            let input = vector.input(role, KEY);
            for line in input.split(|byte| *byte == b'\n') {
                if let Some(header) = line.strip_prefix(b"Sec-WebSocket-Extensions:") {
                    for choices in [[0; 4], [0x05, 0x21, 0x3a, 0x40]] {
                        seeds.push([&choices, header.trim_ascii()].concat());
                    }
                }
            }
        }
    }
    seeds
}

fn heads() -> Vec<Vec<u8>> {
    let bodies: [&[u8]; 7] = [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nright and more",
        b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nright\r\n0\r\n\r\n",
        b"HTTP/1.1 500 X\nTransfer-Encoding: chunked\n\n5\r\nrig",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 302 Found\r\nLocation: /\r\n x\r\n\r\n",
        // A forbidden character, and then a line that ends wrongly
        b"HTTP-101\x0ca: c\n\r\n",
    ];
    let of = |role| vectors(role).filter(|vector| vector.upgrade).map(move |vector| vector.input(role, KEY));
    let inputs = of(Role::Client).chain(of(Role::Server)).chain(bodies.map(<[u8]>::to_vec));
    inputs.map(|input| [&[64 + 7], input.as_slice()].concat()).collect()
}

fn close_frames() -> Vec<Vec<u8>> {
    let codes = [
        0_u16, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 2999, 3000, 4999, 5000,
    ];
    let reasons: [&[u8]; 4] = [b"", "bye \u{20ac}".as_bytes(), b"\xff", &[b'x'; 124]];
    let mut seeds = vec![Vec::new(), vec![3]];
    for code in codes {
        seeds.extend(reasons.map(|reason| [&code.to_be_bytes(), reason].concat()));
    }
    seeds
}

fn proxies() -> Vec<Vec<u8>> {
    let greetings: [&[u8]; 8] = [
        b"OK TOGGLEDBITS-SOCKPROXY 21350 4711\n",
        b"OK TOGGLEDBITS-SOCKPROXY\r\n",
        b"OK TOGGLEDBITS-SOCKPROXY",
        b"ERR TOOMANY connections\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"SSH-2.0-x\n",
        b"\n",
        b"",
    ];
    let replies: [&[u8]; 6] =
        [b"OK CONN 7\nHTTP/1.1", b"OK CONN\n", b"OK CONNECTED\n", b"ERR CONN refused\n", b"what\n", b"OK CO"];
    let mut seeds = Vec::new();
    for greeting in greetings {
        seeds.extend(replies.map(|reply| [&[64 + 20, 0], greeting, reply].concat()));
    }
    let long = [b"OK TOGGLEDBITS-SOCKPROXY ".as_slice(), &[b'x'; 2000], b"\n"].concat();
    seeds.push([&[63, 0], long.as_slice()].concat());
    seeds.push([&[63, 0], greetings[0], b"ERR ", &[b'x'; 2000], b"\n"].concat());
    let http: [&[u8]; 9] = [
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200\n\nx",
        b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nxxHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 407 X\r\nProxy-Authenticate: Digest realm=r, nonce=n\r\nTransfer-Encoding: chunked\r\n\r\n\
          2\r\nxx\r\n0\r\nA: b\r\n\r\nHTTP/1.1 407 X\r\nProxy-Authenticate: Digest realm=r, nonce=m, stale=true\r\n\
          Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 407 X\r\nProxy-Authenticate: Digest realm=r, nonce=n\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate\r\n\r\n",
        b"HTTP/1.1 403 secret bWU6c2VjcmV0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n",
        b"SSH-2.0-x\r\n",
    ];
    seeds.extend(http.iter().flat_map(|input| [1, 5].map(|kind| [&[64 + 20, kind], *input].concat())));
    let socks: [&[u8]; 7] = [
        b"\0\x5a\0\x50\x01\x02\x03\x04HTTP",
        b"\0\x5b",
        b"\x05\x02\x01\0\x05\0\0\x01\x01\x02\x03\x04\0\x50HTTP",
        b"\x05\0\x05\0\0\x03\x02hi\0\x50HTTP",
        b"\x05\0\x05\xf0",
        b"\x05\xff",
        b"HTTP/1.1 400",
    ];
    seeds.extend(socks.iter().flat_map(|input| [2, 3].map(|kind| [&[64 + 3, kind], *input].concat())));
    seeds
}

/// The JSON texts as streams of each framing.
fn streams() -> Vec<Vec<u8>> {
    let texts =
        lines(JSON).into_iter().flat_map(|text| (0..8).map(move |rule| [&[rule, 70], &text[..]].concat()));
    texts.collect()
}

/// Two certificates, whole and with each of some bytes changed, and the texts of their fingerprints.
fn certificates() -> Vec<Vec<u8>> {
    let pem = include_bytes!("certificates.pem");
    let mut seeds = vec![pem.to_vec(), pem[..pem.len() / 3].to_vec(), b"sha256 Fingerprint=AA:BB".to_vec()];
    for der in read_pem(pem).unwrap() {
        seeds.push(Fingerprint::of(&der).to_hex().into_bytes());
        seeds.push(Fingerprint::of(&der).to_base64().into_bytes());
        for at in (0..der.len()).step_by(37) {
            let mut changed = der.clone();
            changed[at] ^= 0x21;
            seeds.push(changed);
        }
        seeds.push(der);
    }
    seeds
}

/// Sequences that do everything once; src/fuzzing/operations.rs explains the bytes.
fn operations() -> Vec<Vec<u8>> {
    let talk: &[u8] = &[
        0, 5, 128, 5, 1, 200, 129, 200, 2, 9, 6, 1, 4, 0, 5, 3, 134, 2, 8, 2, 136, 2, 11, 50, 139, 50, 8, 15,
        136, 15, 0, 126, 1, 127, 1, 125, 131, 4, 133, 255, 8, 15, 136, 15, 7, 3, 135, 4, 0, 1, 8, 15,
    ];
    let by = |i: u8, factor| i.wrapping_mul(factor);
    let agreements = (0..32).map(|i| [i, by(i, 7), by(i, 31), by(i, 77), by(i, 3)]);
    let mut seeds: Vec<Vec<u8>> = agreements.map(|start| [start.as_slice(), talk].concat()).collect();
    // Endless pings to an end that does not read
    seeds.push([&[0; 5][..], &[134, 255, 136, 15].repeat(40), &[134, 1, 136, 15, 8, 15]].concat());
    seeds
}

#[test]
fn every_fuzz_body_keeps_its_promises_over_every_seed() {
    for (name, body, seeds) in TARGETS {
        let seeds = seeds();
        assert!(seeds.len() > 30, "{name}");
        for seed in seeds {
            body(&seed);
            // The seed without its end, and without its beginning
            body(&seed[..seed.len() / 2]);
            body(&seed[seed.len() / 2..]);
        }
        body(&[]);
    }
}

#[test]
fn cargo_fuzz_has_the_same_targets() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, ..) in TARGETS {
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).expect(name);
        assert!(program.contains(&format!("luws::fuzzing::{name}(data)")), "{name}");
        let path = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert_eq!(manifest.matches(&path).count(), 1, "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    assert_eq!(fs::read_dir(folder.join("fuzz_targets")).unwrap().count(), TARGETS.len());
}

#[test]
#[ignore = "writes the seeds to fuzz/corpus, for make fuzz"]
fn write_corpus() {
    for (name, _, seeds) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
        }
    }
}

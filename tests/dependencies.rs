//! Dependencies go one way: which part may name which, in the crate and in the Lua driver, and no circles inside a part
//! of the engine (circles.rs). The tables below are the architecture, and changing them is a deliberate decision.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "dependencies/circles.rs"]
mod circles;

/// A part of the crate, the other parts that it may name, and the outside crates that it may name.
const CRATE: &[(&str, &[&str], &[&str])] = &[
    ("src/memory.rs", &[], &[]),
    ("src/json.rs", &["memory"], &["serde", "serde_json"]),
    ("src/socketio.rs", &["json", "memory"], &[]),
    ("src/text.rs", &[], &[]),
    ("src/http", &["memory", "text"], &["base64", "flate2", "httparse", "md5", "sha2"]),
    ("src/protocol", &["http", "memory", "text"], &["base64", "flate2", "rand", "sha1", "simdutf8"]),
    ("src/url.rs", &[], &["base64", "percent_encoding", "url"]),
    ("src/network.rs", &[], &[]),
    ("src/files.rs", &[], &["percent_encoding"]),
    ("src/address.rs", &["url"], &["url"]),
    ("src/cookies", &["http", "memory", "url"], &[]),
    (
        "src/tls",
        &["memory", "protocol"],
        &["base64", "native_tls", "openssl", "openssl_probe", "pem", "pkcs8", "sec1", "sha2", "x509_cert"],
    ),
    ("src/proxy", &["http", "text", "url"], &["percent_encoding", "url"]),
    ("src/session", &["http", "memory", "protocol", "proxy", "text", "tls"], &["rand"]),
    ("src/relay", &["memory", "protocol", "text", "tls"], &["memchr"]),
    (
        "src/fuzzing",
        &["http", "json", "protocol", "proxy", "relay", "session", "socketio", "tls", "url"],
        &[],
    ),
    ("src/net", &[], &["nix", "rustix", "socket2"]),
    (
        "src/lua",
        &[
            "address", "cookies", "files", "http", "json", "memory", "net", "network", "protocol", "proxy",
            "relay", "session", "socketio", "tls", "url",
        ],
        &["base64", "flate2", "mlua_sys", "nix", "simdutf8"],
    ),
];

/// The parts of the Lua driver, from the ground floor up: each may import those listed before it.
const DRIVER: &[&str] = &[
    // The world: time, user code, log, the grammar of options.
    "clock",
    "guard",
    "log",
    "spelling",
    "kinds",
    "blame",
    "options",
    "json",
    "emitter",
    "binary",
    // Other people's event loops, and what drives everything that is not waited for.
    "hosts/copas",
    "hosts/cqueues",
    "hosts/luv",
    "hosts/openluup",
    "timers",
    "turns",
    "reactor",
    // What is needed to open a connection.
    "auth",
    "backoff",
    "cookies",
    "gate",
    "tls",
    "request",
    "environment",
    "proxy",
    // The life cycle and what carries its bytes.
    "wires/foreign",
    "wires/memory",
    "wires/native",
    "dialling",
    "connection",
    "wait",
    "methods",
    // The functions of the API.
    "secrets",
    "redirect",
    "planning",
    "open",
    "trace",
    "sink",
    "linger",
    "close",
    "keepalive",
    "outbox",
    "quick",
    "publish",
    "send",
    "receive",
    "drive",
    "reconnect",
    "opener",
    "told",
    "worlds",
    // The API.
    "calls",
    "luws",
    // Programs on top of it.
    "server/listeners",
    "server/options",
    "server/request",
    "server/files",
    "server/responses",
    "server/upgrade",
    "server/exchange",
    "server/pull",
    "server/rooms",
    "server/owner",
    "server/shutdown",
    "server",
    "http/pool",
    "http",
    "query",
    "engineio/failure",
    "engineio/packets",
    "engineio/packets3",
    "engineio/payload",
    "engineio/queue",
    "engineio/settings",
    "engineio/client/place",
    "engineio/client/polling",
    "engineio/client/websocket",
    "engineio/client/socket",
    "engineio/server/answer",
    "engineio/server/cors",
    "engineio/server/cookie",
    "engineio/server/polling",
    "engineio/server/websocket",
    "engineio/server/socket",
    "engineio/server/multicast",
    "engineio/server/checks",
    "engineio/server",
    "engineio",
    "websocket/events",
    "websocket/setup",
    "websocket/data",
    "websocket/callback_socket",
    "websocket",
    "socketio/parser",
    "socketio/failure",
    "socketio/settings",
    "socketio/anything",
    "socketio/arguments",
    "socketio/acks",
    "socketio/waiting",
    "socketio/view",
    "socketio/client/bounded",
    "socketio/client/retries",
    "socketio/client/socket",
    "socketio/client/manager",
    "socketio/server/adapter",
    "socketio/server/sessions",
    "socketio/server/operator",
    "socketio/server/middlewares",
    "socketio/server/socket",
    "socketio/server/namespace",
    "socketio/server/client",
    "socketio/server",
    "socketio",
    "arguments",
    "record/secrets",
    "record/lines",
    "record/reader",
    "record/writer",
    "record/rows",
    "record/fold",
    "record/tree",
    "record/stand_in",
    "record/replay",
    "record/tap",
    "record/handlers",
    "record/core",
    "record/outbox",
    "record/lag",
    "record/peer",
    "record/rerun",
    "record/recording",
    "record",
    "mock/clock",
    "mock/link",
    "mock/peer",
    "mock/recorded",
    "mock/socket",
    "mock/places",
    "mock/dial",
    "mock/listener",
    "mock/process",
    "mock/server",
    "mock/net",
    "mock/websocket",
    "mock/luup",
    "mock",
    "bridge/address",
    "bridge/access",
    "bridge/log",
    "bridge/plugin",
    "bridge/options",
    "bridge/config",
    "bridge/framing",
    "bridge/backends/answer",
    "bridge/backends/default",
    "bridge/backends/file",
    "bridge/backends/lua",
    "bridge/settings",
    "bridge/draft",
    "bridge/peers",
    "bridge/relay",
    "bridge/tally",
    "bridge/clients",
    "bridge/reverse",
    "bridge",
    "command/arguments",
    "command/output",
    "command/input",
    "command/pretty",
    "command/opening",
    "command/failure",
    "command/connect",
    "command/listen",
    "command/doctor",
    "command/bridge",
    "command",
    "loader",
];

/// The crates of Cargo.toml, as they are named in code.
const OUTSIDE: &[&str] = &[
    "base64",
    "flate2",
    "httparse",
    "md5",
    "memchr",
    "mlua_sys",
    "native_tls",
    "nix",
    "openssl",
    "openssl_probe",
    "pem",
    "percent_encoding",
    "pkcs8",
    "rand",
    "rustix",
    "sec1",
    "serde",
    "serde_json",
    "sha1",
    "sha2",
    "simdutf8",
    "socket2",
    "url",
    "x509_cert",
];

fn files_under(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.flat_map(|entry| files_under(&entry.unwrap().path())).collect()
}

/// The code of a file without its comments and its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The words that follow `before` in the code, up to a character that cannot be part of a name.
fn names_after<'a>(code: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(before).map(move |(at, _)| {
        let rest = &code[at + before.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn parts_of_the_crate_name_only_what_they_stand_on() {
    let mut wrong = Vec::new();
    for (part, inside, outside) in CRATE {
        let own = part.trim_start_matches("src/").trim_end_matches(".rs");
        for file in files_under(&root().join(part)) {
            let code = code(&file);
            for name in names_after(&code, "crate::").filter(|name| *name != own && !inside.contains(name)) {
                wrong.push(format!("{} names crate::{name}", file.display()));
            }
            for name in OUTSIDE.iter().filter(|name| !outside.contains(name) && **name != own) {
                let paths = [format!("use {name}::"), format!("{name}::")];
                let found = code.lines().any(|line| {
                    line.trim_start().starts_with(&paths[0])
                        || line.match_indices(&paths[1]).any(|(at, _)| {
                            !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                        })
                });
                if found {
                    wrong.push(format!("{} names the crate {name}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_tables_name_every_crate_and_nothing_that_is_not_used() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let sections = manifest.split("\n[").filter(|section| {
        let title = section.split(']').next().unwrap_or_default();
        title == "dependencies" || title.starts_with("target.")
    });
    let names = sections
        .flat_map(|section| section.lines().skip(1))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    // md-5 is the package whose crate is md5.
    let wanted: BTreeSet<_> = names
        .filter(|name| !name.starts_with('#'))
        .map(|name| if name == "md-5" { "md5".to_owned() } else { name.replace('-', "_") })
        .collect();
    assert_eq!(OUTSIDE.iter().copied().map(String::from).collect::<BTreeSet<_>>(), wanted);
    for (part, inside, outside) in CRATE {
        let code: String = files_under(&root().join(part)).iter().map(|file| code(file)).collect();
        for name in *inside {
            assert!(names_after(&code, "crate::").any(|found| found == *name), "{part} does not use {name}");
        }
        for name in *outside {
            assert!(code.contains(&format!("{name}::")), "{part} does not use the crate {name}");
        }
    }
}

#[test]
fn every_file_of_the_crate_is_in_the_table() {
    let exempt = ["src/lib.rs", "src/bin/demo_server.rs"];
    for file in files_under(&root().join("src")) {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let known = CRATE.iter().any(|(part, ..)| name.starts_with(part));
        assert!(known || exempt.contains(&name.as_str()), "{name} is not in the table");
    }
}

#[test]
fn only_net_touches_the_network_only_tls_its_library_and_only_lua_knows_lua() {
    for file in files_under(&root().join("src")) {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let code = code(&file);
        let may_use_sockets = name.starts_with("src/net") || name.starts_with("src/bin");
        assert!(may_use_sockets || !code.contains("std::net"), "{name} names std::net");
        assert!(name.starts_with("src/tls") || !code.contains("native_tls"), "{name} names native_tls");
        assert!(name.starts_with("src/lua/raw") || !code.contains("mlua"), "{name} names mlua_sys");
    }
}

#[test]
fn parts_of_the_driver_import_only_what_they_stand_on() {
    let folder = root().join("lua/luws");
    let path = |part: &str| {
        if part == "luws" { root().join("lua/luws.lua") } else { folder.join(part.to_owned() + ".lua") }
    };
    let listed: BTreeSet<_> = DRIVER.iter().map(|part| path(part)).collect();
    let mut found: BTreeSet<_> = files_under(&folder).into_iter().collect();
    found.insert(path("luws"));
    assert_eq!(found, listed);
    for (place, part) in DRIVER.iter().enumerate() {
        let text = fs::read_to_string(path(part)).unwrap();
        for import in text.split("import(\"").skip(1) {
            let name = import.split('"').next().unwrap_or_default();
            assert!(DRIVER[..place].contains(&name), "{part} imports {name}");
        }
        assert!(!text.contains("require(") && !text.contains("require \""), "{part} requires something");
    }
}

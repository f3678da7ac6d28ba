//! Dependencies go one way: which part may name which, in the crate and in the Lua driver, without cycles inside a part
//! of the engine. The tables below are the architecture, and changing them is a deliberate decision.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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

/// The module of a file of the crate, such as `protocol::handshake::client`.
fn module(file: &Path) -> String {
    let path = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let names: Vec<_> =
        path.iter().map(|name| name.to_str().unwrap()).filter(|name| *name != "mod").collect();
    names.join("::")
}

/// The paths of a use declaration without its braces: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn paths(tree: &str) -> Vec<String> {
    let Some((prefix, list)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let list = list.trim_end().strip_suffix('}').expect("a brace at the end");
    let (mut items, mut depth) = (vec![String::new()], 0);
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    let paths = items.iter().flat_map(|item| paths(item));
    paths.map(|path| format!("{}{path}", prefix.trim_start())).collect()
}

/// The known modules that the code of a module imports from.
fn imports(own: &str, code: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let declarations = code.split(';').filter_map(|statement| {
        let start = statement.rfind("use ")?;
        let before = statement[..start].trim_end();
        (before.is_empty() || before.ends_with(['\n', '}', ')', 'b'])).then(|| &statement[start + 4..])
    });
    let all = declarations.flat_map(paths).filter_map(|path| {
        let mut segments: Vec<_> = path.split("::").map(str::trim).collect();
        let mut base: Vec<_> = own.split("::").collect();
        match segments[0] {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ => segments.insert(0, "self"),
        }
        base.extend(&segments[1..]);
        // A path that is not a module names an item of one.
        (1..=base.len()).rev().map(|length| base[..length].join("::")).find(|module| known.contains(module))
    });
    all.filter(|module| module != own).collect()
}

#[test]
fn no_file_of_the_engine_imports_itself_through_others() {
    for part in
        ["src/cookies", "src/http", "src/protocol", "src/proxy", "src/relay", "src/session", "src/tls"]
    {
        assert_no_circles(&files_under(&root().join(part)));
    }
    let files = files_under(&root().join("src/protocol"));
    let known = files.iter().map(|file| module(file)).collect();
    let connection = code(&root().join("src/protocol/connection.rs"));
    let found = imports("protocol::connection", &connection, &known);
    assert!(found.contains("protocol::incoming") && found.contains("protocol::role"), "{found:?}");
}

fn assert_no_circles(files: &[PathBuf]) {
    let known: BTreeSet<_> = files.iter().map(|file| module(file)).collect();
    let mut left: BTreeMap<_, _> =
        files.iter().map(|file| (module(file), imports(&module(file), &code(file), &known))).collect();
    // A module that imports none of the remaining ones is in no cycle.
    while let Some(free) = left.iter().find_map(|(name, imports)| imports.is_empty().then(|| name.clone())) {
        left.remove(&free);
        for imports in left.values_mut() {
            imports.remove(&free);
        }
    }
    assert!(left.is_empty(), "circles among {left:#?}");
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

//! Dependencies go one way: who may name whom, in the crate and in the Lua driver. The table below is
//! the architecture; a change of it is a decision, and this test makes it one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A part of the crate, the other parts that it may name, and the outside crates that it may name.
const CRATE: &[(&str, &[&str], &[&str])] = &[
    ("src/protocol", &[], &["base64", "flate2", "httparse", "rand", "sha1", "simdutf8"]),
    ("src/url.rs", &[], &["base64", "percent_encoding", "url"]),
    (
        "src/tls",
        &["protocol"],
        &["base64", "native_tls", "openssl", "pem", "pkcs8", "sec1", "sha2", "x509_cert"],
    ),
    ("src/proxy", &["protocol"], &[]),
    ("src/session", &["protocol", "proxy", "tls"], &["native_tls", "rand"]),
    ("src/fuzzing", &["protocol", "session"], &[]),
    ("src/net", &[], &["rustix", "socket2"]),
    ("src/lua", &["net", "protocol", "proxy", "session", "tls", "url"], &["mlua"]),
];

/// A part of the Lua driver, and the parts that it may import.
const DRIVER: &[(&str, &[&str])] = &[
    ("lua/luws.lua", &["close", "dispatch", "log", "loop", "open", "options", "protect", "pump", "send"]),
    ("lua/luws/close.lua", &["log", "loop", "options", "protect", "pump", "sink", "trace"]),
    ("lua/luws/dispatch.lua", &["close", "log", "options", "protect", "pump", "sink", "trace"]),
    ("lua/luws/foreign.lua", &["log", "options", "protect"]),
    ("lua/luws/loader.lua", &["log", "luws"]),
    ("lua/luws/log.lua", &["protect"]),
    ("lua/luws/loop.lua", &["log", "options"]),
    ("lua/luws/open.lua", &["foreign", "log", "options", "protect", "pump", "tls"]),
    ("lua/luws/options.lua", &["protect"]),
    ("lua/luws/protect.lua", &[]),
    ("lua/luws/pump.lua", &[]),
    ("lua/luws/send.lua", &["close", "options", "protect", "pump", "trace"]),
    ("lua/luws/sink.lua", &["log", "options", "protect"]),
    ("lua/luws/tls.lua", &["options"]),
    ("lua/luws/trace.lua", &["log", "protect"]),
];

/// The crates of Cargo.toml, as they are named in code.
const OUTSIDE: &[&str] = &[
    "base64",
    "flate2",
    "httparse",
    "mlua",
    "native_tls",
    "openssl",
    "pem",
    "percent_encoding",
    "pkcs8",
    "rand",
    "rustix",
    "sec1",
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

/// The words that follow `before` in the code, up to what cannot be part of a name.
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
fn every_file_of_the_crate_is_in_the_table() {
    let exempt = ["src/lib.rs", "src/bin/demo_server.rs"];
    for file in files_under(&root().join("src")) {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let known = CRATE.iter().any(|(part, ..)| name.starts_with(part));
        assert!(known || exempt.contains(&name.as_str()), "{name} is not in the table");
    }
}

#[test]
fn only_net_touches_the_network_and_only_lua_knows_lua() {
    for file in files_under(&root().join("src")) {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let code = code(&file);
        let may_use_sockets = name.starts_with("src/net") || name.starts_with("src/bin");
        assert!(may_use_sockets || !code.contains("std::net"), "{name} names std::net");
        assert!(name.starts_with("src/lua") || !code.contains("mlua"), "{name} names mlua");
    }
}

#[test]
fn parts_of_the_driver_import_only_what_they_stand_on() {
    let listed: BTreeSet<_> = DRIVER.iter().map(|(file, _)| root().join(file)).collect();
    let mut found: BTreeSet<_> = files_under(&root().join("lua/luws")).into_iter().collect();
    found.insert(root().join("lua/luws.lua"));
    assert_eq!(found, listed);
    for (file, allowed) in DRIVER {
        let text = fs::read_to_string(root().join(file)).unwrap();
        for name in names_after(&text, "import(\"") {
            assert!(allowed.contains(&name), "{file} imports {name}");
        }
        assert!(!text.contains("require(") && !text.contains("require \""), "{file} requires something");
    }
}

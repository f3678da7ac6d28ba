//! Embeds the sources of the Lua driver, and passes the linker the options that a loadable module needs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::DeflateEncoder;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=lua");
    println!("cargo:rerun-if-env-changed=CARGO_MANIFEST_DIR");
    if env::var_os("CARGO_FEATURE_LUA").is_some() {
        write_sources();
    }
    let target = |key| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    match (target("OS").as_str(), target("FAMILY").as_str()) {
        // Lua's own symbols come from the host program.
        ("macos" | "ios", _) => println!("cargo:rustc-cdylib-link-arg=-Wl,-undefined,dynamic_lookup"),
        // Lua unloads a module when it closes its state. A name look-up that nobody waits for any more may still be
        // running in it then (src/net/resolve.rs).
        (_, "unix") => println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete"),
        _ => {}
    }
}

/// Writes `SOURCES`, which has a `Source` (src/lua/sources.rs) for each file of the driver. The compressed texts are
/// files below `sources`, which `make dist` measures.
fn write_sources() {
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let _ = fs::remove_dir_all(target.join("sources")); // of an earlier build
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("lua");
    let mut files = vec![root.join("luws.lua")];
    find(&root.join("luws"), &mut files);
    files.sort();
    let mut code = String::from("pub(super) const SOURCES: &[Source] = &[\n");
    for file in files {
        let relative = file.strip_prefix(&root).expect("it was found there").with_extension("");
        let name = relative.to_str().expect("the names of sources are ASCII").replace('\\', "/");
        let name = name.strip_prefix("luws/").unwrap_or(&name);
        let text = code_of(&fs::read_to_string(&file).expect("it can be read"));
        let place = format!("sources/{name}.deflate");
        let path = target.join(&place);
        fs::create_dir_all(path.parent().expect("it is below a folder"))
            .expect("cargo's folder can be written to");
        fs::write(path, packed(&text)).expect("cargo's folder can be written to");
        writeln!(
            code,
            "    Source {{ name: c{name:?}, chunk_name: c{:?}, length: {}, packed: include_bytes!({place:?}) }},",
            format!("@luws/{name}.lua"),
            text.len()
        )
        .expect("strings can be written to");
    }
    code.push_str("];\n");
    fs::write(target.join("sources.rs"), code).expect("cargo's folder can be written to");
}

fn packed(text: &str) -> Vec<u8> {
    let mut packing = DeflateEncoder::new(Vec::new(), Compression::best());
    packing.write_all(text.as_bytes()).expect("a Vec can be written to");
    packing.finish().expect("a Vec can be written to")
}

/// Returns a source without the parts that Lua would skip each time it loads it: indentation, and comments on lines of
/// their own. Line numbers stay the same, for error messages.
fn code_of(source: &str) -> String {
    let (mut code, mut in_comment) = (String::new(), false);
    for line in source.lines() {
        let line = line.trim();
        let begins = line.starts_with("--[[");
        if !in_comment && !line.starts_with("--") {
            assert!(!line.contains("[["), "a long string may have lines that look like comments: {line}");
            code.push_str(line);
        }
        in_comment = (in_comment || begins) && !line.ends_with("]]");
        code.push('\n');
    }
    code
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the driver's folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "lua") {
            files.push(path);
        }
    }
}

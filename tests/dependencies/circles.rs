//! No file of the engine imports itself through others. Reads use declarations, and knows no table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{code, files_under, root};

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

//! What the linker must be told about the loadable module. The rest of the crate needs none of it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |key| std::env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    match (target("OS").as_str(), target("FAMILY").as_str()) {
        // Lua's own symbols come from the host program.
        ("macos" | "ios", _) => println!("cargo:rustc-cdylib-link-arg=-Wl,-undefined,dynamic_lookup"),
        // Lua closes a module's library together with its state; a name look-up that nobody waits
        // for any more may still be running in it then (src/net/resolve.rs).
        (_, "unix") => println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete"),
        _ => {}
    }
}

//! Runs the bodies of the fuzz targets over their seeds in every `cargo test`, and makes the seeds from the vectors.
//! `make fuzz` writes them where cargo-fuzz looks for them.

use std::fs;
use std::path::Path;

use luws::fuzzing;

use crate::feeding::Role;
use crate::vectors::format::{self, KEY, Vector};

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

const TARGETS: [Target; 6] = [
    ("frame_header", fuzzing::frame_header, headers),
    ("session_client", fuzzing::session_client, || sessions(Role::Client)),
    ("session_server", fuzzing::session_server, || sessions(Role::Server)),
    ("handshake_response", fuzzing::handshake_response, responses),
    ("deflate_parameters", fuzzing::deflate_parameters, parameters),
    ("operations", fuzzing::operations, operations),
];

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

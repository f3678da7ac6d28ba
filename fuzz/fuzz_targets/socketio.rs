#![no_main]
//! The body is in src/fuzzing.

libfuzzer_sys::fuzz_target!(|data: &[u8]| luws::fuzzing::socketio(data));

//! Properties that hold for every conversation and for every byte string, tested with many generated ones.
//!
//! They are the same in every run: the seed is fixed, so that a failure can be repeated by everybody. Set
//! PROPTEST_RNG_SEED=number for others, PROPTEST_CASES=number for more.

mod conversations;
mod cookies;
mod hostile;
mod memory;
mod socketio;

use std::env;

use luws::protocol::connection::Config;
use luws::protocol::deflate::Options;
use luws::session::Session;
use proptest::test_runner::{Config as Proptest, RngSeed};

/// `count` cases of a property, unless the environment sets another number.
fn cases(count: u32) -> Proptest {
    let mut config = Proptest { failure_persistence: None, ..Proptest::default() };
    if env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(6455);
    }
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = count;
    }
    config
}

/// What a client may ask for in permessage-deflate; `None` is no compression. Everything that can be compressed is.
fn wishes() -> Vec<Option<Options>> {
    let usual = Options { threshold: 0, ..Options::default() };
    let mut wishes = vec![None];
    for takeovers in [(false, false), (true, false), (false, true), (true, true)] {
        for bits in [None, Some(8), Some(9), Some(12), Some(15)] {
            wishes.push(Some(Options {
                server_no_context_takeover: takeovers.0,
                client_no_context_takeover: takeovers.1,
                server_max_window_bits: bits,
                client_max_window_bits: bits,
                ..usual.clone()
            }));
        }
    }
    wishes
}

/// A client and a server whose upgrade is complete, with the compression that the client asks for.
fn pair(wish: Option<&Options>, config: &Config) -> (Session, Session) {
    let deflate = wish.map(|_| Options { threshold: 0, ..Options::default() });
    let server = Config { deflate, ..config.clone() };
    luws::fuzzing::pair(Config { deflate: wish.cloned(), ..config.clone() }, server)
}

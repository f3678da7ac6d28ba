//! Properties that hold for every conversation and for every byte string, tried on many that are made up.
//!
//! They are the same in every run: the seed is fixed, so that a failure is a failure for everybody.
//! PROPTEST_RNG_SEED=number tries others, PROPTEST_CASES=number more.

mod conversations;
mod hostile;
mod memory;

use std::env;

use luws::protocol::connection::Config;
use luws::protocol::deflate::Options;
use luws::session::Session;
use proptest::test_runner::{Config as Proptest, RngSeed};

/// `count` cases of a property, unless the environment wants others.
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

/// What can be agreed upon of permessage-deflate: what the client wishes for; `None` is no compression. Everything is
/// compressed that can be.
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

/// A client and a server whose upgrade is complete, and who have agreed upon what the client wishes for.
fn pair(wish: Option<&Options>, config: &Config) -> (Session, Session) {
    let deflate = wish.map(|_| Options { threshold: 0, ..Options::default() });
    let server = Config { deflate, ..config.clone() };
    luws::fuzzing::pair(Config { deflate: wish.cloned(), ..config.clone() }, server)
}

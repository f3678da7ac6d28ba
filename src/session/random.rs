//! Random numbers for sessions. Knows nothing of what they are for.

use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng};

use super::failure::{Failure, Hop, Kind};

/// A generator of unpredictable numbers, which RFC 6455 sections 4.1 and 5.3 require; tests may ask for a seed.
pub(super) fn generator(seed: Option<u64>, hop: Hop) -> Result<StdRng, Failure> {
    if let Some(seed) = seed {
        return Ok(StdRng::seed_from_u64(seed));
    }
    let random = StdRng::try_from_rng(&mut SysRng);
    random.map_err(|error| Failure::new(hop, Kind::Random, &format!("no random numbers: {error}")))
}

/// 32 unpredictable hexadecimal digits, such as a cnonce (RFC 7616 section 5.10).
///
/// # Errors
/// [`Kind::Random`]
pub fn token(seed: Option<u64>) -> Result<String, Failure> {
    let mut bytes = [0; 16];
    generator(seed, Hop::Proxy)?.fill_bytes(&mut bytes);
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}

//! Delivers one input in every way that a network could, or in one that a fuzzer chooses. Knows nothing of what the
//! input is.

use std::fmt::Debug;

/// Calls `play` with the input whole, byte by byte, and in two parts cut at each position (at some positions, if the
/// input is long). If there is a `tail`, also calls it with these bytes appended, which must make no difference.
/// Returns the outcome, which must be the same each time.
///
/// # Errors
/// Says which way made a difference.
pub fn feed_every_way<T: Debug + PartialEq>(
    input: &[u8],
    tail: Option<&[u8]>,
    mut play: impl FnMut(&[&[u8]]) -> T,
) -> Result<T, String> {
    let whole = play(&[input]);
    let mut check = |bytes: &[u8], cuts: &[usize]| {
        let outcome = play(&pieces(bytes, cuts));
        if outcome == whole {
            return Ok(());
        }
        let shown = if cuts.len() > 3 { "byte by byte".to_owned() } else { format!("cut at {cuts:?}") };
        Err(format!("of {} bytes, {shown}, came {outcome:#?}, and not {whole:#?}", bytes.len()))
    };
    let length = input.len();
    check(input, &every(length))?;
    for at in (1..length).filter(|at| length < 700 || *at < 20 || length - at < 4) {
        check(input, &[at])?;
    }
    if let Some(tail) = tail {
        let more = [input, tail].concat();
        check(&more, &[])?;
        check(&more, &[length])?;
        check(&more, &every(more.len()))?;
    }
    Ok(whole)
}

/// The positions where an input is cut: all of a short one, some of a long one.
fn every(length: usize) -> Vec<usize> {
    (1..length).step_by(if length > 4096 { 1009 } else { 1 }).collect()
}

/// The bytes in pieces that end at the cuts.
fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut start = 0;
    let ends = cuts.iter().copied().chain([bytes.len()]);
    ends.map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

/// The bytes in pieces as this seed, of 7 bits, says: all of one size, or of sizes that vary.
pub(super) fn cut(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let (most, is_varied) = (u32::from(seed & 63) + 1, seed & 64 != 0);
    let (mut rest, mut state, mut pieces) = (bytes, u32::from(seed), Vec::new());
    while !rest.is_empty() {
        // A linear congruential generator, whose high bits vary most.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = if is_varied { (state >> 16) % most + 1 } else { most };
        let (piece, after) = rest.split_at(rest.len().min(size as usize));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

//! The fuzz target of the bridge's framings.

use super::{Choices, cut};
use crate::json::Document;
use crate::protocol::frame::Opcode;
use crate::relay::framing::Framer;
use crate::relay::{FramingError, Rule};

/// The framings by their names and configurations. Where the first `SAME` cut a message does not depend on how its
/// bytes have come.
const RULES: [(&str, Option<&[u8]>); 8] = [
    ("separator", Some(b"\",\"")),
    ("newline", Some(b"lf")),
    ("fixedlength", Some(b"3")),
    ("dynamic32", Some(b"offset=1,static=-5,endian=big")),
    ("dynamic32", None),
    ("auto", None),
    ("binary", None),
    ("json", None),
];
const SAME: usize = 5;

const LIMIT: usize = 200;

/// What a stream becomes: its messages with their kinds, and why it ends early.
type Outcome = (Vec<(Opcode, Vec<u8>)>, Option<FramingError>);

/// A peer's stream. The data: a byte for the framing, one for how the stream is cut, and the stream.
///
/// # Panics
/// A promise is broken.
pub fn framing(data: &[u8]) {
    let mut choices = Choices(data);
    let (which, seed) = (usize::from(choices.byte()) % RULES.len(), choices.byte());
    let stream = choices.rest();
    let rule = Rule::parse(RULES[which].0, RULES[which].1).expect("a good configuration");
    let whole = messages(&rule, &[stream]);
    let pieces = messages(&rule, &cut(stream, seed & 127));
    for (messages, error) in [&whole, &pieces] {
        let together = messages.iter().flat_map(|(_, message)| message).copied();
        assert!(
            together.eq(stream.iter().copied().take(messages.iter().map(|(_, message)| message.len()).sum()))
        );
        assert!(
            error.is_some()
                || messages.iter().map(|(_, message)| message.len()).sum::<usize>() == stream.len()
        );
        for (opcode, message) in messages {
            assert!(!message.is_empty() && message.len() <= LIMIT);
            assert!(*opcode != Opcode::Text || std::str::from_utf8(message).is_ok());
            if RULES[which].0 == "json" && *opcode == Opcode::Text {
                // A number is JSON however large it is, but not one of Lua's.
                let is_too_large = |error: String| error.starts_with("number out of range");
                assert!(Document::parse(message).map_or_else(is_too_large, |_| true), "{message:?}");
            }
        }
    }
    assert!(which >= SAME || whole == pieces);
}

fn messages(rule: &Rule, pieces: &[&[u8]]) -> Outcome {
    let mut framer = Framer::new(rule.clone(), LIMIT);
    let mut told = Vec::new();
    for piece in pieces {
        framer.input().extend(piece).expect("memory for as much again");
        loop {
            match framer.next_message() {
                Ok(Some((opcode, message))) => told.push((opcode, message.to_vec())),
                Ok(None) => break,
                Err(error) => return (told, Some(error)),
            }
        }
    }
    told.extend(framer.last().map(|(opcode, message)| (opcode, message.to_vec())));
    (told, None)
}

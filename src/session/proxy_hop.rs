//! The proxy hop of a session: a negotiation, with its own bytes in both directions. Knows no particular proxy.

use super::failure::{Failure, Hop, Kind, out_of_memory};
use crate::protocol::buffer::Buffer;
use crate::proxy::{Negotiation, Progress, ProxyError, Retry};

#[derive(Debug)]
pub(super) struct ProxyHop {
    negotiation: Box<dyn Negotiation>,
    state: State,
    input: Buffer,
    output: Buffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Negotiating,
    /// The proxy now passes bytes on.
    Done,
    Failed,
}

impl ProxyHop {
    pub(super) fn new(negotiation: Box<dyn Negotiation>) -> Self {
        let (input, output) = (Buffer::default(), Buffer::default());
        Self { negotiation, state: State::Negotiating, input, output }
    }

    /// Whether the proxy has agreed, so that everything received is for the next hop.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether only this negotiation may send.
    pub(super) fn holds_output(&self) -> bool {
        !self.is_done() || !self.output.is_empty()
    }

    /// The proxy's identifier of this connection.
    pub(super) fn detail(&self) -> Option<&str> {
        self.negotiation.detail()
    }

    /// What the negotiation says over another connection, if it has to.
    pub(super) fn retry(&self) -> Option<&Retry> {
        if self.is_done() { None } else { self.negotiation.retry() }
    }

    /// The bytes from the proxy; the caller appends to them.
    pub(super) fn input(&mut self) -> &mut Buffer {
        &mut self.input
    }

    /// The bytes to the proxy; the caller writes and consumes them.
    pub(super) fn output(&mut self) -> &mut Buffer {
        &mut self.output
    }

    pub(super) fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Advances the negotiation as far as the input allows.
    ///
    /// # Errors
    /// The negotiation has failed.
    pub(super) fn advance(&mut self) -> Result<(), Failure> {
        while self.state == State::Negotiating {
            match self.negotiation.feed(self.input.as_slice()) {
                Ok(progress) => {
                    self.input.consume(progress.used);
                    let queued = self.output.extend(&progress.answer);
                    queued.map_err(|error| out_of_memory(Hop::Proxy, error))?;
                    if progress.done {
                        self.state = State::Done;
                    } else if progress == Progress::default() {
                        break; // it waits for more
                    }
                }
                Err(error) => {
                    self.state = State::Failed;
                    self.input.clear();
                    let kind = match error {
                        ProxyError::Again => Kind::Again,
                        _ if error.is_denial() => Kind::Denied,
                        _ if error.is_unreachable() => Kind::Unreachable,
                        _ => Kind::Proxy,
                    };
                    return Err(Failure::new(Hop::Proxy, kind, &error));
                }
            }
        }
        if self.state == State::Failed {
            self.input.clear(); // no longer of interest
        }
        Ok(())
    }
}

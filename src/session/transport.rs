//! The hops between the wire and the WebSocket, in order: proxies, each of which may be reached through TLS, then TLS
//! to the server if there is any. Received ciphertext goes up through them and becomes plaintext; plaintext to be sent
//! goes down and becomes ciphertext.
//!
//! Each hop takes bytes and reports its progress; when it is complete, the next one begins. Knows nothing of WebSocket.

use super::failure::{Failure, Hop, out_of_memory};
use super::proxy_hop::ProxyHop;
use super::tls_hop::TlsHop;
use crate::memory::OutOfMemory;
use crate::protocol::buffer::Buffer;
use crate::proxy::{Negotiation, Retry};
use crate::tls::Tls;

/// The smallest read for TLS, in bytes: the longest record with its header (RFC 8446 section 5.2).
const WIRE_READ: usize = 17 * 1024;

#[derive(Debug)]
enum TransportHop {
    Proxy(ProxyHop),
    Tls(TlsHop),
}

impl TransportHop {
    fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Proxy(_) => None,
            Self::Tls(hop) => Some(hop.tls()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Transport {
    hops: Vec<TransportHop>,
    /// How many of them come before TLS to the server.
    before: usize,
}

impl Transport {
    pub(super) fn new(tls: Option<TlsHop>) -> Self {
        Self { hops: tls.map(TransportHop::Tls).into_iter().collect(), before: 0 }
    }

    /// Adds a proxy after the other proxies and before TLS to the server.
    pub(super) fn add_proxy(&mut self, negotiation: Box<dyn Negotiation>) {
        self.add(TransportHop::Proxy(ProxyHop::new(negotiation)));
    }

    /// Adds TLS to the proxy that is added next.
    pub(super) fn add_proxy_tls(&mut self, tls: TlsHop) {
        self.add(TransportHop::Tls(tls));
    }

    fn add(&mut self, hop: TransportHop) {
        self.hops.insert(self.before, hop);
        self.before += 1;
    }

    /// The first hop that was never complete.
    pub(super) fn incomplete(&self) -> Option<Hop> {
        self.hops.iter().find_map(|hop| match hop {
            TransportHop::Proxy(proxy) => (!proxy.is_done()).then_some(Hop::Proxy),
            TransportHop::Tls(hop) => (!hop.was_open()).then_some(hop.hop()),
        })
    }

    /// The connection's identifier from the first proxy that has one.
    pub(super) fn proxy_detail(&self) -> Option<&str> {
        self.hops.iter().find_map(|hop| match hop {
            TransportHop::Proxy(proxy) => proxy.detail(),
            TransportHop::Tls(_) => None,
        })
    }

    /// What a negotiation says over another connection, if one has to.
    pub(super) fn proxy_retry(&self) -> Option<&Retry> {
        self.hops.iter().find_map(|hop| match hop {
            TransportHop::Proxy(proxy) => proxy.retry(),
            TransportHop::Tls(_) => None,
        })
    }

    /// TLS to the server.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.hops[self.before..].iter().find_map(TransportHop::tls)
    }

    /// TLS to proxies and to the server.
    pub(super) fn all_tls(&self) -> impl Iterator<Item = &Tls> {
        self.hops.iter().filter_map(TransportHop::tls)
    }

    pub(super) fn all_tls_mut(&mut self) -> impl Iterator<Item = &mut Tls> {
        self.hops.iter_mut().filter_map(|hop| match hop {
            TransportHop::Proxy(_) => None,
            TransportHop::Tls(hop) => Some(hop.tls_mut()),
        })
    }

    /// Whether there is no TLS, and every proxy is done.
    pub(super) fn is_open_plain(&self) -> bool {
        self.hops.iter().all(|hop| matches!(hop, TransportHop::Proxy(proxy) if proxy.is_done()))
    }

    /// Whether there are several hops, so that one may have to encrypt what another has sent.
    pub(super) fn is_layered(&self) -> bool {
        self.hops.len() > 1
    }

    /// Whether bytes from the wire still wait inside TLS.
    pub(super) fn holds_more(&self) -> bool {
        self.all_tls().any(Tls::holds_more)
    }

    /// Has `read` put bytes from the wire into the input of the first hop that takes them, or into `plain` if there is
    /// none: at most `max` bytes, or a TLS record if that is more.
    ///
    /// # Errors
    /// There is no memory, and `read` was not called. Inside are the errors of `read`.
    pub(super) fn receive_with<E>(
        &mut self,
        max: usize,
        plain: &mut Buffer,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, OutOfMemory> {
        let most = if self.all_tls().next().is_some() { max.max(WIRE_READ) } else { max };
        let proxied = |hop: &TransportHop| matches!(hop, TransportHop::Proxy(proxy) if proxy.is_done());
        let input = match self.hops.iter_mut().find(|hop| !proxied(hop)) {
            Some(TransportHop::Tls(hop)) => return hop.tls_mut().receive_with(most, read),
            Some(TransportHop::Proxy(proxy)) => proxy.input(),
            None => plain,
        };
        Ok(read(input.space(most)?).inspect(|count| input.commit(*count)))
    }

    /// Moves what the hops hold up to `plain`, as far as they are complete, and at most `max` bytes of decrypted
    /// plaintext.
    ///
    /// # Errors
    /// A hop has failed; `plain` has what came before.
    pub(super) fn advance(&mut self, plain: &mut Buffer, max: usize) -> Result<(), Failure> {
        let mut result = Ok(());
        for index in 0..self.hops.len() {
            let (below, above) = self.hops.split_at_mut(index + 1);
            match (&mut below[index], above.first_mut()) {
                (TransportHop::Proxy(proxy), next) => {
                    result = result.and(proxy.advance());
                    if !proxy.is_done() {
                        break;
                    }
                    result = result.and(pass_on(proxy.input(), next, plain));
                }
                (TransportHop::Tls(hop), None) => result = result.and(hop.decrypt(plain, max)),
                // All of it, or the rest would wait where nobody looks for it; it is no more than what was read.
                (TransportHop::Tls(hop), next) => {
                    let mut decrypted = Buffer::default();
                    let outcome = hop.decrypt(&mut decrypted, usize::MAX);
                    result = result.and(pass_on(&mut decrypted, next, plain)).and(outcome);
                }
            }
        }
        result
    }

    /// Encrypts what is to be sent through TLS, from `plain` and the hops downwards, until `most` bytes of ciphertext
    /// wait to be sent.
    ///
    /// # Errors
    /// TLS has failed.
    pub(super) fn encrypt(&mut self, plain: &mut Buffer, most: usize) -> Result<(), Failure> {
        for index in (0..self.hops.len()).rev() {
            let (below, above) = self.hops.split_at_mut(index + 1);
            if let TransportHop::Tls(tls) = &mut below[index] {
                encrypt_for(tls, above, plain, most)?;
            }
        }
        Ok(())
    }

    /// Has `write` take bytes for the wire: those of the first hop that has some or holds the others back, else
    /// `plain`.
    ///
    /// # Errors
    /// Returns the errors of `write`.
    pub(super) fn send_with<E>(
        &mut self,
        plain: &mut Buffer,
        write: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let quiet = |hop: &TransportHop| matches!(hop, TransportHop::Proxy(proxy) if !proxy.holds_output());
        let output = match self.hops.iter_mut().find(|hop| !quiet(hop)) {
            Some(TransportHop::Tls(hop)) => return hop.tls_mut().send_with(write),
            Some(TransportHop::Proxy(proxy)) => proxy.output(),
            None => plain,
        };
        let count = write(output.as_slice())?;
        output.consume(count);
        Ok(count)
    }

    /// The bytes that [`send_with`](Self::send_with) would offer; `plain` is the length of the plaintext.
    pub(super) fn sendable_len(&self, plain: usize) -> usize {
        let first = self.hops.iter().find_map(|hop| match hop {
            TransportHop::Proxy(proxy) => proxy.holds_output().then(|| proxy.output_len()),
            TransportHop::Tls(hop) => Some(hop.tls().outgoing_len()),
        });
        first.unwrap_or(plain)
    }

    /// The number of bytes that the hops themselves have to send.
    pub(super) fn outgoing_len(&self) -> usize {
        let lengths = self.hops.iter().map(|hop| match hop {
            TransportHop::Proxy(proxy) => proxy.output_len(),
            TransportHop::Tls(hop) => hop.tls().outgoing_len(),
        });
        lengths.sum()
    }

    /// Queues TLS's close_notify, to the server and then to the proxies.
    pub(super) fn shutdown(&mut self) {
        for index in (0..self.hops.len()).rev() {
            if let TransportHop::Tls(hop) = &mut self.hops[index] {
                hop.tls_mut().shutdown();
                // A failure is of no interest any more.
                let _ = self.encrypt(&mut Buffer::default(), usize::MAX);
            }
        }
    }
}

/// Has `tls` encrypt what comes from `above`: the first hop that has something to send or holds the others back, else
/// `plain`.
fn encrypt_for(
    tls: &mut TlsHop,
    above: &mut [TransportHop],
    plain: &mut Buffer,
    most: usize,
) -> Result<(), Failure> {
    for hop in above {
        match hop {
            TransportHop::Proxy(proxy) => {
                tls.encrypt(proxy.output(), most)?;
                if proxy.holds_output() {
                    return Ok(());
                }
            }
            TransportHop::Tls(hop) => return hop.tls_mut().with_outgoing(|queue| tls.encrypt(queue, most)),
        }
    }
    tls.encrypt(plain, most)
}

/// Moves all of `bytes` to the next hop, or to `plain` if there is none.
fn pass_on(bytes: &mut Buffer, next: Option<&mut TransportHop>, plain: &mut Buffer) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    let passed = match next {
        Some(TransportHop::Proxy(proxy)) => proxy.input().extend(bytes.as_slice()),
        Some(TransportHop::Tls(hop)) => hop.tls_mut().receive(bytes.as_slice()),
        None => plain.extend(bytes.as_slice()),
    };
    bytes.clear();
    passed.map_err(|error| out_of_memory(Hop::Proxy, error))
}

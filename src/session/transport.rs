//! The hops between the wire and the WebSocket, in order: proxies, then TLS if there is any. Received ciphertext goes
//! up through them and becomes plaintext; plaintext to be sent goes down and becomes ciphertext.
//!
//! Each hop takes bytes and reports its progress; when it is complete, the next one begins. The code allows proxies on
//! either side of TLS. Knows nothing of WebSocket.

use super::failure::{Failure, Hop, out_of_memory};
use super::proxy_hop::ProxyHop;
use super::tls_hop::TlsHop;
use crate::memory::OutOfMemory;
use crate::protocol::buffer::Buffer;
use crate::proxy::Negotiation;
use crate::tls::Tls;

/// The smallest read for TLS, in bytes: the longest record with its header (RFC 8446 section 5.2).
const WIRE_READ: usize = 17 * 1024;

#[derive(Debug)]
enum TransportHop {
    Proxy(ProxyHop),
    Tls(TlsHop),
}

#[derive(Debug)]
pub(super) struct Transport {
    hops: Vec<TransportHop>,
}

impl Transport {
    pub(super) fn new(tls: Option<TlsHop>) -> Self {
        Self { hops: tls.map(TransportHop::Tls).into_iter().collect() }
    }

    /// Adds a proxy after the other proxies and before TLS.
    pub(super) fn add_proxy(&mut self, negotiation: Box<dyn Negotiation>) {
        let proxies = self.hops.iter().take_while(|hop| matches!(hop, TransportHop::Proxy(_))).count();
        self.hops.insert(proxies, TransportHop::Proxy(ProxyHop::new(negotiation)));
    }

    /// The first hop that was never complete.
    pub(super) fn incomplete(&self) -> Option<Hop> {
        self.hops.iter().find_map(|hop| match hop {
            TransportHop::Proxy(proxy) => (!proxy.is_done()).then_some(Hop::Proxy),
            TransportHop::Tls(hop) => (!hop.was_open()).then_some(Hop::Tls),
        })
    }

    /// The connection's identifier from the first proxy that has one.
    pub(super) fn proxy_detail(&self) -> Option<&str> {
        self.hops.iter().find_map(|hop| match hop {
            TransportHop::Proxy(proxy) => proxy.detail(),
            TransportHop::Tls(_) => None,
        })
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.hops.iter().find_map(|hop| match hop {
            TransportHop::Proxy(_) => None,
            TransportHop::Tls(hop) => Some(hop.tls()),
        })
    }

    /// Whether there is no TLS, and every proxy is done.
    pub(super) fn is_open_plain(&self) -> bool {
        self.hops.iter().all(|hop| matches!(hop, TransportHop::Proxy(proxy) if proxy.is_done()))
    }

    pub(super) fn tls_mut(&mut self) -> Option<&mut Tls> {
        self.hops.iter_mut().find_map(|hop| match hop {
            TransportHop::Proxy(_) => None,
            TransportHop::Tls(hop) => Some(hop.tls_mut()),
        })
    }

    /// Whether bytes from the wire still wait inside TLS.
    pub(super) fn holds_more(&self) -> bool {
        self.tls().is_some_and(Tls::holds_more)
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
        let most = if self.tls().is_some() { max.max(WIRE_READ) } else { max };
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
        for index in 0..self.hops.len() {
            let (below, above) = self.hops.split_at_mut(index + 1);
            match (&mut below[index], above.first_mut()) {
                (TransportHop::Proxy(proxy), next) => {
                    proxy.advance()?;
                    if !proxy.is_done() {
                        return Ok(());
                    }
                    pass_on(proxy.input(), next, plain)?;
                }
                (TransportHop::Tls(hop), None) => hop.decrypt(plain, max)?,
                (TransportHop::Tls(hop), next) => {
                    let mut decrypted = Buffer::default();
                    let result = hop.decrypt(&mut decrypted, max);
                    pass_on(&mut decrypted, next, plain)?;
                    result?;
                }
            }
        }
        Ok(())
    }

    /// Encrypts what is to be sent through TLS: `plain`, or the bytes of a proxy beyond TLS, until `most` bytes of
    /// ciphertext wait to be sent.
    ///
    /// # Errors
    /// TLS has failed.
    pub(super) fn encrypt(&mut self, plain: &mut Buffer, most: usize) -> Result<(), Failure> {
        let mut hops = self.hops.iter_mut();
        let Some(tls) = hops.find_map(|hop| match hop {
            TransportHop::Proxy(_) => None,
            TransportHop::Tls(hop) => Some(hop),
        }) else {
            return Ok(());
        };
        for hop in hops {
            if let TransportHop::Proxy(proxy) = hop {
                tls.encrypt(proxy.output(), most)?;
                if proxy.holds_output() {
                    return Ok(());
                }
            }
        }
        tls.encrypt(plain, most)
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

    /// Queues TLS's close_notify.
    pub(super) fn shutdown(&mut self) {
        if let Some(tls) = self.tls_mut() {
            tls.shutdown();
        }
    }
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

//! The `native-tls` crate, which uses the system's TLS library.

use std::io::{self, Read, Write};

use native_tls::{HandshakeError, MidHandshakeTlsStream, Protocol, TlsConnector, TlsStream};

use super::contract::{Connect, Pending, Progress, Stream};
use crate::tls::error::{OptionsError, TlsError, reason};
use crate::tls::options::{TlsOptions, Verify, Version};
use crate::tls::pipe::Pipe;

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::Tls10 => Self::Tlsv10,
            Version::Tls11 => Self::Tlsv11,
            Version::Tls12 => Self::Tlsv12,
            Version::Tls13 => Self::Tlsv13,
        }
    }
}

#[derive(Debug)]
pub(super) struct Connector {
    native: TlsConnector,
    verifies: bool,
}

impl Connector {
    pub(super) fn new(options: &TlsOptions) -> Result<Self, OptionsError> {
        let mut builder = TlsConnector::builder();
        builder
            .min_protocol_version(Some(options.min.into()))
            .max_protocol_version(options.max.map(Into::into));
        // Accepting invalid certificates turns off the check of the name as well. SNI stays on.
        let verifies = options.verify != Verify::Nothing;
        builder.danger_accept_invalid_certs(!verifies);
        builder.danger_accept_invalid_hostnames(options.verify != Verify::ChainAndHost);
        builder.use_sni(options.sni);
        // Without verification, or with other authorities, the system's are not needed.
        builder.disable_built_in_roots(!verifies || options.authorities.is_some());
        for der in options.authorities.iter().flatten() {
            let certificate = native_tls::Certificate::from_der(der);
            builder.add_root_certificate(certificate.map_err(|error| OptionsError::Other(reason(error)))?);
        }
        if let Some(identity) = &options.identity {
            builder.identity(identity.to_native()?);
        }
        if !options.alpn.is_empty() {
            builder.request_alpns(&options.alpn.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let native = builder.build().map_err(|error| match options.identity {
            // Nothing else can fail here: the library has found the certificate too weak.
            Some(_) => OptionsError::Certificate(reason(error)),
            None => OptionsError::Other(reason(error)),
        })?;
        Ok(Self { native, verifies })
    }
}

impl Connect for Connector {
    fn connect(&self, host: &str, pipe: Pipe) -> Result<Progress, TlsError> {
        progress(self.native.connect(host, pipe), self.verifies)
    }
}

pub(super) fn progress(
    result: Result<TlsStream<Pipe>, HandshakeError<Pipe>>,
    verifies: bool,
) -> Result<Progress, TlsError> {
    match result {
        Ok(stream) => Ok(Progress::Complete(Box::new(stream))),
        Err(HandshakeError::WouldBlock(pending)) => {
            let advance =
                |pending: MidHandshakeTlsStream<Pipe>, verifies| progress(pending.handshake(), verifies);
            Ok(Progress::Pending(Box::new(Pending { handshake: pending, verifies, advance })))
        }
        Err(HandshakeError::Failure(error)) => Err(TlsError::of_handshake(error, verifies)),
    }
}

impl Stream for TlsStream<Pipe> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        Read::read(self, target)
    }

    fn write(&mut self, source: &[u8]) -> io::Result<usize> {
        Write::write(self, source)
    }

    fn shutdown(&mut self) {
        let _ = TlsStream::shutdown(self);
    }

    fn pending(&self) -> usize {
        self.buffered_read_size().unwrap_or(0)
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        self.peer_certificate().ok()??.to_der().ok()
    }

    fn alpn(&self) -> Option<Vec<u8>> {
        self.negotiated_alpn().ok().flatten()
    }
}

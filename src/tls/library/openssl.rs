//! OpenSSL by itself, for the options that `native-tls` cannot pass on. All the others mean here what they mean there.

use std::io::{self, Read, Write};
use std::rc::Rc;

use openssl::error::ErrorStack;
use openssl::ssl::{
    HandshakeError, MidHandshakeSslStream, SslConnector, SslContextBuilder, SslMethod, SslOptions, SslStream,
    SslVerifyMode, SslVersion,
};
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::{X509, X509VerifyResult};

use super::contract::{Connect, Pending, Progress, Stream};
use crate::tls::error::{OptionsError, TlsError, reason};
use crate::tls::identity::Identity;
use crate::tls::options::{Crypto, TlsOptions, Verify, Version};
use crate::tls::pipe::Pipe;

/// The security level that allows everything, which TLS 1.0 and 1.1 need: their signatures are made with MD5 and SHA-1.
pub(super) const EVERYTHING: u32 = 0;

/// OpenSSL's SSL_OP_LEGACY_SERVER_CONNECT, which the crate has no name for.
const LEGACY_SERVER_CONNECT: SslOptions = SslOptions::from_bits_retain(1 << 2);

impl From<Version> for SslVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Tls10 => Self::TLS1,
            Version::Tls11 => Self::TLS1_1,
            Version::Tls12 => Self::TLS1_2,
            Version::Tls13 => Self::TLS1_3,
        }
    }
}

pub(super) fn other(error: ErrorStack) -> OptionsError {
    OptionsError::Other(reason(error))
}

#[derive(Debug)]
pub(super) struct Connector {
    openssl: SslConnector,
    verify: Verify,
    sni: bool,
}

impl Connector {
    pub(super) fn new(options: &TlsOptions) -> Result<Self, OptionsError> {
        let mut builder = SslConnector::builder(SslMethod::tls()).map_err(other)?;
        if options.allows_old_versions() {
            builder.set_security_level(EVERYTHING);
        }
        // Before the identity, which may be too weak without them.
        apply(&options.crypto, &mut builder)?;
        builder.set_min_proto_version(Some(options.min.into())).map_err(other)?;
        builder.set_max_proto_version(options.max.map(Into::into)).map_err(other)?;
        // Instead of the system's, which the builder has loaded.
        if let Some(authorities) = &options.authorities {
            builder.set_cert_store(store(authorities)?);
        }
        if let Some(identity) = &options.identity {
            identify(identity, &mut builder)?;
        }
        if !options.alpn.is_empty() {
            builder.set_alpn_protos(&alpn_list(&options.alpn)).map_err(other)?;
        }
        Ok(Self { openssl: builder.build(), verify: options.verify, sni: options.sni })
    }
}

/// These certificates as a store of authorities.
pub(super) fn store(authorities: &[Rc<[u8]>]) -> Result<X509Store, OptionsError> {
    let mut store = X509StoreBuilder::new().map_err(other)?;
    for der in authorities {
        store.add_cert(X509::from_der(der).map_err(other)?).map_err(other)?;
    }
    Ok(store.build())
}

/// RFC 7301 section 3.1: each name after its length, which is at most 255.
fn alpn_list(names: &[String]) -> Vec<u8> {
    names.iter().flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat()).collect()
}

pub(super) fn identify(identity: &Identity, builder: &mut SslContextBuilder) -> Result<(), OptionsError> {
    let (key, certificate, chain) = identity.to_openssl()?;
    let set = || {
        builder.set_certificate(&certificate)?;
        builder.set_private_key(&key)?;
        chain.into_iter().try_for_each(|certificate| builder.add_extra_chain_cert(certificate))
    };
    set().map_err(|error| OptionsError::Certificate(reason(error)))
}

pub(super) fn apply(crypto: &Crypto, builder: &mut SslContextBuilder) -> Result<(), OptionsError> {
    let wrong = |name| move |error: ErrorStack| OptionsError::Crypto { name, why: reason(error) };
    if let Some(list) = &crypto.ciphers {
        builder.set_cipher_list(list).map_err(wrong("ciphers"))?;
    }
    if let Some(list) = &crypto.ciphersuites {
        if list.is_empty() {
            // OpenSSL would take that for no version 1.3, and then miss its ciphers.
            return Err(OptionsError::Crypto { name: "ciphersuites", why: "no cipher match".into() });
        }
        builder.set_ciphersuites(list).map_err(wrong("ciphersuites"))?;
    }
    if let Some((name, list)) = &crypto.groups {
        // OpenSSL's own words say even less.
        let unknown = |_| OptionsError::Crypto { name, why: "not a curve, or not a list of curves".into() };
        builder.set_groups_list(list).map_err(unknown)?;
    }
    if crypto.legacy_server_connect {
        builder.set_options(LEGACY_SERVER_CONNECT);
    }
    if crypto.unsafe_legacy_renegotiation {
        builder.set_options(SslOptions::ALLOW_UNSAFE_LEGACY_RENEGOTIATION);
    }
    Ok(())
}

impl Connect for Connector {
    fn connect(&self, host: &str, pipe: Pipe) -> Result<Progress, TlsError> {
        let verifies = self.verify != Verify::Nothing;
        let configured = self.openssl.configure();
        let mut ssl = configured.map_err(|error| TlsError::of_handshake(error, verifies))?;
        ssl.set_use_server_name_indication(self.sni);
        ssl.set_verify_hostname(self.verify == Verify::ChainAndHost);
        if !verifies {
            ssl.set_verify(SslVerifyMode::NONE);
        }
        progress(ssl.connect(host, pipe), verifies)
    }
}

pub(super) fn progress(
    result: Result<SslStream<Pipe>, HandshakeError<Pipe>>,
    verifies: bool,
) -> Result<Progress, TlsError> {
    match result {
        Ok(stream) => Ok(Progress::Complete(Box::new(stream))),
        Err(HandshakeError::WouldBlock(pending)) => {
            let advance =
                |pending: MidHandshakeSslStream<Pipe>, verifies| progress(pending.handshake(), verifies);
            Ok(Progress::Pending(Box::new(Pending { handshake: pending, verifies, advance })))
        }
        Err(HandshakeError::SetupFailure(error)) => Err(TlsError::of_handshake(error, verifies)),
        Err(HandshakeError::Failure(failed)) => {
            // In the form that native-tls gives it.
            let text = match failed.ssl().verify_result() {
                X509VerifyResult::OK => failed.error().to_string(),
                judgement => format!("{} ({judgement})", failed.error()),
            };
            Err(TlsError::of_handshake(text, verifies))
        }
    }
}

impl Stream for SslStream<Pipe> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        Read::read(self, target)
    }

    fn write(&mut self, source: &[u8]) -> io::Result<usize> {
        Write::write(self, source)
    }

    fn shutdown(&mut self) {
        let _ = SslStream::shutdown(self);
    }

    fn pending(&self) -> usize {
        self.ssl().pending()
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        self.ssl().peer_certificate()?.to_der().ok()
    }

    fn alpn(&self) -> Option<Vec<u8>> {
        self.ssl().selected_alpn_protocol().map(<[u8]>::to_vec)
    }
}

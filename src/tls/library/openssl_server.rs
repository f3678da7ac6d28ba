//! A server's side of OpenSSL, for the options that `native-tls` cannot pass on.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, NameType, SniError, SslAcceptor, SslAcceptorBuilder, SslContext, SslMethod, SslOptions,
    SslVerifyMode,
};
use openssl::stack::Stack;
use openssl::x509::X509;

use super::contract::{Accept, Progress};
use super::openssl::{EVERYTHING, apply, identify, other, progress, store};
use crate::tls::error::{OptionsError, TlsError};
use crate::tls::identity::Identity;
use crate::tls::options::{Clients, ServerOptions, find};
use crate::tls::pipe::Pipe;

/// OpenSSL's list for versions before 1.2, of which the acceptor allows no cipher by itself.
const OLD_CIPHERS: &str = "DEFAULT:@SECLEVEL=0";

/// Clients that come back with a session of this server were identified by this one, and not by another server that
/// uses OpenSSL in this process. Any name serves.
const SESSION_CONTEXT: &[u8] = b"luws";

pub(super) struct Acceptor {
    openssl: SslAcceptor,
    verifies: bool,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    pub(super) fn new(options: &ServerOptions) -> Result<Self, (OptionsError, Option<&str>)> {
        let mut named: Vec<(String, SslContext)> = Vec::new();
        for (name, identity) in &options.named {
            let builder = builder(options, identity).map_err(|error| (error, Some(name.as_str())))?;
            named.push((name.clone(), builder.build().into_context()));
        }
        let mut builder = builder(options, &options.identity).map_err(|error| (error, None))?;
        if !named.is_empty() {
            builder.set_servername_callback(move |ssl, _| {
                let asked = ssl.servername(NameType::HOST_NAME).unwrap_or_default();
                let Some(place) = find(named.iter().map(|(name, _)| name.as_str()), asked) else {
                    return Ok(()); // whoever asks for no name, or another one, gets the first identity
                };
                ssl.set_ssl_context(&named[place].1).map_err(|_| SniError::ALERT_FATAL)
            });
        }
        Ok(Self { openssl: builder.build(), verifies: options.clients != Clients::Anonymous })
    }
}

fn builder(options: &ServerOptions, identity: &Identity) -> Result<SslAcceptorBuilder, OptionsError> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).map_err(other)?;
    if options.allows_old_versions() {
        builder.clear_options(SslOptions::NO_TLSV1 | SslOptions::NO_TLSV1_1);
        builder.set_security_level(EVERYTHING);
        builder.set_cipher_list(OLD_CIPHERS).map_err(other)?;
    }
    builder.set_options(SslOptions::NO_RENEGOTIATION);
    apply(&options.crypto, &mut builder)?;
    builder.set_min_proto_version(Some(options.min.into())).map_err(other)?;
    builder.set_max_proto_version(options.max.map(Into::into)).map_err(other)?;
    identify(identity, &mut builder)?;
    if options.clients != Clients::Anonymous {
        builder.set_cert_store(store(&options.authorities)?);
        builder.set_client_ca_list(names(options).map_err(other)?);
        let required = match options.clients {
            Clients::Identified => SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            _ => SslVerifyMode::empty(),
        };
        builder.set_verify(SslVerifyMode::PEER | required);
        builder.set_session_id_context(SESSION_CONTEXT).map_err(other)?;
    }
    if !options.alpn.is_empty() {
        let ours = options.alpn.clone();
        // RFC 7301 section 3.2: if there is no protocol in common, the connection fails.
        builder
            .set_alpn_select_callback(move |_, offered| select(&ours, offered).ok_or(AlpnError::ALERT_FATAL));
    }
    Ok(builder)
}

/// The first of our protocols that is in a client's list (RFC 7301 section 3.1: each name after its length).
fn select<'a>(ours: &[String], offered: &'a [u8]) -> Option<&'a [u8]> {
    ours.iter().find_map(|name| {
        let mut rest = offered;
        while let Some((&length, after)) = rest.split_first() {
            let (one, others) = after.split_at_checked(length.into())?;
            if one == name.as_bytes() {
                return Some(one);
            }
            rest = others;
        }
        None
    })
}

/// The names of the authorities, which tell a client which of its certificates to send.
fn names(options: &ServerOptions) -> Result<Stack<openssl::x509::X509Name>, ErrorStack> {
    let mut names = Stack::new()?;
    for der in &options.authorities {
        names.push(X509::from_der(der)?.subject_name().to_owned()?)?;
    }
    Ok(names)
}

impl Accept for Acceptor {
    fn accept(&self, pipe: Pipe) -> Result<Progress, TlsError> {
        progress(self.openssl.accept(pipe), self.verifies)
    }
}

//! The TLS libraries below a connection. `native-tls` is the usual one, on every system. What it has no function for
//! goes to OpenSSL directly, where that is the system's library; so do all servers there.

use super::error::OptionsError;
use super::options::{ServerOptions, TlsOptions};

mod contract;
mod native;
#[cfg(any(windows, target_vendor = "apple"))]
mod native_server;
#[cfg(not(any(windows, target_vendor = "apple")))]
mod openssl;
#[cfg(not(any(windows, target_vendor = "apple")))]
mod openssl_server;

pub(super) use contract::{Accept, Connect, Handshake, Progress, Stream};

#[cfg(any(windows, target_vendor = "apple"))]
const NO_SUCH_SETTING: &str = "this system's TLS library has no such setting";

/// The library's side of a connector with these options.
pub(super) fn connector(options: &TlsOptions) -> Result<Box<dyn Connect>, OptionsError> {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    if options.crypto.is_special() || options.allows_old_versions() {
        return Ok(Box::new(openssl::Connector::new(options)?));
    }
    #[cfg(any(windows, target_vendor = "apple"))]
    if let Some(name) = options.crypto.names().next() {
        return Err(OptionsError::Crypto { name, why: NO_SUCH_SETTING.into() });
    }
    Ok(Box::new(native::Connector::new(options)?))
}

/// The library's side of an acceptor with these options. An error has the name of the identity that it is about, if
/// that is one of the named ones. Where OpenSSL is the system's library, it is asked directly: native-tls has its
/// acceptors refuse TLS 1.3.
pub(super) fn acceptor(options: &ServerOptions) -> Result<Box<dyn Accept>, (OptionsError, Option<&str>)> {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    return Ok(Box::new(openssl_server::Acceptor::new(options)?));
    #[cfg(any(windows, target_vendor = "apple"))]
    {
        if let Some(name) = options.special() {
            return Err((OptionsError::Crypto { name, why: NO_SUCH_SETTING.into() }, None));
        }
        Ok(Box::new(native_server::Acceptor::new(options).map_err(|error| (error, None))?))
    }
}

//! The TLS libraries below a connection. `native-tls` is the usual one, on every system. What it has no function for
//! goes to OpenSSL directly, where that is the system's library.

use super::error::OptionsError;
use super::options::TlsOptions;

mod contract;
mod native;
#[cfg(not(any(windows, target_vendor = "apple")))]
mod openssl;

pub(super) use contract::{Connect, Handshake, Progress, Stream};
pub(super) use native::accept;

/// The library's side of a connector with these options.
pub(super) fn connector(options: &TlsOptions) -> Result<Box<dyn Connect>, OptionsError> {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    if options.crypto.is_special() || options.allows_old_versions() {
        return Ok(Box::new(openssl::Connector::new(options)?));
    }
    #[cfg(any(windows, target_vendor = "apple"))]
    if let Some(name) = options.crypto.names().next() {
        return Err(OptionsError::Crypto {
            name,
            why: "this system's TLS library has no such setting".into(),
        });
    }
    Ok(Box::new(native::Connector::new(options)?))
}

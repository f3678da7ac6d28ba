//! Makes TLS connectors, one for each set of options.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::authorities;
use super::files::wrong_identity;
use crate::lua::Context;
use crate::lua::value::Table;
use crate::tls::{Connector, Crypto, OptionsError, TlsOptions, Verify};

/// Why a session cannot be made.
#[derive(Debug)]
pub(in crate::lua) enum Fault {
    /// A parameter is wrong; the text names it.
    Parameters(String),
    /// The proxy cannot be asked for this.
    Proxy(String),
    /// TLS cannot even begin.
    Tls(String),
}

impl Fault {
    /// What is wrong, where it does not matter to whom.
    pub(in crate::lua) fn text(self) -> String {
        match self {
            Self::Parameters(why) | Self::Proxy(why) | Self::Tls(why) => why,
        }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Parameters(why)
    }
}

/// The connectors of a Lua state, the newest last. A program that reconnects needs only one. A connector belongs to its
/// options in full, the contents of files and the system's authorities included, so it is never used for others.
#[derive(Debug, Default)]
pub(in crate::lua) struct Connectors(Vec<(TlsOptions, Connector)>);

impl Connectors {
    /// The number of connectors that are kept.
    const MOST: usize = 8;

    /// The connector for these options, which were read from `table`.
    ///
    /// # Errors
    /// Names the option at fault, if there is one.
    pub(in crate::lua) fn get(
        &mut self,
        context: &Context,
        mut options: TlsOptions,
        table: &Table,
    ) -> Result<Connector, Fault> {
        if options.verify != Verify::Nothing && options.authorities.is_none() {
            options.authorities = authorities::of_system(context).map_err(Fault::Tls)?;
        }
        if let Some((_, connector)) = self.0.iter().find(|(known, _)| *known == options) {
            return Ok(connector.clone());
        }
        let connector = make(&options, table)?;
        if self.0.len() == Self::MOST {
            self.0.remove(0);
        }
        self.0.push((options, connector.clone()));
        Ok(connector)
    }
}

/// Checks options that are not used, because there is no TLS.
///
/// # Errors
/// Names the option at fault.
pub(super) fn check(crypto: &Crypto, table: &Table) -> Result<(), Fault> {
    if !crypto.is_special() {
        return Ok(());
    }
    let options = TlsOptions { verify: Verify::Nothing, crypto: crypto.clone(), ..TlsOptions::default() };
    make(&options, table).map(drop)
}

fn make(options: &TlsOptions, table: &Table) -> Result<Connector, Fault> {
    // The OpenSSL bindings panic if these variables are not valid UTF-8.
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
            return Err(Fault::Tls(format!("the environment variable {name} is not valid UTF-8")));
        }
    }
    let made = catch_unwind(AssertUnwindSafe(|| options.connector()));
    let failed = OptionsError::Other("the TLS library cannot be set up".into());
    made.unwrap_or(Err(failed)).map_err(|error| match error {
        OptionsError::Other(why) => Fault::Tls(why),
        error => wrong_identity(table, &error).into(),
    })
}
